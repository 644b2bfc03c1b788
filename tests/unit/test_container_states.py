# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: plans from every state to every other, and what drifted."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import container, description, enter
from baleine.container import Found
from baleine.errors import BaleineError
from tests.unit.containers import (
    AROUND,
    DIED,
    IN_PLACE,
    NOTHING,
    PARAMS,
    RECREATED,
    RUNNING,
    SAME,
    STOPPED,
    WHAT,
    after,
    there,
    wanted,
)
from tests.unit.support import reasons, replace, verbs

STATES = {
    "nothing, started": (NOTHING, {}, ["create", "start"]),
    "nothing, present": (NOTHING, {"state": "present"}, ["create"]),
    "nothing, stopped": (NOTHING, {"state": "stopped"}, ["create"]),
    "running, started": (RUNNING, {}, []),
    "running, present": (RUNNING, {"state": "present"}, []),
    "running, stopped": (RUNNING, {"state": "stopped"}, ["stop"]),
    "running, restart": (RUNNING, {"restart": True}, ["stop", "start"]),
    "stopped, started": (STOPPED, {}, ["start"]),
    "stopped, present": (STOPPED, {"state": "present"}, []),
    "stopped, stopped": (STOPPED, {"state": "stopped"}, []),
    "stopped, restart": (STOPPED, {"restart": True}, ["start"]),
    "died, started": (DIED, {}, ["start"]),
    "died, stopped": (DIED, {"state": "stopped"}, ["settle"]),
    "stopped with left-overs, stopped": (replace(STOPPED, leftovers=("/run/x",)), {"state": "stopped"}, ["settle"]),
    "creating, started": (
        replace(NOTHING, record={**STOPPED.record, "state": "creating"}, description=STOPPED.description), {}, ["create", "start"],
    ),
    "removing, started": (
        replace(NOTHING, record={**STOPPED.record, "state": "removing"}, description=STOPPED.description), {}, ["create", "start"],
    ),
    "disk gone, started": (replace(STOPPED, disk=False), {}, ["create", "start"]),
    "disk gone, other image": (
        replace(STOPPED, disk=False), {"image": "other", "recreate": "on_change"}, ["create", "start"],
    ),
    "disk gone while it runs": (
        replace(RUNNING, disk=False), {"recreate": "on_change"}, ["stop", "create", "start"],
    ),
    "running, wanted stopped once": (
        replace(RUNNING, record={**RUNNING.record, "wanted_state": "stopped"}), {}, ["wish"],
    ),
    "stopped, wanted started once": (
        replace(STOPPED, record={**STOPPED.record, "wanted_state": "started"}), {"state": "stopped"}, ["wish"],
    ),
}  # type: ignore[dict-item]  # fmt: skip


@pytest.mark.parametrize(("found", "changes", "expected"), STATES.values(), ids=STATES.keys())
def test_a_state_takes_exactly_these_steps(found, changes, expected):
    assert verbs(container.plan(wanted(**changes), found)) == expected


@pytest.mark.parametrize(
    ("found", "state", "expected"),
    [
        (RUNNING, "started", []),
        (RUNNING, "stopped", ["stop"]),
        (RUNNING, "present", []),
        (STOPPED, "started", ["start"]),
        (STOPPED, "stopped", []),
        (DIED, "started", ["start"]),
        (RUNNING, "absent", ["stop", "remove"]),
        (STOPPED, "absent", ["remove"]),
        (NOTHING, "absent", []),
        (replace(NOTHING, leftovers=("/run/x",)), "absent", ["remove"]),
        (replace(NOTHING, disk=True), "absent", ["remove"]),
        (replace(STOPPED, record={**STOPPED.record, "state": "removing"}), "absent", ["remove"]),  # type: ignore[dict-item]
        (replace(STOPPED, record={**STOPPED.record, "state": "creating"}), "absent", ["remove"]),  # type: ignore[dict-item]
    ],
)
def test_a_task_without_image_takes_exactly_these_steps(found, state, expected):
    assert verbs(container.plan(container.Wanted("web1", state), found)) == expected


@pytest.mark.parametrize("state", ["started", "stopped", "present"])
@pytest.mark.parametrize("recorded", [None, "creating", "removing"])
def test_a_state_of_a_missing_container_is_an_error(state, recorded):
    found = NOTHING
    if recorded:
        found = replace(STOPPED, record={**STOPPED.record, "state": recorded}, disk=False)  # type: ignore[dict-item]
    with pytest.raises(BaleineError, match="container web1"):
        container.plan(container.Wanted("web1", state), found)


def test_a_container_without_its_disk_cannot_be_started_by_name_only():
    with pytest.raises(BaleineError, match="disk"):
        container.plan(container.Wanted("web1"), replace(STOPPED, disk=False))


