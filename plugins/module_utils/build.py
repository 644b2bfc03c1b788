# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tree of an image is made: packages into an ext4 file, then files and commands.

All of it happens in a mount and a PID namespace of its own: when Baleine is killed, the kernel ends the build,
unmounts the file and frees its loop device; what stays is a file under a temporary name.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
from collections.abc import Sequence
from typing import Any, Callable, Optional

from . import architecture, disk, families, rootfs
from .errors import BaleineError, explained
from .manifest import discard, drop_empty, to_json
from .process import Runner, find_program, in_child, need_program
from .recipe import File, Recipe

#: Where a tree is mounted while it is built; only the build's own processes see it.
PLACE = "/mnt/baleine-images"
#: dpkg's marks that a package lacks for a tree that is no machine yet
FRONTEND = {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"}
#: invoke-rc.d(8): 101 means that a service must not be started
POLICY = "#!/bin/sh\nexit 101\n"
#: A tree with less room than this when a step failed had too little of it, whatever the step said (bytes).
FULL = 4 << 20
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
#: What a build leaves of the machine it ran on.
TRACES = (
    "etc/resolv.conf", "etc/hostname", "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/lib/dbus/machine-id", "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin",
)  # fmt: skip


def build(run: Runner, recipe: Recipe, target: str, source: Optional[str], digest: str, what: str) -> dict[str, str]:
    """Make an image file.

    :param target: the file, a temporary name; the caller removes it when this fails.
    :param source: the file to start from, or None for a tree from nothing or from the recipe's source.
    :param digest: what identifies what it starts from; empty for nothing.
    :returns: what is to be recorded: how it was copied, the architecture of the tree, its source's configuration.
    :raises BaleineError: with the last words of the step that failed.
    """
    architecture.need_runnable(recipe.architecture, what)
    record: dict[str, str] = {}
    empty = source is None and recipe.published is None
    if recipe.published:
        from . import remote

        record = remote.fetch(run, recipe.published, digest, target, what)
    elif source is None:
        if not digest:
            need_program("dnf" if recipe.repositories else "mmdebstrap", what)
        disk.create(run, target, recipe.size)
    else:
        record = disk.copy(source, target).record()
        disk.check_ext4(run, target)
    if recipe.size > os.path.getsize(target):
        disk.grow(run, target, recipe.size)
    if empty or recipe.packages or recipe.files or recipe.commands:
        scratch = scratch_of(target)
        rootfs.remove_tree(scratch)
        try:
            record.update(_isolated(lambda: _fill(run, recipe, target, digest, what), what))
        finally:
            leave(target)
            rootfs.remove_tree(scratch)
        families.forget_packages(families.CACHE_SIZE)
    disk.need_free(target, f"{what}: its file")
    disk.check_ext4(run, target)
    return record


def place_of(target: str) -> str:
    """Return the directory in which a file is mounted while it is built: its own, as its lock is."""
    return f"{PLACE}/{os.path.basename(target)}"


def scratch_of(target: str) -> str:
    """Return the directory for what is fetched before a file can be filled; skopeo takes no colon in a path."""
    folder, name = os.path.split(target)
    return f"{folder}/{name.replace(':', '+')}.d"


def leave(target: str) -> None:
    """Take the directories of a build away; the common one only with its last user."""
    drop_empty(place_of(target), PLACE)


def _isolated(function: Callable[[], Any], what: str) -> Any:
    """Run a function as PID 1 of a new PID namespace, in a new mount namespace, and return what it returns."""

    def inner() -> Any:
        rootfs.mount("proc", "/proc", "proc", rootfs.MS_NOSUID | rootfs.MS_NODEV | rootfs.MS_NOEXEC)
        return function()

    def outer() -> Any:
        rootfs.unshare(rootfs.CLONE_NEWNS | rootfs.CLONE_NEWPID | rootfs.CLONE_NEWIPC)
        return in_child(inner, what)

    return in_child(outer, what)


def _fill(run: Runner, recipe: Recipe, target: str, source: str, what: str) -> dict[str, str]:
    """Fill the tree of an image's file; returns what is to be recorded of it."""
    os.umask(0o022)
    place = place_of(target)
    while not os.path.isdir(place):  # who ends its work takes the common directory away
        with contextlib.suppress(FileNotFoundError):
            os.makedirs(place, mode=0o711, exist_ok=True)
    rootfs.mount("baleine", place, "tmpfs", rootfs.MS_NOSUID | rootfs.MS_NODEV, "size=256k,mode=711")
    tree = f"{place}/tree"
    os.mkdir(tree, 0o755)
    device, loop = disk.attach(target)
    # nothing of a half-made image is ever used: its blocks need no order on their way to the device
    flags = rootfs.MS_NOATIME | (rootfs.MS_NODEV | rootfs.MS_NOSUID if recipe.source else 0)  # a stranger's tree
    rootfs.mount(device, tree, "ext4", flags, "errors=remount-ro,discard,barrier=0")
    os.close(loop)
    os.chmod(tree, 0o755)
    proxy = recipe.proxy or host_proxy(run)
    env = {**FRONTEND, **({"http_proxy": proxy, "https_proxy": proxy} if proxy else {})}
    config: dict[str, Any] = {}
    try:
        if recipe.source and not recipe.published:
            from . import origin

            start = origin.parse(recipe.source, what, recipe.insecure, recipe.proxy)
            config = origin.fill(run, start, tree, scratch_of(target), what)
        _fill_mounted(run, recipe, tree, source, env, what)
    except BaleineError as error:
        folder = os.path.dirname(target)
        for path, hint in (
            (tree, "The image is too small for this tree: give it a larger size"),
            (folder, f"Make room on the filesystem of {folder}"),
        ):
            space = os.statvfs(path)
            if space.f_bavail * space.f_frsize < FULL:
                raise BaleineError(error.message, hint) from None
        raise
    for trace in () if source else TRACES:
        with contextlib.suppress(OSError):
            os.unlink(f"{tree}/{trace}")
    if not source and os.path.exists(f"{tree}/etc/machine-id"):
        os.truncate(f"{tree}/etc/machine-id", 0)
    with contextlib.suppress(OSError):
        os.utime(f"{tree}/var/lib/apt/lists", (0, 0))  # emptied, not updated: Ansible's apt would take it for fresh
    made_for = architecture.of_tree(tree)
    with explained(f"{what}: writing it out", f"Make room on the filesystem of {os.path.dirname(target)}"):
        rootfs.sync(tree)  # the host's disk may be full: nobody else would be told
    rootfs.unmount(tree)
    found = {"architecture": made_for, "config": to_json(config) if config else ""}
    return {key: value for key, value in found.items() if value}


def _fill_mounted(run: Runner, recipe: Recipe, tree: str, source: str, env: dict[str, str], what: str) -> None:
    if recipe.suite:
        options = {key: getattr(recipe, key) for key in ("suite", "mirror", "keyring", "architecture")}
        families.debian(run, tree, recipe.packages, options, env, what)
    for name in ("proc", "sys", "dev", "etc") if recipe.repositories else ():
        os.mkdir(f"{tree}/{name}")
    if (recipe.packages and not recipe.suite) or recipe.commands:
        _with_chroot(run, recipe, tree, env, source, what)
    elif recipe.files:
        in_child(lambda: _write_files(tree, recipe.files), f"{what}: writing files")


def host_proxy(run: Runner) -> str:
    """Return the HTTP proxy that this host's own apt uses, or nothing."""
    apt = find_program("apt-config")
    shown = run([apt, "shell", "proxy", "Acquire::http::Proxy"]).out if apt else ""
    match = re.fullmatch(r"proxy='(https?://[^']+)'", shown.strip())
    return match.group(1) if match else ""


def _with_chroot(run: Runner, recipe: Recipe, tree: str, env: dict[str, str], source: str, what: str) -> None:
    """Install packages, write files and run commands in the tree, with what programs expect around them."""
    rootfs.check_real_directories(tree, ("proc", "sys", "dev", "etc"), what)
    strict = rootfs.MS_NOSUID | rootfs.MS_NOEXEC
    rootfs.mount("proc", f"{tree}/proc", "proc", strict | rootfs.MS_NODEV)
    rootfs.mount(f"{tree}/proc/sys", f"{tree}/proc/sys", "", rootfs.MS_BIND)  # no build changes a setting of the host
    rootfs.mount("", f"{tree}/proc/sys", "", rootfs.MS_BIND | rootfs.MS_REMOUNT | rootfs.MS_RDONLY | strict)
    rootfs.mount("sysfs", f"{tree}/sys", "sysfs", strict | rootfs.MS_NODEV | rootfs.MS_RDONLY)
    rootfs.mount("dev", f"{tree}/dev", "tmpfs", strict, "size=64k,mode=755")
    for name, major, minor in DEVICES:
        os.mknod(f"{tree}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{tree}/dev/{name}", 0o666)
    os.symlink("/proc/self/fd", f"{tree}/dev/fd")
    os.mkdir(f"{tree}/dev/shm", 0o1777)
    helpers = [] if recipe.repositories else [File("/usr/sbin/policy-rc.d", POLICY, 0o755)]
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as stream:
        helpers.append(File("/etc/resolv.conf", stream.read(), 0o644))
    added: list[str] = in_child(lambda: _write_files(tree, tuple(helpers), keep=True), f"{what}: preparing its tree")

    def inside(words: Sequence[str], attempt: str) -> None:
        families.check_built(run([need_program("chroot", what), tree, *words], env=env), f"{what}: {attempt}")

    if recipe.repositories:
        options = {"releasever": recipe.releasever, "architecture": recipe.architecture}
        families.redhat(run, tree, recipe.packages, recipe.repositories, options, env, what)
    elif source and recipe.packages:
        families.add(inside, tree, recipe.packages, source, what)
    if recipe.files:
        in_child(lambda: _write_files(tree, recipe.files), f"{what}: writing files")
    for command in recipe.commands:
        inside(["/bin/sh", "-c", command], f"command {command!r}")
    in_child(lambda: _remove_files(tree, added), f"{what}: cleaning its tree")
    _end_others()
    for name in ("dev", "sys", "proc/sys", "proc"):
        rootfs.unmount(f"{tree}/{name}")


def _end_others() -> None:
    """End what commands left running: this is PID 1 of the build's own namespace."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _write_files(tree: str, files: tuple[File, ...], keep: bool = False) -> list[str]:
    """In a child that sees nothing but the tree: write files, following only links of the tree itself.

    :param keep: leave a file that is there.
    :returns: what was written.
    """
    os.chroot(tree)
    os.chdir("/")
    os.umask(0o022)
    written = []
    for file in files:
        if keep and os.path.lexists(file.path):
            continue
        os.makedirs(os.path.dirname(file.path), exist_ok=True)
        with open(file.path, "w", encoding="utf-8") as stream:
            stream.write(file.content)
            os.fchmod(stream.fileno(), file.mode)
        written.append(file.path)
    return written


def _remove_files(tree: str, paths: list[str]) -> None:
    os.chroot(tree)
    for path in paths:
        discard(path)
