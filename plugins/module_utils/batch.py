# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many containers as one: planned, and refused, as a whole; carried out side by side where that is safe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Optional

from . import lifecycle, manifest, policy, waiting
from .container import Found, Wanted
from .errors import BaleineError
from .plan import Outcome, Plan, predicted
from .process import Runner, in_turns
from .survey import facts

#: How many are worked on at the same time: starting one waits for the kernel about as long as it computes.
AT_ONCE = 2 * (os.cpu_count() or 1) + 2


class Done(NamedTuple):
    """What became of a set: of each container its plan and facts, and of some why it failed, by name."""

    outcomes: dict[str, Outcome]
    failed: dict[str, BaleineError] = {}


def selected(prune: Optional[Mapping[str, Any]]) -> list[str]:
    """Return the containers of a label (``KEY`` or ``KEY=VALUE``), or those whose names have a prefix.

    :raises BaleineError: for neither or both, and a manifest that cannot be read.
    """
    if prune is None:
        return []
    label, prefix = prune.get("label") or "", prune.get("prefix") or ""
    if bool(label) == bool(prefix):
        raise BaleineError("prune: name either a label or a prefix", "prune: {prefix: web}")
    names = [name for name in manifest.names("container") if name.startswith(prefix)]
    return names if prefix else [name for name in names if policy.has_label(_labels(name), label)]


def _labels(name: str) -> dict[str, str]:
    return manifest.from_json(manifest.read("container", name) or {}, "labels", {})  # type: ignore[no-any-return]


def ensure(
    run: Runner,
    wanted_all: Sequence[Wanted],
    conditions: Mapping[str, policy.Condition],
    prune: Optional[Mapping[str, Any]] = None,
    check: bool = False,
) -> Done:
    """Bring a set of containers to what is wanted; one that fails does not keep the others from it.

    :param conditions: what some are waited for; :param prune: see :func:`selected`: those that are not wanted go.
    :raises BaleineError: where one of them is refused, before the first change.
    """
    listed = [wanted.name for wanted in wanted_all]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise BaleineError(f"container {twice[0]}: it is given twice", "Give it once")
    everything = [*wanted_all, *(Wanted(name, "absent") for name in selected(prune) if name not in listed)]
    if check:
        plans = lifecycle.plan_all(run, everything, check)
        return Done({it.name: predicted(decided, facts, run, it.name) for it, _found, decided in plans})
    with manifest.lock(lifecycle.locks(everything)):
        still = {*listed, *selected(prune)}  # somebody may have changed a label before the lock was ours
        everything = [wanted for wanted in everything if wanted.name in still]
        for wanted in everything:
            lifecycle.recover(wanted.name)
        plans = lifecycle.plan_all(run, everything, check)
        return _carry_out(run, plans, {name: it for name, it in conditions.items() if name in still})


def _carry_out(
    run: Runner, plans: Sequence[tuple[Wanted, Found, Plan]], conditions: Mapping[str, policy.Condition]
) -> Done:
    """What goes first, so that its addresses are free; those whose run is interrupted take turns until one fails."""
    going = {wanted.name for wanted, _found, decided in plans if wanted.state == "absent" and decided.changed}
    jobs, last = {}, set[str]()
    for wanted, found, decided in plans:
        after = {*lifecycle.needs(wanted, decided), *(() if wanted.name in going else going)}
        verbs = {action.verb for action in decided.actions}
        before = set[str]()
        if found.alive and ("recreate" in verbs or verbs >= {"stop", "start"}):
            before, last = last, {wanted.name}
        after |= before
        condition = conditions.get(wanted.name) if wanted.state == "started" else None
        if decided.changed or condition:
            jobs[wanted.name] = partial(_one, run, wanted, found, decided, condition, before), after
    answers = in_turns({name: (job, after & set(jobs)) for name, (job, after) in jobs.items()}, AT_ONCE)
    failed = {name: answer for name, answer in answers.items() if isinstance(answer, BaleineError)}
    outcomes = {
        wanted.name: Outcome(decided, answers.get(wanted.name) or facts(run, wanted.name))
        for wanted, _found, decided in plans
        if wanted.name not in failed
    }
    return Done(outcomes, failed)


def _one(
    run: Runner,
    wanted: Wanted,
    found: Found,
    decided: Plan,
    condition: Optional[policy.Condition],
    before: set[str],
    answers: Mapping[str, Any],
) -> dict[str, Any]:
    """Do what was decided of one; where the one that had its turn before failed, leave this one running as it is."""
    for other in before:
        if isinstance(answers.get(other), BaleineError):
            raise BaleineError(f"container {wanted.name}: left as it is, because {other} failed before it")
    done = lifecycle.carry_out(run, wanted, found, decided)
    if condition:
        waiting.wait(run, wanted.name, condition)
    return done
