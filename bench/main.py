# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the benchmark: prints a report, and writes it to bench/output."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab import cgroups, leaks, run

from . import batch, measures, profile, report
from .measures import Bench
from .peers import CONTENDERS
from .place import CannotRun, Place
from .result import OURS, Cell, case_table
from .scale import SMALLEST, Scale

OUTPUT = run.REPOSITORY / "bench/output"
#: The cases beside those of measures.py. The last one only runs when it is asked for: minutes, nearly all the peers'.
IDLE, PROFILE, BATCH = "idle", "profile", "batch"
USUAL = (*(case.key for case in measures.CASES), IDLE, PROFILE)
KNOWN = (*USUAL, BATCH)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What may be asked for; ``words`` are by default those of the process."""
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    peers = [one.name for one in CONTENDERS]
    parser.add_argument("--only", default="", help=f"cases, comma separated: {', '.join(KNOWN)}")
    parser.add_argument("--peers", default="", help="contenders, comma separated; all of them by default")
    parser.add_argument("--factor", type=float, default=1.0, help="how many of the usual rounds: 0.5 is half of them")
    parser.add_argument(
        "--smallest",
        action="store_true",
        help="every case once, with the least of everything: shows that the benchmark works, and measures nothing",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder of the report; by default bench/output")
    given = parser.parse_args(words)
    for text, known in ((given.only, KNOWN), (given.peers, peers)):
        for word in text.split(",") if text else ():
            if word not in known:
                parser.error(f"there is no {word!r}: there are {', '.join(known)}")
    given.cases = given.only.split(",") if given.only else list(KNOWN if given.smallest else USUAL)
    given.names = given.peers.split(",") if given.peers else peers
    given.scale = SMALLEST if given.smallest else Scale(factor=given.factor)
    if PROFILE in given.cases:
        try:
            profile.check_steps()
        except LookupError as error:
            parser.error(f"bench/profile.py: {error}")
    return given


def say(text: str) -> None:
    """What goes on, beside the report."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class Run:
    """The cases of one run, and what they came to so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.scale: Scale = options.scale
        self.facts: list[str] = []
        self.gone: Mapping[str, str] = {}
        self.cells: dict[str, dict[str, Cell]] = {}
        self.idle: dict[str, dict[str, Any]] = {}
        self.parts: list[str] = []
        self.seconds: dict[str, float] = {}
        #: What failed -> why. A case of which Baleine has no figure has failed; the others are the peers' own matter.
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}

    def measure(self, place: Place) -> None:
        """Measure every case that is wanted."""
        self.facts = report.machine(place)
        if self.options.smallest:
            self.facts.append("Everything in its smallest form: this shows that it works, and the figures mean nothing")
        say("preparing the contenders")
        wanted = [one for one in CONTENDERS if one.name in self.options.names or one.name == OURS]
        bench = Bench(place, wanted, self.scale)
        self.gone = bench.gone
        for name, reason in bench.gone.items():
            say(f"{name} cannot run here: {reason}")
        for case in measures.CASES:
            self.attempt(bench, case.key, case.title, partial(self.compare, bench, case))
        title = f"Processes and memory per idle container ({self.scale.idle} of them)"
        self.attempt(bench, IDLE, title, partial(self.weigh, bench))
        title = "Where the time of `container run --rm` goes"
        self.attempt(bench, PROFILE, title, partial(profile.profile, place, self.scale.profile))
        title = f"A playbook for {self.scale.batch} containers"
        self.attempt(bench, BATCH, title, partial(self.play, bench))
        for problem in bench.close():
            self.failed.setdefault("what the contenders made", problem)

    def attempt(self, bench: Bench, key: str, title: str, measure: Callable[[], str]) -> None:
        """Measure one case, if it is wanted; when it fails the others go on, and the report names it."""
        if key not in self.options.cases:
            return
        say(title)
        begin = time.monotonic()
        try:
            text = measure()
        except CannotRun as error:
            self.skipped[key] = str(error)
            text = f"Not measured: {error}.\n"
        except Exception as error:  # whatever it is, the report names it
            traceback.print_exc()
            self.failed[key] = " ".join(f"{type(error).__name__}: {error}".split())
            text = f"**Failed**: {self.failed[key]}\n"
            bench.tidy()
        self.seconds[key] = time.monotonic() - begin
        self.parts.append(f"## {title}\n\n{text}")

    def take(self, key: str, found: dict[str, Cell]) -> str:
        """Keep what a case came to, and return its table."""
        self.cells[key] = found
        ours = {name: cell for name, cell in found.items() if name.partition(",")[0] == OURS}
        if not ours:
            self.failed[key] = f"{OURS} was not measured"
        for name, cell in ours.items():
            if not cell.samples:
                self.failed[key] = f"{name}: {cell.reason}"
        return case_table(found)

    def compare(self, bench: Bench, case: measures.Case) -> str:
        """Measure a case with everybody."""
        return self.take(case.key, bench.measure(case))

    def weigh(self, bench: Bench) -> str:
        """Weigh idle containers."""
        self.idle = bench.idle()
        reason = self.idle.get(OURS, {"reason": f"{OURS} was not measured"}).get("reason")
        if reason:
            self.failed[IDLE] = reason
        return report.idle_table(self.idle, bench.gone)

    def play(self, bench: Bench) -> str:
        """Run the playbooks."""
        parts = []
        players = [one for one in bench.alive if self.scale.batch_peers or one.name == OURS]
        for phase, found in batch.measure(bench.place, players, self.scale.batch).items():
            parts.append(f"They {batch.PHASES[phase]}:\n\n{self.take(f'{BATCH} {phase}', found)}")
        return "\n".join(parts)

    def text(self) -> str:
        """The report as Markdown."""
        parts = [f"# Benchmark\n\n{report.bullets(self.facts)}"]
        if self.failed:
            failed = report.bullets(f"{name}: {reason}" for name, reason in self.failed.items())
            parts.append(f"## Failed\n\n{failed}")
        goals = report.goals(self.cells, self.idle, self.scale.batch)
        if goals:
            parts.append(f"## Goals\n\n{report.bullets(goals)}")
        return "\n".join([*parts, *self.parts])

    def data(self) -> dict[str, Any]:
        """The report as data."""
        cells = {key: {name: cell._asdict() for name, cell in found.items()} for key, found in self.cells.items()}
        return {
            "facts": self.facts,
            "gone": self.gone,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "idle": self.idle,
            "cases": cells,
        }

    def write(self) -> None:
        """Print the report, and write it."""
        folder: Path = self.options.output
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.md").write_text(self.text())
        (folder / "results.json").write_text(json.dumps(self.data(), indent=1) + "\n")
        print(self.text())


def mounts() -> set[str]:
    """The mounts of the machine that a run could make: control groups, and what lies in its own folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line for line in lines if " /sys/fs/cgroup" in line or str(run.run_folder()) in line}


