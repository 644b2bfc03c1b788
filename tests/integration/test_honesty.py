# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module tells the truth: what it predicts is what it does, what is so is left alone, what is not is seen.

The tables and the harness are in the package honesty. Each option has a resource of its own, so that one call of
`baleine_containers` drives all of them a step further; the other modules are called once for each. At the end the table
of modules and cases is printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.honesty.answers import answer
from tests.integration.honesty.by_hand import MANIFESTS
from tests.integration.honesty.case import Params
from tests.integration.honesty.cases import TABLES
from tests.integration.honesty.container_cases import NETWORK
from tests.integration.honesty.subject import Command, Containers, Store, Subject
from tests.integration.honesty.table import Table
from tests.integration.honesty.walk import told, walk
from tests.lab import debs, rpms, trees
from tests.lab.driver import Call, Driver
from tests.lab.host import LabHost

SLEEP = ["sleep", "1000"]
#: What a request has at the least.
FIRST: dict[str, Params] = {
    "baleine_container": {"image": "tiny", "command": SLEEP},
    "baleine_containers": {"image": "tiny", "command": SLEEP},
    "baleine_image": {"from_image": "tiny", "size": "80M"},
}
#: What the modules of one container are tried with besides: the rest they share with the module of many.
ALONE = (
    "env",
    "labels",
    "limits",
    "networks.addresses",
    "networks.routes",
    "secrets",
    "state",
    "restart",
    "recreate#never",
)


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    made = Table()
    yield made
    reporter, capture = (pytestconfig.pluginmanager.get_plugin(n) for n in ("terminalreporter", "capturemanager"))
    if reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.write_line("")
            for line in made.lines():
                reporter.write_line(line)


@pytest.fixture(scope="module")
def machine(lab: LabHost, tiny: str) -> LabHost:
    """The files, links and helpers that the tables speak of."""
    trees.tiny_image(lab, "other")
    lab.sh(
        "mkdir -p /srv/h/a /srv/h/b /srv/h/A; echo thunder 1 >/srv/h/one; echo thunder 2 >/srv/h/two;"
        "for number in 1 2 3 4; do ip link add hport$number type veth peer name hpeer$number; done;"
        "ip address add 10.8.3.1/24 dev hport3; ip link set hport3 up; ip address add 10.8.4.1/24 dev hport4"
    )
    lab.sh(
        "cd /srv/h && mkdir tree && debugfs -R 'rdump / tree' /var/lib/baleine/images/tiny && rm -r tree/lost+found &&"
        "tar -C tree --exclude=./www -cf two.tar . && cp two.tar two.copy"
    )
    lab.sh("debugfs -w -R 'rm /etc/hostname' /var/lib/baleine/images/other")
    debs.make_small_mirror(lab)
    rpms.make_repository(lab)
    lab.sh("cd /srv/rpm && ln -s 9 again && cp RPM-GPG-KEY-lab again.key")
    lab.rebase()
    return lab


@pytest.fixture(scope="module")
def driver(machine: LabHost) -> Driver:
    return Driver(machine)


def test_the_module_of_bridges_is_honest(driver: Driver, machine: LabHost, table: Table) -> None:
    wrong = walk(Subject(driver, "baleine_bridge", "bridge", {"addresses": ["{ip}/24"]}), machine, table)
    machine.sh("rmdir /run/baleine/guard")  # empty: nothing waits for a confirmation
    assert not wrong, told(wrong)


def test_a_port_that_another_program_added_stays_and_is_in_no_diff(driver: Driver, machine: LabHost) -> None:
    wanted = {"name": "hbr", "addresses": ["10.77.0.1/24"]}
    driver.call("baleine_bridge", wanted)
    machine.sh("ip link set hport1 master hbr")
    assert driver.call("baleine_bridge", wanted)["changed"] is False
    for mtu in (1400, 1500):
        changed = answer(driver.call("baleine_bridge", {**wanted, "mtu": mtu}), "bridge hbr")
        assert changed.differing == {"mtu"}, changed
    machine.sh("ip link show hport1 | grep 'master hbr'; ip link set hport1 nomaster down")
    assert driver.call("baleine_bridge", {"name": "hbr", "state": "absent"})["changed"]


