# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, routes, MACs, names of interfaces and MTUs: one form each, or a refusal."""

from __future__ import annotations

import hashlib

import pytest

from baleine import units
from baleine.errors import BaleineError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("192.168.42.2/24", "192.168.42.2/24"),
        (" 192.168.42.2/24 ", "192.168.42.2/24"),
        ("192.168.42.2/255.255.255.0", "192.168.42.2/24"),
        ("10.0.0.1/8", "10.0.0.1/8"),
        ("192.168.42.0/31", "192.168.42.0/31"),
        ("192.168.42.1/31", "192.168.42.1/31"),
        ("192.168.42.0/32", "192.168.42.0/32"),
        ("192.168.42.255/23", "192.168.42.255/23"),
        ("fd00::2/64", "fd00::2/64"),
        ("FD00::2/64", "fd00::2/64"),
        ("fd00:0:0:0::2/64", "fd00::2/64"),
        ("fd00:0000:0000:0000:0000:0000:0000:0002/64", "fd00::2/64"),
        ("fd00::/127", "fd00::/127"),
        ("fd00::1/128", "fd00::1/128"),
        ("fd00::ffff:ffff:ffff:ffff/64", "fd00::ffff:ffff:ffff:ffff/64"),
    ],
)
def test_an_address_has_one_normal_form(text, normal):
    assert units.parse_address(text, "bridge b") == normal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.168.42.2", "no prefix"),
        ("fd00::2", "no prefix"),
        ("192.168.42.0/24", "network's own"),
        ("192.168.42.255/24", "broadcast"),
        ("10.0.0.0/8", "network's own"),
        ("10.255.255.255/8", "broadcast"),
        ("fd00::/64", "network's own"),
        ("192.168.042.1/24", "042"),
        ("192.168.42.256/24", "256"),
        ("192.168.42.2/33", "33"),
        ("192.168.42/24", "192.168.42"),
        ("fd00::g/64", "fd00::g"),
        ("224.0.0.1/24", "cannot be"),
        ("ff02::1/64", "cannot be"),
        ("0.0.0.0/0", "0.0.0.0"),
        ("0.0.0.0/32", "0.0.0.0"),
        ("::/0", "::"),
        ("::/128", "::"),
        ("web/24", "web"),
        ("/24", ""),
        ("127.0.0.5/8", "127.0.0.5"),
        ("::1/128", "::1"),
        ("fe80::5/64", "fe80::5"),
        ("fe80::5%eth0/64", "fe80::5"),
    ],
)
def test_an_address_that_no_interface_can_have_is_refused(text, why):
    with pytest.raises(BaleineError) as caught:
        units.parse_address(text, "bridge b")
    assert caught.value.message.startswith("bridge b: ")
    assert why in caught.value.message


@pytest.mark.parametrize(
    ("text", "normal"), [("192.168.42.1", "192.168.42.1"), (" FD00::1 ", "fd00::1"), ("fd00:0::1", "fd00::1")]
)
def test_a_gateway_has_one_normal_form(text, normal):
    assert units.parse_gateway(text, "x") == normal


@pytest.mark.parametrize("text", ["192.168.42.1/24", "gateway", "", "192.168.42", "1.2.3.04", "default"])
def test_a_gateway_is_an_address_without_a_prefix(text):
    with pytest.raises(BaleineError, match=r"x: gateway: .*without a prefix"):
        units.parse_gateway(text, "x")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("default", "default"),
        (" default ", "default"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/255.255.0.0", "10.1.0.0/16"),
        ("FD00:1::/32", "fd00:1::/32"),
    ],
)
def test_a_route_has_one_normal_form(text, normal):
    assert units.parse_destination(text, "x") == normal


