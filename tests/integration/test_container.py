# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on a real kernel: created, started, limited, changed, recreated, stopped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.containers import container, inside, make_bridges, record
from tests.integration.support import SLEEP
from tests.lab import product
from tests.lab.host import LabHost
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str) -> None:
    make_bridges(lab)


@pytest.mark.smoke
def test_the_prediction_matches_the_change_and_the_second_run_changes_nothing(lab: LabHost, name: str) -> None:
    predicted = container(lab, name, check=True)
    assert not lab.path(f"/var/lib/baleine/manifeste/containers/{name}.manifest").exists()
    done = container(lab, name)
    assert predicted["changed"] and done["changed"]
    assert predicted["diff"] == done["diff"]
    assert predicted["actions"] == done["actions"]
    again = container(lab, name)
    assert not again["changed"] and again["actions"] == [] and again["drift"] == []
    assert again["container"]["pid"] == done["container"]["pid"]


@pytest.mark.smoke
def test_a_container_has_separate_namespaces_and_ids_and_a_disk_hidden_from_the_host(
    lab: LabHost, baleine: Any, name: str
) -> None:
    facts = container(lab, name)["container"]
    pid = facts["pid"]
    for kind in ("pid", "mnt", "net", "uts", "ipc", "cgroup", "user"):
        assert lab.sh(f"readlink /proc/{pid}/ns/{kind}").stdout != lab.sh(f"readlink /proc/1/ns/{kind}").stdout, kind
    assert lab.sh(f"cat /proc/{pid}/uid_map").stdout.split() == ["0", str(facts["first_id"]), "65536"]
    assert facts["first_id"] >= 0x70000000
    assert inside(lab, name, "touch /mine; stat -c %u /mine; cat /proc/sys/net/ipv4/ip_forward").split() == ["0", "0"]
    assert not [line for line in lab.read("/proc/1/mountinfo").splitlines() if f"/mnt/baleine/{name} " in line]
    assert inside(lab, name, "hostname").strip() == name
    assert "idmapped" in inside(lab, name, "mount | grep ' / '")


def test_limits_are_set_in_the_kernel_and_change_without_a_restart(lab: LabHost, name: str) -> None:
    limits = {"memory": "64M", "cpus": 0.5, "cpuset": "0-1", "pids": 50}
    pid = container(lab, name, limits=limits)["container"]["pid"]
    assert container(lab, name, limits={**limits, "memory": str(64 << 20)})["changed"] is False
    changed = container(lab, name, limits={"memory": "128MiB", "pids": 60})
    assert [action["action"] for action in changed["actions"]] == ["set_limits"]
    assert changed["container"]["pid"] == pid
    again = container(lab, name, limits={"memory": "128M", "pids": 60})
    assert not again["changed"]
    lab.sh(f"echo 70 > $(find /sys/fs/cgroup -path '*baleine/{name}/pids.max')")
    assert container(lab, name, limits={"memory": "128M", "pids": 60})["drift"] == [
        f"container {name}: limits.pids was 70"
    ]


def test_another_image_makes_a_new_disk_and_keeps_the_old_one_until_it_is_removed_by_name(
    lab: LabHost, baleine: Any, name: str
) -> None:
    lab.module("baleine_image", name="other", from_image="tiny", files=[{"path": "/other", "content": "x"}])
    container(lab, name)
    inside(lab, name, "echo old > /root/data")
    refused = container(lab, name, image="other", expect_failure=True)
    assert "image tiny -> other" in refused["msg"]
    container(lab, name, image="other", recreate="on_change")
    assert inside(lab, name, "cat /other; ls /root").strip() == "x"
    removed = lab.module("baleine_container", name=name, state="absent")
    (aside,) = [path.name for path in lab.path("/var/lib/baleine/containers").iterdir()]
    assert aside in str(removed["warnings"])
    baleine("container", "remove", aside)
    assert not list(lab.path("/var/lib/baleine/containers").iterdir())
    lab.module("baleine_image", name="other", state="absent")


