# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is, but for its state: parsed from a request, written to its manifest and read back."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import limits, manifest, network, oci, policy, privileges, stage, units
from .errors import BaleineError

DIRECTORY = "/mnt/baleine"
#: What of a description can change in place, or has a form of its own.
APART = ("image", "networks", "limits", "settings", "privileges")
#: What a manifest leaves out where it is empty.
SELDOM = ("dns", "ulimits", "sysctls", "secrets", "share_network")
DEFAULTS: Mapping[str, Any] = {**policy.DEFAULTS, **privileges.DEFAULTS}
RESOLVER = ("servers", "search", "options")
#: Sysctls that belong to the namespaces of a container alone (namespaces(7), ipc_namespaces(7)).
OWN_SYSCTLS = re.compile(
    r"net\.[a-zA-Z0-9_./-]+|kernel\.(shm(max|all|mni|_rmid_forced)|msg(max|mnb|mni)|sem)|fs\.mqueue\.\w+"
)


class Description(NamedTuple):
    """What a container is: everything but its state. An image of an empty name is never wanted."""

    image: str
    command: tuple[str, ...]
    env: Mapping[str, str] = {}
    user: str = ""
    workdir: str = ""
    hostname: str = ""
    init: bool = True
    volumes: tuple[stage.Volume, ...] = ()
    directory: str = ""
    dns: Mapping[str, list[str]] = {}
    ulimits: Mapping[str, str] = {}
    sysctls: Mapping[str, str] = {}
    secrets: tuple[stage.Secret, ...] = ()
    share_network: str = ""
    networks: tuple[network.Network, ...] = ()
    limits: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = policy.DEFAULTS
    privileges: Mapping[str, Any] = privileges.DEFAULTS

    def named_volumes(self) -> list[str]:
        """The volumes of Baleine's own that it names."""
        return [volume.source for volume in self.volumes if "/" not in volume.source]

    def needs(self) -> dict[str, str]:
        """Which containers must run before it starts, each with its condition."""
        needed = {item["name"]: item["condition"] for item in self.settings["depends_on"]}
        return {**({self.share_network: "started"} if self.share_network else {}), **needed}

    def fixed(self) -> dict[str, Any]:
        """What only a recreate can change, in the form that results and diffs show."""
        kept = {key: value for key, value in self._asdict().items() if key not in APART}
        volumes, secrets = ([item._asdict() for item in items] for items in (self.volumes, self.secrets))
        return {**kept, "command": list(self.command), "volumes": volumes, "secrets": secrets, **self.privileges}


def describe(params: Mapping[str, Any], what: str) -> Description:
    """Return the description of a container, normalised."""
    name = str(params["name"])
    if name == "supervise":
        raise BaleineError(f"{what}: its log would be that of the passes of cron", "Choose another name")
    if params.get("command") is None:
        raise BaleineError(
            f"{what}: no command", "Name its program: command: [/usr/sbin/apache2ctl, -D, FOREGROUND], or -p PROGRAM"
        )
    hostname = policy.check_host(params.get("hostname") or name, what)
    env = {str(key): value for key, value in (params.get("env") or {}).items()}
    for key, value in env.items():
        if value is None:
            raise BaleineError(f"{what}: env: {key} has no value", "Write '' for an empty one")
        if not key or "=" in key or "\0" in f"{key}{value}":
            raise BaleineError(f"{what}: env: {key!r} is no name of a variable")
    workdir, user = params.get("workdir") or "", str(params.get("user") or "")
    for key, text in (("workdir", workdir), ("user", user), ("directory", params.get("directory") or "")):
        if text != text.strip() or not text.isprintable():
            raise BaleineError(f"{what}: {key} {text!r} has a character that a manifest's line cannot hold")
    if workdir and not workdir.startswith("/"):
        raise BaleineError(f"{what}: workdir {workdir!r} is no absolute path")
    directory = units.normal_path(params["directory"]) if params.get("directory") else ""
    if directory and (not directory.startswith("/") or directory.strip("/") == ""):
        raise BaleineError(f"{what}: directory {directory!r} is no absolute path below /")
    networks = tuple(network.parse_network(item, what) for item in params.get("networks") or ())
    _refuse_twice(what, "address", [ip_of(address) for item in networks for address in item.addresses])
    _refuse_twice(what, "default route for IPv", [6 if ":" in item.gateway else 4 for item in networks if item.gateway])
    volumes = tuple(_parse_volume(item, what) for item in params.get("volumes") or ())
    rights = privileges.parse(params, what)
    _refuse_twice(
        what, "target", [*(volume.target for volume in volumes), *(item["target"] for item in rights["tmpfs"])]
    )
    secrets = tuple(sorted(_parse_secret(item, what) for item in params.get("secrets") or ()))
    _refuse_twice(what, "secret", [secret.name for secret in secrets])
    shared = params.get("share_network") or ""
    if shared and (units.check_name(str(shared), "container") == name or networks):
        raise BaleineError(f"{what}: share_network {shared}: another container, and no networks of its own beside it")
    init = True if params.get("init") is None else bool(params["init"])
    return Description(
        image=units.check_name(str(params["image"]), "image"),
        command=units.split_command(params["command"], what),
        networks=networks,
        hostname=hostname,
        env={key: str(value) for key, value in env.items()},
        workdir=workdir,
        user=user,
        limits=limits.parse(params.get("limits") or {}, what),
        volumes=volumes,
        init=init,
        directory=directory,
        dns=_parse_dns(params.get("dns") or {}, what),
        ulimits=_parse_ulimits(params.get("ulimits") or {}, what),
        sysctls=_parse_sysctls(params.get("sysctls") or {}, what),
        secrets=secrets,
        share_network=str(shared),
        settings=policy.parse_settings(params, what, init),
        privileges=rights,
    )


