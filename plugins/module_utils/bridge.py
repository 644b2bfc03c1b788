# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges: wanted, found, plan, apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import guard, handover, manifest, netlink, network, units
from .errors import BaleineError
from .plan import Action, Draft, Outcome, Plan, apply, predicted, show
from .process import Runner

DEFAULT_MTU = 1500
IPV6_MTU = 1280
#: A port forwards at once unless loops are looked for (802.1D wants 15 s then).
STP = {True: ("forward_delay 1500", "stp_state 1"), False: ("stp_state 0", "forward_delay 0")}


class Wanted(NamedTuple):
    """A bridge as it is asked for, normalised. ``state``: up, down or absent; a MAC of None is made from the name."""

    name: str
    state: str = "up"
    addresses: tuple[str, ...] = ()
    mtu: int = DEFAULT_MTU
    stp: bool = False
    mac: Optional[str] = None
    ports: tuple[str, ...] = ()
    move_addresses: bool = False


class Found(NamedTuple):
    """What is recorded and what is there.

    :param link: the kernel's link of this name, or None.
    :param ports: every link whose master is the bridge.
    :param members: running containers' host-side links that are recorded for this bridge, with their container.
    :param users: all containers that name this bridge.
    :param guard: the token of the guard that waits for the confirmation of a move of addresses.
    """

    record: Optional[manifest.Record] = None
    link: Optional[Mapping[str, Any]] = None
    ports: tuple[str, ...] = ()
    members: Mapping[str, str] = {}
    users: tuple[str, ...] = ()
    links: Mapping[str, Mapping[str, Any]] = {}
    routes: tuple[Mapping[str, Any], ...] = ()
    others: Mapping[str, tuple[str, ...]] = {}
    machine: str = ""
    guard: str = ""


def request(params: Mapping[str, Any]) -> Wanted:
    """Return what a task or a command asks for, normalised.

    :raises BaleineError: for a name, address, MTU, MAC or port that is none.
    """
    name = units.check_name(str(params["name"]), "bridge")
    what = f"bridge {name}"
    ports = tuple(dict.fromkeys(params.get("ports") or ()))
    for port in ports:
        if not port or len(port) > units.LINK_NAME_LENGTH or "/" in port or port.split() != [port] or port == name:
            raise BaleineError(f"{what}: {port!r} is no name of an interface that can be its port")
    state, mtu = params.get("state") or "up", units.parse_mtu(params.get("mtu"), what) or DEFAULT_MTU
    addresses = tuple(dict.fromkeys(units.parse_address(text, what) for text in params.get("addresses") or ()))
    if mtu < IPV6_MTU and state != "absent" and any(":" in address for address in addresses):
        raise BaleineError(f"{what}: IPv6 needs an MTU of {IPV6_MTU} bytes (RFC 8200), {mtu} is too small", "Raise mtu")
    stp, move_addresses = bool(params.get("stp")), bool(params.get("move_addresses"))
    mac = units.parse_mac(params["mac"], what) if params.get("mac") else None
    return Wanted(name, state, addresses, mtu, stp, mac, ports, move_addresses)


def find(run: Runner, name: str) -> Found:
    """Return what is recorded of a bridge and what the kernel shows."""
    links = netlink.links(run)
    members, users = {}, []
    for container, record in manifest.records("container").items():
        bridges = manifest.split(record.get("nom_bridge", ""))
        if name in bridges:
            users.append(container)
            for bridge, link in zip(bridges, manifest.split(record.get("interface", ""))):
                if bridge == name and link in links:
                    members[link] = container
    others = {other: _addresses(record) for other, record in manifest.records("bridge").items() if other != name}
    return Found(
        record=manifest.read("bridge", name),
        link=links.get(name),
        ports=tuple(sorted(link for link, entry in links.items() if entry.get("master") == name)),
        members=members,
        users=tuple(users),
        links=links,
        routes=tuple(netlink.routes(run)),
        others=others,
        machine=network.machine_id(),
        guard=guard.waiting(name),
    )


