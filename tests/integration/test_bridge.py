# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges on a real kernel: each option predicted, done, unchanged, drifted, healed, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.kernel import Bridge, Link

BASE: dict[str, Any] = {"addresses": ["192.168.42.1/24"]}


@pytest.fixture
def bridge(lab: LabHost) -> Any:
    """bridge(**options): the bridge ``private``; removed afterwards."""

    def call(**options: Any) -> dict[str, Any]:
        return lab.module("baleine_bridge", name="private", **options)

    yield call
    call(state="absent")
    assert "private" not in kernel.of(lab).links


def link(lab: LabHost) -> Link:
    return kernel.of(lab).links["private"]


def held(lab: LabHost) -> tuple[Link, set[str]]:
    """What the kernel holds of the bridge: its link, and its ports."""
    return link(lab), kernel.of(lab).ports("private")


#: What the kernel holds of a bridge that has no other options than BASE; its MAC is the machine's.
PLAIN = Link("bridge", ("192.168.42.1/24",), bridge=Bridge())


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (
            {"addresses": ["192.168.42.1/24", "fd42::1/64"]},
            {"addresses": ("192.168.42.1/24", "fd42::1/64")},
        ),
        ({"addresses": ["192.168.42.7/24"]}, {"addresses": ("192.168.42.7/24",)}),
        ({"addresses": []}, {"addresses": ()}),
        ({"mtu": 1400, **BASE}, {"mtu": 1400}),
        ({"stp": True, **BASE}, {"bridge": Bridge(stp=True, forward_delay=15)}),
        ({"mac": "02:00:00:00:00:42", **BASE}, {"mac": "02:00:00:00:00:42"}),
        ({"state": "down", **BASE}, {"up": False}),
        ({"ports": ["port0"], **BASE}, {}),
    ],
    ids=lambda value: ",".join(sorted(value)),
)
def test_each_option_is_predicted_applied_restored_and_reverted(
    lab: LabHost, bridge: Any, options: dict[str, Any], changes: dict[str, Any]
) -> None:
    lab.sh("ip link add port0 type veth peer name peer0")
    link_before = replace(PLAIN, mac=bridge(**BASE)["bridge"]["mac"])
    plain = (link_before, set())
    changed = (replace(link_before, **changes), set(options.get("ports", ())))
    assert held(lab) == plain
    predicted = bridge(check=True, **options)
    assert held(lab) == plain
    done = bridge(**options)
    assert held(lab) == changed
    change = (True, done["diff"], done["actions"])
    assert (predicted["changed"], predicted["diff"], predicted["actions"]) == change
    again = bridge(**options)
    assert (again["changed"], again["drift"]) == (False, [])
    lab.sh("ip link del private")
    healed = bridge(**options)
    assert "bridge private: the link is gone" in healed["drift"]
    assert held(lab) == changed
    assert not bridge(**options)["changed"]
    assert [bridge(**BASE)["changed"] for _run in range(2)] == [True, False]
    assert held(lab) == plain
    lab.sh("ip link del port0")


@pytest.mark.smoke
def test_another_spelling_changes_nothing(lab: LabHost, bridge: Any) -> None:
    bridge(addresses=["192.168.42.1/24", "fd42::1/64"], mac="02:00:00:00:00:aa")
    other = {"addresses": ["192.168.42.1/255.255.255.0", "FD42:0:0::1/64"], "mac": "02-00-00-00-00-AA", "mtu": "1500"}
    assert not bridge(**other)["changed"]


@pytest.mark.parametrize(
    ("damage", "verbs"),
    [
        ("ip address del 192.168.42.1/24 dev private", ["add_address"]),
        ("ip address add 192.168.42.99/24 dev private", ["remove_address"]),
        ("ip link set private down", ["set_state"]),
        ("ip link set private mtu 1300", ["set_mtu"]),
        ("ip link set private address 02:00:00:00:00:99", ["set_mac"]),
        ("ip link set private type bridge stp_state 1", ["set_stp"]),
    ],
)
def test_damage_by_hand_is_restored_exactly(lab: LabHost, bridge: Any, damage: str, verbs: list[str]) -> None:
    bridge(**BASE)
    whole = link(lab)
    lab.sh(damage)
    assert link(lab) != whole
    check = bridge(check=True, **BASE)
    healed = bridge(**BASE)
    assert link(lab) == whole
    assert [action["action"] for action in healed["actions"]] == verbs == [a["action"] for a in check["actions"]]
    assert not bridge(**BASE)["changed"]


