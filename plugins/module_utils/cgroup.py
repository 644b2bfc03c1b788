# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""cgroup v1, v2 and the mixture: the only place that knows the difference."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from .errors import BaleineError
from .manifest import drop_empty, registry
from .process import read, wait_until
from .rootfs import device_rule
from .units import number

ROOT = "/sys/fs/cgroup"
#: Every container's group lies below this one, in each hierarchy.
PARENT = "/baleine"
#: Microseconds over which a CPU quota is counted.
PERIOD = 100_000
#: What io.max (v2) and blkio.throttle.*_device (v1) call each limit of block I/O.
IO = {"io_read_rate": ("rbps", "read_bps"), "io_write_rate": ("wbps", "write_bps"),
      "io_read_ops": ("riops", "read_iops"), "io_write_ops": ("wiops", "write_iops")}  # fmt: skip
SETS = {"cpuset": "cpuset.cpus", "cpuset_mems": "cpuset.mems"}
#: The controller of each limit; v1 calls that of block I/O blkio, v2 has no files for devices.
CONTROLLERS = {"memory": "memory", "cpus": "cpu", "cpu_weight": "cpu", **dict.fromkeys(SETS, "cpuset"), "pids": "pids",
               **dict.fromkeys(IO, "io"), "devices": "devices"}  # fmt: skip
#: v1: cpu.shares of one cpu.weight; 100 and 1024 are the defaults.
SHARES = 10.24
#: Where a container's bundle says that the rule in the root group for this loop device is its own (v1).
NOTE = "/run/baleine/containers/{}/throttled"
HINTS = {errno.EBUSY: "It uses more than that now", errno.EACCES: "A group above it has no such CPUs or nodes",
         errno.ENOENT: "This host's kernel has no such limit, or its controller is not enabled"}  # fmt: skip
#: What every container may use (runc and crun), and make nodes of: null, zero, full, random, urandom, tty, ptmx, pts.
OWN_DEVICES = ("c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:1", "c 5:2", "c 136:*", "c *:*", "b *:*")


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
    return (read(f"{ROOT}/unified/cgroup.controllers") or "").split()


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
            found.update(map(int, (read(f"{folder}/cgroup.procs") or "").split()))
    return sorted(found)


def frozen(name: str) -> bool:
    """Say whether a container is paused."""
    if layout() == "unified":
        return "frozen 1" in (read(_file(name, "", "", "cgroup.events")) or "")
    return read(_file(name, "freezer", "freezer.state", "")) in ("FROZEN", "FREEZING")


def freeze(name: str, still: bool) -> None:
    """Pause a container's processes or let them go on, and wait until it is so (freezer-subsystem.rst, cgroup-v2.rst).

    :raises BaleineError: when the kernel refuses, or a process does not stop within 10 s.
    """
    unified, path = layout() == "unified", _file(name, "freezer", "freezer.state", "cgroup.freeze")
    word = str(int(still)) if unified else "FROZEN" if still else "THAWED"
    _write(name, "pause", path, word)
    if not wait_until(lambda: frozen(name) == still if unified else read(path) == word, 10.0):
        raise BaleineError(f"container {name}: a process does not stop", "It waits for a device: see dmesg")


