# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges: requests, and plans from what is wanted and found."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import bridge, manifest
from baleine.errors import BaleineError
from tests.unit.bridges import EMPTY, MAC, PARAMS, RECORD, THERE, after, bridge_link, wanted
from tests.unit.support import link, reasons, replace, verbs


@pytest.mark.parametrize(
    ("params", "normal"),
    [
        ({"name": "b"}, bridge.Wanted("b")),
        ({"name": "b", "state": "down"}, bridge.Wanted("b", "down")),
        ({"name": "b", "mtu": None, "stp": None, "mac": None, "ports": None, "addresses": None}, bridge.Wanted("b")),
        ({"name": "b", "mac": "02-AB-00-00-00-01"}, bridge.Wanted("b", mac="02:ab:00:00:00:01")),
        (
            {"name": "b", "addresses": ["FD00:0::1/64", "fd00::1/64", "10.0.0.1/255.0.0.0"], "ports": ["a", "c", "a"]},
            bridge.Wanted("b", addresses=("fd00::1/64", "10.0.0.1/8"), ports=("a", "c")),
        ),
        ({"name": "b", "stp": True, "mtu": 9000}, bridge.Wanted("b", stp=True, mtu=9000)),
    ],
    ids=["bare", "down", "nothing given", "mac", "spellings", "more"],
)
def test_a_request_has_one_normal_form(params, normal):
    assert bridge.request(params) == normal


@pytest.mark.parametrize(
    "params",
    [
        {"name": "b" * 16},
        {"name": "a/b"},
        {"name": "b", "addresses": ["10.0.0.1"]},
        {"name": "b", "addresses": ["10.0.0.0/8"]},
        {"name": "b", "mtu": 1},
        {"name": "b", "mtu": 1279, "addresses": ["10.0.0.1/8", "fd00::1/64"]},
        {"name": "b", "mac": "x"},
        {"name": "b", "ports": [""]},
        {"name": "b", "ports": ["b"]},
        {"name": "b", "ports": ["a b"]},
        {"name": "b", "ports": ["../a"]},
        {"name": "b", "ports": ["a" * 16]},
    ],
    ids=str,
)
def test_an_invalid_request_is_refused(params):
    with pytest.raises(BaleineError, match="bridge"):
        bridge.request(params)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"addresses": ["FD00:0:0::1/64", "192.168.42.1/255.255.255.0"], "mac": MAC.upper().replace(":", "-")}, ["record"]),
        ({"addresses": ["192.168.42.1/255.255.255.0", "FD00:0:0::1/64"], "mac": MAC.upper().replace(":", "-")}, []),
        ({"mtu": 1500, "stp": False, "state": "up"}, []),
        ({"mtu": 9000}, ["set_mtu", "record"]),
        ({"stp": True}, ["set_stp", "record"]),
        ({"mac": "02:00:00:00:00:09"}, ["set_mac", "record"]),
        ({"state": "down"}, ["set_state", "record"]),
        ({"addresses": ["192.168.42.1/24", "fd00::1/64", "172.16.0.1/24"]}, ["add_address", "record"]),
        ({"addresses": ["192.168.42.1/24"]}, ["remove_address", "record"]),
        ({"addresses": []}, ["remove_address", "remove_address", "record"]),
        ({"addresses": ["192.168.42.1/16", "fd00::1/64"]}, ["remove_address", "add_address", "record"]),
        ({"ports": []}, ["remove_port", "record"]),
        ({"ports": ["ens4", "ens5"]}, ["add_port", "record"]),
        ({"ports": ["ens5"]}, ["remove_port", "add_port", "record"]),
    ],
    ids=[
        "nothing", "another order", "other spellings", "defaults", "mtu", "stp", "mac", "down", "address more",
        "address less", "no address", "other prefix", "no port", "port more", "other port",
    ],
)  # fmt: skip
def test_an_option_changed_alone_takes_exactly_its_own_step(changes, expected):
    decided = bridge.plan(wanted(**changes), THERE)
    assert verbs(decided) == expected
    assert decided.drift == ()
    assert "drift" not in reasons(decided)


