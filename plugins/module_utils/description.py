# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is, but for its state: parsed from a request, written to its manifest and read back."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import launch, manifest, network, units
from .errors import BaleineError

DIRECTORY = "/mnt/baleine"
LIMITS = ("memory", "cpus", "cpuset", "pids")
#: What cannot change in a running container; the disk is kept.
FIXED = ("command", "env", "user", "workdir", "hostname", "init", "volumes", "directory")


@dataclass(frozen=True)
class Description:
    """What a container is: everything but its state. An image of an empty name is never wanted."""

    image: str
    command: tuple[str, ...]
    networks: tuple[network.Network, ...] = ()
    hostname: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    volumes: tuple[launch.Volume, ...] = ()
    init: bool = True
    directory: str = ""

    def fixed(self) -> dict[str, Any]:
        """What only a recreate can change, in the form that results and diffs show."""
        return {
            "command": list(self.command),
            "env": dict(self.env),
            "user": self.user,
            "workdir": self.workdir,
            "hostname": self.hostname,
            "init": self.init,
            "volumes": [{"source": v.source, "target": v.target, "read_only": v.read_only} for v in self.volumes],
            "directory": self.directory,
        }


def describe(params: Mapping[str, Any], what: str) -> Description:
    """Return the description of a container, normalised."""
    name = str(params["name"])
    if params.get("command") is None:
        raise BaleineError(
            f"{what}: no command", "Say which program it runs: command: [/usr/sbin/apache2ctl, -D, FOREGROUND]"
        )
    hostname = params.get("hostname") or name
    if not units.NAME.fullmatch(hostname):
        raise BaleineError(f"{what}: {hostname!r} is no host name", "Use letters, digits, '.' and '-'")
    nothing = [key for key, value in (params.get("env") or {}).items() if value is None]
    if nothing:
        raise BaleineError(f"{what}: env: {nothing[0]} has no value", "Write '' for an empty one")
    env = {str(key): str(value) for key, value in (params.get("env") or {}).items()}
    for key, value in env.items():
        if not key or "=" in key or "\0" in key + value:
            raise BaleineError(f"{what}: env: {key!r} is no name of a variable")
    workdir, user = params.get("workdir") or "", str(params.get("user") or "")
    for key, text in (("workdir", workdir), ("user", user), ("directory", params.get("directory") or "")):
        if text != text.strip() or not text.isprintable():
            raise BaleineError(f"{what}: {key} {text!r} has a character that a manifest's line cannot hold")
    if workdir and not workdir.startswith("/"):
        raise BaleineError(f"{what}: workdir {workdir!r} is no absolute path")
    directory = os.path.normpath(params["directory"]) if params.get("directory") else ""
    if directory and (not directory.startswith("/") or directory.strip("/") == ""):
        raise BaleineError(f"{what}: directory {directory!r} is no absolute path below /")
    networks = tuple(network.parse_network(item, what) for item in params.get("networks") or ())
    addresses = [ip_of(address) for item in networks for address in item.addresses]
    _refuse_twice(what, "address", addresses)
    _refuse_twice(what, "default route for IPv", [6 if ":" in item.gateway else 4 for item in networks if item.gateway])
    volumes = tuple(_parse_volume(item, what) for item in params.get("volumes") or ())
    _refuse_twice(what, "volume's target", [volume.target for volume in volumes])
    return Description(
        image=units.check_name(str(params["image"]), "image"),
        command=units.split_command(params["command"], what),
        networks=networks,
        hostname=hostname,
        env=env,
        workdir=workdir,
        user=user,
        limits=parse_limits(params.get("limits") or {}, what),
        volumes=volumes,
        init=True if params.get("init") is None else bool(params["init"]),
        directory=directory,
    )


def _refuse_twice(what: str, kind: str, found: Sequence[Any]) -> None:
    for value in found:
        if found.count(value) > 1:
            raise BaleineError(f"{what}: the {kind} {value} is given twice", "Give it once")


def ip_of(address: str) -> str:
    """Return the address of a CIDR form without its prefix."""
    return str(ipaddress.ip_interface(address).ip)


