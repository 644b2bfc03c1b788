# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of distributions: how each makes a tree of packages, and where packages stay for the next build."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from . import architecture, manifest, rootfs, units
from .errors import BaleineError, Busy
from .process import Result, Runner, check, in_child, need_program

#: Packages that were fetched, in one directory for each origin.
CACHE = "/var/cache/baleine/packages"
#: What is kept of them at the most, and what its filesystem must have free beside (bytes).
CACHE_SIZE, CACHE_RESERVE = 4 << 30, 1 << 30
ARCHIVES = "var/cache/apt/archives"
#: What mmdebstrap need not do: an emulator was looked for, and nobody uses a tree whose making a power cut ended; and
#: what it must not do to packages that are kept.
SKIPPED = ("--skip=check/qemu", "--dpkgopt=force-unsafe-io")
KEPT = ("--skip=download/empty", "--skip=essential/unlink", "--skip=cleanup/apt/cache")
#: What a step that failed said, and what to do; the last one where it said none of them.
HINTS = {
    "NO_PUBKEY": "Give the keyring that this suite is signed with",
    "GPG check FAILED": "Give the key that these packages are signed with, or mend the repository",
    "more space needed": "The image is too small for this tree: give it a larger size",
    "": "See that its packages and suite exist and that the mirror can be reached from this host",
}
#: Where dnf keeps what it fetched; --installroot makes it a path of the tree.
DNF_CACHE = "var/cache/dnf"
#: Macros of rpm on this host; and what they are to say while a tree is made: Debian's rpm has its database in the home
#: directory, each release of Red Hat's family in another place. What is mounted in a tree, no package owns.
MACROS = "/usr/lib/rpm/macros"
DATABASE = "/var/lib/rpm.new"
OVERRIDES = f"\n%_dbpath {DATABASE}\n%_netsharedpath /proc:/sys:/dev\n"
DNF = """[main]
gpgcheck=1
plugins=0
keepcache=1
install_weak_deps=0
skip_if_unavailable=0
reposdir=/dev/null
"""


class Repository(NamedTuple):
    """A repository of rpm packages, and the key that all of them must be signed with."""

    name: str
    baseurl: str
    gpgkey: str


def parse_repositories(items: Sequence[Mapping[str, Any]], what: str) -> tuple[Repository, ...]:
    """Return what a task's repositories are.

    :raises BaleineError: for a name, an address or a key that is none.
    """
    found = tuple(Repository(*(str(item.get(key) or "") for key in Repository._fields)) for item in items)
    for repository in found:
        for key, pattern, hint in (
            ("name", r"(?!main$)[A-Za-z0-9][A-Za-z0-9_.-]*", "Letters, digits, '_', '.' and '-' make a name"),
            ("baseurl", r"(https?|file)://[!-~]+", "Write http://…, https://… or file:///…"),
            ("gpgkey", r"(/|file:///|https://)[!-~]+", "Name the file on this host, or write https://…"),
        ):
            if not re.fullmatch(pattern, getattr(repository, key)):
                shown = f"repository {repository.name}: {key} {getattr(repository, key)!r}"
                raise BaleineError(f"{what}: {shown} is none", hint)
    if len({repository.name for repository in found}) < len(found):
        raise BaleineError(f"{what}: two repositories have one name", "Give each another")
    keys = [re.sub("^file:///", "/", repository.gpgkey) for repository in found]
    keys = [units.normal_path(key) if key.startswith("/") else key for key in keys]
    places = [units.normal_address(repository.baseurl) for repository in found]
    return tuple(one._replace(baseurl=place, gpgkey=key) for one, place, key in zip(found, places, keys))


