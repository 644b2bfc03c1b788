# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that try to pass each limit of a container: one table of cases, for cgroup v1 here and v2 in the guest.

A busy machine gives a program less than its limit allows. So what is judged is what the kernel never lets happen
(more than the limit), and what it counts when the limit, and not the machine, holds a program back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.lab import agent
from tests.lab.agent import Call
from tests.lab.run import wait_for
from tests.lab.target import Target

SLEEP = ["sleep", "100000"]
MIB = 1 << 20
#: Seconds in which a busy machine gives a program what it needs for once.
LONG = 900.0
#: Seconds of its rate that the kernel lets pass at once after a pause (block/blk-throttle.c, two slices), and more.
BURST = 0.3


class Sample(NamedTuple):
    """What counters held at one moment between two of the kernel's clock, in seconds after boot."""

    earliest: float
    latest: float
    text: str

    def seconds_since(self, start: Sample) -> float:
        """The longest time that can lie between both: whoever reads may lose the processor between clock and counter."""
        return self.latest - start.earliest + 0.01  # the clock counts hundredths


class Limited:
    """A container of a machine whose limits are tried.

    :param base: what every container of the table is made with.
    """

    def __init__(self, machine: Target, name: str, image: str) -> None:
        self.machine, self.name, self.image = machine, name, image

    def set(self, expect_failure: bool = False, **options: Any) -> dict[str, Any]:
        """Create it or change it; what is given is the whole truth."""
        settings: dict[str, Any] = {"image": self.image, "command": SLEEP, "stop_timeout": 0, **options}
        done = self.machine.module("baleine_container", name=self.name, expect_failure=expect_failure, **settings)
        return done if expect_failure else done["container"]

    def do(self, script: str, check: bool = True) -> str:
        """Run a shell line inside; returns what it printed, errors too.

        By the module: its process is warm, which an emulated processor makes five times as quick.
        """
        argv = ["sh", "-c", f"exec 2>&1; {script}"]
        (done,) = self.machine.together([Call("baleine_container_exec", {"name": self.name, "argv": argv})])
        said = agent.result(done)
        if check and said.get("failed"):
            raise AssertionError(f"{script}: {said}")
        return str(said.get("stdout", ""))

    def begin(self, script: str) -> None:
        """Start a shell line inside that goes on by itself."""
        self.do(f"({script}) >/dev/null 2>&1 </dev/null &")

    def facts(self) -> dict[str, Any]:
        shown = self.machine.run(["/usr/local/bin/baleine", "container", "inspect", self.name, "--format", "json"])
        found: dict[str, Any] = json.loads(shown.stdout)[0]
        return found

    def record(self) -> dict[str, str]:
        text = self.machine.read(f"/var/lib/baleine/manifeste/containers/{self.name}.manifest")
        return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}

    def file(self, path: str) -> str:
        """A control file of its group: ``CONTROLLER/FILE`` on v1, ``FILE`` on v2."""
        controller, _slash, file = path.rpartition("/")
        return f"/sys/fs/cgroup/{controller}/baleine/{self.name}/{file}"

    def group(self, v1: str, v2: str) -> str:
        """The text of a control file of its group."""
        return self.machine.sh(f"cat {self.file(v1)} 2>/dev/null || cat {self.file(v2)}").stdout

    def sample(self, script: str) -> Sample:
        """What a shell line of the machine prints, between two readings of the clock."""
        clock = "cut -d ' ' -f 1 /proc/uptime"
        first, *lines, last = self.machine.sh(f"{clock}; {script}; {clock}").stdout.splitlines()
        return Sample(float(first), float(last), "\n".join(lines))

    def cpu_files(self) -> list[str]:
        """Where its group counts the time that it has had, and the periods in which it had no more of it."""
        one = [self.file("cpuacct/cpuacct.usage"), self.file("cpu/cpu.stat")]
        return one if self.machine.run(["test", "-e", one[0]], check=False).returncode == 0 else [self.file("cpu.stat")]

    def loop(self) -> str:
        """The name of the loop device that its disk is on."""
        pid = self.record()["pid"]
        device = self.machine.sh(f"stat -L -c %d /proc/{pid}/root").stdout.strip()
        return f"loop{int(device) & 0xFF}"

    def counts(self) -> str:
        """The file of what its loop device has done (Documentation/block/stat.rst)."""
        return f"/sys/block/{self.loop()}/stat"

    def quota(self) -> float:
        """The CPUs that the kernel lets it have."""
        v2 = f"cat {self.file('cpu.max')}"
        v1 = f"cat {self.file('cpu/cpu.cfs_quota_us')} {self.file('cpu/cpu.cfs_period_us')}"
        quota, period = self.machine.sh(f"{v1} 2>/dev/null || {v2}").stdout.split()
        return int(quota) / int(period)


