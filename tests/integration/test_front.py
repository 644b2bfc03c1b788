# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user types of a container's life: run and exec in the foreground, kill, pause, logs, stats, lists, prune."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.lab.run import wait_for

BALEINE = "/usr/local/bin/baleine"
RUN = ("container", "run", "--rm", "-i", "tiny")
pytestmark = pytest.mark.usefixtures("tiny", "baleine")


class Typist:
    """A person at a terminal of rows x columns, who runs one command in a lab host."""

    def __init__(self, lab: LabHost, words: Sequence[str], rows: int = 33, columns: int = 101) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        # setsid -c: the terminal becomes the controlling one, so that its keys are signals
        self.process = lab.popen(["setsid", "-cw", BALEINE, *words], stdin=slave, stdout=slave, stderr=slave)
        self.slave = slave
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def sees(self, text: str, seconds: float = 10) -> None:
        """Wait for text that was not seen by an earlier call."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"{text!r} does not come; seen: {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def ends(self) -> int:
        """Wait for the end; the terminal must be as it was before."""
        code = self.process.wait(timeout=15)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.slave)
        os.close(self.master)
        return code


@pytest.fixture(autouse=True)
def nothing_is_left(lab: LabHost, baleine: Any) -> Iterator[None]:
    """Each test begins and ends without a container."""
    yield
    names = baleine("container", "list", "-aq").stdout.split()
    if names:
        baleine("container", "remove", "-f", *names)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["nothing-there"], 127),
        (["/etc/passwd"], 126),
    ],
    ids=["0", "7", "137", "127", "126"],
)
def test_run_ends_with_the_programs_own_code_and_leaves_nothing(
    lab: LabHost, baleine: Any, program: list[str], code: int
) -> None:
    assert baleine(*RUN, "--", *program, check=False).returncode == code
    assert baleine("container", "list", "-aq").stdout == ""
    assert lab.leaks() == []


def test_run_ends_with_125_where_baleine_fails(baleine: Any) -> None:
    done = baleine("container", "run", "-i", "no-image", "--", "true", check=False)
    assert done.returncode == 125 and "no image no-image" in done.stderr
    assert baleine("container", "list", "-aq").stdout == ""


def test_what_a_program_prints_goes_to_the_caller_and_to_the_log(lab: LabHost, baleine: Any) -> None:
    words = ["sh", "-c", "echo out; echo err >&2; echo more > /dev/stdout; read x; echo $x"]
    done = baleine("container", "run", "-c", "kept", "-i", "tiny", "--", *words, check=False, input="unread")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\nmore\n\n", "err\n")
    assert sorted(lab.read("/var/log/baleine/kept.log").split()) == ["err", "more", "out"]
    shown = json.loads(baleine("container", "inspect", "kept", "--format", "json").stdout)[0]
    assert (shown["state"], shown["wanted_state"], shown["exit_code"]) == ("stopped", "stopped", 0)
    assert shown["restart_policy"] == "no"


def test_input_is_piped_through_whole_however_large(baleine: Any) -> None:
    text = "".join(f"line {number}\n" for number in range(200_000))
    done = baleine("container", "run", "--rm", "-i", "-i", "tiny", "--", "cat", input=text)
    assert done.stdout == text


def test_a_reader_that_has_enough_ends_the_program(lab: LabHost, baleine: Any) -> None:
    assert lab.sh(f"{BALEINE} {' '.join(RUN)} -- yes | head -n 1", timeout=20).stdout == "y\n"
    assert baleine("container", "list", "-aq").stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_run_reaches_the_program(lab: LabHost, baleine: Any, number: int) -> None:
    script = "trap 'echo got it; exit 9' TERM INT HUP; echo ready; while :; do sleep 0.1; done"
    process = lab.popen([BALEINE, *RUN, "--", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    pid = lab.run(["pgrep", "-f", "^/usr/bin/python3 -IS /usr/local/bin/baleine"]).stdout.strip()
    lab.run(["kill", f"-{number}", pid])
    assert process.stdout.read() == "got it\n"
    assert process.wait(timeout=10) == 9
    assert baleine("container", "list", "-aq").stdout == ""


def test_a_program_killed_by_a_stop_ends_run_and_no_process_of_ours_remains(lab: LabHost, baleine: Any) -> None:
    process = lab.popen([BALEINE, "container", "run", "-c", "held", "-i", "tiny", "--", "sleep", "100"])
    assert wait_for(lambda: baleine("container", "list", "-q").stdout == "held\n", 10)
    baleine("container", "stop", "held")
    assert process.wait(timeout=10) == 143
    assert lab.run(["pgrep", "-fc", "baleine container run"], check=False).stdout == "0\n"


def test_run_that_is_killed_leaves_a_container_that_goes_on_without_it(lab: LabHost, baleine: Any) -> None:
    script = (
        "trap '' PIPE; while :; do echo line || break; sleep 0.05; done 2>/dev/null; echo ended > /ended; sleep 100"
    )
    process = lab.popen([BALEINE, *RUN, "-c", "left", "--", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "line\n"
    lab.run(["pkill", "-9", "-f", "^/usr/bin/python3 -IS /usr/local/bin/baleine"])
    assert wait_for(
        lambda: baleine("container", "exec", "left", "--", "cat", "/ended", check=False).stdout == "ended\n", 10
    )
    assert baleine("container", "list", "-q").stdout == "left\n"
    process.wait()


def test_a_terminal_of_its_own_with_the_callers_size_and_keys(lab: LabHost, baleine: Any) -> None:
    script = "tty; stty size; read x; stty size; echo got $x; exec sleep 100"
    typist = Typist(lab, ["container", "run", "--rm", "-it", "-i", "tiny", "--", "sh", "-c", script])
    typist.sees("/dev/pts/0")
    typist.sees("33 101")
    typist.resize(40, 120)
    typist.types("word\r")
    typist.sees("40 120")
    typist.sees("got word")
    typist.types("\x03")
    assert typist.ends() == 130
    assert baleine("container", "list", "-aq").stdout == ""


def test_a_shell_in_a_terminal_runs_programs_that_ctrl_c_ends(lab: LabHost, baleine: Any) -> None:
    typist = Typist(lab, ["container", "run", "--rm", "-it", "-i", "tiny", "--", "sh", "-i"])
    typist.sees("# ")
    typist.types("sleep 123\r")
    assert wait_for(lambda: lab.run(["pgrep", "-fx", "sleep 123"], check=False).stdout, 10)
    typist.types("\x03")
    typist.sees("# ")
    typist.types("echo $((6 * 7))-$?; exit 5\r")
    typist.sees("42-130")
    assert typist.ends() == 5


def test_a_terminals_program_is_reached_by_signals_and_by_a_stop(lab: LabHost, baleine: Any) -> None:
    script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    typist = Typist(lab, ["container", "run", "-c", "term", "-it", "-i", "tiny", "--", "sh", "-c", script])
    typist.sees("ready")
    baleine("container", "stop", "term", timeout=8)
    typist.sees("told")
    assert typist.ends() == 9


def test_a_terminal_is_refused_where_there_is_none_and_nothing_is_made(baleine: Any) -> None:
    done = baleine("container", "run", "-it", "-i", "tiny", "--", "sh", check=False, input="")
    assert done.returncode == 2 and "no terminal" in done.stderr
    assert baleine("container", "list", "-aq").stdout == ""


def test_the_image_can_be_made_in_the_same_command(lab: LabHost, baleine: Any) -> None:
    words = ["--create-image", "--from-image", "tiny", "--packages", "none", "-s", "96M"]
    for _again in range(2):
        assert baleine("container", "run", "--rm", "-i", "own:2", *words, "--", "cat", "/www/index.html").stdout
    assert "own:2" in baleine("image", "list", "-q").stdout.split()
    baleine("image", "remove", "own:2")
    refused = baleine("container", "create", "-i", "tiny", "-c", "x", "-p", "true", "-s", "1G", check=False)
    assert refused.returncode == 2 and "--create-image" in refused.stderr


@pytest.fixture
def running(lab: LabHost, baleine: Any) -> str:
    """The name of a container that runs."""
    baleine("container", "create", "-c", "web", "-i", "tiny", "-e", "OWN=1", "-p", "sleep 1000", "--pids", "50")
    return "web"


def test_exec_has_a_terminal_inside_with_size_keys_and_code(lab: LabHost, running: str) -> None:
    script = "tty; stty size; read x; stty size; echo got $x; sleep 100"
    typist = Typist(lab, ["container", "exec", "-c", running, "-it", "--", "sh", "-c", script])
    typist.sees("/dev/pts/0")
    typist.sees("33 101")
    typist.resize(40, 120)
    typist.types("word\r")
    typist.sees("40 120")
    typist.sees("got word")
    typist.types("\x03")
    assert typist.ends() == 130


def test_exec_without_a_terminal_gets_nothing_of_the_callers(lab: LabHost, running: str) -> None:
    script = "for n in 0 1 2; do readlink /proc/self/fd/$n; done; read x; echo got $x; exit 6"
    typist = Typist(lab, ["container", "exec", "-c", running, "--", "sh", "-c", script])
    for _stream in range(3):
        typist.sees("pipe:[")
    typist.types("word\r")
    typist.sees("got word")
    assert typist.ends() == 6


def test_exec_pipes_input_and_has_a_clean_environment_and_the_same_limits(
    lab: LabHost, baleine: Any, running: str
) -> None:
    done = baleine("container", "exec", running, "--", "sh", "-c", "cat; cat /proc/self/cgroup", input="piped\n")
    first = baleine("container", "exec", running, "--", "cat", "/proc/1/cgroup").stdout
    assert done.stdout == f"piped\n{first}"
    shown = lab.run([BALEINE, "container", "exec", running, "--", "env"], env={"SECRET": "1"}).stdout
    assert sorted(line.partition("=")[0] for line in shown.splitlines()) == ["HOME", "OWN", "PATH", "container"]
    for program, code in ((["nothing"], 127), (["/etc/passwd"], 126), (["sh", "-c", "exit 3"], 3)):
        assert baleine("container", "exec", running, "--", *program, check=False).returncode == code
