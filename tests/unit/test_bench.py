# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's arithmetic: medians, ratios, tables, the steps of a profile."""

from __future__ import annotations

import pytest

from bench import main, measures, profile, result
from bench.result import OURS, Cell


@pytest.mark.parametrize(
    ("samples", "median", "spread"),
    [
        ((), None, None),
        ((0.3,), 0.3, (0.3, 0.3)),
        ((0.1, 0.3), 0.2, (0.15, 0.25)),
        ((0.1, 0.2, 0.3, 0.4, 9.0), 0.3, (0.2, 0.4)),
    ],
    ids=["none", "one", "two", "an outlier"],
)
def test_a_cell_shows_its_median_and_quartiles(
    samples: tuple[float, ...], median: float | None, spread: tuple[float, float] | None
) -> None:
    cell = Cell(samples)
    assert cell.median == (None if median is None else pytest.approx(median))
    assert cell.spread == (None if spread is None else pytest.approx(spread))


def test_a_ratio_is_a_multiple_of_our_time_and_missing_without_both_times() -> None:
    ours, other = Cell((0.1, 0.1, 0.1)), Cell((0.3, 0.2, 0.25))
    assert result.ratio(other, ours) == pytest.approx(2.5)
    assert result.ratio(ours, ours) == 1
    assert result.ratio(Cell(), ours) is None and result.ratio(other, Cell(reason="broken")) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.0123, "12.3 ms"), (0.0999, "100 ms"), (1.5, "1500 ms"), (10.26, "10.3 s")]
)
def test_times_are_shown_without_insignificant_decimals(seconds: float | None, text: str) -> None:
    assert result.show_time(seconds) == text


def test_the_table_lists_ours_first_then_the_fastest_and_failures_last_with_their_reason() -> None:
    cells = {
        "slow": Cell((0.4,)),
        "broken": Cell(reason="no daemon | really\nnot"),
        OURS: Cell((0.2, 0.2), note="a copy"),
        "quick": Cell((0.1,)),
    }
    lines = result.case_table(cells).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines] == ["contender", "---", OURS, "quick", "slow", "broken"]
    assert lines[2] == f"| {OURS} | 200 ms | 200 ms to 200 ms | 1 | 2 | a copy |"
    assert lines[3] == "| quick | 100 ms | 100 ms to 100 ms | 0.50 | 1 |  |"
    assert lines[5] == "| broken | - | - | - | 0 | no daemon \\| really not |"


def test_the_best_peer_is_the_fastest_with_the_same_result() -> None:
    cells = {OURS: Cell((0.1,)), "docker": Cell((0.3,)), "lxc": Cell((0.2,)), "crun": Cell((0.01,)), "podman": Cell()}
    assert result.best_peer(cells, ("docker", "lxc", "podman")) == ("lxc", pytest.approx(2.0))
    assert result.best_peer({OURS: Cell()}, ("docker",)) is None


def test_the_growth_between_two_measurements_names_new_entries_and_counts_equal_names() -> None:
    before = {"host": 1, "host_bytes": 10, "names": ["shim"]}
    now = {"host": 3, "host_bytes": 35, "names": ["shim", "shim", "daemon"]}
    assert measures._less(now, before) == {"host": 2, "host_bytes": 25, "names": ["daemon", "shim"]}


def test_a_profile_sums_equal_steps_and_shows_the_time_outside_all_steps() -> None:
    runs = [
        [("imports", 0.02), ("manifests", 0.01), ("manifests", 0.02), ("all", 0.1)],
        [("imports", 0.02), ("manifests", 0.01), ("manifests", 0.02), ("all", 0.1)],
    ]
    assert [(step.label, pytest.approx(step.seconds), step.times) for step in profile.summarise(runs)] == [
        ("imports", 0.02, 1),
        ("manifests", 0.03, 2),
        (profile.REST, 0.05, 1),
        ("together, inside the process", 0.1, 1),
    ]


@pytest.mark.parametrize("words", [["--only", "exec"], ["--only", "whole,"], ["--peers", "rkt"]])
def test_an_unknown_case_or_contender_is_refused_before_anything_is_measured(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.arguments(words)
    assert "there are " in capsys.readouterr().err
    assert main.arguments(["--only", "whole,idle", "--peers", "lxc"]).only == "whole,idle"
