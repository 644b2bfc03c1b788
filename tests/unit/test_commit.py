# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that a task describes as a container's: when it is made, kept, made anew."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import commit, container, image, manifest
from baleine.errors import BaleineError
from tests.unit.support import verbs

HERE = container.Found(record={"nom_container": "web", "state": "stopped", "image_digest": "sha256:a"}, disk=True)
OTHER = container.Found(record={"nom_container": "web", "state": "stopped", "image_digest": "sha256:b"}, disk=True)
GONE = container.Found()


def made(**recipe: Any) -> manifest.Record:
    content = {"from_container": "web", "source": "sha256:a", **recipe}
    return {"nom_image": "web:1", "state": "present", "chemin": image.DIRECTORY, "recipe": manifest.to_json(content)}


MADE = image.Found(record=made(), file=True)
EDITED = image.Found(record=made(), file=True, edited=True)
RENAMED = image.Found(record=made(from_container="old"), file=True)
BUILT = image.Found(record={**made(), "recipe": '{"suite": "bookworm", "source": ""}'}, file=True)
OLD = image.Found(record={"nom_image": "web:1", "chemin": image.DIRECTORY}, file=True)
LOST = image.Found(record=made(), file=False)


@pytest.mark.parametrize(
    ("found", "old", "rebuild", "expected"),
    [
        (HERE, image.Found(), "on_change", ["commit"]),
        (HERE, MADE, "on_change", []),
        (HERE, MADE, "always", ["commit"]),
        (OTHER, MADE, "on_change", ["commit"]),
        (OTHER, MADE, "never", []),
        (GONE, MADE, "on_change", []),
        (HERE, RENAMED, "on_change", ["commit"]),
        (HERE, BUILT, "on_change", ["commit"]),
        (HERE, OLD, "on_change", ["commit"]),
        (HERE, LOST, "on_change", ["commit"]),
        (HERE, EDITED, "on_change", []),
        (OTHER, EDITED, "always", ["commit"]),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_an_image_is_made_again_if_its_container_started_from_other_content(found, old, rebuild, expected, check):
    decided = commit.plan_image("web", "web:1", found, old, rebuild, check)
    assert verbs(decided) == expected
    assert (decided.before != decided.after or rebuild == "always") == bool(expected)
    assert bool(decided.warnings) == (old.edited and not expected)
    assert bool(decided.drift) == (old is LOST)


def test_a_second_plan_is_empty():
    first = commit.plan_image("web", "web:1", OTHER, MADE, "on_change", False)
    record = {**made(), "recipe": manifest.to_json({key: first.after[key] for key in ("from_container", "source")})}
    assert (
        verbs(commit.plan_image("web", "web:1", OTHER, image.Found(record=record, file=True), "on_change", False)) == []
    )


def test_an_image_of_a_missing_container_is_warned_of_in_check_mode_and_refused_otherwise():
    decided = commit.plan_image("web", "web:1", GONE, image.Found(), "on_change", True)
    assert verbs(decided) == ["commit"] and "container web: there is none" in decided.warnings[0]
    for old, rebuild in ((image.Found(), "on_change"), (MADE, "always")):
        with pytest.raises(BaleineError, match="container web: there is none"):
            commit.plan_image("web", "web:1", GONE, old, rebuild, False)


@pytest.mark.parametrize(
    ("found", "old", "why"),
    [
        (OTHER, EDITED, "edited by hand, and would be made anew"),
        (OTHER, MADE._replace(open=True), "being edited"),
        (
            container.Found(record={"nom_container": "web", "state": "renaming"}, disk=True),
            image.Found(),
            "interrupted",
        ),
    ],
)
def test_a_commit_is_refused_if_it_would_lose_data_or_meets_unfinished_work(found, old, why):
    with pytest.raises(BaleineError, match=why):
        commit.plan_image("web", "web:1", found, old, "on_change", False)


@pytest.mark.parametrize("option", [{"size": "1G"}, {"packages": ["vim"]}, {"from_image": "a"}, {"commands": ["true"]}])
def test_the_option_from_container_excludes_all_other_sources(option):
    with pytest.raises(BaleineError, match=f"{next(iter(option))} do not go with from_container"):
        commit.ensure(lambda *_args, **_more: None, {"name": "a", "from_container": "web", **option}, True)
