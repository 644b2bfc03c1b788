# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named volumes: directories of Baleine's own that outlive containers, and that several can share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import enter, manifest, rootfs, units
from .errors import BaleineError
from .plan import Draft, Outcome, Plan, apply, predicted
from .process import Runner, check, need_program

DIRECTORY = f"{manifest.LIBRARY}/volumes"
#: How tar(1) compresses, by the suffix of the file.
PACKERS = {".gz": "--gzip", ".tgz": "--gzip", ".xz": "--xz", ".zst": "--zstd"}
TAR = ("--numeric-owner", "--xattrs", "--xattrs-include=*")


class Wanted(NamedTuple):
    """A volume as it is asked for. ``state``: present or absent."""

    name: str
    state: str = "present"


class Found(NamedTuple):
    """What is recorded, whether its directory is there, which containers name it, and whether a file is in its way."""

    record: Optional[manifest.Record] = None
    there: bool = False
    users: tuple[str, ...] = ()
    stray: bool = False


def path_of(name: str) -> str:
    """Return where a volume's files are."""
    return f"{DIRECTORY}/{name}"


def place(source: str) -> str:
    """Return the path that a container's volume is on the host: a named one's, or the path itself."""
    return source if "/" in source else path_of(source)


def find(name: str) -> Found:
    """Return what is recorded of a volume and what is on the disk."""
    path, there = path_of(name), os.path.isdir(path_of(name))
    return Found(manifest.read("volume", name), there, tuple(_users(name)), not there and os.path.lexists(path))


def _users(name: str) -> dict[str, manifest.Record]:
    """The records of the containers that name a volume; a torn one is that container's trouble."""
    found = {}
    for container, record in manifest.records("container").items():
        with contextlib.suppress(BaleineError):
            if name in (item.get("source") for item in manifest.from_json(record, "volumes", [])):
                found[container] = record
    return found


def missing(names: Iterable[str]) -> tuple[str, ...]:
    """Return the named volumes that are still to be made.

    :raises BaleineError: for one whose directory has gone: an empty one in its place would hide that.
    """
    absent = []
    for name in names:
        if not os.path.isdir(path_of(name)):
            if os.path.lexists(path_of(name)):
                raise BaleineError(f"volume {name}: {path_of(name)} is no directory", "Move that file away")
            if manifest.read("volume", name) is not None:
                raise BaleineError(
                    f"volume {name}: its directory {path_of(name)} is gone",
                    f"Restore a backup, or begin anew: baleine volume remove -v {name}",
                )
            absent.append(name)
    return tuple(absent)


def plan(wanted: Wanted, found: Found) -> Plan:
    """Compare and decide. Pure.

    :raises BaleineError: for the removal of one that containers name.
    """
    draft = Draft(f"volume {wanted.name}")
    draft.before = {"state": "present"} if found.there else {}
    if wanted.state == "present":
        draft.after = {"state": "present"}
        if found.stray:
            raise BaleineError(f"{draft.what}: {path_of(wanted.name)} is no directory", "Move that file away")
        if found.record is None:
            draft.step("create", "there is none")
        elif not found.there:
            draft.step("create", "drift: its directory is gone", "its directory is gone")
    elif found.record is not None or found.there:
        if found.users:
            met = f"it cannot be removed, containers use it: {', '.join(found.users)}"
            raise BaleineError(f"{draft.what}: {met}", "Remove these containers first")
        draft.step("remove", "absent is wanted")
    return draft.plan()


def ensure(wanted_all: Sequence[Wanted], check: bool = False) -> list[Outcome]:
    """Bring volumes to what is wanted, or only say what that would take (``check``).

    :raises BaleineError: see :func:`plan`.
    """
    if check:
        return [predicted(plan(wanted, find(wanted.name)), facts, wanted.name) for wanted in wanted_all]
    with manifest.lock([("volume", wanted.name, False) for wanted in wanted_all]):
        plans = [(wanted.name, plan(wanted, find(wanted.name))) for wanted in wanted_all]
        outcomes = []
        for name, decided in plans:
            acts = {"create": lambda action, name=name: make(name), "remove": lambda action, name=name: _remove(name)}
            apply(decided, acts)
            outcomes.append(Outcome(decided, facts(name)))
    return outcomes


