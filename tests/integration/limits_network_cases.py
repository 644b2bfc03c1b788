# SPDX-License-Identifier: GPL-3.0-or-later
"""The network cases of the table of limits: rates, and a network that two containers share."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.integration.limits_cases import BURST, LONG, SLEEP, Limited, is_slower_than
from tests.lab import kernel
from tests.lab.run import wait_for


def rates(**values: str) -> list[dict[str, Any]]:
    """One network, with rates."""
    return [{"bridge": "rates", "addresses": ["192.168.77.9/24"], **values}]


def bucket_rates(it: Limited, facts: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The rates of the token buckets at both ends of eth0: what goes in, and what comes out."""
    (interface,) = facts["interfaces"]
    outside, inside = kernel.of_each(it.machine, None, facts["pid"])
    return outside.rates(interface["link"]), inside.rates("eth0")


def a_plain_transfer_stays_below_the_network_rate_in_both_directions(it: Limited) -> None:
    it.machine.module("baleine_bridge", name="rates", addresses=["192.168.77.1/24"])
    facts = it.set(networks=rates(rate_in="16mbit", rate_out="8mbit"))
    (interface,) = facts["interfaces"]
    inward = f"tc -s -j qdisc show dev {interface['link']}"
    outward = f"nsenter -n -t {facts['pid']} tc -s -j qdisc show dev eth0"

    def transfer(to: bool) -> None:
        """Fill one direction alone: the answers of one would wait behind the data of the other."""
        it.do("killall nc", check=False)
        it.begin(f"nc -l -p {5000 + to} {'>/dev/null' if to else '</dev/zero'}")
        it.do(f"until grep -q ':{5000 + to:04X} [0-9A-F:]* 0A ' /proc/net/tcp*; do sleep 0.05; done")
        way = "cat /dev/zero >/dev/tcp/192.168.77.9/5001" if to else "cat </dev/tcp/192.168.77.9/5000 >/dev/null"
        it.machine.sh(f"timeout 3600 bash -c '{way}' </dev/null >/dev/null 2>&1 &")

    def sent(counters: str) -> float:
        """Megabits a second over a second or more."""
        start = it.sample(counters)
        time.sleep(1)
        end = it.sample(counters)
        bits = (json.loads(end.text)[0]["bytes"] - json.loads(start.text)[0]["bytes"]) * 8
        return bits / 1e6 / end.seconds_since(start)

    transfer(True)
    is_slower_than(it, 16_000_000, lambda: it.sample(inward))
    transfer(False)
    is_slower_than(it, 8_000_000, lambda: it.sample(outward))
    assert it.set(networks=rates(rate_in="4mbit", rate_out="24mbit"))["pid"] == facts["pid"]
    is_slower_than(it, 24_000_000, lambda: it.sample(outward))
    assert wait_for(lambda: sent(outward) > 8 * (1 + BURST), LONG)  # the old rate has gone
    transfer(True)
    is_slower_than(it, 4_000_000, lambda: it.sample(inward))
    it.do("killall nc", check=False)


def network_rates_are_restored_and_changed_in_place_and_removed(it: Limited) -> None:
    it.machine.module("baleine_bridge", name="rates", addresses=["192.168.77.1/24"])
    facts = it.set(networks=rates(rate_in="16mbit", rate_out="8mbit"))
    (interface,) = facts["interfaces"]
    assert (interface["rate_in"], interface["rate_out"]) == (16_000_000, 8_000_000)
    assert bucket_rates(it, facts) == ([16_000_000], [8_000_000])
    assert it.set(networks=rates(rate_in="4mbit", rate_out="24mbit"))["pid"] == facts["pid"]
    assert "Operation not permitted" in it.do("ip link set dev eth0 down", check=False)
    it.machine.sh(f"nsenter -n -t {facts['pid']} tc qdisc del dev eth0 root")
    healed = it.machine.module(
        "baleine_container", name=it.name, image=it.image, command=SLEEP, stop_timeout=0,
        networks=rates(rate_in="4mbit", rate_out="24mbit"),
    )  # fmt: skip
    assert healed["drift"] == [f"container {it.name}: eth0: rate_out none -> 24mbit"]
    assert bucket_rates(it, facts) == ([4_000_000], [24_000_000])
    assert it.set(networks=rates())["interfaces"][0]["rate_in"] is None
    assert bucket_rates(it, facts) == ([], [])


