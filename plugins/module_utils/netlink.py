# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links, addresses and routes of the kernel: read as JSON and changed in batches by iproute2.

Why not pyroute2: importing it costs 170-290 ms where an ``ip -batch`` of ten changes costs 3, and every host has ip(8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from .errors import BaleineError
from .process import Runner, need_program


def _ip(pid: Optional[int], program: str = "ip") -> list[str]:
    """The command, in the network namespace of a process where one is given."""
    ip = need_program(program, "network")
    if pid is None:
        return [ip]
    return [need_program("nsenter", "network"), f"--net=/proc/{pid}/ns/net", ip]


def links(run: Runner, pid: Optional[int] = None) -> dict[str, dict[str, Any]]:
    """Return each link with its addresses and details, by name; ``rate`` is what its tbf(8) lets out, in bits a second.

    :param pid: a process whose network namespace is asked; None is the host's.
    """
    shown = _ask(run, pid, ["-j", "-d", "address", "show"])
    found = {entry["ifname"]: entry for entry in shown if "ifname" in entry}
    if any(entry.get("qdisc") == "tbf" for entry in found.values()):
        for entry in _ask(run, pid, ["-j", "qdisc", "show"], "tc"):
            if entry.get("kind") == "tbf" and entry.get("dev") in found:
                found[entry["dev"]]["rate"] = entry["options"]["rate"] * 8  # it says bytes
    return found


def routes(run: Runner, pid: Optional[int] = None) -> list[dict[str, Any]]:
    """Return the routes of the main table, IPv4 and IPv6."""
    return _ask(run, pid, ["-j", "-4", "route", "show"]) + _ask(run, pid, ["-j", "-6", "route", "show"])


def _ask(run: Runner, pid: Optional[int], words: Sequence[str], program: str = "ip") -> list[dict[str, Any]]:
    result = run([*_ip(pid, program), *words])
    if result.code != 0:
        if "does not exist" in result.err or "Cannot find device" in result.err:
            return []
        raise BaleineError(f"network: {program} {' '.join(words)}: {result.said}")
    return list(json.loads(result.out or "[]"))


def batch(run: Runner, lines: Sequence[str], attempt: str, pid: Optional[int] = None, force: bool = False) -> None:
    """Carry out changes in order, in one process; changes of queues (tc(8)) after them in another.

    :param force: go on after a change that the kernel refuses, and say nothing of it.
    :raises BaleineError: with the change that failed and the kernel's word.
    """
    queues = [line for line in lines if line.startswith("qdisc ")]
    if queues:
        batch(run, [line for line in lines if line not in queues], attempt, pid, force)
    elif not lines:
        return
    program, lines = ("tc", queues) if queues else ("ip", lines)
    result = run([*_ip(pid, program), *(["-force"] if force else []), "-batch", "-"], stdin="\n".join(lines) + "\n")
    if result.code != 0 and not force:
        failed = re.search(r"Command failed -:(\d+)", result.err)
        line = lines[int(failed.group(1)) - 1] if failed else lines[0]
        said = re.sub(r"\s*Command failed -:\d+", "", result.err).strip() or f"exit code {result.code}"
        raise BaleineError(f"{attempt}: {program} {line}: {said}")


def global_entries(link: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the kernel says of a link's addresses, those that it made itself (fe80::/64) aside."""
    return [entry for entry in link.get("addr_info", ()) if entry.get("scope") != "link" and "local" in entry]


def global_addresses(link: Mapping[str, Any]) -> list[str]:
    """Return a link's addresses in CIDR form, those that the kernel made itself aside."""
    return [f"{entry['local']}/{entry['prefixlen']}" for entry in global_entries(link)]


def kind(link: Mapping[str, Any]) -> str:
    """Return what a link is: ``bridge``, ``veth``, … or an empty string for a device."""
    return str(link.get("linkinfo", {}).get("info_kind", ""))
