# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: requests, and plans from what is wanted and found."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import container, description, enter, network
from baleine.container import Found
from baleine.errors import BaleineError
from baleine.plan import Plan
from tests.unit.support import Addresses, link, reasons, replace, verbs

WHAT = "container web1"
PARAMS: dict[str, Any] = {
    "name": "web1",
    "image": "debian",
    "command": ["/bin/sleep", "1"],
    "hostname": "web1",
    "env": {"A": "1", "B": "2"},
    "workdir": "/srv",
    "user": "www-data",
    "init": True,
    "limits": {"memory": "512M", "cpus": 0.5, "cpuset": "0-1", "pids": 100},
    "volumes": [{"source": "/srv/www", "target": "/var/www", "read_only": True}],
    "networks": [
        {
            "bridge": "private",
            "addresses": ["192.168.42.2/24", "fd00::2/64"],
            "gateway": "192.168.42.1",
            "routes": [{"destination": "10.9.0.0/16", "gateway": "192.168.42.3"}],
            "mac": "02:00:00:00:00:01",
            "mtu": 1400,
        },
        {"bridge": "public", "addresses": ["10.0.0.2/8"]},
    ],
}
BRIDGES = {"private": ("192.168.42.1/24", "fd00::1/64"), "public": ("10.0.0.1/8",), "third": ()}
AROUND: dict[str, Any] = {
    "bridges": BRIDGES,
    "mtus": {"private": 1500, "public": 1500, "third": 9000},
    "used": {"private": {"192.168.42.1": "the bridge private itself", "192.168.42.9": "container web9"}},
    "image_digest": "sha256:d1",
}


def wanted(**changes: Any) -> container.Wanted:
    return container.request({**PARAMS, **changes})