@pytest.mark.parametrize(
    ("text", "shown_by_the_kernel"),
    [("0.0.0.0/0", "default"), ("::/0", "default"), ("10.9.9.9/32", "10.9.9.9"), ("2001:db8::1/128", "2001:db8::1")],
)
def test_a_route_is_written_as_the_kernel_shows_it(text, shown_by_the_kernel):
    """`ip -j route` writes no prefix for one host, and `default` for all of them: else it is drift for ever."""
    assert units.parse_destination(text, "x") == shown_by_the_kernel


@pytest.mark.parametrize("text", ["10.1.2.3/16", "any", "", "10.1.0.0/33"])
def test_a_route_to_an_invalid_network_is_refused(text):
    with pytest.raises(BaleineError, match="x: route: "):
        units.parse_destination(text, "x")


@pytest.mark.parametrize(
    "text",
    ["02:ab:cd:ef:01:23", "02-AB-CD-EF-01-23", "02AB.CDEF.0123", "02abcdef0123", " 02:AB:cd:EF:01:23 "],
)
def test_a_mac_has_one_normal_form(text):
    assert units.parse_mac(text, "x") == "02:ab:cd:ef:01:23"


@pytest.mark.parametrize(
    "text",
    ["", "02:ab:cd:ef:01", "02:ab:cd:ef:01:23:45", "02:ab:cd:ef:01:2g", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"]
    + ["00:00:00:00:00:00", "mac"],
)
def test_a_mac_that_no_interface_can_have_is_refused(text):
    with pytest.raises(BaleineError, match="x: .* is no MAC"):
        units.parse_mac(text, "x")


def test_a_generated_mac_is_local_unicast_stable_and_unique_per_machine_name_and_index():
    macs = [units.make_mac(m, n, i) for m in ("one", "two") for n in ("web1", "web2") for i in (0, 1)]
    assert len(set(macs)) == len(macs)
    assert units.make_mac("one", "web1", 0) == macs[0]
    for mac in macs:
        assert int(mac[:2], 16) & 3 == 2
        assert units.parse_mac(mac, "x") == mac


def test_the_documented_interface_prefix_is_kept():
    assert units.interface_prefix("mycontainer") == "vifc866"
    assert units.interface_names("mycontainer", 2, []) == ["vifc866_0", "vifc866_1"]


#: The SHA-1 of both, each followed by a newline, begins with cb42.
MEET = ("web106", "web251")


def test_interface_names_that_collide_in_four_digits_get_more_digits():
    first, second = MEET
    assert units.interface_prefix(first) == units.interface_prefix(second) == "vifcb42"
    digest = hashlib.sha1(f"{second}\n".encode()).hexdigest()
    assert units.interface_names(second, 2, ["vifcb42_0"]) == [f"vif{digest[:5]}_0", f"vif{digest[:5]}_1"]
    assert units.interface_names(second, 1, ["vifcb42_0", f"vif{digest[:5]}_3"]) == [f"vif{digest[:6]}_0"]


@pytest.mark.parametrize("count", [0, 1, 10, 100])
def test_an_interface_name_has_at_most_15_characters(count):
    digest = hashlib.sha1(b"web251\n").hexdigest()
    taken = [f"vif{digest[:digits]}_0" for digits in range(4, 9)]
    names = units.interface_names("web251", count, taken)
    assert len(names) == count == len(set(names))
    assert all(len(name) <= 15 for name in names)


def test_another_name_is_required_if_no_digits_are_left():
    digest = hashlib.sha1(b"web251\n").hexdigest()
    with pytest.raises(BaleineError, match="web251.*another name"):
        units.interface_names("web251", 1, [f"vif{digest[:digits]}_0" for digits in range(4, 16)])


@pytest.mark.parametrize("value", [None, 68, 1280, 1500, 9000, 65535])
def test_an_mtu_in_range_is_accepted(value):
    assert units.parse_mtu(value, "x") == value


@pytest.mark.parametrize("value", [-1, 0, 67, 65536])
def test_an_mtu_out_of_range_is_refused(value):
    with pytest.raises(BaleineError, match=f"x: an MTU of {value} bytes"):
        units.parse_mtu(value, "x")
