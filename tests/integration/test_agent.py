# SPDX-License-Identifier: GPL-3.0-or-later
"""The warm process that runs modules in a machine: each call is a process, and nothing of one is seen by the next."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import agent, product, run
from tests.lab.agent import Call
from tests.lab.host import LabHost

Factory = Callable[..., LabHost]
MODULE = """
import os
import time
from ansible.module_utils.basic import AnsibleModule
from ..module_utils.words import greeting

module = AnsibleModule({"name": {"required": True}, "fail": {"type": "bool", "default": False},
                        "wait": {"type": "float", "default": 0}}, supports_check_mode=True)
time.sleep(module.params["wait"])
if module.params["fail"]:
    module.fail_json(msg="as asked")
module.exit_json(changed=not module.check_mode, greeting=greeting(module.params["name"]), diff=module._diff,
                 process=os.getpid(), mood=os.environ.get("MOOD", ""))
"""


@pytest.fixture
def greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that greets, by a module and by a command line."""
    core, command_line, modules = (tmp_path / part for part in ("plugins/module_utils", "cli", "plugins/modules"))
    for folder in (core, command_line, modules):
        folder.mkdir(parents=True)
    (core / "words.py").write_text("def greeting(name): return f'hello {name}'\n")
    (modules / "greet.py").write_text(MODULE)
    (command_line / "main.py").write_text(
        "import sys\nfrom baleine.words import greeting\ndef run(): print(greeting(sys.argv[1])); sys.exit(3)\n"
    )
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    monkeypatch.setattr(product, "CORE", core)
    monkeypatch.setattr(product, "COMMAND_LINE", command_line)


@pytest.mark.parametrize("root", ["machine", "debian"])
def test_modules_and_the_command_line_run_in_a_host(lab_factory: Factory, greeter: None, root: str) -> None:
    host = lab_factory(f"modules-{root}", root=root)
    assert host.module("greet", name="whale")["greeting"] == "hello whale"
    assert host.module("greet", name="whale", check=True, diff=False)["changed"] is False
    assert host.module("greet", name="whale", fail=True, expect_failure=True)["msg"] == "as asked"
    with pytest.raises(AssertionError, match="as asked"):
        host.module("greet", name="whale", fail=True)
    host.install_baleine()
    done = host.run(["baleine", "whale"], check=False)
    assert (done.stdout, done.returncode) == ("hello whale\n", 3)
    assert host.stop() == []


def test_each_module_call_is_a_process_with_variables_that_the_next_one_does_not_see(
    lab_factory: Factory, greeter: None
) -> None:
    host = lab_factory("calls")
    first, second = (
        agent.result(done)
        for done in host.together([Call("greet", {"name": "a"}, env={"MOOD": "good"}), Call("greet", {"name": "b"})])
    )
    third = host.module("greet", name="c")
    assert [one["greeting"] for one in (first, second, third)] == ["hello a", "hello b", "hello c"]
    assert [one["mood"] for one in (first, second, third)] == ["good", "", ""]
    assert len({one["process"] for one in (first, second, third)}) == 3


def test_a_module_that_exceeds_its_time_is_killed_and_the_next_call_works(lab_factory: Factory, greeter: None) -> None:
    host = lab_factory("slow")
    with pytest.raises(subprocess.TimeoutExpired):
        host.module("greet", name="a", wait=1000, timeout=0.5)
    assert host.module("greet", name="b")["greeting"] == "hello b"
    assert host.leaks() == []


def test_a_module_runs_after_the_process_that_ran_the_last_one_was_killed(lab_factory: Factory, greeter: None) -> None:
    host = lab_factory("killed")
    host.module("greet", name="a")
    host.run(["pkill", "-9", "-f", agent.PLACE])
    assert run.wait_for(lambda: host.run(["pgrep", "-f", agent.PLACE], check=False).returncode == 1)
    assert host.module("greet", name="b")["greeting"] == "hello b"


@pytest.mark.parametrize("root", ["machine", "debian"])
def test_python_that_a_host_is_given_was_compiled_for_it(lab_factory: Factory, tmp_path: Path, root: str) -> None:
    (tmp_path / "given.py").write_text("VALUE = 1\n")
    with lab_factory(f"given-{root}", root=root) as host:
        host.push_python({"part": tmp_path}, "/opt/parts")
        program = "import sys; sys.path.insert(0, '/opt/parts/part'); import given; print(given.VALUE)"
        done = host.run(["/usr/bin/python3", "-v", "-c", program])
        assert done.stdout == "1\n" and re.search(r"given\.[\w-]+\.pyc matches /opt/parts/part/given\.py", done.stderr)