@pytest.mark.parametrize(
    ("found", "expected", "drift"),
    [
        (
            {"link": None, "ports": ()},
            ["create", "set_state", "add_address", "add_address", "add_port", "add_port"],
            ["the link is gone", "container mycontainer was cut off"],
        ),
        ({"link": bridge_link(addresses=["fd00::1/64"])}, ["add_address"], ["the address 192.168.42.1/24 is gone"]),
        ({"link": bridge_link(addresses=["192.168.42.1/24"])}, ["add_address"], ["the address fd00::1/64 is gone"]),
        ({"link": bridge_link(up=False)}, ["set_state"], ["state was down"]),
        ({"link": bridge_link(mtu=1400)}, ["set_mtu"], ["mtu was 1400"]),
        ({"link": bridge_link(address="02:00:00:00:00:09")}, ["set_mac"], ["mac was 02:00:00:00:00:09"]),
        ({"link": bridge_link(stp=1)}, ["set_stp"], ["stp was True"]),
        ({"ports": ("vifc866_0",), "links": EMPTY.links}, ["add_port"], ["the port ens4 is gone"]),
        ({"ports": ("ens4",)}, ["add_port"], ["container mycontainer was cut off"]),
        ({"ports": ("ens4", "vifc866_0", "tap0")}, [], []),
        ({"record": {**RECORD, "state": "creating"}}, ["record"], []),
    ],
    ids=[
        "link", "IPv4", "IPv6", "down", "mtu", "mac", "stp", "port", "container", "a foreign port is left alone",
        "interrupted at the end",
    ],
)  # fmt: skip
def test_settings_that_the_kernel_lost_are_restored_and_reported_as_drift(found, expected, drift):
    start = replace(THERE, **found)
    if start.link is None or "links" in found:
        start = replace(start, links={**EMPTY.links})
    decided = bridge.plan(wanted(), start)
    assert verbs(decided) == expected
    for part in drift:
        assert any(part in text for text in decided.drift), decided.drift
    assert bool(decided.drift) == bool(drift)


def test_an_additional_address_is_removed():
    decided = bridge.plan(wanted(), replace(THERE, link=bridge_link(addresses=[*PARAMS["addresses"], "172.16.0.1/12"])))
    assert [(a.verb, a.data["value"]) for a in decided.actions] == [("remove_address", "172.16.0.1/12")]


def test_a_new_bridge_is_recorded_before_and_after_it_is_made():
    decided = bridge.plan(wanted(), EMPTY)
    assert verbs(decided) == [
        "record_creating", "create", "set_state", "add_address", "add_address", "add_port", "record",
    ]  # fmt: skip
    assert decided.before == {}
    assert decided.after == {
        "state": "up", "addresses": ["192.168.42.1/24", "fd00::1/64"], "mtu": 1500, "stp": False, "mac": MAC, "ports": ["ens4"],
    }  # fmt: skip
    assert decided.drift == ()


def test_an_interrupted_creation_is_finished_and_not_reported_as_drift():
    decided = bridge.plan(wanted(), replace(EMPTY, record={**RECORD, "state": "creating"}))
    assert verbs(decided)[0] == "create"
    assert decided.drift == ()


def test_a_bridge_of_the_old_scripts_is_adopted():
    decided = bridge.plan(wanted(), replace(THERE, record={"nom_bridge": "private"}))
    assert verbs(decided) == ["record"]


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("kind", ["bridge", "veth", ""])
def test_a_foreign_link_with_the_name_of_the_bridge_is_refused_with_its_kind(state, kind):
    foreign = {**bridge_link(), "linkinfo": {"info_kind": kind}}
    with pytest.raises(BaleineError, match=f"link private that Baleine did not make .*{kind or 'a device'}"):
        bridge.plan(wanted(state=state), replace(EMPTY, link=foreign))