@contextlib.contextmanager
def packages_of(origin: str) -> Iterator[str]:
    """Hold the directory of this host in which packages stay for later builds of the same origin.

    apt believes what lies there by its name and size alone (pkgAcqArchive), and a tree can write to it: so nothing that
    came from one mirror or image is ever shown to a build from another.

    :returns: the directory; empty where another build of this origin has it at this moment, or the host has no room.
    """
    import hashlib  # 2 ms, for OpenSSL

    name, place = hashlib.sha256(origin.encode()).hexdigest()[:16], ""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Busy):
            stack.enter_context(manifest.registry(f"packages.{name}", wait=False))
            os.makedirs(CACHE, mode=0o700, exist_ok=True)
            space = os.statvfs(CACHE)
            if space.f_bavail * space.f_frsize > CACHE_RESERVE:
                place = f"{CACHE}/{name}"
                os.makedirs(place, exist_ok=True)
        yield place


@contextlib.contextmanager
def kept_packages(origin: str, tree: str, path: str = ARCHIVES) -> Iterator[bool]:
    """Let packages that are fetched into a directory of a tree stay on the host (:func:`packages_of`).

    :returns: whether it is so; never where the tree has something else than a directory of its own there.
    """
    target = f"{os.path.realpath(tree)}/{path}"
    with packages_of(origin) as place:
        kept = bool(place) and os.path.isdir(target) and os.path.realpath(target) == target
        if kept:
            rootfs.mount(place, target, "", rootfs.MS_BIND)
        try:
            yield kept
        finally:
            if kept:
                rootfs.unmount(target, rootfs.MNT_DETACH)