@pytest.mark.smoke
def test_a_task_without_image_changes_only_the_state(lab: LabHost, name: str) -> None:
    container(lab, name, env={"A": "1"})
    stopped = lab.module("baleine_container", name=name, state="stopped")
    assert stopped["container"]["state"] == "stopped" and stopped["container"]["exit_code"] == 143
    assert not lab.module("baleine_container", name=name, state="stopped")["changed"]
    refused = lab.module("baleine_container", name=name, state="started", hostname="x", expect_failure=True)
    assert "hostname without image" in refused["msg"]
    started = lab.module("baleine_container", name=name)
    assert started["container"]["state"] == "running"
    restarted = lab.module("baleine_container", name=name, restart=True)
    assert restarted["changed"] and restarted["container"]["pid"] != started["container"]["pid"]
    missing = lab.module("baleine_container", name="nobody", state="stopped", expect_failure=True)
    assert "container nobody: there is none" in missing["msg"]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("program", "code"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)],
    ids=["0", "7", "killed"],
)
def test_the_exit_code_of_a_program_is_known(lab: LabHost, name: str, program: list[str], code: int) -> None:
    container(lab, name, command=program, networks=[])
    info = {"names": [name]}
    assert wait_for(
        lambda: lab.module("baleine_container_info", **info)["containers"][0]["container"]["state"] == "stopped"
    )
    assert lab.module("baleine_container", name=name, state="stopped")["container"]["exit_code"] == code


@pytest.mark.smoke
def test_a_program_that_daemonises_lives_on_and_stops_at_once(lab: LabHost, name: str) -> None:
    facts = container(lab, name, command="sh -c 'httpd -p 80 -h /www'", wait={"http": "/", "timeout": 60})["container"]
    assert facts["state"] == "running"
    assert wait_for(lambda: lab.path(f"/run/baleine/containers/{name}/state/exit").exists())
    stopped = lab.module("baleine_container", name=name, state="stopped")["container"]
    assert (stopped["state"], stopped["exit_code"]) == ("stopped", 0)


def test_volumes_show_files_of_the_host_and_read_only_ones_cannot_be_written(
    lab: LabHost, baleine: Any, name: str
) -> None:
    lab.sh("mkdir -p /srv/closed/data /srv/rw; chmod 700 /srv/closed; echo hello > /srv/closed/data/page")
    volumes = [
        {"source": "/srv/closed/data", "target": "/data", "read_only": True},
        {"source": "/srv/rw", "target": "/rw"},
    ]
    first_id = container(lab, name, volumes=volumes)["container"]["first_id"]
    assert inside(lab, name, "cat /data/page; stat -c %u /data/page").split() == ["hello", "65534"]
    assert "Read-only" in inside(lab, name, "touch /data/x 2>&1; true")
    assert "denied" in inside(lab, name, "touch /rw/x 2>&1; true")
    lab.run(["chown", f"{first_id}:{first_id}", "/srv/rw"])
    assert inside(lab, name, "touch /rw/x && stat -c %u /rw/x").strip() == "0"
    lab.sh("rm -r /srv/closed /srv/rw")


def test_the_program_runs_as_the_requested_user_in_its_directory(lab: LabHost, name: str) -> None:
    facts = container(lab, name, user="www-data", workdir="/www", networks=[])["container"]
    assert wait_for(lambda: lab.read(f"/proc/{facts['pid']}/task/{facts['pid']}/children").split())  # PID 1 is at work
    status = lab.sh(f"cat /proc/{facts['pid']}/status").stdout
    assert f"Uid:\t{facts['first_id'] + 33}\t" in status
    assert "CapEff:\t0000000000000000" in status
    assert lab.sh(f"readlink /proc/{facts['pid']}/cwd").stdout.strip().endswith("/www")


def test_crun_and_runc_both_start_containers(lab: LabHost, name: str) -> None:
    # the lab host's v2 has no controllers, so crun is chosen; without crun it is runc
    facts = container(lab, name)["container"]
    assert facts["runtime"] == "crun"
    lab.module("baleine_container", name=name, state="stopped")
    lab.sh("mv /usr/bin/crun /usr/bin/crun.away")
    try:
        facts = lab.module("baleine_container", name=name, state="started")["container"]
        assert facts["runtime"] == "runc"
        lab.sh("mv /usr/sbin/runc /usr/sbin/runc.away")
        lab.module("baleine_container", name=name, state="stopped")
        refused = lab.module("baleine_container", name=name, state="started", expect_failure=True)
        assert "neither crun nor runc" in refused["msg"] and "package crun" in refused["msg"]
    finally:
        lab.sh("mv /usr/bin/crun.away /usr/bin/crun; mv /usr/sbin/runc.away /usr/sbin/runc")


