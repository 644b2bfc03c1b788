# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: shared or exclusive, in one order, and free when their process ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

import pytest

from baleine import manifest
from baleine.errors import BaleineError


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MANIFESTS", f"{tmp_path}/manifeste")
    monkeypatch.setattr(manifest, "LOCKS", f"{tmp_path}/lock")


def held() -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(manifest.LOCKS))
    return []


def refused(wanted: list[tuple[str, str, bool]]) -> str:
    """Try to take locks in another process, without waiting; return what it was told."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        said = ""
        try:
            with manifest.lock(wanted, wait=False):
                pass
        except BaleineError as error:
            said = error.message
        finally:
            os.write(write_end, said.encode())
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize(
    ("mine", "theirs", "meet"), [(False, False, True), (False, True, True), (True, False, True), (True, True, False)]
)
def test_two_processes_hold_a_lock_at_once_only_if_both_share_it(mine, theirs, meet):
    with manifest.lock([("image", "debian", mine)]):
        said = refused([("image", "debian", theirs)])
    assert said.startswith("image debian: another command is at work on it") is meet
    assert bool(said) is meet
    assert held() == []


@pytest.mark.parametrize("other", [("image", "debian2", False), ("container", "debian", False)])
def test_locks_of_different_resources_are_independent(other):
    with manifest.lock([("image", "debian", False)]):
        assert refused([other]) == ""
    assert held() == []


def test_a_taken_lock_is_named_and_the_others_are_released():
    with manifest.lock([("container", "web1", False)]):
        said = refused([("container", "web1", False), ("image", "debian", True), ("bridge", "private", True)])
        assert said.startswith("container web1: ")
        assert held() == ["container.web1"]
    assert held() == []


def test_locks_are_always_taken_in_the_same_order(monkeypatch):
    taken = []
    take = manifest._take
    monkeypatch.setattr(
        manifest, "_take", lambda path, *rest: taken.append(os.path.basename(path)) or take(path, *rest)
    )
    wanted = [("container", "b", False), ("bridge", "z", True), ("container", "a", False), ("image", "y", True)]
    with manifest.lock([*wanted, ("image", "x:v2", False), ("image", "y:latest", True)]):
        pass
    assert taken == ["image.x:v2", "image.y", "bridge.z", "container.a", "container.b"]


def test_a_lock_requested_in_both_modes_is_exclusive():
    with manifest.lock([("image", "a", True), ("image", "a", False), ("image", "a", True)]):
        assert refused([("image", "a", True)])


def test_no_lock_is_held_after_an_error():
    with pytest.raises(ZeroDivisionError), manifest.lock([("image", "a", False), ("bridge", "b", True)]):
        raise ZeroDivisionError
    assert held() == []
    assert refused([("image", "a", False)]) == ""


@pytest.mark.parametrize("shared", [True, False])
def test_the_lock_of_a_killed_process_is_free(shared):
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with manifest.lock([("image", "a", shared)]):
            os.write(write_end, b".")
            os.kill(os.getpid(), 9)
    os.read(read_end, 1)
    os.close(read_end)
    os.close(write_end)
    os.waitpid(child, 0)
    assert refused([("image", "a", False)]) == ""
    assert held() == []


def test_waiting_processes_get_the_lock_one_at_a_time(tmp_path):
    """20 processes begin together and add one to a number in a file: none is lost."""
    number = tmp_path / "number"
    number.write_text("0")
    children = []
    all_there, begin = os.pipe()
    for _child in range(20):
        child = os.fork()
        if child == 0:
            try:
                os.close(begin)
                os.read(all_there, 1)
                for _turn in range(10):
                    with manifest.lock([("container", "web1", False)]):
                        found = int(number.read_text())
                        time.sleep(0.001)  # others would come in between
                        number.write_text(str(found + 1))
            finally:
                os._exit(0)
        children.append(child)
    os.close(all_there)
    os.close(begin)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert number.read_text() == "200"


def test_a_started_program_does_not_inherit_a_lock(tmp_path):
    with manifest.lock([("image", "a", False)]):
        done = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False, check=True
        )
    assert manifest.LOCKS not in done.stdout


def test_the_registry_lock_is_exclusive_and_leaves_no_file():
    with manifest.registry():
        assert held() == [".registry"]
    assert held() == []


@pytest.mark.parametrize("name", ["../a", "a/b", ""])
def test_the_name_of_a_lock_cannot_lead_to_another_directory(name):
    with pytest.raises(BaleineError), manifest.lock([("container", name, False)]):
        pass
    assert held() == []