def usage(name: str) -> dict[str, Any]:
    """Return what a container uses: ``memory`` in bytes without the page cache that can be dropped at once (as free(1)
    sees it), ``cpu_seconds``, ``pids``, and by its disks ``read_bytes``, ``written_bytes``, ``reads``, ``writes``.

    On v2 what goes through its loop device is seen again on the device below (Linux 5.14): the larger of both counts.
    On v1 newer kernels count only where a rule is, so there it is what its processes asked for (/proc/PID/io, proc(5);
    a process leaves its counts to whoever reaps it): reads and writes are system calls.
    """
    unified = layout() == "unified"

    def count(controller: str, v1: str, v2: str, key: str = "") -> int:
        lines = (read(_file(name, controller, v1, v2)) or "").split("\n")
        return next((int(line.split()[-1]) for line in lines if line and line.startswith(key)), 0)

    cache = count("memory", "memory.stat", "memory.stat", "inactive_file " if unified else "total_inactive_file ")
    cpu = count("cpuacct", "cpuacct.usage", "cpu.stat", "usage_usec" if unified else "")
    kinds = ("rbytes", "wbytes", "rios", "wios") if unified else ("read_bytes", "write_bytes", "syscr", "syscw")
    sums = [[0] * len(kinds), [0] * len(kinds)]
    lines = [f" {read(f'/proc/{pid}/io') or ''}" for pid in processes(name)]
    for line in (read(_file(name, "", "", "io.stat")) or "").split("\n") if unified else lines:
        device, _space, rest = line.partition(" ")
        words = rest.replace("=", " ").replace(":", " ").split()
        for key, value in zip(words[::2], words[1::2]):
            if key in kinds:
                sums[device.startswith("7:")][kinds.index(key)] += int(value)
    return {
        "memory": max(0, count("memory", "memory.usage_in_bytes", "memory.current") - cache),
        "cpu_seconds": cpu / (1e6 if unified else 1e9),
        "pids": count("pids", "pids.current", "pids.current"),
        **dict(zip(("read_bytes", "written_bytes", "reads", "writes"), map(max, *sums))),
    }


def remove(name: str) -> None:
    """Remove the empty groups that a container left."""
    for path in directories(name):
        for folder, _folders, _files in os.walk(path, topdown=False):
            drop_empty(folder)


def _file(name: str, controller: str, v1: str, v2: str) -> str:
    """The path of a control file of a container, on the layout of this host."""
    if layout() == "unified":
        return f"{ROOT}{path_of(name)}/{v2}"
    return f"{ROOT}/{controller}{path_of(name)}/{v1}"


def missing(limit: str) -> str:
    """Return the controller that a limit needs and this host does not have; empty where it has it."""
    v1 = {"io": "blkio"}.get(CONTROLLERS[limit], CONTROLLERS[limit])
    if layout() == "unified":
        there = CONTROLLERS[limit] in ["devices", *(read(f"{ROOT}/cgroup.controllers") or "").split()]
        return "" if there else CONTROLLERS[limit]
    return "" if os.path.exists(f"{ROOT}/{v1}/{_throttle(limit) if limit in IO else ''}") else v1


#: What no limit of processes means: a container of many more is one that went wrong (Podman's number too).
PIDS = "2048"
MOST_PIDS = 1 << 22


def current_limits(name: str, pid: int, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits that the kernel holds for a container.

    :param pid: its first process.
    :param recorded: its limits as recorded: tells a set of CPUs that is all of them from none.
    """
    device, devices = _disk_of(pid), recorded.get("devices") or ()
    pids = read(_file(name, "pids", "pids.max", "pids.max")) or PIDS
    if layout() == "unified":
        quota, _space, period = (read(_file(name, "", "", "cpu.max")) or "max 100000").partition(" ")
        weight = _number(read(_file(name, "", "", "cpu.weight"))) or 100
        rules = dict(word.split("=", 1) for word in _rules(_file(name, "", "", "io.max")).get(device, "").split())
        found: dict[str, Any] = {key: _number(rules.get(word)) for key, (word, _v1) in IO.items()}
        found["devices"] = devices or None  # a program that the kernel holds: nobody changes it by hand
    else:
        quota = read(_file(name, "cpu", "cpu.cfs_quota_us", "")) or "-1"
        period = read(_file(name, "cpu", "cpu.cfs_period_us", "")) or "100000"
        weight = round((_number(read(_file(name, "cpu", "cpu.shares", ""))) or 1024) / SHARES)
        found = {key: _current_rule(name, key, device) for key in IO}
        found["devices"] = _current_devices(name, devices) or None
    for key, file in SETS.items():
        text = read(_file(name, "cpuset", file, file)) or None
        found[key] = None if recorded.get(key) is None and text == _everything(file) else text
    return {
        **found,
        "memory": _number(read(_file(name, "memory", "memory.limit_in_bytes", "memory.max"))),
        "pids": {PIDS: None, "max": MOST_PIDS}.get(pids, _number(pids)),
        "cpus": None if _number(quota) is None else round(int(quota) / int(period), 4),
        "cpu_weight": None if weight == 100 else weight,
    }


def oom_kills(name: str) -> Optional[int]:
    """Return how many processes of a container were killed because its memory was used up, ended or not."""
    words = (read(_file(name, "memory", "memory.oom_control", "memory.events")) or "").split()
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else None


def _number(text: Optional[str]) -> Optional[int]:
    """A limit as a number; "max", -1 and v1's largest page-aligned number mean none."""
    found = number(text or "")
    return None if found is None or found > 1 << 59 else found


def _disk_of(pid: int) -> str:
    """The number of the device that a container's root lies on; of one that just ended there is none."""
    try:
        device = os.stat(f"/proc/{pid}/root").st_dev
    except OSError:
        return ""
    return f"{os.major(device)}:{os.minor(device)}"


def _rules(path: str) -> dict[str, str]:
    """A file of rules: by its first word the rest of each line."""
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in (read(path) or "").splitlines()}


