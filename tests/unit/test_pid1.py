# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PID 1: what the host believes of it, and the script itself, run as PID 1 of a PID namespace (root)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baleine import pid1
from baleine.process import find_program, wait_until
from tests.lab.run import PATIENCE


@pytest.mark.parametrize(
    ("content", "code"),
    [("0\n", 0), ("7\n", 7), ("255\n", 255), ("137", 137), (" 7 \n", 7), ("", None), ("256\n", None), ("-1\n", None)]
    + [
        ("seven\n", None),
        ("7\n8\n", None),
        ("1" * 100, None),
        ("²\n", None),
        ("٣\n", None),
        ("0x7\n", None),
        ("7.0\n", None),
    ],
)
def test_only_a_small_number_is_accepted_as_exit_code(content, code, tmp_path):
    (tmp_path / "exit").write_text(content)
    assert pid1.exit_code(str(tmp_path)) == code


@pytest.mark.parametrize("kind", ["none", "link", "loop", "fifo", "directory"])
def test_only_a_regular_file_is_read_as_exit_code(kind, tmp_path):
    path = tmp_path / "exit"
    (tmp_path / "elsewhere").write_text("7\n")
    make: dict[str, Any] = {
        "none": lambda: None,
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
        "loop": lambda: path.symlink_to(path),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }
    make[kind]()
    assert pid1.exit_code(str(tmp_path)) is None


def test_a_huge_exit_code_file_is_not_read_completely(tmp_path):
    with open(tmp_path / "exit", "wb") as stream:
        stream.truncate(1 << 40)
    assert pid1.exit_code(str(tmp_path)) is None


def test_the_state_directory_gets_a_pipe_to_sleep_on(tmp_path):
    pid1.prepare_state(str(tmp_path), os.getuid(), os.getgid())
    assert (tmp_path / "wake").is_fifo()
    assert os.stat(tmp_path / "wake").st_mode & 0o777 == 0o600


# ---- the script

BUSYBOX = find_program("busybox")
as_pid_1 = pytest.mark.skipif(
    os.geteuid() != 0 or BUSYBOX is None, reason="needs root for a PID namespace, and a static busybox"
)


