# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges: requests, and plans from what is wanted and found."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from baleine import bridge, manifest
from baleine.bridge import Found
from baleine.errors import BaleineError
from baleine.plan import Plan
from baleine.process import Result, wait_until
from tests.lab.run import PATIENCE
from tests.unit.support import Addresses, link, reasons, replace, verbs

MACHINE = "machine"
MAC = bridge.units.make_mac(MACHINE, "bridge private", 0)
PARAMS: dict[str, Any] = {"name": "private", "addresses": ["192.168.42.1/24", "fd00::1/64"], "ports": ["ens4"]}
LINKS = {
    "ens3": link("ens3", addresses=["192.0.2.5/24"]),
    "ens4": link("ens4", master="private"),
    "ens5": link("ens5"),
    "ens6": link("ens6", master="br0"),
    "ens7": link("ens7"),
    "vifc866_0": link("vifc866_0", master="private"),
}
ROUTES = (
    {"dst": "default", "gateway": "192.0.2.1", "dev": "ens7"},
    {"dst": "192.0.2.0/24", "dev": "ens3"},
    {"dst": "192.168.42.0/24", "dev": "private"},
)
EMPTY = Found(
    links={k: {**v, "master": None} if k == "ens4" else v for k, v in LINKS.items()}, routes=ROUTES[:2], machine=MACHINE
)


def wanted(**changes: Any) -> bridge.Wanted:
    return bridge.request({**PARAMS, **changes})


def bridge_link(**changes: Any) -> dict[str, Any]:
    stp = changes.pop("stp", 0)
    defaults = {"address": MAC, "addresses": ["192.168.42.1/24", "fd00::1/64"]}
    info = {"info_kind": "bridge", "info_data": {"forward_delay": 0, "stp_state": stp}}
    return link("private", **{**defaults, "linkinfo": info, **changes})


RECORD = {
    "nom_bridge": "private", "state": "up", "address": "192.168.42.1/24,fd00::1/64", "mtu": "1500", "stp": "no",
    "mac": MAC, "port": "ens4", "format": "1",
}  # fmt: skip
THERE = Found(
    record=RECORD,
    link=bridge_link(),
    ports=("ens4", "vifc866_0"),
    members={"vifc866_0": "mycontainer"},
    users=("mycontainer",),
    links=LINKS,
    routes=ROUTES,
    machine=MACHINE,
)


def after(decided: Plan, found: Found) -> Found:
    """What is there once a plan is carried out, as a kernel does it."""
    record, entry, ports = found.record, found.link, list(found.ports)
    name = decided.name.partition(" ")[2]
    for action in decided.actions:
        value = action.data.get("value")
        if action.verb == "record":
            record = bridge._record(name, decided.after)
        elif action.verb == "record_creating":
            record = {**bridge._record(name, decided.after), "state": "creating"}
        elif action.verb == "forget":
            record = None
        elif action.verb == "remove_link":
            entry, ports = None, []
        elif action.verb == "create":
            entry = bridge_link(addresses=(), up=False, address=action.data["mac"], mtu=action.data["mtu"])
        elif action.verb == "add_port":
            ports.append(value)
        elif action.verb == "remove_port":
            ports.remove(value)
        else:
            assert entry is not None
            key = action.verb.partition("_")[2]
            now = Addresses(bridge.netlink.global_addresses(dict(entry)))
            same = {"mtu": entry["mtu"], "address": entry["address"], "up": "UP" in entry["flags"]}
            same["stp"] = entry["linkinfo"]["info_data"]["stp_state"]
            if action.verb == "add_address":
                now.add(value, replace=True)
            elif action.verb == "remove_address":
                now.delete(value)
            else:
                assert action.verb == f"set_{key}"
                same[{"mac": "address", "state": "up"}.get(key, key)] = value == "up" if key == "state" else value
                if (key, value) == ("state", "down"):
                    now.list = [address for address in now.list if ":" not in address]
            entry = bridge_link(addresses=now.list, **same)
    return replace(found, record=record, link=entry, ports=tuple(ports))


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
def test_a_request_has_one_form(params, normal):
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
def test_a_request_for_what_cannot_be_is_refused(params):
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
def test_each_option_changed_alone_is_exactly_its_change_in_place(changes, expected):
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
def test_what_the_kernel_lost_is_healed_and_called_drift(found, expected, drift):
    start = replace(THERE, **found)
    if start.link is None or "links" in found:
        start = replace(start, links={**EMPTY.links})
    decided = bridge.plan(wanted(), start)
    assert verbs(decided) == expected
    for part in drift:
        assert any(part in text for text in decided.drift), decided.drift
    assert bool(decided.drift) == bool(drift)


def test_an_address_too_many_is_taken_away():
    decided = bridge.plan(wanted(), replace(THERE, link=bridge_link(addresses=[*PARAMS["addresses"], "172.16.0.1/12"])))
    assert [(a.verb, a.data["value"]) for a in decided.actions] == [("remove_address", "172.16.0.1/12")]