def make(name: str) -> None:
    """Make an empty volume; several may do so at once."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path_of(name))
        os.chmod(path_of(name), 0o755)  # whatever the umask
    if manifest.read("volume", name) is None:
        manifest.write("volume", name, {"nom_volume": name, "created": manifest.utc_now()})


def _remove(name: str) -> None:
    for path in (path_of(name), _unfinished(name)):
        _remove_tree(path)
    manifest.remove("volume", name)


def _remove_tree(path: str, quietly: bool = False) -> None:
    """Remove what containers wrote, following no link; none is no error."""
    import shutil  # 2 ms, which no start of a container has to pay

    shutil.rmtree(path, ignore_errors=quietly or not os.path.exists(path))


def _unfinished(name: str) -> str:
    return f"{DIRECTORY}/.{name}.restore"


def facts(name: str) -> dict[str, Any]:
    """Return what is true of a volume now; empty where there is none."""
    found = find(name)
    if found.record is None:
        return {}
    state, created = "present" if found.there else "missing", found.record.get("created", "")
    return {"name": name, "state": state, "path": path_of(name), "created": created, "containers": list(found.users)}


def backup(run: Runner, name: str, target: str) -> None:
    """Write a volume's files to a new tar file, compressed as its suffix says. Who writes meanwhile is not stopped.

    :raises BaleineError: when there is no such volume, the file exists, or tar fails; then there is no file.
    """
    what, target = f"volume {name}: backup", os.path.abspath(target)
    with manifest.lock([("volume", name, True)]), manifest.alone_at(target):
        if not os.path.isdir(path_of(units.check_name(name, "volume"))):
            raise BaleineError(f"{what}: there is no such volume", "See 'baleine volume list'")
        if os.path.lexists(target):
            raise BaleineError(f"{what}: {target} exists", "Choose another name, or move it away")
        part = f"{os.path.dirname(target)}/.{os.path.basename(target)}.part"
        manifest.discard(part)
        words = [need_program("tar", what), "--create", "--sparse", *TAR, *_packer(target)]
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            check(run([*words, f"--file={part}", f"--directory={path_of(name)}", "."]), what)
            os.rename(part, target)
            manifest.sync_directory(os.path.dirname(target))
        except BaseException:
            manifest.discard(part)
            raise


def restore(run: Runner, name: str, source: str, force: bool = False) -> None:
    """Fill a new or empty volume from a backup: all of it, or the volume stays as it is.

    :param force: also one that holds files; they are lost.
    :raises BaleineError: when it holds files, a container that uses it runs, or tar fails.
    """
    what, source = f"volume {name}: restore", os.path.abspath(source)
    with manifest.lock([("volume", name, False)]):
        running = [user for user, record in _users(name).items() if enter.is_alive(record)]
        if running:
            raise BaleineError(f"{what}: containers that run use it: {', '.join(running)}", "Stop them first")
        if not force and os.path.isdir(path_of(name)) and os.listdir(path_of(name)):
            raise BaleineError(f"{what}: it holds files", "Restore into another volume, or say --force to lose them")
        new = _unfinished(name)
        os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
        _remove_tree(new, quietly=True)
        os.mkdir(new, 0o755)
        try:
            words = [need_program("tar", what), "--extract", "--preserve-permissions", "--same-owner", *TAR]
            check(run([*words, *_packer(source), f"--file={source}", f"--directory={new}"]), what)
            make(name)
            rootfs.exchange(new, path_of(name))
        finally:
            _remove_tree(new, quietly=True)


def _packer(path: str) -> list[str]:
    return [PACKERS[suffix] for suffix in [os.path.splitext(path)[1]] if suffix in PACKERS]


def request(params: Mapping[str, Any]) -> Wanted:
    """Return what a task or a command asks for, normalised.

    :raises BaleineError: for a name that is none.
    """
    return Wanted(units.check_name(str(params["name"]), "volume"), params.get("state") or "present")
