# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the command line runs other commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from baleine.process import ENVIRONMENT, Result


def run(argv: Sequence[str], stdin: str = "", env: Optional[Mapping[str, str]] = None) -> Result:
    """Run a command: no shell, a fixed environment, nothing of ours open in it.

    :param stdin: its standard input; none is /dev/null.
    :param env: added to the environment.
    """
    import subprocess  # half of our start-up time: only where a command is run

    done = subprocess.run(
        list(argv),
        env={**ENVIRONMENT, **(env or {})},
        stdin=None if stdin else subprocess.DEVNULL,
        input=stdin or None,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        close_fds=True,
        check=False,
    )
    return Result(tuple(argv), done.returncode, done.stdout, done.stderr)