def test_the_mac_is_unique_per_machine_and_stays_when_ports_change(lab: LabHost, lab_factory: Any, bridge: Any) -> None:
    mac = bridge(**BASE)["bridge"]["mac"]
    lab.sh("ip link add port0 address 00:00:00:00:00:02 type veth peer name peer0; ip link set port0 master private")
    assert kernel.of(lab).ports("private") == {"port0"}
    assert link(lab) == replace(PLAIN, mac=mac)
    lab.sh("ip link del port0")
    assert link(lab) == replace(PLAIN, mac=mac)
    assert int(mac[:2], 16) & 0b11 == 0b10  # of a station, and administered locally
    other = lab_factory("other")
    elsewhere = other.module("baleine_bridge", name="private", **BASE)["bridge"]["mac"]
    assert elsewhere != mac
    assert link(other) == replace(PLAIN, mac=elsewhere)
    other.module("baleine_bridge", name="private", state="absent")


def test_a_foreign_link_with_the_name_of_the_bridge_is_left_alone(lab: LabHost) -> None:
    lab.sh("ip link add foreign type bridge")
    before = kernel.of(lab).lines()
    refused = lab.module("baleine_bridge", name="foreign", expect_failure=True)
    assert "Baleine did not make" in refused["msg"]
    assert not lab.module("baleine_bridge", name="foreign", state="absent")["changed"]
    assert kernel.of(lab).lines() == before
    lab.sh("ip link del foreign")


def test_a_recorded_bridge_whose_name_another_link_took_is_refused_and_can_only_be_forgotten(lab: LabHost) -> None:
    lab.module("baleine_bridge", name="foreign", **BASE)
    lab.sh("ip link del foreign; ip link add foreign type veth peer name peer0; ip address add 10.7.0.1/24 dev foreign")
    before = kernel.of(lab).lines()
    refused = lab.module("baleine_bridge", name="foreign", expect_failure=True, **BASE)
    assert "this host has a link foreign that Baleine did not make (veth)" in refused["msg"]
    gone = lab.module("baleine_bridge", name="foreign", state="absent")
    assert [action["action"] for action in gone["actions"]] == ["forget"]
    assert "(veth): it is left alone" in str(gone["warnings"])
    assert kernel.of(lab).lines() == before
    assert not lab.path("/var/lib/baleine/manifeste/bridges/foreign.manifest").exists()
    assert not lab.module("baleine_bridge", name="foreign", state="absent")["changed"]
    lab.sh("ip link del foreign")


def test_a_bridge_that_the_kernel_refuses_leaves_nothing(lab: LabHost) -> None:
    lab.sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    try:
        refused = lab.module("baleine_bridge", name="half", addresses=["fd42::1/64"], expect_failure=True)
    finally:
        lab.sh("echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    assert "fd42::1/64" in refused["msg"]
    assert "half" not in kernel.of(lab).links
    assert not lab.path("/var/lib/baleine/manifeste/bridges/half.manifest").exists()


def test_a_network_that_the_host_routes_is_refused_with_the_route(lab: LabHost, bridge: Any) -> None:
    lab.sh("ip link add up0 type veth peer name up1; ip address add 10.5.0.1/16 dev up0; ip link set up0 up")
    refused = bridge(addresses=["10.0.0.1/8"], expect_failure=True)
    assert "10.5.0.0/16 dev up0" in refused["msg"]
    assert "private" not in kernel.of(lab).links
    refused = bridge(ports=["up0"], expect_failure=True)
    assert "up0 has addresses (10.5.0.1/16)" in refused["msg"]
    lab.sh("ip link del up0")
    assert bridge(addresses=["10.0.0.1/8"])["bridge"]["addresses"] == ["10.0.0.1/8"]
    refused = lab.module("baleine_bridge", name="second", addresses=["10.9.0.1/16"], expect_failure=True)
    assert "10.0.0.0/8" in refused["msg"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "x" * 16}, "at most 15"),
        ({"name": "a b"}, "no valid name"),
        ({"name": "a/b"}, "no valid name"),
        ({"addresses": ["192.168.42.1"]}, "no prefix"),
        ({"addresses": ["192.168.42.0/24"]}, "network's own"),
        ({"addresses": ["300.1.1.1/24"]}, "300.1.1.1"),
        ({"mtu": 10}, "out of range"),
        ({"mtu": 1000, "addresses": ["fd42::1/64"]}, "RFC 8200"),
        ({"mac": "01:00:00:00:00:00"}, "no MAC address of a station"),
        ({"ports": ["nosuch0"]}, "no interface nosuch0"),
    ],
)
def test_an_invalid_request_is_refused_before_any_change(lab: LabHost, options: dict[str, Any], words: str) -> None:
    refused = lab.module("baleine_bridge", expect_failure=True, **{"name": "refused", **options})
    assert words in refused["msg"]
    assert "refused" not in kernel.of(lab).links
    assert not lab.path("/var/lib/baleine/manifeste/bridges/refused.manifest").exists()
