# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that try to pass each limit of a container: one table of cases, for cgroup v1 here and v2 in the guest."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from tests.lab import kernel
from tests.lab.run import wait_for
from tests.lab.target import Target

SLEEP = ["sleep", "100000"]
MIB = 1 << 20
#: How often something is measured at most until it is as it shall be.
ATTEMPTS = 8


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
        """Run a shell line inside; returns what it printed, errors too."""
        words = [
            "/usr/local/bin/baleine",
            "container",
            "exec",
            "-c",
            self.name,
            "--",
            "sh",
            "-c",
            f"exec 2>&1; {script}",
        ]
        return self.machine.run(words, check=check).stdout

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

    def clocked(self, *paths: str) -> tuple[float, str]:
        """The time, in seconds after boot, and what is in files then.

        One program reads all of it: between two of them others may have the processor for long.
        """
        clock, _newline, text = self.machine.run(["cat", "/proc/uptime", *paths]).stdout.partition("\n")
        return float(clock.split()[0]), text

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

    def repeat(self, program: str) -> None:
        """Run a program again and again until end()."""
        self.begin(f"touch /go /going; while [ -e /go ]; do {program}; done; rm /going")

    def end(self, program: str = "dd") -> None:
        """End what repeat() started, and wait until what it wrote is on the device.

        A round that begins while another is being killed is killed in its turn: left alone, it would write beside
        what is measured next.
        """
        self.do(f"rm /go; while [ -e /going ]; do killall -9 {program}; sleep 0.1; done; sync -f /root")


def rate(it: Limited, path: str, field: int, seconds: float, settle: float = 1.0) -> float:
    """How much a counter, a word of a file, grows a second, over a window that begins after ``settle`` seconds."""
    time.sleep(settle)
    start, before = it.clocked(path)
    time.sleep(seconds)
    end, after = it.clocked(path)
    return (int(after.split()[field]) - int(before.split()[field])) / (end - start)


def holds(measure: Callable[[], float], wanted: float, tolerance: float = 0.15) -> None:
    """What is measured is what is wanted, if not the first time.

    What else the machine does can keep a program from its share for a while. One that nothing holds back has too much
    every time.
    """
    seen = list[float]()
    while not seen or (abs(seen[-1] / wanted - 1) > tolerance and len(seen) < ATTEMPTS):
        seen.append(measure())
    assert abs(seen[-1] / wanted - 1) <= tolerance, (wanted, seen)


def nanoseconds(text: str) -> list[int]:
    """The times that the files of one or more groups tell."""
    scale = 1000 if "usage_usec" in text else 1
    return [int(number) * scale for number in re.findall(r"^(?:usage_usec )?(\d+)$", text, re.MULTILINE)]


def gets(it: Limited, cpus: float) -> None:
    """It has no more than so much of a CPU, and no less in the periods of a tenth of a second in which it wanted more.

    In the others what else the machine does may have kept it from its share.
    """

    def held_back(text: str) -> int:
        return int(text.split()[text.split().index("nr_throttled") + 1])

    files, seen = it.cpu_files(), list[tuple[float, float]]()
    while not seen or ((seen[-1][0] > cpus * 1.1 or seen[-1][1] < cpus * 0.9) and len(seen) < ATTEMPTS):
        time.sleep(1)
        start, before = it.clocked(*files)
        time.sleep(4)
        assert wait_for(lambda before=before: held_back(it.clocked(*files)[1]) >= held_back(before) + 20, 120, 1)
        end, after = it.clocked(*files)
        used = (nanoseconds(after)[0] - nanoseconds(before)[0]) / 1e9
        seen.append((used / (end - start), used / ((held_back(after) - held_back(before)) * 0.1)))
    assert seen[-1][0] <= cpus * 1.1 and seen[-1][1] >= cpus * 0.9, seen


def a_memory_hog_is_killed_inside_its_limit_and_the_host_lives(it: Limited) -> None:
    hog = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo never"
    it.set(command=["sh", "-c", hog], limits={"memory": "48M"})
    assert wait_for(lambda: it.facts()["state"] == "stopped", 120)
    facts = it.facts()
    assert (facts["exit_code"], facts["oom_kills"]) == (137, 1)
    assert "never" not in it.machine.read(facts["log"])
    assert it.machine.run(["true"]).returncode == 0


def two_busy_processes_at_half_a_cpu_get_half_a_cpu_and_a_change_bites_at_once(it: Limited) -> None:
    pid = it.set(limits={"cpus": 0.5})["pid"]
    it.begin("while :; do :; done & while :; do :; done")
    gets(it, 0.5)
    assert it.set(limits={"cpus": 0.25})["pid"] == pid
    gets(it, 0.25)


