# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges: sets that are made together, and changes that the kernel refuses."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from baleine import bridge, manifest
from baleine.bridge import Found
from baleine.errors import BaleineError
from baleine.process import Result, wait_until
from tests.lab.run import PATIENCE
from tests.unit.support import link


class Kernel:
    """A runner with a kernel behind it that has links and may refuse a change, and manifests of their own."""

    def __init__(self, monkeypatch: Any, tmp_path: Any, refuse: str = "nothing", links: tuple[str, ...] = ()) -> None:
        for folder in ("MANIFESTS", "LOCKS"):
            monkeypatch.setattr(manifest, folder, str(tmp_path / folder))
        monkeypatch.setattr(bridge.guard, "FOLDER", str(tmp_path))
        monkeypatch.setattr(bridge.netlink, "need_program", lambda *_words: "ip")
        self.refuse, self.links, self.done = refuse, dict.fromkeys(links, ""), list[str]()
        self.records: list[list[str]] = []

    def __call__(self, argv: Any, stdin: str = "", env: Any = None) -> Result:
        if "-batch" in argv:
            self.records.append(manifest.names("bridge"))
            for at, line in enumerate(stdin.splitlines(), 1):
                if self.refuse in line:
                    return Result(tuple(argv), 1, "", f"RTNETLINK answers: no\nCommand failed -:{at}")
                self.done.append(line)
                if line.startswith("link add name"):
                    self.links[line.split()[3]] = "bridge"
                elif line.startswith("link del dev"):
                    del self.links[line.split()[3]]
            return Result(tuple(argv), 0, "", "")
        shown = [link(name, linkinfo={"info_kind": kind}) for name, kind in self.links.items()]
        return Result(tuple(argv), 0, json.dumps(shown if "address" in argv else []), "")


def ask(name: str, *addresses: str, **more: Any) -> bridge.Wanted:
    return bridge.request({"name": name, "addresses": addresses, **more})


@pytest.mark.parametrize("refuse", ["link add", "link set", "address replace"])
def test_a_new_bridge_that_the_kernel_refuses_leaves_neither_link_nor_record(monkeypatch, tmp_path, refuse):
    kernel = Kernel(monkeypatch, tmp_path, refuse)
    with pytest.raises(BaleineError, match=refuse):
        bridge.ensure(kernel, [ask("b1", "10.1.0.1/16"), ask("b2", "10.2.0.1/16")])
    assert (kernel.links, manifest.names("bridge")) == ({}, [])


def test_a_recorded_bridge_that_the_kernel_refuses_to_heal_stays_recorded(monkeypatch, tmp_path):
    kernel = Kernel(monkeypatch, tmp_path)
    bridge.ensure(kernel, [ask("b1", "10.1.0.1/16")])
    del kernel.links["b1"]
    kernel.refuse = "address replace"
    with pytest.raises(BaleineError):
        bridge.ensure(kernel, [ask("b1", "10.1.0.1/16")])
    assert (list(kernel.links), manifest.names("bridge")) == (["b1"], ["b1"])


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (ask("b2", "10.1.9.1/24"), "meets 10.1.0.0/16 of the bridge b1"),
        (ask("b2", ports=["ens5"]), "already a port of b1"),
        (ask("b1"), "given twice"),
        (ask("taken"), "did not make"),
    ],
    ids=["network", "port", "name", "foreign"],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_set_of_bridges_is_refused_as_a_whole_before_the_first_change(monkeypatch, tmp_path, check, second, why):
    kernel = Kernel(monkeypatch, tmp_path, links=("ens5", "taken"))
    with pytest.raises(BaleineError, match=why):
        bridge.ensure(kernel, [ask("b1", "10.1.0.1/16", ports=["ens5"]), second], check)
    assert (kernel.done, manifest.names("bridge")) == ([], [])


def test_a_bridge_may_take_an_address_that_an_earlier_one_of_its_set_gives_up(monkeypatch, tmp_path):
    kernel = Kernel(monkeypatch, tmp_path)
    bridge.ensure(kernel, [ask("b1", "10.1.0.1/16")])
    bridge.ensure(kernel, [ask("b1", state="absent"), ask("b2", "10.1.0.1/16")])
    assert manifest.names("bridge") == ["b2"]


def test_a_set_of_bridges_is_recorded_as_a_whole_before_the_first_change(monkeypatch, tmp_path):
    kernel = Kernel(monkeypatch, tmp_path)
    bridge.ensure(kernel, [ask("b1", "10.1.0.1/16"), ask("b2", "10.2.0.1/16")])
    assert kernel.records[0] == ["b1", "b2"]
    assert [manifest.read("bridge", name)["state"] for name in ("b1", "b2")] == ["up", "up"]  # type: ignore[index]


def test_one_of_two_bridges_made_at_once_in_the_same_network_is_refused(monkeypatch, tmp_path):
    """Each goes on when the other one has looked as well, or waits for the lock and so may not."""
    kernel, real, failed = Kernel(monkeypatch, tmp_path), bridge.find, []
    looked: set[str] = set()

    def other_waits() -> bool:
        with open("/proc/locks") as stream:
            return any("-> FLOCK" in line and str(os.getpid()) in line.split() for line in stream)

    def slowly(run: Any, name: str) -> Found:
        found = real(run, name)
        looked.add(name)
        assert wait_until(lambda: looked == {"b1", "b2"} or other_waits(), PATIENCE)
        return found

    def make(name: str) -> None:
        try:
            bridge.ensure(kernel, [ask(name, "10.1.0.1/16")])
        except BaleineError as error:
            failed.append(error.message)

    monkeypatch.setattr(bridge, "find", slowly)
    threads = [threading.Thread(target=make, args=(name,)) for name in ("b1", "b2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == len(manifest.names("bridge")) == 1
