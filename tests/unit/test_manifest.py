# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests as text, and locks between processes."""

from __future__ import annotations

import os
import stat
import subprocess

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
def test_a_damaged_or_foreign_line_is_refused_with_its_number(text, number):
    with pytest.raises(BaleineError, match=f"manifest /p: line {number} is not understood"):
        manifest.parse(text, "/p")


def test_empty_lines_are_ignored():
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
def test_the_documented_keys_come_first_in_their_order(kind):
    manifest.write(kind, "a", RECORDS[kind])
    with open(manifest.path_of(kind, "a")) as stream:
        keys = [line.partition(":")[0] for line in stream]
    leading = list(manifest.LEADING[kind])
    assert keys[: len(leading)] == leading
    assert keys[len(leading)] == "format"
    assert sorted(keys) == sorted({*RECORDS[kind], "format"})


@pytest.mark.parametrize("kind", manifest.KINDS)
def test_a_written_record_is_read_back(kind):
    manifest.write(kind, "a", RECORDS[kind])
    assert manifest.read(kind, "a") == {**RECORDS[kind], "format": "1"}


def test_a_missing_documented_key_is_written_empty():
    manifest.write("container", "a", {"nom_container": "a"})
    assert manifest.read("container", "a") == {
        "nom_container": "a", "nom_image": "", "pid": "", "nom_bridge": "", "starting_time": "", "format": "1",
    }  # fmt: skip


def test_a_value_can_be_read_with_cut():
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
def test_a_value_with_a_newline_is_refused_and_nothing_is_written(character):
    with pytest.raises(BaleineError, match="bridge a: the value of x "):
        manifest.write("bridge", "a", {"nom_bridge": "a", "x": f"1{character}pid: 2"})
    assert manifest.names("bridge") == []


@pytest.mark.parametrize(
    "value",
    ["a, b: c", "two\nlines", "\x0b\x0c\x1c\x1d\x1e", "\x85", "\u2028\u2029", "déjà vu 🐋", "tab\there", "'\"\\"],
    ids=repr,
)
def test_any_text_is_kept_as_json_on_one_line(value):
    manifest.write("container", "a", {"nom_container": "a", "env": manifest.to_json({"KEY": value})})
    record = manifest.read("container", "a")
    assert record is not None
    assert manifest.from_json(record, "env", {}) == {"KEY": value}


def test_a_record_that_could_not_be_read_back_is_not_written():
    with pytest.raises(BaleineError, match="a manifest holds at most"):
        manifest.write("container", "web1", {"env": "x" * manifest.LARGEST})
    assert manifest.read("container", "web1") is None


def test_a_value_other_than_text_is_refused_with_a_readable_error():
    with pytest.raises(BaleineError, match="container a"):
        manifest.write("container", "a", {"nom_container": "a", "env": manifest.to_json({"KEY": "\udcff"})})


def test_a_manifest_is_readable_only_by_root_and_no_other_file_is_left():
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


def test_a_missing_manifest_is_read_as_none():
    assert manifest.read("bridge", "a") is None
    assert manifest.names("bridge") == []
    manifest.remove("bridge", "a")


def test_names_are_sorted_and_exclude_temporary_files():
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
def test_a_damaged_foreign_or_newer_manifest_is_named(content, why):
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


def test_the_removal_of_a_manifest_removes_only_its_file():
    for name in ("a", "b"):
        manifest.write("bridge", name, {"nom_bridge": name})
    manifest.remove("bridge", "a")
    assert manifest.names("bridge") == ["b"]


@pytest.mark.parametrize(("values", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a,b"), (["a", ""], "a,")])
def test_repeated_values_are_comma_separated(values, text):
    assert manifest.join(values) == text
    assert manifest.split(text) == values


@pytest.mark.parametrize("text", ["{", "[1,", "nan?", "[" * 100000], ids=lambda text: text[:5])
def test_invalid_json_is_named_by_its_key(text):
    with pytest.raises(BaleineError, match="env"):
        manifest.from_json({"env": text}, "env", {})


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"'])
def test_json_of_another_kind_is_refused(text):
    with pytest.raises(BaleineError, match="env"):
        manifest.from_json({"env": text}, "env", {})


@pytest.mark.parametrize(("lasting", "flushed"), [(True, ["file", "directory"]), (False, ["file"])])
def test_a_manifest_is_flushed_to_disk_and_its_directory_if_it_must_last(monkeypatch, lasting, flushed):
    seen = []

    def fsync(descriptor):
        seen.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(manifest.os, "fsync", fsync)
    manifest.write("container", "web1", {"nom_container": "web1"}, lasting)
    assert seen == flushed and manifest.read("container", "web1")["nom_container"] == "web1"
