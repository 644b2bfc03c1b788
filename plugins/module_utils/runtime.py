# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""crun or runc: which one works on this host, and the commands it is given."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from typing import Optional

from . import cgroup, rootfs
from .errors import BaleineError
from .process import Result, Runner, fault, find_program, read

STATE = "/run/baleine"


def choose() -> str:
    """Return the runtime for this host: crun, or runc where crun is not, or refuses the host's cgroup layout.

    :raises BaleineError: when the host has neither, naming the package that is needed.
    """
    crun, hybrid = find_program("crun"), cgroup.layout() == "hybrid"
    if crun and not hybrid:
        return "crun"
    if find_program("runc"):
        return "runc"
    if crun:
        left = ", ".join(cgroup.unified_controllers())
        why = f"crun refuses this host's hybrid cgroup layout ({left} on v2)"
        raise BaleineError(f"runtime: {why}", "Install the package runc, or mount that controller on v1")
    why, hint = "neither crun nor runc is on this host", "Install the package crun, or run the host role"
    raise BaleineError(f"runtime: {why}", hint)


def argv(runtime: str, *words: str) -> list[str]:
    """Return a command of the runtime, with the state directory of Baleine's containers."""
    return [find_program(runtime) or runtime, "--root", f"{STATE}/{runtime}", *words]


def create_argv(runtime: str, name: str, bundle: str, console: bool = False) -> list[str]:
    """Return the command that prepares a container; its words go to a log of its own, not the container's."""
    log = ["--log", f"{bundle}/runtime.log", "--log-format", "json"]
    words = ["create", "--bundle", bundle, "--pid-file", f"{bundle}/pid"]
    return argv(runtime, *log, *words, *(["--console-socket", f"{bundle}/console"] if console else []), name)


def last_words(bundle: str) -> str:
    """Return what the runtime logged last, in its own words."""
    lines = [line for line in (read(f"{bundle}/runtime.log") or "").splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            return line.strip()
        if entry.get("level") in ("error", "fatal", None):
            return str(entry.get("msg", "")).strip()
    return ""


def start(run: Runner, runtime: str, name: str) -> Result:
    """Start what was created."""
    fault("connected")
    result = run(argv(runtime, "start", name))
    fault("started")
    return result


def delete(run: Runner, runtime: str, name: str) -> None:
    """Remove the runtime's state of a container, ending it if it still runs; nothing to remove is no error."""
    state = f"{STATE}/{runtime}/{name}"
    if os.path.isdir(state) and find_program(runtime):
        run(argv(runtime, "delete", "--force", name))
    rootfs.remove_tree(state)  # torn, or of a runtime that was uninstalled meanwhile


def exec_argv(
    runtime: str, name: str, process_file: str, terminal: bool = False, words: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs one more process, described in a file, in a container."""
    return argv(runtime, "exec", *(["--tty"] if terminal else []), *words, "--process", process_file, name)


def installed() -> Optional[str]:
    """Return the runtime that would be chosen, or None."""
    with contextlib.suppress(BaleineError):
        return choose()
    return None
