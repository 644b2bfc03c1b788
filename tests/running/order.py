# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest: which file begins first."""

from __future__ import annotations

import pytest

#: The files that take longest begin first: one that begins last keeps the others waiting.
#: `make integration` prints how long each of them took.
LONGEST_FIRST: tuple[str, ...] = (
    "test_guest",
    "test_farm",
    "test_guest_front",
    "test_docs",
    "test_guest_limits",
    "test_honesty",
    "test_attacks",
    "test_guest_store",
    "test_faults",
    "test_work_inside",
    "test_offered",
    "test_session",
    "test_connection",
    "test_made",
    "test_image",
)


def weight(path: str) -> tuple[int, str]:
    """What files are sorted by: the place in LONGEST_FIRST, then the name."""
    stem = path.rpartition("/")[2].removesuffix(".py")
    place = LONGEST_FIRST.index(stem) if stem in LONGEST_FIRST else len(LONGEST_FIRST)
    return place, path


def file_of(node: str) -> str:
    """The file of a test's name (`FILE::NAME`)."""
    return node.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by their files, and leave those of a file in their order."""
    items.sort(key=lambda item: weight(file_of(item.nodeid)))
