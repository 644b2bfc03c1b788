# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the milliseconds of `baleine container run --rm` go: its steps, timed inside the command itself."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from .place import Place
from .result import markdown, show_time

SCRIPT, MARKS = "/srv/bench/profiled.py", "/srv/bench/marks"
ROUNDS = 9
#: Module and function of the core -> the step that its time is counted to; what it calls and is named too is not.
STEPS = {
    "survey.find": "look at what there is",
    "survey.surroundings": "look at what there is",
    "survey.facts": "look at what there is",
    "manifest.replace": "manifests (each with fsync of file and directory)",
    "disk.copy": "copy of the disk",
    "launch.in_child": "child: private mount, loop device, idmapped ext4, specification",
    "netlink.batch": "ip -batch: links, addresses",
    "runtime.start": "crun start",
    "runtime.delete": "crun delete",
    "cgroup.remove": "remove control groups",
    "launch.wait_until": "wait until the kernel has let go of the links",
    "neighbours.refresh": "hosts files of the neighbours",
}
EXEC = "crun create"
#: Beside the steps.
INTERPRETER, IMPORTS, PROGRAM, REST = (
    "sh and python start",
    "imports",
    "the program, until it has ended",
    "all the rest",
)

# The command line with a clock around the functions above; a step's own time excludes the steps that it calls.
PROFILED = f"""
import gc, json, os, sys, time
gc.set_threshold(100000)
now = time.time
begin, marks, open_steps = float(os.environ["BEGIN"]), [], []
marks.append(({INTERPRETER!r}, now() - begin))
sys.path.insert(0, "/usr/local/lib/baleine")
at = now()
from baleine_cli import main, foreground, relay
from importlib import import_module
marks.append(({IMPORTS!r}, now() - at))
def clock(owner, name, label):
    inner = getattr(owner, name)
    def timed(*words, **named):
        open_steps.append(0.0)
        at = now()
        try:
            return inner(*words, **named)
        finally:
            spent = now() - at
            marks.append((label, spent - open_steps.pop()))
            if open_steps:
                open_steps[-1] += spent
    setattr(owner, name, timed)
for path, label in {STEPS!r}.items():
    module, _dot, name = path.partition(".")
    clock(import_module("baleine." + module), name, label)
clock(relay, "carry", {PROGRAM!r})
launch = import_module("baleine.launch")
execute = os.execve
def become(*words):
    with open({MARKS!r} + ".exec", "w") as stream:
        stream.write(str(now()))
    execute(*words)
launch.os.execve = become
timed_child = launch.in_child
def in_child(*words, **named):
    value = timed_child(*words, **named)
    with open({MARKS!r} + ".exec") as stream:
        runtime = now() - float(stream.read())
    label, spent = marks.pop()
    marks.extend([(label, spent - runtime), ({EXEC!r}, runtime)])
    return value
launch.in_child = in_child
code = main.main(sys.argv[1:])
marks.append(("all", now() - begin))
with open({MARKS!r}, "a") as stream:
    stream.write(json.dumps(marks) + chr(10))
os._exit(code)
"""


class Step(NamedTuple):
    """A step: what it is, the median of its seconds, how often it happens."""

    label: str
    seconds: float
    times: int


def summarise(runs: Sequence[Sequence[tuple[str, float]]]) -> list[Step]:
    """Steps in the order of their first appearance, then the rest and the whole. Pure."""
    labels = dict.fromkeys(label for marks in runs for label, _seconds in marks if label != "all")
    steps = []
    for label in labels:
        sums = [sum(seconds for other, seconds in marks if other == label) for marks in runs]
        times = [sum(other == label for other, _seconds in marks) for marks in runs]
        steps.append(Step(label, statistics.median(sums), round(statistics.median(times))))
    whole = statistics.median(dict(marks)["all"] for marks in runs)
    rest = max(0.0, whole - sum(step.seconds for step in steps))
    return [*steps, Step(REST, rest, 1), Step("together, inside the process", whole, 1)]


def profile(place: Place) -> str:
    """Run the command with clocks in it, and return the table of its steps."""
    place.host.write(SCRIPT, PROFILED)
    words = "container run --rm -i tiny -c profiled -b bench -a 10.77.3.1/16 --memory 64M --cpus 0.5 --pids 50 -- true"
    for _turn in range(ROUNDS + 1):
        place.sh(f"export BEGIN=$(date +%s.%N); exec /usr/bin/python3 -IS {SCRIPT} {words}")
    runs = [json.loads(line) for line in place.host.read(MARKS).splitlines()][1:]
    rows = [(step.label, show_time(step.seconds), str(step.times)) for step in summarise(runs)]
    return markdown(("step", "median", "times"), rows)
