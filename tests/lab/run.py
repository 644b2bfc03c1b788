# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of a test run, commands with a bounded life, and the sweep of what a killed run left."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from . import cgroups

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = Path(os.environ.get("BALEINE_TEST_WORK", "/var/tmp/baleine-lab"))
CACHE = Path(os.environ.get("BALEINE_TEST_CACHE", "~/.cache/baleine-tests")).expanduser()
#: Seconds for what takes a moment: a machine whose cores and disk others use too may be away for as long.
PATIENCE = 60.0
#: Seconds that a command may take, for the same reason.
LONGEST = 300.0
CLEAN_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
}


#: What run_id() gives.
RUN = re.compile(r"\d+-\d+")


class LabError(Exception):
    """The laboratory itself cannot do what was asked."""


class CommandFailed(subprocess.CalledProcessError):
    """A command ended with another code than 0; says what it printed."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def start_time(pid: int | str) -> str:
    """Field 22 of /proc/PID/stat (proc(5)): with the pid, the identity of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def run_id() -> str:
    """The name of this test run: its process and that process's start time."""
    return f"{os.getpid()}-{start_time('self')}"


@functools.cache
def _hold(run: str) -> int:
    """Lock BASE/RUN.lock for the life of this process: what tells other runs (in any pid namespace) that it lives."""
    path = BASE / f"{run}.lock"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                atexit.register(path.unlink, missing_ok=True)
                return descriptor
        os.close(descriptor)  # a sweep had taken the file in between


def run_folder() -> Path:
    """This run's work folder, on a disk."""
    folder = BASE / run_id()
    if not folder.is_dir():
        if os.geteuid() != 0:
            raise LabError("the test laboratory makes namespaces and mounts: run the integration tests as root")
        BASE.mkdir(mode=0o755, parents=True, exist_ok=True)
        _hold(run_id())
        sweep()
        folder.mkdir(mode=0o755)
    return folder


def alive(run: str) -> bool:
    """Whether a run's process still holds its lock."""
    try:
        with (BASE / f"{run}.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sweep() -> None:
    """Remove folders, loop devices and cgroups of runs whose process is dead (a killed pytest)."""
    from . import loops

    entries = [entry.name.removesuffix(".lock") for entry in BASE.iterdir()] if BASE.is_dir() else []
    runs = {name for name in entries if RUN.fullmatch(name)}
    trees = cgroups.subtrees()
    for dead in {run for run in {*runs, *(tree.rpartition(".")[2] for tree in trees)} if not alive(run)}:
        for loop in loops.below(BASE / dead):
            loops.detach(loop)
        shutil.rmtree(BASE / dead, ignore_errors=True)
        for tree in trees:
            if tree.endswith(f".{dead}"):
                cgroups.remove(tree, timeout=0)
        (BASE / f"{dead}.lock").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on a file while the block runs; yields whether it was got."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def wait_for(condition: Callable[[], Any], timeout: float = PATIENCE, interval: float = 0.01) -> Any:
    """Call condition until it is true; returns its last value, true or not.

    interval: the seconds between two calls; at least as long as a call takes, since what is waited for needs the processor too.
    """
    end = time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        value = condition()
        now = time.monotonic()
        if value or now >= end:
            return value
        time.sleep(max(interval, now - begun))


def tool(name: str) -> str:
    """The full path of a program of the machine."""
    path = shutil.which(name, path=CLEAN_ENV["PATH"])
    if path is None:
        raise LabError(f"the test laboratory needs the program {name}, which this machine lacks")
    return path


def dying(argv: Sequence[str]) -> list[str]:
    """The same command, but killed when the process that starts it dies."""
    return [tool("setpriv"), "--pdeathsig", "KILL", "--", *argv]


def start(argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Popen in a session of its own (so that it can be killed as a whole), text, stdin closed unless given."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "text": True, "start_new_session": True, **options}
    return subprocess.Popen(list(argv), env=CLEAN_ENV if env is None else dict(env), **settings)


def finish(
    process: subprocess.Popen[str],
    *,
    timeout: float,
    check: bool,
    input: str | None = None,
    shown: Sequence[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Wait for a process of start(); on a timeout kill its session and raise TimeoutExpired."""
    argv = list(shown if shown is not None else cast("list[str]", process.args))
    stdout: str | None
    stderr: str | None
    try:
        stdout, stderr = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            stdout, stderr = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:  # a daemon of the command holds the pipes
            stdout, stderr = (
                text.decode(errors="replace") if isinstance(text, bytes) else text
                for text in (late.stdout, late.stderr)
            )
            process.wait()
        raise subprocess.TimeoutExpired(argv, timeout, stdout, stderr) from None
    if check and process.returncode != 0:
        raise CommandFailed(process.returncode, argv, stdout, stderr)
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)


def machine(
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    timeout: float = LONGEST,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program of the machine in the machine's own world."""
    process = start(
        [tool(argv[0]), *argv[1:]],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
    )
    return finish(process, timeout=timeout, check=check, input=input)


def fetch(argv: Sequence[str], folder: Path) -> None:
    """Run a command that fills a folder with what it fetches, anew where a mirror failed it."""
    for attempt in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if machine(argv, check=attempt == 2, timeout=1200).returncode == 0:
            return


class Boot:
    """A PID 1 made by boot.py, and the guard process outside that waits for it."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.file = folder / "boot.json"
        self.file.write_text(json.dumps(config))
        program = [sys.executable, "-IS", str(Path(__file__).with_name("boot.py")), str(self.file)]
        self.guard = start(dying(program), stdout=subprocess.PIPE)
        self.pid = 0
        assert self.guard.stdout is not None
        report = self.guard.stdout.read()
        for line in report.splitlines():
            word, _space, rest = line.partition(" ")
            if word == "pid":
                self.pid = int(rest)
        if "ready" not in report.split() or not self.pid:
            self.guard.kill()
            self.guard.wait()
            raise LabError(f"a lab host did not start: {report.strip() or 'its PID 1 died'}")

    def stop(self) -> None:
        """Kill PID 1, and with it everything in its pid namespace; returns when all of it is gone."""
        if self.guard.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.guard.wait(timeout=LONGEST)
        if self.guard.stdout is not None:
            self.guard.stdout.close()
