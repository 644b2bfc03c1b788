# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's processes may do, by default and where more or less is asked for; exec gets exactly the same."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.attacks import suite
from tests.attacks.catalogue import ATTACKS
from tests.lab.host import LabHost
from tests.lab.run import wait_for

SLEEP = ["sleep", "100000"]
OPTIONS = {"image": "tiny", "command": SLEEP, "stop_timeout": 0, "recreate": "on_change"}
#: podman's eleven: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP
ELEVEN = 0x800405FB
RIGHTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")


@pytest.fixture(scope="module", autouse=True)
def machine(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.rebase()


@pytest.fixture
def box(lab: LabHost) -> Any:
    """box(**options): one container, made or changed as a task does."""

    def make(**options: Any) -> dict[str, Any]:
        return lab.module("baleine_container", name="box", **{**OPTIONS, **options})

    yield make
    lab.module("baleine_container", name="box", state="absent")


def inside(lab: LabHost, script: str, *flags: str, check: bool = True) -> str:
    """What a shell line prints in it, its errors included."""
    line = ["/usr/local/bin/baleine", "container", "exec", "-c", "box", *flags, "--", "sh", "-c", f"({script}) 2>&1"]
    return lab.run(line, check=check).stdout.strip()


def refused(lab: LabHost, script: str, *flags: str) -> str:
    """What a shell line that must fail says."""
    said = inside(lab, f"if {script}; then echo IT WORKED; fi", *flags, check=False)
    assert "IT WORKED" not in said
    return said


def rights(text: str) -> dict[str, int]:
    pairs = (line.partition(":")[::2] for line in text.splitlines())
    return {key: int(value, 16) for key, value in pairs if key in RIGHTS}


def program(lab: LabHost, pid: int) -> dict[str, int]:
    """What the container's own program has: the child of its PID 1, as the host sees it."""
    children = f"/proc/{pid}/task/{pid}/children"
    assert wait_for(lambda: lab.read(children).split())
    return rights(lab.read(f"/proc/{lab.read(children).split()[0]}/status"))


@pytest.mark.parametrize(
    ("options", "bounding", "no_new", "filtered"),
    [
        ({}, ELEVEN, 1, 2),
        ({"capabilities": {"add": ["NET_RAW"], "drop": ["CAP_KILL"]}}, ELEVEN ^ (1 << 13 | 1 << 5), 1, 2),
        ({"capabilities": {"drop": ["ALL"]}, "no_new_privileges": False}, 0, 0, 2),
        ({"seccomp": "unconfined"}, ELEVEN, 1, 0),
        ({"seccomp": "compat", "userns": "host"}, ELEVEN, 1, 2),
    ],
    ids=["default", "changed", "none", "unconfined", "host ids"],
)
def test_program_and_exec_have_the_same_capabilities_and_inherit_none(
    lab: LabHost, box: Any, options: dict[str, Any], bounding: int, no_new: int, filtered: int
) -> None:
    predicted = box(check=True, **options)
    done = box(**options)
    assert (predicted["changed"], predicted["diff"]) == (done["changed"], done["diff"])
    assert box(**options)["changed"] is False
    held = {"CapInh": 0, "CapAmb": 0, "CapPrm": bounding, "CapEff": bounding, "CapBnd": bounding}
    expected = {**held, "NoNewPrivs": no_new, "Seccomp": filtered}
    assert program(lab, done["container"]["pid"]) == expected
    assert rights(inside(lab, "cat /proc/self/status")) == expected
    nobody = {**expected, "CapPrm": 0, "CapEff": 0}
    assert rights(inside(lab, "cat /proc/self/status", "-u", "app")) == nobody


def test_privileged_actions_of_a_root_shell_are_refused_by_default(lab: LabHost, box: Any) -> None:
    box()
    # Nothing that would harm the machine if it worked: a file is opened at most.
    tries = (
        "unshare -U true", "unshare -m true", "mount -t tmpfs none /mnt", "umount /proc", "mount -o remount,rw /sys",
        "mknod /disk b 7 0", "dmesg", "hostname other", "nsenter -t 1 -m true", "pivot_root / /mnt", "ip link add x type dummy",
        "mkdir /sys/fs/cgroup/pids/x", ": >> /proc/sys/kernel/panic", ": >> /proc/sysrq-trigger", ": >> /sys/power/state",
    )  # fmt: skip
    said = inside(lab, "; ".join(f"if ({script}); then echo 'IT WORKED: {script}'; fi" for script in tries))
    assert [line for line in said.splitlines() if "IT WORKED" in line] == []
    assert len(said.splitlines()) >= len(tries)
    for path in ("/proc/keys", "/proc/interrupts", "/proc/kcore", "/proc/timer_list"):
        assert inside(lab, f"cat {path} 2>/dev/null | wc -c") == "0"
    assert inside(lab, "ls -A /sys/firmware /sys/dev/block /sys/devices/virtual/powercap 2>/dev/null | grep -v :") == ""


def test_new_namespaces_are_possible_only_without_the_seccomp_filter(lab: LabHost, box: Any) -> None:
    box(seccomp="unconfined")
    assert inside(lab, "unshare -U id -u") == "65534"


def test_dev_holds_only_the_needed_devices(lab: LabHost, box: Any) -> None:
    box()
    needed = "null zero full random urandom tty console ptmx pts shm mqueue fd stdin stdout stderr core .baleine"
    assert set(inside(lab, "ls -A /dev").split()) <= set(needed.split())
    assert inside(lab, "find /dev -type b") == ""


def test_a_custom_seccomp_profile_applies_to_program_and_exec(lab: LabHost, box: Any) -> None:
    rule = {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    lab.write("/etc/own.json", json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    box(seccomp="/etc/own.json", command=["sh", "-c", "chmod 700 /srv || echo REFUSED; exec sleep 100000"])
    assert "not permitted" in refused(lab, "chmod 700 /srv")
    assert wait_for(lambda: "REFUSED" in lab.read("/var/log/baleine/box.log"))
    lab.write("/etc/own.json", "{")
    failed = box(seccomp="/etc/own.json", restart=True, expect_failure=True)
    assert "seccomp profile /etc/own.json: not understood" in failed["msg"]
    lab.sh("rm /etc/own.json")


def test_set_user_id_programs_gain_no_rights_unless_allowed(lab: LabHost, box: Any) -> None:
    box()
    inside(lab, "sed -i s/root:x/root:/ /etc/passwd; rm /bin/su; cp /bin/busybox /bin/su; chmod 4755 /bin/su")
    refused(lab, "/bin/su -c true", "-u", "app")
    assert (
        inside(lab, "start-stop-daemon -S -c app -x /usr/bin/id -- -u") == "1000"
    )  # what an image's own entry point does
    box(no_new_privileges=False)
    assert inside(lab, "/bin/su -c 'id -u'", "-u", "app") == "0"


def test_a_disk_can_be_read_only_with_writable_tmpfs_mounts(lab: LabHost, box: Any) -> None:
    lab.sh("mkdir -p /srv/data && chmod 777 /srv/data")
    tmpfs = [{"target": "/run", "size": "16M", "mode": "0755"}, {"target": "/srv/tmp"}]
    command = ["sh", "-c", "echo begun; touch /run/up; exec sleep 100000"]
    box(read_only=True, tmpfs=tmpfs, command=command, volumes=[{"source": "/srv/data", "target": "/data"}])
    for path in ("/x", "/etc/x", "/root/x"):
        assert "Read-only" in refused(lab, f"touch {path}")
    assert inside(lab, "touch /data/x /run/x /srv/tmp/x; stat -c %a /run /srv/tmp").split() == ["755", "1777"]
    assert inside(lab, "df -m /run /srv/tmp | awk 'NR>1 {print $2}'").split() == ["16", "64"]
    assert "No space" in refused(lab, "dd if=/dev/zero of=/run/full bs=1M count=17")
    assert wait_for(lambda: "begun" in lab.read("/var/log/baleine/box.log"))
    box(read_only=True, tmpfs=tmpfs, command=["sh", "-c", "exit 7"])
    wait = ["/usr/local/bin/baleine", "container", "list", "-a", "--format", "json"]
    assert wait_for(lambda: json.loads(lab.run(wait).stdout)[0]["state"] == "stopped")
    assert lab.module("baleine_container", name="box", state="stopped")["container"]["exit_code"] == 7


def test_a_change_to_the_ids_of_the_host_and_back_keeps_the_disk_and_its_owners(lab: LabHost, box: Any) -> None:
    first = box()["container"]
    inside(lab, "echo kept > /root/kept; chown app /root/kept")
    done = box(userns="host")["container"]
    assert (first["first_id"] >= 0x70000000, done["first_id"]) == (True, 0)
    assert lab.sh(f"readlink /proc/{done['pid']}/ns/user").stdout == lab.sh("readlink /proc/self/ns/user").stdout
    assert inside(lab, "stat -c %u /root/kept; cat /root/kept").split() == ["1000", "kept"]
    for script in ("mknod /disk b 7 0", "mount -t tmpfs none /mnt", ": >> /proc/sys/kernel/panic", "dmesg"):
        refused(lab, script)
    lab.write("/srv/in", "in\n")
    lab.run(["/usr/local/bin/baleine", "container", "copy", "/srv/in", "box:/root/in"])
    lab.run(["/usr/local/bin/baleine", "container", "copy", "box:/root/kept", "/srv/out"])
    assert (inside(lab, "cat /root/in"), lab.read("/srv/out").strip()) == ("in", "kept")
    lab.module("baleine_container", name="box", state="stopped")
    lab.run(["/usr/local/bin/baleine", "container", "copy", "/srv/in", "box:/root/in2"])
    back = box()["container"]
    assert back["first_id"] >= 0x70000000
    assert inside(lab, "stat -c %u /root/kept /root/in /root/in2").split() == ["1000", "0", "0"]


def test_a_kernel_without_idmapped_mounts_is_named_and_the_ids_of_the_host_still_work(lab: LabHost, box: Any) -> None:
    """What Linux 5.11 would answer to mount_setattr(2)."""
    start = (
        "import sys; sys.path.insert(0, '/usr/local/lib/baleine'); from baleine import rootfs; from baleine_cli import main\n"
        "rootfs.SYS_MOUNT_SETATTR = 9999; sys.exit(main.main(['container', 'start', 'box']))"
    )
    box(state="stopped")
    failed = lab.run(["python3", "-c", start], check=False)
    assert failed.returncode == 1
    assert "Linux 5.12 or newer is needed" in failed.stderr and "userns: host" in failed.stderr
    box(state="stopped", userns="host")
    assert lab.run(["python3", "-c", start], check=False).returncode == 0
    assert inside(lab, "id -u; for f in slabinfo kpageflags vmallocinfo; do cat /proc/$f; done") == "0"


def test_no_harmless_attack_with_the_ids_of_the_host_succeeds_except_root_in_a_volume(lab: LabHost) -> None:
    suite.image(lab, "1:0")
    mild = {attack.name for attack in ATTACKS if attack.mild}
    found = suite.results(lab, suite.baleine({}, f"run {' '.join(sorted(mild))}", "--userns host"))
    assert set(found) == mild
    assert {name for name, result in found.items() if result.done} == {"root-of-ids", "suid-for-host"}


def test_a_range_of_ids_in_use_is_not_assigned(lab: LabHost, box: Any) -> None:
    """Whoever it is: /etc/subuid, or a user namespace that lives."""
    taken = 0x70000000
    lab.sh(f"cp /etc/subuid /srv/subuid; echo somebody:{taken}:65536 >> /etc/subuid")
    script = (
        "import os, ctypes, sys; r, w = os.pipe(); d = os.fork()\n"
        "if not d: ctypes.CDLL(None).unshare(0x10000000); os.write(w, b'x'); sys.stdin.read(); os._exit(0)\n"
        f"os.read(r, 1); [open(f'/proc/{{d}}/{{k}}_map', 'w').write('0 {taken + 65536} 65536') for k in ('uid', 'gid')]\n"
        "print('up', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with lab.popen(["python3", "-c", script], **pipes) as other:
        assert other.stdout.readline().strip() == "up"
        try:
            assert box()["container"]["first_id"] == taken + 2 * 65536
        finally:
            other.stdin.close()
            lab.sh("mv /srv/subuid /etc/subuid")


HOSTILE = {
    "out of the tree": "ln -s ../../../../../../srv/host {}",
    "a file of the host": "ln -s /etc/shadow {}",
    "nothing": "ln -s /srv/new/thing {}",
    "itself": "ln -s $(basename {}) {}",
    "a fifo": "mkfifo {}",
    "a device": "mknod {} c 1 3",
    "the kernel's files": "ln -s /proc/1/root/srv/host {}",
    "descriptors": "ln -s ../proc/self/fd {}",
    "devices": "ln -s /dev {}",
}


def test_a_hostile_mount_point_never_reaches_the_host(lab: LabHost, baleine: Any, box: Any) -> None:
    """CVE-2019-16884, CVE-2019-19921, CVE-2021-30465 and their kin: refused by name, or inside."""
    lab.sh("mkdir -p /srv/host /srv/data; echo mine > /srv/host/mine; touch /srv/data/volume /srv/file")
    tmpfs = [{"target": "/run/lock"}]
    volumes = [{"source": "/srv/data", "target": "/data"}, {"source": "/srv/file", "target": "/etc/file"}]
    box(state="present", tmpfs=tmpfs, volumes=volumes, dns={"servers": ["192.0.2.1"]})
    before = lab.sh("find /srv /etc | sort; md5sum /etc/shadow /etc/passwd /etc/hosts").stdout
    for number, (what, made) in enumerate(HOSTILE.items()):
        place = ("data", "etc/hosts", "etc/file", "run/lock", "etc/resolv.conf")[number % 5]
        tree = baleine("container", "mount", "box").stdout.strip()
        remove = "rm -rf etc/hosts etc/resolv.conf etc/file run/lock data"
        lab.sh(f"cd {tree}; {remove}; {made.replace('{}', './' + place)}; cd /; baleine container umount box")
        done = baleine("container", "start", "box", check=False)
        if done.returncode == 0:
            own = [line.split()[4] for line in lab.read(f"/proc/{running(lab)}/mountinfo").splitlines()]
            assert not [path for path in own if path.startswith(("/proc/1", "/proc/self"))], what
            baleine("container", "stop", "box", "-t", "0")
        else:
            assert "of the tree" in done.stderr or "Not a directory" in done.stderr, (what, done.stderr)
        assert "/box " not in lab.read("/proc/1/mountinfo")
    assert lab.sh("find /srv /etc | sort; md5sum /etc/shadow /etc/passwd /etc/hosts").stdout == before


def running(lab: LabHost) -> int:
    """The first process of the container."""
    return int(
        json.loads(lab.run(["/usr/local/bin/baleine", "container", "list", "--format", "json"]).stdout)[0]["pid"]
    )


def test_the_environment_and_open_files_of_the_caller_do_not_reach_program_or_exec(lab: LabHost, box: Any) -> None:
    """Descriptors (CVE-2024-21626), variables, the working directory, a terminal, an umask."""
    script = "ls /proc/self/fd | wc -l; env | cut -d= -f1 | sort | xargs; pwd; umask; tty; echo done"
    lab.sh(
        "cd /root; umask 077; exec 5</etc/shadow 6</root 7<>/srv/caller </etc/shadow; "
        'baleine container create -c box -i tiny -p "$PROGRAM"',
        env={"PROGRAM": f"sh -c '({script}) 2>&1; exec sleep 100000'", "SECRET": "1"},
    )
    assert wait_for(lambda: "done" in lab.read("/var/log/baleine/box.log"))
    expected = ["4", "HOME PATH PWD SHLVL container", "/", "0022", "not a tty", "done"]  # 0, 1, 2, and that of ls
    assert lab.read("/var/log/baleine/box.log").splitlines() == expected
    call = (
        'cd /root; umask 077; exec 5</etc/shadow 6</root 7<>/srv/caller; baleine container exec box -- sh -c "$SCRIPT"'
    )
    assert lab.sh(call, env={"SCRIPT": script, "SECRET": "1"}).stdout.splitlines() == expected


def test_only_root_can_read_the_directories_of_baleine(lab: LabHost, box: Any) -> None:
    lab.write("/srv/secret", "hush\n")
    box(secrets=[{"name": "key", "source": "/srv/secret"}])
    for path in ("/var/lib/baleine", "/var/lib/baleine/containers", "/var/lib/baleine/manifeste"):
        assert lab.sh(f"stat -c %a {path}").stdout.strip() == "700", path
    assert lab.sh("stat -c %a /var/log/baleine/box.log /var/lib/baleine/containers/box").stdout.split() == ["600"] * 2
    reached = lab.sh("find /run/baleine ! -type d -perm /o+rw 2>/dev/null || true", user="nobody").stdout.split()
    assert {path.rpartition("/")[2] for path in reached} <= {"init", "hosts"}
    assert "hush" not in lab.sh("cat /proc/*/cmdline | tr '\\0' ' '").stdout


def test_a_full_host_stops_one_container_and_harms_no_other(lab: LabHost, baleine: Any, box: Any) -> None:
    """Disks are sparse: its own filesystem is read-only then, as a disk that fails; with room again it starts whole."""
    disks = "/var/lib/baleine/containers"
    lab.sh(f"mkdir -p -m 700 {disks}; mount -t tmpfs -o size=16m,mode=700 none {disks}")
    try:
        box()
        inside(lab, "echo kept > /root/kept; sync")
        inside(lab, "dd if=/dev/zero of=/big bs=1M count=40; sync", check=False)
        assert wait_for(lambda: "Read-only" in inside(lab, "touch /x", check=False))
        assert inside(lab, "cat /root/kept") == "kept"
        lab.sh(f"mount -o remount,size=100m {disks}")
        done = box(restart=True)
        assert done["container"]["state"] == "running"
        assert inside(lab, "cat /root/kept; rm -f /big; touch /x && echo writable").split() == ["kept", "writable"]
        lab.module("baleine_container", name="box", state="stopped")
        assert lab.run(["e2fsck", "-fn", f"{disks}/box"]).returncode == 0
    finally:
        lab.module("baleine_container", name="box", state="absent")
        lab.sh(f"umount {disks}")


def test_a_container_cannot_exceed_its_share_of_processes_memory_and_mounts(lab: LabHost, box: Any) -> None:
    box()
    assert lab.sh("cat $(find /sys/fs/cgroup -path '*baleine/box/pids.max')").stdout.strip() == "2048"
    assert inside(lab, "df -m /dev /dev/shm | awk 'NR>1 {print $2}'").split() == ["0", "64"]
    assert "No space" in refused(lab, "dd if=/dev/zero of=/dev/full bs=1k count=1")
    assert "No space" in refused(lab, "dd if=/dev/zero of=/dev/big bs=1k count=100")
    assert "No space" in refused(lab, "for n in $(seq 20); do echo > /dev/.baleine/state/$n || exit 1; done")
