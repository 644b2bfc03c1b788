# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests need: signals that their programs do not inherit as ignored."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> None:
    """Under nohup, or in the background of a shell, some are ignored, and every program that a test starts inherits it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_arguments: None)
