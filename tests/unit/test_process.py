# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands, forked children, and whether a process is still the one that was started. On real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from baleine import process
from baleine.errors import BaleineError
from tests.lab.run import PATIENCE
from tests.unit.support import run


def raise_(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("value", [None, 0, "é", [1, {"a": None}], "x" * 1000000], ids=lambda value: str(value)[:10])
def test_a_child_returns_the_result_of_its_function(value):
    assert process.in_child(lambda: value, "trying") == value


def test_a_child_is_a_separate_process():
    assert process.in_child(os.getpid, "trying") != os.getpid()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: raise_(BaleineError("a", "b")), "a. b"),
        (lambda: raise_(OSError(28, "No space left on device", "/x")), "trying: No space left on device (/x)"),
        (lambda: raise_(ValueError("x")), "trying: ValueError: x"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "trying: killed by SIGKILL"),
        (lambda: os._exit(3), "trying: ended with code 3"),
        (lambda: os.execv("/bin/false", ["false"]), "trying: ended with code 1"),
        (lambda: os.execv("/no/such", ["x"]), "trying: No such file or directory"),
        (lambda: sys.exit(1), "trying: SystemExit: 1"),
    ],
    ids=["ours", "system", "bug", "killed", "ended", "program", "no program", "exit"],
)
def test_a_failed_child_explains_its_error(function, message):
    with pytest.raises(BaleineError) as caught:
        process.in_child(function, "trying")
    assert str(caught.value).startswith(message)


def test_a_child_that_executes_a_successful_program_returns_none():
    assert process.in_child(lambda: os.execv("/bin/true", ["true"]), "trying") is None


def ended_at(name: str, folder: Path, needs: str = "") -> Any:
    """A job that leaves a file, and answers whether the one that it needs was there."""

    def job(_answers: Any) -> bool:
        there = not needs or (folder / needs).exists()
        (folder / name).touch()
        return there

    return job


def test_a_job_starts_after_the_jobs_it_names_and_keeps_its_own_error(tmp_path):
    jobs = {
        "c": (ended_at("c", tmp_path, "b"), {"b", "wrong"}),
        "b": (ended_at("b", tmp_path, "a"), {"a"}),
        "a": (ended_at("a", tmp_path), set()),
        "wrong": (lambda _answers: raise_(BaleineError("no", "try")), set()),
        "large": (lambda _answers: "x" * 1000000, set()),
    }
    answers = process.in_turns(jobs, 2)
    assert str(answers.pop("wrong")) == "no. try"
    assert answers == {"a": True, "b": True, "c": True, "large": "x" * 1000000}
    assert process.in_turns({}, 2) == {}
    seen = process.in_turns({"a": (lambda _answers: 1, set()), "b": (dict, {"a"})}, 2)
    assert seen["b"] == {"a": 1}


def test_the_requested_number_of_jobs_runs_at_the_same_time_and_no_more():
    """Each counts the children of the one that began it, once that one sleeps: it began all that it may."""

    def job(_answers: Any) -> int:
        parent = f"/proc/{os.getppid()}"
        assert process.wait_until(lambda: "State:\tS" in Path(f"{parent}/status").read_text(), PATIENCE)
        return len(Path(f"{parent}/task/{os.getppid()}/children").read_text().split())

    counted = process.in_turns({str(number): (job, set()) for number in range(7)}, 3)
    assert max(counted.values()) == 3


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "PIPE", "USR1", "XFSZ", "TSTP"])
def test_a_child_does_not_inherit_ignored_signals(name):
    """nohup, a background job and Python itself ignore some, and a shell cannot trap what it finds ignored."""
    old = signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)
    try:
        ignored = process.in_child(lambda: signal.getsignal(getattr(signal, f"SIG{name}")).name, "trying")
    finally:
        signal.signal(getattr(signal, f"SIG{name}"), old)
    assert ignored == "SIG_DFL"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo out; echo err >&2; exit 1", "err"),
        ("echo out; exit 1", "out"),
        ("exit 4", "exit code 4 and no message"),
        ("printf '1\\n\\n 2 \\n3\\n4\\n' >&2; exit 1", "2 / 3 / 4"),
    ],
)
def test_a_failed_command_is_reported_with_its_last_output(script, said):
    result = run(["/bin/sh", "-c", script])
    assert result.said == said
    with pytest.raises(BaleineError, match=f"making x: sh says: {said}"):
        process.check(result, "making x")


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(process, "PATH", "/nowhere")
    with pytest.raises(BaleineError) as caught:
        process.need_program("mke2fs", "disk x")
    assert "disk x" in caught.value.message
    assert "e2fsprogs" in caught.value.hint


def test_a_process_is_identified_by_its_start_time_until_it_ends():
    child = subprocess.Popen(["sleep", "1000"])
    ticks = process.start_ticks(child.pid)
    assert ticks
    assert process.open_process(child.pid, ticks + 1) is None
    descriptor = process.open_process(child.pid, ticks)
    assert descriptor is not None
    assert not process.wait_ended(descriptor, 0)
    child.kill()
    assert process.wait_ended(descriptor, PATIENCE)
    assert process.start_ticks(child.pid) is None  # a zombie
    child.wait()
    os.close(descriptor)
    assert process.open_process(child.pid, ticks) is None


def test_the_start_time_is_read_even_if_the_name_has_brackets_and_spaces(tmp_path):
    path = tmp_path / "a) Z (b"
    path.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(path), "1000"])
    stat = Path(f"/proc/{child.pid}/stat")
    try:
        assert process.wait_until(lambda: ") Z (" in stat.read_text(), PATIENCE)
        assert process.start_ticks(child.pid)
    finally:
        child.kill()
        child.wait()
