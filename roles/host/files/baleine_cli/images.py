# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine image …``"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from baleine import image, image_store, units
from baleine.plan import Outcome

from . import show
from .parse import Options
from .runner import run

#: As in the documents.
PACKAGES = ("apache2", "vim", "nano")


def packages(text: Optional[str], from_image: Optional[str]) -> list[str]:
    """Return the packages that are asked for: ``none`` is no package; nothing said is the documents' three."""
    if text is None:
        return [] if from_image else list(PACKAGES)
    return [] if text.strip() in ("none", "") else [name.strip() for name in text.split(",") if name.strip()]


def make(options: Options, name: str, directory: Optional[str] = None) -> None:
    """Make an image as flags describe it."""
    texts = {key.replace("-", "_"): options.text(key) for key in ("size", "proxy", "suite", "mirror", "from-image")}
    chosen = packages(options.text("packages"), options.text("from-image"))
    wanted = image.request({"name": name, "directory": directory, "packages": chosen, **texts})
    show.made(image_store.ensure(run, [wanted]))


def create(options: Options) -> int:
    """Make an image."""
    name = options.names[0]
    show.check_new("image", name, f"Remove it first: baleine image remove -i {name}")
    make(options, name, options.text("directory"))
    return 0


def list_(options: Options) -> int:
    """List the images."""
    found, code = show.collect("image", image.facts)
    show.print_list(options, found, ("name", "size", "allocated", "path"), row)
    return code


def row(facts: show.Facts) -> Sequence[str]:
    """Return an image's line in the list."""
    mebibytes = -(-facts["allocated"] // units.MEBIBYTE)  # blocks of 4 KiB are no size that says something
    return facts["name"], units.show_size(facts["size"]), f"{mebibytes}M", facts["path"]


def remove(options: Options) -> int:
    """Remove images."""

    def change(name: str) -> Sequence[Outcome]:
        return image_store.ensure(run, [image.request({"name": name, "state": "absent"})])

    return show.each(options, "image", change, removes=True)


def mount(options: Options) -> int:
    """Mount a copy of an image to be edited, and print where."""
    print(image_store.mount(run, units.check_name(options.names[0], "image")))
    return 0


def umount(options: Options) -> int:
    """Put the edited copy in the image's place."""
    image_store.umount(run, units.check_name(options.names[0], "image"))
    return 0


def inspect(options: Options) -> int:
    """Show everything that is known of images."""
    return show.inspect(options, "image", image.facts)
