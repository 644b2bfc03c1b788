# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine supervise``"""

from __future__ import annotations

import os
import time

from baleine import manifest, supervise, units

from .main import FAILED
from .parse import Options
from .runner import run


def supervise_(options: Options) -> int:
    """Make one pass; what was done is one line each, and nothing where nothing was done."""
    now = units.number(os.environ.get("BALEINE_NOW", ""))  # tests give the time of a pass
    return 0 if supervise.supervise(run, _tell, time.time() if now is None else now) else FAILED


def _tell(what: str, done: str, why: str) -> None:
    print(f"{manifest.utc_now()} {what}: {done}: {' '.join(why.split())}", flush=True)
