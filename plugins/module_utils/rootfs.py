# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts, namespaces and careful looks into a tree: the one door to these system calls."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Collection
from typing import Optional

from .errors import explained
from .manifest import opened

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_NOATIME = 1, 2, 4, 8, 0x20, 0x400
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
AT_FDCWD, AT_EMPTY_PATH, RENAME_EXCHANGE = -100, 0x1000, 2
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
MOUNT_ATTR_IDMAP = 0x00100000
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x02, 0x04, 0x10
#: One number on every architecture: the tables were unified before these calls came.
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_OPENAT2, SYS_MOUNT_SETATTR = 428, 429, 437, 442
PR_CAPBSET_DROP, CAP_MKNOD = 24, 27

IDS_PER_CONTAINER = 65536
#: As the kernel has it (path_resolution(7)).
MOST_LINKS = 40

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces of ``flags`` (unshare(2)); mounts made from then on stay in the new mount namespace."""
    _checked(_libc.unshare(flags), "unshare")
    if flags & CLONE_NEWNS:
        mount("none", "/", "", MS_REC | MS_PRIVATE)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()), target)


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(_libc.umount2(target.encode(), flags), target)


def sync(path: str) -> None:
    """syncfs(2): write a mounted filesystem out. What could not be written is an error since Linux 5.8.

    :raises OSError: for that.
    """
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        _checked(_libc.syncfs(descriptor), path)


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    _checked(_libc.fallocate64(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)), "fallocate")


def remove_tree(path: str) -> None:
    """Remove a directory with what is in it; none is no error. Not by shutil, whose import takes longer (2 ms)."""
    for top, folders, files in os.walk(path, topdown=False):
        for name in (*folders, *files):
            entry = f"{top}/{name}"
            (os.rmdir if name in folders and not os.path.islink(entry) else os.unlink)(entry)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)


def exchange(one: str, other: str) -> None:
    """Give two files or directories each other's name, at once (renameat2(2), RENAME_EXCHANGE)."""
    _checked(_libc.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, other.encode(), RENAME_EXCHANGE), one)


def is_mounted(path: str) -> bool:
    """Say whether something is mounted exactly at ``path`` in this mount namespace."""
    real = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        return any(_unescape(line.split(" ", 5)[4]) == real for line in stream)


def _unescape(field: str) -> str:
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def device_rule(path: str) -> str:
    """Return how the devices controller names the device of a node, ``c 10:229``; empty for a path that is none."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(found.st_mode))
        return f"{kind} {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if kind else ""
    return ""


def clone_tree(path: str) -> int:
    """Return a descriptor of a copy of the mount at ``path`` that is nowhere yet (open_tree(2), Linux 5.2)."""
    return _checked(_libc.syscall(SYS_OPEN_TREE, AT_FDCWD, path.encode(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), path)


def enter_mounts(pid: int) -> None:
    """Join the mount namespace of a process (setns(2))."""
    with opened(f"/proc/{pid}/ns/mnt", os.O_RDONLY) as descriptor:
        _checked(_libc.setns(descriptor, CLONE_NEWNS), "setns")


def become_root_of(users: int) -> None:
    """Join a user namespace as its root (setns(2))."""
    _checked(_libc.setns(users, CLONE_NEWUSER), "setns")
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)


def forgo_devices() -> None:
    """Let no program that follows make a device node (capabilities(7), PR_CAPBSET_DROP)."""
    _libc.prctl(PR_CAPBSET_DROP, CAP_MKNOD)


def act_as(owner: int) -> None:
    """Let files that are made from now on belong to a user (setfsuid(2))."""
    _libc.setfsgid(owner)
    _libc.setfsuid(owner)


def attach_tree(tree: int, target: int) -> None:
    """Mount what :func:`clone_tree` gave on an open file (move_mount(2), Linux 5.2)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _checked(_libc.syscall(SYS_MOVE_MOUNT, tree, b"", target, b"", flags), "move_mount")


