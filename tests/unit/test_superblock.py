# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that say they are ext4: what is refused, what is defused, and that nothing of it needs a kernel."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any, Callable

import pytest

from baleine import disk, superblock
from baleine.errors import BaleineError
from tests.unit.support import run

MEBIBYTE = 1 << 20
SIZE = 32 * MEBIBYTE
CLEAN = {
    "blocks": 8192, "block": 2, "magic": 0xEF53, "state": 1, "errors": 1, "system": 0, "revision": 1,
    "compat": 0x3C, "incompat": 0x2C2, "ro_compat": 0x46B, "journal": 8, "journal_device": 0, "orphan": 0,
    "options": 0xC, "blocks_high": 0, "words": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"incompat": 0x2C6}, ""),
        ({"compat": 0x103C, "ro_compat": 0x1046B, "incompat": 0x22C2}, ""),
        ({"errors": 3, "options": 0xFFF, "words": 1}, ""),
        ({"compat": 0x38, "journal": 0}, ""),
        ({"blocks": 32768, "block": 0}, ""),
        ({"magic": 0x58465342}, "no ext4"),
        ({"blocks": 8193}, "larger than its file"),
        ({"blocks_high": 1}, "larger than its file"),
        ({"block": 3}, "damaged or foreign"),
        ({"block": 0xFFFFFFFF}, "damaged or foreign"),
        ({"revision": 0}, "damaged or foreign"),
        ({"system": 1}, "damaged or foreign"),
        ({"incompat": 0x2}, "ext2 or ext3"),
        ({"journal": 0, "journal_device": 0x801}, "another device"),
        ({"journal": 0}, "another device"),
        ({"journal": 12}, "another device"),
        ({"incompat": 0x8}, "not taken: journal_dev"),
        ({"incompat": 0x102C2}, "not taken: encrypt"),
        ({"incompat": 0x202C2}, "not taken: casefold"),
        ({"incompat": 0x3C2}, "not taken: mmp"),
        ({"ro_compat": 0x56B}, "not taken: quota"),
        ({"ro_compat": 0x246B}, "not taken: project"),
        ({"ro_compat": 0x846B, "incompat": 0x82C2}, "not taken: inline_data verity"),
        ({"compat": 0x8000003C}, "not taken: compat 0x80000000"),
        ({"incompat": 0x400002C2}, "not taken: incompat 0x40000000"),
    ],
    ids=str,
)
def test_an_implausible_superblock_is_refused_with_the_reason(changes: dict[str, int], why: str) -> None:
    found, hint = superblock.refuse({**CLEAN, **changes}, SIZE)
    assert (why in found and bool(hint)) if why else (found, hint) == ("", "")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file as Baleine makes it."""
    path = str(tmp_path_factory.mktemp("sound") / "disk")
    disk.create(run, path, SIZE)
    return path


def tool(*words: str) -> None:
    done = run(words)
    assert done.code == 0, done


def shown(path: str) -> dict[str, str]:
    lines = run(["dumpe2fs", "-h", path]).out.splitlines()
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)}


def poke(offset: int, content: bytes) -> Callable[[str], None]:
    def change(path: str) -> None:
        with open(path, "r+b") as stream:
            stream.seek(1024 + offset)
            stream.write(content)

    return change


def tune(*words: str) -> Callable[[str], None]:
    return lambda path: tool("tune2fs", *words, path)


def make(*words: str) -> Callable[[str], None]:
    return lambda path: tool("mke2fs", "-q", "-F", *words, path)


def debug(*commands: str) -> Callable[[str], None]:
    def change(path: str) -> None:
        Path(f"{path}.commands").write_text("\n".join(commands) + "\n")
        tool("debugfs", "-w", "-f", f"{path}.commands", path)

    return change


def journal_that_panics(path: str) -> None:
    """Leave a journal whose replay puts another superblock in place."""
    other = f"{path}.other"
    shutil.copy(path, other)
    tune("-e", "panic", "-E", "mount_opts=data=journal")(other)
    with open(other, "rb") as stream:
        Path(f"{path}.block").write_bytes(stream.read(4096))
    debug("jo", f"jw -b 0 {path}.block", "jc")(path)


def journal_that_encrypts(path: str) -> None:
    other = f"{path}.other"
    shutil.copy(path, other)
    tune("-O", "encrypt")(other)
    with open(other, "rb") as stream:
        Path(f"{path}.block").write_bytes(stream.read(4096))
    debug("jo", f"jw -b 0 {path}.block", "jc")(path)


HOSTILE: dict[str, tuple[Callable[[str], Any], str]] = {
    "empty": (lambda path: os.truncate(path, 0), "no ext4"),
    "shorter than a superblock": (lambda path: os.truncate(path, 1500), "no ext4"),
    "nothing but a hole": (lambda path: (os.truncate(path, 0), os.truncate(path, SIZE)), "no ext4"),
    "text": (lambda path: Path(path).write_text("#!/bin/sh\n" * 4000), "no ext4"),
    "another magic": (poke(0x38, b"XX"), "no ext4"),
    "ext2": (make("-t", "ext2"), "ext2 or ext3"),
    "ext3": (make("-t", "ext3"), "ext2 or ext3"),
    "a journal device": (make("-O", "journal_dev", "-b", "4096"), "not taken: journal_dev"),
    "cut short": (lambda path: os.truncate(path, SIZE - 4096), "larger than its file"),
    "a size that lies": (poke(0x04, struct.pack("<I", 1 << 30)), "larger than its file"),
    "a size that lies in its upper half": (poke(0x150, struct.pack("<I", 1)), "larger than its file"),
    "blocks of a terabyte": (poke(0x18, struct.pack("<I", 30)), "damaged or foreign"),
    "a journal elsewhere": (poke(0xE0, struct.pack("<II", 0, 0x801)), "another device"),
    "encryption": (tune("-O", "encrypt"), "not taken: encrypt"),
    "names that fold": (make("-t", "ext4", "-O", "casefold"), "not taken: casefold"),
    "quota": (tune("-O", "quota"), "not taken: quota"),
    "project quota": (tune("-O", "project", "-Q", "prjquota"), "not taken: quota project"),
    "verity": (tune("-O", "verity"), "not taken: verity"),
    "multiple mount protection": (tune("-O", "mmp"), "not taken: mmp"),
    "a feature of the future": (poke(0x60, struct.pack("<I", 0x800002C2)), "not taken: incompat 0x80000000"),
    "a wrong checksum": (poke(0x78, b"label"), "e2fsck finds errors"),
    "a directory that is none": (debug("set_inode_field <2> mode 0100644"), "e2fsck finds errors"),
    "a block that two files have": (
        debug("write /etc/hostname a", "write /etc/hostname b", "set_inode_field <13> block[5] 1"), "e2fsck finds errors",
    ),
    "group descriptors of noise": (poke(4096 - 1024, os.urandom(4096)), "e2fsck finds errors"),
    "a journal that encrypts": (journal_that_encrypts, "not taken: encrypt"),
    "a journal that is none": (debug("set_inode_field <8> mode 0100644", "set_inode_field <8> block[5] 1"), "e2fsck finds errors"),
}  # fmt: skip
DEFUSED: dict[str, Callable[[str], Any]] = {
    "panic at an error": tune("-e", "panic"),
    "mount options as text": tune("-E", "mount_opts=data=journal"),
    "mount options as bits": tune("-o", "journal_data,debug,bsdgroups,nobarrier"),
    "all of it, without checksums": lambda path: (
        make("-t", "ext4", "-b", "4096", "-O", "^metadata_csum,uninit_bg")(path),
        tune("-e", "panic", "-E", "mount_opts=nobarrier", "-o", "debug")(path),
    ),
    "a journal that panics": journal_that_panics,
    "an error that was noted": debug("set_super_value state 3"),
}
TAKEN: dict[str, Callable[[str], Any]] = {
    "as it is": lambda path: None,
    "all defaults of mke2fs": make("-t", "ext4"),
    "small blocks": make("-t", "ext4", "-b", "1024"),
    "no journal": make("-t", "ext4", "-O", "^has_journal"),
    "a label of escapes": tune("-L", "\x1b[31mred\x07\n"),
}


@pytest.fixture
def damaged(sound: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    path = str(tmp_path / "disk")
    disk.copy(sound, path)
    request.param(path)
    return path


@pytest.mark.parametrize(("damaged", "why"), HOSTILE.values(), ids=HOSTILE.keys(), indirect=["damaged"])
def test_an_untrusted_file_is_refused(damaged: str, why: str) -> None:
    with pytest.raises(BaleineError, match=why) as caught:
        disk.check_ext4(run, damaged)
    assert damaged in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("damaged", DEFUSED.values(), ids=DEFUSED.keys(), indirect=True)
def test_dangerous_settings_are_removed_from_a_superblock_and_the_rest_stays(damaged: str) -> None:
    before = shown(damaged)
    assert disk.check_ext4(run, damaged)
    found = superblock.read(damaged)
    assert found["errors"] < superblock.PANIC and not found["options"] & ~superblock.HARMLESS and not found["words"]
    assert not superblock.is_unsettled(found)
    assert not disk.check_ext4(run, damaged)
    after = shown(damaged)
    for key in ("Filesystem UUID", "Inode count", "Block count", "Journal inode", "Filesystem created"):
        assert before[key] == after[key]


@pytest.mark.parametrize("damaged", TAKEN.values(), ids=TAKEN.keys(), indirect=True)
def test_an_ordinary_file_is_used_unchanged(damaged: str) -> None:
    before = disk.digest(damaged)
    assert not disk.check_ext4(run, damaged)
    assert disk.digest(damaged) == before


def test_control_characters_in_the_output_of_e2fsck_are_escaped(sound: str, tmp_path: Path) -> None:
    path = str(tmp_path / "disk")
    disk.copy(sound, path)
    tune("-L", "\x1b[31mred\x07")(path)
    debug("set_inode_field <2> mode 0100644", "set_super_value state 2")(path)
    with pytest.raises(BaleineError, match="e2fsck cannot repair it") as caught:
        disk.check_ext4(run, path)
    assert "[31mred: " in caught.value.message and caught.value.message.isprintable()
