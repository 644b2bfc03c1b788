# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine volume …``"""

from __future__ import annotations

from collections.abc import Sequence

from baleine import volume
from baleine.plan import Outcome

from . import show
from .parse import Options
from .runner import run

facts = volume.facts
HEAD = ("name", "path", "containers")


def create(options: Options) -> int:
    """Make an empty volume."""
    name = options.names[0]
    show.check_new("volume", name, "Take another name")
    show.made(volume.ensure([volume.request({"name": name})]))
    return 0


def row(facts: show.Facts) -> Sequence[str]:
    """Return a volume's line in the list."""
    return facts["name"], facts["path"], ",".join(facts["containers"])


def absent(name: str) -> list[Outcome]:
    """Remove a volume."""
    return volume.ensure([volume.request({"name": name, "state": "absent"})])


def backup(options: Options) -> int:
    """Write a volume's files to a tar file."""
    volume.backup(run, options.names[0], options.path(options.text("target") or ""))
    return 0


def restore(options: Options) -> int:
    """Fill a volume from a tar file."""
    volume.restore(run, options.names[0], options.path(options.text("source") or ""), options.on("force"))
    return 0


def prune(options: Options) -> int:
    """Destroy the volumes that nobody names."""
    found, code = show.collect("volume", facts)
    return show.prune(options, [shown["name"] for shown in found if not shown["containers"]]) or code
