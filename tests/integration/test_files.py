# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's disk and files: an image made of it, its disk mounted, files in and out, what differs from its image."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.support import inspected
from tests.lab.host import LabHost
from tests.lab.run import LONGEST, wait_for

SLEEP = ["sleep", "1000"]
MANIFESTS = "/var/lib/baleine/manifeste"
BALEINE = "/usr/local/bin/baleine"


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.sh("mkdir -p /srv/out")
    lab.rebase()


@pytest.fixture
def name(lab: LabHost, request: pytest.FixtureRequest) -> Any:
    """A name for one test; what has it is removed afterwards, and so are images of that name."""
    chosen = "t" + re.sub(r"[^a-z]", "", request.node.name.replace("test_", ""))[:40]
    yield chosen
    lab.run([BALEINE, "container", "umount", chosen], check=False)
    lab.module("baleine_container", name=chosen, state="absent")
    lab.sh("rm -rf /srv/out/* /srv/out/.[!.]*")


def container(lab: LabHost, name: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = lab.module(
        "baleine_container", name=name, **{"image": "tiny", "command": SLEEP, "init": True, **options}
    )["container"]
    return found


def inside(lab: LabHost, name: str, script: str) -> str:
    return lab.run([BALEINE, "container", "exec", "-c", name, "--", "sh", "-c", script]).stdout


def refused(baleine: Any, *words: str) -> str:
    done: subprocess.CompletedProcess[str] = baleine(*words, check=False)
    assert done.returncode == 1, done
    return done.stderr


def record(lab: LabHost, kind: str, name: str) -> dict[str, str]:
    text = lab.read(f"{MANIFESTS}/{kind}s/{name}.manifest")
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def test_a_commit_of_a_running_container_holds_its_files_and_does_not_stop_it(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name, command=["sh", "-c", "while :; do echo x >> /always; usleep 2000; done"])["pid"]
    inside(lab, name, "echo mine > /mine; chown 1000 /mine")
    baleine("container", "commit", "-c", name, "-i", "kept:1")
    size = len(inside(lab, name, "cat /always"))
    assert wait_for(lambda: len(inside(lab, name, "cat /always")) > size)
    recorded = record(lab, "container", name)
    assert (recorded["pid"], recorded["state"]) == (str(pid), "running")
    shown = json.loads(baleine("image", "inspect", "kept:1", "--format", "json").stdout)[0]
    assert shown["recipe"]["from_container"] == name and shown["digest"].startswith("sha256:") and not shown["edited"]
    assert lab.run(["e2fsck", "-fn", shown["path"]]).returncode == 0
    container(lab, f"{name}2", image="kept:1")
    assert inside(lab, f"{name}2", "cat /mine; stat -c %u /mine").split() == ["mine", "1000"]
    lab.module("baleine_container", name=f"{name}2", state="absent")
    baleine("image", "remove", "kept:1")


def test_a_commit_replaces_an_image_only_with_force_and_leaves_a_container_stopped(
    lab: LabHost, baleine: Any, name: str
) -> None:
    container(lab, name)
    commit = ("container", "commit", "-c", name, "-i", "kept:1")
    baleine(*commit)
    before = inspected(baleine, "image", "kept:1")
    said = refused(baleine, *commit)
    assert "image kept:1: it exists already" in said and "--force" in said
    assert inspected(baleine, "image", "kept:1")["digest"] == before["digest"]
    inside(lab, name, "echo more > /more")
    lab.module("baleine_container", name=name, state="stopped")
    baleine(*commit, "--force")
    assert inspected(baleine, "image", "kept:1")["digest"] != before["digest"]
    assert record(lab, "container", name)["state"] == "stopped"
    baleine("image", "remove", "kept:1")
    assert "there is none" in refused(baleine, "container", "commit", "-c", "nobody", "-i", "kept")


def test_a_filesystem_left_frozen_is_thawed_by_the_next_pass(lab: LabHost, baleine: Any, name: str) -> None:
    pid = container(lab, name)["pid"]
    lab.sh(f"sed -i 's/^state: running/state: committing\\ncommit: kept/' {MANIFESTS}/containers/{name}.manifest")
    lab.run(["fsfreeze", "-f", f"/proc/{pid}/root"])
    assert f"{name}: settled" in baleine("supervise").stdout
    inside(lab, name, "echo x > /written; sync")
    assert record(lab, "container", name)["state"] == "running" and "commit" not in record(lab, "container", name)


def digest(lab: LabHost, path: str) -> str:
    return lab.run(["sha256sum", path]).stdout.split()[0]


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_fifty_megabytes_are_copied_in_and_out_unchanged(lab: LabHost, baleine: Any, name: str, state: str) -> None:
    lab.module("baleine_image", name="large", from_image="tiny", size="256M")
    container(lab, name, image="large", state="present" if state == "stopped" else "started")
    lab.sh("head -c 50000000 /dev/urandom > /srv/out/in; chmod 640 /srv/out/in; chown 1000:33 /srv/out/in")
    baleine("container", "copy", "/srv/out/in", f"{name}:/root/big")
    baleine("container", "copy", f"{name}:/root/big", "/srv/out/back")
    assert digest(lab, "/srv/out/in") == digest(lab, "/srv/out/back")
    assert lab.sh("stat -c '%u %g %a' /srv/out/back").stdout.split() == ["1000", "33", "640"]
    if state == "started":
        assert inside(lab, name, "stat -c '%u %g %a' /root/big; ls -A /root").split() == ["1000", "33", "640", "big"]
    lab.module("baleine_container", name=name, state="absent")
    lab.module("baleine_image", name="large", state="absent")


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_directories_are_copied_to_the_same_place_as_by_cp(lab: LabHost, baleine: Any, name: str, state: str) -> None:
    container(lab, name, state="present" if state == "stopped" else "started")
    lab.sh("mkdir -p /srv/out/d/sub; echo a > /srv/out/d/a; ln -s a /srv/out/d/link; echo b > /srv/out/d/sub/b; "
           "chmod 700 /srv/out/d/sub; chown 33 /srv/out/d/sub; ln /srv/out/d/a /srv/out/d/hard")  # fmt: skip
    baleine("container", "copy", "/srv/out/d", f"{name}:/new")  # there is no /new: it becomes it
    baleine("container", "copy", "/srv/out/d", f"{name}:/root")  # there is: into it
    baleine("container", "copy", "/srv/out/d/.", f"{name}:/home")  # what is in it
    baleine("container", "copy", "/srv/out/d/a", f"{name}:/home/a")  # over a file
    for path in ("new", "root/d", "home"):
        baleine("container", "copy", f"{name}:/{path}", "/srv/out/x")
        assert lab.sh("cd /srv/out/x; cat a sub/b; readlink link; stat -c '%u %a' sub; stat -c %h hard").stdout.split() == [
            "a", "b", "a", "33", "700", "2" if path != "home" else lab.sh("stat -c %h /srv/out/x/hard").stdout.strip()
        ]  # fmt: skip
        lab.sh("rm -r /srv/out/x")
    stream = lab.sh(f"{BALEINE} container copy {name}:/new - | tar t").stdout.split()
    assert "new/sub/b" in stream
    lab.sh(f"tar cC /srv/out d | {BALEINE} container copy - {name}:/srv")
    lab.sh(f"cd /srv/out; {BALEINE} container copy d/a {name}:/srv/d/relative")
    baleine("container", "copy", f"{name}:/srv/d", "/srv/out/y")
    assert "relative" in lab.sh("ls /srv/out/y").stdout.split()


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_the_whole_tree_is_copied_out_without_the_filesystems_of_the_kernel(
    lab: LabHost, baleine: Any, name: str, state: str
) -> None:
    container(lab, name, state="present" if state == "stopped" else "started")
    baleine("container", "copy", f"{name}:/", "/srv/out/tree")
    assert lab.sh("cat /srv/out/tree/etc/hostname; ls /srv/out/tree/proc /srv/out/tree/sys").stdout.split()[0] == "tiny"
    assert lab.sh("find /srv/out/tree/proc /srv/out/tree/sys -mindepth 1").stdout == ""


def test_a_copy_of_a_missing_or_too_large_file_is_refused_and_leaves_nothing(
    lab: LabHost, baleine: Any, name: str
) -> None:
    container(lab, name)
    assert "No such file" in refused(baleine, "container", "copy", f"{name}:/nothing", "/srv/out/x")
    assert "No such file" in refused(baleine, "container", "copy", "/nothing", f"{name}:/root")
    assert "No such file" in refused(baleine, "container", "copy", "/etc/passwd", f"{name}:/no/such/folder/x")
    assert "one of both" in refused(baleine, "container", "copy", "/etc/passwd", "/srv/out/x")
    lab.sh("head -c 70000000 /dev/zero > /srv/out/in")
    said = refused(baleine, "container", "copy", "/srv/out/in", f"{name}:/root/x")
    assert "No space left" in said, said
    assert inside(lab, name, "ls -A /root /; df -m / | tail -1 | awk '{print ($4 > 30)}'").split()[-1] == "1"
    assert "part" not in inside(lab, name, "ls -A /root /") and lab.sh("ls -A /srv/out").stdout.split() == ["in"]


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_a_copy_follows_no_hostile_link(lab: LabHost, baleine: Any, name: str, state: str) -> None:
    container(lab, name)
    inside(
        lab, name,
        "ln -s / /data; ln -s /proc/1/root /root/up; ln -s ../../../../../../../srv /root/out; ln -s /etc/shadow /s;"
        "echo x > /root/suid; chmod 4755 /root/suid",
    )  # fmt: skip
    lab.module("baleine_container", name=name, state="stopped")
    baleine("container", "mount", name)
    lab.sh(f"mknod /mnt/baleine/{name}/root/node b 7 0")
    baleine("container", "umount", name)
    lab.module("baleine_container", name=name, state=state)
    lab.sh("rm -f /evil; echo mine > /srv/out/evil; ls -A / /srv > /tmp/names")
    for path in ("/data/evil", "/root/out/evil", "/root/up/evil"):
        baleine("container", "copy", "/srv/out/evil", f"{name}:{path}", check=False)
    assert lab.sh("ls -A / /srv").stdout == lab.read("/tmp/names")
    assert not lab.path("/evil").exists()
    baleine("container", "copy", f"{name}:/s", "/srv/out/s")  # the link itself
    assert lab.sh("readlink /srv/out/s").stdout.strip() == "/etc/shadow"
    assert "root" not in refused(baleine, "container", "copy", f"{name}:/data/etc/shadow", "/srv/out/shadow")
    baleine("container", "copy", f"{name}:/root/suid", "/srv/out/suid")
    assert lab.sh("stat -c %a /srv/out/suid").stdout.strip() == "755"
    refused(baleine, "container", "copy", f"{name}:/root/node", "/srv/out/node")
    assert "node" not in lab.sh("ls -A /srv/out").stdout


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_a_user_database_that_blocks_delays_no_copy(lab: LabHost, baleine: Any, name: str, state: str) -> None:
    """Who reads a pipe that nobody writes waits for ever, and with him whoever wants to stop or remove the container."""
    container(lab, name)
    inside(
        lab,
        name,
        "echo x > /root/x; chown 1000:1000 /root/x; for n in passwd group; do rm -f /etc/$n; mkfifo /etc/$n; done",
    )
    lab.module("baleine_container", name=name, state=state)
    baleine("container", "copy", f"{name}:/root", "/srv/out/root")
    assert lab.sh("cat /srv/out/root/x; stat -c %u:%g /srv/out/root/x").stdout == "x\n1000:1000\n"
    baleine("container", "copy", f"{name}:/etc/passwd", "/srv/out/pipe")
    assert lab.sh("stat -c %F /srv/out/pipe").stdout == "fifo\n"
    baleine("container", "copy", f"{name}:/", "/srv/out/all")
    baleine("container", "copy", "/srv/out/root", f"{name}:/again")
    assert "A /again" in baleine("container", "diff", name).stdout
    baleine("container", "remove", "--force", name)


@pytest.fixture
def host_files(lab: LabHost) -> Iterator[Callable[[], str]]:
    """Files of the host at the very places where a copy would go on that follows a link to /srv; a look at them."""
    lab.sh("mkdir /srv/..baleine-part; for place in /srv /srv/..baleine-part; do for i in $(seq 200); do "
           "echo of the host > $place/$i; done; done")  # fmt: skip
    yield lambda: lab.sh("cd /srv; ls -AR; cat [0-9]* ..baleine-part/*; stat -c '%n %u %a' . ..baleine-part").stdout
    lab.sh("rm -rf /srv/..baleine-part /srv/[0-9]*")


LINKS = pytest.mark.parametrize("link", ["/srv", "../../../../../../../../srv"])


@LINKS
def test_a_directory_that_becomes_a_link_while_files_are_copied_into_it_leads_nowhere(
    lab: LabHost, name: str, host_files: Callable[[], str], link: str
) -> None:
    """The archive stops in its middle: its target has been found by then, and a part of it lies there."""
    container(lab, name)
    inside(lab, name, "mkdir /d")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(1, 201):
            archive.addfile(tarfile.TarInfo(str(number)), io.BytesIO())
    archive_bytes = stream.getvalue()
    before = host_files()
    command = [BALEINE, "container", "copy", "-", f"{name}:/d"]
    copying = lab.popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=False)
    assert copying.stdin is not None
    copying.stdin.write(archive_bytes[:4096])
    copying.stdin.flush()
    part = "[ ! -e /d/..baleine-part/1 ] || echo there"
    assert wait_for(lambda: inside(lab, name, part) or copying.poll() is not None)
    inside(lab, name, f"mv /d /f; ln -s {link} /d")
    assert copying.poll() is None
    words = copying.communicate(archive_bytes[4096:], timeout=LONGEST)[1].decode()
    assert copying.returncode == 1 and "No such file or directory" in words
    assert host_files() == before
    assert inside(lab, name, "ls -A /srv") == ""


