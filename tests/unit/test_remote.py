# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on web servers: what a description may say, which keys a name is held against, and what an archive may hold."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from baleine import disk, download, remote, trust
from baleine.errors import BaleineError
from tests.unit.support import run

SAID = {
    "format": "1",
    "name": "web",
    "version": "1.2~rc1",
    "architecture": "amd64",
    "created": "2026-01-31T13:05:09Z",
    "size": str(64 << 20),
    "digest": "sha256:" + "a" * 64,
    "file": "web-1.2~rc1.tar.zst",
    "file_size": "4711",
    "file_sha256": "b" * 64,
    "config": '{"cmd": ["true"], "env": {"A": "1=2"}}',
}


def text(**changes: str) -> bytes:
    return "".join(f"{key}: {value}\n" for key, value in {**SAID, **changes}.items()).encode()


def test_a_description_names_the_published_image():
    said = remote.read(text(), "web", "there")
    assert (said.version, said.size, said.file_size) == ("1.2~rc1", 64 << 20, 4711)
    assert said.config == {"cmd": ["true"], "env": {"A": "1=2"}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": "2"}, "its format is '2'"),
        ({"name": "db"}, "it describes the image 'db', not web"),
        ({"version": ""}, "version"),
        ({"version": "a/b"}, "version"),
        ({"architecture": "amd 64"}, "architecture"),
        ({"created": "yesterday"}, "created"),
        ({"created": "2026-01-31T13:05:09Zx"}, "created"),
        ({"size": "0"}, "size"),
        ({"size": "-1"}, "size"),
        ({"size": "4097"}, "size"),
        ({"size": str(64 << 20 | 1)}, "size"),
        ({"size": str(1 << 60)}, "size"),
        ({"size": "9" * 400}, "size"),
        ({"size": "٣"}, "size"),
        ({"digest": "a" * 64}, "digest"),
        ({"digest": "md5:" + "a" * 32}, "digest"),
        ({"file": "../web.tar.zst"}, "file"),
        ({"file": "https://elsewhere/web.tar.zst"}, "file"),
        ({"file": ".web.tar.zst"}, "file"),
        ({"file": "web.img"}, "file"),
        ({"file_size": "0"}, "file_size"),
        ({"file_size": str(1 << 50)}, "file_size"),
        ({"file_sha256": "B" * 64}, "file_sha256"),
        ({"config": "{"}, "config"),
        ({"config": "[]"}, "config"),
        ({"config": "[" * 100000}, "config"),
        ({"config": '{"entrypoint": 5}'}, "its config is not understood"),
        ({"config": '{"cmd": [5]}'}, "its config is not understood"),
        ({"config": '{"env": ["A=1"]}'}, "its config is not understood"),
        ({"config": '{"labels": {"a": []}}'}, "its config is not understood"),
        ({"config": '{"exposed_ports": [{}]}'}, "its config is not understood"),
    ],
)
def test_an_invalid_description_is_refused(changes, why):
    with pytest.raises(BaleineError, match=why):
        remote.read(text(**changes), "web", "there")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no colon\n", b"a: 1\na: 2\n", text() + text()])
def test_a_text_that_is_not_a_description_is_refused(content):
    with pytest.raises(BaleineError, match="there"):
        remote.read(content, "web", "there")


@pytest.mark.parametrize(
    "url",
    [
        "http://host/web.image",
        "ftp://host/web.image",
        "file:///etc/web.image",
        "https:///web.image",
        "https://me:secret@host/web.image",
        "https://host/web.image?x=1",
        "https://host/web.image#x",
        "https://host:port/web.image",
        "https://host/a b/web.image",
        "https://[host/web.image",
        "https://host/wéb.image",
        "https://host/web.tar",
        "https://host/.image",
        "https://host/",
        "https://host/-web.image",
    ],
)
def test_a_url_is_refused_unless_it_is_https_without_password_and_names_a_description(url):
    with pytest.raises(BaleineError, match="image x"):
        remote.name_of(url, "image x")


def test_the_published_name_is_the_end_of_the_url():
    assert remote.name_of("https://host:8443/images/1.0/lab.web.image", "image x") == "lab.web"


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trust, "DIRECTORY", str(tmp_path / "trust"))
    (tmp_path / "trust").mkdir()
    return tmp_path / "trust"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lab", "lab.gpg"),
        ("lab.db", "lab.gpg"),
        ("lab_x", "lab.gpg"),
        ("labour", None),
        ("la", None),
        ("lab-web", "lab-web.asc"),
        ("lab-web.1", "lab-web.asc"),
        ("lab-webs", "lab.gpg"),
        ("other", None),
    ],
)
def test_only_the_longest_prefix_of_whole_name_parts_decides(keys, name, file):
    for entry in ("lab.gpg", "lab-web.asc", ".hidden.gpg", "other.txt"):
        (keys / entry).touch()
    assert trust.keys_for(name) == (file and str(keys / file))


def test_no_key_is_trusted_without_the_key_directory(keys):
    keys.rmdir()
    assert trust.trusted() == {} and trust.keys_for("web") is None
    with pytest.raises(download.Unasked, match="no key is trusted for images named web"):
        trust.verify(run, "web", b"", b"", "image web")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!\n-----END", b"\x95\x01"]
)
def test_a_file_without_a_public_key_is_not_trusted(keys, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BaleineError, match="no public key"):
        trust.add("web", str(tmp_path / "file"))
    assert list(keys.iterdir()) == []


