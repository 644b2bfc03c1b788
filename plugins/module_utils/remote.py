# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image on a web server: its description, verified before anything else is fetched, then its file.

``NAME.image`` is the description, text of the form of a manifest; ``NAME.image.sig`` is its signature; the file that it
names is a tar archive with one sparse file in it, compressed by zstd. The description holds that file's SHA-256, so
that its signature vouches for everything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import Any, NamedTuple

from . import architecture, disk, download, oci_image, trust
from .errors import BaleineError, explained
from .manifest import discard, from_json, opened, parse, to_json
from .process import ENVIRONMENT, Runner, begin_child, need_program
from .units import NAME, number

FORMAT = "1"
SUFFIX = ".image"
PACKED = ".tar.zst"
#: The most bytes of a description and of a signature.
LARGEST, LARGEST_SIGNATURE = 1 << 18, 1 << 16
#: The most bytes of an archive beside the file's content: its head, the map of its holes, its end.
OVERHEAD = 8 << 20
#: ext4 with blocks of 4 KiB has no larger file.
LARGEST_FILE = 1 << 44
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+~-]{0,150}" + re.escape(PACKED))
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+~-]{0,62}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Description(NamedTuple):
    """What is said of a published image: ``size`` and ``file_size`` in bytes, ``digest`` of the image's content."""

    name: str
    version: str
    architecture: str
    created: str
    size: int
    digest: str
    file: str
    file_size: int
    file_sha256: str
    config: dict[str, Any] = {}


class Source(NamedTuple):
    """Where a published image is, and what makes it believed.

    :param unsigned: take it without a signature; :param way: how the server is reached.
    """

    url: str
    way: download.Way = download.Way()
    unsigned: bool = False


class Published(NamedTuple):
    """A description that may be believed, whose identity is a digest of its text, and who signed it (a fingerprint)."""

    description: Description
    identity: str
    signer: str


def name_of(url: str, what: str) -> str:
    """Return the published name of an image, which its URL ends in.

    :raises BaleineError: for a URL of something else.
    """
    name = download.check_url(url, what).rpartition("/")[2]
    if not name.endswith(SUFFIX) or not NAME.fullmatch(name[: -len(SUFFIX)]):
        raise BaleineError(f"{what}: {url} does not end in a name and {SUFFIX}", "Name the description's URL")
    return name[: -len(SUFFIX)]


def describe(run: Runner, source: Source, what: str) -> Published:
    """Fetch and verify the description of an image; it is not parsed before that.

    :raises Unasked: when it cannot be had.
    :raises BaleineError: when it cannot be believed.
    """
    import hashlib

    name = name_of(source.url, what)
    text, signer = download.small(source.url, LARGEST, source.way), ""
    if not source.unsigned:
        try:
            signature = download.small(f"{source.url}.sig", LARGEST_SIGNATURE, source.way)
        except download.Unasked as error:
            hint = "One without a signature is only taken when that is asked for: --unsigned, unsigned: true"
            raise download.Unasked(f"{what}: its signature: {error.message}", hint) from None
        signer = trust.verify(run, name, text, signature, what)
    return Published(read(text, name, source.url), f"sha256:{hashlib.sha256(text).hexdigest()}", signer)


def read(content: bytes, name: str, where: str) -> Description:
    """Return what a description says.

    :param name: the published name that was asked for.
    :raises BaleineError: for a description of another image, or one that is not understood.
    """
    try:
        record = parse(content.decode(), where)
    except UnicodeDecodeError:
        raise BaleineError(f"{where}: this is no text", "Is it the description of an image?") from None
    if record.get("format") != FORMAT:
        raise BaleineError(f"{where}: its format is {record.get('format', '')[:80]!r}, not {FORMAT}", "Upgrade Baleine")
    if record.get("name") != name:
        raise BaleineError(
            f"{where}: it describes the image {record.get('name', '')[:80]!r}, not {name}",
            "Somebody put one image in another's place",
        )
    size, file_size = number(record.get("size", "")), number(record.get("file_size", ""))
    file, version = record.get("file", ""), record.get("version", "")
    wrong = [
        key
        for key, right in {
            "version": VERSION.fullmatch(version),
            "architecture": record.get("architecture") in architecture.KNOWN,
            "created": re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.get("created", ""), re.ASCII),
            "size": size and disk.SMALLEST <= size < LARGEST_FILE and size % disk.BLOCK == 0,
            "digest": re.fullmatch("sha256:" + SHA256.pattern, record.get("digest", "")),
            "file": FILE.fullmatch(file),
            "file_size": file_size and file_size < LARGEST_FILE,
            "file_sha256": SHA256.fullmatch(record.get("file_sha256", "")),
        }.items()
        if not right
    ]
    if wrong:
        raise BaleineError(f"{where}: what it says of {', '.join(wrong)} cannot be", "Publish the image again")
    config = from_json(record, "config", {})
    try:  # there and back: what comes out has the form that is counted on
        written = oci_image.read_config(oci_image.write_config(config, "", ""))
        config = {key: value for key, value in written.items() if key in config}
    except (AttributeError, TypeError, BaleineError):
        raise BaleineError(f"{where}: its config is not understood", "Publish the image again") from None
    digest, created = record["digest"], record["created"]
    of_file = (file, file_size or 0, record["file_sha256"])
    return Description(name, version, record["architecture"], created, size or 0, digest, *of_file, config)


