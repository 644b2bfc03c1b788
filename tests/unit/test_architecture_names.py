# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs are for: read from their first bytes, through links and interpreters, and held against the host."""

from __future__ import annotations

import os
import struct
import sys

import pytest

from baleine import architecture
from baleine.errors import BaleineError


def head(machine: int, wide: bool = True, little: bool = True) -> bytes:
    """The first 20 bytes of a program (elf(5))."""
    order = "<" if little else ">"
    return (
        b"\x7fELF" + bytes([2 if wide else 1, 1 if little else 2]) + bytes(10) + struct.pack(f"{order}HH", 2, machine)
    )


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (head(62), "amd64"),
        (head(183), "arm64"),
        (head(40, wide=False), "armhf"),
        (head(3, wide=False), "i386"),
        (head(22, little=False), "s390x"),
        (head(62, wide=False), ""),
        (head(2), ""),
        (head(62)[:19], ""),
        (b"#!/bin/sh\n" + bytes(20), ""),
        (b"", ""),
    ],
)
def test_the_architecture_of_a_program_is_read_from_its_header(content, name):
    assert architecture.of_program(content) == name


def test_the_programs_of_this_machine_are_native_and_run():
    with open(sys.executable, "rb") as stream:
        assert architecture.of_program(stream.read(20)) == architecture.native()
    architecture.need_runnable(architecture.native(), "image a")
    architecture.need_runnable("", "image a")


@pytest.mark.skipif(os.geteuid() != 0, reason="openat2 below a root of its own is what root does")
def test_a_tree_has_the_architecture_of_its_shell(tmp_path):
    assert architecture.of_tree(str(tmp_path)) == ""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/dash").write_bytes(head(183))
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "usr/bin/script").write_text("#! /bin/sh -e\ntrue\n")
    (tmp_path / "usr/bin/loop").write_text("#!/usr/bin/loop\n")
    (tmp_path / "usr/bin/empty").write_text("#!\n")
    found = {name: architecture.of_path(str(tmp_path), f"/usr/bin/{name}") for name in ("sh", "script", "loop")}
    assert found == {"sh": "arm64", "script": "arm64", "loop": ""}
    assert architecture.of_path(str(tmp_path), "/usr/bin/empty") == ""
    assert architecture.of_tree(str(tmp_path)) == "arm64"


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ("enabled\ninterpreter /usr/bin/qemu-x-static\nflags: OCF\n", True),
        ("enabled\nflags: F\n", True),
        ("enabled\ninterpreter /usr/bin/qemu-Flat\nflags: OC\n", False),
        ("disabled\nflags: OCF\n", False),
        ("", False),
        (None, False),
    ],
)
def test_another_architecture_runs_if_the_kernel_keeps_its_emulator_open(tmp_path, monkeypatch, entry, fits):
    monkeypatch.setattr(architecture, "EMULATORS", str(tmp_path))
    other = "s390x" if architecture.native() != "s390x" else "amd64"
    if entry is not None:
        (tmp_path / f"qemu-{architecture.KNOWN[other][0]}").write_text(entry)
    if fits:
        architecture.need_runnable(other, "image a")
        return
    with pytest.raises(BaleineError, match=f"its programs are for {other}, and this host .* cannot run them") as caught:
        architecture.need_runnable(other, "image a")
    assert "qemu-user-static" in caught.value.hint
