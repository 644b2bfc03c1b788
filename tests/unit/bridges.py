# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge as tests of plans see it: what is asked for, what is found, and what a plan makes of it."""

from __future__ import annotations

from typing import Any

from baleine import bridge
from baleine.bridge import Found
from baleine.plan import Plan
from tests.unit.support import Addresses, link, replace

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
