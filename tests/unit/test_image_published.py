# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a web server: plans from what is published and found."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import image
from baleine.errors import BaleineError
from baleine.image import Found
from tests.unit.images import built
from tests.unit.support import replace, verbs

URL = "https://www.example.org/images/apache2.image"
OFFERED: dict[str, Any] = {"source_digest": "sha256:t1", "source_size": 2 << 30, "published": "2026-01-02T00:00:00Z"}
AWAY = BaleineError("the server is away")


def published(**changes: Any) -> image.Wanted:
    return image.request({"name": "apache2", "source": URL, **changes})


FETCHED = built(published(), **OFFERED)
FETCHED = replace(FETCHED, record={**(FETCHED.record or {}), "published": "2026-01-02T00:00:00Z"})
NEWER = replace(FETCHED, source_digest="sha256:t2", published="2026-01-03T00:00:00Z")
OLDER = replace(FETCHED, source_digest="sha256:t0", published="2026-01-01T00:00:00Z")
UNASKED = replace(FETCHED, source_digest=None, source_size=0, published="", unasked=AWAY)


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({}, FETCHED, []),
        ({"source": "https://mirror.example.org/apache2.image"}, FETCHED, []),
        ({"unsigned": True, "ca_certificate": "/ca.pem", "proxy": "http://proxy:1"}, FETCHED, []),
        ({"size": "3G"}, FETCHED, ["build"]),
        ({"commands": ["true"]}, FETCHED, ["build"]),
        ({}, Found(**OFFERED), ["build"]),
        ({}, NEWER, ["build"]),
        ({"rebuild": "never"}, NEWER, []),
        ({"rebuild": "never"}, replace(UNASKED, unasked=None), []),
        ({"rebuild": "never"}, OLDER, []),
        ({"rebuild": "always"}, OLDER, ["build"]),
        ({}, UNASKED, []),
    ],
)
def test_an_image_of_a_web_server_follows_the_published_one(changes, found, expected):
    assert verbs(image.plan(published(**changes), found)) == expected


def test_an_existing_image_is_kept_with_a_warning_while_its_server_is_away():
    decided = image.plan(published(), UNASKED)
    assert not decided.changed and "the server is away" in str(decided.warnings)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, Found(unasked=AWAY)),
        ({"commands": ["true"]}, UNASKED),
        ({"rebuild": "always"}, UNASKED),
        ({}, replace(UNASKED, file=False)),
    ],
)
def test_a_needed_image_of_a_server_that_is_away_is_an_error_and_in_check_mode_a_warning(changes, found):
    with pytest.raises(BaleineError, match="the server is away"):
        image.plan(published(**changes), found)
    assert image.plan(published(**changes), found, check=True).changed


def test_an_older_image_is_used_only_if_the_task_asks_for_it():
    with pytest.raises(BaleineError, match="older .*rebuild: always"):
        image.plan(published(), OLDER)
