# SPDX-License-Identifier: GPL-3.0-or-later
"""A move of addresses that is not confirmed is taken back after 30 seconds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.moves import (
    BRIDGE,
    NONE,
    V6,
    WITH,
    Look,
    all_addresses,
    guard_ends,
    look,
    make_host,
    play,
    state,
)
from tests.lab import kernel, run
from tests.lab.host import LabHost
from tests.lab.wire import Wire


class Move:
    """A move on a host of its own that nobody confirms."""

    def __init__(self, host: LabHost, wire: Wire) -> None:
        self.host, self.wire = host, wire
        self.first = state(host)
        self.before = look(host)
        self.waiting = self.before
        self.after = self.before
        self.token, self.changed = "", False
        self.said: dict[str, str] = {}
        self.macs: dict[str, str] = {}

    def know_mac(self, when: str) -> None:
        """Note the MAC under which the controller knows the host, after it has been asked."""
        self.wire.run(["ping", "-nc1", "-w60", self.host.address])
        known = kernel.of(self.wire).neighbours
        (self.macs[when],) = [one.mac for one in known if one.address == self.host.address]

    def refuse(self, when: str, token: str = "") -> None:
        """Run the module, with a token or without one, and note how it fails."""
        params = {**WITH, "confirm": token} if token else WITH
        result = self.host.module("baleine_bridge", **params, expect_failure=True)
        self.said[when] = result["msg"]


@contextlib.contextmanager
def guard_held(host: LabHost) -> Iterator[None]:
    """Stop the guard's process meanwhile: its time runs out, but it does not act, however slow the machine is."""
    pid = host.read(f"/run/baleine/guard/{BRIDGE}").split()[2]
    host.run(["kill", "-STOP", pid])
    yield
    host.run(["kill", "-CONT", pid])


def begin_there(move: Move) -> None:
    """The addresses move to the bridge."""
    move.know_mac("before")
    result = move.host.module("baleine_bridge", **WITH)
    move.token, move.changed = result["guard"], result["changed"]
    with guard_held(move.host):
        move.waiting = look(move.host)
        move.refuse("second run")
        move.refuse("wrong token", "0123456789abcdef")
        move.wire.run(["ip", "neigh", "flush", "dev", "wire"])
        move.know_mac("waiting")


def begin_back(move: Move) -> None:
    """The addresses have moved to the bridge, which is confirmed, and move back from it."""
    token = move.host.module("baleine_bridge", **WITH)["guard"]
    move.host.module("baleine_bridge", **WITH, confirm=token)
    guard_ends(move.host)
    move.before = look(move.host)
    move.token = move.host.module("baleine_bridge", **NONE)["guard"]
    with guard_held(move.host):
        move.waiting = look(move.host)


def begin_killed(move: Move) -> None:
    """The module is killed with its session as soon as its guard has begun."""
    host = move.host
    host.module("baleine_bridge", **NONE)  # the modules are in the host now
    arguments = {"ANSIBLE_MODULE_ARGS": {**WITH, "_ansible_remote_tmp": "/tmp"}}
    host.write("/tmp/arguments", json.dumps(arguments))
    module = "ansible_collections.lab.baleine.plugins.modules.baleine_bridge"
    host.sh(f"""
        setsid --wait sh -c '
            /usr/bin/python3 /opt/ansible-lib/run_module.py {module} </tmp/arguments &
            while [ ! -e /run/baleine/guard/{BRIDGE} ]; do sleep 0.005; done
            kill -9 0' || true
        rm /tmp/arguments""")
    move.waiting = look(host)
    assert run.wait_for(lambda: "run_module" not in host.sh("ps -eo args").stdout)


def begin_cut(move: Move, folder: Path) -> None:
    """A task moves the addresses; a packet filter lets no new connection in through the bridge."""
    move.host.start_sshd()
    move.host.sh(f"""
        nft add table inet cut
        nft add chain inet cut input '{{ type filter hook input priority 0; }}'
        nft add rule inet cut input iifname {BRIDGE} tcp flags '&' '(syn|ack)' == syn drop""")
    said = play(move.wire, move.host, folder, WITH, fails=True)
    move.said["task"] = " ".join(said.text.split())


def remove(host: LabHost) -> None:
    """Remove the bridge, and confirm it if addresses move."""
    token = host.module("baleine_bridge", **NONE).get("guard")
    if token:
        host.module("baleine_bridge", **NONE, confirm=token)
    guard_ends(host)


def left(host: LabHost) -> str:
    """The marks of guards and the manifests of bridges on a host."""
    folders = "/run/baleine/guard /var/lib/baleine/manifeste/bridges"
    return host.sh(f"find {folders} -mindepth 1").stdout


