# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a program inside and the caller: nothing of the caller's own reaches a container."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from typing import Any, Callable, Optional

from baleine.process import empty

CHUNK = 1 << 16
PASSED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
Given = tuple[tuple[int, int, int], Any, Optional[dict[str, int]]]


class Ends:
    """A program's input and outputs: pipes, or a terminal of its own that the runtime makes inside.

    :param interactive: our standard input goes to it; otherwise it has nothing to read.
    :ivar given: what the program is given: three descriptors, the socket and the size of its terminal, as launch.Stdio.
    """

    def __init__(self, terminal: bool, interactive: bool) -> None:
        self.interactive, self.own = interactive, next((number for number in range(3) if os.isatty(number)), -1)
        if terminal:
            import socket

            columns, rows = os.get_terminal_size(self.own) if self.own >= 0 else (80, 24)
            self.console = socket.socket(socket.AF_UNIX)
            self.given: Given = ((0, 0, 0), self.console, {"height": rows, "width": columns})
            return
        given, self.taken = os.pipe() if interactive else (empty(), -1)
        out, err = os.pipe(), os.pipe()
        self.outputs, self.given = {out[0]: 1, err[0]: 2}, ((given, out[1], err[1]), None, None)

    def attend(self, child: int, tell: Callable[[int, int], None], log: int = -1) -> int:
        """Be the front of a child of ours until it has ended, and return its exit code as shells have it.

        :param tell: is given its pidfd and a signal to pass on; :param log: also gets what it writes.
        """
        ended = os.pidfd_open(child)

        def handle(number: int, _frame: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                tell(ended, number)

        for number in PASSED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handle)
        with self._terminal(ended) if self.given[1] else contextlib.nullcontext():
            for end in self.given[0] if not self.given[1] else ():
                os.close(end)
            carry(ended, self.outputs, self.taken, log)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code if code >= 0 else 128 - code

    @contextlib.contextmanager
    def _terminal(self, ended: int) -> Iterator[None]:
        """Take the other end of the program's terminal; the caller's passes every key on meanwhile, and its size."""
        import fcntl
        import socket
        import termios
        import tty

        self.outputs, self.taken = {}, -1
        if self.console.fileno() not in select.select([self.console.fileno(), ended], [], [])[0]:
            yield  # the runtime ended before it made one
            return
        with self.console.accept()[0] as sender:
            master = socket.recv_fds(sender, 1, 1)[1][0]
        self.outputs = {master: 1}

        def resize(*_: object) -> None:
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(self.own, termios.TIOCGWINSZ, bytes(8)))

        if self.own >= 0:
            signal.signal(signal.SIGWINCH, resize)
            resize()
        before = termios.tcgetattr(0) if self.interactive else None
        try:
            if before is not None:
                self.taken = os.dup(master)
                tty.setraw(0)
            yield
        finally:
            if before is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, before)


def carry(ended: int, outputs: dict[int, int], taken: int, log: int) -> None:
    """Carry bytes until a process has ended and all that it wrote is where it shall be.

    Where nobody reads what it writes any more, its next line meets a closed pipe, as it would without us.

    :param ended: its pidfd; :param outputs: for each descriptor that it writes to, where that goes.
    :param taken: where our standard input goes; -1 is nowhere; :param log: also gets what it writes.
    """
    pending, alive = b"", True
    for descriptor in outputs if taken < 0 else (taken, *outputs):
        os.set_blocking(descriptor, False)
    while alive or outputs:
        own = [ended, *([0] if taken >= 0 and not pending else [])] if alive else []
        wanted = [taken] if alive and pending else []
        ready, writable, _none = select.select([*own, *outputs], wanted, [], None if alive else 0)
        alive = alive and ended not in ready
        for source in [source for source in outputs if source in ready or not alive]:
            data = _read(source)
            write_all(log, data or b"")  # a full disk stops no program
            if (data is not None or not alive) and not (data and write_all(outputs[source], data)):
                os.close(source)
                del outputs[source]
        if writable:
            pending = pending[_give(taken, pending) :]
        elif 0 in ready:
            data = _read(0)
            pending = data or b""
            if data == b"":
                os.close(taken)
                taken = -1


def _read(descriptor: int) -> Optional[bytes]:
    """Return what can be read now: nothing at the end, None where there is nothing yet."""
    try:
        return os.read(descriptor, CHUNK)
    except BlockingIOError:
        return None
    except OSError:  # EIO: the last one who had the terminal is gone (pty(7))
        return b""


def write_all(descriptor: int, data: bytes) -> bool:
    """Write everything; False where nobody reads it any more."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # whose end it is may have made it so
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True


def _give(descriptor: int, data: bytes) -> int:
    """Return how many bytes could be written; a program that reads no more takes all of them."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError:
        return len(data)
