# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: what is wanted, what is found, and the plan between them. lifecycle.py applies it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from . import image, launch, limits, manifest, network, policy, units
from .description import DIRECTORY, Description, describe, network_as_dict
from .errors import BaleineError, known
from .plan import Action, Draft, Plan, changes, show

#: Bytes; the blocks of an ext4 disk are as large.
PAGE = 4096
#: Which of the states that a task may want mean that it shall run, and what they say of the time after a crash.
#: The pass of cron wants ``revived`` or ``settled``, which says nothing of what a user wishes.
RUNS = ("started", "paused", "revived")
WISHES = {"started": "started", "paused": "started", "stopped": "stopped"}
#: Recorded states that are not true any more once the first process is gone.
LIVES = ("running", "paused", "starting", "stopping")
#: What a task may say about a container without naming its image.
STATE_ONLY = {"name", "state", "restart", "wait"}


class Wanted(NamedTuple):
    """A container as it is asked for. ``description`` is None where only its state is spoken of.

    :param stdio: what its program reads and writes when it starts; None is nothing, and its log.
    :param size: of its disk, in bytes; None is whatever it is.
    """

    name: str
    state: str = "started"
    description: Optional[Description] = None
    restart: bool = False
    recreate: str = "never"
    stdio: Optional[launch.Stdio] = None
    size: Optional[int] = None


class Found(NamedTuple):
    """What is recorded and what is there.

    :param description: what the manifest says it is; None where there is no manifest.
    :param interfaces: as recorded, with the names and MACs that were given.
    :param old_disks: names of disks that a recreate put aside; each is removed by that name.
    :param alive: its first process is the one that was recorded, and runs; :param frozen: it is paused.
    :param limits: what the kernel holds, while it runs.
    :param host_links: the host's ends, by name; :param inside: what the kernel shows inside.
    :param image_digest: of the image of the *wanted* (or recorded) name; None where there is no such image.
    :param bridges: the addresses of every recorded bridge; :param mtus: their MTU.
    :param used: per bridge, who has which address.
    :param refusal: why this host cannot have the limits that are wanted.
    :param taken: interface names that other containers have recorded.
    :param no_volumes: named volumes that are still to be made; :param no_sources: what is named by files that are none.
    :param disk_size: bytes of its disk, or of the image that it will be a copy of.
    """

    record: Optional[manifest.Record] = None
    description: Optional[Description] = None
    interfaces: tuple[network.Interface, ...] = ()
    alive: bool = False
    frozen: bool = False
    disk: bool = False
    old_disks: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    limits: Mapping[str, Any] = {}
    host_links: Mapping[str, Mapping[str, Any]] = {}
    inside: Mapping[str, Mapping[str, Any]] = {}
    image_digest: Optional[str] = None
    bridges: Mapping[str, tuple[str, ...]] = {}
    mtus: Mapping[str, int] = {}
    used: Mapping[str, Mapping[str, str]] = {}
    taken: tuple[str, ...] = ()
    no_volumes: tuple[str, ...] = ()
    no_sources: tuple[str, ...] = ()
    refusal: Optional[BaleineError] = None
    disk_size: Optional[int] = None

    @property
    def state(self) -> str:
        """What is true now: ``running``, ``paused``, ``stopped``, or the unfinished step that a crash left."""
        if self.record is None:
            return "absent"
        recorded = self.record.get("state", "stopped")
        if self.alive:
            return "starting" if recorded == "starting" else "paused" if self.frozen else "running"
        return recorded if recorded in ("creating", "removing") else "stopped"


