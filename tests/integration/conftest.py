# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the integration tests: lab hosts, wires, the product in them, a leak check after each file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import name_for, remove_named
from tests.lab import leaks, run, trees
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.proxy import PackageProxy
from tests.lab.wire import Wire

__all__ = ["Guest", "LabHost", "Wire"]
pytest.register_assert_rewrite(
    "tests.integration.limits_cases",
    "tests.integration.limits_network_cases",
)


class Laboratory:
    """The lab hosts and wires of one test file; stops them, and tells what they leaked."""

    def __init__(self) -> None:
        self.before = leaks.snapshot()
        self.hosts: list[tuple[LabHost, bool]] = []
        self.wires: list[Wire] = []

    def host(self, name: str = "", *, leak_check: bool = True, **options: Any) -> LabHost:
        """Start a lab host that lives until the end of the file (or its stop()); options are LabHost's.

        leak_check: look at the end for what it holds beyond its first state; False for tests that break things.
        """
        host = LabHost(name or f"host{len(self.hosts) + 1}", **options)
        self.hosts.append((host, leak_check))
        return host

    def wire(self, network: str = "172.30.0.0/24") -> Wire:
        """Make a wire that lives until the end of the file."""
        wire = Wire(network, name=f"wire{len(self.wires) + 1}")
        self.wires.append(wire)
        return wire

    def close(self, patience: float = run.PATIENCE) -> list[str]:
        """Check and stop everything; returns what was left behind.

        patience: seconds for what the kernel clears up by itself.
        """
        found = []
        for host, leak_check in self.hosts:
            if leak_check and not host.stopped:
                found += [f"{host.name}: {text}" for text in host.leaks(patience)]
        for host, leak_check in reversed(self.hosts):
            problems = host.stop()
            found += [f"{host.name}: {text}" for text in problems if leak_check]
        for wire in self.wires:
            wire.stop()
        return found + leaks.check(None, self.before)


@pytest.fixture(scope="session", autouse=True)
def laboratory_session() -> Iterator[None]:
    """Root or a clear failure; the end of the package proxy."""
    if os.geteuid() != 0:
        pytest.fail("the integration tests make namespaces, mounts and loop devices: run them as root", pytrace=False)
    yield
    PackageProxy.stop_shared()


@pytest.fixture(scope="module", autouse=True)
def laboratory(laboratory_session: None) -> Iterator[Laboratory]:
    """What one test file makes; fails the file when something of it is left at its end."""
    made = Laboratory()
    yield made
    found = made.close()
    if found:
        pytest.fail("left behind by this file:\n  " + "\n  ".join(found), pytrace=False)


@pytest.fixture(scope="module")
def lab_factory(laboratory: Laboratory) -> Callable[..., LabHost]:
    """lab_factory(name, root=..., wire=..., ..., leak_check=True): a further lab host of this file."""
    return laboratory.host


@pytest.fixture(scope="module")
def lab(laboratory: Laboratory) -> LabHost:
    """The machine-root lab host that the tests of a file share."""
    return laboratory.host("lab")


@pytest.fixture(scope="module")
def wire(laboratory: Laboratory) -> Wire:
    """The wire of a file."""
    return laboratory.wire()


@pytest.fixture(scope="module")
def tiny(lab: LabHost) -> str:
    """The name of the tiny busybox image, in the shared lab host."""
    return trees.tiny_image(lab)


@pytest.fixture
def name(lab: LabHost, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for one test; what has it, or begins with it, is removed afterwards."""
    chosen = name_for(request.node.name)
    yield chosen
    remove_named(lab, chosen)


@pytest.fixture(scope="module")
def install_baleine() -> Callable[[LabHost], None]:
    """install_baleine(host): the core, the command line and its launcher, copied into a lab host."""
    return LabHost.install_baleine


@pytest.fixture(scope="module")
def baleine(lab: LabHost) -> Callable[..., subprocess.CompletedProcess[str]]:
    """baleine("container", "list", check=..., timeout=...): the command line, installed in the shared lab host."""
    lab.install_baleine()

    def call(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return lab.run(["/usr/local/bin/baleine", *words], **options)

    return call


@pytest.fixture(scope="module")
def guest(laboratory: Laboratory) -> Iterator[Guest]:
    """A Debian under qemu that the tests of a file share, with the command line and the tiny image in it."""
    with Guest() as machine:
        machine.install_baleine()
        machine.tiny_image()
        yield machine


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return run.REPOSITORY
