# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pass that cron runs: finishes or undoes what a crash left, and starts what should run and does not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple, Optional

from . import bridge, container, lifecycle, log, manifest, netlink, policy, schedule, units, waiting
from .container import Found, Wanted
from .errors import BaleineError, Busy, known
from .process import Runner, boot_id, running_seconds, side_by_side
from .survey import find, mounted_at

#: Recorded states in which nobody was in the middle of something.
SETTLED = ("running", "paused", "stopped")
#: Minutes between two restarts of what keeps ending.
LONGEST_DELAY = 60
#: Seconds that a check may take within a pass.
LONGEST_CHECK = 30.0
#: What was done, and how it is asked for.
ACTS = {"removed": "absent", "settled": "settled", "started": "revived", "restarted": "revived"}

Tell = Callable[[str, str, str], None]


class Decision(NamedTuple):
    """What a pass does to one container: a key of ACTS, ``corrected``, ``waits`` or nothing; and what it notes."""

    verb: str = ""
    why: str = ""
    notes: Mapping[str, str] = {}


def decide(found: Found, boot: str, now: float, blocked: str = "") -> Decision:
    """Decide what becomes of a container. Pure.

    :param boot: the kernel's identifier of this boot; :param now: the time in seconds after the epoch.
    :param blocked: why it cannot start now; empty where it can.
    """
    record = known(found.record, "a record")
    settings = known(found.description, "what it is").settings
    state, wanted, code = (record.get(key, "") for key in ("state", "wanted_state", "exit_code"))
    if state in ("creating", "removing"):
        return Decision("removed", f"it was interrupted while {state}")
    if found.alive and (state == "paused" or (state == "stopping" and wanted != "stopped")) and state != found.state:
        return Decision("corrected", f"it is {found.state}, not {state}")
    unfinished = state and state not in SETTLED
    if unfinished or container.is_over(record, found.alive) or (found.leftovers and not found.alive):
        done = "its first process is gone" if state in container.LIVES else "something of it was left"
        return Decision("settled", f"it was interrupted while {state}" if unfinished else done)
    ill = found.alive and record.get("health") == "unhealthy" and settings["healthcheck"].get("action") == "restart"
    restarts, again = units.number(record.get("restarts", "")) or 0, record.get("boot_id", "") not in ("", boot)
    due = {
        "no": False,
        "on-failure": wanted == "started" and code != "0" and not 0 < settings["restart_retries"] <= restarts,
        "unless-stopped": wanted == "started",
        "always": wanted == "started" or again,
    }[settings["restart_policy"]]
    if not (ill if found.alive else due):
        return Decision(notes={"retry_at": "", "waits": ""})
    minutes = min(LONGEST_DELAY, 1 << min(restarts - 1, 16)) if restarts else 0
    at = record.get("retry_at") or (_iso(now // 60 * 60 + 60 * minutes) if minutes else "")
    if _iso(now) < at <= _iso(now + 60 * LONGEST_DELAY + 60):  # later than that is of a clock that was put back
        return Decision("waits", f"restart {restarts + 1} in a row, not before {at}", {"retry_at": at})
    if ill:
        return Decision("restarted", "it is unhealthy")
    if blocked:
        return Decision("waits", blocked, {"waits": blocked})
    ended = f"its program ended with {code}" if code else "started is wanted"
    return Decision("started", "the host was started anew" if again else ended)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def supervise(run: Runner, tell: Tell, now: float) -> bool:
    """Make one pass; where another one is under way, nothing.

    :param tell: is told each thing that was done, or failed: of what, what, and why.
    :param now: the time in seconds after the epoch.
    :returns: whether nothing failed.
    """
    try:
        with manifest.registry("supervise", wait=False):
            return _Pass(run, tell, now).carry_out()
    except Busy:
        return True


class _Pass:
    """One pass, under its lock."""

    def __init__(self, run: Runner, tell: Tell, now: float) -> None:
        self.run, self.tell, self.good = run, tell, True
        self.boot, self.now, self.begun = boot_id(), now, time.monotonic()
        self.found: dict[str, Found] = {}
        self.circles: dict[str, str] = {}

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Name what fails, and go on: an edited record holds anything. Leave what another command is at work on."""
        try:
            yield
        except Busy:
            pass
        except (BaleineError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            self.good = False
            self.tell(what, "failed", str(error))

    def carry_out(self) -> bool:
        self.bridges()
        for name in manifest.names("container"):
            with self.of(f"container {name}"):
                self.look(name)
        needs = {name: known(found.description, name).needs() for name, found in self.found.items()}
        names, self.circles = policy.in_order(needs)
        self.health()
        for name in names:
            with self.of(f"container {name}"):
                self.container(name)
        for name, found in self.found.items():
            with self.of(f"container {name}"):
                self.log(name, known(found.description, name).settings["log_size"])
        with self.of(schedule.TIMES):
            if schedule.refresh():
                self.tell(schedule.TIMES, "corrected", "the manifests say otherwise")
        with self.of("the pass"):
            log.cut("supervise", policy.DEFAULTS["log_size"])
        return self.good

    def bridges(self) -> None:
        """Make those again that a reboot took away."""
        links = None
        for name in manifest.names("bridge"):
            with self.of(f"bridge {name}"):
                record = manifest.read("bridge", name) or {}
                links = netlink.links(self.run) if links is None else links
                if bridge.is_lost(record, links.get(name, {})):
                    for outcome in bridge.ensure(self.run, [bridge.as_recorded(self.run, name, "up")], wait=False):
                        self.tell(f"bridge {name}", "restored", ", ".join(outcome.plan.drift))

    def look(self, name: str) -> None:
        """Find what is true of a container, and forget one that is gone."""
        found = find(self.run, Wanted(name), full=False)
        if found.record is None:
            self.found.pop(name, None)
        else:
            self.found[name] = found

    def health(self) -> None:
        """Ask those that run and whose check is due, side by side, and note what they answer."""
        due = {}
        for name, found in self.found.items():
            check = known(found.description, name).settings["healthcheck"]
            asked = check and found.alive and not found.frozen
            if asked and waiting.is_due(name, check, found.record or {}, int(self.now // 60)):
                due[name] = check
        answers = side_by_side({name: self.question(name, check) for name, check in due.items()}, LONGEST_CHECK + 5)
        for name, error in answers.items():
            with self.of(f"container {name}"):
                record = known(self.found[name].record, name)
                age = running_seconds(int(record["start_ticks"]))
                notes = waiting.judge(due[name], record, error, age)
                if policy.observed(record, notes) != record:
                    self.found[name] = self.found[name]._replace(record=lifecycle.note(name, record, notes))
                if notes["health"] != record.get("health"):
                    self.tell(f"container {name}", notes["health"], error or "its check passed")

    def question(self, name: str, check: Mapping[str, Any]) -> Callable[[], Optional[str]]:
        """Return what a child asks."""
        condition = known(policy.condition_of(check), name)
        condition = condition._replace(seconds=min(condition.seconds, LONGEST_CHECK))
        return lambda: waiting.ask(self.run, name, known(self.found[name].record, name), condition)

    def container(self, name: str) -> None:
        """Do for one container what there is to do: at most settle it, then start it."""
        for _step in range(3):
            if name in self.found:
                try:
                    if not self.step(name, self.found[name]):
                        return
                except Busy:  # somebody looks at it or changes it: as it is then, or at the next pass
                    pass
                self.look(name)

    def step(self, name: str, found: Found) -> bool:
        """Do one thing for a container; says whether there may be more."""
        record = known(found.record, name)
        decided = decide(found, self.boot, self.now, self.blocked(name))
        new = {key for key, value in decided.notes.items() if record.get(key, "") != value}
        if new:
            self.found[name] = found._replace(record=lifecycle.note(name, record, decided.notes))
        if decided.verb in ACTS:
            wanted = Wanted(name, ACTS[decided.verb], restart=decided.verb == "restarted")
            lifecycle.ensure(self.run, [wanted], seen=record)
        elif decided.verb == "corrected":
            lifecycle.correct(name)
        if decided.verb and (decided.verb != "waits" or new):
            self.tell(f"container {name}", decided.verb, decided.why)
        return decided.verb not in ("", "waits")

    def blocked(self, name: str) -> str:
        """Say what a start has to wait for; nothing where it has not."""
        if name in self.circles:
            return f"its dependencies form a circle: {self.circles[name]}"
        if not self.found[name].alive and mounted_at(name):
            return f"its disk is mounted at {mounted_at(name)}"
        for other, condition in known(self.found[name].description, name).needs().items():
            there = self.found.get(other)
            record = (there.record if there else None) or {}
            if there is None:
                return f"it depends on {other}, which is not there or not understood"
            if not there.alive:
                stopped = record.get("wanted_state") == "stopped"
                return f"it depends on {other}, which {'was stopped on purpose' if stopped else 'does not run'}"
            if condition == "healthy" and record.get("health") != "healthy":
                return f"it depends on {other}, which is not healthy"
        return ""

    def log(self, name: str, limit: int) -> None:
        """Bound a log, and note where it ends now."""
        if log.cut(name, limit):
            self.tell(log.path_of(name), "cut", f"it was above {units.show_size(limit)}")
        # not the time at which the pass began: what was written meanwhile would be taken for older than it is
        log.mark(name, self.now + time.monotonic() - self.begun)
