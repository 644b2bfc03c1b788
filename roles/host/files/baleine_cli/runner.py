# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the command line runs other commands: not by subprocess, whose import costs as much as a start of crun."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Optional

from baleine.process import ENVIRONMENT, Result, keep_own

keep_own()  # what our caller left open is none of our commands' business


def run(argv: Sequence[str], stdin: str = "", env: Optional[Mapping[str, str]] = None) -> Result:
    """Run a command: no shell, a fixed environment, nothing of ours open in it.

    Its input and outputs are files in memory: nobody has to read them while it runs.

    :param stdin: its standard input; none is /dev/null.
    :param env: added to the environment.
    :raises OSError: when it cannot be executed.
    """
    with contextlib.ExitStack() as stack:
        given, out, err = (
            stack.enter_context(open(os.memfd_create("baleine"), "r+", encoding="utf-8", errors="replace"))
            for _stream in range(3)
        )
        if stdin:
            given.write(stdin)
            given.seek(0)
        source = given if stdin else stack.enter_context(open(os.devnull))
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((source, out, err))]
        default = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores these two
        words, settings = list(argv), {**ENVIRONMENT, **(env or {})}
        child = os.posix_spawnp(words[0], words, settings, file_actions=actions, setsigdef=default)
        try:
            status = os.waitpid(child, 0)[1]
        except BaseException:  # a signal that ends us
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        out.seek(0)
        err.seek(0)
        return Result(tuple(argv), os.waitstatus_to_exitcode(status), out.read(), err.read())
