# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of an image side by side: named, compared, gone back to, pruned; one spelling as good as the other."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.integration.support import SLEEP, inspected, refused
from tests.lab.host import LabHost
from tests.lab.run import wait_for

IMAGES = "/var/lib/baleine/images"


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: LabHost, tiny: str, baleine: Any) -> None:
    for version in ("1", "2"):
        lab.module("baleine_image", name=f"web:{version}", from_image="tiny", commands=[f"echo {version} > /version"])
    lab.rebase()


@pytest.fixture
def latest(lab: LabHost, baleine: Any) -> Any:
    """The image web is web:2, until the end of the test."""
    baleine("image", "tag", "web:2", "--target", "web", "--force")
    yield
    for name in ("web1", "web2"):
        lab.module("baleine_container", name=name, state="absent")
    for name in lab.sh(f"ls {IMAGES}").stdout.split():
        if name not in ("tiny", "web:1", "web:2"):
            baleine("image", "remove", name)


def version(baleine: Any, name: str) -> str:
    return str(baleine("container", "exec", "-c", name, "--", "cat", "/version").stdout.strip())


def test_a_tag_is_a_copy_of_the_same_digest_and_recipe(lab: LabHost, baleine: Any, latest: None) -> None:
    made = json.loads(baleine("image", "tag", "-i", "web:1", "--target", "web:good", "--format", "json").stdout)[0]
    one, good = inspected(baleine, "image", "web:1"), inspected(baleine, "image", "web:good")
    assert made == good and good["path"] == f"{IMAGES}/web:good"
    assert {key: one[key] for key in ("digest", "recipe", "size")} == {
        key: good[key] for key in ("digest", "recipe", "size")
    }
    assert good["copy"]["method"] in ("reflink", "extents") and good["copy"]["bytes"] > 0
    before = lab.sh(f"stat -c %i {IMAGES}/web:good").stdout
    baleine("image", "tag", "-i", "web:1", "--target", "web:good")  # it is that already
    assert lab.sh(f"stat -c %i {IMAGES}/web:good").stdout == before
    assert "web:good: it exists already" in refused(baleine, "image", "tag", "web:2", "--target", "web:good")
    assert "its name already" in refused(baleine, "image", "tag", "web", "--target", "web:latest")
    assert "image no:1: there is none" in refused(baleine, "image", "tag", "no:1", "--target", "no:2")
    request = {"name": "web:good", "from_image": "tiny", "commands": ["echo 1 > /version"]}
    assert not lab.module("baleine_image", **request)["changed"]  # the task that describes that version


def test_a_tag_of_an_old_or_edited_image_records_its_true_digest(lab: LabHost, baleine: Any, latest: None) -> None:
    baleine("image", "tag", "tiny", "--target", "tiny:old")
    assert inspected(baleine, "image", "tiny:old")["digest"].startswith("sha256:")
    lab.run(["debugfs", "-w", "-R", "mkdir /sneaked", f"{IMAGES}/web"])
    baleine("image", "tag", "web", "--target", "web:edited")
    edited, now = inspected(baleine, "image", "web:edited"), inspected(baleine, "image", "web")
    assert edited["edited"] and now["edited"] and edited["digest"] != now["digest"]  # what it is, what was recorded
    assert baleine("image", "diff", "web:2", "web:edited").stdout == "A /sneaked\n"


def test_a_killed_tag_leaves_no_image_and_keeps_the_old_one(lab: LabHost, baleine: Any, latest: None) -> None:
    kept = inspected(baleine, "image", "web")
    for target, flags in (("web:new", []), ("web", ["--force"])):
        words = ["baleine", "image", "tag", "web:1", "--target", target, *flags]
        done = lab.run(words, env={"BALEINE_FAULT": "before build"}, check=False)
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert inspected(baleine, "image", "web") == kept
    assert "web:new" not in baleine("image", "list", "-q").stdout
    baleine("image", "tag", "web:1", "--target", "web:new")


