# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as Docker and the OCI keep them: which layers make one and how it wants to be run. Digests before everything.

Sources: the OCI image-spec 1.0, and what ``docker save`` has written since 1.10 (``manifest.json``); since Docker 25 it
writes both of them at once.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional, TypeVar

from . import layers
from .errors import BaleineError, explained
from .layers import Blob
from .manifest import opened

T = TypeVar("T")
#: The most bytes of a description, and of what is kept of one in a manifest; the most entries of an archive.
LARGEST, LARGEST_CONFIG, MOST = 4 << 20, 256 << 10, 100_000
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: How repr() writes what no manifest and no program can be given; a backslash of the text itself is written twice.
NO_TEXT = re.compile(r"(?<!\\)(?:\\\\)*\\(?:x00|ud[89a-f])")
REF_NAME = "org.opencontainers.image.ref.name"
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
#: As the OCI calls them, what machines are called by uname(2).
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
#: What is kept of how an image wants to be run -> how its configuration calls it, and what it is.
KEYS: dict[str, tuple[str, type]] = {
    "entrypoint": ("Entrypoint", list), "cmd": ("Cmd", list), "env": ("Env", list), "user": ("User", str),
    "workdir": ("WorkingDir", str), "labels": ("Labels", dict), "exposed_ports": ("ExposedPorts", dict),
    "stop_signal": ("StopSignal", str),
}  # fmt: skip

Get = Callable[[str], Optional[Blob]]


class Layer(NamedTuple):
    """One layer: its blob, the digest of that (empty where none is named), and of what it unpacks to."""

    blob: Blob
    digest: str
    diff_id: str

    def check(self, limit: int, what: str) -> None:
        """Refuse a layer whose bytes are not those that its image names.

        :param limit: the most bytes to unpack, where only what it unpacks to is named.
        """
        if self.digest:
            found = self.blob.digest()
        else:
            with layers.opened_layer(self.blob, limit, what) as stream:
                found = layers.identify(stream)
        same(found, self.digest or self.diff_id, f"{what}: a layer")


class Image(NamedTuple):
    """An image: the digest of its configuration, which is what identifies it, how it wants to be run, its layers."""

    identity: str
    config: dict[str, Any]
    layers: tuple[Layer, ...]
    document: Any


def same(found: str, named: str, what: str) -> None:
    """Refuse what is not what its digest says."""
    if found != named:
        hint = "It was damaged or changed on its way: get it again from where it came"
        raise BaleineError(f"{what}: the digest of it is {found}, and {named} was named", hint)


def _typed(value: Any, kind: type[T], name: str) -> T:
    if not isinstance(value, kind):
        raise BaleineError(f"{name} of it is not understood: {str(value)[:60]!r}", "Make the archive anew")
    return value


def _field(value: Any, key: str, kind: type[T], default: Optional[T] = None) -> T:
    """Return a field of a JSON object; one that is missing or null is the default, if there is one."""
    found = _typed(value, dict, "a description").get(key)
    return default if found is None and default is not None else _typed(found, kind, key)


