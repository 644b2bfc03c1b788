# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of the network: what the kernel holds, of a machine or a container.

The product reads `ip -j` and /sys/class/net. This is pyroute2: two readers, two ways to be wrong.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pyroute2

from . import kernel_reader
from .guest import Guest
from .run import LabError

if TYPE_CHECKING:
    from .target import Target
    from .wire import Wire

#: Where the reader lies in a guest: in memory, so that a power cut cannot leave half of it.
GUEST_FOLDER = "/run/lab-kernel"


@dataclass(frozen=True)
class Bridge:
    """Settings of a bridge; forward_delay is in seconds."""

    stp: bool = False
    forward_delay: float = 0
    vlan_filtering: bool = False


@dataclass(frozen=True)
class Link:
    """A network interface.

    kind: what a virtual one was made as (veth, bridge), or the type of hardware (ether, loopback).
    addresses: in CIDR form, sorted; without those that IPv6 makes for each link (fe80::/64).
    master: the bridge that it is a port of. bridge: the settings, if it is one.
    """

    kind: str
    addresses: tuple[str, ...] = ()
    master: str = ""
    mtu: int = 1500
    mac: str = ""
    up: bool = True
    bridge: Bridge | None = None


@dataclass(frozen=True)
class Address:
    """An address in every detail that does not change by itself; also those of the scope `link`."""

    link: str
    cidr: str
    peer: str = ""
    broadcast: str = ""
    label: str = ""
    scope: str = "global"
    metric: int = 0
    flags: tuple[str, ...] = ("permanent",)


@dataclass(frozen=True)
class Route:
    """A route of the main table; the default ones have the destination 0.0.0.0/0 or ::/0."""

    destination: str
    gateway: str = ""
    link: str = ""
    source: str = ""
    metric: int = 0
    mtu: int = 0
    protocol: str = "boot"
    scope: str = "global"
    kind: str = "unicast"
    on_link: bool = False


@dataclass(frozen=True)
class Neighbour:
    """An entry of the tables of ARP and of IPv6's neighbour discovery."""

    link: str
    address: str
    mac: str
    state: str


@dataclass(frozen=True)
class FdbEntry:
    """Behind which link a MAC address is.

    master: the bridge that knows it. remote: the other end, of a VXLAN.
    """

    link: str
    mac: str
    master: str = ""
    state: str = "permanent"
    vlan: int = 0
    remote: str = ""


@dataclass(frozen=True)
class Qdisc:
    """A queueing discipline of a link. Of tbf: rate in bits a second, burst and limit in bytes."""

    kind: str
    rate: int = 0
    burst: int = 0
    limit: int = 0


@dataclass(frozen=True)
class Network:
    """One network namespace at one moment; links and qdiscs by the link's name."""

    links: dict[str, Link]
    addresses: list[Address]
    routes: list[Route]
    neighbours: list[Neighbour]
    fdb: list[FdbEntry]
    qdiscs: dict[str, list[Qdisc]]

    def ports(self, bridge: str) -> set[str]:
        """The names of a bridge's ports."""
        return {name for name, link in self.links.items() if link.master == bridge}

    def rates(self, link: str) -> list[int]:
        """The rates, in bits a second, that token buckets hold a link to."""
        return [qdisc.rate for qdisc in self.qdiscs[link] if qdisc.kind == "tbf"]

    def lines(self) -> list[str]:
        """All that stays as it is while nobody changes it, as text."""
        links = [f"{name}: {link}" for name, link in sorted(self.links.items())]
        qdiscs = [f"{name}: {found}" for name, found in sorted(self.qdiscs.items())]
        return [*links, *qdiscs, *map(str, self.routes)]


def of(machine: Target | Wire | None, pid: int | str | None = None) -> Network:
    """The network of a machine of the laboratory; None is the machine that the tests run on.

    pid: a process of that machine whose network it shall be instead, as a container's; as the
    machine itself counts its processes.
    """
    return of_each(machine, pid)[0]


def of_each(machine: Target | Wire | None, *pids: int | str | None) -> list[Network]:
    """Several networks of one machine, as of()."""
    namespaces = [f"/proc/{pid or 'self'}/ns/net" for pid in pids]
    if isinstance(machine, Guest):
        return [_network(values) for values in _values_of_guest(machine, namespaces)]
    if machine is not None:
        top = f"/proc/{machine.pid}"
        namespaces = [f"{top}/root/proc/{pid}/ns/net" if pid else f"{top}/ns/net" for pid in pids]
    return [_network(kernel_reader.read(namespace)) for namespace in namespaces]


class _GuestReader:
    """The reader in a guest, with the pyroute2 of this machine: it is Python alone.

    It goes on running there until the connection ends: the import takes an emulated processor some seconds.
    """

    def __init__(self, guest: Guest) -> None:
        program = f"{GUEST_FOLDER}/{Path(kernel_reader.__file__).name}"
        guest.push_python({"pyroute2": Path(pyroute2.__file__).parent}, GUEST_FOLDER)
        guest.write(program, Path(kernel_reader.__file__).read_text())
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = guest.popen(["/usr/bin/python3", program], **pipes)

    def ask(self, namespaces: list[str]) -> list[kernel_reader.Values]:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise LabError("the reader in the guest has no pipes")
        stdin.write(f"{json.dumps(namespaces)}\n")
        stdin.flush()
        values: list[kernel_reader.Values] = json.loads(stdout.readline())
        return values


_readers: WeakKeyDictionary[Guest, _GuestReader] = WeakKeyDictionary()


def _values_of_guest(guest: Guest, namespaces: list[str]) -> list[kernel_reader.Values]:
    reader = _readers.get(guest)
    if reader is None or reader.process.poll() is not None:
        reader = _readers[guest] = _GuestReader(guest)
    return reader.ask(namespaces)


def _network(values: kernel_reader.Values) -> Network:
    addresses = [_address(entry) for entry in values["addresses"]]
    routes = [Route(**entry) for entry in values["routes"]]
    neighbours = [Neighbour(**entry) for entry in values["neighbours"]]
    qdiscs: dict[str, list[Qdisc]] = {entry["name"]: [] for entry in values["links"]}
    for entry in values["qdiscs"]:
        qdiscs[entry.pop("link")].append(Qdisc(**entry))
    return Network(
        links={entry["name"]: _link(entry, addresses) for entry in values["links"]},
        addresses=addresses,
        # The kernel makes these by itself: a route to fe80::/64 for each link that is up, and an
        # entry for each address of a group that it sends to.
        routes=[route for route in routes if not route.destination.startswith("fe80:")],
        neighbours=[neighbour for neighbour in neighbours if neighbour.state != "noarp"],
        fdb=[FdbEntry(**entry) for entry in values["fdb"]],
        qdiscs=qdiscs,
    )


def _address(entry: Mapping[str, Any]) -> Address:
    return Address(**{**entry, "flags": tuple(entry["flags"])})


def _link(entry: Mapping[str, Any], addresses: list[Address]) -> Link:
    own = [one.cidr for one in addresses if one.link == entry["name"] and one.scope != "link"]
    return Link(
        kind=entry["kind"],
        addresses=tuple(sorted(own, key=_order)),
        master=entry["master"],
        mtu=entry["mtu"],
        mac=entry["mac"],
        up=entry["up"],
        bridge=Bridge(**entry["bridge"]) if entry["bridge"] else None,
    )


def _order(cidr: str) -> tuple[int, int, int]:
    """IPv4 before IPv6, then by number."""
    interface = ipaddress.ip_interface(cidr)
    return interface.version, int(interface.ip), interface.network.prefixlen
