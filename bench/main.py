# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the benchmark: prints a report, and writes it to bench/output."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab import cgroups, leaks, run

from . import batch, measures
from .measures import Bench
from .peers import CONTENDERS, WITH_BRIDGE
from .place import Place
from .profile import profile
from .result import OURS, Cell, best_peer, case_table, markdown, show_size, show_time

OUTPUT = run.REPOSITORY / "bench/output"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What may be asked for; ``words`` are by default those of the process."""
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    cases, peers = (
        [*(case.key for case in measures.CASES), "idle", "profile", "batch"],
        [one.name for one in CONTENDERS],
    )
    parser.add_argument("--only", default="", help=f"cases, comma separated: {', '.join(cases)}")
    parser.add_argument("--peers", default="", help="contenders, comma separated; all of them by default")
    parser.add_argument("--factor", type=float, default=1.0, help="how many of the usual rounds: 0.5 is half of them")
    given = parser.parse_args(words)
    for text, known in ((given.only, cases), (given.peers, peers)):
        for word in text.split(",") if text else ():
            if word not in known:
                parser.error(f"there is no {word!r}: there are {', '.join(known)}")
    return given


def say(text: str) -> None:
    """What goes on, beside the report."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def machine(place: Place) -> list[str]:
    """The facts that a reader needs to judge the figures."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "?",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    python = place.host.run(["/usr/bin/python3", "--version"]).stdout.strip()
    return [
        f"Date: {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
        f"Machine: {os.cpu_count()} CPUs ({cpu}), {memory / (1 << 30):.0f} GiB, Linux {platform.release()}",
        f"Load when it began: {os.getloadavg()[0]:.2f}",
        f"{python} on the laboratory host; versions: {', '.join(versions())}",
        *(f"Note: {text}" for text in place.said),
    ]


def versions() -> list[str]:
    """The contenders' packages."""
    packages = [*dict.fromkeys(one.package for one in CONTENDERS if one.package), "runc", "conmon", "netavark"]
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages], capture_output=True, text=True, check=False
    )
    return listed.stdout.split("\n")[:-1]


def idle_table(found: Mapping[str, Mapping[str, Any]], gone: Mapping[str, str]) -> str:
    """The table of what stays while nothing is asked."""
    rows = []
    for name, facts in found.items():
        if "reason" in facts:
            rows.append((name, "-", "-", "-", facts["reason"]))
            continue
        always, each = facts["always"], facts["each"]
        fixed = f"{always['host']} ({show_size(always['host_bytes'])})" if always["host"] else "none"
        host = f"{each['host']:.1f} ({show_size(each['host_bytes'])})" if each["host"] else "none"
        inside = f"{each['inside']:.1f} ({show_size(each['inside_bytes'])})"
        rows.append((name, fixed, host, inside, ", ".join(sorted({*always["names"], *facts["names"]}))))
    rows += [(name, "-", "-", "-", reason) for name, reason in gone.items()]
    head = ("contender", "host, always", "host, each container", "inside, each container", "host processes")
    return markdown(head, rows)


