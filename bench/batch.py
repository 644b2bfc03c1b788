# SPDX-License-Identifier: GPL-3.0-or-later
"""Many containers by a playbook: one task of `baleine_containers` beside loops of the modules for docker and podman.

Whole runs of `ansible-playbook` on the host itself (connection local) are timed. The peers' collections come out of the
package `ansible` of PyPI, of which only these are unpacked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab import run

from .peers import CPUS, MEMORY, PIDS, POLITE, Contender
from .place import Failed, Place
from .result import OURS, Cell

PEERS = run.REPOSITORY / ".cache/peers"
PACKAGE = "ansible>=12,<13"
COLLECTIONS = ("containers/podman", "community/docker", "community/library_inventory_filtering_v1")
PHASES = {
    "first": "are made and started",
    "again": "are as they should be",
    "absent": "are removed",
}
LONGEST = 900.0
FOLDER = "/srv/bench/batch"


def fetch() -> None:
    """Bring the peers' collections and what their modules import, once."""
    if (PEERS / ".ready").exists():
        return
    PEERS.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "download", "--no-deps", "--dest", str(PEERS), PACKAGE], check=True)
    subprocess.run([*pip, "install", "--target", str(PEERS / "python"), "requests"], check=True)
    for wheel in PEERS.glob("ansible-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            wanted = tuple(f"ansible_collections/{name}/" for name in COLLECTIONS)
            archive.extractall(PEERS, [name for name in archive.namelist() if name.startswith(wanted)])
        wheel.unlink()
    (PEERS / ".ready").touch()


def ours(state: str, count: int) -> dict[str, Any]:
    """One task for all of them."""
    limits = {"memory": MEMORY, "cpus": CPUS, "pids": PIDS}
    made = [
        {
            "name": f"c{number}",
            "image": "tiny",
            "command": list(POLITE),
            "networks": [{"bridge": "bench", "addresses": [f"10.77.3.{number}/16"]}],
            "limits": limits,
        }
        for number in range(1, count + 1)
    ]
    gone = [{"name": item["name"], "state": "absent"} for item in made]
    return {"lab.baleine.baleine_containers": {"containers": gone if state == "absent" else made}}


def docker(state: str, count: int) -> dict[str, Any]:
    """A loop of community.docker's module."""
    made = {
        "image": "tiny",
        "pull": "never",
        "command": list(POLITE),
        "networks": [{"name": "bench", "ipv4_address": "10.78.3.{{ item }}"}],
        "memory": str(MEMORY),
        "cpus": CPUS,
        "pids_limit": PIDS,
    }
    return loop("community.docker.docker_container", state, made, count)


def podman(state: str, count: int, ulimits: Sequence[str]) -> dict[str, Any]:
    """A loop of containers.podman's module."""
    made = {
        "image": "localhost/tiny:latest",
        "command": list(POLITE),
        "network": ["bench"],
        "ip": "10.79.3.{{ item }}",
        "memory": str(MEMORY),
        "cpus": str(CPUS),
        "pids_limit": str(PIDS),
        "ulimit": list(ulimits),
    }
    return loop("containers.podman.podman_container", state, made, count)


def loop(module: str, state: str, made: Mapping[str, Any], count: int) -> dict[str, Any]:
    """A task that runs a module for each container."""
    given = {"name": "c{{ item }}", "state": state, **(made if state == "started" else {})}
    return {module: given, "loop": list(range(1, count + 1))}


def tasks_of(contenders: Sequence[Contender], count: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the task of each contender that has one, by its name and the state that the task brings about."""
    tasks = {}
    for one in contenders:
        for state in ("started", "absent"):
            if one.name == OURS:
                tasks[one.name, state] = ours(state, count)
            elif one.name == "docker":
                tasks[one.name, state] = docker(state, count)
            elif one.name == "podman":
                extra = getattr(one, "extra", ())
                tasks[one.name, state] = podman(state, count, [word for word in extra if "=" in word])
    return tasks


def measure(place: Place, contenders: Sequence[Contender], count: int) -> dict[str, dict[str, Cell]]:
    """Return, by phase, how long the whole playbook of each took."""
    tasks = tasks_of(contenders, count)
    if any(name != OURS for name, _state in tasks):
        fetch()
    for (name, state), task in tasks.items():
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
        place.host.write(f"{FOLDER}/{name}-{state}.yml", json.dumps(play, indent=1))
    found: dict[str, dict[str, Cell]] = {phase: {} for phase in PHASES}
    for phase in PHASES:
        for name in dict.fromkeys(name for name, _state in tasks):
            try:
                seconds = place.time(playbook(name, "absent" if phase == "absent" else "started"), LONGEST)
                found[phase][name] = Cell((seconds,))
            except Failed as error:
                found[phase][name] = Cell(reason=str(error))
    return found


def playbook(name: str, state: str) -> Sequence[str]:
    """The command that is timed."""
    collections = f"{run.REPOSITORY}/.collections:{PEERS}"
    settings = {
        "ANSIBLE_CONFIG": f"{run.REPOSITORY}/ansible.cfg",
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "PYTHONPATH": str(PEERS / "python"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",  # a failure on one line
        "LC_ALL": "C.UTF-8",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    host = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    variables = [f"{key}={value}" for key, value in settings.items()]
    return ("env", *variables, str(program), "-i", "localhost,", "-e", host, f"{FOLDER}/{name}-{state}.yml")