def test_latest_can_be_left_out_in_every_command_and_option_of_containers(
    lab: LabHost, baleine: Any, latest: None
) -> None:
    name, full = "web", "web:latest"
    lab.module("baleine_container", name="web1", image=full, command=SLEEP)
    assert not lab.module("baleine_container", name="web1", image=name, command=SLEEP)["changed"]
    words = ("list", "--filter", f"image={full}", "--format", "json")
    assert [one["image"] for one in json.loads(baleine("container", *words).stdout)] == [name]
    assert "containers use it: web1" in refused(baleine, "image", "remove", full)
    # the image exists, so it is not made
    baleine("container", "create", "--create-image", "-i", full, "-c", "web2", "-p", "sleep 1000")
    assert inspected(baleine, "container", "web2")["image"] == name
    baleine("container", "run", "--rm", "-i", full, "--", "true")


def test_latest_can_be_left_out_in_every_command_and_option_of_images(lab: LabHost, baleine: Any, latest: None) -> None:
    name, full = "web", "web:latest"
    assert inspected(baleine, "image", full) == inspected(baleine, "image", name)
    made = lab.module("baleine_image", name="other:latest", from_image=full)
    assert made["image"]["name"] == "other"
    assert not lab.module("baleine_image", name="other", from_image=name)["changed"]
    baleine("image", "tag", "other:latest", "--target", "third:latest")
    lab.module("baleine_container", name="web1", image=full, command=SLEEP)
    baleine("container", "commit", "web1", "-i", "fourth:latest")
    tree = baleine("image", "mount", "third:latest").stdout.strip()
    assert tree == "/mnt/baleine-images/third"
    baleine("image", "umount", "third:latest")
    found = lab.module("baleine_image_info", names=["third:latest"])["images"][0]
    assert (found["name"], found["exists"]) == ("third", True)
    names = ["fourth", "other", "third", "tiny", "web", "web:1", "web:2"]
    assert lab.sh(f"ls {IMAGES}").stdout.split() == names
    assert lab.module("baleine_image", name="other:latest", state="absent")["changed"]


RECREATE = {"name": "web1", "image": "web", "command": SLEEP, "recreate": "on_change"}


@pytest.fixture
def digests(lab: LabHost, baleine: Any, latest: None) -> Any:
    """The digests of web:1 and web:2; the container web1 runs the image web, which is web:2."""
    lab.module("baleine_container", name="web1", image="web", command=SLEEP)
    yield [inspected(baleine, "image", name)["digest"] for name in ("web:1", "web:2")]
    lab.module("baleine_container", name="web1", state="absent")
    for disk in lab.sh("ls /var/lib/baleine/containers").stdout.split():
        baleine("container", "remove", disk)


def test_a_container_shows_the_digest_of_its_image(baleine: Any, digests: list[str]) -> None:
    assert inspected(baleine, "container", "web1")["image_digest"] == digests[1]
    assert version(baleine, "web1") == "2"


def test_a_container_is_outdated_if_its_tag_moved(baleine: Any, digests: list[str]) -> None:
    said = baleine("image", "tag", "web:1", "--target", "web", "--force").stderr
    assert "containers of its older content are not changed: web1" in said
    now = inspected(baleine, "container", "web1")
    assert (now["image_outdated"], now["image_digest"]) == (True, digests[1])
    assert "web (outdated)" in baleine("container", "list").stdout
    assert version(baleine, "web1") == "2"


def test_a_recreate_takes_the_new_content_of_a_tag(lab: LabHost, baleine: Any, digests: list[str]) -> None:
    baleine("image", "tag", "web:1", "--target", "web", "--force")
    assert lab.module("baleine_container", check=True, **RECREATE)["changed"]
    done = lab.module("baleine_container", **RECREATE)["container"]
    assert (done["image_digest"], done["image_outdated"]) == (digests[0], False)
    assert version(baleine, "web1") == "1"


def test_a_container_returns_to_an_older_version_by_its_tag(lab: LabHost, baleine: Any, digests: list[str]) -> None:
    done = lab.module("baleine_container", **{**RECREATE, "image": "web:1"})["container"]
    assert (done["image"], done["image_digest"]) == ("web:1", digests[0])
    assert version(baleine, "web1") == "1"
    assert done["copy"]["method"] in ("reflink", "extents")
    assert done["copy"]["bytes"] > 0
    assert done["copy"]["seconds"] > 0


def test_create_prints_the_container_and_its_copy_method_as_json(baleine: Any, latest: None) -> None:
    words = ["container", "create", "-i", "web:1", "-c", "web1", "--no-start", "-p", "true", "--format", "json"]
    made = json.loads(baleine(*words).stdout)[0]
    assert made["state"] == "stopped" and set(made["copy"]) == {"method", "seconds", "bytes"}
    assert made == inspected(baleine, "container", "web1")
    done = baleine("container", "create", "-i", "web:1", "-c", "web2", "-p", "true", "--format", "yaml", check=False)
    assert done.returncode == 2 and "web2" not in baleine("container", "list", "-aq").stdout


