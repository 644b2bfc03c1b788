# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of images: given another name, compared, and those that nothing uses."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from . import disk, files, image, image_store, manifest, rootfs, units
from .errors import BaleineError
from .plan import Action, Outcome, Plan, apply
from .process import Runner, in_child

#: What a manifest says of one file, and not of its content.
OF_THE_FILE = {"nom_image", "taille", "chemin", "state", "size", "fingerprint", "created", "format", "next"}


class Difference(NamedTuple):
    """Between two images: ``A``, ``C`` or ``D`` with a path, and what else changed: key, before, after."""

    paths: list[tuple[str, str]]
    settings: list[tuple[str, Any, Any]]


def present(name: str) -> manifest.Record:
    """Return the record of an image whose file is there.

    :raises BaleineError: where it is not.
    """
    record = image.current(name)
    if record is None or not os.path.exists(image.path_of(name, record)):
        raise manifest.missing("image", name)
    return record


def tag(run: Runner, name: str, target: str, force: bool = False) -> Outcome:
    """Give an image's content another name: a copy, of the same digest and recipe.

    :param force: replace an image of that name; its containers stay as they are.
    :raises BaleineError: when there is another image of that name; or with the step that failed.
    """
    name, target = units.check_name(name, "image"), units.check_name(target, "image")
    with manifest.lock([("image", name, True), ("image", target, False)]):
        source, found = present(name), image.find(run, image.Wanted(target))
        path = image.path_of(name, source)
        keys = {key: text for key, text in source.items() if key not in OF_THE_FILE}
        keys.update(recipe=source.get("recipe", ""), digest=image.true_digest(name, source) or disk.digest(path))
        keys.update({"edited": "yes"} if image.facts(name)["edited"] else {})
        decided = plan_tag(name, target, keys, found, force)
        folder = (found.record or source).get("chemin") or image.DIRECTORY

        def fill(part: str) -> dict[str, str]:
            copied = image.copy(run, name, source, part)
            same = keys["digest"] == source.get("digest")  # else it was checked just now, and perhaps defused
            return {**keys, "digest": keys["digest"] if same else disk.digest(part), **copied.record()}

        apply(decided, {"build": lambda _action: image_store.make(target, folder, fill)})
        return Outcome(decided, image.facts(target))


def plan_tag(name: str, target: str, keys: Mapping[str, str], found: image.Found, force: bool) -> Plan:
    """Decide. Pure.

    :param keys: what is recorded of the content; :param found: what there is of the name that it shall have.
    :raises BaleineError: for a name that another content has, unless ``force``.
    """
    what, after = f"image {target}", {**image.recorded(keys), "digest": keys["digest"]}
    if name == target:
        raise BaleineError(f"{what}: this is its name already", "Name another one, or another tag")
    if found.record is None or not found.file:
        return Plan(what, (Action("build", what, f"a copy of {name}"),), {}, after)
    before = {**image.recorded(found.record), "digest": found.record.get("digest", "")}
    if before["digest"] == keys["digest"] and not found.edited:
        return Plan(what, (), before, before)
    if not force:
        raise BaleineError(f"{what}: it exists already", "Take another tag, or say --force")
    return image.rebuild(what, found, before, after, [f"a copy of {name}"], [])


def unused(everything: bool = False) -> list[str]:
    """Return the images that nothing needs (:func:`choose_unused`); one whose manifest is torn stays."""
    found: dict[str, tuple[bool, str]] = {}
    for name in manifest.names("image"):
        with contextlib.suppress(BaleineError):
            record = image.current(name)
            if record is not None:
                needed = bool(image.users(name)) or os.path.exists(image.edit_path(name, record))
                found[name] = (needed, image.recorded(record).get("from_image") or "")
    return choose_unused(found, everything)


def choose_unused(found: Mapping[str, tuple[bool, str]], everything: bool) -> list[str]:
    """Return the images that no container was made from, and that no image which stays starts from. Pure.

    :param found: by name: whether it is needed by itself, and the image it starts from.
    :param everything: also the versions without a tag (``latest``), which playbooks and people speak of.
    """
    kept = {name for name, (needed, _source) in found.items() if needed or not (everything or ":" in name)}
    while True:
        sources = {found[name][1] for name in kept if name in found} - kept - {""}
        if not sources:
            return sorted(set(found) - kept)
        kept |= sources


def diff(name: str, other: str) -> Difference:
    """Return what differs between two images: type, mode, owner, size, content and extended attributes of their files.

    Both are mounted read-only where nobody else sees them. A time alone is no difference.

    :raises BaleineError: for an image that is not there or cannot be mounted.
    """
    names = [units.check_name(text, "image") for text in (name, other)]
    with manifest.lock([("image", text, True) for text in names]):
        records = [present(text) for text in names]
        paths = [image.path_of(text, record) for text, record in zip(names, records)]
        found = in_child(lambda: _compare(paths), f"comparing the images {names[0]} and {names[1]}")
        old, new = (
            {"size": os.path.getsize(path), **manifest.from_json(record, "config", {})}
            for path, record in zip(paths, records)
        )
    settings = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return Difference(list(map(tuple, found)), settings)


def _compare(disks: Sequence[str]) -> list[tuple[str, str]]:
    """In a forked child: mount disks over the locks' directory, which is there while we hold one, and compare them."""
    rootfs.unshare(rootfs.CLONE_NEWNS)
    rootfs.mount("baleine", manifest.LOCKS, "tmpfs", rootfs.MS_NODEV, "size=64k,mode=700")
    trees = [f"{manifest.LOCKS}/{number}" for number, _path in enumerate(disks)]
    for path, tree in zip(disks, trees):
        disk.mount(path, tree, read_only=True)
    return compare(trees)


def compare(trees: Sequence[str]) -> list[tuple[str, str]]:
    """Return the paths that differ between two trees, each with ``A``, ``C`` or ``D``. Times do not count."""
    old, new = (_listing(tree) for tree in trees)
    for path in old:
        if stat.S_ISREG(old[path][0]) and old[path] == new.get(path):
            one, two = (disk.digest(f"{tree}{path}") for tree in trees)
            new[path].append(two if one != two else "")
            old[path].append("")
    return files.changes(old, new)


def _listing(tree: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(f"{tree}{folder}/"):
            path, is_now = f"{folder}/{entry.name}", entry.stat(follow_symlinks=False)
            names = sorted(os.listxattr(entry.path, follow_symlinks=False))
            attributes = [(name, os.getxattr(entry.path, name, follow_symlinks=False)) for name in names]
            link: Optional[str] = os.readlink(entry.path) if entry.is_symlink() else None
            size = 0 if entry.is_dir(follow_symlinks=False) else is_now.st_size
            found[path] = [is_now.st_mode, is_now.st_uid, is_now.st_gid, is_now.st_rdev, size, link, attributes]
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
    return found
