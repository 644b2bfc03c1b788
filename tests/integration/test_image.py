# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a real kernel: built, derived, edited by hand, interrupted, refused."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.integration.locking import holding, waiting
from tests.integration.support import record
from tests.lab import trees
from tests.lab.host import LabHost
from tests.lab.run import wait_for
from tests.lab.wire import Wire

IMAGES = "/var/lib/baleine/images"
PLAIN = ["base-files"]  # already in every tree: nothing more to fetch


def listing(host: LabHost, name: str, path: str) -> str:
    """What debugfs says of a path in an image, without mounting it."""
    return host.run(["debugfs", "-R", f"stat {path}", f"{IMAGES}/{name}"]).stdout


@pytest.fixture(scope="module")
def online(wire: Wire, lab_factory: Any) -> LabHost:
    """A host that reaches the package proxy and nothing else."""
    host = lab_factory("online", wire=wire)
    host.use_package_proxy()
    host.install_baleine()
    return host


@pytest.fixture
def derive(lab: LabHost, tiny: str) -> Any:
    """derive(**options): the image ``child`` from the tiny one; removed afterwards."""

    def call(**options: Any) -> dict[str, Any]:
        return lab.module("baleine_image", name="child", from_image="tiny", **options)

    yield call
    lab.module("baleine_image", name="child", state="absent")


class Built(NamedTuple):
    """The image debian: its prediction, whether check mode made a file, its making, and a second run."""

    predicted: dict[str, Any]
    early: bool
    done: dict[str, Any]
    again: dict[str, Any]


@pytest.fixture(scope="module")
def debian(online: LabHost) -> Iterator[Built]:
    request = {"name": "debian", "size": "10G", "packages": PLAIN}
    predicted = online.module("baleine_image", check=True, **request)
    early = online.path(f"{IMAGES}/debian").exists()
    done = online.module("baleine_image", timeout=900, **request)
    yield Built(predicted, early, done, online.module("baleine_image", **request))
    assert online.module("baleine_image", name="debian", state="absent")["changed"]
    assert not online.module("baleine_image", name="debian", state="absent")["changed"]


def test_a_debian_tree_is_predicted_and_built_once(debian: Built) -> None:
    assert (debian.predicted["changed"], debian.early) == (True, False)
    assert debian.done["diff"] == debian.predicted["diff"]
    assert not debian.again["changed"]


def test_a_debian_tree_is_sparse_and_sound(online: LabHost, debian: Built) -> None:
    facts = debian.done["image"]
    assert facts["size"] == 10 << 30
    assert facts["allocated"] < 600 << 20
    assert online.run(["e2fsck", "-fn", f"{IMAGES}/debian"]).returncode == 0


def test_a_debian_tree_is_recorded_with_the_documented_keys(online: LabHost, debian: Built) -> None:
    written = record(online, "image", "debian")
    keys = [written[key] for key in ("nom_image", "taille", "chemin")]
    assert keys == ["debian", "10240", IMAGES]


@pytest.mark.parametrize("path", ["/etc/resolv.conf", "/etc/apt/apt.conf.d/99mmdebstrap"])
def test_a_debian_tree_has_no_trace_of_its_builder(online: LabHost, debian: Built, path: str) -> None:
    shown = online.run(["debugfs", "-R", f"stat {path}", f"{IMAGES}/debian"])
    assert "not found" in shown.stderr


def test_a_derived_image_installs_packages_writes_files_and_runs_commands(online: LabHost, debian: Built) -> None:
    request = {
        "name": "derived",
        "from_image": "debian",
        "packages": ["hello"],
        "files": [{"path": "/etc/mine/note", "content": "é\n", "mode": "0600"}],
        "commands": ["hello > /root/said", "test -s /etc/mine/note", "id > /root/who"],
    }
    assert online.module("baleine_image", timeout=900, **request)["changed"]
    assert not online.module("baleine_image", **request)["changed"]
    assert "Mode:  0600" in listing(online, "derived", "/etc/mine/note")
    assert "not found" in online.run(["debugfs", "-R", "stat /usr/sbin/policy-rc.d", f"{IMAGES}/derived"]).stderr
    assert online.run(["debugfs", "-R", "cat /root/said", f"{IMAGES}/derived"]).stdout == "Hello, world!\n"
    online.module("baleine_image", name="derived", state="absent")
    assert not online.module("baleine_image", name="derived", state="absent")["changed"]


