# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's disk and files: an image made of it, its disk mounted, files in and out, what differs from its image."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.lab.run import wait_for

SLEEP = ["sleep", "1000"]
MANIFESTS = "/var/lib/baleine/manifeste"
BALEINE = "/usr/local/bin/baleine"


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.sh("mkdir -p /srv/out")
    lab.rebase()


@pytest.fixture
def name(lab: LabHost, request: pytest.FixtureRequest) -> Any:
    """A name for one test; what has it is removed afterwards, and so are images of that name."""
    chosen = "t" + re.sub(r"[^a-z]", "", request.node.name.replace("test_", ""))[:40]
    yield chosen
    lab.run([BALEINE, "container", "umount", chosen], check=False)
    lab.module("baleine_container", name=chosen, state="absent")
    lab.sh("rm -rf /srv/out/* /srv/out/.[!.]*")


def container(lab: LabHost, name: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = lab.module(
        "baleine_container", name=name, **{"image": "tiny", "command": SLEEP, "init": True, **options}
    )["container"]
    return found


def inside(lab: LabHost, name: str, script: str) -> str:
    return lab.run([BALEINE, "container", "exec", "-c", name, "--", "sh", "-c", script], timeout=30).stdout


def refused(baleine: Any, *words: str) -> str:
    done: subprocess.CompletedProcess[str] = baleine(*words, check=False)
    assert done.returncode == 1, done
    return done.stderr


def record(lab: LabHost, kind: str, name: str) -> dict[str, str]:
    text = lab.read(f"{MANIFESTS}/{kind}s/{name}.manifest")
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def test_an_image_of_a_running_container_holds_what_was_written_and_the_container_goes_on(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name, command=["sh", "-c", "while :; do echo x >> /always; done"])["pid"]
    inside(lab, name, "echo mine > /mine; chown 1000 /mine")
    baleine("container", "commit", "-c", name, "-i", "kept:1")
    size = len(inside(lab, name, "cat /always"))
    assert wait_for(lambda: len(inside(lab, name, "cat /always")) > size, 10)
    assert record(lab, "container", name)["pid"] == str(pid) and record(lab, "container", name)["state"] == "running"
    shown = json.loads(baleine("image", "inspect", "kept:1", "--format", "json").stdout)[0]
    assert shown["recipe"]["from_container"] == name and shown["digest"].startswith("sha256:") and not shown["edited"]
    assert lab.run(["e2fsck", "-fn", shown["path"]]).returncode == 0
    container(lab, f"{name}2", image="kept:1")
    assert inside(lab, f"{name}2", "cat /mine; stat -c %u /mine").split() == ["mine", "1000"]
    lab.module("baleine_container", name=f"{name}2", state="absent")
    said = refused(baleine, "container", "commit", "-c", name, "-i", "kept:1")
    assert "image kept:1: it exists already" in said and "--force" in said
    lab.module("baleine_container", name=name, state="stopped")
    inside_before = shown["digest"]
    baleine("container", "commit", "-c", name, "-i", "kept:1", "--force")
    again = json.loads(baleine("image", "inspect", "kept:1", "--format", "json").stdout)[0]
    assert again["digest"] != inside_before and record(lab, "container", name)["state"] == "stopped"
    baleine("image", "remove", "kept:1")
    assert "there is none" in refused(baleine, "container", "commit", "-c", "nobody", "-i", "kept")


def test_a_filesystem_that_was_left_frozen_is_thawed_by_the_next_pass(lab: LabHost, baleine: Any, name: str) -> None:
    pid = container(lab, name)["pid"]
    lab.sh(f"sed -i 's/^state: running/state: committing\\ncommit: kept/' {MANIFESTS}/containers/{name}.manifest")
    lab.run(["fsfreeze", "-f", f"/proc/{pid}/root"])
    assert f"{name}: settled" in baleine("supervise").stdout
    inside(lab, name, "echo x > /written; sync")
    assert record(lab, "container", name)["state"] == "running" and "commit" not in record(lab, "container", name)
