# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: one plain text file a resource, replaced atomically, and one lock a resource."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from .errors import BaleineError, Busy, explained
from .units import check_name, number

LIBRARY = "/var/lib/baleine"
MANIFESTS = f"{LIBRARY}/manifeste"
LOCKS = "/run/baleine/lock"
#: The file of the reflink store, where there is one, and what whoever moves everything into it or out of it holds.
STORE = "/var/lib/baleine-store.xfs"
MOVING = "/run/baleine/moving"
LOOP_MAJOR = 7  # linux/major.h
FORMAT = 1
LARGEST = 1 << 20
#: The order in which locks are taken: what others are made of comes first.
KINDS = ("image", "bridge", "volume", "container")
#: The French keys are the contract with existing scripts; they come first, in this order.
LEADING = {
    "image": ("nom_image", "taille", "chemin"),
    "bridge": ("nom_bridge",),
    "volume": ("nom_volume",),
    "container": ("nom_container", "nom_image", "pid", "nom_bridge", "starting_time"),
}

Record = dict[str, str]


def store_is_down() -> bool:
    """Say whether there is a reflink store that nobody mounted since the boot. Every command asks, so it is cheap."""
    if not os.path.exists(STORE):
        return False
    here, above = (os.stat(path).st_dev if os.path.isdir(path) else 0 for path in (LIBRARY, os.path.dirname(LIBRARY)))
    return os.major(here) != LOOP_MAJOR or here == above


def path_of(kind: str, name: str) -> str:
    """Return the path of a manifest."""
    return f"{MANIFESTS}/{kind}s/{name}.manifest"


def names(kind: str) -> list[str]:
    """Return the names of all resources of a kind that have a manifest."""
    try:
        files = os.listdir(f"{MANIFESTS}/{kind}s")
    except FileNotFoundError:
        return []
    return sorted(file[: -len(".manifest")] for file in files if file.endswith(".manifest") and file[0] != ".")


def records(kind: str) -> dict[str, Record]:
    """Return the records of all resources of a kind, by name; a torn one is left out: that is its own trouble."""
    found = {}
    for name in names(kind):
        with contextlib.suppress(BaleineError):
            found[name] = read(kind, name) or {}
    return found


def parse(text: str, path: str) -> Record:
    """Return the keys and values of a manifest; the first colon of a line ends its key.

    :raises BaleineError: for a line that is none, or a key given twice.
    """
    record: Record = {}
    for at, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        key, colon, value = line.partition(":")
        if not colon or not key.strip().replace("_", "").isalnum() or key.strip() in record:
            hint = "It was torn or is not Baleine's: mend the line, or move the file away"
            raise BaleineError(f"manifest {path}: line {at} is not understood: {line[:60]!r}", hint)
        record[key.strip()] = value.strip()
    return record


