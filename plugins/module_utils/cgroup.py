# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""cgroup v1, v2 and the mixture: the only place that knows the difference."""

from __future__ import annotations

import contextlib
import os
from typing import Optional

ROOT = "/sys/fs/cgroup"
#: Every container's group lies below this one, in each hierarchy.
PARENT = "/baleine"


def path_of(name: str) -> str:
    """Return a container's group, below the root of every hierarchy, never below the caller's own."""
    return f"{PARENT}/{name}"


def layout() -> str:
    """Return ``unified`` (v2), ``legacy`` (v1) or ``hybrid`` (v1, and a v2 that still has controllers)."""
    if os.path.exists(f"{ROOT}/cgroup.controllers"):
        return "unified"
    return "hybrid" if unified_controllers() else "legacy"


def unified_controllers() -> list[str]:
    """Return the controllers that a v1 host left on v2: crun refuses such a host."""
    try:
        with open(f"{ROOT}/unified/cgroup.controllers") as stream:
            return stream.read().split()
    except OSError:
        return []


def hierarchies() -> list[str]:
    """Return the mount points of all hierarchies."""
    if layout() == "unified":
        return [ROOT]
    if not os.path.isdir(ROOT):
        return []
    return [entry.path for entry in os.scandir(ROOT) if entry.is_dir() and not entry.is_symlink()]


def directories(name: str) -> list[str]:
    """Return the directories of a container's group that exist."""
    return [path for path in (base + path_of(name) for base in hierarchies()) if os.path.isdir(path)]


def processes(name: str) -> list[int]:
    """Return the pids in a container's group."""
    found: set[int] = set()
    for path in directories(name):
        for folder, _folders, _files in os.walk(path):
            try:
                with open(f"{folder}/cgroup.procs") as stream:
                    found.update(int(line) for line in stream)
            except OSError:
                continue
    return sorted(found)


def remove(name: str) -> None:
    """Remove the empty groups that a container left, and the common parent with the last of them."""
    for path in directories(name):
        for folder, _folders, _files in os.walk(path, topdown=False):
            _rmdir(folder)
    for base in hierarchies():
        _rmdir(base + PARENT)


def _rmdir(path: str) -> None:
    with contextlib.suppress(OSError):  # not there, or still used by another container
        os.rmdir(path)


def read_limit(name: str, v1: tuple[str, str], v2: str) -> Optional[str]:
    """Return the text of a control file of a container.

    :param v1: controller and file; :param v2: file.
    """
    path = f"{ROOT}{path_of(name)}/{v2}" if layout() == "unified" else f"{ROOT}/{v1[0]}{path_of(name)}/{v1[1]}"
    try:
        with open(path) as stream:
            return stream.read().strip()
    except OSError:
        return None


def current_limits(name: str) -> dict[str, object]:
    """Return the limits that the kernel holds for a container: memory and pids as numbers, cpus, cpuset."""
    memory = read_limit(name, ("memory", "memory.limit_in_bytes"), "memory.max")
    pids = read_limit(name, ("pids", "pids.max"), "pids.max")
    cpuset = read_limit(name, ("cpuset", "cpuset.cpus"), "cpuset.cpus")
    if layout() == "unified":
        quota, _space, period = (read_limit(name, ("", ""), "cpu.max") or "max 100000").partition(" ")
    else:
        quota = read_limit(name, ("cpu", "cpu.cfs_quota_us"), "") or "-1"
        period = read_limit(name, ("cpu", "cpu.cfs_period_us"), "") or "100000"
    return {
        "memory": _number(memory),
        "pids": _number(pids),
        "cpus": None if _number(quota) is None else round(int(quota) / int(period), 4),
        "cpuset": cpuset or None,
    }


def _number(text: Optional[str]) -> Optional[int]:
    """A limit as a number; "max", -1 and v1's largest page-aligned number mean none."""
    if text is None or not text.isdigit() or int(text) > 1 << 62:
        return None
    return int(text)
