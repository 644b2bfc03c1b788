# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: what is found of them on a host, and what lists and results show. Nothing here changes anything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from . import cgroup, disk, enter, image, launch, limits, log, manifest, netlink, network, rootfs, units, volume
from .container import RUNS, Found, Wanted
from .description import DIRECTORY, from_record, ip_of, network_as_dict
from .errors import BaleineError, known
from .process import Runner, read, running_seconds, wait_until
from .rootfs import IDS_PER_CONTAINER

DISKS = f"{manifest.LIBRARY}/containers"
FIRST_ID = 0x70000000
#: Seconds in which a process that ends is gone.
SOON = 2.0
LAST_ID = 0x7FFE0000  # systemd's range of foreign ids follows (UIDS-GIDS.md)


class Seen(NamedTuple):
    """What is the same for all containers of a set: the host's links, and :func:`surroundings`."""

    links: Mapping[str, Mapping[str, Any]]
    around: Mapping[str, Any]


def disk_of(name: str) -> str:
    """Return the path of a container's own disk."""
    return f"{DISKS}/{name}"


def mounted_at(name: str) -> str:
    """Return where a container's disk is mounted on the host, by hand; empty where it is not."""
    path = f"{DIRECTORY}/{name}"
    return path if rootfs.is_mounted(path) else ""


def need_closed(path: str, name: str, what: str) -> None:
    """Wait until nobody holds the disk of a container that does not run.

    :raises BaleineError: naming who does.
    """
    if mounted_at(name):
        hint = f"End that first: baleine container umount -c {name}"
        raise BaleineError(f"{what}: its disk is mounted at {mounted_at(name)}", hint)
    launch.need_free(path, what)


def find(run: Runner, wanted: Wanted, full: bool = True, seen: Optional[Seen] = None) -> Found:
    """Return what is recorded of a container and what is really there.

    :param full: also look at other resources, and ask the kernel for links, addresses and limits where a description
        is wanted; without it only for life and left-overs.
    :param seen: what is the same for each of a set, where somebody has just looked.
    """
    record = manifest.read("container", wanted.name)
    description, interfaces = from_record(wanted.name, record) if record else (None, ())
    alive = record is not None and enter.is_alive(record)
    source = wanted.description.image if wanted.description else (record or {}).get("nom_image", "")
    files = [disk_of(wanted.name), *([image.path_of(source, image.current(source) or {})] if source and full else [])]
    sizes = [os.path.getsize(path) for path in files if os.path.exists(path)]
    runtime_name = (record or {}).get("runtime", "")
    there = os.listdir(DISKS) if os.path.isdir(DISKS) else ()
    shown: dict[str, Any] = {}
    if full:
        own = manifest.split((record or {}).get("interface", ""))
        shown = dict(seen.around) if seen else surroundings()
        shown["taken"] = tuple(link for link in shown["taken"] if link not in own)
        shown["image_digest"] = _image_digest(source)
        meant = wanted.description or description
        again = not alive or wanted.restart or wanted.recreate == "always"
        if wanted.description and description and wanted.description.fixed() != description.fixed():
            again = True
        if meant and again and (wanted.state in RUNS or wanted.description):
            shown["no_volumes"] = volume.missing(meant.named_volumes())
            paths = [("volume", item.source) for item in meant.volumes if "/" in item.source]
            paths += [(f"secret {secret.name}:", secret.source) for secret in meant.secrets]
            paths += [("seccomp", path) for path in [meant.privileges["seccomp"]] if "/" in path]
            shown["no_sources"] = tuple(f"{what} {path}" for what, path in paths if not os.path.exists(path))
        if wanted.description:
            shown["refusal"] = limits.refuse(wanted.description.limits, f"container {wanted.name}")
        if alive and record is not None and wanted.description:  # who speaks of its state only compares nothing else
            recorded = known(description, f"container {wanted.name}: what it is").limits
            try:
                shown.update(
                    host_links=seen.links if seen else netlink.links(run),
                    inside=network.found_inside(run, int(record["pid"])),
                    limits=cgroup.current_limits(wanted.name, int(record["pid"]), recorded),
                )
            except BaleineError:  # it may end while we ask: its namespaces go a moment before it is a zombie
                alive = not wait_until(lambda: not enter.is_alive(record), SOON)
                if alive:
                    raise
    return Found(
        record=record,
        description=description,
        interfaces=interfaces,
        alive=alive,
        frozen=alive and cgroup.frozen(wanted.name),
        disk=os.path.exists(disk_of(wanted.name)),
        disk_size=sizes[0] if sizes else None,
        old_disks=tuple(sorted(file for file in there if file.startswith(f"{wanted.name}.old-"))),
        leftovers=() if alive else tuple(launch.leftovers(wanted.name, runtime_name)),
        **shown,
    )


