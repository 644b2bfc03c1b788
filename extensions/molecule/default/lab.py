# SPDX-FileCopyrightText: The Baleine authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a laboratory host, or the guest, alive between molecule's create and destroy.

Usage: lab.py up FOLDER [host | quick_guest | guest] | down FOLDER

`up` returns when the host answers; FOLDER then holds ssh_config (the way to it, as host `lab`),
proxy_url (the package proxy on its wire; the guest has none) and pid (of the process that keeps
it). `down` ends that process, and with it the host. A quick guest is a laboratory host that has
what the guest has, for who cannot wait for an emulated one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.lab import trees
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.wire import Wire

START_SECONDS = 900  # the pristine Debian tree may have to be built first
STOP_SECONDS = 300
# The Python that has what the laboratory imports; molecule runs with its own.
LAB_PYTHON = os.environ.get("LAB_PYTHON", sys.executable)

SSH_CONFIG = """Host lab
    HostName {address}
    User {user}
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
    ProxyCommand nsenter --target={pid} --net socat - TCP:{address}:22
"""


GUEST_SSH_CONFIG = """Host lab
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile /dev/null
    StrictHostKeyChecking no
    BatchMode yes
    LogLevel ERROR
"""
#: What the role `host` would install: the guest has no way out.
GUEST_PACKAGES = ("gpgv", "mmdebstrap", "zstd")


def keep_guest(folder: Path) -> None:
    """Boot the guest with a Debian image in it, and keep it."""
    with Guest(packages=GUEST_PACKAGES) as guest:
        trees.debian_image(guest)
        way = GUEST_SSH_CONFIG.format(port=guest.port, key=guest.base / "key")
        say_ready_and_wait(folder, way)


def keep_host(folder: Path) -> None:
    """Start a pristine host, and keep it."""
    with Wire() as wire, LabHost("lab", root="debian", wire=wire) as host:
        keep_on_wire(folder, host, wire, "ops")


def keep_quick_guest(folder: Path) -> None:
    """Start a host with all that this machine has and a Debian image, and keep it."""
    with Wire() as wire, LabHost("guest", wire=wire) as host:
        trees.debian_image(host)
        keep_on_wire(folder, host, wire, "root")


def keep_on_wire(folder: Path, host: LabHost, wire: Wire, user: str) -> None:
    """Let a host be reached by SSH and fetch packages, and keep it."""
    host.start_sshd()
    (folder / "proxy_url").write_text(host.use_package_proxy())
    way = {
        "address": host.address,
        "key": wire.ssh_key,
        "known_hosts": wire.known_hosts,
        "pid": wire.pid,
    }
    say_ready_and_wait(folder, SSH_CONFIG.format(user=user, **way))


def say_ready_and_wait(folder: Path, way: str) -> None:
    """Say in FOLDER how to reach a machine, which tells `up` that it is ready, and wait."""
    (folder / "ssh_config").write_text(way)
    while True:
        signal.pause()


def keeper(folder: Path) -> int | None:
    """The process that keeps the host, if it is alive."""
    try:
        pid = int((folder / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(str(folder)) in command.split(b"\0") else None


def up(folder: Path, kind: str = "host") -> None:
    down(folder)
    folder.mkdir(parents=True)
    (folder / "cp").mkdir(mode=0o700)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [LAB_PYTHON, __file__, f"keep_{kind}", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "pid").write_text(f"{process.pid}\n")
    end = time.monotonic() + START_SECONDS
    while not (folder / "ssh_config").exists():
        if process.poll() is not None or time.monotonic() > end:
            sys.exit("The laboratory host did not start:\n" + (folder / "log").read_text())
        time.sleep(0.1)
    print("started")


def down(folder: Path) -> None:
    for socket in (folder / "cp").glob("*"):  # ssh's shared connections would outlive the host
        subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "lab"], capture_output=True, check=False)
    pid = keeper(folder)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while keeper(folder) is not None:
            if time.monotonic() > end:
                sys.exit(f"The laboratory host (process {pid}) did not stop:\n" + (folder / "log").read_text())
            time.sleep(0.05)
        print("stopped")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    keepers = {"keep_host": keep_host, "keep_quick_guest": keep_quick_guest, "keep_guest": keep_guest}
    commands = {"up": up, "down": down, **keepers}
    if sys.argv[1] in keepers:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    commands[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
