# SPDX-License-Identifier: GPL-3.0-or-later
"""Two commands at once: on one container one wins and the other says so, on two they run side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.lab.run import wait_for

BALEINE = "/usr/local/bin/baleine"
DISKS = "/var/lib/baleine/containers"


@pytest.fixture(autouse=True)
def nothing_left(lab: LabHost, tiny: str, baleine: Any) -> Iterator[None]:
    yield
    for name in baleine("container", "list", "-a", "-q").stdout.split():
        baleine("container", "remove", name)


def at_once(lab: LabHost, *commands: list[str]) -> list[tuple[int, str]]:
    """Start commands together; the code and the words of each."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    begun = [lab.popen([BALEINE, *words], **pipes) for words in commands]
    return [(process.wait(60), process.communicate()[0]) for process in begun]


def test_of_two_that_create_one_container_one_wins_and_the_other_says_so(lab: LabHost, baleine: Any) -> None:
    for _round in range(4):
        words = ["container", "create", "-i", "tiny", "-c", "one", "-p", "sleep 1000"]
        ends = sorted(at_once(lab, words, words))
        assert [code for code, _said in ends] == [0, 1] and "it exists already" in ends[1][1], ends
        assert [c["state"] for c in json.loads(baleine("container", "list", "--format", "json").stdout)] == ["running"]
        ends = sorted(at_once(lab, ["container", "remove", "one"], ["container", "remove", "one"]))
        assert [code for code, _said in ends] == [0, 1] and "there is none" in ends[1][1], ends


def test_a_stop_and_a_start_at_once_leave_one_of_both_states_and_the_truth(lab: LabHost, baleine: Any) -> None:
    baleine("container", "create", "-i", "tiny", "-c", "one", "-p", "sleep 1000")
    for _round in range(4):
        ends = at_once(lab, ["container", "stop", "one"], ["container", "start", "one"], ["container", "list", "-a"])
        assert [code for code, _said in ends] == [0, 0, 0], ends
        (shown,) = json.loads(baleine("container", "list", "-a", "--format", "json").stdout)
        wished = {"running": "started", "stopped": "stopped"}[shown["state"]]
        assert shown["wanted_state"] == wished and shown["recorded_state"] == shown["state"]


def test_a_slow_copy_blocks_nobody_else(lab: LabHost, baleine: Any) -> None:
    lab.sh("cd /var/lib/baleine; cp --sparse=always images/tiny images/big; head -c 300M /dev/zero | tr '\\0' x >> images/big;"
           "sed s/tiny/big/ manifeste/images/tiny.manifest > manifeste/images/big.manifest")  # fmt: skip
    slow = lab.popen([BALEINE, "container", "create", "--no-start", "-i", "big", "-c", "slow", "-p", "sleep 1"])
    assert wait_for(lambda: lab.path(f"{DISKS}/.slow.part").exists(), 20, interval=0.001)
    os.killpg(slow.pid, signal.SIGSTOP)  # as slow as can be

    def ended() -> bool:
        os.killpg(slow.pid, signal.SIGCONT)  # nsenter(1) stops itself again for a child that it saw stopped
        return slow.poll() is not None

    try:
        baleine("container", "create", "-i", "tiny", "-c", "fast", "-p", "sleep 1000")
        assert "fast" in baleine("container", "list", "-q").stdout
        baleine("container", "create", "--no-start", "-i", "tiny", "-c", "other", "-p", "sleep 1000")
        assert lab.path(f"{DISKS}/.slow.part").exists(), "the copy was too quick to be caught"
        assert {c["name"]: c["state"] for c in json.loads(baleine("container", "list", "-a", "--format", "json").stdout)} == {
            "slow": "creating", "fast": "running", "other": "stopped",
        }  # fmt: skip
    finally:
        assert wait_for(ended, 60, interval=0.1)
    assert slow.returncode == 0
    baleine("container", "remove", "slow")
    lab.sh("rm /var/lib/baleine/images/big /var/lib/baleine/manifeste/images/big.manifest")
