# SPDX-License-Identifier: GPL-3.0-or-later
"""ext4 files from elsewhere, put where images and disks are: none is mounted before it is known to be harmless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.support import SLEEP
from tests.lab.host import LabHost

LIBRARY = "/var/lib/baleine"
IMAGE = f"{LIBRARY}/images/evil"
#: What is done to a sound file; $F is it, $G a copy of it. tests/unit/test_superblock.py holds the whole list.
PANIC = "tune2fs -e panic -E mount_opts=data=journal $F"
JOURNAL = (
    "tune2fs -e panic $G; dd if=$G of=$F.block bs=4096 count=1; printf 'jo\\njw -b 0 %s\\njc\\n' $F.block > $F.do; "
    "debugfs -w -f $F.do $F"
)
HOSTILE = {
    "empty": (": > $F", "no ext4 filesystem"),
    "a hole": ("truncate -s 0 $F; truncate -s 64M $F", "no ext4 filesystem"),
    "text": ("cat /etc/services > $F", "no ext4 filesystem"),
    "XFS": ("truncate -s 0 $F; truncate -s 320M $F; mkfs.xfs -q $F", "no ext4 filesystem"),
    "swap": ("truncate -s 0 $F; truncate -s 64M $F; mkswap $F", "no ext4 filesystem"),
    "ext2": ("mke2fs -q -F -t ext2 $F", "ext2 or ext3"),
    "cut short": ("truncate -s 60M $F", "larger than its file"),
    "quota": ("tune2fs -O quota $F", "not taken: quota"),
    "noise": ("dd if=/dev/urandom of=$F bs=4096 seek=1 count=8 conv=notrunc", "e2fsck finds errors"),
    "journal that folds names": (
        "tune2fs -O casefold $G; dd if=$G of=$F.block bs=4096 count=1; "
        "printf 'jo\\njw -b 0 %s\\njc\\n' $F.block > $F.do; debugfs -w -f $F.do $F",
        "not taken: casefold",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.rebase()


@pytest.fixture
def evil(lab: LabHost, baleine: Any) -> Iterator[Any]:
    """evil(script): the image ``evil``, a file of the older scripts to which that was done."""

    def put(script: str, path: str = IMAGE) -> None:
        lab.sh(
            f"F={path}; G=/srv/other; cp {LIBRARY}/images/tiny $F; cp $F $G; ( {script} ) >/dev/null 2>&1; "
            f"rm -f $G $F.block $F.do; "
            f"printf 'nom_image: evil\\ntaille: 64\\nchemin: {LIBRARY}/images\\n' > {LIBRARY}/manifeste/images/evil.manifest"
        )

    yield put
    lab.module("baleine_container", name="hapless", state="absent")
    baleine("image", "umount", "evil", check=False)
    baleine("image", "remove", "-f", "evil")


def files(lab: LabHost) -> str:
    return lab.sh(f"find {LIBRARY} -type f | sort; ls /mnt; losetup -nlO BACK-FILE | grep images/.*evil || true").stdout


@pytest.mark.parametrize(("script", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_an_untrusted_image_is_refused_by_every_command_and_leaves_nothing(
    lab: LabHost, baleine: Any, evil: Any, script: str, words: str
) -> None:
    evil(script)
    before = files(lab)
    for command in (
        ["container", "create", "-i", "evil", "-c", "hapless", "-p", "true"],
        ["image", "mount", "evil"],
        ["image", "tag", "evil", "--target", "evil:2"],
        ["image", "create", "-i", "evil2", "--from-image", "evil"],
    ):
        done = baleine(*command, check=False)
        assert done.returncode == 1 and words in done.stderr, done
        assert files(lab) == before


@pytest.mark.parametrize("script", [PANIC, JOURNAL], ids=["superblock", "journal"])
def test_settings_that_would_panic_the_host_are_removed_from_every_copy(
    lab: LabHost, baleine: Any, evil: Any, script: str
) -> None:
    evil(script)
    lab.module("baleine_container", name="hapless", image="evil", command=SLEEP)
    tree = baleine("image", "mount", "evil").stdout.strip()
    assert "errors=panic" not in lab.sh(f"grep {tree} /proc/mounts").stdout
    baleine("image", "umount", "evil")
    baleine("image", "tag", "evil", "--target", "evil:2")
    for path in (f"{LIBRARY}/containers/hapless", f"{LIBRARY}/images/evil:2", IMAGE):
        shown = lab.run(["dumpe2fs", "-h", path]).stdout
        assert "Errors behavior:          Panic" not in shown and "data=journal" not in shown, path
    found = json.loads(baleine("image", "list", "--format", "json").stdout)
    assert len({one["digest"] for one in found if one["name"].startswith("evil")}) == 1
    baleine("image", "remove", "evil:2")


def test_an_image_changed_by_hand_is_checked_again(lab: LabHost, baleine: Any, evil: Any) -> None:
    evil(":")
    lab.module("baleine_container", name="hapless", image="evil", command=SLEEP, state="present")
    lab.module("baleine_container", name="hapless", state="absent")
    baleine("image", "mount", "evil")
    baleine("image", "umount", "evil")  # now its digest is known
    lab.run(["dd", "if=/dev/urandom", f"of={IMAGE}", "bs=4096", "seek=1", "count=8", "conv=notrunc"])
    done = baleine("container", "create", "-i", "evil", "-c", "hapless", "-p", "true", check=False)
    assert done.returncode == 1 and "image evil: e2fsck finds errors" in done.stderr


def test_a_disk_of_the_old_scripts_is_checked_before_it_is_mounted(lab: LabHost, baleine: Any, evil: Any) -> None:
    lab.module("baleine_container", name="hapless", image="tiny", command=SLEEP, state="present")
    evil("tune2fs -O quota $F", f"{LIBRARY}/containers/hapless")
    lab.sh(f"cp {LIBRARY}/images/tiny {IMAGE}")
    for command in (["start", "hapless"], ["mount", "hapless"]):
        done = baleine("container", *command, check=False)
        assert done.returncode == 1 and "not taken: quota" in done.stderr, done
    assert "hapless" not in lab.sh("losetup -nlO BACK-FILE").stdout


def test_two_disks_with_the_same_uuid_can_be_mounted_at_once(lab: LabHost, baleine: Any, evil: Any) -> None:
    lab.module("baleine_container", name="hapless", image="tiny", command=SLEEP)
    tree = baleine("image", "mount", "tiny").stdout.strip()  # the same UUID, mounted at the same time
    assert lab.sh(f"ls {tree}").stdout
    baleine("image", "umount", "tiny")
