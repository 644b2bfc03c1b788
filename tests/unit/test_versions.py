# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of images: what giving a name comes to, and which of them nothing needs."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import manifest, versions
from baleine.errors import BaleineError
from baleine.image import Found
from tests.unit.support import replace, verbs

KEYS = {"digest": "sha256:new", "recipe": manifest.to_json({"suite": "trixie"}), "edited": "yes"}
OLD = Found(
    record={"nom_image": "web", "digest": "sha256:old", "recipe": manifest.to_json({"suite": "bookworm"})}, file=True
)
SAME = replace(OLD, record={"nom_image": "web", "digest": "sha256:new"})


@pytest.mark.parametrize(
    ("found", "force", "expected"),
    [
        (Found(), False, ["build"]),
        (Found(begun=True), False, ["build"]),
        (replace(OLD, file=False), False, ["build"]),
        (SAME, False, []),
        (SAME, True, []),
        (replace(SAME, edited=True), True, ["build"]),
        (OLD, True, ["build"]),
        (replace(OLD, users=("web1",)), True, ["build"]),
    ],
    ids=["none", "interrupted", "file gone", "same", "same, forced", "edited since", "forced", "forced, used"],
)
def test_a_tag_is_set_unless_it_already_has_that_content(found: Found, force: bool, expected: list[str]) -> None:
    decided = versions.plan_tag("web:1", "web", KEYS, found, force)
    assert verbs(decided) == expected
    assert (decided.before != decided.after) is bool(expected)
    assert ("web1" in str(decided.warnings)) is bool(found.users)


@pytest.mark.parametrize(
    ("name", "found", "force", "why"),
    [
        ("web:1", OLD, False, "exists already"),
        ("web:1", replace(SAME, edited=True), False, "exists already"),
        ("web:1", replace(OLD, open=True), True, "being edited"),
        ("web", OLD, True, "its name already"),
    ],
)
def test_a_tag_that_belongs_to_other_content_is_refused(name: str, found: Found, force: bool, why: str) -> None:
    with pytest.raises(BaleineError, match=why):
        versions.plan_tag(name, "web", KEYS, found, force)


IMAGES: dict[str, tuple[bool, str]] = {
    "base": (False, ""),
    "web": (False, "base"),
    "web:1": (False, "base:1"),
    "web:2": (True, "base:2"),
    "base:1": (False, ""),
    "base:2": (False, "base:0"),
    "base:0": (False, ""),
}


@pytest.mark.parametrize(
    ("changes", "everything", "expected"),
    [
        ({}, False, ["base:1", "web:1"]),
        ({}, True, ["base", "base:1", "web", "web:1"]),
        ({"web:2": (False, "base:2")}, False, ["base:0", "base:1", "base:2", "web:1", "web:2"]),
        ({"web": (True, "base")}, True, ["base:1", "web:1"]),
        ({"web:2": (True, "gone")}, False, ["base:0", "base:1", "base:2", "web:1"]),
        ({"web:2": (True, "web:1"), "web:1": (False, "web:2")}, True, ["base", "base:0", "base:1", "base:2", "web"]),
    ],
    ids=["versions", "everything", "no user", "latest in use", "source gone", "a circle"],
)
def test_prune_keeps_images_that_a_container_or_a_kept_image_was_made_from(
    changes: dict[str, Any], everything: bool, expected: list[str]
) -> None:
    assert versions.choose_unused({**IMAGES, **changes}, everything) == expected
