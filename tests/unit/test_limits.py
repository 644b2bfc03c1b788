# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits: parsed, refused, and written into the files of a made-up cgroup tree of either version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from baleine import cgroup, devices, limits, manifest
from baleine.errors import BaleineError
from tests.unit.support import Recorded

NONE = dict.fromkeys(limits.KEYS)
ALL: dict[str, Any] = {
    "memory": 1 << 26,
    "cpus": 0.5,
    "cpu_weight": 200,
    "cpuset": "0",
    "cpuset_mems": "0",
    "pids": 50,
    "io_read_rate": 1 << 20,
    "io_write_rate": 1 << 21,
    "io_read_ops": 100,
    "io_write_ops": 200,
    "devices": [{"path": "/dev/zero", "access": "rw"}],
}
V1 = {
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness"),
    "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "pids": ("pids.max",),
    "devices": ("devices.allow", "devices.deny", "devices.list"),
    "blkio": tuple(f"blkio.throttle.{word}_device" for word in ("read_bps", "write_bps", "read_iops", "write_iops")),
}
V2 = (
    "memory.max memory.swap.max cpu.max cpu.weight cpuset.cpus cpuset.mems pids.max io.max cgroup.controllers"
    " cgroup.subtree_control"
)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the tree, notes and locks be here; returns the number of the device that this process's root is on."""
    monkeypatch.setattr(cgroup, "ROOT", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cgroup, "NOTE", str(tmp_path / "bundles/{}/throttled"))
    monkeypatch.setattr(manifest, "LOCKS", str(tmp_path / "lock"))
    for name in ("web1", "web2"):
        (tmp_path / "bundles" / name).mkdir(parents=True)
    number = os.stat("/").st_dev
    return f"{os.major(number)}:{os.minor(number)}"


@pytest.fixture
def v1(tmp_path: Path, device: str) -> Path:
    for controller, files in V1.items():
        for group in ("", "baleine", "baleine/web1", "baleine/web2"):
            folder = tmp_path / "cgroup" / controller / group
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                (folder / file).write_text("0-7" if file.startswith("cpuset") else "")
    return tmp_path / "cgroup"


@pytest.fixture
def v2(tmp_path: Path, device: str) -> Path:
    for group in ("", "baleine", "baleine/web1"):
        folder = tmp_path / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        for file in V2.split():
            (folder / file).write_text("cpuset cpu io memory pids" if file == "cgroup.controllers" else "")
    return tmp_path / "cgroup"


def read(*parts: Any) -> str:
    return Path(*parts).read_text().strip()


def test_every_limit_is_written_on_v1_and_block_io_in_the_root_group_too(v1: Path, device: str):
    cgroup.set_limits("web1", os.getpid(), ALL)
    group = "baleine/web1"
    assert (
        read(v1, "memory", group, "memory.limit_in_bytes") == read(v1, "memory", group, V1["memory"][1]) == "67108864"
    )
    assert read(v1, "cpu", group, "cpu.cfs_quota_us") == "50000"
    assert read(v1, "cpu", group, "cpu.shares") == "2048"
    assert read(v1, "cpuset", group, "cpuset.cpus") == read(v1, "cpuset", group, "cpuset.mems") == "0"
    assert (
        read(v1, "devices", group, "devices.allow") == "c 1:5 rw"
        and read(v1, "devices", group, "devices.deny") == "c 1:5 m"
    )
    assert read(v1, "blkio", group, "blkio.throttle.read_bps_device") == f"{device} 1048576"
    for base in ("", group):
        assert read(v1, "blkio", base, "blkio.throttle.write_bps_device") == f"{device} 2097152"
        assert read(v1, "blkio", base, "blkio.throttle.write_iops_device") == f"{device} 200"
    assert read(v1, "blkio", "blkio.throttle.read_bps_device") == ""  # reads are the container's own


