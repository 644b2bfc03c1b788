# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is: parsed, refused, written to a manifest and read back the same."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from baleine import description, manifest, network
from baleine.errors import BaleineError
from tests.unit.support import replace

BASE: dict[str, Any] = {"name": "web1", "image": "debian", "command": ["/bin/sleep", "1"]}

#: Values of each option that a request may name; every one of them must survive a manifest.
OPTIONS: dict[str, list[Any]] = {
    "image": ["debian", "debian:v2", "debian:latest"],
    "command": ["/usr/sbin/apache2ctl start", ["sh", "-c", "echo 'a, b: c'\n\texit 7"], ["é", ""], "a \u2028 b \x85"],
    "networks": [
        None,
        [],
        [{"bridge": "private"}],
        [{"bridge": "private", "addresses": ["192.168.42.2/24", "FD00::2/64"]}, {"bridge": "public"}],
        [{"bridge": "private", "addresses": ["192.168.42.2/24"], "gateway": "192.168.42.1", "mtu": 9000}],
        [
            {"bridge": "a", "mac": "02-AB-00-00-00-01"},
            {
                "bridge": "b",
                "addresses": ["10.0.0.2/8"],
                "routes": [
                    {"destination": "172.16.0.0/12", "gateway": "10.0.0.1"},
                    {"destination": "192.168.0.0/16", "gateway": "10.0.0.9"},
                ],
            },
            {"bridge": "a"},
        ],
    ],
    "hostname": [None, "", "web1.example.org", "WEB1"],
    "env": [None, {}, {"A": "1", "a": "2"}, {"TEXT": "two\nlines: a, b"}, {"N": 5, "E": ""}, {"U": "\u2028\x85é"}],
    "workdir": [None, "", "/srv", "/srv/with space", "/é"],
    "user": [None, "", "www-data", "www-data:adm", "33:33", 33],
    "limits": [
        None,
        {},
        {"memory": "512M"},
        {"memory": 536870912, "cpus": "0.5", "cpuset": "1,0", "pids": 100},
        {"memory": "5000000", "cpus": 0.3333},
    ],
    "volumes": [
        None,
        [],
        [{"source": "/srv/www", "target": "/var/www/html", "read_only": True}],
        [{"source": "/srv/a, b", "target": "/data/"}, {"source": "/srv//c/", "target": "/c", "read_only": None}],
    ],
    "init": [None, True, False],
    "directory": [None, "/srv/trees/web1", "/srv/trees//web1/"],
    "capabilities": [None, {}, {"add": ["cap_net_raw"], "drop": ["KILL"]}, {"drop": ["ALL"], "add": ["CHOWN"]}],
    "no_new_privileges": [None, True, False],
    "seccomp": [None, "default", "compat", "/etc/baleine/my profile.json"],
    "apparmor": [None, "default", "unconfined", "my (own): profile"],
    "userns": [None, "auto", "host"],
    "read_only": [None, False, True],
    "tmpfs": [None, [], [{"target": "/run"}, {"target": "/a, b/", "size": "16M", "mode": "0755"}]],
}


def combinations():
    """Each value alone, and every pair of values of two options."""
    alone = [{key: value} for key, values in OPTIONS.items() for value in values]
    pairs = [{**a, **b} for a, b in itertools.combinations(alone, 2) if set(a) != set(b)]
    return [{}, *alone, *pairs]


def round_trip(params: dict[str, Any], tmp_path: Any) -> tuple[Any, Any]:
    wanted = description.describe({**BASE, **params}, "container web1")
    if not wanted.directory:  # not spoken of: the plan settles where it is
        wanted = replace(wanted, directory="/mnt/baleine/web1")
    interfaces = network.interfaces_for("web1", wanted.networks, [], [])
    manifest.write("container", "web1", description.to_record("web1", wanted, interfaces, {"state": "stopped"}))
    record = manifest.read("container", "web1")
    assert record is not None
    return (wanted, interfaces), description.from_record("web1", record)


def test_every_description_is_read_back_from_its_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MANIFESTS", str(tmp_path))
    monkeypatch.setattr(manifest, "sync_directory", lambda folder: None)
    monkeypatch.setattr(manifest.os, "fsync", lambda descriptor: None)
    lost = []
    for params in combinations():
        try:
            written, read = round_trip(params, tmp_path)
        except BaleineError as error:
            lost.append((params, str(error)))
            continue
        if written != read:
            lost.append((params, read))
    assert not lost, f"{len(lost)} lost, the first: {lost[0]}"


