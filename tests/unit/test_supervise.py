# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pass does to a container: a table of what is recorded and found; and the order of those that need others."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import policy, waiting
from baleine.container import Found
from baleine.description import from_record
from baleine.supervise import decide

NOW = 1_800_000_030.0  # 2027-01-15T08:00:30Z
BOOT, OLD_BOOT = "boot", "the boot before"
DEAD = {"state": "stopped", "boot_id": BOOT, "exit_code": "7"}
QUIET = {"retry_at": "", "waits": ""}


def found(alive: bool = False, leftovers: bool = False, frozen: bool = False, **keys: Any) -> Found:
    record = {"nom_container": "web1", "nom_image": "tiny", "command": '["true"]', "wanted_state": "started", **keys}
    description, _interfaces = from_record("web1", record)
    return Found(
        record=record, description=description, alive=alive, frozen=frozen, leftovers=("/run/x",) if leftovers else ()
    )


def verb(blocked: str = "", **keys: Any) -> str:
    return decide(found(**keys), BOOT, NOW, blocked).verb


@pytest.mark.parametrize(
    ("state", "alive", "wish", "expected"),
    [
        ("creating", False, "started", "removed"),
        ("removing", False, "started", "removed"),
        ("removing", True, "started", "removed"),
        ("recreating", False, "started", "settled"),
        ("renaming", False, "stopped", "settled"),
        ("committing", True, "started", "settled"),
        ("starting", False, "started", "settled"),
        ("starting", True, "started", "settled"),
        ("stopping", False, "stopped", "settled"),
        ("stopping", True, "stopped", "settled"),
        ("stopping", True, "started", "corrected"),
        ("running", False, "started", "settled"),
        ("running", True, "started", ""),
        ("running", True, "stopped", ""),
        ("paused", False, "started", "settled"),
        ("paused", True, "started", "corrected"),
        ("stopped", False, "started", "started"),
        ("stopped", False, "stopped", ""),
        ("", False, "", ""),  # one of the 2019 scripts
    ],
)
def test_unfinished_work_of_a_crash_is_finished_or_undone(state, alive, wish, expected):
    assert verb(state=state, alive=alive, wanted_state=wish) == expected


def test_leftovers_and_a_dead_pid_are_cleaned_up():
    assert verb(state="stopped", wanted_state="stopped", leftovers=True) == "settled"
    assert verb(wanted_state="", pid="4711") == "settled"
    assert verb(state="running", alive=True, leftovers=True) == ""
    assert verb(state="paused", alive=True, frozen=True) == ""


@pytest.mark.parametrize(
    ("policy", "wish", "code", "boot", "expected"),
    [
        ("no", "started", "7", BOOT, False),
        ("no", "started", "unknown", OLD_BOOT, False),
        ("on-failure", "started", "0", BOOT, False),
        ("on-failure", "started", "7", BOOT, True),
        ("on-failure", "started", "137", BOOT, True),
        ("on-failure", "started", "unknown", BOOT, True),
        ("on-failure", "stopped", "7", BOOT, False),
        ("on-failure", "started", "unknown", OLD_BOOT, True),
        ("on-failure", "started", "0", OLD_BOOT, False),
        ("unless-stopped", "started", "0", BOOT, True),
        ("unless-stopped", "stopped", "7", BOOT, False),
        ("unless-stopped", "stopped", "7", OLD_BOOT, False),
        ("unless-stopped", "started", "unknown", OLD_BOOT, True),
        ("always", "started", "0", BOOT, True),
        ("always", "stopped", "0", BOOT, False),
        ("always", "stopped", "0", OLD_BOOT, True),
        ("always", "stopped", "", "", False),  # it never ran
    ],
)
def test_the_restart_policy_decides(policy, wish, code, boot, expected):
    given = found(state="stopped", restart_policy=policy, wanted_state=wish, exit_code=code, boot_id=boot)
    assert decide(given, BOOT, NOW).verb == ("started" if expected else "")


@pytest.mark.parametrize(
    ("retries", "restarts", "expected"), [(0, "99", True), (2, "", True), (2, "1", True), (2, "2", False)]
)
def test_restart_retries_are_counted(retries, restarts, expected):
    given = found(**DEAD, restart_policy="on-failure", restart_retries=str(retries), restarts=restarts, retry_at="2020")
    assert decide(given, BOOT, NOW).verb == ("started" if expected else "")


@pytest.mark.parametrize(
    ("restarts", "at"),
    [
        ("", ""), ("0", ""), ("1", "2027-01-15T08:01:00Z"), ("2", "2027-01-15T08:02:00Z"), ("3", "2027-01-15T08:04:00Z"),
        ("4", "2027-01-15T08:08:00Z"), ("6", "2027-01-15T08:32:00Z"), ("7", "2027-01-15T09:00:00Z"),
        ("5000", "2027-01-15T09:00:00Z"), ("nonsense", ""),
    ],
)  # fmt: skip
def test_restart_delays_grow_up_to_an_hour(restarts, at):
    decided = decide(found(**DEAD, restarts=restarts), BOOT, NOW)
    assert (decided.verb, decided.notes.get("retry_at", "")) == ("waits" if at else "started", at)


