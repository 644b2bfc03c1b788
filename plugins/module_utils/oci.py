# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the OCI runtime is told: the specification of a container, as data (opencontainers/runtime-spec 1.0)."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import pid1
from .process import PATH
from .rootfs import IDS_PER_CONTAINER, device_rule

#: Podman's default set (containers.conf(5), default_capabilities).
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
    "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip
#: capabilities(7); a program that is not root's has the first alone, and nobody the last two
CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
#: What Docker masks (moby daemon/pkg/oci/defaults.go) and what Podman does (containers/common pkg/config/default.go).
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    # The host's root may read these, whom only userns: host makes of a container's.
    "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/pagetypeinfo", "/proc/slabinfo",
    "/proc/vmallocinfo",
)  # fmt: skip
#: Counters that tell of other processes' work.
MASKED_PATTERN = "/sys/devices/system/cpu/cpu*/thermal_throttle"
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
#: Forwarding stays off inside, whatever the host's default is: a container on two bridges is no router.
NO_ROUTER = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding")
ENVIRONMENT = {"PATH": PATH, "container": "baleine"}
#: What may be given of setrlimit(2).
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip


class Identity(NamedTuple):
    """Who the program runs as, inside: numbers."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"


class Rights(NamedTuple):
    """What a process may do beyond what its user may."""

    capabilities: tuple[str, ...] = CAPABILITIES
    no_new_privileges: bool = True
    apparmor: str = ""


class Bind(NamedTuple):
    """A file or directory of the host seen inside; ``flags`` are those the host's own mount has."""

    source: str
    target: str
    read_only: bool
    flags: tuple[str, ...] = ()

    def as_mount(self) -> dict[str, Any]:
        options = ["rbind", "rprivate", "ro" if self.read_only else "rw", *self.flags]
        return {"destination": self.target, "type": "bind", "source": self.source, "options": options}


def process(
    command: tuple[str, ...],
    identity: Identity,
    env: Mapping[str, str],
    workdir: str,
    terminal: bool = False,
    ulimits: Optional[Mapping[str, str]] = None,
    rights: Rights = Rights(),  # noqa: B008
) -> dict[str, Any]:
    """Return the process part: for the first program, and the same privileges for every ``exec``.

    :param ulimits: by name, as ``SOFT:HARD``.
    """
    limits = [(f"RLIMIT_{name.upper()}", *map(int, text.split(":"))) for name, text in (ulimits or {}).items()]
    environment = {**ENVIRONMENT, "HOME": identity.home, **({"TERM": "xterm"} if terminal else {}), **env}
    used = CAPABILITY_SETS[:3] if identity.uid == 0 else CAPABILITY_SETS[:1]
    return {
        "terminal": terminal,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)},
        "args": list(command),
        "env": [f"{key}={value}" for key, value in environment.items()],
        "cwd": workdir or "/",
        "capabilities": {key: list(rights.capabilities) if key in used else [] for key in CAPABILITY_SETS},
        "noNewPrivileges": rights.no_new_privileges,
        **({"apparmorProfile": rights.apparmor} if rights.apparmor else {}),
        **({"rlimits": [{"type": kind, "soft": soft, "hard": hard} for kind, soft, hard in limits]} if limits else {}),
    }


def specification(
    root: str,
    hostname: str,
    first: Mapping[str, Any],
    devices: Sequence[Mapping[str, str]],
    first_id: int,
    cgroup: str,
    binds: tuple[Bind, ...],
    ipv6: bool = True,
    sysctls: Optional[Mapping[str, str]] = None,
    joined: Optional[int] = None,
    privileges: Optional[Mapping[str, Any]] = None,
    seccomp: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """Return the whole specification.

    :param root: where the idmapped disk is mounted in the launcher's mount namespace.
    :param first: the process part.
    :param devices: nodes of the host, and how they may be used, beside those of every container. All other limits are
        set once the runtime has made the groups.
    :param first_id: the first of the container's 65,536 host ids.
    :param cgroup: absolute path below every cgroup hierarchy.
    :param ipv6: whether the host's kernel has IPv6.
    :param sysctls: further settings of its own namespaces.
    :param joined: a process whose network it shares, and so the user namespace that owns that; of the same ids.
    :param privileges: the options ``userns``, ``read_only`` and ``tmpfs``; :param seccomp: its filter.
    """
    privileges = privileges or {}
    private = privileges.get("userns") != "host"
    shared = {"network": f"/proc/{joined}/ns/net", "user": f"/proc/{joined}/ns/user"} if joined else {}
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", *(["user"] if private else []))
    own = [bind.as_mount() for bind in binds]
    for item in privileges.get("tmpfs", ()):
        options = ("nosuid", "nodev", "noexec", f"mode={item['mode']}", f"size={item['size']}")
        own.append(_mount(item["target"], "tmpfs", "tmpfs", *options))
    mapping = [{"containerID": 0, "hostID": first_id, "size": IDS_PER_CONTAINER}]
    return {
        "ociVersion": "1.0.2",
        "process": dict(first),
        "root": {"path": root, "readonly": privileges.get("read_only", False)},
        "hostname": hostname,
        "mounts": [
            _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=64k"),
            _mount(
                "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
            ),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
            *sorted(own, key=lambda mount: mount["destination"].count("/")),  # what lies in another one after that
        ],
        "linux": {
            "namespaces": [{"type": kind, **({"path": shared[kind]} if kind in shared else {})} for kind in kinds],
            **({"uidMappings": mapping, "gidMappings": mapping} if private else {}),
            "cgroupsPath": cgroup,
            "resources": device_rules(devices),
            "sysctl": {**{key: "0" for key in NO_ROUTER if ipv6 or ".ipv6." not in key}, **(sysctls or {})},
            "maskedPaths": [*MASKED, *glob.glob(MASKED_PATTERN)],
            "readonlyPaths": list(READ_ONLY),
            **({"seccomp": seccomp} if seccomp else {}),
        },
    }


def device_rules(devices: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the part of the specification that denies all devices but these and those of every container."""
    return {"devices": [{"allow": False, "access": "rwm"}, *map(_allowed, devices)]}


def _allowed(device: Mapping[str, str]) -> dict[str, Any]:
    kind, _space, numbers = device_rule(device["path"]).partition(" ")
    major, minor = map(int, numbers.split(":"))
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": device["access"]}


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def init_binds(busybox: str, folder: str) -> tuple[Bind, ...]:
    """Return what PID 1 needs: the static busybox and the script read-only, its state directory writable."""
    host = ("nosuid", "nodev")
    return (
        Bind(busybox, f"{pid1.INSIDE}/busybox", True, host),
        Bind(f"{folder}/init", f"{pid1.INSIDE}/init", True, host),
        Bind(f"{folder}/state", f"{pid1.INSIDE}/state", False, (*host, "noexec")),
    )
