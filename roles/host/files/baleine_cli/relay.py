# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a program inside and the caller: nothing of the caller's own reaches a container."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator, Sequence
from typing import Callable, Optional, Union

from baleine.process import ENVIRONMENT

CHUNK = 1 << 16
PASSED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


Ways = tuple[dict[int, int], int]


class Pipes:
    """A program's input and outputs as pipes; without ``interactive`` its input is /dev/null.

    :ivar given: what the program is given.
    """

    def __init__(self, interactive: bool) -> None:
        given, self.taken = os.pipe() if interactive else (os.open(os.devnull, os.O_RDONLY), -1)
        out, err = os.pipe(), os.pipe()
        self.outputs = {out[0]: 1, err[0]: 2}
        self.given = ((given, out[1], err[1]),)

    @contextlib.contextmanager
    def opened(self, _interactive: bool, _ended: int) -> Iterator[Ways]:
        """Give where the program's outputs are read and go, and where its input is written (-1: nowhere)."""
        for end in self.given[0]:
            os.close(end)
        yield self.outputs, self.taken


class Terminal:
    """A program's input and outputs as a terminal of its own, which the runtime makes inside; see :class:`Pipes`."""

    def __init__(self) -> None:
        import socket

        self.own = next((number for number in (0, 1, 2) if os.isatty(number)), -1)
        self.console = socket.socket(socket.AF_UNIX)
        columns, rows = os.get_terminal_size(self.own) if self.own >= 0 else (80, 24)
        self.size = {"height": rows, "width": columns}
        self.given = ((0, 0, 0), self.console, self.size)

    @contextlib.contextmanager
    def opened(self, interactive: bool, ended: int) -> Iterator[Ways]:
        """As :meth:`Pipes.opened`; the caller's terminal passes every key on meanwhile, and its size."""
        import fcntl
        import socket
        import termios
        import tty

        if self.console.fileno() not in select.select([self.console.fileno(), ended], [], [])[0]:
            yield {}, -1  # the runtime ended before it made one
            return
        with self.console.accept()[0] as sender:
            master = socket.recv_fds(sender, 1, 1)[1][0]

        def resize(*_: object) -> None:
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(self.own, termios.TIOCGWINSZ, bytes(8)))

        if self.own >= 0:
            signal.signal(signal.SIGWINCH, resize)
            resize()
        if not interactive:
            yield {master: 1}, -1
            return
        before = termios.tcgetattr(0)
        try:
            tty.setraw(0)
            yield {master: 1}, os.dup(master)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def relayed(words: Sequence[str], ends: Union[Pipes, Terminal]) -> int:
    """Run a command behind pipes or a terminal, and return its exit code."""
    actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends.given[0])]
    ended = os.pidfd_open(os.posix_spawn(words[0], [*words], ENVIRONMENT, file_actions=actions, setpgroup=0))
    pass_signals(lambda number: signal.pidfd_send_signal(ended, number))
    with ends.opened(True, ended) as (outputs, taken):
        carry(ended, outputs, taken)
    return exit_code(ended)


def pass_signals(tell: Callable[[int], None]) -> None:
    """From now on a signal that would end us is told to somebody else; one that is ignored stays so."""

    def handle(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            tell(number)

    for number in PASSED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def exit_code(ended: int) -> int:
    """Return the exit code, as shells have it, of a child that has ended; by its pidfd."""
    found = os.waitid(os.P_PIDFD, ended, os.WEXITED)
    if found is None:
        return 0
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status


def carry(ended: int, outputs: dict[int, int], taken: int = -1, log: int = -1) -> None:
    """Carry bytes until a process has ended and all that it wrote is where it shall be.

    Where nobody reads what it writes any more, its next line meets a closed pipe, as it would without us.

    :param ended: its pidfd; :param outputs: for each descriptor that it writes to, where that goes.
    :param taken: where our standard input goes; -1 is nowhere; :param log: also gets what it writes.
    """
    pending, alive = b"", True
    for descriptor in outputs if taken < 0 else (taken, *outputs):
        os.set_blocking(descriptor, False)
    while alive or outputs:
        poll = select.poll()
        for descriptor in (ended, *outputs) if alive else outputs:
            poll.register(descriptor, select.POLLIN)
        if alive and taken >= 0:
            poll.register(*((taken, select.POLLOUT) if pending else (0, select.POLLIN)))
        ready = [descriptor for descriptor, _event in poll.poll(None if alive else 0)]
        alive = alive and ended not in ready
        for source in [source for source in outputs if source in ready or not alive]:
            data = _read(source)
            if data and log >= 0:
                with contextlib.suppress(OSError):  # a full disk stops no program
                    write_all(log, data)
            if (data is not None or not alive) and not (data and write_all(outputs[source], data)):
                os.close(source)
                del outputs[source]
        if pending and taken in ready:
            pending = pending[_give(taken, pending) :]
        elif not pending and taken >= 0 and 0 in ready:
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
