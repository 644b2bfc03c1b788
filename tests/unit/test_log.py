# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs: cut from their head while they are written, positions that a cut does not move, marks of time."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from baleine import log
from baleine.errors import BaleineError

BLOCK = 4096


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(log, "LOGS", str(tmp_path))
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(log.time, "time", lambda: now[0])
    return now


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
    log.mark("web1")
    assert (log.cut("web1", 0), log.span("web1"), log.read("web1", 7), log.offset_since("web1", 0)) == (
        0, (0, 0), (7, b""), 0
    )  # fmt: skip
    assert os.listdir(logs) == []


def test_a_mark_is_made_if_the_log_grew_and_is_found_by_time(logs, clock):
    for text in ("one\n", "", "two\n", "three\n"):
        append(logs, text)
        log.mark("web1")
        clock[0] += 60
    assert (logs / "web1.marks").read_text() == "cut 0\n1000 4\n1120 8\n1180 14\n"
    assert [log.offset_since("web1", at) for at in (0, 999, 1000, 1119, 1120, 1179, 1180, 9999)] == [
        0, 0, 4, 4, 8, 8, 14, 14
    ]  # fmt: skip


def test_a_cut_drops_the_marks_of_freed_blocks(logs, clock):
    for _index in range(10):
        append(logs, "x" * BLOCK)
        log.mark("web1")
        clock[0] += 60
    log.cut("web1", BLOCK * 3)
    marks = (logs / "web1.marks").read_text().splitlines()
    assert marks[:2] == [f"cut {BLOCK * 7}", f"1360 {BLOCK * 7}"] and len(marks) == 5
    assert log.offset_since("web1", 1000) == BLOCK * 7


def test_the_number_of_marks_is_bounded(logs, clock, monkeypatch):
    monkeypatch.setattr(log, "MOST_MARKS", 10)
    for _index in range(100):
        append(logs, "x")
        log.mark("web1")
        clock[0] += 60
    positions = [int(line.split()[1]) for line in (logs / "web1.marks").read_text().splitlines()[1:]]
    assert len(positions) <= 10 and positions == sorted(positions) and positions[-4:] == [97, 98, 99, 100]


def test_a_log_emptied_by_hand_continues_at_its_offset(logs):
    append(logs, "x" * 100)
    log.mark("web1")
    os.truncate(logs / "web1.log", 0)
    append(logs, "new\n")
    log.mark("web1")
    assert log.read("web1", 100 - 4)[1] == b"new\n"
    assert log.span("web1")[1] >= 100


@pytest.mark.parametrize("text", ["", "cut\n", "\xff\xfe", "cut x\n1 2 3\nno\n5 x\n"])
def test_damaged_marks_are_ignored(logs, text):
    append(logs, "one\n")
    (logs / "web1.marks").write_bytes(text.encode("latin-1"))
    assert log.span("web1") == (0, 4)
    log.mark("web1")
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


def test_no_line_written_during_cuts_is_lost(logs):
    total = 200_000
    writer = subprocess.Popen(
        ["sh", "-c", f"i=0; while [ $i -lt {total} ]; do echo line $i; i=$((i+1)); done"],
        stdout=os.open(logs / "web1.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )
    position, numbers, rest, cuts, jumps, deadline = 0, [], b"", 0, 0, time.monotonic() + 60
    while time.monotonic() < deadline:
        ended = writer.poll() is not None
        while True:
            after, content = log.read("web1", position)
            if after - len(content) != position:  # cut before it was read: a busy machine
                content, rest, jumps = content.partition(b"\n")[2], b"", jumps + 1
            position = after
            if not content:
                break
            *lines, rest = (rest + content).split(b"\n")
            numbers += [int(line.split()[1]) for line in lines]
        if ended:
            break
        cuts += log.cut("web1", 64 << 10) > 0
    assert writer.wait() == 0 and cuts > 3
    gaps = sum(after != before + 1 for before, after in zip(numbers, numbers[1:]))
    assert numbers[0] == 0 and numbers[-1] == total - 1 and numbers == sorted(set(numbers)) and gaps <= jumps
