# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflink store: an XFS filesystem in one file, mounted as /var/lib/baleine, in which copies share their blocks.

What is there moves into it and out of it. One of two trees is the true one at every moment, and which is told by one
name: where there is a file of the name :data:`manifest.STORE`, all is in it, and what may lie beneath is left over.
Whoever comes first after a boot mounts it (:mod:`store_mount`): no fstab, so nothing of it can hold up a boot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple

from . import disk, enter, manifest, rootfs, units, versions
from .errors import BaleineError, Busy, explained
from .manifest import LIBRARY, LOCKS, STORE, opened
from .plan import Action, Outcome, Plan, apply, predicted
from .process import Runner, check, fault, find_program, in_child, need_program, wait_until
from .store_mount import WHAT, mount, need_mounted

PART = f"{STORE}.part"
#: Below this mkfs.xfs refuses (300 MiB since 6.0), or leaves little room.
SMALLEST = 512 << 20
#: linux/loop.h; XFS_IOC_FSGEOMETRY_V1 and XFS_IOC_FSGROWFSDATA of xfsprogs' xfs_fs.h
LOOP_SET_CAPACITY, GEOMETRY, GEOMETRY_SIZE, GROW = 0x4C07, 0x80705864, 112, 0x4010586E


class Wanted(NamedTuple):
    """A store of ``size`` bytes, or none (0)."""

    size: int


class Found(NamedTuple):
    """What is there.

    :param size: bytes of its file, 0 where there is none; :param filesystem: bytes of the filesystem in it.
    :param native: a copy beneath shares its blocks already; :param left: a move was interrupted, and left this.
    :param data: bytes that are to be moved; :param room: bytes free where they would go, or where the file is.
    :param busy: what keeps it from being moved.
    """

    size: int = 0
    filesystem: int = 0
    native: bool = False
    left: bool = False
    data: int = 0
    room: int = 0
    busy: tuple[str, ...] = ()


def request(params: Mapping[str, Any]) -> Wanted:
    """Return what a task asks for, normalised.

    :raises BaleineError: for a size that is none, or too small for a filesystem.
    """
    if params.get("state") == "absent":
        return Wanted(0)
    size = units.parse_size(params.get("size") or "", units.MEBIBYTE, f"{WHAT}: size") >> 20 << 20
    if size < SMALLEST:
        raise BaleineError(f"{WHAT}: {units.show_size(size)} is too small", f"Give it {SMALLEST >> 20}M at the least")
    return Wanted(size)


def plan(wanted: Wanted, found: Found) -> Plan:
    """Compare and decide. Pure.

    :raises BaleineError: for what there is no room for, or must not be done now.
    """
    now, goal = units.show_size(found.size), units.show_size(wanted.size)
    before, after = ({"state": "present", "size": size} if size else {} for size in (found.size, wanted.size))
    actions = [Action("clear", WHAT, "a move was interrupted")] if found.left else []
    if found.native and not found.size:
        return Plan(WHAT, tuple(actions))
    if wanted.size and not found.size:
        need_room(wanted.size, found, f"making it with {goal}")
        if found.data + (wanted.size >> 5) > wanted.size:  # XFS keeps a few percent for itself
            raise BaleineError(f"{WHAT}: {goal} cannot hold the {units.show_size(found.data)} that are there")
        actions += [Action("make", WHAT, "there is none", {"size": wanted.size}), Action("enter", WHAT, "it is whole")]
    elif found.size and not wanted.size:
        need_room(found.data, found, "moving out of it")
        actions += [Action("copy", WHAT, "absent is wanted"), Action("leave", WHAT, "all is copied")]
    elif wanted.size < found.size:
        raise BaleineError(
            f"{WHAT}: size {now} -> {goal}: a store can only grow",
            "Move out of it first (state: absent), then make a smaller one",
        )
    elif wanted.size > found.size or (found.filesystem and found.filesystem + (1 << 20) < found.size):
        need_room(wanted.size - found.size, found, f"growing it to {goal}")
        actions.append(Action("grow", WHAT, f"size {now} -> {goal}", {"size": wanted.size}))
    if found.busy and any(action.verb in ("make", "copy") for action in actions):
        hint = "Stop the containers, end what is mounted, and try again"
        raise BaleineError(f"{WHAT}: nothing is moved while this is in use: {', '.join(found.busy)}", hint)
    return Plan(WHAT, tuple(actions), before if actions else after, after)


def need_room(size: int, found: Found, attempt: str) -> None:
    """Refuse what would fill the filesystem.

    :raises BaleineError: with what is missing.
    """
    if size > found.room:
        free = units.show_size(found.room >> 20 << 20)
        raise BaleineError(f"{WHAT}: {attempt}: {units.show_size(size)} are needed, {free} are free", "Make room")