class First:
    """The script as PID 1 of a PID namespace; the program is a line of shell, or a list of words."""

    def __init__(self, folder: Path, program: Any, change: tuple[str, str] = ("", ""), env: Any = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        pid1.prepare_state(str(self.state), 0, 0)
        script = folder / "init"
        script.write_text(pid1.SCRIPT.replace(f"{pid1.INSIDE}/state", str(self.state)).replace(*change))
        words = ["/bin/sh", "-c", program] if isinstance(program, str) else program
        self.outer = subprocess.Popen(
            ["unshare", "-pf", "--mount-proc", "--kill-child", str(BUSYBOX), "sh", str(script), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
            env={"PATH": os.environ["PATH"], **dict(env)},
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """PID 1, by the host's number."""
        path = f"/proc/{self.outer.pid}/task/{self.outer.pid}/children"
        assert wait_until(lambda: bool(Path(path).read_text().strip()), PATIENCE)
        return int(Path(path).read_text())

    def wait(self) -> int:
        return self.outer.wait(PATIENCE)

    @property
    def code(self) -> Any:
        return pid1.exit_code(str(self.state))


@pytest.fixture
def first(tmp_path) -> Iterator[Any]:
    started = []

    def start(program: Any, folder: Path = tmp_path, **more: Any) -> First:
        started.append(First(folder, program, **more))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.outer.kill()
        one.outer.wait()


@as_pid_1
@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
        (["/no/such/program"], 127),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
        (["/"], 126),
        (["/bin/sh", "-c", 'test "$1" = "a b" -a -z "$2" -a $# = 2', "x", "a b", ""], 0),
    ],
    ids=str,
)
def test_the_exit_code_is_that_of_the_program_or_explains_why_it_did_not_run(program, code, first):
    one = first(program)
    assert one.wait() == code
    assert one.code == code


@as_pid_1
def test_a_program_that_daemonises_lives_on_and_its_exit_code_is_known_at_once(first, tmp_path):
    one = first("(trap 'exit 0' TERM; echo up > up; while :; do sleep 0.02; done) & exit 3")
    assert wait_until(lambda: one.code == 3, PATIENCE)
    assert wait_until((tmp_path / "up").exists, PATIENCE)
    assert one.outer.poll() is None
    os.kill(one.pid, signal.SIGTERM)
    assert one.wait() == 3


@as_pid_1
def test_the_last_descendant_ends_pid_1(first, tmp_path):
    os.mkfifo(tmp_path / "go")
    one = first("(read x < go) & exit 0")
    assert wait_until(lambda: one.code == 0, PATIENCE)
    assert one.outer.poll() is None
    (tmp_path / "go").write_text("go\n")
    assert one.wait() == 0


@as_pid_1
def test_a_variable_whose_name_is_invalid_in_a_shell_reaches_the_program_unchanged(first, tmp_path):
    names = ("a.b", "x-y", "1st", "é", "plain")
    env = {name: f"{name}: it's \n$HOME `id` \\n \"" for name in names}
    line = pid1.odd_variables(env).replace(f"{pid1.INSIDE}/busybox", str(BUSYBOX))
    (tmp_path / "state").mkdir()
    (tmp_path / "state/env").write_text(line)
    assert first([sys.executable, "-c", PRINT, "a b", ""], env={"plain": env["plain"]}).wait() == 0
    assert json.loads((tmp_path / "got").read_text()) == [["a b", ""], env]


PRINT = """
import json, os, sys
env = {key: value for key, value in os.environ.items() if ": it's" in value}
json.dump([sys.argv[1:], env], open("got", "w"))
"""


def test_no_prefix_is_added_if_every_variable_name_is_valid_in_a_shell():
    assert pid1.odd_variables({"A": "1", "_b2": "x.y"}) == ""


@as_pid_1
@pytest.mark.parametrize("name", ["HUP", "TERM", "USR1", "USR2", "WINCH", "ALRM", "37"])
def test_a_signal_is_passed_on_to_the_program(name, first, tmp_path):
    one = first(f"trap 'echo {name} > got; exit 5' {name}; echo up > up; while :; do sleep 0.02; done")
    assert wait_until((tmp_path / "up").exists, PATIENCE)
    os.kill(one.pid, int(name) if name.isdigit() else getattr(signal, f"SIG{name}"))
    assert one.wait() == 5
    assert (tmp_path / "got").read_text() == f"{name}\n"


CATCHER = """
import pathlib, signal, sys
signal.signal(signal.SIG{name}, lambda *_: (pathlib.Path("got").write_text("{name}"), sys.exit(5)))
pathlib.Path("up").touch()
while True:
    signal.pause()
"""


@as_pid_1
@pytest.mark.parametrize("name", ["INT", "QUIT"])
def test_a_program_that_handles_int_or_quit_receives_it(name, first, tmp_path):
    one = first([find_program("python3"), "-c", CATCHER.format(name=name)])
    assert wait_until((tmp_path / "up").exists, PATIENCE)
    os.kill(one.pid, getattr(signal, f"SIG{name}"))
    assert one.wait() == 5
    assert (tmp_path / "got").read_text() == name


@as_pid_1
@pytest.mark.parametrize("name", ["INT", "QUIT"])
def test_a_program_that_inherited_ignored_int_or_quit_is_ended_by_them(name, first, tmp_path):
    one = first("echo up > up; exec sleep 1000")
    assert wait_until((tmp_path / "up").exists, PATIENCE)
    assert wait_until(lambda: "sleep" in commands(one), PATIENCE)
    os.kill(one.pid, getattr(signal, f"SIG{name}"))
    assert one.wait() == 143


def commands(one: First) -> list[str]:
    names = []
    for child in Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(Path(f"/proc/{child}/comm").read_text().strip())
    return names


@as_pid_1
def test_a_program_without_signal_handlers_is_stopped_at_once(first, tmp_path):
    one = first(["sleep", "1000"])
    assert wait_until(lambda: "sleep" in commands(one), PATIENCE)
    os.kill(one.pid, signal.SIGTERM)
    assert one.wait() == 143


@as_pid_1
def test_a_signal_that_the_program_survives_does_not_end_pid_1(first, tmp_path):
    one = first("trap 'echo x >> got' USR1; echo up > up; while [ ! -e stop ]; do sleep 0.02; done; exit 9")
    assert wait_until((tmp_path / "up").exists, PATIENCE)
    for count in range(1, 6):
        os.kill(one.pid, signal.SIGUSR1)
        assert wait_until(
            lambda n=count: (tmp_path / "got").exists() and len((tmp_path / "got").read_text()) == 2 * n, PATIENCE
        )
    assert one.outer.poll() is None
    assert one.code is None
    (tmp_path / "stop").touch()
    assert one.wait() == 9


@as_pid_1
def test_the_exit_code_is_never_that_of_an_interrupted_wait(first, tmp_path):
    """`wait` ends with 130 when INT comes; the program may be reaped before anybody looks: the next test makes it so."""
    codes = []
    for number in range(25):
        one = first(["sleep", "1000"], tmp_path / str(number))
        assert wait_until(lambda one=one: "sleep" in commands(one), PATIENCE, 0.001)
        os.kill(one.pid, signal.SIGINT)
        codes.append((one.wait(), one.code))
    assert set(codes) == {(143, 143)}


@as_pid_1
def test_the_code_is_the_programs_also_if_it_is_reaped_before_anybody_looks(first):
    looks = '        [ -n "$interrupted" ] || break'
    reap = '        [ -z "$interrupted" ] || while kill -0 "$main" 2>/dev/null; do : & wait $!; done\n'
    assert looks in pid1.SCRIPT
    one = first(["sleep", "1000"], change=(looks, reap + looks))
    assert wait_until(lambda: "sleep" in commands(one), PATIENCE)
    os.kill(one.pid, signal.SIGINT)
    assert (one.wait(), one.code) == (143, 143)


@as_pid_1
@pytest.mark.parametrize("name", ["INT", "TERM", "USR1"])
def test_a_signal_before_the_start_of_the_program_is_not_lost(name, first, tmp_path):
    waiting = "main=$!\n"
    one = first(["sleep", "1000"], change=(waiting, f'while [ ! -e "{tmp_path}/go" ]; do :; done; {waiting}'))
    assert wait_until(lambda: "sleep" in commands(one), PATIENCE, 0.001)
    os.kill(one.pid, getattr(signal, f"SIG{name}"))
    (tmp_path / "go").touch()
    assert one.wait() == (138 if name == "USR1" else 143)


@as_pid_1
def test_a_request_to_end_the_program_reaches_its_children_too(first, tmp_path):
    one = first("trap 'exit 4' TERM; sleep 1000 & echo up > up; while :; do sleep 0.02; done")
    assert wait_until((tmp_path / "up").exists, PATIENCE)
    os.kill(one.pid, signal.SIGTERM)
    assert one.wait() == 4


@as_pid_1
def test_1000_orphans_are_reaped(first, tmp_path):
    """Each is left behind by its parent; while the program lives and after it, no zombie of them stays."""
    spawn = "i=0; while [ $i -lt 500 ]; do (true & ); i=$((i + 1)); done"
    one = first(f"{spawn}; echo up > up; while [ ! -e go ]; do sleep 0.02; done; ({spawn}; read x < end) & exit 0")
    os.mkfifo(tmp_path / "end")

    def zombies() -> int:
        children = Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split()
        states = []
        for child in children:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # reaped in the meantime
                states.append(Path(f"/proc/{child}/status").read_text())
        return sum("\nState:\tZ" in state for state in states)

    assert wait_until((tmp_path / "up").exists, PATIENCE)
    assert wait_until(lambda: zombies() == 0, PATIENCE, 0.1)  # an ash that waits for one child reaps all of them
    (tmp_path / "go").touch()
    assert wait_until(lambda: one.code == 0, PATIENCE)
    assert wait_until(lambda: zombies() == 0, PATIENCE, 0.1)
    assert one.outer.poll() is None
    (tmp_path / "end").write_text("end\n")
    assert one.wait() == 0


@as_pid_1
def test_a_killed_pid_1_leaves_no_exit_code(first):
    one = first("exec sleep 1000")
    assert wait_until(lambda: "sleep" in commands(one), PATIENCE)
    os.kill(one.pid, signal.SIGKILL)
    one.wait()
    assert one.code is None
