# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several unit tests use: a real runner, plans in short form, and what a kernel does with addresses."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from baleine.plan import Plan
from baleine.process import ENVIRONMENT, Result


def run(argv: Sequence[str], stdin: str = "", env: Optional[Mapping[str, str]] = None) -> Result:
    """Run a command for real."""
    done = subprocess.run(
        list(argv), input=stdin, env={**ENVIRONMENT, **(env or {})}, capture_output=True, text=True, check=False
    )
    return Result(tuple(argv), done.returncode, done.stdout, done.stderr)


class Recorded:
    """A runner that answers what a real command once answered, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, argv: Sequence[str], stdin: str = "", env: Optional[Mapping[str, str]] = None) -> Result:
        self.asked.append((list(argv), stdin))
        code, out = self.answers.pop(0)
        return Result(tuple(argv), code, out, "")


def replace(values: Any, **changes: Any) -> Any:
    """Return a named tuple with some of its values changed."""
    return values._replace(**changes)


def verbs(plan: Plan) -> list[str]:
    return [action.verb for action in plan.actions]


def reasons(plan: Plan) -> str:
    return "; ".join(action.reason for action in plan.actions)


class Addresses:
    """The addresses of one link as Linux keeps them (net/ipv4/devinet.c, promote_secondaries off, the default).

    The first address of a subnet is the primary one; when it goes, every later one of that subnet goes with it.
    The last IPv4 address takes the routes along. All of it was seen on a veth of Linux 6.18 with iproute2 6.1.
    """

    def __init__(self, addresses: Iterable[str] = (), routes: Iterable[tuple[str, str]] = ()) -> None:
        self.list = list(addresses)
        self.routes = set(routes)

    def add(self, text: str, replace: bool = False) -> None:
        assert replace or text not in self.list, f"File exists: {text}"
        if text not in self.list:
            self.list.append(text)

    def delete(self, text: str) -> None:
        assert text in self.list, f"Cannot assign requested address: {text}"
        gone = ipaddress.ip_interface(text)
        peers = [other for other in self.list if ipaddress.ip_interface(other).network == gone.network]
        taken = peers if gone.version == 4 and peers[0] == text else [text]
        self.list = [other for other in self.list if other not in taken]
        if not any("." in other for other in self.list):
            self.routes = {route for route in self.routes if ":" in route[1]}

    def batch(self, lines: Iterable[str]) -> None:
        """Carry out lines of ``ip -batch`` that concern addresses and routes."""
        for line in lines:
            words = line.split()
            if words[:2] in (["address", "add"], ["address", "replace"]):
                self.add(words[2], words[1] == "replace")
            elif words[:2] == ["address", "del"]:
                self.delete(words[2])
            elif words[:2] == ["route", "replace"]:
                self.routes = {r for r in self.routes if r[0] != words[2] or (":" in r[1]) != (":" in words[4])}
                self.routes.add((words[2], words[4]))
            elif words[:2] == ["route", "del"]:
                self.routes.remove((words[2], words[4]))


def link(name: str, **changes: Any) -> dict[str, Any]:
    """A link as ``ip -j -d address show`` gives it (iproute2 6.1), cut to what is looked at."""
    entry: dict[str, Any] = {
        "ifindex": 2,
        "ifname": name,
        "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
        "mtu": 1500,
        "operstate": "UP",
        "link_type": "ether",
        "address": "02:00:00:00:00:01",
        "addr_info": [{"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"}],
    }
    addresses: Sequence[str] = changes.pop("addresses", ())
    for text in addresses:
        ip, _slash, prefix = text.partition("/")
        family = "inet6" if ":" in ip else "inet"
        entry["addr_info"].append({"family": family, "local": ip, "prefixlen": int(prefix), "scope": "global"})
    if not changes.pop("up", True):
        entry["flags"] = ["BROADCAST", "MULTICAST"]
    return {**entry, **changes}
