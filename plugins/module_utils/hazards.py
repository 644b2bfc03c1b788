# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host would hurt containers: said, never worked around."""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any, Optional

from . import apparmor, cgroup, manifest, runtime
from .process import PACKAGES, Runner, find_program, read

BRIDGE_FILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"
FORWARDING = "/proc/sys/net/ipv4/ip_forward"
LEGACY_TABLES = "/proc/net/ip_tables_names"
#: ext4 can be an idmapped mount from this kernel on.
KERNEL = (5, 12)
LOW_SPACE = 1 << 30


def hazards(run: Runner) -> list[dict[str, str]]:
    """Return what would hurt: each with ``what``, ``why`` and ``hint``."""
    return [*forwarding(run), *_routing(), *_space(), *_cgroups(), *_kernel()]


def _hazard(there: object, what: str, why: str, hint: str) -> list[dict[str, str]]:
    return [{"what": what, "why": why, "hint": hint}] if there else []


def forwarding(run: Runner) -> list[dict[str, str]]:
    """Return the rule that drops what containers on one bridge send each other, if there is one."""
    rule = dropping_rule(run) if read(BRIDGE_FILTER) == "1" else None
    return _hazard(
        rule,
        f"{rule} while bridge-nf-call-iptables is 1",
        "br_netfilter gives frames between containers of one bridge to the FORWARD chain, which drops them",
        "Set net.bridge.bridge-nf-call-iptables=0, or let the bridges' traffic pass in that firewall's own "
        "configuration; Baleine changes no rule",
    )


def dropping_rule(run: Runner) -> Optional[str]:
    """Return the policy of a forwarding chain that drops what no rule lets pass, in its tool's words; all is only read.

    firewalld's chain accepts by its policy, and its last rule rejects what no zone has let through.
    """
    nft = find_program("nft") or ""
    for entry in _forward_chains(run([nft, "-j", "list", "chains"]).out) if nft else ():
        if entry.get("policy") == "drop":
            table = f"{entry.get('family')} {entry.get('table')}"
            if _let_pass(run([nft, "list", "table", *table.split()]).out):
                continue
            rule = f"the policy of chain {entry.get('name')} in table {table} is drop"
            return f"{rule} (-P FORWARD DROP)" if entry.get("name") == "FORWARD" else rule
        if entry.get("table") == "firewalld":
            rules = run([nft, "list", "table", "inet", "firewalld"]).out
            if strange := [name for name in manifest.names("bridge") if f'"{name}"' not in rules]:
                return f"firewalld has no zone for {', '.join(strange)}"
    legacy, tables = find_program("iptables-legacy"), (read(LEGACY_TABLES) or "").split()
    # the list of tables is looked at first: asking iptables-legacy for a table that is not there would make it
    rules = run([legacy, "-S"]).out if legacy and "filter" in tables else ""
    if "-P FORWARD DROP" in rules and not _let_pass(rules):
        return "the policy of iptables' chain FORWARD is DROP (-P FORWARD DROP)"
    return None


def _let_pass(rules: str) -> bool:
    """Say whether some rule accepts what comes from each bridge: where Docker leaves room for such (DOCKER-USER)."""
    accepting = [line.replace('"', " ").split() for line in rules.splitlines() if "accept" in line.lower()]
    bridges = manifest.names("bridge")
    return bool(bridges) and all(any(name in words for words in accepting) for name in bridges)


def _forward_chains(text: str) -> list[dict[str, Any]]:
    try:
        chains = [dict(item["chain"]) for item in json.loads(text)["nftables"] if "chain" in item]
    except (ValueError, TypeError, KeyError):
        return []
    return [entry for entry in chains if entry.get("hook") == "forward"]


def _routing() -> list[dict[str, str]]:
    return _hazard(
        read(FORWARDING) == "1",
        "net.ipv4.ip_forward is 1",
        "this host routes between its bridges: a container that names it as gateway reaches the others",
        "Set it to 0 unless something else (Docker, a VPN) needs it; give private containers no gateway",
    )


def errors() -> list[str]:
    """Return why this host cannot run containers at all; empty where it can."""
    there = os.path.exists("/dev/loop-control")
    return [] if there else ["there is no /dev/loop-control: load the kernel's module loop"]


def _kernel() -> list[dict[str, str]]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return _hazard(
        not match or (int(match[1]), int(match[2])) < KERNEL,
        f"the kernel is {os.uname().release}",
        "it cannot map the owners of an ext4 disk into a private user namespace, which each container has by default",
        "Take Linux 5.12 or newer, or give each container userns: host, which makes its root the host's",
    )


def _space() -> list[dict[str, str]]:
    folder = manifest.LIBRARY if os.path.isdir(manifest.LIBRARY) else "/var"
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    return _hazard(
        free < LOW_SPACE,
        f"{free >> 20} MiB are free below {folder}",
        "disks are sparse: a container that writes would meet a full host",
        "Make room there",
    )


def _cgroups() -> list[dict[str, str]]:
    left = ", ".join(cgroup.unified_controllers()) if cgroup.layout() == "hybrid" else ""
    return _hazard(
        left,
        f"the cgroup layout is hybrid ({left} on v2)",
        "crun refuses it: runc is used, which takes a few hundredths of a second longer per start",
        "Mount that controller on v1, or boot with cgroup v2 alone",
    )


def missing_packages() -> list[str]:
    """Return the Debian packages that this host still needs."""
    programs = ["ip", "nsenter", "mmdebstrap", "gpgv", "zstd", "mke2fs", "e2fsck", "resize2fs", "busybox"]
    programs += ["apparmor_parser"] if apparmor.enabled() else []
    packages = {PACKAGES[name] for name in programs if find_program(name) is None}
    if not (find_program("cron") or find_program("crond")):
        packages.add(PACKAGES["cron"])
    if runtime.installed() is None:
        packages.add("runc" if cgroup.layout() == "hybrid" else "crun")
    return sorted(packages)


def running() -> list[str]:
    """Return the containers that have living processes, whether or not a manifest still knows them."""
    names = set(manifest.names("container"))
    for base in cgroup.hierarchies():
        with contextlib.suppress(OSError):  # no container has been there
            names.update(entry.name for entry in os.scandir(base + cgroup.PARENT) if entry.is_dir())
    return sorted(name for name in names if cgroup.processes(name))


def report(run: Runner) -> dict[str, Any]:
    """Return what a host is, lacks and suffers from."""
    return {
        "cgroup": cgroup.layout(),
        "runtime": runtime.installed(),
        "packages_missing": missing_packages(),
        "hazards": hazards(run),
        "errors": errors(),
        "kernel": os.uname().release,
        "running": running(),
    }