def nanoseconds(text: str) -> list[int]:
    """The times that the files of one or more groups tell."""
    scale = 1000 if "usage_usec" in text else 1
    return [int(number) * scale for number in re.findall(r"^(?:usage_usec )?(\d+)$", text, re.MULTILINE)]


def is_held_at(it: Limited, cpus: float) -> None:
    """The kernel has the quota and stops by it processes that want more; what they get is no more than that.

    A tick that comes late lets them have more for once, and less in the periods after it: so the window grows until
    the kernel has got that back.
    """
    files = f"cat {' '.join(it.cpu_files())}"
    start = it.sample(files)

    def throttled(sample: Sample) -> int:
        return int(re.findall(r"^nr_throttled (\d+)$", sample.text, re.MULTILINE)[0])

    def held() -> bool:
        now = it.sample(files)
        used = (nanoseconds(now.text)[0] - nanoseconds(start.text)[0]) / 1e9
        return throttled(now) >= throttled(start) + 10 and used <= cpus * 1.1 * now.seconds_since(start)

    assert it.quota() == cpus
    assert wait_for(held, LONG, 0.2), (start, it.sample(files))


def repeated(program: str, times: int) -> str:
    return f"for _turn in $(seq {times}); do {program} || exit; done"


def speed(it: Limited, script: str, field: int, limit: float, least: float) -> float:
    """How much a second a program moves, by a counter of its loop device: never more than the limit.

    Nothing is on its way to the device before and after, so that all of it passed the limit in that time.

    :param field: which word of the counters. :param least: how much of it the program moves.
    """
    counts = f"cat {it.counts()}"
    it.do("sync -f /root")
    start = it.sample(counts)
    it.do(script)
    end = it.sample(counts)
    moved = int(end.text.split()[field]) - int(start.text.split()[field])
    seconds = end.seconds_since(start)
    assert moved >= least  # none of it came from a cache
    assert moved <= limit * (seconds + BURST), (moved, seconds)
    return moved / seconds


def is_slower_than(it: Limited, bits: int, counters: Callable[[], Sample]) -> None:
    """The kernel holds back what it sends by a qdisc, and sends no more than so many bits a second."""

    def count(sample: Sample, key: str) -> int:
        return int(json.loads(sample.text)[0][key])

    start = counters()

    def grown() -> bool:
        now = counters()
        held_back = count(now, "overlimits") - count(start, "overlimits")
        return held_back >= 10 and count(now, "bytes") - count(start, "bytes") >= bits / 8

    assert wait_for(grown, LONG, 0.1), (start, counters())
    end = counters()
    burst = max(bits / 400, 20000) + 65536  # of the qdisc, and the largest packet
    sent = count(end, "bytes") - count(start, "bytes")
    assert sent <= bits / 8 * end.seconds_since(start) + burst


def a_memory_hog_is_killed_inside_its_limit_and_the_host_lives(it: Limited) -> None:
    hog = "dd if=/dev/zero of=/dev/null bs=100M count=1 && echo never"
    it.set(command=["sh", "-c", hog], limits={"memory": "48M"})
    assert wait_for(lambda: it.facts()["state"] == "stopped", LONG)
    facts = it.facts()
    assert (facts["exit_code"], facts["oom_kills"]) == (137, 1)
    assert "never" not in it.machine.read(facts["log"])
    assert it.machine.run(["true"]).returncode == 0


def two_busy_processes_get_no_more_cpu_than_they_may_and_a_change_bites_at_once(it: Limited) -> None:
    pid = it.set(limits={"cpus": 0.2})["pid"]
    it.begin("while :; do :; done & while :; do :; done")
    is_held_at(it, 0.2)
    assert it.set(limits={"cpus": 0.1})["pid"] == pid
    is_held_at(it, 0.1)


