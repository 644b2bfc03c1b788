# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container logs`` and ``stats``: what containers print, and what they use."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from baleine import cgroup, enter, log, manifest, network, units
from baleine.errors import BaleineError
from baleine.process import open_process, wait_ended

from . import show
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
    record = manifest.need("container", name)
    since = options.text("since")
    position, end = log.span(name)
    if since is not None:
        position = max(position, log.offset_since(name, moment(since, options.topic, time.time())))
    if tail is not None:
        position = max(position, last_lines(name, end, tail))
    alive = enter.is_alive(record) and options.on("follow")
    first = open_process(int(record["pid"]), int(record["start_ticks"])) if alive else None
    text, ended = b"", False
    while True:
        if not text:
            ended = first is None or wait_ended(first, PAUSE)  # before the last look: what it wrote then is seen
        position, text = log.read(name, position)
        if not write_all(1, text) or (ended and not text):
            return 0


def moment(text: str, topic: str, now: float) -> float:
    """Return a time in seconds after the epoch: ISO 8601, or so long ago: ``30s``, ``10m``, ``2h``, ``1d``.

    :param now: the time that it is, in seconds after the epoch.
    :raises Usage: for anything else.
    """
    ago = re.fullmatch(r"([0-9]+)([smhd])", text)
    if ago:
        return now - int(ago[1]) * SECONDS[ago[2]]
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
    as_json, shown, before = show.wants_json(options), [], {}

    def look(name: str) -> None:
        record = manifest.read("container", units.check_name(name, "container")) or {}
        if enter.is_alive(record):
            before[name] = record, time.monotonic(), cgroup.usage(name)
        elif options.names:
            raise BaleineError(f"container {name}: it does not run")

    code = show.every(options.names or manifest.names("container"), look)
    time.sleep(INTERVAL if before else 0)
    for name, (record, at, old) in before.items():
        now = cgroup.usage(name)
        spent = max(0.0, now["cpu_seconds"] - old["cpu_seconds"]) / (time.monotonic() - at)
        limit = manifest.from_json(record, "limits", {}).get("memory")
        percent = round(100 * now["memory"] / limit, 1) if limit else None
        also = {"cpu_percent": round(100 * spent, 1), "memory_limit": limit, "memory_percent": percent}
        shown.append({"name": name, **now, **also, "interfaces": network.counters(int(record["pid"]))})
    print(show.as_json(shown) if as_json else show.table(HEAD, map(row, shown)), end="")
    return code


def row(shown: Mapping[str, Any]) -> Sequence[str]:
    """Return a container's line: read and written, as received and sent, are joined by a slash."""

    def pair(left: int, right: Optional[int]) -> str:
        return units.show_size(left) + (f"/{units.show_size(right)}" if right is not None else "")

    memory = pair(shown["memory"], shown["memory_limit"])
    net = " ".join(f"{name}={pair(way['received'], way['sent'])}" for name, way in shown["interfaces"].items())
    cpu, spent = f"{shown['cpu_percent']}%", f"{shown['cpu_seconds']:.1f}s"
    return shown["name"], cpu, spent, memory, str(shown["pids"]), pair(shown["read_bytes"], shown["written_bytes"]), net