def find() -> Found:
    """Return what there is; nothing is changed."""
    size = os.path.getsize(STORE) if os.path.exists(STORE) else 0
    folder = LIBRARY if os.path.isdir(LIBRARY) else os.path.dirname(LIBRARY)
    space = os.statvfs(os.path.dirname(STORE))
    return Found(
        size=size,
        filesystem=_filesystem() if size else 0,
        native=not size and _can_share(folder),
        left=os.path.exists(PART) or (bool(size) and bool(_beneath(lambda: os.listdir(LIBRARY)))),
        data=sum(os.lstat(path).st_blocks * 512 for path in _files()),
        room=space.f_bavail * space.f_frsize,
        busy=tuple(_users()),
    )


def _files() -> Iterator[str]:
    for top, _folders, names in os.walk(LIBRARY):
        yield from (f"{top}/{name}" for name in names)


def _users() -> Iterator[str]:
    """Containers that run, and what is mounted in the tree or from it."""
    for name in manifest.names("container"):
        if enter.is_alive(manifest.read("container", name) or {}):
            yield f"container {name}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        places = [line.split(" ", 5)[4] for line in stream]
    yield from sorted({place for place in places if place.startswith((f"{LIBRARY}/", "/mnt/baleine"))})


def _can_share(folder: str) -> bool:
    """Ask a filesystem to share blocks of two files without a name (open(2), O_TMPFILE)."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(opened(folder, os.O_TMPFILE | os.O_RDWR)) for _file in range(2))
        os.write(one, bytes(disk.BLOCK))
        fcntl.ioctl(two, disk.FICLONE, one)
        return True
    return False


def _geometry(root: int) -> tuple[int, int, int]:
    """Return of a mounted XFS its block's size, how many there are, and how many percent of them inodes may take."""
    answer = fcntl.ioctl(root, GEOMETRY, bytes(GEOMETRY_SIZE))
    block, most, blocks = struct.unpack_from("<I24xIQ", answer)
    return block, blocks, most


def _filesystem() -> int:
    """Return how large the mounted filesystem of the store is, in bytes."""
    with opened(LIBRARY, os.O_RDONLY | os.O_DIRECTORY) as root, explained(f"{WHAT}: asking for its size"):
        block, blocks, _most = _geometry(root)
        return block * blocks


def _beneath(look: Callable[[], Any]) -> Any:
    """Do something with what the mounted store hides, where nobody else sees that."""

    def inside() -> Any:
        hidden = os.stat(LIBRARY).st_dev
        rootfs.unshare(rootfs.CLONE_NEWNS)
        rootfs.unmount(LIBRARY, rootfs.MNT_DETACH)
        if os.stat(LIBRARY).st_dev == hidden:  # nothing of the store itself is ever taken for a left-over
            raise BaleineError(f"{WHAT}: it is mounted twice", f"Unmount {LIBRARY} once")
        return look()

    return in_child(inside, f"{WHAT}: looking beneath it")


def ensure(run: Runner, wanted: Wanted, check_only: bool = False) -> Outcome:
    """Bring the store to what is wanted, or only say what that would take.

    :raises BaleineError: see :func:`plan`; or with the step that failed.
    """
    if check_only:
        decided = plan(wanted, find())
        if decided.changed and wanted.size and not find_program("mkfs.xfs"):
            decided = decided.lacking(f"{WHAT}: this host has no mkfs.xfs")
        return predicted(decided, facts)
    with manifest.moving():
        if not wait_until(lambda: not _held(), 60.0, 0.1):
            raise Busy(f"{WHAT}: a command is at work: {', '.join(_held())}", "Try again when it has ended")
        decided = plan(wanted, find())
        handlers: dict[str, Callable[[Action], None]] = {
            "make": lambda action: _make(run, action.data["size"]),
            "enter": lambda action: _enter(),
            "clear": lambda action: _clear(),
            "copy": lambda action: _copy_out(run),
            "leave": lambda action: _leave(),
            "grow": lambda action: _grow(action.data["size"]),
        }
        apply(decided, handlers)
    return Outcome(decided, facts())


def _held() -> list[str]:
    """Return the locks that other commands have."""
    found = []
    for name in os.listdir(LOCKS) if os.path.isdir(LOCKS) else ():
        with contextlib.suppress(FileNotFoundError), opened(f"{LOCKS}/{name}", os.O_RDWR) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(name)
    return found