def net(index: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """The networks of PARAMS with one option of one of them changed."""
    return [{**item, **changes} if number == index else item for number, item in enumerate(PARAMS["networks"])]


def shown(interfaces: Any, mtus: dict[str, int]) -> dict[str, Any]:
    """What the kernel shows of interfaces that are as recorded."""
    host, inside = {}, {}
    for item in interfaces:
        mtu = item.network.mtu or mtus[item.network.bridge]
        host[item.link] = link(item.link, master=item.network.bridge, mtu=mtu)
        inside[item.inside] = {
            "mac": item.mac, "mtu": mtu, "up": True, "addresses": list(item.network.addresses),
            "routes": network.wanted_routes(item.network),
        }  # fmt: skip
    return {"host_links": host, "inside": inside}


def there(state: str = "running", around: Any = None, **changes: Any) -> Found:
    """A container that was made from PARAMS (and changes) and is exactly as recorded."""
    around = around or AROUND
    made = wanted(**changes).description
    assert made is not None
    interfaces = network.interfaces_for("web1", made.networks, [], [])
    kept = {
        "state": state, "wanted_state": "started" if state == "running" else "stopped", "image_digest": "sha256:d1",
        "first_id": "1879048192",
    }  # fmt: skip
    record = description.to_record("web1", made, interfaces, kept)
    read, again = description.from_record("web1", record)
    alive = state == "running"
    kernel = {"limits": dict(made.limits), **shown(interfaces, around["mtus"])} if alive else {}
    return Found(record=record, description=read, interfaces=again, alive=alive, disk=True, **{**around, **kernel})


RUNNING = there()
STOPPED = there("stopped")
DIED = replace(there("stopped"), record={**RUNNING.record, "wanted_state": "started"})  # type: ignore[dict-item]
NOTHING = Found(**AROUND)


def after(decided: Plan, found: Found, goal: container.Wanted) -> Found:
    """What is there once a plan is carried out, with the rules that lifecycle.py follows."""
    for action in decided.actions:
        made = action.data.get("description")
        record = dict(found.record or {})
        if action.verb in ("create", "recreate"):
            interfaces = network.interfaces_for("web1", made.networks, found.interfaces, found.taken)
            record = description.to_record(
                "web1", made, interfaces, {"wanted_state": "stopped", **record, "state": "stopped"}
            )
            if action.verb == "create" or action.data["new_disk"]:
                record["image_digest"] = found.image_digest or ""
            started = action.data.get("start", False)
            found = replace(found, record=record, description=made, interfaces=interfaces, disk=True, alive=False)
            if started:
                found = start(found)
        elif action.verb == "start":
            assert not found.alive, "started twice"
            found = start(found)
        elif action.verb in ("stop", "settle"):
            found = replace(found, alive=False, leftovers=(), record={**record, "state": "stopped"})
        elif action.verb == "remove":
            assert not found.alive, "removed while it runs"
            return Found(**AROUND)
        elif action.verb == "set_limits":
            new = replace(found.description, limits=action.data["limits"])  # type: ignore[type-var]
            found = replace(found, description=new, limits=action.data["limits"] if found.alive else {})
        elif action.verb == "cut":
            name = next(item.inside for item in found.interfaces if item.link == action.data["link"])
            inside = {key: value for key, value in found.inside.items() if key != name}
            host = {key: value for key, value in found.host_links.items() if key != action.data["link"]}
            found = replace(found, inside=inside, host_links=host)
        elif action.verb == "connect":
            found = connect(found, action.data["interface"], action.data["mending"])
        elif action.verb == "record_networks":
            interfaces = action.data["interfaces"]
            networks = tuple(item.network for item in interfaces)
            new = replace(found.description, networks=networks)  # type: ignore[type-var]
            found = replace(found, interfaces=interfaces, description=new)
        else:
            assert action.verb == "wish"
    if goal.state in ("started", "stopped") and found.record is not None and decided.actions:
        found = replace(found, record={**found.record, "wanted_state": goal.state})
    return found


def start(found: Found) -> Found:
    assert found.disk, "started without a disk"
    record = {**(found.record or {}), "state": "running"}
    limits = dict(found.description.limits)  # type: ignore[union-attr]
    kernel = shown(found.interfaces, dict(found.mtus))
    return replace(found, record=record, alive=True, leftovers=(), limits=limits, **kernel)


def connect(found: Found, item: network.Interface, mending: network.Mending) -> Found:
    fresh = shown([item], dict(found.mtus))
    if mending.remake:
        inside = fresh["inside"][item.inside]
    else:
        old = found.inside[item.inside]
        kernel = Addresses(old["addresses"], old["routes"])
        kernel.batch(mending.inside)
        inside = {**old, "addresses": kernel.list, "routes": kernel.routes}
        for line in mending.inside:
            words = line.split()
            if words[:2] == ["link", "set"]:
                change = {"mtu": {"mtu": words[-1]}, "address": {"mac": words[-1]}, "up": {"up": True}}[words[4]]
                inside.update({key: int(value) if key == "mtu" else value for key, value in change.items()})
    host = fresh["host_links"][item.link] if mending.host or mending.remake else found.host_links[item.link]
    return replace(
        found, inside={**found.inside, item.inside: inside}, host_links={**found.host_links, item.link: host}
    )


# ---- requests


@pytest.mark.parametrize(
    ("params", "normal"),
    [
        ({"name": "web1"}, container.Wanted("web1")),
        ({"name": "web1", "state": "stopped"}, container.Wanted("web1", "stopped")),
        ({"name": "web1", "restart": True}, container.Wanted("web1", restart=True)),
        ({"name": "web1", "wait": {"http": "/"}, "env": None, "limits": None}, container.Wanted("web1")),
        ({"name": "web1", "state": "absent", "env": {"A": "1"}, "command": "x"}, container.Wanted("web1", "absent")),
    ],
    ids=["bare", "stopped", "restart", "wait", "absent"],
)
def test_a_task_without_image_changes_only_the_state(params, normal):
    assert container.request(params) == normal


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, value in PARAMS.items() if key not in ("name", "image")]
    + [
        ("recreate", "on_change"),
        ("recreate", "always"),
        ("networks", []),
        ("env", {}),
        ("init", False),
        ("directory", "/srv"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("state", [None, "started", "stopped", "present"])
def test_a_task_without_image_accepts_no_other_option(key, value, state):
    with pytest.raises(BaleineError, match=f"container web1: {key} without image"):
        container.request({"name": "web1", "state": state, key: value})


def test_all_surplus_options_are_named():
    with pytest.raises(BaleineError, match="env, user without image"):
        container.request({"name": "web1", "user": "a", "env": {}})


@pytest.mark.parametrize("name", ["a/b", "a b", "..", "a" * 300, ""])
def test_an_invalid_name_is_refused(name):
    with pytest.raises(BaleineError, match="container"):
        container.request({**PARAMS, "name": name})


# ---- one change at a time, on a running container

IN_PLACE = {
    "memory": ({"limits": {**PARAMS["limits"], "memory": "1G"}}, ["set_limits"]),
    "cpus": ({"limits": {**PARAMS["limits"], "cpus": 2}}, ["set_limits"]),
    "cpuset": ({"limits": {**PARAMS["limits"], "cpuset": "0"}}, ["set_limits"]),
    "pids": ({"limits": {**PARAMS["limits"], "pids": 200}}, ["set_limits"]),
    "weight": ({"limits": {**PARAMS["limits"], "cpu_weight": 200}}, ["set_limits"]),
    "nodes": ({"limits": {**PARAMS["limits"], "cpuset_mems": "0"}}, ["set_limits"]),
    "io": ({"limits": {**PARAMS["limits"], "io_write_rate": "10M"}}, ["set_limits"]),
    "devices": ({"limits": {**PARAMS["limits"], "devices": [{"path": "/dev/fuse"}]}}, ["set_limits"]),
    "memory gone": ({"limits": {**PARAMS["limits"], "memory": None}}, ["set_limits"]),
    "cpuset gone": ({"limits": {**PARAMS["limits"], "cpuset": None}}, ["set_limits"]),
    "all limits gone": ({"limits": None}, ["set_limits"]),
    "address": ({"networks": net(addresses=["192.168.42.3/24", "fd00::2/64"])}, ["connect", "record_networks"]),
    "address more": (
        {"networks": net(addresses=["192.168.42.2/24", "fd00::2/64", "192.168.42.3/24"])}, ["connect", "record_networks"],
    ),
    "address gone": ({"networks": net(addresses=["192.168.42.2/24"])}, ["connect", "record_networks"]),
    "prefix": ({"networks": net(1, addresses=["10.0.0.2/16"])}, ["connect", "record_networks"]),
    "gateway": ({"networks": net(gateway="192.168.42.7")}, ["connect", "record_networks"]),
    "gateway gone": ({"networks": net(gateway=None)}, ["connect", "record_networks"]),
    "route gone": ({"networks": net(routes=[])}, ["connect", "record_networks"]),
    "route": (
        {"networks": net(routes=[{"destination": "10.8.0.0/16", "gateway": "192.168.42.3"}])}, ["connect", "record_networks"],
    ),
    "mac": ({"networks": net(mac="02:00:00:00:00:02")}, ["connect", "record_networks"]),
    "mac gone": ({"networks": net(mac=None)}, ["connect", "record_networks"]),
    "mtu": ({"networks": net(mtu=1300)}, ["connect", "record_networks"]),
    "mtu gone": ({"networks": net(mtu=None)}, ["connect", "record_networks"]),
    "bridge": ({"networks": net(1, bridge="third")}, ["connect", "record_networks"]),
    "network more": ({"networks": [*net(), {"bridge": "third"}]}, ["connect", "record_networks"]),
    "network gone": ({"networks": net()[:1]}, ["cut", "record_networks"]),
    "all networks gone": ({"networks": None}, ["cut", "cut", "record_networks"]),
    "networks in another order": ({"networks": net()[::-1]}, ["connect", "connect", "record_networks"]),
    "limit and network": ({"limits": None, "networks": net()[:1]}, ["set_limits", "cut", "record_networks"]),
}  # fmt: skip

RECREATED = {
    "command": {"command": ["/bin/sleep", "2"]},
    "command, case only": {"command": ["/bin/Sleep", "1"]},
    "argument gone": {"command": ["/bin/sleep"]},
    "env": {"env": {"A": "1", "B": "3"}},
    "env, case only": {"env": {"A": "1", "b": "2"}},
    "env more": {"env": {"A": "1", "B": "2", "C": ""}},
    "env element gone": {"env": {"A": "1"}},
    "env gone": {"env": None},
    "workdir": {"workdir": "/"},
    "workdir gone": {"workdir": None},
    "user": {"user": "root"},
    "user gone": {"user": None},
    "hostname": {"hostname": "other"},
    "init": {"init": False},
    "volume": {"volumes": [{"source": "/srv/other", "target": "/var/www", "read_only": True}]},
    "volume writable": {"volumes": [{"source": "/srv/www", "target": "/var/www"}]},
    "volume gone": {"volumes": []},
    "directory": {"directory": "/srv/trees/web1"},
    "capability added": {"capabilities": {"add": ["NET_RAW"]}},
    "capability dropped": {"capabilities": {"drop": ["CAP_KILL"]}},
    "new privileges": {"no_new_privileges": False},
    "system calls": {"seccomp": "unconfined"},
    "apparmor": {"apparmor": "unconfined"},
    "ids": {"userns": "host"},
    "read only": {"read_only": True},
    "tmpfs": {"tmpfs": [{"target": "/run"}]},
}

SAME = {
    "nothing": {},
    "command as text": {"command": "/bin/sleep 1"},
    "sizes": {"limits": {"memory": 536870912, "cpus": "0.5", "cpuset": "1,0", "pids": 100}},
    "sizes with a unit": {"limits": {**PARAMS["limits"], "memory": "512MiB"}},
    "addresses": {"networks": net(addresses=["192.168.42.2/255.255.255.0", "FD00:0:0::2/64"])},
    "mac": {"networks": net(mac="02-00-00-00-00-01")},
    "env in another order": {"env": {"B": "2", "A": 1}},
    "default hostname": {"hostname": None},
    "default init": {"init": None},
    "volume": {"volumes": [{"source": "/srv//www/", "target": "/var/www/", "read_only": True}]},
    "image": {"image": "debian:latest"},
    "recreate": {"recreate": "on_change"},
    "usual capabilities": {"capabilities": {"add": ["CAP_CHOWN", "kill"], "drop": ["NET_RAW"]}},
    "default privileges": {"no_new_privileges": True, "seccomp": "default", "userns": "auto", "read_only": False},
    "no tmpfs": {"tmpfs": []},
}


@pytest.mark.parametrize(("changes", "expected"), IN_PLACE.values(), ids=IN_PLACE.keys())
@pytest.mark.parametrize("recreate", ["never", "on_change"])
def test_limits_and_networks_change_in_place_without_any_other_step(changes, expected, recreate):
    decided = container.plan(wanted(recreate=recreate, **changes), RUNNING)
    assert verbs(decided) == expected
    assert decided.drift == ()
    assert decided.before != decided.after


@pytest.mark.parametrize(("changes", "expected"), IN_PLACE.values(), ids=IN_PLACE.keys())
def test_a_change_of_a_stopped_container_changes_only_its_record(changes, expected):
    decided = container.plan(wanted(state="stopped", **changes), STOPPED)
    assert verbs(decided) == [verb for verb in expected if verb in ("set_limits", "record_networks")]


@pytest.mark.parametrize("changes", RECREATED.values(), ids=RECREATED.keys())
def test_a_change_that_needs_a_recreate_is_refused_with_the_difference_and_the_loss(changes):
    with pytest.raises(BaleineError) as caught:
        container.plan(wanted(**changes), RUNNING)
    (key,) = changes
    assert f"cannot change in place: {key} " in caught.value.message
    assert "recreate: on_change" in caught.value.hint
    assert "disk would be kept" in caught.value.hint


@pytest.mark.parametrize("changes", RECREATED.values(), ids=RECREATED.keys())
@pytest.mark.parametrize(
    ("found", "state", "start"),
    [(RUNNING, "started", True), (STOPPED, "stopped", False), (RUNNING, "stopped", False), (STOPPED, "started", True)],
    ids=["stays up", "stays down", "goes down", "comes up"],
)
def test_recreate_on_change_recreates_the_container_and_keeps_its_disk(changes, found, state, start):
    decided = container.plan(wanted(recreate="on_change", state=state, **changes), found)
    assert verbs(decided) == ["recreate"]
    assert decided.actions[0].data["new_disk"] is False
    assert decided.actions[0].data["start"] is start
    assert next(iter(changes)) in decided.actions[0].reason


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_another_spelling_changes_nothing(changes):
    decided = container.plan(wanted(**changes), RUNNING)
    assert verbs(decided) == [], reasons(decided)
    assert decided.drift == decided.warnings == ()


@pytest.mark.parametrize("found", [RUNNING, STOPPED], ids=["running", "stopped"])
def test_recreate_always_recreates_and_keeps_the_disk(found):
    decided = container.plan(wanted(recreate="always"), found)
    assert verbs(decided) == ["recreate"]
    assert decided.actions[0].reason == "always is wanted"
    assert decided.actions[0].data["new_disk"] is False


# ---- images


def test_another_image_is_refused_with_the_data_that_would_be_lost():
    with pytest.raises(BaleineError, match="image debian -> other") as caught:
        container.plan(wanted(image="other"), RUNNING)
    assert "kept aside" in caught.value.hint


def test_another_image_makes_a_new_disk_if_recreate_allows_it():
    decided = container.plan(wanted(image="other", recreate="on_change"), RUNNING)
    assert verbs(decided) == ["recreate"]
    assert decided.actions[0].data["new_disk"] is True


@pytest.mark.parametrize(
    ("recreate", "expected", "warned"),
    [("never", [], True), ("on_change", ["recreate"], False), ("always", ["recreate"], True)],
)
def test_a_rebuilt_image_is_reported_and_used_only_if_the_task_asks_for_it(recreate, expected, warned):
    decided = container.plan(wanted(recreate=recreate), replace(RUNNING, image_digest="sha256:d2"))
    assert verbs(decided) == expected
    assert any("image_outdated" in text for text in decided.warnings) is warned
    if recreate == "on_change":
        assert decided.actions[0].data["new_disk"] is True
        assert "rebuilt" in decided.actions[0].reason


@pytest.mark.parametrize("digest", [None, ""], ids=["removed", "of the old scripts"])
def test_a_container_is_not_outdated_if_its_image_is_gone_or_has_no_digest(digest):
    decided = container.plan(wanted(), replace(RUNNING, image_digest=digest))
    assert (verbs(decided), decided.warnings) == ([], ())


@pytest.mark.parametrize(
    "found",
    [
        NOTHING,
        replace(there("stopped"), disk=False),
        replace(RUNNING, record={**RUNNING.record, "state": "creating"}, alive=False, disk=False),  # type: ignore[dict-item]
    ],
    ids=["nothing", "disk gone", "interrupted"],
)
def test_a_container_without_its_image_is_not_created(found):
    found = replace(found, image_digest=None)
    with pytest.raises(BaleineError, match="there is no image debian"):
        container.plan(wanted(), found)
    assert any("debian" in text for text in container.plan(wanted(), found, check=True).warnings)


# ---- surroundings


def test_missing_resources_are_warned_of_in_check_mode_and_refused_otherwise():
    decided = container.plan(wanted(), Found(), check=True)
    assert verbs(decided) == ["create", "start"]
    assert [text.partition(";")[0] for text in decided.warnings] == [
        f"{WHAT}: there is no image debian", f"{WHAT}: there is no bridge private", f"{WHAT}: there is no bridge public",
    ]  # fmt: skip
    with pytest.raises(BaleineError, match="there is no image debian"):
        container.plan(wanted(), Found())
    with pytest.raises(BaleineError, match="there is no bridge private"):
        container.plan(wanted(), replace(NOTHING, bridges={}))


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("networks", "why"),
    [
        (net(addresses=["192.168.42.9/24"]), "192.168.42.9 is in use on the bridge private by container web9"),
        (net(addresses=["192.168.42.1/24"], routes=None), "in use .* the bridge private itself"),
    ],
)
@pytest.mark.parametrize("found", [NOTHING, RUNNING], ids=["nothing", "running"])
def test_an_invalid_address_is_refused_before_any_change(networks, why, found, check):
    with pytest.raises(BaleineError, match=why):
        container.plan(wanted(networks=networks), found, check=check)


def test_an_address_outside_the_network_of_its_bridge_is_only_warned_of_in_check_mode():
    outside = wanted(networks=net(addresses=["192.168.43.2/24"], gateway=None, routes=None))
    text = "the address 192.168.43.2/24 is outside the network of the bridge private (192.168.42.0/24)"
    for found in (NOTHING, RUNNING):
        decided = container.plan(outside, found, check=True)
        assert decided.warnings == (f"{WHAT}: {text}; taken to come from an earlier task",)
        with pytest.raises(BaleineError, match="outside the network of the bridge private"):
            container.plan(outside, found)


def test_a_container_does_not_collide_with_its_own_address():
    used = {"private": {"192.168.42.2": WHAT, "fd00::2": WHAT}, "public": {"10.0.0.2": WHAT}}
    assert not container.plan(wanted(), replace(RUNNING, used=used)).changed


# ---- states

STATES = {
    "nothing, started": (NOTHING, {}, ["create", "start"]),
    "nothing, present": (NOTHING, {"state": "present"}, ["create"]),
    "nothing, stopped": (NOTHING, {"state": "stopped"}, ["create"]),
    "running, started": (RUNNING, {}, []),
    "running, present": (RUNNING, {"state": "present"}, []),
    "running, stopped": (RUNNING, {"state": "stopped"}, ["stop"]),
    "running, restart": (RUNNING, {"restart": True}, ["stop", "start"]),
    "stopped, started": (STOPPED, {}, ["start"]),
    "stopped, present": (STOPPED, {"state": "present"}, []),
    "stopped, stopped": (STOPPED, {"state": "stopped"}, []),
    "stopped, restart": (STOPPED, {"restart": True}, ["start"]),
    "died, started": (DIED, {}, ["start"]),
    "died, stopped": (DIED, {"state": "stopped"}, ["settle"]),
    "stopped with left-overs, stopped": (replace(STOPPED, leftovers=("/run/x",)), {"state": "stopped"}, ["settle"]),
    "creating, started": (
        replace(NOTHING, record={**STOPPED.record, "state": "creating"}, description=STOPPED.description), {}, ["create", "start"],
    ),
    "removing, started": (
        replace(NOTHING, record={**STOPPED.record, "state": "removing"}, description=STOPPED.description), {}, ["create", "start"],
    ),
    "disk gone, started": (replace(STOPPED, disk=False), {}, ["create", "start"]),
    "disk gone, other image": (
        replace(STOPPED, disk=False), {"image": "other", "recreate": "on_change"}, ["create", "start"],
    ),
    "disk gone while it runs": (
        replace(RUNNING, disk=False), {"recreate": "on_change"}, ["stop", "create", "start"],
    ),
    "running, wanted stopped once": (
        replace(RUNNING, record={**RUNNING.record, "wanted_state": "stopped"}), {}, ["wish"],
    ),
    "stopped, wanted started once": (
        replace(STOPPED, record={**STOPPED.record, "wanted_state": "started"}), {"state": "stopped"}, ["wish"],
    ),
}  # type: ignore[dict-item]  # fmt: skip


@pytest.mark.parametrize(("found", "changes", "expected"), STATES.values(), ids=STATES.keys())
def test_a_state_takes_exactly_these_steps(found, changes, expected):
    assert verbs(container.plan(wanted(**changes), found)) == expected


@pytest.mark.parametrize(
    ("found", "state", "expected"),
    [
        (RUNNING, "started", []),
        (RUNNING, "stopped", ["stop"]),
        (RUNNING, "present", []),
        (STOPPED, "started", ["start"]),
        (STOPPED, "stopped", []),
        (DIED, "started", ["start"]),
        (RUNNING, "absent", ["stop", "remove"]),
        (STOPPED, "absent", ["remove"]),
        (NOTHING, "absent", []),
        (replace(NOTHING, leftovers=("/run/x",)), "absent", ["remove"]),
        (replace(NOTHING, disk=True), "absent", ["remove"]),
        (replace(STOPPED, record={**STOPPED.record, "state": "removing"}), "absent", ["remove"]),  # type: ignore[dict-item]
        (replace(STOPPED, record={**STOPPED.record, "state": "creating"}), "absent", ["remove"]),  # type: ignore[dict-item]
    ],
)
def test_a_task_without_image_takes_exactly_these_steps(found, state, expected):
    assert verbs(container.plan(container.Wanted("web1", state), found)) == expected


@pytest.mark.parametrize("state", ["started", "stopped", "present"])
@pytest.mark.parametrize("recorded", [None, "creating", "removing"])
def test_a_state_of_a_missing_container_is_an_error(state, recorded):
    found = NOTHING
    if recorded:
        found = replace(STOPPED, record={**STOPPED.record, "state": recorded}, disk=False)  # type: ignore[dict-item]
    with pytest.raises(BaleineError, match="container web1"):
        container.plan(container.Wanted("web1", state), found)


def test_a_container_without_its_disk_cannot_be_started_by_name_only():
    with pytest.raises(BaleineError, match="disk"):
        container.plan(container.Wanted("web1"), replace(STOPPED, disk=False))


def test_a_task_without_image_compares_only_the_state():
    away = replace(RUNNING, limits={}, host_links={}, inside={}, bridges={}, image_digest=None)
    assert not container.plan(container.Wanted("web1"), away).changed


def test_old_disks_that_stay_are_reported():
    decided = container.plan(
        container.Wanted("web1", "absent"), replace(STOPPED, old_disks=("web1.old-20200101T000000Z",))
    )
    assert "web1.old-20200101T000000Z" in " ".join(decided.warnings)


# ---- drift


def moved(**changes: Any) -> Found:
    return replace(RUNNING, inside={**RUNNING.inside, "eth0": {**RUNNING.inside["eth0"], **changes}})


FIRST = RUNNING.interfaces[0].link
DRIFT = {
    "died": (DIED, ["start"], "first process is gone"),
    "disk": (replace(STOPPED, disk=False), ["create", "start"], "disk is gone"),
    "memory": (replace(RUNNING, limits={**RUNNING.limits, "memory": None}), ["set_limits"], "limits.memory was none"),
    "pids": (replace(RUNNING, limits={**RUNNING.limits, "pids": 7}), ["set_limits"], "limits.pids was 7"),
    "cpus": (replace(RUNNING, limits={**RUNNING.limits, "cpus": 1.0}), ["set_limits"], "limits.cpus was 1.0"),
    "cpuset": (replace(RUNNING, limits={**RUNNING.limits, "cpuset": "0"}), ["set_limits"], "limits.cpuset was 0"),
    "link": (replace(RUNNING, host_links={}), ["connect", "connect"], "its link is gone"),
    "one link": (replace(RUNNING, inside={"eth1": RUNNING.inside["eth1"]}), ["connect"], "eth0: its link is gone"),
    "bridge": (
        replace(RUNNING, host_links={**RUNNING.host_links, FIRST: {**RUNNING.host_links[FIRST], "master": None}}),
        ["connect"], "not on private",
    ),
    "address": (moved(addresses=["fd00::2/64"]), ["connect"], "address 192.168.42.2/24 missing"),
    "address more": (
        moved(addresses=["192.168.42.2/24", "fd00::2/64", "10.1.1.1/24"]), ["connect"], "address 10.1.1.1/24 too many",
    ),
    "route": (moved(routes=set()), ["connect"], "route default via 192.168.42.1 missing"),
    "mtu": (moved(mtu=1500), ["connect"], "mtu 1500 -> 1400"),
    "mac": (moved(mac="02:00:00:00:00:0f"), ["connect"], "mac 02:00:00:00:00:0f"),
    "down": (moved(up=False), ["connect"], "down"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "expected", "drift"), DRIFT.values(), ids=DRIFT.keys())
def test_settings_that_the_kernel_lost_are_restored_and_reported_as_drift(found, expected, drift):
    decided = container.plan(wanted(), found)
    assert verbs(decided) == expected
    assert all(text.startswith(f"{WHAT}: ") for text in decided.drift)
    assert any(drift in text for text in decided.drift), decided.drift
    assert "drift" in reasons(decided)


def test_an_interface_follows_the_mtu_of_its_bridge():
    networks = [{"bridge": "third"}]
    found = there(networks=networks)
    assert not container.plan(wanted(networks=networks), found).changed
    decided = container.plan(wanted(networks=networks), replace(found, mtus={"third": 1500}))
    assert verbs(decided) == ["connect"]


# ---- twice

GOALS = {
    **{f"in place: {key}": changes for key, (changes, _verbs) in IN_PLACE.items()},
    **{f"recreate: {key}": {**changes, "recreate": "on_change"} for key, changes in RECREATED.items()},
    **{f"same: {key}": changes for key, changes in SAME.items()},
    "image": {"image": "other", "recreate": "on_change"},
    "both": {"command": "/bin/x", "networks": None, "limits": None, "recreate": "on_change"},
}
STARTS = {
    "nothing": NOTHING, "running": RUNNING, "stopped": STOPPED,
    "outdated": replace(RUNNING, image_digest="sha256:d2"),
    **{f"drift: {key}": found for key, (found, _verbs, _drift) in DRIFT.items()},
}  # fmt: skip


@pytest.mark.parametrize("state", ["started", "stopped", "present"])
@pytest.mark.parametrize("changes", GOALS.values(), ids=GOALS.keys())
def test_a_second_plan_is_empty_from_every_starting_point(changes, state):
    goal = wanted(state=state, **changes)
    left_over = {}
    for start_, found in STARTS.items():
        try:
            first = container.plan(goal, found)
        except BaleineError:
            assert goal.recreate == "never"
            continue
        try:
            left = after(first, found, goal)
        except (AssertionError, KeyError) as error:
            left_over[start_] = f"{verbs(first)}: {error}"
            continue
        second = container.plan(goal, left)
        if second.changed or (state != "present" and second.drift):
            left_over[start_] = reasons(second) or second.drift
        if state != "present":
            assert left.alive is (state == "started"), start_
            assert left.record["wanted_state"] == state  # type: ignore[index]
    assert left_over == {}


@pytest.mark.parametrize("found", [NOTHING, RUNNING, STOPPED, DIED], ids=["nothing", "running", "stopped", "died"])
def test_the_second_removal_changes_nothing(found):
    goal = container.Wanted("web1", "absent")
    assert not container.plan(goal, after(container.plan(goal, found), found, goal)).changed


def test_an_adopted_container_of_the_old_scripts_is_started_unchanged():
    record = {
        "nom_container": "old",
        "nom_image": "apache2",
        "pid": "42",
        "nom_bridge": "private",
        "starting_time": "x",
    }
    read, interfaces = description.from_record("old", record)
    found = Found(record=record, description=read, interfaces=interfaces, disk=True, **AROUND)
    assert verbs(container.plan(container.Wanted("old"), found)) == ["start"]
    assert verbs(container.plan(container.Wanted("old", "absent"), found)) == ["remove"]


# ---- diff, life


def test_the_diff_shows_only_the_changes():
    decided = container.plan(wanted(limits={**PARAMS["limits"], "memory": "1G"}), RUNNING)
    before, after_ = dict(decided.before), dict(decided.after)
    assert before.pop("limits")["memory"] == 536870912
    assert after_.pop("limits")["memory"] == 1 << 30
    assert before == after_


@pytest.mark.parametrize(
    ("record", "state"),
    [(None, "absent"), ({}, "stopped"), ({"state": "running"}, "stopped"), ({"state": "creating"}, "creating")]
    + [({"state": "removing"}, "removing"), ({"state": "starting"}, "stopped")],
)
def test_a_dead_container_is_not_shown_as_running(record, state):
    assert Found(record=record).state == state


def test_a_container_is_alive_only_if_its_own_process_of_this_boot_runs():
    import os

    from baleine.process import boot_id, start_ticks

    me = {"pid": str(os.getpid()), "start_ticks": str(start_ticks(os.getpid())), "boot_id": boot_id()}
    assert enter.is_alive(me)
    for wrong in ({"boot_id": "x"}, {"start_ticks": "1"}, {"pid": ""}, {"pid": "0"}, {"pid": "4194305"}, {"pid": "²"}):
        assert not enter.is_alive({**me, **wrong})
    assert not enter.is_alive({})


def test_a_deleted_disk_of_a_running_container_is_not_given_up_unless_the_task_allows_it():
    with pytest.raises(BaleineError, match="it still runs on it"):
        container.plan(wanted(), replace(RUNNING, disk=False))


def test_a_disk_without_a_manifest_is_never_overwritten():
    with pytest.raises(BaleineError, match="no manifest"):
        container.plan(wanted(), replace(NOTHING, disk=True))


def test_an_interrupted_start_is_repeated():
    half = replace(RUNNING, record={**RUNNING.record, "state": "starting"})
    assert half.state == "starting"
    assert [action.verb for action in container.plan(wanted(), half).actions] == ["stop", "start"]
    assert [action.verb for action in container.plan(wanted(state="stopped"), half).actions] == ["stop"]


def test_an_unmentioned_working_directory_stays():
    elsewhere = there(directory="/srv/trees/web1")
    assert container.plan(wanted(), elsewhere).actions == ()


def test_drift_inside_the_container_is_in_the_diff():
    inside = {**RUNNING.inside, "eth0": {**RUNNING.inside["eth0"], "mtu": 1300, "routes": set()}}
    decided = container.plan(wanted(), replace(RUNNING, inside=inside))
    before, after_ = decided.before["networks"][0], decided.after["networks"][0]
    assert (before["mtu"], before["gateway"]) != (after_["mtu"], after_["gateway"])
    quiet = container.plan(wanted(state="stopped"), RUNNING)
    assert {key for key in quiet.before if quiet.before[key] != quiet.after[key]} == {"state", "wanted_state"}


def test_an_old_disk_is_removed_by_name_even_if_the_container_has_the_longest_name():
    name = "x" * 63 + ".old-20261123T010203Z"
    assert container.request({"name": name, "state": "absent"}).name == name
    for state in ("started", "stopped", "present"):
        with pytest.raises(BaleineError, match="no valid name"):
            container.request({"name": name, "state": state})
    with pytest.raises(BaleineError, match="no valid name"):
        container.request({"name": "a/b.old-20261123T010203Z", "state": "absent"})
