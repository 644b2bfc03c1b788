# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of the network itself: pyroute2 reads what was made, and what iproute2 reads."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.lab import kernel, run
from tests.lab.host import LabHost
from tests.lab.kernel import Address, Bridge, FdbEntry, Link, Neighbour, Qdisc, Route

ZEROS = "00:00:00:00:00:00"
MAC = "02:00:00:00:00:"
#: One of everything that the tests judge. No host is beyond peer0: nothing answers, nothing moves.
MADE = f"""
link add plain address {MAC}01 type bridge forward_delay 0
link add strict address {MAC}02 type bridge stp_state 1 forward_delay 700
address add 192.0.2.1/24 dev plain
address add 2001:db8::1/64 dev plain nodad
link add port0 address {MAC}03 type veth peer name peer0 address {MAC}04
link set port0 master plain mtu 1400
link add tunnel address {MAC}05 type vxlan id 7 dstport 4789 local 192.0.2.1
link set tunnel master strict
link set plain up
link set port0 up
link set peer0 up
address add 198.51.100.1/25 broadcast + dev peer0 label peer0:more valid_lft 5000 preferred_lft 4000
address add 198.51.100.2/25 dev peer0
route add default via 198.51.100.9
route add 203.0.113.0/24 via 198.51.100.9 proto static metric 50 mtu 1300
route add 10.0.0.0/8 via 203.0.113.9 dev peer0 onlink src 198.51.100.1
route add blackhole 10.1.0.0/16
route add 2001:db8:1::/48 via 2001:db8::9
neighbour add 198.51.100.9 lladdr {MAC}09 dev peer0
"""
SHAPED = "qdisc add dev port0 root tbf rate 16mbit burst 64kb limit 128kb\n"
FLOODED = f"fdb append {ZEROS} dev tunnel dst 192.0.2.77 self\n"
KERNEL = {"protocol": "kernel", "scope": "link"}


@pytest.fixture(scope="module")
def host(lab_factory: Any) -> LabHost:
    made: LabHost = lab_factory("judged")
    made.net(["ip", "-batch", "-"], input=MADE)
    made.net(["tc", "-batch", "-"], input=SHAPED)
    made.net(["bridge", "-batch", "-"], input=FLOODED)
    made.rebase()
    return made


def asked(host: LabHost, *words: str) -> list[dict[str, Any]]:
    """What a program of iproute2 says, in the host's network namespace."""
    found: list[dict[str, Any]] = json.loads(host.net(words).stdout)
    return found


def test_links_are_as_they_were_made(host: LabHost) -> None:
    loopback = Link("loopback", ("127.0.0.1/8", "::1/128"), mtu=65536, mac=ZEROS)
    assert kernel.of(host).links == {
        "lo": loopback,
        "plain": Link(
            "bridge",
            ("192.0.2.1/24", "2001:db8::1/64"),
            mtu=1400,
            mac=f"{MAC}01",
            bridge=Bridge(),
        ),
        "strict": Link(
            "bridge",
            mac=f"{MAC}02",
            up=False,
            bridge=Bridge(stp=True, forward_delay=7),
        ),
        "port0": Link("veth", master="plain", mtu=1400, mac=f"{MAC}03"),
        "peer0": Link("veth", ("198.51.100.1/25", "198.51.100.2/25"), mac=f"{MAC}04"),
        "tunnel": Link("vxlan", master="strict", mac=f"{MAC}05", up=False),
    }
    assert kernel.of(host).ports("plain") == {"port0"}
    assert kernel.of(host).ports("strict") == {"tunnel"}


def test_addresses_and_routes_are_as_they_were_made(host: LabHost) -> None:
    network = kernel.of(host)
    more = {"broadcast": "198.51.100.127", "label": "peer0:more"}
    outward = [address for address in network.addresses if address.scope not in ("host", "link")]
    assert outward == [
        Address("plain", "192.0.2.1/24", label="plain"),
        Address("peer0", "198.51.100.1/25", **more, flags=()),
        Address("peer0", "198.51.100.2/25", label="peer0", flags=("secondary", "permanent")),
        Address("plain", "2001:db8::1/64", flags=("nodad", "permanent")),
    ]
    assert set(network.routes) == {
        Route("0.0.0.0/0", "198.51.100.9", "peer0"),
        Route("10.0.0.0/8", "203.0.113.9", "peer0", source="198.51.100.1", on_link=True),
        Route("10.1.0.0/16", kind="blackhole"),
        Route("192.0.2.0/24", "", "plain", source="192.0.2.1", **KERNEL),
        Route("198.51.100.0/25", "", "peer0", source="198.51.100.1", **KERNEL),
        Route("203.0.113.0/24", "198.51.100.9", "peer0", metric=50, mtu=1300, protocol="static"),
        Route("2001:db8::/64", "", "plain", metric=256, protocol="kernel"),
        Route("2001:db8:1::/48", "2001:db8::9", "plain", metric=1024),
    }


