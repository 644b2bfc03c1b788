# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there before and after a test, and what was left behind."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, kernel, loops, run

if TYPE_CHECKING:
    from .host import LabHost

Snapshot = dict[str, dict[str, str]]

#: Of the containers that the machine itself has.
OWN_MANIFESTS = Path("/var/lib/baleine/manifeste/containers")
STATE = ("/run/baleine", "/run/crun", "/run/runc")
FILES = ("/var/lib/baleine", "/mnt/baleine", "/mnt/baleine-images", "/run/baleine")
RULES = (("nft", "list", "ruleset"), ("iptables-save",), ("ip6tables-save",), ("ebtables-save",))
# Locks are empty files that stay; counters and lists of loaded modules change by themselves.
NEVER = (
    "file *.lock",
    "file */lock",
    "file */lock/*",
    "file */locks/*",
    "state *.lock",
    "state */lock",
    "state */lock/*",
    "state */locks",
    "state */locks/*",
)
MOVING = re.compile(r"(nf_conntrack_count|tcp_available_\w+|tcp_allowed_\w+|\w+_bucket\w*|route/flush)$")
PER_LINK = re.compile(r"net/\w+/(?:conf|neigh)/(?!all/|default/|lo/)")


def snapshot(host: LabHost | None = None, folders: Sequence[str | Path] = ()) -> Snapshot:
    """What is there now: kind -> name -> detail. Of a lab host, or (None) what this run has on the machine itself.

    folders: more folders of the machine whose files loop devices are looked for.
    """
    if host is None:
        return _machine(folders)
    root, real = f"/proc/{host.pid}/root", host.cgroup_root == "real"
    return {
        "loop device": _loops(host, folders),
        "mount": _mounts(f"/proc/{host.pid}/mountinfo"),
        "link": _links(host),
        "network namespace": _namespaces(root, os.readlink(f"/proc/{host.pid}/ns/net")),
        "cgroup": dict.fromkeys([*cgroups.below(host.cgroup), *(outside() if real else ())], ""),
        "I/O rule of the root": _throttles(host) if real else {},
        "state": _entries(root, STATE, folders=True),
        "process": _processes(root),
        "file": _entries(root, FILES, folders=False),
        "sysctl": _sysctls(host),
        "packet filter": _rules(host),
    }


def leaks(before: Snapshot, after: Snapshot, expected: Iterable[str] = ()) -> list[str]:
    """What was left behind or changed between two snapshots, one sentence each.

    expected: patterns (fnmatch) of `KIND NAME` that may stay.
    """
    patterns = (*NEVER, *expected)
    found = []
    for kind, now in after.items():
        was = before.get(kind, {})
        for name, detail in now.items():
            if any(fnmatch.fnmatchcase(f"{kind} {name}", pattern) for pattern in patterns):
                continue
            if name not in was:
                if kind != "sysctl":  # new ones come with a kernel module
                    found.append(f"{kind} {name} was left behind{f' ({detail})' if detail else ''}")
            elif kind == "sysctl" and was[name] != detail:
                found.append(f"sysctl {name} was changed from {was[name]!r} to {detail!r}")
        if kind in ("packet filter", "mount"):
            found += [f"{kind} {name} has gone" for name in was if name not in now]
    return found


def check(
    host: LabHost | None,
    before: Snapshot,
    *,
    timeout: float = run.PATIENCE,
    expected: Iterable[str] = (),
    folders: Sequence[str | Path] = (),
) -> list[str]:
    """Compare now with before; waits up to timeout seconds for what the kernel clears up by itself."""
    patterns = (*expected, *(host.expected if host is not None else ()))
    found: list[str] = []

    def clean() -> bool:
        found[:] = leaks(before, snapshot(host, folders), patterns)
        return not found

    run.wait_for(clean, timeout=timeout, interval=0.1)
    return found


