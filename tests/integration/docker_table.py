# SPDX-License-Identifier: GPL-3.0-or-later
"""The page for who comes from Docker (docs/docsite/rst/from_docker.rst), as data."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/docsite/rst/from_docker.rst"
CELL = re.compile(r"^    (?:\*| ) -(.*(?:\n {8}.*)*)", re.MULTILINE)
LITERAL = re.compile(r"``([^`]+)``")


def rows() -> list[list[str]]:
    """Return the rows of all tables of the page, heads included, each a list of cells."""
    found: list[list[str]] = []
    for cell in CELL.finditer(PAGE.read_text()):
        if cell.group(0).startswith("    *"):
            found.append([])
        found[-1].append(" ".join(cell.group(1).split()))
    return found


def docker_commands() -> set[str]:
    """Return the commands that the page has an answer for.

    A word alone stands for the last command with this word in the place of its last one; ``…`` for all below a command.
    """
    found = set()
    for cell, *_others in rows():
        before: list[str] = []
        for literal in LITERAL.findall(cell):
            words = [word for word in re.sub(r"\[.*?\]", "", literal).split() if not word.startswith("-")]
            if words and words[0].islower():
                before = words if words[0] == "docker" else [*before[:-1], *words]
                found.add(" ".join(before))
    return found


def run_flags() -> list[tuple[set[str], set[str], set[str]]]:
    """Return the rows about flags of ``docker run``: its flags, ours, and the options of our module."""
    flags = [row for row in rows() if len(row) == 3 and row[0].startswith("``--")]
    return [tuple({word.split()[0] for word in LITERAL.findall(cell)} for cell in row) for row in flags]  # type: ignore[misc]
