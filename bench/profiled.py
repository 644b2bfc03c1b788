# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of Baleine with clocks around some of its functions. Runs in the laboratory host.

Run as `python3 -IS profiled.py LIBRARY STEPS MARKS WORD...`: the folder of the core, a JSON file of functions and
labels, the file that gets the times, the words of the command. BEGIN in the environment is when the command began.
Standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Callable

#: The function that forks the child which becomes the runtime, and the time that the runtime takes in it.
CHILD, RUNTIME = "process.in_child", "crun create"
INTERPRETER, IMPORTS, PROGRAM, ALL = "sh and python start", "imports", "the program, until it has ended", "all"
now = time.time


def look_up(paths: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """Return the functions of these paths (`module.name`) in the core.

    :raises LookupError: naming every path that leads to no function.
    """
    found, missing = {}, []
    for path in paths:
        module, _dot, name = path.rpartition(".")
        function = None
        with contextlib.suppress(ImportError):
            function = getattr(importlib.import_module(f"baleine.{module}"), name, None)
        if callable(function):
            found[path] = function
        else:
            missing.append(path)
    if missing:
        raise LookupError(f"the core has no function {', '.join(missing)}")
    return found


class Clocks:
    """The clocks, and what they showed: pairs of label and seconds."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.marks: list[tuple[str, float]] = []
        self._open_steps: list[float] = []

    def put_around(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        """Return the function with a clock around it; the time of the clocks inside it is not counted to it."""

        def timed(*words: Any, **named: Any) -> Any:
            self._open_steps.append(0.0)
            at = now()
            try:
                return function(*words, **named)
            finally:
                spent = now() - at
                self.marks.append((label, spent - self._open_steps.pop()))
                if self._open_steps:
                    self._open_steps[-1] += spent

        return timed

    def put_around_child(self, function: Callable[..., Any], label: str, told: str) -> Callable[..., Any]:
        """Like put_around, for what forks a child: the time after the child's execve goes to the runtime.

        told: the file in which the child says when that was.
        """
        timed, execute = self.put_around(function, label), os.execve

        def become(*words: Any) -> None:
            with open(told, "w") as stream:
                stream.write(str(now()))
            execute(*words)

        def split(*words: Any, **named: Any) -> Any:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(told)
            value = timed(*words, **named)
            if os.path.exists(told):
                with open(told) as stream:
                    runtime = now() - float(stream.read())
                _label, spent = self.marks.pop()
                self.marks.extend([(label, spent - runtime), (RUNTIME, runtime)])
            return value

        os.execve = become  # type: ignore[assignment]
        return split


def replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Let every module that knows a function by name know another one."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("baleine", "baleine_cli"):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)


def main() -> int:
    """Run the command, and add a line with its times to the file of marks."""
    gc.set_threshold(100_000)  # as the launcher of the command line does
    library, steps_file, marks_file, *words = sys.argv[1:]
    clocks = Clocks(float(os.environ["BEGIN"]))
    clocks.marks.append((INTERPRETER, now() - clocks.begin))
    sys.path.insert(0, library)
    at = now()
    # what `container run` would import a moment later by itself
    command = importlib.import_module("baleine_cli.main")
    importlib.import_module("baleine_cli.foreground")
    relay = importlib.import_module("baleine_cli.relay")
    clocks.marks.append((IMPORTS, now() - at))
    with open(steps_file) as stream:
        steps = json.load(stream)
    for path, function in look_up(steps).items():
        if path == CHILD:
            replace(function, clocks.put_around_child(function, steps[path], f"{marks_file}.exec"))
        else:
            replace(function, clocks.put_around(function, steps[path]))
    replace(relay.carry, clocks.put_around(relay.carry, PROGRAM))
    code = int(command.main(words))
    clocks.marks.append((ALL, now() - clocks.begin))
    with open(marks_file, "a") as stream:
        stream.write(json.dumps(clocks.marks) + "\n")
    return code


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    os._exit(ended)
