# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container run``: a container whose program has this process's input, output and signals."""

from __future__ import annotations

import os
from functools import partial

from baleine import container, launch, lifecycle, log, manifest
from baleine.errors import BaleineError
from baleine.process import become_reaper, send_signal

from . import containers, relay, show
from .parse import Options, Usage
from .runner import run as runner


def run(options: Options) -> int:
    """Make a container, run a program in it, and return the program's exit code."""
    name = options.names[0] if options.names else make_up(options.text("image") or "")
    terminal, interactive = options.on("tty"), options.on("interactive")
    keeps = options.text("restart") not in (None, "no")
    if keeps and options.on("rm"):
        raise Usage(f"{options.topic}: --rm and --restart exclude each other", options.topic)
    if terminal and interactive and not os.isatty(0):
        raise Usage(f"{options.topic}: --tty: standard input is no terminal: leave out -t", options.topic)
    params = containers.description(options, name)
    params["restart_policy"] = params.get("restart_policy") or "no"
    if terminal and "TERM" in os.environ:
        params["env"] = {"TERM": os.environ["TERM"], **params.get("env", {})}
    wanted = containers.request(params, options)
    become_reaper()
    first: list[int] = []  # its first process, when there is one
    ends = relay.Ends(terminal, interactive)
    stdio = launch.Stdio(first.append, *ends.given)
    show.warn(lifecycle.ensure(runner, [wanted._replace(stdio=stdio)]))
    if not first:
        raise BaleineError(f"container {name}: it exists already", f"Remove it first: baleine container remove {name}")
    try:
        output = os.open(log.path_of(name), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        return ends.attend(first[0], partial(send_signal, first[0]), output)
    finally:
        if keeps:  # cron has the next word
            lifecycle.correct(name)
        elif manifest.read("container", name) is not None:
            state = "absent" if options.on("rm") else "stopped"
            show.warn(lifecycle.ensure(runner, [container.Wanted(name, state)]))


def make_up(image: str) -> str:
    """Return a name that no container has."""
    while True:
        name = f"{image.partition(':')[0][:40]}-{os.urandom(2).hex()}"
        if manifest.read("container", name) is None:
            return name
