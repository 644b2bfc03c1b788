# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on a whole Debian: systemd, cgroup v2, AppArmor, sessions that end, power that fails."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.guest import Guest
from tests.lab.held import Held
from tests.lab.run import wait_for

pytestmark = pytest.mark.in_order
GROUPS = "/sys/fs/cgroup"
DISKS = "/var/lib/baleine/containers"
FILES = ("cpu.max", "cpu.weight", "cpuset.cpus", "io.max", "memory.max", "memory.swap.max", "pids.max")
LIMITS = {"memory": "64M", "cpus": 0.5, "cpu_weight": 50, "cpuset": "0", "pids": 20, "io_write_rate": "8M"}
LIMITED = {
    "cpu.max": "50000 100000",
    "cpu.weight": "50",
    "cpuset.cpus": "0",
    "io.max": "rbps=max wbps=8388608 riops=max wiops=max",
    "memory.max": "67108864",
    "memory.swap.max": "0",
    "pids.max": "20",
}
UNLIMITED = {
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "cpuset.cpus": "0-1",  # once set it cannot be emptied
    "io.max": "",
    "memory.max": "max",
    "memory.swap.max": "max",
    "pids.max": "2048",
}
# Journal, data, names: all of it changes all the time, flushed and not, from when it is told to begin until it is ended.
# Started again it waits: what is looked at then would be slow beside it.
WRITER = """until [ -e /begin ]; do sleep 1; done; rm /begin; while :; do for i in 0 1 2 3; do
    head -c 200000 /dev/urandom >new.$i; mv new.$i file.$i; mkdir -p folder.$i; ln -f file.$i folder.$i/link; done; sync
    rm -rf folder.*; echo line; done"""
CRON = """PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
* * * * * root mkdir -p -m 0700 /var/log/baleine; baleine supervise >>/var/log/baleine/supervise.log 2>&1
@reboot root mkdir -p -m 0700 /var/log/baleine; baleine supervise >>/var/log/baleine/supervise.log 2>&1
"""
WRITERS = tuple(f"writer{number}" for number in range(4))


@pytest.fixture(scope="module", autouse=True)
def private(guest: Guest) -> None:
    guest.module("baleine_bridge", name="private", addresses=["192.168.42.1/24"])


@pytest.fixture(scope="module")
def web1(guest: Guest, private: None) -> dict[str, Any]:
    """The container that most tests look at."""
    facts: dict[str, Any] = container(guest, "web1", limits=LIMITS)["container"]
    return facts


def container(guest: Guest, name: str, **options: Any) -> dict[str, Any]:
    settings = {
        "image": "tiny",
        "command": ["sleep", "100000"],
        "networks": [{"bridge": "private", "addresses": ["192.168.42.2/24"]}],
    }
    return guest.module("baleine_container", name=name, **{**settings, **options})


def control_files(guest: Guest, name: str) -> dict[str, str]:
    """What the kernel holds of a container's limits, whichever device its disk is at."""
    shown = guest.sh(
        f"cd {GROUPS}/baleine/{name}; grep -H '' {' '.join(FILES)} | sed 's/io.max:7:[0-9]* /io.max:/'"
    ).stdout
    found = dict(line.split(":", 1) for line in shown.splitlines())
    return {name: found.get(name, "") for name in FILES}


def controllers(guest: Guest) -> tuple[set[str], set[str]]:
    """What the root gives to its children, and what the containers' common parent gives to its own."""
    shown = guest.sh(f"cd {GROUPS}; cat cgroup.subtree_control baleine/cgroup.subtree_control").stdout.splitlines()
    return set(shown[0].split()), set(shown[1].split())


def state(guest: Guest, name: str) -> tuple[int | None, dict[str, str], set[str]]:
    """What must stay as it is: the process, its limits, the controllers."""
    (shown,) = [item for item in listed(guest) if item["name"] == name]
    return shown["pid"], control_files(guest, name), controllers(guest)[1]


