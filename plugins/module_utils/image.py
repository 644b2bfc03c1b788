# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: wanted, found, plan, apply; and editing one by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from . import disk, manifest, units
from .errors import BaleineError, known
from .plan import Action, Plan, differences, show
from .process import Runner
from .recipe import Recipe
from .recipe import parse as parse_recipe

DIRECTORY = f"{manifest.LIBRARY}/images"


class Wanted(NamedTuple):
    """An image as it is asked for. ``recipe`` is None where only absence is wanted."""

    name: str
    state: str = "present"
    recipe: Optional[Recipe] = None
    directory: str = ""
    rebuild: str = "on_change"


class Found(NamedTuple):
    """What is recorded and what is there.

    :param edited: its content is not what was recorded when it was made.
    :param source_digest: of the image or source that is wanted as the start; None where there is none.
    :param users: containers made from it; :param open: it is being edited; :param begun: making it was interrupted.
    :param published: when the image was made that its server has now; :param unasked: why its server did not say.
    :param stray: a file of its name that has no manifest.
    """

    record: Optional[manifest.Record] = None
    file: bool = False
    edited: bool = False
    source_digest: Optional[str] = None
    source_size: int = 0
    users: tuple[str, ...] = ()
    open: bool = False
    begun: bool = False
    published: str = ""
    unasked: Optional[BaleineError] = None
    stray: str = ""


def request(params: Mapping[str, Any]) -> Wanted:
    """Return what a task or a command asks for, normalised.

    :raises BaleineError: for a name, size, suite, package or file that is none.
    """
    name = units.check_name(str(params["name"]), "image")
    what = f"image {name}"
    if params.get("state") == "absent":
        return Wanted(name, "absent")
    directory = units.normal_path(params["directory"]) if params.get("directory") else ""
    if directory and not directory.startswith("/"):
        raise BaleineError(f"{what}: directory {directory!r} is no absolute path")
    return Wanted(name, "present", parse_recipe(params, name, what), directory, params.get("rebuild") or "on_change")


def find(run: Runner, wanted: Wanted) -> Found:
    """Return what is recorded of an image and what is on the disk."""
    record = current(wanted.name)
    path = path_of(wanted.name, record or {"chemin": wanted.directory})
    begun = record is None and manifest.read("image", wanted.name) is not None
    there = record is not None and os.path.exists(path)
    source_digest, source_size, source = None, 0, wanted.recipe.from_image if wanted.recipe else ""
    source_record = current(source) if source else None
    if source_record is not None and os.path.exists(path_of(source, source_record)):
        source_digest = true_digest(source, source_record) or disk.digest(path_of(source, source_record))
        source_size = os.path.getsize(path_of(source, source_record))
    what, published, unasked, recipe = f"image {wanted.name}", "", None, wanted.recipe
    if recipe and recipe.source and (wanted.rebuild != "never" or not there):
        from . import download, origin, remote

        try:
            if recipe.published:
                found = remote.describe(run, recipe.published, what)
                source_digest, source_size = found.identity, found.description.size
                published = found.description.created
            else:
                start = origin.parse(recipe.source, what, recipe.insecure, recipe.proxy)
                source_digest = origin.identity(run, start, what)
        except download.Unasked as error:
            unasked = error
    return Found(
        record=record,
        file=there,
        edited=record is not None and there and _is_edited(path, record),
        source_digest=source_digest,
        source_size=source_size,
        users=users(wanted.name),
        open=os.path.exists(edit_path(wanted.name, record or {})),
        begun=begun,
        published=published,
        unasked=unasked,
        stray=path if record is None and not begun and os.path.exists(path) else "",
    )


def path_of(name: str, record: Mapping[str, str]) -> str:
    """Return where an image's file is."""
    return f"{record.get('chemin') or DIRECTORY}/{name}"


def current(name: str) -> Optional[manifest.Record]:
    """Return an image's record, with what a crash left half said settled; an unfinished one is none."""
    record = manifest.read("image", name)
    if record is None or record.get("state") == "creating":
        return None
    following = manifest.from_json(record, "next", {})
    path = path_of(name, record)
    if following and os.path.exists(path) and disk.fingerprint(path) == following.get("fingerprint"):
        return {**{key: value for key, value in record.items() if key != "next"}, **following}
    record.pop("next", None)
    return record


