# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user does with containers in the background: kill, pause, logs, stats, lists, prune."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.integration.front import BALEINE, create_running, remove_all
from tests.lab.host import LabHost
from tests.lab.run import wait_for

pytestmark = pytest.mark.usefixtures("tiny", "baleine")


@pytest.fixture(autouse=True)
def nothing_is_left(baleine: Any) -> Iterator[None]:
    """Each test begins and ends without a container."""
    yield
    remove_all(baleine)


@pytest.fixture
def running(baleine: Any) -> str:
    """The name of a container that runs."""
    return create_running(baleine)


def shown(baleine: Any, name: str) -> dict[str, Any]:
    """What inspect says of a container."""
    found: dict[str, Any] = json.loads(baleine("container", "inspect", name, "--format", "json").stdout)[0]
    return found


def test_kill_ends_a_container_at_once_and_keeps_it_stopped(lab: LabHost, baleine: Any, running: str) -> None:
    baleine("container", "kill", "-c", running)
    facts = shown(baleine, running)
    assert (facts["state"], facts["wanted_state"]) == ("stopped", "stopped")
    assert lab.run(["pgrep", "-fx", "sleep 1000"], check=False).stdout == ""
    again = baleine("container", "kill", running, check=False)
    assert again.returncode == 1 and "does not run" in again.stderr


def test_kill_passes_another_signal_on(lab: LabHost, baleine: Any) -> None:
    script = "trap 'echo told' USR1; echo ready; while :; do sleep 0.1; done"
    baleine("container", "create", "-c", "sig", "-i", "tiny", "-p", f'sh -c "{script}"')
    assert wait_for(lambda: baleine("container", "logs", "sig").stdout == "ready\n")
    baleine("container", "kill", "sig", "-s", "SIGUSR1")
    assert wait_for(lambda: baleine("container", "logs", "sig").stdout == "ready\ntold\n")
    assert shown(baleine, "sig")["state"] == "running"
    refused = baleine("container", "kill", "sig", "-s", "NONE", check=False)
    assert refused.returncode == 1 and "NONE" in refused.stderr


def test_a_paused_container_is_listed_as_paused_and_can_be_stopped(lab: LabHost, baleine: Any, running: str) -> None:
    baleine("container", "pause", running)
    assert baleine("container", "list").stdout.splitlines()[1].split()[:3] == [running, "tiny", "paused"]
    assert "FROZEN" in lab.sh("cat /sys/fs/cgroup/freezer/baleine/*/freezer.state").stdout
    baleine("container", "unpause", running)
    assert shown(baleine, running)["state"] == "running"
    refused = baleine("container", "unpause", running, check=False)
    assert refused.returncode == 1 and "it is running" in refused.stderr
    baleine("container", "pause", running)
    baleine("container", "stop", running, "-t", "1000")
    assert shown(baleine, running)["state"] == "stopped"
    assert baleine("container", "pause", running, check=False).returncode == 1


def test_a_pause_by_the_module_is_predicted_and_done_once(lab: LabHost, baleine: Any, running: str) -> None:
    for check, changed in ((True, True), (False, True), (False, False), (True, False)):
        result = lab.module("baleine_container", name=running, state="paused", check=check)
        assert result["changed"] is changed
    assert shown(baleine, running)["state"] == "paused"
    baleine("container", "kill", running)
    assert shown(baleine, running)["state"] == "stopped"


def test_logs_of_the_last_lines_are_read_from_the_end(baleine: Any) -> None:
    baleine("container", "run", "-c", "long", "-i", "tiny", "--", "seq", "1", "200000")
    assert baleine("container", "logs", "-c", "long", "-n", "2").stdout == "199999\n200000\n"
    assert baleine("container", "logs", "long", "--tail=0").stdout == ""
    assert len(baleine("container", "logs", "long", "--tail", "100000").stdout.splitlines()) == 100_000
    assert baleine("container", "logs", "long").stdout == "".join(f"{n}\n" for n in range(1, 200_001))
    assert baleine("container", "logs", "no-one", check=False).returncode == 1


def test_logs_follow_until_the_container_has_ended_also_across_a_cut(lab: LabHost, baleine: Any) -> None:
    script = "seq 1 50000; while [ ! -e /go ]; do sleep 0.05; done; seq 50001 50010; exit 0"
    create = ("container", "create", "-c", "cut", "-i", "tiny", "--log-size", "64K", "--restart", "no")
    baleine(*create, "-p", f"sh -c '{script}'")
    follower = lab.popen([BALEINE, "container", "logs", "-c", "cut", "-f"], stdout=subprocess.PIPE)
    assert follower.stdout is not None
    seen = [follower.stdout.readline() for _line in range(50_000)]
    before = lab.path("/var/log/baleine/cut.log").stat().st_size
    baleine("supervise")
    assert lab.path("/var/log/baleine/cut.log").stat().st_size < before
    baleine("container", "exec", "cut", "--", "touch", "/go")
    seen += follower.stdout.read().splitlines(keepends=True)
    assert follower.wait(timeout=120) == 0
    assert seen == [f"{number}\n" for number in range(1, 50_011)]