def test_every_limit_is_written_on_v2_with_swap_disabled(v2: Path, device: str):
    cgroup.set_limits("web1", os.getpid(), ALL)
    group = v2 / "baleine/web1"
    shown = {file: read(group, file) for file in V2.split()[:8]}
    assert shown == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "cpu.max": "50000 100000",
        "cpu.weight": "200",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "50",
        "io.max": f"{device} rbps=1048576 wbps=2097152 riops=100 wiops=200",
    }


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_written_limits_are_read_back(version: str, request: pytest.FixtureRequest):
    tree = request.getfixturevalue(version)
    cgroup.set_limits("web1", os.getpid(), ALL)
    if version == "v1":
        (tree / "devices/baleine/web1/devices.list").write_text("c 1:3 rwm\nc *:* m\nc 1:5 rw\n")
    assert cgroup.current_limits("web1", os.getpid(), ALL) == ALL


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_limit_of_none_is_removed(version: str, request: pytest.FixtureRequest):
    request.getfixturevalue(version)
    cgroup.set_limits("web1", os.getpid(), ALL)
    cgroup.set_limits("web1", os.getpid(), NONE)
    found = cgroup.current_limits("web1", os.getpid(), NONE)
    assert {key: value for key, value in found.items() if value not in (None, 0)} == {}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_container_has_a_limit_of_processes(version: str, request: pytest.FixtureRequest):
    """What no limit means is 2048, which is what is read back as none; a bare ``max`` is not."""
    tree = request.getfixturevalue(version)
    (file,) = tree.rglob("web1/pids.max")
    cgroup.set_limits("web1", os.getpid(), NONE)
    assert file.read_text() == "2048"
    assert cgroup.current_limits("web1", os.getpid(), NONE)["pids"] is None
    file.write_text("max\n")
    assert cgroup.current_limits("web1", os.getpid(), NONE)["pids"] == 1 << 22
    assert limits.parse({"pids": 2048}, "container web1") == limits.parse({}, "container web1")


def test_swappiness_is_0_if_the_host_does_not_account_swap(v1: Path):
    (v1 / "memory/memory.swappiness").write_text("60")
    (v1 / "memory/baleine/web1/memory.memsw.limit_in_bytes").unlink()
    cgroup.set_limits("web1", os.getpid(), ALL)
    assert read(v1, "memory/baleine/web1/memory.swappiness") == "0"
    cgroup.set_limits("web1", os.getpid(), NONE)
    assert read(v1, "memory/baleine/web1/memory.swappiness") == "60"


@pytest.mark.parametrize("key", [key for key in limits.KEYS if key != "devices"])
def test_a_limit_without_its_file_is_an_error_only_if_it_is_set(v2: Path, key: str):
    for file in V2.split()[:8]:
        (v2 / "baleine/web1" / file).unlink()
    with pytest.raises(BaleineError, match=rf"container web1: limits\.{key}: .*: "):
        cgroup._write("web1", key, str(v2 / "nowhere" / key), "1")
    cgroup.set_limits("web1", os.getpid(), NONE)


def test_the_next_owner_of_a_loop_device_takes_over_its_rule_and_its_note(v1: Path, tmp_path: Path, device: str):
    cgroup.set_limits("web1", os.getpid(), ALL)
    assert read(tmp_path, "bundles/web1/throttled") == device
    cgroup.set_limits("web2", os.getpid(), NONE)
    assert read(v1, "blkio/blkio.throttle.write_bps_device") == f"{device} 0"
    assert not list(tmp_path.glob("bundles/*/throttled"))
    (v1 / "blkio/blkio.throttle.write_bps_device").write_text("untouched")
    cgroup.unthrottle("web1")
    assert read(v1, "blkio/blkio.throttle.write_bps_device") == "untouched"


def test_the_end_of_a_container_removes_its_rule(v1: Path, tmp_path: Path, device: str):
    cgroup.set_limits("web1", os.getpid(), ALL)
    cgroup.unthrottle("web1")
    assert read(v1, "blkio/blkio.throttle.write_bps_device") == f"{device} 0"
    assert not list(tmp_path.glob("bundles/*/throttled"))


def test_a_rule_in_the_root_group_changed_by_hand_is_noticed(v1: Path, device: str):
    cgroup.set_limits("web1", os.getpid(), ALL)
    (v1 / "blkio/blkio.throttle.write_bps_device").write_text(f"{device} 5000000\n")
    assert cgroup.current_limits("web1", os.getpid(), ALL)["io_write_rate"] == [2097152, 5000000]


