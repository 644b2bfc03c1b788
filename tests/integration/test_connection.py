# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's modules inside containers: of a lab host over SSH as user ops with sudo, and of the controller itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import run, trees
from tests.lab.host import LabHost
from tests.lab.wire import Wire

BIN = Path(sys.executable).parent
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def box(wire: Wire, lab_factory: Any) -> Iterator[LabHost]:
    """A host behind sshd with a container that runs and one that does not."""
    host: LabHost = lab_factory("box", wire=wire, checkout=True)
    host.start_sshd()
    host.install_baleine()
    # One whose sudo asks for a password, and is only found by a name and a flag of this site's own.
    host.sh("useradd --create-home asks && echo asks:secret | chpasswd")
    host.write("/etc/sudoers.d/asks", "asks ALL=(ALL) ALL\n", mode=0o440)
    host.write(
        "/usr/local/bin/site-sudo", '#!/bin/sh\n[ "$1" = --site ] && shift && exec sudo -H -S "$@"\n', mode=0o755
    )
    image = trees.debian_image(host)
    for name in ("inside", "asleep"):
        host.module("baleine_container", name=name, image=image, command=["sleep", "infinity"])
    host.module("baleine_container", name="asleep", state="stopped")
    yield host
    for name in ("inside", "asleep"):
        host.module("baleine_container", name=name, state="absent")


@pytest.fixture(scope="module")
def call(wire: Wire, box: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """call("inside", "-m", "ping"): Ansible on the controller, the containers over SSH."""
    common = {"ansible_connection": "lab.baleine.baleine", "ansible_python_interpreter": "/usr/bin/python3"}
    entries = {name: {**common, "baleine_host": "box"} for name in ("inside", "asleep", "missing")}
    # The same by the plugin's own options, the host not being known to the inventory.
    of_box = wire.inventory(box)["lab"]["hosts"]["box"]
    alone = {
        **common,
        "baleine_container": "inside",
        "baleine_host": box.address,
        "baleine_host_user": "ops",
        "baleine_host_private_key_file": str(wire.ssh_key),
        "ansible_ssh_common_args": of_box["ansible_ssh_common_args"],
    }
    entries["alone"] = {**alone, "baleine_host_become": True}
    entries["rootless"] = alone
    entries["silent"] = {**entries["alone"], "baleine_host_become_method": "su"}
    entries["away"] = {**alone, "baleine_host": "172.30.0.250", "ansible_ssh_timeout": 2}
    inventory = tmp_path_factory.mktemp("connection") / "inventory.json"
    inventory.write_text(json.dumps({"containers": {"hosts": entries}, **wire.inventory(box)}))

    def ansible(pattern: str, *words: str, program: str = "ansible", **env: str) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, **wire.environment, "ANSIBLE_CONFIG": str(run.REPOSITORY / "ansible.cfg"), **env}
        argv = [str(BIN / program), "-i", str(inventory), pattern, *words]
        return wire.run(argv, check=False, env=settings, cwd=str(run.REPOSITORY), timeout=300)

    return ansible


def test_a_module_runs_inside_a_container_of_a_host_in_the_inventory(call: Call) -> None:
    done = call("inside,alone", "-m", "ping")
    assert done.returncode == 0 and done.stdout.count("pong") == 2, done.stdout + done.stderr


def test_a_command_returns_its_exit_code_and_output_and_is_not_changed_by_a_shell(call: Call) -> None:
    done = call("inside", "-m", "shell", "-a", "echo \"$HOME's\" '$x'; hostname; exit 3")
    assert "rc=3" in done.stdout and "/root's $x\ninside" in done.stdout, done.stdout + done.stderr


def test_become_and_the_remote_user_name_users_of_the_container(call: Call) -> None:
    assert "www-data" in call("inside", "-b", "--become-user", "www-data", "-m", "command", "-a", "id -un").stdout
    assert "nobody" in call("inside", "-u", "nobody", "-m", "raw", "-a", "id -un").stdout


def test_fifty_megabytes_are_copied_in_and_out_unchanged(call: Call, box: LabHost, tmp_path: Path) -> None:
    content = os.urandom(50 * 1024 * 1024 + 7)
    source, back = tmp_path / "it's big", tmp_path / "back"
    source.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    done = call("inside", "-m", "copy", "-a", json.dumps({"src": str(source), "dest": "/srv/it's big"}))
    assert "CHANGED" in done.stdout, done.stdout + done.stderr
    assert digest in box.sh('baleine container exec -c inside -- sha256sum "/srv/it\'s big"').stdout
    assert (
        "SUCCESS"
        in call("inside", "-m", "copy", "-a", json.dumps({"src": str(source), "dest": "/srv/it's big"})).stdout
    )
    done = call("inside", "-m", "fetch", "-a", json.dumps({"src": "/srv/it's big", "dest": str(back), "flat": True}))
    assert hashlib.sha256(back.read_bytes()).hexdigest() == digest, done.stdout + done.stderr
    assert "part" not in box.sh("baleine container exec -c inside -- find /srv /tmp /root -name '*.part'").stdout


