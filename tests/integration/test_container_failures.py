# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers refused, damaged, killed or interrupted: nothing is left, nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.containers import container, inside, make_bridges, record
from tests.integration.support import SLEEP
from tests.lab import kernel, trees
from tests.lab.host import LabHost
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str) -> None:
    make_bridges(lab)


def kernel_traces(lab: LabHost, name: str, pid: int) -> list[str]:
    """What must vanish with a container's processes: loop device, mount of the disk, links."""
    found = [line for line in lab.read("/proc/1/mountinfo").splitlines() if f"/mnt/baleine/{name}" in line]
    inode = lab.path(f"/var/lib/baleine/containers/{name}").stat().st_ino
    listed = json.loads(lab.run(["losetup", "--json", "--list", "-O", "NAME,BACK-INO"]).stdout or "{}")
    found += [str(loop["name"]) for loop in listed.get("loopdevices", []) if int(loop["back-ino"]) == inode]
    links = record(lab, name)["interface"].split(",")
    return found + [link for link in links if link in kernel.of(lab).links]


@pytest.mark.smoke
def test_a_killed_container_leaves_no_mount_loop_device_or_link_and_is_started_again(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    lab.run(["kill", "-9", str(pid)])
    wait_for(lambda: not kernel_traces(lab, name, pid))
    assert kernel_traces(lab, name, pid) == []
    check = container(lab, name, check=True)
    healed = container(lab, name)
    assert [action["action"] for action in healed["actions"]] == ["start"] == [a["action"] for a in check["actions"]]
    assert healed["drift"] == [f"container {name}: its first process is gone"]
    assert healed["container"]["pid"] != pid
    lab.module("baleine_container", name=name, state="stopped")
    assert lab.run(["e2fsck", "-fn", f"/var/lib/baleine/containers/{name}"]).returncode == 0


def test_a_change_that_needs_a_recreate_is_refused_unless_allowed_and_keeps_the_disk(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name)["container"]["pid"]
    inside(lab, name, "echo kept > /root/data")
    refused = container(lab, name, env={"A": "1"}, expect_failure=True)
    assert "env none -> {'A': '1'}" in refused["msg"] and "recreate: on_change" in refused["msg"]
    assert record(lab, name)["pid"] == str(pid)
    done = container(lab, name, env={"A": "1"}, recreate="on_change")
    assert done["container"]["pid"] != pid
    assert inside(lab, name, "cat /root/data").strip() == "kept"
    assert "A=1" in lab.sh(f"tr '\\0' '\\n' < /proc/{done['container']['pid']}/environ").stdout.split()
    assert not container(lab, name, env={"A": "1"})["changed"]
    assert container(lab, name, env={"A": "1", "b": "2"}, check=True, recreate="on_change")["changed"]


def test_a_recreate_that_does_not_start_restores_the_old_container(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    inside(lab, name, "echo kept > /root/data")
    failed = container(lab, name, user="nobodyknows", recreate="on_change", expect_failure=True)
    assert "has no user nobodyknows" in failed["msg"]
    assert inside(lab, name, "cat /root/data").strip() == "kept"
    assert not container(lab, name)["changed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "nosuch"}, "there is no image nosuch"),
        ({"networks": [{"bridge": "nosuch"}]}, "there is no bridge nosuch"),
        (
            {"networks": [{"bridge": "private", "addresses": ["192.168.43.9/24"]}]},
            "outside the network of the bridge private",
        ),
        (
            {"networks": [{"bridge": "private", "addresses": ["192.168.42.1/24"]}]},
            "in use on the bridge private by the bridge",
        ),
        ({"command": "sh -c 'open"}, "No closing quotation"),
        ({"volumes": [{"source": "/no/such", "target": "/x"}]}, "volume /no/such: No such file"),
        ({"user": "nobodyknows"}, "has no user nobodyknows"),
        ({"limits": {"memory": "1M"}}, "too small"),
        ({"command": ["/no/such"]}, "its tree has no program /no/such"),
        ({"command": ["/etc/passwd"]}, "its tree has no executable program /etc/passwd"),
    ],
    ids=["image", "bridge", "outside", "in use", "quote", "volume", "user", "memory", "program", "not executable"],
)
def test_an_invalid_container_is_refused_and_leaves_nothing(lab: LabHost, options: dict[str, Any], words: str) -> None:
    before = sorted(str(path) for path in lab.path("/var/lib/baleine").rglob("*"))
    refused = container(lab, "refused", expect_failure=True, **options)
    assert words in refused["msg"], refused["msg"]
    assert "container refused" in refused["msg"]
    assert sorted(str(path) for path in lab.path("/var/lib/baleine").rglob("*")) == before


@pytest.mark.parametrize(
    "bad", ["a/b", "a b", "..", "x" * 300, "-x", ""], ids=["slash", "space", "dots", "long", "dash", "empty"]
)
def test_an_invalid_name_is_refused(lab: LabHost, bad: str) -> None:
    refused = container(lab, bad, expect_failure=True)
    assert "no valid name" in refused["msg"]


def test_a_disk_that_a_loop_device_still_holds_is_not_started(lab: LabHost, name: str) -> None:
    container(lab, name, state="present")
    loop = lab.sh(f"losetup --find --show /var/lib/baleine/containers/{name}").stdout.strip()
    try:
        refused = container(lab, name, expect_failure=True)
        assert f"still held by {loop}" in refused["msg"]
    finally:
        lab.run(["losetup", "-d", loop])
    assert container(lab, name)["container"]["state"] == "running"


def test_a_full_filesystem_in_the_middle_of_a_copy_leaves_nothing(lab_factory: Any) -> None:
    full = lab_factory("full")
    full.sh(
        "mkdir -p /srv/small && mount -t tmpfs -o size=12m tmpfs /srv/small && mkdir -p /var/lib/baleine/containers"
    )
    trees.tiny_image(full)
    full.sh("mount --bind /srv/small /var/lib/baleine/containers && head -c 11m /dev/zero > /srv/small/filler")
    refused = full.module("baleine_container", name="x", image="tiny", command=SLEEP, expect_failure=True)
    assert "No space left" in refused["msg"] and "Make room" in refused["msg"]
    assert full.sh("ls -A /srv/small").stdout.split() == ["filler"]
    assert not full.path("/var/lib/baleine/manifeste/containers/x.manifest").exists()
    full.sh("umount /var/lib/baleine/containers; umount /srv/small")


def test_a_disk_without_its_manifest_is_not_overwritten(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    inside(lab, name, "echo precious > /precious")
    path = f"/var/lib/baleine/manifeste/containers/{name}.manifest"
    lab.sh(f"mv {path} /tmp/away")
    refused = container(lab, name, expect_failure=True)
    assert "no manifest" in refused["msg"]
    lab.sh(f"mv /tmp/away {path}")
    assert inside(lab, name, "cat /precious").strip() == "precious"
    lab.sh(f"rm /var/lib/baleine/containers/{name}")
    assert "still runs on it" in container(lab, name, expect_failure=True)["msg"]
    assert container(lab, name, recreate="on_change")["drift"] == [f"container {name}: its disk is gone"]


def test_a_running_container_without_its_manifest_is_ended_by_its_removal(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name)["container"]["pid"]
    lab.sh(f"rm /var/lib/baleine/manifeste/containers/{name}.manifest /var/lib/baleine/containers/{name}")
    baleine("container", "remove", name)
    assert not lab.path(f"/proc/{pid}").exists()
    assert lab.sh(f"ls -d /run/baleine/*/{name} /sys/fs/cgroup/*/baleine/{name} 2>/dev/null", check=False).stdout == ""
    container(lab, name)


def test_a_killed_start_is_noticed_and_repeated(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name, state="present")
    # crun start is where it ends: the process is there, its program is not
    lab.sh("mv /usr/bin/crun /usr/bin/crun.real")
    lab.write(
        "/usr/bin/crun",
        '#!/bin/sh\ncase " $* " in *" start "*) kill -9 $PPID; exit 1;; esac\nexec /usr/bin/crun.real "$@"\n',
        mode=0o755,
    )
    try:
        done = baleine("container", "start", name, check=False)
        assert done.returncode != 0
    finally:
        lab.sh("mv /usr/bin/crun.real /usr/bin/crun")
    listed = {c["name"]: c for c in json.loads(baleine("container", "list", "-a", "--format", "json").stdout)}
    assert listed[name]["state"] == "starting" and listed[name]["pid"]
    again = container(lab, name)
    assert [action["action"] for action in again["actions"]] == ["stop", "start"]
    assert again["container"]["state"] == "running" and not container(lab, name)["changed"]


def test_a_recreate_with_a_busy_disk_leaves_nothing_and_restores_the_old_container(lab: LabHost, name: str) -> None:
    lab.module("baleine_image", name="other", from_image="tiny", files=[{"path": "/other", "content": "x"}])
    pid = container(lab, name)["container"]["pid"]
    shell = lab.popen(["sh", "-c", f"cd /proc/{pid}/root && exec sleep 100000"])
    assert wait_for(lambda: lab.run(["pgrep", "-x", "-f", "sleep 100000"], check=False).returncode == 0)
    refused = container(lab, name, image="other", recreate="on_change", expect_failure=True)
    assert "still held by" in refused["msg"]
    lab.run(["pkill", "-9", "-x", "-f", "sleep 100000"])
    shell.wait()
    assert lab.sh("ls -A /var/lib/baleine/containers").stdout.split() == [name]
    assert container(lab, name)["container"]["state"] == "running"
    lab.module("baleine_container", name=name, state="absent")
    lab.module("baleine_image", name="other", state="absent")


def test_the_command_line_refuses_to_run_without_root(lab: LabHost) -> None:
    refused = lab.run(
        [
            "/usr/bin/python3",
            "/opt/ansible-lib/run_module.py",
            "ansible_collections.lab.baleine.plugins.modules.baleine_container",
        ],
        user="nobody",
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"name": "x", "_ansible_remote_tmp": "/tmp"}}),
    )
    assert "needs root" in refused.stdout and "become" in refused.stdout
