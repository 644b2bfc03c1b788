# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine image publish`` and ``trust``: what web servers give away, and whom to believe about it."""

from __future__ import annotations

import sys

from baleine import download, units
from baleine import publish as core_publish
from baleine import trust as core_trust
from baleine.errors import BaleineError

from . import show
from .parse import Options, Usage
from .runner import run


def publish(options: Options) -> int:
    """Write what a web server needs to give an image away."""
    folder, version, key = (options.text(flag) or "" for flag in ("directory", "version", "key"))
    print("\n".join(core_publish.publish(run, options.names[0], options.path(folder), version, key)))
    return 0


def watch() -> None:
    """Show on a terminal how much of a download has come."""
    shown = -1

    def show_progress(have: int, size: int) -> None:
        nonlocal shown
        if have * 100 // size > shown:
            shown = have * 100 // size
            end = "\n" if have == size else ""
            print(f"\r{shown:3} % of {units.show_size(size)}", end=end, file=sys.stderr, flush=True)

    if sys.stderr.isatty():
        download.progress = show_progress


def trust(options: Options) -> int:
    """Trust keys for a prefix of names, or trust them no more, or list which are trusted."""
    prefix, key = options.text("prefix"), options.text("key")
    if prefix is None:
        if key or options.on("remove"):
            raise Usage("image trust: --prefix is missing", options.topic)
        print(show.table(("prefix", "keys"), core_trust.trusted().items()), end="")
    elif bool(key) == options.on("remove"):
        raise Usage("image trust: one of --key and --remove goes with --prefix", options.topic)
    elif key:
        core_trust.add(prefix, options.path(key))
    elif not core_trust.remove(prefix):
        raise BaleineError(f"prefix {prefix}: no key is trusted for it", "See 'baleine image trust'")
    return 0
