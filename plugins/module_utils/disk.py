# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ext4 image files: made, copied, identified, attached and mounted."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

from . import rootfs, superblock
from .errors import BaleineError, explained
from .manifest import from_json, opened
from .process import Result, Runner, check, fault, need_program, wait_until

BLOCK = 4096
MEBIBYTE = 1 << 20
#: Below this mke2fs makes no journal worth having.
SMALLEST = 16 * MEBIBYTE
#: linux/fs.h
FICLONE, FIFREEZE, FITHAW = 0x40049409, 0xC0045877, 0xC0045878
#: linux/loop.h
LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LOOP_GET_STATUS64 = 0x4C82, 0x4C0A, 0x4C05
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4
#: struct loop_info64 of linux/loop.h
LOOP_INFO = struct.Struct("5Q4I64s64s32s2Q")
#: A filesystem that cannot clone answers FICLONE with one of these (ioctl_ficlone(2)).
CANNOT_CLONE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL)
#: After so many bytes of a copy the device begins with them, while the next are read.
PORTION = 8 * MEBIBYTE


class Copied(NamedTuple):
    """How a disk was copied: ``reflink`` or ``extents``, the bytes of data it holds, and the seconds that took."""

    method: str
    data_bytes: int
    seconds: float = 0.0

    def record(self) -> dict[str, str]:
        """What a manifest holds of it."""
        return {"copy": self.method, "copy_bytes": str(self.data_bytes), "copy_seconds": f"{self.seconds:.6f}"}


def copied(record: Mapping[str, str]) -> Optional[dict[str, Any]]:
    """Return what a manifest says of the copy that a disk is; None where it says nothing."""
    if not record.get("copy"):
        return None
    seconds, size = from_json(record, "copy_seconds", 0.0), from_json(record, "copy_bytes", 0)
    return {"method": record["copy"], "seconds": seconds, "bytes": size}


