# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's new name and its disk's new size: what stays, what is refused, what a crash leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.support import inspected
from tests.lab.host import LabHost

MANIFESTS = "/var/lib/baleine/manifeste/containers"
DISKS = "/var/lib/baleine/containers"


@pytest.fixture(autouse=True)
def containers(lab: LabHost, tiny: str, baleine: Any) -> Iterator[None]:
    baleine("bridge", "create", "-b", "private", "-a", "192.168.42.1/24")
    words = ["-i", "tiny", "-b", "private", "-a", "192.168.42.9/24", "-p", "sleep 1000"]
    baleine("container", "create", "-c", "old", *words)
    baleine("container", "exec", "-c", "old", "--", "sh", "-c", "echo kept > /data")
    yield
    for name in baleine("container", "list", "-a", "-q").stdout.split():
        baleine("container", "remove", name)
    baleine("bridge", "remove", "private")


def test_a_renamed_container_keeps_its_disk_links_macs_ids_and_log(lab: LabHost, baleine: Any) -> None:
    before = inspected(baleine, "container", "old")
    refused = baleine("container", "rename", "-c", "old", "-n", "new", check=False)
    assert refused.returncode == 1 and "it runs" in refused.stderr
    baleine("container", "stop", "old", "-t", "1")
    baleine("container", "rename", "-c", "old", "-n", "new")
    after = inspected(baleine, "container", "new")
    assert baleine("container", "list", "-a", "-q").stdout == "new\n"
    assert after["interfaces"] == before["interfaces"] and after["first_id"] == before["first_id"]
    assert sorted(path.name for path in lab.path("/var/log/baleine").iterdir() if "old" in path.name) == []
    baleine("container", "start", "new")
    words = baleine("container", "exec", "-c", "new", "--", "sh", "-c", "cat /data; hostname").stdout.split()
    assert words == ["kept", "new"]
    same = {"image": "tiny", "command": ["sleep", "1000"]}
    networks = [{"bridge": "private", "addresses": ["192.168.42.9/24"]}]
    assert not lab.module("baleine_container", name="new", networks=networks, **same)["changed"]


def test_a_rename_is_refused_if_the_name_is_taken_or_other_containers_need_the_old_one(
    lab: LabHost, baleine: Any
) -> None:
    baleine("container", "stop", "old", "-t", "1")
    baleine("container", "create", "--no-start", "-c", "other", "-i", "tiny", "--depends-on", "old", "-p", "sleep 9")
    for new, says in (
        ("other", "exists already"),
        ("new", "others depend on it by its name: other"),
        ("a/b", "no valid"),
    ):
        refused = baleine("container", "rename", "-c", "old", "-n", new, check=False)
        assert refused.returncode == 1 and says in refused.stderr
    assert sorted(baleine("container", "list", "-a", "-q").stdout.split()) == ["old", "other"]


@pytest.mark.parametrize("by", ["old", "new"])
@pytest.mark.parametrize("moved", [False, True], ids=["before its disk moved", "after its disk moved"])
def test_an_interrupted_rename_is_finished_by_the_next_command(
    lab: LabHost, baleine: Any, by: str, moved: bool
) -> None:
    baleine("container", "stop", "old", "-t", "1")
    text = lab.read(f"{MANIFESTS}/old.manifest").replace("state: stopped", "state: renaming", 1)
    lab.write(f"{MANIFESTS}/old.manifest", text + "renamed_to: new\n")
    renamed = text.replace("nom_container: old", "nom_container: new")
    lab.write(f"{MANIFESTS}/new.manifest", renamed + "renamed_from: old\n")
    if moved:
        lab.sh(f"mv {DISKS}/old {DISKS}/new")
    assert {c["state"] for c in json.loads(baleine("container", "list", "-a", "--format", "json").stdout)} == {
        "stopped"
    }
    baleine("container", "start", by, check=False)
    assert baleine("container", "list", "-a", "-q").stdout == "new\n"
    baleine("container", "start", "new")
    assert baleine("container", "exec", "-c", "new", "--", "cat", "/data").stdout == "kept\n"


def test_a_rename_interrupted_at_its_beginning_is_undone(lab: LabHost, baleine: Any) -> None:
    baleine("container", "stop", "old", "-t", "1")
    text = lab.read(f"{MANIFESTS}/old.manifest").replace("state: stopped", "state: renaming", 1)
    lab.write(f"{MANIFESTS}/old.manifest", text + "renamed_to: new\n")
    baleine("container", "start", "old")
    assert inspected(baleine, "container", "old")["state"] == "running"


def test_the_disk_of_a_stopped_container_grows_and_keeps_its_files(lab: LabHost, baleine: Any) -> None:
    refused = baleine("container", "grow", "-c", "old", "-s", "128", check=False)
    assert refused.returncode == 1 and "not while it runs" in refused.stderr
    baleine("container", "stop", "old", "-t", "1")
    baleine("container", "grow", "-c", "old", "-s", "128")
    assert lab.path(f"{DISKS}/old").stat().st_size == 128 << 20
    assert lab.run(["e2fsck", "-fn", f"{DISKS}/old"]).returncode == 0
    refused = baleine("container", "grow", "-c", "old", "-s", "100", check=False)
    assert "a disk can only grow" in refused.stderr
    baleine("container", "start", "old")
    words = baleine("container", "exec", "-c", "old", "--", "sh", "-c", "cat /data; df -m / | tail -1").stdout.split()
    assert words[0] == "kept" and int(words[2]) > 100


def test_the_module_grows_a_disk_as_predicted_and_creates_a_new_one_of_that_size(lab: LabHost, baleine: Any) -> None:
    task: dict[str, Any] = {
        "name": "old",
        "image": "tiny",
        "command": ["sleep", "1000"],
        "networks": [{"bridge": "private", "addresses": ["192.168.42.9/24"]}],
        "size": "96M",
        "recreate": "on_change",
    }
    predicted = lab.module("baleine_container", check=True, params=task)
    done = lab.module("baleine_container", params=task)
    assert predicted["diff"] == done["diff"] and predicted["actions"] == done["actions"]
    assert [action["action"] for action in done["actions"]] == ["stop", "grow", "start"]
    assert not lab.module("baleine_container", params=task)["changed"]
    made = lab.module("baleine_container", name="fresh", image="tiny", command="sleep 9", size="80M", state="present")
    assert made["changed"] and lab.path(f"{DISKS}/fresh").stat().st_size == 80 << 20
    assert sorted(path.name for path in lab.path(DISKS).iterdir()) == ["fresh", "old"]
