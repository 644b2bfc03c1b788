# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as people write them, the last lines of a log, filters, and bytes carried between descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from baleine import log
from baleine_cli import containers, relay, watch
from baleine_cli.parse import Options, Usage


@pytest.mark.parametrize(("text", "ago"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("0s", 0)])
def test_a_duration_is_a_time_in_the_past(text: str, ago: int) -> None:
    assert watch.moment(text, "", 1769864709.5) == 1769864709.5 - ago


@pytest.mark.parametrize("text", ["2026-01-31T13:05:09Z", "2026-01-31T14:05:09+01:00", "2026-01-31 13:05:09+00:00"])
def test_a_time_is_read_as_iso_8601(text: str) -> None:
    assert watch.moment(text, "", now=0) == 1769864709


@pytest.mark.parametrize("text", ["", "soon", "10", "m", "10w", "2026-13-01"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="--since"):
        watch.moment(text, "", now=0)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(log, "LOGS", str(tmp_path))
    monkeypatch.setattr(watch, "BLOCK", 7)  # so that lines go across blocks
    return tmp_path


@pytest.mark.parametrize(
    ("text", "count", "last"),
    [
        ("one\ntwo\nthree\n", 2, "two\nthree\n"),
        ("one\ntwo\nthree", 2, "two\nthree"),
        ("one\ntwo\nthree\n", 3, "one\ntwo\nthree\n"),
        ("one\ntwo\nthree\n", 9, "one\ntwo\nthree\n"),
        ("one\ntwo\nthree\n", 0, ""),
        ("one\n\n\n", 2, "\n\n"),
        ("a line that is longer than two blocks\nlast\n", 2, "a line that is longer than two blocks\nlast\n"),
        ("a line that is longer than two blocks\nlast\n", 1, "last\n"),
        ("", 5, ""),
        ("\n", 1, "\n"),
    ],
)
def test_the_last_lines_of_a_log_are_found(logs: Path, text: str, count: int, last: str) -> None:
    (logs / "web.log").write_text(text)
    position = watch.last_lines("web", log.span("web")[1], count)
    assert log.read("web", position)[1].decode() == last


def _filtered(*filters: str) -> list[str]:
    options = Options("container list")
    options.values["filter"] = list(filters)
    facts = [
        {"name": "a", "state": "running", "image": "tiny", "labels": {"team": "x", "empty": ""}},
        {"name": "b", "state": "stopped", "image": "tiny:2", "labels": {"team": "y=z"}},
    ]
    return [found["name"] for found in containers.chosen(options, facts)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ((), ["a", "b"]),
        (("label=team",), ["a", "b"]),
        (("label=team=x",), ["a"]),
        (("label=team=y=z",), ["b"]),
        (("label=empty=",), ["a"]),
        (("image=tiny:2",), ["b"]),
        (("state=running", "label=team=y=z"), []),
    ],
)
def test_a_container_must_match_every_filter(filters: tuple[str, ...], names: list[str]) -> None:
    assert _filtered(*filters) == names


@pytest.mark.parametrize("text", ["", "label", "label=", "age=1", "state="])
def test_an_unknown_filter_is_refused(text: str) -> None:
    with pytest.raises(Usage, match="--filter"):
        _filtered(text)


@pytest.fixture
def child() -> Iterator[tuple[int, int, int]]:
    """A process that copies its input to its output and waits for the end of both: pidfd, its output, its input."""
    given, taken = os.pipe()
    out, own = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, own, 1)]
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions)
    os.close(given)
    os.close(own)
    yield os.pidfd_open(pid), out, taken
    os.waitpid(pid, 0)


def test_output_arrives_complete_at_the_caller_and_in_the_log(
    child: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, out, taken = child
    text = os.urandom(1 << 20)
    (tmp_path / "input").write_bytes(text)
    files = {name: os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("input", "output", "log")}
    saved = os.dup(0)
    os.dup2(files["input"], 0)
    try:
        relay.carry(ended, {out: files["output"]}, taken, files["log"])
    finally:
        os.dup2(saved, 0)
    assert (tmp_path / "output").read_bytes() == text == (tmp_path / "log").read_bytes()
