# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples to medians, ratios and tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

OURS = "baleine"


class Cell(NamedTuple):
    """What one contender came to in one case: its samples in seconds, or why there are none."""

    samples: tuple[float, ...] = ()
    reason: str = ""
    note: str = ""

    @property
    def median(self) -> Optional[float]:
        return statistics.median(self.samples) if self.samples else None

    @property
    def spread(self) -> Optional[tuple[float, float]]:
        """The quarter marks: half of all samples lie between them."""
        if not self.samples:
            return None
        if len(self.samples) == 1:
            return self.samples[0], self.samples[0]
        first, _middle, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third


def ratio(cell: Cell, ours: Cell) -> Optional[float]:
    """How many times as long as ours it took: 2.0 is twice as long; None where one of them was not measured."""
    if not cell.median or not ours.median:
        return None
    return cell.median / ours.median


def show_time(seconds: Optional[float]) -> str:
    """Milliseconds, without decimals that mean nothing."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 20 else f"{value:.0f} ms" if value < 10_000 else f"{seconds:.1f} s"


def show_size(size: float) -> str:
    """MiB with one decimal."""
    return f"{size / (1 << 20):.1f} MiB"


def row(name: str, cell: Cell, ours: Cell) -> tuple[str, ...]:
    """One contender's line: name, median, spread, ratio to ours, samples, note or reason."""
    if not cell.samples:
        return name, "-", "-", "-", "0", cell.reason
    low, high = cell.spread or (0.0, 0.0)
    times = ratio(cell, ours)
    shown = "1" if name == OURS else "-" if times is None else f"{times:.2f}"
    return (
        name,
        show_time(cell.median),
        f"{show_time(low)} to {show_time(high)}",
        shown,
        str(len(cell.samples)),
        cell.note,
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars and line ends in a cell do not break it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def case_table(cells: Mapping[str, Cell]) -> str:
    """The table of one case: ours first, then the others, the quickest first, those without samples last."""
    ours = cells.get(OURS, Cell())
    order = sorted(cells, key=lambda name: (name != OURS, cells[name].median is None, cells[name].median or 0.0, name))
    head = ("contender", "median", "half of the samples", "times ours", "samples", "remarks")
    return markdown(head, [row(name, cells[name], ours) for name in order])


def best_peer(cells: Mapping[str, Cell], names: Sequence[str]) -> Optional[tuple[str, float]]:
    """The quickest of these, with its ratio to ours."""
    ours = cells.get(OURS, Cell())
    found = [(times, name) for name in names if name in cells and (times := ratio(cells[name], ours)) is not None]
    return (min(found)[1], min(found)[0]) if found else None