def test_the_program_of_the_image_runs_instead_of_a_shell_builtin(lab: LabHost, name: str) -> None:
    script = "#!/bin/busybox sh\necho IMAGE_OWN; exec /bin/busybox sleep 1000\n"
    files = [{"path": "/usr/local/bin/sleep", "content": script, "mode": "0755"}]
    lab.module("baleine_image", name="own", from_image="tiny", files=files)
    container(lab, name, image="own")
    assert wait_for(lambda: lab.read(f"/var/log/baleine/{name}.log") == "IMAGE_OWN\n")
    lab.sh("mkdir -p /srv/tools; printf '#!/bin/sh\necho FROM_VOLUME\n' > /srv/tools/tool; chmod 755 /srv/tools/tool")
    volumes = [{"source": "/srv/tools", "target": "/opt/tools", "read_only": True}]
    changes = {"command": ["tool"], "env": {"PATH": "/bin:/opt/tools"}, "volumes": volumes}
    container(lab, name, image="own", recreate="on_change", **changes)
    assert wait_for(lambda: "FROM_VOLUME" in lab.read(f"/var/log/baleine/{name}.log"))
    lab.module("baleine_container", name=name, state="absent")
    lab.module("baleine_image", name="own", state="absent")
    lab.sh("rm -r /srv/tools")


def test_a_container_of_the_old_scripts_is_adopted_with_its_disk(lab: LabHost, baleine: Any) -> None:
    lab.sh("cp --sparse=always /var/lib/baleine/images/tiny /var/lib/baleine/containers/old")
    lines = (
        "nom_container: old\nnom_image: tiny\npid: 4242\nnom_bridge: private\nstarting_time: 2019-05-09-21h-50m-05s\n"
    )
    lab.write("/var/lib/baleine/manifeste/containers/old.manifest", lines)
    assert "old" in baleine("container", "list", "-a", "-q").stdout.split()
    lab.module("baleine_container", name="old", state="started")
    wanted = {"command": SLEEP, "networks": [{"bridge": "private", "addresses": ["192.168.42.77/24"]}]}
    facts = container(lab, "old", recreate="on_change", **wanted)["container"]
    assert facts["state"] == "running" and facts["interfaces"][0]["link"] == record(lab, "old")["interface"]
    lab.run(["ping", "-c", "1", "-w", "60", "192.168.42.77"])
    assert not container(lab, "old", **wanted)["changed"]
    lab.module("baleine_container", name="old", state="absent")


def test_running_containers_survive_an_update_or_removal_of_the_command_line(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name, limits={"pids": 50})["container"]["pid"]
    folders = (("baleine", product.CORE), ("baleine_cli", product.COMMAND_LINE))
    files = {f"{folder}/{path.name}": path.read_text() for folder, source in folders for path in source.glob("*.py")}
    older = {**files, "baleine/errors.py": files["baleine/errors.py"] + "# older\n"}
    for version in (older, files):
        predicted = lab.module("baleine_command", check=True, params={"files": version})
        done = lab.module("baleine_command", params={"files": version})
        assert done["changed"] and predicted["actions"] == done["actions"]
        assert not lab.module("baleine_command", params={"files": version})["changed"]
        assert inside(lab, name, "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || echo 50").strip() == "50"
    lab.module("baleine_command", state="absent")
    assert not lab.path("/usr/local/bin/baleine").exists() and not lab.path("/etc/cron.d/baleine").exists()
    again = container(lab, name, limits={"pids": 50})
    assert not again["changed"] and again["container"]["pid"] == pid
    lab.install_baleine()


def test_a_container_that_ends_by_itself_is_removed_without_an_error(lab: LabHost, baleine: Any) -> None:
    for _attempt in range(6):
        words = ("-i", "tiny", "-c", "brief", "-b", "private", "-a", "192.168.42.9/24", "-p", "true")
        baleine("container", "create", *words)
        baleine("container", "remove", "brief")