@pytest.mark.parametrize("key", ["workdir", "user"])
@pytest.mark.parametrize("end", [" ", "\u2028", "\x85", "\n", "\0"], ids=repr)
def test_a_text_that_a_manifest_cannot_hold_is_refused_at_once_or_kept(key, end, tmp_path, monkeypatch):
    """Else every later task would find it different."""
    monkeypatch.setattr(manifest, "MANIFESTS", str(tmp_path))
    try:
        description.describe({**BASE, key: f"/srv{end}"}, "container web1")
    except BaleineError:
        return
    written, read = round_trip({key: f"/srv{end}"}, tmp_path)
    assert written == read


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"limits": {"memory": "512M"}}, {"limits": {"memory": 536870912}}),
        ({"limits": {"memory": "512M"}}, {"limits": {"memory": "512MiB"}}),
        ({"limits": {"memory": "5000000"}}, {"limits": {"memory": 5000000 // 4096 * 4096}}),
        ({"limits": {"cpus": "0.5", "cpuset": "0,1"}}, {"limits": {"cpus": 0.5, "cpuset": "0-1"}}),
        ({"limits": {}}, {"limits": None}),
        ({"command": "/bin/sleep 1"}, {"command": ["/bin/sleep", "1"]}),
        ({"hostname": None}, {"hostname": "web1"}),
        ({"env": {"A": 1}}, {"env": {"A": "1"}}),
        ({"env": {"A": "1", "B": "2"}}, {"env": {"B": "2", "A": "1"}}),
        ({"image": "debian:latest"}, {"image": "debian"}),
        ({"networks": [{"bridge": "b", "addresses": ["FD00:0::1/64"]}]}, {"networks": [{"bridge": "b", "addresses": ["fd00::1/64"]}]}),
        ({"networks": [{"bridge": "b", "mac": "02-AB-00-00-00-01"}]}, {"networks": [{"bridge": "b", "mac": "02:ab:00:00:00:01"}]}),
        ({"volumes": [{"source": "data", "target": "/b"}]}, {"volumes": [{"source": "data", "target": "/b", "read_only": False, "idmap": True}]}),
        ({"volumes": [{"source": "/a/", "target": "/b//c"}]}, {"volumes": [{"source": "/a", "target": "/b/c", "read_only": False, "idmap": False}]}),
        ({"init": None}, {"init": True}),
        ({"directory": "/srv/x"}, {"directory": "/srv//x/"}),
        ({"user": 33}, {"user": "33"}),
    ],
)  # fmt: skip
def test_two_spellings_give_the_same_description(one, other):
    what = "container web1"
    assert description.describe({**BASE, **one}, what) == description.describe({**BASE, **other}, what)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"env": {"a": "1"}}, {"env": {"A": "1"}}),
        ({"env": {"A": "x"}}, {"env": {"A": "X"}}),
        ({"command": ["/bin/a"]}, {"command": ["/bin/A"]}),
        ({"hostname": "web"}, {"hostname": "WEB"}),
        ({"workdir": "/a"}, {"workdir": "/A"}),
    ],
)
def test_upper_and_lower_case_make_a_difference(one, other):
    what = "container web1"
    assert description.describe({**BASE, **one}, what) != description.describe({**BASE, **other}, what)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"command": None}, "no command"),
        ({"command": "echo 'open"}, "quot"),
        ({"command": []}, "empty"),
        ({"image": "../x"}, "no valid name"),
        ({"hostname": "a b"}, "no host name"),
        ({"hostname": "a/b"}, "no host name"),
        ({"hostname": "-a"}, "no host name"),
        ({"env": {"": "1"}}, "env"),
        ({"env": {"A=B": "1"}}, "env"),
        ({"env": {"A": "a\0b"}}, "env"),
        ({"workdir": "srv"}, "no absolute path"),
        ({"directory": "srv"}, "no absolute path"),
        ({"directory": "/"}, "below /"),
        ({"directory": "/srv/.."}, "below /"),
        ({"limits": {"memory": "1M"}}, "too small"),
        ({"limits": {"memory": "lots"}}, "limits.memory"),
        ({"limits": {"cpus": 0}}, "cpus"),
        ({"limits": {"cpuset": "a"}}, "cpuset"),
        ({"limits": {"pids": 0}}, "pids"),
        ({"limits": {"pids": -1}}, "pids"),
        ({"volumes": [{"source": "./srv", "target": "/a"}]}, "no absolute path"),
        ({"volumes": [{"source": "/srv", "target": "a"}]}, "no absolute path"),
        ({"volumes": [{"source": "/srv", "target": "/"}]}, "cannot lie at /"),
        ({"volumes": [{"source": "/srv", "target": "/a/.."}]}, "cannot lie at /"),
        ({"volumes": [{"source": "/srv", "target": "/proc/x"}]}, "cannot lie at /proc/x"),
        ({"volumes": [{"source": "/srv", "target": "/a/../dev"}]}, "cannot lie at /dev"),
        ({"volumes": [{"source": "/srv", "target": "//sys"}]}, "cannot lie at"),
        ({"volumes": [{"source": "/srv", "target": "//"}]}, "cannot lie at"),
        ({"volumes": [{"source": "/a\0", "target": "/a"}]}, "no absolute path"),
        ({"volumes": [{"source": "/a", "target": "/x"}, {"source": "/b", "target": "/x/"}]}, "/x"),
        ({"networks": [{"bridge": ""}]}, "no valid name"),
        ({"networks": [{"bridge": "a", "addresses": ["10.0.0.2/8"]}, {"bridge": "b", "addresses": ["10.0.0.2/24"]}]}, "10.0.0.2 is given twice"),
        ({"networks": [{"bridge": "a", "addresses": ["fd00::2/64", "FD00:0::2/48"]}]}, "fd00::2 is given twice"),
    ],
    ids=lambda value: str(value)[:70],
)  # fmt: skip
def test_an_invalid_description_is_refused_with_the_name_of_its_container(params, why):
    with pytest.raises(BaleineError, match=why) as caught:
        description.describe({**BASE, **params}, "container web1")
    assert "web1" in caught.value.message or "image" in caught.value.message or "bridge" in caught.value.message


