# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine bridge …``"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from baleine import bridge
from baleine.plan import Outcome

from . import show
from .parse import Options
from .runner import run

HEAD = ("name", "state", "addresses", "stp", "containers")


def create(options: Options) -> int:
    """Make a bridge and set it up."""
    name = options.names[0]
    flags = {"mtu": options.number("mtu"), "stp": options.on("stp"), "mac": options.text("mac")}
    addresses = [text for text in options.elements("address") if text]
    wanted = bridge.request({"name": name, "addresses": addresses, **flags})
    show.check_new("bridge", name, f"Take another name, or remove it first: baleine bridge remove -b {name}")
    show.made(bridge.ensure(run, [wanted]))
    return 0


facts = partial(bridge.facts, run)


def row(facts: show.Facts) -> Sequence[str]:
    """Return a bridge's line in the list."""
    stp = "yes" if facts["stp"] else "no"
    return facts["name"], facts["state"], ",".join(facts["addresses"]), stp, str(len(facts["containers"]))


def set_state(options: Options) -> int:
    """Set bridges up or down."""
    state = options.topic.split()[1]
    return show.each(options, "bridge", lambda name: bridge.ensure(run, [bridge.as_recorded(run, name, state)]))


def absent(name: str) -> Sequence[Outcome]:
    """Remove a bridge."""
    return bridge.ensure(run, [bridge.request({"name": name, "state": "absent"})])