def _mounts(path: str | Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in Path(path).read_text().splitlines():
        left, _dash, right = line.partition(" - ")
        kind, source = right.split()[:2]
        point = left.split()[4]
        while point in found:  # mounted over
            point += " (again)"
        found[point] = f"{kind} from {source}"
    return found


def _links(host: LabHost | None) -> dict[str, str]:
    return {name: link.kind for name, link in kernel.of(host).links.items()}


def _processes(root: str) -> dict[str, str]:
    found = {}
    for number in _numbers(root):
        with contextlib.suppress(OSError):
            words = Path(f"{root}/proc/{number}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            name = Path(f"{root}/proc/{number}/comm").read_text().strip()
            command = b" ".join(words).decode(errors="replace") or f"[{name}]"
            found[f"{number} {command[:120]}"] = ""
    return found


def _numbers(root: str) -> list[str]:
    return [name for name in os.listdir(f"{root}/proc") if name.isdigit() and name != "1"]


def _namespaces(root: str, own: str) -> dict[str, str]:
    found = {}
    for number in _numbers(root):
        with contextlib.suppress(OSError):
            namespace = os.readlink(f"{root}/proc/{number}/ns/net")
            if namespace != own:
                found[namespace] = f"of process {number} {Path(f'{root}/proc/{number}/comm').read_text().strip()}"
    return found


def _entries(root: str, tops: Sequence[str], *, folders: bool) -> dict[str, str]:
    found = {}
    for top in tops:
        for folder, names, files in os.walk(root + top):
            for name in [*files, *(names if folders else ())]:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    if not os.path.isdir(path) or os.path.islink(path):
                        found[path.removeprefix(root)] = f"{os.lstat(path).st_size} bytes"
                    elif folders:
                        found[path.removeprefix(root)] = "a directory"
    return found


def _sysctls(host: LabHost) -> dict[str, str]:
    # /proc/sys/net shows the network namespace of whoever reads it.
    text = host.net(["grep", "-rs", "", "/proc/sys/net"], check=False).stdout
    found = {}
    for line in text.splitlines():
        path, _colon, value = line.removeprefix("/proc/sys/").partition(":")
        if not MOVING.search(path) and not PER_LINK.match(path):
            found[path] = value
    return found


def _rules(host: LabHost) -> dict[str, str]:
    found: dict[str, str] = {}
    for command in RULES:
        try:
            text = host.net(command, check=False).stdout
        except run.LabError:
            continue  # a tool that the machine lacks
        for line in text.splitlines():
            rule = re.sub(r"\[\d+:\d+\]|counter packets \d+ bytes \d+", "", line).strip()
            if rule and not rule.startswith("#"):
                found[f"{command[0]}: {rule}"] = ""
    return found


def _loops(host: LabHost, folders: Sequence[str | Path]) -> dict[str, str]:
    every = loops.all_loops()
    if not every:
        return {}
    known = set().union(*(loops.inodes(Path(folder)) for folder in (host.folder / "plain", *folders)))
    mounted = _mounted_in([f"/proc/{host.pid}/mountinfo"])
    others: set[str] | None = None
    found = {}
    for loop in every:
        inside = False
        with contextlib.suppress(OSError):  # an overlay's file has another inode than the one in upper/
            status = os.stat(host.path(loop.path))
            inside = (status.st_dev, status.st_ino) == (loop.device, loop.inode)
        ours = inside or (loop.device, loop.inode) in known or f"/dev/{loop.name}" in mounted
        if not ours and loop.deleted:
            # The kernel does not say whose a deleted file was. A device that a process elsewhere has mounted is that one's.
            others = _mounted_elsewhere(host) if others is None else others
            ours = f"/dev/{loop.name}" not in others
        if ours:
            found[f"{loop.name} on {loop.path}"] = "detaches itself when let go of" if loop.autoclear else ""
    return found


def _mounted_in(tables: Iterable[str]) -> set[str]:
    """The devices that are mounted in these mount namespaces."""
    found = set()
    for table in tables:
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            found |= {line.partition(" - ")[2].split()[1] for line in Path(table).read_text().splitlines()}
    return found


def _mounted_elsewhere(host: LabHost) -> set[str]:
    """The devices that processes outside of a lab host have mounted, and none inside."""
    root = f"/proc/{host.pid}/root"
    inside = {os.readlink(f"/proc/{host.pid}/ns/mnt")}
    for number in _numbers(root):
        with contextlib.suppress(OSError):
            inside.add(os.readlink(f"{root}/proc/{number}/ns/mnt"))
    tables = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(folder / "ns/mnt") not in inside:
                tables.append(str(folder / "mountinfo"))
    return _mounted_in(tables)


def outside() -> list[str]:
    """Cgroups below the real roots, but for those of the machine's own containers."""
    own = {f"/baleine/{name}" for name in _own_containers()}
    common = {"/baleine"} if own else set()
    paths = ((name, name.partition(":")[2]) for name in cgroups.outside())
    return [
        name for name, path in paths if path not in common and not any(f"{path}/".startswith(f"{one}/") for one in own)
    ]


def _throttles(host: LabHost) -> dict[str, str]:
    """The I/O rules of the real root, but for those of a device that another's file is behind now."""
    known = loops.inodes(host.folder / "plain")
    others = {
        f"7:{loop.name.removeprefix('loop')}"
        for loop in loops.all_loops()
        if (loop.device, loop.inode) not in known and not loop.deleted
    }
    return {name: value for name, value in cgroups.throttles().items() if name.split()[1] not in others}


def _own_containers() -> set[str]:
    """The containers of the machine itself, which come and go while tests run: a farm that somebody uses."""
    return {path.stem for path in OWN_MANIFESTS.glob("*.manifest")}


def _own_links() -> set[str]:
    """The links of the machine's own containers."""
    found = set()
    for path in OWN_MANIFESTS.glob("*.manifest"):
        with contextlib.suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                key, _colon, value = line.partition(":")
                found |= set(value.strip().split(",")) if key == "interface" else set()
    return found


def _machine(folders: Sequence[str | Path]) -> Snapshot:
    """What this run has on the machine; what the machine's own Baleine has is somebody's, and changes as they like."""
    base, run_id = run.BASE / run.run_id(), run.run_id()
    held = {f"{loop.name} on {loop.path}": "" for folder in (base, *folders) for loop in loops.below(Path(folder))}
    mounts = {point: detail for point, detail in _mounts("/proc/self/mountinfo").items() if point.startswith(str(base))}
    found = _links(None)
    own = _own_links()  # afterwards: a manifest is written before its links are made
    links = {name: kind for name, kind in found.items() if name.startswith("vif") and name not in own}
    processes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # One that has ended holds nothing: it waits until this run asks for its code.
            ended = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not ended and f".{run_id}" in (folder / "cgroup").read_text():
                processes[f"{folder.name} {(folder / 'comm').read_text().strip()}"] = "in a lab host's cgroup"
    return {
        "loop device": held,
        "mount": mounts,
        "link": links,
        "cgroup": dict.fromkeys((name for name in cgroups.subtrees() if name.endswith(f".{run_id}")), ""),
        "process": processes,
        "lab folder": {entry.name: str(entry) for entry in base.iterdir() if not entry.name.startswith(".")}
        if base.is_dir()
        else {},
    }
