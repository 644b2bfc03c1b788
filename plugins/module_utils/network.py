# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container is connected: its interfaces, what the kernel shows of them, and which addresses may be taken."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import netlink, units
from .errors import BaleineError
from .process import Runner, read

MACHINE_ID = "/etc/machine-id"
#: What to do about an address that is outside.
INSIDE = "Take an address inside it"
#: How soon a container notices that a neighbour is gone: in about 4 s instead of up to 50 (milliseconds, ip-ntable(8)).
#: Neighbours end without a word (kill -9), and who waits for one of them should get an error, not a time-out.
NEIGHBOURS = "base_reachable 2000 delay_probe 1000 retrans 200"


class Network(NamedTuple):
    """One interface as it is wanted. Addresses in CIDR form, routes as (destination, gateway); None is the default.

    :param rate_in: what reaches the container, in bits a second; :param rate_out: what leaves it.
    """

    bridge: str
    addresses: tuple[str, ...] = ()
    gateway: Optional[str] = None
    routes: tuple[tuple[str, str], ...] = ()
    mac: Optional[str] = None
    mtu: Optional[int] = None
    rate_in: Optional[int] = None
    rate_out: Optional[int] = None


class Interface(NamedTuple):
    """One interface as it is recorded: what is wanted, and the names that were given to it at creation."""

    network: Network
    link: str
    mac: str
    index: int  # type: ignore[assignment]  # a tuple has a method of this name, which nobody misses here

    @property
    def inside(self) -> str:
        return f"eth{self.index}"


def parse_network(request: Mapping[str, Any], what: str) -> Network:
    """Return one element of a container's ``networks``, normalised.

    :raises BaleineError: for a name, address, route, MAC or MTU that is none.
    """
    name = units.check_name(str(request.get("bridge") or ""), "bridge")
    where = f"{what}: network {name}"
    routes = tuple(
        sorted(
            (units.parse_destination(route["destination"], where), units.parse_gateway(route["gateway"], where))
            for route in request.get("routes") or ()
        )
    )
    addresses = tuple(dict.fromkeys(units.parse_address(text, where) for text in request.get("addresses") or ()))
    gateway = units.parse_gateway(request["gateway"], where) if request.get("gateway") else None
    mac, mtu = request.get("mac"), units.parse_mtu(request.get("mtu"), where)
    rates = (units.parse_rate(request.get(f"rate_{way}"), f"{where}: rate_{way}") for way in ("in", "out"))
    network = Network(name, addresses, gateway, routes, units.parse_mac(mac, where) if mac else None, mtu, *rates)
    ways = [*([("default", network.gateway)] if network.gateway else []), *routes]
    if len({(to, ":" in via) for to, via in ways}) < len(ways):
        shown = ", ".join(to for to, _via in ways)
        raise BaleineError(f"{where}: two routes to one destination ({shown})", "Give one gateway for each")
    reachable = [ipaddress.ip_interface(address).network for address in network.addresses]
    for _to, via in ways:
        if not any(ipaddress.ip_address(via) in subnet for subnet in reachable):
            hint = "Give the interface an address beside it"
            raise BaleineError(f"{where}: the gateway {via} is in no network of this interface", hint)
    return network


def machine_id() -> str:
    """Return what tells this machine from others (machine-id(5)), or its node name."""
    known = read(MACHINE_ID)
    return os.uname().nodename if known is None else known


def check_overlap(what: str, addresses: Sequence[str], routes: Sequence[Mapping[str, Any]], own: str) -> None:
    """Refuse a range that meets one the host already routes elsewhere.

    :param own: the link whose own routes do not count.
    :raises BaleineError: naming the route.
    """
    for address in addresses:
        wanted = ipaddress.ip_interface(address).network
        for route in routes:
            destination = str(route.get("dst", "default"))
            routed: Any = None if route.get("dev") == own else _network_of(destination)
            if _meet(wanted, routed) and routed.prefixlen and not routed.is_link_local:
                met = f"{destination} dev {route.get('dev', '?')}"
                hint = "Choose a range that this host does not route yet"
                raise BaleineError(f"{what}: the network {wanted} meets the route {met} of this host", hint)


def check_others(what: str, addresses: Sequence[str], others: Mapping[str, Sequence[str]]) -> None:
    """Refuse a range that meets one of another bridge, even while that one is down.

    :param others: the addresses of the other bridges, in CIDR form.
    :raises BaleineError: naming that bridge.
    """
    for mine in [ipaddress.ip_interface(address).network for address in addresses]:
        for other, text in [(other, text) for other, texts in others.items() for text in texts]:
            theirs = _network_of(text)  # none, where it is torn: that bridge's trouble
            if _meet(mine, theirs):
                met = f"the network {mine} meets {theirs} of the bridge {other}"
                raise BaleineError(f"{what}: {met}", "Choose another range")


def _network_of(text: str) -> Any:
    """The network of an address or a destination, None for anything else (``default``)."""
    try:
        return ipaddress.ip_interface(text).network
    except ValueError:
        return None


def _meet(one: Any, other: Any) -> bool:
    return other is not None and one.version == other.version and bool(one.overlaps(other))


