# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the host a container is given: volumes and secrets, put where its runtime finds them.

All of it happens in the launcher's own mount namespace: the host's mount table never shows it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from . import oci, rootfs
from .errors import BaleineError, explained

#: Bytes; a key, a password, a certificate chain.
LARGEST_SECRET = 1 << 20


class Volume(NamedTuple):
    """A path of the host or a named volume, seen at ``target``; ``idmap``: its owners 0-65535 are those inside."""

    source: str
    target: str
    read_only: bool = False
    idmap: bool = False


class Secret(NamedTuple):
    """A file of the host that is copied to ``/run/secrets/NAME`` inside, on a tmpfs; ``mode`` in octal digits."""

    name: str
    source: str
    mode: str = "0400"


def bind(volume: Volume, place: str, first_id: int, what: str) -> oci.Bind:
    """Bind a volume where the runtime can reach it as the container's root, whatever the modes above its source.

    :param place: where; :param first_id: the first of the container's own ids.
    :raises BaleineError: naming the source.
    """
    with explained(f"{what}: volume {volume.source}", "Make the file or directory on the host first"):
        if stat.S_ISDIR(os.stat(volume.source).st_mode):
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        rootfs.mount(volume.source, place, "", rootfs.MS_BIND | (0 if volume.idmap else rootfs.MS_REC))
    if volume.idmap:
        rootfs.map_owners(place, first_id)
    bits = os.statvfs(place).f_flag
    named = ((os.ST_NOSUID, "nosuid"), (os.ST_NODEV, "nodev"), (os.ST_NOEXEC, "noexec"))
    flags = tuple(word for bit, word in named if bits & bit)
    return oci.Bind(place, volume.target, volume.read_only or bool(bits & os.ST_RDONLY), flags)


def secrets(wanted: Sequence[Secret], place: str, first_id: int, identity: oci.Identity, what: str) -> oci.Bind:
    """Copy the files that are secret to a tmpfs that only this mount namespace, and so the container, ever sees.

    :param place: where; :param first_id: the first of the container's own ids; :param identity: whose they are inside.
    :raises BaleineError: naming the secret and its file.
    """
    flags = rootfs.MS_NOSUID | rootfs.MS_NODEV | rootfs.MS_NOEXEC
    os.mkdir(place, 0o711)
    rootfs.mount("baleine", place, "tmpfs", flags, f"mode=0711,size={2 * len(wanted) * LARGEST_SECRET}")
    for secret in wanted:
        with explained(f"{what}: secret {secret.name}: {secret.source}"), open(secret.source, "rb") as stream:
            content = stream.read(LARGEST_SECRET + 1)
        if len(content) > LARGEST_SECRET:
            raise BaleineError(f"{what}: secret {secret.name}: {secret.source} is above {LARGEST_SECRET} bytes")
        descriptor = os.open(f"{place}/{secret.name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), int(secret.mode, 8))
            os.fchown(stream.fileno(), first_id + identity.uid, first_id + identity.gid)
    return oci.Bind(place, "/run/secrets", True, ("nosuid", "nodev", "noexec"))