def _addresses(record: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(manifest.split(record.get("address", "")))


def plan(wanted: Wanted, found: Found) -> Plan:
    """Compare and decide. Pure.

    :raises BaleineError: for what must not be done: a foreign link, a network routed elsewhere, a port in use,
        removing a bridge that containers are connected to.
    """
    draft, foreign = Draft(f"bridge {wanted.name}"), ""
    what, step = draft.what, draft.step
    if found.link is not None and (found.record is None or netlink.kind(found.link) != "bridge"):
        kind = netlink.kind(found.link) or "a device"
        foreign = f"{what}: this host has a link {wanted.name} that Baleine did not make ({kind})"
        if wanted.state != "absent":
            raise BaleineError(foreign, "Choose another name, or remove that link")
        links = {name: entry for name, entry in found.links.items() if name != wanted.name}
        routes = tuple(route for route in found.routes if route.get("dev") != wanted.name)
        found = found._replace(link=None, ports=(), members={}, links=links, routes=routes)
    recorded = _as_recorded(found)
    move = _plan_move(wanted, found, what, recorded)
    if wanted.state == "absent":
        _plan_absent(found, draft, move)
        draft.warnings += [f"{foreign}: it is left alone"] if foreign and draft.actions else []
        return draft.plan()
    network.check_overlap(what, wanted.addresses, move.routes_after(found.routes), wanted.name)
    network.check_others(what, wanted.addresses, found.others)
    goal = _goal(wanted, found, move)
    is_now = _as_found(found)
    if wanted.move_addresses and found.link is not None:  # what runs out by itself is nobody's wish
        passing = handover.dynamic(found.link)
        is_now["addresses"] = [address for address in is_now["addresses"] if address not in passing]
    if found.link is None:
        lost = "the link is gone" if found.record is not None and found.record.get("state") != "creating" else ""
        step("create", f"drift: {lost}" if lost else "there is none", lost, mac=goal["mac"], mtu=goal["mtu"])
        is_now = {**is_now, "mac": goal["mac"], "mtu": goal["mtu"], "stp": False, "state": "down"}
    is_there = list(is_now.get("addresses", []))
    surplus = [text for text in is_there if text not in goal["addresses"] and not move.moving(text)]
    for address in reversed(surplus):  # the first of a network goes last: with it the kernel takes the others away
        strange = bool(recorded) and address not in recorded["addresses"]
        reason = f"{'drift: ' if strange else ''}{address} is not wanted"
        step("remove_address", reason, f"the address {address} was added" if strange else "", value=address)
    carried = network.carried_away(is_there, surplus)
    for key in ("mac", "mtu", "stp", "state"):
        if is_now.get(key) != goal[key]:
            was, drifted = show(is_now.get(key)), found.link is not None and recorded.get(key) == goal[key]
            reason = f"{'drift: ' if drifted else ''}{key} {was} -> {show(goal[key])}" if found.link else key
            step(f"set_{key}", reason, f"{key} was {was}" if drifted else "", value=goal[key])
    draft.actions += move.actions(what)
    was_there = _expected(recorded.get("addresses", []), recorded.get("state")) if found.link else []
    for address in _expected(goal["addresses"], wanted.state):
        if address in carried:
            step("add_address", f"{address} is taken along by the kernel", value=address)
        elif address not in is_there and not move.moving(address):
            drifted = address in was_there
            reason = f"drift: {address} is gone" if drifted else f"{address} is missing"
            step("add_address", reason, f"the address {address} is gone" if drifted else "", value=move.words(address))
    _plan_ports(wanted, found, draft, recorded, move)
    for route in move.missing_routes(wanted.name, found.routes) if wanted.state == "up" else ():
        gone = f"the route {route} is gone" if recorded.get("state") == "up" else ""
        step("add_route", f"the route {route} is missing", gone, value=route)
    if recorded != goal:
        step("record", "the manifest says otherwise" if recorded else "new")
        if found.record is None:
            begun = Action("record_creating", what, "what is begun is recorded first", move.begun(goal))
            draft.actions.insert(0, begun)
    spoken_of = (*recorded.get("ports", ()), *wanted.ports)  # others stay as they are
    ports = [port for port in found.ports if port in spoken_of]
    shown = {"ports": ports, "addresses": units.as_listed(is_there, recorded.get("addresses", ()))}
    draft.before, draft.after = {**recorded, **is_now, **shown} if found.link else {}, goal
    return draft.plan()


def _expected(addresses: Sequence[str], state: Optional[str]) -> list[str]:
    """The addresses that a link in this state has: the kernel takes IPv6 ones from a link that goes down."""
    return [address for address in addresses if state == "up" or ":" not in address]


def _plan_move(wanted: Wanted, found: Found, what: str, recorded: Mapping[str, Any]) -> handover.Handover:
    if found.guard:
        hint = f"Without one it is taken back within {guard.SECONDS} s: run it again then"
        raise BaleineError(f"{what}: a move of addresses waits for its confirmation", hint)
    ports, moved = () if wanted.state == "absent" else wanted.ports, recorded.get("moved", {})
    asked, silent = wanted.move_addresses, wanted.stp or wanted.state != "up"
    return handover.decide(what, wanted.name, ports, moved, found.ports, found.links, found.routes, asked, silent)


def _plan_ports(
    wanted: Wanted, found: Found, draft: Draft, recorded: Mapping[str, Any], move: handover.Handover
) -> None:
    had, step = recorded.get("ports", []), draft.step
    for port in found.ports:
        if port in had and port not in (*wanted.ports, *move.back):
            step("remove_port", f"{port} is not wanted", value=port)
    for port in wanted.ports:
        if port not in found.ports and port not in move.over:
            handover.check_port(draft.what, port, found.links, found.routes)
            gone = f"the port {port} is gone" if port in had and found.link is not None else ""
            step("add_port", f"{port} is missing", gone, value=port)
    for link, container in found.members.items():
        if link not in found.ports:
            cut_off = f"container {container} was cut off"
            step("add_port", f"drift: {cut_off}", cut_off, value=link)


def _plan_absent(found: Found, draft: Draft, move: handover.Handover) -> None:
    if found.record is None:
        return
    if found.users:
        met = f"it cannot be removed, containers are connected to it: {', '.join(found.users)}"
        raise BaleineError(f"{draft.what}: {met}", "Remove these containers first")
    draft.actions += move.actions(draft.what)
    for verb in ("remove_link", "forget") if found.link else ("forget",):
        draft.step(verb, "absent is wanted")
    draft.before = _as_found(found) if found.link else _as_recorded(found)


def _goal(wanted: Wanted, found: Found, move: handover.Handover) -> dict[str, Any]:
    # Neighbours keep the MAC of an address: a move must not leave them with one that nobody answers to any more.
    carried = [found.links[port]["address"] for port in move.moved if "address" in found.links.get(port, {})]
    mac = wanted.mac or next(iter(carried), "") or units.make_mac(found.machine, f"bridge {wanted.name}", 0)
    addresses = list(dict.fromkeys([*wanted.addresses, *move.addresses()]))
    goal = {"state": wanted.state, "addresses": addresses, "mtu": wanted.mtu, "stp": wanted.stp, "mac": mac}
    return {**goal, "ports": list(wanted.ports), **({"moved": dict(move.moved)} if move.moved else {})}


def _as_found(found: Found) -> dict[str, Any]:
    link = dict(found.link or {})
    if netlink.kind(link) != "bridge":
        return {}
    state = "up" if "UP" in link.get("flags", ()) else "down"
    stp = bool(link["linkinfo"].get("info_data", {}).get("stp_state"))
    addresses = netlink.global_addresses(link)
    return {"state": state, "addresses": addresses, "mtu": link.get("mtu"), "stp": stp, "mac": link.get("address")}


def _as_recorded(found: Found) -> dict[str, Any]:
    record = found.record
    if record is None or "mtu" not in record:
        return {}
    ports, moved = manifest.split(record.get("port", "")), manifest.from_json(record, "moved", {})
    if record.get("state") == "handover":  # how that ended, only the kernel knows
        moved = {port: share for port, share in moved.items() if port in found.ports}
        ports = [port for port in dict.fromkeys([*ports, *moved]) if port in found.ports]
    plain = {key: record.get(key) for key in ("state", "mac")}
    stp, mtu = record.get("stp") == "yes", units.number(record["mtu"])
    addresses, rest = manifest.split(record.get("address", "")), {"moved": moved} if moved else {}
    return {**plain, "addresses": addresses, "mtu": mtu, "stp": stp, "ports": ports, **rest}


def _record(name: str, goal: Mapping[str, Any]) -> manifest.Record:
    return {
        "nom_bridge": name,
        "state": goal["state"],
        "address": manifest.join(goal["addresses"]),
        "mtu": str(goal["mtu"]),
        "stp": "yes" if goal["stp"] else "no",
        "mac": goal["mac"],
        "port": manifest.join(goal["ports"]),
        **({"moved": manifest.to_json(goal["moved"])} if goal.get("moved") else {}),
    }


def ensure(
    run: Runner, wanted_all: Sequence[Wanted], check: bool = False, token: Optional[str] = None, wait: bool = True
) -> list[Outcome]:
    """Bring bridges to what is wanted, or only say what that would take (``check``).

    :param token: confirms the move of addresses that an earlier call left to its guard; empty, such a move may begin.
    :raises BaleineError: see :func:`plan`; or with the change that the kernel refused.
    """
    if check:
        return [predicted(it, facts, run, wanted.name) for wanted, it in zip(wanted_all, _plan_all(run, wanted_all))]
    with manifest.lock([("bridge", wanted.name, False) for wanted in wanted_all], wait):
        for wanted in wanted_all if token else ():
            guard.confirm(wanted.name, token or "")
        begun, outcomes = list[str](), list[Outcome]()
        try:
            with manifest.registry():  # until the manifests say which networks are taken
                plans = _plan_all(run, wanted_all)
                for decided in plans:
                    guard.check(decided, token)
                for wanted, decided in zip(wanted_all, plans):
                    if decided.actions and decided.actions[0].verb == "record_creating":
                        manifest.write("bridge", wanted.name, _record(wanted.name, decided.actions[0].data))
                        begun.append(wanted.name)
            for wanted, decided in zip(wanted_all, plans):
                begun = [name for name in begun if name != wanted.name]
                _carry_out(run, wanted.name, decided)
                outcomes.append(Outcome(decided, facts(run, wanted.name)))
        except BaseException:
            for name in begun:  # recorded, and never reached
                manifest.remove("bridge", name)
            raise
    return outcomes


def _plan_all(run: Runner, wanted_all: Sequence[Wanted]) -> list[Plan]:
    """Plan a set: networks and ports that an earlier one of it will have, a later one cannot take."""
    plans: dict[str, Plan] = {}
    for wanted in wanted_all:
        if wanted.name in plans:
            raise BaleineError(f"bridge {wanted.name}: it is given twice", "Give it once")
        found = find(run, wanted.name)
        masters = {port: name for name, decided in plans.items() for port in decided.after.get("ports", ())}
        links = {n: {**entry, "master": masters[n]} if n in masters else entry for n, entry in found.links.items()}
        routes = [route for route in found.routes if route.get("dev") not in plans or "gateway" in route]
        others = {**found.others, **{name: tuple(d.after.get("addresses", ())) for name, d in plans.items()}}
        plans[wanted.name] = plan(wanted, found._replace(others=others, links=links, routes=tuple(routes)))
    return list(plans.values())


def _carry_out(run: Runner, name: str, decided: Plan) -> None:
    what, its_type, made = f"bridge {name}", f"link set dev {name} type bridge", list[str]()
    verbs = [action.verb for action in decided.actions]
    if "hand_over" in verbs:  # what comes after it is for the call that confirms it
        decided = decided._replace(actions=decided.actions[: verbs.index("hand_over") + 1])

    def change(*lines: str) -> None:
        netlink.batch(run, lines, what)

    def create(action: Action) -> None:
        mac, mtu = action.data["mac"], action.data["mtu"]
        change(f"link add name {name} address {mac} mtu {mtu} type bridge forward_delay 0")
        made.append(name)

    def undo() -> None:
        if not guard.waiting(name):  # else the addresses that are on it are the guard's to bring back
            change(*(f"link del dev {link}" for link in made))
            manifest.remove("bridge", name)

    apply(
        decided,
        {
            "record_creating": lambda action: None,  # done while the registry was held
            "create": create,
            "set_mac": lambda action: change(f"link set dev {name} address {action.data['value']}"),
            "set_mtu": lambda action: change(f"link set dev {name} mtu {action.data['value']}"),
            "set_stp": lambda action: change(*(f"{its_type} {to}" for to in STP[action.data["value"]])),
            "set_state": lambda action: change(f"link set dev {name} {action.data['value']}"),
            "add_address": lambda action: change(network.address_line(action.data["value"], name)),
            "remove_address": lambda action: change(f"address del {action.data['value']} dev {name}"),
            "hand_over": lambda action: guard.begin(run, name, action),
            "add_route": lambda action: change(f"route add {action.data['value']} dev {name}"),
            "add_port": lambda action: change(f"link set dev {action.data['value']} master {name} up"),
            "remove_port": lambda action: change(f"link set dev {action.data['value']} nomaster"),
            "remove_link": lambda action: change(f"link del dev {name}"),
            "record": lambda action: manifest.write("bridge", name, _record(name, decided.after)),
            "forget": lambda action: manifest.remove("bridge", name),
        },
        undo if "record_creating" in verbs else None,
    )


def facts(run: Runner, name: str, found: Optional[Found] = None) -> dict[str, Any]:
    """Return what is true of a bridge now, as lists and results show it; empty where there is none."""
    found = found or find(run, name)
    if found.record is None:
        return {}
    blank: dict[str, Any] = {"state": "", "addresses": [], "mtu": None, "stp": False, "mac": None, "ports": []}
    now = {"state": "missing", **_as_found(found)}
    return {"name": name, **blank, **_as_recorded(found), **now, "containers": sorted(set(found.members.values()))}


def as_recorded(run: Runner, name: str, state: str) -> Wanted:
    """Return a bridge as its manifest has it, in a state; one of the 2019 scripts has its name alone.

    :raises BaleineError: for a manifest that is not understood.
    """
    found = find(run, name)
    recorded = _as_recorded(found)  # a link that is down, or gone, no longer shows all that was asked for
    return request({**facts(run, name, found), **recorded, "state": state, "move_addresses": "moved" in recorded})


def is_lost(record: Mapping[str, str], link: Mapping[str, Any]) -> bool:
    """Say whether a bridge should be up and its link, or one of its addresses, is gone.

    :param link: as the kernel has it; empty for none.
    """
    gone = not link or not set(_addresses(record)) <= set(netlink.global_addresses(link))
    return record.get("state") == "up" and "mtu" in record and gone
