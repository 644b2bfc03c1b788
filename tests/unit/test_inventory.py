# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory plugin makes of what a host says of a container."""

from __future__ import annotations

from ansible_collections.lab.baleine.plugins.inventory import baleine

FACTS = {
    "name": "web1",
    "image": "apache2:2",
    "state": "running",
    "labels": {"role": "web"},
    "env": {"SECRET": "x"},
    "interfaces": [{"bridge": "private", "addresses": ["192.168.42.11/24", "fd00::11/64"]}],
}


def test_variables_hold_the_connection_to_a_container_but_not_its_environment() -> None:
    found = baleine.variables_of("server", FACTS)
    assert found["ansible_connection"] == "lab.baleine.baleine"
    assert (found["baleine_container"], found["baleine_host"]) == ("web1", "server")
    assert found["baleine_addresses"] == ["192.168.42.11", "fd00::11"] and found["baleine_bridges"] == ["private"]
    assert "baleine_env" not in found


def test_containers_of_the_controller_have_no_host() -> None:
    assert "baleine_host" not in baleine.variables_of("", FACTS)


def test_groups_are_by_image_state_bridge_label_and_host() -> None:
    assert baleine.groups_of(baleine.variables_of("server", FACTS)) == [
        "baleine",
        "baleine_image_apache2:2",
        "baleine_state_running",
        "baleine_bridge_private",
        "baleine_label_role_web",
        "baleine_host_server",
    ]