@pytest.fixture(scope="module")
def helpers(driver: Driver, machine: LabHost) -> Iterator[None]:
    """Two bridges, and two containers that others depend on or share a network with."""
    for name, address in (("hone", "10.9.0.1/16"), ("htwo", "10.10.0.1/16")):
        assert not driver.call(
            "baleine_bridge", {"name": name, "addresses": [address, "fd09::1/64"][: 2 - (name == "htwo")]}
        ).get("failed")
    one = {"image": "tiny", "command": SLEEP}
    base = {**one, "name": "hbase", "networks": [{"bridge": "hone", "addresses": ["10.9.200.1/16"]}]}
    well = {**one, "name": "hwell", "healthcheck": {"command": "true"}}
    done = driver.call("baleine_containers", {"containers": [base, well]})
    assert not done.get("failed"), done
    yield
    disks = machine.sh("ls /var/lib/baleine/containers").stdout.split()
    gone = [
        {"name": name, "state": "absent"} for name in ("hbase", "hwell", *(name for name in disks if ".old-" in name))
    ]
    assert not driver.call("baleine_containers", {"containers": gone}).get("failed")
    assert not driver.call("baleine_volume", {"name": "hvolume", "state": "absent"}).get("failed")
    for name in ("hone", "htwo"):
        assert not driver.call("baleine_bridge", {"name": name, "state": "absent"}).get("failed")


def test_the_module_of_volumes_is_honest(driver: Driver, machine: LabHost, table: Table) -> None:
    wrong = walk(Subject(driver, "baleine_volume", "volume", {}), machine, table)
    assert not wrong, told(wrong)


def test_the_module_of_the_store_is_honest(driver: Driver, machine: LabHost, table: Table) -> None:
    wrong = walk(Store(driver, "baleine_store", "store", {}), machine, table)
    assert not wrong, told(wrong)