def test_two_default_routes_of_one_family_are_refused():
    """The kernel would keep the last one only (`route replace`), and each run would find the other one missing."""
    networks = [
        {"bridge": "a", "addresses": ["10.0.0.2/8"], "gateway": "10.0.0.1"},
        {"bridge": "b", "addresses": ["192.168.42.2/24"], "gateway": "192.168.42.1"},
    ]
    with pytest.raises(BaleineError, match="container web1"):
        description.describe({**BASE, "networks": networks}, "container web1")
    networks[1] = {"bridge": "b", "addresses": ["fd00::2/64"], "gateway": "fd00::1"}
    assert len(description.describe({**BASE, "networks": networks}, "container web1").networks) == 2


OLD = {
    "nom_container": "web1",
    "nom_image": "apache2",
    "pid": "4242",
    "nom_bridge": "private,public",
    "starting_time": "2019-05-09-21h-50m-05s",
}


def test_a_manifest_of_the_old_scripts_describes_a_container():
    described, interfaces = description.from_record("web1", OLD)
    assert described.image == "apache2"
    assert [item.network.bridge for item in interfaces] == ["private", "public"]
    assert [item.link for item in interfaces] == network.units.interface_names("web1", 2, [])
    assert set(described.limits.values()) == {None}
    assert described.init is True
    assert described.directory == "/mnt/baleine/web1"


@pytest.mark.parametrize("bridges", ["", "private"])
def test_an_old_manifest_with_fewer_bridges_has_fewer_interfaces(bridges):
    described, interfaces = description.from_record("web1", {**OLD, "nom_bridge": bridges})
    assert len(described.networks) == len(interfaces) == len(bridges.split())


def test_an_adopted_manifest_keeps_its_values_when_it_is_written():
    described, interfaces = description.from_record("web1", OLD)
    record = description.to_record("web1", described, interfaces, OLD)
    assert {key: record[key] for key in OLD} == OLD
    assert description.from_record("web1", record) == (described, interfaces)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("networks", "[1]"),
        ("networks", "{}"),
        ("networks", '[{"bridge": "a/b"}]'),
        ("networks", '[{"bridge": "a", "addresses": [5]}]'),
        ("networks", '[{"bridge": "a", "mtu": "x"}]'),
        ("networks", '[{"bridge": "a", "routes": [{}]}]'),
        ("networks", "[{"),
        ("limits", '{"pids": "x"}'),
        ("limits", '{"pids": []}'),
        ("limits", '{"cpus": []}'),
        ("limits", "5"),
        ("volumes", "[{}]"),
        ("volumes", "[5]"),
        ("env", "[]"),
        ("command", '"x"'),
        ("command", "{}"),
    ],
)
def test_a_manifest_that_cannot_be_parsed_is_a_readable_error(key, value):
    with pytest.raises(BaleineError) as caught:
        description.from_record("web1", {**OLD, key: value})
    assert caught.value.message


def test_the_keys_that_scripts_read_are_comma_separated():
    described = description.describe({**BASE, "networks": OPTIONS["networks"][3]}, "container web1")
    interfaces = network.interfaces_for("web1", described.networks, [], [])
    record = description.to_record(
        "web1", described, interfaces, {"pid": "42", "state": "running", "image_digest": "d"}
    )
    assert record["nom_bridge"] == "private,public"
    assert record["address"] == "192.168.42.2/24+fd00::2/64,"
    assert record["interface"] == ",".join(network.units.interface_names("web1", 2, []))
    assert record["mac"].count(",") == 1
    assert (record["pid"], record["state"], record["image_digest"]) == ("42", "running", "d")