def _is_edited(path: str, record: Mapping[str, str]) -> bool:
    """Say whether somebody wrote to an image's file; the digest is only taken when its cheap fingerprint differs."""
    if "digest" not in record:
        return False  # one of the 2019 scripts: whatever it is, it is that image
    return record.get("edited") == "yes" or (
        disk.fingerprint(path) != record.get("fingerprint") and disk.digest(path) != record["digest"]
    )


def true_digest(name: str, record: Mapping[str, str]) -> str:
    """Return the digest of an image's content as it is now; empty where none was ever taken (the 2019 scripts)."""
    path = path_of(name, record)
    if not record.get("digest") or disk.fingerprint(path) == record.get("fingerprint"):
        return record.get("digest", "")
    return disk.digest(path)


def copy(run: Runner, name: str, record: Mapping[str, str], target: str) -> disk.Copied:
    """Copy an image's file; of what no command of Baleine wrote (adopted, changed by hand) the copy is made harmless.

    :raises BaleineError: for one that cannot be used; then there is no copy.
    """
    path = path_of(name, record)
    copied, digest = disk.copy(path, target), true_digest(name, record)
    if digest and digest == record["digest"]:
        return copied
    try:
        disk.check_ext4(run, target)
    except BaleineError as error:
        manifest.discard(target)
        raise BaleineError(error.message.replace(f"disk {target}", f"image {name}"), error.hint) from None
    return copied


def users(name: str) -> tuple[str, ...]:
    """Return the containers that were made from an image."""
    found = manifest.records("container").items()
    return tuple(container for container, record in found if record.get("nom_image") == name)


def plan(wanted: Wanted, found: Found, check: bool = False) -> Plan:
    """Compare and decide. Pure.

    :param check: an image to start from that is missing is taken to come from an earlier task.
    :raises BaleineError: for what must not be done.
    """
    what = f"image {wanted.name}"
    if wanted.state == "absent":
        return _plan_absent(what, found)
    recipe = known(wanted.recipe, f"{what}: its recipe")
    if found.stray:
        raise BaleineError(f"{what}: there is a file {found.stray} that Baleine did not make", "Move it away")
    warnings = []
    start = f"image {recipe.from_image}" if recipe.from_image else recipe.source
    lost = found.unasked or BaleineError(f"{what}: there is no {start} to start from", "Make it first")
    missing = bool(start) and found.source_digest is None
    spared = missing and recipe.source and found.file and bool(found.unasked or wanted.rebuild == "never")
    spared = spared and wanted.rebuild != "always"
    if missing and not spared:
        if not check:
            raise lost
        warnings.append(f"{lost.message}; taken to come from an earlier task")
    if found.source_size and recipe.size and recipe.size < found.source_size:
        raise BaleineError(
            f"{what}: a size of {units.show_size(recipe.size)} is smaller than that of "
            f"{start} ({units.show_size(found.source_size)})",
            "Leave the size out, or give a larger one",
        )
    goal = _goal(wanted, found)
    before = recorded(found.record or {})
    if found.record is None or not found.file:
        drift = () if found.record is None else (f"{what}: its file is gone",)
        reason = "drift: its file is gone" if drift else "there is none"
        return Plan(what, (Action("build", what, reason),), {}, goal, drift, tuple(warnings))
    unknown = ("source", "size") if found.source_digest is None else ()  # the image to start from is yet to come
    compared = {key: value for key, value in goal.items() if key != "origin"}  # where it was found is not what it is
    differing = [key for key in differences(compared, before) if goal[key] or (before.get(key) and key not in unknown)]
    if not before:
        differing = [] if wanted.rebuild != "always" else ["recipe"]
        warnings.append(f"{what}: its manifest does not say what it was made from; it is kept as it is")
    reasons = [f"{key} {_brief(before.get(key))} -> {_brief(goal.get(key))}" for key in differing]
    if wanted.rebuild == "always":
        return rebuild(what, found, before, goal, reasons or ["always is wanted"], warnings)
    if not reasons or wanted.rebuild == "never":
        if reasons:
            warnings.append(f"{what}: kept (rebuild: never), but the request differs: {'; '.join(reasons)}")
        elif found.edited:
            warnings.append(f"{what}: it was edited by hand since it was made; it is kept as it is")
        if found.unasked:
            warnings.append(f"{what}: it is kept as it is, since its source cannot be asked: {lost.message}")
        return Plan(what, (), before, before, (), tuple(warnings))
    if spared and not check:
        raise lost
    if found.published and found.published < found.record.get("published", ""):
        raise BaleineError(
            f"{what}: {start} is older ({found.published}) than what is here ({found.record['published']})",
            "An old image has a good signature too: set rebuild: always to take it all the same",
        )
    if found.edited:
        raise BaleineError(
            f"{what}: the request differs ({'; '.join(reasons)}), but the image was edited by hand since it was made",
            "Set rebuild: always to make it anew and lose the edit, or rebuild: never to keep it",
        )
    return rebuild(what, found, before, goal, reasons, warnings)


