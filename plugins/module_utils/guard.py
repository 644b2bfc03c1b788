# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a move of addresses: a process of at most half a minute that takes it back unless it is confirmed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Optional

from . import manifest, netlink
from .errors import BaleineError, explained
from .plan import Action, Plan
from .process import ENVIRONMENT, Runner, keep_own, need_program, read, start_ticks

FOLDER = "/run/baleine/guard"
#: How long the guard waits for somebody to say, over a new connection, that the host is still reached.
SECONDS = 30
#: Its arguments: marker, where that goes while it is played, token, deadline in seconds after boot, ip(8).
GUARD = """
trap "" HUP
read -r go  # it ends when the marker is there
while read -r sign token rest <"$1" && [ "$token" = "$3" ]; do
    read -r now rest </proc/uptime
    if [ "${now%.*}" -ge "$4" ]; then
        mv "$1" "$2" && "$5" -force -batch "$2"
        rm -f "$2"
        exit
    fi
    sleep 0.2
done
"""


def check(decided: Plan, token: Optional[str]) -> None:
    """Refuse a move of addresses to a caller who could not confirm it.

    :param token: None is such a caller: the command line, or cron, has no second connection.
    """
    if token is None and any(action.verb == "hand_over" for action in decided.actions):
        why = "addresses would move between it and its ports, which must be confirmed over a new connection"
        raise BaleineError(f"{decided.name}: {why}", "Run a task with the module lab.baleine.baleine_bridge")


def begin(run: Runner, name: str, action: Action) -> None:
    """Make the move, guarded: who does not :func:`confirm` it finds everything as before.

    :raises BaleineError: with the change that the kernel refused; what came before it is taken back at once.
    """
    record = manifest.read("bridge", name) or {}
    moved = {**manifest.from_json(record, "moved", {}), **action.data["moved"]}
    # a port is neither claimed nor given up until the move is confirmed: the kernel says how it ended
    manifest.write("bridge", name, {**record, "state": "handover", "moved": manifest.to_json(moved)})
    token = _start_guard(name, action.data["backward"])
    try:
        netlink.batch(run, action.data["forward"], action.resource)
    except BaleineError:
        netlink.batch(run, action.data["backward"], action.resource, force=True)
        with contextlib.suppress(BaleineError):
            confirm(name, token)
        raise


def waiting(name: str) -> str:
    """Return the token of the guard that waits for a bridge's confirmation, or an empty string."""
    for path in _paths(name):
        for head in (read(path) or "").splitlines()[:1]:
            _sign, token, pid, ticks = head.split()
            if start_ticks(int(pid)) == int(ticks):
                return token
    return ""


def confirm(name: str, token: str) -> None:
    """Tell the guard that the move may stay.

    :raises BaleineError: when it was taken back, or another move waits.
    """
    with contextlib.suppress(FileNotFoundError):
        if waiting(name) == token:
            os.unlink(_paths(name)[0])
            return
    raise BaleineError(
        f"bridge {name}: no move of addresses waits for this confirmation: it was taken back after {SECONDS} s",
        "Look how the host is reached through the bridge, then run the task again",
    )


def _paths(name: str) -> tuple[str, str]:
    """The marker, which is a batch for ip(8) with a comment on top, and where it goes when it is played."""
    return f"{FOLDER}/{name}", f"{FOLDER}/.{name}.back"


def _start_guard(name: str, backward: Sequence[str]) -> str:
    """Start the guard and return its token. It outlives us and our connection, and needs no Python."""
    token, ip = os.urandom(8).hex(), need_program("ip", "network")
    deadline = int(time.clock_gettime(time.CLOCK_BOOTTIME)) + 1 + SECONDS
    words = ["sh", "-c", GUARD, "baleine-guard", *_paths(name), token, str(deadline), ip]
    keep_own()
    waits, go = os.pipe()
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    files = [(os.POSIX_SPAWN_DUP2, waits, 0), *null]
    try:
        with explained(f"bridge {name}: no guard could be started for its addresses"):
            default = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
            child = os.posix_spawn("/bin/sh", words, ENVIRONMENT, file_actions=files, setsid=True, setsigdef=default)
            lines = [f"# {token} {child} {start_ticks(child)}", *backward]
            manifest.replace(_paths(name)[0], "".join(f"{line}\n" for line in lines).encode())
    finally:
        os.close(waits)
        os.close(go)
    if waiting(name) != token:
        raise BaleineError(f"bridge {name}: no guard could be started for its addresses: it ended")
    return token
