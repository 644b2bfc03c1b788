# SPDX-License-Identifier: GPL-3.0-or-later
"""The pass of cron, on a real kernel: which containers it starts again, and when."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.supervision import (
    OBEDIENT,
    START,
    edit,
    end,
    iso,
    pid,
    reboot,
    record,
    supervise,
)
from tests.integration.support import container
from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.rebase()


def test_an_idle_pass_prints_and_writes_nothing(lab: LabHost, name: str) -> None:
    container(lab, name, networks=[{"bridge": "private", "addresses": ["192.168.42.9/24"]}])
    supervise(lab)
    lab.sh("touch /tmp/before; sleep 0.05")
    assert supervise(lab) == []
    found = lab.sh("find /var/lib/baleine /var/log/baleine /etc/cron.d -newer /tmp/before").stdout.split()
    assert set(found) <= {f"/var/lib/baleine/containers/{name}"}  # the kernel writes to its disk when it likes


def test_a_killed_container_runs_again_after_one_pass(lab: LabHost, name: str) -> None:
    first = container(lab, name)["container"]["pid"]
    end(lab, name, "unknown")
    assert supervise(lab) == [
        f"container {name}: settled: its first process is gone",
        f"container {name}: started: its program ended with unknown",
    ]
    assert pid(lab, name) not in (None, first)
    assert record(lab, name)["restarts"] == "1" and record(lab, name)["wanted_state"] == "started"
    assert supervise(lab) == []


@pytest.mark.parametrize(
    ("code", "comes_back"), [(0, False), (7, True), (137, True), ("unknown", True)], ids=["0", "7", "137", "unknown"]
)
def test_the_policy_on_failure_follows_the_exit_code(
    lab: LabHost, baleine: Any, name: str, code: Any, comes_back: bool
) -> None:
    container(lab, name, command=OBEDIENT, restart_policy="on-failure")
    end(lab, name, code)
    said = supervise(lab)
    assert f"container {name}: settled: its first process is gone" in said
    assert (pid(lab, name) is not None) == comes_back == (len(said) == 2)
    if not comes_back:
        assert record(lab, name)["exit_code"] == "0" and supervise(lab) == []


def test_the_policy_on_failure_gives_up_after_its_retries(lab: LabHost, name: str) -> None:
    container(lab, name, command=OBEDIENT, restart_policy="on-failure", restart_retries=1)
    end(lab, name, 7)
    supervise(lab)
    end(lab, name, 7)
    assert supervise(lab) == [f"container {name}: settled: its first process is gone"]
    assert pid(lab, name) is None and supervise(lab) == []


def test_the_policy_no_leaves_a_container_stopped(lab: LabHost, name: str) -> None:
    container(lab, name, restart_policy="no")
    end(lab, name, "unknown")
    supervise(lab)
    assert pid(lab, name) is None and supervise(lab) == []


def test_a_container_that_keeps_ending_is_started_again_with_growing_delays(lab: LabHost, name: str) -> None:
    container(lab, name)
    gone = f"container {name}: settled: its first process is gone"
    back = f"container {name}: started: its program ended with unknown"
    now = START
    for restarts, minutes in enumerate([0, 1, 2, 4, 8, 16, 32, 60, 60]):
        end(lab, name, "unknown")
        if minutes == 0:
            assert supervise(lab, now=now) == [gone, back]
        else:
            due = now // 60 * 60 + 60 * minutes
            waits = f"container {name}: waits: restart {restarts + 1} in a row, not before {iso(due)}"
            assert supervise(lab, now=now) == [gone, waits]
            assert record(lab, name)["retry_at"] == iso(due)
            assert supervise(lab, now=due - 1) == []  # said once
            assert supervise(lab, now=due) == [back]
            now = due + 7 * restarts
        assert record(lab, name)["restarts"] == str(restarts + 1)
        assert "retry_at" not in record(lab, name)


def test_a_long_run_resets_the_count_of_restarts(lab: LabHost, name: str) -> None:
    """The pass runs in a time namespace whose clock is 1000 s ahead: the run is as much longer there."""
    container(lab, name)
    for restarts in (1, 2):
        end(lab, name, "unknown")
        supervise(lab, now=START)
        supervise(lab, now=START + 600)
        assert record(lab, name)["restarts"] == str(restarts)
    end(lab, name, "unknown")
    later = ("unshare", "--time", "--fork", "--boottime", "1000", "--")
    said = supervise(lab, now=START + 1200, before=later)
    assert [line.split(": ")[1] for line in said] == ["settled", "started"]
    assert record(lab, name)["restarts"] == "1"
    lab.run([*later, "/usr/local/bin/baleine", "container", "remove", "-f", name])  # its start is of that clock


def test_a_restart_by_the_user_resets_the_count(lab: LabHost, name: str, baleine: Any) -> None:
    container(lab, name)
    end(lab, name, "unknown")
    supervise(lab)
    baleine("container", "restart", name)
    assert "restarts" not in record(lab, name)


def test_a_container_stopped_by_the_user_stays_stopped(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name, restart_policy="always")
    baleine("container", "stop", name)
    assert supervise(lab) == [] and pid(lab, name) is None
    assert record(lab, name)["wanted_state"] == "stopped"


@pytest.mark.parametrize(
    ("policy", "stopped", "comes_back"),
    [
        ("always", True, True), ("always", False, True), ("unless-stopped", True, False), ("unless-stopped", False, True),
        ("on-failure", False, True), ("no", False, False),
    ],
)  # fmt: skip
def test_the_policy_decides_which_containers_start_after_a_reboot(
    lab: LabHost, baleine: Any, name: str, policy: str, stopped: bool, comes_back: bool
) -> None:
    container(lab, name, restart_policy=policy)
    if stopped:
        baleine("container", "stop", name)
        edit(lab, name, boot_id="11111111-2222-3333-4444-555555555555")
    else:
        reboot(lab, name)
    listed = baleine("container", "list").stdout
    assert name not in listed
    supervise(lab)
    assert (pid(lab, name) is not None) == comes_back
    assert record(lab, name)["wanted_state"] == ("stopped" if stopped else "started")
    assert supervise(lab) == []


def test_bridges_are_restored_before_containers(lab: LabHost, name: str) -> None:
    container(lab, name, networks=[{"bridge": "private", "addresses": ["192.168.42.9/24"]}])
    before = kernel.of(lab).links["private"]
    reboot(lab, name)
    lab.sh("ip link del private")
    said = supervise(lab)
    assert said[0] == "bridge private: restored: bridge private: the link is gone"
    assert said[-1] == f"container {name}: started: the host was started anew"
    assert kernel.of(lab).links["private"] == before
    assert lab.sh("ping -c1 -w60 192.168.42.9").returncode == 0
    lab.sh("ip address del 192.168.42.1/24 dev private")
    assert [line.split(": ")[1] for line in supervise(lab)] == ["restored"]
    lab.run(["/usr/local/bin/baleine", "bridge", "down", "private"])
    assert supervise(lab) == []
    lab.run(["/usr/local/bin/baleine", "bridge", "up", "private"])


def test_a_pass_skips_if_another_one_runs_or_the_container_is_locked(lab: LabHost, name: str) -> None:
    container(lab, name)
    end(lab, name, "unknown")
    lock = "/run/baleine/lock"
    assert lab.sh(f"flock {lock}/.supervise baleine supervise").stdout == ""
    assert lab.sh(f"flock {lock}/container.{name} baleine supervise").stdout == ""
    assert pid(lab, name) is None
    assert len(supervise(lab)) == 2 or pid(lab, name) is not None


def test_a_log_is_cut_while_a_program_writes_to_it(lab: LabHost, name: str) -> None:
    container(lab, name, command=["sh", "-c", "while :; do echo $((i+=1)); done"], log_size="64K")
    path = lab.path(f"/var/log/baleine/{name}.log")
    assert wait_for(lambda: path.stat().st_size > 1 << 18)
    said = supervise(lab)
    assert any(line.startswith(f"container {name}: cut:") or ".log: cut: it was above 64K" in line for line in said), (
        said
    )
    lab.run(["/usr/local/bin/baleine", "container", "stop", name])
    supervise(lab)
    numbers = [int(word) for word in path.read_bytes().split()[1:]]
    assert path.stat().st_size <= 64 << 10 and numbers == list(range(numbers[0], numbers[-1] + 1))
