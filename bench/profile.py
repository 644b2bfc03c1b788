# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the milliseconds of `baleine container run --rm` go: its steps, timed inside the command itself."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab import run

from .place import Failed, Place
from .profiled import ALL, CHILD
from .result import markdown, show_time

PROFILED = Path(__file__).with_name("profiled.py")
LIBRARY, FOLDER = "/usr/local/lib/baleine", "/srv/bench"
SCRIPT, STEPS_FILE, MARKS = f"{FOLDER}/profiled.py", f"{FOLDER}/steps.json", f"{FOLDER}/marks"
ROUNDS = 9
#: Module and function of the core -> the step that its time is counted to; the time of other steps in it is not.
STEPS = {
    "survey.find": "look at what there is",
    "survey.surroundings": "look at what there is",
    "survey.facts": "look at what there is",
    "manifest.replace": "manifests (each with fsync of file and directory)",
    "disk.copy": "copy of the disk",
    CHILD: "child: private mount, loop device, idmapped ext4, specification",
    "netlink.batch": "ip -batch: links, addresses",
    "runtime.start": "crun start",
    "runtime.delete": "crun delete",
    "cgroup.remove": "remove control groups",
    "process.wait_until": "wait until the kernel has let go of links and processes",
    "neighbours.refresh": "hosts files of the neighbours",
}
#: Beside the steps.
REST = "all the rest"


def check_steps() -> None:
    """Look every step up in this checkout, in a process of its own.

    :raises LookupError: naming the functions that the core does not have.
    """
    script = "import sys; sys.path[:0] = sys.argv[1:3]; from bench import profiled; profiled.look_up(sys.argv[3:])"
    words = [sys.executable, "-c", script, str(run.REPOSITORY), str(run.REPOSITORY / ".build"), *STEPS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LookupError(done.stderr.strip().rpartition("\n")[2])


class Step(NamedTuple):
    """A step: what it is, the median of its seconds, how often it happens."""

    label: str
    seconds: float
    times: int


def summarise(runs: Sequence[Sequence[tuple[str, float]]]) -> list[Step]:
    """Steps in the order of their first appearance, then the rest and the whole. Pure."""
    labels = dict.fromkeys(label for marks in runs for label, _seconds in marks if label != ALL)
    steps = []
    for label in labels:
        sums = [sum(seconds for other, seconds in marks if other == label) for marks in runs]
        times = [sum(other == label for other, _seconds in marks) for marks in runs]
        steps.append(Step(label, statistics.median(sums), round(statistics.median(times))))
    whole = statistics.median(dict(marks)[ALL] for marks in runs)
    rest = max(0.0, whole - sum(step.seconds for step in steps))
    return [*steps, Step(REST, rest, 1), Step("together, inside the process", whole, 1)]


def profile(place: Place, rounds: int = ROUNDS) -> str:
    """Run the command with clocks in it, and return the table of its steps.

    :raises Failed: when a step never happened: the function is still there, but nobody calls it by its name.
    """
    place.host.write(SCRIPT, PROFILED.read_text())
    place.host.write(STEPS_FILE, json.dumps(STEPS))
    words = "container run --rm -i tiny -c profiled -b bench -a 10.77.3.1/16 --memory 64M --cpus 0.5 --pids 50 -- true"
    command = f"/usr/bin/python3 -IS {SCRIPT} {LIBRARY} {STEPS_FILE} {MARKS} {words}"
    for _turn in range(rounds + 1):
        place.sh(f"export BEGIN=$(date +%s.%N); exec {command}")
    runs = [json.loads(line) for line in place.host.read(MARKS).splitlines()][1:]
    steps = summarise(runs)
    never = set(STEPS.values()) - {step.label for step in steps}
    if never:
        raise Failed(f"steps of the profile that never happened: {', '.join(sorted(never))}")
    rows = [(step.label, show_time(step.seconds), str(step.times)) for step in steps]
    return markdown(("step", "median", "times"), rows)
