# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on cgroup v1, below the real roots of this machine: each against a program that tries to pass it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator

import pytest

from tests.integration import limits_cases as cases
from tests.integration import limits_network_cases as network
from tests.integration.limits_cases import MIB, Limited
from tests.lab import cgroups, loops, trees
from tests.lab.held import Held
from tests.lab.host import LabHost

BALEINE = "/usr/local/bin/baleine"


def named(name: str) -> str:
    """The name of a container of this run alone: another run has its containers below the same cgroup roots."""
    return f"{name}{os.getpid()}"


@pytest.fixture(scope="module")
def parent_kept() -> Iterator[None]:
    """Keep the groups that all containers lie below: another run takes them away with its last container."""
    folders = [tree.folder / "baleine" / named("held") for tree in cgroups.hierarchies()]
    for folder in folders:
        while not folder.is_dir():
            with contextlib.suppress(FileNotFoundError):  # taken away between both
                folder.parent.mkdir(exist_ok=True)
                folder.mkdir()
    yield
    for folder in folders:
        folder.rmdir()
        with contextlib.suppress(OSError):  # another run's containers are there
            folder.parent.rmdir()


@pytest.fixture(scope="module")
def machine(parent_kept: None, lab_factory: Callable[..., LabHost]) -> LabHost:
    host = lab_factory("limits", cgroup_root="real")
    host.install_baleine()
    trees.tiny_image(host)
    host.rebase()
    return host


@pytest.fixture
def limited(machine: LabHost) -> Iterator[Callable[[str], Limited]]:
    made = []

    def make(name: str) -> Limited:
        made.append(Limited(machine, named(name), "tiny"))
        return made[-1]

    yield make
    for one in made:
        machine.module("baleine_container", name=one.name, state="absent")
    machine.module("baleine_bridge", name="rates", state="absent")


@pytest.mark.parametrize("case", cases.CASES + network.CASES, ids=lambda case: case.__name__)
def test_a_limit_case_holds(limited: Callable[[str], Limited], case: Callable[[Limited], None]) -> None:
    case(limited("limited"))


@pytest.mark.measured
@pytest.mark.parametrize("case", cases.MEASURED + network.MEASURED, ids=lambda case: case.__name__)
def test_rates(limited: Callable[[str], Limited], case: Callable[[Limited], None]) -> None:
    case(limited("limited"))


@pytest.mark.measured
def test_a_container_of_less_weight_gets_less_of_a_contended_cpu(limited: Callable[[str], Limited]) -> None:
    cases.a_lighter_container_gets_less_of_a_cpu_that_both_want(limited("heavy"), limited("light"))


RULES = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"


def rule_of(machine: LabHost, device: str) -> str:
    """The rule of the root group for a device, in bytes a second; empty where there is none."""
    return dict(line.split() for line in machine.read(RULES).splitlines()).get(device, "")


def device_of(machine: LabHost, name: str) -> str:
    """The number of the loop device that holds a container's disk."""
    disk = machine.path(f"/var/lib/baleine/containers/{name}").stat()
    (loop,) = [loop for loop in loops.all_loops() if (loop.device, loop.inode) == (disk.st_dev, disk.st_ino)]
    return f"7:{loop.name.removeprefix('loop')}"


def test_the_next_owner_of_a_loop_device_is_not_throttled_by_an_old_rule(
    machine: LabHost, limited: Callable[[str], Limited]
) -> None:
    """Which device the kernel gives next is not ours to choose: what the last owner left is put on the one it gave."""
    first, second = limited("first"), limited("second")
    rate = MIB + os.getpid() % 4096  # as no other run has it
    pid = first.set(limits={"io_write_rate": rate})["pid"]
    old_device = device_of(machine, first.name)
    assert rule_of(machine, old_device) == str(rate)
    note = f"/run/baleine/containers/{first.name}/throttled"
    machine.run(["kill", "-9", str(pid)])  # nobody takes back the rule, or the note of it
    create = [BALEINE, "container", "create", "-c", second.name, "-i", "tiny", "-p", "sleep 100000"]
    with Held(machine, create, "specified") as starts:
        device = device_of(machine, second.name)
        if rule_of(machine, old_device) == str(rate):  # not another's by now
            machine.sh(f"echo '{old_device} 0' >{RULES}")
        machine.sh(f"echo '{device} {rate}' >{RULES}; printf %s {device} >{note}")
        assert rule_of(machine, device) == str(rate)
        assert starts.go_on()[0] == 0
    assert device_of(machine, second.name) == device and rule_of(machine, device) == ""

    def mebibytes(times: int) -> float:
        """What it writes a second: less where the disk is busy, never more than a rule allows."""
        program = cases.repeated("dd if=/dev/zero of=/root/x bs=1M count=8 conv=fsync", times)
        return cases.speed(second, program, 6, math.inf, 8 * times * MIB / 512) * 512 / MIB

    assert cases.comes_to(1 + cases.BURST, mebibytes)
    second.set(limits={"io_write_rate": 3 * rate})
    assert rule_of(machine, device) == str(3 * rate)
    machine.module("baleine_container", name=first.name, state="stopped")  # its end takes no other's rule
    assert rule_of(machine, device) == str(3 * rate)
    machine.module("baleine_container", name=second.name, state="stopped")
    assert rule_of(machine, device) != str(3 * rate)  # the device may be another's by now


def test_a_limit_that_this_host_cannot_enforce_is_refused_before_any_change(limited: Callable[[str], Limited]) -> None:
    it = limited("limited")
    pid = it.set()["pid"]
    for limits, message in (
        ({"cpuset": "0,500"}, "limits.cpuset: this host has no number 500"),
        ({"cpuset_mems": "9"}, "limits.cpuset_mems: this host has no number 9"),
        ({"devices": [{"path": "/dev/none"}]}, "limits.devices: this host has no device /dev/none"),
    ):
        assert message in it.set(expect_failure=True, limits={**limits, "pids": 7})["msg"]
    assert it.group("pids/pids.max", "pids.max").strip() == "2048" and it.record()["pid"] == str(pid)


def test_a_container_shares_the_network_of_another_and_follows_it(limited: Callable[[str], Limited]) -> None:
    network.a_container_shares_the_network_of_another_and_follows_it(limited("sharer"), limited("owner"))
