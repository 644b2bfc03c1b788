# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one idea: what is wanted, what is found, a plan, and its application.

A resource's ``plan`` function is pure: it compares and returns a :class:`Plan`. ``apply`` below is the only way
from a plan to a change. Check mode is the same path without ``apply``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, Optional

from .errors import BaleineError
from .process import fault


class Action(NamedTuple):
    """One step: what is done (``verb``), to what (``resource``), why, and with what."""

    verb: str
    resource: str
    reason: str
    data: Mapping[str, Any] = {}

    def as_result(self) -> dict[str, str]:
        return {"action": self.verb, "resource": self.resource, "reason": self.reason}


class Plan(NamedTuple):
    """Ordered steps for one resource and what it looks like before and after them.

    :param drift: what the kernel or the disk no longer showed of what was recorded.
    :param warnings: what the reader should know although nothing fails.
    """

    name: str
    actions: tuple[Action, ...] = ()
    before: Mapping[str, Any] = {}
    after: Mapping[str, Any] = {}
    drift: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    def lacking(self, *texts: str) -> Plan:
        """Return a prediction that says what is not there, and why it may be made all the same."""
        return self._replace(warnings=(*self.warnings, *(f"{it}; taken to come from an earlier task" for it in texts)))


class Draft:
    """A plan while it is made: steps, and what was found to have drifted."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.actions: list[Action] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.drift: list[str] = []
        self.warnings: list[str] = []

    def step(self, verb: str, reason: str, gone: str = "", **data: Any) -> None:
        """Add a step; ``gone``: what is no longer there, or no longer so, of what was recorded."""
        self.drift += [f"{self.what}: {gone}"] if gone else []
        self.actions.append(Action(verb, self.what, reason, data))

    def has(self, *verbs: str) -> bool:
        return any(action.verb in verbs for action in self.actions)

    def plan(self) -> Plan:
        return Plan(self.what, tuple(self.actions), self.before, self.after, tuple(self.drift), tuple(self.warnings))


class Outcome(NamedTuple):
    """What became of one resource: its plan and the facts after it."""

    plan: Plan
    facts: dict[str, Any] = {}


def predicted(plan: Plan, facts: Callable[..., dict[str, Any]], *about: Any) -> Outcome:
    """Return what check mode says: the facts too, where nothing would change them."""
    return Outcome(plan, {} if plan.changed else facts(*about))


Handler = Callable[[Action], None]


def apply(plan: Plan, handlers: Mapping[str, Handler], undo: Optional[Callable[[], None]] = None) -> None:
    """Carry out a plan, step by step.

    :param undo: takes away what a failed plan left half made.
    :raises BaleineError: the failed step's, with what was done before it.
    """
    done: list[str] = []
    for action in plan.actions:
        try:
            fault(f"before {action.verb}")
            handlers[action.verb](action)
            fault(f"after {action.verb}")
        except (BaleineError, OSError) as error:
            left = _undo(undo)
            if not isinstance(error, BaleineError):
                where = f" ({error.filename})" if error.filename else ""
                error = BaleineError(f"{action.resource}: {action.verb}: {error.strerror}{where}")
            notes = [f"done before: {', '.join(done)}"] if done else []
            notes += [f"and not cleaned up: {left}"] if left else []
            hint = " ".join([error.hint, *(f"[{note}]" for note in notes)]).strip()
            raise BaleineError(error.message, hint, error.code) from None
        except BaseException:  # a signal
            _undo(undo)
            raise
        done.append(f"{action.verb} {action.resource}")


def _undo(undo: Optional[Callable[[], None]]) -> str:
    """Take away what is half made; returns why that failed, or nothing."""
    try:
        if undo is not None:
            undo()
    except (BaleineError, OSError) as error:
        return str(error)
    return ""


def describe(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return what a module or the command line reports of a set of outcomes: changed, actions, drift, diff."""
    plans = [outcome.plan for outcome in outcomes]
    return {
        "changed": any(plan.changed for plan in plans),
        "actions": [action.as_result() for plan in plans for action in plan.actions],
        "drift": [text for plan in plans for text in plan.drift],
        "warnings": list(dict.fromkeys(text for plan in plans for text in plan.warnings)),
        "diff": {
            "before": {plan.name: dict(plan.before) for plan in plans if plan.changed},
            "after": {plan.name: dict(plan.after) for plan in plans if plan.changed},
        },
    }


def changes(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return in words which values of ``wanted`` are not what was found."""
    return [f"{key} {show(found.get(key))} -> {show(wanted[key])}" for key in differences(wanted, found)]


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the keys of ``wanted`` whose normalised value is not what was found."""
    return [key for key, value in wanted.items() if found.get(key) != value]


def show(value: Any) -> str:
    """Return a value for a reason or a message: short, and readable where there is none."""
    if value is None or value in ("", (), [], {}):
        return "none"
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return str(value)
