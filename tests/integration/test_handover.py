# SPDX-License-Identifier: GPL-3.0-or-later
"""An interface joins a bridge with the addresses by which its host is reached: over SSH, back again, and taken back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import run
from tests.lab.host import LabHost
from tests.lab.wire import Wire

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
BRIDGE = "uplink"
# Nobody's network (RFC 5737), by the controller; and one address that will run out, as a DHCP client's does.
ROUTE = "198.51.100.0/24 via 172.30.0.1 proto static metric 50"
SECOND, V6, LEASED = "172.30.0.200/24", "fd42::7/64", "172.30.1.5/24"
WITH = {"name": BRIDGE, "ports": ["eth0"], "move_addresses": True}
WITHOUT = {"name": BRIDGE, "ports": []}
NONE = {"name": BRIDGE, "state": "absent"}


@pytest.fixture(scope="module")
def host(wire: Wire, lab_factory: Callable[..., LabHost]) -> LabHost:
    made = lab_factory("moved", wire=wire)
    made.net(
        ["ip", "-batch", "-"],
        input=f"""address add {SECOND} dev eth0 label eth0:more
        address add {V6} dev eth0 nodad
        address add {LEASED} dev eth0 valid_lft 5000 preferred_lft 4000
        route add {ROUTE} dev eth0
        route add 2001:db8:1::/48 via fd42::1 dev eth0
        """,
    )
    made.start_sshd()
    made.expect("state */guard")
    return made


@pytest.fixture(autouse=True)
def afterwards(host: LabHost) -> Iterator[None]:
    """Each test begins and ends without the bridge."""
    before = state(host)
    yield
    assert state(host) == before
    assert run.wait_for(lambda: not guarded(host), timeout=120)  # it looks every 0.2 s whether it is confirmed
    assert host.sh("ls -A /run/baleine/guard /var/lib/baleine/manifeste/bridges", check=False).stdout.split() == [
        "/run/baleine/guard:",
        "/var/lib/baleine/manifeste/bridges:",
    ]


def state(host: LabHost) -> dict[str, Any]:
    """Addresses and routes of every interface, as far as they stay the same by themselves."""
    links = json.loads(host.net(["ip", "-j", "address"]).stdout)
    moving = ("valid_life_time", "preferred_life_time", "tentative")
    addresses = {
        link["ifname"]: sorted(
            json.dumps({key: entry[key] for key in entry if key not in moving}, sort_keys=True)
            for entry in link["addr_info"]
            if entry["scope"] != "link"
        )
        for link in links
    }
    masters = {link["ifname"]: link.get("master") for link in links}
    routes = [line for family in "46" for line in host.net(["ip", f"-{family}", "route"]).stdout.splitlines()]
    return {
        "addresses": addresses,
        "masters": masters,
        "routes": sorted(line.replace(" linkdown", "").strip() for line in routes if "fe80" not in line),
    }


def has(host: LabHost, link: str) -> list[str]:
    return sorted(f"{e['local']}/{e['prefixlen']}" for e in map(json.loads, state(host)["addresses"][link]))


def routes(host: LabHost) -> list[str]:
    return [line for line in state(host)["routes"] if " via " in line]


def known_mac(wire: Wire) -> str:
    """The MAC under which the controller knows the host, after it has been asked."""
    wire.run(["ping", "-nc1", "-w60", "172.30.0.11"])
    return str(json.loads(wire.run(["ip", "-j", "neigh", "show", "172.30.0.11"]).stdout)[0]["lladdr"])


def guarded(host: LabHost) -> bool:
    return "baleine-guard" in host.sh("ps -eo args").stdout


def record(host: LabHost) -> dict[str, str]:
    text = host.read(f"/var/lib/baleine/manifeste/bridges/{BRIDGE}.manifest")
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def play(wire: Wire, host: LabHost, folder: Path, params: dict[str, Any], *words: str, fails: bool = False) -> str:
    """Run the module as a task, over SSH; returns what was said."""
    inventory, playbook = folder / "hosts.json", folder / "play.yml"
    inventory.write_text(json.dumps(wire.inventory(host)))
    tasks = [{"name": "Bridge", "lab.baleine.baleine_bridge": params}]
    playbook.write_text(json.dumps([{"name": "Play", "hosts": "lab", "gather_facts": False, "tasks": tasks}]))
    environment = {
        "ANSIBLE_CONFIG": str(run.REPOSITORY / "ansible.cfg"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    argv = [str(PLAYBOOK), "-v", "-i", str(inventory), *words, str(playbook)]
    done = wire.run(argv, check=False, env=environment, cwd=folder)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said
    return said


ALL = sorted(["172.30.0.11/24", SECOND, V6, LEASED])


def test_the_interface_of_the_connection_becomes_a_port_and_goes_back(
    wire: Wire, host: LabHost, tmp_path: Path
) -> None:
    before = state(host)
    assert has(host, "eth0") == ALL
    assert "changed=1" in play(wire, host, tmp_path, WITH, "--check", "--diff")
    assert state(host) == before

    said = play(wire, host, tmp_path, WITH, "--diff")
    assert "changed=1" in said
    assert "eth0 takes 172.30.0.11/24" in said
    assert '"guard"' not in said
    assert wire.ssh(host, "hostname").stdout == "moved\n"
    assert (has(host, "eth0"), has(host, BRIDGE)) == ([], ALL)
    assert state(host)["masters"]["eth0"] == BRIDGE
    assert routes(host) == [line.replace("eth0", BRIDGE) for line in before["routes"] if " via " in line]
    assert (record(host)["state"], record(host)["port"]) == ("up", "eth0")
    assert run.wait_for(lambda: not guarded(host), timeout=120)

    for words in ((), ("--check",)):
        assert "changed=0" in play(wire, host, tmp_path, WITH, *words)
    assert "only move_addresses allows" in play(wire, host, tmp_path, {**WITH, "move_addresses": False}, fails=True)
    more = {**WITH, "addresses": ["172.30.0.150/24", "10.77.0.1/24"]}
    assert "changed=1" in play(wire, host, tmp_path, more)
    assert has(host, BRIDGE) == sorted([*ALL, *more["addresses"]])
    assert "changed=0" in play(wire, host, tmp_path, more)
    assert "meets the route 172.30.0.0/24 dev eth0" in play(wire, host, tmp_path, {**more, "ports": []}, fails=True)

    assert "changed=1" in play(wire, host, tmp_path, WITHOUT)
    assert wire.ssh(host, "hostname").stdout == "moved\n"
    assert (has(host, "eth0"), has(host, BRIDGE)) == (ALL, [])
    assert (record(host)["port"], record(host).get("moved", "")) == ("", "")
    assert state(host)["routes"] == before["routes"]
    assert "changed=0" in play(wire, host, tmp_path, WITHOUT)
    assert "changed=1" in play(wire, host, tmp_path, NONE)


def test_a_bridge_that_shall_be_absent_gives_the_addresses_back_first(
    wire: Wire, host: LabHost, tmp_path: Path
) -> None:
    before = state(host)
    play(wire, host, tmp_path, WITH)
    assert "changed=1" in play(wire, host, tmp_path, NONE, "--check")
    assert has(host, BRIDGE) == ALL
    said = play(wire, host, tmp_path, NONE)
    assert "changed=1" in said
    assert state(host) == before
    assert "changed=0" in play(wire, host, tmp_path, NONE)


def test_what_was_lost_of_a_move_is_healed(wire: Wire, host: LabHost, tmp_path: Path) -> None:
    play(wire, host, tmp_path, WITH)
    there = state(host)
    host.install_baleine()
    said = host.run(["/usr/local/bin/baleine", "bridge", "remove", "-b", BRIDGE], check=False)
    assert "must be confirmed over a new connection" in said.stderr
    host.run(["/usr/local/bin/baleine", "bridge", "up", "-b", BRIDGE])
    assert (state(host), guarded(host)) == (there, False)
    host.net(["ip", "-batch", "-"], input=f"route del 198.51.100.0/24\naddress del {V6} dev {BRIDGE}\n")
    said = play(wire, host, tmp_path, WITH)
    assert f"the address {V6} is gone" in said
    assert "is gone" in said
    assert {**state(host), "addresses": {}} == {**there, "addresses": {}}
    assert has(host, BRIDGE) == ALL
    assert "changed=0" in play(wire, host, tmp_path, WITH)
    play(wire, host, tmp_path, NONE)


def test_without_a_confirmation_everything_is_as_before_after_30_seconds(wire: Wire, host: LabHost) -> None:
    before, mac = state(host), known_mac(wire)
    result = host.module("baleine_bridge", **WITH)
    assert result["guard"]
    assert result["changed"]
    assert has(host, BRIDGE) == ALL
    assert record(host)["state"] == "handover"
    assert record(host)["port"] == ""
    assert guarded(host)
    assert "waits for its confirmation" in host.module("baleine_bridge", **WITH, expect_failure=True)["msg"]
    wrong = host.module("baleine_bridge", **WITH, confirm="0123456789abcdef", expect_failure=True)
    assert "taken back" in wrong["msg"]
    wire.run(["ip", "neigh", "flush", "dev", "wire"])
    assert known_mac(wire) == mac  # whoever asks while it lasts would know no way afterwards

    assert run.wait_for(lambda: has(host, "eth0") == ALL, timeout=300, interval=0.2)
    assert run.wait_for(lambda: not guarded(host), timeout=120)
    assert known_mac(wire) == mac
    now = state(host)
    assert has(host, BRIDGE) == []
    assert now["routes"] == before["routes"]
    assert now["addresses"]["eth0"] == before["addresses"]["eth0"]
    assert now["masters"]["eth0"] is None
    late = host.module("baleine_bridge", **WITH, confirm=result["guard"], expect_failure=True)
    assert "taken back after 30 s" in late["msg"]

    # the next run begins anew; this time somebody confirms, and the guard ends at once
    token = host.module("baleine_bridge", **WITH)["guard"]
    done = host.module("baleine_bridge", **WITH, confirm=token)
    assert "guard" not in done
    assert done["bridge"]["ports"] == ["eth0"]
    assert run.wait_for(lambda: not guarded(host), timeout=120)
    assert record(host)["state"] == "up"
    assert not host.module("baleine_bridge", **WITH)["changed"]
    # and of the way back nobody hears: the bridge has them again
    assert host.module("baleine_bridge", **NONE)["guard"]
    assert has(host, "eth0") == ALL
    assert run.wait_for(lambda: has(host, BRIDGE) == ALL, timeout=300, interval=0.2)
    assert run.wait_for(lambda: not guarded(host), timeout=120)
    assert record(host)["state"] == "handover"
    assert host.module("baleine_bridge", **WITH)["changed"]
    assert not host.module("baleine_bridge", **WITH)["changed"]
    token = host.module("baleine_bridge", **NONE)["guard"]
    assert host.module("baleine_bridge", **NONE, confirm=token)["bridge"] == {}


def test_the_guard_outlives_a_killed_module_and_its_session(host: LabHost) -> None:
    before = state(host)
    host.module("baleine_bridge", **NONE)  # the modules are in the host now
    host.write("/tmp/arguments", json.dumps({"ANSIBLE_MODULE_ARGS": {**WITH, "_ansible_remote_tmp": "/tmp"}}))
    module = "ansible_collections.lab.baleine.plugins.modules.baleine_bridge"
    host.sh(f"""
        setsid --wait sh -c '
            /usr/bin/python3 /opt/ansible-lib/run_module.py {module} </tmp/arguments &
            while [ ! -e /run/baleine/guard/{BRIDGE} ]; do sleep 0.005; done
            kill -9 0' || true
        ps -eo args | grep -q '[b]aleine-guard'
        rm /tmp/arguments""")
    assert run.wait_for(lambda: "run_module" not in host.sh("ps -eo args").stdout)
    assert run.wait_for(lambda: not guarded(host), timeout=300, interval=0.2)
    assert state(host)["addresses"]["eth0"] == before["addresses"]["eth0"]
    assert state(host)["routes"] == before["routes"]
    host.module("baleine_bridge", **NONE)


def test_a_move_that_the_kernel_refuses_half_way_is_taken_back_at_once(host: LabHost) -> None:
    before = state(host)
    host.sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")  # for links that are made from now on
    try:
        said = host.module("baleine_bridge", **WITH, expect_failure=True)["msg"]
    finally:
        host.sh("echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
    assert f"address replace {V6} dev {BRIDGE}" in said
    assert state(host)["addresses"]["eth0"] == before["addresses"]["eth0"]
    assert state(host)["routes"] == before["routes"]
    assert run.wait_for(lambda: not guarded(host), timeout=120)
    host.module("baleine_bridge", **NONE)


def test_a_task_that_reaches_the_host_no_more_names_the_guard(wire: Wire, host: LabHost, tmp_path: Path) -> None:
    host.sh(f"""
        nft add table inet cut
        nft add chain inet cut input '{{ type filter hook input priority 0; }}'
        nft add rule inet cut input iifname {BRIDGE} tcp flags '&' '(syn|ack)' == syn drop""")
    try:
        said = " ".join(play(wire, host, tmp_path, WITH, fails=True).split())
        assert "puts everything back 30 s after the change" in said, said
        assert run.wait_for(lambda: not guarded(host), timeout=300, interval=0.2)
        assert has(host, "eth0") == ALL
        assert wire.ssh(host, "hostname").stdout == "moved\n"
    finally:
        host.sh("nft delete table inet cut")
    assert "changed=1" in play(wire, host, tmp_path, NONE)
