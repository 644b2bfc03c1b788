# SPDX-License-Identifier: GPL-3.0-or-later
"""The pass of cron, on a real kernel: what it mends, and what it names because it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.supervision import (
    edit,
    end,
    pid,
    record,
    supervise,
)
from tests.integration.support import MANIFESTS, container
from tests.lab import trees
from tests.lab.host import LabHost
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.rebase()


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
