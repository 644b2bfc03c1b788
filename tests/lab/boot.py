# SPDX-License-Identifier: GPL-3.0-or-later
"""Become PID 1 of a lab host: make namespaces, mount its world, change into it, then only reap.

Run as `python -IS boot.py CONFIG.json`; reports on stdout: `pid N`, then `ready` or `error TEXT`. The parent stays
outside as a guard; both die with the process that started them. Standard library only, nothing of this package.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import shutil
import signal
import socket
import sys
from typing import Any, NoReturn

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}

# PID 1 proper: executed inside the new root, so that nothing of the old one stays open.
REAPER = """
import os, signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
while True:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    signal.sigwait([signal.SIGCHLD])
"""

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    checked(libc.unshare(flags), "unshare")


def die_with_parent() -> None:
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [word.encode() if word else None for word in (source, target, kind, data)]
    checked(libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]), f"mount {source} on {target}")


def bind(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND)


def pivot(root: str) -> None:
    """Make root the root directory and let go of the old one (pivot_root(2), "pivot_root(".", ".")")."""
    os.chdir(root)
    checked(libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), f"pivot_root {root}")
    checked(libc.umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")


def remove(pattern: str) -> None:
    for path in glob.glob(pattern):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def mount_cgroups(root: str, config: dict[str, Any]) -> None:
    folder = f"{root}/sys/fs/cgroup"
    binds = config["cgroups"]
    if [entry["name"] for entry in binds] == [""]:
        bind(binds[0]["source"], folder)
        return
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    for entry in binds:
        os.mkdir(f"{folder}/{entry['name']}")
        bind(entry["source"], f"{folder}/{entry['name']}")
    for name, target in config["cgroup_links"].items():
        os.symlink(target, f"{folder}/{name}")


def mount_host(config: dict[str, Any]) -> None:
    """Mount everything a lab host sees below config["root"], then make that the root."""
    root = config["root"]
    layers = f"lowerdir={config['lower']},upperdir={config['upper']},workdir={config['work']}"
    mount("overlay", root, "overlay", 0, f"{layers},redirect_dir=on,volatile")
    for pattern in config["hidden"]:
        remove(root + pattern)
    for target, source in config["plain"].items():
        bind(source, root + target)
    quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("proc", f"{root}/proc", "proc", quiet)
    mount("sysfs", f"{root}/sys", "sysfs", quiet)
    mount_cgroups(root, config)
    # Not recursive: loop devices appear in the machine's devtmpfs, terminals and shared memory are its own affair.
    bind("/dev", f"{root}/dev")
    mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("tmpfs", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir(f"{root}/run/lock")
    os.chmod(f"{root}/run/lock", 0o1777)
    pivot(root)


def forward_nothing() -> None:
    """Let the host forward nothing, as a machine does that nobody told to.

    A new network namespace inherits the IPv4 settings of the machine (devconf_inherit_init_net, ip-sysctl.rst), and
    docker has set some there. To write 0 where 0 is changes nothing else; the settings of each link follow a change alone.
    """
    path = "/proc/sys/net/ipv4/ip_forward"
    with open(path) as file:
        forwards = file.read().strip() != "0"
    if forwards:
        with open(path, "w") as file:  # the kernel ignores what is written behind the first byte (sysctl_writes_strict)
            file.write("0")


def become_first(config: dict[str, Any]) -> NoReturn:
    die_with_parent()
    flags = CLONE_NEWNS | CLONE_NEWNET
    if config["kind"] == "host":
        flags |= CLONE_NEWUTS | CLONE_NEWIPC
    unshare(flags)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    os.umask(0o022)
    if config["kind"] == "host":
        socket.sethostname(config["hostname"])
        mount_host(config)
    else:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    forward_nothing()
    os.write(1, b"ready\n")
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, 256)
    os.setsid()
    python = "/usr/bin/python3" if config["kind"] == "host" else sys.executable
    os.execve(python, ["lab-init", "-IS", "-c", REAPER], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def main() -> int:
    with open(sys.argv[1]) as file:
        config = json.load(file)
    for path in config["procs"]:
        with open(path, "w") as file:
            file.write("0")
    unshare(CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        try:
            become_first(config)
        except BaseException as error:
            os.write(1, f"error {error}\n".encode())
        os._exit(1)
    os.write(1, f"pid {child}\n".encode())
    os.close(1)
    os.waitpid(child, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
