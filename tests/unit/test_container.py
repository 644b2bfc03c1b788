# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: requests, and plans of changes, images and surroundings."""

from __future__ import annotations

import pytest

from baleine import container
from baleine.container import Found
from baleine.errors import BaleineError
from tests.unit.containers import (
    IN_PLACE,
    NOTHING,
    PARAMS,
    RECREATED,
    RUNNING,
    SAME,
    STOPPED,
    WHAT,
    net,
    there,
    wanted,
)
from tests.unit.support import reasons, replace, verbs


@pytest.mark.parametrize(
    ("params", "normal"),
    [
        ({"name": "web1"}, container.Wanted("web1")),
        ({"name": "web1", "state": "stopped"}, container.Wanted("web1", "stopped")),
        ({"name": "web1", "restart": True}, container.Wanted("web1", restart=True)),
        ({"name": "web1", "wait": {"http": "/"}, "env": None, "limits": None}, container.Wanted("web1")),
        ({"name": "web1", "state": "absent", "env": {"A": "1"}, "command": "x"}, container.Wanted("web1", "absent")),
    ],
    ids=["bare", "stopped", "restart", "wait", "absent"],
)
def test_a_task_without_image_changes_only_the_state(params, normal):
    assert container.request(params) == normal


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, value in PARAMS.items() if key not in ("name", "image")]
    + [
        ("recreate", "on_change"),
        ("recreate", "always"),
        ("networks", []),
        ("env", {}),
        ("init", False),
        ("directory", "/srv"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("state", [None, "started", "stopped", "present"])
def test_a_task_without_image_accepts_no_other_option(key, value, state):
    with pytest.raises(BaleineError, match=f"container web1: {key} without image"):
        container.request({"name": "web1", "state": state, key: value})


def test_all_surplus_options_are_named():
    with pytest.raises(BaleineError, match="env, user without image"):
        container.request({"name": "web1", "user": "a", "env": {}})


@pytest.mark.parametrize("name", ["a/b", "a b", "..", "a" * 300, ""])
def test_an_invalid_name_is_refused(name):
    with pytest.raises(BaleineError, match="container"):
        container.request({**PARAMS, "name": name})


@pytest.mark.parametrize(("changes", "expected"), IN_PLACE.values(), ids=IN_PLACE.keys())
@pytest.mark.parametrize("recreate", ["never", "on_change"])
def test_limits_and_networks_change_in_place_without_any_other_step(changes, expected, recreate):
    decided = container.plan(wanted(recreate=recreate, **changes), RUNNING)
    assert verbs(decided) == expected
    assert decided.drift == ()
    assert decided.before != decided.after


@pytest.mark.parametrize(("changes", "expected"), IN_PLACE.values(), ids=IN_PLACE.keys())
def test_a_change_of_a_stopped_container_changes_only_its_record(changes, expected):
    decided = container.plan(wanted(state="stopped", **changes), STOPPED)
    assert verbs(decided) == [verb for verb in expected if verb in ("set_limits", "record_networks")]


@pytest.mark.parametrize("changes", RECREATED.values(), ids=RECREATED.keys())
def test_a_change_that_needs_a_recreate_is_refused_with_the_difference_and_the_loss(changes):
    with pytest.raises(BaleineError) as caught:
        container.plan(wanted(**changes), RUNNING)
    (key,) = changes
    assert f"cannot change in place: {key} " in caught.value.message
    assert "recreate: on_change" in caught.value.hint
    assert "disk would be kept" in caught.value.hint


@pytest.mark.parametrize("changes", RECREATED.values(), ids=RECREATED.keys())
@pytest.mark.parametrize(
    ("found", "state", "start"),
    [(RUNNING, "started", True), (STOPPED, "stopped", False), (RUNNING, "stopped", False), (STOPPED, "started", True)],
    ids=["stays up", "stays down", "goes down", "comes up"],
)
def test_recreate_on_change_recreates_the_container_and_keeps_its_disk(changes, found, state, start):
    decided = container.plan(wanted(recreate="on_change", state=state, **changes), found)
    assert verbs(decided) == ["recreate"]
    assert decided.actions[0].data["new_disk"] is False
    assert decided.actions[0].data["start"] is start
    assert next(iter(changes)) in decided.actions[0].reason


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_another_spelling_changes_nothing(changes):
    decided = container.plan(wanted(**changes), RUNNING)
    assert verbs(decided) == [], reasons(decided)
    assert decided.drift == decided.warnings == ()


@pytest.mark.parametrize("found", [RUNNING, STOPPED], ids=["running", "stopped"])
def test_recreate_always_recreates_and_keeps_the_disk(found):
    decided = container.plan(wanted(recreate="always"), found)
    assert verbs(decided) == ["recreate"]
    assert decided.actions[0].reason == "always is wanted"
    assert decided.actions[0].data["new_disk"] is False


# ---- images


def test_another_image_is_refused_with_the_data_that_would_be_lost():
    with pytest.raises(BaleineError, match="image debian -> other") as caught:
        container.plan(wanted(image="other"), RUNNING)
    assert "kept aside" in caught.value.hint


def test_another_image_makes_a_new_disk_if_recreate_allows_it():
    decided = container.plan(wanted(image="other", recreate="on_change"), RUNNING)
    assert verbs(decided) == ["recreate"]
    assert decided.actions[0].data["new_disk"] is True


@pytest.mark.parametrize(
    ("recreate", "expected", "warned"),
    [("never", [], True), ("on_change", ["recreate"], False), ("always", ["recreate"], True)],
)
def test_a_rebuilt_image_is_reported_and_used_only_if_the_task_asks_for_it(recreate, expected, warned):
    decided = container.plan(wanted(recreate=recreate), replace(RUNNING, image_digest="sha256:d2"))
    assert verbs(decided) == expected
    assert any("image_outdated" in text for text in decided.warnings) is warned
    if recreate == "on_change":
        assert decided.actions[0].data["new_disk"] is True
        assert "rebuilt" in decided.actions[0].reason


@pytest.mark.parametrize("digest", [None, ""], ids=["removed", "of the old scripts"])
def test_a_container_is_not_outdated_if_its_image_is_gone_or_has_no_digest(digest):
    decided = container.plan(wanted(), replace(RUNNING, image_digest=digest))
    assert (verbs(decided), decided.warnings) == ([], ())


@pytest.mark.parametrize(
    "found",
    [
        NOTHING,
        replace(there("stopped"), disk=False),
        replace(RUNNING, record={**RUNNING.record, "state": "creating"}, alive=False, disk=False),  # type: ignore[dict-item]
    ],
    ids=["nothing", "disk gone", "interrupted"],
)
def test_a_container_without_its_image_is_not_created(found):
    found = replace(found, image_digest=None)
    with pytest.raises(BaleineError, match="there is no image debian"):
        container.plan(wanted(), found)
    assert any("debian" in text for text in container.plan(wanted(), found, check=True).warnings)


# ---- surroundings


def test_missing_resources_are_warned_of_in_check_mode_and_refused_otherwise():
    decided = container.plan(wanted(), Found(), check=True)
    assert verbs(decided) == ["create", "start"]
    assert [text.partition(";")[0] for text in decided.warnings] == [
        f"{WHAT}: there is no image debian", f"{WHAT}: there is no bridge private", f"{WHAT}: there is no bridge public",
    ]  # fmt: skip
    with pytest.raises(BaleineError, match="there is no image debian"):
        container.plan(wanted(), Found())
    with pytest.raises(BaleineError, match="there is no bridge private"):
        container.plan(wanted(), replace(NOTHING, bridges={}))


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("networks", "why"),
    [
        (net(addresses=["192.168.42.9/24"]), "192.168.42.9 is in use on the bridge private by container web9"),
        (net(addresses=["192.168.42.1/24"], routes=None), "in use .* the bridge private itself"),
    ],
)
@pytest.mark.parametrize("found", [NOTHING, RUNNING], ids=["nothing", "running"])
def test_an_invalid_address_is_refused_before_any_change(networks, why, found, check):
    with pytest.raises(BaleineError, match=why):
        container.plan(wanted(networks=networks), found, check=check)


def test_an_address_outside_the_network_of_its_bridge_is_only_warned_of_in_check_mode():
    outside = wanted(networks=net(addresses=["192.168.43.2/24"], gateway=None, routes=None))
    text = "the address 192.168.43.2/24 is outside the network of the bridge private (192.168.42.0/24)"
    for found in (NOTHING, RUNNING):
        decided = container.plan(outside, found, check=True)
        assert decided.warnings == (f"{WHAT}: {text}; taken to come from an earlier task",)
        with pytest.raises(BaleineError, match="outside the network of the bridge private"):
            container.plan(outside, found)


def test_a_container_does_not_collide_with_its_own_address():
    used = {"private": {"192.168.42.2": WHAT, "fd00::2": WHAT}, "public": {"10.0.0.2": WHAT}}
    assert not container.plan(wanted(), replace(RUNNING, used=used)).changed
