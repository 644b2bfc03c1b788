# SPDX-License-Identifier: GPL-3.0-or-later
"""The pass of cron, on a real kernel: what it starts, leaves, mends, names, and that it is silent otherwise."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.run import LONGEST, wait_for

SLEEP = ["sleep", "1000"]
MANIFESTS = "/var/lib/baleine/manifeste"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+( \S+)?: [a-z]+: .+")


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.rebase()


@pytest.fixture
def name(lab: LabHost, request: pytest.FixtureRequest) -> Any:
    """A name for one test; what has it, or it and a digit, is removed afterwards."""
    chosen = "t" + re.sub(r"[^a-z]", "", request.node.name.replace("test_", ""))[:40]
    yield chosen
    for path in sorted(lab.path(f"{MANIFESTS}/containers").glob(f"{chosen}*.manifest")):
        lab.module("baleine_container", name=path.name.removesuffix(".manifest"), state="absent")


def container(lab: LabHost, name: str, **options: Any) -> dict[str, Any]:
    return lab.module("baleine_container", name=name, **{"image": "tiny", "command": SLEEP, **options})


def supervise(lab: LabHost, code: int = 0, now: int | None = None, before: Sequence[str] = ()) -> list[str]:
    """Make a pass; returns its lines without their times.

    now: the time of the pass in seconds since the epoch; before: words of a command that runs the pass.
    """
    clock = {} if now is None else {"BALEINE_NOW": str(now)}
    done = lab.run([*before, "/usr/local/bin/baleine", "supervise"], check=False, env=clock)
    assert (done.returncode, done.stderr) == (code, ""), done
    assert all(LINE.fullmatch(line) for line in done.stdout.splitlines()), done.stdout
    return [line.partition(" ")[2] for line in done.stdout.splitlines()]


def record(lab: LabHost, name: str, kind: str = "container") -> dict[str, str]:
    text = lab.read(f"{MANIFESTS}/{kind}s/{name}.manifest")
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def edit(lab: LabHost, name: str, **changes: str | None) -> None:
    """Change keys of a manifest by hand; None takes one away."""
    keys = {**record(lab, name), **changes}
    text = "".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None)
    lab.write(f"{MANIFESTS}/containers/{name}.manifest", text)


def pid(lab: LabHost, name: str) -> int | None:
    shown = json.loads(lab.run(["/usr/local/bin/baleine", "container", "inspect", name, "--format", "json"]).stdout)
    found: int | None = shown[0]["pid"]
    return found


def end(lab: LabHost, name: str, code: int | str = 0) -> None:
    """Let a container's program end with a code, or kill it with its first process."""
    first = int(record(lab, name)["pid"])
    if code == "unknown":
        lab.run(["kill", "-9", str(first)])
    elif code == 137:
        children = f"/proc/{first}/task/{first}/children"
        assert wait_for(lambda: lab.read(children).split())
        lab.sh(f"kill -9 $(cat {children})")
    else:
        told = ["/usr/local/bin/baleine", "container", "exec", "-c", name, "--", "sh", "-c", f"echo {code} >/code"]
        # its program may only now take away what was there before
        assert wait_for(lambda: lab.run(told, check=False) and not lab.path(f"/proc/{first}").exists())
    assert wait_for(lambda: not lab.path(f"/proc/{first}").exists())


#: Ends with the code that is written to /code.
OBEDIENT = ["sh", "-c", "rm -f /code; until read code </code; do usleep 20000; done 2>/dev/null; exit $code"]


def reboot(lab: LabHost, name: str) -> None:
    """What a reboot leaves of a running container: its manifest."""
    lab.run(["kill", "-9", record(lab, name)["pid"]])
    lab.sh(f"umount /run/baleine/containers/{name}/state; rm -rf /run/baleine/containers/{name}")
    edit(lab, name, boot_id="11111111-2222-3333-4444-555555555555")


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


#: The first pass of a test that gives the times: 13 s after a full minute.
START = 1_900_000_000 // 60 * 60 + 13


def iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


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


@pytest.mark.parametrize("state", ["creating", "removing"])
def test_a_partly_created_or_partly_removed_container_is_removed(lab: LabHost, name: str, state: str) -> None:
    container(lab, name)
    end(lab, name, "unknown")
    edit(lab, name, state=state, pid="")
    assert supervise(lab) == [f"container {name}: removed: it was interrupted while {state}"]
    assert not lab.path(f"/var/lib/baleine/containers/{name}").exists()


