# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a container answers: an HTTP path, or a command inside it."""

from __future__ import annotations

import http.client
import math
import socket
from collections.abc import Mapping
from typing import Any, Optional

from . import enter, hazards, launch, manifest
from .description import from_record, ip_of
from .errors import BaleineError
from .policy import Condition, parse_condition
from .process import Runner, need_program, wait_until

DEFAULT_SECONDS = 30.0
ONE_ATTEMPT = 5.0


def request(params: Optional[Mapping[str, Any]], what: str) -> Optional[Condition]:
    """Return the option ``wait``, normalised; None where nothing is waited for.

    :raises BaleineError: when it names neither or both, or a time or port that is none.
    """
    return parse_condition(params, f"{what}: wait", DEFAULT_SECONDS) if params else None


def wait(run: Runner, name: str, condition: Condition) -> None:
    """Wait until the condition holds.

    :raises BaleineError: after its time, with the last error and what of the host may be the cause.
    """
    what = f"container {name}"
    last = ["it was not asked yet"]

    def holds() -> bool:
        record = manifest.read("container", name) or {}
        if not enter.is_alive(record):
            last[0] = "it does not run"
            return False
        error = _ask_http(name, record, condition) if condition.path else _ask_command(run, name, record, condition)
        last[0] = error or ""
        return error is None

    if wait_until(holds, condition.seconds, interval=0.1):
        return
    asked = (
        f"http {condition.path} on port {condition.port}"
        if condition.path
        else f"command {' '.join(condition.command)}"
    )
    causes = [f"{entry['what']}: {entry['why']}. {entry['hint']}" for entry in hazards.forwarding(run)]
    hint = "; ".join(causes) or f"Look at {launch.log_of(name)} and at the program's own log"
    raise BaleineError(f"{what}: {asked} did not answer in {condition.seconds:g} s; last error: {last[0]}", hint)


def _ask_http(name: str, record: manifest.Record, condition: Condition) -> Optional[str]:
    _description, interfaces = from_record(name, record)
    addresses = [ip_of(address) for item in interfaces for address in item.network.addresses]
    if not addresses:
        return "it has no address to ask"
    try:
        connection = http.client.HTTPConnection(addresses[0], condition.port, timeout=ONE_ATTEMPT)
        connection.request("GET", condition.path, headers={"Host": name, "Connection": "close"})
        answer = connection.getresponse()
        connection.close()
    except (OSError, http.client.HTTPException, socket.timeout) as error:
        return f"{addresses[0]}: {error}"
    return None if answer.status < 400 else f"{addresses[0]}: HTTP {answer.status} {answer.reason}"


def _ask_command(run: Runner, name: str, record: manifest.Record, condition: Condition) -> Optional[str]:
    words = enter.exec_argv(name, record, condition.command, {}, "", "")
    limit = str(max(1, math.ceil(min(condition.seconds, 3600))))
    result = run([need_program("timeout", f"container {name}"), "-k", "1", limit, *words])
    if result.code == 124:
        return f"it did not end in {limit} s"
    return None if result.code == 0 else f"exit code {result.code}: {result.said}"
