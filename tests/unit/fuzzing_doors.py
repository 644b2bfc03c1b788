# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors where texts of others come in. A new parser is a new door here."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from baleine import (
    description,
    enter,
    image,
    manifest,
    neighbours,
    oci_image,
    pid1,
    remote,
    seccomp,
    superblock,
    survey,
    units,
    volume,
)
from baleine.errors import BaleineError
from baleine_cli.parse import parse
from tests.unit.fuzzing_seeds import (
    BRIDGE,
    CONFIG,
    CONTAINER,
    DOCKER,
    GROUP,
    IMAGE,
    LAYER,
    LAYOUT,
    OCI_MANIFEST,
    OLD_CONTAINER,
    PASSWD,
    PROFILE,
    PUBLISHED,
    VOLUME,
    digest,
    formatted,
    index,
    packed,
)
from tests.unit.support import run


class Door(NamedTuple):
    """Where a text comes in: what to begin with, and what takes it."""

    name: str
    seeds: tuple[str, ...]
    take: Callable[[str], object]


class Doors:
    """What takes the texts; each method gets one, and fails if the core does anything but use or refuse it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> str:
        """Write a file of the state directory; returns its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return str(path)

    def recorded(self, kind: str, use: Callable[[manifest.Record], object]) -> Callable[[str], object]:
        def take(text: str) -> None:
            path = self.write(f"{kind}s/web1.manifest", text)
            try:
                record = manifest.read(kind, "web1")
                if record is not None:
                    use(record)
            finally:
                os.unlink(path)

        return take

    def identity(self, text: str) -> None:
        for name in ("passwd", "group"):
            self.write(f"etc/{name}", text)
        for user in ("www-data", "1000", "app:audio", text[:20]):
            with contextlib.suppress(BaleineError):
                found = enter.find_identity(str(self.folder), user, "a tree")
                assert max(found.uid, found.gid, *found.groups) < 65536

    def exit_code(self, text: str) -> None:
        self.write("exit", text)
        code = pid1.exit_code(str(self.folder))
        assert code is None or 0 <= code < 256

    def filtered(self, text: str) -> None:
        profile = seccomp.profile(self.write("profile", text), ("CAP_CHOWN",), "it")
        json.dumps(profile)

    def archive(self, text: str) -> None:
        path = self.folder / "archive.tar"
        path.write_bytes(text.encode("latin-1", "replace"))
        with oci_image.opened_archive(str(path), str(self.folder), 1 << 20, "it") as get:
            oci_image.docker_archive(get, "")

    def filesystem(self, text: str) -> None:
        path = self.folder / "disk"
        path.write_bytes(text.encode("latin-1", "replace"))
        os.truncate(path, 1 << 26)
        superblock.refuse(superblock.read(str(path)), 1 << 26)


