# SPDX-License-Identifier: GPL-3.0-or-later
"""Tar archives and archives of images that a test writes byte by byte, sound or twisted."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

WORK = "/srv/transfer"
#: A file that every archive may hold.
GOOD = ("good", {"data": b"good\n"})


def tar_of(*members: tuple[str, dict[str, Any]], data: bytes = b"") -> bytes:
    """A tar archive of entries: name, attributes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, attributes in members:
            info = tarfile.TarInfo(name)
            content = attributes.get("data", data)
            for key, value in attributes.items():
                if key != "data":
                    setattr(info, key, value)
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def lying(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header that promises more than follows."""
    info = tarfile.TarInfo("lie")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 512 + bytes(1024)


def everywhere(words: str) -> bytes:
    """A header of pax for all entries that follow it."""
    info = tarfile.TarInfo("global")
    text = f"{len(words) + 4} {words}\n".encode()
    info.type, info.size = tarfile.XGLTYPE, len(text)
    return info.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512) + tar_of(GOOD)


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


Twist = Callable[[dict[str, Any]], Any]


def archive(
    *plain: bytes,
    pack: Callable[[bytes], bytes] = bytes,
    config: Twist = dict,
    main: Twist = dict,
    index: Twist = dict,
    saved: Twist = dict,
    spoil: Twist = dict,
) -> bytes:
    """An OCI layout with Docker's manifest.json, as a tar, of layers; each part can be twisted before it is written."""
    files: dict[str, bytes] = {}

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        files[f"blobs/sha256/{digest(content)[7:]}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    layers = [blob(pack(layer), "layer.v1.tar") for layer in plain]
    rootfs = {"type": "layers", "diff_ids": [digest(layer) for layer in plain]}
    document = json.dumps(config({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})).encode()
    described = blob(document, "config.v1+json")
    manifest = json.dumps(main({"schemaVersion": 2, "config": described, "layers": layers})).encode()
    places = [f"blobs/sha256/{layer['digest'][7:]}" for layer in layers]
    entry = saved({"Config": f"blobs/sha256/{described['digest'][7:]}", "RepoTags": ["x:1"], "Layers": places})
    files["index.json"] = json.dumps(index({"manifests": [blob(manifest, "manifest.v1+json")]})).encode()
    files["manifest.json"] = json.dumps(entry if isinstance(entry, list) else [entry]).encode()
    files = spoil(files)
    return tar_of(*((name, {"data": content}) for name, content in files.items()))


def changed(part: str) -> Twist:
    """Change one byte of the blobs that hold a text."""

    def twist(files: dict[str, bytes]) -> dict[str, bytes]:
        return {
            name: bytes([content[0] ^ 1]) + content[1:] if part.encode() in content and name[:5] == "blobs" else content
            for name, content in files.items()
        }

    return twist


def nested(depth: int) -> Twist:
    """An index of an index of an index, in one archive without the blobs: the first of them is missed."""
    return lambda found: {"manifests": [{**found["manifests"][0], "digest": digest(b"%d" % depth)}]}
