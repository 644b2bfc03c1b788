# SPDX-License-Identifier: GPL-3.0-or-later
"""Two commands at once: on one container one wins and the other says so, on two they run side by side."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.lab.run import wait_for

BALEINE = "/usr/local/bin/baleine"
DISKS = "/var/lib/baleine/containers"
STARTING = "/run/baleine/lock/.starting"


@pytest.fixture(autouse=True)
def nothing_left(lab: LabHost, tiny: str, baleine: Any) -> Iterator[None]:
    yield
    for name in baleine("container", "list", "-a", "-q").stdout.split():
        baleine("container", "remove", name)


def at_once(lab: LabHost, *commands: list[str]) -> list[tuple[int, str]]:
    """Start commands together; the code and the words of each."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    begun = [lab.popen([BALEINE, *words], **pipes) for words in commands]
    return [(process.communicate(timeout=300)[0], process.returncode)[::-1] for process in begun]


def test_only_one_of_two_commands_creates_a_container_and_the_other_reports_it(lab: LabHost, baleine: Any) -> None:
    for _round in range(4):
        words = ["container", "create", "-i", "tiny", "-c", "one", "-p", "sleep 1000"]
        ends = sorted(at_once(lab, words, words))
        assert [code for code, _said in ends] == [0, 1] and "it exists already" in ends[1][1], ends
        assert [c["state"] for c in json.loads(baleine("container", "list", "--format", "json").stdout)] == ["running"]
        ends = sorted(at_once(lab, ["container", "remove", "one"], ["container", "remove", "one"]))
        assert [code for code, _said in ends] == [0, 1] and "there is none" in ends[1][1], ends


def test_a_stop_and_a_start_at_once_leave_a_consistent_state(lab: LabHost, baleine: Any) -> None:
    baleine("container", "create", "-i", "tiny", "-c", "one", "-p", "sleep 1000")
    for _round in range(4):
        ends = at_once(lab, ["container", "stop", "one"], ["container", "start", "one"], ["container", "list", "-a"])
        assert [code for code, _said in ends] == [0, 0, 0], ends
        (shown,) = json.loads(baleine("container", "list", "-a", "--format", "json").stdout)
        wished = {"running": "started", "stopped": "stopped"}[shown["state"]]
        assert shown["wanted_state"] == wished and shown["recorded_state"] == shown["state"]


def test_the_last_container_removes_common_directories_but_never_during_a_start(lab: LabHost, baleine: Any) -> None:
    common = (
        "ls -d /sys/fs/cgroup/*/baleine /run/baleine/containers /run/baleine/crun /run/baleine/runc 2>/dev/null || true"
    )
    baleine("container", "create", "-i", "tiny", "-c", "one", "-p", "sleep 1000")
    there = lab.sh(common).stdout
    assert "/baleine\n" in there and "/run/baleine/containers\n" in there
    with open(lab.path(STARTING), "w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # as one that starts
        baleine("container", "remove", "one")
        assert lab.sh(common).stdout == there
    with open(lab.path(STARTING), "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as one that takes them away
        starts = lab.popen([BALEINE, "container", "create", "-i", "tiny", "-c", "two", "-p", "sleep 1000"])
        place = os.fstat(other.fileno()).st_ino
        assert wait_for(lambda: re.search(f"->.*:{place} ", Path("/proc/locks").read_text()))
        assert not lab.path("/run/baleine/containers/two").exists()
    assert starts.wait(300) == 0
    baleine("container", "remove", "two")
    assert lab.sh(common).stdout == ""


def stopped(session: int) -> bool:
    """Whether every process of a session has stopped, and not only been told to."""
    states = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that ends meanwhile
            state, _parent, _group, of, *_rest = path.read_text().rpartition(")")[2].split()
            states |= {state} if int(of) == session else set()
    return states <= {"T", "Z"}


def test_a_slow_copy_blocks_no_other_command(lab: LabHost, baleine: Any) -> None:
    lab.sh("cd /var/lib/baleine; cp --sparse=always images/tiny images/big; head -c 300M /dev/zero | tr '\\0' x >> images/big;"
           "sed s/tiny/big/ manifeste/images/tiny.manifest > manifeste/images/big.manifest")  # fmt: skip
    part, words = lab.path(f"{DISKS}/.slow.part"), ["--no-start", "-i", "big", "-c", "slow", "-p", "sleep 1"]

    def ended() -> bool:
        if slow.poll() is None:
            os.killpg(slow.pid, signal.SIGCONT)  # nsenter(1) stops itself again for a child that it saw stopped
        return slow.poll() is not None

    for _attempt in range(20):  # until one is caught in the middle, however quick the disk is
        slow = lab.popen([BALEINE, "container", "create", *words])
        assert wait_for(lambda slow=slow: part.exists() or slow.poll() is not None, interval=0.001)
        if slow.poll() is None:
            os.killpg(slow.pid, signal.SIGSTOP)  # as slow as can be
            assert wait_for(lambda slow=slow: stopped(slow.pid))
        if part.exists():
            break
        assert wait_for(ended, interval=0.1) and slow.returncode == 0
        baleine("container", "remove", "slow")
    try:
        baleine("container", "create", "-i", "tiny", "-c", "fast", "-p", "sleep 1000")
        assert "fast" in baleine("container", "list", "-q").stdout
        baleine("container", "create", "--no-start", "-i", "tiny", "-c", "other", "-p", "sleep 1000")
        assert lab.path(f"{DISKS}/.slow.part").exists(), "the copy was too quick to be caught"
        assert {c["name"]: c["state"] for c in json.loads(baleine("container", "list", "-a", "--format", "json").stdout)} == {
            "slow": "creating", "fast": "running", "other": "stopped",
        }  # fmt: skip
    finally:
        assert wait_for(ended, interval=0.1)
    assert slow.returncode == 0
    baleine("container", "remove", "slow")
    lab.sh("rm /var/lib/baleine/images/big /var/lib/baleine/manifeste/images/big.manifest")
