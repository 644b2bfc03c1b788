# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest: what one run leaves for the next, failed tests and the seconds of each file."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from .order import file_of

#: The variable with the file that a run of pytest writes its record to.
VARIABLE = "BALEINE_TEST_RECORD"


@dataclass
class Record:
    """One run of pytest.

    failed: what to run once more, a test or, where tests lead on from one another, a whole file.
    broken: files that could not even be read.
    seconds: file -> seconds of its tests, with their fixtures.
    """

    failed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tests: int = 0

    @classmethod
    def load(cls, path: Path) -> Record:
        """The record of a run; an empty one if it wrote none."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()


def again(report: pytest.TestReport) -> str:
    """What to run once more after a failure.

    A failure before or after a test is one of the file's fixtures. Tests that are marked `in_order` need those before them.
    """
    if report.when != "call" or "in_order" in report.keywords:
        return file_of(report.nodeid)
    return report.nodeid


class Recorder:
    """A plugin of pytest that writes the record of a run; with workers, that of all of them.

    It prints a failure at once: pytest itself does so when all tests have ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = Record()
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[file_of(report.nodeid)] += report.duration
        self.record.tests += report.when == "call"
        name = again(report)
        if report.failed:
            print(f"\n{report.when} failed: {report.nodeid}\n{report.longreprtext}", flush=True)
            if name not in self.record.failed:
                self.record.failed.append(name)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and report.nodeid not in self.record.broken:
            self.record.broken.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.record.seconds = dict(self.seconds)
        self.path.write_text(json.dumps(asdict(self.record)))


def pytest_configure(config: pytest.Config) -> None:
    """Record this run, if that is asked for and this is no worker of another process."""
    path = os.environ.get(VARIABLE)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(path)))
