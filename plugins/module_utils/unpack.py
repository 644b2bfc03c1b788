# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tar archives into a tree: what holds them is believed in nothing.

An archive is unpacked by a process that has the tree as its root and no way out of it, with what its kernel gives it:
no link and no name can lead elsewhere. Zeros become holes, so that sparse files stay sparse whatever wrote the archive.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import Any, Union

from . import rootfs
from .errors import BaleineError
from .layers import PIECE, Stream, write_all
from .manifest import opened
from .process import in_child

BLOCK = 4096
ZEROS = bytes(BLOCK)
#: Marks in a layer: the name that follows is gone; all that lower layers have in this directory is (OCI image-spec).
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
#: The most memory that reading an archive may take, whatever sizes its headers tell (bytes).
MEMORY = 1 << 30
SCHILY = "SCHILY.xattr."


def unpack(stream: Stream, tree: str, what: str, layer: bool = False) -> str:
    """Unpack a tar stream over what a tree holds, and return its digest.

    :param layer: it may hold whiteouts, and its digest says whether it is whole.
    :raises BaleineError: for what is no whole archive, or what no tree can hold.
    """
    digest: str = in_child(lambda: _unpack(stream, tree, what, layer), what)
    return digest


def _unpack(stream: Stream, tree: str, what: str, layer: bool) -> str:
    import gc
    import resource
    import tarfile

    nonsense = (tarfile.TarError, EOFError, ValueError, OverflowError, MemoryError, RecursionError)
    gc.disable()  # nothing here goes in circles
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chroot(tree)
    os.chdir("/")
    os.umask(0)
    name = ""
    try:
        if layer and not stream.more():  # no byte at all is an empty layer to those that made it
            return f"sha256:{stream.hash.hexdigest()}"
        with tarfile.TarFile(fileobj=stream) as tar:  # type: ignore[arg-type]
            place, left = _Place(layer), 2 * os.statvfs("/").f_files
            for member in iter(tar.next, None):
                name, left = member.name, left - 1
                if left < 0:
                    raise BaleineError("it holds more entries than the image can have", "Give it a larger size")
                place.put(stream, member)
                tar.members = []  # type: ignore[attr-defined]
            place.finish()
        name = ""
        zeros = True
        for piece in (stream.read(PIECE), *iter(stream.more, b"")):
            zeros = zeros and not piece.strip(b"\0")
        if not zeros or (not layer and stream.buffer[-512:] != bytes(512)):
            raise BaleineError("it is no whole tar archive", "Get the file again")
        return f"sha256:{stream.hash.hexdigest()}"
    except OSError as error:
        raise BaleineError(f"{what}: {name[:200]!r}: {error.strerror}") from None
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

    def put(self, stream: Stream, member: Any) -> None:
        """Put one entry in its place."""
        path = _path(member.name)
        folder, name = os.path.split(path)
        self._enter(folder)
        if self.layer and name.startswith(WHITEOUT):
            self._white_out(folder, name)
            return
        try:
            self._make(stream, member, path)
        except FileExistsError:
            self._clear(path, keep=False)
            self._make(stream, member, path)
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

    def _make(self, stream: Stream, member: Any, path: str) -> None:
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
                stream.seek(member.offset_data)
                _write(descriptor, stream, member)
                _attribute(descriptor, member)
            return
        else:
            raise BaleineError(f"{member.name[:200]!r} is of a kind that is not known: {member.type!r}")
        _attribute(path, member)

    def finish(self) -> None:
        """Give directories their times, once nothing more is put into them."""
        for path, moment in self.times.items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _attribute(place: Union[str, int], member: Any) -> None:
    """Give a new file, by its path or open, what its entry says of it."""
    link: dict[str, Any] = {} if isinstance(place, int) else {"follow_symlinks": False}
    os.chown(place, member.uid, member.gid, **link)
    if not member.issym():
        os.chmod(place, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith(SCHILY):
            os.setxattr(place, key[len(SCHILY) :], value.encode("utf-8", "surrogateescape"), **link)
    if not member.isdir():
        os.utime(place, ns=(_moment(member),) * 2, **link)


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
