# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs: cut from their head while they are written, positions that a cut does not move, marks of time."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baleine import log
from baleine.errors import BaleineError
from baleine.process import wait_until
from baleine.rootfs import fallocate
from tests.lab.run import PATIENCE

BLOCK = 4096


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(log, "LOGS", str(tmp_path))
    return tmp_path


def append(logs: Path, text: str) -> None:
    with open(logs / "web1.log", "a") as stream:
        stream.write(text)


def test_a_cut_frees_whole_blocks_and_moves_no_offset(logs):
    append(logs, "".join(f"{index:09}\n" for index in range(5000)))
    assert log.cut("web1", 60_000) == 0
    assert log.cut("web1", 10_000) == 10 * BLOCK
    assert os.stat(logs / "web1.log").st_size == 50_000 - 10 * BLOCK
    assert log.span("web1") == (10 * BLOCK, 50_000)
    assert log.read("web1", 0, 10) == (10 * BLOCK + 10, b"000004096\n")
    assert log.read("web1", 49_990) == (50_000, b"000004999\n")
    assert log.read("web1", 50_000) == (50_000, b"")
    append(logs, "x" * BLOCK * 4)
    assert log.cut("web1", 10_000) == 4 * BLOCK
    assert log.span("web1")[0] == 14 * BLOCK


def test_the_last_block_is_never_freed(logs):
    append(logs, "x" * BLOCK * 3)
    assert log.cut("web1", 0) == 2 * BLOCK
    assert os.stat(logs / "web1.log").st_size == BLOCK


def test_a_missing_log_is_empty(logs):
    log.mark("web1", 1000)
    assert (log.cut("web1", 0), log.span("web1"), log.read("web1", 7), log.offset_since("web1", 0)) == (
        0, (0, 0), (7, b""), 0
    )  # fmt: skip
    assert os.listdir(logs) == []


def test_a_mark_is_made_if_the_log_grew_and_is_found_by_time(logs):
    for minute, text in enumerate(("one\n", "", "two\n", "three\n")):
        append(logs, text)
        log.mark("web1", 1000.9 + 60 * minute)
    assert (logs / "web1.marks").read_text() == "cut 0\n1000 4\n1120 8\n1180 14\n"
    assert [log.offset_since("web1", at) for at in (0, 999, 1000, 1119, 1120, 1179, 1180, 9999)] == [
        0, 0, 4, 4, 8, 8, 14, 14
    ]  # fmt: skip


def test_a_cut_drops_the_marks_of_freed_blocks(logs):
    for minute in range(10):
        append(logs, "x" * BLOCK)
        log.mark("web1", 1000 + 60 * minute)
    log.cut("web1", BLOCK * 3)
    marks = (logs / "web1.marks").read_text().splitlines()
    assert marks[:2] == [f"cut {BLOCK * 7}", f"1360 {BLOCK * 7}"] and len(marks) == 5
    assert log.offset_since("web1", 1000) == BLOCK * 7


def test_the_number_of_marks_is_bounded(logs, monkeypatch):
    monkeypatch.setattr(log, "MOST_MARKS", 10)
    for minute in range(100):
        append(logs, "x")
        log.mark("web1", 1000 + 60 * minute)
    positions = [int(line.split()[1]) for line in (logs / "web1.marks").read_text().splitlines()[1:]]
    assert len(positions) <= 10 and positions == sorted(positions) and positions[-4:] == [97, 98, 99, 100]


def test_a_log_emptied_by_hand_continues_at_its_offset(logs):
    append(logs, "x" * 100)
    log.mark("web1", 1000)
    os.truncate(logs / "web1.log", 0)
    append(logs, "new\n")
    log.mark("web1", 1000)
    assert log.read("web1", 100 - 4)[1] == b"new\n"
    assert log.span("web1")[1] >= 100


