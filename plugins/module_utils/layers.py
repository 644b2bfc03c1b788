# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tar archives into a tree and a tree into one: what holds them is believed in nothing.

An archive is unpacked by a process that has the tree as its root and no way out of it, with what its kernel gives it:
no link and no name can lead elsewhere. Zeros become holes, so that sparse files stay sparse whatever wrote the archive.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from . import rootfs
from .errors import BaleineError, explained
from .manifest import opened
from .process import ENVIRONMENT, begin_child, in_child, need_program

BLOCK, PIECE = 4096, 1 << 20
ZEROS = bytes(BLOCK)
#: Marks in a layer: the name that follows is gone; all that lower layers have in this directory is (OCI image-spec).
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
#: The most memory that reading an archive may take, whatever sizes its headers tell (bytes).
MEMORY = 1 << 30
SCHILY = "SCHILY.xattr."
#: By its first bytes, how a stream is packed: the module that unpacks it, or the program.
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "lzma", b"\x28\xb5\x2f\xfd": "zstd"}
#: The same tree gives the same bytes: no times of reading, no process numbers (GNU tar's default names hold them).
TAR = (
    "--create", "--sparse", "--sparse-version=0.0", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs",
    "--xattrs-include=*", "--one-file-system",
    "--pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f",
)  # fmt: skip


class Blob(NamedTuple):
    """Some bytes of an open file."""

    descriptor: int
    offset: int
    size: int

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
    """A tar stream: unpacked where it is packed, counted, bounded, and identified by what was read of it."""

    def __init__(self, source: Any, limit: int) -> None:
        import hashlib
        import lzma
        import zlib

        self.source, self.left, self.hash = source, limit, hashlib.sha256()
        self.last = b""
        self.broken = (EOFError, OSError, lzma.LZMAError, zlib.error)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes.

        :raises BaleineError: for more than the limit, or what cannot be unpacked.
        """
        try:
            piece: bytes = self.source.read(size)
        except self.broken as error:
            raise BaleineError(f"it cannot be unpacked: {error}", "Get the file again") from None
        self.left -= len(piece)
        if self.left < 0:
            raise BaleineError("it holds more than the image can", "Give the image a larger size")
        self.hash.update(piece)
        self.last = piece[-512:] or self.last
        return piece


class _Raw:
    """A blob as an open file that is read from its begin to its end."""

    def __init__(self, blob: Blob) -> None:
        self.pieces, self.rest = blob.pieces(), b""

    def read(self, size: int = PIECE) -> bytes:
        self.rest = self.rest or next(self.pieces, b"")
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece


@contextlib.contextmanager
def opened_layer(blob: Blob, limit: int, what: str) -> Iterator[Stream]:
    """Hold the tar stream of a blob, however it is packed.

    :param limit: the most bytes to unpack.
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
                yield Stream(stream, limit)
        finally:
            with contextlib.suppress(BaleineError):  # what its reader says of it matters
                fed()
    elif packed:
        import importlib

        yield Stream(importlib.import_module(packed).open(_Raw(blob)), limit)
    else:
        yield Stream(_Raw(blob), limit)


@contextlib.contextmanager
def opened_tree(tree: str, limit: int, what: str) -> Iterator[Stream]:
    """Hold the tar stream of a directory."""
    with open(os.devnull, "rb") as nothing, piped(tar_of(tree, what), nothing.fileno(), f"{what}: reading it") as read:
        yield Stream(read, limit)


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
    while stream.read(PIECE):
        pass
    return f"sha256:{stream.hash.hexdigest()}"


def unpack(stream: Stream, tree: str, what: str, layer: bool = False) -> str:
    """Unpack a tar stream over what a tree holds, and return its digest.

    :param layer: it may hold whiteouts, and its digest says whether it is whole.
    :raises BaleineError: for what is no whole archive, or what no tree can hold.
    """
    digest: str = in_child(lambda: _unpack(stream, tree, what, layer), what)
    return digest


def _unpack(stream: Stream, tree: str, what: str, layer: bool) -> str:
    import resource
    import tarfile

    nonsense = (tarfile.TarError, EOFError, ValueError, OverflowError, MemoryError, RecursionError)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chroot(tree)
    os.chdir("/")
    os.umask(0)
    name = ""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=32768) as tar:  # type: ignore[call-overload]
            place, left = _Place(layer), 2 * os.statvfs("/").f_files
            for member in iter(tar.next, None):
                name, left = member.name, left - 1
                if left < 0:
                    raise BaleineError("it holds more entries than the image can have", "Give it a larger size")
                with explained(f"{what}: {name[:200]!r}"):
                    place.put(tar, member)
                tar.members = []
            place.finish()
            rest = iter(lambda: tar.fileobj.read(PIECE), b"")
            if any(piece.strip(b"\0") for piece in rest) or (not layer and stream.last != bytes(512)):
                raise BaleineError(f"{what}: it is no whole tar archive", "Get the file again")
        return identify(stream)
    except nonsense as error:
        where = f", after {name[:200]!r}" if name else ""
        kind = str(error) or type(error).__name__
        raise BaleineError(f"{what}: it is no whole tar archive{where}: {kind}", "Get the file again") from None
    except BaleineError as error:
        whole = error.message if error.message.startswith(what) else f"{what}: {error.message}"
        raise BaleineError(whole, error.hint) from None