def test_neighbours_forwarding_entries_and_queues_are_as_they_were_made(host: LabHost) -> None:
    network = kernel.of(host)
    assert Neighbour("peer0", "198.51.100.9", f"{MAC}09", "permanent") in network.neighbours
    assert FdbEntry("port0", f"{MAC}03", "plain") in network.fdb
    assert FdbEntry("tunnel", ZEROS, remote="192.0.2.77") in network.fdb
    assert network.qdiscs["port0"] == [Qdisc("tbf", rate=16_000_000, burst=65536, limit=131072)]
    assert (network.rates("port0"), network.rates("peer0")) == ([16_000_000], [])


def test_iproute2_reads_the_same(host: LabHost) -> None:
    network = kernel.of(host)
    for shown in asked(host, "ip", "-j", "-d", "address", "show"):
        link = network.links[shown["ifname"]]
        outward = [entry for entry in shown["addr_info"] if entry["scope"] != "link"]
        addresses = {f"{entry['local']}/{entry['prefixlen']}" for entry in outward}
        kind = shown.get("linkinfo", {}).get("info_kind", shown["link_type"])
        assert (kind, shown.get("master", "")) == (link.kind, link.master)
        assert (shown["mtu"], shown["address"], "UP" in shown["flags"]) == (
            link.mtu,
            link.mac,
            link.up,
        )
        assert addresses == set(link.addresses)
    shown_routes = asked(host, "ip", "-j", "-4", "route") + asked(host, "ip", "-j", "-6", "route")
    assert {
        (
            entry["dst"],
            entry.get("gateway", ""),
            entry.get("dev", ""),
            entry.get("protocol", "boot"),
            entry.get("metric", 0),
        )
        for entry in shown_routes
        if not entry["dst"].startswith("fe80")
    } == {
        (shortened(route.destination), route.gateway, route.link, route.protocol, route.metric)
        for route in network.routes
    }
    (queue,) = asked(host, "tc", "-j", "qdisc", "show", "dev", "port0")
    (read,) = network.qdiscs["port0"]
    assert (queue["kind"], queue["options"]["rate"] * 8, queue["options"]["burst"]) == (
        read.kind,
        read.rate,
        read.burst,
    )


def shortened(destination: str) -> str:
    """A destination as ip(8) writes it."""
    if destination == "0.0.0.0/0":
        return "default"
    network = ipaddress.ip_network(destination)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return destination


def test_the_network_of_a_process_is_read_by_its_pid_inside(host: LabHost) -> None:
    process = host.popen(
        ["unshare", "--net", "sh", "-c", "ip link add inner type bridge; echo $$; read word"],
        stdin=-1,
        stdout=-1,
    )
    assert process.stdin is not None and process.stdout is not None
    pid = int(process.stdout.readline())
    assert [set(network.links) for network in kernel.of_each(host, pid, None)] == [
        {"lo", "inner"},
        {"lo", "plain", "strict", "port0", "peer0", "tunnel"},
    ]
    assert kernel.of(host, pid).links["lo"] == Link("loopback", mtu=65536, mac=ZEROS, up=False)
    process.communicate("end\n", timeout=300)
    with pytest.raises(FileNotFoundError):
        kernel.of(host, pid)


def held() -> Counter[str]:
    """What this process holds that a reader might leave behind."""
    tasks = os.listdir("/proc/self/task")
    children = []
    for task in tasks:
        with contextlib.suppress(OSError):  # the thread has just ended
            children += Path(f"/proc/self/task/{task}/children").read_text().split()
    numbers = os.listdir("/proc/self/fd")
    still_open = [number for number in numbers if os.path.lexists(f"/proc/self/fd/{number}")]
    descriptors = [os.readlink(f"/proc/self/fd/{number}") for number in still_open]
    namespace = os.readlink("/proc/self/ns/net")
    threads = [f"thread {task}" for task in tasks]
    return Counter([namespace, *threads, *[f"child {child}" for child in children], *descriptors])


def test_reading_leaves_no_thread_descriptor_process_or_namespace_behind(host: LabHost) -> None:
    before = held()
    kernel.of(host)
    kernel.of(None)
    # Python knows that a thread has ended a moment before the kernel has taken it from its list.
    assert run.wait_for(lambda: not held() - before), held() - before
    assert host.leaks() == []