def _throttle(key: str) -> str:
    return f"blkio.throttle.{IO[key][1]}_device"


def _current_rule(name: str, key: str, device: str) -> Any:
    """A limit of block I/O on v1; both, where the rule in the root group is not the container's."""
    bases = ("", path_of(name)) if "write" in key else (path_of(name),)
    found = {_number(_rules(f"{ROOT}/blkio{base}/{_throttle(key)}").get(device)) for base in bases}
    return found.pop() if len(found) == 1 else sorted(found, key=str)


def _current_devices(name: str, recorded: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The devices that the rules of v1 allow: those that were given under their paths, others by their numbers."""
    paths = {device_rule(item["path"]): item["path"] for item in recorded}
    lines = (read(_file(name, "devices", "devices.list", "")) or "").splitlines()
    pairs = sorted((paths.get(line.rpartition(" ")[0], line.rpartition(" ")[0]), line.split()[-1]) for line in lines)
    return [{"path": path, "access": access} for path, access in pairs if path not in OWN_DEVICES]


def set_limits(name: str, pid: int, limits: Mapping[str, Any]) -> None:
    """Give a container its limits, all of them: one that is None is taken away.

    Written here and not by the runtime, at the start too: crun 1.8.1 cannot take a CPU limit away on v1, and what the
    kernel does not have must be an error.

    :param pid: its first process: its root lies on the device that limits of block I/O are for.
    :raises BaleineError: for a limit that the kernel refuses or does not have.
    """
    memory, pids, device = limits.get("memory"), str(limits.get("pids") or PIDS), _disk_of(pid)
    weight, quota = limits.get("cpu_weight") or 100, int((limits.get("cpus") or 0) * PERIOD)
    _enable(name, limits)
    for key, file in SETS.items():
        path = _file(name, "cpuset", file, file)
        if limits.get(key) or read(path):  # once set, it cannot be emptied under a process (ENOSPC): all then
            _write(name, key, path, limits.get(key) or _everything(file))
    if layout() == "unified":
        rule = " ".join(f"{word}={limits.get(key) or 'max'}" for key, (word, _v1) in IO.items())
        swaps = (read("/proc/swaps") or "").splitlines()
        no_swap = not os.path.exists(_file(name, "", "", "memory.swap.max")) and len(swaps) < 2
        files = [
            ("memory", "", "memory.max", str(memory or "max")),
            *([] if no_swap else [("memory", "", "memory.swap.max", "0" if memory else "max")]),
            ("cpus", "", "cpu.max", f"{quota or 'max'} {PERIOD}"), ("cpu_weight", "", "cpu.weight", str(weight)),
            ("pids", "", "pids.max", pids),
            (next((key for key in IO if limits.get(key)), "io"), "", "io.max", f"{device} {rule}"),
        ]  # fmt: skip
    else:
        alone, both = ((f"memory.{word}limit_in_bytes", str(memory or -1)) for word in ("", "memsw."))
        if not os.path.exists(_file(name, "memory", both[0], "")):  # no accounting of swap: at least none is used
            both = ("memory.swappiness", "0" if memory else read(f"{ROOT}/memory/memory.swappiness") or "60")
        rises = (_number(read(_file(name, "memory", alone[0], ""))) or sys.maxsize) < (memory or sys.maxsize)
        files = [
            # memory can never be more than memory and swap
            *(("memory", "memory", *pair) for pair in ((both, alone) if rises else (alone, both))),
            ("cpus", "cpu", "cpu.cfs_period_us", str(PERIOD)), ("cpus", "cpu", "cpu.cfs_quota_us", str(quota or -1)),
            ("cpu_weight", "cpu", "cpu.shares", str(round(weight * SHARES))), ("pids", "pids", "pids.max", pids),
        ]  # fmt: skip
    for key, controller, file, text in files:
        _write(name, key, _file(name, controller, file, file), text, optional=not limits.get(key))
    if layout() != "unified":
        _set_devices(name, limits.get("devices") or ())
        _set_rules(name, device, limits)


def _everything(file: str) -> str:
    """All CPUs or memory nodes that containers can have."""
    path = f"{PARENT}/{file}.effective" if layout() == "unified" else f"/cpuset{PARENT}/{file}"
    return read(ROOT + path) or ""


def _enable(name: str, limits: Mapping[str, Any]) -> None:
    """Let v2 give containers the controllers that their limits need; the runtime does, as far as it needs them."""
    there = ["devices", *(read(_file(name, "", "", "cgroup.controllers")) or "").split()]
    for key in limits if layout() == "unified" else ():
        for base in (ROOT, ROOT + PARENT) if limits[key] and CONTROLLERS[key] not in there else ():
            _write(name, key, f"{base}/cgroup.subtree_control", f"+{CONTROLLERS[key]}")


def _set_devices(name: str, devices: Sequence[Mapping[str, str]]) -> None:
    wanted = {device_rule(item["path"]): item["access"] for item in devices}
    for rule in {*wanted, *(item["path"] for item in _current_devices(name, ()))}:
        rest = "".join(letter for letter in "rwm" if letter not in wanted.get(rule, ""))
        for verb, access in (("allow", wanted.get(rule)), ("deny", rest)):
            if access:
                _write(name, "devices", _file(name, "devices", f"devices.{verb}", ""), f"{rule} {access}")


def _set_rules(name: str, device: str, limits: Mapping[str, Any]) -> None:
    """Limit block I/O on v1: in the container's group, which misses buffered writes, and in the root group.

    The rule in the root group outlives the loop device and would hit its next owner. So it is noted whose it is, and
    every start replaces what an earlier owner left.
    """
    note = NOTE.format(name)
    with registry():
        for other in glob.glob(NOTE.format("*")):
            if other == note or read(other) == device:
                os.unlink(other)
        if limits.get("io_write_rate") or limits.get("io_write_ops"):
            with open(note, "w") as stream:
                stream.write(device)
        for key in IO:
            for base in ("", path_of(name)) if "write" in key else (path_of(name),):
                path = f"{ROOT}/blkio{base}/{_throttle(key)}"
                _write(name, key, path, f"{device} {limits.get(key) or 0}", optional=not limits.get(key))


def unthrottle(name: str) -> None:
    """Take back the rules in the root group that a container left (v1)."""
    note = NOTE.format(name)
    if os.path.exists(note):
        with registry(), contextlib.suppress(FileNotFoundError):
            device = read(note)
            for key in ("io_write_rate", "io_write_ops"):
                with contextlib.suppress(BaleineError):  # the device is gone, and the rule with it
                    _write(name, key, f"{ROOT}/blkio/{_throttle(key)}", f"{device} 0", optional=True)
            os.unlink(note)


def _write(name: str, limit: str, path: str, text: str, optional: bool = False) -> None:
    if optional and not os.path.exists(path):
        return
    try:
        with open(path, "w") as stream:
            stream.write(text)
    except OSError as error:
        what = f"container {name}: limits.{limit}: {os.path.basename(path)}: {error.strerror}"
        raise BaleineError(what, HINTS.get(error.errno or 0, "")) from None
