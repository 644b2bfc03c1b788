# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking containers whether they are well, by an HTTP path or a command inside; and waiting until they are."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from . import cgroup, enter, hazards, launch, log, manifest, units
from .description import from_record, ip_of
from .errors import BaleineError
from .policy import Condition, condition_of, parse_condition
from .process import Runner, need_program, wait_until

DEFAULT_SECONDS = 30.0
ONE_ATTEMPT = 5.0


def request(params: Optional[Mapping[str, Any]], what: str) -> Optional[Condition]:
    """Return the option ``wait``, normalised; None where nothing is waited for.

    :raises BaleineError: when it names none or several, or a time or port that is none.
    """
    return parse_condition(params, f"{what}: wait", DEFAULT_SECONDS) if params else None


def wait(run: Runner, name: str, condition: Condition) -> None:
    """Wait until the condition holds.

    :raises BaleineError: after its time, with the last error and what of the host may be the cause.
    """
    what = f"container {name}"
    if condition.healthy:
        description, _interfaces = from_record(name, manifest.read("container", name) or {})
        check = condition_of(description.settings["healthcheck"])
        if check is None:
            raise BaleineError(f"{what}: it has no health check to wait for", "Give it one: healthcheck")
        condition = check._replace(seconds=condition.seconds)
    last = ["it was not asked yet"]

    def holds() -> bool:
        record = manifest.read("container", name) or {}
        error = ask(run, name, record, condition) if enter.is_alive(record) else "it does not run"
        last[0] = error or ""
        return error is None

    if wait_until(holds, condition.seconds, interval=0.1):
        return
    asked = f"command {' '.join(condition.command)}"
    if condition.path:
        asked = f"http {condition.path} on port {condition.port}"
    causes = [f"{entry['what']}: {entry['why']}. {entry['hint']}" for entry in hazards.forwarding(run)]
    hint = "; ".join(causes) or f"Look at {log.path_of(name)} and at the program's own log"
    raise BaleineError(f"{what}: {asked} did not answer in {condition.seconds:g} s; last error: {last[0]}", hint)


def ask(run: Runner, name: str, record: manifest.Record, condition: Condition) -> Optional[str]:
    """Ask a container that runs once; returns what is wrong with its answer, or None."""
    if condition.path:
        return _ask_http(name, record, condition)
    env, workdir, user = manifest.from_json(record, "env", {}), record.get("workdir", ""), record.get("user", "")
    words = enter.exec_argv(name, record, condition.command, env, workdir, user)
    limit = str(max(1, math.ceil(min(condition.seconds, 3600))))
    pid_file = f"{launch.bundle_of(name)}/ask.{os.getpid()}"
    words.insert(words.index("exec") + 1, f"--pid-file={pid_file}")
    result = run([need_program("timeout", f"container {name}"), "-k", "1", limit, *bounded(words)])
    with contextlib.suppress(OSError), open(pid_file) as stream:
        os.unlink(pid_file)
        pid = units.number(stream.read())
        if pid in cgroup.processes(name):  # the runtime is gone, what it ran inside is not
            os.kill(pid, signal.SIGKILL)
    if result.code in (124, 137):
        return f"it did not end in {limit} s"
    return None if result.code == 0 else f"exit code {result.code}: {result.said}"


def bounded(words: Sequence[str]) -> list[str]:
    """Return a command that does the same, but of what it prints gives only the first 4 KiB.

    A runner keeps all of it in memory, and a container prints as much as it likes.
    """
    inner = '{ "$@" 2>&1 3>&- 4>&-; echo $? >&4; } | { head -c 4096 >&3; cat >/dev/null; }'
    return ["sh", "-c", f'exec 3>&1; code=$({{ {inner}; }} 4>&1); exit "$code"', "sh", *words]


def _ask_http(name: str, record: manifest.Record, condition: Condition) -> Optional[str]:
    """Ask for a page, and read no more than its status: who drips bytes has as little time as who sends none."""
    import socket

    _description, interfaces = from_record(name, record)
    addresses = [ip_of(address) for item in interfaces for address in item.network.addresses]
    if not addresses:
        return "it has no address to ask"
    seconds = max(0.1, min(condition.seconds, ONE_ATTEMPT))
    end, line = time.monotonic() + seconds, b""
    try:
        with socket.create_connection((addresses[0], condition.port), seconds) as server:
            server.sendall(f"GET {condition.path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            while b"\n" not in line and len(line) < 4096:
                server.settimeout(max(0.001, end - time.monotonic()))
                line += server.recv(4096) or b"\n"
    except OSError as error:
        return f"{addresses[0]}: {error}"
    status = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ?([ -~]*)", line)
    if status is None:
        return f"{addresses[0]}: this is no answer of HTTP"
    code, reason = int(status[1]), status[2].decode()
    return None if 200 <= code < 400 else f"{addresses[0]}: HTTP {code} {reason}"


def is_due(name: str, check: Mapping[str, Any], record: Mapping[str, str], minute: int) -> bool:
    """Say whether a health check is asked in the pass of this minute. Pure; those of one interval are spread."""
    return record.get("health", "starting") == "starting" or (minute + sum(name.encode())) % int(check["interval"]) == 0


def judge(check: Mapping[str, Any], record: Mapping[str, str], error: Optional[str], age: float) -> dict[str, str]:
    """Return what a manifest notes after a check. Pure.

    :param error: what was wrong, or None; :param age: for how many seconds the container has been running.
    """
    before = record.get("health") or "starting"
    if error is None:
        return {"health": "healthy", "health_failures": ""}
    if before == "starting" and age < check["start_period"]:
        return {"health": before, "health_failures": ""}
    failures = min((units.number(record.get("health_failures", "")) or 0) + 1, check["retries"])
    return {"health": "unhealthy" if failures == check["retries"] else before, "health_failures": str(failures)}