def user_namespace(first_id: int) -> int:
    """Return a descriptor of a new user namespace that maps 0-65535 to the host's ids from ``first_id`` on."""
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done_write)
        code = 0 if _libc.unshare(CLONE_NEWUSER) == 0 else ctypes.get_errno()
        os.write(ready_write, bytes([code]))
        os.read(done_read, 1)
        os._exit(0)
    try:
        os.close(done_read)
        code = os.read(ready_read, 1)[0]
        if code:
            raise OSError(code, os.strerror(code), "user namespace")
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{kind}", "w") as stream:
                stream.write(f"0 {first_id} {IDS_PER_CONTAINER}\n")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for descriptor in (ready_read, ready_write, done_write):
            os.close(descriptor)
        os.waitpid(child, 0)


def map_owners(target: str, first_id: int) -> None:
    """Replace the mount at ``target`` by one whose owners 0-65535 look like the host's ids from ``first_id`` on.

    An idmapped mount: ext4 since Linux 5.12, mount_setattr(2). Nothing is to be done where they begin at 0.

    :raises BaleineError: naming the kernel that is needed.
    """
    if not first_id:
        return
    attempt = f"private user namespace: the kernel {os.uname().release} cannot map the owners of {target}"
    hint = "Linux 5.12 or newer is needed, and user namespaces (user.max_user_namespaces); userns: host does without"
    with explained(attempt, hint):
        tree = clone_tree(target)
        namespace = user_namespace(first_id)
    attributes = struct.pack("QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
    size = ctypes.c_size_t(len(attributes))
    try:
        with explained(attempt, hint):
            _checked(_libc.syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, size), target)
            unmount(target, MNT_DETACH)
            place = (AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)
            _checked(_libc.syscall(SYS_MOVE_MOUNT, tree, b"", *place), target)
    finally:
        os.close(namespace)
        os.close(tree)


def open_inside(root: str, path: str, flags: int = os.O_RDONLY, mode: int = 0, links: bool = True) -> int:
    """Open a path below ``root`` so that no link in it can lead out (openat2(2), Linux 5.6).

    :param links: follow symbolic links, as if ``root`` were ``/``; otherwise any link is an error.
    :raises OSError: as open(2); ``ELOOP`` for a link that is not allowed.
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    size = ctypes.c_size_t(len(how))
    with opened(root, os.O_PATH | os.O_DIRECTORY) as base:
        return _checked(_libc.syscall(SYS_OPENAT2, base, path.lstrip("/").encode(), how, size), path)


def read_inside(root: str, path: str, limit: int = 1 << 20) -> Optional[str]:
    """Return the text of a regular file below ``root``, or None where there is none.

    :param limit: how many bytes to read at the most; the tree is not trusted.
    """

    def opener(below: str, flags: int) -> int:
        return open_inside(root, below, flags | os.O_NONBLOCK | os.O_NOCTTY)

    with contextlib.suppress(OSError), open(path, "rb", opener=opener) as stream:
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream.read(limit).decode("utf-8", "replace")
    return None


def real_inside(root: str, path: str, mounts: Collection[str] = ()) -> str:
    """Return where a path of a tree that nobody changes leads to inside, free of links; what is missing is as written.

    :param mounts: where something else will be mounted: the tree does not say what lies below.
    :raises OSError: ``ELOOP`` for links that do not end.
    """
    todo, done, links = path.split("/")[::-1], "", 0
    while todo:
        word = todo.pop()
        here = os.path.dirname(done) if word == ".." else f"{done}/{word}" if word not in ("", ".") else done
        here = here.rstrip("/")
        if here in mounts:
            return os.path.normpath("/".join([here, *todo[::-1]]))
        try:
            target = os.readlink(root + here)
        except OSError:
            done = here
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done = "" if target.startswith("/") else done
        todo += target.split("/")[::-1]
    return done or "/"


def check_real_directories(root: str, names: tuple[str, ...], what: str) -> None:
    """Refuse a tree in which one of these is anything but a directory.

    Older runtimes follow a link there while they mount (CVE-2019-19921, CVE-2021-30465).

    :raises BaleineError: naming the tree and the directory.
    """
    for name in names:
        attempt = f"{what}: /{name} of the tree is not a real directory"
        with explained(attempt, f"Make /{name} a directory in the image"):
            os.close(open_inside(root, name, os.O_PATH | os.O_DIRECTORY, links=False))
