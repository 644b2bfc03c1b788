# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel holds of one network namespace, read with pyroute2 into plain values.

It is also a program, for a machine without a copy of this repository: `kernel_reader.py
NAMESPACE...` prints the values of each as JSON. It needs pyroute2 0.7.2 or later, and nothing else
of the laboratory.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_DUMP_INTR
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

Values = dict[str, Any]
Names = dict[int, str]

#: How often the tables are read at most, if they change while the kernel lists them.
ATTEMPTS = 20
CLONE_NEWNET = 0x40000000  # sched.h
IFF_UP = 0x1  # if.h
MAIN_TABLE = 254  # rtnetlink.h: RT_TABLE_MAIN
CACHED = 0x200  # rtnetlink.h: RTM_F_CLONED
ON_LINK = 0x4  # rtnetlink.h: RTNH_F_ONLINK
INET6 = 10  # socket.h: AF_INET6
#: Seconds of one tick of the packet scheduler (net/pkt_sched.h: PSCHED_SHIFT).
TICK = 64e-9

LINK_TYPES = {1: "ether", 772: "loopback"}  # if_arp.h
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}  # rtnetlink.h
PROTOCOLS = {0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}
ROUTE_KINDS = {1: "unicast", 2: "local", 5: "multicast", 6: "blackhole", 7: "unreachable"}
ADDRESS_FLAGS = {  # if_addr.h, without IFA_F_TENTATIVE, which goes away by itself
    0x01: "secondary",
    0x02: "nodad",
    0x08: "dadfailed",
    0x20: "deprecated",
    0x80: "permanent",
    0x100: "managetempaddr",
    0x200: "noprefixroute",
}
NEIGHBOUR_STATES = {  # neighbour.h; of several, the first counts
    0x80: "permanent",
    0x40: "noarp",
    0x20: "failed",
    0x10: "probe",
    0x08: "delay",
    0x04: "stale",
    0x02: "reachable",
    0x01: "incomplete",
}


