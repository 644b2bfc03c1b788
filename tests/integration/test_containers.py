# SPDX-License-Identifier: GPL-3.0-or-later
"""Many containers in one task: planned as a whole, side by side where safe, and nothing lost when one fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.lab.run import wait_for

SLEEP = ["sleep", "1000"]


@pytest.fixture(scope="module", autouse=True)
def bridge(lab: LabHost, tiny: str) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24"])
    lab.rebase()


@pytest.fixture(autouse=True)
def nothing_left(lab: LabHost) -> Iterator[None]:
    yield
    lab.module("baleine_containers", containers=[], prune={"prefix": "c"})


def one(name: str, **options: Any) -> dict[str, Any]:
    """A container of the tiny image; its number is the last of its address."""
    networks = [{"bridge": "private", "addresses": [f"192.168.42.{10 + int(name[1:])}/24"]}]
    return {"name": name, "image": "tiny", "command": SLEEP, "networks": networks, **options}


def ensure(lab: LabHost, *containers: dict[str, Any], **options: Any) -> dict[str, Any]:
    return lab.module("baleine_containers", containers=list(containers), **options)


def side(result: dict[str, Any], word: str) -> dict[str, Any]:
    """What the diffs of all containers say of one side, by resource."""
    found: dict[str, Any] = {}
    for diff in result["diff"]:
        assert diff["before_header"] == diff["after_header"] == next(iter(json.loads(diff[word])))
        found.update(json.loads(diff[word]))
    return found


def states(lab: LabHost) -> dict[str, str]:
    found = lab.module("baleine_container_info")["containers"]
    return {item["name"]: item["container"]["state"] for item in found}


def change(result: dict[str, Any]) -> tuple[bool, Any, Any]:
    """What a task changed, or would change."""
    return result["changed"], result["diff"], result["actions"]


def test_a_set_is_predicted_and_applied_with_one_diff_and_the_second_run_changes_nothing(lab: LabHost) -> None:
    wanted = [one("c1"), one("c2", state="stopped"), one("c3", labels={"a": "b"})]
    predicted = ensure(lab, *wanted, check=True)
    assert states(lab) == {}
    done = ensure(lab, *wanted)
    assert done["changed"]
    assert change(predicted) == change(done)
    assert set(side(done, "after")) == {"container c1", "container c2", "container c3"}
    assert {name: result["container"]["state"] for name, result in done["containers"].items()} == states(lab)
    assert states(lab) == {"c1": "running", "c2": "stopped", "c3": "running"}
    assert change(ensure(lab, *wanted)) == (False, [], [])
    changed = ensure(lab, one("c1"), one("c2", state="stopped"), one("c3"))
    assert [name for name, result in changed["containers"].items() if result["changed"]] == ["c3"]
    assert [action["action"] for action in changed["actions"]] == ["set_policy"]


def test_a_refused_container_prevents_every_change_of_its_set(lab: LabHost) -> None:
    nowhere = one("c2", networks=[{"bridge": "nowhere"}])
    assert "container c2: there is no bridge nowhere" in ensure(lab, one("c1"), nowhere, expect_failure=True)["msg"]
    same = {**one("c1"), "name": "c2"}
    assert "192.168.42.11" in ensure(lab, one("c1"), same, expect_failure=True)["msg"]
    assert "given twice" in ensure(lab, one("c1"), one("c1"), expect_failure=True)["msg"]
    assert "label or a prefix" in ensure(lab, one("c1"), prune={"prefix": ""}, expect_failure=True)["msg"]
    assert states(lab) == {}


def test_a_failed_container_is_named_and_does_not_stop_the_others(lab: LabHost) -> None:
    needs = {"depends_on": [{"name": "c2"}]}
    failed = ensure(lab, one("c1"), one("c2", user="nobodyknows"), one("c3"), one("c4", **needs), expect_failure=True)
    assert failed["msg"].startswith("2 of 4 containers failed: container c2: ")
    results = failed["containers"]
    assert {name: bool(result.get("failed")) for name, result in results.items()} == {
        "c1": False,
        "c2": True,
        "c3": False,
        "c4": True,
    }
    assert "has no user nobodyknows" in results["c2"]["msg"] and results["c2"]["container"] == {}
    assert "it depends on c2, which does not run" in results["c4"]["msg"]
    assert results["c1"]["container"]["pid"] and "container c1" in side(failed, "after")
    assert states(lab) == {"c1": "running", "c3": "running"}
    mended = ensure(lab, one("c1"), one("c2"), one("c3"), one("c4", **needs))
    assert sorted(name for name, result in mended["containers"].items() if result["changed"]) == ["c2", "c4"]


def test_unlisted_containers_are_pruned_and_their_addresses_are_free_in_the_same_task(lab: LabHost) -> None:
    ensure(lab, one("c1", labels={"farm": "web"}), one("c2", labels={"farm": "web"}), one("c3", labels={"farm": "db"}))
    heir = {**one("c2"), "name": "c4", "labels": {"farm": "web"}}
    predicted = ensure(lab, one("c1", labels={"farm": "web"}), heir, prune={"label": "farm=web"}, check=True)
    before, after = (side(predicted, word) for word in ("before", "after"))
    assert before["container c2"]["state"] == "running" and after["container c2"] == {}
    assert set(before) == {"container c2", "container c4"} and before["container c4"] == {}
    assert states(lab) == {"c1": "running", "c2": "running", "c3": "running"}
    done = ensure(lab, one("c1", labels={"farm": "web"}), heir, prune={"label": "farm=web"})
    assert change(done) == change(predicted)
    assert [(a["action"], a["resource"]) for a in done["actions"]] == [
        ("stop", "container c2"),
        ("remove", "container c2"),
        ("create", "container c4"),
        ("start", "container c4"),
    ]
    assert done["containers"]["c2"] == {"changed": True, "container": {}}
    assert states(lab) == {"c1": "running", "c3": "running", "c4": "running"}
    ensure(lab, prune={"label": "farm"})
    assert states(lab) == {}


def test_a_dependency_is_started_first_and_the_others_wait_until_it_is_healthy(lab: LabHost) -> None:
    """It becomes well only after its check has failed; the one that waits looks whether it is so when it starts."""
    lab.sh("mkdir -p /srv/gate")
    gate = [{"source": "/srv/gate", "target": "/gate", "idmap": True}]
    check = {"command": ["sh", "-c", "echo asked >>/gate/asked; test -e /gate/well"], "retries": 1}
    needed = one("c9", volumes=gate, healthcheck=check)
    waits = one(
        "c1",
        command=["sh", "-c", "test -e /gate/well && touch /gate/was-well; sleep 1000"],
        volumes=gate,
        depends_on=[{"name": "c9", "condition": "healthy"}],
    )
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(ensure, lab, waits, needed)
        asked = wait_for(lambda: lab.sh("cat /srv/gate/asked", check=False).stdout.count("asked") > 1)
        lab.write("/srv/gate/well", "")
        done = task.result()
    assert asked and wait_for(lab.path("/srv/gate/was-well").exists)
    assert [a["resource"] for a in done["actions"] if a["action"] == "start"] == ["container c9", "container c1"]
    assert states(lab) == {"c1": "running", "c9": "running"}
    refused = ensure(
        lab,
        {"name": "c9", "state": "stopped"},
        {**waits, "depends_on": [{"name": "c9"}], "restart": True},
        expect_failure=True,
    )
    assert "it depends on c9, which does not run" in refused["msg"]


def test_restarted_containers_take_turns_and_wait_for_each_other(lab: LabHost) -> None:
    script = 'trap "echo down $0 >>/v/order; exit 0" TERM; echo up $0 $A >>/v/order; sleep 1000 & wait'
    volumes = [{"source": "/srv/order", "target": "/v", "idmap": True}]
    lab.sh("mkdir -p /srv/order")

    def all_three(value: str) -> dict[str, Any]:
        each = {"volumes": volumes, "env": {"A": value}, "recreate": "on_change", "init": False}
        three = [
            one(
                name,
                command=["sh", "-c", script, name],
                wait={"command": ["grep", "-q", f"up {name} {value}", "/v/order"]},
                **each,
            )
            for name in ("c1", "c2", "c3")
        ]
        return ensure(lab, *three)

    all_three("one")
    lab.sh("rm /srv/order/order")
    all_three("two")
    told = lab.read("/srv/order/order").splitlines()
    assert told == [line for name in ("c1", "c2", "c3") for line in (f"down {name}", f"up {name} two")]


def test_a_failed_restart_leaves_the_later_containers_running_unchanged(lab: LabHost) -> None:
    names = ("c1", "c2", "c3")
    pids = {name: of["container"]["pid"] for name, of in ensure(lab, *map(one, names))["containers"].items()}
    wait = {"command": ["test", "-e", "/never"], "timeout": 0}
    new = [
        one(name, env={"A": "1"}, recreate="on_change", **({"wait": wait} if name == "c2" else {})) for name in names
    ]
    failed = ensure(lab, *new, expect_failure=True)
    assert failed["msg"].startswith("2 of 3 containers failed: ")
    assert failed["containers"]["c1"]["container"]["env"] == {"A": "1"}
    assert "left as it is, because c2 failed before it" in failed["containers"]["c3"]["msg"]
    assert failed["containers"]["c3"]["container"]["pid"] == pids["c3"]
