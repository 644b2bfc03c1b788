# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses and routes move between a bridge and its ports, and by what changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from baleine import bridge, guard, handover, manifest
from baleine.bridge import Found
from baleine.errors import BaleineError
from baleine.plan import Action, Plan
from tests.unit.support import link, reasons, replace, verbs

ADDRESS, OTHER, V6 = "172.30.0.11/24", "172.30.0.12/24", "fd42::7/64"
#: As iproute2 6.1 gives them (``ip -j route show``), the kernel's own among them.
OWN = {
    "dst": "172.30.0.0/24",
    "dev": "eth0",
    "protocol": "kernel",
    "scope": "link",
    "prefsrc": "172.30.0.11",
    "flags": [],
}
OWN6 = {"dst": "fd42::/64", "dev": "eth0", "protocol": "kernel", "metric": 256, "flags": [], "pref": "medium"}
LOCAL6 = {"dst": "fe80::/64", "dev": "eth0", "protocol": "kernel", "metric": 256, "flags": [], "pref": "medium"}
DEFAULT = {"dst": "default", "gateway": "172.30.0.1", "dev": "eth0", "protocol": "static", "metric": 100, "flags": []}
DEFAULT6 = {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "metric": 1024, "flags": [], "pref": "medium"}
LEARNT = {**DEFAULT6, "protocol": "ra", "expires": 1700}
ROUTES = (DEFAULT, OWN, OWN6, LOCAL6, DEFAULT6)
WORDS = "default via 172.30.0.1 proto static metric 100"
WORDS6 = "::/0 via fe80::1 metric 1024 pref medium"

#: What a table below starts from: eth0 has addresses and the default routes, there is no bridge yet.
FREE = Found(links={"eth0": link("eth0", addresses=[ADDRESS, OTHER, V6])}, routes=ROUTES, machine="m")


def wanted(**changes: Any) -> bridge.Wanted:
    return bridge.request({"name": "br", "ports": ["eth0"], "move_addresses": True, **changes})


def action(plan: Plan) -> Action:
    [found] = [item for item in plan.actions if item.verb == "hand_over"]
    return found


