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
def test_a_volume_is_created_or_removed_as_requested(state, found, expected):
    assert verbs(volume.plan(volume.Wanted("data", state), found)) == expected


def test_a_missing_directory_is_drift():
    assert volume.plan(volume.Wanted("data"), THERE._replace(there=False)).drift == (
        "volume data: its directory is gone",
    )


def test_a_file_at_the_path_of_a_volume_is_refused():
    with pytest.raises(BaleineError, match="volumes/data is no directory"):
        volume.plan(volume.Wanted("data"), volume.Found(stray=True))


def test_a_volume_that_containers_name_is_kept():
    with pytest.raises(BaleineError, match="containers use it: db, web"):
        volume.plan(volume.Wanted("data", "absent"), THERE._replace(users=("db", "web")))


def test_a_start_creates_missing_volumes_first():
    wanted = container.request(
        {"name": "c", "image": "i", "command": "true", "volumes": [{"source": "data", "target": "/data"}]}
    )
    decided = container.plan(wanted, container.Found(image_digest="d", no_volumes=("data",)))
    assert verbs(decided) == ["make_volume", "create", "start"]
    only_made = container.plan(
        wanted._replace(state="present"), container.Found(image_digest="d", no_volumes=("data",))
    )
    assert verbs(only_made) == ["create"]


def test_a_missing_host_path_is_an_error_and_in_check_mode_a_warning():
    wanted = container.request({"name": "c", "image": "i", "command": "true"})
    found = container.Found(image_digest="d", no_sources=("volume /srv/x",))
    with pytest.raises(BaleineError, match="volume /srv/x: No such file"):
        container.plan(wanted, found)
    assert "volume /srv/x: No such file" in str(container.plan(wanted, found, check=True).warnings)
