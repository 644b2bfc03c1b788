# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's files: its disk mounted on the host, copies in and out, what differs from its image.

No path that a container could have shaped is ever walked as the host's root: a forked child sees nothing but the tree,
as root of the container's own user namespace, and a static busybox that is opened before does the rest.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple

from . import disk, enter, image, launch, lifecycle, manifest, process, rootfs, units
from .description import DIRECTORY
from .errors import BaleineError, explained
from .survey import disk_of, mounted_at, need_closed

#: Ids for the disk of a container that never ran and so has none of its own.
SPARE_IDS = 0x7FFE0000
TAR = ("--numeric-owner", "-f", "-")


class Tree(NamedTuple):
    """Where files are: of a process (``pid``), on a disk, or (neither) on the host."""

    pid: int = 0
    ticks: int = 0
    disk: str = ""
    first_id: int = SPARE_IDS
    read_only: bool = False

    def enter(self, alone: bool = False) -> None:
        """In a forked child: see nothing but this tree from now on, as its own root; nothing is imported from it.

        :param alone: without what else is mounted in it.
        """
        sys.meta_path.clear()
        if not self.pid and not self.disk:
            return
        if self.pid:
            root = os.open(f"/proc/{self.pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            users = os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            if os.path.samestat(os.fstat(users), os.stat("/proc/self/ns/user")):
                users = rootfs.user_namespace(0)  # the host's ids, and none of its privileges
            if process.start_ticks(self.pid) != self.ticks:
                raise BaleineError("it has ended meanwhile")
            rootfs.enter_mounts(self.pid)
            root = rootfs.clone_tree("/") if alone else root
        else:
            rootfs.unshare(rootfs.CLONE_NEWNS)
            disk.mount(self.disk, manifest.LOCKS, self.first_id, self.read_only)  # there is one while we hold a lock
            root = rootfs.clone_tree(manifest.LOCKS)  # nothing is above it
            users = rootfs.user_namespace(self.first_id)
        os.fchdir(root)
        os.chroot(".")
        rootfs.become_root_of(users)
        process.die_with_parent()  # the kernel forgets it when ids change


@contextlib.contextmanager
def _held(name: str, *images: str) -> Iterator[manifest.Record]:
    """Hold a container, with images, and give its record.

    :raises BaleineError: where there is none.
    """
    locks = [("image", other, True) for other in images]
    with manifest.lock([*locks, ("container", units.check_name(name, "container"), False)]):
        lifecycle.recover(name)
        record = manifest.read("container", name)
        if record is None or not os.path.exists(disk_of(name)):
            raise manifest.missing("container", name)
        yield record


def _tree(run: process.Runner, name: str, record: Mapping[str, str]) -> Tree:
    """Where a container's files are now; the journal of a disk that is not in use is replayed."""
    if enter.is_alive(record):
        return Tree(int(record["pid"]), int(record["start_ticks"]))
    need_closed(disk_of(name), name, f"container {name}")
    disk.repair(run, disk_of(name))
    return Tree(disk=disk_of(name), first_id=int(record.get("first_id") or SPARE_IDS))


def mount(run: process.Runner, name: str) -> str:
    """Mount the disk of a container that does not run, and return where.

    :raises BaleineError: when it runs, or is mounted already.
    """
    with _held(name) as record:
        if enter.is_alive(record):
            raise BaleineError(f"container {name}: it runs", "Stop it first, or use 'container copy' or 'exec'")
        _tree(run, name, record)
        disk.mount(disk_of(name), f"{DIRECTORY}/{name}")
    return f"{DIRECTORY}/{name}"


def umount(name: str) -> None:
    """End what :func:`mount` began.

    :raises BaleineError: when it is not mounted, or somebody works in it.
    """
    with _held(name):
        place = mounted_at(name)
        if not place:
            raise BaleineError(f"container {name}: its disk is not mounted", "Begin with 'baleine container mount'")
        with explained(f"container {name}: {place}", "A program or a shell still works in it: end it"):
            rootfs.unmount(place)
        manifest.drop_empty(place)
        launch.leave(DIRECTORY)
        launch.need_free(disk_of(name), f"container {name}")


def split(text: str) -> tuple[str, str]:
    """Return container and path of ``NAME:PATH``; no container for a path of the host."""
    name, colon, path = text.partition(":")
    if colon and units.NAME.fullmatch(name):
        return name, os.path.join("/", path)
    return "", text


def copy(run: process.Runner, source: str, target: str) -> None:
    """Copy a file or directory into a container or out of it, as ``cp -a`` does: into a directory that is there.

    One of both is ``NAME:PATH``, the other a path of the host or ``-``, a tar stream. ``/.`` at the end of the source
    means what is in it. What comes out of a container is no device and has no set-user-ID bit.

    :raises BaleineError: when something is not there or tar fails; then the target is as before.
    """
    (giver, path), (taker, place) = split(source), split(target)
    if bool(giver) == bool(taker):
        raise BaleineError(f"copying {source} to {target}: one of both is NAME:PATH of a container")
    what, name = f"copying {source} to {target}", giver or taker
    with _held(name) as record, contextlib.ExitStack() as stack:
        tree = _tree(run, name, record)
        busybox = os.open(process.need_program("busybox", what), os.O_RDONLY | os.O_CLOEXEC)
        said = stack.enter_context(open(os.memfd_create("baleine"), "r+", errors="replace"))
        leaf = "" if path.endswith("/.") or path in ("/", "-") else os.path.basename(path.rstrip("/"))
        (stream, flow), (sure, word) = os.pipe(), os.pipe()
        for descriptor in (busybox, stream, flow, sure, word):
            stack.callback(_close, descriptor)

        def give() -> None:
            nowhere = os.open("/proc/fs", os.O_PATH | os.O_CLOEXEC)
            (tree if giver else Tree()).enter(alone=os.path.normpath(path) == "/")  # /proc and /sys are no files of its
            os.chdir((os.path.dirname(path.rstrip("/")) if leaf else path) or "/")
            os.lstat(leaf or ".")
            here = os.open(".", os.O_PATH | os.O_CLOEXEC)
            os.fchdir(nowhere)
            os.chroot(".")  # where tar looks for users and groups: those of the tree may be pipes, and never answer
            os.fchdir(here)
            _become_tar(busybox, ["c", *TAR, "--", leaf or "."], 0, 1 if target == "-" else flow, said.fileno())

        def take() -> None:
            _close(flow)
            _close(word)
            os.setsid()  # who interrupts us lets it clean up
            (tree if taker else Tree()).enter()
            tar = ["x", *TAR]
            receive(
                place, leaf,
                lambda: _become_tar(busybox, tar, 0 if source == "-" else stream, 2, said.fileno()),
                lambda: os.read(sure, 1) == b"1",
                clean=bool(giver),
            )  # fmt: skip

        failed: list[BaleineError] = []

        def ended(wait: Callable[[], Any]) -> None:
            try:
                wait()
            except BaleineError as error:
                failed.append(error)

        giving = process.begin_child(give, what) if source != "-" else lambda: None
        taking = process.begin_child(take, what) if target != "-" else lambda: None
        for descriptor in (stream, flow):
            _close(descriptor)
        try:
            ended(giving)
            if not failed:
                os.write(word, b"1")
        finally:
            _close(word)
            ended(taking)
        if failed:
            first = failed[-1] if "SIGPIPE" in failed[0].message else failed[0]
            said.seek(0)
            words = [text for text in (first.message, *said.read().split("\n")) if text and text != what]
            raise BaleineError(f"{what}: " + " / ".join(word.replace(f"{what}: ", "") for word in words[:3]))


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _become_tar(busybox: int, words: list[str], read: int, write: int, said: int) -> None:
    os.umask(0)
    for descriptor, number in ((said, 2), (read, 0), (write, 1)):
        os.dup2(descriptor, number)
    os.execve(busybox, ["tar", *words], process.ENVIRONMENT)


def receive(
    target: str, leaf: str, unpack: Callable[[], None], complete: Callable[[], bool], clean: bool = False
) -> None:
    """Unpack an archive beside its target, and put it there once it is complete; nothing half made stays.

    :param leaf: what the archive holds; empty: what it holds belongs into the target itself.
    :param unpack: becomes tar; :param complete: says whether all of it came.
    :param clean: it was made by somebody who is not trusted: no device, no set-user-ID bit.
    """
    into = os.path.isdir(target) and not (clean and os.path.islink(target))  # it may have come out before
    folder = target if into else os.path.dirname(target.rstrip("/")) or "/"
    part = f"{folder}/.{leaf}.baleine-part"
    rootfs.remove_tree(part)
    os.mkdir(part, 0o700)
    try:

        def isolated() -> None:
            os.chroot(part)
            os.chdir("/")
            rootfs.forgo_devices()
            unpack()

        process.in_child(isolated, f"unpacking at {target}")
        if not complete():
            raise BaleineError("not all of it came")
        for top, _folders, names in os.walk(part) if clean else ():
            for name in names:
                mode = os.lstat(f"{top}/{name}").st_mode
                if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                    os.chmod(f"{top}/{name}", mode & 0o1777)
        _settle(f"{part}/{leaf}" if leaf else part, f"{target}/{leaf}" if into and leaf else target)
    finally:
        rootfs.remove_tree(part)


def _settle(source: str, target: str) -> None:
    """Give what was unpacked its name; directories that are there become what both hold."""
    found = os.lstat(source)
    if not stat.S_ISDIR(found.st_mode) or os.path.islink(target) or not os.path.isdir(target):
        os.replace(source, target)
        return
    for name in os.listdir(source):
        _settle(f"{source}/{name}", f"{target}/{name}")
    os.chown(target, found.st_uid, found.st_gid)
    os.chmod(target, stat.S_IMODE(found.st_mode))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def diff(run: process.Runner, name: str) -> list[tuple[str, str]]:
    """Return what differs between a container's disk and its image: ``A``, ``C`` or ``D``, and the path.

    A file that was written anew counts as changed whatever it holds; a directory is changed by its owner or mode alone.

    :raises BaleineError: when the image is no longer what the disk was copied from.
    """
    source = (manifest.read("container", units.check_name(name, "container")) or {}).get("nom_image", "")
    with _held(name, *([source] if source else [])) as record:
        kept = image.current(source)
        if kept is None or image.true_digest(source, kept) != record.get("image_digest", ""):
            word = "gone" if kept is None else "not what its disk was copied from any more"
            raise BaleineError(f"container {name}: its image {source} is {word}", "There is nothing to compare with")
        tree = _tree(run, name, record)

        def listing(where: Tree) -> Any:
            return process.in_child(lambda: _listing(where), f"container {name}: reading its files")

        old, new = listing(Tree(disk=image.path_of(source, kept), read_only=True)), listing(tree)
    return changes(old, new)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the paths that differ between two listings, each with ``A``, ``C`` or ``D``."""
    marks = {path: "A" if path not in old else "D" if path not in new else "C" for path in {*old, *new}}
    return sorted(((mark, path) for path, mark in marks.items() if old.get(path) != new.get(path)), key=lambda i: i[1])


def _listing(tree: Tree) -> dict[str, list[Any]]:
    tree.enter(alone=True)
    found: dict[str, list[Any]] = {}
    folders = ["/"]
    while folders:
        for entry in os.scandir(folders.pop()):
            is_now = entry.stat(follow_symlinks=False)
            found[entry.path] = [is_now.st_mode, is_now.st_uid, is_now.st_gid, is_now.st_rdev]
            if stat.S_ISDIR(is_now.st_mode):
                folders.append(entry.path)
            else:
                link = os.readlink(entry.path) if stat.S_ISLNK(is_now.st_mode) else None
                found[entry.path] += [is_now.st_size, is_now.st_mtime_ns, is_now.st_ctime_ns, link]
    return found