def read(namespace: str = "") -> Values:
    """Read a network namespace by its file (`/proc/PID/ns/net`), or that of this process.

    A thread enters it and ends: the process itself never leaves its own.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_read_inside, namespace).result()


def _read_inside(namespace: str) -> Values:
    if namespace:
        _enter(namespace)
    for _attempt in range(ATTEMPTS):
        try:
            with IPRoute() as kernel:
                return _tables(kernel)
        except NetlinkDumpInterrupted:  # the list may lack an entry, or have one twice
            continue
    raise RuntimeError(f"the network of {namespace or 'this process'} changes all the time")


def _enter(namespace: str) -> None:
    """Move this thread into a network namespace (os.setns came with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    finally:
        os.close(descriptor)


def _whole(messages: Iterable[Any]) -> list[Any]:
    """The messages of a list that nothing interrupted (pyroute2 0.9 does not look, 0.7 does)."""
    found = list(messages)
    if any(message["header"]["flags"] & NLM_F_DUMP_INTR for message in found):
        raise NetlinkDumpInterrupted
    return found


def _tables(kernel: IPRoute) -> Values:
    links = _whole(kernel.get_links())
    names: Names = {message["index"]: message.get_attr("IFLA_IFNAME") for message in links}

    def table(make: Callable[[Any, Names], Values | None], messages: Iterable[Any]) -> list[Values]:
        entries = [make(message, names) for message in _whole(messages)]
        return [entry for entry in entries if entry is not None]

    return {
        "links": table(_link, links),
        "addresses": table(_address, kernel.get_addr()),
        "routes": table(_route, kernel.get_routes()),
        "neighbours": table(_neighbour, kernel.get_neighbours()),
        "fdb": table(_fdb_entry, kernel.fdb("dump")),
        "qdiscs": table(_qdisc, kernel.get_qdiscs()),
    }


def _link(message: Any, names: Names) -> Values:
    kind = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    link: Values = {
        "name": message.get_attr("IFLA_IFNAME"),
        "kind": kind or LINK_TYPES.get(message["ifi_type"], str(message["ifi_type"])),
        "master": names.get(message.get_attr("IFLA_MASTER"), ""),
        "mtu": message.get_attr("IFLA_MTU"),
        "mac": message.get_attr("IFLA_ADDRESS") or "",
        "up": bool(message["flags"] & IFF_UP),
        "bridge": None,
    }
    if kind == "bridge":
        settings = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
        link["bridge"] = {
            "stp": bool(settings.get_attr("IFLA_BR_STP_STATE")),
            "forward_delay": settings.get_attr("IFLA_BR_FORWARD_DELAY") / 100,  # of hundredths
            "vlan_filtering": bool(settings.get_attr("IFLA_BR_VLAN_FILTERING")),
        }
    return link


def _address(message: Any, names: Names) -> Values | None:
    if message["index"] not in names:  # made after the links were read
        return None
    address = message.get_attr("IFA_ADDRESS")
    local = message.get_attr("IFA_LOCAL") or address
    flags = message.get_attr("IFA_FLAGS")
    return {
        "link": names[message["index"]],
        "cidr": f"{local}/{message['prefixlen']}",
        "peer": "" if address == local else address,
        "broadcast": message.get_attr("IFA_BROADCAST") or "",
        "label": message.get_attr("IFA_LABEL") or "",
        "scope": SCOPES.get(message["scope"], str(message["scope"])),
        "metric": message.get_attr("IFA_RT_PRIORITY") or 0,
        "flags": [word for bit, word in ADDRESS_FLAGS.items() if flags & bit],
    }


def _route(message: Any, names: Names) -> Values | None:
    table = message.get_attr("RTA_TABLE") or message["table"]
    if table != MAIN_TABLE or message["flags"] & CACHED:
        return None
    nowhere = "::" if message["family"] == INET6 else "0.0.0.0"
    return {
        "destination": f"{message.get_attr('RTA_DST') or nowhere}/{message['dst_len']}",
        "gateway": message.get_attr("RTA_GATEWAY") or "",
        "link": names.get(message.get_attr("RTA_OIF"), ""),
        "source": message.get_attr("RTA_PREFSRC") or "",
        "metric": message.get_attr("RTA_PRIORITY") or 0,
        "mtu": message.get_nested("RTA_METRICS", "RTAX_MTU") or 0,
        "protocol": PROTOCOLS.get(message["proto"], str(message["proto"])),
        "scope": SCOPES.get(message["scope"], str(message["scope"])),
        "kind": ROUTE_KINDS.get(message["type"], str(message["type"])),
        "on_link": bool(message["flags"] & ON_LINK),
    }


def _state(number: int) -> str:
    return next((word for bit, word in NEIGHBOUR_STATES.items() if number & bit), "none")


def _neighbour(message: Any, names: Names) -> Values | None:
    if message["ifindex"] not in names:
        return None
    return {
        "link": names[message["ifindex"]],
        "address": message.get_attr("NDA_DST") or "",
        "mac": message.get_attr("NDA_LLADDR") or "",
        "state": _state(message["state"]),
    }


def _fdb_entry(message: Any, names: Names) -> Values | None:
    mac = message.get_attr("NDA_LLADDR")
    is_group = int(mac[:2], 16) & 1  # one that the link listens to
    if message["ifindex"] not in names or is_group:
        return None
    return {
        "link": names[message["ifindex"]],
        "mac": mac,
        "master": names.get(message.get_attr("NDA_MASTER"), ""),
        "state": _state(message["state"]),
        "vlan": message.get_attr("NDA_VLAN") or 0,
        "remote": message.get_attr("NDA_DST") or "",
    }


def _qdisc(message: Any, names: Names) -> Values | None:
    if message["index"] not in names:
        return None
    qdisc = {
        "link": names[message["index"]],
        "kind": message.get_attr("TCA_KIND"),
        "rate": 0,
        "burst": 0,
        "limit": 0,
    }
    if qdisc["kind"] == "tbf":
        settings = message.get_nested("TCA_OPTIONS", "TCA_TBF_PARMS")
        qdisc["rate"] = settings["rate"] * 8  # the kernel counts bytes
        qdisc["burst"] = round(settings["buffer"] * TICK * settings["rate"])
        qdisc["limit"] = settings["limit"]
    return qdisc


if __name__ == "__main__":
    for line in sys.stdin:  # a JSON list of namespaces
        print(json.dumps([read(namespace) for namespace in json.loads(line)]), flush=True)
