# SPDX-License-Identifier: GPL-3.0-or-later
"""A wire: a bridge in its own network namespace that joins lab hosts, the controller and the package proxy."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import proxy, run
from .commands import Place

if TYPE_CHECKING:
    from .host import LabHost

BRIDGE = "wire"
PROXY_PORT = 3142
FIRST_HOST = 11


class Wire(Place):
    """A wire with its bridge up at the network's first address; also a context manager that stops it.

    Commands of run() and popen() see the machine's files and processes of this wire only: all of them end with it.
    """

    def __init__(self, network: str = "172.30.0.0/24", *, name: str = "wire") -> None:
        self.network = ipaddress.ip_network(network)
        self.address = str(self.network[1])
        self.folder = run.run_folder() / f".{name}"
        self.hosts: list[LabHost] = []
        self.stopped = False
        self._count = 0
        self._relay: subprocess.Popen[str] | None = None
        try:
            self.folder.mkdir()
        except FileExistsError:
            raise run.LabError(f"this run has a wire {name} already") from None
        self._boot = run.Boot(self.folder, {"kind": "wire", "procs": []})
        self.pid = self._boot.pid
        self._ip(
            f"link set lo up\nlink add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0\n"
            f"addr add {self.address}/{self.network.prefixlen} dev {BRIDGE}\nlink set {BRIDGE} up\n"
        )
        self.ssh_key = self.folder / "key"
        run.machine(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(self.ssh_key)])
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.touch()

    def _ip(self, batch: str, pid: int | None = None) -> None:
        run.machine(["nsenter", f"--target={pid or self.pid}", "--net", run.tool("ip"), "-batch", "-"], input=batch)

    # Hosts

    def attach(self, host: LabHost, addresses: Sequence[str] = ()) -> tuple[str, ...]:
        """Join a lab host by a veth pair (eth0 inside); returns its addresses. LabHost calls this."""
        number = self._count
        self._count += 1
        taken = tuple(addresses) or (f"{self.network[FIRST_HOST + number]}/{self.network.prefixlen}",)
        port = f"port{number}"
        self._ip(
            f"link add {port} type veth peer name eth0 netns {host.pid}\n"
            f"link set {port} master {BRIDGE}\nlink set {port} up\n"
        )
        self._ip(
            "link set lo up\n"
            + "".join(f"addr add {address} dev eth0{' nodad' if ':' in address else ''}\n" for address in taken)
            + "link set eth0 up\n",
            host.pid,
        )
        self.hosts.append(host)
        return taken

    def detach(self, host: LabHost) -> None:
        """Forget a stopped lab host: its veth went with its network namespace."""
        if host in self.hosts:
            self.hosts.remove(host)
        with contextlib.suppress(OSError):
            lines = [line for line in self.known_hosts.read_text().splitlines() if line.split()[0] != host.address]
            self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def know(self, host: LabHost, public_key: str) -> None:
        """Note the key of a host's sshd for ssh."""
        kind, key = public_key.split()[:2]
        with self.known_hosts.open("a") as file:
            file.write(f"{host.address} {kind} {key}\n")

    # The controller

    @property
    def environment(self) -> dict[str, str]:
        """What keeps a controller's ssh connections to this wire apart from those of others."""
        return {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"), "ANSIBLE_NOCOLOR": "1"}

    @property
    def ssh_options(self) -> list[str]:
        """Options of ssh that reach the hosts as their user ops."""
        return [
            "-i",
            str(self.ssh_key),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            f"UserKnownHostsFile={self.known_hosts}",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "LogLevel=ERROR",
        ]

    def inventory(self, *hosts: LabHost, group: str = "lab") -> dict[str, Any]:
        """An Ansible inventory (write it as JSON to a .json or .yml file) of some hosts, or of all on the wire."""
        common = " ".join(self.ssh_options[2:])
        entries = {
            host.name: {
                "ansible_host": host.address,
                "ansible_user": "ops",
                "ansible_become": True,
                "ansible_ssh_private_key_file": str(self.ssh_key),
                "ansible_ssh_common_args": common,
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for host in hosts or self.hosts
        }
        return {group: {"hosts": entries}}

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a controller's command on the wire: the machine's files, this process's environment plus env."""
        settings = {**os.environ, **self.environment, **(env or {})}
        command = [
            run.tool("nsenter"),
            f"--target={self.pid}",
            "--mount",
            "--net",
            "--pid",
            "--",
            "env",
            f"--chdir={cwd or os.getcwd()}",
            *argv,
        ]
        return run.start(command, env=settings, **options)

    def ssh(self, host: LabHost, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host over ssh, as ops; options are run()'s."""
        return self.run(["ssh", *self.ssh_options, f"ops@{host.address}", command], **options)

    # The way out

    @property
    def proxy_url(self) -> str:
        """The package proxy as the wire's hosts see it; started when first asked for."""
        if self._relay is None:
            socket = proxy.PackageProxy.shared()
            self._relay = self.popen(
                [
                    run.tool("socat"),
                    f"TCP-LISTEN:{PROXY_PORT},bind={self.address},fork,reuseaddr",
                    f"UNIX-CONNECT:{socket}",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            listening = f"{PROXY_PORT:04X} 00000000:0000 0A"
            if not run.wait_for(lambda: listening in Path(f"/proc/{self.pid}/net/tcp").read_text()):
                raise run.LabError("the relay to the package proxy does not listen")
        return f"http://{self.address}:{PROXY_PORT}"

    def apt_options(self) -> list[str]:
        """The machine's apt settings that fetching here needs, as for mmdebstrap's --aptopt."""
        return proxy.apt_options()

    def stop(self) -> None:
        """End every command on the wire and the wire itself. May be repeated."""
        if self.stopped:
            return
        self.stopped = True
        self._boot.stop()
        if self._relay is not None:
            self._relay.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