def parse_limits(request_: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return limits in bytes, CPUs and numbers; None where there is none.

    :raises BaleineError: for a value that is none.
    """
    memory = request_.get("memory")
    size = units.parse_size(memory, what=f"{what}: limits.memory") if memory else None
    if size is not None and size < units.MEMORY_FLOOR:
        raise BaleineError(f"{what}: limits.memory of {size} bytes is too small for a process", "Give it 4M or more")
    pids = request_.get("pids")
    if pids is not None and not 0 < (units.number(str(pids)) or 0) < 1 << 22:
        raise BaleineError(f"{what}: limits.pids: {pids} is no number of processes", "Give it 1 or more")
    return {
        "memory": size // 4096 * 4096 if size else None,  # the kernel counts in pages
        "cpus": units.parse_cpus(request_.get("cpus"), what),
        "cpuset": units.parse_cpuset(request_.get("cpuset"), what),
        "pids": int(pids) if pids is not None else None,
    }


def _parse_volume(item: Mapping[str, Any], what: str) -> launch.Volume:
    source, target = str(item["source"]), str(item["target"])
    for path in (source, target):
        if not path.startswith("/") or "\0" in path:
            raise BaleineError(f"{what}: volume {path!r} is no absolute path")
    target = "/" + os.path.normpath(target).lstrip("/")
    if target == "/" or target.split("/")[1] in ("proc", "sys", "dev"):
        raise BaleineError(f"{what}: a volume cannot lie at {target}", "Choose a directory of the container's own disk")
    return launch.Volume(os.path.normpath(source), target, bool(item.get("read_only")))


def to_record(
    name: str, description: Description, interfaces: Sequence[network.Interface], kept: Mapping[str, str]
) -> manifest.Record:
    """Return a container's record.

    :param kept: what is not part of the description: state, pid, digest, ids, times.
    """
    record = {
        "nom_container": name,
        "nom_image": description.image,
        "pid": "",
        "nom_bridge": manifest.join([item.network.bridge for item in interfaces]),
        "starting_time": "",
        "address": manifest.join(["+".join(item.network.addresses) for item in interfaces]),
        "mac": manifest.join([item.mac for item in interfaces]),
        "interface": manifest.join([item.link for item in interfaces]),
        "networks": manifest.to_json([network_as_dict(item.network) for item in interfaces]),
        "limits": manifest.to_json(dict(description.limits)),
    }
    for key, value in description.fixed().items():
        record[key] = value if isinstance(value, str) else manifest.to_json(value)
    return {
        **record,
        **{key: value for key, value in kept.items() if key not in record or key in ("pid", "starting_time")},
    }


def network_as_dict(item: network.Network) -> dict[str, Any]:
    """Return a network in the form of the module's option."""
    return {
        "bridge": item.bridge,
        "addresses": list(item.addresses),
        "gateway": item.gateway,
        "routes": [{"destination": to, "gateway": via} for to, via in item.routes],
        "mac": item.mac,
        "mtu": item.mtu,
    }


def from_record(name: str, record: manifest.Record) -> tuple[Description, tuple[network.Interface, ...]]:
    """Return what a record describes; one of the 2019 scripts has only its leading lines.

    :raises BaleineError: for a value that is not understood.
    """
    what = f"container {name}"
    if "networks" in record:
        networks = manifest.from_json(record, "networks", [])
    else:
        networks = [{"bridge": bridge} for bridge in manifest.split(record.get("nom_bridge", ""))]
    params: dict[str, Any] = {
        "name": name,
        "image": record.get("nom_image", ""),
        "command": manifest.from_json(record, "command", []) or ["/bin/sh"],
        "networks": networks,
        "hostname": record.get("hostname"),
        "env": manifest.from_json(record, "env", {}),
        "workdir": record.get("workdir"),
        "user": record.get("user"),
        "limits": manifest.from_json(record, "limits", {}),
        "volumes": manifest.from_json(record, "volumes", []),
        "init": record.get("init", "true") == "true",
        "directory": record.get("directory") or f"{DIRECTORY}/{name}",
    }
    try:
        description = describe(params, what)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BaleineError(
            f"manifest {manifest.path_of('container', name)}: not understood: {error}", "Mend it, or move it away"
        ) from None
    links, macs = manifest.split(record.get("interface", "")), manifest.split(record.get("mac", ""))
    links += units.interface_names(name, len(networks), [])[len(links) :]
    macs += [units.make_mac(network.machine_id(), name, i) for i in range(len(macs), len(networks))]
    interfaces = tuple(
        network.Interface(item, links[index], macs[index], index) for index, item in enumerate(description.networks)
    )
    return description, interfaces