@pytest.mark.parametrize(
    "mtu", [{"mtu": 1280}, {"mtu": 1279, "addresses": ["10.0.0.1/8"]}, {"mtu": 68, "state": "absent"}]
)
def test_a_small_mtu_is_refused_only_if_an_ipv6_address_is_requested(mtu):
    assert wanted(**mtu).mtu == mtu["mtu"]


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("kind", ["veth", ""])
def test_a_recorded_bridge_whose_name_belongs_to_another_link_is_refused_with_its_kind(state, kind):
    foreign = bridge_link(linkinfo={"info_kind": kind})
    with pytest.raises(BaleineError, match=f"link private that Baleine did not make .{kind or 'a device'}"):
        bridge.plan(wanted(state=state), replace(THERE, link=foreign))


@pytest.mark.parametrize("record", [RECORD, {"nom_bridge": "private"}, {**RECORD, "state": "creating"}])
def test_the_removal_of_a_bridge_whose_name_belongs_to_another_link_deletes_only_the_record(record):
    moved = manifest.to_json({"ens4": {"addresses": [{"value": "10.9.0.1/24", "words": "10.9.0.1/24"}], "routes": []}})
    for one in (record, {**record, "moved": moved}):
        found = replace(THERE, users=(), record=one, link=bridge_link(linkinfo={"info_kind": "veth"}), ports=("ens4",))
        found = replace(found, links={"ens4": link("ens4"), "private": found.link})
        decided = bridge.plan(wanted(state="absent"), found)
        assert verbs(decided)[-1] == "forget" and "remove_link" not in verbs(decided)
        assert not any("private" in line for action in decided.actions for line in action.data.get("forward", ()))
        assert decided.warnings == (
            "bridge private: this host has a link private that Baleine did not make (veth): it is left alone",
        )
        facts = bridge.facts(None, "private", found)  # type: ignore[arg-type]
        assert facts["state"] == "missing"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (EMPTY, []),
        (replace(EMPTY, link=bridge_link()), []),
        (replace(THERE, users=()), ["remove_link", "forget"]),
        (replace(THERE, users=(), link=None), ["forget"]),
        (replace(THERE, users=(), link=None, record={"nom_bridge": "private"}), ["forget"]),
    ],
    ids=["none", "a foreign link is left alone", "there", "link gone", "old"],
)
def test_the_removal_of_a_bridge_removes_everything_that_baleine_made(found, expected):
    assert verbs(bridge.plan(wanted(state="absent"), found)) == expected


def test_a_bridge_in_use_is_not_removed_and_its_containers_are_named():
    with pytest.raises(BaleineError, match="cannot be removed.*: web1, web2"):
        bridge.plan(wanted(state="absent"), replace(THERE, users=("web1", "web2")))


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("ens3", r"ens3 has addresses \(192.0.2.5/24\)"),
        ("ens6", "ens6 is already a port of br0"),
        ("ens7", "default route of this host leaves by ens7"),
        ("ens9", "no interface ens9"),
    ],
    ids=["address", "other master", "default route", "none"],
)
@pytest.mark.parametrize("found", [EMPTY, THERE], ids=["from nothing", "there"])
def test_a_port_is_refused_if_it_would_cut_off_the_host(port, why, found):
    with pytest.raises(BaleineError, match=why):
        bridge.plan(wanted(ports=["ens4", port]), found)


