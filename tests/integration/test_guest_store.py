# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflink store of a whole Debian: cron's first pass after a power cut, or an orderly reboot, mounts it and starts from it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.integration.test_guest import CRON
from tests.lab.guest import Guest
from tests.lab.run import wait_for

LIBRARY, STORE = "/var/lib/baleine", "/var/lib/baleine-store.xfs"


def bring_mkfs(guest: Guest) -> None:
    """The guest's base has no xfsprogs: take the machine's own mkfs.xfs, of the same Debian, with its libraries."""
    for line in subprocess.run(
        ["ldd", "/usr/sbin/mkfs.xfs"], check=True, capture_output=True, text=True
    ).stdout.splitlines():
        library = line.partition("=> ")[2].partition(" ")[0]
        if library and guest.run(["test", "-e", library], check=False).returncode != 0:
            guest.push(Path(library).resolve(), f"/usr/lib/x86_64-linux-gnu/{Path(library).name}")
    guest.push(Path("/usr/sbin/mkfs.xfs"), "/usr/sbin/mkfs.xfs.new")
    guest.run(["mv", "/usr/sbin/mkfs.xfs.new", "/usr/sbin/mkfs.xfs"])


def test_the_first_pass_after_a_boot_mounts_the_store_and_starts_its_containers(guest: Guest) -> None:
    bring_mkfs(guest)
    assert guest.module("baleine_store", size="640M", timeout=900)["store"]["state"] == "present"
    running = "head -n 1 /sys/fs/cgroup/baleine/web1/cgroup.procs"
    program = "sh -c 'while :; do date >> /log; sync; sleep 1; done'"
    guest.baleine("container", "create", "-c", "web1", "-i", "tiny", "-p", program)
    assert (
        guest.run(["sed", "-n", "s/^copy: //p", f"{LIBRARY}/manifeste/containers/web1.manifest"]).stdout == "reflink\n"
    )
    guest.write("/etc/cron.d/baleine", CRON)
    guest.sh("sync")
    for end in (guest.power_cut, guest.reboot):
        end()
        if end == guest.power_cut:
            guest.boot()
        back = wait_for(lambda: bool(guest.sh(running, check=False).stdout.strip()), 600, 1)  # no command of ours helps
        assert back, guest.read("/var/log/baleine/supervise.log")
        assert guest.run(["findmnt", "-rno", "FSTYPE", LIBRARY]).stdout == "xfs\n"
        assert guest.run(["losetup", "-nO", "NAME", "-j", STORE]).stdout.count("/dev/loop") == 1
    guest.sh("rm -f /etc/cron.d/baleine; while [ -e /run/baleine/lock/.supervise ]; do sleep 0.2; done")
    guest.baleine("container", "stop", "web1")
    guest.run(["e2fsck", "-fn", f"{LIBRARY}/containers/web1"])
    assert guest.module("baleine_store", state="absent", timeout=900)["store"]["state"] == "absent"
    guest.baleine("container", "start", "web1")
    assert int(guest.baleine("container", "exec", "-c", "web1", "--", "wc", "-l", "/log").stdout.split()[0]) > 1
    guest.baleine("container", "remove", "web1")


def test_a_restored_guest_is_as_it_was_when_it_had_booted_and_knows_the_time(guest: Guest) -> None:
    guest.write("/root/mark", "here\n")
    booted = guest.read("/proc/sys/kernel/random/boot_id")
    guest.power_cut()
    guest.restore()
    assert guest.run(["ls", "/root/mark"], check=False).returncode != 0
    before, now, after = time.time(), float(guest.run(["date", "+%s.%N"]).stdout), time.time()
    assert before - 60 < now < after + 60
    guest.restore()
    assert guest.read("/proc/sys/kernel/random/boot_id") != booted
    assert guest.run(["systemctl", "is-system-running"], check=False).stdout == "running\n"
