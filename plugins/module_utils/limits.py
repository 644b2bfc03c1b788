# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a container: parsed, held against what this host has, and shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from . import cgroup, rootfs, units
from .errors import BaleineError
from .process import read

#: Bytes, or bytes a second, with the least that makes sense.
SIZES = {"memory": units.MEMORY_FLOOR, "io_read_rate": 4096, "io_write_rate": 4096}
#: Numbers, from and to.
NUMBERS = {"cpu_weight": (1, 10000), "pids": (1, 4194303), "io_read_ops": (1, 1 << 31), "io_write_ops": (1, 1 << 31)}
#: Where the kernel lists the CPUs and memory nodes that there are.
SETS = {"cpuset": "/sys/devices/system/cpu/online", "cpuset_mems": "/sys/devices/system/node/online"}
KEYS = ("memory", "cpus", "cpu_weight", *SETS, "pids", *cgroup.IO, "devices")
#: What /dev holds in every container.
TAKEN = re.compile(r"/dev/(null|zero|full|u?random|tty|console|ptmx|pts|shm|mqueue|fd|std\w+|core|\..*)(/.*)?")


def parse(request: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return limits in bytes, CPUs and numbers; None where there is none.

    :raises BaleineError: for a value that is none.
    """
    found: dict[str, Any] = dict.fromkeys(KEYS)
    for key, least in SIZES.items():
        if request.get(key):
            found[key] = units.parse_size(request[key], what=f"{what}: limits.{key}")
            if found[key] < least:
                raise BaleineError(
                    f"{what}: limits.{key} of {found[key]} bytes is too small",
                    f"Give it {units.show_size(least)} or more",
                )
    for key, (low, high) in NUMBERS.items():
        value = request.get(key)
        if value is not None and not low <= (units.number(str(value)) or 0) <= high:
            raise BaleineError(f"{what}: limits.{key}: {value} is no number", f"Give it one from {low} to {high}")
        found[key] = None if value is None else int(value)
    for key in SETS:
        found[key] = units.parse_cpuset(request.get(key), f"{what}: limits.{key}")
    found["cpus"] = units.parse_cpus(request.get("cpus"), what)
    found["memory"] = found["memory"] and found["memory"] // 4096 * 4096  # the kernel counts in pages
    for key, everybodys in (("cpu_weight", 100), ("pids", int(cgroup.PIDS))):
        found[key] = None if found[key] == everybodys else found[key]
    devices: dict[str, str] = {}
    for item in request.get("devices") or ():
        path, access = units.normal_path(str(item["path"])), str(item.get("access") or "rw")
        if not path.startswith("/dev/") or not path.isprintable() or TAKEN.fullmatch(path) or set(access) - set("rwm"):
            raise BaleineError(
                f"{what}: limits.devices: {path} {access}: this cannot be given",
                "Name a device node below /dev that not every container has, and as access r, w, m",
            )
        devices[path] = "".join(letter for letter in "rwm" if letter in access)
    found["devices"] = [{"path": path, "access": devices[path]} for path in sorted(devices)] or None
    return found


def refuse(limits: Mapping[str, Any], what: str) -> Optional[BaleineError]:
    """Return why this host cannot have limits, as far as that can be known before they are set."""
    for key in [key for key in KEYS if limits.get(key)]:
        why, hint = cgroup.missing(key), "Leave the limit out, or enable the controller (the kernel's command line)"
        if why:
            why = f"no cgroup controller {why}"
        elif key in SETS:
            there = units.expand_ranges(read(SETS[key]) or "0")
            lacking = units.join_ranges(sorted(units.expand_ranges(limits[key]) - there))
            why = f"no number {lacking} of these" if lacking else ""
            hint = f"It has {units.join_ranges(sorted(there))}"
        elif key == "devices":
            why = next((f"no device {i['path']}" for i in limits[key] if not rootfs.device_rule(i["path"])), "")
            hint = "Name device nodes that are there"
        if why:
            return BaleineError(f"{what}: limits.{key}: this host has {why}", hint)
    return None


def show(limits: Mapping[str, Any]) -> list[str]:
    """Return limits in few words: ``memory=512M``, ``cpus=0.5``."""
    return [f"{key}={show_one(key, value)}" for key, value in limits.items() if value is not None]


def show_one(key: str, value: Any) -> str:
    """Return one limit as a person writes it; one that does not exist is ``none``."""
    if key == "devices" and value:
        return ",".join(f"{item['path']}:{item['access']}" for item in value)
    if isinstance(value, list):
        return "/".join(show_one(key, item) for item in value)
    return "none" if value is None else units.show_size(value) if key in SIZES else str(value)