@contextlib.contextmanager
def opened_archive(path: str, scratch: str, limit: int, what: str) -> Iterator[Get]:
    """Hold a tar archive by whose names blobs are found; a packed one is unpacked to a file that has no name.

    :param scratch: the directory for that; :param limit: the most bytes of it.
    """
    import tarfile

    with opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor, contextlib.ExitStack() as stack:
        if packed(descriptor):
            whole = Blob.whole(descriptor)
            flat = os.open(scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, flat)
            with layers.opened_layer(whole, limit, what) as stream:
                for piece in iter(lambda: stream.read(layers.PIECE), b""):
                    layers.write_all(flat, piece, os.fstat(flat).st_size)
            descriptor = flat
        members: dict[str, Any] = {}
        try:
            with open(os.dup(descriptor), "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    members[posixpath.normpath(member.name)] = member
                    if len(members) > MOST:
                        raise BaleineError("it holds more entries than an image can have")
        except (tarfile.TarError, EOFError, ValueError, OverflowError, MemoryError) as error:
            raise BaleineError(f"it is no whole tar archive: {error}", "Get the file again") from None

        def get(name: str) -> Optional[Blob]:
            member = members.get(posixpath.normpath(name))
            if member is not None and member.issym():  # docker save writes a layer that it has written as a link to it
                member = members.get(posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
            return Blob(descriptor, member.offset_data, member.size) if member is not None and member.isreg() else None

        yield get


@contextlib.contextmanager
def opened_folder(path: str) -> Iterator[Get]:
    """Hold a directory by whose names blobs are found: plain files alone."""
    with contextlib.ExitStack() as stack:

        def get(name: str) -> Optional[Blob]:
            if ".." in name.split("/") or not name.isprintable():
                return None
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(f"{path}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                return Blob(descriptor, 0, os.fstat(descriptor).st_size)
            return None

        with explained(path):
            yield get


def packed(descriptor: int) -> bool:
    """Say whether a file is compressed."""
    return os.pread(Blob.whole(descriptor).descriptor, 6, 0).startswith(tuple(layers.PACKED))


def _json(get: Get, name: str, digest: str = "") -> tuple[Any, str]:
    """Return a JSON document and its digest.

    :param digest: what that must be.
    """
    import hashlib
    import json

    blob = get(name)
    if blob is None or blob.size > LARGEST:
        raise BaleineError(f"there is no {name} in it" if blob is None else f"{name} of it is too large")
    text = b"".join(blob.pieces())
    found = f"sha256:{hashlib.sha256(text).hexdigest()}"
    same(found, digest or found, name)
    try:
        return json.loads(text), found
    except (ValueError, RecursionError):
        raise BaleineError(f"{name} of it is no JSON", "Make the archive anew") from None


def docker_archive(get: Get, reference: str) -> Image:
    """Return an image of what ``docker save`` wrote; which one, where there are several, says its tag.

    :raises BaleineError: for digests that differ, and anything that is not as it should be.
    """
    found = _typed(_json(get, "manifest.json")[0], list, "manifest.json")
    tags = [[str(tag) for tag in _field(item, "RepoTags", list, [])] for item in found]
    entry = _choose(list(zip(tags, found)), reference)
    name, names = _field(entry, "Config", str), _field(entry, "Layers", list)
    digest = re.sub(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?", r"sha256:\1", name)
    config, identity = _json(get, name, digest if DIGEST.fullmatch(digest) else "")
    blobs = []
    for layer in names:
        blob = get(_typed(layer, str, "a layer's name"))
        if blob is None:
            raise BaleineError(f"there is no layer {layer[:100]} in it", "Make the archive anew")
        named = re.fullmatch(r"blobs/sha256/([0-9a-f]{64})", layer)
        blobs.append((blob, f"sha256:{named[1]}" if named else ""))
    return _image(config, identity, blobs)


def oci_layout(get: Get, reference: str) -> Image:
    """Return an image of an OCI layout; which one, where there are several, says its name, and then this machine.

    :raises BaleineError: for digests that differ, and anything that is not as it should be.
    """
    index = _json(get, "index.json")[0]
    for _depth in range(4):
        found = _field(index, "manifests", list)
        names = [_field(_field(item, "annotations", dict, {}), REF_NAME, str, "") for item in found]
        entry = _choose([([name], item) for name, item in zip(names, found)], reference, _is_ours)
        document = _blob(get, entry)
        if _field(document, "mediaType", str, entry.get("mediaType") or "") not in INDEXES:
            break
        index, reference = document, ""
    blobs = []
    for item in _field(document, "layers", list):
        digest = _digest(item)
        blob = get(f"blobs/{digest.replace(':', '/')}")
        if blob is None or blob.size != _field(item, "size", int):
            raise BaleineError(f"the layer {digest} is not in it, or of another size", "Make the archive anew")
        blobs.append((blob, digest))
    target = _field(document, "config", dict)
    return _image(_blob(get, target), _digest(target), blobs)


def _digest(item: Any) -> str:
    digest = _field(item, "digest", str)
    if not DIGEST.fullmatch(digest):
        raise BaleineError(f"the digest {digest[:80]!r} is of a kind that is not known")
    return digest


def _blob(get: Get, item: Any) -> Any:
    digest = _digest(item)
    return _json(get, f"blobs/{digest.replace(':', '/')}", digest)[0]


def _is_ours(item: Any) -> bool:
    platform = _field(item, "platform", dict, {})
    ours = MACHINES.get(os.uname().machine, os.uname().machine)
    return not platform or (platform.get("os"), platform.get("architecture")) == ("linux", ours)


def _choose(found: list[tuple[list[str], Any]], reference: str, ours: Callable[[Any], bool] = lambda item: True) -> Any:
    """Return the one that is meant: by its name, or its tag alone; then the one that is for this machine."""
    meant = [
        (names, item)
        for names, item in found
        if not reference
        or any(name == reference or name.endswith((f"/{reference}", f":{reference}")) for name in names)
    ]
    meant = meant if len(meant) == 1 else [(names, item) for names, item in meant if ours(item)]
    if len(meant) != 1:
        names = ", ".join(sorted({name for names, _item in found for name in names if name})[:10]) or "without names"
        hint = "Name one of them after the file: FILE:NAME:TAG"
        raise BaleineError(f"{len(meant)} images of it are meant; it holds {len(found)}: {names}", hint)
    return meant[0][1]


def _image(config: Any, identity: str, blobs: list[tuple[Blob, str]]) -> Image:
    system, diff_ids = _field(config, "os", str, "linux"), _field(_field(config, "rootfs", dict), "diff_ids", list)
    if system != "linux":
        raise BaleineError(f"it is an image for {system[:20]!r}", "Baleine runs Linux")
    if len(diff_ids) != len(blobs) or not all(DIGEST.fullmatch(str(diff_id)) for diff_id in diff_ids):
        raise BaleineError(f"its configuration names {len(diff_ids)} layers, and it has {len(blobs)}")
    found = tuple(Layer(blob, digest, str(diff_id)) for (blob, digest), diff_id in zip(blobs, diff_ids))
    return Image(identity, read_config(config), found, config)


def read_config(document: Any) -> dict[str, Any]:
    """Return what is kept of an image's configuration; what is empty is left out.

    :raises BaleineError: for what is no configuration, or too long a one.
    """
    given = _field(document, "config", dict, {})
    found: dict[str, Any] = {key: _field(given, name, kind, kind()) for key, (name, kind) in KEYS.items()}
    for key in ("entrypoint", "cmd", "env"):
        found[key] = [_typed(word, str, key) for word in found[key]]
    found["env"] = dict(word.split("=", 1) for word in found["env"] if word.find("=") > 0)
    found["labels"] = {key: _typed(value, str, "labels") for key, value in found["labels"].items()}
    found["exposed_ports"] = sorted(found["exposed_ports"])
    found["architecture"] = _field(document, "architecture", str, "")
    if NO_TEXT.search(repr(found)) or len(repr(found)) > LARGEST_CONFIG:
        raise BaleineError("its configuration is too long, or holds a NUL byte or half a character")
    return {key: value for key, value in found.items() if value}


def comment(document: Any) -> str:
    """Return what is noted of the last layer of an image: of one of ours, what content it is."""
    history = _field(document, "history", list, [])
    return _field(history[-1], "comment", str, "") if history else ""


def write_config(config: dict[str, Any], created: str, diff_id: str, note: str = "") -> dict[str, Any]:
    """Return the configuration of an image of one layer, as :func:`read_config` and :func:`comment` read it."""
    given = {name: config[key] for key, (name, _kind) in KEYS.items() if key in config}
    given.update({"Env": [f"{key}={value}" for key, value in config["env"].items()]} if "env" in config else {})
    given.update({"ExposedPorts": {port: {} for port in config["exposed_ports"]}} if "exposed_ports" in config else {})
    machine = os.uname().machine
    return {
        "created": created,
        "architecture": config.get("architecture") or MACHINES.get(machine, machine),
        "os": "linux",
        "config": given,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "baleine image export", "comment": note}],
    }