def a_lighter_container_gets_less_of_a_cpu_that_both_want(it: Limited, other: Limited) -> None:
    it.set(limits={"cpu_weight": 400, "cpuset": "0"})
    other.set(limits={"cpuset": "0"})
    for one in (it, other):
        one.begin("while :; do :; done")

    files = [it.cpu_files()[0], other.cpu_files()[0]]

    def ratio() -> float:
        time.sleep(1)
        before = nanoseconds(it.clocked(*files)[1])
        time.sleep(4)
        heavy, light = (now - was for now, was in zip(nanoseconds(it.clocked(*files)[1]), before))
        return heavy / light

    holds(ratio, 4, 0.2)
    other.machine.module("baleine_container", name=other.name, state="absent")
    assert it.do("grep Cpus_allowed_list /proc/self/status").split()[1] == "0"


def direct_and_buffered_writes_reach_the_device_at_the_rate_asked(it: Limited) -> None:
    pid = it.set(limits={"io_write_rate": "4M"})["pid"]
    it.repeat("dd if=/dev/zero of=/root/direct bs=64k count=256 oflag=direct conv=notrunc")
    written = it.counts()

    def mebibytes() -> float:
        return rate(it, written, 6, 10, 2) * 512 / MIB

    holds(mebibytes, 4)
    it.end()
    # the kernel's flusher writes, in rounds that are long beside what is between two of them, and counted as a whole
    it.repeat("dd if=/dev/zero of=/root/buffered bs=64k count=32 conv=notrunc; sync -f /root")
    holds(mebibytes, 4)
    assert it.set(limits={"io_write_rate": "8M"})["pid"] == pid
    holds(mebibytes, 8)


def reads_and_operations_are_limited_too(it: Limited) -> None:
    it.set(limits={"io_read_rate": "4M", "io_write_ops": 50})
    it.do("dd if=/dev/zero of=/root/data bs=1M count=24 conv=fsync")
    it.repeat("dd if=/root/data of=/dev/null bs=64k iflag=direct")

    holds(lambda: rate(it, it.counts(), 2, 4) * 512 / MIB, 4)
    it.end()
    it.repeat("dd if=/dev/zero of=/root/data bs=4k count=2000 oflag=direct conv=notrunc")
    holds(lambda: rate(it, it.counts(), 4, 4), 50)


def a_fork_bomb_stops_at_the_limit(it: Limited) -> None:
    it.set(limits={"pids": 40})
    before = it.group("pids/pids.events", "pids.events").split()
    it.begin("i=0; while [ $i -lt 400 ]; do sleep 100000 & i=$((i + 1)); done")
    assert wait_for(lambda: it.group("pids/pids.events", "pids.events").split() != before)
    assert 30 <= int(it.group("pids/pids.current", "pids.current")) <= 40
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


def a_plain_transfer_stays_at_the_network_rate_in_both_directions(it: Limited) -> None:
    it.machine.module("baleine_bridge", name="rates", addresses=["192.168.77.1/24"])

    def rates(**values: str) -> list[dict[str, Any]]:
        return [{"bridge": "rates", "addresses": ["192.168.77.9/24"], **values}]

    facts = it.set(networks=rates(rate_in="16mbit", rate_out="8mbit"))
    (interface,) = facts["interfaces"]
    assert (interface["rate_in"], interface["rate_out"]) == (16_000_000, 8_000_000)

    def held() -> tuple[list[int], list[int]]:
        """The rates of the token buckets at both ends: what goes in, and what comes out."""
        outside, inside = kernel.of_each(it.machine, None, facts["pid"])
        return outside.rates(interface["link"]), inside.rates("eth0")

    assert held() == ([16_000_000], [8_000_000])
    where = f"/sys/class/net/{interface['link']}/statistics"

    def transfer(to: bool, rate_now: Callable[[], None]) -> None:
        """Fill one direction alone (the answers of one would wait behind the data of the other), then measure."""
        it.begin(f"nc -l -p {5000 + to} {'>/dev/null' if to else '</dev/zero'}")
        it.do(f"until grep -q ':{5000 + to:04X} ' /proc/net/tcp*; do sleep 0.05; done")
        way = "cat /dev/zero >/dev/tcp/192.168.77.9/5001" if to else "cat </dev/tcp/192.168.77.9/5000 >/dev/null"
        it.machine.sh(f"timeout 300 bash -c '{way}' </dev/null >/dev/null 2>&1 &")
        rate_now()
        it.do("killall nc", check=False)

    def passed(counter: str) -> float:
        return rate(it, f"{where}/{counter}", 0, 4) * 8 / 1e6

    def inward() -> None:
        holds(lambda: passed("tx_bytes"), 16)

    def outward() -> None:
        holds(lambda: passed("rx_bytes"), 8)
        assert it.set(networks=rates(rate_in="4mbit", rate_out="24mbit"))["pid"] == facts["pid"]
        holds(lambda: passed("rx_bytes"), 24)

    transfer(True, inward)
    transfer(False, outward)
    assert "Operation not permitted" in it.do("ip link set dev eth0 down", check=False)
    it.machine.sh(f"nsenter -n -t {facts['pid']} tc qdisc del dev eth0 root")
    healed = it.machine.module(
        "baleine_container", name=it.name, image=it.image, command=SLEEP, stop_timeout=0,
        networks=rates(rate_in="4mbit", rate_out="24mbit"),
    )  # fmt: skip
    assert healed["drift"] == [f"container {it.name}: eth0: rate_out none -> 24mbit"]
    assert held() == ([4_000_000], [24_000_000])
    baleine = ["/usr/local/bin/baleine", "container"]
    for text, seen in (("6mbit", (6_000_000, 24_000_000)), ("/none", (6_000_000, None)), ("", (6_000_000, None))):
        it.machine.run([*baleine, "update", it.name, "--rate", text])
        (shown,) = json.loads(it.machine.run([*baleine, "inspect", it.name, "--format", "json"]).stdout)
        assert [(one["rate_in"], one["rate_out"]) for one in shown["interfaces"]] == [seen]
        assert shown["pid"] == facts["pid"]
    assert held() == ([6_000_000], [])
    for text, words in (("6mbit,7mbit", "has 2 elements"), ("1mbit/2mbit/3mbit", "write it as IN[/OUT]")):
        refused = it.machine.run([*baleine, "update", it.name, "--rate", text], check=False)
        assert refused.returncode == 2 and words in refused.stderr
    assert it.set(networks=rates())["interfaces"][0]["rate_in"] is None
    assert held() == ([], [])


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


