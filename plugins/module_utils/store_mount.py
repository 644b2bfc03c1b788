# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount the store after a boot: whoever comes first does, every command and every module.

Apart from :mod:`store`, which needs what moves containers: Ansible sends each module with all that it may ever import.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from . import disk, rootfs
from .errors import explained
from .manifest import LIBRARY, STORE, opened, store_is_down

WHAT = f"store {STORE}"


def need_mounted() -> None:
    """Mount the store, if there is one and nobody did yet; its file is the lock of who does, or removes it.

    :raises BaleineError: when it cannot be mounted.
    """
    with contextlib.suppress(FileNotFoundError), opened(STORE, os.O_RDONLY) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if store_is_down():
            mount(STORE)


def mount(file: str) -> None:
    """Mount the filesystem in a file as the store.

    :raises BaleineError: when it cannot be mounted.
    """
    os.makedirs(LIBRARY, mode=0o700, exist_ok=True)
    device, loop = disk.attach(file)
    try:
        hint = f"Nothing runs without it. Look at dmesg and 'xfs_repair -n {file}'; xfs_repair without -n mends"
        with explained(f"{WHAT}: mounting it at {LIBRARY}", hint):
            rootfs.mount(device, LIBRARY, "xfs", rootfs.MS_NODEV | rootfs.MS_NOATIME)
    finally:
        os.close(loop)
