# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of containers: what is repaired, and how the changes reach the kernel."""

from __future__ import annotations

import json

import pytest

from baleine import netlink, network
from baleine.errors import BaleineError
from baleine.network import Interface, Network
from tests.unit.support import Addresses, Recorded, link

PRIVATE = Network("private", ("192.168.42.2/24",))


MAC = "02:00:00:00:00:01"
GATED = Network("private", ("192.168.42.2/24", "fd00::2/64"), "192.168.42.1", (("10.9.0.0/16", "192.168.42.3"),))
ITEM = Interface(GATED, "vifc866_0", MAC, 0)
HOST = link("vifc866_0", master="private")
INSIDE = {
    "mac": MAC,
    "mtu": 1500,
    "up": True,
    "addresses": ["192.168.42.2/24", "fd00::2/64"],
    "routes": {("default", "192.168.42.1"), ("10.9.0.0/16", "192.168.42.3")},
}


def test_a_correct_interface_needs_no_change():
    assert network.mend(ITEM, HOST, INSIDE, 1500) == network.Mending()


@pytest.mark.parametrize(("host", "inside"), [(None, INSIDE), (HOST, None), (None, None)])
def test_a_missing_link_is_created_again(host, inside):
    mending = network.mend(ITEM, host, inside, 1500)
    assert mending.remake
    assert mending.reasons == ("its link is gone",)


@pytest.mark.parametrize(
    ("host", "inside", "mtu", "reason", "host_lines", "inside_lines"),
    [
        ({"master": None}, {}, 1500, "not on private", ["link set dev vifc866_0 master private up"], []),
        ({"master": "public"}, {}, 1500, "not on private", ["link set dev vifc866_0 master private up"], []),
        ({"flags": []}, {}, 1500, "not on private", ["link set dev vifc866_0 master private up"], []),
        ({}, {}, 9000, "mtu 1500 -> 9000", ["link set dev vifc866_0 mtu 9000"], ["link set dev eth0 mtu 9000"]),
        ({"mtu": 1400}, {}, 1500, "mtu", ["link set dev vifc866_0 mtu 1500"], ["link set dev eth0 mtu 1500"]),
        (
            {},
            {"mac": "02:00:00:00:00:02"},
            1500,
            f"mac 02:00:00:00:00:02 -> {MAC}",
            [],
            [f"link set dev eth0 address {MAC}"],
        ),
        ({}, {"up": False}, 1500, "down", [], ["link set dev eth0 up"]),
        ({"rate": 8_000_000}, {}, 1500, "rate_in 8mbit -> none", ["qdisc del dev vifc866_0 root"], []),
        ({}, {"rate": 64_000}, 1500, "rate_out 64kbit -> none", [], ["qdisc del dev eth0 root"]),
    ],
    ids=["no master", "other master", "host down", "mtu", "mtu of one end", "mac", "down", "rate in", "rate out"],
)
def test_one_difference_of_a_link_is_one_change(host, inside, mtu, reason, host_lines, inside_lines):
    mending = network.mend(ITEM, {**HOST, **host}, {**INSIDE, **inside}, mtu)
    assert not mending.remake
    assert len(mending.reasons) == 1
    assert reason in mending.reasons[0]
    assert list(mending.host) == host_lines
    assert list(mending.inside) == inside_lines


@pytest.mark.parametrize(
    ("wanted", "found", "count"),
    [
        (GATED, {"addresses": ["192.168.42.2/24"]}, 1),
        (GATED, {"addresses": []}, 2),
        (GATED, {"addresses": [*INSIDE["addresses"], "192.168.42.7/24"]}, 1),
        (GATED, {"addresses": ["192.168.42.2/16", "fd00::2/64"]}, 2),
        (GATED, {"addresses": ["192.168.42.7/24", "fd00::2/64"]}, 2),
        (GATED, {"addresses": ["192.168.42.7/24", "192.168.42.2/24", "fd00::2/64"]}, 1),
        (GATED, {"addresses": ["192.168.42.7/24"], "routes": {("default", "192.168.42.7")}}, 6),
        (GATED, {"routes": set()}, 2),
        (GATED, {"routes": {*INSIDE["routes"], ("172.16.0.0/12", "192.168.42.1")}}, 1),
        (GATED, {"routes": {("default", "192.168.42.9"), ("10.9.0.0/16", "192.168.42.3")}}, 2),
        (Network("private"), {}, 4),
        (Network("private", ("10.0.0.2/8",)), {}, 5),
        (Network("private", ("192.168.42.3/24", "fd00::2/64"), "192.168.42.1"), {}, 3),
    ],
    ids=[
        "ipv6 missing", "both missing", "one too many", "other prefix", "other address", "the first too many",
        "everything", "routes missing", "route too many", "other gateway", "nothing wanted", "other network", "moved",
    ],
)  # fmt: skip
def test_a_repaired_link_has_exactly_the_wanted_settings(wanted, found, count):
    """The lines are carried out as a kernel would, which takes secondary addresses and routes along."""
    item, inside = Interface(wanted, "vifc866_0", MAC, 0), {**INSIDE, **found}
    mending = network.mend(item, HOST, inside, 1500)
    assert len(mending.reasons) == count
    kernel = Addresses(inside["addresses"], inside["routes"])
    kernel.batch(mending.inside)
    assert sorted(kernel.list) == sorted(wanted.addresses)
    assert kernel.routes == network.wanted_routes(wanted)


