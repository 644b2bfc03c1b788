# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on a whole Debian: systemd, cgroup v2, AppArmor, sessions that end, power that fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.guest import Guest

GROUPS = "/sys/fs/cgroup/baleine"


@pytest.fixture(scope="module", autouse=True)
def private(guest: Guest) -> None:
    guest.module("baleine_bridge", name="private", addresses=["192.168.42.1/24"])


def container(guest: Guest, name: str, **options: Any) -> dict[str, Any]:
    settings = {
        "image": "tiny",
        "command": ["sleep", "100000"],
        "networks": [{"bridge": "private", "addresses": ["192.168.42.2/24"]}],
    }
    return guest.module("baleine_container", name=name, **{**settings, **options})


def test_the_guest_is_a_debian_with_systemd_cgroup_v2_and_apparmor(guest: Guest) -> None:
    facts = guest.module("baleine_host_info")
    assert (facts["cgroup"], facts["runtime"]) == ("unified", "crun")
    assert guest.read("/proc/1/comm").strip() == "systemd"
    assert guest.read("/sys/module/apparmor/parameters/enabled").strip() == "Y"
    assert guest.run(["systemctl", "is-system-running"], check=False).stdout.strip() in ("running", "starting")


def test_a_container_runs_by_crun_in_its_own_ids_on_an_idmapped_disk_and_answers(guest: Guest) -> None:
    facts = container(guest, "web1")["container"]
    assert facts["runtime"] == "crun"
    assert guest.read(f"/proc/{facts['pid']}/uid_map").split() == ["0", str(facts["first_id"]), "65536"]
    root = next(line for line in guest.read(f"/proc/{facts['pid']}/mountinfo").splitlines() if line.split()[4] == "/")
    assert "idmapped" in root and " - ext4 /dev/loop" in root
    guest.run(["ping", "-c1", "-W5", "192.168.42.2"])
    assert not container(guest, "web1")["changed"]
