# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of distributions: how each makes a tree of packages, and where packages stay for the next build."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

from . import manifest, rootfs
from .errors import Busy, explained
from .process import Result, Runner, check, need_program

#: Packages that were fetched, in one directory for each origin.
CACHE = "/var/cache/baleine/packages"
#: What is kept of them at the most, and what its filesystem must have free beside (bytes).
CACHE_SIZE, CACHE_RESERVE = 4 << 30, 1 << 30
ARCHIVES = "var/cache/apt/archives"
#: What mmdebstrap must leave to us: the directory of packages is not the tree's, and an emulator was looked for.
SKIPPED = "check/empty,check/qemu,download/empty,essential/unlink,cleanup/apt/cache"


@contextlib.contextmanager
def kept_packages(origin: str, tree: str, path: str = ARCHIVES) -> Iterator[bool]:
    """Let packages that are fetched into a directory of a tree stay on the host, for later builds of the same origin.

    apt believes what lies there by its name and size alone (pkgAcqArchive), and a tree can write to it: so nothing that
    came from one mirror or image is ever shown to a build from another.

    :returns: whether it is so: another build of this origin may have them at this moment, the host no room, or the
        tree not this directory.
    """
    import hashlib  # 2 ms, for OpenSSL

    name, place, kept = hashlib.sha256(origin.encode()).hexdigest()[:16], f"{os.path.realpath(tree)}/{path}", False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Busy):
            stack.enter_context(manifest.registry(f"packages.{name}", wait=False))
            os.makedirs(CACHE, mode=0o700, exist_ok=True)
            space = os.statvfs(CACHE)
            room = space.f_bavail * space.f_frsize > CACHE_RESERVE
            kept = room and os.path.isdir(place) and os.path.realpath(place) == place
        if kept:
            os.makedirs(f"{CACHE}/{name}", exist_ok=True)
            rootfs.mount(f"{CACHE}/{name}", place, "", rootfs.MS_BIND)
            stack.callback(rootfs.unmount, place, rootfs.MNT_DETACH)
        yield kept


def forget_packages(limit: int) -> int:
    """Remove the packages that were fetched longest ago until those that stay take no more than ``limit`` bytes.

    What a build uses at this moment is left alone.

    :returns: how many bytes went.
    """
    found: list[tuple[int, int, str]] = []
    with contextlib.ExitStack() as stack:
        for name in os.listdir(CACHE) if os.path.isdir(CACHE) else ():
            with contextlib.suppress(Busy):
                stack.enter_context(manifest.registry(f"packages.{name}", wait=False))
                for folder, _folders, files in os.walk(f"{CACHE}/{name}"):
                    status = [(os.lstat(f"{folder}/{file}"), f"{folder}/{file}") for file in files]
                    found += [(one.st_ctime_ns, one.st_blocks * 512, path) for one, path in status]
        surplus = sum(size for _time, size, _path in found) - limit
        freed = 0
        for _time, size, path in sorted(found):
            if freed >= surplus:
                break
            os.unlink(path)
            freed += size
    return freed


def debian(
    run: Runner,
    tree: str,
    packages: Sequence[str],
    options: Mapping[str, str],
    env: Mapping[str, str],
    what: str,
) -> None:
    """Make a tree of Debian or of what is made like it.

    :param options: ``suite``, and where they are given ``mirror``, ``keyring`` and ``architecture``.
    :raises BaleineError: with mmdebstrap's last words.
    """
    words = [need_program("mmdebstrap", what), "--quiet", "--mode=root", "--variant=minbase", "--format=directory"]
    words += ["--include=" + ",".join(packages)] if packages else []
    words += [f"--architectures={options['architecture']}"] if options.get("architecture") else []
    if options.get("keyring"):
        trusted = f"{tree}/etc/apt/trusted.gpg.d/{os.path.basename(options['keyring'])}"  # also for apt inside, later
        os.makedirs(os.path.dirname(trusted))
        attempt = f"{what}: the keyring {options['keyring']}"
        with explained(attempt, "Name a file of this host"), open(options["keyring"], "rb") as given:
            manifest.replace(trusted, given.read(), 0o644)
        words += [f"--keyring={options['keyring']}"]
    os.makedirs(f"{tree}/{ARCHIVES}")
    with kept_packages(f"{options.get('mirror')} {options.get('keyring')}", tree) as kept:
        words += [f"--skip={SKIPPED}" if kept else "--skip=check/empty,check/qemu", options["suite"], tree]
        words += [options["mirror"]] if options.get("mirror") else []
        check_built(run(words, env=env), f"{what}: making a {options['suite']} tree")


def check_built(result: Result, attempt: str) -> None:
    """Turn the failure of a build's step into words a person can act on.

    :raises BaleineError: with the errors of apt or dpkg, where there are any.
    """
    hint = "See that its packages and suite exist and that the mirror can be reached from this host"
    errors = [line for line in result.err.splitlines() if line.startswith(("E:", "dpkg: error"))]
    if "NO_PUBKEY" in result.err:
        hint = "Give the keyring that this suite is signed with"
    if result.code != 0 and errors:
        result = Result(result.argv, result.code, result.out, "\n".join(errors[:3]))
    check(result, attempt, hint)
