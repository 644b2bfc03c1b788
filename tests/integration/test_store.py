# SPDX-License-Identifier: GPL-3.0-or-later
"""The reflink store on a kernel: moved into, out of, grown, interrupted at every step, mounted by whoever comes first."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.locking import is_locked
from tests.lab import product
from tests.lab.host import LabHost
from tests.lab.run import wait_for

LIBRARY, STORE = "/var/lib/baleine", "/var/lib/baleine-store.xfs"
SLEEP = ["sleep", "1000"]
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


def test_everything_moves_in_grows_and_moves_out_again_as_it_was(lab: LabHost, baleine: Any) -> None:
    before, images = listing(lab), baleine("image", "list", "--format", "json").stdout
    predicted = lab.module("baleine_store", size="640M", check=True)
    assert predicted["changed"] and not kinds(lab)
    done = lab.module("baleine_store", size="640M")
    assert done["diff"] == predicted["diff"] and done["store"]["state"] == "present"
    assert kinds(lab) == ["xfs"] and listing(lab) == before
    assert int(lab.sh(f"stat -c '%b' {STORE}").stdout) * 512 >= 640 << 20  # reserved
    for spelling in ("640M", "640", "655360K"):
        assert not lab.module("baleine_store", size=spelling)["changed"]
    now = json.loads(baleine("image", "list", "--format", "json").stdout)
    for one, was in zip(now, json.loads(images)):
        assert {**one, "allocated": 0} == {**was, "allocated": 0} and not one["edited"]
    made = lab.module("baleine_container", name="new", image="web", command=SLEEP)["container"]
    assert made["copy"]["method"] == "reflink" and made["copy"]["bytes"] > 9000000
    refused = lab.module("baleine_store", state="absent", expect_failure=True)
    assert "in use: container new" in refused["msg"]
    predicted = lab.module("baleine_store", size="900M", check=True)
    grown = lab.module("baleine_store", size="900M")  # while one runs
    assert predicted["diff"] == grown["diff"] and grown["store"]["size"] == 900 << 20
    assert int(lab.sh(f"stat -fc '%b*%S' {LIBRARY} | sed 's/.*/echo $((&))/' | sh").stdout) > 800 << 20
    assert not lab.module("baleine_store", size="900M")["changed"]
    assert "can only grow" in lab.module("baleine_store", size="640M", expect_failure=True)["msg"]
    assert baleine("container", "exec", "-c", "new", "--", "stat", "-c", "%s", "/data").stdout.strip() == "9000000"
    lab.module("baleine_container", name="new", state="absent")
    lab.module("baleine_container", name="old", state="started")
    assert baleine("container", "exec", "-c", "old", "--", "cat", "/d/a").stdout == "x\n"
    lab.module("baleine_container", name="old", state="stopped")
    before = listing(lab)
    predicted = lab.module("baleine_store", state="absent", check=True)
    left = lab.module("baleine_store", state="absent")
    assert left["diff"] == predicted["diff"] and left["store"]["state"] == "absent" and not kinds(lab)
    assert listing(lab) == before
    assert not lab.module("baleine_store", state="absent")["changed"]
    after = json.loads(baleine("image", "list", "--format", "json").stdout)
    assert [one["digest"] for one in after] == [one["digest"] for one in json.loads(images)]


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
def test_a_move_that_is_killed_at_any_step_loses_nothing_and_the_next_run_finishes(
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


def test_whoever_comes_first_after_a_boot_mounts_it_and_a_damaged_one_is_told(lab: LabHost, baleine: Any) -> None:
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


def test_other_commands_are_refused_while_it_moves_and_it_waits_for_those_at_work(lab: LabHost, baleine: Any) -> None:
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


def test_a_host_that_can_share_blocks_needs_none(lab: LabHost, baleine: Any) -> None:
    lab.sh("truncate -s 400M /srv/x && mkfs.xfs -q /srv/x && mount -o loop /srv/x /var/lib")
    try:
        done = lab.module("baleine_store", size="640M")
        assert not done["changed"] and done["store"]["state"] == "native"
    finally:
        lab.sh("umount /var/lib && rm /srv/x")


def test_what_is_mounted_in_the_tree_is_never_moved(lab: LabHost, baleine: Any) -> None:
    lab.sh(f"mkdir /srv/mine {LIBRARY}/volumes/data/mine && mount --bind /srv/mine {LIBRARY}/volumes/data/mine")
    try:
        refused = lab.module("baleine_store", size="640M", expect_failure=True)
        assert f"{LIBRARY}/volumes/data/mine" in refused["msg"]
    finally:
        lab.sh(f"umount {LIBRARY}/volumes/data/mine; rmdir {LIBRARY}/volumes/data/mine /srv/mine")
