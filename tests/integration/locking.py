# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of a lab host that a test holds itself, so that commands meet each other for certain."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from tests.lab.host import LabHost
from tests.lab.run import wait_for

LOCKS = "/run/baleine/lock"


def is_locked(lab: LabHost, path: str) -> bool:
    """Whether somebody holds a lock file."""
    return lab.sh(f"test -e {path} && ! flock -n -x {path} true", check=False).returncode == 0


@contextlib.contextmanager
def holding(lab: LabHost, name: str) -> Iterator[None]:
    """Hold a lock of Baleine while the block runs."""
    path = f"{LOCKS}/{name}"
    lab.sh(f"mkdir -p {LOCKS}")
    holder = lab.popen(["flock", "-x", path, "cat"], stdin=subprocess.PIPE)
    try:
        assert wait_for(lambda: is_locked(lab, path))
        yield
    finally:
        holder.communicate()


def waiting(lab: LabHost, name: str) -> int:
    """How many processes wait for a lock of Baleine (proc_locks(5))."""
    inode = lab.sh(f"stat -c %i {LOCKS}/{name}").stdout.strip()
    lines = lab.read("/proc/locks").splitlines()
    return sum("-> FLOCK" in line and f":{inode} " in line for line in lines)
