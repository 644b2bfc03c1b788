# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's arithmetic: medians, ratios, tables, the steps of a profile."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import main, measures, peers, place, profile, profiled, report, result
from bench.result import OURS, Cell
from bench.scale import SMALLEST, Scale


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


def test_the_usage_that_the_script_shows_is_what_the_program_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.arguments(["--help"])
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    script = Path(main.__file__).with_name("run").read_text()
    usage = next(line for line in script.splitlines() if line.startswith("# Usage: "))
    assert set(re.findall(r"--[a-z]+", usage)) == options


def test_every_step_of_the_profile_is_a_function_of_the_core() -> None:
    assert list(profiled.look_up(profile.STEPS)) == list(profile.STEPS)
    profile.check_steps()


def test_a_step_that_the_core_does_not_have_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(profile.STEPS, "launch.in_child", "moved long ago")
    monkeypatch.setitem(profile.STEPS, "nowhere.start", "a module that does not exist")
    with pytest.raises(SystemExit) as refused:
        main.arguments([])
    assert refused.value.code == 2
    assert "the core has no function launch.in_child, nowhere.start" in capsys.readouterr().err
    assert main.arguments(["--only", "whole"]).cases == ["whole"]


def test_a_clock_is_around_a_function_wherever_a_module_of_the_core_knows_it_by_name() -> None:
    from baleine import launch, netlink

    clocks, original = profiled.Clocks(begin=0.0), netlink.batch
    assert launch.batch is original
    with_clock = clocks.put_around(original, "ip")
    profiled.replace(original, with_clock)
    try:
        assert launch.batch is with_clock and netlink.batch is with_clock
    finally:
        profiled.replace(with_clock, original)
    assert launch.batch is original and netlink.batch is original


def test_the_time_of_a_step_inside_another_is_not_counted_twice() -> None:
    clocks = profiled.Clocks(begin=0.0)
    inner = clocks.put_around(lambda: None, "inner")
    clocks.put_around(lambda: [inner(), inner()], "outer")()
    assert [label for label, _seconds in clocks.marks] == ["inner", "inner", "outer"]
    assert all(seconds >= 0 for _label, seconds in clocks.marks)


def test_the_smallest_form_has_one_round_of_every_case_and_the_usual_form_has_the_usual_rounds() -> None:
    options = main.arguments(["--smallest"])
    assert options.scale is SMALLEST and options.cases == list(main.KNOWN)
    assert [SMALLEST.warm_up + SMALLEST.rounds(case.rounds) for case in measures.CASES] == [1] * len(measures.CASES)
    assert [Scale().rounds(case.rounds) for case in measures.CASES] == [case.rounds for case in measures.CASES]
    assert Scale(factor=0.1).rounds(15) == 2 and Scale(factor=0.1).rounds(2, least=1) == 1
    assert main.arguments([]).cases == list(main.USUAL) and "batch" not in main.USUAL


class Bench:
    """What a run asks of its contenders between cases."""

    tidied = 0

    def tidy(self) -> None:
        self.tidied += 1


def fail() -> str:
    raise AttributeError("module 'launch' has no attribute 'in_child'")


def skip() -> str:
    raise place.CannotRun("docker takes no part")


def test_a_case_that_fails_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, bench = main.Run(main.arguments(["--output", str(tmp_path / "new")])), Bench()
    wanted.attempt(bench, "whole", "First", fail)
    wanted.attempt(bench, "enter", "Second", lambda: wanted.take("enter", {OURS: Cell((0.1,))}))
    wanted.attempt(bench, "list", "Third", lambda: wanted.take("list", {f"{OURS}, 100": Cell(reason="no memory")}))
    wanted.attempt(bench, "copy", "Fourth", lambda: wanted.take("copy", {"docker": Cell((0.1,))}))
    wanted.attempt(bench, "import", "Fifth", skip)
    wanted.attempt(bench, "batch", "not asked for", fail)
    wanted.write()
    assert wanted.failed == {
        "whole": "AttributeError: module 'launch' has no attribute 'in_child'",
        "list": f"{OURS}, 100: no memory",
        "copy": f"{OURS} was not measured",
    }
    assert wanted.skipped == {"import": "docker takes no part"} and bench.tidied == 1
    text = (tmp_path / "new/results.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Failed", "## Goals", "## First", "## Second", "## Third", "## Fourth", "## Fifth",
    ]  # fmt: skip
    assert "- whole: AttributeError" in text and "Not measured: docker takes no part." in text
    assert json.loads((tmp_path / "new/results.json").read_text())["failed"] == wanted.failed
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(OSError("no loop device"), 1), (KeyboardInterrupt(), 1), (None, 0)])
def test_the_report_is_always_written_and_the_exit_code_tells_a_failure(
    error: BaseException | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(wanted: main.Run) -> list[str]:
        wanted.attempt(Bench(), "enter", "A case", lambda: wanted.take("enter", {OURS: Cell((0.1,))}))
        if error:
            raise error
        return []

    monkeypatch.setattr(main, "measure", measure)
    assert main.main(["--output", str(tmp_path)]) == code
    text = (tmp_path / "results.md").read_text()
    assert "## A case" in text
    assert ("the run: " in text) == bool(code)


def test_a_contender_without_its_program_cannot_run_and_names_its_package() -> None:
    class Here:
        def missing(self, programs: tuple[str, ...]) -> list[str]:
            return [name for name in programs if name == "rsync"]

    with pytest.raises(place.CannotRun, match="no rsync: the package lxc is not installed"):
        peers.Lxc(Here()).begin()


def test_every_contender_but_ours_says_which_programs_it_is_made_of() -> None:
    assert [one.name for one in peers.CONTENDERS if not (one.programs and one.package)] == [OURS]


def test_the_goals_name_what_was_measured_and_nothing_else() -> None:
    assert report.goals({}, {}, 50) == []
    cells = {"enter": {OURS: Cell((0.034,))}, "batch first": {OURS: Cell((2.0,)), "podman": Cell((17.0,))}}
    assert report.goals(cells, {OURS: {"each": {"host": 0.0}}}, 50) == [
        "exec under 40 ms: 34 ms",
        "50 containers by a playbook, first, 5 times faster than a loop: 2000 ms, podman takes 8.5 times that",
        "no host process per container: 0",
    ]
