# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile and damaged archives: what is refused, and that links stay inside the tree."""

from __future__ import annotations

import gzip
import json
import tarfile
from typing import Any

import pytest

from tests.integration.archives import WORK, archive, tar_of
from tests.integration.hostile_archives import HOSTILE, REFUSED
from tests.integration.listing import IMAGES, listing
from tests.lab.host import LabHost


@pytest.fixture(scope="module", autouse=True)
def work(lab: LabHost) -> None:
    """Baleine, and a directory for archives."""
    lab.install_baleine()
    lab.sh(f"mkdir -p {WORK} {IMAGES} /var/lib/baleine/manifeste/images")


@pytest.fixture(scope="module")
def refused(lab: LabHost) -> dict[str, Any]:
    """What each hostile archive was told, and what it left, by its number."""
    folder = lab.path(f"{WORK}/hostile")
    folder.mkdir()
    for number, (kind, make, _words) in enumerate(HOSTILE.values()):
        (folder / f"{number:03}.{kind}").write_bytes(make())
    answers: dict[str, Any] = json.loads(
        lab.run(["python3", "-", f"{WORK}/hostile"], input=REFUSED, timeout=1800).stdout
    )
    return answers


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(refused: dict[str, Any], name: str) -> None:
    said, left = refused[f"{list(HOSTILE).index(name):03}"]
    assert said.startswith("BaleineError: image hostile: ") and HOSTILE[name][2] in said, said
    assert "bug" not in said and left == []


def test_a_source_that_is_not_a_file_is_refused_without_waiting(lab: LabHost) -> None:
    lab.sh(f"mkfifo {WORK}/fifo")
    for source in ("tar", "docker-archive"):
        refused = lab.module("baleine_image", name="fifo", source=f"{source}:{WORK}/fifo", expect_failure=True)
        assert "no regular file" in refused["msg"]


def test_links_and_absolute_names_stay_inside_the_tree(lab: LabHost) -> None:
    lab.write("/etc/victim", "mine")
    members = tar_of(
        ("/etc/absolute", {"data": b"in"}),
        ("out", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), ("out/victim", {"data": b"no"}),
        ("up", {"type": tarfile.SYMTYPE, "linkname": "../../../../../../../etc"}), ("up/climbed", {"data": b"no"}),
        ("etc/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/victim"}), ("etc/link", {"data": b"replaced"}),
        ("dev/sda", {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0, "mode": 0o666}),
        ("dir", {"type": tarfile.DIRTYPE, "mode": 0o755}), ("dir/x", {}), ("dir", {"data": b"a file now"}),
    )  # fmt: skip
    lab.path(f"{WORK}/links.tar").write_bytes(members)
    lab.module("baleine_image", name="links", source=f"tar:{WORK}/links.tar", size="32M")
    assert lab.read("/etc/victim") == "mine" and not lab.path("/etc/climbed").exists()
    found = {line.split()[0]: line.split()[1:] for line in listing(lab, "links")}
    assert {"etc/absolute", "etc/victim", "etc/climbed", "etc/link", "dev/sda", "dir"} <= set(found)
    assert found["etc/link"][3] == "8" and found["dir"][3] == "10" and "dir/x" not in found
    lab.module("baleine_image", name="links", state="absent")


def test_links_of_lower_layers_stay_inside_the_tree(lab: LabHost) -> None:
    lab.write("/etc/victim", "mine")
    lower = tar_of(
        ("out", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), ("etc", {"type": tarfile.DIRTYPE, "mode": 0o755}),
        ("etc/victim", {"data": b"theirs"}), ("etc/stays", {}), ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/victim"}),
        ("full/a", {}), ("full/b/c", {}), ("same/x", {}), (".wh.none", {}),
    )  # fmt: skip
    upper = tar_of(
        ("out/.wh.victim", {}), ("link", {"data": b"a file now"}), ("full/new", {}), ("full/.wh..wh..opq", {}),
        ("full/b/d", {}), ("same/x", {"data": b"new"}), ("same/.wh.x", {}),
    )  # fmt: skip
    lab.path(f"{WORK}/layers.tar").write_bytes(archive(lower, upper, pack=gzip.compress))
    lab.module(
        "baleine_image", name="layers", source=f"oci-archive:{WORK}/layers.tar:x:1", size="32M", expect_failure=True
    )
    lab.module("baleine_image", name="layers", source=f"docker-archive:{WORK}/layers.tar:x:1", size="32M")
    assert lab.read("/etc/victim") == "mine"
    found = {line.split()[0]: line.split()[1:] for line in listing(lab, "layers")}
    inside = {name for name in found if name.startswith(("etc", "full", "same", "link"))}
    assert inside == {"etc", "etc/stays", "full", "full/new", "full/b", "full/b/d", "same", "same/x", "link"}
    assert found["link"][3] == "10" and found["same/x"][3] == "3"
    lab.module("baleine_image", name="layers", state="absent")
