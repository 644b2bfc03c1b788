# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine container exec``: become the runtime, so that the exit code and the standard streams are the program's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from baleine import container, launch, manifest, oci, rootfs, units
from baleine.errors import BaleineError
from baleine.process import ENVIRONMENT

from .main import complain
from .parse import Options

NOT_EXECUTABLE, NOT_FOUND = 126, 127


def execute(options: Options) -> int:
    """Run one more program in a container; returns only where that cannot be.

    Environment, user and working directory are those of the container's own program where nothing else is said.
    """
    name = units.check_name(options.names[0], "container")
    record = manifest.read("container", name)
    if record is None:
        raise BaleineError(f"container {name}: there is none", "See 'baleine container list -a'")
    if not container.is_alive(record):
        raise BaleineError(f"container {name}: it does not run", f"Start it first: baleine container start -c {name}")
    terminal = options.on("tty")
    if terminal and not os.isatty(0):
        raise BaleineError(f"container {name}: --tty: standard input is no terminal", "Leave out -t")
    env = {**manifest.from_json(record, "env", {}), **options.pairs("env")}
    if terminal and "TERM" in os.environ:
        env.setdefault("TERM", os.environ["TERM"])
    workdir = options.text("workdir") or record.get("workdir", "")
    user = record.get("user", "") if options.text("user") is None else options.text("user") or ""
    pid = int(record["pid"])
    code = judge(f"/proc/{pid}/root", options.program[0], {**oci.ENVIRONMENT, **env}, workdir or "/")
    if code:
        word = "there is no such program" if code == NOT_FOUND else "it cannot be executed"
        complain(f"container {name}: {options.program[0]}: {word}")
        return code
    words = launch.exec_argv(name, record["runtime"], pid, tuple(options.program), env, workdir, user, terminal)
    return os.execve(words[0], words, ENVIRONMENT)


def judge(root: str, program: str, env: Mapping[str, str], workdir: str) -> int:
    """Return 0, or 126 or 127 as shells have it; what the runtime says of a program cannot be told from its own code.

    :param root: of the container, read without following a link out of it.
    """
    if "/" in program:
        paths = [os.path.join(workdir, program)]
    else:
        paths = [os.path.join(workdir, folder, program) for folder in env.get("PATH", "").split(":")]
    code = NOT_FOUND
    for path in paths:
        try:
            descriptor = rootfs.open_inside(root, path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            return 0  # not ours to judge
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        if stat.S_ISREG(mode) and mode & 0o111:
            return 0
        code = NOT_EXECUTABLE
    return code
