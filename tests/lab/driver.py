# SPDX-License-Identifier: GPL-3.0-or-later
"""Many module calls in one machine, quickly: one process there has Ansible's target side loaded, and forks for each call.

A call is what AnsiballZ would run: the module's own file as __main__ in a process of its own (see product.RUNNER).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from . import product
from .host import LabHost

AGENT = (
    product.RUNNER.partition("name, arguments")[0]
    + """import os, tempfile
sys.path.insert(0, "/opt/ansible-lib")
import ansible.module_utils.basic
import ansible.module_utils.common.arg_spec
COLLECTION = "ansible_collections.lab.baleine.plugins"
for name in ("lifecycle", "batch", "image_store", "bridge", "volume", "install", "task", "arguments"):
    __import__(f"{COLLECTION}.module_utils.{name}")

def begin(call):
    output = tempfile.TemporaryFile()
    child = os.fork()
    if child == 0:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        name, arguments = f"{COLLECTION}.modules.{call['name']}", json.dumps(call["arguments"]).encode()
        code = 1
        try:
            try:
                from ansible.module_utils._internal._ansiballz import _loader
            except ImportError:
                from ansible.module_utils import basic
                basic._ANSIBLE_ARGS = arguments
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            else:
                _loader.run_module(json_params=arguments, profile="legacy", module_fqn=name,
                                   modlib_path="/opt/ansible-lib", extensions={})
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    return child, output

for line in sys.stdin:
    said = []
    for child, output in [begin(call) for call in json.loads(line)]:
        os.waitpid(child, 0)
        output.seek(0)
        said.append(output.read().decode("utf-8", "replace"))
    print(json.dumps(said), flush=True)
"""
)


class Call(NamedTuple):
    """One run of a module of the collection."""

    module: str
    params: Mapping[str, Any]
    check: bool = False


class Driver:
    """Runs modules in a lab host; also a context manager that ends its process.

    :ivar heard: what the modules said, but for the parameters that they repeat.
    """

    def __init__(self, host: LabHost) -> None:
        self.host, self.heard = host, list[str]()
        if not host.modules_ready:
            product.install_modules(host)
            host.modules_ready = True
        host.write(f"{product.MODULES}/driver.py", AGENT)
        words = ["/usr/bin/python3", f"{product.MODULES}/driver.py"]
        self.process = host.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate(timeout=60)

    def call(self, module: str, params: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
        """Run a module; its result, failed or not."""
        return self.together([Call(module, params, check)])[0]

    def together(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """Run modules at the same time; their results, in order."""
        settings = {"_ansible_diff": True, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}
        asked = [
            {
                "name": call.module,
                "arguments": {
                    "ANSIBLE_MODULE_ARGS": {
                        **call.params,
                        **settings,
                        "_ansible_check_mode": call.check,
                        "_ansible_module_name": call.module,
                    }
                },
            }
            for call in calls
        ]
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the driver has no pipes")
        stdin.write(json.dumps(asked) + "\n")
        stdin.flush()
        said = json.loads(stdout.readline())
        try:
            results = [json.loads(text) for text in said]
        except ValueError:
            raise AssertionError(f"{[call.module for call in calls]}: no JSON: {said}") from None
        self.heard += [json.dumps({key: item for key, item in one.items() if key != "invocation"}) for one in results]
        return results