def request(params: Mapping[str, Any]) -> Wanted:
    """Return what a task or a command asks for, normalised.

    :raises BaleineError: for anything that is not what it should be, naming it.
    """
    name = units.check_name(str(params["name"]), "container", aside=params.get("state") == "absent")
    what = f"container {name}"
    state = params.get("state") or "started"
    restart = bool(params.get("restart"))
    if params.get("image") is None:
        extra = sorted(key for key, value in params.items() if value is not None and key not in STATE_ONLY)
        extra = [key for key in extra if (key, params[key]) != ("recreate", "never")]  # its default says nothing
        if extra and state != "absent":
            raise BaleineError(
                f"{what}: {', '.join(extra)} without image",
                "Name the image too: a task without it only touches the state",
            )
        return Wanted(name, state, None, restart)
    recreate = params.get("recreate") or "never"
    size = -(-units.parse_size(params.get("size") or 0, units.MEBIBYTE, f"{what}: size") // PAGE) * PAGE or None
    return Wanted(name, state, describe(_as_its_image(params, what), what), restart, recreate, size=size)


def _as_its_image(params: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a request in which what is left out is as the image's configuration has it, and then as documented.

    The variables that are given are added to the image's. Of an image that is yet to come nothing is known.
    """
    record = image.current(units.check_name(str(params["image"]), "image"))
    config: dict[str, Any] = manifest.from_json(record or {}, "config", {})
    words = [*config.get("entrypoint", ()), *config.get("cmd", ())] or (["(as its image)"] if record is None else None)
    found = {"command": words, **{key: config.get(key) for key in ("user", "workdir", "stop_signal")}}
    asked, found["stop_signal"] = found["stop_signal"] or "TERM", "TERM"
    with contextlib.suppress(BaleineError):  # one that our PID 1 does not take is not the container's either
        found["stop_signal"] = policy.parse_signal(asked, what, params.get("init") is not False)
    given = {key: value for key, value in params.items() if value not in (None, "")}
    return {**found, **given, "env": {**config.get("env", {}), **(params.get("env") or {})}}


def plan(wanted: Wanted, found: Found, check: bool = False) -> Plan:
    """Compare and decide. Pure.

    :param check: a missing image or bridge is taken to come from an earlier task.
    :raises BaleineError: for what cannot or must not be done, before anything was changed.
    """
    draft = Draft(f"container {wanted.name}")
    _decide(wanted, found, draft, check)
    if draft.has("start", "recreate"):
        new = [(name, f"there is no volume {name}") for name in found.no_volumes]
        draft.actions[:0] = [Action("make_volume", draft.what, reason, {"name": name}) for name, reason in new]
    return draft.plan()


def _decide(wanted: Wanted, found: Found, draft: Draft, check: bool) -> None:
    what, begun = draft.what, found.record is None or found.state in ("creating", "removing")
    if wanted.state == "absent":
        _plan_absent(found, draft)
    elif wanted.description is None:
        if wanted.state == "settled" and found.record is None:
            return
        if begun:
            raise BaleineError(f"{what}: there is none", "Name its image to create it")
        if wanted.state in RUNS and not found.disk and not found.alive:
            raise BaleineError(f"{what}: its disk is gone", "Name its image to start it anew, or remove it")
        _plan_size(wanted, found, draft)
        _plan_state(wanted, found, draft)
    else:
        description = wanted.description
        if not description.directory:  # not spoken of: where it is, or the default
            kept = found.description.directory if found.description else f"{DIRECTORY}/{wanted.name}"
            description = description._replace(directory=kept)
        wanted = wanted._replace(description=description)
        _check_surroundings(description, found, draft, check)
        if wanted.size and not found.disk:
            _plan_size(wanted, found._replace(alive=False), Draft(what))
        if found.record is None and (found.disk or found.leftovers):
            raise BaleineError(
                f"{what}: there is a disk or a run of it, but no manifest",
                "Put its manifest back, or remove what there is by its name: state: absent",
            )
        if begun:
            reason = "there is none" if found.record is None else f"it was interrupted while {found.state}"
            draft.step("create", reason, description=description)
            if wanted.state in RUNS:
                draft.step("start", "started is wanted")
            if wanted.state == "paused":
                draft.step("pause", "paused is wanted")
            draft.after = {**after_state(wanted), **({"size": wanted.size} if wanted.size else {})}
        else:
            _plan_changes(wanted, description, found, draft)
            _plan_state(wanted, found, draft)


def _plan_absent(found: Found, draft: Draft) -> None:
    if found.record is None and not found.leftovers and not found.disk:
        return
    draft.warnings += [f"{draft.what}: an older disk of it is kept: {disk}" for disk in found.old_disks]
    if found.alive:
        draft.step("stop", "absent is wanted")
    draft.step("remove", "absent is wanted")
    draft.before = before_state(found) or {"state": "a disk without a container"}


def _plan_changes(wanted: Wanted, new: Description, found: Found, draft: Draft) -> None:
    """What it takes to make an existing container what is described."""
    what = draft.what
    old, record = known(found.description, f"{what}: what it is"), known(found.record, f"{what}: its record")
    differing = changes(new.fixed(), old.fixed())
    new_disk = [f"image {old.image} -> {new.image}"] if new.image != old.image else []
    outdated = bool(found.image_digest) and record.get("image_digest", found.image_digest) != found.image_digest
    if outdated and not new_disk and wanted.recreate == "on_change":
        new_disk.append(f"image {old.image} was rebuilt")
    elif outdated and not new_disk:
        draft.warnings.append(f"{what}: it runs an older content of the image {old.image} (image_outdated)")
    if (differing or new_disk) and wanted.recreate == "never":
        lost = "its disk would be replaced by a new one and kept aside" if new_disk else "its disk would be kept"
        raise BaleineError(
            f"{what}: cannot change in place: {'; '.join(new_disk + differing)}",
            f"Set recreate: on_change to restart it that way ({lost})",
        )
    if not found.disk and found.alive and wanted.recreate == "never":
        raise BaleineError(
            f"{what}: the file of its disk is gone, but it still runs on it",
            "Save what matters from inside it; then set recreate: on_change to begin with a new disk",
        )
    if not found.disk:
        if found.alive:
            draft.step("stop", "drift: its disk is gone")
        draft.step("create", "drift: its disk is gone", "its disk is gone", description=new)
    elif wanted.recreate == "always" or differing or new_disk:
        if not new_disk:
            _plan_size(wanted, found, draft)
        reason, starts = "; ".join(new_disk + differing), wanted.state in RUNS
        starts = starts or (found.alive and wanted.state == "present")
        reason = reason or "always is wanted"
        draft.step("recreate", reason, description=new, new_disk=bool(new_disk), start=starts)
    else:
        _plan_limits(new, found, draft)
        reasons = changes(new.settings, old.settings)
        if reasons:
            draft.step("set_policy", ", ".join(reasons), settings=new.settings)
        _plan_networks(wanted.name, new, found, draft)
        _plan_size(wanted, found, draft)


def _plan_size(wanted: Wanted, found: Found, draft: Draft) -> None:
    """What it takes to give an existing disk the size that is wanted."""
    size, now, what = wanted.size, found.disk_size, draft.what
    if not size or not now or size == now:
        return
    change = f"size {units.show_size(now)} -> {units.show_size(size)}"
    if size < now:
        raise BaleineError(f"{what}: {change}: a disk can only grow", "Leave the size out, or give a larger one")
    if found.alive and wanted.recreate == "never" and wanted.state != "stopped":
        raise BaleineError(f"{what}: {change}: not while it runs", "Stop it first, or set recreate: on_change")
    if found.alive:
        draft.step("stop", change)
    draft.step("grow", change, size=size)


def _plan_limits(new: Description, found: Found, draft: Draft) -> None:
    recorded = known(found.description, f"{draft.what}: what it is").limits
    reasons = []
    for key in limits.KEYS:
        wanted, was, seen = new.limits.get(key), recorded.get(key), found.limits.get(key)
        drifted = wanted == was and found.alive and wanted != seen
        if wanted != was or drifted:
            shown = limits.show_one(key, seen if drifted else was)
            reasons.append(f"{'drift: ' if drifted else ''}{key} {shown} -> {limits.show_one(key, wanted)}")
            draft.drift += [f"{draft.what}: limits.{key} was {shown}"] if drifted else []
    if reasons:
        draft.step("set_limits", ", ".join(reasons), limits=dict(new.limits))


def _plan_networks(name: str, new: Description, found: Found, draft: Draft) -> None:
    interfaces = network.interfaces_for(name, new.networks, found.interfaces, found.taken)
    for item in found.interfaces[len(interfaces) :] if found.alive else ():
        draft.step("cut", f"{item.inside} is not wanted", link=item.link)
    for item in interfaces if found.alive else ():
        mtu = item.network.mtu or found.mtus.get(item.network.bridge, 1500)
        mending = network.mend(item, found.host_links.get(item.link), found.inside.get(item.inside), mtu)
        if mending.reasons:
            same = item in found.interfaces
            draft.drift += [f"{draft.what}: {item.inside}: {reason}" for reason in mending.reasons if same]
            reason = f"{'drift: ' if same else ''}{item.inside}: {', '.join(mending.reasons)}"
            draft.step("connect", reason, interface=item, mending=mending)
    if interfaces != found.interfaces:
        draft.step("record_networks", "networks differ", interfaces=interfaces)


def _plan_state(wanted: Wanted, found: Found, draft: Draft) -> None:
    """Append what the state needs."""
    record = known(found.record, f"{draft.what}: its record")
    recreated, stops = draft.has("recreate"), draft.has("stop")
    died = is_over(record, found.alive)
    half = found.alive and record.get("state") in ("starting", "stopping")  # nobody is at work on it: the lock is ours
    interrupted = f"it was interrupted while {record.get('state')}"
    draft.drift += [f"{draft.what}: its first process is gone"] if died else []
    if found.alive and record.get("state") == ("running" if found.frozen else "paused"):
        draft.drift.append(f"{draft.what}: it is {found.state}")
    starts = False
    if (wanted.state in RUNS or (stops and wanted.state == "present")) and not recreated:
        starts = not found.alive or stops or half or wanted.restart
        if not found.alive or stops:
            draft.step("start", "drift: its first process is gone" if died else "started is wanted")
        elif starts:
            for verb in ("stop", "start"):
                draft.step(verb, interrupted if half else "restart is asked for")
        elif found.frozen and wanted.state != "paused":
            draft.step("unpause", "started is wanted")
    elif wanted.state == "stopped" and found.alive and not recreated and not stops:
        draft.step("stop", "stopped is wanted")
    elif wanted.state == "settled" and half and not recreated:
        draft.step("stop", interrupted)
    elif wanted.state in ("stopped", "settled") and not found.alive and (died or found.leftovers):
        draft.step("settle", "drift: it ended by itself")
    if wanted.state == "paused" and (starts or recreated or not found.frozen):
        draft.step("pause", "paused is wanted")
    wished, wish = record.get("wanted_state"), WISHES.get(wanted.state, record.get("wanted_state"))
    if wished != wish and not draft.actions:
        draft.step("wish", f"wanted state {show(wished)} -> {wish}")
    draft.before, draft.after = before_state(found), after_state(wanted, found)
    if wanted.size:
        draft.before["size"], draft.after["size"] = found.disk_size, wanted.size


def is_over(record: Mapping[str, str], alive: bool) -> bool:
    """Say whether a record still tells of a run that has ended."""
    return not alive and (record.get("state") in LIVES or bool(record.get("pid")))


def before_state(found: Found) -> dict[str, Any]:
    """Return what a diff shows of what is there."""
    if found.record is None or found.description is None:
        return {}
    seen = found.limits or found.description.limits
    wish, networks = found.record.get("wanted_state", "stopped"), [_as_seen(item, found) for item in found.interfaces]
    held = {key: seen.get(key) for key in limits.KEYS}
    return _shown(found.description, state=found.state, wanted_state=wish, limits=held, networks=networks)


def _shown(description: Description, **state: Any) -> dict[str, Any]:
    return {"image": description.image, **description.fixed(), **description.settings, **state}


def _as_seen(item: network.Interface, found: Found) -> dict[str, Any]:
    """An interface as the kernel shows it, in the form of the module's option; as recorded while nothing runs."""
    shown = network_as_dict(item.network)
    seen, host = found.inside.get(item.inside), found.host_links.get(item.link)
    if not found.host_links:  # the kernel was not asked
        return shown
    if seen is None or host is None:
        return {"bridge": None}
    routes = sorted(seen["routes"])
    shown["bridge"] = host.get("master")
    if "UP" not in host.get("flags", ()) or not seen["up"]:
        shown["bridge"] = f"{shown['bridge']} (down)"
    shown["addresses"] = units.as_listed(seen["addresses"], shown["addresses"])
    shown["gateway"] = next((via for to, via in routes if to == "default"), None)
    shown["routes"] = [{"destination": to, "gateway": via} for to, via in routes if to != "default"]
    shown["mac"] = shown["mac"] if seen["mac"] == item.mac else seen["mac"]
    wanted_mtu = item.network.mtu or found.mtus.get(item.network.bridge, 1500)
    shown["mtu"] = shown["mtu"] if seen["mtu"] == wanted_mtu else seen["mtu"]
    return {**shown, "rate_in": host.get("rate"), "rate_out": seen.get("rate")}


def after_state(wanted: Wanted, found: Optional[Found] = None) -> dict[str, Any]:
    """Return what a diff shows of what will be there."""
    description = wanted.description or (found.description if found else None)
    state = {"started": "running", "present": found.state if found else "stopped"}.get(wanted.state, wanted.state)
    recorded = found.record.get("wanted_state", "stopped") if found and found.record else "stopped"
    wish = WISHES.get(wanted.state, recorded)
    if description is None:
        return {"state": state, "wanted_state": wish}
    networks = [network_as_dict(item) for item in description.networks]
    for item in networks:
        item["routes"].sort(key=lambda route: (route["destination"], route["gateway"]))
    return _shown(description, state=state, wanted_state=wish, limits=dict(description.limits), networks=networks)


def _check_surroundings(new: Description, found: Found, draft: Draft, check: bool) -> None:
    """Refuse an image or bridge that is not there, and addresses that cannot be; in check mode say so only."""
    if found.refusal:
        raise found.refusal
    missing = []
    disk_is_needed = not found.disk or found.state in ("absent", "creating", "removing")
    if found.image_digest is None and (disk_is_needed or (found.record or {}).get("nom_image") != new.image):
        missing.append((f"there is no image {new.image}", "Make it with baleine_image or 'baleine image create'"))
    for item in new.networks:
        if item.bridge in found.bridges:
            used = {address: who for address, who in found.used.get(item.bridge, {}).items() if who != draft.what}
            network.check_member(draft.what, item, (), used)
            missing += [(text, network.INSIDE) for text in network.outside(item, found.bridges[item.bridge])]
        else:
            hint = "Make it with baleine_bridge or 'baleine bridge create'"
            missing.append((f"there is no bridge {item.bridge}", hint))
    missing += [(f"{path}: No such file or directory", "Make it on the host first") for path in found.no_sources]
    if missing and not check:
        raise BaleineError(f"{draft.what}: {missing[0][0]}", missing[0][1])
    draft.warnings += [f"{draft.what}: {text}; taken to come from an earlier task" for text, _hint in missing]
