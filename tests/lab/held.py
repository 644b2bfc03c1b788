# SPDX-License-Identifier: GPL-3.0-or-later
"""A command of the product that waits at one of its steps, so that a test can do something meanwhile."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from . import run
from .guest import Guest
from .host import LabHost


class Held:
    """A command that has reached a step (``process.fault``) and waits there; a context manager that lets it go on.

    :raises AssertionError: when the command ends without coming to that step.
    """

    def __init__(self, machine: LabHost | Guest, argv: Sequence[str], step: str) -> None:
        self.machine = machine
        self.pipe = f"/tmp/held-{uuid.uuid4().hex}"
        machine.run(["mkfifo", self.pipe])
        self.command = machine.popen(
            argv,
            env={"BALEINE_FAULT": f"{step}:wait:{self.pipe}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        # The shell can open the pipe for writing only once the command reads it.
        self.gate = machine.popen(
            ["sh", "-c", f"exec 3>{self.pipe}; echo reached; read -r _line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        run.wait_for(lambda: self._reached() or self.command.poll() is not None, run.LONGEST)
        if not self._reached():
            os.killpg(self.gate.pid, signal.SIGKILL)
            said = self.command.communicate()[0] if self.command.poll() is not None else ""
            raise AssertionError(f"{list(argv)} did not come to the step {step}: {said}")

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.command.returncode is None:
            self.go_on()

    def _reached(self) -> bool:
        assert self.gate.stdout is not None
        return bool(select.select([self.gate.stdout], [], [], 0)[0])

    def go_on(self) -> tuple[int, str]:
        """Let it go on, and return its code and its words when it has ended."""
        self.machine.run(["rm", self.pipe])  # the same step may come again
        self.gate.communicate(timeout=run.LONGEST)
        words = self.command.communicate(timeout=run.LONGEST)[0]
        return self.command.returncode, words

    def lose(self) -> None:
        """Forget it: its machine has lost its power."""
        for process in (self.gate, self.command):
            process.communicate(timeout=run.LONGEST)


def waiting_for(path: Path) -> int:
    """How many wait for the flock(2) of a file."""
    found = os.stat(path)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    return len(re.findall(rf"->.* {device}:{found.st_ino} ", Path("/proc/locks").read_text()))
