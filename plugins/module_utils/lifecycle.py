# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: what is found on the host, and how a plan is carried out. Every change of a container passes here."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from . import cgroup, commit, container, enter, launch, manifest, netlink, policy, rename, runtime, schedule, waiting
from .container import Found, Wanted
from .description import from_record, ip_of
from .errors import BaleineError, Busy
from .keeper import Keeper, put_back
from .plan import Action, Outcome, Plan, predicted
from .process import Runner, open_process, send_signal
from .survey import Seen, disk_of, facts, find, mounted_at, need_closed, surroundings

#: What cannot be done while somebody works on a disk by hand.
NEEDS_DISK = ("start", "create", "recreate", "grow", "remove")


def ensure(
    run: Runner,
    wanted_all: Sequence[Wanted],
    check: bool = False,
    grace: Optional[float] = None,
    seen: Optional[manifest.Record] = None,
) -> list[Outcome]:
    """Bring containers to what is wanted, or only say what that would take (``check``).

    Everything is planned, and so every refusal made, before the first change.

    :param grace: seconds that a program gets to end; None is each container's own ``stop_timeout``.
    :param seen: of the one container; nothing is done, or waited for, if its manifest does not say this any more.
    :raises BaleineError: see :func:`container.plan`; or with the step that failed.
    """
    if check:
        plans = {wanted.name: decided for wanted, _found, decided in plan_all(run, wanted_all, check)}
        return [predicted(plans[wanted.name], facts, run, wanted.name) for wanted in wanted_all]
    with manifest.lock(locks(wanted_all), wait=seen is None):
        for wanted in wanted_all:
            _need_same(wanted.name, seen)
            recover(wanted.name)
        outcomes = {}
        for wanted, found, decided in plan_all(run, wanted_all, check):
            outcomes[wanted.name] = Outcome(decided, carry_out(run, wanted, found, decided, grace))
    return [outcomes[wanted.name] for wanted in wanted_all]


def carry_out(
    run: Runner, wanted: Wanted, found: Found, decided: Plan, grace: Optional[float] = None
) -> dict[str, Any]:
    """Do what was decided of one container, under its lock, and return the facts after it."""
    for other, condition in needs(wanted, decided).items():
        if not enter.is_alive(manifest.read("container", other) or {}):
            raise BaleineError(f"container {wanted.name}: it depends on {other}, which does not run")
        if condition == "healthy":
            waiting.wait(run, other, policy.Condition(healthy=True))
    Keeper(run, wanted, found, grace).carry_out(decided)
    told = manifest.read("container", wanted.name) or {}
    if told.get("schedule") != (found.record or {}).get("schedule"):
        schedule.refresh()
    return facts(run, wanted.name)


def kill(run: Runner, name: str, number: int) -> None:
    """Send a signal to a container that runs; SIGKILL also says that it shall stay ended, and clears up after it.

    :raises BaleineError: for one that does not run.
    """
    with manifest.lock([("container", name, False)]):
        wanted = Wanted(name, "stopped")
        found = find(run, wanted)
        if not found.alive or found.record is None:
            raise BaleineError(f"container {name}: it does not run")
        if number == signal.SIGKILL:
            Keeper(run, wanted, found, 0.0).stop(number)
            return
        pid = int(found.record["pid"])
        descriptor = open_process(pid, int(found.record["start_ticks"]))
        if descriptor is not None:
            send_signal(pid, descriptor, number)
            os.close(descriptor)


def _need_same(name: str, seen: Optional[manifest.Record]) -> None:
    """Leave a container alone that somebody changed since it was looked at."""
    if seen is not None and manifest.read("container", name) != seen:
        raise Busy(f"container {name}: another command was at work on it", "Try again")


def note(name: str, seen: manifest.Record, changes: Mapping[str, str]) -> manifest.Record:
    """Record what was observed of a container, where nobody is at work on it, and return its new record.

    :raises Busy: where somebody is, or was since ``seen`` was read.
    """
    with manifest.lock([("container", name, False)], wait=False):
        _need_same(name, seen)
        record = policy.observed(seen, changes)
        manifest.write("container", name, record)
    return record


def recover(name: str) -> None:
    """Finish a renaming; go back to before what else was interrupted: a recreate between its two disks, a commit."""
    rename.finish(name)
    commit.undo(name)
    record = manifest.read("container", name) or {}
    if record.get("state") == "recreating":
        put_back(name, record)
        manifest.write("container", name, {**record, "state": "stopped", "aside": ""})