def _image_digest(name: str) -> Optional[str]:
    record = image.current(name) if name else None
    if record is None or not os.path.exists(image.path_of(name, record)):
        return None
    return image.true_digest(name, record)


def surroundings(name: str = "") -> dict[str, Any]:
    """Return what the other resources have: bridges, addresses in use, interface names.

    :param name: a container whose interface names do not count.
    """
    bridges, mtus, used = {}, {}, {}
    for bridge, record in manifest.records("bridge").items():
        with contextlib.suppress(ValueError):
            bridges[bridge] = tuple(manifest.split(record.get("address", "")))
            mtus[bridge] = units.number(record.get("mtu", "")) or 1500
            used[bridge] = {ip_of(address): f"the bridge {bridge} itself" for address in bridges[bridge]}
    taken: list[str] = []
    for other, record in manifest.records("container").items():
        with contextlib.suppress(ValueError):  # a torn address is that container's trouble
            if other != name:
                taken += manifest.split(record.get("interface", ""))
            for bridge, addresses in zip(
                manifest.split(record.get("nom_bridge", "")), manifest.split(record.get("address", ""))
            ):
                for address in addresses.split("+") if addresses else []:
                    used.setdefault(bridge, {})[ip_of(address)] = f"container {other}"
    return {"bridges": bridges, "mtus": mtus, "used": used, "taken": tuple(taken)}


def free_ids(name: str) -> int:
    """Return the first of 65,536 host ids that nobody has: no other container, no line of /etc/subuid or subgid (those
    of Docker's userns-remap and Podman are there), no user namespace that lives, whoever made it.

    :raises BaleineError: when none is left.
    """
    ranges: list[tuple[int, int]] = []
    for path in ("/etc/subuid", "/etc/subgid"):
        for parts in [line.strip().split(":") for line in (read(path) or "").splitlines()]:
            first, size = (units.number(part) for part in parts[1:]) if len(parts) == 3 else (None, None)
            if first is not None and size is not None:
                ranges.append((first, first + size))
    for text in {read(f"/proc/{pid}/uid_map") for pid in os.listdir("/proc") if pid.isdigit()}:
        for line in (text or "").splitlines():
            _inside, first, size = map(int, line.split())
            if size < 1 << 31:  # more is what maps the host's ids as they are
                ranges.append((first, first + size))
    for other, record in manifest.records("container").items():
        taken = units.number(record.get("first_id", ""))
        if taken is not None and other != name:
            ranges.append((taken, taken + IDS_PER_CONTAINER))
    for start in range(FIRST_ID, LAST_ID, IDS_PER_CONTAINER):
        if not any(begin < start + IDS_PER_CONTAINER and start < end for begin, end in ranges):
            return start
    raise BaleineError(f"container {name}: no range of user ids is left", "Remove containers that are not needed")


def facts(run: Runner, name: str) -> dict[str, Any]:
    """Return what is true of a container now, as lists and results show it; empty where there is none."""
    record = manifest.read("container", name)
    if record is None:
        return {}
    found = find(run, Wanted(name), full=False)
    description = known(found.description, f"container {name}: what it is")
    alive = found.alive
    digest = _image_digest(description.image)
    return {
        "name": name,
        "state": found.state,
        "recorded_state": record.get("state", "stopped"),
        "wanted_state": record.get("wanted_state", "stopped"),
        "image": description.image,
        "image_digest": record.get("image_digest", ""),
        "image_outdated": bool(digest) and record.get("image_digest", digest) != digest,
        "pid": int(record["pid"]) if alive else None,
        "running_seconds": int(running_seconds(int(record["start_ticks"]))) if alive else None,
        "started": record.get("starting_time") or None,
        "exit_code": None if alive else _exit_code(name, record),
        "oom_kills": units.number(record.get("oom_kills", "")) or cgroup.oom_kills(name) or 0,
        "interfaces": [_interface(item) for item in found.interfaces],
        "limits": dict(description.limits),
        **description.fixed(),
        **description.settings,
        "health": record.get("health") if alive else None,
        "restarts": units.number(record.get("restarts", "")) or 0,
        **{key: record.get(key) for key in ("retry_at", "waits")},
        "first_id": units.number(record.get("first_id", "")),
        "runtime": record.get("runtime") or None,
        "copy": disk.copied(record),
        "disk": disk_of(name),
        "log": log.path_of(name),
    }


def _interface(item: network.Interface) -> dict[str, Any]:
    wanted = network_as_dict(item.network)
    shown = {key: wanted[key] for key in ("bridge", "addresses", "rate_in", "rate_out")}
    return {"name": item.inside, "link": item.link, "mac": item.mac, **shown}


def _exit_code(name: str, record: Mapping[str, str]) -> Optional[int]:
    code = launch.exit_code(name)
    return units.number(record.get("exit_code", "")) if code is None else code
