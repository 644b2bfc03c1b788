# SPDX-License-Identifier: GPL-3.0-or-later
"""How trees are made: of signed packages of both families, with packages kept between builds, for other processors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab import debs, rpms, trees
from tests.lab.host import LabHost

IMAGES = "/var/lib/baleine/images"
CACHE = "/var/cache/baleine/packages"
WONDERFUL = {"suite": debs.SUITE, "mirror": debs.MIRROR, "size": "1G", "packages": []}
RED = {
    "size": "256M",
    "repositories": [{"name": "lab", "baseurl": "file:///srv/rpm/$releasever", "gpgkey": rpms.KEY}],
    "releasever": "9",
    "packages": ["rpm"],
}
ARM = "/proc/sys/fs/binfmt_misc"


@pytest.fixture(scope="module", autouse=True)
def made(lab: LabHost) -> Iterator[None]:
    """What several tests use goes at the end."""
    yield
    for name in ("wonderful", "red"):
        lab.module("baleine_image", name=name, state="absent")


@pytest.fixture(scope="module")
def mirror(lab: LabHost) -> int:
    """The mirror of the suite "wonderful", and how many packages it has."""
    return debs.make_mirror(lab)


@pytest.fixture(scope="module")
def repository(lab: LabHost) -> None:
    """The signed repository of rpm packages."""
    rpms.make_repository(lab)


def left(lab: LabHost) -> str:
    """Everything of Baleine on a host, but for the packages that it keeps."""
    return lab.sh("(find /var/lib/baleine /run/baleine ! -type d; find /mnt -mindepth 1) 2>/dev/null | sort").stdout


def kept(lab: LabHost) -> int:
    """How many packages a host keeps for later builds."""
    return int(lab.sh(f"ls {CACHE}/*/*.deb | wc -l").stdout)


def in_image(lab: LabHost, name: str, request: str) -> str:
    """What debugfs answers about an image, without mounting it."""
    done = lab.run(["debugfs", "-R", request, f"{IMAGES}/{name}"])
    return str(done.stdout + done.stderr)


def refused(lab: LabHost, words: str, hint: str = "", **options: Any) -> None:
    """Ask for an image that cannot be: it is refused in these words, and nothing is left."""
    before = left(lab)
    answer = lab.module("baleine_image", name="refused", expect_failure=True, timeout=300, **options)
    assert words in answer["msg"] and hint in answer["msg"] and "image refused" in answer["msg"], answer["msg"]
    assert left(lab) == before


# ---- Debian's family


def test_a_suite_of_another_key_needs_its_keyring(lab: LabHost, baleine: Any, mirror: int) -> None:
    refused(lab, "is not signed", "Give the keyring", **WONDERFUL)
    refused(lab, "is no file", "Name a file of this host", keyring="/srv/none.gpg", **WONDERFUL)
    wanted = {"name": "wonderful", "keyring": debs.KEYRING, **WONDERFUL}
    predicted = lab.module("baleine_image", check=True, **wanted)
    done = lab.module("baleine_image", timeout=600, **wanted)
    assert done["changed"] and done["diff"] == predicted["diff"]
    assert not lab.module("baleine_image", **wanted)["changed"]
    assert done["image"]["architecture"] == "amd64"
    assert "architecture: amd64\n" in lab.read("/var/lib/baleine/manifeste/images/wonderful.manifest")
    assert "Type: regular" in in_image(lab, "wonderful", "stat /etc/apt/trusted.gpg.d/wonderful.gpg")
    assert "Type: regular" in in_image(lab, "wonderful", "stat /usr/bin/apt-get")  # although it is not required there
    for trace in ("apt/apt.conf.d/99mmdebstrap", "dpkg/dpkg.cfg.d/99mmdebstrap"):
        assert "not found" in in_image(lab, "wonderful", f"stat /etc/{trace}")
    assert 50 < debs.fetched(lab) == kept(lab) <= mirror  # each package once
    assert in_image(lab, "wonderful", "ls -p /var/cache/apt/archives").count(".deb") == 0


def test_packages_are_fetched_once_for_all_builds_even_for_two_at_once(lab: LabHost, mirror: int) -> None:
    """The second of two at once does without the common place, because apt wants it for itself."""
    lab.module("baleine_image", name="wonderful", keyring=debs.KEYRING, timeout=600, **WONDERFUL)
    lab.sh(f"echo spoiled | tee {CACHE}/*/bash_*.deb")  # of another size: fetched again
    before = debs.fetched(lab)
    wanted = {"keyring": debs.KEYRING, "rebuild": "always", **WONDERFUL}
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda name: lab.module("baleine_image", name=name, timeout=600, **wanted), ("wonderful", "other"))
        )
    assert [one["changed"] for one in done] == [True, True]
    assert 0 < debs.fetched(lab) - before <= kept(lab) + 1  # at least one of them fetched but that one
    for name in ("wonderful", "other"):
        assert lab.run(["e2fsck", "-fn", f"{IMAGES}/{name}"]).returncode == 0
        assert in_image(lab, name, "ls -p /var/cache/apt/archives").count(".deb") == 0
    lab.module("baleine_image", name="other", state="absent")


def test_an_unknown_suite_or_mirror_is_reported_and_leaves_nothing(lab: LabHost, baleine: Any, mirror: int) -> None:
    refused(lab, "does not have a Release file", "suite exist", **{**WONDERFUL, "suite": "awful"})
    refused(lab, "Connection refused", "mirror can be reached", **{**WONDERFUL, "mirror": "http://127.0.0.1:9"})
    wanted = {"keyring": debs.KEYRING, **WONDERFUL, "packages": ["no-such-package"]}
    refused(lab, "Unable to locate package no-such-package", "packages", **wanted)


KEPT = """
import os, sys
sys.path.insert(0, "/usr/local/lib/baleine")
from baleine import families, process, rootfs

