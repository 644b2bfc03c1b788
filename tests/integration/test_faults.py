# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of Baleine itself at each of its steps: what is listed then is true, and the next command, or a pass, mends it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab import run
from tests.lab.agent import Call
from tests.lab.host import LabHost

CORE = Path(__file__).resolve().parents[2] / "plugins/module_utils"
BALEINE = "/usr/local/bin/baleine"
DISKS = "/var/lib/baleine/containers"
SETTLED = ("running", "paused", "stopped")
ONE = [{"bridge": "private", "addresses": ["192.168.42.9/24"]}]
TWO = [
    {"bridge": "private", "addresses": ["192.168.42.10/24"]},
    {"bridge": "private", "addresses": ["192.168.42.11/24"]},
]
STARTS = [
    "before start", "saved starting", "cleared", "bundle made", "mounted", "specified", "created", "begun", "connected",
    "started", "saved running", "after start",
]  # fmt: skip
COMMITS = [
    "before commit", "saved committing", "frozen", "copied still", "thawed", "begun an image", "put", "after commit",
]  # fmt: skip
#: What there is before, what is asked for, and the steps at which that is killed.
SCENARIOS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "create": (None, {}, ["before create", "saved creating", "copied", "renamed", "saved stopped", "after create", *STARTS]),
    "start": ({"state": "present"}, {}, STARTS),
    "stop": ({}, {"state": "stopped"}, ["before stop", "saved stopping", "ended", "cleared", "saved stopped", "after stop"]),
    "remove": (
        {}, {"state": "absent"},
        ["before stop", "saved stopping", "ended", "after stop", "before remove", "saved removing", "cleared", "unlinked",
         "after remove"],
    ),
    "recreate": (
        {}, {"image": "other", "recreate": "on_change"},
        ["before recreate", "copied", "renamed", "ended", "saved recreating", "put aside", "exchanged", "saved stopped",
         "mounted", "saved running", "after recreate"],
    ),
    "change": (
        {"networks": TWO}, {"networks": ONE, "limits": {"pids": 50}, "labels": {"a": "b"}},
        [f"{when} {verb}" for verb in ("set_limits", "set_policy", "cut", "connect", "record_networks") for when in ("before", "after")],
    ),
    "pause": ({}, {"state": "paused"}, ["before pause", "saved paused", "after pause"]),
    "unpause": ({"state": "paused"}, {}, ["before unpause", "after unpause"]),
    "share": (None, {"volumes": [{"source": "data", "target": "/data"}]}, ["before make_volume", "after make_volume"]),
    "commit": ({}, {"commit": True}, COMMITS),
    "commit a stopped one": ({"state": "present"}, {"commit": True}, ["saved committing", "copied still", "put"]),
    "grow": ({"state": "present"}, {"state": "present", "size": "96M"}, ["before grow", "grown", "after grow"]),
    "settle": ("killed", {"state": "stopped"}, ["before settle", "cleared", "after settle"]),
    "wish": ("ended", {"state": "stopped"}, ["before wish", "after wish"]),
}  # fmt: skip


def steps_of_the_source() -> set[str]:
    """Every step at which a container's command can be killed, read where they are named."""
    found: set[str] = set()
    for path in CORE.glob("*.py"):
        if path.stem == "store":  # its moves are driven by test_store.py
            continue
        found |= set(re.findall(r'fault\("([^"]+)"\)', path.read_text()))
    keeper = (CORE / "keeper.py").read_text()
    found |= {f"saved {state}" for state in re.findall(r'[(" ]state"?[=:] ?"(\w+)"', keeper)}
    verbs = re.findall(r'(?:draft\.step|Action)\("(\w+)"', (CORE / "container.py").read_text())
    return found | {f"{when} {verb}" for verb in verbs for when in ("before", "after")}


def test_every_fault_point_of_the_source_is_tested() -> None:
    driven = {step for _before, _wanted, steps in SCENARIOS.values() for step in steps}
    assert steps_of_the_source() - driven == set() and len(driven) > 30


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24"])
    lab.sh("mkdir -p /srv; cd /var/lib/baleine; cp --sparse=always images/tiny images/other; echo x >> images/other; "
           "sed s/tiny/other/ manifeste/images/tiny.manifest > manifeste/images/other.manifest")  # fmt: skip
    lab.expect("file /var/lib/baleine/images/other", "file */other.manifest")
    lab.rebase()