def test_a_new_link_has_exactly_the_wanted_settings():
    kernel = Addresses()
    kernel.batch(network.inside_lines(ITEM))
    assert (tuple(kernel.list), kernel.routes) == (GATED.addresses, network.wanted_routes(GATED))


def test_an_ipv6_address_is_usable_at_once():
    """Without nodad, bind(2) to it fails for a second while the kernel looks for a duplicate."""
    addresses = {line.split()[2]: line for line in network.inside_lines(ITEM) if line.startswith("address ")}
    assert addresses["fd00::2/64"].endswith(" dev eth0 nodad")
    assert addresses["192.168.42.2/24"].endswith(" dev eth0")


def test_a_link_is_created_in_the_namespace_of_the_container_with_the_mtu_of_its_bridge():
    assert network.link_lines(ITEM, 42, {"private": 9000}) == [
        f"link add name vifc866_0 mtu 9000 type veth peer name eth0 mtu 9000 address {MAC} netns 42",
        "link set dev vifc866_0 master private up",
    ]


def test_the_links_inside_a_container_are_read_from_the_kernel():
    """Recorded from iproute2 6.1 in a namespace of its own."""
    links = [link("lo"), link("eth0", address=MAC, addresses=["192.168.42.2/24", "fd00::2/64"], mtu=1400)]
    ipv4 = [
        {"dst": "default", "gateway": "192.168.42.1", "dev": "eth0", "flags": []},
        {"dst": "10.9.9.9", "gateway": "192.168.42.1", "dev": "eth0", "flags": []},
        {"dst": "192.168.42.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link", "prefsrc": "192.168.42.2"},
    ]
    ipv6 = [{"dst": "fe80::/64", "dev": "eth0", "protocol": "kernel", "metric": 256, "flags": [], "pref": "medium"}]
    run = Recorded(*((0, json.dumps(answer)) for answer in (links, ipv4, ipv6)))
    found = network.found_inside(run, 42)
    assert all("--net=/proc/42/ns/net" in argv for argv, _stdin in run.asked)
    assert set(found) == {"eth0"}
    assert found["eth0"]["addresses"] == ["192.168.42.2/24", "fd00::2/64"]
    assert found["eth0"]["mac"] == MAC
    assert found["eth0"]["mtu"] == 1400
    assert found["eth0"]["up"] is True
    wanted = Network("b", ("192.168.42.2/24", "fd00::2/64"), "192.168.42.1", (
        (network.units.parse_destination("10.9.9.9/32", "x"), "192.168.42.1"),
    ))  # fmt: skip
    assert found["eth0"]["routes"] == network.wanted_routes(wanted)


# ---- the door to the kernel


def test_a_failed_change_is_named_with_the_message_of_the_kernel():
    class Failing(Recorded):
        def __call__(self, argv, stdin="", env=None):
            result = super().__call__(argv, stdin)
            return type(result)(result.argv, 1, "", "RTNETLINK answers: File exists\nCommand failed -:2\n")

    with pytest.raises(BaleineError) as caught:
        netlink.batch(Failing((1, "")), ["link set dev a up", "address add 10.0.0.1/8 dev a"], "bridge a")
    assert caught.value.message == "bridge a: ip address add 10.0.0.1/8 dev a: RTNETLINK answers: File exists"


def test_an_empty_list_of_changes_starts_no_command():
    netlink.batch(Recorded(), [], "bridge a")


def test_several_changes_are_made_by_one_command():
    run = Recorded((0, ""))
    netlink.batch(run, ["a", "b"], "x")
    assert [stdin for _argv, stdin in run.asked] == ["a\nb\n"]


def test_a_link_local_address_of_the_kernel_is_not_shown():
    assert netlink.global_addresses(link("a", addresses=["10.0.0.1/8"])) == ["10.0.0.1/8"]


def test_a_rate_is_shaped_at_the_sending_end():
    item = ITEM._replace(network=GATED._replace(rate_in=20_000_000, rate_out=1_000_000))
    mending = network.mend(item, HOST, INSIDE, 1500)
    assert mending.reasons == ("rate_in none -> 20mbit", "rate_out none -> 1mbit")
    assert mending.host == ("qdisc replace dev vifc866_0 root tbf rate 20000000bit burst 50000 latency 50ms",)
    assert mending.inside == ("qdisc replace dev eth0 root tbf rate 1000000bit burst 20000 latency 50ms",)
    assert mending.host[0] in network.link_lines(item, 1, {}) and mending.inside[0] in network.inside_lines(item)


def test_changes_of_queues_are_made_by_tc_after_those_of_links():
    run = Recorded((0, ""), (0, ""))
    netlink.batch(run, ["qdisc del dev a root", "link set dev a up"], "x")
    assert [words[0].rpartition("/")[2] for words, _stdin in run.asked] == ["ip", "tc"]
