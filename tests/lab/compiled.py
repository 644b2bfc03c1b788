# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of Python with what Python makes of them beside: a machine would make it anew, the emulated guest for seconds."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import run

# Compiled by the Python of a root filesystem, as if the folder lay at its place there.
COMPILE = """
mount --bind "$1" "$2/mnt"
exec chroot "$2" /usr/bin/python3 -m compileall -q -s /mnt -p "$3" /mnt
"""


def compiled(parts: Mapping[str, Path], place: str, root: Path) -> Path:
    """One folder of several, compiled; it is made once and must not be changed.

    :param parts: where in it each of them goes.
    :param place: the path at which it will lie.
    :param root: the root filesystem whose Python will read it.
    """
    return _compiled(tuple(parts.items()), place, root)


@functools.cache
def _compiled(parts: tuple[tuple[str, Path], ...], place: str, root: Path) -> Path:
    made = Path(tempfile.mkdtemp(dir=_kept().name))
    made.chmod(0o755)
    for name, source in parts:
        shutil.copytree(source, made / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), symlinks=True)
    words = ["unshare", "--mount", "sh", "-ec", COMPILE, "sh", str(made), str(root), place]
    run.machine(words, env=run.CLEAN_ENV)
    return made


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    """The folder that holds them, gone with this process."""
    return tempfile.TemporaryDirectory(prefix="baleine-python-")
