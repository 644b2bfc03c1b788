# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests as text, and locks between processes."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time

import pytest

from baleine import manifest
from baleine.errors import BaleineError


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MANIFESTS", f"{tmp_path}/manifeste")
    monkeypatch.setattr(manifest, "LOCKS", f"{tmp_path}/lock")


def put(kind: str, name: str, content: bytes) -> str:
    path = manifest.path_of(kind, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(content)
    return path


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("nom_image: apache2", "nom_image", "apache2"),
        ("address: fd00::1/64,10.0.0.1/8", "address", "fd00::1/64,10.0.0.1/8"),
        ("mac: 02:00:00:00:00:01", "mac", "02:00:00:00:00:01"),
        ("starting_time: 2019-05-09-21h-50m-05s", "starting_time", "2019-05-09-21h-50m-05s"),
        ("pid:", "pid", ""),
        ("pid: ", "pid", ""),
        ("pid:42", "pid", "42"),
        ("  pid : 42  ", "pid", "42"),
        ('command: ["sh", "-c", "a: b"]', "command", '["sh", "-c", "a: b"]'),
    ],
)
def test_the_first_colon_of_a_line_ends_its_key(line, key, value):
    assert manifest.parse(line + "\n", "p") == {key: value}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("nom_image: a\ntaille", 2),
        ("nom_image", 1),
        (": value", 1),
        ("a: 1\nb: 2\na: 3\n", 3),
        ("two words: 1", 1),
        ("a-b: 1", 1),
        ("{", 1),
        ("a: 1\n\n\x7fELF: 2", 3),
    ],
)
def test_a_torn_or_foreign_line_is_refused_with_its_number(text, number):
    with pytest.raises(BaleineError, match=f"manifest /p: line {number} is not understood"):
        manifest.parse(text, "/p")


def test_empty_lines_are_no_harm():
    assert manifest.parse("\na: 1\n\n  \nb: 2", "p") == {"a": "1", "b": "2"}


RECORDS = {
    "image": {"size": "1048576", "nom_image": "a", "chemin": "/srv", "taille": "1"},
    "bridge": {"mtu": "1500", "nom_bridge": "a"},
    "volume": {"created": "2026-01-01T00:00:00Z", "nom_volume": "a"},
    "container": {
        "state": "running",
        "starting_time": "2019-05-09-21h-50m-05s",
        "nom_container": "a",
        "nom_bridge": "private,public",
        "pid": "42",
        "nom_image": "apache2",
    },
}


@pytest.mark.parametrize("kind", manifest.KINDS)
def test_the_contracts_keys_come_first_in_their_order(kind):
    manifest.write(kind, "a", RECORDS[kind])
    with open(manifest.path_of(kind, "a")) as stream:
        keys = [line.partition(":")[0] for line in stream]
    leading = list(manifest.LEADING[kind])
    assert keys[: len(leading)] == leading
    assert keys[len(leading)] == "format"
    assert sorted(keys) == sorted({*RECORDS[kind], "format"})


@pytest.mark.parametrize("kind", manifest.KINDS)
def test_what_was_written_is_read_back(kind):
    manifest.write(kind, "a", RECORDS[kind])
    assert manifest.read(kind, "a") == {**RECORDS[kind], "format": "1"}


def test_a_record_that_lacks_a_leading_key_gets_it_empty():
    manifest.write("container", "a", {"nom_container": "a"})
    assert manifest.read("container", "a") == {
        "nom_container": "a", "nom_image": "", "pid": "", "nom_bridge": "", "starting_time": "", "format": "1",
    }  # fmt: skip