def test_a_killed_build_leaves_no_image_and_no_loop_device(online: LabHost) -> None:
    build = ["baleine", "image", "create", "-i", "killed", "-s", "2048", "--packages", "none"]
    kill = "pkill -9 -x -f '/usr/bin/python3 -IS /usr/local/bin/baleine image create -i killed.*'"
    moments = (f"test -e {IMAGES}/.killed.part", "pgrep -x mmdebstrap", "pgrep -x dpkg")
    for moment in moments:
        process = online.popen(build, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # in the host itself: each step of a build is short
        online.sh(f"until {moment} >/dev/null; do sleep 0.01; done; {kill}")
        assert process.wait() == -signal.SIGKILL
        assert wait_for(lambda: ".killed.part" not in online.run(["losetup", "--list", "-O", "BACK-FILE"]).stdout)
        assert wait_for(lambda: online.sh("pgrep -x mmdebstrap || true").stdout == "")
        listed = json.loads(online.run(["baleine", "image", "list", "--format", "json"]).stdout)
        assert "killed" not in [image["name"] for image in listed]
    online.module("baleine_image", name="killed", state="absent")
    refused = online.module("baleine_image", name="killed", size="32M", packages=[], timeout=900, expect_failure=True)
    assert "too small" in refused["msg"] and "larger size" in refused["msg"]
    refused = online.module(
        "baleine_image", name="killed", size="2G", packages=["no-such-package"], expect_failure=True
    )
    assert "no-such-package" in refused["msg"]
    assert "killed" not in online.sh(f"ls -A {IMAGES} /var/lib/baleine/manifeste/images").stdout


def test_each_changed_option_is_noticed_and_another_spelling_is_not(lab: LabHost, derive: Any) -> None:
    base = {"size": "128M", "files": [{"path": "/a", "content": "1"}], "commands": ["echo x > /x"]}
    derive(**base)
    assert not derive(**base)["changed"]
    assert not derive(**{**base, "size": "128MiB"})["changed"]
    assert not derive(**{**base, "size": "128", "proxy": "http://proxy:1/"})["changed"]
    for option, value in (
        ("size", "160M"),
        ("files", [{"path": "/a", "content": "2"}]),
        ("files", [{"path": "/a", "content": "1", "mode": "0755"}]),
        ("files", []),
        ("commands", ["echo X > /x"]),
        ("commands", []),
        ("packages", ["hello"]),
    ):
        predicted = derive(check=True, **{**base, option: value})
        assert predicted["changed"] and option in predicted["actions"][0]["reason"], option
    changed = derive(**{**base, "size": "160M", "commands": []})
    assert changed["image"]["size"] == 160 << 20
    kept = derive(rebuild="never", **base)
    assert not kept["changed"] and "the request differs: " in str(kept["warnings"])
    assert derive(**{**base, "size": "160M", "commands": [], "rebuild": "always"})["changed"]


FIRST = {"files": [{"path": "/a", "content": "1"}]}


@pytest.fixture
def mounted(baleine: Any, derive: Any) -> tuple[str, str]:
    """The image child, which is being edited: its digest, and where its tree is."""
    digest = derive(**FIRST)["image"]["digest"]
    return digest, baleine("image", "mount", "-i", "child").stdout.strip()


@pytest.fixture
def edited(lab: LabHost, baleine: Any, mounted: tuple[str, str]) -> str:
    """The image child with a file written by hand: its digest before that."""
    digest, tree = mounted
    lab.write(f"{tree}/by-hand", "x")
    baleine("image", "umount", "-i", "child")
    return digest


def test_a_derived_image_says_how_it_was_copied(derive: Any) -> None:
    copy = derive(**FIRST)["image"]["copy"]
    assert copy["method"] in ("reflink", "extents")
    assert copy["bytes"] > 0
    assert copy["seconds"] > 0


def test_an_image_that_is_being_edited_is_neither_removed_nor_mounted_twice(
    lab: LabHost, baleine: Any, mounted: tuple[str, str]
) -> None:
    refused = lab.module("baleine_image", name="child", state="absent", expect_failure=True)
    assert "being edited" in refused["msg"]
    assert "already mounted" in baleine("image", "mount", "child", check=False).stderr
    baleine("image", "umount", "-i", "child")


def test_an_image_keeps_its_digest_until_the_edit_ends(
    lab: LabHost, baleine: Any, derive: Any, mounted: tuple[str, str]
) -> None:
    digest, tree = mounted
    lab.write(f"{tree}/by-hand", "x")
    again = derive(**FIRST)  # containers are made from the old content meanwhile
    assert (again["changed"], again["image"]["digest"]) == (False, digest)
    baleine("image", "umount", "-i", "child")


def test_an_edit_by_hand_is_recorded_and_kept_with_a_warning(baleine: Any, derive: Any, edited: str) -> None:
    again = derive(**FIRST)
    assert not again["changed"]
    assert again["image"]["edited"]
    assert again["image"]["digest"] != edited
    assert "edited by hand" in str(again["warnings"])


def test_the_command_line_shows_an_edit_by_hand(baleine: Any, edited: str) -> None:
    shown = [baleine("image", *words, "--format", "json").stdout for words in (("inspect", "child"), ("list",))]
    assert [[one["edited"] for one in json.loads(text) if one["name"] == "child"] for text in shown] == [[True], [True]]


def test_an_edited_image_is_rebuilt_only_if_the_task_asks_for_it(derive: Any, edited: str) -> None:
    refused = derive(files=[], expect_failure=True)["msg"]
    assert "edited by hand" in refused
    assert "rebuild: always" in refused
    assert not derive(rebuild="never", files=[])["changed"]
    assert derive(rebuild="always", files=[])["image"]["edited"] is False


def test_only_an_image_that_is_being_edited_can_be_unmounted(baleine: Any, derive: Any) -> None:
    derive(**FIRST)
    assert "is not being edited" in baleine("image", "umount", "child", check=False).stderr


def test_an_edit_that_the_full_disk_of_the_host_lost_is_reported(lab: LabHost, baleine: Any) -> None:
    """The kernel tells nobody else: what is written to a file in a full filesystem is lost behind the loop device."""
    trees.tiny_image(lab, "cramped", "64M")
    lab.sh(
        f"mkdir /srv/cramped; mount -t tmpfs -o size=12M cramped /srv/cramped; cp --sparse=always {IMAGES}/cramped /srv/cramped"
    )
    lab.sh(f"sed -i s,{IMAGES},/srv/cramped, /var/lib/baleine/manifeste/images/cramped.manifest; rm {IMAGES}/cramped")
    tree = baleine("image", "mount", "cramped").stdout.strip()
    lab.sh(f"head -c 20M /dev/urandom > {tree}/much || true")
    told = baleine("image", "umount", "cramped", check=False)
    # an error of the device, or, where the kernel began to write before, of what is behind it
    assert told.returncode == 1 and "something of the edit is lost: " in told.stderr, told.stderr
    lab.sh(f"umount {tree} /srv/cramped; rmdir /srv/cramped {tree} /mnt/baleine-images || true")
    lab.module("baleine_image", name="cramped", state="absent")


def test_a_write_into_the_image_file_is_noticed(lab: LabHost, derive: Any) -> None:
    derive(files=[{"path": "/a", "content": "1"}])
    lab.run(["debugfs", "-w", "-R", "mkdir /sneaked", f"{IMAGES}/child"])
    found = derive(files=[{"path": "/a", "content": "1"}])
    assert found["image"]["edited"] and not found["changed"]
    derive(rebuild="always")


def test_an_image_of_the_old_scripts_is_adopted_and_a_missing_file_is_drift(lab: LabHost, derive: Any) -> None:
    adopted = lab.module("baleine_image", name="tiny", size="64M")
    assert not adopted["changed"] and "does not say what it was made from" in str(adopted["warnings"])
    derive()
    lab.run(["rm", f"{IMAGES}/child"])
    healed = derive()
    assert healed["changed"] and healed["drift"] == ["image child: its file is gone"]


def test_an_image_in_use_is_not_removed_and_its_containers_are_named(lab: LabHost, derive: Any) -> None:
    derive()
    lab.module("baleine_container", name="user", image="child", command=["sleep", "9"], state="present")
    refused = lab.module("baleine_image", name="child", state="absent", expect_failure=True)
    assert "containers use it: user" in refused["msg"]
    derive(files=[{"path": "/new", "content": ""}])
    again = lab.module("baleine_container", name="user", image="child", command=["sleep", "9"], state="present")
    assert not again["changed"] and again["container"]["image_outdated"] and "image_outdated" in str(again["warnings"])
    lab.module("baleine_container", name="user", state="absent")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"from_image": "nosuch"}, "there is no image nosuch to start from"),
        ({"from_image": "tiny", "size": "32M"}, "smaller than that of image tiny"),
        ({"size": "1M"}, "too small"),
        ({"from_image": "tiny", "suite": "bookworm"}, "do not go with from_image"),
        ({"suite": "../etc"}, "is no suite"),
        ({"packages": ["a b"]}, "is no name of a package"),
        ({"from_image": "tiny", "files": [{"path": "etc/x"}]}, "is no absolute path"),
        ({"from_image": "tiny", "files": [{"path": "/../x"}]}, "is no absolute path"),
        ({"from_image": "tiny", "commands": ["exit 3"]}, "command 'exit 3'"),
    ],
)
def test_an_invalid_request_is_refused_and_leaves_nothing(
    lab: LabHost, tiny: str, options: dict[str, Any], words: str
) -> None:
    before = lab.sh("find /var/lib/baleine | sort").stdout
    refused = lab.module("baleine_image", name="refused", expect_failure=True, **options)
    assert words in refused["msg"] and "image refused" in refused["msg"]
    assert lab.sh("find /var/lib/baleine | sort").stdout == before


