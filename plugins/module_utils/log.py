# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of containers: bounded from their head while they are written, with marks of time beside them.

A position counts the bytes from the first one that was ever written, so that a cut moves none. ``NAME.marks`` holds
how many bytes were cut off (``cut BYTES``), and ``EPOCH POSITION`` lines: where the log ended at that time.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Optional

from .errors import explained
from .manifest import opened
from .rootfs import fallocate
from .units import number

LOGS = "/var/log/baleine"
#: A week of passes; beyond that the older half keeps every second mark.
MOST_MARKS = 10_000
#: fallocate(2)
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE = 0x01, 0x02, 0x08


def path_of(name: str) -> str:
    """Return the path of a container's log."""
    return f"{LOGS}/{name}.log"


def files(name: str) -> list[str]:
    """Return the paths of everything that is kept of a container's output."""
    return [path_of(name), f"{LOGS}/{name}.marks"]


class _Book:
    """A log and its marks, held against cuts, or (``writes``) against everybody."""

    def __init__(self, name: str, writes: bool, stack: contextlib.ExitStack) -> None:
        # A container owns its log: a lease of its own (fcntl(2), F_SETLEASE) is an error so, and not 45 s of waiting.
        flags = (os.O_RDWR | os.O_CREAT if writes else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK
        path, marks = files(name)
        text = b""
        self.log = stack.enter_context(opened(path, flags & ~os.O_CREAT))
        with contextlib.suppress(FileNotFoundError):
            self.marks_file = stack.enter_context(opened(marks, flags, 0o600))
            fcntl.flock(self.marks_file, fcntl.LOCK_EX if writes else fcntl.LOCK_SH)
            text = os.pread(self.marks_file, os.fstat(self.marks_file).st_size, 0)
        self.size = os.fstat(self.log).st_size
        lines = (line.split() for line in text.decode("ascii", "replace").split("\n"))
        pairs = [(words[0], number(words[1])) for words in lines if len(words) == 2]
        self.cut = next((value or 0 for key, value in pairs if key == "cut"), 0)
        numbers = [(number(key), value) for key, value in pairs]
        self.marks = [(at, value) for at, value in numbers if at is not None and value is not None]
        if self.marks:  # somebody else emptied or replaced the log: positions only grow
            self.cut = max(self.cut, self.marks[-1][1] - self.size)

    def save(self) -> None:
        """Write the marks in place: the file is the lock too."""
        while len(self.marks) > MOST_MARKS:
            self.marks = self.marks[: MOST_MARKS // 2 : 2] + self.marks[MOST_MARKS // 2 :]
        lines = [f"cut {self.cut}", *(f"{at} {position}" for at, position in self.marks)]
        text = ("\n".join(lines) + "\n").encode()
        os.pwrite(self.marks_file, text, 0)
        os.ftruncate(self.marks_file, len(text))

    def first(self) -> int:
        """Where the log begins; a filesystem that cannot take blocks away leaves a hole there."""
        with contextlib.suppress(OSError):  # ENXIO: nothing but a hole
            return self.cut + os.lseek(self.log, 0, os.SEEK_DATA)
        return self.cut + self.size


@contextlib.contextmanager
def _open(name: str, writes: bool = False) -> Iterator[Optional[_Book]]:
    """Open a log; None where there is none.

    :raises BaleineError: when the filesystem refuses.
    """
    with explained(f"log {path_of(name)}"), contextlib.ExitStack() as stack:
        book = None
        with contextlib.suppress(FileNotFoundError):
            book = _Book(name, writes, stack)
        yield book


def mark(name: str, now: float) -> None:
    """Note where a log ends now, if it grew since the last mark.

    :param now: the time in seconds after the epoch.
    :raises BaleineError: when the filesystem refuses.
    """
    with _open(name, writes=True) as book:
        if book and (not book.marks or book.marks[-1][1] != book.cut + book.size):
            book.marks.append((int(now), book.cut + book.size))
            book.save()


def cut(name: str, limit: int) -> int:
    """Take whole blocks off the head of a log until it is at most ``limit`` bytes; what is being written stays.

    :returns: the bytes that were cut off.
    :raises BaleineError: when the filesystem can neither take blocks away nor make a hole.
    """
    with _open(name, writes=True) as book:
        if book is None or book.size <= limit:
            return 0
        block = os.fstatvfs(book.log).f_bsize
        length = min(-(-(book.size - limit) // block), (book.size - 1) // block) * block  # not the last block
        begins, book.cut = book.first() - book.cut, book.cut + length
        if length <= begins:  # a hole already
            return 0
        try:
            book.marks = book.marks[max(0, bisect.bisect([p for _at, p in book.marks], book.cut) - 1) :]
            book.save()  # first: who is killed in between has positions that are too early, and loses nothing
            fallocate(book.log, COLLAPSE_RANGE, 0, length)
        except OSError as error:
            book.cut -= length
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            book.save()
            fallocate(book.log, PUNCH_HOLE | KEEP_SIZE, 0, length)
        return length - begins


def span(name: str) -> tuple[int, int]:
    """Return the positions of the first byte that is kept and of the end; (0, 0) where there is no log."""
    with _open(name) as book:
        return (book.first(), book.cut + book.size) if book else (0, 0)


def read(name: str, position: int, length: int = 1 << 16) -> tuple[int, bytes]:
    """Return the bytes from a position on, or from the first one that is kept, and the position after them."""
    with _open(name) as book:
        if book is None:
            return position, b""
        position = max(position, book.first())
        content = os.pread(book.log, length, position - book.cut)
        return position + len(content), content


def offset_since(name: str, epoch: float) -> int:
    """Return a position before which everything was written before ``epoch``; to the minute, by the marks."""
    with _open(name) as book:
        if book is None:
            return 0
        before = [position for at, position in book.marks if at <= epoch]
        return max([book.first(), *before[-1:]])