def test_a_bridge_from_nothing_is_recorded_first_and_last():
    decided = bridge.plan(wanted(), EMPTY)
    assert verbs(decided) == [
        "record_creating", "create", "set_state", "add_address", "add_address", "add_port", "record",
    ]  # fmt: skip
    assert decided.before == {}
    assert decided.after == {
        "state": "up", "addresses": ["192.168.42.1/24", "fd00::1/64"], "mtu": 1500, "stp": False, "mac": MAC, "ports": ["ens4"],
    }  # fmt: skip
    assert decided.drift == ()


def test_a_making_that_was_interrupted_is_finished_and_no_drift():
    decided = bridge.plan(wanted(), replace(EMPTY, record={**RECORD, "state": "creating"}))
    assert verbs(decided)[0] == "create"
    assert decided.drift == ()


def test_a_bridge_of_the_old_scripts_is_adopted():
    decided = bridge.plan(wanted(), replace(THERE, record={"nom_bridge": "private"}))
    assert verbs(decided) == ["record"]


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("kind", ["bridge", "veth", ""])
def test_a_foreign_link_of_that_name_is_refused_with_what_it_is(state, kind):
    foreign = {**bridge_link(), "linkinfo": {"info_kind": kind}}
    with pytest.raises(BaleineError, match=f"link private that Baleine did not make .*{kind or 'a device'}"):
        bridge.plan(wanted(state=state), replace(EMPTY, link=foreign))


@pytest.mark.parametrize(
    "mtu", [{"mtu": 1280}, {"mtu": 1279, "addresses": ["10.0.0.1/8"]}, {"mtu": 68, "state": "absent"}]
)
def test_a_small_mtu_is_refused_only_with_an_ipv6_address_that_is_wanted(mtu):
    assert wanted(**mtu).mtu == mtu["mtu"]


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("kind", ["veth", ""])
def test_a_recorded_bridge_whose_name_is_another_link_now_is_refused_with_what_it_is(state, kind):
    foreign = bridge_link(linkinfo={"info_kind": kind})
    with pytest.raises(BaleineError, match=f"link private that Baleine did not make .{kind or 'a device'}"):
        bridge.plan(wanted(state=state), replace(THERE, link=foreign))


@pytest.mark.parametrize("record", [RECORD, {"nom_bridge": "private"}, {**RECORD, "state": "creating"}])
def test_the_absence_of_a_bridge_whose_name_is_another_link_now_only_forgets_it(record):
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


class Kernel:
    """A runner with a kernel behind it that has links and may refuse a change, and manifests of their own."""

    def __init__(self, monkeypatch: Any, tmp_path: Any, refuse: str = "nothing", links: tuple[str, ...] = ()) -> None:
        for folder in ("MANIFESTS", "LOCKS"):
            monkeypatch.setattr(manifest, folder, str(tmp_path / folder))
        monkeypatch.setattr(bridge.guard, "FOLDER", str(tmp_path))
        monkeypatch.setattr(bridge.netlink, "need_program", lambda *_words: "ip")
        self.refuse, self.links, self.done = refuse, dict.fromkeys(links, ""), list[str]()
        self.records: list[list[str]] = []

    def __call__(self, argv: Any, stdin: str = "", env: Any = None) -> Result:
        if "-batch" in argv:
            self.records.append(manifest.names("bridge"))
            for at, line in enumerate(stdin.splitlines(), 1):
                if self.refuse in line:
                    return Result(tuple(argv), 1, "", f"RTNETLINK answers: no\nCommand failed -:{at}")
                self.done.append(line)
                if line.startswith("link add name"):
                    self.links[line.split()[3]] = "bridge"
                elif line.startswith("link del dev"):
                    del self.links[line.split()[3]]
            return Result(tuple(argv), 0, "", "")
        shown = [link(name, linkinfo={"info_kind": kind}) for name, kind in self.links.items()]
        return Result(tuple(argv), 0, json.dumps(shown if "address" in argv else []), "")


def ask(name: str, *addresses: str, **more: Any) -> bridge.Wanted:
    return bridge.request({"name": name, "addresses": addresses, **more})


@pytest.mark.parametrize("refuse", ["link add", "link set", "address replace"])
def test_a_new_bridge_that_the_kernel_refuses_leaves_neither_link_nor_record(monkeypatch, tmp_path, refuse):
    kernel = Kernel(monkeypatch, tmp_path, refuse)
    with pytest.raises(BaleineError, match=refuse):
        bridge.ensure(kernel, [ask("b1", "10.1.0.1/16"), ask("b2", "10.2.0.1/16")])
    assert (kernel.links, manifest.names("bridge")) == ({}, [])


