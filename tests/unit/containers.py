# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container as tests of plans see it: what is asked for, what is found, and what a plan makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from baleine import container, description, network
from baleine.container import Found
from baleine.plan import Action, Plan
from tests.unit.support import Addresses, link, replace

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
        if action.verb == "remove":
            assert not found.alive, "removed while it runs"
            return Found(**AROUND)
        found = STEPS[action.verb](found, action)
    if goal.state in ("started", "stopped") and found.record is not None and decided.actions:
        found = replace(found, record={**found.record, "wanted_state": goal.state})
    return found


def make(found: Found, action: Action) -> Found:
    made = action.data["description"]
    interfaces = network.interfaces_for("web1", made.networks, found.interfaces, found.taken)
    record = {"wanted_state": "stopped", **(found.record or {}), "state": "stopped"}
    record = description.to_record("web1", made, interfaces, record)
    if action.verb == "create" or action.data["new_disk"]:
        record["image_digest"] = found.image_digest or ""
    new = {"record": record, "description": made, "interfaces": interfaces}
    found = replace(found, **new, disk=True, alive=False)
    return start(found) if action.data.get("start", False) else found


def start_stopped(found: Found, action: Action) -> Found:
    assert not found.alive, "started twice"
    return start(found)


def stop(found: Found, action: Action) -> Found:
    record = {**(found.record or {}), "state": "stopped"}
    return replace(found, alive=False, leftovers=(), record=record)


def set_limits(found: Found, action: Action) -> Found:
    limits = action.data["limits"]
    new = replace(found.description, limits=limits)
    return replace(found, description=new, limits=limits if found.alive else {})


def cut(found: Found, action: Action) -> Found:
    link_name = action.data["link"]
    name = next(item.inside for item in found.interfaces if item.link == link_name)
    inside = {key: value for key, value in found.inside.items() if key != name}
    host = {key: value for key, value in found.host_links.items() if key != link_name}
    return replace(found, inside=inside, host_links=host)


def record_networks(found: Found, action: Action) -> Found:
    interfaces = action.data["interfaces"]
    networks = tuple(item.network for item in interfaces)
    new = replace(found.description, networks=networks)
    return replace(found, interfaces=interfaces, description=new)


#: What each step of a plan makes of what is there.
STEPS: dict[str, Callable[[Found, Action], Found]] = {
    "create": make,
    "recreate": make,
    "start": start_stopped,
    "stop": stop,
    "settle": stop,
    "set_limits": set_limits,
    "cut": cut,
    "connect": lambda found, action: connect(found, action.data["interface"], action.data["mending"]),
    "record_networks": record_networks,
    "wish": lambda found, action: found,
}


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
