# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named volumes: plans, and which of them a container's start makes."""

from __future__ import annotations

import pytest

from baleine import container, volume
from baleine.errors import BaleineError
from tests.unit.support import verbs

THERE = volume.Found({"nom_volume": "data"}, True)


@pytest.mark.parametrize(
    ("state", "found", "expected"),
    [
        ("present", volume.Found(), ["create"]),
        ("present", THERE, []),
        ("present", THERE._replace(there=False), ["create"]),
        ("present", THERE._replace(record=None), ["create"]),
        ("absent", volume.Found(), []),
        ("absent", THERE, ["remove"]),
        ("absent", THERE._replace(there=False), ["remove"]),
        ("absent", THERE._replace(record=None), ["remove"]),
    ],
)
def test_a_volume_is_made_or_destroyed_where_it_has_to_be(state, found, expected):
    assert verbs(volume.plan(volume.Wanted("data", state), found)) == expected


def test_a_directory_that_has_gone_is_drift():
    assert volume.plan(volume.Wanted("data"), THERE._replace(there=False)).drift == (
        "volume data: its directory is gone",
    )


def test_a_file_in_the_place_of_a_volume_is_refused_and_not_taken_for_it():
    with pytest.raises(BaleineError, match="volumes/data is no directory"):
        volume.plan(volume.Wanted("data"), volume.Found(stray=True))


def test_one_that_containers_name_is_kept():
    with pytest.raises(BaleineError, match="containers use it: db, web"):
        volume.plan(volume.Wanted("data", "absent"), THERE._replace(users=("db", "web")))


def test_a_start_makes_the_volumes_that_are_missing_first():
    wanted = container.request(
        {"name": "c", "image": "i", "command": "true", "volumes": [{"source": "data", "target": "/data"}]}
    )
    decided = container.plan(wanted, container.Found(image_digest="d", no_volumes=("data",)))
    assert verbs(decided) == ["make_volume", "create", "start"]
    only_made = container.plan(
        wanted._replace(state="present"), container.Found(image_digest="d", no_volumes=("data",))
    )
    assert verbs(only_made) == ["create"]


def test_a_path_of_the_host_that_is_missing_is_an_error_and_in_check_mode_a_warning():
    wanted = container.request({"name": "c", "image": "i", "command": "true"})
    found = container.Found(image_digest="d", no_sources=("volume /srv/x",))
    with pytest.raises(BaleineError, match="volume /srv/x: No such file"):
        container.plan(wanted, found)
    assert "volume /srv/x: No such file" in str(container.plan(wanted, found, check=True).warnings)
