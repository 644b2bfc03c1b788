# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run: the machine, the goals, and the tables."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import batch
from .peers import CONTENDERS, WITH_BRIDGE
from .place import Place
from .result import OURS, Cell, best_peer, markdown, show_size, show_time

Cells = Mapping[str, Mapping[str, Cell]]


def machine(place: Place) -> list[str]:
    """The facts that a reader needs to judge the figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    cpu = models[0] if models else "?"
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
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.partition(" ") for line in listed.stdout.splitlines()]
    return [package for status, _space, package in lines if status == "installed"]


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


def goals(cells: Cells, idle: Mapping[str, Mapping[str, Any]], batched: int) -> list[str]:
    """What was aimed at, and what came out.

    batched: how many containers one playbook made.
    """
    return [
        *goals_of_commands(cells),
        *goals_of_copies(cells),
        *goals_of_playbooks(cells, batched),
        *goals_of_images(cells),
        *goals_of_idleness(idle),
    ]


def median(cells: Cells, case: str, name: str = OURS) -> float | None:
    """The median of one contender in one case, if there is one."""
    return cells.get(case, {}).get(name, Cell()).median


def goals_of_commands(cells: Cells) -> list[str]:
    """The life of a container, exec, the list, the protections."""
    lines = []
    for case, what in (("whole", "whole command"), ("debian", "the same with a whole Debian")):
        best = best_peer(cells.get(case, {}), WITH_BRIDGE)
        if best:
            took = f"{best[0]} takes {best[1]:.2f} times ours"
            lines.append(f"{what}, at most half of the best peer with bridge, address and limits: {took}")
    enter = median(cells, "enter")
    if enter:
        lines.append(f"exec under 40 ms: {show_time(enter)}")
    hundred = median(cells, "list", f"{OURS}, 100 containers")
    if hundred:
        lines.append(f"list of 100 containers under 300 ms: {show_time(hundred)}")
    safe, bare = median(cells, "safe"), median(cells, "safe", f"{OURS}, unprotected")
    if safe and bare:
        lines.append(f"a start with all protections within 1.3 times of one without: {safe / bare:.2f} times")
    return lines


def goals_of_copies(cells: Cells) -> list[str]:
    """A copy by reflink, and one by extents."""
    shared, ours, cp = (median(cells, "copy", name) for name in (OURS, f"{OURS}, extents", "cp"))
    if not shared or not ours or not cp:
        return []
    return [
        f"copy of a 10 GiB image under 20 ms by reflink: {show_time(shared)}",
        f"and without at least 60 % as quick as cp --sparse=always: {cp / ours:.0%}",
    ]


def goals_of_playbooks(cells: Cells, count: int) -> list[str]:
    """Many containers by one task, beside loops."""
    lines = []
    for phase in batch.PHASES:
        best = best_peer(cells.get(f"batch {phase}", {}), ("docker", "podman"))
        if best:
            ours = show_time(median(cells, f"batch {phase}"))
            lines.append(
                f"{count} containers by a playbook, {phase}, 5 times faster than a loop: {ours}, "
                f"{best[0]} takes {best[1]:.1f} times that"
            )
    return lines


def goals_of_images(cells: Cells) -> list[str]:
    """Images made of packages, derived ones, and ones of an archive of Docker's."""
    lines = []
    for name, goal in (
        (OURS, "10 GiB image with Debian and Apache from nothing under 30 s"),
        (f"{OURS}, derived", "derived image under 5 s"),
    ):
        seconds = median(cells, "image", name)
        if seconds:
            lines.append(f"{goal}: {show_time(seconds)}")
    ours, load = median(cells, "import"), median(cells, "import", "docker load")
    if ours and load:
        lines.append(f"import of a Docker archive within 1.5 times docker load of it: {ours / load:.2f} times")
    return lines


def goals_of_idleness(idle: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What stays on the host."""
    if "each" not in idle.get(OURS, {}):
        return []
    return [f"no host process per container: {idle[OURS]['each']['host']:g}"]


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "".join(f"- {line}\n" for line in lines)