def test_a_limit_is_refused_before_any_change_if_the_host_lacks_its_controller(v2: Path):
    (v2 / "cgroup.controllers").write_text("cpu memory")
    error = limits.refuse({**NONE, "io_read_ops": 5}, "container web1")
    assert error and error.message == "container web1: limits.io_read_ops: this host has no cgroup controller io"
    assert limits.refuse({**NONE, "memory": 1 << 26}, "container web1") is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"cpuset": "0,4000"}, "limits.cpuset: this host has no number 4000"),
        ({"cpuset_mems": "900"}, "limits.cpuset_mems: this host has no number 900"),
        (
            {"devices": [{"path": "/dev/nothing", "access": "r"}]},
            "limits.devices: this host has no device /dev/nothing",
        ),
        ({"devices": [{"path": "/dev", "access": "r"}]}, "limits.devices: this host has no device /dev"),
    ],
    ids=["cpu", "node", "no device", "a directory"],
)
def test_a_limit_above_the_resources_of_the_host_is_refused(v1: Path, wanted: dict[str, Any], message: str):
    error = limits.refuse({**NONE, **wanted}, "container web1")
    assert error and message in error.message


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"io_write_rate": "10M"}, {"io_write_rate": 10 << 20}),
        ({"cpu_weight": 100}, {}),
        ({"cpu_weight": "10000"}, {"cpu_weight": 10000}),
        ({"cpuset_mems": "1,0"}, {"cpuset_mems": "0-1"}),
        ({"devices": [{"path": "/dev//net/tun"}]}, {"devices": [{"path": "/dev/net/tun", "access": "rw"}]}),
        (
            {"devices": [{"path": "/dev/kvm", "access": "wr"}, {"path": "/dev/fuse", "access": "r"}]},
            {"devices": [{"path": "/dev/fuse", "access": "r"}, {"path": "/dev/kvm", "access": "rw"}]},
        ),
        ({"devices": []}, {}),
    ],
)
def test_limits_have_one_normal_form(given: dict[str, Any], normal: dict[str, Any]):
    parsed = limits.parse(given, "container x")
    assert parsed == {**NONE, **normal}
    assert limits.parse(parsed, "container x") == parsed  # as a manifest holds them


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu_weight": 0}, "limits.cpu_weight: 0 is no number"),
        ({"cpu_weight": 10001}, "limits.cpu_weight"),
        ({"io_write_ops": "x"}, "limits.io_write_ops"),
        ({"io_read_rate": "10"}, "limits.io_read_rate of 10 bytes is too small"),
        ({"cpuset_mems": "a"}, "limits.cpuset_mems"),
        ({"devices": [{"path": "/etc/passwd"}]}, "limits.devices: /etc/passwd"),
        ({"devices": [{"path": "/dev/../etc/x"}]}, "limits.devices"),
        ({"devices": [{"path": "/dev/null"}]}, "limits.devices"),
        ({"devices": [{"path": "/dev/pts/0"}]}, "limits.devices"),
        ({"devices": [{"path": "/dev/.baleine/state"}]}, "limits.devices"),
        ({"devices": [{"path": "/dev/fuse", "access": "x"}]}, "limits.devices"),
    ],
)
def test_an_invalid_limit_is_refused(given: dict[str, Any], message: str):
    with pytest.raises(BaleineError, match=f"container x: {message}"):
        limits.parse(given, "container x")


def test_limits_are_shown_in_few_words():
    assert limits.show({**NONE, **ALL, "memory": None, "io_read_ops": None})[-1] == "devices=/dev/zero:rw"
    assert limits.show({"memory": 1 << 26, "cpus": 0.5, "pids": None}) == ["memory=64M", "cpus=0.5"]


def test_other_devices_of_a_running_container_are_refused_with_runc_on_v2(v2: Path):
    run, new = Recorded(), [{"path": "/dev/zero", "access": "r"}]
    with pytest.raises(BaleineError, match="limits.devices: runc cannot change them while it runs"):
        devices.change(run, "web1", {"runtime": "runc", "pid": "1", "first_id": "1"}, None, new)
    assert run.asked == []