def _make(run: Runner, size: int) -> None:
    """Make and fill the file under a temporary name; its blocks are reserved: a host that is full must not break it."""
    manifest.discard(PART)
    try:
        with opened(PART, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
            os.fchmod(file, 0o600)
            _reserve(file, size)
        check(run([need_program("mkfs.xfs", WHAT), "-q", "-m", "reflink=1", PART]), f"{WHAT}: making its filesystem")
        in_child(lambda: _move(run, lambda: mount(PART)), f"{WHAT}: moving into it")
        if not wait_until(lambda: not disk.holders(PART), 60.0):
            raise BaleineError(f"{WHAT}: its file is still held by {', '.join(disk.holders(PART))}")
        with opened(PART, os.O_RDONLY) as file:
            os.fsync(file)
    except BaseException:
        manifest.discard(PART)
        raise


def _reserve(file: int, size: int) -> None:
    os.ftruncate(file, size)
    try:
        rootfs.fallocate(file, 0, 0, size)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise BaleineError(f"{WHAT}: reserving its blocks: {error.strerror}", "Make room") from None


def _move(run: Runner, exchange: Callable[[], None]) -> None:
    """In a forked child: put another filesystem at /var/lib/baleine, copy everything to it, and compare."""
    rootfs.unshare(rootfs.CLONE_NEWNS)
    os.makedirs(LIBRARY, mode=0o700, exist_ok=True)
    with opened(LIBRARY, os.O_RDONLY | os.O_DIRECTORY) as old:
        exchange()
        source = f"/proc/{os.getpid()}/fd/{old}"
        words = ["cp", "-a", "--reflink=never", "--sparse=always", f"{source}/.", LIBRARY]
        check(run(words), f"{WHAT}: copying to {LIBRARY}")
        differing = versions.compare((source, LIBRARY))
        if differing:
            raise BaleineError(f"{WHAT}: the copy differs: {' '.join(path for _mark, path in differing[:3])}")
        for name in manifest.names("image"):
            record = manifest.read("image", name) or {}
            path = f"{record.get('chemin', '')}/{name}"
            before = source + path[len(LIBRARY) :]
            if path.startswith(f"{LIBRARY}/") and record.get("fingerprint") == disk.fingerprint(before):
                manifest.write("image", name, {**record, "fingerprint": disk.fingerprint(path)})
        fault("store copied")


def _enter() -> None:
    """From now on all is in the store; what it hides is left over."""
    os.rename(PART, STORE)
    manifest.sync_directory(os.path.dirname(STORE))
    fault("store named")
    need_mounted()
    _clear()


def _clear() -> None:
    """Take away what an ended or interrupted move left."""
    manifest.discard(PART)
    if os.path.exists(STORE):
        _beneath(_empty)


def _empty() -> None:
    for name in os.listdir(LIBRARY):
        path = f"{LIBRARY}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            rootfs.remove_tree(path)
        else:
            os.unlink(path)


def _copy_out(run: Runner) -> None:
    _clear()
    in_child(lambda: _move(run, lambda: rootfs.unmount(LIBRARY, rootfs.MNT_DETACH)), f"{WHAT}: moving out of it")
    os.sync()


def _leave() -> None:
    """Unmount the store and remove its file: from then on all is where it was. Nobody may mount it in between."""
    with opened(STORE, os.O_RDONLY) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with explained(f"{WHAT}: unmounting {LIBRARY}", "A program still works in it: end it"):
            rootfs.unmount(LIBRARY)
        fault("store unmounted")
        os.unlink(STORE)
    manifest.sync_directory(os.path.dirname(STORE))


def _grow(size: int) -> None:
    with opened(STORE, os.O_RDWR) as file:
        _reserve(file, size)
    for device in disk.holders(STORE):
        with opened(device, os.O_RDWR) as loop, explained(f"{WHAT}: growing its loop device"):
            fcntl.ioctl(loop, LOOP_SET_CAPACITY, 0)
    # not by xfs_growfs, which takes the first filesystem that was mounted at the place for ours
    with opened(LIBRARY, os.O_RDONLY | os.O_DIRECTORY) as root, explained(f"{WHAT}: growing its filesystem"):
        block, _blocks, most = _geometry(root)
        fcntl.ioctl(root, GROW, struct.pack("<QI4x", size // block, most))


def facts() -> dict[str, Any]:
    """Return what is true of the store now."""
    found = find()
    space = os.statvfs(LIBRARY if os.path.isdir(LIBRARY) else os.path.dirname(LIBRARY))
    return {
        "state": "present" if found.size else "native" if found.native else "absent",
        "path": STORE if found.size else "",
        "size": found.size,
        "free": space.f_bavail * space.f_frsize,
    }