def a_lighter_container_gets_less_of_a_cpu_that_both_want(it: Limited, other: Limited) -> None:
    """The kernel is told 4:1, and gives the heavy one more than half of 4:1.

    Counted in time of that CPU, not of the day: what others take of it they take of both.
    """
    it.set(limits={"cpu_weight": 400, "cpuset": "0"})
    other.set(limits={"cpuset": "0"})
    told = [one.group("cpu/cpu.shares", "cpu.weight").strip() for one in (it, other)]
    assert told in (["4096", "1024"], ["400", "100"])
    assert it.do("grep Cpus_allowed_list /proc/self/status").split()[1] == "0"
    for one in (it, other):
        one.begin("while :; do :; done")
    # the heavy one's is read before and after the light one's: between two reads others may have the processor
    files = f"cat {it.cpu_files()[0]} {other.cpu_files()[0]} {it.cpu_files()[0]}"

    def both() -> list[int]:
        return nanoseconds(it.sample(files).text)

    begun = both()
    assert wait_for(lambda: min(now - was for now, was in zip(both(), begun)) > 1e7, LONG, 0.1)
    before = both()

    def shared() -> bool:
        """The time in which a guest stands still is charged to whoever runs then, and made good later."""
        now = both()
        heavy, light = now[2] - before[0], now[1] - before[1]
        return light > 5e8 and heavy > 2 * light

    assert wait_for(shared, LONG, 0.2), (before, both())
    other.machine.module("baleine_container", name=other.name, state="absent")


def comes_to(least: float, measure: Callable[[int], float]) -> bool:
    """Whether it is faster than that for once: more each time, so that the start of a command weighs less and less."""
    return any(measure(2**doubling) > least for doubling in range(8))


def direct_and_buffered_writes_reach_the_device_no_faster_than_asked(it: Limited) -> None:
    pid = it.set(limits={"io_write_rate": "1M"})["pid"]
    kinds = ("oflag=direct conv=notrunc", "conv=notrunc,fsync")

    def written(kind: str, mebibytes: int, limit: float, times: int = 1) -> float:
        """MiB a second; sectors have 512 bytes."""
        program = f"dd if=/dev/zero of=/root/data bs=64k count={mebibytes * 16} {kind}"
        sectors = MIB / 512
        moved = speed(it, repeated(program, times), 6, limit * sectors, mebibytes * times * sectors)
        return moved / sectors

    for kind in kinds:
        written(kind, 3, 1)
    assert it.set(limits={"io_write_rate": "16M"})["pid"] == pid
    for kind in kinds:  # the old limit has gone
        assert comes_to(1 + BURST, lambda times, kind=kind: written(kind, 16, 16, times))


def reads_and_operations_are_limited_too(it: Limited) -> None:
    it.set(limits={"io_read_rate": "1M", "io_write_ops": 50})
    it.do("dd if=/dev/zero of=/root/data bs=1M count=3 conv=fsync")

    def read(limit: float, times: int = 1) -> float:
        """MiB a second."""
        program = "dd if=/root/data of=/dev/null bs=64k iflag=direct"
        sectors = MIB / 512
        return speed(it, repeated(program, times), 2, limit * sectors, 3 * times * sectors) / sectors

    def operations(limit: float, times: int = 1) -> float:
        """Writes a second."""
        program = "dd if=/dev/zero of=/root/data bs=4k count=150 oflag=direct conv=notrunc"
        return speed(it, repeated(program, times), 4, limit, 150 * times)

    read(1)
    operations(50)
    it.set()
    assert comes_to(1 + BURST, lambda times: read(math.inf, 4 * times))
    assert comes_to(50 * (1 + BURST), lambda times: operations(math.inf, 4 * times))


def a_fork_bomb_stops_at_the_limit(it: Limited) -> None:
    it.set(limits={"pids": 40})
    before = it.group("pids/pids.events", "pids.events").split()
    it.begin("i=0; while [ $i -lt 400 ]; do sleep 100000 & i=$((i + 1)); done")
    assert wait_for(lambda: it.group("pids/pids.events", "pids.events").split() != before, LONG)
    assert 30 <= int(it.group("pids/pids.current", "pids.current")) <= 40  # the shell that could not fork has ended
    pid = it.record()["pid"]
    assert it.set(limits={"pids": 60})["pid"] == int(pid)
    assert it.do("echo alive").strip() == "alive"


def a_device_that_is_not_given_answers_eperm_and_one_that_is_can_be_used(it: Limited) -> None:
    node = "/dev/loop-control"
    share = [{"source": "/srv/node", "target": "/mnt/node", "read_only": False}]
    it.machine.sh(f"test -c {node}; [ -e /srv/node ] || mknod -m 666 /srv/node c 10 237")
    pid = it.set(volumes=share)["pid"]
    assert "Operation not permitted" in it.do(": </mnt/node", check=False)
    given = {"devices": [{"path": node, "access": "r"}]}
    assert it.set(volumes=share, limits=given)["pid"] == pid  # in place
    assert it.do(f": <{node} && echo opened").strip() == "opened"
    assert "Operation not permitted" in it.do(f": >>{node}", check=False)
    assert not it.machine.module(
        "baleine_container", name=it.name, image=it.image, command=SLEEP, stop_timeout=0, volumes=share, limits=given
    )["changed"]
    it.set(volumes=share)
    assert it.do(f"ls {node}", check=False).strip().endswith("No such file or directory")
    it.machine.module("baleine_container", name=it.name, state="stopped")
    it.set(volumes=share, limits=given)
    assert it.do(f": <{node} && stat -c '%u %a' {node}").split() == ["0", "666"]
    it.machine.sh("rm /srv/node")


