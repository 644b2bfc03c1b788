# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of a container: parsed, held against the kernel, and which addresses may be taken."""

from __future__ import annotations

import pytest

from baleine import network
from baleine.errors import BaleineError
from baleine.network import Interface, Network

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