CHANGES = """
echo new > /added; mkdir -p /dir/sub; echo x > /dir/sub/file
rm /version; rm -rf /www; chmod 700 /srv; chown 33 /home/app; rm /etc/hostname; ln -s hosts /etc/hostname
printf 'root:y' | dd of=/etc/passwd conv=notrunc 2>/dev/null; touch -d 2001-01-01 /etc/group
rm -rf /var/tmp; echo file > /var/tmp
"""


def test_a_diff_of_two_versions_lists_exactly_each_kind_of_change(lab: LabHost, baleine: Any, latest: None) -> None:
    assert baleine("image", "diff", "web:2", "web").stdout == ""
    lab.module("baleine_image", name="web:3", from_image="web:2", size="96M", commands=[CHANGES])
    tree = baleine("image", "mount", "web:3").stdout.strip()
    lab.sh(f"setfattr -n user.note -v hi {tree}/etc/group 2>/dev/null || "
           f"python3 -c \"import os; os.setxattr('{tree}/etc/group', 'user.note', b'hi')\"; "
           f"mknod {tree}/srv/node c 1 3; touch \"{tree}/$(printf 'odd\\nname')\"")  # fmt: skip
    baleine("image", "umount", "web:3")
    found = baleine("image", "diff", "-i", "web:2", "-i", "web:3").stdout.splitlines()
    assert found == [
        "A /added", "A /dir", "A /dir/sub", "A /dir/sub/file", "C /etc/group", "C /etc/hostname", "C /etc/passwd",
        "C /home/app", "A /odd\\nname", "C /srv", "A /srv/node", "C /var/tmp", "D /version", "D /www",
        "D /www/index.html", f"size: {64 << 20} -> {96 << 20}",
    ]  # fmt: skip
    back = json.loads(baleine("image", "diff", "web:3", "web:2", "--format", "json").stdout)
    assert {"change": "D", "path": "/odd\nname"} in back["files"] and {"change": "A", "path": "/version"} in back[
        "files"
    ]
    assert back["settings"] == [{"key": "size", "before": 96 << 20, "after": 64 << 20}]
    assert "image no: there is none" in refused(baleine, "image", "diff", "web", "no")
    assert wait_for(lambda: "/images/web:" not in lab.run(["losetup", "--list", "-nO", "BACK-FILE"]).stdout)


def test_prune_removes_unneeded_versions_after_listing_them(lab: LabHost, baleine: Any, latest: None) -> None:
    lab.module("baleine_image", name="site", from_image="web:1", commands=["true"])
    for tag in ("a", "b", "c"):
        baleine("image", "tag", "web:2", "--target", f"web:{tag}")
    lab.module("baleine_container", name="web1", image="web:a", command=SLEEP, state="present")
    baleine("image", "mount", "web:c")
    before = baleine("image", "list", "-q").stdout
    assert baleine("image", "prune", "--dry-run").stdout.split() == ["web:2", "web:b"]
    assert baleine("image", "list", "-q").stdout == before
    baleine("image", "umount", "web:c")
    baleine("image", "tag", "web:2", "--target", "kept:2")  # for the other tests
    lab.module("baleine_container", name="web2", image="kept:2", command=SLEEP, state="present")
    assert baleine("image", "prune").stdout.split() == ["web:2", "web:b", "web:c"]
    assert baleine("image", "list", "-q").stdout.split() == ["kept:2", "site", "tiny", "web", "web:1", "web:a"]
    assert "containers use it: web1" in refused(baleine, "image", "remove", "web:a")
    assert baleine("image", "prune", "-a", "-n").stdout.split() == ["site", "web", "web:1"]  # kept:2 starts from tiny
    baleine("image", "tag", "kept:2", "--target", "web:2")
    listed = baleine("image", "list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "SIZE", "ALLOCATED", "PATH"]
    both = next(
        one for one in json.loads(baleine("image", "list", "--format", "json").stdout) if one["name"] == "web:1"
    )
    assert both["size"] == 64 << 20 and 0 < both["allocated"] < both["size"]
