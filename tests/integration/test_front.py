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
#: An exec by crun 1.8.1 gives the terminal its size a moment after the program began. Until then busybox' stty says
#: nothing, and ends with 0.
SIZE = "until stty size 2>/dev/null | grep .; do sleep 0.1; done"
LATER = "until stty size | grep '40 120'; do sleep 0.1; done"
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

    def sees(self, text: str, seconds: float = 60) -> None:
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
        code = self.process.wait(timeout=120)
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


@pytest.fixture
def running(lab: LabHost, baleine: Any) -> str:
    """The name of a container that runs."""
    baleine("container", "create", "-c", "web", "-i", "tiny", "-e", "OWN=1", "-p", "sleep 1000", "--pids", "50")
    return "web"


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


def shown(baleine: Any, name: str) -> dict[str, Any]:
    """What inspect says of a container."""
    found: dict[str, Any] = json.loads(baleine("container", "inspect", name, "--format", "json").stdout)[0]
    return found


def test_kill_ends_a_container_at_once_and_keeps_it_stopped(lab: LabHost, baleine: Any, running: str) -> None:
    baleine("container", "kill", "-c", running)
    facts = shown(baleine, running)
    assert (facts["state"], facts["wanted_state"]) == ("stopped", "stopped")
    assert lab.run(["pgrep", "-fx", "sleep 1000"], check=False).stdout == ""
    again = baleine("container", "kill", running, check=False)
    assert again.returncode == 1 and "does not run" in again.stderr


def test_kill_passes_another_signal_on(lab: LabHost, baleine: Any) -> None:
    script = "trap 'echo told' USR1; echo ready; while :; do sleep 0.1; done"
    baleine("container", "create", "-c", "sig", "-i", "tiny", "-p", f'sh -c "{script}"')
    assert wait_for(lambda: baleine("container", "logs", "sig").stdout == "ready\n")
    baleine("container", "kill", "sig", "-s", "SIGUSR1")
    assert wait_for(lambda: baleine("container", "logs", "sig").stdout == "ready\ntold\n")
    assert shown(baleine, "sig")["state"] == "running"
    refused = baleine("container", "kill", "sig", "-s", "NONE", check=False)
    assert refused.returncode == 1 and "NONE" in refused.stderr


def test_a_paused_container_is_listed_as_paused_and_can_be_stopped(lab: LabHost, baleine: Any, running: str) -> None:
    baleine("container", "pause", running)
    assert baleine("container", "list").stdout.splitlines()[1].split()[:3] == [running, "tiny", "paused"]
    assert "FROZEN" in lab.sh("cat /sys/fs/cgroup/freezer/baleine/*/freezer.state").stdout
    baleine("container", "unpause", running)
    assert shown(baleine, running)["state"] == "running"
    refused = baleine("container", "unpause", running, check=False)
    assert refused.returncode == 1 and "it is running" in refused.stderr
    baleine("container", "pause", running)
    baleine("container", "stop", running, "-t", "1000")
    assert shown(baleine, running)["state"] == "stopped"
    assert baleine("container", "pause", running, check=False).returncode == 1


def test_a_pause_by_the_module_is_predicted_and_done_once(lab: LabHost, baleine: Any, running: str) -> None:
    for check, changed in ((True, True), (False, True), (False, False), (True, False)):
        result = lab.module("baleine_container", name=running, state="paused", check=check)
        assert result["changed"] is changed
    assert shown(baleine, running)["state"] == "paused"
    baleine("container", "kill", running)
    assert shown(baleine, running)["state"] == "stopped"


def test_logs_of_the_last_lines_are_read_from_the_end(baleine: Any) -> None:
    baleine("container", "run", "-c", "long", "-i", "tiny", "--", "seq", "1", "200000")
    assert baleine("container", "logs", "-c", "long", "-n", "2").stdout == "199999\n200000\n"
    assert baleine("container", "logs", "long", "--tail=0").stdout == ""
    assert len(baleine("container", "logs", "long", "--tail", "100000").stdout.splitlines()) == 100_000
    assert baleine("container", "logs", "long").stdout == "".join(f"{n}\n" for n in range(1, 200_001))
    assert baleine("container", "logs", "no-one", check=False).returncode == 1


def test_logs_follow_until_the_container_has_ended_also_across_a_cut(lab: LabHost, baleine: Any) -> None:
    script = "seq 1 50000; while [ ! -e /go ]; do sleep 0.05; done; seq 50001 50010; exit 0"
    create = ("container", "create", "-c", "cut", "-i", "tiny", "--log-size", "64K", "--restart", "no")
    baleine(*create, "-p", f"sh -c '{script}'")
    follower = lab.popen([BALEINE, "container", "logs", "-c", "cut", "-f"], stdout=subprocess.PIPE)
    assert follower.stdout is not None
    seen = [follower.stdout.readline() for _line in range(50_000)]
    before = lab.path("/var/log/baleine/cut.log").stat().st_size
    baleine("supervise")
    assert lab.path("/var/log/baleine/cut.log").stat().st_size < before
    baleine("container", "exec", "cut", "--", "touch", "/go")
    seen += follower.stdout.read().splitlines(keepends=True)
    assert follower.wait(timeout=120) == 0
    assert seen == [f"{number}\n" for number in range(1, 50_011)]