def rebuild(
    what: str, found: Found, before: dict[str, Any], goal: dict[str, Any], reasons: list[str], warnings: list[str]
) -> Plan:
    """Return the plan of another content for an image: its containers stay on the older one.

    :param reasons: why; :param warnings: what else is to be said.
    :raises BaleineError: while it is being edited.
    """
    check_closed(what, found)
    if found.users:
        warnings.append(f"{what}: containers of its older content are not changed: {', '.join(found.users)}")
    return Plan(what, (Action("build", what, "; ".join(reasons)),), before, goal, (), tuple(warnings))


def check_closed(what: str, found: Found) -> None:
    """Refuse an image that is being edited by hand.

    :raises BaleineError: with the way out.
    """
    if found.open:
        raise BaleineError(f"{what}: it is being edited by hand", "End that with 'baleine image umount' first")


def _plan_absent(what: str, found: Found) -> Plan:
    if found.begun:
        return Plan(what, (Action("remove", what, "making it was interrupted"),), {"state": "creating"}, {})
    if found.record is None:
        return Plan(what)
    if found.users:
        met = f"it cannot be removed, containers use it: {', '.join(found.users)}"
        raise BaleineError(f"{what}: {met}", "Remove these containers first")
    check_closed(what, found)
    before = recorded(found.record) or {"state": "present"}
    return Plan(what, (Action("remove", what, "absent is wanted"),), before, {})


def _goal(wanted: Wanted, found: Found) -> dict[str, Any]:
    """What the recipe comes to: the size is the source's where none is asked for."""
    recipe = known(wanted.recipe, f"image {wanted.name}: its recipe")
    directory = wanted.directory or (found.record or {}).get("chemin") or DIRECTORY
    source = found.source_digest if recipe.from_image or recipe.source else ""
    goal = {**recipe.as_dict(), "size": recipe.size or found.source_size, "source": source, "directory": directory}
    return {**goal, **({"origin": recipe.source} if recipe.source else {})}  # where it was found is not compared


def recorded(record: Mapping[str, str]) -> dict[str, Any]:
    """Return what an image was made of, as a diff shows it; empty where its manifest does not say."""
    recipe: dict[str, Any] = manifest.from_json(dict(record), "recipe", {})
    return {**recipe, "directory": record.get("chemin") or DIRECTORY} if recipe else {}


def _brief(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return " ".join(str(item.get("path") or " ".join(item.values())) for item in value)
    text = show(value)
    return text if len(text) < 60 else text[:57] + "..."


def inherited(record: Mapping[str, str]) -> dict[str, str]:
    """Return what an image keeps of the one that it comes of: what it is for, and how it wants to be run."""
    return {key: value for key, value in record.items() if key in ("architecture", "config")}


def part_path(name: str, directory: str) -> str:
    """Return where an image's file lies while it is made."""
    return f"{directory}/.{name}.part"


def edit_path(name: str, record: Mapping[str, str]) -> str:
    """Return where the copy lies that is edited by hand."""
    return f"{record.get('chemin') or DIRECTORY}/.{name}.edit"


def facts(name: str) -> dict[str, Any]:
    """Return what is true of an image now; empty where there is none."""
    record = current(name)
    if record is None:
        return {}
    path = path_of(name, record)
    there = os.path.exists(path)
    return {
        "name": name,
        "state": "present" if there else "missing",
        "size": os.path.getsize(path) if there else 0,
        "allocated": disk.allocated(path) if there else 0,
        "path": path,
        "edited": there and _is_edited(path, record),
        "recipe": recorded(record),
        "config": manifest.from_json(record, "config", {}),
        **{key: record.get(key, "") for key in ("digest", "architecture", "created", "version", "signed_by")},
        "copy": disk.copied(record),
        "containers": list(users(name)),
    }
