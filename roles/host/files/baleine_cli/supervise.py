# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine supervise``"""

from __future__ import annotations

from baleine import manifest, supervise

from .main import FAILED
from .parse import Options
from .runner import run


def supervise_(options: Options) -> int:
    """Make one pass; what was done is one line each, and nothing where nothing was done."""
    return 0 if supervise.supervise(run, _tell) else FAILED


def _tell(what: str, done: str, why: str) -> None:
    print(f"{manifest.utc_now()} {what}: {done}: {' '.join(why.split())}", flush=True)