def test_a_task_without_image_compares_only_the_state():
    away = replace(RUNNING, limits={}, host_links={}, inside={}, bridges={}, image_digest=None)
    assert not container.plan(container.Wanted("web1"), away).changed


def test_old_disks_that_stay_are_reported():
    decided = container.plan(
        container.Wanted("web1", "absent"), replace(STOPPED, old_disks=("web1.old-20200101T000000Z",))
    )
    assert "web1.old-20200101T000000Z" in " ".join(decided.warnings)


# ---- drift


def moved(**changes: Any) -> Found:
    return replace(RUNNING, inside={**RUNNING.inside, "eth0": {**RUNNING.inside["eth0"], **changes}})


FIRST = RUNNING.interfaces[0].link
DRIFT = {
    "died": (DIED, ["start"], "first process is gone"),
    "disk": (replace(STOPPED, disk=False), ["create", "start"], "disk is gone"),
    "memory": (replace(RUNNING, limits={**RUNNING.limits, "memory": None}), ["set_limits"], "limits.memory was none"),
    "pids": (replace(RUNNING, limits={**RUNNING.limits, "pids": 7}), ["set_limits"], "limits.pids was 7"),
    "cpus": (replace(RUNNING, limits={**RUNNING.limits, "cpus": 1.0}), ["set_limits"], "limits.cpus was 1.0"),
    "cpuset": (replace(RUNNING, limits={**RUNNING.limits, "cpuset": "0"}), ["set_limits"], "limits.cpuset was 0"),
    "link": (replace(RUNNING, host_links={}), ["connect", "connect"], "its link is gone"),
    "one link": (replace(RUNNING, inside={"eth1": RUNNING.inside["eth1"]}), ["connect"], "eth0: its link is gone"),
    "bridge": (
        replace(RUNNING, host_links={**RUNNING.host_links, FIRST: {**RUNNING.host_links[FIRST], "master": None}}),
        ["connect"], "not on private",
    ),
    "address": (moved(addresses=["fd00::2/64"]), ["connect"], "address 192.168.42.2/24 missing"),
    "address more": (
        moved(addresses=["192.168.42.2/24", "fd00::2/64", "10.1.1.1/24"]), ["connect"], "address 10.1.1.1/24 too many",
    ),
    "route": (moved(routes=set()), ["connect"], "route default via 192.168.42.1 missing"),
    "mtu": (moved(mtu=1500), ["connect"], "mtu 1500 -> 1400"),
    "mac": (moved(mac="02:00:00:00:00:0f"), ["connect"], "mac 02:00:00:00:00:0f"),
    "down": (moved(up=False), ["connect"], "down"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "expected", "drift"), DRIFT.values(), ids=DRIFT.keys())
def test_settings_that_the_kernel_lost_are_restored_and_reported_as_drift(found, expected, drift):
    decided = container.plan(wanted(), found)
    assert verbs(decided) == expected
    assert all(text.startswith(f"{WHAT}: ") for text in decided.drift)
    assert any(drift in text for text in decided.drift), decided.drift
    assert "drift" in reasons(decided)


def test_an_interface_follows_the_mtu_of_its_bridge():
    networks = [{"bridge": "third"}]
    found = there(networks=networks)
    assert not container.plan(wanted(networks=networks), found).changed
    decided = container.plan(wanted(networks=networks), replace(found, mtus={"third": 1500}))
    assert verbs(decided) == ["connect"]


# ---- twice

GOALS = {
    **{f"in place: {key}": changes for key, (changes, _verbs) in IN_PLACE.items()},
    **{f"recreate: {key}": {**changes, "recreate": "on_change"} for key, changes in RECREATED.items()},
    **{f"same: {key}": changes for key, changes in SAME.items()},
    "image": {"image": "other", "recreate": "on_change"},
    "both": {"command": "/bin/x", "networks": None, "limits": None, "recreate": "on_change"},
}
STARTS = {
    "nothing": NOTHING, "running": RUNNING, "stopped": STOPPED,
    "outdated": replace(RUNNING, image_digest="sha256:d2"),
    **{f"drift: {key}": found for key, (found, _verbs, _drift) in DRIFT.items()},
}  # fmt: skip


@pytest.mark.parametrize("state", ["started", "stopped", "present"])
@pytest.mark.parametrize("changes", GOALS.values(), ids=GOALS.keys())
def test_a_second_plan_is_empty_from_every_starting_point(changes, state):
    goal = wanted(state=state, **changes)
    left_over = {}
    for start_, found in STARTS.items():
        try:
            first = container.plan(goal, found)
        except BaleineError:
            assert goal.recreate == "never"
            continue
        try:
            left = after(first, found, goal)
        except (AssertionError, KeyError) as error:
            left_over[start_] = f"{verbs(first)}: {error}"
            continue
        second = container.plan(goal, left)
        if second.changed or (state != "present" and second.drift):
            left_over[start_] = reasons(second) or second.drift
        if state != "present":
            assert left.alive is (state == "started"), start_
            assert left.record["wanted_state"] == state  # type: ignore[index]
    assert left_over == {}


