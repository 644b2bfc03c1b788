# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""External commands, forked children, and whether a process is still the one that was started."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable, NamedTuple, NoReturn, Optional, Protocol

from .errors import BaleineError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What every command starts with, whatever called us (cron, sudo, a terminal).
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}
#: The process of the command or module, also in what it forks.
COMMAND = os.getpid()
#: The Debian package that brings a command, for hints.
PACKAGES = {
    "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "resize2fs": "e2fsprogs",
    "crun": "crun", "runc": "runc", "ip": "iproute2", "tc": "iproute2", "nsenter": "util-linux",
    "busybox": "busybox-static", "rpmkeys": "rpm", "mkfs.xfs": "xfsprogs",
    "cron": "cron", "zstd": "zstd", "gpg": "gpg", "gpgv": "gpgv", "tar": "tar", "apparmor_parser": "apparmor",
}  # fmt: skip
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Result(NamedTuple):
    """What a command left: its exit code and both outputs as text."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last words of a command, for an error message."""
        text = self.err.strip() or self.out.strip()  # it may name what somebody else chose: no escapes to a terminal
        lines = ["".join(c for c in line if c.isprintable()).strip() for line in text.splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or f"exit code {self.code} and no message"


class Runner(Protocol):
    """The front's way of running a command: a list of words, standard input as text, extra environment."""

    def __call__(self, argv: Sequence[str], stdin: str = "", env: Optional[Mapping[str, str]] = None) -> Result: ...


def find_program(name: str) -> Optional[str]:
    """Return the path of a program on the fixed search path, or None."""
    paths = (os.path.join(folder, name) for folder in PATH.split(":"))
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def need_program(name: str, purpose: str) -> str:
    """Return the path of a program.

    :raises BaleineError: naming the package that brings it.
    """
    path = find_program(name)
    if path is None:
        raise BaleineError(
            f"{purpose}: the program {name} is not on this host",
            f"Install the package {PACKAGES.get(name, name)}, or run the host role",
        )
    return path


def check(result: Result, attempt: str, hint: str = "") -> Result:
    """Return the result of a command that succeeded.

    :param attempt: what was attempted, on which object.
    :raises BaleineError: with the command's last words.
    """
    if result.code != 0:
        raise BaleineError(f"{attempt}: {os.path.basename(result.argv[0])} says: {result.said}", hint)
    return result


def fault(step: str) -> None:
    """Kill or hold up the command at the step that ``BALEINE_FAULT`` names, so that a test can stop it anywhere.

    ``STEP`` kills the command with SIGKILL. ``STEP:wait:PIPE`` waits until somebody has opened the named pipe
    ``PIPE`` for writing and closed it again; a pipe that does not exist holds up nothing.
    """
    name, _separator, pipe = os.environ.get("BALEINE_FAULT", "").partition(":wait:")
    if name != step:
        return
    if pipe:
        with contextlib.suppress(FileNotFoundError), open(pipe, "rb") as stream:
            stream.read()
        return
    import signal

    os.kill(COMMAND, signal.SIGKILL)
    signal.pause()  # a child that dies with it


def in_child(function: Callable[[], Any], attempt: str) -> Any:
    """Run a function in a forked child and return what it returns; see :func:`begin_child`."""
    return begin_child(function, attempt)()


def begin_child(function: Callable[[], Any], attempt: str) -> Callable[[], Any]:
    """Begin to run a function in a forked child; what comes back waits, and returns what it does (as JSON carries it).

    The child dies with its parent (``PR_SET_PDEATHSIG``, prctl(2)), so that a killed module leaves nothing running.
    A function that ends in ``execve`` gives None when the program ends with 0.

    :raises BaleineError: the child's own, or one that names ``attempt`` and how the child ended.
    """
    child, read_end = _fork(function, attempt)
    return lambda: _answer(child, read_end, attempt)


def side_by_side(jobs: Mapping[str, Callable[[], Optional[str]]], seconds: float) -> dict[str, Optional[str]]:
    """Run functions at the same time, each in a forked child; one that failed, or took too long, answers with why."""
    end = time.monotonic() + seconds
    children = {name: _fork(job, name) for name, job in jobs.items()}
    answers: dict[str, Optional[str]] = {}
    for name, (child, read_end) in children.items():
        if not wait_ended(read_end, end - time.monotonic()):
            os.kill(child, 9)
        try:
            answers[name] = _answer(child, read_end, f"{seconds:g} s were not enough")
        except BaleineError as error:
            answers[name] = str(error)
    return answers


def in_turns(jobs: Mapping[str, tuple[Callable[[Mapping[str, Any]], Any], set[str]]], at_once: int) -> dict[str, Any]:
    """Run functions in forked children, ``at_once`` at a time, each once those that it names have ended.

    :param jobs: functions, which are given the answers so far, and the names that each waits for.
    :returns: what each returned, or its BaleineError.
    """
    import select

    answers: dict[str, Any] = {}
    running: dict[int, tuple[str, int]] = {}
    waiting = dict(jobs)
    while waiting or running:
        ready = [name for name, (_job, after) in waiting.items() if after <= set(answers)]
        for name in ready[: at_once - len(running)]:
            child, read_end = _fork(partial(waiting.pop(name)[0], answers), name)
            running[read_end] = name, child
        poll = select.poll()
        for read_end in running:
            poll.register(read_end, select.POLLIN)
        for read_end, _event in poll.poll():
            name, child = running.pop(read_end)
            try:
                answers[name] = _answer(child, read_end, name)
            except BaleineError as error:
                answers[name] = error
    return answers


def _fork(function: Callable[[], Any], attempt: str) -> tuple[int, int]:
    """Run a function in a child; returns its pid and where its answer is read."""
    read_end, write_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _child(function, attempt, write_end, parent)
    os.close(write_end)
    return child, read_end


def _answer(child: int, read_end: int, attempt: str) -> Any:
    with os.fdopen(read_end, "rb") as pipe:
        payload = pipe.read()
    status = os.waitpid(child, 0)[1]
    if payload:
        answer = json.loads(payload)
        if "error" in answer:
            raise BaleineError(*answer["error"])
        return answer["value"]
    if status != 0:
        raise BaleineError(f"{attempt}: {describe_status(status)}")
    return None


def _child(function: Callable[[], Any], attempt: str, write_end: int, parent: int) -> NoReturn:
    import signal

    die_with_parent()
    if os.getppid() not in (parent, 0):  # it was killed before that; 0 is a parent in another PID namespace
        os._exit(1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # an ignored one would stay so in the container's program
    try:
        answer = {"value": function()}
    except BaleineError as error:
        answer = {"error": (error.message, error.hint, error.code)}
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        answer = {"error": (f"{attempt}: {error.strerror}{where}", "")}
    except BaseException as error:  # the child must never run on into the caller's code
        answer = {"error": (f"{attempt}: {type(error).__name__}: {error}", "This is a bug of Baleine")}
    os.write(write_end, json.dumps(answer).encode())
    os._exit(1 if "error" in answer else 0)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_own() -> None:
    """Let no program that is executed from now on inherit what is open here, but the standard streams."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.set_inheritable(number, False)


def empty() -> int:
    """Return a descriptor that has nothing to read: a pipe, for crun gives what a container reads from to its root.

    With /dev/null itself, that root could change the mode of the host's own.
    """
    descriptor, other = os.pipe()
    os.close(other)
    return descriptor


def become_reaper() -> None:
    """Let descendants whose parent ends become our children: what they end with is then ours to know (prctl(2))."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def describe_status(status: int) -> str:
    """Say in words how a child ended, from a wait(2) status."""
    if os.WIFSIGNALED(status):
        import signal

        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with code {os.WEXITSTATUS(status)}"


def read(path: str) -> Optional[str]:
    """Return what a file of the kernel's or of the host's holds, or None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return None


def boot_id() -> str:
    """Return the kernel's identifier of this boot (random(4))."""
    return read("/proc/sys/kernel/random/boot_id") or ""


def start_ticks(pid: int) -> Optional[int]:
    """Return when a process started, in clock ticks after boot (field 22 of /proc/PID/stat, proc(5)).

    None where there is no such process or only its zombie.
    """
    fields = (read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return None if not fields or fields[0] in "ZX" else int(fields[19])


def running_seconds(ticks: int) -> float:
    """Return for how many seconds a process that started at ``ticks`` has been running."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def open_process(pid: int, ticks: int) -> Optional[int]:
    """Return a pidfd (Linux 5.3) of exactly this process, or None when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_ticks(pid) != ticks:
        os.close(descriptor)
        return None
    return descriptor


def wait_ended(descriptor: int, seconds: float) -> bool:
    """Wait until the process of a pidfd has ended, or a pipe answers; False when none does within ``seconds``."""
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0, int(seconds * 1000))))


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = 0.01) -> bool:
    """Ask until something is true that the kernel tells nobody about; False after ``seconds``."""
    import select

    pause = select.poll()
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        pause.poll(int(interval * 1000))
    return True


def send_signal(pid: int, descriptor: int, number: int) -> None:
    """Send a signal to the first process of a container and so to its program; one that has ended is no error.

    PID 1 passes it on, but where the program has a terminal: there it waits for it in the foreground (pid1.py).

    :param descriptor: a pidfd of the process.
    """
    import signal

    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(descriptor, number)
        if number == signal.SIGKILL or not os.readlink(f"/proc/{pid}/fd/0").startswith("/dev/pts/"):
            return
        for child in _children(pid):
            other = os.pidfd_open(child)
            if child in _children(pid):  # so this is no later owner of its number
                signal.pidfd_send_signal(other, number)
            os.close(other)


def _children(pid: int) -> list[int]:
    return [int(word) for word in (read(f"/proc/{pid}/task/{pid}/children") or "").split()]


def handles_signal(pid: int, number: int) -> bool:
    """Say whether a process catches or blocks a signal (proc(5), SigCgt and SigBlk), or has ended."""
    status = read(f"/proc/{pid}/status")
    lines = [line for line in (status or "").splitlines() if line.startswith(("SigCgt:", "SigBlk:"))]
    return status is None or any(int(line.split()[1], 16) >> (number - 1) & 1 for line in lines)