def _refuse_twice(what: str, kind: str, found: Sequence[Any]) -> None:
    for value in found:
        if found.count(value) > 1:
            raise BaleineError(f"{what}: the {kind} {value} is given twice", "Give it once")


def ip_of(address: str) -> str:
    """Return the address of a CIDR form without its prefix."""
    return str(ipaddress.ip_interface(address).ip)


def _parse_volume(item: Mapping[str, Any], what: str) -> stage.Volume:
    source, target = str(item["source"]), str(item["target"])
    named = "/" not in source
    if not named and (not source.startswith("/") or "\0" in source):
        raise BaleineError(f"{what}: volume {source!r} is no absolute path")
    source = units.check_name(source, "volume") if named else units.normal_path(source)
    target = privileges.place(target, f"{what}: a volume")
    return stage.Volume(source, target, bool(item.get("read_only")), named or bool(item.get("idmap")))


def _parse_secret(item: Mapping[str, Any], what: str) -> stage.Secret:
    name, source, mode = str(item["name"]), str(item["source"]), str(item.get("mode") or "0400")
    if not units.NAME.fullmatch(name):
        raise BaleineError(f"{what}: secret {name!r}: this is no name of a file below /run/secrets")
    if not source.startswith("/") or "\0" in source:
        raise BaleineError(f"{what}: secret {name}: {source!r} is no absolute path", "A secret is given by a file")
    if not re.fullmatch(r"0[0-7]{3}", mode):
        raise BaleineError(f"{what}: secret {name}: {mode!r} is no mode", "Write it in octal: '0400'")
    return stage.Secret(name, units.normal_path(source), mode)


def _parse_dns(value: Mapping[str, Any], what: str) -> dict[str, list[str]]:
    found = {key: [str(item) for item in value.get(key) or ()] for key in RESOLVER}
    found["servers"] = [units.parse_gateway(item, f"{what}: dns") for item in found["servers"]]
    for word in (*found["search"], *found["options"]):
        if not re.fullmatch(r"[!-~]+", word):
            raise BaleineError(f"{what}: dns: {word!r} is no word of resolv.conf(5)")
    return {key: items for key, items in found.items() if items}


def _parse_ulimits(value: Mapping[str, Any], what: str) -> dict[str, str]:
    found = {}
    for key, text in sorted(value.items()):
        soft, _colon, hard = str(text).partition(":")
        numbers = [units.number(part) for part in (soft, hard or soft)]
        name = str(key).lower()
        if name not in oci.ULIMITS or None in numbers or numbers[0] > numbers[1]:  # type: ignore[operator]
            raise BaleineError(f"{what}: ulimits: {key}: {text!r}", f"Write SOFT:HARD for {', '.join(oci.ULIMITS)}")
        found[name] = f"{numbers[0]}:{numbers[1]}"
    return found


def _parse_sysctls(value: Mapping[str, Any], what: str) -> dict[str, str]:
    for key, text in value.items():
        if not OWN_SYSCTLS.fullmatch(str(key)) or ".." in str(key) or text is None or not str(text).isprintable():
            raise BaleineError(
                f"{what}: sysctls: {key}: this is no setting of its own namespaces",
                "Those below net, fs.mqueue, and kernel.shm*, kernel.msg*, kernel.sem are",
            )
    return {str(key): str(text) for key, text in sorted(value.items())}


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
    for key, value in {**description.fixed(), **description.settings}.items():
        if value if key in SELDOM else value != DEFAULTS.get(key):
            record[key] = value if isinstance(value, str) else manifest.to_json(value)
    described = {*record, *SELDOM, *DEFAULTS} - {"pid", "starting_time"}
    return {**record, **{key: value for key, value in kept.items() if key not in described}}


def network_as_dict(item: network.Network) -> dict[str, Any]:
    """Return a network in the form of the module's option."""
    routes = [{"destination": to, "gateway": via} for to, via in item.routes]
    return {**item._asdict(), "addresses": list(item.addresses), "routes": routes}


def from_record(name: str, record: manifest.Record) -> tuple[Description, tuple[network.Interface, ...]]:
    """Return what a record describes; one of the 2019 scripts has only its leading lines.

    :raises BaleineError: for a value that is not understood.
    """
    what = f"container {name}"
    old = [{"bridge": bridge} for bridge in manifest.split(record.get("nom_bridge", ""))]
    networks = manifest.from_json(record, "networks", []) if "networks" in record else old
    params: dict[str, Any] = {
        "name": name,
        "image": record.get("nom_image", ""),
        "command": manifest.from_json(record, "command", []) or ["/bin/sh"],
        "networks": networks,
        "init": record.get("init", "true") == "true",
        "directory": record.get("directory") or f"{DIRECTORY}/{name}",
        **{key: record.get(key) for key in ("hostname", "workdir", "user", "share_network")},
        **{key: manifest.from_json(record, key, {}) for key in ("env", "limits", "dns", "ulimits", "sysctls")},
        **{key: manifest.from_json(record, key, []) for key in ("volumes", "secrets")},
        **manifest.recorded(record, DEFAULTS),
    }
    try:
        description = describe(params, what)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
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
