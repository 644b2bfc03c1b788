# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests find the core and the command line under the names that a host knows: .build/baleine, .build/baleine_cli."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKS = {"baleine": "../plugins/module_utils", "baleine_cli": "../roles/host/files/baleine_cli"}

(ROOT / ".build").mkdir(exist_ok=True)
for _name, _target in LINKS.items():
    with contextlib.suppress(FileExistsError):
        (ROOT / ".build" / _name).symlink_to(_target)
if str(ROOT / ".build") not in sys.path:
    sys.path.insert(0, str(ROOT / ".build"))
