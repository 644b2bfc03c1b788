# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image can be made from that is no image of Baleine's: which sources there are, and what identifies them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

from . import download, layers, oci_image, remote
from .errors import BaleineError, explained
from .manifest import opened
from .process import Runner, check, need_program
from .unpack import unpack

#: Kind -> the form in which it is written.
FORMS = {
    "docker-archive": "docker-archive:FILE[:NAME:TAG]",
    "oci-archive": "oci-archive:FILE[:NAME:TAG]",
    "oci": "oci:DIRECTORY[:NAME:TAG]",
    "docker": "docker://HOST/NAME:TAG",
    "tar": "tar:FILE",
    "dir": "dir:DIRECTORY",
    "https": "https://HOST/PATH/NAME.image",
}
ARCHIVES = ("docker-archive", "oci-archive")
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,300}")
#: More than any tree is read of: only what identifies a directory is not bounded by the image that it goes into.
ENDLESS = 1 << 62


class Origin(NamedTuple):
    """A source, or the target of an export.

    :param place: a path, or a reference to a registry; :param reference: which image, where there can be several.
    :param insecure: a registry without TLS, or with a certificate that nobody vouches for, is believed.
    :param proxy: the HTTP proxy through which a registry is reached.
    """

    kind: str
    place: str
    reference: str = ""
    insecure: bool = False
    proxy: str = ""

    def __str__(self) -> str:
        reference = f":{self.reference}" if self.reference else ""
        return f"{self.kind}:{'//' if self.kind == 'docker' else ''}{self.place}{reference}"


def parse(text: str, what: str, insecure: bool = False, proxy: str = "") -> Origin:
    """Return what a source or target is.

    :raises BaleineError: for a form that there is not, or a path that is not absolute.
    """
    kind, _colon, place = text.partition(":")
    if kind not in FORMS or not text.isprintable():
        hint = f"Write {' or '.join(FORMS.values())}"
        raise BaleineError(f"{what}: {text[:80]!r} is neither a source nor a target that there is", hint)
    if kind == "https":  # a whole image, not a tree: remote.py fetches it
        remote.name_of(text, what)
        return Origin(kind, text)
    if kind == "docker":
        reference = place[2:] if place.startswith("//") else ""
        if not REFERENCE.fullmatch(reference):
            raise BaleineError(f"{what}: {text[:80]!r} names no image of a registry", f"Write {FORMS[kind]}")
        return Origin(kind, reference, "", insecure, proxy)
    reference = ""
    if kind not in ("tar", "dir"):
        place, colon, reference = place.partition(":")
        if colon and not REFERENCE.fullmatch(reference):
            raise BaleineError(f"{what}: {text[:80]!r}: {reference[:80]!r} is no image's name", f"Write {FORMS[kind]}")
    if not place.startswith("/"):
        raise BaleineError(f"{what}: {text[:80]!r}: {place[:80]!r} is no absolute path")
    return Origin(kind, os.path.normpath(place), reference)


def published(text: str, params: Mapping[str, Any], what: str) -> Optional[remote.Source]:
    """Return how a source is fetched that is an image of a web server; None for any other.

    :raises BaleineError: see :func:`parse`.
    """
    if parse(text, what).kind != "https":
        return None
    way = download.Way(*(str(params.get(key) or "") for key in ("ca_certificate", "proxy")))
    return remote.Source(text, way, bool(params.get("unsigned")))


@contextlib.contextmanager
def _about(what: str) -> Iterator[None]:
    """Let errors say what they are about."""
    try:
        with explained(what):
            yield
    except BaleineError as error:
        if not error.message.startswith(what):
            error.args = (f"{what}: {error.message}",)
            error.message = error.args[0]
        raise