def test_logs_since_a_time_leave_out_earlier_lines(lab: LabHost, baleine: Any) -> None:
    script = "echo early; while [ ! -e /go ]; do sleep 0.05; done; echo late; sleep 100"
    baleine("container", "create", "-c", "since", "-i", "tiny", "-p", f"sh -c '{script}'")
    assert wait_for(lambda: baleine("container", "logs", "since").stdout == "early\n")
    an_hour_ago = {"BALEINE_NOW": str(int(time.time()) - 3600)}
    lab.run([BALEINE, "supervise"], env=an_hour_ago)  # which marks where the log ends
    baleine("container", "exec", "since", "--", "touch", "/go")
    assert wait_for(lambda: "late" in baleine("container", "logs", "since").stdout)
    for time_ago in ("0s", "59m"):
        assert baleine("container", "logs", "since", "--since", time_ago).stdout == "late\n"
    assert baleine("container", "logs", "since", "--since", "2h").stdout == "early\nlate\n"
    assert baleine("container", "logs", "since", "--since", "2001-02-03T04:05:06Z").stdout == "early\nlate\n"
    assert baleine("container", "logs", "since", "--since", "soon", check=False).returncode == 2


def stats(baleine: Any) -> dict[str, dict[str, Any]]:
    """What stats says of each container that runs."""
    found = json.loads(baleine("container", "stats", "--format", "json").stdout)
    return {entry["name"]: entry for entry in found}


def cpu_used(lab: LabHost, name: str) -> float:
    """The seconds that a container has been on a CPU, as the kernel counts them."""
    return int(lab.read(f"/sys/fs/cgroup/cpuacct/baleine/{name}/cpuacct.usage")) / 1e9


def test_the_numbers_of_stats_change(lab: LabHost, baleine: Any) -> None:
    lab.module("baleine_bridge", name="stats", addresses=["10.9.0.1/24"])
    script = (
        "ping -c 2 10.9.0.1 >/dev/null; dd if=/dev/zero of=/big bs=64k count=64 conv=fsync 2>/dev/null; "
        "while :; do :; done"
    )
    network = ("-b", "stats", "-a", "10.9.0.2/24", "--memory", "64M")
    baleine("container", "create", "-c", "busy", "-i", "tiny", *network, "-p", f"sh -c '{script}'")

    def in_loop() -> bool:
        """PID 1 and the shell alone: what comes before the loop has ended, and is written."""
        busy = stats(baleine)["busy"]
        return bool(busy["pids"] == 2 and busy["written_bytes"] >= 64 << 16)

    assert wait_for(in_loop)
    before = cpu_used(lab, "busy")
    first = stats(baleine)["busy"]
    after = cpu_used(lab, "busy")
    assert before <= first["cpu_seconds"] <= after
    # of two looks, half a second apart at least; rounded to one digit
    assert first["cpu_percent"] <= 100 * (after - before) / 0.5 + 0.05
    assert wait_for(lambda: stats(baleine)["busy"]["cpu_percent"] > 0)
    assert wait_for(lambda: stats(baleine)["busy"]["cpu_seconds"] > first["cpu_seconds"])
    assert (first["pids"], first["memory_limit"]) == (2, 64 << 20)
    assert 0 < first["memory_percent"] < 50
    assert first["interfaces"]["eth0"]["sent"] >= 2 * 98
    least = {"written_bytes": 64 << 16, "writes": 64, "read_bytes": 1, "reads": 1}
    assert {key: first[key] for key, number in least.items() if first[key] < number} == {}
    baleine("container", "remove", "busy")
    lab.module("baleine_bridge", name="stats", state="absent")


def test_stats_of_a_container_that_sleeps_say_that_it_uses_nothing(lab: LabHost, baleine: Any, running: str) -> None:
    def looked_while_asleep() -> Any:
        """What stats says and what the kernel counted, if the kernel counted nothing meanwhile."""
        before = cpu_used(lab, running)
        found = stats(baleine)[running]
        return (found, before) if cpu_used(lab, running) == before else None

    found, counted = wait_for(looked_while_asleep)
    assert found["cpu_percent"] == 0
    assert found["cpu_seconds"] == pytest.approx(counted)
    rows = baleine("container", "stats", "-c", running).stdout.splitlines()
    assert [line.split()[0] for line in rows] == ["NAME", running]
    assert baleine("container", "stats", "no-one", check=False).returncode == 1