def test_a_network_that_the_host_routes_is_refused_with_the_route():
    with pytest.raises(BaleineError, match=r"192.0.2.0/24 dev ens3"):
        bridge.plan(wanted(addresses=["192.0.2.77/24"]), EMPTY)


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"public": ("192.168.0.1/16",)}, "192.168.42.0/24 meets 192.168.0.0/16 of the bridge public"),
        ({"public": ("fd00::9/48",)}, "meets fd00::/48 of the bridge public"),
        ({"public": ("10.0.0.1/8", "fd01::1/64")}, None),
    ],
    ids=["IPv4", "IPv6", "apart"],
)
def test_the_network_of_another_bridge_is_refused_even_if_that_bridge_is_down(others, why):
    found = replace(EMPTY, others=others)
    if why is None:
        assert bridge.plan(wanted(), found).changed
        return
    with pytest.raises(BaleineError, match=why):
        bridge.plan(wanted(), found)


@pytest.mark.parametrize("torn", ["192.168.", "x", "+"])
def test_an_invalid_address_of_another_bridge_is_ignored_or_reported_with_its_name(torn):
    try:
        decided = bridge.plan(wanted(), replace(EMPTY, others={"public": (torn,)}))
    except BaleineError as error:
        assert "public" in error.message
    else:
        assert decided.changed


def test_two_addresses_of_one_bridge_may_share_a_network():
    decided = bridge.plan(wanted(addresses=["192.168.42.1/24", "192.168.42.9/24", "fd00::1/64"]), THERE)
    assert verbs(decided) == ["add_address", "record"]


STARTS = {
    "nothing": EMPTY,
    "there": THERE,
    "no link": replace(THERE, link=None, ports=(), links=EMPTY.links),
    "down": replace(THERE, link=bridge_link(up=False, addresses=["192.168.42.1/24"])),
    "interrupted": replace(EMPTY, record={**RECORD, "state": "creating"}),
    "old": replace(THERE, record={"nom_bridge": "private"}),
    "two of one network": replace(
        THERE, link=bridge_link(addresses=["192.168.42.1/24", "192.168.42.9/24", "fd00::1/64"])
    ),
    "two of one network, the other first": replace(
        THERE, link=bridge_link(addresses=["192.168.42.9/24", "192.168.42.1/24", "fd00::1/64"])
    ),
}
GOALS: dict[str, dict[str, Any]] = {
    "same": {},
    "down": {"state": "down"},
    "mtu, stp and mac": {"mtu": 9000, "stp": True, "mac": "02:00:00:00:00:09"},
    "addresses": {"addresses": ["192.168.42.9/24", "172.16.0.1/12"]},
    "no address": {"addresses": []},
    "ports": {"ports": []},
    "down without addresses": {"state": "down", "addresses": ["fd00::7/64"]},
}


@pytest.mark.parametrize("goal", GOALS.values(), ids=GOALS.keys())
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_a_second_plan_is_empty(start, goal):
    first = bridge.plan(wanted(**goal), start)
    second = bridge.plan(wanted(**goal), after(first, start))
    assert verbs(second) == [], reasons(second)
    assert second.drift == ()


def test_a_bridge_that_goes_up_again_gets_its_ipv6_addresses_back():
    down = after(bridge.plan(wanted(state="down"), THERE), THERE)
    decided = bridge.plan(wanted(), down)
    assert verbs(decided) == ["set_state", "add_address", "record"]
    assert decided.drift == ()


def test_the_facts_come_from_the_kernel_if_the_link_exists():
    facts = bridge.facts(None, "private", THERE)  # type: ignore[arg-type]
    assert facts["state"] == "up"
    assert facts["containers"] == ["mycontainer"]
    gone = bridge.facts(None, "private", replace(THERE, link=None, members={}))  # type: ignore[arg-type]
    assert gone["state"] == "missing"
    assert gone["addresses"] == ["192.168.42.1/24", "fd00::1/64"]
    assert gone["containers"] == []
    assert bridge.facts(None, "private", EMPTY) == {}  # type: ignore[arg-type]


def test_a_record_is_written_to_a_manifest_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MANIFESTS", str(tmp_path))
    decided = bridge.plan(wanted(), EMPTY)
    manifest.write("bridge", "private", bridge._record("private", decided.after))
    assert manifest.read("bridge", "private") == RECORD