def measure(wanted: Run) -> list[str]:
    """Measure in a laboratory host of its own; returns what was left behind."""
    # Figures are taken in the machine's own control groups, which lie no deeper than those of any user.
    root = "own" if wanted.options.smallest else "real"
    before, groups, mounted = leaks.snapshot(), cgroups.outside(), mounts()
    with Place(root) as place:
        wanted.measure(place)
        problems = [*place.end(), *place.host.stop()]
    problems += leaks.check(None, before)
    if root == "real":
        problems += [f"cgroup {name} was left behind" for name in cgroups.outside() if name not in groups]
    return problems + [f"mount {line} was left behind" for line in mounts() - mounted]


def main(words: Sequence[str] | None = None) -> int:
    """Run it; 0 when everything was measured and nothing was left behind."""
    wanted = Run(arguments(words))
    begin = time.monotonic()
    try:
        problems = measure(wanted)
    except (Exception, KeyboardInterrupt) as error:
        traceback.print_exc()
        wanted.failed["the run"] = " ".join(f"{type(error).__name__}: {error}".split())
        problems = []
    wanted.write()
    say(f"{time.monotonic() - begin:.0f} s; written to {wanted.options.output}/results.md and results.json")
    for name, reason in wanted.failed.items():
        say(f"failed: {name}: {reason}")
    for problem in problems:
        say(f"left behind: {problem}")
    return 1 if problems or wanted.failed else 0


if __name__ == "__main__":
    sys.exit(main())