def moved(found: Found, decided: Plan, **kernel: Any) -> Found:
    """What is there when a move that this plan begins was made and confirmed, and the rest was done."""
    addresses = decided.after["addresses"]
    mine = {"linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 0}}, "address": decided.after["mac"]}
    there = link("br", addresses=addresses, **mine)
    port = link("eth0", master="br")
    routes = tuple({**route, "dev": "br"} for route in found.routes if route.get("expires") is None)
    record = {**bridge._record("br", decided.after), **kernel.pop("record", {})}
    state = {"link": there, "links": {"br": there, "eth0": port}, "ports": ("eth0",), "routes": routes, **kernel}
    return replace(found, record=record, **state)


THERE = moved(FREE, bridge.plan(wanted(), FREE))


def test_a_bridge_has_the_mac_of_the_port_whose_addresses_it_holds_unless_a_mac_is_requested() -> None:
    mac = "02:00:00:00:00:aa"
    port = replace(FREE, links={"eth0": {**FREE.links["eth0"], "address": mac}})
    assert bridge.plan(wanted(), port).after["mac"] == mac
    there = moved(port, bridge.plan(wanted(), port))
    there.links["eth0"]["address"] = mac
    assert bridge.plan(wanted(), there).actions == ()
    given_up = bridge.plan(wanted(ports=[]), there)
    assert given_up.after["mac"] == bridge.units.make_mac("m", "bridge br", 0) and "set_mac" in verbs(given_up)
    other = "02:00:00:00:00:bb"
    assert bridge.plan(wanted(mac=other), port).after["mac"] == other


def test_an_interface_with_addresses_is_refused_without_move_addresses() -> None:
    with pytest.raises(BaleineError, match="Set move_addresses"):
        bridge.plan(wanted(move_addresses=False), FREE)
    only_routed = replace(FREE, links={"eth0": link("eth0")})
    with pytest.raises(BaleineError, match="default route"):
        bridge.plan(wanted(move_addresses=False), only_routed)
    assert "hand_over" in verbs(bridge.plan(wanted(), only_routed))


def test_a_move_is_one_step_between_the_bridge_and_its_record() -> None:
    decided = bridge.plan(wanted(), FREE)
    assert verbs(decided) == ["record_creating", "create", "set_state", "hand_over", "record"]
    assert f"eth0 takes {ADDRESS}, {OTHER}, {V6}, 2 routes along" in reasons(decided)
    assert decided.after["addresses"] == [ADDRESS, OTHER, V6]
    begun = decided.actions[0].data
    assert (begun["state"], begun["ports"], begun["addresses"], begun["moved"]) == ("creating", [], [], {})
    assert list(action(decided).data["forward"]) == [
        "link set dev eth0 master br up",
        f"route del {WORDS6} dev eth0",
        f"route del {WORDS} dev eth0",
        f"address del {V6} dev eth0",
        f"address del {OTHER} dev eth0",
        f"address del {ADDRESS} dev eth0",
        f"address replace {ADDRESS} dev br",
        f"address replace {OTHER} dev br",
        f"address replace {V6} dev br nodad",
        f"route append {WORDS} dev br",
        f"route append {WORDS6} dev br",
    ]
    assert list(action(decided).data["backward"]) == [
        line.replace("dev eth0", "dev #").replace("dev br", "dev eth0").replace("dev #", "dev br")
        if not line.startswith("link")
        else "link set dev eth0 nomaster up"
        for line in action(decided).data["forward"]
    ]


def test_a_second_run_changes_nothing() -> None:
    assert bridge.plan(wanted(), THERE).actions == ()
    both = moved(FREE, bridge.plan(wanted(addresses=[ADDRESS, "10.0.0.1/8"]), FREE))
    assert bridge.plan(wanted(addresses=[ADDRESS, "10.0.0.1/8"]), both).actions == ()


def test_moved_addresses_come_before_those_of_the_bridge_and_are_not_added_twice() -> None:
    decided = bridge.plan(wanted(addresses=["172.30.0.150/24", ADDRESS]), FREE)
    assert verbs(decided)[-3:] == ["hand_over", "add_address", "record"]
    assert decided.actions[-2].data["value"] == "172.30.0.150/24"
    elsewhere = replace(FREE, routes=(*ROUTES, {"dst": "10.0.0.0/8", "dev": "eth1", "flags": []}))
    with pytest.raises(BaleineError, match="10.0.0.0/8 dev eth1"):
        bridge.plan(wanted(addresses=["10.1.0.1/24"]), elsewhere)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"ports": []}, ["set_mac", "hand_over", "record"]),
        ({"state": "absent"}, ["hand_over", "remove_link", "forget"]),
    ],
)
def test_a_port_that_leaves_gets_its_addresses_and_routes_back(changes: dict[str, Any], steps: list[str]) -> None:
    for asked in (True, False):
        decided = bridge.plan(wanted(**changes, move_addresses=asked), THERE)
        assert verbs(decided) == steps
        assert f"eth0 gets {ADDRESS}, {OTHER}, {V6}, 2 routes back" in reasons(decided)
        first = action(bridge.plan(wanted(), FREE)).data
        assert action(decided).data == {"forward": first["backward"], "backward": first["forward"], "moved": {}}


def test_the_move_back_skips_lost_addresses_but_restores_them_on_the_port() -> None:
    there = link("br", addresses=[ADDRESS])
    damaged = replace(
        THERE, links={**THERE.links, "br": there}, link={**THERE.link, "addr_info": there["addr_info"]}, routes=()
    )
    forward = action(bridge.plan(wanted(state="absent"), damaged)).data["forward"]
    assert [line for line in forward if " del " in line] == [f"address del {ADDRESS} dev br"]
    assert len([line for line in forward if line.endswith((" dev eth0", " dev eth0 nodad"))]) == 5


@pytest.mark.parametrize(
    ("kernel", "steps", "drift"),
    [
        ({"routes": THERE.routes[1:]}, ["add_route"], [f"the route {WORDS} is gone"]),
        ({"ports": (), "links": {**THERE.links, "eth0": link("eth0")}}, ["add_port"], ["the port eth0 is gone"]),
        (
            {"ports": (), "link": None, "links": {"eth0": link("eth0")}, "routes": ()},
            ["create", "set_state", "add_address", "add_address", "add_address", "add_port", "add_route", "add_route"],
            ["the link is gone", f"the route {WORDS} is gone", f"the route {WORDS6} is gone"],
        ),
        # after a boot: the host's own configuration gave eth0 another address
        (
            {"ports": (), "link": None, "links": {"eth0": link("eth0", addresses=["172.30.0.99/24"])}, "routes": ()},
            ["create", "set_state", "hand_over", "record"],
            ["the link is gone"],
        ),
    ],
    ids=["route", "port", "bridge", "boot"],
)  # fmt: skip
def test_drift_of_a_move_is_restored(kernel: dict[str, Any], steps: list[str], drift: list[str]) -> None:
    decided = bridge.plan(wanted(), replace(THERE, **kernel))
    assert verbs(decided) == steps
    assert [text.partition(": ")[2] for text in decided.drift] == drift


