# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a container as Ansible's argument specification, for the modules of one and of many. Data alone."""

from __future__ import annotations

from typing import Any

Options = dict[str, dict[str, Any]]
NEEDED = {"type": "str", "required": True}
NO = {"type": "bool", "default": False}
TEXTS = {"type": "list", "elements": "str"}


def _each(kind: str, names: str) -> Options:
    """Options of one type, without a default."""
    return {name: {"type": kind} for name in names.split()}


def _several(options: Options, **more: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options, **more}


def _one(options: Options) -> dict[str, Any]:
    return {"type": "dict", "options": options}


def _choice(*choices: str, **more: str) -> dict[str, Any]:
    return {"type": "str", "choices": list(choices), **more}


ASK: Options = {"http": {"type": "str"}, "port": {"type": "int", "default": 80}, "command": {"type": "raw"}}
CONTAINER: Options = {
    "name": NEEDED,
    "state": _choice("started", "stopped", "paused", "present", "absent", default="started"),
    "command": {"type": "raw"},
    **_each("str", "image hostname workdir user size stop_signal log_size share_network"),
    **_each("dict", "env labels extra_hosts ulimits sysctls"),
    "networks": _several(
        {
            "bridge": NEEDED,
            "addresses": {**TEXTS, "default": []},
            "routes": _several({"destination": NEEDED, "gateway": NEEDED}, default=[]),
            "mtu": {"type": "int"},
            **_each("str", "gateway mac rate_in rate_out"),
        }
    ),
    "limits": _one(
        {
            **_each("str", "memory cpuset cpuset_mems io_read_rate io_write_rate"),
            **_each("int", "cpu_weight pids io_read_ops io_write_ops"),
            "cpus": {"type": "float"},
            "devices": _several({"path": NEEDED, "access": {"type": "str", "default": "rw"}}),
        }
    ),
    "volumes": _several({"source": NEEDED, "target": NEEDED, "read_only": NO, "idmap": NO}),
    "init": {"type": "bool"},
    "restart_policy": _choice("no", "always", "unless-stopped", "on-failure"),
    "restart_retries": {"type": "int"},
    "depends_on": _several({"name": NEEDED, "condition": _choice("started", "healthy", default="started")}),
    "schedule": _one(_each("str", "start stop")),
    "healthcheck": _one(
        {
            **ASK,
            "interval": {"type": "int", "default": 1},
            "timeout": {"type": "float", "default": 5},
            "retries": {"type": "int", "default": 3},
            "start_period": {"type": "float", "default": 0},
            "action": _choice("none", "restart", default="none"),
        }
    ),
    "stop_timeout": {"type": "float"},
    "dns": _one({"servers": TEXTS, "search": TEXTS, "options": TEXTS}),
    "secrets": _several({"name": NEEDED, "source": NEEDED, "mode": {"type": "str", "default": "0400"}}, no_log=False),
    "capabilities": _one({"add": TEXTS, "drop": TEXTS}),
    **_each("bool", "no_new_privileges read_only"),
    **_each("str", "seccomp apparmor"),
    "userns": _choice("auto", "host"),
    "tmpfs": _several({"target": NEEDED, "size": {"type": "str"}, "mode": {"type": "str", "default": "1777"}}),
    "restart": NO,
    "recreate": _choice("never", "on_change", "always", default="never"),
    "wait": _one({**ASK, "healthy": NO, "timeout": {"type": "float", "default": 30}}),
}
