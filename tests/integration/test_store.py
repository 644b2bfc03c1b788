# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflink store on a kernel: moved into, out of, grown, interrupted at every step, mounted by whoever comes first."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.integration.locking import is_locked
from tests.integration.support import SLEEP
from tests.lab import product
from tests.lab.host import LabHost
from tests.lab.run import wait_for

LIBRARY, STORE = "/var/lib/baleine", "/var/lib/baleine-store.xfs"
LISTING = (
    f"cd {LIBRARY} && find . -type f -printf '%m %U %G %n %s %p\\n' -o -printf '%y %m %U %G %l %p\\n' | sort -k6 | "
    "grep -v manifeste; find . -type f | grep -v manifeste | sort | xargs sha256sum"
)


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.module("baleine_image", name="web", from_image="tiny", commands=["head -c 9000000 /dev/urandom > /data"])
    lab.module(
        "baleine_container", name="old", image="web", command=SLEEP, volumes=[{"source": "data", "target": "/d"}]
    )
    lab.sh(
        f"cd {LIBRARY}/volumes/data && echo x > a && ln a b && ln -s a c && chmod 4711 a && chown 33:44 a && mkfifo f"
    )
    lab.module("baleine_container", name="old", state="stopped")
    lab.rebase()


@pytest.fixture(autouse=True)
def without(lab: LabHost) -> Iterator[None]:
    """Every test begins and ends without a store."""
    yield
    lab.module("baleine_container", name="new", state="absent")
    lab.module("baleine_container", name="old", state="stopped")
    lab.module("baleine_store", state="absent")
    assert lab.sh("ls /var/lib | grep baleine").stdout.split() == ["baleine"]


def listing(lab: LabHost) -> str:
    return lab.sh(LISTING).stdout


def kinds(lab: LabHost) -> list[str]:
    """The store's filesystem where it is mounted (the laboratory mounts one of its own there)."""
    return [kind for kind in lab.sh(f"findmnt -rno FSTYPE {LIBRARY} || true").stdout.split() if kind == "xfs"]


class Act(NamedTuple):
    """One change of the store: its prediction, what was done, and what the host holds afterwards."""

    #: Whether the store was mounted after check mode.
    early: list[str]
    predicted: dict[str, Any]
    done: dict[str, Any]
    again: dict[str, Any]
    kinds: list[str]
    listing: str
    images: list[dict[str, Any]]


