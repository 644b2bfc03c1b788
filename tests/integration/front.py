# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that a person runs by the command line, and a person at a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Sequence
from typing import Any

from tests.lab.host import LabHost

BALEINE = "/usr/local/bin/baleine"
RUN = ("container", "run", "--rm", "-i", "tiny")
#: An exec by crun 1.8.1 gives the terminal its size a moment after the program began. Until then busybox' stty says
#: nothing, and ends with 0.
SIZE = "until stty size 2>/dev/null | grep .; do sleep 0.1; done"
LATER = "until stty size | grep '40 120'; do sleep 0.1; done"


class Typist:
    """A person at a terminal of rows x columns, who runs one command in a lab host."""

    def __init__(self, lab: LabHost, words: Sequence[str], rows: int = 33, columns: int = 101) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        # setsid -c: the terminal becomes the controlling one, so that its keys are signals
        self.process = lab.popen(["setsid", "-cw", BALEINE, *words], stdin=slave, stdout=slave, stderr=slave)
        self.slave = slave
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def sees(self, text: str, seconds: float = 60) -> None:
        """Wait for text that was not seen by an earlier call."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"{text!r} does not come; seen: {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def ends(self) -> int:
        """Wait for the end; the terminal must be as it was before."""
        code = self.process.wait(timeout=120)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.slave)
        os.close(self.master)
        return code


def create_running(baleine: Any) -> str:
    """Create a container that runs until it is stopped; returns its name."""
    words = ("-c", "web", "-i", "tiny", "-e", "OWN=1", "-p", "sleep 1000", "--pids", "50")
    baleine("container", "create", *words)
    return "web"


def remove_all(baleine: Any) -> None:
    """Remove every container."""
    names = baleine("container", "list", "-aq").stdout.split()
    if names:
        baleine("container", "remove", "-f", *names)
