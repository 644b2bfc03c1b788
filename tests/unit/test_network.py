# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of a container: parsed, held against the kernel, and which addresses may be taken."""

from __future__ import annotations

import json

import pytest

from baleine import netlink, network
from baleine.errors import BaleineError
from baleine.network import Interface, Network
from tests.unit.support import Addresses, Recorded, link

PRIVATE = Network("private", ("192.168.42.2/24",))


@pytest.mark.parametrize(
    ("request_", "normal"),
    [
        ({"bridge": "private"}, Network("private")),
        ({"bridge": "private", "addresses": None, "routes": None, "mac": "", "gateway": ""}, Network("private")),
        (
            {"bridge": "b", "addresses": ["FD00::2/64", "192.168.42.2/255.255.255.0", "fd00:0::2/64"]},
            Network("b", ("fd00::2/64", "192.168.42.2/24")),
        ),
        (
            {"bridge": "b", "addresses": ["10.0.0.2/8", "fd00::2/64"], "gateway": "FD00::1", "mtu": 9000},
            Network("b", ("10.0.0.2/8", "fd00::2/64"), "fd00::1", mtu=9000),
        ),
        (
            {
                "bridge": "b",
                "addresses": ["10.0.0.2/8"],
                "routes": [
                    {"destination": "172.16.0.0/255.240.0.0", "gateway": "10.9.9.9"},
                    {"destination": "172.0.0.0/12", "gateway": "10.9.9.9"},
                ],
                "mac": "02-AB-00-00-00-01",
            },
            Network(
                "b",
                ("10.0.0.2/8",),
                None,
                (("172.0.0.0/12", "10.9.9.9"), ("172.16.0.0/12", "10.9.9.9")),
                "02:ab:00:00:00:01",
            ),
        ),
    ],
    ids=["bare", "empty", "spellings", "gateway", "route"],
)
def test_a_network_has_one_normal_form(request_, normal):
    assert network.parse_network(request_, "container c") == normal


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({}, "no valid name"),
        ({"bridge": "b" * 16}, "16 characters"),
        ({"bridge": "b", "addresses": ["192.168.42.2"]}, "no prefix"),
        ({"bridge": "b", "gateway": "10.0.0.1"}, "gateway 10.0.0.1 is in no network"),
        ({"bridge": "b", "addresses": ["192.168.42.2/24"], "gateway": "10.0.0.1"}, "gateway 10.0.0.1 is in no network"),
        ({"bridge": "b", "addresses": ["192.168.42.2/24"], "gateway": "fd00::1"}, "gateway fd00::1 is in no network"),
        (
            {"bridge": "b", "addresses": ["10.0.0.2/8"], "routes": [{"destination": "default", "gateway": "1.1.1.1"}]},
            "gateway 1.1.1.1 is in no network",
        ),
        ({"bridge": "b", "mac": "01:00:5e:00:00:01"}, "no MAC"),
        ({"bridge": "b", "mtu": 10}, "MTU"),
    ],
    ids=["no bridge", "long", "prefix", "no address", "outside", "family", "route", "mac", "mtu"],
)
def test_an_invalid_network_is_refused(request_, why):
    with pytest.raises(BaleineError, match=why):
        network.parse_network(request_, "container c")


@pytest.mark.parametrize(
    "routes",
    [
        [("10.9.0.0/16", "192.168.42.1"), ("10.9.0.0/16", "192.168.42.3")],
        [("default", "192.168.42.3")],
    ],
    ids=["same destination", "default beside the gateway"],
)
def test_two_routes_to_one_destination_are_refused(routes):
    """The second `route replace` would take the first away, at every run."""
    request = {
        "bridge": "b",
        "addresses": ["192.168.42.2/24"],
        "gateway": "192.168.42.1",
        "routes": [{"destination": to, "gateway": via} for to, via in routes],
    }
    with pytest.raises(BaleineError, match="container c"):
        network.parse_network(request, "container c")


# ---- which ranges and addresses may be taken

ROUTES = [
    {"dst": "default", "gateway": "192.0.2.1", "dev": "ens3"},
    {"dst": "192.0.2.0/24", "dev": "ens3", "scope": "link"},
    {"dst": "10.20.0.0/16", "gateway": "192.0.2.9", "dev": "ens3"},
    {"dst": "10.30.1.1", "gateway": "192.0.2.9", "dev": "ens3"},
    {"dst": "169.254.0.0/16", "dev": "ens3"},
    {"dst": "192.168.42.0/24", "dev": "private"},
    {"dst": "fe80::/64", "dev": "ens3"},
    {"dst": "2001:db8::/48", "dev": "ens3"},
    {"type": "blackhole", "dst": "198.51.100.0/24"},
]


