# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflink store: what is moved, grown, refused; nothing is mounted here."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import store
from baleine.errors import BaleineError
from baleine.store import Found, Wanted
from tests.unit.support import reasons, replace, verbs

GIB = 1 << 30
NONE = Found(data=GIB, room=100 * GIB)
THERE = Found(size=10 * GIB, filesystem=10 * GIB, data=GIB, room=100 * GIB)


@pytest.mark.parametrize(
    ("size", "found", "expected"),
    [
        (10, NONE, ["make", "enter"]),
        (10, replace(NONE, left=True), ["clear", "make", "enter"]),
        (10, replace(NONE, native=True), []),
        (10, replace(NONE, native=True, busy=("container web1",)), []),
        (10, THERE, []),
        (10, replace(THERE, busy=("container web1",)), []),
        (10, replace(THERE, left=True), ["clear"]),
        (20, THERE, ["grow"]),
        (20, replace(THERE, busy=("container web1",)), ["grow"]),
        (10, replace(THERE, filesystem=5 * GIB), ["grow"]),
        (10, replace(THERE, filesystem=10 * GIB - 4096), []),
        (0, NONE, []),
        (0, replace(NONE, left=True), ["clear"]),
        (0, THERE, ["copy", "leave"]),
        (0, replace(THERE, left=True), ["clear", "copy", "leave"]),
    ],
    ids=str,
)
def test_a_store_is_created_grown_and_kept_as_requested(size: int, found: Found, expected: list[str]) -> None:
    decided = store.plan(Wanted(size * GIB), found)
    assert verbs(decided) == expected, reasons(decided)
    assert expected in ([], ["clear"]) or decided.before != decided.after or found.filesystem < found.size


@pytest.mark.parametrize(
    ("size", "found", "why"),
    [
        (10, replace(NONE, busy=("container web1", "/mnt/baleine/web2")), "in use: container web1, /mnt/baleine/web2"),
        (0, replace(THERE, busy=("container web1",)), "in use: container web1"),
        (5, THERE, "size 10G -> 5G: a store can only grow"),
        (10, replace(NONE, room=9 * GIB), "10G are needed, 9G are free"),
        (10, replace(NONE, data=10 * GIB), "10G cannot hold the 10G"),
        (20, replace(THERE, room=9 * GIB), "10G are needed, 9G are free"),
        (0, replace(THERE, room=GIB - 1), "1G are needed, 1023M are free"),
    ],
    ids=str,
)
def test_a_store_change_that_would_lose_data_or_fill_the_disk_is_refused(size: int, found: Found, why: str) -> None:
    with pytest.raises(BaleineError, match=why):
        store.plan(Wanted(size * GIB), found)


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({"size": "20G"}, 20 * GIB),
        ({"size": "20480"}, 20 * GIB),
        ({"size": "20480MiB", "state": "present"}, 20 * GIB),
        ({"size": "20G", "state": "absent"}, 0),
        ({"state": "absent"}, 0),
    ],
)
def test_a_size_is_accepted_in_any_spelling(params: dict[str, Any], size: int) -> None:
    assert store.request(params) == Wanted(size)


@pytest.mark.parametrize(("size", "why"), [("", "not understood"), ("many", "not understood"), ("100M", "too small")])
def test_an_invalid_size_is_refused(size: str, why: str) -> None:
    with pytest.raises(BaleineError, match=why):
        store.request({"size": size})