def test_logs_since_a_time_leave_out_earlier_lines(lab: LabHost, baleine: Any) -> None:
    script = "echo early; while [ ! -e /go ]; do sleep 0.05; done; echo late; sleep 100"
    baleine("container", "create", "-c", "since", "-i", "tiny", "-p", f"sh -c '{script}'")
    assert wait_for(lambda: baleine("container", "logs", "since").stdout == "early\n")
    an_hour_ago = {"BALEINE_NOW": str(int(time.time()) - 3600)}
    lab.run([BALEINE, "supervise"], env=an_hour_ago)  # which marks where the log ends
    baleine("container", "exec", "since", "--", "touch", "/go")
    assert wait_for(lambda: "late" in baleine("container", "logs", "since").stdout)
    for time_ago in ("0s", "59m"):
        assert baleine("container", "logs", "since", "--since", time_ago).stdout == "late\n"
    assert baleine("container", "logs", "since", "--since", "2h").stdout == "early\nlate\n"
    assert baleine("container", "logs", "since", "--since", "2001-02-03T04:05:06Z").stdout == "early\nlate\n"
    assert baleine("container", "logs", "since", "--since", "soon", check=False).returncode == 2


def stats(baleine: Any) -> dict[str, dict[str, Any]]:
    """What stats says of each container that runs."""
    found = json.loads(baleine("container", "stats", "--format", "json").stdout)
    return {entry["name"]: entry for entry in found}


def cpu_used(lab: LabHost, name: str) -> float:
    """The seconds that a container has been on a CPU, as the kernel counts them."""
    return int(lab.read(f"/sys/fs/cgroup/cpuacct/baleine/{name}/cpuacct.usage")) / 1e9


def test_the_numbers_of_stats_change(lab: LabHost, baleine: Any) -> None:
    lab.module("baleine_bridge", name="stats", addresses=["10.9.0.1/24"])
    script = (
        "ping -c 2 10.9.0.1 >/dev/null; dd if=/dev/zero of=/big bs=64k count=64 conv=fsync 2>/dev/null; "
        "while :; do :; done"
    )
    network = ("-b", "stats", "-a", "10.9.0.2/24", "--memory", "64M")
    baleine("container", "create", "-c", "busy", "-i", "tiny", *network, "-p", f"sh -c '{script}'")

    def in_loop() -> bool:
        """PID 1 and the shell alone: what comes before the loop has ended, and is written."""
        busy = stats(baleine)["busy"]
        return bool(busy["pids"] == 2 and busy["written_bytes"] >= 64 << 16)

    assert wait_for(in_loop)
    before = cpu_used(lab, "busy")
    first = stats(baleine)["busy"]
    after = cpu_used(lab, "busy")
    assert before <= first["cpu_seconds"] <= after
    # of two looks, half a second apart at least; rounded to one digit
    assert first["cpu_percent"] <= 100 * (after - before) / 0.5 + 0.05
    assert wait_for(lambda: stats(baleine)["busy"]["cpu_percent"] > 0)
    assert wait_for(lambda: stats(baleine)["busy"]["cpu_seconds"] > first["cpu_seconds"])
    assert first["pids"] == 2
    assert first["memory_limit"] == 64 << 20 and 0 < first["memory_percent"] < 50
    assert first["interfaces"]["eth0"]["sent"] >= 2 * 98
    assert first["written_bytes"] >= 64 << 16 and first["writes"] >= 64
    assert first["read_bytes"] > 0 and first["reads"] > 0
    baleine("container", "remove", "busy")
    lab.module("baleine_bridge", name="stats", state="absent")


def test_stats_of_a_container_that_sleeps_say_that_it_uses_nothing(lab: LabHost, baleine: Any, running: str) -> None:
    def looked_while_asleep() -> Any:
        """What stats says and what the kernel counted, if the kernel counted nothing meanwhile."""
        before = cpu_used(lab, running)
        found = stats(baleine)[running]
        return (found, before) if cpu_used(lab, running) == before else None

    found, counted = wait_for(looked_while_asleep)
    assert found["cpu_percent"] == 0
    assert found["cpu_seconds"] == pytest.approx(counted)
    rows = baleine("container", "stats", "-c", running).stdout.splitlines()
    assert [line.split()[0] for line in rows] == ["NAME", running]
    assert baleine("container", "stats", "no-one", check=False).returncode == 1


