# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host: a machine made of namespaces, with a root, a network and cgroups of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import cgroups, loops, run, trees
from .run import PATIENCE, LabError
from .target import Target

if TYPE_CHECKING:
    from .wire import Wire

# Plain directories of the machine's disk, for image files and engines that do not work on an overlay.
PLAIN = (
    "/var/lib/baleine",
    "/var/log/baleine",
    "/mnt",
    "/srv",
    "/tmp",
    "/var/tmp",
    "/var/lib/docker",
    "/var/lib/containers",
)
# What the product may have put on the real machine: a lab host starts without it.
HIDDEN = (
    "/etc/baleine",
    "/etc/cron.d/baleine*",
    "/etc/logrotate.d/baleine*",
    "/usr/local/bin/baleine",
    "/usr/local/lib/baleine",
    "/usr/local/sbin/baleine",
    "/usr/local/share/man/man?/baleine*",
    "/usr/share/bash-completion/completions/baleine",
    "/etc/bash_completion.d/baleine*",
    "/etc/apparmor.d/baleine*",
    "/etc/webfarm-proxy",
    "/var/cache/baleine",
    "/var/lib/baleine-store.xfs",
    "/usr/local/share/bash-completion/completions/baleine",
)
# sh joins the lab host's cgroups (files up to --), then becomes the rest.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; unset PWD; exec "$@"'