def check_member(what: str, network: Network, bridge_addresses: Sequence[str], used: Mapping[str, str]) -> None:
    """Refuse addresses that do not belong on a bridge, or that somebody has.

    :param bridge_addresses: the bridge's, in CIDR form; a bridge without one takes any.
    :param used: who has which address on this bridge.
    :raises BaleineError: naming the address and its holder, or the networks there are.
    """
    for text in network.addresses:
        ip = str(ipaddress.ip_interface(text).ip)
        if ip in used:
            met = f"is in use on the bridge {network.bridge} by {used[ip]}"
            raise BaleineError(f"{what}: the address {ip} {met}", "Take another address")
    for problem in outside(network, bridge_addresses):
        raise BaleineError(f"{what}: {problem}", INSIDE)


def outside(network: Network, bridge_addresses: Sequence[str]) -> Iterator[str]:
    """Say of each address that is in no network of its bridge what is wrong with it; see :func:`check_member`."""
    subnets = {ipaddress.ip_interface(address).network for address in bridge_addresses}
    for text in network.addresses:
        address = ipaddress.ip_interface(text)
        same_family = [subnet for subnet in subnets if subnet.version == address.version]
        if same_family and not any(address.ip in subnet for subnet in same_family):
            there_are = ", ".join(sorted(str(subnet) for subnet in same_family))
            yield f"the address {text} is outside the network of the bridge {network.bridge} ({there_are})"


def interfaces_for(
    name: str, networks: Sequence[Network], recorded: Sequence[Interface], taken: Sequence[str]
) -> tuple[Interface, ...]:
    """Return the interfaces for wanted networks; names and MACs given at creation are kept.

    :param taken: interface names that other containers have recorded.
    """
    stem = recorded[0].link.rpartition("_")[0] if recorded else ""
    links = [item.link for item in recorded]
    if len(links) < len(networks):
        fresh = units.interface_names(name, len(networks), taken)
        links = [f"{stem}_{index}" for index in range(len(networks))] if recorded else fresh
    machine, result = machine_id(), []
    for index, network in enumerate(networks):
        mac = network.mac
        if mac is None and index < len(recorded) and recorded[index].network.mac is None:
            mac = recorded[index].mac
        result.append(Interface(network, links[index], mac or units.make_mac(machine, name, index), index))
    return tuple(result)


def connect(run: Runner, what: str, pid: int, interfaces: Sequence[Interface], mtus: Mapping[str, int]) -> None:
    """Make a container's links, from nothing: veth pairs on their bridges, addressed and up inside.

    :param pid: the container's first process.
    :param mtus: the MTU of each bridge.
    :raises BaleineError: with the change that failed.
    """
    host = [line for item in interfaces for line in link_lines(item, pid, mtus)]
    netlink.batch(run, host, f"{what}: connecting it")
    inside = ["link set dev lo up", *(line for item in interfaces for line in inside_lines(item))]
    netlink.batch(run, inside, f"{what}: addressing it", pid)


def need_bridges(what: str, interfaces: Sequence[Interface]) -> None:
    """Refuse to connect to a bridge that is recorded but has gone, as all have after a crash of the host."""
    for bridge in (item.network.bridge for item in interfaces):
        if not os.path.isdir(f"/sys/class/net/{bridge}/bridge"):
            raise BaleineError(f"{what}: the bridge {bridge} has no link now", f"Run: baleine bridge -b {bridge} up")


def link_lines(item: Interface, pid: int, mtus: Mapping[str, int]) -> list[str]:
    """The host's part of one interface."""
    mtu = item.network.mtu or mtus.get(item.network.bridge, 1500)
    return [
        f"link add name {item.link} mtu {mtu} type veth"
        f" peer name {item.inside} mtu {mtu} address {item.mac} netns {pid}",
        f"link set dev {item.link} master {item.network.bridge} up",
        *([rate_line(item.link, item.network.rate_in)] if item.network.rate_in else []),
    ]


def rate_line(link: str, rate: Optional[int]) -> str:
    """Return the change that limits what a link lets out (tbf(8)), or lets it all out; the burst is 20 ms of it."""
    shape = f"tbf rate {rate}bit burst {max((rate or 0) // 400, 20000)} latency 50ms"
    return f"qdisc replace dev {link} root {shape}" if rate else f"qdisc del dev {link} root"


def inside_lines(item: Interface) -> list[str]:
    """The container's part of one interface."""
    lines = [address_line(address, item.inside) for address in item.network.addresses]
    families = {"ndisc_cache" if ":" in address else "arp_cache" for address in item.network.addresses}
    lines += [f"ntable change name {table} dev {item.inside} {NEIGHBOURS}" for table in sorted(families)]
    lines.append(f"link set dev {item.inside} up")
    lines += [rate_line(item.inside, item.network.rate_out)] if item.network.rate_out else []
    return lines + [
        f"route replace {to} via {via} dev {item.inside}" for to, via in sorted(wanted_routes(item.network))
    ]