def test_lists_are_filtered_and_prune_removes_containers_that_are_meant_to_be_stopped(
    baleine: Any, running: str
) -> None:
    for name, label in (("one", "team=a"), ("two", "team=b"), ("three", "other=x")):
        baleine("container", "create", "-c", name, "-i", "tiny", "--label", label, "-p", "sleep 1000")

    def listed(*filters: str) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return str(baleine("container", "list", "-q", *words).stdout).split()

    assert listed("label=team") == ["one", "two"]
    assert listed("label=team=b") == ["two"]
    assert listed("label=team", "image=tiny", "state=running") == ["one", "two"]
    baleine("container", "stop", "one", "three")
    assert listed("state=stopped") == ["one", "three"]
    assert baleine("container", "list", "--filter", "age=1", check=False).returncode == 2
    assert baleine("container", "prune", "-n").stdout == "one\nthree\n"
    assert baleine("container", "prune", "--filter", "label=team").stdout == "one\n"
    assert baleine("container", "prune").stdout == "three\n"
    assert baleine("container", "list", "-aq").stdout.split() == ["two", "web"]


def record_of(lab: LabHost, name: str) -> Any:
    return lab.path(f"/var/lib/baleine/manifeste/containers/{name}.manifest")


def test_a_list_is_correct_after_a_kill_a_reboot_and_a_reused_pid(lab: LabHost, baleine: Any, running: str) -> None:
    baleine("container", "create", "-c", "other", "-i", "tiny", "-p", "sleep 1000")
    lab.run(["kill", "-9", str(shown(baleine, running)["pid"])])
    assert wait_for(lambda: baleine("container", "list", "-q").stdout == "other\n")
    assert "pid:\n" in record_of(lab, running).read_text()
    pid = shown(baleine, "other")["pid"]
    text = record_of(lab, "other").read_text()
    for wrong in (
        text.replace("boot_id: ", "boot_id: 0"),
        text.replace(f"pid: {pid}", "pid: 1"),
        text.replace("start_ticks: ", "start_ticks: 1"),
    ):
        assert wrong != text
        record_of(lab, "other").write_text(wrong)
        assert baleine("container", "list", "-q").stdout == ""
        assert baleine("container", "list", "-aq").stdout == "other\nweb\n"
    record_of(lab, "other").write_text(text)
    assert baleine("container", "list", "-q").stdout == "other\n"


@pytest.mark.parametrize(
    ("program", "options", "code"),
    [
        ("true", (), 0),
        ("sh -c 'exit 7'", (), 7),
        ("sh -c 'kill -9 $$'", (), 137),
        ('awk \'BEGIN { while (1) { s = s sprintf("%1000000s", "") } }\'', ("--memory", "16M"), 137),
    ],
    ids=["0", "7", "killed", "out of memory"],
)
def test_the_exit_code_of_a_detached_program_is_correct(
    baleine: Any, program: str, options: Sequence[str], code: int
) -> None:
    baleine("container", "create", "-c", "code", "-i", "tiny", "--restart", "no", *options, "-p", program)
    assert wait_for(lambda: shown(baleine, "code")["state"] == "stopped")
    assert shown(baleine, "code")["exit_code"] == code


def test_a_program_that_daemonises_lives_on_and_a_thousand_orphans_leave_no_zombie(lab: LabHost, baleine: Any) -> None:
    script = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; (sleep 1000 &); echo done"
    baleine("container", "create", "-c", "forks", "-i", "tiny", "-p", f"sh -c '{script}'")
    assert wait_for(lambda: baleine("container", "logs", "forks").stdout == "done\n", 60)

    def states() -> list[str]:
        script = "for id in $(cat /sys/fs/cgroup/pids/baleine/forks/cgroup.procs); do cat /proc/$id/stat || true; done"
        return [line.rpartition(")")[2].split()[0] for line in lab.sh(script).stdout.splitlines()]

    assert wait_for(lambda: len(states()) == 2)
    assert "Z" not in states()
    assert wait_for(lambda: lab.sh("ps -eo stat,comm | grep -c '^Z' || true").stdout == "0\n")
    facts = shown(baleine, "forks")
    assert facts["state"] == "running"
    baleine("container", "stop", "forks", "-t", "1000")


def test_many_containers_are_created_listed_and_removed_without_a_trace(
    lab: LabHost, baleine: Any, record_property: Any
) -> None:
    names = [f"many{number}" for number in range(12)]
    for name in names:
        baleine("container", "create", "-c", name, "-i", "tiny", "-p", "sleep infinity")
    begin = time.monotonic()
    assert baleine("container", "list", "-q").stdout.split() == sorted(names)
    record_property("list_seconds", time.monotonic() - begin)
    begin = time.monotonic()
    baleine("container", "stop", names[0], "-t", "1000")
    record_property("stop_seconds", time.monotonic() - begin)
    baleine("container", "stop", *names[1:])
    baleine("container", "remove", *names)
    assert lab.leaks() == []
