# SPDX-License-Identifier: GPL-3.0-or-later
"""How the integration tests are run: real runs of pytest over small files that fail once, twice or before a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.running import order
from tests.running.suite import Suite

#: Fails when it is run for the first time.
ONCE = """
    mark = __import__("pathlib").Path({mark!r})
    first = not mark.exists()
    mark.touch()
    assert not first
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = measured\n    in_order\n")
    return Suite(["-q", "-p", "no:cacheprovider"], tmp_path, workers="1")


def write(folder: Path, **files: str) -> list[str]:
    """Write files of tests; returns their paths."""
    paths = [folder / f"{name}.py" for name in files]
    for path, text in zip(paths, files.values()):
        path.write_text(f"import pytest\n{text}")
    return [path.name for path in paths]


def test_a_test_that_fails_once_is_flaky_and_one_that_fails_twice_has_failed(suite: Suite) -> None:
    once = ONCE.format(mark=str(suite.folder / "mark"))
    places = write(
        suite.folder,
        test_one=f"def test_good(): pass\ndef test_once():{once}",
        test_two="def test_bad(): assert 0",
    )
    failed, flaky = suite.run(places)
    assert (failed, flaky) == (["test_two.py::test_bad"], ["test_one.py::test_once"])
    assert suite.understood


def test_tests_that_lead_on_from_one_another_are_run_again_from_the_first(suite: Suite) -> None:
    once = ONCE.format(mark=str(suite.folder / "mark"))
    text = "pytestmark = pytest.mark.in_order\nmade = []\ndef test_makes(): made.append(1)\n"
    places = write(suite.folder, test_one=f"{text}def test_uses():\n    assert made{once}")
    assert suite.run(places) == ([], ["test_one.py"])


def test_a_failure_of_a_fixture_at_the_end_of_a_file_is_run_again_with_the_file(suite: Suite) -> None:
    fixture = "@pytest.fixture(autouse=True, scope='module')\ndef end():\n    yield\n    assert 0\n"
    places = write(suite.folder, test_one=f"{fixture}def test_good(): pass\ndef test_too(): pass")
    assert suite.run(places) == (["test_one.py"], [])


def test_a_measured_test_runs_after_the_others(suite: Suite) -> None:
    told = f"open({str(suite.folder / 'order')!r}, 'a').write"
    places = write(
        suite.folder,
        test_one=f"@pytest.mark.measured\ndef test_measured(): {told}('measured ')",
        test_two=f"def test_other(): {told}('other ')",
    )
    assert suite.run(places) == ([], [])
    assert (suite.folder / "order").read_text() == "other measured "
    assert [tests for _title, _seconds, tests in suite.phases] == [1, 1]


def test_a_file_that_cannot_be_read_has_failed_and_is_no_result(suite: Suite) -> None:
    places = write(suite.folder, test_one="import nothing_there")
    failed, flaky = suite.run(places)
    assert (failed, flaky) == (["test_one.py"], [])
    assert not suite.understood


def test_no_test_at_all_is_counted_as_none(suite: Suite) -> None:
    assert suite.run(write(suite.folder, test_one="")) == ([], [])
    assert suite.tests == 0


def test_the_files_that_take_longest_come_first_and_are_there() -> None:
    folder = Path(__file__).resolve().parents[1] / "integration"
    assert [name for name in order.LONGEST_FIRST if not (folder / f"{name}.py").exists()] == []
    paths = ["b/test_b.py", "b/test_a.py", *(f"c/{name}.py" for name in order.LONGEST_FIRST[:1])]
    assert sorted(paths, key=order.weight)[-2:] == ["b/test_a.py", "b/test_b.py"]
