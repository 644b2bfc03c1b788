# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans in general: applied in order, stopped at the first failure, described."""

from __future__ import annotations

import pytest

from baleine import plan, task
from baleine.errors import BaleineError
from baleine.plan import Action, Outcome, Plan


def make(*verbs: str, **more) -> Plan:
    return Plan("thing a", tuple(Action(verb, "thing a", f"because of {verb}") for verb in verbs), **more)


def fail(error: BaseException):
    def handler(_action: Action) -> None:
        raise error

    return handler


def test_actions_run_in_order_with_their_own_data():
    done = []
    actions = (Action("one", "a", "r", {"x": 1}), Action("two", "a", "r"), Action("one", "a", "r", {"x": 2}))
    handlers = {"one": lambda action: done.append(action.data["x"]), "two": lambda action: done.append("two")}
    plan.apply(Plan("a", actions), handlers)
    assert done == [1, "two", 2]


def test_an_empty_plan_changes_nothing():
    plan.apply(Plan("a"), {}, undo=lambda: pytest.fail("undone"))


def test_the_first_failure_stops_the_rest_and_lists_the_finished_steps():
    done = []
    handlers = {
        "one": lambda _: done.append(1),
        "two": fail(BaleineError("b", "hint")),
        "three": lambda _: done.append(3),
    }
    with pytest.raises(BaleineError) as caught:
        plan.apply(make("one", "two", "three"), handlers)
    assert done == [1]
    assert caught.value.message == "b"
    assert caught.value.hint == "hint [done before: one thing a]"


def test_no_step_is_listed_as_finished_if_the_first_one_fails():
    with pytest.raises(BaleineError) as caught:
        plan.apply(make("one"), {"one": fail(BaleineError("b", "hint"))})
    assert str(caught.value) == "b. hint"


def test_a_system_error_names_the_step_the_resource_and_the_path():
    with pytest.raises(BaleineError) as caught:
        plan.apply(make("one"), {"one": fail(OSError(28, "No space left on device", "/var/x"))})
    assert caught.value.message == "thing a: one: No space left on device (/var/x)"


@pytest.mark.parametrize("error", [BaleineError("b"), OSError(5, "I/O error")])
def test_a_partly_made_resource_is_removed(error):
    undone = []
    with pytest.raises(BaleineError):
        plan.apply(make("one"), {"one": fail(error)}, undo=lambda: undone.append(True))
    assert undone == [True]


def test_success_undoes_nothing():
    plan.apply(make("one"), {"one": lambda _: None}, undo=lambda: pytest.fail("undone"))


@pytest.mark.parametrize("second", [BaleineError("held"), OSError(16, "busy")])
def test_an_undo_that_fails_does_not_hide_the_first_error(second):
    with pytest.raises(BaleineError, match="the first error"):
        plan.apply(make("one"), {"one": fail(BaleineError("the first error"))}, undo=lambda: fail(second)(None))


def test_several_outcomes_are_described_as_one():
    changed = make("one", before={"x": 1}, after={"x": 2}, drift=("a was gone",), warnings=("w", "v"))
    same = Plan("thing b", (), {"x": 1}, {"x": 1}, (), ("w",))
    assert plan.describe([Outcome(changed), Outcome(same)]) == {
        "changed": True,
        "actions": [{"action": "one", "resource": "thing a", "reason": "because of one"}],
        "drift": ["a was gone"],
        "warnings": ["w", "v"],
        "diff": {"before": {"thing a": {"x": 1}}, "after": {"thing a": {"x": 2}}},
    }


@pytest.mark.parametrize("outcomes", [[], [Outcome(Plan("a", (), {"x": 1}, {"x": 1}))]], ids=["none", "unchanged"])
def test_a_plan_without_actions_is_unchanged_with_an_empty_diff(outcomes):
    described = plan.describe(outcomes)
    assert described["changed"] is False
    assert described["diff"] == {"before": {}, "after": {}}


@pytest.mark.parametrize(
    ("wanted", "found", "keys"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {}, ["a"]),
        ({"a": None}, {}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
        ({"a": "x", "b": "X"}, {"a": "X", "b": "X"}, ["a"]),
    ],
)
def test_differences_are_the_keys_with_different_values(wanted, found, keys):
    assert plan.differences(wanted, found) == keys


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), ("", "none"), ((), "none"), ([], "none"), ({}, "none"), (0, "0"), (False, "False")]
    + [(["a", "b"], "a b"), (("a",), "a"), ("text", "text"), (1500, "1500")],
)
def test_a_value_is_shown_in_readable_form(value, text):
    assert plan.show(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [({}, ""), ({"b": 1, "a": ["é"]}, '{\n  "a": [\n    "é"\n  ],\n  "b": 1\n}\n')],
)
def test_each_side_of_a_diff_has_one_value_per_line(value, text):
    assert task.pretty(value) == text


def test_the_result_of_a_module_holds_the_facts_under_its_key_and_the_diff_as_text():
    outcome = Outcome(make("one", before={"x": 1}, after={"x": 2}), {"name": "a"})
    result = task.result_of([outcome], "thing")
    assert result["thing"] == {"name": "a"}
    assert result["changed"] is True
    assert result["diff"]["before"].splitlines() == ["{", '  "thing a": {', '    "x": 1', "  }", "}"]
    assert set(result) == {"changed", "actions", "drift", "warnings", "diff", "thing"}


def test_a_result_without_resource_has_no_facts():
    assert task.result_of([], "thing")["thing"] == {}


@pytest.mark.parametrize(
    ("error", "text"), [(BaleineError("a"), "a"), (BaleineError("a", "Do b"), "a. Do b")], ids=["bare", "hint"]
)
def test_an_error_message_is_its_cause_and_the_next_step(error, text):
    assert str(error) == text
