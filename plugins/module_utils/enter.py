# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One more program in a container that runs. What is imported here is what ``exec`` takes: it must be little."""

from __future__ import annotations

import errno
import functools
import json
import os
import stat
from collections.abc import Mapping

from . import oci, rootfs, runtime
from .errors import BaleineError
from .process import boot_id, start_ticks

#: As shells have it.
NOT_EXECUTABLE, NOT_FOUND = 126, 127


def is_alive(record: Mapping[str, str]) -> bool:
    """Say whether the process of a record is the one that was started: pid, start time and boot agree, no zombie."""
    pid, ticks = record.get("pid", ""), record.get("start_ticks", "")
    if not pid.isdigit() or not ticks.isdigit() or record.get("boot_id") != boot_id():
        return False
    return start_ticks(int(pid)) == int(ticks)


def find_identity(root: str, user: str, what: str) -> oci.Identity:
    """Return who ``user`` (``name``, ``uid``, either with ``:group``) is by the tree's own passwd and group files.

    :param root: the tree, or /proc/PID/root; it is read without following a link out of it.
    :raises BaleineError: for a name that the tree does not know.
    """
    passwd = [line.split(":") for line in (rootfs.read_inside(root, "etc/passwd") or "").splitlines()]
    groups = [line.split(":") for line in (rootfs.read_inside(root, "etc/group") or "").splitlines()]
    if not user:
        user = "0"
    name, _colon, group = user.partition(":")
    entry = next((e for e in passwd if len(e) >= 7 and (e[0] == name or e[2] == name)), None)
    if entry is None and not name.isdigit():
        raise BaleineError(f"{what}: its /etc/passwd has no user {name}", "Use a name it has, or a number")
    uid = int(entry[2]) if entry and entry[2].isdigit() else int(name)
    gid = int(entry[3]) if entry and entry[3].isdigit() else 0
    if group:
        found = next((g for g in groups if len(g) >= 3 and (g[0] == group or g[2] == group)), None)
        if found is None and not group.isdigit():
            raise BaleineError(f"{what}: its /etc/group has no group {group}", "Use a name it has, or a number")
        gid = int(found[2]) if found and found[2].isdigit() else int(group)
    extra = (
        ()
        if group or entry is None
        else tuple(int(g[2]) for g in groups if len(g) >= 4 and g[2].isdigit() and entry[0] in g[3].split(","))
    )
    if not all(0 <= number < rootfs.IDS_PER_CONTAINER for number in (uid, gid, *extra)):
        raise BaleineError(f"{what}: user {user}: ids inside a container are below {rootfs.IDS_PER_CONTAINER}")
    return oci.Identity(uid, gid, extra, entry[5] if entry and entry[5].startswith("/") else "/")


def judge(root: str, program: str, env: Mapping[str, str], workdir: str) -> int:
    """Return 0, or 126 or 127 as shells have it; what the runtime says of a program cannot be told from its own code.

    :param root: of the container, read without following a link out of it.
    """
    if "/" in program:
        paths = [os.path.join(workdir, program)]
    else:
        paths = [os.path.join(workdir, folder, program) for folder in env.get("PATH", "").split(":")]
    code = NOT_FOUND
    for path in paths:
        try:
            descriptor = rootfs.open_inside(root, path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            return 0  # not ours to judge
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        if stat.S_ISREG(mode) and mode & 0o111:
            return 0
        code = NOT_EXECUTABLE
    return code


def exec_argv(
    name: str, runtime_name: str, pid: int, command: tuple[str, ...], env: Mapping[str, str], workdir: str, user: str,
    terminal: bool = False,
) -> list[str]:  # fmt: skip
    """Return the command that runs one more program inside, with the privileges of the first and nothing of the host's.

    It can be run, or become, until this process ends or asks for another one.

    :raises BaleineError: for a user that the container does not know.
    """
    identity = find_identity(f"/proc/{pid}/root", user, f"container {name}")
    process = oci.process(command, identity, env, workdir, terminal)
    return runtime.exec_argv(runtime_name, name, _nameless(json.dumps(process)), terminal)


def _nameless(text: str) -> str:
    """Return a path of ``text`` that is nowhere on a disk; it leads there while this process lives, execve included."""
    descriptor = _memory()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    return f"/proc/{os.getpid()}/fd/{descriptor}"


@functools.lru_cache(maxsize=1)
def _memory() -> int:
    """One file in memory a process (memfd_create(2)); both runtimes close it before the program begins."""
    return os.memfd_create("baleine", 0)