def test_a_link_in_the_tree_cannot_redirect_a_written_file_outside(lab: LabHost, derive: Any) -> None:
    lab.write("/etc/target", "mine")
    derive(commands=["rm -rf /etc/evil; ln -s /etc/target /etc/evil; mkdir -p /run/x; ln -s ../../../../etc /run/up"])
    lab.module(
        "baleine_image",
        name="child2",
        from_image="child",
        files=[{"path": "/etc/evil", "content": "no"}, {"path": "/run/up/target2", "content": "no"}],
    )
    assert lab.read("/etc/target") == "mine" and not lab.path("/etc/target2").exists()
    lab.module("baleine_image", name="child2", state="absent")


def test_two_builds_and_an_edit_at_once_do_not_disturb_each_other(lab: LabHost, baleine: Any, derive: Any) -> None:
    def build(name: str) -> bool:
        """Make an image whose command waits until there is a file /go in its tree."""
        commands = [f"until [ -e /go ]; do usleep 20000; done; echo {name} > /x"]
        return bool(lab.module("baleine_image", name=name, from_image="tiny", commands=commands)["changed"])

    def shell_of(name: str) -> str:
        """The shell that waits in the tree of an image, not what it forks."""
        return lab.sh(f"pgrep -of '^[^ ]*sh -c .*[e]cho {name} > /x' || true").stdout.strip()

    derive()
    names = ("first", "second")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(build, name) for name in names]
        assert all(wait_for(lambda name=name: shell_of(name)) for name in names)
        baleine("image", "mount", "child")
        baleine("image", "umount", "child")
        for name, build_of_it in zip(names, running):
            lab.sh(f"touch /proc/{shell_of(name)}/root/go")
            assert build_of_it.result()
    for name in names:
        lab.module("baleine_image", name=name, state="absent")


