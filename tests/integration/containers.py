# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of the tiny image on the bridge private; what host and kernel hold of one."""

from __future__ import annotations

from typing import Any

from tests.integration import support
from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.kernel import Link, Network


def container(lab: LabHost, name: str, **options: Any) -> dict[str, Any]:
    networks = [{"bridge": "private", "addresses": ["192.168.42.9/24"]}]
    return support.container(lab, name, **{"networks": networks, **options})


def inside(lab: LabHost, name: str, script: str) -> str:
    """Run a shell line in a container, by the command line."""
    return lab.run(["/usr/local/bin/baleine", "container", "exec", "-c", name, "--", "sh", "-c", script]).stdout


def record(lab: LabHost, name: str) -> dict[str, str]:
    return support.record(lab, "container", name)


def network_of(lab: LabHost, name: str) -> Network:
    """What the kernel holds of a container's network namespace."""
    return kernel.of(lab, record(lab, name)["pid"])


def seen(link: Link) -> tuple[tuple[str, ...], str, int, bool]:
    """Of an interface what a task asks for: addresses, bridge, MTU, and whether it is up."""
    return link.addresses, link.master, link.mtu, link.up


def make_bridges(lab: LabHost) -> None:
    """Make the bridges that the containers of a file use, as part of the host's first state."""
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.module("baleine_bridge", name="public", addresses=["10.0.0.1/8"])
    lab.rebase()
