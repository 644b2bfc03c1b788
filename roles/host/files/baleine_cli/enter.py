# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container exec``: become the runtime, so that the exit code and the standard streams are the program's."""

from __future__ import annotations

import os

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
    record = manifest.read("container", name)
    if record is None:
        raise BaleineError(f"container {name}: there is none", "See 'baleine container list -a'")
    if not enter.is_alive(record):
        raise BaleineError(f"container {name}: it does not run", f"Start it first: baleine container start -c {name}")
    terminal = options.on("tty")
    if terminal and not os.isatty(0):
        raise BaleineError(f"container {name}: --tty: standard input is no terminal", "Leave out -t")
    env = {**manifest.from_json(record, "env", {}), **options.pairs("env")}
    if terminal and "TERM" in os.environ:
        env.setdefault("TERM", os.environ["TERM"])
    workdir = options.text("workdir") or record.get("workdir", "")
    user = record.get("user", "") if options.text("user") is None else options.text("user") or ""
    pid = int(record["pid"])
    code = enter.judge(f"/proc/{pid}/root", options.program[0], {**oci.ENVIRONMENT, **env}, workdir or "/")
    if code:
        word = "there is no such program" if code == enter.NOT_FOUND else "it cannot be executed"
        complain(f"container {name}: {options.program[0]}: {word}")
        return code
    asked = name, record, tuple(options.program), env, workdir, user, terminal
    if terminal and record["runtime"] == "crun":  # crun 1.8.1 itself passes no change of size on
        from . import relay

        ends, console = relay.Terminal(), f"{runtime.STATE}/console.{os.getpid()}"
        ends.console.bind(console)
        try:
            ends.console.listen(1)
            return relay.relayed(enter.exec_argv(*asked, (console, ends.size)), ends)
        finally:
            os.unlink(console)
    words = enter.exec_argv(*asked)
    if not terminal and any(os.isatty(number) for number in range(3)):  # the caller's terminal stays the caller's
        from . import relay

        return relay.relayed(words, relay.Pipes(True))
    return os.execve(words[0], words, ENVIRONMENT)
