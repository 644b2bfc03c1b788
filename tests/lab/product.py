# SPDX-License-Identifier: GPL-3.0-or-later
"""The product on a machine of the laboratory: installed as the `host` role does, and its Ansible modules,
run there without Ansible's cost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import agent, run
from .agent import COLLECTION, MODULES, Call

if TYPE_CHECKING:
    from .target import Target

CORE = run.REPOSITORY / "plugins/module_utils"
COMMAND_LINE = run.REPOSITORY / "roles/host/files/baleine_cli"
INSTALLED = "/usr/local/lib/baleine"
LAUNCHER = """#!/usr/bin/python3 -IS
import gc, sys; gc.set_threshold(100000); sys.path.insert(0, "/usr/local/lib/baleine"); from baleine_cli.main import run; run()
"""
# What AnsiballZ does on a target, without the archive (ansible-core 2.18: no _ansiballz package).
RUNNER = """import json, runpy, sys
name, arguments = sys.argv[1], sys.stdin.buffer.read()
sys.argv[1:] = []
sys.path.insert(0, "/opt/ansible-lib")
try:
    from ansible.module_utils._internal._ansiballz import _loader
except ImportError:
    from ansible.module_utils import basic
    basic._ANSIBLE_ARGS = arguments
    runpy.run_module(name, run_name="__main__", alter_sys=True)
else:
    _loader.run_module(json_params=arguments, profile="legacy", module_fqn=name, modlib_path="/opt/ansible-lib",
                       extensions={})
"""


def install(host: Target) -> None:
    """Install core, command line and launcher as the `host` role does."""
    host.push_python({"baleine": CORE, "baleine_cli": COMMAND_LINE}, INSTALLED)
    host.write("/usr/local/bin/baleine", LAUNCHER, mode=0o755)


def install_modules(host: Target) -> None:
    """Copy Ansible's target side, the collection's plugins, a runner and the agent into a machine."""
    import ansible

    parts = {"ansible/module_utils": Path(ansible.__file__).parent / "module_utils"}
    for name in ("module_utils", "modules"):
        parts[f"{COLLECTION}/plugins/{name}"] = run.REPOSITORY / "plugins" / name
    host.push_python(parts, MODULES)
    host.write(f"{MODULES}/ansible/__init__.py", f"__version__ = {ansible.__version__!r}\n")
    host.write(f"{MODULES}/run_module.py", RUNNER)
    host.write(agent.PLACE, agent.SCRIPT)
    host.expect(f"process *{agent.PLACE}*")


def module(host: Target, call: Call, *, expect_failure: bool = False, timeout: float = run.LONGEST) -> dict[str, Any]:
    """Run a module in a host; see Target.module."""
    (done,) = host.together([call], timeout)
    result = agent.result(done)
    if bool(result.get("failed")) != expect_failure:
        words = "did not fail" if expect_failure else "failed"
        raise AssertionError(f"{call.module} {words}: {json.dumps(result, indent=1)}\n{done.stderr}")
    return result
