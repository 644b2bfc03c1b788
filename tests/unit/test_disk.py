# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks as files: identified by content, copied with their holes, checked. No device is touched."""

from __future__ import annotations

import errno
import os
import random

import pytest

from baleine import disk
from baleine.errors import BaleineError
from baleine.process import find_program
from tests.unit.support import run

MEBIBYTE = 1 << 20
LACKING = [name for name in ("mke2fs", "e2fsck", "resize2fs") if find_program(name) is None]
needs_e2fsprogs = pytest.mark.skipif(LACKING != [], reason=f"needs {', '.join(LACKING)}")


def sparse(path, size: int, pieces: dict[int, bytes]) -> str:
    with open(path, "wb") as stream:
        stream.truncate(size)
        for offset, data in pieces.items():
            stream.seek(offset)
            stream.write(data)
    return str(path)


NOISE = random.Random(5).randbytes
CONTENTS = {
    "empty": (0, {}),
    "one hole": (MEBIBYTE, {}),
    "at the start": (MEBIBYTE, {0: b"x"}),
    "at the end": (MEBIBYTE, {MEBIBYTE - 1: b"x"}),
    "scattered": (8 * MEBIBYTE, {4096: NOISE(4096), 3 * MEBIBYTE - 7: NOISE(100000), 8 * MEBIBYTE - 9000: NOISE(9000)}),
    "no whole block": (10001, {5000: NOISE(5001)}),
    "full": (2 * MEBIBYTE, {0: NOISE(2 * MEBIBYTE)}),
    "more than a portion": (20 * MEBIBYTE, {5000: NOISE(disk.PORTION + 12345)}),
    "zeros written": (MEBIBYTE, {0: bytes(MEBIBYTE // 2), MEBIBYTE // 2: b"x"}),
}


@pytest.mark.parametrize(("size", "pieces"), CONTENTS.values(), ids=CONTENTS.keys())
def test_a_copy_has_the_same_bytes_holes_and_digest_by_every_method(size, pieces, tmp_path):
    source = sparse(tmp_path / "source", size, pieces)
    dense = tmp_path / "dense"
    with open(source, "rb") as stream:
        content = stream.read()
    dense.write_bytes(content)
    copied = disk.copy(source, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content
    assert disk.digest(source) == disk.digest(str(dense)) == disk.digest(str(tmp_path / "copy"))
    assert disk.allocated(str(tmp_path / "copy")) <= disk.allocated(source) + 8 * disk.BLOCK
    assert copied.method in ("reflink", "extents")
    assert os.stat(tmp_path / "copy").st_mode & 0o777 == 0o600


def test_a_digest_depends_on_content_position_and_size(tmp_path):
    made = [
        sparse(tmp_path / str(number), size, pieces)
        for number, (size, pieces) in enumerate(
            [*CONTENTS.values(), (MEBIBYTE, {4096: b"x"}), (2 * MEBIBYTE, {0: b"x"})]
        )
    ]
    digests = [disk.digest(path) for path in made]
    assert len(set(digests)) == len(digests)
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)


def test_the_digest_of_a_large_hole_reads_no_data(tmp_path):
    assert disk.digest(sparse(tmp_path / "a", 1 << 40, {1 << 39: b"x"})).startswith("sha256:")


@pytest.mark.parametrize(
    ("size", "pieces", "expected"),
    [
        (0, {}, []),
        (MEBIBYTE, {}, []),
        (MEBIBYTE, {0: bytes(4096)}, [(0, 4096)]),
        (MEBIBYTE, {8192: b"x" * 4096, 65536: b"x" * 8192}, [(8192, 12288), (65536, 73728)]),
        (MEBIBYTE, {MEBIBYTE - 4096: b"x" * 4096}, [(MEBIBYTE - 4096, MEBIBYTE)]),
        (4097, {4096: b"x"}, [(4096, 4097)]),
    ],
)
def test_extents_are_the_parts_of_a_file_without_holes(size, pieces, expected, tmp_path):
    descriptor = os.open(sparse(tmp_path / "a", size, pieces), os.O_RDONLY)
    try:
        assert list(disk.extents(descriptor, size)) == expected
    finally:
        os.close(descriptor)


def test_a_copy_never_replaces_a_file(tmp_path):
    source = sparse(tmp_path / "source", 4096, {0: b"new"})
    (tmp_path / "target").write_text("old")
    with pytest.raises((BaleineError, FileExistsError)):
        disk.copy(source, str(tmp_path / "target"))
    assert (tmp_path / "target").read_text() == "old"


def test_a_copy_that_fails_leaves_no_target(tmp_path, monkeypatch):
    source = sparse(tmp_path / "source", MEBIBYTE, {0: NOISE(8192)})

    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "_copy_into", refuse)
    with pytest.raises(BaleineError, match="No space left") as caught:
        disk.copy(source, str(tmp_path / "target"))
    assert str(tmp_path) in caught.value.hint
    assert not (tmp_path / "target").exists()


def test_the_allocation_of_a_file_counts_written_blocks_and_not_its_size(tmp_path):
    assert disk.allocated(sparse(tmp_path / "a", 1 << 30, {})) == 0
    assert 4096 <= disk.allocated(sparse(tmp_path / "b", 1 << 30, {0: b"x" * 4096})) < MEBIBYTE


def test_a_fingerprint_changes_with_a_write_and_not_with_a_read(tmp_path):
    path = sparse(tmp_path / "a", 4096, {0: b"x"})
    first = disk.fingerprint(path)
    disk.digest(path)
    assert disk.fingerprint(path) == first
    os.utime(path, ns=(1, 1))
    assert disk.fingerprint(path) != first


def test_a_plain_or_missing_file_has_no_holders(tmp_path):
    assert disk.holders(sparse(tmp_path / "a", 4096, {})) == []
    assert disk.holders(str(tmp_path / "none")) == []


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n" * 1000, b"\0" * 8192], ids=["empty", "text", "zeros"])
def test_a_file_without_an_ext4_filesystem_is_refused(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BaleineError, match="no ext4 filesystem"):
        disk.check_ext4(run, str(tmp_path / "a"))


@needs_e2fsprogs
@pytest.mark.parametrize("size", [16 * MEBIBYTE, 64 * MEBIBYTE, 10 << 30], ids=["16M", "64M", "10G"])
def test_a_new_disk_is_sparse_sound_and_readable_only_by_root(size, tmp_path):
    path = str(tmp_path / "disk")
    disk.create(run, path, size)
    disk.check_ext4(run, path)
    assert os.path.getsize(path) == size
    assert disk.allocated(path) < 8 * MEBIBYTE
    assert os.stat(path).st_mode & 0o777 == 0o600
    shown = run([str(find_program("dumpe2fs") or "dumpe2fs"), "-h", path]).out
    features = next(line for line in shown.splitlines() if line.startswith("Filesystem features"))
    assert "has_journal" in features
    assert "orphan_file" not in features
    assert "Block size:               4096" in shown
    assert "Reserved block count:     0" in shown


@needs_e2fsprogs
def test_a_new_disk_never_replaces_a_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises((BaleineError, FileExistsError)):
        disk.create(run, str(tmp_path / "a"), 16 * MEBIBYTE)
    assert (tmp_path / "a").read_text() == "old"


@needs_e2fsprogs
def test_a_truncated_disk_is_refused(tmp_path):
    path = str(tmp_path / "disk")
    disk.create(run, path, 32 * MEBIBYTE)
    os.truncate(path, 20 * MEBIBYTE)
    with pytest.raises(BaleineError, match="larger than its file"):
        disk.check_ext4(run, path)


@needs_e2fsprogs
def test_a_damaged_disk_is_refused_with_the_words_of_e2fsck(tmp_path):
    path = str(tmp_path / "disk")
    disk.create(run, path, 32 * MEBIBYTE)
    with open(path, "r+b") as stream:
        stream.seek(4096)
        stream.write(NOISE(64 * 4096))
    with pytest.raises(BaleineError, match="e2fsck finds errors"):
        disk.check_ext4(run, path)


@needs_e2fsprogs
def test_a_disk_grows_and_stays_sound(tmp_path):
    path = str(tmp_path / "disk")
    disk.create(run, path, 32 * MEBIBYTE)
    before = disk.digest(path)
    disk.grow(run, path, 96 * MEBIBYTE)
    disk.check_ext4(run, path)
    assert os.path.getsize(path) == 96 * MEBIBYTE
    assert disk.digest(path) != before


@needs_e2fsprogs
def test_a_copied_disk_is_sound(tmp_path):
    disk.create(run, str(tmp_path / "a"), 1 << 30)
    disk.copy(str(tmp_path / "a"), str(tmp_path / "b"))
    disk.check_ext4(run, str(tmp_path / "b"))
