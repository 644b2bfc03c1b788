# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordinary playbooks in containers of another machine, by SSH: a controller with Ansible's own defaults and an inventory."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

from tests.lab import run

BIN = Path(sys.executable).parent
PLAYS = run.REPOSITORY / "tests/integration/work"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
BRIDGE, NETWORK = "work", "192.168.78"


class Played(NamedTuple):
    """What a playbook did: by host how many tasks were changed, and what it printed."""

    changed: dict[str, int]
    words: str


class Controller:
    """A folder with playbooks and an inventory, in which containers are found by the inventory plugin.

    :param call: runs a command where the hosts can be reached: argv, check, env, cwd, timeout.
    :param hosts: an inventory of the containers' hosts, all of them in the group ``lab``.
    """

    def __init__(
        self, folder: Path, call: Callable[..., CompletedProcess[str]], hosts: dict[str, Any], timeout: float = 900
    ) -> None:
        shutil.copytree(PLAYS, folder, dirs_exist_ok=True)
        self.folder, self.call, self.timeout = folder, call, timeout
        self.inventory = folder / "inventory"
        self.inventory.mkdir()
        (self.inventory / "1-hosts.json").write_text(json.dumps(hosts))
        (self.inventory / "2-baleine.yml").write_text("plugin: lab.baleine.baleine\nhosts: [lab]\n")
        variables = self.inventory / "group_vars" / "baleine.yml"
        variables.parent.mkdir()
        variables.write_text("ansible_python_interpreter: /usr/bin/python3\n")
        (folder / "ansible.cfg").touch()
        (folder / "bytes").write_bytes(bytes(range(256)) * 1000)
        (folder / "empty").touch()
        (folder / "words.sh").write_text('#!/bin/sh\necho "$1"\nhostname\n')
        with tarfile.open(folder / "odd.tgz", "w:gz") as archive:
            for name in ("bytes", "empty"):
                archive.add(folder / name, name)

    def ansible(self, program: str, *words: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        """Run one of Ansible's programs with no configuration but where the collection is."""
        settings = {
            **os.environ,
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(run.REPOSITORY / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            **(env or {}),
        }
        argv = [str(BIN / program), "-i", str(self.inventory), *words]
        return self.call(argv, check=False, env=settings, cwd=str(self.folder), timeout=self.timeout)

    def play(self, playbook: str, limit: str, *words: str, pipelining: bool = False) -> Played:
        """Run a playbook of the folder, which must succeed everywhere."""
        env = {"ANSIBLE_PIPELINING": str(pipelining)}
        done = self.ansible("ansible-playbook", "--limit", limit, "--diff", *words, playbook, env=env)
        shown = done.stdout + done.stderr
        recap = {match[1]: [int(number) for number in match.groups()[1:]] for match in RECAP.finditer(done.stdout)}
        assert done.returncode == 0 and recap, shown
        return Played({host: numbers[1] for host, numbers in recap.items()}, shown)
