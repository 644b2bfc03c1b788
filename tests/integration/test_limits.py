# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on cgroup v1, below the real roots of this machine: each against a program that tries to pass it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration import limits_cases as cases
from tests.integration.limits_cases import MIB, Limited
from tests.lab import trees
from tests.lab.host import LabHost


@pytest.fixture(scope="module")
def machine(lab_factory: Callable[..., LabHost]) -> LabHost:
    host = lab_factory("limits", cgroup_root="real")
    host.install_baleine()
    trees.tiny_image(host)
    host.rebase()
    return host


@pytest.fixture
def limited(machine: LabHost) -> Iterator[Callable[[str], Limited]]:
    made = []

    def make(name: str) -> Limited:
        made.append(Limited(machine, name, "tiny"))
        return made[-1]

    yield make
    for one in made:
        machine.module("baleine_container", name=one.name, state="absent")
    machine.module("baleine_bridge", name="rates", state="absent")


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.__name__)
def test_a_limit_case_holds(limited: Callable[[str], Limited], case: Callable[[Limited], None]) -> None:
    case(limited("limited"))


def test_a_container_of_less_weight_gets_less_of_a_contended_cpu(limited: Callable[[str], Limited]) -> None:
    cases.a_lighter_container_gets_less_of_a_cpu_that_both_want(limited("heavy"), limited("light"))


def test_the_next_owner_of_a_loop_device_is_not_throttled_by_an_old_rule(
    machine: LabHost, limited: Callable[[str], Limited]
) -> None:
    first, second = limited("first"), limited("second")
    pid = first.set(limits={"io_write_rate": "1M"})["pid"]
    loop = first.loop()
    rules = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"
    number = f"7:{loop.removeprefix('loop')}"
    assert f"{number} {MIB}" in machine.read(rules)
    machine.run(["kill", "-9", str(pid)])  # nobody takes the rule back
    machine.sh(f"while [ -e /sys/block/{loop}/loop ]; do sleep 0.05; done", timeout=120)
    assert f"{number} {MIB}" in machine.read(rules)
    second.set()
    if second.loop() == loop:  # the kernel gives the lowest free one, unless another test took it meanwhile
        assert f"{number} " not in machine.read(rules)

        def mebibytes() -> float:
            """What it writes a second: less where the disk is busy, never more than a rule allows."""
            start, before = second.clocked(second.counts())
            second.do("dd if=/dev/zero of=/root/x bs=1M count=20 conv=fsync")
            end, after = second.clocked(second.counts())
            return (int(after.split()[6]) - int(before.split()[6])) * 512 / MIB / (end - start)

        assert any(mebibytes() > 4 for _attempt in range(cases.ATTEMPTS))
    first.machine.module("baleine_container", name="first", state="stopped")  # and its end takes no other's rule
    second.set(limits={"io_write_rate": "3M"})
    last = f"7:{second.loop().removeprefix('loop')}"
    assert f"{last} {3 * MIB}" in machine.read(rules)
    machine.module("baleine_container", name="second", state="stopped")
    assert not {number, last} & {line.split()[0] for line in machine.read(rules).splitlines()}


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
    cases.a_container_shares_the_network_of_another_and_follows_it(limited("sharer"), limited("owner"))
