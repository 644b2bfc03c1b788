# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that leave: for Docker, Podman and whatever reads the OCI's, to a registry, or as a plain tar.

One archive is for all of them: an OCI layout with Docker's ``manifest.json``, as Docker itself writes since version 25.
It has one layer. The same image gives the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

from . import image, layers, manifest, oci_image, origin, rootfs, units
from .disk import digest as disk_digest
from .disk import mount
from .errors import BaleineError, explained, known
from .plan import Action, Outcome, Plan, apply
from .process import Runner, in_child

KINDS = ("docker-archive", "oci-archive", "docker", "tar")
TYPE = "application/vnd.oci.image."
#: A name as Docker takes it, with a tag.
REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*:[\w.-]+", re.ASCII)


class Wanted(NamedTuple):
    """An image, and where it shall be; ``tag`` is what it is called there."""

    name: str
    target: origin.Origin
    tag: str = ""


class Found(NamedTuple):
    """What is there.

    :param digest: of the image's content; None where there is no image.
    :param holds: of what content the target is; ``something else``, or None where there is none.
    """

    record: Optional[manifest.Record] = None
    digest: Optional[str] = None
    holds: Optional[str] = None


def request(params: Mapping[str, Any]) -> Wanted:
    """Return what a task or a command asks for, normalised.

    :raises BaleineError: for a target that there is not, or a name that Docker does not take.
    """
    name = units.check_name(str(params["name"]), "image")
    what = f"image {name}"
    target = origin.parse(str(params["target"]), what, bool(params.get("insecure")), str(params.get("proxy") or ""))
    if target.kind not in KINDS:
        raise BaleineError(f"{what}: {target} is no target", f"There are {', '.join(KINDS)}")
    base, _colon, version = name.partition(":")
    tag = target.reference or f"{base.lower()}:{version or 'latest'}"
    if target.kind in origin.ARCHIVES and not target.reference and not REPOSITORY.fullmatch(tag):
        raise BaleineError(f"{what}: {tag} is no name that Docker takes", "Name it after the file: FILE:NAME:TAG")
    return Wanted(name, target, tag)


def find(run: Runner, wanted: Wanted) -> Found:
    """Return what is there of an image and of its target; a file is looked through, of a registry the configuration."""
    record = image.current(wanted.name)
    if record is None or not os.path.exists(image.path_of(wanted.name, record)):
        return Found()
    digest = image.true_digest(wanted.name, record) or disk_digest(image.path_of(wanted.name, record))
    return Found(record, digest, _held(run, wanted, record, digest))


def _held(run: Runner, wanted: Wanted, record: manifest.Record, digest: str) -> Optional[str]:
    target, what = wanted.target, f"image {wanted.name}: {wanted.target}"
    if target.kind != "docker" and not os.path.lexists(target.place):
        return None
    try:
        if target.kind == "tar":
            there = origin.identity(run, target, what)
            return digest if there == _reading(wanted.name, record, _identify, what) else "something else"
        if target.kind == "docker":
            document: Any = json.loads(origin.inspect(run, target, what))
        else:
            with origin.opened_image(target._replace(reference=wanted.tag), "/tmp", 1, what) as found:
                for layer in found.layers:
                    layer.check(origin.ENDLESS, what)
                document = found.document
        config = oci_image.read_config(document)
        made_of = oci_image.comment(document)
    except (BaleineError, OSError, ValueError):
        return None if target.kind == "docker" else "something else"
    return made_of if config == _config(record) else "something else"


def _config(record: manifest.Record) -> dict[str, Any]:
    """What an image says of how it wants to be run, as it is read again where it was written to."""
    return oci_image.read_config(oci_image.write_config(manifest.from_json(record, "config", {}), "", "", ""))


def plan(wanted: Wanted, found: Found, check: bool = False) -> Plan:
    """Compare and decide. Pure.

    :param check: an image that is missing is taken to come from an earlier task.
    :raises BaleineError: where there is no image.
    """
    what = f"image {wanted.name}"
    if found.digest is None and not check:
        raise manifest.missing("image", wanted.name)
    after = {"target": str(wanted.target), "content": found.digest or ""}
    before = {**after, "content": found.holds} if found.holds else {}
    if found.digest is None:
        return Plan(what, (Action("export", what, "there is none"),), before, after).lacking(f"{what}: there is none")
    if found.holds == found.digest:
        return Plan(what, (), after, after)
    reason = f"{wanted.target} holds {found.holds}" if found.holds else f"there is no {wanted.target}"
    return Plan(what, (Action("export", what, reason),), before, after)


