# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and routes that move between a bridge and its ports: which, and by what changes. Nothing here changes any.

A share is what one port brings along: ``addresses``, each with its ``value`` in CIDR form, the ``words`` that ip(8)
needs to make it, its ``label`` and ``lifetime`` where it has such, and whether it is ``dynamic`` (it will run out, and
is not healed then); ``routes`` of the main table, each with its ``words`` and ``expires``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import netlink
from .errors import BaleineError
from .plan import Action

FOREVER = 0xFFFFFFFF

Items = list[dict[str, Any]]
Share = dict[str, Items]
Link = Mapping[str, Any]
NOTHING: Share = {"addresses": [], "routes": []}


class Handover(NamedTuple):
    """What moves, and what is recorded afterwards.

    :param over: shares that come to the bridge, by port.
    :param back: shares that go back to their port.
    :param moved: the shares that the bridge holds in the end, as they are recorded.
    :param forward: the changes, for one ``ip -batch``.
    :param backward: the changes that undo them, whatever part of them was made.
    """

    over: Mapping[str, Share] = {}
    back: Mapping[str, Share] = {}
    moved: Mapping[str, Share] = {}
    forward: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()

    def actions(self, what: str) -> list[Action]:
        """Return the one step that makes the move, or none."""
        if not self.forward:
            return []
        reasons = [f"{port} takes {_show(share)} along" for port, share in self.over.items()]
        reasons += [f"{port} gets {_show(share)} back" for port, share in self.back.items()]
        moved = {port: _settled(share) for port, share in self.over.items()}
        data = {"forward": self.forward, "backward": self.backward, "moved": moved}
        return [Action("hand_over", what, ", ".join(reasons), data)]

    def addresses(self) -> list[str]:
        """Return the addresses, in CIDR form, that the bridge must have because of its ports."""
        return [item["value"] for item in _each(self.moved, "addresses") if not item.get("dynamic")]

    def begun(self, goal: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is recorded of a new bridge at first: what is wanted, but for what moves."""
        addresses = self.addresses()
        return {
            **goal,
            "state": "creating",
            "addresses": [address for address in goal["addresses"] if address not in addresses],
            "ports": [port for port in goal["ports"] if port not in self.moved],
            "moved": {},
        }

    def words(self, address: str) -> str:
        """Return an address with everything that ip(8) is told of it."""
        known = {item["value"]: str(item["words"]) for item in _each(self.moved, "addresses")}
        return known.get(address, address)

    def moving(self, address: str) -> bool:
        """Say whether an address is part of the move, in whichever direction."""
        return any(item["value"] == address for shares in (self.over, self.back) for item in _each(shares, "addresses"))

    def routes_after(self, routes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the routes as they are once everything has moved, as far as their networks go."""
        values = [(port, item["value"]) for port, share in self.back.items() for item in share["addresses"]]
        returned = [{"dst": str(ipaddress.ip_interface(value).network), "dev": port} for port, value in values]
        return [route for route in routes if route.get("dev") not in self.over] + returned

    def missing_routes(self, bridge: str, routes: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return the routes that moved here earlier and that the kernel does not show any more."""
        shown = {_route_words(route) for route in routes if route.get("dev") == bridge}
        wanted = [item["words"] for port in self.moved if port not in self.over for item in self.moved[port]["routes"]]
        return [words for words in wanted if words not in shown]


def decide(
    what: str, bridge: str, ports: Sequence[str], recorded: Mapping[str, Share], now: Sequence[str],
    links: Mapping[str, Link], routes: Sequence[Mapping[str, Any]], asked: bool, silent: bool = False,
) -> Handover:  # fmt: skip
    """Return what has to move between a bridge and its ports. Pure.

    :param ports: the interfaces that shall be ports.
    :param recorded: the shares that the bridge holds, by port.
    :param now: the interfaces that are ports.
    :param asked: whether addresses may move; without it only those that are recorded go back.
    :param silent: a new port of this bridge would send and receive nothing for longer than the guard waits.
    :raises BaleineError: for a share that cannot move, or that nobody accounts for.
    """
    here = _shown(bridge, links, routes)
    over, back, moved = dict[str, Share](), dict[str, Share](), dict[str, Share]()
    for port in ports:
        kept = recorded.get(port)
        if kept is not None and not asked:
            raise BaleineError(
                f"{what}: it holds the addresses of its port {port} ({_show(kept)}), which only move_addresses allows",
                f"Set move_addresses, or take {port} out of ports: they move back to it then",
            )
        free = port not in now and port in links and not links[port].get("master")
        fresh = share_of(what, port, links[port], routes) if asked and free else NOTHING
        if fresh["addresses"] or fresh["routes"]:
            if silent:
                raise BaleineError(
                    f"{what}: the addresses of {port} would be cut off: a port is silent while its bridge is down, and "
                    "for 30 s with the spanning tree protocol",
                    "Let the bridge be up, without stp, while it takes them over",
                )
            over[port] = fresh
            moved[port] = {k: _joined(items, (kept or NOTHING)[k], here[k]) for k, items in _settled(fresh).items()}
        elif kept is not None:
            moved[port] = kept
    for port, share in recorded.items():
        if port in ports or port not in links:
            continue
        if links[port].get("master", bridge) != bridge:
            raise BaleineError(
                f"{what}: {port} is a port of {links[port]['master']} now, its addresses cannot go back to it",
                "Take it from there first",
            )
        if bridge in links or not netlink.global_addresses(links[port]):
            back[port] = {key: _as_shown(items, here[key]) for key, items in share.items()}
    forward = [line for port, share in back.items() for line in _transfer(port, bridge, False, share, here)]
    forward += [line for port, share in over.items() for line in _transfer(port, bridge, True, share)]
    backward = [line for port, share in over.items() for line in _transfer(port, bridge, False, share)]
    backward += [line for port, share in back.items() for line in _transfer(port, bridge, True, share)]
    return Handover(over, back, moved, tuple(forward), tuple(backward))


def check_port(what: str, port: str, links: Mapping[str, Link], routes: Iterable[Mapping[str, Any]]) -> None:
    """Refuse an interface that cannot be a port as it is.

    :raises BaleineError: naming what it has or belongs to.
    """
    link = links.get(port)
    if link is None:
        raise BaleineError(f"{what}: this host has no interface {port}", "Name one that 'ip link' shows")
    if link.get("master"):
        raise BaleineError(f"{what}: {port} is already a port of {link['master']}", "Take it from there first")
    addresses = netlink.global_addresses(link)
    if addresses:
        raise BaleineError(
            f"{what}: {port} has addresses ({', '.join(addresses)}); as a port it would cut them off",
            "Set move_addresses, or give them to the bridge in the host's own network configuration first",
        )
    if any(route.get("dst") == "default" and route.get("dev") == port for route in routes):
        hint = "Set move_addresses, or take another interface"
        raise BaleineError(f"{what}: the default route of this host leaves by {port}", hint)


def share_of(what: str, port: str, link: Link, routes: Iterable[Mapping[str, Any]]) -> Share:
    """Return the share of an interface: what it has, but for what the kernel makes by itself.

    :raises BaleineError: for a route that leaves by several interfaces.
    """
    addresses = [_address(port, entry) for entry in netlink.global_entries(link)]
    own = [_network(entry) for entry in netlink.global_entries(link) if not entry.get("noprefixroute")]
    found = []
    for route in routes:
        if any(hop.get("dev") == port for hop in route.get("nexthops", ())):
            raise BaleineError(
                f"{what}: the route {route.get('dst')} leaves by several interfaces, and {port} is one of them",
                "Replace it by a route with one way, or take another interface",
            )
        if route.get("dev") != port:
            continue
        destination = str(route.get("dst"))
        if route.get("protocol") == "kernel" and destination != "default":
            network = ipaddress.ip_network(destination, strict=False)
            if network.is_link_local or network in own:
                continue
        expires = {"expires": route["expires"]} if "expires" in route else {}
        found.append({"words": _route_words(route), **expires})
    # a gateway must be reachable before the route by it is made
    return {"addresses": addresses, "routes": sorted(found, key=lambda item: " via " in item["words"])}


def dynamic(link: Optional[Link]) -> list[str]:
    """Return the addresses of a link that will run out: the kernel's (RFC 4862) or a DHCP client's."""
    items = [_address("", entry) for entry in netlink.global_entries(link or {})]
    return [item["value"] for item in items if item.get("dynamic")]


def _shown(bridge: str, links: Mapping[str, Link], routes: Iterable[Mapping[str, Any]]) -> Share:
    """What the kernel shows of a bridge, all of it, in the form of a share that is recorded."""
    addresses = [_address(bridge, entry) for entry in netlink.global_entries(links.get(bridge, {}))]
    return {"addresses": addresses, "routes": [{"words": _route_words(r)} for r in routes if r.get("dev") == bridge]}


def _network(entry: Mapping[str, Any]) -> Any:
    """The network to which the kernel makes a route for an address: the peer's, where it has one (ip-address(8))."""
    return ipaddress.ip_interface(f"{entry.get('address', entry['local'])}/{entry['prefixlen']}").network


def _address(device: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    value = f"{entry['local']}/{entry['prefixlen']}"
    words = f"{entry['local']} peer {entry['address']}/{entry['prefixlen']}" if "address" in entry else value
    words += "".join(f" {key} {entry[key]}" for key in ("broadcast", "metric") if key in entry)
    words += f" scope {entry['scope']}" if entry.get("scope", "global") != "global" else ""
    words += " noprefixroute" if entry.get("noprefixroute") else ""
    found: dict[str, Any] = {"value": value, "words": words}
    if entry.get("label", device) != device:
        found["label"] = entry["label"]
    if entry.get("dynamic"):
        numbers = [entry.get(f"{kind}_life_time", FOREVER) for kind in ("valid", "preferred")]
        limits = ["forever" if number == FOREVER else number for number in numbers]
        found.update(dynamic=True, lifetime="valid_lft {} preferred_lft {}".format(*limits))
    return found


def _route_words(route: Mapping[str, Any]) -> str:
    destination = str(route.get("dst", "default"))
    if destination == "default" and "pref" in route:  # only IPv6 routes have a preference (RFC 4191)
        destination = "::/0"
    kind = route.get("type", "unicast")
    words = [destination] if kind == "unicast" else [kind, destination]
    if "gateway" in route:
        words += ["via", route["gateway"]]
    elif "via" in route:  # an IPv6 gateway of an IPv4 route (RFC 5549)
        words += ["via", route["via"]["family"], route["via"]["host"]]
    names = {"protocol": "proto", "scope": "scope", "prefsrc": "src", "metric": "metric"}
    words += [text for key, name in names.items() if key in route for text in (name, str(route[key]))]
    words += ["onlink"] if "onlink" in route.get("flags", ()) else []
    for metrics in route.get("metrics", ()):
        words += [text for key, value in metrics.items() for text in (key, str(value))]
    words += ["pref", route["pref"]] if "pref" in route else []
    return " ".join(words)


def _settled(share: Share) -> Share:
    """A share as it is recorded: without what changes by the second, and routes that run out."""
    return {
        kind: [{key: item[key] for key in item if key != "lifetime"} for item in items if "expires" not in item]
        for kind, items in share.items()
    }


def _joined(fresh: Items, kept: Items, shown: Items) -> Items:
    """What a port has anew, and what the bridge still shows of what it brought along earlier."""
    good = {item["words"] for item in shown} - {item["words"] for item in fresh}
    return fresh + [item for item in kept if item["words"] in good]


def _as_shown(recorded: Items, shown: Items) -> Items:
    """What goes back of what was recorded: with the lifetime that is left, and nothing that has run out."""
    now = {item["words"]: item for item in shown}
    found = [{**item, **{k: v for k, v in now.get(item["words"], {}).items() if k == "lifetime"}} for item in recorded]
    return [item for item in found if not item.get("dynamic") or "lifetime" in item]


def _each(shares: Mapping[str, Share], key: str) -> Items:
    return [item for share in shares.values() for item in share[key]]


def _show(share: Share) -> str:
    counted = f"{len(share['routes'])} routes" if len(share["routes"]) > 1 else "a route"
    return ", ".join([*(item["value"] for item in share["addresses"]), *([counted] if share["routes"] else [])])


def _transfer(port: str, bridge: str, joins: bool, share: Share, there: Optional[Share] = None) -> list[str]:
    """The changes that make an interface a port and take its share to the bridge, or the opposite.

    :param there: what there is where the share leaves; None is all of it.
    """
    source, target = (port, bridge) if joins else (bridge, port)
    lines = [f"link set dev {port} {f'master {bridge}' if joins else 'nomaster'} up"]
    for kind, key in (("route", "routes"), ("address", "addresses")):
        left = {item["words"] for item in (there or share)[key]}
        # the last first: a first address takes the others of its network along (ip-sysctl, promote)
        words = [item["words"] for item in reversed(share[key]) if item["words"] in left]
        lines += [f"{kind} del {text} dev {source}" for text in words]
    for item in share["addresses"]:
        label = f" label {item['label']}" if "label" in item and not joins else ""
        lifetime = f" {item['lifetime']}" if "lifetime" in item else ""
        nodad = " nodad" if ":" in item["value"] else ""
        lines.append(f"address replace {item['words']} dev {target}{label}{lifetime}{nodad}")
    for item in share["routes"]:
        expires = f" expires {item['expires']}" if "expires" in item else ""
        lines.append(f"route append {item['words']} dev {target}{expires}")
    return lines
