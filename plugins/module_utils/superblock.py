# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The superblock of an ext4 file, read and judged before the kernel sees it.

Our own 30 lines and not ``dumpe2fs``: every mount asks, and a program takes longer than a start can spare. Offsets and
numbers are those of struct ext4_super_block, fs/ext4/ext4.h.
"""

from __future__ import annotations

import os
import struct

from .errors import BaleineError

START, LENGTH, CHECKSUM = 1024, 1024, 0x3FC
MAGIC = 0xEF53
FIELDS = {
    "blocks": (0x04, "<I"), "block": (0x18, "<I"), "magic": (0x38, "<H"), "state": (0x3A, "<H"),
    "errors": (0x3C, "<H"), "system": (0x48, "<I"), "revision": (0x4C, "<I"), "compat": (0x5C, "<I"),
    "incompat": (0x60, "<I"), "ro_compat": (0x64, "<I"), "journal": (0xE0, "<I"), "journal_device": (0xE4, "<I"),
    "orphan": (0xE8, "<I"), "options": (0x100, "<I"), "blocks_high": (0x150, "<I"),
}  # fmt: skip
#: Mount options as text, which the kernel takes before ours.
WORDS = slice(0x200, 0x240)
HAS_JOURNAL, RECOVER, EXTENTS, WIDE, ORPHANS, CHECKSUMS = 0x4, 0x4, 0x40, 0x80, 0x10000, 0x400
#: What mke2fs makes of ext4, in any version, and what every kernel since 5.12 and e2fsck 1.46 can have.
TAKEN = {
    # has_journal ext_attr resize_inode dir_index sparse_super2 orphan_file
    "compat": 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x1000,
    # filetype recover meta_bg extents 64bit flex_bg metadata_csum_seed
    "incompat": 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x200 | 0x2000,
    # sparse_super large_file btree_dir huge_file uninit_bg dir_nlink extra_isize metadata_csum orphan_present
    "ro_compat": 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400 | 0x10000,
}
#: Words for some of the others: keys of owners, waits at a mount, limits that nobody here set, names that fold.
NAMES = {
    ("compat", 0x400): "fast_commit", ("compat", 0x800): "stable_inodes", ("incompat", 0x8): "journal_dev",
    ("incompat", 0x100): "mmp", ("incompat", 0x400): "ea_inode", ("incompat", 0x4000): "large_dir",
    ("incompat", 0x8000): "inline_data", ("incompat", 0x10000): "encrypt", ("incompat", 0x20000): "casefold",
    ("ro_compat", 0x100): "quota", ("ro_compat", 0x200): "bigalloc", ("ro_compat", 0x1000): "read-only",
    ("ro_compat", 0x2000): "project", ("ro_compat", 0x4000): "shared_blocks", ("ro_compat", 0x8000): "verity",
}  # fmt: skip
#: Mount options by bit that may stay: user_xattr, acl, block_validity.
HARMLESS = 0x4 | 0x8 | 0x200
PANIC, REMOUNT = 3, 2


def read(path: str) -> dict[str, int]:
    """Return the fields of a file's superblock by their names here, and whether it holds mount options as text.

    :raises BaleineError: for a file that is no ext4 filesystem that can be used.
    """
    with open(path, "rb", buffering=0) as stream:
        raw, size = os.pread(stream.fileno(), LENGTH, START), os.fstat(stream.fileno()).st_size
    if len(raw) < LENGTH:
        raise BaleineError(f"disk {path}: this is no ext4 filesystem", "An image is one file holding one ext4")
    found: dict[str, int] = {key: struct.unpack_from(form, raw, offset)[0] for key, (offset, form) in FIELDS.items()}
    found["words"] = int(any(raw[WORDS]))
    why, hint = refuse(found, size)
    if why:
        raise BaleineError(f"disk {path}: {why}", hint)
    return found


def refuse(found: dict[str, int], size: int) -> tuple[str, str]:
    """Return why a filesystem cannot be used and what to do; empty for one that can. Pure.

    :param size: of its file, in bytes.
    """
    if found["magic"] != MAGIC:
        return "this is no ext4 filesystem", "An image is one file holding one ext4"
    foreign = [(kind, bit) for kind in TAKEN for bit in (1 << n for n in range(32)) if found[kind] & ~TAKEN[kind] & bit]
    if foreign:
        names = [NAMES.get(key, f"{key[0]} {key[1]:#x}") for key in foreign]
        return f"its filesystem has features that are not taken: {' '.join(names)}", "Make it anew with mke2fs -t ext4"
    if found["revision"] != 1 or found["system"] != 0 or found["block"] > 2:
        return "its superblock is damaged or foreign", "Run e2fsck on a copy of it, or make it again"
    if not found["incompat"] & EXTENTS:
        return "this is ext2 or ext3, no ext4", "Make it anew with mke2fs -t ext4"
    if found["compat"] & HAS_JOURNAL and (found["journal"], found["journal_device"]) != (8, 0):
        return "its journal is on another device", "Make it anew with mke2fs -t ext4"
    blocks = found["blocks"] + (found["blocks_high"] << 32 if found["incompat"] & WIDE else 0)
    if blocks * (1024 << found["block"]) > size:
        return "the filesystem is larger than its file", "The file was cut short: make it again"
    return "", ""


def is_unsettled(found: dict[str, int]) -> bool:
    """Say whether there is a journal to replay, files to remove, or an error that the kernel noted."""
    return bool(found["incompat"] & RECOVER or found["ro_compat"] & ORPHANS or found["orphan"]) or found["state"] != 1


def disarm(path: str, found: dict[str, int]) -> bool:
    """Take out of a superblock what would let an error panic the host, and mount options; says whether there was any.

    By hand, since ``tune2fs`` finds no words for all of them.
    """
    if found["errors"] < PANIC and not found["options"] & ~HARMLESS and not found["words"]:
        return False
    with open(path, "r+b", buffering=0) as stream:
        raw = bytearray(os.pread(stream.fileno(), LENGTH, START))
        raw[WORDS] = bytes(WORDS.stop - WORDS.start)
        struct.pack_into("<H", raw, FIELDS["errors"][0], REMOUNT)
        struct.pack_into("<I", raw, FIELDS["options"][0], found["options"] & HARMLESS)
        if found["ro_compat"] & CHECKSUMS:
            struct.pack_into("<I", raw, CHECKSUM, _crc32c(raw[:CHECKSUM]))
        os.pwrite(stream.fileno(), raw, START)
    return True


def _crc32c(data: bytearray) -> int:
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _bit in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest
