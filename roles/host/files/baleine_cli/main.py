# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the command line starts: parse, call, say what went wrong."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Optional

from baleine.errors import BaleineError
from baleine.manifest import store_is_down

from .parse import Options, Usage, parse

FAILED, MISUSED, NOT_RUN, INTERRUPTED = 1, 2, 125, 130


def run() -> NoReturn:
    """Run the command of this process, and end at once: taking the interpreter apart first costs 5 ms."""
    _open_streams()
    code = main()
    with contextlib.suppress(OSError):  # whoever read our output has read enough
        sys.stdout.flush()
    os._exit(code)


def main(words: Optional[Sequence[str]] = None) -> int:
    """Run one command of the command line.

    :param words: the command's words; None takes those of the process.
    :returns: the exit code: 0, 1 (it failed), 2 (misused), or the command's own.
    """
    failed = FAILED
    try:
        command, options = parse(sys.argv[1:] if words is None else list(words))
        failed = command.failed
        if command.root and os.geteuid() != 0:
            raise BaleineError("this needs root", "Run it as root, with sudo for example")
        if command.guarded:
            _end_cleanly()
        if command.root and store_is_down():
            from baleine.store_mount import need_mounted  # needed once after a boot

            need_mounted()
        code = _call(command.handler, options)
        sys.stdout.flush()
        return code
    except Usage as error:
        complain(error.message, f"See 'baleine help{' ' if error.topic else ''}{error.topic}'")
        return MISUSED
    except BaleineError as error:
        complain(error.message, error.hint)
        return error.code if error.code and failed == NOT_RUN else failed
    except BrokenPipeError:  # whoever read our output has read enough
        return failed
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        complain(f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else ""))
        return failed


def complain(message: str, hint: str = "") -> None:
    """Write an error or a warning, and the next step on a line of its own."""
    lines = f"baleine: {message}\n{hint}".rstrip("\n").split("\n")
    print(*map(printable, lines), sep="\n", file=sys.stderr)  # others chose some of the words


def printable(text: str) -> str:
    """Return a name that somebody else chose, as a terminal may show it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _call(handler: str, options: Options) -> int:
    """Call ``module:function``; only what a command needs is imported."""
    from importlib import import_module

    module, _colon, function = handler.partition(":")
    return int(getattr(import_module(f"{__package__}.{module}"), function)(options))


def _open_streams() -> None:
    """Give the streams that the caller closed to nobody: the next file that is opened would be one of them."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")


def _end_cleanly() -> None:
    """Let a signal that ends us unwind the core, which takes away what is half made."""
    import signal

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    with contextlib.suppress(OSError):
        os.environ["PWD"] = os.getcwd()  # from where relative paths are meant
    os.chdir("/")  # the caller's directory may be gone, and no child of ours shall hold it
