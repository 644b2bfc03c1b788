# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container exec``: become the runtime, so that the exit code and the standard streams are the program's."""

from __future__ import annotations

import contextlib
import os
import signal
from functools import partial
from typing import Callable

from baleine import enter, manifest, oci, runtime, units
from baleine.errors import BaleineError
from baleine.process import ENVIRONMENT

from .main import complain
from .parse import Options


def execute(options: Options) -> int:
    """Run one more program in a container; returns only where that cannot be.

    Environment, user and working directory are those of the container's own program where nothing else is said.
    """
    name = units.check_name(options.names[0], "container")
    record = enter.need_running(name)
    terminal = options.on("tty")
    if terminal and not os.isatty(0):
        raise BaleineError(f"container {name}: --tty: standard input is no terminal", "Leave out -t")
    env = {**manifest.from_json(record, "env", {}), **options.pairs("env")}
    if terminal and "TERM" in os.environ:
        env.setdefault("TERM", os.environ["TERM"])
    workdir = options.text("workdir") or record.get("workdir", "")
    user = record.get("user", "") if options.text("user") is None else options.text("user") or ""
    root = f"/proc/{record['pid']}/root"
    enter.need_directory(name, root, workdir)
    code = enter.judge(root, options.program[0], {**oci.ENVIRONMENT, **env}, workdir or "/")
    if code:
        word = "there is no such program" if code == enter.NOT_FOUND else "it cannot be executed"
        complain(f"container {name}: {options.program[0]}: {word}")
        return code
    make = partial(enter.exec_argv, name, record, tuple(options.program), env, workdir, user, terminal)
    socket = f"{runtime.STATE}/console.{os.getpid()}" if terminal and record["runtime"] == "crun" else ""
    if not socket and (terminal or not any(os.isatty(number) for number in range(3))):
        words = make()
        return os.execve(words[0], words, ENVIRONMENT)
    return _behind(make, socket)


def _behind(make: Callable[..., list[str]], socket: str) -> int:
    """Run it behind pipes, for the caller's terminal stays the caller's; or, with ``socket``, a terminal of our making.

    crun 1.8.1 itself passes no change of size on; the first size may come a moment after the program began.
    """
    from . import relay

    ends = relay.Ends(bool(socket), True)
    streams, console, size = ends.given
    try:
        if console:
            console.bind(socket)
            console.listen(1)
        words = make(console=(socket, size) if console else None)
        actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(streams)]
        child = os.posix_spawn(words[0], words, ENVIRONMENT, file_actions=actions, setpgroup=0)
        return ends.attend(child, signal.pidfd_send_signal)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)