def test_lists_are_filtered_and_prune_removes_containers_that_are_meant_to_be_stopped(
    baleine: Any, running: str
) -> None:
    for name, label in (("one", "team=a"), ("two", "team=b"), ("three", "other=x")):
        baleine("container", "create", "-c", name, "-i", "tiny", "--label", label, "-p", "sleep 1000")

    def listed(*filters: str) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return str(baleine("container", "list", "-q", *words).stdout).split()

    assert listed("label=team") == ["one", "two"]
    assert listed("label=team=b") == ["two"]
    assert listed("label=team", "image=tiny", "state=running") == ["one", "two"]
    baleine("container", "stop", "one", "three")
    assert listed("state=stopped") == ["one", "three"]
    assert baleine("container", "list", "--filter", "age=1", check=False).returncode == 2
    assert baleine("container", "prune", "-n").stdout == "one\nthree\n"
    assert baleine("container", "prune", "--filter", "label=team").stdout == "one\n"
    assert baleine("container", "prune").stdout == "three\n"
    assert baleine("container", "list", "-aq").stdout.split() == ["two", "web"]


def record_of(lab: LabHost, name: str) -> Any:
    return lab.path(f"/var/lib/baleine/manifeste/containers/{name}.manifest")


def test_a_list_is_correct_after_a_kill_a_reboot_and_a_reused_pid(lab: LabHost, baleine: Any, running: str) -> None:
    baleine("container", "create", "-c", "other", "-i", "tiny", "-p", "sleep 1000")
    lab.run(["kill", "-9", str(shown(baleine, running)["pid"])])
    assert wait_for(lambda: baleine("container", "list", "-q").stdout == "other\n")
    assert "pid:\n" in record_of(lab, running).read_text()
    pid = shown(baleine, "other")["pid"]
    text = record_of(lab, "other").read_text()
    for wrong in (
        text.replace("boot_id: ", "boot_id: 0"),
        text.replace(f"pid: {pid}", "pid: 1"),
        text.replace("start_ticks: ", "start_ticks: 1"),
    ):
        assert wrong != text
        record_of(lab, "other").write_text(wrong)
        assert baleine("container", "list", "-q").stdout == ""
        assert baleine("container", "list", "-aq").stdout == "other\nweb\n"
    record_of(lab, "other").write_text(text)
    assert baleine("container", "list", "-q").stdout == "other\n"


@pytest.mark.parametrize(
    ("program", "options", "code"),
    [
        ("true", (), 0),
        ("sh -c 'exit 7'", (), 7),
        ("sh -c 'kill -9 $$'", (), 137),
        ('awk \'BEGIN { while (1) { s = s sprintf("%1000000s", "") } }\'', ("--memory", "16M"), 137),
    ],
    ids=["0", "7", "killed", "out of memory"],
)
def test_the_exit_code_of_a_detached_program_is_correct(
    baleine: Any, program: str, options: Sequence[str], code: int
) -> None:
    baleine("container", "create", "-c", "code", "-i", "tiny", "--restart", "no", *options, "-p", program)
    assert wait_for(lambda: shown(baleine, "code")["state"] == "stopped")
    assert shown(baleine, "code")["exit_code"] == code


def test_a_program_that_daemonises_lives_on_and_a_thousand_orphans_leave_no_zombie(lab: LabHost, baleine: Any) -> None:
    script = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; (sleep 1000 &); echo done"
    baleine("container", "create", "-c", "forks", "-i", "tiny", "-p", f"sh -c '{script}'")
    assert wait_for(lambda: baleine("container", "logs", "forks").stdout == "done\n", 60)

    def states() -> list[str]:
        script = "for id in $(cat /sys/fs/cgroup/pids/baleine/forks/cgroup.procs); do cat /proc/$id/stat || true; done"
        return [line.rpartition(")")[2].split()[0] for line in lab.sh(script).stdout.splitlines()]

    assert wait_for(lambda: len(states()) == 2)
    assert "Z" not in states()
    assert wait_for(lambda: lab.sh("ps -eo stat,comm | grep -c '^Z' || true").stdout == "0\n")
    facts = shown(baleine, "forks")
    assert facts["state"] == "running"
    baleine("container", "stop", "forks", "-t", "1000")


def test_many_containers_are_created_listed_and_removed_without_a_trace(
    lab: LabHost, baleine: Any, record_property: Any
) -> None:
    names = [f"many{number}" for number in range(12)]
    for name in names:
        baleine("container", "create", "-c", name, "-i", "tiny", "-p", "sleep infinity")
    begin = time.monotonic()
    assert baleine("container", "list", "-q").stdout.split() == sorted(names)
    record_property("list_seconds", time.monotonic() - begin)
    begin = time.monotonic()
    baleine("container", "stop", names[0], "-t", "1000")
    record_property("stop_seconds", time.monotonic() - begin)
    baleine("container", "stop", *names[1:])
    baleine("container", "remove", *names)
    assert lab.leaks() == []