@pytest.mark.parametrize("found", [NOTHING, RUNNING, STOPPED, DIED], ids=["nothing", "running", "stopped", "died"])
def test_the_second_removal_changes_nothing(found):
    goal = container.Wanted("web1", "absent")
    assert not container.plan(goal, after(container.plan(goal, found), found, goal)).changed


def test_an_adopted_container_of_the_old_scripts_is_started_unchanged():
    record = {
        "nom_container": "old",
        "nom_image": "apache2",
        "pid": "42",
        "nom_bridge": "private",
        "starting_time": "x",
    }
    read, interfaces = description.from_record("old", record)
    found = Found(record=record, description=read, interfaces=interfaces, disk=True, **AROUND)
    assert verbs(container.plan(container.Wanted("old"), found)) == ["start"]
    assert verbs(container.plan(container.Wanted("old", "absent"), found)) == ["remove"]


# ---- diff, life


def test_the_diff_shows_only_the_changes():
    decided = container.plan(wanted(limits={**PARAMS["limits"], "memory": "1G"}), RUNNING)
    before, after_ = dict(decided.before), dict(decided.after)
    assert before.pop("limits")["memory"] == 536870912
    assert after_.pop("limits")["memory"] == 1 << 30
    assert before == after_


@pytest.mark.parametrize(
    ("record", "state"),
    [(None, "absent"), ({}, "stopped"), ({"state": "running"}, "stopped"), ({"state": "creating"}, "creating")]
    + [({"state": "removing"}, "removing"), ({"state": "starting"}, "stopped")],
)
def test_a_dead_container_is_not_shown_as_running(record, state):
    assert Found(record=record).state == state


def test_a_container_is_alive_only_if_its_own_process_of_this_boot_runs():
    import os

    from baleine.process import boot_id, start_ticks

    me = {"pid": str(os.getpid()), "start_ticks": str(start_ticks(os.getpid())), "boot_id": boot_id()}
    assert enter.is_alive(me)
    for wrong in ({"boot_id": "x"}, {"start_ticks": "1"}, {"pid": ""}, {"pid": "0"}, {"pid": "4194305"}, {"pid": "²"}):
        assert not enter.is_alive({**me, **wrong})
    assert not enter.is_alive({})


def test_a_deleted_disk_of_a_running_container_is_not_given_up_unless_the_task_allows_it():
    with pytest.raises(BaleineError, match="it still runs on it"):
        container.plan(wanted(), replace(RUNNING, disk=False))


def test_a_disk_without_a_manifest_is_never_overwritten():
    with pytest.raises(BaleineError, match="no manifest"):
        container.plan(wanted(), replace(NOTHING, disk=True))


def test_an_interrupted_start_is_repeated():
    half = replace(RUNNING, record={**RUNNING.record, "state": "starting"})
    assert half.state == "starting"
    assert [action.verb for action in container.plan(wanted(), half).actions] == ["stop", "start"]
    assert [action.verb for action in container.plan(wanted(state="stopped"), half).actions] == ["stop"]


def test_an_unmentioned_working_directory_stays():
    elsewhere = there(directory="/srv/trees/web1")
    assert container.plan(wanted(), elsewhere).actions == ()


def test_drift_inside_the_container_is_in_the_diff():
    inside = {**RUNNING.inside, "eth0": {**RUNNING.inside["eth0"], "mtu": 1300, "routes": set()}}
    decided = container.plan(wanted(), replace(RUNNING, inside=inside))
    before, after_ = decided.before["networks"][0], decided.after["networks"][0]
    assert (before["mtu"], before["gateway"]) != (after_["mtu"], after_["gateway"])
    quiet = container.plan(wanted(state="stopped"), RUNNING)
    assert {key for key in quiet.before if quiet.before[key] != quiet.after[key]} == {"state", "wanted_state"}


def test_an_old_disk_is_removed_by_name_even_if_the_container_has_the_longest_name():
    name = "x" * 63 + ".old-20261123T010203Z"
    assert container.request({"name": name, "state": "absent"}).name == name
    for state in ("started", "stopped", "present"):
        with pytest.raises(BaleineError, match="no valid name"):
            container.request({"name": name, "state": state})
    with pytest.raises(BaleineError, match="no valid name"):
        container.request({"name": "a/b.old-20261123T010203Z", "state": "absent"})
