# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks into a tree that is not trusted: no link in it leads out."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from baleine import rootfs
from baleine.errors import BaleineError


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "secret").write_text("outside")
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "file").write_text("inside")
    return tree


LINKS: dict[str, tuple[str, Any]] = {
    "relative inside": ("file", "inside"),
    "absolute inside": ("/etc/file", "inside"),
    "climbing, but the root is the top": ("../../../../etc/file", "inside"),
    "absolute outside": ("{outside}/secret", None),
    "climbing outside": ("../../secret", None),
    "climbing far outside": ("../" * 40 + "{outside}/secret", None),
    "loop": ("link", None),
    "nowhere": ("none", None),
    "a process's root": ("/proc/self/root{outside}/secret", None),
}


@pytest.mark.parametrize(("target", "text"), LINKS.values(), ids=LINKS.keys())
def test_a_link_is_followed_as_if_the_tree_were_the_root(target, text, root):
    (root / "etc" / "link").symlink_to(target.format(outside=root.parent))
    assert rootfs.read_inside(str(root), "etc/link") == text


@pytest.mark.parametrize("path", ["etc/file", "/etc/file", "../etc/file", "../../../etc/file", "etc/../etc/file"])
def test_a_path_is_resolved_inside_the_tree(path, root):
    assert rootfs.read_inside(str(root), path) == "inside"


@pytest.mark.parametrize("path", ["../secret", "/../secret", "etc/../../secret"])
def test_a_path_cannot_leave_the_tree(path, root):
    assert rootfs.read_inside(str(root), path) is None


def test_a_directory_that_links_outside_the_tree_is_not_followed(root):
    (root / "var").symlink_to(root.parent)
    assert rootfs.read_inside(str(root), "var/secret") is None


@pytest.mark.parametrize("kind", ["fifo", "directory", "socket"])
def test_only_a_regular_file_is_read(kind, root, monkeypatch):
    path = root / "etc" / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        import socket

        monkeypatch.chdir(root / "etc")  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x")
    assert rootfs.read_inside(str(root), "etc/x") is None


def test_a_file_is_read_up_to_a_limit_with_any_bytes(root):
    (root / "etc" / "file").write_bytes(b"\xff" * 100)
    assert rootfs.read_inside(str(root), "etc/file", limit=10) == "\ufffd" * 10
    with open(root / "etc" / "file", "wb") as stream:
        stream.truncate(1 << 40)
    assert len(rootfs.read_inside(str(root), "etc/file") or "") == 1 << 20


def test_every_link_is_an_error_if_none_is_allowed(root):
    (root / "link").symlink_to("etc")
    os.close(rootfs.open_inside(str(root), "link/file"))
    with pytest.raises(OSError) as caught:
        rootfs.open_inside(str(root), "link/file", links=False)
    assert caught.value.errno == errno.ELOOP


def test_an_opened_file_is_not_inherited_by_other_programs(root):
    descriptor = rootfs.open_inside(str(root), "etc/file")
    try:
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_a_file_can_be_created_inside_the_tree(root):
    os.close(rootfs.open_inside(str(root), "/etc/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    assert (root / "etc" / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("links", "path", "expected"),
    [
        ({}, "/etc/hosts", "/etc/hosts"),
        ({}, "/none/at/all", "/none/at/all"),
        ({"data": "/srv/host"}, "/data/x", "/srv/host/x"),
        ({"data": "../../../../srv"}, "/data", "/srv"),
        ({"etc/hosts": "../run/hosts"}, "/etc/hosts", "/run/hosts"),
        ({"a": "b", "b": "etc/../c", "c": "."}, "/a/d", "/d"),
        ({"data": "/proc/self/fd"}, "/data", "/proc/self/fd"),
        ({"data": "vol/../../proc"}, "/data", "/proc"),
        ({"var": "vol/sub", "vol/sub": "/proc"}, "/var/x", "/vol/sub/x"),  # below a mount the tree says nothing
        ({"var": "vol/../../etc"}, "/var", "/etc"),
    ],
)
def test_every_link_of_a_tree_is_resolved_inside_it(links, path, expected, root):
    (root / "vol").mkdir()
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert rootfs.real_inside(str(root), path, ["/vol"]) == expected


def test_a_loop_of_links_is_an_error(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        rootfs.real_inside(str(root), "/a/x")


def test_real_directories_are_accepted(root):
    (root / "dev").mkdir()
    rootfs.check_real_directories(str(root), ("etc", "dev"), "container c")


@pytest.mark.parametrize("kind", ["missing", "file", "fifo", "link inside", "link outside", "loop", "dangling"])
def test_anything_but_a_directory_is_refused_by_name(kind, root):
    path = root / "dev"
    make: dict[str, Any] = {
        "missing": lambda: None,
        "file": path.touch,
        "fifo": lambda: os.mkfifo(path),
        "link inside": lambda: path.symlink_to("etc"),
        "link outside": lambda: path.symlink_to("/tmp"),
        "loop": lambda: path.symlink_to("dev"),
        "dangling": lambda: path.symlink_to("none"),
    }
    make[kind]()
    with pytest.raises(BaleineError, match="container c: /dev of the tree is not a real directory") as caught:
        rootfs.check_real_directories(str(root), ("etc", "dev"), "container c")
    assert "/dev" in caught.value.hint


def test_nothing_is_mounted_on_a_plain_directory(tmp_path):
    assert rootfs.is_mounted("/proc")
    assert not rootfs.is_mounted(str(tmp_path))
    assert not rootfs.is_mounted(f"{tmp_path}/none")
