# SPDX-License-Identifier: GPL-3.0-or-later
"""Loop devices by the file behind them: device and inode, since paths mean nothing across mount namespaces."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

LOOP_CLR_FD, LOOP_GET_STATUS64 = 0x4C01, 0x4C05  # linux/loop.h
LO_FLAGS_AUTOCLEAR = 4


@dataclass(frozen=True)
class Loop:
    """A loop device in use: its name, the file's device and inode, and the path as the kernel tells it from here."""

    name: str
    device: int
    inode: int
    path: str
    autoclear: bool

    @property
    def deleted(self) -> bool:
        return self.path.endswith(" (deleted)")


def decode(number: int) -> int:
    """A kernel's device number (huge_encode_dev) as os.stat gives it."""
    return os.makedev((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))


def all_loops() -> list[Loop]:
    """Every loop device of the machine that has a file."""
    found = []
    for block in sorted(Path("/sys/block").glob("loop*")):
        with contextlib.suppress(OSError):  # may be detached at any moment
            path = (block / "loop/backing_file").read_text().rstrip("\n")
            descriptor = os.open(f"/dev/{block.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                status = fcntl.ioctl(descriptor, LOOP_GET_STATUS64, bytes(232))
            finally:
                os.close(descriptor)
            device, inode = struct.unpack_from("=QQ", status)
            flags = struct.unpack_from("=I", status, 52)[0]
            found.append(Loop(block.name, decode(device), inode, path, bool(flags & LO_FLAGS_AUTOCLEAR)))
    return found


def inodes(folder: Path) -> set[tuple[int, int]]:
    """Device and inode of every file below a folder, its own filesystem only."""
    found = set()
    for top, _names, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(top, name))
                found.add((status.st_dev, status.st_ino))
    return found


def below(folder: Path) -> list[Loop]:
    """Loop devices whose file lies below a folder."""
    loops = all_loops()
    known = inodes(folder) if loops else set()
    return [loop for loop in loops if (loop.device, loop.inode) in known]


def detach(loop: Loop) -> None:
    """Take the file from a loop device, if it still is this one's."""
    if loop not in all_loops():
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/dev/{loop.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, LOOP_CLR_FD)
        finally:
            os.close(descriptor)