class Saved:
    """What docker save or skopeo wrote, one of its files broken; the digests of what lies above that are right."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder / name
        (self.folder / "blobs/sha256").mkdir(parents=True)
        files = {"manifest.json": DOCKER, "config.json": CONFIG, "index.json": LAYOUT, "layer.tar": LAYER}
        for file, content in files.items():
            (self.folder / file).write_text(content)
        for content in (CONFIG, LAYER, OCI_MANIFEST):
            self.put(content)

    def blob(self, text: str) -> Path:
        return self.folder / "blobs" / digest(text).replace(":", "/")

    def put(self, text: str) -> None:
        self.blob(text).write_bytes(text.encode("utf-8", "surrogatepass"))

    def __call__(self, text: str) -> None:
        broken_manifest = self.name == "manifest"
        if broken_manifest:
            self.put(text)
            (self.folder / "index.json").write_text(index(text))
        else:
            (self.folder / self.name).write_bytes(text.encode("utf-8", "surrogatepass"))
        layout = self.name in ("manifest", "index.json")
        read = oci_image.oci_layout if layout else oci_image.docker_archive
        with oci_image.opened_folder(str(self.folder)) as get:
            kept = read(get, "").config
        if broken_manifest and text != OCI_MANIFEST:
            self.blob(text).unlink()
        again = oci_image.read_config(oci_image.write_config(kept, "", ""))
        assert {**again, "architecture": ""} == {**kept, "architecture": ""}


def container(record: manifest.Record) -> None:
    described, interfaces = description.from_record("web1", record)
    again = description.to_record("web1", described, interfaces, record)
    assert description.from_record("web1", again)[0] == described, "written and read back, it is something else"
    survey.surroundings("other")
    survey.free_ids("other")
    survey.facts(run, "web1")
    neighbours.hosts("web1", record, {"other": record})


def picture(record: manifest.Record) -> None:
    image.current("web1")
    image.facts("web1")


def names(text: str) -> None:
    for kind in manifest.KINDS:
        with contextlib.suppress(BaleineError):
            name = units.check_name(text, kind)
            assert "/" not in name
            assert name not in ("", ".", "..")
            assert name.isprintable()
            assert name.isascii()


def published(text: str) -> None:
    found = remote.read(text.encode("utf-8", "surrogatepass"), "web1", "it")
    assert "/" not in found.file
    assert found.size > 0
    assert found.file_size > 0


def each(takers: tuple[Callable[[str, str], object], ...]) -> Callable[[str], object]:
    def take(text: str) -> None:
        for taker in takers:
            with contextlib.suppress(BaleineError):
                taker(text, "it")

    return take


def records(at: Doors) -> list[Door]:
    """The doors of manifests."""
    return [
        Door("manifests: the lines", (CONTAINER, BRIDGE), lambda text: manifest.parse(text, "it")),
        Door("manifests: containers", (CONTAINER, OLD_CONTAINER), at.recorded("container", container)),
        Door("manifests: images", (IMAGE,), at.recorded("image", picture)),
        Door("manifests: bridges", (BRIDGE,), at.recorded("bridge", lambda record: survey.surroundings("web1"))),
        Door("manifests: volumes", (VOLUME,), at.recorded("volume", lambda record: volume.facts("web1"))),
    ]


def requests() -> list[Door]:
    """The doors of what somebody asks for."""
    addresses = (units.parse_address, units.parse_gateway, units.parse_destination, units.parse_mac)
    sizes = (lambda text, _what: units.parse_size(text), units.parse_rate, units.parse_cpus, units.parse_cpuset)
    lines = (
        "container\ncreate\n-i\napache2\n-c\nweb1\n-b\na,b\n-p\nsleep 1",
        "image\nlist\n--format\njson",
        "container\nexec\n-it\n-c\nweb1\n--\nsh",
    )
    written = ("192.168.42.2/24", "fd00::2/64", "02:00:00:00:00:01", "10.1.0.0/16")
    return [
        Door("names", ("web1", "apache2:v1.2", "my_bridge.0-1"), names),
        Door("addresses", written, each(addresses)),
        Door("sizes", ("512M", "1.5G", "10240", "20mbit", "0.5", "0-2,7"), each(sizes)),
        Door(
            "commands",
            ("/usr/sbin/apache2ctl -D 'A B'", 'sh -c "a\\"b"'),
            lambda text: units.split_command(text, "it"),
        ),
        Door("command lines", lines, lambda text: parse(text.split("\n"))),
    ]


def doors(folder: Path) -> list[Door]:
    """Every door, with a state directory of its own for those that read files."""
    at = Doors(folder)
    return [
        *records(at),
        *requests(),
        Door("descriptions of images", (PUBLISHED,), published),
        Door("archives: what docker save wrote", (DOCKER,), Saved(folder, "manifest.json")),
        Door("archives: configurations", (CONFIG,), Saved(folder, "config.json")),
        Door("archives: OCI manifests", (OCI_MANIFEST,), Saved(folder, "manifest")),
        Door("archives: OCI layouts", (LAYOUT,), Saved(folder, "index.json")),
        Door("archives: tar", (packed(),), at.archive),
        Door("filesystems", (formatted(),), at.filesystem),
        Door("seccomp profiles", (PROFILE,), at.filtered),
        Door("trees: passwd and group", (PASSWD, GROUP), at.identity),
        Door("trees: exit codes", ("0", "137\n"), at.exit_code),
    ]