def test_only_the_present_addresses_of_a_port_move_after_a_boot() -> None:
    booted = replace(THERE, ports=(), link=None, links={"eth0": link("eth0", addresses=["172.30.0.99/24"])}, routes=())
    assert bridge.plan(wanted(), booted).after["addresses"] == ["172.30.0.99/24"]
    # and nothing stale goes back
    assert verbs(bridge.plan(wanted(state="absent"), booted)) == ["forget"]


@pytest.mark.parametrize(
    ("record", "kernel", "steps"),
    [
        ({"state": "handover", "port": ""}, {}, ["record"]),  # confirmed, and then the power went
        (
            {"state": "handover", "port": ""},
            {"ports": (), "links": FREE.links, "routes": ROUTES},
            ["hand_over", "record"],
        ),
        ({"state": "handover", "port": "eth0"}, {}, ["record"]),  # the way back, taken back
    ],
    ids=["there", "taken back", "still there"],
)
def test_the_kernel_decides_how_a_move_ended(record: dict[str, str], kernel: dict[str, Any], steps: list[str]) -> None:
    found = moved(FREE, bridge.plan(wanted(), FREE), record=record)
    if kernel:
        empty = {**found.link, "addr_info": []}
        found = replace(found, **{**kernel, "link": empty, "links": {**kernel["links"], "br": empty}})
    assert verbs(bridge.plan(wanted(), found)) == steps
    assert bridge.facts(lambda *_: None, "br", found)["ports"] == (["eth0"] if not kernel else [])  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("changes", "kernel", "words"),
    [
        ({"state": "down"}, {}, "cut off"),
        ({"stp": True}, {}, "cut off"),
        ({}, {"guard": "0a"}, "waits for its confirmation"),
        (
            {},
            {"routes": ({"dst": "10.0.0.0/8", "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]},)},
            "several interfaces",
        ),
        ({}, {"links": {}}, "no interface eth0"),
        ({}, {"links": {"eth0": link("eth0", addresses=[ADDRESS], master="other")}}, "already a port of other"),
    ],
)
def test_an_address_or_route_that_cannot_move_is_refused(
    changes: dict[str, Any], kernel: dict[str, Any], words: str
) -> None:
    with pytest.raises(BaleineError, match=words):
        bridge.plan(wanted(**changes), replace(FREE, **kernel))


@pytest.mark.parametrize(
    ("changes", "kernel", "words"),
    [
        ({"move_addresses": False}, {}, "which only move_addresses allows"),
        ({"state": "absent"}, {"guard": "0a"}, "waits for its confirmation"),
        ({"ports": []}, {"links": {**THERE.links, "eth0": link("eth0", master="other")}}, "is a port of other now"),
        ({"ports": [], "addresses": [ADDRESS]}, {}, "172.30.0.0/24 dev eth0"),
    ],
)
def test_a_change_that_would_cut_off_moved_addresses_is_refused(
    changes: dict[str, Any], kernel: dict[str, Any], words: str
) -> None:
    with pytest.raises(BaleineError, match=words):
        bridge.plan(wanted(**changes), replace(THERE, **kernel))


ENTRY = {"family": "inet", "local": "10.0.0.1", "prefixlen": 24, "scope": "global", "label": "eth0"}


@pytest.mark.parametrize(
    ("entry", "words", "back"),
    [
        ({"broadcast": "10.0.0.255"}, "10.0.0.1/24 broadcast 10.0.0.255", ""),
        ({"label": "eth0:1"}, "10.0.0.1/24", " label eth0:1"),
        ({"address": "10.0.0.2", "prefixlen": 32}, "10.0.0.1 peer 10.0.0.2/32", ""),
        ({"noprefixroute": True, "metric": 77}, "10.0.0.1/24 metric 77 noprefixroute", ""),
        ({"scope": "site"}, "10.0.0.1/24 scope site", ""),
        (
            {"dynamic": True, "valid_life_time": 500, "preferred_life_time": 0xFFFFFFFF},
            "10.0.0.1/24",
            " valid_lft 500 preferred_lft forever",
        ),
    ],
)
def test_an_address_keeps_its_attributes(entry: dict[str, Any], words: str, back: str) -> None:
    found = replace(FREE, links={"eth0": {**link("eth0"), "addr_info": [{**ENTRY, **entry}]}}, routes=())
    decided = action(bridge.plan(wanted(), found)).data
    assert f"address del {words} dev eth0" in decided["forward"]
    assert f"address replace {words} dev eth0{back}" in decided["backward"]


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (DEFAULT, WORDS),
        (DEFAULT6, WORDS6),
        ({"dst": "default", "dev": "eth0", "scope": "link", "flags": []}, "default scope link"),
        ({"dst": "10.0.0.2", "dev": "eth0", "prefsrc": "10.0.0.1", "flags": ["linkdown"]}, "10.0.0.2 src 10.0.0.1"),
        (
            {"dst": "10.5.0.0/16", "gateway": "1.2.3.4", "dev": "eth0", "flags": ["onlink"], "metrics": [{"mtu": 1400}]},
            "10.5.0.0/16 via 1.2.3.4 onlink mtu 1400",
        ),
        (
            {"dst": "10.6.0.0/16", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "eth0", "flags": []},
            "10.6.0.0/16 via inet6 fe80::1",
        ),
        # what NetworkManager makes beside an address with noprefixroute
        ({**OWN, "dst": "10.9.0.0/24", "metric": 100}, "10.9.0.0/24 proto kernel scope link src 172.30.0.11 metric 100"),
    ],
)  # fmt: skip
def test_a_route_keeps_its_attributes(route: dict[str, Any], words: str) -> None:
    share = handover.share_of("bridge br", "eth0", FREE.links["eth0"], [OWN, OWN6, LOCAL6, route])
    assert share["routes"] == [{"words": words}]