def test_the_module_of_images_is_honest(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    wrong = walk(Subject(driver, "baleine_image", "image", {"from_image": "tiny", "size": "80M"}), machine, table)
    assert not wrong, told(wrong)


@pytest.mark.parametrize("option", [key for key, case in TABLES["baleine_command"].items() if case.to])
def test_the_module_of_the_command_line_is_honest(driver: Driver, machine: LabHost, table: Table, option: str) -> None:
    common = {"files": {"baleine/a.py": "a"}}
    wrong = walk(Command(driver, "baleine_command", "", common, keys=[option]), machine, table)
    assert not wrong, told(wrong)


COMMON = {"image": "tiny", "command": SLEEP, "networks": [NETWORK], "recreate": "on_change"}


def test_the_module_of_one_container_is_honest(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    wrong = walk(Subject(driver, "baleine_container", "container", COMMON, keys=ALONE, prefix="s"), machine, table)
    assert not wrong, told(wrong)


def test_the_module_of_many_containers_is_honest(driver: Driver, machine: LabHost, table: Table, helpers: None) -> None:
    wrong = walk(Containers(driver, "baleine_containers", "container", COMMON), machine, table)
    assert not wrong, told(wrong)


def unless(true: bool, *said: Any) -> list[str]:
    """What was said, unless something is true."""
    return [] if true else [" ".join(map(str, said))]


def test_prune_removes_exactly_the_selected_containers_that_are_not_listed(
    driver: Driver, machine: LabHost, table: Table, helpers: None
) -> None:
    """What is selected and not listed is named in the prediction, and goes; what is listed, or not selected, stays."""
    module, wrong, tried = "baleine_containers", list[str](), dict.fromkeys(("check", "again", "spelled", "case"), 0)
    made = [{**COMMON, "name": name, "networks": [], "labels": {"honest": "gone"}} for name in ("hgone1", "hgone2")]
    for key, case in TABLES[module].items():
        if not key.startswith("prune."):
            continue
        tried["check"] += 1
        assert not driver.call(module, {"containers": made}).get("failed")
        for cased in [case.cased] if case.cased else []:
            tried["case"] += 1
            wrong += unless(not driver.call(module, {"containers": made[:1], **cased}, True)["changed"], key, cased)
        for spelled in case.same:
            tried["spelled"] += 1
            diffs = [driver.call(module, {"containers": made[:1], **how}, True)["diff"] for how in (case.to, spelled)]
            wrong += unless(diffs[0] == diffs[1], key, diffs)
        for listed, going in ((made[:1], "hgone2"), ([], "hgone1")):
            tried["again"] += 1
            wanted = {"containers": listed, **case.to}
            predicted, done, again = (driver.call(module, wanted, check) for check in (True, False, False))
            same = all(predicted[part] == done[part] for part in ("changed", "diff", "actions", "drift"))
            wrong += unless(same and done["changed"], key, predicted, done)
            wrong += unless([name for name, of in done["containers"].items() if of["changed"]] == [going], key, done)
            wrong += unless(not again["changed"] and len(again["containers"]) == len(listed), key, again)
        found = {item["name"] for item in driver.call("baleine_container_info", {})["containers"]}
        wrong += unless({"hbase", "hwell"} <= found and not {"hgone1", "hgone2"} & found, key, found)
    for step, count in tried.items():
        table.fill(f"{module}: prune", step, count, wrong)
    assert not wrong, told(wrong)


def test_the_module_of_exports_is_honest(driver: Driver, machine: LabHost, table: Table) -> None:
    """A file that is not there, or holds something else, is written; other ways to it are no change."""
    module, wrong, tried = "baleine_image_export", dict[str, list[str]](), dict[str, int]()

    def say(step: str, *texts: str) -> None:
        wrong.setdefault(step, []).extend(texts)
        tried[step] = tried.get(step, 0) + 1

    for key, case in TABLES[module].items():
        if not case.to:
            continue
        wanted = {"name": "tiny", **case.base, **case.to}
        file = str(wanted["target"]).partition(":")[2]
        if case.does == "nothing":
            done, again = (driver.call(module, params) for params in ({"name": "tiny", **case.base}, wanted))
            say("option", *unless(again["changed"] is False and not done.get("failed"), key, again))
            continue
        machine.sh(f"rm -f {file}")
        for step, spoil in (("check", "true"), ("drift", f"rm {file}"), ("drift", f"echo mine >{file}")):
            machine.sh(spoil)
            held = machine.sh(f"cksum {file} || true").stdout
            predicted = driver.call(module, wanted, True)
            untouched = machine.sh(f"cksum {file} || true").stdout == held
            done, again = (driver.call(module, wanted) for _twice in range(2))
            same = all(predicted.get(part) == done.get(part) for part in ("diff", "actions", "changed", "export"))
            same = same and done["changed"] and done["diff"]["before"] != done["diff"]["after"]
            say(step, *unless(same and untouched, key, predicted, done))
            say("again", *unless(again.get("changed") is False, key, again))
        machine.sh(f"rm {file}")
        both = driver.together([Call(module, wanted), Call(module, wanted)])
        say("two at once", *unless(sorted(str(one.get("changed")) for one in both) == ["False", "True"], key, both))
        for spelled in case.same:
            again = driver.call(module, {**wanted, **spelled})
            say("spelled", *unless(again.get("changed") is False, key, again))
        if case.cased is not None:
            seen = driver.call(module, {**wanted, **case.cased}, True)
            say("case", *unless(seen["changed"], key, seen))
    found = [text for step, texts in wrong.items() for text in table.fill(module, step, tried[step], texts)]
    assert not found, told(found)


def test_the_module_of_programs_inside_containers_is_honest(
    driver: Driver, machine: LabHost, table: Table, helpers: None
) -> None:
    """With `creates` or `removes` they are predicted; what nobody can know is skipped in check mode."""
    wrong, cased = list[str](), 0
    for key, case in TABLES["baleine_container_exec"].items():
        if case.to:
            early = driver.call("baleine_container_exec", {"name": "hlater", **case.to}, True)
            expected = (key == "creates", key != "creates", 1)
            said = (early.get("changed"), early.get("skipped"), len(early.get("warnings", ())))
            wrong += unless(said == expected, key, early)
            wanted = {"name": "hbase", **case.to}
            predicted, done = (driver.call("baleine_container_exec", wanted, check) for check in (True, False))
            expected = (True, False) if case.does == "change" else (False, True)
            if (
                (predicted.get("changed"), predicted.get("skipped")) != expected
                or not done.get("changed")
                or done["rc"]
            ):
                wrong.append(f"{key}: {predicted} / {done}")
            if case.does == "change":
                if case.cased is not None:
                    seen = driver.call("baleine_container_exec", {**wanted, **case.cased}, True)
                    wrong += unless(seen.get("changed") is True, key, seen)
                    cased += 1
                again = [driver.call("baleine_container_exec", wanted, check) for check in (True, False)]
                wrong += [f"{key}: {again}" for item in again if item.get("changed") is not False]
    count = sum(bool(case.to) for case in TABLES["baleine_container_exec"].values())
    table.fill("baleine_container_exec", "case", cased, wrong)
    assert not table.fill("baleine_container_exec", "option", count, wrong), told(wrong)


@pytest.mark.parametrize("module", [name for name in TABLES if any(case.lacking for case in TABLES[name].values())])
def test_a_missing_resource_is_warned_of_in_check_mode_and_refused_otherwise(
    driver: Driver, machine: LabHost, table: Table, helpers: None, module: str
) -> None:
    """The prediction warns of it by name; the act is refused for it, and leaves nothing."""
    wrong, tried = list[str](), 0
    for key, case in TABLES[module].items():
        for lacking in [case.lacking] if case.lacking else []:
            tried += 1
            params = {"name": "hlack", **FIRST.get(module, {}), **case.base, **lacking.params}
            params = {name: value for name, value in params.items() if value is not None}
            params = params if module != "baleine_containers" else {"containers": [params]}
            predicted, done = driver.call(module, params, True), driver.call(module, params)
            warned = [text for text in map(str, predicted.get("warnings", ())) if lacking.words in text]
            wrong += unless(predicted["changed"] is True and len(warned) == 1, key, predicted)
            wrong += unless(lacking.words in str(done.get("msg")), key, done)
            left = machine.sh(f"find /var/lib/baleine /run/baleine {MANIFESTS} -name '*hlack*'").stdout
            wrong += unless(not left, key, left)
    assert not table.fill(module, "missing", tried, wrong), told(wrong)


@pytest.mark.parametrize("module", [name for name in TABLES if name.endswith("_info")])
def test_an_info_module_changes_nothing(
    driver: Driver, machine: LabHost, table: Table, helpers: None, module: str
) -> None:
    params = TABLES[module]["names"].to if "names" in TABLES[module] else {}
    manifests = machine.sh(f"cd {MANIFESTS} && find . -type f | sort | xargs sha256sum").stdout
    predicted, done = (driver.call(module, params, check) for check in (True, False))
    wrong = [] if done.get("changed") is False and predicted.get("changed") is False else [f"{predicted} / {done}"]
    for items in [done[key] for key in ("bridges", "containers", "images") if key in done]:
        wrong += [] if [item["name"] for item in items] == ["hbase", "hnone"] else [str(items)]
        wrong += (
            [] if [item["exists"] for item in items] == [module == "baleine_container_info", False] else [str(items)]
        )
    wrong += (
        []
        if manifests == machine.sh(f"cd {MANIFESTS} && find . -type f | sort | xargs sha256sum").stdout
        else ["wrote"]
    )
    assert not table.fill(module, "check", 1, wrong), told(wrong)
