# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's processes may do: parsed, and what the runtime is told of it, for a start and for every exec."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from . import oci, seccomp, units
from .errors import BaleineError

#: Each option with its default, in the form that manifests, results and diffs show.
DEFAULTS: Mapping[str, Any] = {
    "capabilities": {},
    "no_new_privileges": True,
    "seccomp": "default",
    "apparmor": "default",
    "userns": "auto",
    "read_only": False,
    "tmpfs": [],
}
#: capabilities(7), Linux 6.1
_NAMES = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES = frozenset(_NAMES.split())
BASIC = frozenset(name[4:] for name in oci.CAPABILITIES)
TMPFS_SIZE = 64 << 20


def parse(params: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return every option, normalised: those that are not given are the documented defaults.

    :raises BaleineError: for a value that is none.
    """
    found = {**DEFAULTS, **{key: params[key] for key in DEFAULTS if params.get(key) is not None}}
    profile, userns, apparmor = str(found["seccomp"]), found["userns"], str(found["apparmor"])
    if profile not in seccomp.WORDS and (not profile.startswith("/") or not profile.isprintable()):
        raise BaleineError(
            f"{what}: seccomp {profile!r}", f"There are {', '.join(seccomp.WORDS)}, and the absolute path of a profile"
        )
    if not apparmor.isprintable() or apparmor != apparmor.strip():
        raise BaleineError(
            f"{what}: apparmor {apparmor!r} is no profile", "There are default, unconfined, and the host's"
        )
    if userns not in ("auto", "host"):
        raise BaleineError(
            f"{what}: userns {userns!r}", "There are auto, a range of ids of its own, and host, the host's"
        )
    tmpfs = {item["target"]: item for item in (_parse_tmpfs(item, what) for item in found["tmpfs"])}
    return {
        "capabilities": _parse_capabilities(found["capabilities"], what),
        "no_new_privileges": bool(found["no_new_privileges"]),
        "seccomp": profile,
        "apparmor": apparmor,
        "userns": userns,
        "read_only": bool(found["read_only"]),
        "tmpfs": [tmpfs[target] for target in sorted(tmpfs)],
    }


def _parse_capabilities(value: Mapping[str, Any], what: str) -> dict[str, list[str]]:
    """Names without CAP_; those that every container has are not added, and only those are dropped, or all of them."""
    names = {key: {re.sub("^CAP_", "", str(name).upper()) for name in value.get(key) or ()} for key in ("add", "drop")}
    unknown = sorted((names["add"] | names["drop"]) - CAPABILITIES - {"ALL"})
    both = sorted(names["add"] & names["drop"])
    if unknown or both or "ALL" in names["add"]:
        word = (unknown or both or ["ALL"])[0]
        raise BaleineError(
            f"{what}: capabilities: {word} cannot be added" + (" and dropped" if both else ""),
            "Name capabilities of capabilities(7), such as NET_RAW; ALL can be dropped, and some added again",
        )
    everything = "ALL" in names["drop"]
    add, drop = names["add"] - (frozenset() if everything else BASIC), {"ALL"} if everything else names["drop"] & BASIC
    return {key: sorted(some) for key, some in (("add", add), ("drop", drop)) if some}


def _parse_tmpfs(item: Mapping[str, Any], what: str) -> dict[str, Any]:
    mode = str(item.get("mode") or "1777")
    if not re.fullmatch(r"[0-7]{4}", mode):
        raise BaleineError(f"{what}: tmpfs: {mode!r} is no mode", "Write it in octal: '0755'")
    size = units.parse_size(item.get("size") or TMPFS_SIZE, what=f"{what}: tmpfs")
    return {"target": place(str(item["target"]), f"{what}: a tmpfs"), "size": size, "mode": mode}


def place(path: str, what: str) -> str:
    """Return a path inside at which something may be mounted, normalised.

    :raises BaleineError: for one that is the runtime's, or none.
    """
    if not path.startswith("/") or "\0" in path:
        raise BaleineError(f"{what}: {path!r} is no absolute path", "Write it as the container sees it: /data")
    path = "/" + os.path.normpath(path).lstrip("/")
    if path == "/" or path.split("/")[1] in ("proc", "sys", "dev"):
        raise BaleineError(f"{what} cannot lie at {path}", "Choose a directory of the container's own disk")
    return path


def rights(settings: Mapping[str, Any], apparmor: str) -> oci.Rights:
    """Return what a process is given: the first, and every one that exec adds.

    :param apparmor: the profile that it runs under; empty is none.
    """
    change = settings["capabilities"]
    dropped = change.get("drop", ())
    kept = set() if "ALL" in dropped else BASIC - {*dropped}
    names = sorted(kept | {*change.get("add", ())})
    return oci.Rights(tuple(f"CAP_{name}" for name in names), settings["no_new_privileges"], apparmor)
