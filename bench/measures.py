# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured. The rounds of all contenders are interleaved (A B C A B C …), so that a busy moment of the machine
meets all of them; a first round warms up and does not count."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

from . import images
from .peers import IDLE, POLITE, UNPROTECTED, Baleine, Contender
from .place import DEBIAN, CannotRun, Failed, Place
from .result import OURS, Cell
from .scale import Scale

#: Who takes longer than this is measured once: it waits for a grace time, and will again.
LONG = 5.0
LARGE_FILE = "/var/lib/baleine/images/large"
CP = f"{LARGE_FILE}.cp"

Cells = dict[str, Cell]


class Case(NamedTuple):
    """A case by its short name, in words, and how often it is measured."""

    key: str
    title: str
    rounds: int


WHOLE = Case("whole", "Create, start, run `true` to its end, remove (whole command; bridge, address, limits)", 15)
WHOLE_DEBIAN = Case("debian", "The same with a whole Debian, whose tree some copy file by file", 6)
ENTER = Case("enter", "Run `true` in a container that runs (exec)", 15)
POLITELY = Case("stop polite", "Stop a container whose program handles SIGTERM", 6)
DEAF = Case("stop deaf", "Stop a container whose program is `sleep infinity`", 4)
LIST = Case("list", "List the containers", 10)
STORE = Case("store", "Create and start a container: reflink store against extents", 8)
COPY = Case("copy", "Copy an image of 10 GiB that holds 262 MB of data, until all of it is on the device", 8)
SAFE = Case("safe", "Create and start a container: all protections on, against off", 15)
IMAGE = Case("image", "Make a 10 GiB image with Debian and Apache, and one derived from it", 2)
IMPORT = Case("import", "Make an image of what `docker save` wrote", 5)
CASES = (WHOLE, WHOLE_DEBIAN, ENTER, POLITELY, DEAF, LIST, STORE, COPY, SAFE, IMAGE, IMPORT)