def images(baleine: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(baleine("image", "list", "--format", "json").stdout)
    return found


def act(lab: LabHost, baleine: Any, **words: str) -> Act:
    predicted, early = lab.module("baleine_store", **words, check=True), kinds(lab)
    done = lab.module("baleine_store", **words)
    again = lab.module("baleine_store", **words)
    return Act(early, predicted, done, again, kinds(lab), listing(lab), images(baleine))


class Life(NamedTuple):
    """A store from its beginning to its end, with a container that is made in it and one that moves with it."""

    before: str
    images: list[dict[str, Any]]
    made: Act
    reserved: int
    spellings: list[bool]
    container: dict[str, Any]
    in_use: str
    grown: Act
    free: int
    smaller: str
    #: What the container that was made in the store and the one that was moved into it read from their disks.
    contents: list[str]
    last: str
    left: Act


@pytest.fixture(scope="module")
def life(lab: LabHost, baleine: Any, prepared: None) -> Life:
    before, first = listing(lab), images(baleine)
    made = act(lab, baleine, size="640M")
    reserved = int(lab.sh(f"stat -c '%b' {STORE}").stdout) * 512
    spellings = [lab.module("baleine_store", size=size)["changed"] for size in ("640M", "640", "655360K")]
    container = lab.module("baleine_container", name="new", image="web", command=SLEEP)["container"]
    in_use = lab.module("baleine_store", state="absent", expect_failure=True)["msg"]
    grown = act(lab, baleine, size="900M")  # while a container runs
    free = int(lab.sh(f"stat -fc '%b*%S' {LIBRARY} | sed 's/.*/echo $((&))/' | sh").stdout)
    smaller = lab.module("baleine_store", size="640M", expect_failure=True)["msg"]
    new = baleine("container", "exec", "-c", "new", "--", "stat", "-c", "%s", "/data").stdout
    lab.module("baleine_container", name="new", state="absent")
    lab.module("baleine_container", name="old", state="started")
    old = baleine("container", "exec", "-c", "old", "--", "cat", "/d/a").stdout
    lab.module("baleine_container", name="old", state="stopped")
    last = listing(lab)
    left = act(lab, baleine, state="absent")
    return Life(
        before, first, made, reserved, spellings, container, in_use, grown, free, smaller, [new, old], last, left
    )


@pytest.mark.parametrize("name", ["made", "grown", "left"])
def test_each_change_of_the_store_is_predicted_and_done_once(life: Life, name: str) -> None:
    step: Act = getattr(life, name)
    changed = [one["changed"] for one in (step.predicted, step.done, step.again)]
    assert changed == [True, True, False]
    assert step.done["diff"] == step.predicted["diff"]


def test_check_mode_makes_no_store_and_removes_none(life: Life) -> None:
    assert [life.made.early, life.left.early] == [[], ["xfs"]]


def test_a_new_store_holds_all_that_the_directory_held(life: Life) -> None:
    assert (life.made.done["store"]["state"], life.made.kinds) == ("present", ["xfs"])
    assert life.made.listing == life.before


def test_the_size_of_a_store_is_reserved_on_the_host(life: Life) -> None:
    assert life.reserved >= 640 << 20


def test_another_spelling_of_the_size_changes_nothing(life: Life) -> None:
    assert life.spellings == [False, False, False]


def test_images_keep_all_but_their_allocation_when_a_store_is_made(life: Life) -> None:
    first = [{**one, "allocated": 0, "edited": False} for one in life.images]
    assert [{**one, "allocated": 0} for one in life.made.images] == first


def test_a_disk_in_a_store_shares_the_blocks_of_its_image(life: Life) -> None:
    copy = life.container["copy"]
    assert copy["method"] == "reflink"
    assert copy["bytes"] > 9000000


def test_a_store_is_not_removed_while_a_container_runs(life: Life) -> None:
    assert "in use: container new" in life.in_use


def test_a_store_grows_while_a_container_runs(life: Life) -> None:
    assert life.grown.done["store"]["size"] == 900 << 20
    assert life.free > 800 << 20


def test_a_store_cannot_shrink(life: Life) -> None:
    assert "can only grow" in life.smaller


def test_containers_made_in_a_store_and_moved_into_it_read_their_data(life: Life) -> None:
    assert life.contents == ["9000000\n", "x\n"]


def test_a_removed_store_leaves_all_that_it_held_in_the_directory(life: Life) -> None:
    assert (life.left.done["store"]["state"], life.left.kinds) == ("absent", [])
    assert life.left.listing == life.last


def test_images_keep_their_digests_when_a_store_is_removed(life: Life) -> None:
    digests = [one["digest"] for one in life.images]
    assert [one["digest"] for one in life.left.images] == digests


def kill_at(lab: LabHost, step: str, **params: Any) -> int:
    """Run the module until it kills itself at a step; returns how it ended."""
    common = {"_ansible_check_mode": False, "_ansible_diff": True, "_ansible_module_name": "baleine_store"}
    common.update({"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False})
    fqn = f"{product.COLLECTION.replace('/', '.')}.plugins.modules.baleine_store"
    done = lab.run(
        ["/usr/bin/python3", f"{product.MODULES}/run_module.py", fqn],
        check=False, env={"BALEINE_FAULT": step}, input=json.dumps({"ANSIBLE_MODULE_ARGS": {**common, **params}}),
    )  # fmt: skip
    return done.returncode


STEPS = {
    "640M": ["store copied", "after make", "store named"],
    "": ["store copied", "after copy", "store unmounted"],
}


@pytest.mark.parametrize("size", STEPS, ids=["in", "out"])
def test_a_move_killed_at_any_step_loses_nothing_and_is_finished_by_the_next_run(
    lab: LabHost, baleine: Any, size: str
) -> None:
    words = {"size": size} if size else {"state": "absent"}
    before = listing(lab)
    for step in STEPS[size]:
        lab.module("baleine_store", **({"state": "absent"} if size else {"size": "640M"}))
        killed = kill_at(lab, step, **words)
        assert killed in (-signal.SIGKILL, 128 + signal.SIGKILL), step
        assert baleine("container", "list", "-aq").stdout == "old\n", step
        assert listing(lab) == before, step
        lab.module("baleine_store", **words)
        assert (kinds(lab) == ["xfs"]) is bool(size) and listing(lab) == before, step
        assert not lab.module("baleine_store", **words)["changed"]


def test_the_first_command_after_a_boot_mounts_the_store_and_reports_a_damaged_one(lab: LabHost, baleine: Any) -> None:
    lab.module("baleine_store", size="640M")
    for command in (["supervise"], ["image", "list"], ["container", "inspect", "old"]):
        lab.run(["umount", LIBRARY])
        baleine(*command)
        assert kinds(lab) == ["xfs"], command
    lab.run(["umount", LIBRARY])
    assert lab.module("baleine_image_info")["images"] and kinds(lab) == ["xfs"]
    lab.run(["umount", LIBRARY])
    lab.sh(
        f"cp --sparse=always {STORE} /srv/sound && dd if=/dev/zero of={STORE} bs=4096 count=1 conv=notrunc 2>/dev/null"
    )
    for command in (["supervise"], ["container", "start", "old"]):
        done = baleine(*command, check=False)
        assert done.returncode == 1 and "mounting it" in done.stderr and "xfs_repair -n" in done.stderr
    assert not kinds(lab) and lab.sh(f"ls {LIBRARY}").stdout == ""
    lab.sh(f"cat /srv/sound > {STORE}; rm /srv/sound")


def test_a_move_waits_for_running_commands_and_refuses_new_ones(lab: LabHost, baleine: Any) -> None:
    lab.sh(
        "mkdir -p /run/baleine; flock -x /run/baleine/moving sh -c "
        "'baleine container start old; echo $?; baleine supervise; echo $?; baleine container list -aq' "
        "> /srv/said 2>&1; rm -f /run/baleine/moving"
    )
    said = lab.read("/srv/said").splitlines()
    assert "/var/lib/baleine is being moved" in said[0] and said[-1] == "old"
    lock = "/run/baleine/lock/image.web"
    lab.sh("mkdir -p /run/baleine/lock; mkfifo /srv/end")
    at_work = lab.popen(["flock", "-x", lock, "sh", "-c", f"cat /srv/end; findmnt -rno FSTYPE {LIBRARY} >/srv/said"])
    assert wait_for(lambda: is_locked(lab, lock))
    with ThreadPoolExecutor(1) as pool:
        moved = pool.submit(lab.module, "baleine_store", size="640M")
        assert wait_for(lambda: is_locked(lab, "/run/baleine/moving"))
        time.sleep(1)  # a module that did not wait would have begun
        lab.write("/srv/end", "")
        assert moved.result()["changed"]
    assert at_work.wait() == 0 and "xfs" not in lab.read("/srv/said") and kinds(lab)
    lab.sh(f"rm -f /srv/said /srv/end {lock}")


def test_a_host_whose_filesystem_shares_blocks_needs_no_store(lab: LabHost, baleine: Any) -> None:
    lab.sh("truncate -s 400M /srv/x && mkfs.xfs -q /srv/x && mount -o loop /srv/x /var/lib")
    try:
        done = lab.module("baleine_store", size="640M")
        assert not done["changed"] and done["store"]["state"] == "native"
    finally:
        lab.sh("umount /var/lib && rm /srv/x")


def test_a_directory_with_a_mount_inside_is_never_moved(lab: LabHost, baleine: Any) -> None:
    lab.sh(f"mkdir /srv/mine {LIBRARY}/volumes/data/mine && mount --bind /srv/mine {LIBRARY}/volumes/data/mine")
    try:
        refused = lab.module("baleine_store", size="640M", expect_failure=True)
        assert f"{LIBRARY}/volumes/data/mine" in refused["msg"]
    finally:
        lab.sh(f"umount {LIBRARY}/volumes/data/mine; rmdir {LIBRARY}/volumes/data/mine /srv/mine")
