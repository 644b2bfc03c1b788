# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Architectures, by the names that Debian gives them: which one a program is for, and whether this host can run it."""

from __future__ import annotations

import contextlib
import os
import struct

from . import rootfs
from .errors import BaleineError

#: Debian's name: the kernel's (uname(2)), e_machine of elf(5), 64 bits or not, little endian or not.
KNOWN = {
    "amd64": ("x86_64", 62, True, True),
    "arm64": ("aarch64", 183, True, True),
    "armhf": ("arm", 40, False, True),
    "i386": ("i386", 3, False, True),
    "ppc64el": ("ppc64le", 21, True, True),
    "riscv64": ("riscv64", 243, True, True),
    "s390x": ("s390x", 22, True, False),
}
#: What a processor of another name runs as it is.
ALSO = {"amd64": ("i386",), "arm64": ("armhf",)}
MACHINES = {"armv7l": "armhf", "armv8l": "armhf", "i686": "i386", **{known[0]: name for name, known in KNOWN.items()}}
EMULATORS = "/proc/sys/fs/binfmt_misc"
SHELLS = ("bin/sh", "usr/bin/sh", "bin/busybox")


def native() -> str:
    """Return what this host is."""
    machine = os.uname().machine
    return MACHINES.get(machine, machine)


def of_program(head: bytes) -> str:
    """Return what a program is for, from its first 20 bytes (elf(5)); empty for one that does not say."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    wide, little = head[4] == 2, head[5] == 1
    machine = struct.unpack_from("<H" if little else ">H", head, 18)[0]
    return next((name for name, known in KNOWN.items() if known[1:] == (machine, wide, little)), "")


def of_path(tree: str, path: str) -> str:
    """Return what a program of a tree is for; a script is for what its interpreter is for."""
    with contextlib.suppress(OSError, IndexError):  # IndexError: a script without an interpreter
        for _link in range(2):
            with os.fdopen(rootfs.open_inside(tree, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as stream:
                head = stream.read(256)
            if not head.startswith(b"#!"):
                return of_program(head)
            path = os.fsdecode(head[2:].split(b"\n")[0].split()[0])
    return ""


def of_tree(tree: str) -> str:
    """Return what a tree's shell is for; empty where it has none."""
    return next((found for found in (of_path(tree, path) for path in SHELLS) if found), "")


def need_runnable(name: str, what: str) -> None:
    """Refuse programs that this host cannot run, by itself or through qemu (binfmt_misc of the kernel, flag F).

    :param name: what they are for; empty is not known, and not refused.
    :raises BaleineError: naming the package that helps.
    """
    if name in ("", native(), *ALSO.get(native(), ())):
        return
    entry = f"qemu-{KNOWN[name][0]}"
    with contextlib.suppress(OSError), open(f"{EMULATORS}/{entry}") as stream:
        words = dict(line.partition(" ")[::2] for line in stream.read().splitlines())
        if "enabled" in words and "F" in words.get("flags:", ""):
            return
    raise BaleineError(
        f"{what}: its programs are for {name}, and this host ({native()}) cannot run them",
        f"Install the package qemu-user-static, and see that {EMULATORS}/{entry} is there and enabled",
    )
