# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's cgroup hierarchies, and the subtree of each that one lab host may use."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")
LAB = "baleine-lab"


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy: its folder's name below /sys/fs/cgroup ("" for a pure v2 machine) and version."""

    name: str
    version: int

    @property
    def folder(self) -> Path:
        return MOUNTED / self.name

    @property
    def lab(self) -> Path:
        return self.folder / LAB


def hierarchies() -> list[Hierarchy]:
    """The hierarchies mounted at or directly below /sys/fs/cgroup."""
    found: dict[str, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _dash, right = line.partition(" - ")
        point, kind = Path(left.split()[4]), right.split()[0]
        if kind in ("cgroup", "cgroup2") and (point == MOUNTED or point.parent == MOUNTED):
            name = "" if point == MOUNTED else point.name
            found[name] = Hierarchy(name, 2 if kind == "cgroup2" else 1)
    return list(found.values())


def links() -> dict[str, str]:
    """The symbolic links beside the hierarchies (cpu -> cpu,cpuacct)."""
    return {entry.name: os.readlink(entry) for entry in os.scandir(MOUNTED) if entry.is_symlink()}


def make(name: str) -> None:
    """Make the subtree of one lab host in every hierarchy, ready for processes and children."""
    for tree in hierarchies():
        while not (tree.lab / name).is_dir():
            with contextlib.suppress(FileNotFoundError):  # another run's last lab host took the parent along
                tree.lab.mkdir(exist_ok=True)
                (tree.lab / name).mkdir()
        for folder in (tree.lab, tree.lab / name):
            for key in ("cpuset.cpus", "cpuset.mems"):  # v1: an empty set accepts no process
                if tree.version == 1 and (folder / key).exists() and not (folder / key).read_text().strip():
                    (folder / key).write_text((folder.parent / key).read_text())
        if tree.version == 2:
            (tree.lab / name / "init").mkdir(exist_ok=True)
            for folder in (tree.folder, tree.lab, tree.lab / name) if tree.name == "" else ():
                for controller in (folder / "cgroup.controllers").read_text().split():
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def own(tree: Hierarchy, name: str) -> Path:
    """Where the processes of the lab host itself sit: on v2 in a leaf ("no internal processes", cgroup-v2.rst)."""
    return tree.lab / name / "init" if tree.version == 2 else tree.lab / name


def procs(name: str) -> list[str]:
    """The files into which a process writes 0 to become one of the lab host's."""
    return [str(own(tree, name) / "cgroup.procs") for tree in hierarchies()]


def below(name: str) -> list[str]:
    """Every cgroup that was made below a lab host's subtree, as HIERARCHY:/PATH."""
    found = []
    for tree in hierarchies():
        top = tree.lab / name
        for folder, names, _files in os.walk(top):
            found += [
                f"{tree.name or 'v2'}:/{(Path(folder) / child).relative_to(top)}"
                for child in names
                if Path(folder) / child != own(tree, name)
            ]
    return sorted(found)


def outside() -> list[str]:
    """Every cgroup of the machine that is no lab host's own, as HIERARCHY:/PATH (for hosts that see the real roots)."""
    found = []
    for tree in hierarchies():
        for folder, names, _files in os.walk(tree.folder):
            if folder == str(tree.folder):
                names[:] = [name for name in names if name != LAB]
            found += [f"{tree.name or 'v2'}:/{(Path(folder) / name).relative_to(tree.folder)}" for name in names]
    return sorted(found)


def outside_folder(cgroup: str) -> Path:
    """The folder of a name that outside() gave."""
    name, _colon, path = cgroup.partition(":/")
    return MOUNTED / ("" if name == "v2" else name) / path


def throttles() -> dict[str, str]:
    """The v1 block I/O rules of the real root: FILE DEVICE -> value. They outlive the device."""
    found = {}
    for path in sorted(MOUNTED.glob("blkio*/blkio.throttle.*_device")):
        for line in path.read_text().splitlines():
            device, _space, value = line.partition(" ")
            found[f"{path.name} {device}"] = value
    return found


def subtrees() -> list[str]:
    """The lab hosts that have a subtree in any hierarchy."""
    found = set()
    for tree in hierarchies():
        with contextlib.suppress(FileNotFoundError):  # another run's last lab host takes it along at any moment
            found |= {entry.name for entry in os.scandir(tree.lab) if entry.is_dir()}
    return sorted(found)


def thaw(name: str) -> None:
    """Let frozen processes run: on v1 they cannot even be killed (freezer-subsystem.rst)."""
    for tree in hierarchies():
        for folder, _names, _files in os.walk(tree.lab / name):
            thaw_folder(Path(folder))


def thaw_folder(folder: Path) -> None:
    for key, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if (folder / key).exists():
            with contextlib.suppress(OSError):
                (folder / key).write_text(value)


def remove(name: str, timeout: float = 60) -> list[str]:
    """Remove a lab host's subtree everywhere; returns what could not be removed in time (dying processes)."""
    end = time.monotonic() + timeout
    while True:
        left = []
        for tree in hierarchies():
            for folder, _names, _files in os.walk(tree.lab / name, topdown=False):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    left.append(f"{folder}: {error.strerror}")
        if not left or time.monotonic() > end:
            break
        time.sleep(0.02)
    for tree in hierarchies():
        with contextlib.suppress(OSError):
            os.rmdir(tree.lab)  # the last lab host on the machine takes it along
    return left
