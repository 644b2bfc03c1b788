# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes and schedules that cron itself runs, and a pass over many containers."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from tests.integration.supervision import (
    end,
    pid,
    record,
    supervise,
)
from tests.integration.support import container
from tests.lab import trees
from tests.lab.host import LabHost
from tests.lab.run import LONGEST, wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.rebase()


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