def test_a_recorded_bridge_that_the_kernel_refuses_to_heal_stays_recorded(monkeypatch, tmp_path):
    kernel = Kernel(monkeypatch, tmp_path)
    bridge.ensure(kernel, [ask("b1", "10.1.0.1/16")])
    del kernel.links["b1"]
    kernel.refuse = "address replace"
    with pytest.raises(BaleineError):
        bridge.ensure(kernel, [ask("b1", "10.1.0.1/16")])
    assert (list(kernel.links), manifest.names("bridge")) == (["b1"], ["b1"])


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (ask("b2", "10.1.9.1/24"), "meets 10.1.0.0/16 of the bridge b1"),
        (ask("b2", ports=["ens5"]), "already a port of b1"),
        (ask("b1"), "given twice"),
        (ask("taken"), "did not make"),
    ],
    ids=["network", "port", "name", "foreign"],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_set_is_refused_whole_before_its_first_change(monkeypatch, tmp_path, check, second, why):
    kernel = Kernel(monkeypatch, tmp_path, links=("ens5", "taken"))
    with pytest.raises(BaleineError, match=why):
        bridge.ensure(kernel, [ask("b1", "10.1.0.1/16", ports=["ens5"]), second], check)
    assert (kernel.done, manifest.names("bridge")) == ([], [])


def test_what_an_earlier_one_of_a_set_gives_up_a_later_one_may_take(monkeypatch, tmp_path):
    kernel = Kernel(monkeypatch, tmp_path)
    bridge.ensure(kernel, [ask("b1", "10.1.0.1/16")])
    bridge.ensure(kernel, [ask("b1", state="absent"), ask("b2", "10.1.0.1/16")])
    assert manifest.names("bridge") == ["b2"]


def test_a_whole_set_is_recorded_before_its_first_change(monkeypatch, tmp_path):
    kernel = Kernel(monkeypatch, tmp_path)
    bridge.ensure(kernel, [ask("b1", "10.1.0.1/16"), ask("b2", "10.2.0.1/16")])
    assert kernel.records[0] == ["b1", "b2"]
    assert [manifest.read("bridge", name)["state"] for name in ("b1", "b2")] == ["up", "up"]  # type: ignore[index]


def test_of_two_bridges_made_at_once_with_one_network_one_is_refused(monkeypatch, tmp_path):
    """Each goes on when the other one has looked as well, or waits for the lock and so may not."""
    kernel, real, failed = Kernel(monkeypatch, tmp_path), bridge.find, []
    looked: set[str] = set()

    def other_waits() -> bool:
        with open("/proc/locks") as stream:
            return any("-> FLOCK" in line and str(os.getpid()) in line.split() for line in stream)

    def slowly(run: Any, name: str) -> Found:
        found = real(run, name)
        looked.add(name)
        assert wait_until(lambda: looked == {"b1", "b2"} or other_waits(), PATIENCE)
        return found

    def make(name: str) -> None:
        try:
            bridge.ensure(kernel, [ask(name, "10.1.0.1/16")])
        except BaleineError as error:
            failed.append(error.message)

    monkeypatch.setattr(bridge, "find", slowly)
    threads = [threading.Thread(target=make, args=(name,)) for name in ("b1", "b2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == len(manifest.names("bridge")) == 1


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
def test_absence_takes_what_baleine_made(found, expected):
    assert verbs(bridge.plan(wanted(state="absent"), found)) == expected


def test_a_bridge_that_containers_use_is_not_removed_and_they_are_named():
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
def test_a_port_that_would_cut_the_host_off_is_refused(port, why, found):
    with pytest.raises(BaleineError, match=why):
        bridge.plan(wanted(ports=["ens4", port]), found)


def test_a_range_the_host_routes_is_refused_with_the_route():
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
def test_the_range_of_another_bridge_is_refused_even_while_that_one_is_down(others, why):
    found = replace(EMPTY, others=others)
    if why is None:
        assert bridge.plan(wanted(), found).changed
        return
    with pytest.raises(BaleineError, match=why):
        bridge.plan(wanted(), found)


@pytest.mark.parametrize("torn", ["192.168.", "x", "+"])
def test_a_torn_address_of_another_bridge_is_that_bridges_trouble(torn):
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
def test_after_one_plan_a_second_one_is_empty(start, goal):
    first = bridge.plan(wanted(**goal), start)
    second = bridge.plan(wanted(**goal), after(first, start))
    assert verbs(second) == [], reasons(second)
    assert second.drift == ()


def test_up_again_brings_the_ipv6_addresses_back():
    down = after(bridge.plan(wanted(state="down"), THERE), THERE)
    decided = bridge.plan(wanted(), down)
    assert verbs(decided) == ["set_state", "add_address", "record"]
    assert decided.drift == ()


def test_the_facts_are_those_of_the_kernel_where_it_shows_any():
    facts = bridge.facts(None, "private", THERE)  # type: ignore[arg-type]
    assert facts["state"] == "up"
    assert facts["containers"] == ["mycontainer"]
    gone = bridge.facts(None, "private", replace(THERE, link=None, members={}))  # type: ignore[arg-type]
    assert gone["state"] == "missing"
    assert gone["addresses"] == ["192.168.42.1/24", "fd00::1/64"]
    assert gone["containers"] == []
    assert bridge.facts(None, "private", EMPTY) == {}  # type: ignore[arg-type]


def test_a_record_can_be_written_and_read_as_a_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MANIFESTS", str(tmp_path))
    decided = bridge.plan(wanted(), EMPTY)
    manifest.write("bridge", "private", bridge._record("private", decided.after))
    assert manifest.read("bridge", "private") == RECORD
