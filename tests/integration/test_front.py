# SPDX-License-Identifier: GPL-3.0-or-later
"""run and exec in the foreground: streams, terminals, signals and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.front import BALEINE, LATER, RUN, SIZE, Typist, create_running, remove_all
from tests.lab.host import LabHost
from tests.lab.run import wait_for

pytestmark = pytest.mark.usefixtures("tiny", "baleine")


@pytest.fixture(autouse=True)
def nothing_is_left(baleine: Any) -> Iterator[None]:
    """Each test begins and ends without a container."""
    yield
    remove_all(baleine)


@pytest.fixture
def running(baleine: Any) -> str:
    """The name of a container that runs."""
    return create_running(baleine)


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
def test_run_ends_with_the_exit_code_of_the_program_and_leaves_nothing(
    lab: LabHost, baleine: Any, program: list[str], code: int
) -> None:
    assert baleine(*RUN, "--", *program, check=False).returncode == code
    assert baleine("container", "list", "-aq").stdout == ""
    assert lab.leaks() == []


def test_run_ends_with_125_if_baleine_fails(baleine: Any) -> None:
    done = baleine("container", "run", "-i", "no-image", "--", "true", check=False)
    assert done.returncode == 125 and "no image no-image" in done.stderr
    assert baleine("container", "list", "-aq").stdout == ""


def test_the_output_of_a_program_goes_to_the_caller_and_to_the_log(lab: LabHost, baleine: Any) -> None:
    words = ["sh", "-c", "echo out; echo err >&2; echo more > /dev/stdout; read x; echo $x"]
    done = baleine("container", "run", "-c", "kept", "-i", "tiny", "--", *words, check=False, input="unread")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\nmore\n\n", "err\n")
    assert sorted(lab.read("/var/log/baleine/kept.log").split()) == ["err", "more", "out"]
    shown = json.loads(baleine("container", "inspect", "kept", "--format", "json").stdout)[0]
    assert (shown["state"], shown["wanted_state"], shown["exit_code"]) == ("stopped", "stopped", 0)
    assert shown["restart_policy"] == "no"


def test_a_program_gets_every_variable_of_any_name_and_no_other_process_sees_it(lab: LabHost, baleine: Any) -> None:
    odd = {"discovery.type": "single-node", "x-y": 'a "b" $c', "ÉTÉ": "l1\nl2", "1A": "", "A": "1"}
    flags = [word for key, value in odd.items() for word in ("-e", f"{key}={value}")]
    program = ["cat", "/proc/self/environ", "/proc/1/cmdline"]
    done = baleine("container", "run", "--rm", "-i", "tiny", *flags, "--", *program).stdout
    shown = dict(text.split("=", 1) for text in done.split("\0") if "=" in text)
    assert {key: shown.get(key) for key in odd} == odd and not any(key.startswith("BALEINE") for key in shown)
    assert done.count("single-node") == 1 and "/init\0" in done
    alone = baleine("container", "run", "--rm", "-i", "tiny", "--no-init", *flags, "--", "env").stdout
    assert "discovery.type=single-node" in alone


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_stream_closed_by_the_caller_is_not_reused(lab: LabHost, baleine: Any, verb: str) -> None:
    """Otherwise the next file that is opened would be it."""
    baleine("container", "create", "-c", "web", "-i", "tiny", "-p", "sleep 1000")
    words = "run --rm --interactive -i tiny" if verb == "run" else "exec -c web"
    program = "sh -c 'read x; echo got $x; echo heard >&2; exit 4'"
    for closed, seen in (("<&-", "gotheard"), (">&-", "heard"), ("2>&-", "got"), ("<&- >&- 2>&-", "")):
        done = lab.sh(f"baleine container {words} -- {program} </dev/null {closed}", check=False)
        assert (done.returncode, "".join((done.stdout + done.stderr).split())) == (4, seen), closed
    assert lab.sh("baleine container list -q >&-").stdout == ""
    assert lab.sh("baleine nothing 2>&-", check=False).returncode == 2
    assert "there is no command" in lab.sh("baleine nothing >&-", check=False).stderr


def test_input_of_any_size_is_piped_through_completely(baleine: Any) -> None:
    text = "".join(f"line {number}\n" for number in range(200_000))
    done = baleine("container", "run", "--rm", "-i", "-i", "tiny", "--", "cat", input=text)
    assert done.stdout == text


def test_standard_streams_can_be_opened_by_name_and_the_hosts_devices_keep_their_owner(
    lab: LabHost, baleine: Any
) -> None:
    script = "cat /dev/stdin >/dev/stdout; echo err >/dev/stderr"
    done = baleine("container", "run", "--rm", "-i", "-i", "tiny", "-u", "app", "--", "sh", "-c", script, input="text")
    assert (done.stdout, done.stderr) == ("text", "err\n")
    lab.sh("chown 0:0 /dev/null")  # the machine's own, which an older Baleine gave away
    assert baleine(*RUN, "--", "true").returncode == 0
    baleine("container", "create", "-c", "own", "-i", "tiny", "-p", "sleep 1000")
    assert lab.sh("stat -c '%u %g %a' /dev/null").stdout == "0 0 666\n"
    for path in ("/dev/null", "/proc/1/fd/0"):
        baleine("container", "exec", "own", "--", "chmod", "600", path, check=False)
    assert lab.sh("stat -c '%u %g %a' /dev/null").stdout == "0 0 666\n"


def test_a_closed_output_pipe_ends_the_program(lab: LabHost, baleine: Any) -> None:
    assert lab.sh(f"{BALEINE} {' '.join(RUN)} -- yes | head -n 1", timeout=120).stdout == "y\n"
    assert baleine("container", "list", "-aq").stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_run_reaches_the_program(lab: LabHost, baleine: Any, number: int) -> None:
    script = "trap 'echo got it; exit 9' TERM INT HUP; echo ready; while :; do sleep 0.1; done"
    process = lab.popen([BALEINE, *RUN, "--", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    pid = lab.run(["pgrep", "-f", "^/usr/bin/python3 -IS /usr/local/bin/baleine"]).stdout.strip()
    lab.run(["kill", f"-{number}", pid])
    assert process.stdout.read() == "got it\n"
    assert process.wait(timeout=120) == 9
    assert baleine("container", "list", "-aq").stdout == ""


def test_a_program_killed_by_stop_ends_run_and_leaves_no_process(lab: LabHost, baleine: Any) -> None:
    process = lab.popen([BALEINE, "container", "run", "-c", "held", "-i", "tiny", "--", "sleep", "100"])
    assert wait_for(lambda: baleine("container", "list", "-q").stdout == "held\n")
    baleine("container", "stop", "held")
    assert process.wait(timeout=120) == 143
    assert lab.run(["pgrep", "-fc", "baleine container run"], check=False).stdout == "0\n"


def test_a_killed_run_leaves_its_container_running(lab: LabHost, baleine: Any) -> None:
    script = (
        "trap '' PIPE; while :; do echo line || break; sleep 0.05; done 2>/dev/null; echo ended > /ended; sleep 100"
    )
    process = lab.popen([BALEINE, *RUN, "-c", "left", "--", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "line\n"
    lab.run(["pkill", "-9", "-f", "^/usr/bin/python3 -IS /usr/local/bin/baleine"])
    assert wait_for(
        lambda: baleine("container", "exec", "left", "--", "cat", "/ended", check=False).stdout == "ended\n"
    )
    assert baleine("container", "list", "-q").stdout == "left\n"
    process.wait()


def test_run_has_a_terminal_with_the_size_and_keys_of_the_caller(lab: LabHost, baleine: Any) -> None:
    script = f"tty; stty size; read x; {LATER}; echo got $x; exec sleep 100"
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


def test_ctrl_c_ends_a_program_of_a_shell_in_a_terminal(lab: LabHost, baleine: Any) -> None:
    typist = Typist(lab, ["container", "run", "--rm", "-it", "-i", "tiny", "--", "sh", "-i"])
    typist.sees("# ")
    typist.types("sleep 123\r")
    assert wait_for(lambda: lab.run(["pgrep", "-fx", "sleep 123"], check=False).stdout)
    typist.types("\x03")
    typist.sees("# ")
    typist.types("echo $((6 * 7))-$?; exit 5\r")
    typist.sees("42-130")
    assert typist.ends() == 5


def test_a_program_in_a_terminal_receives_signals_and_a_stop(lab: LabHost, baleine: Any) -> None:
    script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    typist = Typist(lab, ["container", "run", "-c", "term", "-it", "-i", "tiny", "--", "sh", "-c", script])
    typist.sees("ready")
    baleine("container", "stop", "term", "-t", "1000")
    typist.sees("told")
    assert typist.ends() == 9


def test_a_terminal_is_refused_if_the_caller_has_none_and_nothing_is_created(baleine: Any) -> None:
    done = baleine("container", "run", "-it", "-i", "tiny", "--", "sh", check=False, input="")
    assert done.returncode == 2 and "no terminal" in done.stderr
    assert baleine("container", "list", "-aq").stdout == ""


def test_the_image_can_be_created_by_the_same_command(lab: LabHost, baleine: Any) -> None:
    words = ["--create-image", "--from-image", "tiny", "--packages", "none", "-s", "96M"]
    for _again in range(2):
        assert baleine("container", "run", "--rm", "-i", "own:2", *words, "--", "cat", "/www/index.html").stdout
    assert "own:2" in baleine("image", "list", "-q").stdout.split()
    baleine("image", "remove", "own:2")
    refused = baleine("container", "create", "-i", "tiny", "-c", "x", "-p", "true", "--suite", "sid", check=False)
    assert refused.returncode == 2 and "--create-image" in refused.stderr


def test_exec_has_a_terminal_with_size_keys_and_exit_code(lab: LabHost, running: str) -> None:
    script = f"tty; {SIZE}; read x; {LATER}; echo got $x; sleep 100"
    typist = Typist(lab, ["container", "exec", "-c", running, "-it", "--", "sh", "-c", script])
    typist.sees("/dev/pts/0")
    typist.sees("33 101")
    typist.resize(40, 120)
    typist.types("word\r")
    typist.sees("40 120")
    typist.sees("got word")
    typist.types("\x03")
    assert typist.ends() == 130


def test_exec_without_a_terminal_is_connected_by_pipes_only(lab: LabHost, running: str) -> None:
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
    baleine("container", "exec", running, "--", "sh", "-c", "echo '#!/bin/python9' >/tmp/lost; chmod 755 /tmp/lost")
    for program, code in (
        (["nothing"], 127),
        (["/tmp/lost"], 127),
        (["/etc/passwd"], 126),
        (["sh", "-c", "exit 3"], 3),
    ):
        assert baleine("container", "exec", running, "--", *program, check=False).returncode == code
    for folder in ("/nowhere", "/etc/passwd"):
        refused = baleine("container", "exec", running, "-w", folder, "--", "true", check=False)
        assert refused.returncode == 125 and f"container {running}: working directory {folder}" in refused.stderr
    assert baleine("container", "exec", running, "-w", "var/tmp", "--", "pwd").stdout == "/var/tmp\n"


def test_runc_does_the_same_if_crun_is_missing(lab: LabHost, baleine: Any) -> None:
    crun = lab.sh("command -v crun").stdout.strip()
    lab.run(["mv", crun, f"{crun}.off"])
    try:
        assert baleine(*RUN, "--", "sh", "-c", "exit 7", check=False).returncode == 7
        assert (
            baleine("container", "run", "-c", "old", "-i", "-i", "tiny", "--", "cat", input="piped").stdout == "piped"
        )
        baleine("container", "start", "old")
        baleine("container", "create", "-c", "web", "-i", "tiny", "-p", "sleep 1000")
        for words in (["run", "--rm", "-it", "-i", "tiny"], ["exec", "-it", "web"]):
            # runc 1.1.5 may keep what a program writes first until more follows: the size is written again and again
            script = f"while :; do stty size <&1; sleep 0.1; done & read x; kill $!; {LATER}; exec sleep 100"
            typist = Typist(lab, ["container", *words, "--", "sh", "-c", script])
            typist.sees("33 101")
            typist.resize(40, 120)
            typist.types("word\r")
            typist.sees("40 120")
            typist.types("\x03")
            assert typist.ends() == 130
        baleine("container", "remove", "old", "web")
    finally:
        lab.run(["mv", f"{crun}.off", crun])
