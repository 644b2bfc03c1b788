# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a move of addresses: a process of at most half a minute that takes it back unless it is confirmed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import NoReturn, Optional

from . import manifest, netlink
from .errors import BaleineError
from .plan import Action, Plan
from .process import ENVIRONMENT, Runner, need_program, read, start_ticks

FOLDER = "/run/baleine/guard"
#: How long the guard waits for somebody to say, over a new connection, that the host is still reached.
SECONDS = 30
#: Its arguments: marker, where that goes while it is played, token, deadline in seconds after boot, ip(8).
GUARD = """
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
        raise BaleineError(
            f"{decided.name}: addresses would move between it and its ports, "
            "which must be confirmed over a new connection",
            "Run a task with the module lab.baleine.baleine_bridge",
        )


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
    try:
        waits = waiting(name) == token
        if waits:
            os.unlink(_paths(name)[0])
    except FileNotFoundError:
        waits = False
    if not waits:
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
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _become_guard(words, backward, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read().decode(errors="replace")  # ends when the guard has become sh
    os.waitpid(child, 0)
    if said or waiting(name) != token:
        raise BaleineError(f"bridge {name}: no guard could be started for its addresses: {said or 'it ended'}")
    return token


def _become_guard(words: list[str], backward: Sequence[str], write_end: int) -> NoReturn:
    """In a forked child: let go of everything of the caller's, write the marker, become the guard."""
    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(sign, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            for number in {int(entry) for entry in os.listdir("/proc/self/fd")} - {0, 1, 2, write_end}:
                with contextlib.suppress(OSError):  # the one that listed them
                    os.close(number)
            lines = [f"# {words[6]} {os.getpid()} {start_ticks(os.getpid())}", *backward]
            manifest.replace(words[4], "".join(f"{line}\n" for line in lines).encode())
            os.execve("/bin/sh", words, ENVIRONMENT)
    except BaseException as error:  # the child must never run on into the caller's code
        os.write(write_end, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os._exit(0)
