# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""cgroup v1, v2 and the mixture: the only place that knows the difference."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Mapping
from typing import Any, Optional

from .errors import BaleineError
from .process import wait_until
from .units import number

ROOT = "/sys/fs/cgroup"
#: Every container's group lies below this one, in each hierarchy.
PARENT = "/baleine"
#: Microseconds over which a CPU quota is counted.
PERIOD = 100_000


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


def frozen(name: str) -> bool:
    """Say whether a container is paused."""
    if layout() == "unified":
        return "frozen 1" in (_read(_file(name, "", "", "cgroup.events")) or "")
    return _read(_file(name, "freezer", "freezer.state", "")) in ("FROZEN", "FREEZING")


def freeze(name: str, still: bool) -> None:
    """Pause a container's processes or let them go on, and wait until it is so (freezer-subsystem.rst, cgroup-v2.rst).

    :raises BaleineError: when the kernel refuses, or a process does not stop within 10 s.
    """
    v1 = "FROZEN" if still else "THAWED"
    path = _file(name, "freezer", "freezer.state", "cgroup.freeze")
    _write(name, "pause", path, str(int(still)) if layout() == "unified" else v1)

    def settled() -> bool:
        return frozen(name) == still if layout() == "unified" else _read(path) == v1

    if not wait_until(settled, 10.0):
        raise BaleineError(f"container {name}: a process does not stop", "It waits for a device: see dmesg")


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


def _file(name: str, controller: str, v1: str, v2: str) -> str:
    """The path of a control file of a container, on the layout of this host."""
    if layout() == "unified":
        return f"{ROOT}{path_of(name)}/{v2}"
    return f"{ROOT}/{controller}{path_of(name)}/{v1}"


def _read(path: str) -> Optional[str]:
    try:
        with open(path) as stream:
            return stream.read().strip()
    except OSError:
        return None


def current_limits(name: str) -> dict[str, object]:
    """Return the limits that the kernel holds for a container: memory and pids as numbers, cpus, cpuset."""
    if layout() == "unified":
        quota, _space, period = (_read(_file(name, "", "", "cpu.max")) or "max 100000").partition(" ")
    else:
        quota = _read(_file(name, "cpu", "cpu.cfs_quota_us", "")) or "-1"
        period = _read(_file(name, "cpu", "cpu.cfs_period_us", "")) or "100000"
    return {
        "memory": _number(_read(_file(name, "memory", "memory.limit_in_bytes", "memory.max"))),
        "pids": _number(_read(_file(name, "pids", "pids.max", "pids.max"))),
        "cpus": None if _number(quota) is None else round(int(quota) / int(period), 4),
        "cpuset": _read(_file(name, "cpuset", "cpuset.cpus", "cpuset.cpus")) or None,
    }


def _number(text: Optional[str]) -> Optional[int]:
    """A limit as a number; "max", -1 and v1's largest page-aligned number mean none."""
    found = number(text or "")
    return None if found is None or found > 1 << 59 else found


def set_limits(name: str, limits: Mapping[str, Any]) -> None:
    """Give a running container its limits, all of them: one that is None is taken away.

    Written here and not by the runtime's own ``update``: crun 1.8.1 cannot take a CPU limit away on v1.

    :raises BaleineError: for a limit that the kernel refuses or does not have.
    """
    memory, cpus, pids = limits.get("memory"), limits.get("cpus"), limits.get("pids")
    quota = int(cpus * PERIOD) if cpus else None
    unified = layout() == "unified"
    _write(name, "pids", _file(name, "pids", "pids.max", "pids.max"), str(pids or "max"))
    if unified:
        _write(name, "memory", _file(name, "", "", "memory.max"), str(memory or "max"))
        _write(name, "memory", _file(name, "", "", "memory.swap.max"), "0" if memory else "max", optional=True)
        _write(name, "cpus", _file(name, "", "", "cpu.max"), f"{quota or 'max'} {PERIOD}")
        path = _file(name, "", "", "cpuset.cpus")
        if limits.get("cpuset") or _read(
            path
        ):  # once it is set, no kernel empties it under a process (ENOSPC): all then
            everything = _read(f"{ROOT}{PARENT}/cpuset.cpus.effective") or ""
            _write(name, "cpuset", path, limits.get("cpuset") or everything)
        return
    both = _file(name, "memory", "memory.memsw.limit_in_bytes", "")
    alone = _file(name, "memory", "memory.limit_in_bytes", "")
    rises = (_number(_read(alone)) or sys.maxsize) < (memory or sys.maxsize)
    for path in (both, alone) if rises else (alone, both):  # memory can never be more than memory and swap
        _write(name, "memory", path, str(memory or -1), optional=path == both)
    _write(name, "cpus", _file(name, "cpu", "cpu.cfs_period_us", ""), str(PERIOD))
    _write(name, "cpus", _file(name, "cpu", "cpu.cfs_quota_us", ""), str(quota or -1))
    cpuset = limits.get("cpuset") or _read(f"{ROOT}/cpuset{PARENT}/cpuset.cpus") or ""
    _write(name, "cpuset", _file(name, "cpuset", "cpuset.cpus", ""), cpuset, optional=not limits.get("cpuset"))


def _write(name: str, limit: str, path: str, text: str, optional: bool = False) -> None:
    if optional and not os.path.exists(path):
        return
    try:
        with open(path, "w") as stream:
            stream.write(text)
    except OSError as error:
        hint = "It uses more than that now" if error.errno == errno.EBUSY else "This host's kernel has no such limit"
        raise BaleineError(
            f"container {name}: limits.{limit}: {os.path.basename(path)}: {error.strerror}",
            hint if error.errno in (errno.EBUSY, errno.ENOENT) else "",
        ) from None