def ask(lab: LabHost, step: str = "", **params: Any) -> subprocess.CompletedProcess[str]:
    """Ask for the container by the module (for an image of it by the command line), to be killed at a step."""
    env = {"BALEINE_FAULT": step} if step else {}
    if params.get("commit"):
        return lab.run([BALEINE, "container", "commit", "victim", "-i", "kept:1", "--force"], check=False, env=env)
    described = {"image": "tiny", "command": ["sleep", "1000"], "networks": ONE}
    if params.get("state") in ("absent", "stopped"):
        described = {}
    call = Call("baleine_container", {"name": "victim", **described, **params}, env=env)
    return lab.together([call])[0]


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if not done.stdout:
        assert done.returncode == 0, done.stderr
        return {"changed": False}
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found.get("failed"), found
    return found


def prepare(lab: LabHost, before: Any) -> None:
    if before is not None:
        made = result(ask(lab, **(before if isinstance(before, dict) else {})))
        if isinstance(before, str):
            lab.run(["kill", "-9", str(made["container"]["pid"])])
            assert run.wait_for(lambda: not lab.path(f"/proc/{made['container']['pid']}").exists())
        if before == "ended":
            lab.run([BALEINE, "container", "list"])
            path = "/var/lib/baleine/manifeste/containers/victim.manifest"
            lab.run([BALEINE, "container", "stop", "victim"])
            lab.sh(f"sed -i 's/^wanted_state: .*/wanted_state: started/' {path}")


def listed(lab: LabHost) -> dict[str, Any]:
    """The container as it is listed, which must be true."""
    shown = json.loads(lab.run([BALEINE, "container", "list", "-a", "--format", "json"]).stdout)
    found: dict[str, Any] = next((one for one in shown if one["name"] == "victim"), {})
    if found:
        assert (found["pid"] is not None) == (found["state"] in ("running", "paused", "starting"))
    if found.get("pid"):
        assert lab.path(f"/proc/{found['pid']}/ns/pid").exists()
    return found


def sound(lab: LabHost) -> None:
    """Nothing is frozen, e2fsck has nothing to say about a disk, nothing of the container but its disks stays."""
    if listed(lab).get("state") == "running":
        lab.run([BALEINE, "container", "exec", "victim", "--", "sh", "-c", "echo x > /written; sync"])
    result(ask(lab, state="stopped")) if listed(lab) else None
    disks = lab.sh(f"ls -A {DISKS} 2>/dev/null || true").stdout.split()
    for disk in disks:
        done = lab.run(["e2fsck", "-fn", f"{DISKS}/{disk}"], check=False)
        assert done.returncode == 0, (disk, done.stdout)
    images = lab.sh("cd /var/lib/baleine/images; ls -A").stdout.split()
    if "kept:1" in images:
        assert lab.run(["e2fsck", "-fn", "/var/lib/baleine/images/kept:1"], check=False).returncode == 0
        lab.run([BALEINE, "image", "remove", "kept:1"])
    assert set(images) <= {"tiny", "other", "kept:1"}
    assert "kept" not in lab.sh("ls -A /var/lib/baleine/manifeste/images").stdout
    result(ask(lab, state="absent"))
    for disk in (name for name in disks if ".old-" in name):
        lab.module("baleine_container", name=disk, state="absent")
    lab.run([BALEINE, "volume", "remove", "-f", "data"])
    left = lab.sh(f"ls -A {DISKS} /run/baleine/containers /var/lib/baleine/manifeste/containers 2>/dev/null || true")
    assert "victim" not in left.stdout, left.stdout


@pytest.mark.parametrize("way", ["again", "a pass"])
@pytest.mark.parametrize(
    ("scenario", "step"), [(name, step) for name, (_before, _wanted, steps) in SCENARIOS.items() for step in steps]
)
def test_a_run_killed_at_any_step_is_finished_by_the_next_one(lab: LabHost, scenario: str, step: str, way: str) -> None:
    before, wanted, _steps = SCENARIOS[scenario]
    prepare(lab, before)
    killed = ask(lab, step, **wanted)
    assert killed.returncode in (-9, 137), (killed.stdout, killed.stderr)
    listed(lab)
    if way == "again":
        result(ask(lab, **wanted))
        assert not result(ask(lab, **wanted))["changed"]
    else:
        lab.run([BALEINE, "supervise"])
        assert lab.run([BALEINE, "supervise"]).stdout == ""
    assert listed(lab).get("recorded_state", "stopped") in SETTLED
    sound(lab)