def the_command_line_changes_the_rates_of_a_network(it: Limited) -> None:
    it.machine.module("baleine_bridge", name="rates", addresses=["192.168.77.1/24"])
    facts = it.set(networks=rates(rate_in="4mbit", rate_out="24mbit"))
    baleine = ["/usr/local/bin/baleine", "container"]
    for text, seen in (("6mbit", (6_000_000, 24_000_000)), ("/none", (6_000_000, None)), ("", (6_000_000, None))):
        it.machine.run([*baleine, "update", it.name, "--rate", text])
        (shown,) = json.loads(it.machine.run([*baleine, "inspect", it.name, "--format", "json"]).stdout)
        assert [(one["rate_in"], one["rate_out"]) for one in shown["interfaces"]] == [seen]
        assert bucket_rates(it, facts) == ([seen[0]], [seen[1]] if seen[1] else [])
        assert shown["pid"] == facts["pid"]
    for text, words in (("6mbit,7mbit", "has 2 elements"), ("1mbit/2mbit/3mbit", "write it as IN[/OUT]")):
        refused = it.machine.run([*baleine, "update", it.name, "--rate", text], check=False)
        assert refused.returncode == 2 and words in refused.stderr


def share_only_network_and_ids(it: Limited, mine: dict[str, Any], first: dict[str, Any]) -> None:
    """Two containers have one network and one user namespace, and everything else apart."""

    def spaces(pid: int, *kinds: str) -> list[str]:
        links = "; ".join(f"readlink /proc/{pid}/ns/{kind}" for kind in kinds)
        return it.machine.sh(links).stdout.split()

    assert mine["first_id"] == first["first_id"]
    assert spaces(mine["pid"], "net", "user") == spaces(first["pid"], "net", "user")
    kinds = ("pid", "mnt", "ipc", "uts", "cgroup")
    assert set(spaces(mine["pid"], *kinds)).isdisjoint(spaces(first["pid"], *kinds))
    shared = kernel.of(it.machine, mine["pid"]).links
    assert shared["eth0"].addresses == ("192.168.77.9/24",)
    assert shared == kernel.of(it.machine, first["pid"]).links


def a_container_shares_the_network_of_another_and_follows_it(it: Limited, other: Limited) -> None:
    it.machine.module("baleine_bridge", name="rates", addresses=["192.168.77.1/24"])
    networks = [{"bridge": "rates", "addresses": ["192.168.77.9/24"]}]
    refused = it.set(expect_failure=True, share_network=other.name)
    assert f"share_network: container {other.name} does not run" in refused["msg"]
    first = other.set(networks=networks, command=["httpd", "-f", "-p", "127.0.0.1:80", "-h", "/www"])
    mine = it.set(share_network=other.name)
    share_only_network_and_ids(it, mine, first)

    def answered() -> bool:
        return it.do("wget -q -O - http://127.0.0.1/", check=False).strip() == "tiny"

    assert wait_for(answered)  # by the other's own loopback
    assert it.do("touch /mine; stat -c %u /mine").strip() == "0"
    arguments = {"name": it.name, "image": it.image, "command": SLEEP, "stop_timeout": 0, "share_network": other.name}
    assert not it.machine.module("baleine_container", **arguments)["changed"]
    other.machine.module("baleine_container", name=other.name, restart=True)
    followed = it.machine.module("baleine_container", **arguments)
    assert followed["drift"] == [f"container {it.name}: the network of {other.name} is a new one"]
    assert wait_for(answered)
    alone = it.set(recreate="on_change")  # with a network and ids of its own again
    assert alone["first_id"] != first["first_id"]
    assert set(kernel.of(it.machine, alone["pid"]).links) == {"lo"}
    assert it.do("stat -c %u /mine").split() == ["0"]
    other.machine.module("baleine_container", name=other.name, state="absent")


#: As in limits_cases: the first watches counters of rates.
MEASURED = (a_plain_transfer_stays_below_the_network_rate_in_both_directions,)
CASES = (
    network_rates_are_restored_and_changed_in_place_and_removed,
    the_command_line_changes_the_rates_of_a_network,
)
