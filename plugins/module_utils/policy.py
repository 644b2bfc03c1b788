# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a container may change while it runs because only Baleine itself looks at it: labels, policies, checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Optional

from . import pid1, units
from .errors import BaleineError

RESTART_POLICIES = ("no", "always", "unless-stopped", "on-failure")
#: Each setting with its default, in the form that manifests, results and diffs show.
DEFAULTS: Mapping[str, Any] = {
    "labels": {},
    "restart_policy": "unless-stopped",
    "restart_retries": 0,
    "depends_on": [],
    "schedule": {},
    "healthcheck": {},
    "stop_signal": "TERM",
    "stop_timeout": 10.0,
    "extra_hosts": {},
    "log_size": 16 << 20,
}
#: What Baleine notes of a container's policy, left out where it is empty: restarts in a row, when the next one is due,
#: what a start waits for, and what the health check found.
OBSERVED = ("restarts", "retry_at", "waits", "health", "health_failures", "oom_kills")
SMALLEST_LOG = 64 << 10
#: What the fields of a crontab's time may hold (crontab(5)): cron ignores a whole file for one that is none.
FIELDS = (
    (0, 59, ""), (0, 23, ""), (1, 31, ""), (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    (0, 7, "sun mon tue wed thu fri sat"),
)  # fmt: skip


class Condition(NamedTuple):
    """What is asked: ``path`` on ``port`` answers below 400, or ``command`` ends with 0, within ``seconds``.

    ``healthy`` is what the container's own health check asks.
    """

    path: str = ""
    port: int = 80
    command: tuple[str, ...] = ()
    seconds: float = 30.0
    healthy: bool = False


def parse_condition(params: Mapping[str, Any], what: str, seconds: float) -> Condition:
    """Return a condition, normalised.

    :param what: the object and the option, for the error; :param seconds: its time where none is given.
    :raises BaleineError: when it names neither or both, or a time or port that is none.
    """
    path, command, healthy = params.get("http") or "", params.get("command"), bool(params.get("healthy"))
    if bool(path) + bool(command) + healthy != 1:
        raise BaleineError(f"{what}: name either http or command (or healthy)", "{http: /} asks for the first page")
    if path and not re.fullmatch(r"/[!-~]*", path):
        raise BaleineError(f"{what}: http is no path", "Write it with a slash first, and nothing but ASCII: /")
    port = int(80 if params.get("port") is None else params["port"])
    limit = float(seconds if params.get("timeout") is None else params["timeout"])
    if not 0 < port < 65536 or not 0 <= limit < 1e6:
        raise BaleineError(f"{what}: port {port} or timeout {limit} is out of range")
    return Condition(path, port, units.split_command(command, what) if command else (), limit, healthy)


def parse_settings(params: Mapping[str, Any], what: str, init: bool) -> dict[str, Any]:
    """Return every setting, normalised: those that are not given are the documented defaults.

    :param init: whether PID 1 is ours, which knows some signals only and leaves an exit code.
    :raises BaleineError: for a value that is none.
    """
    given = {key: params[key] for key in DEFAULTS if params.get(key) is not None}
    found = {**DEFAULTS, **given}
    policy, retries = found["restart_policy"], int(found["restart_retries"])
    if policy not in RESTART_POLICIES:
        raise BaleineError(f"{what}: restart_policy {policy!r}: there are {', '.join(RESTART_POLICIES)}")
    if policy == "on-failure" and not init:
        raise BaleineError(
            f"{what}: restart_policy on-failure needs the exit code, which init: false does not give",
            "Leave init out, or take another policy",
        )
    if retries < 0 or (retries and policy != "on-failure"):
        raise BaleineError(f"{what}: restart_retries goes with restart_policy on-failure, and is 0 (no end) or more")
    log_size = units.parse_size(found["log_size"], what=f"{what}: log_size")
    if log_size < SMALLEST_LOG:
        raise BaleineError(f"{what}: log_size of {log_size} bytes is too small", "Give it 64K or more")
    timeout = float(found["stop_timeout"])
    if not 0 <= timeout < 1e6:
        raise BaleineError(f"{what}: stop_timeout {timeout} is no number of seconds")
    return {
        "labels": _texts(found["labels"], what, "labels"),
        "restart_policy": policy,
        "restart_retries": retries,
        "depends_on": _parse_depends(found["depends_on"], what),
        "schedule": _parse_schedule(found["schedule"], what),
        "healthcheck": _parse_healthcheck(found["healthcheck"], what),
        "stop_signal": parse_signal(found["stop_signal"], f"{what}: stop_signal", init),
        "stop_timeout": timeout,
        "extra_hosts": {
            check_host(name, what): units.parse_gateway(address, f"{what}: extra_hosts")
            for name, address in sorted(_texts(found["extra_hosts"], what, "extra_hosts").items())
        },
        "log_size": log_size,
    }


def has_label(labels: Mapping[str, str], text: str) -> bool:
    """Say whether labels hold what ``KEY`` or ``KEY=VALUE`` asks for."""
    key, exact, value = text.partition("=")
    return key in labels and (not exact or labels[key] == value)


def check_host(name: str, what: str) -> str:
    """Return a host name as /etc/hosts can hold it.

    :raises BaleineError: for anything else.
    """
    if not units.NAME.fullmatch(name):
        raise BaleineError(f"{what}: {name!r} is no host name", "Use letters, digits, '.' and '-'")
    return name


def parse_signal(text: Any, what: str, init: bool = False) -> str:
    """Return the name of a signal without SIG.

    :param init: only those that our PID 1 passes on, and KILL.
    :raises BaleineError: for a signal that there is not.
    """
    word, found = re.sub("^SIG", "", str(text).strip().upper()), signals()
    name = {number: name for name, number in found.items()}.get(found.get(word) or units.number(word) or 0, "")
    if not name or (init and name not in (*pid1.SIGNALS, "KILL") and not name.startswith("RT")):
        hint = f"There are {', '.join(pid1.SIGNALS)}, KILL, and RTMIN+0 to RTMIN+30"
        raise BaleineError(f"{what}: {text!r} is no signal that it takes", hint)
    return name


def signals() -> dict[str, int]:
    """Return the numbers of signals by their names without SIG; real-time ones are RTMIN+3 or RTMAX-2 (signal(7))."""
    import signal

    real, end = range(signal.SIGRTMIN, signal.SIGRTMAX + 1), int(signal.SIGRTMAX)
    found = {one.name[3:]: int(one) for one in signal.Signals}
    return {**found, **{f"RTMAX-{end - n}": n for n in real}, **{f"RTMIN+{n - real[0]}": n for n in real}}


def _texts(value: Any, what: str, key: str) -> dict[str, str]:
    """A dict of words to texts, sorted; a value that is none is an error."""
    for name, text in value.items():
        if not str(name) or text is None or "\0" in f"{name}{text}":
            raise BaleineError(f"{what}: {key}: {name!r} has no name or no value", "Write '' for an empty value")
    return {str(name): str(text) for name, text in sorted(value.items())}


def _parse_depends(value: Any, what: str) -> list[dict[str, str]]:
    found = []
    for item in value:
        name, condition = units.check_name(str(item["name"]), "container"), item.get("condition") or "started"
        if f"container {name}" == what or condition not in ("started", "healthy"):
            raise BaleineError(f"{what}: depends_on {name}: {condition}: not itself, and started or healthy")
        found.append({"name": name, "condition": condition})
    return sorted(found, key=lambda item: item["name"])


def _parse_schedule(value: Mapping[str, Any], what: str) -> dict[str, str]:
    found = {}
    for key in ("start", "stop"):
        fields = str(value.get(key) or "").split()
        if fields and (len(fields) != 5 or not all(map(_is_field, fields, FIELDS))):
            raise BaleineError(f"{what}: schedule.{key} is no time of a crontab", "Write five fields: 0 8 * * 1-5")
        if fields:
            found[key] = " ".join(fields)
    return found


def _is_field(text: str, allowed: tuple[int, int, str]) -> bool:
    """Say whether cron takes this field: numbers, names, ranges and steps, separated by commas."""
    low, high, names = allowed[0], allowed[1], allowed[2].split()
    for item in text.lower().split(","):
        match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9][0-9]?))?", item, re.ASCII)
        words = [word for word in match.groups()[:2] if word] if match else []
        ends = [names.index(word) + low if word in names else units.number(word) for word in words]
        numbers = [end for end in ends if end is not None and low <= end <= high]
        if not match or len(numbers) < len(words) or numbers != sorted(numbers):
            return False
    return True


