# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as tests of plans see it: what is asked for, and what is found."""

from __future__ import annotations

from typing import Any

from baleine import image, manifest
from baleine.image import Found

PARAMS: dict[str, Any] = {
    "name": "apache2",
    "size": "2G",
    "suite": "bookworm",
    "packages": ["apache2", "vim"],
    "mirror": "http://mirror.example.org/debian",
    "files": [{"path": "/etc/motd", "content": "hello\n", "mode": "0644"}],
    "commands": ["a2enmod proxy", "true"],
}
DERIVED: dict[str, Any] = {"name": "web", "from_image": "apache2", "commands": ["true"]}
SOURCE: dict[str, Any] = {"source_digest": "sha256:s1", "source_size": 2 << 30}


def wanted(**changes: Any) -> image.Wanted:
    return image.request({**PARAMS, **changes})


def derived(**changes: Any) -> image.Wanted:
    return image.request({**DERIVED, **changes})


def built(goal: image.Wanted, **more: Any) -> Found:
    """What is there after a build: the recipe is recorded as image_store.py records it."""
    empty = Found(**{key: value for key, value in more.items() if key.startswith("source")})
    decided = image.plan(goal, empty)
    record = {
        "nom_image": goal.name, "taille": "2048", "chemin": goal.directory, "state": "present",
        "digest": "sha256:d1", "recipe": manifest.to_json({**decided.after}),
    }  # fmt: skip
    return Found(record=record, file=True, **more)


THERE = built(wanted())
WEB = built(derived(), **SOURCE)
