# SPDX-License-Identifier: GPL-3.0-or-later
"""Getting started, followed to the letter: its files are written and its commands typed as they stand in the page."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab import run
from tests.lab.host import LabHost
from tests.lab.wire import Wire

PAGES = run.REPOSITORY / "docs" / "docsite" / "rst"
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n((?:    :[^\n]*\n)*)\n((?:(?:    [^\n]*)?\n)+)", re.MULTILINE)


class Step(NamedTuple):
    """A file to write (``name`` is its name), or commands to type."""

    name: str
    text: str


def steps(page: str) -> list[Step]:
    """Return what a page asks for, in its order; what gets Ansible onto the machine aside."""
    found = []
    for _language, options, text in BLOCK.findall((PAGES / page).read_text()):
        caption = re.search(r":caption: (\S+)", options)
        if ":class: preparation" not in options:
            found.append(Step(caption.group(1) if caption else "", textwrap.dedent(text).strip() + "\n"))
    return found


@pytest.fixture(scope="module")
def newcomer(wire: Wire, lab_factory: Any) -> LabHost:
    """A machine that has Ansible and the collection, and the package proxy as its only way out."""
    host: LabHost = lab_factory("newcomer", wire=wire, checkout=True)
    host.use_package_proxy()
    return host


@pytest.mark.parametrize("page", ["getting_started.rst", "demarrage.rst"])
def test_who_follows_the_page_gets_there_and_leaves_nothing(newcomer: LabHost, page: str) -> None:
    folder = f"/root/{page}"
    newcomer.run(["mkdir", "-p", folder])
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ANSIBLE_COLLECTIONS_PATH": str(run.REPOSITORY / ".collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    said: list[tuple[str, str]] = []
    for step in steps(page):
        if step.name:
            newcomer.write(f"{folder}/{step.name}", step.text)
            continue
        for line in step.text.splitlines():
            assert line.startswith("# "), line
            done = newcomer.run(["sh", "-c", f"cd {folder} && {line[2:]}"], env=environment, check=False, timeout=600)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said.append((line, done.stdout))
    plays = [text for line, text in said if line.startswith("# ansible-playbook")]
    assert len(plays) == 4 and all("failed=0" in text for text in plays)
    assert "changed=0" in plays[2], plays[2]
    pages = [text for line, text in said if line.startswith("# curl")]
    assert len(pages) == 2 and all("Apache2" in text for text in pages)
    assert any("web1" in text and "apache2" in text for line, text in said if "container list" in line)
    left = newcomer.sh("ls -A /var/lib/baleine /etc/cron.d /usr/local/bin 2>/dev/null; ip -br link").stdout
    assert "baleine" not in left.replace("/var/lib/baleine:", "") and "private" not in left, left