def address_line(address: str, link: str) -> str:
    """Return the change that gives a link an address, or leaves it there."""
    # without duplicate detection: bind(2) to a tentative IPv6 address fails for a second
    return f"address replace {address} dev {link}" + (" nodad" if ":" in address else "")


def carried_away(there: Sequence[str], removed: Sequence[str]) -> list[str]:
    """Return the IPv4 addresses that the kernel takes from a link with the first one of their network."""
    first: dict[Any, str] = {}
    taken = []
    for text in there:
        if ":" not in text:
            leader = first.setdefault(ipaddress.ip_interface(text).network, text)
            if leader in removed and text not in removed:
                taken.append(text)
    return taken


def wanted_routes(network: Network) -> set[tuple[str, str]]:
    """Return (destination, gateway) of every route of an interface, the default one included."""
    default = {("default", network.gateway)} if network.gateway else set()
    return {*network.routes, *default}


def found_inside(run: Runner, pid: int) -> dict[str, dict[str, Any]]:
    """Return what the kernel shows inside a container: MAC, MTU, addresses and routes with a gateway, by link."""
    found: dict[str, dict[str, Any]] = {
        name: {
            "mac": link.get("address"),
            "mtu": link.get("mtu"),
            "rate": link.get("rate"),
            "addresses": netlink.global_addresses(link),
            "up": "UP" in link.get("flags", ()),
            "routes": set(),
        }
        for name, link in netlink.links(run, pid).items()
        if name != "lo"
    }
    for route in netlink.routes(run, pid):
        if route.get("gateway") and route.get("dev") in found:
            found[route["dev"]]["routes"].add((route["dst"], route["gateway"]))
    return found


def mend(item: Interface, host: Optional[Mapping[str, Any]], inside: Optional[Mapping[str, Any]], mtu: int) -> Mending:
    """Compare one interface with what the kernel shows of it. Pure.

    :param host: the host's end, or None where it is gone.
    :param inside: the container's end, or None.
    :param mtu: the MTU that is wanted.
    """
    if host is None or inside is None:
        return Mending(("its link is gone",), remake=True)
    reasons, host_lines, inside_changes = [], [], []
    if host.get("master") != item.network.bridge or "UP" not in host.get("flags", ()):
        reasons.append(f"not on {item.network.bridge}")
        host_lines.append(f"link set dev {item.link} master {item.network.bridge} up")
    if host.get("mtu") != mtu or inside["mtu"] != mtu:
        reasons.append(f"mtu {inside['mtu']} -> {mtu}")
        host_lines.append(f"link set dev {item.link} mtu {mtu}")
        inside_changes.append(f"link set dev {item.inside} mtu {mtu}")
    for word, seen, wished, link, lines in (
        ("in", host.get("rate"), item.network.rate_in, item.link, host_lines),
        ("out", inside.get("rate"), item.network.rate_out, item.inside, inside_changes),
    ):
        if seen != wished:
            reasons.append(f"rate_{word} {units.show_rate(seen)} -> {units.show_rate(wished)}")
            lines.append(rate_line(link, wished))
    if inside["mac"] != item.mac:
        reasons.append(f"mac {inside['mac']} -> {item.mac}")
        inside_changes.append(f"link set dev {item.inside} address {item.mac}")
    wanted = wanted_routes(item.network)
    lost = sorted(inside["routes"] - wanted)
    reasons += [f"route {to} via {via} too many" for to, via in lost]
    # while their gateway is known
    inside_changes += [f"route del {to} via {via} dev {item.inside}" for to, via in lost]
    surplus = [address for address in inside["addresses"] if address not in item.network.addresses]
    missing = [address for address in item.network.addresses if address not in inside["addresses"]]
    reasons += [f"address {address} too many" for address in surplus]
    reasons += [f"address {address} missing" for address in missing]
    inside_changes += [f"address del {address} dev {item.inside}" for address in surplus]
    # with an address the kernel takes the later ones of its network and their routes away: they are put back
    inside_changes += [address_line(text, item.inside) for text in (item.network.addresses if surplus else missing)]
    if not inside["up"]:
        reasons.append("down")
        inside_changes.append(f"link set dev {item.inside} up")
    absent = sorted(wanted - inside["routes"])
    reasons += [f"route {to} via {via} missing" for to, via in absent]
    put_back = sorted(wanted) if surplus else absent
    inside_changes += [f"route replace {to} via {via} dev {item.inside}" for to, via in put_back]
    return Mending(tuple(reasons), tuple(host_lines), tuple(inside_changes))


class Mending(NamedTuple):
    """What one interface needs: reasons, and changes on the host and inside; or to be made anew."""

    reasons: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    remake: bool = False


def counters(pid: int) -> dict[str, dict[str, int]]:
    """Return how many bytes each interface of a process's network received and sent (proc(5), /proc/PID/net/dev)."""
    lines = (read(f"/proc/{pid}/net/dev") or "").splitlines()  # none, where it ended meanwhile
    fields = {line.partition(":")[0].strip(): line.partition(":")[2].split() for line in lines if ":" in line}
    return {name: {"received": int(words[0]), "sent": int(words[8])} for name, words in fields.items() if name != "lo"}