@LINKS
def test_a_directory_that_becomes_a_link_while_it_is_copied_out_leads_nowhere(
    lab: LabHost, name: str, host_files: Callable[[], str], link: str
) -> None:
    """Nobody reads the archive at first: it is larger than a pipe, so tar(1) stops in the middle of the directory."""
    container(lab, name)
    inside(lab, name, "mkdir /d; for i in $(seq 200); do head -c 4096 /dev/zero > /d/$i; done")
    before = host_files()
    copying = lab.popen([BALEINE, "container", "copy", f"{name}:/d", "-"], stdout=subprocess.PIPE, text=False)
    assert copying.stdout is not None
    begun = copying.stdout.read(1)
    inside(lab, name, f"mv /d /f; ln -s {link} /d")
    assert copying.poll() is None
    archive = begun + copying.communicate(timeout=LONGEST)[0]
    assert copying.returncode == 1  # the rest of the directory is not there any more
    assert b"of the host" not in archive and b"ustar" in archive
    assert host_files() == before


def test_a_disk_mounted_for_work_by_hand_refuses_every_other_use(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    assert "it runs" in refused(baleine, "container", "mount", "-c", name)
    lab.module("baleine_container", name=name, state="stopped")
    assert baleine("container", "mount", "-c", name).stdout == f"/mnt/baleine/{name}\n"
    lab.sh(f"echo by-hand > /mnt/baleine/{name}/by-hand; mount | grep /mnt/baleine/{name} | grep -q nosuid,nodev")
    for words in (
        ("start", name), ("commit", name, "-i", "kept"), ("copy", f"{name}:/by-hand", "/srv/out/x"), ("remove", name),
        ("diff", name), ("rename", name, "--new-name", "other"), ("grow", name, "-s", "1G"),
    ):  # fmt: skip
        said = refused(baleine, "container", *words)
        assert f"its disk is mounted at /mnt/baleine/{name}" in said and "container umount" in said, words
    assert "is mounted" in refused(baleine, "container", "mount", "-c", name)
    baleine("container", "umount", name)
    assert "not mounted" in refused(baleine, "container", "umount", name)
    baleine("container", "start", name)
    assert inside(lab, name, "cat /by-hand") == "by-hand\n"


def test_a_reboot_while_a_disk_is_mounted_does_no_harm(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name, state="present")
    baleine("container", "mount", name)
    lab.sh(
        f"echo written > /mnt/baleine/{name}/written; sync; cp --sparse=always /var/lib/baleine/containers/{name} /srv/out/x"
    )
    baleine("container", "umount", name)
    lab.sh(f"mv /srv/out/x /var/lib/baleine/containers/{name}")  # as a power cut leaves it: its journal is not empty
    baleine("container", "mount", name)
    assert lab.read(f"/mnt/baleine/{name}/written") == "written\n"
    baleine("container", "umount", name)
    assert lab.run(["e2fsck", "-fn", f"/var/lib/baleine/containers/{name}"]).returncode == 0


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_the_diff_lists_added_changed_and_deleted_files(lab: LabHost, baleine: Any, name: str, state: str) -> None:
    container(lab, name, volumes=[{"source": "/srv/out", "target": "/mnt"}])
    inside(lab, name, "echo x > /added; mkdir /home/new; rm /etc/os-release; echo y >> /etc/passwd; chmod 750 /www; "
           "echo z > /mnt/not-its-own; ln -s x '/home/new/li\nne'; chown 1000 /srv")  # fmt: skip
    if state == "stopped":
        lab.module("baleine_container", name=name, state="stopped")
    lines = baleine("container", "diff", name).stdout.splitlines()
    assert set(lines) >= {
        "A /added", "A /home/new", "A /home/new/li\\nne", "D /etc/os-release", "C /etc/passwd", "C /www", "C /srv",
    }  # fmt: skip
    assert not [line for line in lines if "not-its-own" in line or "/proc" in line or "/dev" in line]
    assert len(lines) <= 9, lines
    shown = json.loads(baleine("container", "diff", name, "--format", "json").stdout)
    assert {"change": "A", "path": "/home/new/li\nne"} in shown


def test_a_diff_against_a_rebuilt_image_is_refused(lab: LabHost, baleine: Any, name: str) -> None:
    files = [{"path": "/one", "content": "1"}]
    lab.module("baleine_image", name="mine", from_image="tiny", files=files)
    container(lab, name, image="mine")
    assert baleine("container", "diff", name).stdout == ""
    lab.module("baleine_image", name="mine", from_image="tiny", files=[{"path": "/two", "content": "2"}])
    assert "not what its disk was copied from" in refused(baleine, "container", "diff", name)
    lab.module("baleine_container", name=name, state="absent")
    lab.module("baleine_image", name="mine", state="absent")