class Bench:
    """Contenders on one place, and those that had to give up with their reasons."""

    def __init__(self, place: Place, contenders: Sequence[type[Contender]], scale: Scale) -> None:
        self.place, self.scale = place, scale
        self.alive: list[Contender] = []
        self.gone: dict[str, str] = {}
        self.daemons: dict[str, Mapping[str, Any]] = {}
        for kind in contenders:
            contender = kind(place, scale.grace)
            before = self._weigh()
            try:
                contender.begin()
                self.alive.append(contender)
                self.daemons[contender.name] = _less(self._weigh(), before)
            except (CannotRun, Failed) as error:
                self.gone[contender.name] = str(error)

    def turns(self, case: Case) -> int:
        """How many rounds a case has; the first ones warm up."""
        return self.scale.warm_up + self.scale.rounds(case.rounds)

    def tidy(self) -> None:
        """Prepare for the next case after one that failed: its store and its containers do not concern that one."""
        self.place.reflink(True)
        for contender in self.alive:
            with contextlib.suppress(Failed):
                contender.tidy()

    def interleaved(self, case: Case, sample: Callable[[Contender], float], who: Sequence[Contender]) -> Cells:
        """Take the samples of a case; a contender that fails is out of this case, with its words."""
        samples: dict[str, list[float]] = {contender.name: [] for contender in who}
        reasons: dict[str, str] = {}
        for turn in range(self.turns(case)):
            for contender in who:
                taken = samples[contender.name]
                if contender.name in reasons or (taken and taken[0] > LONG):
                    continue
                try:
                    seconds = sample(contender)
                    if turn >= self.scale.warm_up or seconds > LONG:
                        taken.append(seconds)
                except Failed as error:
                    reasons[contender.name] = str(error)
        return {
            contender.name: Cell(
                tuple(samples[contender.name]) if contender.name not in reasons else (),
                reasons.get(contender.name, ""),
                contender.remarks.get(case.key, ""),
            )
            for contender in who
        }

    def measure(self, case: Case) -> Cells:
        """Measure one case with everybody who can."""
        who = [contender for contender in self.alive if case.key not in contender.lacks]
        cells = self._with_containers(case, who)
        for contender in self.alive:
            if case.key in contender.lacks:
                cells[contender.name] = Cell(reason=contender.lacks[case.key])
        for name, reason in self.gone.items():
            cells[name] = Cell(reason=reason)
        return cells

    def _with_containers(self, case: Case, who: list[Contender]) -> Cells:
        if case.key == WHOLE.key:
            return self.interleaved(case, lambda one: self.place.time(one.whole()), who)
        if case.key == WHOLE_DEBIAN.key:
            return self._debians(case, who)
        if case.key == ENTER.key:
            return self._while_running(who, ["c1"], lambda: self.interleaved(case, self._enter, who))
        if case.key in (POLITELY.key, DEAF.key):
            program = POLITE if case.key == POLITELY.key else IDLE
            return self.interleaved(case, lambda one: self._stop(one, program), who)
        if case.key == LIST.key:
            return self._lists(case, who)
        if case.key == COPY.key:
            return self._copies(case)
        if case.key == SAFE.key:
            return self._protections(case, who)
        if case.key == IMAGE.key:
            return images.make(self.place, self.scale)
        if case.key == IMPORT.key:
            return images.imports(self.place, self.scale, [contender.name for contender in who])
        return self._stores(case, who)

    def _debians(self, case: Case, who: Sequence[Contender]) -> Cells:
        """The whole command with a whole Debian; who cannot take that is out of this case, with its words."""
        given, able, failed = self.place.make_debian(self.scale.debian), list[Contender](), dict[str, Cell]()
        for contender in who:
            try:
                contender.take(*given)
                able.append(contender)
            except Failed as error:
                failed[contender.name] = Cell(reason=str(error))
        return {**self.interleaved(case, lambda one: self.place.time(one.whole(DEBIAN)), able), **failed}

    def _enter(self, contender: Contender) -> float:
        return self.place.time(contender.enter("c1"))

    def _stop(self, contender: Contender, program: Sequence[str]) -> float:
        contender.start("c1", program)
        try:
            self.place.do("sleep", "0.2")  # a program that just started has no handler yet
            return self.place.time(contender.stop("c1"), timeout=70)
        finally:
            contender.remove("c1")

    def _while_running(self, who: Sequence[Contender], names: Sequence[str], measure: Callable[[], Cells]) -> Cells:
        """Measure while everybody has idle containers."""
        begun: list[tuple[Contender, str]] = []
        failed: Cells = {}
        try:
            for contender in who:
                try:
                    for name in names:
                        contender.start(name, IDLE)
                        begun.append((contender, name))
                except Failed as error:
                    failed[contender.name] = Cell(reason=str(error))
            found = {**measure(), **failed}
        finally:
            failed = {}
            for contender in who:
                there = [name for other, name in begun if other is contender]
                try:
                    if there:
                        contender.remove(*there)
                except Failed as error:
                    failed[contender.name] = Cell(reason=str(error))
        return {**found, **failed}

    def _lists(self, case: Case, who: Sequence[Contender]) -> Cells:
        """Ours with many and with twice as many, the others with a handful."""
        peers = [contender for contender in who if contender.name != OURS]
        few = [f"c{index}" for index in range(1, self.scale.few + 1)]

        def listed(contender: Contender) -> float:
            return self.place.time(contender.list_())

        cells: Cells = {}
        for count in self.scale.crowds:
            for ours in who:
                if ours.name == OURS:
                    many = [f"c{index}" for index in range(1, count + 1)]
                    found = self._while_running([ours], many, lambda ours=ours: self.interleaved(case, listed, [ours]))
                    label = OURS if count == self.scale.crowds[0] else f"{OURS}, {count} containers"
                    cells[label] = found[OURS]._replace(note=f"{count} containers, running, on a bridge")
        cells.update(self._while_running(peers, few, lambda: self.interleaved(case, listed, peers)))
        for contender in peers:
            cells[contender.name] = cells[contender.name]._replace(note=f"{len(few)} containers")
        return cells

    def _copies(self, case: Case) -> Cells:
        """Ours by its own report, on the reflink store and on the machine's own ext4, and there what cp takes."""
        self.place.make_large(self.scale.large)
        samples: dict[str, list[float]] = {}
        for turn in range(self.turns(case)):
            for reflink in (True, False):
                self.place.reflink(reflink)
                seconds = self.place.copy_large()
                if turn >= self.scale.warm_up:
                    samples.setdefault(OURS if reflink else f"{OURS}, extents", []).append(seconds)
            for name, then in (("cp, then sync", f" && sync {CP}"), ("cp", "")):
                seconds = self.place.time(["sh", "-ec", f"cp --sparse=always {LARGE_FILE} {CP}{then}"])
                self.place.sh(f"rm {CP}; sync -f {LARGE_FILE}")
                if turn >= self.scale.warm_up:
                    samples.setdefault(name, []).append(seconds)
        self.place.reflink(True)
        notes = {
            OURS: "reflink",
            f"{OURS}, extents": "on ext4",
            "cp, then sync": "cp --sparse=always and sync, on ext4",
            "cp": "cp --sparse=always alone: nothing need be on the device yet",
        }
        return {name: Cell(tuple(taken), "", notes[name]) for name, taken in samples.items()}

    def _stores(self, case: Case, who: Sequence[Contender]) -> Cells:
        """Ours alone: a small image and one with much data, on the reflink store and on the machine's own ext4."""
        ours = next((contender for contender in who if isinstance(contender, Baleine)), None)
        if ours is None:
            return {}
        self.place.make_big(self.scale.big)
        samples: dict[str, list[float]] = {}
        for turn in range(self.turns(case)):
            for reflink in (True, False):
                self.place.reflink(reflink)
                for image in ("tiny", "big"):
                    seconds = self.place.time(ours.create(image))
                    ours.remove("store")
                    if turn >= self.scale.warm_up:
                        kind = "reflink" if reflink else "extents"
                        samples.setdefault(f"{image}, {kind}", []).append(seconds)
        self.place.reflink(True)
        notes = {"tiny": "2 MiB of data", "big": f"{self.scale.big} MiB of data"}
        return {
            OURS if label == "tiny, reflink" else f"{OURS}, {label}": Cell(
                tuple(taken), "", f"{notes[label.split(',')[0]]}, {label.split()[1]}"
            )
            for label, taken in samples.items()
        }

    def _protections(self, case: Case, who: Sequence[Contender]) -> Cells:
        """Ours alone: as it comes, and with everything given that can be."""
        ours = next((contender for contender in who if isinstance(contender, Baleine)), None)
        if ours is None:
            return {}
        samples: dict[str, list[float]] = {OURS: [], f"{OURS}, unprotected": []}
        for turn in range(self.turns(case)):
            for label, words in zip(samples, ((), UNPROTECTED)):
                seconds = self.place.time(ours.create("tiny", *words))
                ours.remove("store")
                samples[label] += [seconds] if turn >= self.scale.warm_up else []
        notes = dict(zip(samples, ("as it comes", " ".join(UNPROTECTED))))
        return {label: Cell(tuple(taken), "", notes[label]) for label, taken in samples.items()}

    # What stays while nothing is asked

    def _weigh(self) -> dict[str, Any]:
        """Processes and bytes of the host, and of what runs in containers."""
        found = self.place.census()
        sums: dict[str, Any] = {"host": 0, "host_bytes": 0, "inside": 0, "inside_bytes": 0, "names": []}
        for process in found:
            side = "inside" if process["inside"] else "host"
            sums[side] += 1
            sums[f"{side}_bytes"] += process["bytes"]
            if side == "host":
                sums["names"].append(process["name"])
        return sums

    def idle(self) -> dict[str, dict[str, Any]]:
        """Return what each contender keeps running for none and for each idle container, or why that is unknown."""
        found: dict[str, dict[str, Any]] = {}
        for contender in self.alive:
            if "idle" in contender.lacks:
                continue
            try:
                grown = self._growth(contender)
            except Failed as error:
                found[contender.name] = {"reason": str(error)}
                continue
            each = {key: value / self.scale.idle for key, value in grown.items() if key != "names"}
            found[contender.name] = {"always": self.daemons[contender.name], "each": each, "names": grown["names"]}
        return found

    def _growth(self, contender: Contender) -> dict[str, Any]:
        """Return what a contender's idle containers add."""
        before = self._weigh()
        begun: list[str] = []
        try:
            for index in range(1, self.scale.idle + 1):
                contender.start(f"c{index}", IDLE)
                begun.append(f"c{index}")
            self.place.do("sleep", "0.5")
            return _less(self._weigh(), before)
        finally:
            if begun:
                contender.remove(*begun)

    def close(self) -> list[str]:
        """Take away what the contenders made; returns what did not go."""
        problems = []
        for contender in reversed(self.alive):
            try:
                contender.close()
            except Failed as error:
                problems.append(f"{contender.name}: {error}")
        return problems


def _less(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The growth between two weighings."""
    names = list(now["names"])
    for name in before["names"]:
        if name in names:
            names.remove(name)
    return {**{key: now[key] - before[key] for key in now if key != "names"}, "names": sorted(names)}