class _Place:
    """Puts the entries of one archive into the tree that is our root."""

    def __init__(self, layer: bool) -> None:
        self.layer = layer
        #: What this archive has put, and the directories above it: its whiteouts are about the others.
        self.placed = {"/"}
        self.times: dict[str, int] = {}

    def put(self, tar: Any, member: Any) -> None:
        """Put one entry in its place."""
        path = _path(member.name)
        folder, name = os.path.split(path)
        self._enter(folder)
        if self.layer and name.startswith(WHITEOUT):
            self._white_out(folder, name)
            return
        try:
            self._make(tar, member, path)
        except FileExistsError:
            self._clear(path, keep=False)
            self._make(tar, member, path)
        self.placed.add(path)

    def _enter(self, folder: str) -> None:
        """Make the directories above an entry that the archive does not name."""
        if folder not in self.placed:
            os.makedirs(folder, 0o755, exist_ok=True)
        while folder not in self.placed:
            self.placed.add(folder)
            folder = os.path.dirname(folder)

    def _white_out(self, folder: str, name: str) -> None:
        if name == OPAQUE:
            for inside in os.listdir(folder):
                self._clear(os.path.join(folder, inside), keep=True)
        elif not name.startswith(WHITEOUT * 2):  # other marks are those of the filesystem that made it
            gone = name[len(WHITEOUT) :]
            if gone in ("", ".", ".."):
                raise BaleineError(f"the mark {name!r} names no file")
            with contextlib.suppress(FileNotFoundError):
                self._clear(os.path.join(folder, gone), keep=True)

    def _clear(self, path: str, keep: bool) -> None:
        """Take away what is there.

        :param keep: but for what this archive has put.
        """
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            if not keep or path not in self.placed:
                os.unlink(path)
        elif not keep or path not in self.placed:
            rootfs.remove_tree(path)
        else:
            for inside in os.listdir(path):
                self._clear(os.path.join(path, inside), keep)

    def _make(self, tar: Any, member: Any, path: str) -> None:
        if member.islnk():
            os.link(_path(member.linkname), path, follow_symlinks=False)
            return
        if member.isdir():
            try:
                os.mkdir(path)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(path).st_mode):
                    raise
            self.times[path] = _moment(member)
        elif member.issym():
            os.symlink(member.linkname, path)
        elif member.isfifo():
            os.mkfifo(path)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(path, kind, os.makedev(member.devmajor, member.devminor))
        elif member.isreg():
            with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as descriptor:
                tar.fileobj.seek(member.offset_data)
                _write(descriptor, tar.fileobj, member)
        else:
            raise BaleineError(f"{member.name[:200]!r} is of a kind that is not known: {member.type!r}")
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            os.chmod(path, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            if key.startswith(SCHILY):
                os.setxattr(path, key[len(SCHILY) :], value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
        if not member.isdir():
            os.utime(path, ns=(_moment(member),) * 2, follow_symlinks=False)

    def finish(self) -> None:
        """Give directories their times, once nothing more is put into them."""
        for path, moment in self.times.items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _path(name: str) -> str:
    """Return where an entry belongs, from the tree's root.

    :raises BaleineError: for a name that climbs.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BaleineError(f"the name {name[:200]!r} leads out of its directory", "This archive was made to do harm")
    return "/" + "/".join(parts)


def _moment(member: Any) -> int:
    """Return when an entry was changed, in nanoseconds: a float does not hold that many digits."""
    text = str(member.pax_headers.get("mtime", int(member.mtime)))
    match = re.fullmatch(r"(-?)([0-9]{1,11})(?:\.([0-9]*))?", text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no time")
    moment = int(match[2]) * 10**9 + int(((match[3] or "") + "0" * 9)[:9])
    return -moment if match[1] else moment


def _write(descriptor: int, content: Any, member: Any) -> None:
    """Write a file's data; blocks of zeros and what the archive leaves out become holes."""
    for start, length in member.sparse or [(0, member.size)]:
        while length > 0:
            piece = content.read(min(PIECE, length))
            if not piece:
                raise EOFError(f"{member.name[:200]!r} is cut short")
            _write_piece(descriptor, piece, start)
            start, length = start + len(piece), length - len(piece)
    os.ftruncate(descriptor, member.size)


def _write_piece(descriptor: int, piece: bytes, start: int) -> None:
    begin = end = 0
    while end < len(piece):
        block = piece[end : end + BLOCK]
        if block == ZEROS[: len(block)]:
            write_all(descriptor, piece[begin:end], start + begin)
            begin = end + len(block)
        end += len(block)
    write_all(descriptor, piece[begin:], start + begin)


def write_all(descriptor: int, data: bytes, at: int) -> None:
    """Write all of some bytes to a place in a file."""
    while data:
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done