def test_a_temporary_address_moves_but_is_neither_restored_nor_compared_exactly() -> None:
    leased = {**ENTRY, "local": "10.0.0.9", "dynamic": True, "valid_life_time": 500, "preferred_life_time": 400}
    entry = link("eth0", addresses=[ADDRESS])
    found = replace(FREE, links={"eth0": {**entry, "addr_info": [*entry["addr_info"], leased]}}, routes=(LEARNT,))
    decided = bridge.plan(wanted(), found)
    lines = action(decided).data["forward"]
    assert "address replace 10.0.0.9/24 dev br valid_lft 500 preferred_lft 400" in lines
    assert f"route append {WORDS6.replace('metric', 'proto ra metric')} dev br expires 1700" in lines
    assert decided.after["addresses"] == [ADDRESS]
    assert decided.after["moved"]["eth0"]["routes"] == []
    there = moved(found, decided)
    assert bridge.plan(wanted(), there).actions == ()
    still = {**there.link, "addr_info": [*there.link["addr_info"], {**leased, "valid_life_time": 90}]}  # type: ignore[index]
    there = replace(there, link=still, links={**there.links, "br": still})
    assert bridge.plan(wanted(), there).actions == ()
    back = action(bridge.plan(wanted(ports=[]), there)).data["forward"]
    assert "address replace 10.0.0.9/24 dev eth0 valid_lft 90 preferred_lft 400" in back
    gone = action(bridge.plan(wanted(ports=[]), moved(found, decided))).data["forward"]
    assert not any("10.0.0.9" in line for line in gone)


def test_a_confirmation_needs_the_token_of_a_running_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "FOLDER", str(tmp_path))
    ticks = guard.start_ticks(os.getpid())
    marker = tmp_path / "br"
    assert guard.waiting("br") == ""
    for text, found in (
        (f"# 0a {os.getpid()} {ticks}\nlink set dev eth0 nomaster up\n", "0a"),
        (f"# 0a {os.getpid()} 1\n", ""),  # that process is another one: the guard was killed
    ):
        marker.write_text(text)
        assert guard.waiting("br") == found
        for token in ("0b", *(["0a"] if not found else [])):
            with pytest.raises(BaleineError, match="taken back"):
                guard.confirm("br", token)
        assert marker.exists()
    marker.write_text(f"# 0a {os.getpid()} {ticks}\n")
    marker.rename(tmp_path / ".br.back")  # it is being played
    assert guard.waiting("br") == "0a"
    with pytest.raises(BaleineError, match="taken back"):
        guard.confirm("br", "0a")
    (tmp_path / ".br.back").rename(marker)
    guard.confirm("br", "0a")
    assert not marker.exists()


def test_a_record_with_a_move_is_written_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MANIFESTS", str(tmp_path))
    manifest.write("bridge", "br", THERE.record or {})
    assert bridge.plan(wanted(), replace(THERE, record=manifest.read("bridge", "br"))).actions == ()