def kept(part: str) -> list[str]:
    """Return the files that hold what has come for an image that is being made: a broken connection leaves them."""
    folder, name = os.path.split(part)
    form = re.compile(re.escape(f"{name}.") + SHA256.pattern)
    found = os.listdir(folder) if os.path.isdir(folder) else []
    return [f"{folder}/{entry}" for entry in found if form.fullmatch(entry)]


def fetch(run: Runner, source: Source, identity: str, part: str, what: str) -> dict[str, str]:
    """Make an image file of what is published; nothing of it is used before all of it was verified.

    :param identity: of the description that was decided on.
    :param part: the file, a temporary name; the caller removes it when this fails. Beside it lies what has come when
        the connection breaks.
    :returns: what is to be recorded of it.
    :raises BaleineError: when it cannot be had, or is not what its description says.
    """
    published = describe(run, source, what)
    said, packed = published.description, f"{part}.{published.description.file_sha256}"
    if published.identity != identity:
        raise BaleineError(f"{what}: it was published anew just now", "Run it again")
    for other in kept(part):
        if other != packed:
            discard(other)
    url = source.url.rpartition("/")[0] + "/" + said.file
    download.large(url, packed, said.file_size, said.file_sha256, source.way)
    try:
        unpack(packed, part, said.size, what)
        if disk.digest(part) != said.digest:
            raise BaleineError(f"{what}: its content is not what its description says", "Publish the image again")
        disk.check_ext4(run, part)
    finally:
        discard(packed)
    record = {"version": said.version, "published": said.created, "signed_by": published.signer}
    return {**record, "architecture": said.architecture, **({"config": to_json(said.config)} if said.config else {})}


class _Bounded:
    """A stream that gives no more bytes than it may."""

    def __init__(self, stream: Any, left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, count: int) -> bytes:
        content: bytes = self.stream.read(count)
        self.left -= len(content)
        if self.left < 0:
            raise BaleineError("there is more in it than it says")
        return content


def unpack(packed: str, target: str, size: int, what: str) -> None:
    """Unpack the one file of an archive; its holes stay holes.

    :param size: its apparent size in bytes: never is more than that, and OVERHEAD, unpacked.
    :raises BaleineError: when that is not what is in it.
    """
    program = need_program("zstd", what)
    read_end, write_end = os.pipe()

    def decompress() -> None:
        with opened(packed, os.O_RDONLY) as source, opened(os.devnull, os.O_WRONLY) as nothing:
            for descriptor, place in ((source, 0), (write_end, 1), (nothing, 2)):
                os.dup2(descriptor, place)
            os.execve(program, ["zstd", "--quiet", "--decompress", "--stdout"], ENVIRONMENT)

    ended = begin_child(decompress, f"{what}: decompressing {packed}")
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as stream:
            reason = _unpack(stream, target, size)
    finally:
        with contextlib.suppress(BaleineError):  # it may have been cut off; what it gave is held against a digest
            ended()
    if reason:
        raise BaleineError(f"{what}: its file cannot be unpacked: {reason}", "Publish the image again")


def _unpack(stream: Any, target: str, size: int) -> str:
    """Unpack an archive; returns what is wrong with it."""
    import tarfile

    bounded: Any = _Bounded(stream, OVERHEAD)
    with explained(f"writing {target}", f"Make room on the filesystem of {os.path.dirname(target)}"):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=1 << 20) as archive:
                member = archive.next()
                if member is None or not member.isreg() or member.size != size:
                    return f"there is no file of {size} bytes in it"
                bounded.left += size
                archive.makefile(member, target)
        except Exception as error:  # tarfile has many words for an archive that is none
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.EFBIG):
                raise  # it is the disk's
            return str(error) or type(error).__name__
    return "" if os.path.getsize(target) == size else "its file has another size"