def a_container_shares_the_network_of_another_and_follows_it(it: Limited, other: Limited) -> None:
    it.machine.module("baleine_bridge", name="rates", addresses=["192.168.77.1/24"])
    networks = [{"bridge": "rates", "addresses": ["192.168.77.9/24"]}]
    refused = it.set(expect_failure=True, share_network=other.name)
    assert f"share_network: container {other.name} does not run" in refused["msg"]
    first = other.set(networks=networks, command=["httpd", "-f", "-p", "127.0.0.1:80", "-h", "/www"])
    mine = it.set(share_network=other.name)
    assert mine["first_id"] == first["first_id"]

    def spaces(pid: int, *kinds: str) -> list[str]:
        return it.machine.sh("; ".join(f"readlink /proc/{pid}/ns/{kind}" for kind in kinds)).stdout.split()

    assert spaces(mine["pid"], "net", "user") == spaces(first["pid"], "net", "user")
    apart = (
        spaces(mine["pid"], "pid", "mnt", "ipc", "uts", "cgroup"),
        spaces(first["pid"], "pid", "mnt", "ipc", "uts", "cgroup"),
    )
    assert not set(apart[0]) & set(apart[1])

    def answered() -> bool:
        return it.do("wget -q -O - http://127.0.0.1/", check=False).strip() == "tiny"

    assert wait_for(answered)  # by the other's own loopback
    networks_of_both = kernel.of_each(it.machine, mine["pid"], first["pid"])
    assert networks_of_both[0].links["eth0"].addresses == ("192.168.77.9/24",)
    assert networks_of_both[0].links == networks_of_both[1].links
    assert it.do("touch /mine; stat -c %u /mine").strip() == "0"
    arguments = {"name": it.name, "image": it.image, "command": SLEEP, "stop_timeout": 0, "share_network": other.name}
    assert not it.machine.module("baleine_container", **arguments)["changed"]
    other.machine.module("baleine_container", name=other.name, restart=True)
    followed = it.machine.module("baleine_container", **arguments)
    assert followed["drift"] == [f"container {it.name}: the network of {other.name} is a new one"]
    assert wait_for(answered)
    alone = it.set(recreate="on_change")  # with a network and ids of its own again
    assert alone["first_id"] != first["first_id"]
    assert set(kernel.of(it.machine, alone["pid"]).links) == {"lo"}
    assert it.do("stat -c %u /mine").split() == ["0"]
    other.machine.module("baleine_container", name=other.name, state="absent")


CASES = (
    a_memory_hog_is_killed_inside_its_limit_and_the_host_lives,
    two_busy_processes_at_half_a_cpu_get_half_a_cpu_and_a_change_bites_at_once,
    direct_and_buffered_writes_reach_the_device_at_the_rate_asked,
    reads_and_operations_are_limited_too,
    a_fork_bomb_stops_at_the_limit,
    a_device_that_is_not_given_answers_eperm_and_one_that_is_can_be_used,
    a_plain_transfer_stays_at_the_network_rate_in_both_directions,
    limits_changed_by_hand_are_seen_and_healed,
    the_command_line_changes_one_limit_and_leaves_the_others,
    an_exec_is_inside_the_same_limits_namespaces_and_privileges_as_the_program,
)
