# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest: a Debian under qemu's emulation, with systemd, cgroup v2, AppArmor, cron, and a power switch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import proxy, run, trees
from .guest_base import READY, guest_base
from .run import LabError
from .target import Target

MEMORY = 2048
BOOT_SECONDS = 600.0  # for a machine whose cores others use too; 11 s on an idle one
CONSOLE = (
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 edd=off module_blacklist=kvm_amd,powernow_k8,ata_piix,ata_generic"
    # qemu keeps what it translated by its address: at random ones, every process would be translated anew
    " norandmaps"
    # an emulated processor has no such faults, and what is done about them takes a tenth of its time
    " mitigations=off init_on_alloc=0"
)


#: The name of the saved state, within the disk that holds it: RAM, devices and disk of a guest that has just booted.
READY_STATE = "ready"
SHELF = "/dev/vdb"


class Guest(Target):
    """A running guest; also a context manager that ends it.

    It starts from a state that was saved when its base had booted for the first time, so that no later one has to boot; what it
    writes is its own. It dies with the thread that made it. Its network is 10.0.2.15/24 with nothing beyond; ssh
    reaches it through one port of 127.0.0.1.
    packages: what it has beside the usual ones.
    Raises LabError, with the end of its console, when it does not start.
    """

    def __init__(self, name: str = "guest", packages: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.base = guest_base(packages)
        self.folder = run.run_folder() / name
        self.folder.mkdir(mode=0o755)
        self.console = self.folder / "console"
        #: What it has as a disk, since it is too large for the network: SHELF in the guest.
        self.shelf = trees.stocked_file()
        self._qemu: subprocess.Popen[str] | None = None
        self._ssh: subprocess.Popen[str] | None = None
        try:
            self.restore()
        except BaseException:
            self.stop()
            raise

    def restore(self) -> None:
        """Go back to the state of a guest that has just booted, whatever this one did."""
        self.power_cut()
        saved = self.base / f"booted-{self._kind()}.qcow2"
        with run.locked(run.CACHE / "booted.lock"):
            if not saved.exists():
                self._save_booted(saved)
        run.machine(["cp", "--reflink=auto", "--sparse=always", str(saved), str(self.disk)])
        self._switch_on("-loadvm", READY_STATE)
        self._log_in()
        self.run(["date", "--set", f"@{time.time():.0f}"])
        self.modules_ready = False

    def _save_booted(self, saved: Path) -> None:
        """Boot on a fresh disk over the base, and keep it with the state of the running machine."""
        image = ["-f", "qcow2", "-F", "raw", "-b", str(self.base / "base.raw"), str(self.disk)]
        run.machine(["qemu-img", "create", "-q", *image])
        self.boot()
        # settled, and without a connection, which could not be resumed
        self.run(["systemctl", "is-system-running", "--wait"], check=False)
        self._hang_up()
        answer = self._monitor(f"savevm {READY_STATE}")
        if answer:
            raise LabError(f"the state of the guest cannot be saved: {answer}")
        self.power_cut()
        part = saved.with_suffix(".part")
        shutil.move(self.disk, part)
        part.rename(saved)

    def _monitor(self, command: str) -> str:
        """Give a command to qemu's monitor; returns what it answers, without the echo."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(run.LONGEST)
            monitor.connect(str(self.folder / "monitor"))
            told = b""
            for line in (b"", command.encode() + b"\n"):
                monitor.sendall(line)
                told = b""
                while not told.endswith(b"(qemu) "):
                    part = monitor.recv(65536)
                    if not part:
                        raise LabError(f"qemu ended during {command}\n{self.said()}")
                    told += part
        lines = told.decode(errors="replace").splitlines()
        return "\n".join(lines[1:-1]).strip()

    def __repr__(self) -> str:
        return f"<Guest {self.name}>"

    @property
    def disk(self) -> Path:
        """The overlay that holds what this guest wrote."""
        return self.folder / "disk.qcow2"

    # Power

    def boot(self) -> None:
        """Switch it on, on the disk as it is; returns when it has booted and answers."""
        self._switch_on()
        self._until_booted()
        self._log_in()

    def _switch_on(self, *options: str) -> None:
        """Start qemu, which keeps its port from then on."""
        self.console.write_text("")
        for _attempt in range(5):  # another program of the machine may take the port before qemu does
            qemu = self._start_qemu(*options)
            listening = f":{self.port:04X} 00000000:0000 0A"
            run.wait_for(
                lambda qemu=qemu, text=listening: qemu.poll() is not None or text in Path("/proc/net/tcp").read_text(),
                BOOT_SECONDS,
                0.02,
            )
            if qemu.poll() is None:
                return
        raise LabError(f"the guest does not start\n{self.said()}")

    def _words_of_qemu(self) -> list[str]:
        """What makes the machine; the same for all whose state may be loaded."""
        return shlex.split(
            "qemu-system-x86_64 -no-user-config -nodefaults -display none -no-reboot -M pc"
            # Two processors, one of them at a time: those that wait for each other would burn the machine's. Without
            # the wide registers of today's: programs that find them use them, and emulated they are slow.
            f" -accel tcg,thread=single -cpu qemu64 -smp 2 -m {MEMORY}"
            f" -kernel {self.base}/vmlinuz -initrd {self.base}/initrd -append '{CONSOLE}'"
            " -device virtio-blk-pci,drive=disk -device virtio-net-pci,netdev=net,romfile="
            " -device virtio-blk-pci,drive=shelf"
            " -serial chardev:console"
        )

    def _kind(self) -> str:
        """A short name for the machine: a state that another qemu or machine saved cannot be loaded."""
        version = run.machine(["qemu-system-x86_64", "--version"]).stdout
        return hashlib.sha256(repr((version, self._words_of_qemu())).encode()).hexdigest()[:12]

    def _start_qemu(self, *options: str) -> subprocess.Popen[str]:
        self.port = proxy.free_port()
        network = f"user,id=net,restrict=on,hostfwd=tcp:{proxy.LOCAL}:{self.port}-:22"
        argv = [
            *self._words_of_qemu(),
            *("-drive", f"if=none,id=disk,format=qcow2,file={self.disk}"),
            *("-drive", f"if=none,id=shelf,format=raw,readonly=on,file={self.shelf}"),
            *("-netdev", network),
            *("-chardev", f"file,id=console,append=on,path={self.console}"),
            *("-monitor", f"unix:{self.folder / 'monitor'},server=on,wait=off"),
            *options,
        ]
        with (self.folder / "qemu.log").open("a") as log:
            words = run.dying([run.tool(argv[0]), *argv[1:]])
            self._qemu = run.start(words, stdout=log, stderr=log)
        return self._qemu

    def reboot(self) -> None:
        """Let its systemd shut it down in order, and switch it on again; returns when it answers."""
        # systemd may end the connection before the command has answered
        asked = self.popen(["systemctl", "reboot"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        asked.wait(BOOT_SECONDS)
        self._hang_up()
        qemu = self._qemu
        if qemu is None or not run.wait_for(lambda: qemu.poll() is not None, BOOT_SECONDS, 0.05):
            raise LabError(f"the guest does not shut down\n{self.said()}")
        self.boot()

    def power_cut(self) -> None:
        """Kill qemu: what the guest had not yet flushed to its disk is lost."""
        self._hang_up()
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait(run.LONGEST)
            self._qemu = None

    def stop(self) -> None:
        """Cut its power and remove its folder. May be repeated."""
        self.power_cut()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder.parent)

    def said(self, lines: int = 30) -> str:
        """The last lines of its console and of qemu."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in (self.console, self.folder / "qemu.log")
            if path.exists()
        )

    def _until_booted(self) -> None:
        """Wait until its console says that it has booted."""

        def told() -> bool:
            return READY.encode() in self.console.read_bytes()

        if not run.wait_for(lambda: told() or self._ended(), BOOT_SECONDS, 0.05) or self._ended():
            raise LabError(f"the guest did not boot within {BOOT_SECONDS:.0f} s\n{self.said()}")

    def _ended(self) -> bool:
        return self._qemu is None or self._qemu.poll() is not None

    def _log_in(self) -> None:
        """Open the connection that later commands share."""
        end = time.monotonic() + BOOT_SECONDS
        while True:
            log = (self.folder / "ssh.log").open("a")
            with log:
                self._ssh = run.start(run.dying(self._words("-M", "-N")), stdout=log, stderr=log)
            master = self._ssh
            run.wait_for(lambda master=master: self._connected() or master.poll() is not None, 60, 0.05)
            if self._connected():
                return
            self._hang_up()
            if time.monotonic() > end or self._ended():
                raise LabError(
                    f"the guest booted but nobody can log in\n{self.said()}\n{(self.folder / 'ssh.log').read_text()}"
                )

    def _connected(self) -> bool:
        return (self.folder / "ssh").exists() and run.machine(self._words("-O", "check"), check=False).returncode == 0

    def _hang_up(self) -> None:
        """Let go of the shared connection, and of the agents at its other end."""
        if self._ssh is not None:
            self._ssh.kill()
            self._ssh.wait(run.LONGEST)
            self._ssh = None
        self.agents.end()
        (self.folder / "ssh").unlink(missing_ok=True)

    def _words(self, *options: str) -> list[str]:
        """A command of ssh to the guest."""
        settings = {
            "ConnectTimeout": "60",
            "ControlPath": self.folder / "ssh",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        return [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.base / "key"),
            "-p",
            str(self.port),
            *words,
            *options,
            f"root@{proxy.LOCAL}",
        ]

    # A controller

    def inventory(self, group: str = "lab") -> dict[str, Any]:
        """An Ansible inventory of this guest, over the connection that is open anyway (as Wire.inventory)."""
        entry = {
            "ansible_host": proxy.LOCAL,
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_args": f"-F none -o ControlMaster=no -o ControlPath={self.folder / 'ssh'}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        return {group: {"hosts": {self.name: entry}}}

    # Commands and files

    def session(self, script: str, *, timeout: float = run.LONGEST) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a login of its own, as a person's ssh does, and end it."""
        words = self._words("-S", "none")
        process = run.start([*words, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return run.finish(process, timeout=timeout, check=True)

    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, user: str | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program inside, over the shared connection, with a clean environment plus env."""
        settings = {"PATH": run.CLEAN_ENV["PATH"], "LANG": run.CLEAN_ENV["LANG"], **(env or {})}
        exports = " ".join(f"{key}={shlex.quote(value)}" for key, value in settings.items())
        prefix = [] if user is None else ["runuser", "-u", user, "--"]
        return run.start([*self._words(), f"export {exports}; exec {shlex.join([*prefix, *argv])}"], **options)

    def trouble(self, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode != 255 or self._connected():
            return ""
        return f"the guest was lost during {shlex.join(done.args)}: {done.stderr}\n{self.said()}"

    @property
    def python_root(self) -> Path:
        return trees.debian_tree()

    def push(self, local: Path, remote: str) -> None:
        target = shlex.quote(remote)
        if local == self.shelf:
            self.sh(f"mkdir -p $(dirname {target}); cp --sparse=always {SHELF} {target}")
            return
        pack = ["tar", "-C", str(local if local.is_dir() else local.parent), "--owner=0", "--group=0", "-czSf", "-"]
        if local.is_dir():
            pack += ["."]
            unpack = f"rm -rf {target}; mkdir -p {target}; tar -C {target} -xzf -"
        else:
            pack += [local.name]
            folder, name = map(shlex.quote, os.path.split(remote))
            unpack = f"mkdir -p {folder}; cd {folder}; tar -xzf -"
            if local.name != name:
                unpack += f"; mv {shlex.quote(local.name)} {name}"
        archive = self.folder / f"push-{time.monotonic_ns()}"
        with archive.open("wb") as file:
            subprocess.run(pack, stdout=file, check=True, timeout=run.LONGEST)
        try:
            with archive.open("rb") as file:
                process = run.start(
                    [*self._words(), f"set -e; {unpack}"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
                run.finish(process, timeout=300, check=True, shown=["push", str(local), remote])
        finally:
            archive.unlink()

    # What the tests ask often

    def baleine(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command line inside; options are run()'s."""
        return self.run(["/usr/local/bin/baleine", *words], **options)

    def tiny_image(self, name: str = "tiny", size: str = "64M") -> str:
        """Put the tiny busybox image and its manifest of 2019's form there; returns its name."""
        return trees.tiny_image(self, name, size)
