# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container logs`` and ``stats``: what containers print, and what they use."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from baleine import cgroup, enter, log, manifest, network, units
from baleine.errors import BaleineError
from baleine.process import open_process, wait_ended

from . import show
from .main import FAILED, complain
from .parse import Options, Usage
from .relay import write_all

#: Seconds between two looks at a log that is followed, and between the two from which a rate is taken.
PAUSE, INTERVAL = 0.2, 0.5
BLOCK = 1 << 16
HEAD = ("name", "cpu", "time", "memory", "processes", "disk", "network")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def logs(options: Options) -> int:
    """Print what a container printed."""
    name, tail = units.check_name(options.names[0], "container"), options.number("tail")
    record = manifest.read("container", name)
    if record is None:
        raise show.missing("container", name)
    since = options.text("since")
    position, end = log.span(name)
    if since is not None:
        position = max(position, log.offset_since(name, moment(since, options.topic)))
    if tail is not None:
        position = max(position, last_lines(name, end, tail))
    alive = enter.is_alive(record) and options.on("follow")
    first = open_process(int(record["pid"]), int(record["start_ticks"])) if alive else None
    while True:
        ended = first is None or wait_ended(first, 0)  # before the last look: what it wrote then is seen
        position, text = log.read(name, position)
        if (text and not write_all(1, text)) or (not text and (ended or first is None)):
            return 0
        if not text and first is not None:
            wait_ended(first, PAUSE)


def moment(text: str, topic: str) -> float:
    """Return a time in seconds after the epoch: ISO 8601, or so long ago: ``30s``, ``10m``, ``2h``, ``1d``.

    :raises Usage: for anything else.
    """
    ago = re.fullmatch(r"([0-9]+)([smhd])", text)
    if ago:
        return time.time() - int(ago[1]) * SECONDS[ago[2]]
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise Usage(f"--since {text!r}: write 10m, 2h, 1d or 2026-01-31T13:05:09Z", topic) from None


def last_lines(name: str, end: int, count: int) -> int:
    """Return the position where the last lines of a log begin; it is read from its end."""
    begin, stop, left = log.span(name)[0], end - 1, count  # the last byte ends the last line
    while left and stop > begin:
        start = max(begin, stop - BLOCK)
        text = log.read(name, start, stop - start)[1]
        index = len(text)
        while left and index >= 0:
            index = text.rfind(b"\n", 0, index)
            left -= index >= 0
        if not left:
            return start + index + 1
        stop = start
    return begin if count else end


def stats(options: Options) -> int:
    """Print what containers use."""
    as_table, code, found = not show.wants_json(options), 0, {}
    for name in options.names or manifest.names("container"):
        try:
            record = manifest.read("container", units.check_name(name, "container"))
            if record is not None and enter.is_alive(record):
                found[name] = record, time.monotonic(), cgroup.usage(name)
            elif options.names:
                raise BaleineError(f"container {name}: it does not run") if record else show.missing("container", name)
        except BaleineError as error:
            complain(error.message, error.hint)
            code = FAILED
    if found:
        time.sleep(INTERVAL)
    shown = [used(name, *before) for name, before in found.items()]
    if as_table:
        print(show.table(HEAD, map(row, shown)), end="")
    else:
        print(show.as_json(shown), end="")
    return code


def used(name: str, record: manifest.Record, at: float, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a container uses, and what it used of a CPU since an earlier look."""
    now = cgroup.usage(name)
    spent = max(0.0, now["cpu_seconds"] - before["cpu_seconds"])
    limit = manifest.from_json(record, "limits", {}).get("memory")
    return {
        "name": name,
        "cpu_percent": round(100 * spent / (time.monotonic() - at), 1),
        **now,
        "memory_limit": limit,
        "memory_percent": round(100 * now["memory"] / limit, 1) if limit else None,
        "interfaces": network.counters(int(record["pid"])),
    }


def row(shown: Mapping[str, Any]) -> Sequence[str]:
    """Return a container's line: received and sent, as read and written, are joined by a slash."""
    size, limit = units.show_size, shown["memory_limit"]
    memory = size(shown["memory"]) + (f"/{size(limit)} {shown['memory_percent']}%" if limit else "")
    disk = f"{size(shown['read_bytes'])}/{size(shown['written_bytes'])}"
    net = [f"{name}={size(way['received'])}/{size(way['sent'])}" for name, way in shown["interfaces"].items()]
    cpu, spent = f"{shown['cpu_percent']}%", f"{shown['cpu_seconds']:.1f}s"
    return shown["name"], cpu, spent, memory, str(shown["pids"]), disk, " ".join(net)