def read(kind: str, name: str) -> Optional[Record]:
    """Return a resource's record, or None where it has no manifest.

    :raises BaleineError: for a manifest that is torn, foreign or not readable.
    """
    path = path_of(kind, name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8", newline="\n") as stream:
            text = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise BaleineError(f"manifest {path}: this is no text", "Move the file away") from None
    except OSError as error:
        hint = "Run it as root" if isinstance(error, PermissionError) else ""
        raise BaleineError(f"manifest {path}: {error.strerror}", hint) from None
    if len(text) > LARGEST:
        raise BaleineError(f"manifest {path}: larger than {LARGEST} bytes", "Move the file away")
    record = parse(text, path)
    if record.get(LEADING[kind][0]) != name:
        raise BaleineError(
            f"manifest {path}: it does not describe the {kind} {name} ({LEADING[kind][0]} is missing or different)",
            "It was torn or belongs to another resource: mend it, or move the file away",
        )
    made_by = number(record.get("format", "0"))
    if made_by is None or made_by > FORMAT:
        raise BaleineError(f"manifest {path}: made by a newer Baleine", "Upgrade Baleine on this host")
    return record


def missing(kind: str, name: str) -> BaleineError:
    """Return the error of a resource that does not exist."""
    return BaleineError(f"{kind} {name}: there is none", f"See 'baleine {kind} list{' -a' * (kind == 'container')}'")


def need(kind: str, name: str) -> Record:
    """Return a resource's record.

    :raises BaleineError: where it has no manifest, or see :func:`read`.
    """
    record = read(kind, name)
    if record is None:
        raise missing(kind, name)
    return record


def write(kind: str, name: str, record: Mapping[str, str], lasting: bool = True) -> None:
    """Replace a manifest atomically: a reader sees the old one or the new one, a crash leaves one of them.

    :param lasting: see :func:`replace`.
    :raises BaleineError: when the filesystem refuses.
    """
    content = {**dict.fromkeys(LEADING[kind], ""), **({} if "format" in record else {"format": str(FORMAT)}), **record}
    for key, value in content.items():
        if any(character in value for character in "\n\r\0"):
            raise BaleineError(f"{kind} {name}: the value of {key} has a line end, which a manifest cannot hold")
    text = "".join(f"{key}: {value}".rstrip() + "\n" for key, value in content.items())
    if len(text) > LARGEST:  # nobody could read it any more
        raise BaleineError(f"{kind} {name}: a manifest holds at most {LARGEST} bytes, not {len(text)}")
    path = path_of(kind, name)
    try:
        with explained(f"manifest {path}", "Make room on, or write access to, its filesystem"):
            replace(path, text.encode(), lasting=lasting)
    except UnicodeEncodeError:
        raise BaleineError(f"{kind} {name}: a value is no text that UTF-8 can hold", "Give it in UTF-8") from None


def replace(path: str, content: bytes, mode: int = 0o600, lasting: bool = True) -> None:
    """Replace a file atomically and durably (temporary file, fsync, rename, fsync of the directory).

    :param lasting: False spares the last step: a power cut may bring the old file back, whole.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    temporary = f"{folder}/.{os.path.basename(path)}.new"  # one writer, by its lock
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if lasting:
        sync_directory(folder)


def sync_directory(folder: str) -> None:
    """Make renames and removals in a directory durable."""
    with opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def opened(path: str, flags: int, mode: int = 0o600) -> Iterator[int]:
    """Hold a descriptor of a file (open(2)), as no other program inherits it."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def discard(path: str) -> None:
    """Remove a file; none is no error."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def drop_empty(*folders: str) -> None:
    """Remove directories; one that is not there, or that others still use, is no error."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove(kind: str, name: str) -> None:
    """Remove a manifest; none is no error."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(kind, name))
        sync_directory(f"{MANIFESTS}/{kind}s")


def utc_now() -> str:
    """Return the time in UTC, ISO 8601, as manifests hold it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def join(values: Sequence[str]) -> str:
    """Return repeated names, addresses or MACs as a manifest holds them: comma separated."""
    return ",".join(values)


def split(text: str) -> list[str]:
    """Return the elements of a comma separated value."""
    return text.split(",") if text else []


def to_json(value: Any) -> str:
    """Return anything that may hold a comma or a line end, on one line."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def from_json(record: Mapping[str, str], key: str, default: Any) -> Any:
    """Return the value of a JSON key of a record.

    :raises BaleineError: when it is no JSON of the kind that the default shows.
    """
    text = record.get(key, "")
    if not text:
        return default
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BaleineError(f"manifest: the value of {key} is no JSON: {text[:60]!r}", "Mend the manifest") from None
    if default is not None and not isinstance(value, type(default)):
        raise BaleineError(f"manifest: the value of {key} is of the wrong kind: {text[:60]!r}", "Mend the manifest")
    return value


def recorded(record: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of options; those whose default is a text are no JSON.

    :raises BaleineError: as :func:`from_json`.
    """
    there = {key: default for key, default in defaults.items() if key in record}
    return {key: record[key] if isinstance(d, str) else from_json(record, key, d) for key, d in there.items()}


@contextlib.contextmanager
def lock(wanted: Sequence[tuple[str, str, bool]], wait: bool = True) -> Iterator[None]:
    """Hold the locks of resources, taken in one fixed order: image, bridge, volume, container, then by name.

    :param wanted: kind, name, and whether others may hold it at the same time (shared).
    :raises Busy: when ``wait`` is False and somebody else holds one.
    """
    strongest: dict[tuple[int, str], bool] = {}
    for kind, name, shared in wanted:
        key = (KINDS.index(kind), check_name(name, kind, aside=True))
        strongest[key] = shared and strongest.get(key, True)
    with contextlib.ExitStack() as held:
        for (order, name), shared in sorted(strongest.items()):
            held.callback(_release, *_take(f"{LOCKS}/{KINDS[order]}.{name}", f"{KINDS[order]} {name}", shared, wait))
        yield


@contextlib.contextmanager
def registry(name: str = "registry", wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Hold the one lock for what is given out once: interface names and id ranges. Only to choose and record them.

    :param name: another lock of which there is one; :param shared: others may hold it so at the same time.
    :raises Busy: when ``wait`` is False and somebody else holds it.
    """
    with contextlib.ExitStack() as held:
        held.callback(_release, *_take(f"{LOCKS}/.{name}", f"the {name}", shared, wait))
        yield


def alone_at(path: str) -> contextlib.AbstractContextManager[None]:
    """Hold the one lock for writing to a place outside of Baleine's own directories."""
    import hashlib

    return registry(f"place.{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]}")


@contextlib.contextmanager
def moving() -> Iterator[None]:
    """Keep others from every lock that they do not have yet; who does the same is waited for."""
    held = _take(MOVING, f"moving {LIBRARY}", False, wait=True)
    try:
        yield
    finally:
        _release(*held)


def _release(descriptor: int, path: str) -> None:
    """Let go of a lock; its last holder takes the file away, and who waits for it notices and makes a new one."""
    with contextlib.suppress(OSError):  # others share it
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
            os.unlink(path)
    os.close(descriptor)


def _need_still(descriptor: int, path: str, what: str) -> None:
    """Refuse a lock while everything is being moved: it says so, then looks for locks; we the other way."""
    with contextlib.suppress(FileNotFoundError), opened(MOVING, os.O_RDONLY) as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            _release(descriptor, path)
            raise Busy(f"{what}: {LIBRARY} is being moved", "Try again when that has ended") from None


def _take(path: str, what: str, shared: bool, wait: bool) -> tuple[int, str]:
    os.makedirs(LOCKS, mode=0o700, exist_ok=True)
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, mode)
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                if path != MOVING:
                    _need_still(descriptor, path, what)
                return descriptor, path
        except FileNotFoundError:
            pass  # removed by its last holder while we waited
        except BlockingIOError:
            os.close(descriptor)
            raise Busy(f"{what}: another command is at work on it", "Try again when it has ended") from None
        os.close(descriptor)
