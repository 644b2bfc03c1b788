# SPDX-License-Identifier: GPL-3.0-or-later
"""An interface joins a bridge with the addresses by which its host is reached, over SSH, and leaves it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest

from tests.integration.moves import (
    BRIDGE,
    NONE,
    V6,
    WITH,
    WITHOUT,
    Look,
    Said,
    all_addresses,
    guard_ends,
    look,
    make_host,
    play,
    state,
)
from tests.lab.host import LabHost
from tests.lab.wire import Wire

MORE = {**WITH, "addresses": ["172.30.0.150/24", "10.77.0.1/24"]}


@pytest.fixture(scope="module")
def host(wire: Wire, lab_factory: Callable[..., LabHost]) -> LabHost:
    made = make_host(lab_factory, wire, "moved")
    made.start_sshd()
    return made


@pytest.fixture(autouse=True)
def afterwards(host: LabHost) -> Iterator[None]:
    """Each test begins and ends without the bridge."""
    before = state(host)
    yield
    assert state(host) == before
    guard_ends(host)
    folders = "/run/baleine/guard /var/lib/baleine/manifeste/bridges"
    assert host.sh(f"ls -A {folders}").stdout.split() == [f"{name}:" for name in folders.split()]


class Step(NamedTuple):
    """What one task said, and what the host showed afterwards."""

    said: Said
    look: Look
    hostname: str


class Journey:
    """Tasks one after another, by their names."""

    def __init__(self, wire: Wire, host: LabHost, folder: Path) -> None:
        self.wire, self.host, self.folder = wire, host, folder
        self.before = look(host)
        self.steps: dict[str, Step] = {}

    def go(self, name: str, params: dict[str, Any], *words: str, fails: bool = False) -> None:
        said = play(self.wire, self.host, self.folder, params, *words, fails=fails)
        hostname = self.wire.ssh(self.host, "hostname").stdout.strip()
        guard_ends(self.host)
        self.steps[name] = Step(said, look(self.host), hostname)

    def changed(self, *names: str) -> list[int]:
        """How many tasks changed something in each of these steps."""
        return [self.steps[name].said.changed for name in names]


@pytest.fixture(scope="module")
def journey(wire: Wire, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """The interface joins the bridge, the bridge gets two addresses more, and the interface leaves it."""
    made = Journey(wire, host, tmp_path_factory.mktemp("journey"))
    made.go("predicted", WITH, "--check", "--diff")
    made.go("joined", WITH, "--diff")
    made.go("joined again", WITH)
    made.go("joined again in check mode", WITH, "--check")
    made.go("not allowed", {**WITH, "move_addresses": False}, fails=True)
    made.go("more", MORE)
    made.go("more again", MORE)
    made.go("needed", {**MORE, "ports": []}, fails=True)
    made.go("left", WITHOUT)
    made.go("left again", WITHOUT)
    made.go("removed", NONE)
    return made


def test_check_mode_predicts_the_move_and_changes_nothing(journey: Journey, host: LabHost) -> None:
    step = journey.steps["predicted"]
    assert journey.before.where == (all_addresses(host), None)
    assert (step.said.changed, step.look) == (1, journey.before)


def test_the_addresses_move_to_the_bridge(journey: Journey, host: LabHost) -> None:
    step = journey.steps["joined"]
    assert step.said.changed == 1
    assert (step.look.where, step.look.master) == (([], all_addresses(host)), BRIDGE)


def test_the_routes_move_to_the_bridge(journey: Journey) -> None:
    moved = {replace(route, link=BRIDGE) for route in journey.before.routes}
    assert journey.steps["joined"].look.routes == moved


def test_the_host_is_reached_after_every_step(journey: Journey) -> None:
    hostnames = {name: step.hostname for name, step in journey.steps.items()}
    assert hostnames == dict.fromkeys(journey.steps, "moved")


def test_the_diff_names_the_address_that_moves(journey: Journey) -> None:
    assert "eth0 takes 172.30.0.11/24" in journey.steps["joined"].said.text


def test_a_task_confirms_its_move_and_returns_no_token(journey: Journey) -> None:
    step = journey.steps["joined"]
    assert '"guard"' not in step.said.text
    assert (step.look.record["state"], step.look.record["port"]) == ("up", "eth0")


def test_the_same_task_changes_nothing_the_second_time(journey: Journey) -> None:
    again = ("joined again", "joined again in check mode", "more again", "left again")
    assert journey.changed(*again) == [0, 0, 0, 0]


def test_an_interface_with_addresses_is_refused_without_move_addresses(journey: Journey) -> None:
    assert "only move_addresses allows" in journey.steps["not allowed"].said.text


def test_addresses_are_added_to_those_that_moved(journey: Journey, host: LabHost) -> None:
    step = journey.steps["more"]
    assert step.said.changed == 1
    assert step.look.addresses(BRIDGE) == sorted([*all_addresses(host), *MORE["addresses"]])


def test_a_port_stays_if_an_address_of_the_bridge_is_in_its_network(journey: Journey) -> None:
    assert "meets the route 172.30.0.0/24 dev eth0" in journey.steps["needed"].said.text


def test_an_interface_that_leaves_the_bridge_gets_its_addresses_and_routes_back(
    journey: Journey, host: LabHost
) -> None:
    step = journey.steps["left"]
    assert (step.said.changed, step.look.where) == (1, (all_addresses(host), []))
    assert step.look.state["routes"] == journey.before.state["routes"]


def test_the_record_of_a_bridge_forgets_a_port_that_left(journey: Journey) -> None:
    record = journey.steps["left"].look.record
    assert (record["port"], record.get("moved", "")) == ("", "")


def test_a_bridge_without_ports_can_be_removed(journey: Journey) -> None:
    assert journey.changed("removed") == [1]
    assert journey.steps["removed"].look == journey.before


def where(host: LabHost) -> tuple[Optional[list[str]], Optional[list[str]]]:
    return look(host).where


def test_the_removal_of_a_bridge_gives_the_addresses_back_first(wire: Wire, host: LabHost, tmp_path: Path) -> None:
    before = state(host)
    play(wire, host, tmp_path, WITH)
    assert play(wire, host, tmp_path, NONE, "--check").changed == 1
    assert where(host) == ([], all_addresses(host))
    assert play(wire, host, tmp_path, NONE).changed == 1
    assert state(host) == before
    assert play(wire, host, tmp_path, NONE).changed == 0


def test_the_command_line_refuses_to_move_addresses(wire: Wire, host: LabHost, tmp_path: Path) -> None:
    play(wire, host, tmp_path, WITH)
    there = state(host)
    host.install_baleine()
    said = host.run(["/usr/local/bin/baleine", "bridge", "remove", "-b", BRIDGE], check=False)
    assert "must be confirmed over a new connection" in said.stderr
    host.run(["/usr/local/bin/baleine", "bridge", "up", "-b", BRIDGE])
    assert state(host) == there
    assert not look(host).guarded
    play(wire, host, tmp_path, NONE)


def test_a_lost_address_and_a_lost_route_of_a_move_are_restored(wire: Wire, host: LabHost, tmp_path: Path) -> None:
    play(wire, host, tmp_path, WITH)
    there = state(host)
    lost = f"route del 198.51.100.0/24\naddress del {V6} dev {BRIDGE}\n"
    host.net(["ip", "-batch", "-"], input=lost)
    said = play(wire, host, tmp_path, WITH)
    assert f"the address {V6} is gone" in said.text
    assert "route 198.51.100.0/24" in said.text
    assert {**state(host), "addresses": {}} == {**there, "addresses": {}}
    assert where(host) == ([], all_addresses(host))
    assert play(wire, host, tmp_path, WITH).changed == 0
    play(wire, host, tmp_path, NONE)
