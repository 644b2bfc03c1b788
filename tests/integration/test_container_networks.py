# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of containers on a real kernel: interfaces, addresses, routes, rates, waits."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.containers import container, inside, make_bridges, network_of, record, seen
from tests.integration.locking import holding, waiting
from tests.integration.support import SLEEP
from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.kernel import Qdisc, Route
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str) -> None:
    make_bridges(lab)


@pytest.mark.smoke
def test_a_container_answers_on_ipv4_and_ipv6_at_once_with_its_interfaces_in_order(
    lab: LabHost, baleine: Any, name: str
) -> None:
    networks = [
        {
            "bridge": "public",
            "addresses": ["10.0.0.2/8"],
            "routes": [{"destination": "172.16.0.0/12", "gateway": "10.0.0.1"}],
        },
        {"bridge": "private", "addresses": ["192.168.42.9/24", "FD42:0::9/64"], "gateway": "192.168.42.1"},
    ]
    command = ["httpd", "-f", "-p", "[::]:80", "-h", "/www"]
    container(lab, name, networks=networks, command=command, wait={"http": "/", "timeout": 60})
    network, outside = network_of(lab, name), kernel.of(lab).links
    assert {inside: seen(link) for inside, link in network.links.items()} == {
        "lo": (("127.0.0.1/8", "::1/128"), "", 65536, True),
        "eth0": (("10.0.0.2/8",), "", 1500, True),
        "eth1": (("192.168.42.9/24", "fd42::9/64"), "", 1500, True),
    }
    links = record(lab, name)["interface"].split(",")
    assert [seen(outside[link]) for link in links] == [
        ((), "public", 1500, True),
        ((), "private", 1500, True),
    ]
    assert lab.sh("curl -s -o /dev/null -w '%{http_code}' 'http://[fd42::9]/'", check=False).stdout != "000"
    of_kernel = {"protocol": "kernel", "scope": "link"}
    assert set(network.routes) == {
        Route("0.0.0.0/0", "192.168.42.1", "eth1"),
        Route("10.0.0.0/8", link="eth0", source="10.0.0.2", **of_kernel),
        Route("172.16.0.0/12", "10.0.0.1", "eth0"),
        Route("192.168.42.0/24", link="eth1", source="192.168.42.9", **of_kernel),
        Route("fd42::/64", link="eth1", metric=256, protocol="kernel"),
    }
    assert not container(lab, name, networks=networks, command=command)["changed"]


