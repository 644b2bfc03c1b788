# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's runner, on real commands."""

from __future__ import annotations

import os
import signal

import pytest

from baleine_cli.runner import run


def test_a_command_gets_arguments_input_and_environment_and_returns_code_and_both_outputs() -> None:
    done = run(
        ["/bin/sh", "-c", 'read -r line; echo "$line $X $1"; echo bad >&2; exit 7', "sh", "a b"], "été\n", {"X": "1"}
    )
    assert (done.code, done.out, done.err) == (7, "été 1 a b\n", "bad\n")


def test_a_command_without_input_reads_nothing_and_a_signal_is_a_negative_code() -> None:
    assert run(["/bin/cat"]).out == ""
    assert run(["/bin/sh", "-c", "kill -TERM $$"]).code == -signal.SIGTERM


def test_output_may_be_larger_than_a_pipe_and_hold_invalid_text() -> None:
    done = run(["/bin/sh", "-c", r"head -c 300000 /dev/zero | tr '\0' x; printf '\377' >&2"])
    assert len(done.out) == 300000 and done.err == "\N{REPLACEMENT CHARACTER}"


def test_a_command_inherits_no_open_file_and_no_ignored_signal() -> None:
    with open(os.devnull) as stream:
        listed = run(["/bin/sh", "-c", "ls /proc/$$/fd; grep SigIgn /proc/$$/status"]).out.split()
        assert str(stream.fileno()) not in listed or stream.fileno() < 3
    assert set(listed[:-2]) <= {"0", "1", "2", "255"} and int(listed[-1], 16) >> (signal.SIGPIPE - 1) & 1 == 0


def test_a_missing_command_is_named_in_the_error() -> None:
    with pytest.raises(FileNotFoundError, match="/no/such"):
        run(["/no/such"])