def test_one_ssh_connection_is_kept_for_all_steps_of_a_task_unless_configured_otherwise(
    call: Call, wire: Wire, box: LabHost, tmp_path: Path
) -> None:
    source = tmp_path / "words"

    def logins(number: int, **env: str) -> int:
        source.write_text(f"{number}\n")
        before = box.read("/var/log/sshd.log").count("Accepted publickey")
        task = json.dumps({"src": str(source), "dest": "/srv/words"})
        folder = {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(wire.folder / f"cp{number}")}
        done = call("inside", "-m", "copy", "-a", task, **folder, **env)
        assert "CHANGED" in done.stdout, done.stdout + done.stderr
        return box.read("/var/log/sshd.log").count("Accepted publickey") - before

    assert logins(1) == 1
    assert logins(2, ANSIBLE_SSH_ARGS="-o ControlMaster=no") > 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("asleep", "baleine container start -c asleep"),
        ("missing", "container missing on box: there is none"),
        ("rootless", "baleine_host_become: true"),
        ("silent", "container inside on BOX: root on its host: Timeout"),
        ("away", "172.30.0.250"),
    ],
)
def test_a_container_that_cannot_be_reached_is_unreachable_with_advice(
    call: Call, box: LabHost, name: str, words: str
) -> None:
    done = call(name, "-m", "ping")
    shown = " ".join((done.stdout + done.stderr).split())
    assert "UNREACHABLE" in shown and words.replace("BOX", box.address) in shown, shown


def test_a_delegated_task_runs_in_the_container_of_its_delegate_and_not_of_the_play_host(
    call: Call, tmp_path: Path
) -> None:
    play = {"hosts": "asleep,box", "gather_facts": False, "tasks": [{"command": "hostname", "delegate_to": "inside"}]}
    book = tmp_path / "delegated.json"
    book.write_text(json.dumps([{**play, "vars": {"ansible_become": False}}]))
    done = call(str(book), "-v", program="ansible-playbook")
    assert done.returncode == 0 and done.stdout.count("stdout: inside") == 2, done.stdout + done.stderr


def test_containers_of_the_controller_need_no_ssh(box: LabHost) -> None:
    inventory = "[all]\ninside ansible_connection=lab.baleine.baleine ansible_python_interpreter=/usr/bin/python3\n"
    box.write("/tmp/inventory", inventory)
    settings = {"ANSIBLE_CONFIG": str(run.REPOSITORY / "ansible.cfg"), "HOME": "/root", "LC_ALL": "C.UTF-8"}
    script = f"cd {run.REPOSITORY} && {BIN}/ansible -i /tmp/inventory inside -m ping"
    done = box.run(["sh", "-c", script], env=settings, check=False)
    assert "pong" in done.stdout, done.stdout + done.stderr


def test_the_inventory_lists_containers_of_a_group_of_hosts_and_reaches_them(
    wire: Wire, box: LabHost, tmp_path: Path
) -> None:
    known, plugin = tmp_path / "1-hosts.json", tmp_path / "2-baleine.yml"
    known.write_text(json.dumps(wire.inventory(box)))
    settings = {**os.environ, **wire.environment, "ANSIBLE_CONFIG": str(run.REPOSITORY / "ansible.cfg")}

    def ansible(program: str, *words: str) -> str:
        argv = [str(BIN / program), "-i", str(tmp_path), *words]
        done = wire.run(argv, check=False, env=settings, cwd=str(run.REPOSITORY), timeout=300)
        return str(done.stdout + done.stderr)

    request = {"plugin": "lab.baleine.baleine", "hosts": ["lab"], "compose": {"mine": "baleine_image ~ '!'"}}
    plugin.write_text(json.dumps(request))
    listed = json.loads(ansible("ansible-inventory", "--list"))
    assert listed["baleine"]["hosts"] == ["asleep", "inside"]
    assert listed["baleine_state_running"]["hosts"] == ["inside"]
    assert listed["baleine_image_debian"]["hosts"] == ["asleep", "inside"]
    assert "debian!" in json.dumps(listed["_meta"]["hostvars"]["asleep"]["mine"])
    words = ansible(
        "ansible", "baleine_state_running", "-m", "ping", "-e", "ansible_python_interpreter=/usr/bin/python3"
    )
    assert "pong" in words, words
    plugin.write_text(json.dumps({**request, "hostname": "CONTAINER@HOST"}))
    assert json.loads(ansible("ansible-inventory", "--list"))["baleine"]["hosts"] == ["asleep@box", "inside@box"]
    plugin.write_text(json.dumps({**request, "hosts": ["lab", "172.30.0.250"]}))
    words = ansible("ansible-inventory", "--graph")
    assert "inside@box" in words and "containers of 172.30.0.250" in words, words