def create(run: Runner, path: str, size: int) -> None:
    """Make a sparse file of ``size`` bytes with an empty ext4 filesystem and a small journal.

    :raises BaleineError: when mke2fs fails.
    """
    journal = max(4, min(32, size // MEBIBYTE // 64))
    options = "lazy_itable_init=1"
    features = []
    if _mke2fs_version(run) >= (1, 47):  # older ones do not know these words
        options = "assume_storage_prezeroed=1"
        features = ["-O", "^orphan_file,^metadata_csum_seed"]
    with open(path, "xb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        os.ftruncate(stream.fileno(), size)
    command = [need_program("mke2fs", f"disk {path}"), "-q", "-t", "ext4", "-b", str(BLOCK), "-T", "default", "-m", "0"]
    command += ["-J", f"size={journal}", "-E", options, *features, path]
    check(run(command), f"disk {path}: making an ext4 filesystem of {size} bytes")


def _mke2fs_version(run: Runner) -> tuple[int, ...]:
    result = run([need_program("mke2fs", "disk"), "-V"])
    match = re.search(r"mke2fs (\d+)\.(\d+)", result.err + result.out)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


def copy(source: str, target: str) -> Copied:
    """Copy a disk to a new file: as a reflink where the filesystem can, else extent by extent, holes kept.

    The target is complete and on the device when this returns; give it a temporary name and rename it.

    :raises BaleineError: when space is short or the device fails; then there is no target.
    """
    with open(source, "rb") as old, open(target, "xb") as new:
        os.fchmod(new.fileno(), 0o600)
        try:
            begun = time.monotonic()
            return _copy_into(old.fileno(), new.fileno(), target)._replace(seconds=time.monotonic() - begun)
        except OSError as error:
            os.unlink(target)
            hint = f"Make room on the filesystem of {os.path.dirname(target)}" if error.errno == errno.ENOSPC else ""
            raise BaleineError(f"copying the disk {source}: {error.strerror}", hint) from None


def _copy_into(old: int, new: int, target: str) -> Copied:
    status = os.fstat(old)
    try:
        fcntl.ioctl(new, FICLONE, old)
        os.fsync(new)
        return Copied("reflink", status.st_blocks * 512)
    except OSError as error:
        if error.errno not in CANNOT_CLONE:
            raise
    space = os.statvfs(os.path.dirname(target))
    if space.f_bavail * space.f_frsize < status.st_blocks * 512:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(new, status.st_size)
    data = 0
    for start, end in extents(old, status.st_size):
        data += end - start
        while start < end:
            done = _copy_some(old, new, start, min(end - start, PORTION))
            if done == 0:
                raise OSError(errno.EIO, "the disk became shorter while it was copied")
            os.posix_fadvise(new, start, done, os.POSIX_FADV_DONTNEED)  # the kernel begins to write it (mm/fadvise.c)
            start += done
    os.fdatasync(new)
    return Copied("extents", data)


def _copy_some(old: int, new: int, start: int, count: int) -> int:
    """Copy bytes to the same place of another file; copy_file_range(2) cannot between two kinds of filesystems."""
    try:
        return os.copy_file_range(old, new, count, start, start)
    except OSError as error:
        if error.errno not in CANNOT_CLONE:
            raise
    os.lseek(new, start, os.SEEK_SET)
    return os.sendfile(new, old, start, count)


@contextlib.contextmanager
def kept_still(tree: str) -> Iterator[None]:
    """Keep a mounted filesystem still (ioctl FIFREEZE): its disk is whole, as if it were unmounted.

    A guard of its own session thaws it when we end, however that is.
    """
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    ours, its = os.pipe()[::-1]
    guard = os.fork()
    if guard == 0:
        try:
            os.setsid()
            os.close(ours)
            os.read(its, 1)
        finally:
            with contextlib.suppress(OSError):
                fcntl.ioctl(root, FITHAW, 0)
            os._exit(0)
    os.close(its)
    try:
        fcntl.ioctl(root, FIFREEZE, 0)
        yield
    finally:
        os.close(ours)
        os.waitpid(guard, 0)
        os.close(root)


def thaw(tree: str) -> None:
    """Let a filesystem go on that was left frozen; one that is not is no error."""
    with contextlib.suppress(OSError), opened(tree, os.O_RDONLY | os.O_DIRECTORY) as root:
        fcntl.ioctl(root, FITHAW, 0)


def extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Give (start, end) of each stretch of a file that is not a hole (lseek(2), SEEK_DATA)."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def digest(path: str) -> str:
    """Return ``sha256:`` and the digest of a disk's content: offset and bytes of each 4 KiB block that is not zero.

    Holes and blocks of zeros count the same, so that every way of copying gives the same digest.
    """
    import hashlib  # 2 ms, for OpenSSL

    zeros = bytes(BLOCK)
    content = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        content.update(struct.pack("<Q", size))
        for start, end in extents(stream.fileno(), size):
            position = start - start % BLOCK
            while position < end:
                piece = os.pread(stream.fileno(), min(256 * BLOCK, end - position), position)
                if not piece:
                    break
                for offset in range(0, len(piece), BLOCK):
                    block = piece[offset : offset + BLOCK]
                    if block != zeros[: len(block)]:
                        content.update(struct.pack("<Q", position + offset))
                        content.update(block)
                position += len(piece)
    return f"sha256:{content.hexdigest()}"


def fingerprint(path: str) -> str:
    """Return what changes cheaply when somebody writes to a file: inode, size and time of change."""
    status = os.stat(path)
    return f"{status.st_ino}/{status.st_size}/{status.st_mtime_ns}"


def allocated(path: str) -> int:
    """Return how many bytes of its host's filesystem a file takes."""
    return os.stat(path).st_blocks * 512


def check_ext4(run: Runner, path: str) -> bool:
    """Make sure of a file of ours that came from outside, before the kernel sees it: defuse it, or refuse it.

    A journal is replayed by e2fsck, which no crafted one can take further than this file; then the superblock that this
    left is judged (superblock.py), freed of mount options and ``errors=panic``, and everything is looked through.

    :returns: whether something had to be changed.
    :raises BaleineError: with what is wrong.
    """
    unsettled = superblock.is_unsettled(superblock.read(path))
    if unsettled:
        repair(run, path)
    found = superblock.read(path)
    disarmed = superblock.disarm(path, found)
    result = run([need_program("e2fsck", f"disk {path}"), "-fn", path])
    if result.code & ~1 or superblock.is_unsettled(found):
        hint = "Repair a copy with e2fsck, or make it again"
        raise BaleineError(f"disk {path}: e2fsck finds errors: {_findings(result)}", hint)
    return unsettled or disarmed


def repair(run: Runner, path: str, whole: bool = False) -> None:
    """Replay the journal of a disk and mend what a crash left (``e2fsck -p``).

    :param whole: look through all of it, even if it says that it is clean, as resize2fs(8) asks for.
    :raises BaleineError: when a person is needed (e2fsck(8), exit code 4 and above).
    """
    result = run([need_program("e2fsck", f"disk {path}"), "-fp" if whole else "-p", path])
    if result.code >= 4:
        hint = f"Run e2fsck {path} by hand"
        raise BaleineError(f"disk {path}: e2fsck cannot repair it by itself: {_findings(result)}", hint)


def _findings(result: Result) -> str:
    """The first of what e2fsck found: it tells that on its standard output, and on the other one its version."""
    lines = [line for line in result.out.splitlines() if line.strip() and not line.startswith("Pass ")]
    return result._replace(err=result.err * (not lines), out="\n".join(lines[:3])).said


def grow(run: Runner, path: str, size: int) -> None:
    """Give a disk that is attached nowhere the larger size ``size`` (bytes)."""
    os.truncate(path, size)
    repair(run, path, whole=True)
    check(run([need_program("resize2fs", f"disk {path}"), path]), f"disk {path}: growing it to {size} bytes")


def holders(path: str) -> list[str]:
    """Return the loop devices that hold this file, by device and inode: Linux lets two of them mount one file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return []
    minor, major = os.minor(status.st_dev), os.major(status.st_dev)
    wanted = ((minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12), status.st_ino)  # huge_encode_dev of the kernel
    found = []
    for name in os.listdir("/sys/block"):
        if name.startswith("loop") and os.path.exists(f"/sys/block/{name}/loop/backing_file"):
            # it may be cleared in the meantime
            with contextlib.suppress(OSError), opened(f"/dev/{name}", os.O_RDONLY) as descriptor:
                info = fcntl.ioctl(descriptor, LOOP_GET_STATUS64, bytes(LOOP_INFO.size))
                if LOOP_INFO.unpack(info)[:2] == wanted:
                    found.append(f"/dev/{name}")
    return sorted(found)


def need_free(path: str, what: str, hint: str = "", seconds: float = 20.0) -> None:
    """Wait until the kernel has let go of a file that was mounted, which it does a moment after its last user.

    :raises BaleineError: naming what still holds it after ``seconds``.
    """
    if not wait_until(lambda: not holders(path), seconds):
        raise BaleineError(f"{what} is still held by {', '.join(holders(path))}", hint)


def attach(path: str, read_only: bool = False) -> tuple[str, int]:
    """Attach a disk to a free loop device that clears itself after its last user.

    :returns: the device and a descriptor to close once it is mounted.
    :raises BaleineError: when no loop device can be had.
    """
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    info = LOOP_INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, os.fsencode(path)[:63], b"", b"", 0, 0)
    attempt = f"attaching the disk {path}"
    with opened(path, os.O_RDONLY if read_only else os.O_RDWR) as file, explained(f"{attempt} to a loop device"):
        config = struct.pack("II", file, 0) + info + bytes(64)
        for _attempt in range(64):
            with opened("/dev/loop-control", os.O_RDWR) as control:
                device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            loop = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, LOOP_CONFIGURE, config)
                return device, loop
            except OSError as error:
                os.close(loop)
                if error.errno != errno.EBUSY:  # somebody else took it between the two calls
                    raise
    raise BaleineError(f"{attempt}: no free loop device in 64 attempts")


def mount(path: str, target: str, first_id: Optional[int] = None, read_only: bool = False) -> None:
    """Mount a disk at ``target`` in this mount namespace.

    :param first_id: where the owners 0-65535 of the disk begin outside; None leaves them as they are.
    :raises BaleineError: when the kernel refuses, or its superblock is not one that we would show to it.
    """
    superblock.read(path)
    os.makedirs(target, mode=0o700, exist_ok=True)
    device, loop = attach(path, read_only)
    flags = rootfs.MS_NODEV | (rootfs.MS_RDONLY if read_only else 0) | (rootfs.MS_NOSUID if first_id is None else 0)
    try:
        with explained(f"mounting the disk {path}", "Look at the kernel's messages (dmesg) and run e2fsck on it"):
            rootfs.mount(device, target, "ext4", flags, "errors=remount-ro" + ("" if read_only else ",discard"))
    finally:
        os.close(loop)
    if first_id is not None:
        rootfs.map_owners(target, first_id)
    fault("mounted")
