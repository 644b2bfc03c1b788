# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image can be made from that is no image of Baleine's: which sources there are, and what identifies them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional

from . import layers, remote
from .errors import BaleineError, explained
from .manifest import opened

#: Kind -> the form in which it is written.
FORMS = {"tar": "tar:FILE", "dir": "dir:DIRECTORY", "https": "https://HOST/PATH/NAME.image"}
#: More than any tree is read of: only what identifies a directory is not bounded by the image that it goes into.
ENDLESS = 1 << 62


class Origin(NamedTuple):
    """A source: its kind, and where it is."""

    kind: str
    place: str


def parse(text: str, what: str) -> Origin:
    """Return what a source is.

    :raises BaleineError: for a form that there is not, or a path that is not absolute.
    """
    kind, _colon, place = text.partition(":")
    if kind not in FORMS or not text.isprintable():
        raise BaleineError(
            f"{what}: source {text[:80]!r} is none that there is", f"Write {' or '.join(FORMS.values())}"
        )
    if kind == "https":  # a whole image, not a tree: remote.py fetches it
        remote.name_of(text, what)
        return Origin(kind, text)
    if not place.startswith("/"):
        raise BaleineError(f"{what}: source {text[:80]!r}: {place[:80]!r} is no absolute path")
    return Origin(kind, os.path.normpath(place))


def identity(origin: Origin, what: str) -> Optional[str]:
    """Return the digest of what a source holds now; None where it is not there.

    Of a directory it is that of its tree: names, owners, modes, times, links and contents.
    """
    if not os.path.exists(origin.place):
        return None
    with explained(f"{what}: {origin.kind}:{origin.place}"):
        if origin.kind == "dir":
            with layers.opened_tree(origin.place, ENDLESS, what) as stream:
                return layers.identify(stream)
        with opened(origin.place, os.O_RDONLY) as descriptor:
            return _whole(descriptor).digest()


def fill(origin: Origin, tree: str, what: str) -> dict[str, Any]:
    """Unpack a source into an empty tree that is mounted; returns the image's configuration.

    :raises BaleineError: for what is damaged, hostile, or larger than the tree.
    """
    space = os.statvfs(tree)
    limit = space.f_blocks * space.f_frsize
    what = f"{what}: {origin.kind}:{origin.place}"
    with explained(what):
        if origin.kind == "dir":
            with layers.opened_tree(origin.place, limit, what) as stream:
                layers.unpack(stream, tree, what)
        else:
            with (
                opened(origin.place, os.O_RDONLY) as descriptor,
                layers.opened_layer(_whole(descriptor), limit, what) as stream,
            ):
                layers.unpack(stream, tree, what)
    return {}


def _whole(descriptor: int) -> layers.Blob:
    return layers.Blob(descriptor, 0, os.fstat(descriptor).st_size)
