# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine image …``"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Optional

from baleine import families, image, image_store, transfer, units, versions
from baleine.plan import Outcome

from . import publishing, show
from .parse import Options
from .runner import run

facts = image.facts
HEAD = ("name", "size", "allocated", "path")
#: As in the documents.
PACKAGES = ("apache2", "vim", "nano")


def packages(text: Optional[str], bare: bool) -> list[str]:
    """Return the packages that are asked for: ``none`` is no package; nothing said is the documents' three, or none."""
    if text is None:
        return [] if bare else list(PACKAGES)
    return [] if text.strip() in ("none", "") else [name.strip() for name in text.split(",") if name.strip()]


def make(options: Options, name: str, directory: Optional[str] = None) -> Sequence[Outcome]:
    """Make an image as flags describe it."""
    keys = ("size", "proxy", "suite", "mirror", "keyring", "architecture", "releasever", "from-image")
    texts = {key.replace("-", "_"): options.text(key) for key in keys}
    repositories = [
        {"name": name, "baseurl": address, "gpgkey": options.text("gpgkey")}
        for name, _sign, address in (text.partition("=") for text in options.many("repository"))
    ]
    chosen = packages(options.text("packages"), bool(options.text("from-image") or repositories))
    asked = {"name": name, "directory": directory, "packages": chosen, "repositories": repositories, **texts}
    return show.made(image_store.ensure(run, [image.request(asked)]))


def create(options: Options) -> int:
    """Make an image."""
    name = options.names[0]
    show.check_new("image", name, f"Take another name, or remove it first: baleine image remove -i {name}")
    return show.result(options, make(options, name, options.text("directory")))


def import_(options: Options) -> int:
    """Make an image of what is none of Baleine's."""
    name = options.names[0]
    show.check_new("image", name, f"Take another name, or remove it first: baleine image remove -i {name}")
    params = {key: options.text(key) for key in ("size", "directory", "proxy")}
    authority = options.text("ca-certificate")
    params.update(source=options.place("source"), ca_certificate=authority and options.path(authority))
    switches = {key: options.on(key) for key in ("insecure", "unsigned")}
    wanted = image.request({"name": name, **params, **switches})
    publishing.watch()
    return show.result(options, show.made(image_store.ensure(run, [wanted])))


def export(options: Options) -> int:
    """Let an archive or a registry hold an image."""
    params = {"target": options.place("target"), "insecure": options.on("insecure"), "proxy": options.text("proxy")}
    wanted = transfer.request({"name": options.names[0], **params})
    return show.result(options, [transfer.ensure(run, wanted)])


def row(facts: show.Facts) -> Sequence[str]:
    """Return an image's line in the list."""
    mebibytes = -(-facts["allocated"] // units.MEBIBYTE)  # blocks of 4 KiB are no size that says something
    return facts["name"], units.show_size(facts["size"]), f"{mebibytes}M", facts["path"]


def absent(name: str) -> Sequence[Outcome]:
    """Remove an image."""
    return image_store.ensure(run, [image.request({"name": name, "state": "absent"})])


def mount(options: Options) -> int:
    """Mount a copy of an image to be edited, and print where."""
    print(image_store.mount(run, units.check_name(options.names[0], "image")))
    return 0


def umount(options: Options) -> int:
    """Put the edited copy in the image's place."""
    image_store.umount(run, units.check_name(options.names[0], "image"))
    return 0


def tag(options: Options) -> int:
    """Give an image's content another name."""
    outcome = versions.tag(run, options.names[0], options.text("target") or "", options.on("force"))
    show.warn([outcome])
    return show.result(options, [outcome])


def diff(options: Options) -> int:
    """Print what differs between two images."""
    found = versions.diff(*options.names)
    if show.wants_json(options):
        settings = [{"key": key, "before": old, "after": new} for key, old, new in found.settings]
        print(show.as_json({"files": show.changed(found.paths), "settings": settings}), end="")
    else:
        lines = (f"{key}: {json.dumps(old)} -> {json.dumps(new)}\n" for key, old, new in found.settings)
        print(show.changes(found.paths) + "".join(lines), end="")
    return 0


def prune(options: Options) -> int:
    """Remove the images that nothing needs, and print their names; or the packages kept for builds, and their size."""
    if options.on("packages"):
        print(f"{-(-families.forget_packages(0, only_count=options.on('dry-run')) // units.MEBIBYTE)}M")
        return 0
    return show.prune(options, versions.unused(options.on("all")))
