# SPDX-License-Identifier: GPL-3.0-or-later
"""What a health check prints is kept up to a bound; its exit code is its own."""

from __future__ import annotations

import pytest

from baleine.waiting import bounded
from tests.unit.support import run


@pytest.mark.parametrize("code", [0, 3, 124])
def test_the_output_of_a_wait_command_is_bounded_in_memory(code: int) -> None:
    done = run(bounded(["sh", "-c", f"head -c 30000000 /dev/zero; echo 'the end' >&2; exit {code}"]))
    assert (done.code, len(done.out), done.err) == (code, 4096, "")


def test_the_output_of_a_wait_command_is_kept_from_both_streams() -> None:
    done = run(bounded(["sh", "-c", "echo one; echo two >&2", "'$(touch /nowhere)'"]))
    assert (done.code, done.out) == (0, "one\ntwo\n")