@pytest.fixture(scope="module")
def moves(
    wire: Wire, lab_factory: Callable[..., LabHost], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Move]]:
    """Four moves that begin one after another, so that the 30 seconds of all pass at the same time."""
    made = {name: Move(make_host(lab_factory, wire, name), wire) for name in ("there", "back", "killed", "cut")}
    begin_there(made["there"])
    begin_back(made["back"])
    begin_killed(made["killed"])
    begin_cut(made["cut"], tmp_path_factory.mktemp("cut"))
    for move in made.values():
        guard_ends(move.host)
        move.after = look(move.host)
    made["there"].know_mac("after")
    made["there"].refuse("late", made["there"].token)
    made["cut"].said["hostname"] = wire.ssh(made["cut"].host, "hostname").stdout
    made["cut"].host.sh("nft delete table inet cut")
    yield made
    for move in made.values():
        remove(move.host)
    assert [state(move.host) for move in made.values()] == [move.first for move in made.values()]
    assert {name: left(move.host) for name, move in made.items()} == dict.fromkeys(made, "")


def taken_back(move: Move) -> list[bool]:
    """Whether the addresses, the routes and the bridge of the interface are as before the move."""
    before, after = move.before, move.after
    return [
        after.state["addresses"]["eth0"] == before.state["addresses"]["eth0"],
        after.state["routes"] == before.state["routes"],
        after.master == before.master,
    ]


def where_and_state(shown: Look) -> tuple[object, ...]:
    return (*shown.where, shown.record["state"], shown.guarded)


def test_a_move_waits_for_its_confirmation_under_a_guard(moves: dict[str, Move]) -> None:
    move = moves["there"]
    assert where_and_state(move.waiting) == ([], all_addresses(move.host), "handover", True)
    assert (move.changed, move.waiting.record["port"]) == (True, "")


def test_a_second_run_is_refused_while_a_move_waits(moves: dict[str, Move]) -> None:
    assert "waits for its confirmation" in moves["there"].said["second run"]


def test_a_wrong_token_confirms_nothing(moves: dict[str, Move]) -> None:
    assert "taken back" in moves["there"].said["wrong token"]


def test_the_host_keeps_the_mac_under_which_others_know_it(moves: dict[str, Move]) -> None:
    macs = moves["there"].macs
    assert macs == dict.fromkeys(("before", "waiting", "after"), macs["before"])


def test_an_unconfirmed_move_is_taken_back(moves: dict[str, Move]) -> None:
    move = moves["there"]
    assert taken_back(move) == [True, True, True]
    assert where_and_state(move.after) == (all_addresses(move.host), [], "handover", False)


def test_a_late_confirmation_is_refused(moves: dict[str, Move]) -> None:
    assert "taken back after 30 s" in moves["there"].said["late"]


def test_an_unconfirmed_move_back_is_taken_back(moves: dict[str, Move]) -> None:
    move = moves["back"]
    assert where_and_state(move.waiting)[0] == all_addresses(move.host)
    assert where_and_state(move.after) == ([], all_addresses(move.host), "handover", False)


def test_the_run_after_an_unconfirmed_move_back_records_the_bridge_once(moves: dict[str, Move]) -> None:
    host = moves["back"].host
    changed = [host.module("baleine_bridge", **WITH)["changed"] for _twice in range(2)]
    assert changed == [True, False]


def test_the_guard_outlives_a_killed_module_and_its_session(moves: dict[str, Move]) -> None:
    assert moves["killed"].waiting.guarded
    assert taken_back(moves["killed"]) == [True, True, True]


def test_a_task_that_cannot_reach_the_host_any_more_names_the_guard(moves: dict[str, Move]) -> None:
    assert "puts everything back 30 s after the change" in moves["cut"].said["task"]


def test_a_host_that_was_cut_off_can_be_reached_again(moves: dict[str, Move]) -> None:
    move = moves["cut"]
    assert move.after.addresses("eth0") == all_addresses(move.host)
    assert move.said["hostname"] == "cut\n"


@pytest.fixture(scope="module")
def host(wire: Wire, lab_factory: Callable[..., LabHost]) -> LabHost:
    return make_host(lab_factory, wire, "moved")


def test_a_confirmation_ends_the_guard_and_records_the_port(host: LabHost) -> None:
    token = host.module("baleine_bridge", **WITH)["guard"]
    done = host.module("baleine_bridge", **WITH, confirm=token)
    assert ("guard" in done, done["bridge"]["ports"]) == (False, ["eth0"])
    guard_ends(host)
    assert where_and_state(look(host)) == ([], all_addresses(host), "up", False)
    assert not host.module("baleine_bridge", **WITH)["changed"]
    token = host.module("baleine_bridge", **NONE)["guard"]
    assert host.module("baleine_bridge", **NONE, confirm=token)["bridge"] == {}
    guard_ends(host)


def test_a_move_that_the_kernel_refuses_half_way_is_taken_back_at_once(host: LabHost) -> None:
    before = state(host)
    # for links that are made from now on
    host.sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    try:
        said = host.module("baleine_bridge", **WITH, expect_failure=True)["msg"]
    finally:
        host.sh("echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    assert f"address replace {V6} dev {BRIDGE}" in said
    assert state(host)["addresses"]["eth0"] == before["addresses"]["eth0"]
    assert state(host)["routes"] == before["routes"]
    guard_ends(host)
    remove(host)
    assert state(host) == before