@pytest.mark.parametrize(
    "address",
    [
        "192.168.42.1/24",
        "192.168.43.1/24",
        "172.16.0.1/12",
        "fd00::1/64",
        "10.21.0.1/16",
        "10.30.1.2/32",
        "2001:db9::1/48",
    ],
)
def test_a_network_is_free_if_only_default_routes_and_those_of_its_bridge_contain_it(address):
    network.check_overlap("bridge private", [address], ROUTES, "private")


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("192.0.2.77/28", "192.0.2.0/24 dev ens3"),
        ("10.0.0.1/8", "10.20.0.0/16 dev ens3"),
        ("10.20.7.1/24", "10.20.0.0/16 dev ens3"),
        ("10.30.1.2/24", "10.30.1.1 dev ens3"),
        ("2001:db8:0:7::1/64", "2001:db8::/48 dev ens3"),
        ("198.51.100.1/24", "198.51.100.0/24"),
    ],
)
def test_a_network_that_the_host_routes_is_refused_with_the_route(address, route):
    with pytest.raises(BaleineError, match="bridge private.*route") as caught:
        network.check_overlap("bridge private", [address], ROUTES, "private")
    assert route in caught.value.message


def test_the_network_of_another_bridge_is_refused():
    with pytest.raises(BaleineError, match="192.168.42.0/24 dev private"):
        network.check_overlap("bridge public", ["192.168.42.9/24"], ROUTES, "public")


def test_10_0_0_1_of_8_is_accepted_if_no_other_route_contains_it():
    free = [route for route in ROUTES if not route["dst"].startswith("10.")]
    network.check_overlap("bridge public", ["10.0.0.1/8"], free, "public")


@pytest.mark.parametrize(
    ("address", "bridge"),
    [
        ("192.168.42.2/24", ["192.168.42.1/24"]),
        ("192.168.42.2/32", ["192.168.42.1/24"]),
        ("192.168.43.2/24", ["192.168.42.1/24", "192.168.43.1/24"]),
        ("192.168.42.2/24", []),
        ("fd00::2/64", ["192.168.42.1/24"]),
        ("10.0.0.2/8", ["10.0.0.1/8"]),
    ],
)
def test_an_address_in_the_network_of_its_bridge_is_accepted(address, bridge):
    network.check_member("container c", Network("private", (address,)), bridge, {"192.168.42.9": "container d"})


@pytest.mark.parametrize(
    ("address", "bridge", "used", "why"),
    [
        ("10.0.0.2/8", ["192.168.42.1/24"], {}, r"outside .* bridge private \(192.168.42.0/24\)"),
        ("fd01::2/64", ["192.168.42.1/24", "fd00::1/64"], {}, r"outside .*\(fd00::/64\)"),
        ("192.168.42.1/24", ["192.168.42.1/24"], {"192.168.42.1": "the bridge private itself"}, "in use .*itself"),
        ("192.168.42.2/24", ["192.168.42.1/24"], {"192.168.42.2": "container d"}, "in use .*container d"),
        ("192.168.42.2/25", [], {"192.168.42.2": "container d"}, "in use .*container d"),
    ],
    ids=["outside", "outside6", "the bridge's", "another's", "another's, other prefix"],
)
def test_an_address_outside_the_network_or_in_use_is_refused(address, bridge, used, why):
    with pytest.raises(BaleineError, match=why):
        network.check_member("container c", Network("private", (address,)), bridge, used)


# ---- names and MACs of interfaces


def test_new_interfaces_get_names_in_order_and_unique_macs():
    made = network.interfaces_for("mycontainer", [PRIVATE, Network("public")], [], [])
    assert [(item.link, item.inside, item.index) for item in made] == [
        ("vifc866_0", "eth0", 0),
        ("vifc866_1", "eth1", 1),
    ]
    assert len({item.mac for item in made}) == 2
    assert network.interfaces_for("mycontainer", [PRIVATE, Network("public")], [], []) == made


def test_interfaces_keep_their_names_and_macs():
    old = (Interface(PRIVATE, "vifold_0", "02:00:00:00:00:07", 0),)
    made = network.interfaces_for("mycontainer", [PRIVATE, Network("public")], old, [])
    assert made[0] == old[0]
    assert made[1].link == "vifold_1"
    assert network.interfaces_for("mycontainer", [Network("public")], made, [])[0].link == "vifold_0"


@pytest.mark.parametrize(
    ("recorded", "wanted", "mac"),
    [
        (None, "02:00:00:00:00:09", "02:00:00:00:00:09"),
        ("02:00:00:00:00:09", "02:00:00:00:00:08", "02:00:00:00:00:08"),
        ("02:00:00:00:00:09", None, "made"),
        (None, None, "kept"),
    ],
)
def test_a_mac_is_the_requested_one_or_the_generated_one(recorded, wanted, mac):
    old = (Interface(Network("b", mac=recorded), "vifc866_0", recorded or "02:00:00:00:00:07", 0),)
    (made,) = network.interfaces_for("mycontainer", [Network("b", mac=wanted)], old, [])
    fresh = network.interfaces_for("mycontainer", [Network("b")], [], [])[0].mac
    assert made.mac == {"made": fresh, "kept": "02:00:00:00:00:07"}.get(mac, mac)


def test_interface_names_that_collide_with_another_container_get_more_digits():
    made = network.interfaces_for("web251", [PRIVATE], [], ["vifcb42_0"])
    assert made[0].link.startswith("vifcb42")
    assert made[0].link != "vifcb42_0"


# ---- mending

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