def ensure(run: Runner, wanted: Wanted, check: bool = False) -> Outcome:
    """Let a target hold an image, or only say what that would take (``check``).

    :raises BaleineError: see :func:`plan`; or with the step that failed. Then the target is as it was.
    """
    alone = contextlib.nullcontext() if check else manifest.alone_at(wanted.target.place)
    with manifest.lock([("image", wanted.name, True)]), alone:
        found = find(run, wanted)
        decided = plan(wanted, found, check)
        if not check:
            apply(decided, {"export": lambda _action: _export(run, wanted, found)})
    return Outcome(decided, {"image": wanted.name, **decided.after})


def _reading(name: str, record: manifest.Record, function: Callable[[str, str], Any], what: str) -> Any:
    """Return what a function makes of an image's tree, mounted read-only where nobody else sees it."""

    def inside() -> Any:
        rootfs.unshare(rootfs.CLONE_NEWNS)
        mount(image.path_of(name, record), manifest.LOCKS, read_only=True)  # it is there while we hold one
        return function(manifest.LOCKS, what)

    return in_child(inside, what)


def _identify(tree: str, what: str) -> str:
    with layers.opened_tree(tree, origin.ENDLESS, what) as stream:
        return layers.identify(stream)


def _export(run: Runner, wanted: Wanted, found: Found) -> None:
    record, target, what = known(found.record, wanted.name), wanted.target, f"image {wanted.name}: {wanted.target}"

    def write(tree: str, what: str) -> None:
        with layers.opened_tree(tree, origin.ENDLESS, what) as stream:
            if target.kind == "tar":
                _copy(stream, descriptor, 0)
            else:
                _write_archive(stream, descriptor, wanted.tag, record, known(found.digest, what))
        os.fsync(descriptor)

    if target.kind == "docker":
        import tempfile

        with tempfile.NamedTemporaryFile(prefix="baleine-", dir="/var/tmp") as file:  # where skopeo has its own too
            descriptor = file.fileno()
            _reading(wanted.name, record, write, what)
            words = ("--quiet", f"oci-archive:{file.name}", f"docker://{target.place}")
            origin.skopeo(run, target, what, "copy", "dest-", *words)
        return
    folder, base = os.path.split(target.place)
    part = f"{folder}/.{base}.part"
    manifest.discard(part)
    try:
        with explained(what, f"Make room in, or write access to, {folder}"):
            with manifest.opened(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as descriptor:
                os.fchmod(descriptor, 0o600)
                _reading(wanted.name, record, write, what)
            os.rename(part, target.place)
            manifest.sync_directory(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _copy(stream: layers.Stream, descriptor: int, at: int) -> int:
    """Write a stream to a place in a file; returns how much that was."""
    size = 0
    for piece in iter(lambda: stream.read(layers.PIECE), b""):
        layers.write_all(descriptor, piece, at + size)
        size += len(piece)
    return size


def _write_archive(stream: layers.Stream, descriptor: int, tag: str, record: manifest.Record, content: str) -> None:
    """Write an OCI layout with Docker's ``manifest.json`` as a tar: the layer first, its name once it is known."""
    import hashlib
    import tarfile

    def head(name: str, size: int) -> bytes:
        entry = tarfile.TarInfo(name)
        entry.size = size
        return entry.tobuf(tarfile.GNU_FORMAT)

    def described(kind: str, digest: str, size: int) -> dict[str, Any]:
        return {"mediaType": f"{TYPE}{kind}", "digest": digest, "size": size}

    def blob(document: Any) -> tuple[str, int]:
        text = json.dumps(document, sort_keys=True).encode()
        digest = hashlib.sha256(text).hexdigest()
        files[f"blobs/sha256/{digest}"] = text
        return f"sha256:{digest}", len(text)

    files: dict[str, bytes] = {}
    size = _copy(stream, descriptor, 512)
    diff_id = f"sha256:{stream.hash.hexdigest()}"
    layer = f"blobs/{diff_id.replace(':', '/')}"
    layers.write_all(descriptor, head(layer, size), 0)
    created, config = record.get("created") or "1970-01-01T00:00:00Z", manifest.from_json(record, "config", {})
    document = blob(oci_image.write_config(config, created, diff_id, content))
    main = {
        "schemaVersion": 2,
        "mediaType": f"{TYPE}manifest.v1+json",
        "config": described("config.v1+json", *document),
        "layers": [described("layer.v1.tar", diff_id, size)],
    }
    entry = {**described("manifest.v1+json", *blob(main)), "annotations": {oci_image.REF_NAME: tag}}
    names = {"Config": f"blobs/{document[0].replace(':', '/')}", "RepoTags": [tag], "Layers": [layer]}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["manifest.json"] = json.dumps([names]).encode()
    rest = b"".join(head(name, len(text)) + text + bytes(-len(text) % 512) for name, text in files.items())
    layers.write_all(descriptor, bytes(-size % 512) + rest + bytes(1024), 512 + size)
