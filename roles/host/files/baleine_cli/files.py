# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container mount``, ``umount``, ``copy`` and ``diff``"""

from __future__ import annotations

from baleine import files

from . import show
from .parse import Options
from .runner import run


def mount(options: Options) -> int:
    """Mount the disk of a container that does not run, and print where."""
    print(files.mount(run, options.names[0]))
    return 0


def umount(options: Options) -> int:
    """End that."""
    files.umount(options.names[0])
    return 0


def copy(options: Options) -> int:
    """Copy files into a container or out of it."""
    places = [text if text == "-" or files.split(text)[0] else options.path(text) for text in options.names]
    files.copy(run, *places)
    return 0


def diff(options: Options) -> int:
    """Print what differs between a container's disk and its image."""
    as_table, found = not show.wants_json(options), files.diff(run, options.names[0])
    print(show.changes(found) if as_table else show.as_json(show.changed(found)), end="")
    return 0
