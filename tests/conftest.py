# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests need: signals that their programs do not inherit as ignored; how files are run side by side."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.running import report

if TYPE_CHECKING:
    from tests.running.workers import ByFile


def pytest_configure(config: pytest.Config) -> None:
    report.install(config)


@pytest.hookimpl(optionalhook=True)  # where xdist is not installed
def pytest_xdist_make_scheduler(config: pytest.Config) -> ByFile:
    from tests.running.workers import ByFile

    return ByFile(config)


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> None:
    """Under nohup, or in the background of a shell, some are ignored, and every program that a test starts inherits it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_arguments: None)