def test_an_interrupted_start_or_stop_is_finished(lab: LabHost, baleine: Any, name: str) -> None:
    first = container(lab, name)["container"]["pid"]
    edit(lab, name, state="starting")
    assert [line.split(": ")[1] for line in supervise(lab)] == ["settled", "started"]
    assert pid(lab, name) not in (first, None)
    edit(lab, name, state="stopping", wanted_state="stopped")
    assert [line.split(": ")[1] for line in supervise(lab)] == ["settled"]
    assert pid(lab, name) is None
    baleine("container", "start", name)
    edit(lab, name, state="stopping")
    assert supervise(lab) == [f"container {name}: corrected: it is running, not stopping"]
    assert record(lab, name)["state"] == "running"


def test_an_interrupted_recreate_is_rolled_back(lab: LabHost, name: str) -> None:
    container(lab, name)
    end(lab, name, "unknown")
    lab.sh(f"cd /var/lib/baleine/containers; mv {name} {name}.old-x; echo new >{name}")
    edit(lab, name, state="recreating", pid="", aside=f"{name}.old-x")
    assert [line.split(": ")[1] for line in supervise(lab)] == ["settled", "started"]
    assert pid(lab, name) is not None


def test_a_manifest_of_2019_is_corrected_and_never_started(lab: LabHost, name: str) -> None:
    container(lab, name, state="stopped")
    lab.write(
        f"{MANIFESTS}/containers/{name}.manifest",
        f"nom_container: {name}\nnom_image: tiny\npid: 1\nnom_bridge:\nstarting_time: 2019-05-09-21h-50m-05s\n",
    )
    assert [line.split(": ")[1] for line in supervise(lab)] == ["settled"]
    found = record(lab, name)
    assert (found["pid"], found["state"], found["format"]) == ("", "stopped", "1")
    assert supervise(lab) == []