def identity(run: Runner, origin: Origin, what: str) -> Optional[str]:
    """Return the digest of what a source holds now; None where it is not there.

    Of an image it is that of its configuration, which names its layers; of a directory that of its tree: names, owners,
    modes, times, links and contents; of a file in a form of its own, or that is packed, that of its bytes.

    :raises Unasked: when a registry does not answer, or says no.
    :raises BaleineError: for what is damaged.
    """
    what = f"{what}: {origin}"
    if origin.kind == "docker":
        import hashlib

        return f"sha256:{hashlib.sha256(inspect(run, origin, what).encode()).hexdigest()}"
    if not os.path.exists(origin.place):
        return None
    with _about(what):
        if origin.kind == "dir":
            with layers.opened_tree(origin.place, ENDLESS, what) as stream:
                return layers.identify(stream)
        if origin.kind != "oci":
            with opened(origin.place, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
                if origin.kind == "tar" or oci_image.packed(descriptor):
                    return layers.Blob.whole(descriptor).digest()
        with opened_image(origin, "", 0, what) as image:
            return image.identity


def inspect(run: Runner, origin: Origin, what: str) -> str:
    """Return the configuration of an image in a registry.

    :raises Unasked: when that does not answer, or says no.
    """
    try:
        return skopeo(run, origin, what, "inspect", "", "--config", "--raw", f"docker://{origin.place}")
    except BaleineError as error:
        raise download.Unasked(error.message, error.hint) from None


def skopeo(run: Runner, origin: Origin, what: str, verb: str, side: str, *words: str) -> str:
    """Ask a registry by skopeo, and return what that says.

    :param side: which of both the registry is, ``src-`` or ``dest-``; nothing where there is one.
    :raises BaleineError: when it fails.
    """
    believed = [f"--{side}tls-verify=false"] if origin.insecure else []
    proxies = {"http_proxy": origin.proxy, "https_proxy": origin.proxy} if origin.proxy else {}
    return check(run([need_program("skopeo", what), verb, *believed, *words], env=proxies), what).out


@contextlib.contextmanager
def opened_image(origin: Origin, scratch: str, limit: int, what: str) -> Iterator[oci_image.Image]:
    """Hold the image of an archive or a layout.

    :param scratch: a directory for what has to be unpacked, at the most ``limit`` bytes.
    :raises BaleineError: for an archive or image that is not as it should be.
    """
    if origin.kind in ARCHIVES:
        reader = oci_image.opened_archive(origin.place, scratch, limit, what)
    else:
        reader = oci_image.opened_folder(origin.place)
    with _about(what), reader as get:
        read = oci_image.docker_archive if origin.kind == "docker-archive" else oci_image.oci_layout
        yield read(get, origin.reference)


def fill(run: Runner, origin: Origin, tree: str, scratch: str, what: str) -> dict[str, Any]:
    """Unpack a source into an empty tree that is mounted; returns the image's configuration.

    :param scratch: a directory for what has to be fetched or unpacked first; the caller removes it.
    :raises BaleineError: for what is damaged, hostile, or larger than the tree.
    """
    space = os.statvfs(tree)
    limit = space.f_blocks * space.f_frsize
    what = f"{what}: {origin}"
    with _about(what):
        if origin.kind == "dir":
            with layers.opened_tree(origin.place, limit, what) as stream:
                unpack(stream, tree, what)
            return {}
        if origin.kind == "tar":
            with (
                opened(origin.place, os.O_RDONLY | os.O_NONBLOCK) as descriptor,
                layers.opened_layer(layers.Blob.whole(descriptor), limit, what) as stream,
            ):
                unpack(stream, tree, what)
            return {}
        os.makedirs(scratch, mode=0o700)
        if origin.kind == "docker":
            skopeo(run, origin, what, "copy", "src-", "--quiet", f"docker://{origin.place}", f"oci:{scratch}:image")
            origin = Origin("oci", scratch)
        with opened_image(origin, scratch, limit, what) as image:
            for number, layer in enumerate(image.layers, 1):
                where = f"{what}: layer {number}"
                state = layer.blob.state()
                layer.check(limit, where)
                with layers.opened_layer(layer.blob, limit, where, checked=True) as stream:
                    found = unpack(stream, tree, where, layer=True)
                oci_image.same(layer.digest or layer.diff_id if stream.plain else found, layer.diff_id, where)
                if layer.blob.state() != state:
                    raise BaleineError(f"{where}: it was written to meanwhile", "Try again")
            return image.config
