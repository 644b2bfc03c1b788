# SPDX-License-Identifier: GPL-3.0-or-later
"""What several integration tests ask of a host: a container, a manifest, the facts, a refusal."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.lab.target import Target

MANIFESTS = "/var/lib/baleine/manifeste"
#: A program that does nothing until it is stopped.
SLEEP = ["sleep", "1000"]


def name_for(test: str) -> str:
    """The name of a container for the test of a name."""
    letters = re.sub(r"[^a-z]", "", test.removeprefix("test_"))
    return f"t{letters}"[:41]


def container(target: Target, name: str, **options: Any) -> dict[str, Any]:
    """Ask for a container of the tiny image; the result of the module."""
    settings = {"image": "tiny", "command": SLEEP, **options}
    return target.module("baleine_container", name=name, **settings)


def record(target: Target, kind: str, name: str) -> dict[str, str]:
    """The manifest of a container, image or bridge, by its keys."""
    lines = target.read(f"{MANIFESTS}/{kind}s/{name}.manifest").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _colon, value in pairs}


def inspected(baleine: Any, kind: str, name: str) -> dict[str, Any]:
    """The facts that the command line shows of a resource."""
    shown = baleine(kind, "inspect", name, "--format", "json").stdout
    found: dict[str, Any] = json.loads(shown)[0]
    return found


def refused(baleine: Any, *words: str) -> str:
    """The message of a command that fails."""
    done = baleine(*words, check=False)
    assert done.returncode == 1, done
    return str(done.stderr)


def remove_named(target: Target, name: str) -> None:
    """Remove a container, and those whose names begin so."""
    target.module("baleine_container", name=name, state="absent")
    listed = target.sh(f"ls {MANIFESTS}/containers 2>/dev/null || true").stdout.split()
    for file in sorted(file for file in listed if file.startswith(name)):
        target.module("baleine_container", name=file.removesuffix(".manifest"), state="absent")
