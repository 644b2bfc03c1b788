# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules x cases, printed at the end of the file."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType


class Table:
    """Modules x cases, printed at the end of the file."""

    CASES = (
        "check",
        "again",
        "option",
        "info",
        "spelled",
        "case",
        "removed",
        "drift",
        "secret",
        "absent",
        "foreign",
        "missing",
        "two at once",
    )
    #: Why a cell is empty.
    WHY = MappingProxyType(
        {
            "baleine_command": "no module only looks at it, and a file in the way is one of its own, by its place",
            "baleine_container_exec": "has no state: what it runs is predicted, or skipped in check mode",
            "baleine_containers: prune": "takes away; what is missing, foreign or changed by hand, the containers show",
            "baleine_image_export": "never removes anything, and replaces what is in the way, as it says",
            "baleine_store": "no module only looks at it; it has one option, whose smaller size is refused",
            "baleine_volume": "no module only looks at it; it has no options",
            **{f"baleine_{kind}_info": "only looks" for kind in ("bridge", "container", "host", "image")},
        }
    )

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], tuple[int, int]] = {}

    def fill(self, module: str, case: str, count: int, wrong: Sequence[str]) -> list[str]:
        """Note a case of a module; returns what was wrong with its name."""
        before = self.cells.get((module, case), (0, 0))
        self.cells[module, case] = before[0] + count, before[1] + len(wrong)
        return [f"{case}: {text}" for text in wrong]

    def cell(self, module: str, case: str) -> str:
        count, wrong = self.cells.get((module, case), (0, 0))
        return f"{wrong} WRONG" if wrong else f"{count} ok" if count else "-"

    def lines(self) -> list[str]:
        modules = sorted({module for module, _case in self.cells})
        width = max(map(len, modules), default=0)
        rows = {"": list(self.CASES)} | {name: [self.cell(name, case) for case in self.CASES] for name in modules}
        widths = [max(map(len, column)) for column in zip(*rows.values())]
        lines = [f"{name:{width}}  " + "  ".join(map(str.rjust, row, widths)) for name, row in rows.items()]
        lines += [f"{name}: {why}" for name, why in self.WHY.items() if name in modules]
        return lines