def test_a_value_is_cut_with_cut():
    manifest.write("bridge", "a", {"nom_bridge": "a", "address": "fd00::1/64,10.0.0.1/8"})
    line = subprocess.run(
        f"grep ^address: {manifest.path_of('bridge', 'a')} | cut -d: -f2-",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert line.stdout.strip() == "fd00::1/64,10.0.0.1/8"


@pytest.mark.parametrize("character", ["\n", "\r", "\0"], ids=repr)
def test_a_value_with_a_line_end_is_refused_and_nothing_is_written(character):
    with pytest.raises(BaleineError, match="bridge a: the value of x "):
        manifest.write("bridge", "a", {"nom_bridge": "a", "x": f"1{character}pid: 2"})
    assert manifest.names("bridge") == []


@pytest.mark.parametrize(
    "value",
    ["a, b: c", "two\nlines", "\x0b\x0c\x1c\x1d\x1e", "\x85", "\u2028\u2029", "déjà vu 🐋", "tab\there", "'\"\\"],
    ids=repr,
)
def test_any_text_survives_as_json_on_one_line(value):
    manifest.write("container", "a", {"nom_container": "a", "env": manifest.to_json({"KEY": value})})
    record = manifest.read("container", "a")
    assert record is not None
    assert manifest.from_json(record, "env", {}) == {"KEY": value}


def test_what_nobody_could_read_any_more_is_not_written():
    with pytest.raises(BaleineError, match="a manifest holds at most"):
        manifest.write("container", "web1", {"env": "x" * manifest.LARGEST})
    assert manifest.read("container", "web1") is None


def test_a_value_that_is_no_text_is_refused_in_words():
    with pytest.raises(BaleineError, match="container a"):
        manifest.write("container", "a", {"nom_container": "a", "env": manifest.to_json({"KEY": "\udcff"})})


def test_a_manifest_is_for_root_alone_and_nothing_else_is_left_beside_it():
    manifest.write("bridge", "a", {"nom_bridge": "a"})
    path = manifest.path_of("bridge", "a")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    assert os.listdir(os.path.dirname(path)) == ["a.manifest"]


def test_a_reader_sees_the_old_manifest_or_the_new_one():
    """The file that was opened before the write still holds the old text whole: it was replaced, not written over."""
    manifest.write("bridge", "a", {"nom_bridge": "a", "x": "old"})
    with open(manifest.path_of("bridge", "a")) as stream:
        manifest.write("bridge", "a", {"nom_bridge": "a", "x": "new"})
        assert "x: old" in stream.read()
    assert manifest.read("bridge", "a")["x"] == "new"  # type: ignore[index]


def test_a_write_that_fails_leaves_the_old_one_and_no_temporary_file(monkeypatch):
    manifest.write("bridge", "a", {"nom_bridge": "a", "x": "old"})

    def refuse(_old: str, _new: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(BaleineError, match="manifest .*a.manifest: No space left on device"):
            manifest.write("bridge", "a", {"nom_bridge": "a", "x": "new"})
    assert manifest.read("bridge", "a")["x"] == "old"  # type: ignore[index]
    assert os.listdir(f"{manifest.MANIFESTS}/bridges") == ["a.manifest"]


def test_a_resource_without_a_manifest_is_none():
    assert manifest.read("bridge", "a") is None
    assert manifest.names("bridge") == []
    manifest.remove("bridge", "a")


def test_names_are_sorted_and_temporary_files_are_none_of_them():
    for name in ("web2", "web1", "a.b"):
        manifest.write("container", name, {"nom_container": name})
    put("container", ".web3", b"half")
    with open(f"{manifest.MANIFESTS}/containers/README", "w"):
        pass
    assert manifest.names("container") == ["a.b", "web1", "web2"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not describe"),
        (b"nom_bridge: other\n", "does not describe"),
        (b"nom_image: a\n", "does not describe"),
        (b"nom_bri", "line 1"),
        (b"nom_bridge: a\nmtu", "line 2"),
        (b"\xff\xfe\x00", "no text"),
        (b"nom_bridge: a\nx: " + b"y" * (1 << 20), "larger"),
        (b"nom_bridge: a\nformat: 2\n", "newer"),
        (b"nom_bridge: a\nformat: 99999999\n", "newer"),
        ("nom_bridge: a\nformat: ²\n".encode(), "a.manifest"),
        (b"nom_bridge: a\nformat: " + b"9" * 5000 + b"\n", "a.manifest"),
    ],
    ids=[
        "empty",
        "other",
        "kind",
        "torn",
        "torn later",
        "bytes",
        "large",
        "newer",
        "much newer",
        "superscript",
        "long",
    ],
)
def test_a_torn_foreign_or_newer_manifest_is_named(content, why):
    path = put("bridge", "a", content)
    with pytest.raises(BaleineError) as caught:
        manifest.read("bridge", "a")
    assert path in caught.value.message
    assert why in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "content", [b"nom_bridge: a\n", b"nom_bridge: a\nformat: 0\n", b"nom_bridge:a", b"\nnom_bridge: a\n\n"]
)
def test_a_manifest_of_the_old_scripts_is_read(content):
    put("bridge", "a", content)
    assert manifest.read("bridge", "a")["nom_bridge"] == "a"  # type: ignore[index]