def listed(guest: Guest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(guest.baleine("container", "list", "--all", "--format", "json").stdout)
    return found


def manifest(guest: Guest, name: str) -> dict[str, str]:
    text = guest.read(f"/var/lib/baleine/manifeste/containers/{name}.manifest")
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def write(guest: Guest, names: tuple[str, ...]) -> None:
    """Let containers write, made if they are not there, and return when each of them has come round once."""
    logs = {name: f"/var/log/baleine/{name}.log" for name in names}
    there = {item["name"] for item in listed(guest)}
    for name in names:
        if name in there:
            guest.baleine("container", "start", name)
            guest.sh(f"truncate -s 0 {logs[name]}")
        else:
            guest.baleine("container", "create", "-c", name, "-i", "tiny", "-p", f"sh -c '{WRITER}'")
        guest.baleine("container", "exec", "-c", name, "--", "touch", "/begin")
    for name in names:
        assert wait_for(lambda name=name: "line" in guest.read(logs[name]), 600, 0.5), name


def check_disks(guest: Guest, names: tuple[str, ...]) -> None:
    """Their starts had journals to replay; stopped, their disks are whole."""
    messages = [line for line in guest.run(["dmesg"]).stdout.splitlines() if "EXT4-fs" in line and "(loop" in line]
    assert len([line for line in messages if "recovery complete" in line]) >= len(names)
    assert not [line for line in messages if "error" in line or "warning" in line]
    guest.baleine("container", "stop", *names)
    for name in names:
        guest.run(["e2fsck", "-fn", f"{DISKS}/{name}"])


def test_the_guest_is_a_debian_with_systemd_cgroup_v2_and_apparmor(guest: Guest) -> None:
    facts = guest.module("baleine_host_info")
    assert (facts["cgroup"], facts["runtime"]) == ("unified", "crun")
    assert guest.read("/proc/1/comm").strip() == "systemd"
    assert guest.read("/sys/module/apparmor/parameters/enabled").strip() == "Y"
    assert guest.run(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip() == "running"


def test_a_container_runs_by_crun_with_mapped_ids_on_an_idmapped_disk_and_answers(
    guest: Guest, web1: dict[str, Any]
) -> None:
    pid = web1["pid"]
    assert web1["runtime"] == "crun"
    assert guest.read(f"/proc/{pid}/uid_map").split() == ["0", str(web1["first_id"]), "65536"]
    root = next(line for line in guest.read(f"/proc/{pid}/mountinfo").splitlines() if line.split()[4] == "/")
    assert "idmapped" in root and " - ext4 /dev/loop" in root
    assert not [line for line in guest.read("/proc/1/mountinfo").splitlines() if "/mnt/baleine" in line]
    guest.run(["ping", "-c1", "-w60", "192.168.42.2"])
    assert guest.baleine("container", "exec", "-c", "web1", "--", "hostname").stdout == "web1\n"
    assert guest.read(f"/proc/{pid}/cgroup").strip() == "0::/baleine/web1"
    assert not container(guest, "web1", limits=LIMITS)["changed"]


def test_limits_are_set_in_the_kernel_and_change_in_place_as_predicted(guest: Guest, web1: dict[str, Any]) -> None:
    assert control_files(guest, "web1") == LIMITED
    more = {
        **LIMITS,
        "memory": "96M",
        "cpus": 1.5,
        "cpu_weight": 200,
        "cpuset": "0-1",
        "pids": 30,
        "io_write_rate": "4M",
    }
    predicted = container(guest, "web1", limits=more, check=True)
    assert predicted["changed"] and control_files(guest, "web1") == LIMITED
    done = container(guest, "web1", limits=more)
    assert (done["diff"], done["actions"]) == (predicted["diff"], predicted["actions"])
    assert done["container"]["pid"] == web1["pid"]
    changed = {"cpu.max": "150000 100000", "cpu.weight": "200", "cpuset.cpus": "0-1", "memory.max": str(96 << 20)}
    changed |= {"pids.max": "30", "io.max": "rbps=max wbps=4194304 riops=max wiops=max"}
    assert control_files(guest, "web1") == {**LIMITED, **changed}
    container(guest, "web1")
    assert control_files(guest, "web1") == UNLIMITED
    assert container(guest, "web1", limits=LIMITS)["container"]["pid"] == web1["pid"]
    guest.sh(f"echo 7 >{GROUPS}/baleine/web1/pids.max")
    assert container(guest, "web1", limits=LIMITS)["drift"] == ["container web1: limits.pids was 7"]
    assert control_files(guest, "web1") == LIMITED


def test_the_parent_cgroup_enables_every_controller_of_the_root(guest: Guest, web1: dict[str, Any]) -> None:
    given, passed_on = controllers(guest)
    assert given >= {"cpu", "cpuset", "io", "memory", "pids"}
    assert passed_on == given


def test_systemd_removes_no_controller_limit_or_process(guest: Guest, web1: dict[str, Any]) -> None:
    before = state(guest, "web1")
    assert before[:2] == (web1["pid"], LIMITED)
    for command in (
        ["systemctl", "daemon-reload"],
        ["systemctl", "daemon-reexec"],
        # A unit that needs controllers and ends: systemd then wants to take them from the root.
        [
            "systemd-run",
            "-q",
            "--wait",
            "-p",
            "CPUWeight=50",
            "-p",
            "IOWeight=50",
            "-p",
            "MemoryMax=50M",
            "-p",
            "TasksMax=9",
            "-p",
            "AllowedCPUs=0",
            "true",
        ],
        ["systemctl", "daemon-reload"],
    ):
        guest.run(command)
        assert state(guest, "web1") == before, command


def test_a_container_outlives_the_session_that_started_it_and_the_ssh_server(guest: Guest) -> None:
    guest.session(
        "echo $XDG_SESSION_ID >/tmp/session; cat /proc/self/cgroup >/tmp/session-group; "
        "/usr/local/bin/baleine container create -c fromssh -i tiny --memory 64M -p 'sleep 100000'; sleep 300 </dev/null >/dev/null 2>&1 & "
        "echo $! >/tmp/neighbour"
    )
    assert "/session-" in guest.read("/tmp/session-group")
    session, neighbour = guest.read("/tmp/session").strip(), guest.read("/tmp/neighbour").strip()
    gone = wait_for(lambda: guest.sh(f"[ ! -d /proc/{neighbour} ]", check=False).returncode == 0, 300, 0.2)
    assert gone, "systemd ends what a session started: this would have ended the container too"
    listing = ["loginctl", "--no-legend", "list-sessions"]
    assert wait_for(lambda: session not in guest.run(listing).stdout.split(), interval=0.2)
    before = state(guest, "fromssh")
    assert before[0] and before[1]["memory.max"] == "67108864"
    assert guest.read(f"/proc/{before[0]}/cgroup").strip() == "0::/baleine/fromssh"
    guest.run(["systemctl", "restart", "ssh"])
    guest.run(["systemctl", "restart", "cron"])
    assert state(guest, "fromssh") == before
    guest.baleine("container", "remove", "-c", "fromssh")


def test_a_power_cut_loses_nothing_and_lists_stay_correct(guest: Guest, web1: dict[str, Any]) -> None:
    names = (*WRITERS[:2], "web1")
    write(guest, WRITERS[:2])
    guest.power_cut()
    guest.boot()
    found = {item["name"]: (item["state"], item["pid"]) for item in listed(guest)}
    assert found == dict.fromkeys(names, ("stopped", None))
    for name in names:
        told = manifest(guest, name)
        assert (told["state"], told["pid"], told["wanted_state"]) == ("stopped", "", "started")
    refused = guest.baleine("container", "start", "-c", "web1", check=False).stderr
    assert "the bridge private has no link now" in refused and "baleine bridge -b private up" in refused
    guest.baleine("bridge", "-b", "private", "up")
    guest.baleine("container", "start", *names)
    assert control_files(guest, "web1") == LIMITED
    assert {item["name"]: item["state"] for item in listed(guest)} == dict.fromkeys(names, "running")
    guest.run(["ping", "-c1", "-w60", "192.168.42.2"])
    check_disks(guest, WRITERS[:2])


def test_an_orderly_reboot_unmounts_the_disks(guest: Guest) -> None:
    write(guest, WRITERS[:1])
    before = guest.read("/proc/sys/kernel/random/boot_id")
    guest.reboot()
    assert guest.read("/proc/sys/kernel/random/boot_id") != before
    assert {item["state"] for item in listed(guest)} == {"stopped"}
    for name in (WRITERS[0], "web1"):
        guest.run(["e2fsck", "-fn", f"{DISKS}/{name}"])  # with no journal to replay


def test_cron_restarts_all_containers_after_a_power_cut_during_writes(guest: Guest) -> None:
    guest.write("/etc/cron.d/baleine", CRON)
    guest.baleine("bridge", "-b", "private", "up")
    guest.baleine("container", "start", "web1")
    guest.baleine("container", "create", "-c", "resting", "-i", "tiny", "-p", "sleep 1000")
    guest.baleine("container", "stop", "resting")
    create = ["/usr/local/bin/baleine", "container", "create", "-c", "half", "-i", "tiny", "-p", "sleep 1000"]
    half = Held(guest, create, "copied")
    write(guest, WRITERS)
    guest.power_cut()
    half.lose()
    guest.boot()
    begun = time.monotonic()
    names = ("web1", *WRITERS)
    looked = f"cd {GROUPS}/baleine; for name in {' '.join(names)}; do head -n 1 $name/cgroup.procs; done"

    def back() -> bool:  # seen from outside: no command of ours helps
        return len(guest.sh(looked, check=False).stdout.split()) == len(names)

    assert wait_for(back, 600, 1), guest.read("/var/log/baleine/supervise.log")
    print(f"cron had all containers back {time.monotonic() - begun:.0f} s after the guest answered")
    assert wait_for(lambda: guest.sh("[ ! -e /run/baleine/lock/.supervise ]", check=False).returncode == 0, 300, 0.5)
    told = {name: manifest(guest, name) for name in (*names, "resting")}
    boot = guest.read("/proc/sys/kernel/random/boot_id").strip()
    assert {told[name]["boot_id"] for name in names} == {boot}
    assert {name: facts["state"] for name, facts in told.items()} == {
        **dict.fromkeys(names, "running"),
        "resting": "stopped",
    }
    found = {item["name"]: item for item in listed(guest)}
    assert {name: item["pid"] for name, item in found.items() if name in names} == {
        name: int(told[name]["pid"]) for name in names
    }
    assert found.get("half", {"state": "running"})["state"] == "running"  # undone or finished
    assert control_files(guest, "web1") == LIMITED
    guest.run(["ping", "-c1", "-w60", "192.168.42.2"])


def test_containers_started_by_cron_survive_cron_sessions_and_reloads_of_systemd(guest: Guest) -> None:
    before = state(guest, "web1")
    assert guest.read(f"/proc/{before[0]}/cgroup").strip() == "0::/baleine/web1"
    for command in ("systemctl restart cron", "systemctl daemon-reload", "loginctl list-sessions"):
        guest.session(command)
    assert state(guest, "web1") == before
    check_disks(guest, WRITERS)


def test_the_removal_of_the_last_container_and_bridge_leaves_nothing(guest: Guest) -> None:
    guest.sh("rm -f /etc/cron.d/baleine; while [ -e /run/baleine/lock/.supervise ]; do sleep 0.2; done")
    guest.baleine("container", "remove", *guest.baleine("container", "list", "-a", "-q").stdout.split())
    guest.baleine("bridge", "remove", "private")
    looked = f"""
        losetup --list --noheadings
        ls -d {GROUPS}/baleine /run/baleine/c* /mnt/baleine/* {DISKS}/* 2>/dev/null || true
        ls /var/log/baleine | grep -v supervise || true
        grep baleine /proc/mounts || true
        ls /var/lib/baleine/manifeste/*
    """
    folder = "/var/lib/baleine/manifeste"
    left = [f"{folder}/bridges:", f"{folder}/containers:", f"{folder}/images:", "tiny.manifest"]
    assert wait_for(lambda: guest.sh(looked).stdout.split() == left, interval=0.5), guest.sh(looked).stdout
    assert set(kernel.of(guest).links) == {"lo", "eth0"}