def test_a_restart_waits_for_its_delay():
    assert verb(**DEAD, restarts="3", retry_at="2027-01-15T08:00:31Z") == "waits"
    assert verb(**DEAD, restarts="3", retry_at="2027-01-15T08:00:30Z") == "started"
    assert verb(**DEAD, restarts="3", retry_at="2099-01-01T00:00:00Z") == "started"  # the clock was put back
    decided = decide(found(**{**DEAD, "wanted_state": "stopped"}, retry_at="2027-01-15T08:00:30Z"), BOOT, NOW)
    assert (decided.verb, decided.notes) == ("", QUIET)


def test_a_blocked_restart_waits_and_explains_why():
    decided = decide(found(**DEAD), BOOT, NOW, "it depends on db, which does not run")
    assert decided.verb == "waits" and decided.notes == {"waits": decided.why}
    assert verb("never asked", **DEAD, restart_policy="no") == ""


@pytest.mark.parametrize("action", ["none", "restart"])
def test_an_unhealthy_container_is_restarted_if_requested(action):
    check = f'{{"http": "/", "port": 80, "timeout": 1, "action": "{action}"}}'
    keys = {"state": "running", "alive": True, "healthcheck": check, "boot_id": BOOT}
    assert verb(**keys, health="healthy") == ""
    assert verb(**keys, health="unhealthy") == ("restarted" if action == "restart" else "")
    assert verb(**keys, health="unhealthy", restart_policy="no") == ("restarted" if action == "restart" else "")
    assert verb(**keys, health="unhealthy", restarts="1") == ("waits" if action == "restart" else "")


CHECK = {"retries": 2, "interval": 1, "start_period": 0.0}


@pytest.mark.parametrize(
    ("health", "failures", "error", "age", "expected"),
    [
        ("starting", "", None, 1, ("healthy", "")),
        ("starting", "", "no", 99, ("starting", "1")),
        ("starting", "1", "no", 99, ("unhealthy", "2")),
        ("healthy", "", "no", 99, ("healthy", "1")),
        ("healthy", "1", "no", 99, ("unhealthy", "2")),
        ("unhealthy", "2", "no", 99, ("unhealthy", "2")),
        ("unhealthy", "2", None, 99, ("healthy", "")),
        ("", "", "no", 99, ("starting", "1")),
    ],
)
def test_the_result_of_a_health_check_is_judged(health, failures, error, age, expected):
    notes = waiting.judge(CHECK, {"health": health, "health_failures": failures}, error, age)
    assert (notes["health"], notes["health_failures"]) == expected


@pytest.mark.parametrize(
    ("health", "age", "expected"), [("starting", 9, ""), ("starting", 10, "1"), ("healthy", 9, "1")]
)
def test_failed_health_checks_do_not_count_in_the_start_period(health, age, expected):
    notes = waiting.judge({**CHECK, "start_period": 10.0}, {"health": health}, "no", age)
    assert (notes["health"], notes["health_failures"]) == (health, expected)


def test_the_health_checks_of_an_interval_are_spread_over_its_passes():
    check = {**CHECK, "interval": 5}
    due = {
        name: [minute for minute in range(10) if waiting.is_due(name, check, {"health": "healthy"}, minute)]
        for name in "abcde"
    }
    assert all(len(minutes) == 2 and minutes[1] - minutes[0] == 5 for minutes in due.values())
    assert sorted(minutes[0] for minutes in due.values()) == [0, 1, 2, 3, 4]
    assert all(waiting.is_due("a", check, {"health": "starting"}, minute) for minute in range(5))


@pytest.mark.parametrize(
    ("needs", "order", "circles"),
    [
        ({}, [], {}),
        ({"a": [], "b": []}, ["a", "b"], {}),
        ({"a": ["b"], "b": ["c"], "c": []}, ["c", "b", "a"], {}),
        ({"a": ["z", "c"], "b": ["a"], "c": []}, ["c", "a", "b"], {}),
        ({"a": ["b"], "b": ["a"], "c": ["a"]}, ["b", "a", "c"], {"a": "a -> b -> a", "b": "a -> b -> a"}),
        ({"a": ["a"]}, ["a"], {"a": "a -> a"}),
        ({"d": ["b"], "b": ["c"], "c": ["b"]}, ["c", "b", "d"], {"b": "b -> c -> b", "c": "b -> c -> b"}),
    ],
)  # fmt: skip
def test_each_container_comes_after_its_dependencies_and_cycles_are_named(needs, order, circles):
    assert policy.in_order(needs) == (order, circles)
