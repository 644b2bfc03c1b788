# SPDX-License-Identifier: GPL-3.0-or-later
"""The pass of cron, on a real kernel: dependencies and health checks of containers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.supervision import (
    START,
    edit,
    end,
    iso,
    pid,
    reboot,
    record,
    supervise,
)
from tests.integration.support import MANIFESTS, container
from tests.lab.host import LabHost
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.rebase()


def test_a_container_is_refused_until_its_dependency_runs(lab: LabHost, name: str) -> None:
    first, second = f"{name}1", f"{name}2"
    said = container(lab, second, depends_on=[{"name": first}], expect_failure=True)
    assert f"container {second}: it depends on {first}, which does not run" in said["msg"]
    assert not lab.path(f"{MANIFESTS}/containers/{second}.manifest").exists()
    assert container(lab, second, depends_on=[{"name": first}], check=True)["changed"]


def test_a_container_waits_for_its_dependencies(lab: LabHost, baleine: Any, name: str) -> None:
    first, second, third = (f"{name}{letter}" for letter in "zyx")  # the order of names is not theirs
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
    assert (supervise(lab), record(lab, name)["health_failures"]) == ([], "1")
    make_well()
    healthy = f"container {name}: healthy: its check passed"
    assert [supervise(lab) for _pass in range(2)] == [[healthy], []]
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
        healthy,
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