def test_a_reused_pid_is_not_taken_for_the_container(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    end(lab, name, "unknown")
    other = lab.popen(["sleep", "100000"])
    try:
        assert wait_for(lambda: lab.run(["pgrep", "-fx", "sleep 100000"], check=False).stdout)
        theirs = lab.run(["pgrep", "-fx", "sleep 100000"]).stdout.strip()
        edit(lab, name, pid=theirs)
        assert name not in baleine("container", "list").stdout
        edit(lab, name, pid=theirs, state="running", start_ticks="5")
        supervise(lab)
        assert pid(lab, name) is not None and other.poll() is None
    finally:
        lab.run(["pkill", "-fx", "sleep 100000"])
        other.wait()


def test_a_broken_container_is_named_and_the_others_continue(lab: LabHost, name: str) -> None:
    for letter in "abc":
        container(lab, f"{name}{letter}")
        end(lab, f"{name}{letter}", "unknown")
    torn = f"{MANIFESTS}/containers/{name}a.manifest"
    text = lab.read(torn)
    lab.write(torn, "nom_con")
    lab.sh(f"mv /var/lib/baleine/containers/{name}b /srv/kept")
    said = supervise(lab, code=1)
    assert any(f"container {name}a: failed: manifest {torn}: line 1 is not understood" in line for line in said)
    assert any(f"container {name}b: failed: container {name}b: its disk is gone" in line for line in said)
    assert f"container {name}c: started: its program ended with unknown" in said
    lab.write(torn, text)
    lab.sh(f"mv /srv/kept /var/lib/baleine/containers/{name}b")
    supervise(lab)
    assert pid(lab, f"{name}a") and pid(lab, f"{name}b")


def test_a_manifest_damaged_by_hand_stops_no_list_and_no_pass(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    container(lab, f"{name}2")
    end(lab, f"{name}2", "unknown")
    edit(lab, name, ulimits="[1]")
    assert "ulimits is of the wrong kind" in baleine("container", "exec", name, "--", "true", check=False).stderr
    edit(lab, name, ulimits=None, start_ticks="x")
    assert f"{name} " not in baleine("container", "list").stdout
    said = supervise(lab)
    assert f"container {name}: settled: its first process is gone" in said and pid(lab, name) is not None
    assert f"container {name}2: started: its program ended with unknown" in said


def test_a_full_or_read_only_store_is_named_and_running_containers_are_left_alone(lab_factory: Any) -> None:
    host = lab_factory("full", leak_check=False)
    host.install_baleine()
    host.sh("truncate -s 64M /srv/store; mkfs.ext4 -q -m 0 /srv/store; mount -o loop /srv/store /var/lib/baleine")
    from tests.lab import trees

    trees.tiny_image(host)
    for letter in "abc":
        container(host, f"x{letter}")
    first = pid(host, "xa")
    end(host, "xb", "unknown")
    host.sh("for i in 1 2 3 4; do dd if=/dev/zero of=/var/lib/baleine/fill$i bs=4k 2>/dev/null || true; sync; done")
    said = supervise(host, code=1)
    assert any("container xb: failed: manifest" in line and "No space left on device" in line for line in said)
    assert pid(host, "xa") == first
    host.sh("baleine container remove xc")  # what makes room is not kept from it
    assert not host.path("/var/lib/baleine/containers/xc").exists()
    host.sh("rm /var/lib/baleine/fill*; mount --bind $M $M; mount -o remount,ro,bind $M".replace("$M", MANIFESTS))
    assert any("Read-only file system" in line for line in supervise(host, code=1))
    assert pid(host, "xa") == first
    host.sh(f"umount {MANIFESTS}")
    assert "container xb: started: its program ended with unknown" in supervise(host)
    host.sh("baleine container remove xa xb; until umount /var/lib/baleine; do sleep 0.1; done")


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


def test_a_container_waits_for_its_dependencies(lab: LabHost, baleine: Any, name: str) -> None:
    first, second, third = (f"{name}{letter}" for letter in "zyx")  # the order of names is not theirs
    said = container(lab, second, depends_on=[{"name": first}], expect_failure=True)
    assert f"container {second}: it depends on {first}, which does not run" in said["msg"]
    assert not lab.path(f"{MANIFESTS}/containers/{second}.manifest").exists()
    assert container(lab, second, depends_on=[{"name": first}], check=True)["changed"]
    container(lab, first)
    container(lab, second, depends_on=[{"name": first}])
    container(lab, third, depends_on=[{"name": second}])
    for each in (first, second, third):
        reboot(lab, each)
    started = [line for line in supervise(lab) if ": started: " in line]
    assert [line.split()[1] for line in started] == [f"{each}:" for each in (first, second, third)]
    baleine("container", "stop", first)
    end(lab, second, "unknown")
    due = START // 60 * 60 + 60
    assert supervise(lab, now=START) == [
        f"container {second}: settled: its first process is gone",
        f"container {second}: waits: restart 2 in a row, not before {iso(due)}",
    ]
    why = f"it depends on {first}, which was stopped on purpose"
    assert supervise(lab, now=due) == [f"container {second}: waits: {why}"]
    assert supervise(lab, now=due) == [] and record(lab, second)["waits"] == why
    refused = baleine("container", "start", second, check=False)
    assert refused.returncode == 1 and f"it depends on {first}, which does not run" in refused.stderr
    baleine("container", "start", first)
    assert supervise(lab, now=due) == [f"container {second}: started: its program ended with unknown"]
    assert "waits" not in record(lab, second)


def test_dependency_cycles_are_named_once(lab: LabHost, name: str) -> None:
    one, two = f"{name}1", f"{name}2"
    container(lab, one)
    container(lab, two, depends_on=[{"name": one}])
    container(lab, one, depends_on=[{"name": two}])
    for each in (one, two):
        end(lab, each, "unknown")
    said = [line for line in supervise(lab) if "waits" in line]
    assert said == [
        f"container {each}: waits: its dependencies form a circle: {one} -> {two} -> {one}" for each in (two, one)
    ]
    assert supervise(lab) == []


WELL = {"command": "test -e /well"}
MORTAL = ["sh", "-c", "rm -f /well; sleep 1000"]


def test_health_is_recorded_shown_waited_for_and_acted_on(lab: LabHost, baleine: Any, name: str) -> None:
    check = {**WELL, "retries": 2, "action": "restart"}

    def make_well() -> None:
        """Once the program has made sure that it is not."""
        inside = ("container", "exec", "-c", name, "--")
        assert wait_for(lambda: baleine(*inside, "pidof", "sleep", check=False).stdout)
        baleine(*inside, "touch", "/well")

    first = container(lab, name, command=MORTAL, healthcheck=check)["container"]["pid"]
    assert record(lab, name)["health"] == "starting"
    assert "(starting)" in baleine("container", "list").stdout
    assert supervise(lab) == [] and record(lab, name)["health_failures"] == "1"
    make_well()
    assert supervise(lab) == [f"container {name}: healthy: its check passed"]
    assert supervise(lab) == []
    container(lab, name, command=MORTAL, healthcheck=check, wait={"healthy": True})
    baleine("container", "start", name, "--wait")
    follower = f"{name}2"
    container(lab, follower, depends_on=[{"name": name, "condition": "healthy"}])
    end(lab, follower, "unknown")
    baleine("container", "exec", "-c", name, "--", "rm", "/well")
    supervise(lab)
    assert pid(lab, follower) is not None  # one failure is none
    end(lab, follower, "unknown")
    edit(lab, follower, restarts="")
    assert supervise(lab) == [
        f"container {name}: unhealthy: exit code 1: exit code 1 and no message",
        f"container {name}: restarted: it is unhealthy",
        f"container {follower}: settled: its first process is gone",
        f"container {follower}: waits: it depends on {name}, which is not healthy",
    ]
    assert pid(lab, name) != first and record(lab, name)["health"] == "starting"
    make_well()
    assert supervise(lab) == [
        f"container {name}: healthy: its check passed",
        f"container {follower}: started: its program ended with unknown",
    ]


def test_a_health_check_runs_like_the_program(lab: LabHost, name: str) -> None:
    check = {"command": ["sh", "-c", "test $WORD.$PWD.$(id -u) = well./tmp.1000"]}
    container(lab, name, env={"WORD": "well"}, workdir="/tmp", user="1000", healthcheck=check)
    assert supervise(lab) == [f"container {name}: healthy: its check passed"]


def test_a_wait_for_health_ends_with_the_last_error(lab: LabHost, name: str) -> None:
    said = container(
        lab, name, command=MORTAL, healthcheck=WELL, wait={"healthy": True, "timeout": 0.3}, expect_failure=True
    )
    assert f"container {name}: command test -e /well did not answer in 0.3 s" in said["msg"]
    container(lab, f"{name}2")
    said = container(lab, f"{name}2", wait={"healthy": True}, expect_failure=True)
    assert "it has no health check to wait for" in said["msg"]


def test_checks_are_asked_side_by_side(lab: LabHost, name: str) -> None:
    """Each ends only when all of them have begun."""
    lab.sh("mkdir /srv/checks")
    names = [f"{name}{index}" for index in range(8)]
    for each in names:
        script = f"touch /checks/{each}; until [ -e /checks/go ]; do usleep 20000; done"
        container(
            lab,
            each,
            volumes=[{"source": "/srv/checks", "target": "/checks", "idmap": True}],
            healthcheck={"command": ["sh", "-c", script], "timeout": 30},
        )
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(supervise, lab)
        begun = wait_for(lambda: {path.name for path in lab.path("/srv/checks").iterdir()} == set(names))
        lab.write("/srv/checks/go", "")
        assert begun, "one after another"
        assert said.result() == [f"container {each}: healthy: its check passed" for each in names]
    lab.sh("rm -r /srv/checks")


def test_a_check_that_does_not_end_fails_and_leaves_nothing_inside(lab: LabHost, name: str) -> None:
    for index, command in enumerate(("sleep 98", ["sh", "-c", "trap : TERM; while :; do sleep 99; done"])):
        container(lab, f"{name}{index}", healthcheck={"command": command, "timeout": 5})
    assert supervise(lab) == []
    for index in range(2):
        assert record(lab, f"{name}{index}")["health_failures"] == "1"
    gone = wait_for(lambda: not lab.sh("pgrep -f '[t]rap : TERM|^sleep 98$'", check=False).stdout)
    assert gone, "what a check began inside is still there"


def test_http_health_checks_are_sent_from_the_host(lab: LabHost, name: str) -> None:
    command = ["httpd", "-f", "-p", "80", "-h", "/www"]
    networks = [{"bridge": "private", "addresses": ["192.168.42.9/24"]}]
    container(lab, name, command=command, networks=networks, healthcheck={"http": "/"})
    supervise(lab)
    assert record(lab, name)["health"] in ("healthy", "starting")
    container(lab, name, command=command, networks=networks, healthcheck={"http": "/nothing", "retries": 1})
    supervise(lab)
    assert record(lab, name)["health"] == "unhealthy"


TIMES = "/etc/cron.d/baleine-schedule"


def scheduled(lab: LabHost) -> list[str]:
    """The lines of the file of times, without what all of them do."""
    if not lab.path(TIMES).exists():
        return []
    assert lab.sh(f"stat -c '%a %U' {TIMES}").stdout.split() == ["644", "root"]
    lines = [line for line in lab.read(TIMES).splitlines() if " root " in line]
    return [re.sub(r"root mkdir .*; /usr/local/bin/(.*) >>.*", r"\1", line) for line in lines]


def test_the_cron_file_follows_the_schedules_of_containers(lab: LabHost, baleine: Any, name: str) -> None:
    assert scheduled(lab) == []
    container(lab, f"{name}2", schedule={"start": "0  8 * * 1-5", "stop": "0 18 * * 1-5"})
    container(lab, f"{name}1", schedule={"start": "*/5 * * * *"}, check=True)
    container(lab, f"{name}1", schedule={"start": "*/5 * * * *"})
    expected = [
        f"*/5 * * * * baleine container start -c {name}1",
        f"0 8 * * 1-5 baleine container start -c {name}2",
        f"0 18 * * 1-5 baleine container stop -c {name}2",
    ]
    assert scheduled(lab) == expected
    lab.sh(f"echo '# by hand' >>{TIMES}")
    assert supervise(lab) == [f"{TIMES}: corrected: the manifests say otherwise"]
    assert supervise(lab) == [] and scheduled(lab) == expected
    container(lab, f"{name}2")
    assert scheduled(lab) == expected[:1]
    baleine("container", "remove", f"{name}1")
    assert not lab.path(TIMES).exists()


def test_cron_runs_the_passes_and_the_schedules(lab_factory: Any) -> None:
    host = lab_factory("cron")
    host.install_baleine()
    text = host.run(
        ["/usr/bin/python3", "-ISc", "import sys; sys.path[0:0] = ['/usr/local/lib/baleine']; "
         "from baleine import schedule; print(schedule.PASS_TEXT, end='')"],
    ).stdout  # fmt: skip
    host.sh("rm -rf /etc/crontab /etc/cron.d/* /var/spool/cron/crontabs")  # what the machine itself tells its cron
    host.write("/etc/cron.d/baleine", text)
    from tests.lab import trees

    trees.tiny_image(host)
    host.rebase()
    container(host, "killed")
    container(host, "timed", schedule={"start": "* * * * *"}, state="stopped")
    end(host, "killed", "unknown")
    before = record(host, "killed")["pid"]

    def runs(name: str) -> bool:
        """Whether it does, as its manifest says: who asks with a command is who a pass leaves a container to."""
        return record(host, name)["state"] == "running" and record(host, name)["pid"] not in ("", before)

    cron = host.popen(["cron", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: runs("killed"), LONGEST, interval=0.5), "no pass"
        assert wait_for(lambda: runs("timed"), LONGEST, interval=0.5), "no start at its time"
        groups = host.read(f"/proc/{pid(host, 'timed')}/cgroup").splitlines()
        assert all(line.endswith(("/baleine/timed", ":/")) for line in groups), groups
    finally:
        host.run(["pkill", "-x", "cron"], check=False)
        cron.wait()
    assert wait_for(lambda: "container killed: started" in host.read("/var/log/baleine/supervise.log"))
    assert wait_for(
        lambda: host.run(["pgrep", "-f", "local/bin/baleine"], check=False).returncode
    )  # the last pass ends
    host.run(["/usr/local/bin/baleine", "container", "remove", "killed", "timed"])


def test_a_pass_over_fifty_containers_that_run_is_silent(lab: LabHost, name: str) -> None:
    for index in range(50):
        container(lab, f"{name}{index}", networks=[{"bridge": "private"}])
    supervise(lab)
    assert supervise(lab) == []
