# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on cgroup v2, in the guest: the same programs that try to pass them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration import limits_cases as cases
from tests.integration import limits_network_cases as network
from tests.integration.limits_cases import Limited
from tests.lab.guest import Guest

ALL_CASES = cases.CASES + network.CASES + cases.MEASURED + network.MEASURED


@pytest.fixture
def limited(guest: Guest) -> Iterator[Callable[[str], Limited]]:
    made = []

    def make(name: str) -> Limited:
        made.append(Limited(guest, name, "tiny"))
        return made[-1]

    yield make
    for one in made:
        guest.module("baleine_container", name=one.name, state="absent")


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.__name__)
def test_a_limit_case_holds(limited: Callable[[str], Limited], case: Callable[[Limited], None]) -> None:
    case(limited("limited"))


def test_a_container_of_less_weight_gets_less_of_a_contended_cpu(limited: Callable[[str], Limited]) -> None:
    cases.a_lighter_container_gets_less_of_a_cpu_that_both_want(limited("heavy"), limited("light"))


def test_limits_survive_a_reload_of_systemd(guest: Guest, limited: Callable[[str], Limited]) -> None:
    it = limited("limited")
    limits = {"memory": "64M", "cpus": 0.5, "cpu_weight": 50, "cpuset": "0", "cpuset_mems": "0", "pids": 30}
    limits.update(io_read_rate="8M", io_write_rate="4M", io_read_ops=500, io_write_ops=400)
    it.set(limits=limits)
    files = f"cd /sys/fs/cgroup/baleine/{it.name}; grep . memory.max cpu.max cpu.weight cpuset.cpus pids.max io.max"
    before = guest.sh(files).stdout
    assert "wbps=4194304" in before and "\ncpuset.cpus:0\n" in before
    guest.run(["systemctl", "daemon-reload"])
    assert guest.sh(files).stdout == before


def test_a_missing_controller_is_refused_with_its_name(guest: Guest, limited: Callable[[str], Limited]) -> None:
    it = limited("limited")
    it.set()
    guest.sh("mkdir -p /tmp/fake; echo 'cpu memory pids' >/tmp/fake/controllers")
    guest.sh("mount --bind /tmp/fake/controllers /sys/fs/cgroup/cgroup.controllers")
    try:
        refused = it.set(expect_failure=True, limits={"io_read_rate": "1M", "pids": 9})
    finally:
        guest.sh("umount /sys/fs/cgroup/cgroup.controllers")
    assert "limits.io_read_rate: this host has no cgroup controller io" in refused["msg"]
    assert it.group("", "pids.max").strip() == "2048"


def test_a_container_shares_the_network_of_another_and_follows_it(limited: Callable[[str], Limited]) -> None:
    network.a_container_shares_the_network_of_another_and_follows_it(limited("sharer"), limited("owner"))