def test_a_lost_address_of_a_container_is_restored_and_reported_as_drift(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    inside = network_of(lab, name)
    lab.sh(f"nsenter -n -t {pid} ip address del 192.168.42.9/24 dev eth0")
    healed = container(lab, name)
    assert network_of(lab, name).links == inside.links
    assert set(network_of(lab, name).routes) == set(inside.routes)
    assert [action["action"] for action in healed["actions"]] == ["connect"]
    assert healed["drift"] == [f"container {name}: eth0: address 192.168.42.9/24 missing"]
    assert record(lab, name)["pid"] == str(pid)


def test_a_deleted_bridge_is_restored_with_its_containers_and_reported_as_drift(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    outside = kernel.of(lab).links
    lab.sh("ip link del private")
    bridge = lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    assert bridge["drift"] == [
        "bridge private: the link is gone",
        f"bridge private: container {name} was cut off",
    ]
    assert container(lab, name)["changed"] is False
    assert kernel.of(lab).links == outside
    assert outside[record(lab, name)["interface"]].master == "private"
    lab.run(["ping", "-c", "1", "-w", "60", "192.168.42.9"])
    lab.sh("ip address del 192.168.42.1/24 dev private")
    bridge = lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    assert [action["action"] for action in bridge["actions"]] == ["add_address"]
    assert bridge["drift"] == ["bridge private: the address 192.168.42.1/24 is gone"]
    assert kernel.of(lab).links == outside
    assert record(lab, name)["pid"] == str(pid)


def test_networks_change_in_place_and_interfaces_can_be_added_and_removed(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    first = {"bridge": "private", "addresses": ["192.168.42.10/24"], "mtu": 1400}
    two = [
        {**first, "rate_in": "16mbit", "rate_out": "8mbit"},
        {"bridge": "public", "addresses": ["10.1.0.2/8"]},
    ]
    changed = container(lab, name, networks=two)
    assert changed["container"]["pid"] == pid
    inside = network_of(lab, name)
    assert {link: seen(inside.links[link]) for link in inside.links if link != "lo"} == {
        "eth0": (("192.168.42.10/24",), "", 1400, True),
        "eth1": (("10.1.0.2/8",), "", 1500, True),
    }
    links, outside = record(lab, name)["interface"].split(","), kernel.of(lab)
    assert [seen(outside.links[link]) for link in links] == [
        ((), "private", 1400, True),
        ((), "public", 1500, True),
    ]
    # A bucket holds 20 ms of the rate, in bytes, and the queue 50 ms more.
    assert (outside.qdiscs[links[0]], inside.qdiscs["eth0"]) == (
        [Qdisc("tbf", 16_000_000, burst=40_000, limit=140_000)],
        [Qdisc("tbf", 8_000_000, burst=20_000, limit=70_000)],
    )
    assert outside.rates(links[1]) == inside.rates("eth1") == []
    assert not container(lab, name, networks=two)["changed"]
    lab.run(["ping", "-c", "1", "-w", "60", "10.1.0.2"])
    lab.run(["ping", "-c", "1", "-w", "60", "192.168.42.10"])
    changed = container(lab, name, networks=two[:1])
    assert [action["action"] for action in changed["actions"]] == ["cut", "record_networks"]
    assert set(network_of(lab, name).links) == {"lo", "eth0"}
    left = kernel.of(lab).links
    assert [link in left for link in links] == [True, False]
    assert not container(lab, name, networks=two[:1])["changed"]


def test_two_names_with_colliding_interface_names_both_work(lab: LabHost) -> None:
    by_digits: dict[str, str] = {}
    for number in range(2000):
        digits = hashlib.sha1(f"meet{number}\n".encode()).hexdigest()[:4]
        pair = (by_digits.setdefault(digits, f"meet{number}"), f"meet{number}")
        if pair[0] != pair[1]:
            break
    for index, one in enumerate(pair):
        container(lab, one, networks=[{"bridge": "private", "addresses": [f"192.168.42.{100 + index}/24"]}])
    links = [record(lab, one)["interface"] for one in pair]
    assert links[0] != links[1] and all(len(link) <= 15 for link in links)
    assert links[0][:7] == links[1][:7]
    for index, one in enumerate(pair):
        lab.run(["ping", "-c", "1", "-w", "60", f"192.168.42.{100 + index}"])
        assert not container(lab, one, networks=[{"bridge": "private", "addresses": [f"192.168.42.{100 + index}/24"]}])[
            "changed"
        ]
        lab.module("baleine_container", name=one, state="absent")


def test_an_address_in_use_is_refused_with_the_name_of_its_container(lab: LabHost, name: str) -> None:
    container(lab, name)
    refused = container(lab, "second", expect_failure=True)
    assert f"192.168.42.9 is in use on the bridge private by container {name}" in refused["msg"]


def test_a_failed_wait_reports_the_last_error_and_the_dropping_rule(lab: LabHost, name: str) -> None:
    failed = container(lab, name, wait={"http": "/", "timeout": 5}, expect_failure=True)
    assert "last error: 192.168.42.9" in failed["msg"] and "refused" in failed["msg"]
    lab.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -P FORWARD DROP")  # 1 is the kernel's default
    try:
        failed = container(lab, name, wait={"http": "/", "timeout": 0.5}, expect_failure=True)
        assert "-P FORWARD DROP" in failed["msg"] and "br_netfilter" in failed["msg"]
        hazards = lab.module("baleine_host_info")["hazards"]
        assert any("-P FORWARD DROP" in hazard["what"] for hazard in hazards)
    finally:
        lab.sh("iptables -P FORWARD ACCEPT; nft flush ruleset")


def test_the_hosts_file_follows_the_addresses_and_a_foreign_directory_stays(
    lab: LabHost, baleine: Any, name: str
) -> None:
    container(lab, name)
    container(lab, name, networks=[{"bridge": "private", "addresses": ["192.168.42.10/24"]}])
    hosts = inside(lab, name, "cat /etc/hosts")
    assert f"192.168.42.10 {name}" in hosts and "192.168.42.9" not in hosts
    lab.sh("mkdir -p /srv/mine")
    words = ["-i", "tiny", "-c", "elsewhere", "-r", "/srv/mine/tree", "-p", "sleep 1000"]
    baleine("container", "create", *words)
    assert lab.module("baleine_container", name="elsewhere", image="tiny", command=SLEEP)["changed"] is False
    baleine("container", "remove", "elsewhere")
    assert lab.path("/srv/mine").is_dir()
    lab.sh("rm -r /srv/mine")


def test_a_wait_for_a_command_respects_its_timeout(lab: LabHost, name: str) -> None:
    failed = container(lab, name, wait={"command": ["sleep", "1000"], "timeout": 1}, expect_failure=True)
    assert "did not end in 1 s" in failed["msg"]
    container(lab, name, wait={"command": "true"})


def test_two_containers_created_at_once_cannot_take_the_same_address(lab: LabHost) -> None:
    """Both come to the lock under which addresses are taken before either may have it."""

    def make(one: str) -> bool:
        try:
            container(lab, one, state="present")
        except AssertionError as error:
            assert "is in use" in str(error)
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        with holding(lab, ".registry"):
            made = pool.map(make, ("left", "right"))
            assert wait_for(lambda: waiting(lab, ".registry") == 2)
        assert sorted(made) == [False, True]
    for one in ("left", "right"):
        lab.module("baleine_container", name=one, state="absent")