def forget_packages(limit: int, only_count: bool = False) -> int:
    """Remove the packages that were fetched longest ago until those that stay take no more than ``limit`` bytes.

    What a build uses at this moment is left alone.

    :param only_count: remove nothing.
    :returns: how many bytes went, or would.
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
            if not only_count:
                os.unlink(path)
                with contextlib.suppress(OSError):  # others are in it
                    os.rmdir(os.path.dirname(path))
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
    suite, keyring, mirror = (options.get(key, "") for key in ("suite", "keyring", "mirror"))
    words = [need_program("mmdebstrap", what), "--mode=root", "--variant=minbase", "--format=directory", *SKIPPED]
    words += ["--include=" + ",".join(("apt", *packages))]  # it is part of Debian's minimal system, not of Ubuntu's
    words += [f"--architectures={options['architecture']}"] if options.get("architecture") else []
    if keyring:
        import shlex

        if not os.path.isfile(keyring):
            raise BaleineError(f"{what}: the keyring {keyring} is no file", "Name a file of this host")
        trusted = f'"$1/etc/apt/trusted.gpg.d/{os.path.basename(keyring)}"'  # also for apt in the tree, later
        words += [f"--keyring={keyring}", f"--setup-hook=install -D -m 644 {shlex.quote(keyring)} {trusted}"]
    with packages_of(f"{mirror} {keyring}") as place:
        if place:
            words += [f'--setup-hook=mkdir -p "$1/{ARCHIVES}" && mount --bind {place} "$1/{ARCHIVES}"']
            words += [f'--customize-hook=umount "$1/{ARCHIVES}"', *KEPT]
        words += [suite, tree, *([mirror] if mirror else [])]
        check_built(run(words, env=env), f"{what}: making a {suite} tree")


def add(
    inside: Callable[[Sequence[str], str], None], tree: str, packages: Sequence[str], origin: str, what: str
) -> None:
    """Install packages in a tree by the tree's own apt or dnf.

    :param inside: runs a command in the tree, and is told what that attempts; :param origin: what the tree came from.
    :raises BaleineError: where it has neither, or with the last words of the one that it has.
    """
    if os.path.lexists(f"{tree}/usr/bin/apt-get"):
        with kept_packages(origin, tree):
            inside(["apt-get", "-q", "update"], "reading the package lists")
            words = ["apt-get", "-qy", "--no-install-recommends", "-o", "Dpkg::Options::=--force-unsafe-io", "install"]
            inside([*words, "--", *packages], "installing packages")
        inside(["/bin/sh", "-c", "apt-get clean; cd /var/lib/apt/lists && rm -rf * && touch -d @0 ."], "cleaning")
    elif os.path.lexists(f"{tree}/usr/bin/dnf"):
        inside(["dnf", "-qy", "--setopt=install_weak_deps=0", "install", *packages], "installing packages")
        inside(["dnf", "-q", "clean", "all"], "cleaning")
    else:
        hint = "Start from an image with one of them, or add what is needed by files and commands"
        raise BaleineError(f"{what}: installing packages: its tree has neither apt-get nor dnf", hint)


def redhat(
    run: Runner,
    tree: str,
    packages: Sequence[str],
    repositories: Sequence[Repository],
    options: Mapping[str, str],
    env: Mapping[str, str],
    what: str,
) -> None:
    """Make a tree of Red Hat's family in one transaction of dnf: no package without its repository's signature.

    :param options: ``releasever`` and ``architecture``, where they are given.
    :raises BaleineError: with dnf's last words.
    """
    need_program("rpmkeys", what)  # without it dnf takes no package for signed
    words = [need_program("dnf", what), "-qy", f"--installroot={tree}", f"--releasever={options.get('releasever')}"]
    if options.get("architecture"):
        words += [f"--forcearch={architecture.KNOWN[options['architecture']][0]}"]
    beside = os.path.dirname(tree)  # a filesystem in memory, that only this build sees
    with open(f"{beside}/dnf.conf", "x") as stream:
        stream.write(DNF + (f"proxy={env['http_proxy']}\n" if env.get("http_proxy") else ""))
        for name, baseurl, key in repositories:
            address = f"file://{key}" if key.startswith("/") else key
            stream.write(f"[{name}]\nname={name}\nbaseurl={baseurl}\ngpgkey={address}\n")
    with open(MACROS) as given, open(f"{beside}/macros", "x") as macros:
        macros.write(given.read() + OVERRIDES)
    rootfs.mount(f"{beside}/macros", MACROS, "", rootfs.MS_BIND)
    os.makedirs(f"{tree}/{DNF_CACHE}")
    with kept_packages(manifest.to_json(repositories), tree, DNF_CACHE):
        for name in os.listdir(f"{tree}/{DNF_CACHE}"):
            if name.endswith("_lock.pid"):  # of a build that was killed; its number may be another's here
                os.unlink(f"{tree}/{DNF_CACHE}/{name}")
        result = run([*words, "-c", f"{beside}/dnf.conf", "install", *packages], env=env)
        check_built(result, f"{what}: making a tree of {', '.join(repository.name for repository in repositories)}")
    rootfs.unmount(MACROS)
    asked = run([need_program("chroot", what), tree, "rpm", "--eval", "%_dbpath"])
    in_child(lambda: _settle(tree, asked.out.strip() if asked.code == 0 else "/var/lib/rpm"), f"{what}: its database")


def _settle(tree: str, database: str) -> None:
    """In a child that sees nothing but the tree: put rpm's database where the tree's own rpm looks for it."""
    os.chroot(tree)
    os.makedirs(database, exist_ok=True)
    for name in os.listdir(DATABASE):
        os.rename(f"{DATABASE}/{name}", f"{database}/{name}")
    os.rmdir(DATABASE)
    rootfs.remove_tree(f"/{DNF_CACHE}")
    for name in ("dnf.log", "dnf.librepo.log", "dnf.rpm.log", "hawkey.log"):
        manifest.discard(f"/var/log/{name}")


def check_built(result: Result, attempt: str) -> None:
    """Turn the failure of a build's step into words a person can act on.

    :raises BaleineError: with the errors of apt or dpkg, where there are any.
    """
    errors = [line for line in result.err.splitlines() if line.startswith(("E:", "dpkg: error"))]
    errors = [line for line in errors if not line.endswith((" failed", " failed to run"))] or errors  # of what, is said
    hint = next((hint for sign, hint in HINTS.items() if sign in result.err), HINTS[""])
    if result.code != 0 and errors:
        result = Result(result.argv, result.code, result.out, "\n".join(errors[:3]))
    check(result, attempt, hint)