@pytest.mark.parametrize("kind", ["link", "loop", "fifo", "directory"])
def test_only_a_regular_file_is_a_manifest_and_no_link_is_followed(kind, tmp_path):
    path = manifest.path_of("bridge", "a")
    os.makedirs(os.path.dirname(path))
    (tmp_path / "elsewhere").write_text("nom_bridge: a\n")
    make = {
        "link": lambda: os.symlink(tmp_path / "elsewhere", path),
        "loop": lambda: os.symlink(path, path),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
    }
    make[kind]()
    with pytest.raises(BaleineError, match=r"a\.manifest"):
        manifest.read("bridge", "a")


def test_removing_takes_the_manifest_alone():
    for name in ("a", "b"):
        manifest.write("bridge", name, {"nom_bridge": name})
    manifest.remove("bridge", "a")
    assert manifest.names("bridge") == ["b"]


@pytest.mark.parametrize(("values", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a,b"), (["a", ""], "a,")])
def test_repeated_values_are_comma_separated(values, text):
    assert manifest.join(values) == text
    assert manifest.split(text) == values


@pytest.mark.parametrize("text", ["{", "[1,", "nan?", "[" * 100000], ids=lambda text: text[:5])
def test_json_that_is_none_is_named_by_its_key(text):
    with pytest.raises(BaleineError, match="env"):
        manifest.from_json({"env": text}, "env", {})


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"'])
def test_json_of_another_kind_is_refused(text):
    with pytest.raises(BaleineError, match="env"):
        manifest.from_json({"env": text}, "env", {})


# ---- locks


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
def test_two_processes_hold_a_lock_together_only_where_both_share_it(mine, theirs, meet):
    with manifest.lock([("image", "debian", mine)]):
        said = refused([("image", "debian", theirs)])
    assert said.startswith("image debian: another command is at work on it") is meet
    assert bool(said) is meet
    assert held() == []


@pytest.mark.parametrize("other", [("image", "debian2", False), ("container", "debian", False)])
def test_locks_of_different_resources_do_not_meet(other):
    with manifest.lock([("image", "debian", False)]):
        assert refused([other]) == ""
    assert held() == []


def test_the_lock_that_is_taken_is_named_and_the_others_are_let_go():
    with manifest.lock([("container", "web1", False)]):
        said = refused([("container", "web1", False), ("image", "debian", True), ("bridge", "private", True)])
        assert said.startswith("container web1: ")
        assert held() == ["container.web1"]
    assert held() == []


def test_locks_are_taken_in_one_order_whoever_asks(monkeypatch):
    taken = []
    take = manifest._take
    monkeypatch.setattr(
        manifest, "_take", lambda path, *rest: taken.append(os.path.basename(path)) or take(path, *rest)
    )
    wanted = [("container", "b", False), ("bridge", "z", True), ("container", "a", False), ("image", "y", True)]
    with manifest.lock([*wanted, ("image", "x:v2", False), ("image", "y:latest", True)]):
        pass
    assert taken == ["image.x:v2", "image.y", "bridge.z", "container.a", "container.b"]


def test_a_lock_asked_for_in_both_ways_is_exclusive():
    with manifest.lock([("image", "a", True), ("image", "a", False), ("image", "a", True)]):
        assert refused([("image", "a", True)])


def test_after_an_error_inside_nothing_is_held():
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


def test_who_waits_gets_the_lock_and_only_one_at_a_time(tmp_path):
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
    assert held() == []


def test_a_lock_does_not_pass_to_a_program_that_is_started(tmp_path):
    with manifest.lock([("image", "a", False)]):
        done = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False, check=True
        )
    assert manifest.LOCKS not in done.stdout


def test_the_registry_is_held_by_one_and_leaves_nothing():
    with manifest.registry():
        assert held() == [".registry"]
    assert held() == []


@pytest.mark.parametrize("name", ["../a", "a/b", ""])
def test_no_lock_has_a_name_that_leads_elsewhere(name):
    with pytest.raises(BaleineError), manifest.lock([("container", name, False)]):
        pass
    assert held() == []


@pytest.mark.parametrize(("lasting", "flushed"), [(True, ["file", "directory"]), (False, ["file"])])
def test_a_manifest_is_whole_after_a_power_cut_and_the_last_one_where_it_shall_last(monkeypatch, lasting, flushed):
    seen = []

    def fsync(descriptor):
        seen.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(manifest.os, "fsync", fsync)
    manifest.write("container", "web1", {"nom_container": "web1"}, lasting)
    assert seen == flushed and manifest.read("container", "web1")["nom_container"] == "web1"
