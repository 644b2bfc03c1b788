# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: how a plan is carried out, and how one is edited by hand. Every change of an image passes here."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from . import architecture, build, disk, manifest, rootfs, units
from .errors import BaleineError, explained, known
from .image import DIRECTORY, Wanted, current, edit_path, facts, find, inherited, part_path, path_of, plan
from .image import copy as copy_image
from .plan import Action, Outcome, Plan, apply, predicted
from .process import Runner, find_program

EDITED = build.PLACE


def ensure(run: Runner, wanted_all: Sequence[Wanted], check: bool = False) -> list[Outcome]:
    """Bring images to what is wanted, or only say what that would take (``check``).

    :raises BaleineError: see :func:`plan`; or with the step that failed.
    """
    if check:
        return [predicted(_warned(it, plan(it, find(run, it), check=True)), facts, it.name) for it in wanted_all]
    locks = [("image", wanted.name, False) for wanted in wanted_all]
    locks += [("image", w.recipe.from_image, True) for w in wanted_all if w.recipe and w.recipe.from_image]
    with manifest.lock(locks):
        plans = [(wanted, plan(wanted, find(run, wanted))) for wanted in wanted_all]
        outcomes = []
        for wanted, decided in plans:
            built, removed = (functools.partial(_build, run, wanted, decided), functools.partial(remove, wanted.name))
            apply(decided, {"build": built, "remove": removed})
            outcomes.append(Outcome(decided, facts(wanted.name)))
    return outcomes


def _warned(wanted: Wanted, decided: Plan) -> Plan:
    """A prediction that says which tool is taken to come from an earlier task."""
    recipe = wanted.recipe
    if not decided.changed or not recipe or recipe.from_image or recipe.source:
        return decided
    tool, what, lacking = "dnf" if recipe.repositories else "mmdebstrap", f"image {wanted.name}", list[str]()
    if not find_program(tool):
        lacking.append(f"{what}: this host has no {tool}")
    try:
        architecture.need_runnable(recipe.architecture, what)
    except BaleineError as error:
        lacking.append(error.message)
    keys = (recipe.keyring, *(repository.gpgkey for repository in recipe.repositories))
    lacking += [f"{what}: there is no {key}" for key in keys if key.startswith("/") and not os.path.exists(key)]
    return decided.lacking(*lacking)


def _build(run: Runner, wanted: Wanted, decided: Plan, _action: Action) -> None:
    what, recipe = f"image {wanted.name}", known(wanted.recipe, f"image {wanted.name}: its recipe")
    origin = (current(recipe.from_image) or {}) if recipe.from_image else {}
    source = path_of(recipe.from_image, origin) if recipe.from_image else None

    def fill(part: str) -> dict[str, str]:
        built = build.build(run, recipe, part, source, str(decided.after["source"]), what)
        return {"recipe": manifest.to_json({**decided.after}), **inherited(origin), **built}

    make(wanted.name, str(decided.after["directory"]), fill)


def make(name: str, directory: str, fill: Callable[[str], Mapping[str, str]]) -> None:
    """Make an image's file under a temporary name and put it in its place; where that fails, all is as before.

    :param directory: where it is kept; :param fill: makes the file of that name, and returns what to record of it.
    :raises BaleineError: for a file in the way, or what ``fill`` raises.
    """
    old, target, part = current(name), f"{directory}/{name}", part_path(name, directory)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if old is None and os.path.exists(target) and manifest.read("image", name) is None:
        raise BaleineError(f"image {name}: there is a file {target} that Baleine did not make", "Move it away")
    if old is None:
        manifest.write("image", name, {"nom_image": name, "taille": "", "chemin": directory, "state": "creating"})
    manifest.discard(part)
    try:
        put(name, old, part, target, fill(part))
    except BaseException:
        for path in (part, target) if old is None else (part,):
            manifest.discard(path)
        if old is None and not _come(part):
            manifest.remove("image", name)
        raise
    if old is not None and path_of(name, old) != target:
        manifest.discard(path_of(name, old))


def _come(part: str) -> list[str]:
    """What has come for an image of a web server while the connection held."""
    from . import remote

    return remote.kept(part)


def put(name: str, old: Optional[manifest.Record], part: str, target: str, keys: Mapping[str, str]) -> None:
    """Give a finished file its name, and say so in the manifest before and after: a crash leaves old or new."""
    with open(part, "rb") as stream:
        os.fsync(stream.fileno())
    size = os.path.getsize(part)
    following = {
        "taille": str(size >> 20),
        "chemin": os.path.dirname(target),
        "state": "present",
        "size": str(size),
        "digest": keys.get("digest") or disk.digest(part),
        "fingerprint": disk.fingerprint(part),
        "created": manifest.utc_now(),
        **keys,
    }
    if old is not None:
        manifest.write("image", name, {**old, "next": manifest.to_json(following)})
    os.rename(part, target)
    manifest.sync_directory(os.path.dirname(target))
    kept = {} if "recipe" in keys else dict(old or {})
    manifest.write("image", name, {**kept, "nom_image": name, **following})


def remove(name: str, _action: Optional[Action] = None) -> None:
    """Take an image away, finished or not."""
    record = manifest.read("image", name) or {}
    part, edit = part_path(name, record.get("chemin") or DIRECTORY), edit_path(name, record)
    for path in (path_of(name, record), part, f"{edit}.part", *_come(part)):
        manifest.discard(path)
    build.leave(part)
    rootfs.remove_tree(build.scratch_of(part))
    manifest.remove("image", name)


def mount(run: Runner, name: str) -> str:
    """Mount a copy of an image for editing by hand; the image itself stays as it is until :func:`umount`.

    :returns: the directory of its tree.
    :raises BaleineError: when there is none, or it is already being edited.
    """
    what, tree = f"image {name}", f"{EDITED}/{name}"
    with manifest.lock([("image", units.check_name(name, "image"), False)]):
        record = current(name)
        if record is None:
            raise manifest.missing("image", name)
        if rootfs.is_mounted(tree):
            raise BaleineError(f"{what}: it is already mounted at {tree}", "Edit it there, then 'baleine image umount'")
        copy = edit_path(name, record)
        if not os.path.exists(copy):  # else the edit goes on that a reboot interrupted
            part = copy + ".part"
            manifest.discard(part)
            copy_image(run, name, record, part)
            os.rename(part, copy)
        else:
            disk.repair(run, copy)
        disk.mount(copy, tree)
    return tree


def umount(run: Runner, name: str) -> None:
    """End the editing of an image: check what was written and put it in the image's place.

    :raises BaleineError: when it is not being edited, is still in use, or is no sound filesystem any more.
    """
    what, tree = f"image {name}", f"{EDITED}/{name}"
    with manifest.lock([("image", units.check_name(name, "image"), False)]):
        record = current(name)
        copy = edit_path(name, record or {})
        if record is None or not os.path.exists(copy):
            raise BaleineError(f"{what}: it is not being edited", "Begin with 'baleine image mount'")
        if rootfs.is_mounted(tree):
            with explained(f"{what}: something of the edit is lost", f"Make room for {copy}, and write it again"):
                rootfs.sync(tree)
            with explained(f"{what}: {tree}", "A program or a shell still works in it: end it"):
                rootfs.unmount(tree)
        build.leave(tree)
        disk.need_free(copy, f"{what}: its copy", "End what uses it")
        disk.repair(run, copy)
        disk.check_ext4(run, copy)
        if "digest" in record and disk.digest(copy) == record["digest"]:
            os.unlink(copy)
        else:
            put(name, record, copy, path_of(name, record), {"edited": "yes"})
