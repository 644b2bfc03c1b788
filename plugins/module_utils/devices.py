# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices of the host in a container: nodes in its /dev, at its start and while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Optional

from . import cgroup, enter, oci, rootfs, runtime
from .errors import BaleineError
from .process import Runner, check, in_child

Devices = Sequence[Mapping[str, str]]


def stage(devices: Devices, place: str, owner: int) -> list[oci.Bind]:
    """Make nodes that belong to the container's root: the host's own are nobody's inside, and often only root's.

    Who may use them is the devices controller's affair.

    :param place: a directory for a tmpfs that only this mount namespace sees.
    """
    os.makedirs(place, mode=0o711, exist_ok=True)
    rootfs.mount("baleine", place, "tmpfs", rootfs.MS_NOSUID | rootfs.MS_NOEXEC, "mode=0711,size=16k")
    for index, item in enumerate(devices):
        node, found = f"{place}/{index}", os.stat(item["path"])
        os.mknod(node, stat.S_IFMT(found.st_mode), found.st_rdev)
        os.chmod(node, 0o666)
        os.chown(node, owner, owner)
    binds = enumerate(item["path"] for item in devices)
    return [oci.Bind(f"{place}/{index}", path, False, ("nosuid", "noexec")) for index, path in binds]


def change(run: Runner, name: str, record: Mapping[str, str], old: Optional[Devices], new: Optional[Devices]) -> None:
    """Give a running container other devices than it has; on v1 :func:`cgroup.set_limits` allows them.

    :param record: its manifest.
    :raises BaleineError: for a runtime that cannot; before anything was changed.
    """
    what, had = f"container {name}: limits.devices", [item["path"] for item in old or ()]
    if cgroup.layout() == "unified":  # the rules are a program there, which is the runtime's
        if record["runtime"] != "crun":
            raise BaleineError(f"{what}: {record['runtime']} cannot change them while it runs", "Stop it before")
        rules = enter.nameless(json.dumps(oci.device_rules(new or ())))
        check(run(runtime.argv(record["runtime"], "update", "--resources", rules, name)), what)
    gone = set(had) - {item["path"] for item in new or ()}
    fresh = [item for item in new or () if item["path"] not in had]
    place, owner = f"{cgroup.NOTE.format(name)}.nodes", int(record["first_id"])
    in_child(lambda: _give(int(record["pid"]), owner, gone, fresh, place), what)


def _give(pid: int, owner: int, gone: Iterable[str], fresh: Devices, place: str) -> None:
    """In a forked child, which alone sees ``place``: no link that the container has put into its /dev is followed."""
    rootfs.unshare(rootfs.CLONE_NEWNS)
    trees = {bind.target: rootfs.clone_tree(bind.source) for bind in stage(fresh, place, owner)}
    rootfs.enter_mounts(pid)
    rootfs.act_as(owner)
    for path in (*gone, *trees):
        *folders, leaf = path.split("/")[2:]
        folder = rootfs.open_inside("/", "dev", os.O_RDONLY | os.O_DIRECTORY, links=False)
        for name in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=folder)
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        os.fchdir(folder)
        with contextlib.suppress(OSError):  # no mount there
            rootfs.unmount(leaf, rootfs.MNT_DETACH | rootfs.UMOUNT_NOFOLLOW)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(leaf)
        if path in trees:
            rootfs.attach_tree(trees[path], os.open(leaf, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