def _parse_healthcheck(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not value:
        return {}
    where = f"{what}: healthcheck"
    condition = parse_condition(value, where, 5.0)
    given = {"interval": 1, "retries": 3, **{key: item for key, item in value.items() if item is not None}}
    numbers = {key: int(given[key]) for key in ("interval", "retries")}
    start_period, action = float(value.get("start_period") or 0), value.get("action") or "none"
    if min(numbers.values()) < 1 or start_period < 0 or action not in ("none", "restart"):
        raise BaleineError(f"{where}: interval, retries, start_period or action is out of range")
    return {
        "http": condition.path,
        "port": condition.port,
        "command": list(condition.command),
        "timeout": condition.seconds,
        **numbers,
        "start_period": start_period,
        "action": action,
    }


def condition_of(check: Mapping[str, Any]) -> Optional[Condition]:
    """Return what a health check asks; None where there is none."""
    if not check:
        return None
    return Condition(check["http"], check["port"], tuple(check["command"]), float(check["timeout"]))


def observed(record: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return a record with some keys changed; what is observed and empty is left out."""
    return {key: value for key, value in {**record, **changes}.items() if value or key not in OBSERVED}


def in_order(needs: Mapping[str, Iterable[str]]) -> tuple[list[str], dict[str, str]]:
    """Return names, each after those that it needs, and of those that need each other the circle, in words. Pure."""
    done: dict[str, None] = {}
    circles: dict[str, str] = {}

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circle = path[path.index(name) :]
            circles.update(dict.fromkeys(circle, " -> ".join([*circle, name])))
        elif name in needs and name not in done:
            for other in sorted(needs[name]):
                visit(other, [*path, name])
            done[name] = None

    for name in sorted(needs):
        visit(name, [])
    return list(done), circles
