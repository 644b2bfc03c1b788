# SPDX-License-Identifier: GPL-3.0-or-later
"""The contenders: how each makes, starts, enters, lists, stops and removes a container of the same tiny tree.

All are given the same where they can take it: a bridge of the host, a fixed address, 64 MiB of memory, half a CPU, 50
processes. What one cannot take is said in its remarks.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from .place import DEBIAN, TAR, TREE, CannotRun, Place
from .result import OURS

MEMORY, CPUS, PIDS = 64 << 20, 0.5, 50
IDLE = ("sleep", "infinity")
#: Ends at once when it is asked to.
POLITE = ("sh", "-c", 'trap "exit 0" TERM; sleep infinity & wait')
LIMITS = ("--memory", "64M", "--cpus", "0.5")
CPU_PERIOD = 100_000

#: Debian's own, whatever other client comes first in PATH.
DOCKER = "/usr/bin/docker"

Argv = Sequence[str]


class Contender:
    """One way to run containers. Methods that return a command give what is timed; ``lacks`` says what it has not."""

    name = ""
    package = ""
    #: The programs that it is made of.
    programs: tuple[str, ...] = ()
    #: Case -> why it is not measured.
    lacks: dict[str, str] = {}
    #: Case -> what the reader has to know.
    remarks: dict[str, str] = {}

    def __init__(self, place: Place, grace: int = 10) -> None:
        self.place, self.grace = place, grace

    def begin(self) -> None:
        """Prepare it.

        :raises CannotRun: when one of its programs is not on this machine.
        """
        missing = self.place.missing(self.programs)
        if missing:
            raise CannotRun(f"this machine has no {', '.join(missing)}: the package {self.package} is not installed")
        self.prepare()

    def prepare(self) -> None:
        """Make what it needs, once: daemon, bridge, image. Failed says why it cannot run here."""

    def take(self, tree: str, tar: str) -> None:
        """Make `debian`, a second thing to make containers of, from a tree or an archive of it."""

    def whole(self, image: str = "tiny") -> Argv:
        """Make a container, run `true` in it to its end, and leave nothing."""
        raise NotImplementedError

    def start(self, name: str, program: Argv) -> None:
        """Make and start a container in the background; not timed."""
        raise NotImplementedError

    def enter(self, name: str) -> Argv:
        """Run `true` in a running container."""
        raise NotImplementedError

    def stop(self, name: str) -> Argv:
        """Stop a running container, politely, with some seconds of grace."""
        raise NotImplementedError

    def list_(self) -> Argv:
        """List the containers that run."""
        raise NotImplementedError

    def remove(self, *names: str) -> None:
        """Remove containers, running or not; not timed."""
        raise NotImplementedError

    def tidy(self) -> None:
        """Remove the containers that a case left which did not end well."""

    def close(self) -> None:
        """Take away what is not a container."""


def shell(*commands: Argv) -> Argv:
    """Several commands in one, each only where the last one succeeded."""
    return ("sh", "-c", " && ".join(shlex.join(command) for command in commands))


def number(name: str) -> int:
    """A number for each name that the benchmark gives: c0, c1, …"""
    return int(name.lstrip("c") or 0)


#: What takes every protection of ours away that can be.
UNPROTECTED = ("--seccomp", "unconfined", "--apparmor", "unconfined", "--userns", "host", "--new-privileges")


class Baleine(Contender):
    name = OURS
    remarks = {
        "whole": "copies the image's disk (reflink), private user namespace, removes all of it",
        "idle": "inside: its PID 1, a shell script of busybox",
    }

    def prepare(self) -> None:
        self.place.do("baleine", "bridge", "create", "-b", "bench", "-a", "10.77.0.1/16")

    def _described(self, name: str, index: int, image: str = "tiny") -> Argv:
        address = f"10.77.{1 + index // 200}.{1 + index % 200}/16"
        limits = (*LIMITS, "--pids", str(PIDS))
        return ("-i", image, "-c", name, "-b", "bench", "-a", address, *limits)

    def create(self, image: str, *more: str) -> Argv:
        """Make and start a container of an image, to be removed as `store`."""
        return ("baleine", "container", "create", *self._described("store", 300, image), *more, "-p", "sleep infinity")

    def whole(self, image: str = "tiny") -> Argv:
        return ("baleine", "container", "run", "--rm", *self._described("whole", 250, image), "--", "true")

    def start(self, name: str, program: Argv) -> None:
        described = self._described(name, number(name))
        self.place.do("baleine", "container", "create", *described, "-p", shlex.join(program))

    def enter(self, name: str) -> Argv:
        return ("baleine", "container", "exec", "-c", name, "--", "true")

    def stop(self, name: str) -> Argv:
        return ("baleine", "container", "stop", "-t", str(self.grace), name)

    def list_(self) -> Argv:
        return ("baleine", "container", "list")

    def remove(self, *names: str) -> None:
        self.place.do("baleine", "container", "remove", "-t", "0", *names)

    def tidy(self) -> None:
        self.place.sh("baleine container list -a -q | xargs -r baleine container remove -t 0")

    def close(self) -> None:
        self.place.do("baleine", "bridge", "remove", "bench")


class Engine(Contender):
    """What docker and podman have in common: the words of the command line."""

    program = ""
    network = ""
    #: What removes containers that run, at once.
    kill: Argv = ()
    extra: Argv = ()

    def _described(self, name: str) -> Argv:
        address = f"10.{self.network}.0.{10 + number(name)}"
        joined = ("--network", "bench", "--ip", address)
        return (*self.extra, *joined, *LIMITS, "--pids-limit", str(PIDS), "--name", name)

    def take(self, tree: str, tar: str) -> None:
        self.place.do(self.program, "import", tar, DEBIAN, timeout=300)

    def whole(self, image: str = "tiny") -> Argv:
        return (self.program, "run", "--rm", *self._described("c200"), image, "true")

    def start(self, name: str, program: Argv) -> None:
        self.place.do(self.program, "run", "-d", *self._described(name), "tiny", *program)

    def enter(self, name: str) -> Argv:
        return (self.program, "exec", name, "true")

    def stop(self, name: str) -> Argv:
        return (self.program, "stop", "-t", str(self.grace), name)

    def list_(self) -> Argv:
        return (self.program, "ps")

    def remove(self, *names: str) -> None:
        self.place.do(*self.kill, *names)

    def tidy(self) -> None:
        self.place.sh(f"{self.program} ps -aq | xargs -r {shlex.join(self.kill)}")

    def close(self) -> None:
        self.tidy()
        self.place.do(self.program, "network", "rm", "bench")


class Docker(Engine):
    name, package, program, network = "docker", "docker.io", DOCKER, "78"
    programs = (DOCKER, "dockerd", "containerd")
    kill = (DOCKER, "rm", "-f")
    remarks = {
        "whole": "overlay2, no user namespace; dockerd and containerd run all the time",
        "idle": "on the host: dockerd, containerd, and a containerd-shim each",
    }

    def prepare(self) -> None:
        self.place.background("dockerd", "--iptables=false", "--ip6tables=false", "--pidfile=/run/docker.pid")
        self.place.sh(f"n=0; until {self.program} info >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 200 ]; sleep 0.1; done")
        self.place.do(self.program, "import", TAR, "tiny")
        self.place.do(self.program, "network", "create", "--subnet", "10.78.0.0/16", "bench")

    def close(self) -> None:
        super().close()
        self.place.sh(
            "kill $(cat /run/docker.pid); n=0; while pgrep -x 'dockerd|containerd' >/dev/null; do sleep 0.1; done"
        )


class Podman(Engine):
    name, package, program, network = "podman", "podman", "podman", "79"
    programs = ("podman",)
    kill = ("podman", "rm", "-f", "-t", "0")  # without -t it waits for the grace time
    remarks = {
        "whole": "overlay, no user namespace; netavark",
        "idle": "on the host: a conmon each",
    }

    def prepare(self) -> None:
        # raising a limit needs CAP_SYS_RESOURCE, which a machine may lack: what there is, is asked for
        hard = self.place.host.run(["bash", "-c", "ulimit -Hn; ulimit -Hu"]).stdout.split()
        self.extra = tuple(
            word
            for key, limit in zip(("nofile", "nproc"), hard)
            for word in ("--ulimit", f"{key}={limit}:{limit}")
            if limit.isdigit()
        )
        self.place.do(self.program, "import", TAR, "tiny")
        self.place.do(self.program, "network", "create", "--subnet", "10.79.0.0/16", "bench")


class PodmanAlone(Podman):
    name = "podman without a network"
    lacks = dict.fromkeys(("debian", "enter", "stop polite", "stop deaf", "list", "idle"), "measured with its bridge")
    remarks = {"whole": "for comparison: no bridge, no address"}

    def prepare(self) -> None:
        self.place.do(self.program, "image", "exists", "tiny")
        self.extra = ()

    def whole(self, image: str = "tiny") -> Argv:
        limits = (*LIMITS, "--pids-limit", str(PIDS))
        ulimits = [f"--ulimit={key}=1024:1024" for key in ("nofile", "nproc")]
        return (self.program, "run", "--rm", "--network", "none", *ulimits, *limits, image, "true")

    def close(self) -> None:
        pass


class Nspawn(Contender):
    name, package = "systemd-nspawn", "systemd-container"
    programs = ("systemd-nspawn",)
    options = ("systemd-nspawn", "-q", "--register=no", "--keep-unit", "--network-bridge=bench", "--private-users=pick")
    lacks = {
        "enter": "machinectl needs systemd-machined, and a systemd inside",
        "stop polite": "machinectl needs systemd-machined",
        "stop deaf": "machinectl needs systemd-machined",
        "list": "machinectl needs systemd-machined",
    }
    remarks = {
        "whole": "copy of the tree (-x), a link on the bridge but no address, no limits (they need systemd as PID 1)",
        "idle": "on the host: one systemd-nspawn each",
    }

    def prepare(self) -> None:
        if self.place.cgroup_root == "own":
            raise CannotRun("it needs the machine's own control groups, and the smallest run has some of its own")
        self.pids: dict[str, int] = {}
        self.place.sh(f"mkdir -p /run/systemd && cp -a {TREE} /srv/bench/nspawn")

    def take(self, tree: str, tar: str) -> None:
        self.place.sh(f"cp -a {tree} /srv/bench/nspawn.{DEBIAN}")

    def whole(self, image: str = "tiny") -> Argv:
        tree = "/srv/bench/nspawn" + (f".{image}" if image != "tiny" else "")
        return (*self.options, "-x", "-D", tree, "/bin/true")

    def start(self, name: str, program: Argv) -> None:
        tree = ("-x", "-M", name, "-D", "/srv/bench/nspawn")
        self.pids[name] = self.place.background(*self.options, *tree, f"/bin/{program[0]}", *program[1:])
        self.place.sh(f"n=0; until pgrep -P {self.pids[name]}; do n=$((n+1)); [ $n -lt 100 ]; sleep 0.05; done")

    def remove(self, *names: str) -> None:
        for name in names:
            parent = self.pids.pop(name)
            self.place.sh(f"pkill -KILL -P {parent}; while [ -e /proc/{parent}/root/proc ]; do sleep 0.05; done")

    def tidy(self) -> None:
        self.remove(*self.pids)


class Lxc(Contender):
    name, package = "lxc", "lxc"
    programs = ("lxc-start", "lxc-copy", "rsync")
    base = "/srv/bench/lxc"
    remarks = {
        "whole": "lxc-copy, lxc-execute, lxc-destroy; copy by rsync, privileged (no user namespace)",
        "idle": "on the host: one lxc-start each",
    }

    def prepare(self) -> None:
        settings = {
            "lxc.include": "/usr/share/lxc/config/common.conf",
            "lxc.uts.name": "base",
            "lxc.rootfs.path": f"dir:{self.base}/base/rootfs",
            "lxc.net.0.type": "veth",
            "lxc.net.0.link": "bench",
            "lxc.net.0.flags": "up",
            "lxc.net.0.ipv4.address": "10.77.200.1/16",
            "lxc.cgroup.memory.limit_in_bytes": str(MEMORY),
            "lxc.cgroup.pids.max": str(PIDS),
            "lxc.cgroup.cpu.cfs_quota_us": str(int(CPUS * CPU_PERIOD)),
            "lxc.signal.halt": "SIGTERM",
        }
        if not self.place.host.path("/sys/fs/cgroup/memory").is_dir():
            settings = {key.replace("memory.limit_in_bytes", "memory.max"): value for key, value in settings.items()}
        self.place.sh(f"mkdir -p {self.base}/base && cp -a {TREE} {self.base}/base/rootfs")
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        self.place.host.write(f"{self.base}/base/config", text)

    def take(self, tree: str, tar: str) -> None:
        base, folder = f"{self.base}/base", f"{self.base}/{DEBIAN}"
        self.place.sh(f"mkdir {folder} && cp -a {tree} {folder}/rootfs")
        self.place.sh(f"sed s,{base}/rootfs,{folder}/rootfs, {base}/config > {folder}/config")

    def _tool(self, tool: str, name: str, *words: str) -> Argv:
        return (f"lxc-{tool}", "-P", self.base, "-n", name, *words)

    def whole(self, image: str = "tiny") -> Argv:
        copy = self._tool("copy", "base" if image == "tiny" else image, "-N", "whole")
        return shell(copy, self._tool("execute", "whole", "--", "/bin/true"), self._tool("destroy", "whole"))

    def start(self, name: str, program: Argv) -> None:
        address = f"/ipv4.address/s/=.*/= 10.77.200.{2 + number(name)}\\/16/"
        self.place.do(*self._tool("copy", "base", "-N", name))
        self.place.do("sed", "-i", address, f"{self.base}/{name}/config")
        self.place.do(*self._tool("start", name, "--", *program))

    def enter(self, name: str) -> Argv:
        return self._tool("attach", name, "--", "true")

    def stop(self, name: str) -> Argv:
        return self._tool("stop", name, "-t", str(self.grace))

    def list_(self) -> Argv:
        return ("lxc-ls", "-P", self.base, "--active", "-f")

    def remove(self, *names: str) -> None:
        for name in names:
            self.place.do(*self._tool("destroy", name, "-f"))

    def tidy(self) -> None:
        self.place.sh(
            f"lxc-ls -P {self.base} -1 | grep -vx -e base -e {DEBIAN} | xargs -rn1 lxc-destroy -P {self.base} -f -n"
        )


class LxcAlone(Lxc):
    name = "lxc, no copy"
    lacks = dict.fromkeys(("debian", "enter", "stop polite", "stop deaf", "list", "idle"), "the same as lxc")
    remarks = {"whole": "lxc-execute alone, in a tree that is there and stays"}

    def prepare(self) -> None:
        self.place.do("test", "-d", f"{self.base}/base")

    def whole(self, image: str = "tiny") -> Argv:
        return self._tool("execute", "base", "--", "/bin/true")


class Crun(Contender):
    name, package = "crun", "crun"
    programs = ("crun",)
    base = "/srv/bench/crun"
    lacks = {
        "debian": "it copies nothing",
        "stop polite": "it has no stop, only kill and delete",
        "stop deaf": "it has no stop, only kill and delete",
    }
    remarks = {
        "whole": "the bare runtime, in a tree that is there and stays: no copy, no bridge, no manifest",
        "idle": "nothing",
    }

    def prepare(self) -> None:
        self.place.sh(f"mkdir -p {self.base} && cp -a {TREE} {self.base}/tree && cd {self.base} && crun spec")
        self._write("whole", ("/bin/true",))

    def _write(self, name: str, program: Argv) -> str:
        specification = json.loads(self.place.host.read(f"{self.base}/config.json"))
        specification["process"].update(args=list(program), terminal=False)
        specification["process"].pop("rlimits", None)  # see Podman
        specification["root"] = {"path": f"{self.base}/tree", "readonly": False}
        specification["linux"].setdefault("resources", {}).update(
            memory={"limit": MEMORY, "swap": MEMORY},
            cpu={"quota": int(CPUS * CPU_PERIOD), "period": CPU_PERIOD},
            pids={"limit": PIDS},
        )
        specification["linux"]["cgroupsPath"] = f"/crun/{name}"
        self.place.host.write(f"{self.base}/{name}/config.json", json.dumps(specification))
        return f"{self.base}/{name}"

    def whole(self, image: str = "tiny") -> Argv:
        return ("crun", "run", "--bundle", f"{self.base}/whole", "whole")

    def start(self, name: str, program: Argv) -> None:
        self.place.sh(
            shlex.join(("crun", "run", "-d", "--bundle", self._write(name, program), name)) + " >/dev/null 2>&1"
        )

    def enter(self, name: str) -> Argv:
        return ("crun", "exec", name, "true")

    def list_(self) -> Argv:
        return ("crun", "list")

    def remove(self, *names: str) -> None:
        for name in names:
            self.place.do("crun", "delete", "--force", name)

    def tidy(self) -> None:
        self.place.sh("crun list -q | xargs -rn1 crun delete --force")


CONTENDERS: tuple[type[Contender], ...] = (Baleine, Docker, Podman, PodmanAlone, Nspawn, Lxc, LxcAlone, Crun)
#: Those that give a container a bridge, an address and limits, as asked for.
WITH_BRIDGE = ("docker", "podman", "lxc")
