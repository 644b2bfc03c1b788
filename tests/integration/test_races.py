# SPDX-License-Identifier: GPL-3.0-or-later
"""Two commands at once: on one container one wins and the other says so, on two they run side by side."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.held import Held, waiting_for
from tests.lab.host import LabHost
from tests.lab.run import LONGEST, wait_for

BALEINE = "/usr/local/bin/baleine"
DISKS = "/var/lib/baleine/containers"
LOCK = "/run/baleine/lock/container.one"
STARTING = "/run/baleine/lock/.starting"


@pytest.fixture(autouse=True)
def nothing_left(lab: LabHost, tiny: str, baleine: Any) -> Iterator[None]:
    yield
    for name in baleine("container", "list", "-a", "-q").stdout.split():
        baleine("container", "remove", name)


def begin(lab: LabHost, *words: str) -> subprocess.Popen[str]:
    """Start a command, and return when it waits for the lock of the container that another command holds."""
    others = waiting_for(lab.path(LOCK))
    command = lab.popen([BALEINE, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert wait_for(lambda: waiting_for(lab.path(LOCK)) > others or command.poll() is not None)
    assert command.poll() is None, f"{words} did not wait: {command.communicate()[0]}"
    return command


def end(command: subprocess.Popen[str]) -> tuple[int, str]:
    """The code and the words of a command that was begun."""
    words = command.communicate(timeout=LONGEST)[0]
    return command.returncode, words


def listed(baleine: Any) -> dict[str, dict[str, Any]]:
    """The containers by their names, as the list shows them."""
    shown = json.loads(baleine("container", "list", "-a", "--format", "json").stdout)
    return {container["name"]: container for container in shown}


@contextlib.contextmanager
def another_at_work(lab: LabHost) -> Iterator[None]:
    """Hold the lock of the container while the block runs, as a command at work on it does."""
    with open(lab.path(LOCK), "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield


CREATE = ("container", "create", "-i", "tiny", "-c", "one", "-p", "sleep 1000")


@pytest.mark.parametrize("step", ["saved creating", "copied"])
def test_one_of_two_creations_wins_and_the_other_is_refused(lab: LabHost, baleine: Any, step: str) -> None:
    with Held(lab, [BALEINE, *CREATE], step) as first:
        second = begin(lab, *CREATE)
        assert first.go_on()[0] == 0
    code, words = end(second)
    assert code == 1 and "it exists already" in words
    assert listed(baleine)["one"]["state"] == "running"


@pytest.mark.parametrize(("verb", "refusal"), [("create", "it exists already"), ("remove", "there is none")])
def test_one_of_two_commands_that_wait_for_the_same_lock_wins_and_the_other_fails(
    lab: LabHost, baleine: Any, verb: str, refusal: str
) -> None:
    words = CREATE if verb == "create" else ("container", "remove", "one")
    if verb == "remove":
        baleine(*CREATE)
    lab.sh(f"mkdir -p {os.path.dirname(LOCK)}")
    with another_at_work(lab):
        both = [begin(lab, *words), begin(lab, *words)]
    (won, _words), (lost, said) = sorted(end(command) for command in both)
    assert (won, lost) == (0, 1) and refusal in said
    assert [one["state"] for one in listed(baleine).values()] == (["running"] if verb == "create" else [])


@pytest.mark.parametrize("step", ["saved stopping", "ended", "saved removing", "unlinked"])
def test_one_of_two_removals_wins_and_the_other_fails(lab: LabHost, baleine: Any, step: str) -> None:
    baleine(*CREATE)
    with Held(lab, [BALEINE, "container", "remove", "one"], step) as first:
        second = begin(lab, "container", "remove", "one")
        assert first.go_on()[0] == 0
    code, words = end(second)
    assert code == 1 and "there is none" in words
    assert listed(baleine) == {}


@pytest.mark.parametrize(
    ("first", "step", "meanwhile", "second", "state"),
    [
        ("stop", "saved stopping", "stopping", "start", "running"),
        ("stop", "ended", "stopping", "start", "running"),
        ("start", "created", "starting", "stop", "stopped"),
        ("start", "started", "starting", "stop", "stopped"),
    ],
)
def test_a_stop_and_a_start_at_once_leave_the_state_of_the_last_and_the_list_is_true(
    lab: LabHost, baleine: Any, first: str, step: str, meanwhile: str, second: str, state: str
) -> None:
    baleine(*CREATE)
    if first == "start":
        baleine("container", "stop", "one")
    with Held(lab, [BALEINE, "container", first, "one"], step) as inside:
        waits = begin(lab, "container", second, "one")
        assert listed(baleine)["one"]["recorded_state"] == meanwhile
        assert waits.poll() is None
        assert inside.go_on()[0] == 0
    code, words = end(waits)
    assert code == 0, words
    shown = listed(baleine)["one"]
    wished = {"running": "started", "stopped": "stopped"}[state]
    assert (shown["state"], shown["recorded_state"], shown["wanted_state"]) == (state, state, wished)


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
        assert wait_for(lambda: waiting_for(lab.path(STARTING)))
        assert not lab.path("/run/baleine/containers/two").exists()
    assert starts.wait(LONGEST) == 0
    baleine("container", "remove", "two")
    assert lab.sh(common).stdout == ""


def test_a_slow_copy_blocks_no_other_command(lab: LabHost, baleine: Any) -> None:
    """The copy is as slow as can be: it stands still, with the locks of a copy, before the disk has its name."""
    slow = ["container", "create", "--no-start", "-i", "tiny", "-c", "slow", "-p", "sleep 1"]
    with Held(lab, [BALEINE, *slow], "copied") as copying:
        baleine("container", "create", "-i", "tiny", "-c", "fast", "-p", "sleep 1000")
        assert "fast" in baleine("container", "list", "-q").stdout
        baleine("container", "create", "--no-start", "-i", "tiny", "-c", "other", "-p", "sleep 1000")
        assert lab.path(f"{DISKS}/.slow.part").exists()
        assert not lab.path(f"{DISKS}/slow").exists()
        states = {name: container["state"] for name, container in listed(baleine).items()}
        assert states == {"slow": "creating", "fast": "running", "other": "stopped"}
        assert copying.go_on()[0] == 0
    assert listed(baleine)["slow"]["state"] == "stopped"
