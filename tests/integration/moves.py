# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose addresses move between an interface and a bridge, and what they show."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

from tests.lab import kernel, run
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


def make_host(lab_factory: Callable[..., LabHost], wire: Wire, name: str) -> LabHost:
    """A host that has several addresses and routes on the interface by which it is reached."""
    made = lab_factory(name, wire=wire)
    made.net(
        ["ip", "-batch", "-"],
        input=f"""address add {SECOND} dev eth0 label eth0:more
        address add {V6} dev eth0 nodad
        address add {LEASED} dev eth0 valid_lft 5000 preferred_lft 4000
        route add {ROUTE} dev eth0
        route add 2001:db8:1::/48 via fd42::1 dev eth0
        """,
    )
    made.expect("state */guard")
    return made


def all_addresses(host: LabHost) -> list[str]:
    """Every address that make_host gave the interface."""
    return sorted([f"{host.address}/24", SECOND, V6, LEASED])


def state(host: LabHost) -> dict[str, Any]:
    """Links, addresses and routes, as far as they stay the same by themselves."""
    network = kernel.of(host)
    lasting = [address for address in network.addresses if address.scope != "link"]
    return {
        "links": network.links,
        "addresses": {name: {one for one in lasting if one.link == name} for name in network.links},
        "routes": set(network.routes),
    }


class Look(NamedTuple):
    """What a host shows at one moment."""

    state: Mapping[str, Any]
    record: Mapping[str, str]
    guarded: bool

    def addresses(self, link: str) -> Optional[list[str]]:
        """The addresses of a link; None if it does not exist."""
        found: Optional[kernel.Link] = self.state["links"].get(link)
        return None if found is None else sorted(found.addresses)

    @property
    def where(self) -> tuple[Optional[list[str]], Optional[list[str]]]:
        """The addresses of the interface, and those of the bridge."""
        return self.addresses("eth0"), self.addresses(BRIDGE)

    @property
    def master(self) -> Optional[str]:
        """The bridge that the interface is a port of."""
        found: kernel.Link = self.state["links"]["eth0"]
        return found.master or None

    @property
    def routes(self) -> set[kernel.Route]:
        """The routes through a gateway."""
        return {route for route in self.state["routes"] if route.gateway}


def look(host: LabHost) -> Look:
    return Look(state(host), record(host), guarded(host))


def guarded(host: LabHost) -> bool:
    return "baleine-guard" in host.sh("ps -eo args").stdout


def guard_ends(host: LabHost) -> None:
    """Wait until no guard runs (it takes back after 30 s, and looks for its confirmation every 0.2 s)."""
    assert run.wait_for(lambda: not guarded(host), timeout=300, interval=0.2), "a guard still runs"


def record(host: LabHost) -> dict[str, str]:
    """The bridge's manifest; empty if it has none."""
    text = host.sh(f"cat /var/lib/baleine/manifeste/bridges/{BRIDGE}.manifest || true").stdout
    pairs = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, _colon, value in pairs}


class Said(NamedTuple):
    """What ansible-playbook printed."""

    text: str

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        return int(re.findall(r"changed=(\d+)", self.text)[-1])


def play(wire: Wire, host: LabHost, folder: Path, params: Mapping[str, Any], *words: str, fails: bool = False) -> Said:
    """Run the module as a task, over SSH."""
    inventory, playbook = folder / "hosts.json", folder / "play.yml"
    inventory.write_text(json.dumps(wire.inventory(host)))
    tasks = [{"name": "Bridge", "lab.baleine.baleine_bridge": params}]
    plays = [{"name": "Play", "hosts": "lab", "gather_facts": False, "tasks": tasks}]
    playbook.write_text(json.dumps(plays))
    environment = {
        "ANSIBLE_CONFIG": str(run.REPOSITORY / "ansible.cfg"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    argv = [str(PLAYBOOK), "-v", "-i", str(inventory), *words, str(playbook)]
    done = wire.run(argv, check=False, env=environment, cwd=folder)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said
    return Said(said)