def use(origin, name="", nested=False):
    with families.kept_packages(origin, "/srv/tree") as kept:
        if name:
            open(f"/srv/tree/{families.ARCHIVES}/{name}", "w").write("x" * 5000)
        inner = use(origin) if nested else None
        return [kept, sorted(os.listdir(f"/srv/tree/{families.ARCHIVES}")), inner]

def work():
    rootfs.unshare(rootfs.CLONE_NEWNS)
    os.makedirs(f"/srv/tree/{families.ARCHIVES}")
    answers = [use("a", "one"), use("b"), use("a", "two", nested=True), os.listdir(f"/srv/tree/{families.ARCHIVES}")]
    os.rename(f"/srv/tree/{families.ARCHIVES}", "/srv/tree/elsewhere")
    os.symlink("/srv/tree/elsewhere", f"/srv/tree/{families.ARCHIVES}")
    answers.append(use("a"))
    families.CACHE_RESERVE = 1 << 60
    answers.append(use("c"))
    return answers

import json
print(json.dumps([process.in_child(work, "it"), families.forget_packages(8192), families.forget_packages(0)]))
"""


def test_packages_are_cached_per_mirror_and_the_oldest_are_removed_first(
    lab_factory: Any, install_baleine: Any
) -> None:
    """A tree whose directory is a link elsewhere, and a host without room, do without."""
    host = lab_factory("keeper")
    install_baleine(host)
    host.write("/srv/kept.py", KEPT)
    answers, some, rest = json.loads(host.run(["/usr/bin/python3", "-IS", "/srv/kept.py"]).stdout)
    assert answers == [
        [True, ["one"], None],
        [True, [], None],
        [True, ["one", "two"], [False, ["one", "two"], None]],
        [],
        [False, [], None],
        [False, [], None],
    ]
    assert (some, rest) == (8192, 8192)
    host.sh(f"rm -r /srv/tree /srv/kept.py; mkdir -p {CACHE}/some; head -c 3M /dev/urandom > {CACHE}/some/a.deb")
    prune = ["/usr/local/bin/baleine", "image", "prune", "--packages"]
    assert [host.run([*prune, *more]).stdout for more in (["--dry-run"], [], [])] == ["3M\n", "3M\n", "0M\n"]


# ---- Red Hat's family


def test_a_tree_of_signed_rpm_packages_runs_and_its_rpm_lists_them(
    lab: LabHost, baleine: Any, repository: None
) -> None:
    wanted = {"name": "red", **RED}
    predicted = lab.module("baleine_image", check=True, **wanted)
    done = lab.module("baleine_image", timeout=300, **wanted)
    assert done["changed"] and done["diff"] == predicted["diff"] and done["image"]["architecture"] == "amd64"
    assert not lab.module("baleine_image", **wanted)["changed"]
    ran = baleine("container", "run", "--rm", "-i", "red", "--", "rpm", "-qa", "--qf", "%{name}\\n")
    assert set(ran.stdout.split()) == {*rpms.PACKAGES, "gpg-pubkey"}
    verified = baleine("container", "run", "--rm", "-i", "red", "--", "rpm", "-V", "bash", "glibc", "filesystem", "rpm")
    assert verified.stdout == ""
    mark = baleine("container", "run", "--rm", "-i", "red", "--", "cat", "/var/lib/post-was-here")
    assert mark.stdout == "0\n"  # a scriptlet, as root of the tree
    for trace in ("/var/lib/rpm.new", "/var/cache/dnf", "/var/log/dnf.log", "/var/log/hawkey.log", "/root/.rpmdb"):
        assert "not found" in in_image(lab, "red", f"stat {trace}"), trace
    assert not lab.path("/root/.rpmdb").exists() and not lab.path("/usr/lib/sysimage").exists()


def test_an_rpm_package_without_the_right_signature_is_refused(lab: LabHost, baleine: Any, repository: None) -> None:
    refused(lab, "unsigned-1.0-1.x86_64.rpm is not signed", "signed with", **{**RED, "packages": [rpms.UNSIGNED]})
    refused(lab, "Failing package is: foreign-1.0-1", "signed with", **{**RED, "packages": [rpms.FOREIGN]})
    refused(lab, "Unable to find a match: nosuch", "packages", **{**RED, "packages": ["nosuch"]})
    refused(lab, "Failed to download metadata for repo 'lab'", "mirror", **{**RED, "releasever": "8"})
    refused(lab, "more space needed", "too small", **{**RED, "size": "16M"})
    said = baleine("image", "create", "-i", "refused", "--repository", "lab=file:///srv/rpm/9", check=False)
    assert "repository lab: gpgkey '' is none" in said.stderr


def test_a_full_host_is_distinguished_from_an_image_that_is_too_small(
    lab: LabHost, baleine: Any, repository: None
) -> None:
    lab.sh("mkdir /srv/small; mount -t tmpfs -o size=8M small /srv/small")
    words = ("--repository", "lab=file:///srv/rpm/9", "--gpgkey", rpms.KEY, "--packages", "rpm", "-r", "/srv/small")
    told = baleine("image", "create", "-i", "refused", "-s", "256M", *words, check=False)
    assert told.returncode == 1 and "Make room on the filesystem of /srv/small" in told.stderr, told.stderr
    assert lab.sh("ls -A /srv/small").stdout == ""
    lab.sh("umount /srv/small; rmdir /srv/small")
    assert "refused" not in left(lab)


def test_packages_for_a_tree_without_a_package_manager_are_refused(lab: LabHost, tiny: str) -> None:
    refused(lab, "neither apt-get nor dnf", "files and commands", from_image="tiny", packages=["hello"])


# ---- other processors


@pytest.fixture
def arm(lab: LabHost, tiny: str) -> Iterator[str]:
    """A tiny image for arm64."""
    trees.tiny_image(lab, "arm")
    lab.push(debs.arm_busybox(), "/srv/busybox")
    for request in ("rm /bin/busybox", "write /srv/busybox /bin/busybox", "sif /bin/busybox mode 0100755"):
        lab.run(["debugfs", "-w", "-R", request, f"{IMAGES}/arm"])
    yield "arm"
    lab.sh("rm /srv/busybox")


@pytest.fixture
def emulator(lab: LabHost) -> Iterator[Any]:
    """emulate(): let the kernel run programs for arm64 by qemu. It has one list for all its hosts: what is added goes."""
    entry = f"{ARM}/qemu-aarch64"
    added = []

    def emulate() -> None:
        lab.run(["mount", "-t", "binfmt_misc", "binfmt_misc", ARM])
        if not lab.path(entry).exists():
            magic = "".join(f"\\x{byte:02x}" for byte in b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00")
            mask = "".join(f"\\x{byte:02x}" for byte in b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff")
            lab.write(f"{ARM}/register", f":qemu-aarch64:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:OCF")
            added.append(entry)

    yield emulate
    for path in added:
        lab.write(path, "-1")
    lab.run(["umount", ARM], check=False)


def test_a_tree_for_another_processor_runs_only_if_the_kernel_has_an_emulator(
    lab: LabHost, baleine: Any, arm: str, emulator: Any
) -> None:
    run = ("container", "run", "--rm", "-i", arm, "--", "uname", "-m")
    told = baleine(*run, check=False)
    assert told.returncode == 125 and "its programs are for arm64, and this host (amd64) cannot run them" in told.stderr
    assert "qemu-user-static" in told.stderr
    assert json.loads(baleine("container", "list", "-a", "--format", "json").stdout) == []
    refused(lab, "its programs are for arm64", "qemu-user-static", **{**WONDERFUL, "architecture": "arm64"})
    emulator()
    assert baleine(*run).stdout == "aarch64\n"
    derived = lab.module("baleine_image", name="arm2", from_image=arm, commands=["uname -m > /said"])
    assert derived["image"]["architecture"] == "arm64"
    assert "aarch64" in in_image(lab, "arm2", "cat /said")
    lab.module("baleine_image", name="arm2", state="absent")


# ---- from a directory, an archive or a container


def test_an_image_of_a_directory_or_archive_is_made_again_if_its_source_changed(lab: LabHost) -> None:
    lab.sh("mkdir -p /srv/tree/etc /srv/tree/bin; cp /bin/busybox /srv/tree/bin/sh; echo one > /srv/tree/etc/mark")
    pack = "tar -C /srv/tree -cf /srv/tree.tar ."
    lab.sh(pack)
    for source in ("dir:/srv/tree", "tar:/srv/tree.tar"):
        wanted = {"name": "found", "source": source, "size": "32M", "files": [{"path": "/etc/more"}]}
        assert lab.module("baleine_image", rebuild="always", **wanted)["image"]["architecture"] == "amd64"
        lab.sh(f"touch /srv/elsewhere; {pack}")
        assert not lab.module("baleine_image", **wanted)["changed"]
        lab.sh(f"echo two >> /srv/tree/etc/mark; {pack}")
        changed = lab.module("baleine_image", **wanted)
        assert changed["changed"] and "source" in changed["actions"][0]["reason"]
        assert "two" in in_image(lab, "found", "cat /etc/mark")
    lab.module("baleine_image", name="found", state="absent")
    lab.sh("rm -r /srv/tree /srv/tree.tar /srv/elsewhere")


OF_SOURCE = {"name": "kept:1", "from_container": "source"}
SOURCE = {"name": "source", "image": "tiny", "command": ["sleep", "1000"]}


@pytest.fixture
def source(lab: LabHost, baleine: Any, tiny: str) -> Iterator[None]:
    """A container that has written /mark; it goes at the end, with the images made of it."""
    lab.module("baleine_container", **SOURCE)
    baleine("container", "exec", "source", "--", "touch", "/mark")
    yield
    lab.module("baleine_container", name="source", state="absent")
    for name in ("kept:1", "other"):
        lab.module("baleine_image", name=name, state="absent")


def has_file(host: LabHost, path: str) -> bool:
    """Whether the image kept:1 has a regular file of that path."""
    return "Type: regular" in in_image(host, "kept:1", f"stat {path}")


def test_an_image_of_a_missing_container_is_predicted_with_a_warning_and_then_refused(lab: LabHost, tiny: str) -> None:
    missing = lab.module("baleine_image", check=True, **OF_SOURCE)
    assert missing["changed"]
    assert "there is none" in str(missing["warnings"])
    assert "there is none" in lab.module("baleine_image", expect_failure=True, **OF_SOURCE)["msg"]


def test_an_image_of_a_container_is_predicted_and_made_once(lab: LabHost, baleine: Any, source: None) -> None:
    predicted = lab.module("baleine_image", check=True, **OF_SOURCE)
    done = lab.module("baleine_image", **OF_SOURCE)
    assert (done["changed"], done["diff"]) == (True, predicted["diff"])
    assert has_file(lab, "/mark")
    baleine("container", "exec", "source", "--", "touch", "/later")
    assert not lab.module("baleine_image", **OF_SOURCE)["changed"]  # a container writes all the time
    assert lab.module("baleine_image", rebuild="always", **OF_SOURCE)["changed"]
    assert has_file(lab, "/later")


def test_an_image_of_a_container_follows_the_image_of_its_container(lab: LabHost, baleine: Any, source: None) -> None:
    lab.module("baleine_image", **OF_SOURCE)
    lab.module("baleine_container", name="source", state="absent")
    assert not lab.module("baleine_image", **OF_SOURCE)["changed"]  # the container may go
    lab.module("baleine_image", name="other", from_image="tiny", files=[{"path": "/other"}])
    lab.module("baleine_container", **{**SOURCE, "image": "other"})
    assert "source" in lab.module("baleine_image", **OF_SOURCE)["diff"]["after"]
    assert has_file(lab, "/other")
    baleine("container", "commit", "source", "-i", "kept:1", "--force")
    assert not lab.module("baleine_image", **OF_SOURCE)["changed"]  # the command line makes the same
