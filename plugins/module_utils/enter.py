# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One more program in a container that runs. What is imported here is what ``exec`` takes: it must be little."""

from __future__ import annotations

import errno
import functools
import json
import os
import stat
from collections.abc import Callable, Mapping
from typing import Optional

from . import apparmor, cgroup, manifest, oci, privileges, rootfs, runtime, units
from .errors import BaleineError, explained
from .process import boot_id, start_ticks

#: As shells have it.
NOT_EXECUTABLE, NOT_FOUND = 126, 127


def is_alive(record: Mapping[str, str]) -> bool:
    """Say whether the process of a record is the one that was started: pid, start time and boot agree, no zombie."""
    pid, ticks = units.number(record.get("pid", "")), units.number(record.get("start_ticks", ""))
    if pid is None or ticks is None or record.get("boot_id") != boot_id():
        return False
    return start_ticks(pid) == ticks


def need_running(name: str) -> manifest.Record:
    """Return the record of a container that can take one more program.

    :raises BaleineError: for one that is not there, does not run, or is paused.
    """
    record = manifest.need("container", name)
    if not is_alive(record):
        raise BaleineError(f"container {name}: it does not run", f"Start it first: baleine container start -c {name}")
    if cgroup.frozen(name):
        raise BaleineError(f"container {name}: it is paused", f"Let it go on: baleine container unpause -c {name}")
    return record


def find_identity(root: str, user: str, what: str) -> oci.Identity:
    """Return who ``user`` (``name``, ``uid``, either with ``:group``) is by the tree's own passwd and group files.

    :param root: the tree, or /proc/PID/root; it is read without following a link out of it.
    :raises BaleineError: for a name that the tree does not know, or an id that no container has.
    """
    passwd = [line.split(":") for line in (rootfs.read_inside(root, "etc/passwd") or "").split("\n")]
    groups = [line.split(":") for line in (rootfs.read_inside(root, "etc/group") or "").split("\n")]
    name, _colon, group = (user or "0").partition(":")
    entry = next((e for e in passwd if len(e) >= 7 and name in (e[0], e[2])), None)
    found = next((g for g in groups if len(g) >= 3 and group in (g[0], g[2])), None) if group else None
    uid = units.number(entry[2] if entry else name)
    gid = units.number(found[2] if found else group or (entry[3] if entry else "0"))
    extra = [units.number(g[2]) for g in groups if entry and not group and len(g) >= 4 and entry[0] in g[3].split(",")]
    for number, file, word in ((uid, "passwd", f"user {name}"), (gid, "group", f"group {group or f'of {name}'}")):
        if number is None or number >= rootfs.IDS_PER_CONTAINER:
            message = f"{what}: its /etc/{file} has no {word} with an id below {rootfs.IDS_PER_CONTAINER}"
            raise BaleineError(message, "Use a name it has, or a number")
    ids = tuple(number for number in extra if number is not None and number < rootfs.IDS_PER_CONTAINER)
    return oci.Identity(uid or 0, gid or 0, ids, entry[5] if entry and entry[5].startswith("/") else "/")


def locate(open_path: Callable[[str], int], program: str, env: Mapping[str, str], workdir: str) -> tuple[int, str]:
    """Find a program as execvp(3) would: 0 and its path, or 126 or 127 as shells have it.

    :param open_path: opens a path as the container will see it (O_PATH), following no link out of it.
    """
    folders = [""] if "/" in program else env.get("PATH", "").split(":")
    code = NOT_FOUND
    for path in (os.path.join(workdir or "/", folder, program) for folder in folders):
        try:
            descriptor = open_path(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            return 0, path  # not ours to judge
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        if stat.S_ISREG(mode) and mode & 0o111:
            return 0, path
        code = NOT_EXECUTABLE
    return code, program


def judge(root: str, program: str, env: Mapping[str, str], workdir: str) -> int:
    """Return 0, or 126 or 127; what the runtime says of a program cannot be told from the program's own code.

    :param root: of a container that runs.
    """

    def open_path(path: str) -> int:
        return rootfs.open_inside(root, path, os.O_PATH)

    code, path = locate(open_path, program, env, workdir)
    head = "" if code else rootfs.read_inside(root, path, 256) or ""
    words = head.split("\n")[0][2:].split() if head.startswith("#!") else []
    return locate(open_path, words[0], env, workdir)[0] if words else code  # a script is not there without that


def need_directory(name: str, root: str, workdir: str) -> None:
    """Refuse a working directory that is none: of that, too, the runtime's code cannot be told from the program's.

    :param root: of a container that runs.
    :raises BaleineError: naming it.
    """
    with explained(f"container {name}: working directory {workdir}"):
        os.close(rootfs.open_inside(root, f"./{workdir}", os.O_PATH | os.O_DIRECTORY))


def exec_argv(
    name: str, record: Mapping[str, str], command: tuple[str, ...], env: Mapping[str, str], workdir: str, user: str,
    terminal: bool = False, console: Optional[tuple[str, Mapping[str, int]]] = None,
) -> list[str]:  # fmt: skip
    """Return the command that runs one more program inside, with the privileges of the first and nothing of the host's.

    It can be run, or become, until this process ends or asks for another one.

    :param record: of a container that runs.
    :param console: the socket to which the other end of the terminal is sent, and the terminal's size (as
        ``launch.Stdio`` has them); none is the runtime's own way.
    :raises BaleineError: for a user that the container does not know.
    """
    what = f"container {name}"
    identity = find_identity(f"/proc/{record['pid']}/root", user, what)
    settings = privileges.parse(manifest.recorded(record, privileges.DEFAULTS), what)
    rights = privileges.rights(settings, apparmor.label(int(record["pid"])))
    process = oci.process(command, identity, env, workdir, terminal, manifest.from_json(record, "ulimits", {}), rights)
    if console:
        process["consoleSize"] = console[1]
    words = ["--console-socket", console[0]] if console else []
    return runtime.exec_argv(record["runtime"], name, nameless(json.dumps(process)), terminal, words)


def nameless(text: str) -> str:
    """Return a path of ``text`` that is nowhere on a disk; it leads there while this process lives, execve included."""
    descriptor = _memory()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    return f"/proc/{os.getpid()}/fd/{descriptor}"


@functools.lru_cache(maxsize=1)
def _memory() -> int:
    """One file in memory a process (memfd_create(2)); both runtimes close it before the program begins."""
    return os.memfd_create("baleine", 0)
