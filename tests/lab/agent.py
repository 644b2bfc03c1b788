# SPDX-License-Identifier: GPL-3.0-or-later
"""A warm process of a machine: it has Ansible's target side loaded, and forks for each module that it runs.

A call is what AnsiballZ would run: the module's own file as __main__ in a process of its own. What is saved is the start
of Python and the imports: 0.35 s a call in a lab host, some seconds in the guest.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .run import LONGEST, CommandFailed, LabError

if TYPE_CHECKING:
    from .target import Target

MODULES = "/opt/ansible-lib"
COLLECTION = "ansible_collections/lab/baleine"
PLACE = f"{MODULES}/lab-agent.py"
#: Seconds beyond its own timeout in which a call is answered: also on a machine that others use.
GRACE = 120.0

SCRIPT = f'''
import importlib, json, os, pkgutil, runpy, select, signal, sys, traceback

COLLECTION = "{COLLECTION.replace("/", ".")}.plugins"
sys.path.insert(0, "{MODULES}")
sys.dont_write_bytecode = True
import ansible.module_utils.basic
import ansible.module_utils.common.arg_spec
try:
    from ansible.module_utils._internal._ansiballz import _loader
except ImportError:  # ansible-core 2.18
    _loader = None

core = importlib.import_module(COLLECTION + ".module_utils")
for module in pkgutil.walk_packages(core.__path__, core.__name__ + "."):
    importlib.import_module(module.name)


def run(name, arguments):
    if _loader is None:
        ansible.module_utils.basic._ANSIBLE_ARGS = arguments
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        _loader.run_module(json_params=arguments, profile="legacy", module_fqn=name,
                           modlib_path="{MODULES}", extensions={{}})


def begin(call):
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    child = os.fork()
    if child:
        return child, output, errors
    code = 1
    try:
        os.setsid()
        for module in tuple(sys.modules.values()):  # what the core noted of its process when it was loaded
            if getattr(module, "COMMAND", None) == os.getppid():
                module.COMMAND = os.getpid()
        for number, descriptor in enumerate((os.open("/dev/null", os.O_RDONLY), output, errors)):
            os.dup2(descriptor, number)
        os.closerange(3, 256)
        os.environ.update(call["env"])
        sys.argv[1:] = []
        run(COLLECTION + ".modules." + call["name"], json.dumps(call["arguments"]).encode())
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(child, seconds):
    """Its exit code, negative for a signal; nothing if it had to be killed."""
    descriptor = os.pidfd_open(child)
    in_time = bool(select.select([descriptor], [], [], seconds)[0])
    os.close(descriptor)
    if not in_time:
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if in_time else None


def content(descriptor):
    with open(descriptor, "rb") as stream:
        stream.seek(0)
        return stream.read().decode("utf-8", "replace")


for line in sys.stdin:
    asked = json.loads(line)
    begun = [begin(call) for call in asked["calls"]]
    print(json.dumps([[ended(child, asked["timeout"]), content(output), content(errors)]
                      for child, output, errors in begun]), flush=True)
'''


class Call(NamedTuple):
    """One run of a module of the collection.

    env: variables beside those of a clean environment.
    """

    module: str
    params: Mapping[str, Any]
    check: bool = False
    diff: bool = True
    env: Mapping[str, str] = {}

    def wire(self) -> dict[str, Any]:
        """The call as the agent takes it."""
        name = self.module.rpartition(".")[2]
        settings = {
            "_ansible_check_mode": self.check,
            "_ansible_diff": self.diff,
            "_ansible_module_name": self.module,
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
        }
        arguments = {"ANSIBLE_MODULE_ARGS": {**self.params, **settings}}
        return {"name": name, "arguments": arguments, "env": dict(self.env)}


class Agent:
    """A running agent of a machine that has the modules already (product.install_modules)."""

    def __init__(self, host: Target) -> None:
        self.process = host.popen(["/usr/bin/python3", PLACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def together(self, calls: Sequence[Call], timeout: float = LONGEST) -> list[subprocess.CompletedProcess[str]]:
        """Run modules at the same time; how each of them ended, in order.

        Raises TimeoutExpired when one lasts longer than timeout seconds; it has been killed then.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise LabError("the agent has no pipes")
        asked = {"timeout": timeout, "calls": [call.wire() for call in calls]}
        stdin.write(json.dumps(asked) + "\n")
        stdin.flush()
        answered = select.select([stdout], [], [], len(calls) * timeout + GRACE)[0]
        line = stdout.readline() if answered else ""
        if not line:
            self.end()
            raise LabError(f"the agent did not answer {[call.module for call in calls]}")
        done = []
        for call, (code, output, errors) in zip(calls, json.loads(line)):
            argv = [call.module, json.dumps(dict(call.params))]
            if code is None:
                raise subprocess.TimeoutExpired(argv, timeout, output, errors)
            done.append(subprocess.CompletedProcess(argv, code, output, errors))
        return done

    def end(self) -> None:
        """Let it end: its input has ended. May be repeated, also when its machine has gone."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Agents:
    """The agents of one machine: one for each call that is under way at the same time."""

    def __init__(self, host: Target) -> None:
        self.host = host
        self.idle: list[Agent] = []

    def take(self) -> Agent:
        """An agent that has nothing to do, started if there is none."""
        while self.idle:
            agent = self.idle.pop()
            if agent.alive:
                return agent
            agent.end()
        return Agent(self.host)

    def together(self, calls: Sequence[Call], timeout: float = LONGEST) -> list[subprocess.CompletedProcess[str]]:
        """See Agent.together. Thread-safe."""
        agent = self.take()
        try:
            return agent.together(calls, timeout)
        finally:
            self.idle.append(agent)

    def end(self) -> None:
        """End all of them; the next call starts another."""
        while self.idle:
            self.idle.pop().end()


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a module said, failed or not. Raises CommandFailed when that is no JSON: it crashed."""
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise CommandFailed(done.returncode, done.args, done.stdout, done.stderr) from None
    return found