class LabHost(Target):
    """A running lab host; also a context manager that stops it.

    name: its hostname. root: "machine" (everything installed here is there) or "debian" (a pristine minimal tree).
    wire: the Wire to join, as eth0; addresses: its addresses there in CIDR form (default: the next free one).
    cgroup_root: with "real" the machine's own cgroup roots are at /sys/fs/cgroup, where what two hosts make would meet:
    one waits until the other has been stopped.
    plain: directories that are bind mounts of plain ones on the disk; everything else is an overlay.
    checkout: the repository stays visible wherever it lies, for a controller that runs inside.
    It dies with the thread that made it (PR_SET_PDEATHSIG). Raises LabError when it cannot be made.
    """

    def __init__(
        self,
        name: str,
        *,
        root: Literal["machine", "debian"] = "machine",
        wire: Wire | None = None,
        addresses: Sequence[str] = (),
        cgroup_root: Literal["own", "real"] = "own",
        plain: Sequence[str] = PLAIN,
        checkout: bool = False,
    ) -> None:
        super().__init__()
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,40}", name):
            raise ValueError(f"{name!r} is no hostname")
        self.checkout = checkout
        self.name, self.root, self.wire, self.cgroup_root = name, root, wire, cgroup_root
        self.lower = Path("/") if root == "machine" else trees.debian_tree()
        self.cgroup = f"{name}.{run.run_id()}"
        self.folder = run.run_folder() / name
        self.baseline: dict[str, dict[str, str]] = {}
        self.addresses: tuple[str, ...] = ()
        self.stopped = False
        self._boot: run.Boot | None = None
        self._held = contextlib.ExitStack()
        if cgroup_root == "real":
            self._held.enter_context(run.locked(run.BASE / "real-cgroups.lock"))
        try:
            self.folder.mkdir(mode=0o755)
        except FileExistsError:
            raise LabError(f"this run has a lab host {name} already") from None
        try:
            cgroups.make(self.cgroup)
            self._boot = run.Boot(self.folder, self._config(plain))
            self.pid = self._boot.pid
            self._enter = [
                run.tool("sh"),
                "-c",
                JOIN,
                "sh",
                *cgroups.procs(self.cgroup),
                "--",
                run.tool("nsenter"),
                f"--target={self.pid}",
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--root",
                "--wd",
            ]
            if wire is None:
                self.net(["ip", "link", "set", "lo", "up"])
            else:
                self.addresses = wire.attach(self, addresses)
            self.rebase()
        except BaseException:
            self.stop()
            raise

    def __repr__(self) -> str:
        return f"<LabHost {self.name} {self.address or 'alone'}>"

    def _config(self, plain: Sequence[str]) -> dict[str, Any]:
        upper, work, root = (self.folder / part for part in ("upper", "work", "root"))
        for folder in (upper, work, root):
            folder.mkdir(mode=0o755)
        etc = {
            "hostname": f"{self.name}\n",
            "machine-id": f"{uuid.uuid4().hex}\n",
            "resolv.conf": "",
            "hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n::1 localhost ip6-localhost\n",
        }
        self._upper("/etc").mkdir(mode=0o755)
        for name, text in etc.items():
            (upper / "etc" / name).write_text(text)
        binds = {}
        for target in plain:
            source = self.folder / "plain" / target.strip("/").replace("/", "-")
            source.mkdir(parents=True)
            source.chmod(0o1777 if target in ("/tmp", "/var/tmp") else 0o755)
            binds[target] = str(source)
            self._upper(target).mkdir(parents=True, exist_ok=True)
        hiding = [target for target in plain if run.REPOSITORY.is_relative_to(target)]
        if self.checkout and hiding:  # one in /tmp or /srv, say
            place = Path(binds[max(hiding, key=len)]) / run.REPOSITORY.relative_to(max(hiding, key=len))
            place.mkdir(parents=True)
            binds[str(run.REPOSITORY)] = str(run.REPOSITORY)
        trees = cgroups.hierarchies()
        own = self.cgroup_root == "own"
        return {
            "kind": "host",
            "hostname": self.name,
            "lower": str(self.lower),
            "upper": str(upper),
            "work": str(work),
            "root": str(root),
            "plain": binds,
            "hidden": HIDDEN,
            "procs": cgroups.procs(self.cgroup),
            "cgroups": [
                {"name": tree.name, "source": str(tree.lab / self.cgroup if own else tree.folder)} for tree in trees
            ],
            "cgroup_links": cgroups.links(),
        }

    def _upper(self, path: str) -> Path:
        return self.folder / "upper" / path.lstrip("/")

    # Commands

    def _command(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        user: str | None,
    ) -> tuple[list[str], dict[str, str]]:
        settings = dict(run.CLEAN_ENV)
        prefix: list[str] = []
        if user is not None:
            home = next(
                line.split(":")[5] for line in self.read("/etc/passwd").splitlines() if line.startswith(f"{user}:")
            )
            settings.update(HOME=home, USER=user, LOGNAME=user)
            prefix = ["runuser", "-u", user, "--"]
        return [*self._enter, "--", *prefix, *argv], {**settings, **(env or {})}

    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, user: str | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program inside, in the host's cgroups, with a clean environment plus env."""
        command, settings = self._command(argv, env, user)
        return run.start(command, env=settings, **options)

    def net(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the machine in this host's network namespace alone (ip, nft: also where root lacks them)."""
        return run.machine(
            ["nsenter", f"--target={self.pid}", "--net", run.tool(argv[0]), *argv[1:]], check=check, input=input
        )

    def serve(self, port: int, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start a server, and return it once something listens on the TCP port. It ends with the host at the latest."""
        server = self.popen(argv)
        state = re.compile(rf":{port:04X} [0-9A-F]+:0000 0A ")
        tables = [Path(f"/proc/{self.pid}/net/{name}") for name in ("tcp", "tcp6")]
        if not run.wait_for(lambda: any(state.search(table.read_text()) for table in tables if table.exists())):
            raise LabError(f"nothing listens on port {port}: {argv}")
        return server

    # Files

    def path(self, path: str) -> Path:
        """A path inside, seen from outside. Absolute symbolic links below it would lead into the machine's root."""
        return Path(f"/proc/{self.pid}/root{path}")

    @property
    def python_root(self) -> Path:
        return self.lower

    def push(self, local: Path, remote: str) -> None:
        target = self.path(remote)
        target.parent.mkdir(parents=True, exist_ok=True)
        if local.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(local, target, symlinks=True)
        else:
            run.machine(["cp", "--sparse=always", "--reflink=auto", str(local), str(target)])

    # Network

    @property
    def address(self) -> str:
        """The first address on the wire, without its prefix; empty for a host alone."""
        return self.addresses[0].partition("/")[0] if self.addresses else ""

    def _wire(self) -> Wire:
        if self.wire is None:
            raise LabError(f"the lab host {self.name} is on no wire")
        return self.wire

    def start_sshd(self) -> None:
        """Run an sshd on port 22; user ops (wire.ssh_key lets it in) may become root without a password."""
        wire = self._wire()
        self.expect("process *sshd*", "process *sftp-server*")
        self.sh("""
            id ops >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ops
            usermod --password '*' ops
            mkdir -p /run/sshd /etc/ssh/lab
            [ -e /etc/ssh/lab/key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab/key
        """)
        self.write("/etc/sudoers.d/ops", "ops ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
        self.write("/etc/ssh/lab/authorized_keys", wire.ssh_key.with_suffix(".pub").read_text())
        self.write(
            "/etc/ssh/lab/sshd_config",
            "\n".join(
                (
                    "Port 22",
                    "HostKey /etc/ssh/lab/key",
                    "PasswordAuthentication no",
                    "UsePAM no",
                    "PidFile none",
                    "AuthorizedKeysFile /etc/ssh/lab/authorized_keys",
                    "Subsystem sftp internal-sftp",
                    "UseDNS no",
                    "MaxStartups 100",
                    "",
                )
            ),
        )
        # sshd goes to the background only once it listens.
        self.run(["/usr/sbin/sshd", "-f", "/etc/ssh/lab/sshd_config", "-E", "/var/log/sshd.log"])
        wire.know(self, self.read("/etc/ssh/lab/key.pub"))

    def use_package_proxy(self) -> str:
        """Let apt inside fetch through the wire's package proxy; returns the proxy's URL."""
        wire = self._wire()
        lines = [f'Acquire::http::Proxy "{wire.proxy_url}";', *(f"{option};" for option in wire.apt_options())]
        self.write("/etc/apt/apt.conf.d/95lab-proxy", "\n".join(lines) + "\n")
        if self.root == "machine":  # sources of others, over https, cannot pass the proxy
            self.sh("grep -lrs https: /etc/apt/sources.list /etc/apt/sources.list.d | xargs -r rm -f")
        return wire.proxy_url

    # Leaks and the end

    def rebase(self) -> None:
        """Take what is there now as what the leak check compares with."""
        from . import leaks

        self.baseline = leaks.snapshot(self)

    def leaks(self, timeout: float = PATIENCE) -> list[str]:
        """What is there now and was not at the start (or at rebase()), after a bounded wait for the kernel."""
        from . import leaks

        return leaks.check(self, self.baseline, timeout=timeout)

    def kill(self) -> None:
        """A power cut: every process inside dies at once, nothing is cleared up."""
        if self._boot is not None:
            cgroups.thaw(self.cgroup)
            for name in self._new_outside():
                cgroups.thaw_folder(cgroups.outside_folder(name))
            self._boot.stop()

    def _new_outside(self) -> list[str]:
        """Cgroups below the real roots that were not there at the start, the deepest first."""
        if self.cgroup_root != "real":
            return []
        from . import leaks

        return [name for name in reversed(leaks.outside()) if name not in self.baseline.get("cgroup", {})]

    def stop(self) -> list[str]:
        """End everything inside and remove every trace; returns what had to be forced or stayed. May be repeated."""
        if self.stopped:
            return []
        self.stopped = True
        problems = []
        self.kill()
        self.agents.end()
        # What clears itself does so a moment after its last user; the others never do.
        run.wait_for(lambda: not any(loop.autoclear for loop in loops.below(self.folder)))
        for loop in loops.below(self.folder):
            loops.detach(loop)
            problems.append(f"loop device {loop.name} on {loop.path} had to be detached")
        for name in self._new_outside():
            with contextlib.suppress(OSError):  # another's, if a process is in it
                cgroups.outside_folder(name).rmdir()
                problems.append(f"cgroup {name} had to be removed")
        problems += [f"cgroup {text}" for text in cgroups.remove(self.cgroup)]
        if self.wire is not None:
            self.wire.detach(self)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)
        if self.folder.exists():
            problems.append(f"folder {self.folder} could not be removed")
        with contextlib.suppress(OSError):
            os.rmdir(self.folder.parent)
        self._held.close()
        return problems
