# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image made ready for any web server: its description, its file, a signature."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import architecture, disk, image, layers, manifest, remote, units, versions
from .errors import BaleineError, explained
from .process import Runner, check, need_program

#: What GnuPG needs of its caller's environment, to find keys and to ask for a passphrase.
GNUPG = ("GNUPGHOME", "GPG_TTY", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS")


def publish(run: Runner, name: str, directory: str, version: str = "", key: str = "") -> list[str]:
    """Write an image's description, its compressed file and its signature to a directory, each whole or not at all.

    :param version: what is published of it; empty: its tag, or else when it was made.
    :param key: the key of GnuPG that signs; empty: none does, and whoever wants to signs the description later.
    :returns: the paths of these files.
    :raises BaleineError: when there is no such image, or the step that failed.
    """
    name = units.check_name(name, "image")
    what, (base, _colon, tag) = f"image {name}", name.partition(":")
    with manifest.lock([("image", name, True)]), manifest.alone_at(directory):
        record = versions.present(name)
        created = record.get("created") or manifest.utc_now()
        version = version or tag or created.replace("-", "").replace(":", "")
        if not remote.VERSION.fullmatch(version):
            raise BaleineError(f"{what}: {version!r} is no version", "Use letters, digits and . + ~ _ -")
        paths = {kind: f"{directory}/{file}" for kind, file in _files(base, version).items()}
        parts = {kind: f"{directory}/.{os.path.basename(path)}.part" for kind, path in paths.items()}
        try:
            with explained(f"{what}: {directory}", "Make room there, or name a directory that can be written to"):
                os.makedirs(directory, exist_ok=True)
                _pack(run, image.path_of(name, record), parts["file"], what)
                text = _describe(name, record, version, created, parts["file"])
                manifest.replace(parts["description"], text.encode(), 0o644)
                if key:
                    _sign(run, key, parts["description"], parts["signature"], what)
                else:
                    manifest.discard(paths.pop("signature"))  # that of another description
                for kind, path in paths.items():
                    os.chmod(parts[kind], 0o644)
                    os.rename(parts[kind], path)
                manifest.sync_directory(directory)
        finally:
            for part in parts.values():
                manifest.discard(part)
    return list(paths.values())


def _files(base: str, version: str) -> dict[str, str]:
    """The names of what is published, in the order in which it gets them: who reads a description finds its file."""
    description = base + remote.SUFFIX
    return {"file": f"{base}-{version}{remote.PACKED}", "signature": f"{description}.sig", "description": description}


def _pack(run: Runner, path: str, part: str, what: str) -> None:
    """Compress an image file; tar looks for its holes with SEEK_HOLE, so that they cost nothing."""
    packer = f"{need_program('zstd', what)} --quiet --threads=0"
    words = [need_program("tar", what), "--create", "--sparse", "--format=pax", "--numeric-owner", "--force-local"]
    words += [f"--use-compress-program={packer}", f"--file={part}"]
    words += [f"--directory={os.path.dirname(path)}", "--", os.path.basename(path)]
    check(run(words), f"{what}: compressing it to {part}")
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())


def _describe(name: str, record: Mapping[str, str], version: str, created: str, part: str) -> str:
    path, base = image.path_of(name, record), name.partition(":")[0]
    with open(part, "rb") as stream:
        packed = layers.Blob.whole(stream.fileno())
        file_digest = packed.digest()
    config = record.get("config", "")
    said = {
        "format": remote.FORMAT,
        "name": base,
        "version": version,
        "architecture": record.get("architecture") or architecture.native(),
        "created": created,
        "size": str(os.path.getsize(path)),
        "digest": image.true_digest(name, record) or disk.digest(path),
        "file": _files(base, version)["file"],
        "file_size": str(packed.size),
        "file_sha256": file_digest.partition(":")[2],
        **({"config": config} if config else {}),
    }
    text = "".join(f"{key}: {value}\n" for key, value in said.items())
    remote.read(text.encode(), base, f"image {name}")  # what nobody could take is not given
    return text


def _sign(run: Runner, key: str, text: str, signature: str, what: str) -> None:
    """Let GnuPG sign a file; an agent that it starts for that ends again."""
    env = {name: os.environ[name] for name in GNUPG if name in os.environ}
    agent = run(["gpg-connect-agent", "--no-autostart", "GETINFO pid", "/bye"], env=env).out
    words = [need_program("gpg", what), "--batch", "--yes", f"--local-user={key}"]
    signed = run([*words, f"--output={signature}", "--detach-sign", "--", text], env=env)
    if not agent:
        run(["gpgconf", "--kill", "gpg-agent"], env=env)
    check(signed, f"{what}: signing its description", "Name a key of 'gpg --list-secret-keys', or sign it elsewhere")