@pytest.mark.parametrize("text", ["", "cut\n", "\xff\xfe", "cut x\n1 2 3\nno\n5 x\n"])
def test_damaged_marks_are_ignored(logs, text):
    append(logs, "one\n")
    (logs / "web1.marks").write_bytes(text.encode("latin-1"))
    assert log.span("web1") == (0, 4)
    log.mark("web1", 1000)
    assert (logs / "web1.marks").read_text().startswith("cut 0\n")


def test_a_hole_is_punched_if_blocks_cannot_be_removed(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # tmpfs has no COLLAPSE_RANGE
        monkeypatch.setattr(log, "LOGS", folder)
        Path(folder, "web1.log").write_bytes(b"x" * BLOCK * 10 + b"the end\n")
        assert log.cut("web1", BLOCK * 2) == BLOCK * 9
        assert log.cut("web1", BLOCK * 2) == 0
        assert os.stat(f"{folder}/web1.log").st_size == BLOCK * 10 + 8
        assert log.span("web1") == (BLOCK * 9, BLOCK * 10 + 8)
        assert log.read("web1", 0) == (BLOCK * 10 + 8, b"x" * BLOCK + b"the end\n")


def test_a_filesystem_without_fallocate_is_an_error(logs, monkeypatch):
    def refuse(*_arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    append(logs, "x" * BLOCK * 10)
    monkeypatch.setattr(log, "fallocate", refuse)
    with pytest.raises(BaleineError, match=r"log .*web1.log: Operation not supported"):
        log.cut("web1", BLOCK)
    assert log.span("web1") == (0, BLOCK * 10)


class Writer:
    """A process that writes numbered lines to the log, a batch each time that it is allowed one."""

    BATCH = 1000
    SCRIPT = (
        "i=0; while read _allowed; do "
        f"end=$((i + {BATCH})); while [ $i -lt $end ]; do echo line $i; i=$((i + 1)); done; done"
    )

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowed = 0
        with open(path, "ab") as stream:
            self.process = subprocess.Popen(["sh", "-c", self.SCRIPT], stdin=subprocess.PIPE, stdout=stream)

    def begin_batch(self) -> None:
        """Let it write a batch; returns while it is at it, with some of its lines written."""
        before = os.stat(self.path).st_size
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), b"go\n")
        self.allowed += self.BATCH
        assert wait_until(lambda: os.stat(self.path).st_size > before, PATIENCE, 0)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


@pytest.fixture
def writer(logs: Path) -> Iterator[Writer]:
    made = Writer(logs / "web1.log")
    yield made
    made.process.kill()
    made.process.wait()


def test_no_line_is_lost_that_is_written_during_cuts(logs, writer, monkeypatch):
    """In each cut lines are written after it measured the log, and again before it lets the log go."""
    seen, cuts = Numbers("web1"), 0

    def fallocate_during_writes(*arguments: Any) -> None:
        writer.begin_batch()
        fallocate(*arguments)
        writer.begin_batch()

    monkeypatch.setattr(log, "fallocate", fallocate_during_writes)
    while cuts < 50:
        writer.begin_batch()
        cuts += log.cut("web1", 64 << 10) > 0  # more than three batches: only what was seen is taken
        assert wait_until(lambda: seen.count() == writer.allowed, PATIENCE)
    assert writer.end() == 0
    assert seen.count() == writer.allowed and seen.numbers == list(range(writer.allowed))


class Numbers:
    """The numbers of all lines of a log, read on from where the last look ended."""

    def __init__(self, name: str) -> None:
        self.name, self.position, self.rest = name, 0, b""
        self.numbers: list[int] = []

    def count(self) -> int:
        """Read what has come since the last look; returns how many lines were seen by now."""
        content = b"any"
        while content:
            self.position, content = log.read(self.name, self.position)
            *lines, self.rest = (self.rest + content).split(b"\n")
            self.numbers += [int(line.split()[1]) for line in lines]
        return len(self.numbers)
