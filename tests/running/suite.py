# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the integration tests: files side by side, then the measured tests alone, then once more what failed.

    python -m tests.running.suite [OPTION OF PYTEST...]

A test that fails once and passes alone is named as flaky in the last lines; one that fails twice has failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import run
from tests.lab.proxy import SHARED, PackageProxy

from .report import VARIABLE, Record

TESTS = "tests/integration"
PLUGINS = ("order", "report", "workers")
#: One more than two cores: a worker often waits for the kernel or a clock.
WORKERS = os.environ.get("BALEINE_TEST_WORKERS", str((os.cpu_count() or 1) + 1))
#: Exit codes of pytest (pytest.ExitCode): what is not among these is no result of tests.
PASSED, FAILED, NO_TESTS = 0, 1, 5
#: More failures than these are not run again: something is broken, and it is known what.
MOST_AGAIN = 40
#: How many files the table of the longest ones has.
SHOWN = 15


@dataclass
class Suite:
    """All phases, and what they found.

    options: pytest's own, for each phase.
    workers: how many files are run at the same time.
    """

    options: Sequence[str]
    folder: Path
    workers: str = WORKERS
    seconds: Counter[str] = field(default_factory=Counter)
    phases: list[tuple[str, float, int]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def phase(self, title: str, words: Sequence[str]) -> Record:
        """Run pytest once; returns its record."""
        print(f"\n---- {title}", flush=True)
        path = self.folder / f"{len(self.phases)}.json"
        begun = time.monotonic()
        plugins = [word for name in PLUGINS for word in ("-p", f"tests.running.{name}")]
        argv = [sys.executable, "-m", "pytest", *plugins, *self.options, *words]
        done = subprocess.run(argv, env={**os.environ, VARIABLE: str(path)}, check=False)
        record = Record.load(path)
        self.seconds.update(record.seconds)
        self.phases.append((title, time.monotonic() - begun, record.tests))
        self.codes.append(done.returncode)
        return record

    def run(self, places: Sequence[str]) -> tuple[list[str], list[str]]:
        """Run everything; returns what failed twice, and what failed once."""
        aside = self.phase(
            f"{self.workers} files at the same time",
            ["-n", self.workers, "-m", "not measured", "--durations=30", *places],
        )
        if not self.understood:  # interrupted, or nothing that could be run
            return [*aside.broken, *aside.failed], []
        alone = self.phase("measured, one after another", ["-m", "measured", *places])
        once = list(dict.fromkeys([*aside.failed, *alone.failed]))
        broken = list(dict.fromkeys([*aside.broken, *alone.broken]))
        if broken or not once or len(once) > MOST_AGAIN:
            return [*broken, *once], []
        twice = self.phase("once more, alone, what failed", once).failed
        failed = [name for name in once if any(other.startswith(name) for other in twice)]
        return failed, [name for name in once if name not in failed]

    def went(self) -> list[str]:
        """Where the time went: the phases, and the files that took longest."""
        lines = [f"{seconds:7.0f} s  {title}: {tests} tests" for title, seconds, tests in self.phases]
        files = self.seconds.most_common(SHOWN)
        return [*lines, *(f"{seconds:7.0f} s  {path}" for path, seconds in files)]

    @property
    def understood(self) -> bool:
        """Whether each phase ended as tests end."""
        return all(code in (PASSED, FAILED, NO_TESTS) for code in self.codes)

    @property
    def tests(self) -> int:
        """How many tests were run, without those that were run once more."""
        return sum(tests for _title, _seconds, tests in self.phases[:2])


def main(words: Sequence[str]) -> int:
    """Run it with options of pytest, and places if not all tests are wanted; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(143))
    places = [word for word in words if word.partition("::")[0].startswith("tests/")]
    options = [word for word in words if word not in places]
    proxy = PackageProxy()
    os.environ[SHARED] = str(proxy.socket)
    try:
        with tempfile.TemporaryDirectory() as folder:
            suite = Suite(options, Path(folder))
            failed, flaky = suite.run(places or [TESTS])
    finally:
        proxy.stop()
    print("\nwhere the time went:", *suite.went(), sep="\n")
    for name in failed:
        print(f"failed: {name}")
    if flaky:
        print("flaky, a debt to be paid in the same change (failed once, passed alone):")
        print(*(f"    {name}" for name in flaky), sep="\n")
    if not suite.understood:
        print(f"pytest ended with {', '.join(map(str, suite.codes))}")
    print(f"{suite.tests} tests, {len(failed)} failed, {len(flaky)} flaky", flush=True)
    return 0 if suite.understood and suite.tests and not failed else 1


if __name__ == "__main__":
    os.chdir(run.REPOSITORY)
    sys.exit(main(sys.argv[1:]))