def limits_changed_by_hand_are_seen_and_healed(it: Limited) -> None:
    limits = {"memory": "64M", "cpu_weight": 300, "io_write_rate": "5M", "pids": 30}
    pid = it.set(limits=limits)["pid"]
    where = f"/sys/fs/cgroup/*/baleine/{it.name}/cpu.shares /sys/fs/cgroup/baleine/{it.name}/cpu.weight"
    it.machine.sh(f"for f in {where}; do [ ! -e $f ] || echo 1000 >$f; done")
    healed = it.machine.module(
        "baleine_container", name=it.name, image=it.image, command=SLEEP, stop_timeout=0, limits=limits
    )
    assert [text.rpartition(" ")[0] for text in healed["drift"]] == [f"container {it.name}: limits.cpu_weight was"]
    assert healed["container"]["pid"] == pid
    assert not it.machine.module(
        "baleine_container", name=it.name, image=it.image, command=SLEEP, stop_timeout=0, limits=limits
    )["changed"]


def the_command_line_changes_one_limit_and_leaves_the_others(it: Limited) -> None:
    pid = it.set(limits={"memory": "64M", "pids": 30})["pid"]
    it.machine.run(["/usr/local/bin/baleine", "container", "update", it.name, "--pids", "50", "--io-write-rate", "9M"])
    it.machine.run(["/usr/local/bin/baleine", "container", "update", it.name, "--memory", "none"])
    record = it.record()
    limits = json.loads(record["limits"])
    assert (limits["memory"], limits["pids"], limits["io_write_rate"], record["pid"]) == (None, 50, 9 * MIB, str(pid))
    assert it.group("pids/pids.max", "pids.max").strip() == "50"


def an_exec_is_inside_the_same_limits_namespaces_and_privileges_as_the_program(it: Limited) -> None:
    """Compared with a child of PID 1 of the same program; the environment is the program's own, nothing of the host's."""
    shown = (
        "sed 's/:.*[:]/ /' /proc/self/cgroup | sort; cat /proc/self/cgroup | sort; readlink /proc/self/ns/*;"
        " grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|NSpid|Cpus_allowed_list|Mems_allowed_list)'"
        " /proc/self/status | sed 's/^NSpid.*/NSpid/'; cat /proc/self/limits /proc/self/uid_map /proc/self/gid_map"
        " /proc/self/oom_score_adj /proc/self/attr/current; pwd; umask; env | grep -v '^SHLVL=' | sort"
    )
    it.set(
        command=["sh", "-c", f"({shown}) 2>&1; echo whole; sleep 100000"],
        limits={"memory": "64M", "cpus": 0.5, "pids": 30},
    )
    log = it.machine.module("baleine_container", name=it.name)["container"]["log"]
    assert wait_for(lambda: it.machine.read(log).endswith("whole\n"))
    first = it.machine.read(log).splitlines()[:-1]
    words = ["/usr/local/bin/baleine", "container", "exec", "-c", it.name, "--", "sh", "-c", f"({shown}) 2>&1"]
    assert it.machine.run(words, env={"LEAKED": "yes"}).stdout.splitlines() == first


#: Cases that watch the kernel's counters of rates: quickest where nothing else wants the machine.
MEASURED = (
    two_busy_processes_get_no_more_cpu_than_they_may_and_a_change_bites_at_once,
    direct_and_buffered_writes_reach_the_device_no_faster_than_asked,
    reads_and_operations_are_limited_too,
)
CASES = (
    a_memory_hog_is_killed_inside_its_limit_and_the_host_lives,
    a_fork_bomb_stops_at_the_limit,
    a_device_that_is_not_given_answers_eperm_and_one_that_is_can_be_used,
    limits_changed_by_hand_are_seen_and_healed,
    the_command_line_changes_one_limit_and_leaves_the_others,
    an_exec_is_inside_the_same_limits_namespaces_and_privileges_as_the_program,
)
