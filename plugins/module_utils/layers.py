# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of tar archives: of a file or a part of one, however it is packed, and of a directory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from .errors import BaleineError
from .process import ENVIRONMENT, begin_child, need_program

PIECE = 1 << 20
#: By its first bytes, how a stream is packed: the module that unpacks it, or the program.
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma", b"\x28\xb5\x2f\xfd": "zstd"}
#: The same tree gives the same bytes: no times of reading, no process numbers (GNU tar's default names hold them).
TAR = (
    "--create", "--sparse", "--sparse-version=0.0", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs",
    "--xattrs-include=*", "--one-file-system", "--no-unquote",
    "--pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f",
)  # fmt: skip


class Blob(NamedTuple):
    """Some bytes of an open file."""

    descriptor: int
    offset: int
    size: int

    @classmethod
    def whole(cls, descriptor: int) -> Blob:
        """Return all of an open file.

        :raises BaleineError: for a pipe, or whatever else is no file.
        """
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BaleineError("it is no regular file", "Name a file")
        return cls(descriptor, 0, status.st_size)

    def state(self) -> tuple[int, int]:
        """Return what differs once somebody has written to the file."""
        status = os.fstat(self.descriptor)
        return status.st_mtime_ns, status.st_ctime_ns

    def pieces(self) -> Iterator[bytes]:
        """Give all of it.

        :raises BaleineError: where the file is shorter.
        """
        at, end = self.offset, self.offset + self.size
        while at < end:
            piece = os.pread(self.descriptor, min(PIECE, end - at), at)
            if not piece:
                raise BaleineError("it was cut short", "Get the file again")
            at += len(piece)
            yield piece

    def digest(self) -> str:
        """Return ``sha256:`` and the digest of all of it."""
        import hashlib

        found = hashlib.sha256()
        for piece in self.pieces():
            found.update(piece)
        return f"sha256:{found.hexdigest()}"


class Stream:
    """A tar stream: counted, bounded, and identified by what was read of it; it goes back by no more than a block.

    :ivar last: its last block.
    """

    def __init__(self, pieces: Iterator[bytes], limit: int, plain: bool = False) -> None:
        import hashlib
        import lzma
        import zlib

        self.pieces, self.left, self.hash, self.plain = pieces, limit, hashlib.sha256(), plain
        self.buffer, self.start, self.at = b"", 0, 0
        self.broken = (EOFError, OSError, lzma.LZMAError, zlib.error)

    def more(self) -> bytes:
        """Return the next piece, which is kept for :meth:`read`; empty at the end.

        :raises BaleineError: for more than the limit, or what cannot be unpacked.
        """
        try:
            piece = next(self.pieces, b"")
        except self.broken as error:
            raise BaleineError(f"it cannot be unpacked: {error}", "Get the file again") from None
        self.left -= len(piece)
        if self.left < 0:
            raise BaleineError("it holds more than the image can", "Give the image a larger size")
        if piece:
            if not self.plain:
                self.hash.update(piece)
            kept = self.buffer[-512:]
            self.start += len(self.buffer) - len(kept)
            self.buffer = kept + piece
        return piece

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer at the end."""
        begin = self.at - self.start
        found = self.buffer[begin : begin + size]
        self.at += len(found)
        while len(found) < size and self.more():
            begin = self.at - self.start
            part = self.buffer[begin : begin + size - len(found)]
            self.at += len(part)
            found += part
        return found

    def seek(self, position: int) -> None:
        """Go on to a place, by reading what lies before it."""
        if position < self.start:
            raise ValueError("it leads back")
        while position > self.start + len(self.buffer) and self.more():
            pass
        self.at = position

    def tell(self) -> int:
        """Return where the next byte is."""
        return self.at


class _Raw:
    """A blob as an open file that is read from its begin to its end."""

    def __init__(self, blob: Blob) -> None:
        self.pieces, self.rest = blob.pieces(), b""

    def read(self, size: int = PIECE) -> bytes:
        self.rest = self.rest or next(self.pieces, b"")
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece


@contextlib.contextmanager
def opened_layer(blob: Blob, limit: int, what: str, checked: bool = False) -> Iterator[Stream]:
    """Hold the tar stream of a blob, however it is packed.

    :param limit: the most bytes to unpack.
    :param checked: its digest is known: where it is not packed the stream is ``plain``, and not identified once more.
    """
    start = os.pread(blob.descriptor, min(6, blob.size), blob.offset)
    packed = next((name for magic, name in PACKED.items() if start.startswith(magic)), "")
    if packed == "zstd":
        program = need_program(packed, what)
        ours, its = os.pipe()

        def feed() -> None:
            os.close(ours)
            for piece in blob.pieces():
                while piece:
                    piece = piece[os.write(its, piece) :]

        fed = begin_child(feed, what)
        os.close(its)
        try:
            with piped([program, "-dcq"], ours, f"{what}: {packed}") as stream:
                os.close(ours)
                yield Stream(_pieces(stream), limit)
        finally:
            with contextlib.suppress(BaleineError):  # what its reader says of it matters
                fed()
    elif packed:
        import importlib

        yield Stream(_pieces(importlib.import_module(packed).open(_Raw(blob))), limit)
    else:
        yield Stream(blob.pieces(), limit, plain=checked)


def _pieces(file: Any) -> Iterator[bytes]:
    return iter(lambda: file.read(PIECE), b"")


@contextlib.contextmanager
def opened_tree(tree: str, limit: int, what: str) -> Iterator[Stream]:
    """Hold the tar stream of a directory."""
    with open(os.devnull, "rb") as nothing, piped(tar_of(tree, what), nothing.fileno(), f"{what}: reading it") as read:
        yield Stream(_pieces(read), limit)


def tar_of(tree: str, what: str) -> list[str]:
    """Return the command that writes a directory as a tar stream; what mke2fs(8) keeps in every root is left out."""
    names = sorted(name for name in os.listdir(tree) if name != "lost+found")
    return [need_program("tar", what), *TAR, "-C", tree, "--no-recursion", ".", "--recursion", "--", *names]


@contextlib.contextmanager
def piped(argv: list[str], read: int, what: str) -> Iterator[Any]:
    """Hold the output of a command, open for reading; it is stopped where nobody reads it to the end.

    :param read: a descriptor of its input.
    :raises BaleineError: with its last words when it fails.
    """
    with open(os.memfd_create("baleine"), "r+", errors="replace") as said:
        ours, its = os.pipe()

        def become() -> None:
            for descriptor, number in ((read, 0), (its, 1), (said.fileno(), 2)):
                os.dup2(descriptor, number)
            os.execve(argv[0], argv, ENVIRONMENT)

        wait = begin_child(become, what)
        os.close(its)
        failed: Optional[BaleineError] = None
        try:
            with open(ours, "rb") as stream:
                yield stream
        except GeneratorExit:  # it ends with us
            raise
        except BaleineError as error:
            failed = error
        try:
            wait()
        except BaleineError as error:
            said.seek(0)
            words = " / ".join(said.read().strip().split("\n")[-2:])
            failed = BaleineError(f"{what}: {words}") if words else failed or error
        if failed:
            raise failed


def identify(stream: Stream) -> str:
    """Return ``sha256:`` and the digest of all that a stream holds."""
    while stream.more():
        pass
    return f"sha256:{stream.hash.hexdigest()}"


def write_all(descriptor: int, data: bytes, at: int) -> None:
    """Write all of some bytes to a place in a file."""
    while data:
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done