def test_hosts_are_reached_with_the_variables_of_group_vars_and_of_their_become_plugin(
    wire: Wire, box: LabHost, tmp_path: Path
) -> None:
    reach = {**wire.inventory(box)["lab"]["hosts"]["box"], "ansible_user": "{{ site_user }}"}
    hosts = {"box": {"site_fact": "{{ ansible_facts['unknown'] }}"}, "asks": {}, "odd": {}}
    files: dict[str, Any] = {
        "1-hosts.json": {"lab": {"hosts": hosts}},
        "2-baleine.yml": {"plugin": "lab.baleine.baleine", "hosts": ["lab"]},
        "group_vars/all.json": {"site_user": "ops"},
        "group_vars/lab.json": reach,
        "group_vars/baleine.json": {"ansible_user": "root", "ansible_become": False},
        "host_vars/asks.json": {
            "site_user": "asks",
            "ansible_become_exe": "/usr/local/bin/site-sudo",
            "ansible_become_flags": "--site",
            "ansible_sudo_pass": "secret",
        },
        "host_vars/odd.json": {"ansible_become_method": "odd"},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    settings = {**os.environ, **wire.environment, "ANSIBLE_CONFIG": str(run.REPOSITORY / "ansible.cfg")}
    argv = [str(BIN / "ansible"), "-i", str(tmp_path), "baleine_state_running", "-m", "ping"]
    done = wire.run(argv, check=False, env=settings, cwd=str(run.REPOSITORY), timeout=300)
    assert done.returncode == 0 and done.stdout.count("pong") == 2, done.stdout + done.stderr
    assert "inside@box" in done.stdout and "inside@asks" in done.stdout, done.stdout
    assert "containers of odd: there is no become plugin odd" in " ".join(done.stderr.split()), done.stderr


def test_info_modules_list_existing_and_missing_resources(box: LabHost) -> None:
    found = box.module("baleine_container_info", names=["inside", "missing"])
    assert [(item["name"], item["exists"]) for item in found["containers"]] == [("inside", True), ("missing", False)]
    assert found["containers"][0]["container"]["state"] == "running" and not found["changed"]
    assert [item["name"] for item in box.module("baleine_container_info", check=True)["containers"]] == [
        "asleep",
        "inside",
    ]
    (image,) = box.module("baleine_image_info")["images"]
    assert image["image"]["containers"] == ["asleep", "inside"]
    assert box.module("baleine_bridge_info")["bridges"] == []
    assert box.module("baleine_bridge_info", names=["none"])["bridges"] == [
        {"name": "none", "exists": False, "bridge": {}}
    ]


def test_exec_runs_a_program_once_predicts_its_effect_and_reports_its_failure(box: LabHost) -> None:
    once = {"name": "inside", "argv": ["touch", "/srv/made"], "creates": "/srv/made"}
    assert [
        box.module("baleine_container_exec", check=mode, **once)["changed"] for mode in (True, False, True, False)
    ] == [
        True,
        True,
        False,
        False,
    ]
    options: dict[str, Any] = {"stdin": "words\n", "env": {"A": "b"}, "user": "nobody", "workdir": "/srv"}
    script = ["sh", "-c", "cat; echo $A; id -un; pwd; echo bad >&2"]
    done = box.module("baleine_container_exec", name="inside", argv=script, **options)
    assert (done["rc"], done["stdout"], done["stderr"]) == (0, "words\nb\nnobody\n/srv\n", "bad\n")
    assert box.module("baleine_container_exec", check=True, name="inside", argv=["true"])["skipped"]
    failed = box.module("baleine_container_exec", name="inside", argv=["sh", "-c", "exit 7"], expect_failure=True)
    assert failed["rc"] == 7
    nowhere = {"argv": ["true"], "workdir": "/nowhere"}
    failed = box.module("baleine_container_exec", name="inside", **nowhere, expect_failure=True)
    assert "container inside: working directory /nowhere" in failed["msg"]
    asleep = box.module("baleine_container_exec", name="asleep", argv=["true"], expect_failure=True)
    assert "baleine container start -c asleep" in asleep["msg"]