def plan_all(run: Runner, wanted_all: Sequence[Wanted], check: bool) -> list[tuple[Wanted, Found, Plan]]:
    """Plan a set: what goes first, then what others need. What an earlier one will have, a later one cannot take.

    :raises BaleineError: also for one that would start while something that it needs does not run.
    """
    order, circles = policy.in_order({wanted.name: needs(wanted) for wanted in wanted_all})
    for name, circle in circles.items():
        raise BaleineError(f"container {name}: its dependencies form a circle: {circle}", "Take one of them away")
    claimed: dict[str, dict[str, str]] = {}
    plans: list[tuple[Wanted, Found, Plan]] = []
    started: set[str] = set()
    ended = {wanted.name for wanted in wanted_all if wanted.state in ("absent", "stopped")}
    gone = [f"container {wanted.name}" for wanted in wanted_all if wanted.state == "absent"]
    seen = Seen(netlink.links(run), surroundings()) if len(wanted_all) > 1 else None
    for wanted in sorted(wanted_all, key=lambda wanted: (wanted.state != "absent", order.index(wanted.name))):
        found = find(run, wanted, seen=seen)
        free = {bridge: {ip: who for ip, who in has.items() if who not in gone} for bridge, has in found.used.items()}
        used = {bridge: {**free.get(bridge, {}), **claimed.get(bridge, {})} for bridge in found.bridges}
        found = found._replace(used=used)
        decided = container.plan(wanted, found, check)
        decided = _share(wanted, found, decided, [done.name for done, _f, _p in plans], check)
        if mounted_at(wanted.name) and any(action.verb in NEEDS_DISK for action in decided.actions):
            need_closed(disk_of(wanted.name), wanted.name, f"container {wanted.name}")
        if check and decided.changed and wanted.state in container.RUNS and runtime.installed() is None:
            decided = decided.lacking(f"container {wanted.name}: this host has no runtime")
        for other in needs(wanted, decided):
            if other in ended or (other not in started and not enter.is_alive(manifest.read("container", other) or {})):
                text = f"container {wanted.name}: it depends on {other}, which does not run"
                if not check:
                    raise BaleineError(text, f"Start it first: baleine container start -c {other}")
                decided = decided.lacking(text)
        started.update([wanted.name] if wanted.state in container.RUNS else [])
        plans.append((wanted, found, decided))
        for item in wanted.description.networks if wanted.description else ():
            claimed.setdefault(item.bridge, {}).update({ip_of(a): f"container {wanted.name}" for a in item.addresses})
    return plans


def _share(wanted: Wanted, found: Found, decided: Plan, before: Sequence[str], check: bool) -> Plan:
    """Plan what sharing another container's network asks for: that one runs, and the network is its present one.

    :param before: containers that the same set speaks of earlier.
    :raises BaleineError: for a start while the other one does not run.
    """
    meant, verbs = wanted.description or found.description, {action.verb for action in decided.actions}
    if meant is None or not meant.share_network or wanted.state not in container.RUNS:
        return decided
    other = manifest.read("container", meant.share_network) or {}
    lacking = not enter.is_alive(other) and meant.share_network not in before
    if verbs & {"start", "recreate"} and lacking and not check:  # which else is warned of, as for all that it needs
        hint = f"Start it first: baleine container start -c {meant.share_network}"
        raise BaleineError(f"{decided.name}: share_network: container {meant.share_network} does not run", hint)
    if not found.alive or found.record is None or not enter.is_alive(other) or verbs & {"start", "recreate"}:
        return decided
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{found.record['pid']}/ns/net").st_ino != os.stat(f"/proc/{other['pid']}/ns/net").st_ino:
            text = f"the network of {meant.share_network} is a new one"
            restart = [Action(verb, decided.name, f"drift: {text}") for verb in ("stop", "start")]
            drift = (*decided.drift, f"{decided.name}: {text}")
            return decided._replace(actions=(*decided.actions, *restart), drift=drift)
    return decided


def needs(wanted: Wanted, decided: Optional[Plan] = None) -> dict[str, str]:
    """Return what one needs that shall run, with the conditions; with a plan, only where that starts it.

    The pass of cron has looked by itself.
    """
    verbs = {action.verb for action in decided.actions} if decided else {"start"}
    if wanted.state not in ("started", "paused") or not verbs & {"start", "recreate"}:
        return {}
    record = manifest.read("container", wanted.name)
    description = wanted.description or (from_record(wanted.name, record)[0] if record else None)
    return description.needs() if description else {}


def locks(wanted_all: Sequence[Wanted]) -> list[tuple[str, str, bool]]:
    """Return what is locked while a set is at work: its containers, and, shared, their images and bridges."""
    found = []
    for wanted in wanted_all:
        found.append(("container", wanted.name, False))
        if wanted.description:
            found.append(("image", wanted.description.image, True))
            found += [("bridge", item.bridge, True) for item in wanted.description.networks]
    return found


def correct(name: str) -> None:
    """Make a manifest tell the truth about a container that ended by itself, or runs: never what is wished.

    Where another command is at work on it, that one does it.
    """
    with contextlib.suppress(BaleineError), manifest.lock([("container", name, False)], wait=False):
        record = manifest.read("container", name) or {}
        if record.get("state") == "committing":
            return  # the next command or pass thaws it
        alive, state = enter.is_alive(record), record.get("state")
        if container.is_over(record, alive) and not cgroup.processes(name):
            manifest.write("container", name, policy.observed(record, launch.ended(name, record)))
        elif alive and (state == "paused" or (state == "stopping" and record.get("wanted_state") != "stopped")):
            manifest.write("container", name, {**record, "state": "paused" if cgroup.frozen(name) else "running"})
