# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image made of a container: its filesystem is kept still while its disk is copied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Optional

from . import cgroup, disk, enter, image, image_store, manifest, units
from .container import Found, Wanted
from .errors import BaleineError, Busy
from .plan import Action, Outcome, Plan, apply, differences, predicted
from .process import Runner, fault
from .survey import disk_of, find, need_closed

#: States of a container in which nobody was in the middle of something.
AT_REST = ("running", "paused", "stopped")
#: What a task may say of an image of a container; a proxy is there for the packages of others.
DESCRIBED = ("name", "from_container", "state", "rebuild", "proxy")


def commit(run: Runner, name: str, target: str, force: bool = False) -> Outcome:
    """Make an image of a container's disk as it is now, of one that runs too.

    :param target: the image; :param force: replace one of that name.
    :raises BaleineError: when there is such an image, or no such container; or with the step that failed.
    """
    name, target = units.check_name(name, "container"), units.check_name(target, "image")
    with manifest.lock([("image", target, False), ("container", name, False)]):
        undo(name, locked=True)
        found, old = find(run, Wanted(name), full=False), image.current(target)
        edited = os.path.exists(image.edit_path(target, old or {}))
        decided = plan(name, target, found, old is not None and not force, edited)
        apply(decided, {"commit": lambda action: _commit(run, name, target, found.record or {}, old)})
        return Outcome(decided, image.facts(target))


def ensure(run: Runner, params: Mapping[str, Any], check: bool = False) -> Outcome:
    """Have an image of a container (``from_container``), or only say what that would take (``check``).

    A container that runs changes all the time: the image counts as changed when its container is another one, or
    started from another content.

    :raises BaleineError: as :func:`commit`, or for an option that says how an image is made of something else.
    """
    name, target = units.check_name(params["from_container"], "container"), units.check_name(params["name"], "image")
    others = [key for key, value in params.items() if value and key not in DESCRIBED]
    if others:
        raise BaleineError(f"image {target}: {', '.join(others)} do not go with from_container", "Leave them out")
    with manifest.lock([] if check else [("image", target, False), ("container", name, False)]):
        if not check:
            undo(name, locked=True)
        found, old = find(run, Wanted(name), full=False), image.find(run, image.Wanted(target))
        decided = plan_image(name, target, found, old, params.get("rebuild") or "on_change", check)
        if check:
            return predicted(decided, image.facts, target)
        apply(decided, {"commit": lambda action: _commit(run, name, target, found.record or {}, old.record)})
        return Outcome(decided, image.facts(target))


def plan_image(name: str, target: str, found: Found, old: image.Found, rebuild: str, check: bool) -> Plan:
    """Decide. Pure.

    :param found: the container; :param old: the image; :param check: a container that is missing is taken to come.
    :raises BaleineError: as :func:`plan`, and for an edit by hand that would be lost.
    """
    what, before = f"image {target}", image.recorded(old.record or {})
    origin = (found.record or {}).get("image_digest", before.get("source", ""))  # where it is gone, nothing changed
    goal = {"from_container": name, "source": origin, "directory": before.get("directory", image.DIRECTORY)}
    there = old.record is not None and old.file
    differing = differences(goal, before) if there else ["content"]
    edited = (f"{what}: it was edited by hand since it was made; it is kept as it is",) if old.edited else ()
    if rebuild != "always" and there and (rebuild == "never" or not differing):
        return Plan(what, (), before, before, (), edited)
    if rebuild != "always" and edited:
        raise BaleineError(
            f"{what}: it was edited by hand, and would be made anew", "Set rebuild: always to lose the edit"
        )
    if found.record is None and check:
        warning = f"container {name}: there is none; taken to come from an earlier task"
        return Plan(what, (Action("commit", what, f"of container {name}"),), before, goal, (), (warning,))
    drift = (f"{what}: its file is gone",) if old.record is not None and not old.file else ()
    decided = plan(name, target, found, False, old.open)
    return decided._replace(before=before if there else {}, after=goal, drift=drift)


def plan(name: str, target: str, found: Found, exists: bool, edited: bool) -> Plan:
    """Decide. Pure.

    :param exists: there is an image of that name that must stay; :param edited: it is being edited by hand.
    :raises BaleineError: for what cannot or must not be done.
    """
    what = f"container {name}"
    if found.record is None or not found.disk:
        raise BaleineError(f"{what}: there is {'none' if found.record is None else 'no disk of it'}")
    if found.record.get("state", "stopped") not in AT_REST:
        raise BaleineError(f"{what}: it was interrupted while {found.record['state']}", "Start, stop or remove it")
    if exists:
        raise BaleineError(f"image {target}: it exists already", "Take another name or tag, or say --force")
    if edited:
        raise BaleineError(f"image {target}: it is being edited by hand", "End that with 'baleine image umount' first")
    reason, after = f"of {what}", {"from_container": name, "source": found.record.get("image_digest", "")}
    return Plan(f"image {target}", (Action("commit", f"image {target}", reason),), {}, after)


def _part(name: str, target: str) -> str:
    """Where the image lies until it is whole: the container's lock protects it."""
    return f"{(manifest.read('image', target) or {}).get('chemin') or image.DIRECTORY}/.{name}.commit"


def _commit(run: Runner, name: str, target: str, record: manifest.Record, old: Optional[manifest.Record]) -> None:
    alive, part = enter.is_alive(record), _part(name, target)
    if not alive:
        need_closed(disk_of(name), name, f"container {name}")
    manifest.write("container", name, {**record, "state": "committing", "commit": target})
    try:
        fault("saved committing")
        os.makedirs(os.path.dirname(part), mode=0o700, exist_ok=True)
        with disk.kept_still(f"/proc/{record['pid']}/root") if alive else contextlib.nullcontext():
            fault("frozen")
            copied = disk.copy(disk_of(name), part)
            fault("copied still")
        fault("thawed")
        disk.repair(run, part)
        disk.check_ext4(run, part)
        recipe = {"from_container": name, "source": record.get("image_digest", "")}
        path = image.path_of(target, old or {})
        if old is None:
            begun = {"nom_image": target, "taille": "", "chemin": os.path.dirname(path), "state": "creating"}
            manifest.write("image", target, begun)
        fault("begun an image")
        keys = {"recipe": manifest.to_json(recipe), **copied.record()}
        keys.update(image.inherited(image.current(record.get("nom_image", "")) or {}))
        image_store.put(target, old, part, path, keys)
        fault("put")
    finally:
        undo(name, locked=True)


def undo(name: str, locked: bool = False) -> None:
    """End a commit, finished or not: nothing stays frozen, nothing half made, and the container is as before.

    :param locked: the image's lock is held; otherwise who holds it cares for the image.
    """
    record = manifest.read("container", name) or {}
    if record.get("state") != "committing":
        return
    target, alive = record.pop("commit"), enter.is_alive(record)
    if alive:
        disk.thaw(f"/proc/{record['pid']}/root")
    manifest.discard(_part(name, target))
    with contextlib.suppress(Busy), contextlib.ExitStack() as stack:
        if not locked:
            stack.enter_context(manifest.lock([("image", target, False)], wait=False))
        if (manifest.read("image", target) or {}).get("state") == "creating":
            image_store.remove(target)
    state = "stopped" if not alive else "paused" if cgroup.frozen(name) else "running"
    manifest.write("container", name, {**record, "state": state})
