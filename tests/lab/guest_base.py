# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's disk, kernel and initrd: a Debian that boots fast under emulation, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

from . import proxy, run, trees

PACKAGES = (
    "apparmor",
    "busybox-static",
    "cron",
    "crun",
    "curl",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "openssh-server",
    "procps",
    "python3",
    "systemd-sysv",
    "udev",
    "util-linux",
)
# What takes time at a boot and nobody asks for here; user@ would start a systemd of its own at the first login.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "getty@tty1.service",
    "proc-sys-fs-binfmt_misc.automount",
    "serial-getty@ttyS0.service",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-repart.service",
    "systemd-udev-settle.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "user-runtime-dir@.service",
    "user@.service",
)
READY = "lab-guest-ready"
FILES = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 guest\n::1 localhost ip6-localhost\n",
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nMaxSessions 100\nMaxStartups 100\nPrintMotd no\n",
    # Harder than Debian's own settings: what a session started ends with it, root's too.
    "etc/systemd/logind.conf.d/lab.conf": "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\n",
    "etc/systemd/system/lab-ready.service": "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\n"
    f"StandardOutput=tty\nTTYPath=/dev/ttyS0\nExecStart=/bin/echo {READY}\n[Install]\nWantedBy=graphical.target\n",
}
MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
# The whole initrd: these modules, the network, the root. ext4 is part of Debian's kernel.
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in /modules/*; do $b insmod $module; done
$b ip address add 10.0.2.15/24 dev eth0
$b ip link set eth0 up
for turn in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] || $b sleep 1; done
$b mount -t ext4 /dev/vda /root
$b umount /proc
$b umount /sys
$b mount --move /dev /root/dev
exec $b switch_root /root /lib/systemd/systemd
"""
DISK = "6G"


VERSION = 1  # raise it when what is done with all this changes
UNUSED_SECONDS = 86400.0


def recipe(more: tuple[str, ...] = ()) -> str:
    """A short name for what the base is made of: another one when anything of it changes."""
    parts = (VERSION, trees.SUITE, PACKAGES, MASKED, FILES, MODULES, INIT, DISK, *more)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def guest_base(more: tuple[str, ...] = ()) -> Path:
    """The folder with base.raw, vmlinuz, initrd and key, from the cache or made there (never changed afterwards).

    more: packages beside PACKAGES.
    """
    folder = run.CACHE / f"guest-{recipe(more)}"
    with run.locked(run.CACHE / "guest.lock"):
        if not folder.is_dir():
            for old in run.CACHE.glob("guest-*/"):  # those that another checkout may use stay
                if old.suffix == ".new" or time.time() - old.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(old)
            new = folder.with_suffix(".new")
            new.mkdir()
            _build(new, more)
            new.rename(folder)
        os.utime(folder)
    return folder


def _build(folder: Path, more: tuple[str, ...]) -> None:
    tree = folder / "tree"
    settings = (
        'mkdir -p "$1/etc/initramfs-tools"; echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"'
    )
    run.fetch(
        [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join((*PACKAGES, *more))}",
            *(f"--aptopt={option}" for option in proxy.apt_options()),
            '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-confold",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
            f"--essential-hook={settings}",
            trees.SUITE,
            str(tree),
        ],
        tree,
    )
    run.machine(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(folder / "key")])
    _initrd(tree, folder / "initrd")
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, folder / "vmlinuz")
    _settle(tree, (folder / "key.pub").read_text())
    with (folder / "base.raw").open("wb") as image:
        image.truncate(int(DISK[:-1]) << 30)
    run.machine(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-d", str(tree), str(folder / "base.raw")], timeout=300)
    shutil.rmtree(tree)


def _settle(tree: Path, key: str) -> None:
    """Make a tree a machine: who may log in, which services do not start."""
    for path in (tree / "boot").iterdir():
        path.unlink()
    for name, text in {**FILES, "etc/machine-id": f"{uuid.uuid4().hex}\n", "root/.ssh/authorized_keys": key}.items():
        (tree / name).parent.mkdir(mode=0o700 if name.startswith("root/") else 0o755, parents=True, exist_ok=True)
        (tree / name).write_text(text)
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / "graphical.target.wants").mkdir(exist_ok=True)
    (units / "graphical.target.wants/lab-ready.service").symlink_to("../lab-ready.service")


def _initrd(tree: Path, target: Path) -> None:
    work = target.with_name("initrd.tree")
    for name in ("bin", "dev", "modules", "proc", "root", "sys"):
        (work / name).mkdir(parents=True)
    shutil.copy(trees.BUSYBOX, work / "bin/busybox")
    (work / "init").write_text(INIT)
    (work / "init").chmod(0o755)
    (version,) = (path.name for path in (tree / "lib/modules").iterdir())
    paths: list[str] = []
    for module in MODULES:
        listed = run.machine(["chroot", str(tree), "modprobe", "-S", version, "-D", module]).stdout.split()
        paths += [word for word in listed if word.startswith("/") and word not in paths]
    for number, path in enumerate(paths):
        shutil.copy(tree / path.lstrip("/"), work / f"modules/{number:02}-{Path(path).name}")
    with target.open("wb") as archive:
        subprocess.run(
            ["sh", "-c", 'find . | "$0" cpio -o -H newc -R 0:0', str(trees.BUSYBOX)],
            cwd=work,
            stdout=archive,
            stderr=subprocess.PIPE,
            check=True,
            timeout=60,
        )
    shutil.rmtree(work)