def targets(cells: Mapping[str, Mapping[str, Cell]], idle: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was aimed at, and what came out."""
    lines = []
    for case, what in (("whole", "whole command"), ("debian", "the same with a whole Debian")):
        best = best_peer(cells.get(case, {}), WITH_BRIDGE)
        if best:
            took = f"{best[0]} takes {best[1]:.2f} times ours"
            lines.append(f"{what}, at most half of the best peer with bridge, address and limits: {took}")
    enter = cells.get("enter", {}).get(OURS, Cell()).median
    if enter:
        lines.append(f"exec under 40 ms: {show_time(enter)}")
    hundred = cells.get("list", {}).get(f"{OURS}, 100 containers", Cell()).median
    if hundred:
        lines.append(f"list of 100 containers under 300 ms: {show_time(hundred)}")
    copy = cells.get("copy", {})
    shared, ours, cp = (copy.get(name, Cell()).median for name in (OURS, f"{OURS}, extents", "cp"))
    if shared and ours and cp:
        lines.append(f"copy of a 10 GiB image under 20 ms by reflink: {show_time(shared)}")
        lines.append(f"and without at least 60 % as quick as cp --sparse=always: {cp / ours:.0%}")
    for phase in batch.PHASES:
        best = best_peer(cells.get(f"batch {phase}", {}), ("docker", "podman"))
        if best:
            ours = show_time(cells[f"batch {phase}"][OURS].median)
            lines.append(
                f"{batch.COUNT} containers by a playbook, {phase}, 5 times faster than a loop: {ours}, "
                f"{best[0]} takes {best[1]:.1f} times that"
            )
    safe, bare = (cells.get("safe", {}).get(name, Cell()).median for name in (OURS, f"{OURS}, unprotected"))
    if safe and bare:
        lines.append(f"a start with all protections within 1.3 times of one without: {safe / bare:.2f} times")
    made = cells.get("image", {})
    for name, goal in (
        (OURS, "10 GiB image with Debian and Apache from nothing under 30 s"),
        (f"{OURS}, derived", "derived image under 5 s"),
    ):
        seconds = made.get(name, Cell()).median
        if seconds:
            lines.append(f"{goal}: {show_time(seconds)}")
    ours, load = (cells.get("import", {}).get(name, Cell()).median for name in (OURS, "docker load"))
    if ours and load:
        lines.append(f"import of a Docker archive within 1.5 times docker load of it: {ours / load:.2f} times")
    if OURS in idle and "each" in idle[OURS]:
        each = idle[OURS]["each"]["host"]
        lines.append(f"no host process per container: {each:g}")
    return lines


def measure(place: Place, options: argparse.Namespace) -> tuple[str, dict[str, Any], list[str]]:
    """Measure, and return the report as Markdown, the same as data, and what did not go away."""
    wanted = options.only.split(",") if options.only else [*(case.key for case in measures.CASES), "idle", "profile"]
    names = options.peers.split(",") if options.peers else [one.name for one in CONTENDERS]
    facts = machine(place)
    say("preparing the contenders")
    bench = Bench(place, [one(place) for one in CONTENDERS if one.name in names or one.name == OURS], options.factor)
    for name, reason in bench.gone.items():
        say(f"{name} cannot run here: {reason}")
    cells: dict[str, dict[str, Cell]] = {}
    idle: dict[str, dict[str, Any]] = {}
    parts = []
    try:
        for case in measures.CASES:
            if case.key in wanted:
                say(case.title)
                cells[case.key] = bench.measure(case)
                parts.append(f"## {case.title}\n\n{case_table(cells[case.key])}")
        if "idle" in wanted:
            say("processes and memory of idle containers")
            idle = bench.idle()
            title = f"Processes and memory per idle container ({measures.IDLE_CONTAINERS} of them)"
            parts.append(f"## {title}\n\n{idle_table(idle, bench.gone)}")
        if "batch" in wanted:  # only when it is asked for: minutes, nearly all of them the peers'
            say(f"{batch.COUNT} containers by a playbook")
            for phase, found in batch.measure(place, bench.alive).items():
                cells[f"batch {phase}"] = found
                title = f"A playbook for {batch.COUNT} containers: they {batch.PHASES[phase]}"
                parts.append(f"## {title}\n\n{case_table(found)}")
        if "profile" in wanted:
            say("where our own time goes")
            parts.append(f"## Where the time of `container run --rm` goes\n\n{profile(place)}")
    finally:
        problems = bench.close()
    goals = "".join(f"- {line}\n" for line in targets(cells, idle))
    top = "# Benchmark\n\n" + "".join(f"- {line}\n" for line in facts)
    report = "\n".join([top, *([f"## Goals\n\n{goals}"] if goals else []), *parts])
    data = {
        "facts": facts,
        "gone": bench.gone,
        "idle": idle,
        "cases": {key: {name: cell._asdict() for name, cell in found.items()} for key, found in cells.items()},
    }
    return report, data, problems


def main() -> int:
    """Run it; 0 when everything was measured and nothing was left behind."""
    options = arguments()
    before, groups, mounts = leaks.snapshot(), cgroups.outside(), Path("/proc/self/mountinfo").read_text()
    begin = time.monotonic()
    with Place() as place:
        report, data, problems = measure(place, options)
        problems += place.end()
        problems += place.host.stop()
    problems += leaks.check(None, before)
    problems += [f"cgroup {name} was left behind" for name in cgroups.outside() if name not in groups]
    if Path("/proc/self/mountinfo").read_text() != mounts:
        problems.append("the machine's mounts are not what they were")
    print(report)
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "results.md").write_text(report)
    (OUTPUT / "results.json").write_text(json.dumps(data, indent=1) + "\n")
    say(f"{time.monotonic() - begin:.0f} s; written to {OUTPUT / 'results.md'} and results.json")
    for problem in problems:
        say(f"left behind: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