def test_a_build_changes_no_setting_of_the_host_and_leaves_no_process(lab: LabHost, derive: Any) -> None:
    refused = derive(commands=["echo 1 > /proc/sys/net/ipv4/ip_forward"], expect_failure=True)
    assert "Read-only" in refused["msg"] or "can't create" in refused["msg"]
    assert lab.read("/proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert derive(commands=["sleep 300 >/dev/null 2>&1 &"])["changed"]
    assert wait_for(lambda: lab.sh("pgrep -fx 'sleep 300' || true").stdout == "")


def test_an_interrupted_build_can_be_removed(lab: LabHost, tiny: str) -> None:
    lab.write(
        "/var/lib/baleine/manifeste/images/half.manifest",
        f"nom_image: half\ntaille:\nchemin: {IMAGES}\nstate: creating\n",
    )
    lab.write(f"{IMAGES}/.half.part", "x")
    assert lab.module("baleine_image", name="half", state="absent")["changed"]
    assert "half" not in lab.sh("find /var/lib/baleine").stdout


def test_two_tasks_on_one_image_take_turns(lab: LabHost, derive: Any) -> None:
    trees.tiny_image(lab)
    with ThreadPoolExecutor(2) as pool, holding(lab, "image.child"):
        done = pool.map(lambda _: derive(commands=["echo 1 > /one"]), range(2))
        assert wait_for(lambda: waiting(lab, "image.child") == 2)
    assert sorted(result["changed"] for result in done) == [False, True]


#: What fills it says something that no manifest can hold: the file has its name by then.
TORN = r"""
import shutil, sys
sys.path.insert(0, "/usr/local/lib/baleine")
from baleine import image_store
from baleine.errors import BaleineError
def fill(part):
    shutil.copyfile("/var/lib/baleine/images/tiny", part)
    return {"config": "\ud800"}
try:
    image_store.make("torn", "/var/lib/baleine/images", fill)
except BaleineError as error:
    print(error.message)
"""


def test_an_image_whose_manifest_cannot_be_written_does_not_block_the_next_build(
    lab: LabHost, baleine: Any, tiny: str
) -> None:
    assert "UTF-8" in lab.run(["python3", "-"], input=TORN).stdout
    assert lab.run(["find", "/var/lib/baleine", "-name", "*torn*"]).stdout == ""
    assert lab.module("baleine_image", name="torn", from_image="tiny")["changed"]
    lab.module("baleine_image", name="torn", state="absent")