@pytest.mark.parametrize("prefix", ["", "../x", "a/b", ".a"])
def test_only_the_beginning_of_a_name_can_be_a_prefix(keys, tmp_path, prefix):
    with pytest.raises(BaleineError, match="no name of an image begins so"):
        trust.add(prefix, str(tmp_path / "file"))


SIZE = 64 << 20


def packed(folder: Path, content: bytes) -> str:
    subprocess.run(["zstd", "-q", "-o", str(folder / "packed")], input=content, check=True)
    return str(folder / "packed")


def sparse(folder: Path) -> Path:
    """A file with data at its beginning, in its middle and at its end."""
    file = folder / "image"
    with open(file, "wb") as stream:
        stream.truncate(SIZE)
        for place in (0, SIZE // 2, SIZE - 4096):
            stream.seek(place)
            stream.write(os.urandom(4096))
    return file


@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_a_sparse_file_is_extracted_with_its_holes(tmp_path, form):
    file = sparse(tmp_path)
    words = ["tar", f"--format={form}", "--sparse", "--zstd", "-cf", "packed", "image"]
    subprocess.run(words, cwd=tmp_path, check=True)
    assert os.path.getsize(tmp_path / "packed") < 20000
    remote.unpack(str(tmp_path / "packed"), str(tmp_path / "new"), SIZE, "image x")
    assert disk.digest(str(tmp_path / "new")) == disk.digest(str(file))
    assert disk.allocated(str(tmp_path / "new")) <= 1 << 20


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member, content in members:
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def member(**values: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo("image")
    for key, value in values.items():
        setattr(made, key, value)
    return made


def holes(size: int, *numbers: object) -> tuple[tarfile.TarInfo, bytes]:
    """A sparse file as GNU tar's pax format 1.0 has it, with a map that says what one likes."""
    lines = "".join(f"{number}\n" for number in numbers).encode()
    content = lines + bytes(-len(lines) % 512) + b"x" * 4096
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(size),
        "GNU.sparse.name": "i",
    }
    return member(size=len(content), pax_headers=headers), content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty file"),
        (b"no archive" * 1000, "truncated header|bad checksum|invalid"),
        (archive((member(size=5), b"short")), "there is no file of"),
        (archive((member(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), b"")), "there is no file of"),
        (archive((member(type=tarfile.CHRTYPE, devmajor=1, devminor=5), b"")), "there is no file of"),
        (archive((member(size=SIZE), b"\1" * SIZE))[: SIZE // 2], "unexpected end of data"),
        (archive(holes(SIZE, 1, 0, 100000)), "unexpected end of data"),
        (archive(holes(SIZE, 1, -5, 10)), "Invalid argument"),
        (archive(holes(SIZE, "x", 0, 10)), "invalid"),
        (archive(holes(SIZE + 1, 1, 0, 10)), "there is no file of"),
    ],
    ids=lambda value: "content" if isinstance(value, bytes) else value,  # else a MiB of it, as the environment has it too
)  # fmt: skip
def test_an_archive_with_anything_but_one_image_is_refused(tmp_path, content, why):
    with pytest.raises(BaleineError, match=f"image x: its file cannot be unpacked: .*({why})"):
        remote.unpack(packed(tmp_path, content), str(tmp_path / "new"), SIZE, "image x")


def test_a_file_that_is_not_zstd_is_refused(tmp_path):
    (tmp_path / "packed").write_bytes(b"garbage")
    with pytest.raises(BaleineError, match="its file cannot be unpacked"):
        remote.unpack(str(tmp_path / "packed"), str(tmp_path / "new"), SIZE, "image x")


@pytest.mark.parametrize("size", [16 << 20, 1 << 40])
def test_a_decompression_bomb_stops_at_the_described_size(tmp_path, size):
    """A terabyte of zeros compresses to a hundred kilobytes; what is unpacked is bounded, whatever the archive says."""
    head = member(size=size).tobuf(tarfile.PAX_FORMAT)
    bomb = subprocess.Popen(["zstd", "-q", "-o", str(tmp_path / "packed")], stdin=subprocess.PIPE)
    assert bomb.stdin is not None
    bomb.stdin.write(head)
    for _mebibyte in range(256):
        bomb.stdin.write(bytes(1 << 20))
    bomb.stdin.close()
    assert bomb.wait() == 0
    if size == 16 << 20:
        remote.unpack(str(tmp_path / "packed"), str(tmp_path / "new"), size, "image x")
    else:
        with pytest.raises(BaleineError, match="there is no file of"):
            remote.unpack(str(tmp_path / "packed"), str(tmp_path / "new"), 16 << 20, "image x")
    assert disk.allocated(str(tmp_path / "new")) <= 17 << 20


def test_the_headers_of_an_archive_are_bounded_too(tmp_path, monkeypatch):
    """A map of holes without an end would fill the memory."""
    monkeypatch.setattr(remote, "OVERHEAD", 1 << 20)
    lines = b"0\n" * (2 << 20)
    made = member(size=len(lines) + 10**9, pax_headers=dict(holes(SIZE)[0].pax_headers))
    content = made.tobuf(tarfile.PAX_FORMAT) + b"9999999999\n" + lines
    with pytest.raises(BaleineError, match="there is more in it than it says"):
        remote.unpack(packed(tmp_path, content), str(tmp_path / "new"), SIZE, "image x")
