# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine bridge …``"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from baleine import bridge
from baleine.plan import Outcome

from . import show
from .parse import Options
from .runner import run


def create(options: Options) -> int:
    """Make a bridge and set it up."""
    name = options.names[0]
    flags = {"mtu": options.number("mtu"), "stp": options.on("stp"), "mac": options.text("mac")}
    addresses = [text for text in options.elements("address") if text]
    wanted = bridge.request({"name": name, "addresses": addresses, **flags})
    show.check_new("bridge", name, f"Remove it first: baleine bridge remove -b {name}")
    show.made(bridge.ensure(run, [wanted]))
    return 0


def facts(name: str) -> dict[str, Any]:
    """Return what is true of a bridge now."""
    return bridge.facts(run, name)


def list_(options: Options) -> int:
    """List the bridges."""
    found, code = show.collect("bridge", facts)
    show.print_list(options, found, ("name", "state", "addresses", "stp", "containers"), row)
    return code


def row(facts: show.Facts) -> Sequence[str]:
    """Return a bridge's line in the list."""
    stp = "yes" if facts["stp"] else "no"
    return facts["name"], facts["state"], ",".join(facts["addresses"]), stp, str(len(facts["containers"]))


def up(options: Options) -> int:
    """Set bridges up."""
    return show.each(options, "bridge", lambda name: bridge.ensure(run, [bridge.as_recorded(run, name, "up")]))


def down(options: Options) -> int:
    """Set bridges down."""
    return show.each(options, "bridge", lambda name: bridge.ensure(run, [bridge.as_recorded(run, name, "down")]))


def remove(options: Options) -> int:
    """Remove bridges."""

    def change(name: str) -> Sequence[Outcome]:
        return bridge.ensure(run, [bridge.request({"name": name, "state": "absent"})])

    return show.each(options, "bridge", change, removes=True)


def inspect(options: Options) -> int:
    """Show everything that is known of bridges."""
    return show.inspect(options, "bridge", facts)
