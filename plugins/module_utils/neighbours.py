# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""/etc/hosts of containers: each lists those that share a bridge with it, and follows their coming and going."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Optional

from . import enter, launch, manifest
from .errors import BaleineError


def hosts(name: str, record: Mapping[str, str], running: Mapping[str, Mapping[str, str]]) -> str:
    """Return a container's /etc/hosts (hosts(5)). Pure.

    :param record: the container's; :param running: those of the containers that run, by name.
    """
    places, own = _addresses(record), record.get("hostname") or name
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    addresses = [address for _bridge, address in places] or ["127.0.1.1"]
    lines += [f"{address} {own}" for address in addresses]
    lines += [f"{address} {host}" for host, address in manifest.from_json(record, "extra_hosts", {}).items()]
    bridges = manifest.split(record.get("nom_bridge", ""))
    for other, theirs in running.items():
        names = " ".join(dict.fromkeys((other, theirs.get("hostname") or other)))
        lines += [f"{address} {names}" for bridge, address in _addresses(theirs) if bridge in bridges and other != name]
    return "\n".join(lines) + "\n"


def _addresses(record: Mapping[str, str]) -> list[tuple[str, str]]:
    """Bridge and address, without prefix, of every address of a record."""
    bridges, addresses = (manifest.split(record.get(key, "")) for key in ("nom_bridge", "address"))
    pairs = zip(bridges, addresses)
    return [(bridge, one.partition("/")[0]) for bridge, text in pairs for one in text.split("+") if one]


def running() -> dict[str, manifest.Record]:
    """Return the records of the containers that run, by name."""
    return {name: record for name, record in manifest.records("container").items() if enter.is_alive(record)}


def refresh(bridges: Optional[Iterable[str]] = None) -> None:
    """Rewrite the hosts files of the containers on these bridges, or all, in place: a container has this very file.

    Under the registry lock, so that the last to write is the last to have looked.
    """
    wanted = None if bridges is None else set(bridges)
    if wanted is not None and not wanted:
        return
    with manifest.registry():
        there = running()
        for name, record in there.items():
            if wanted is None or wanted & set(manifest.split(record.get("nom_bridge", ""))):
                with contextlib.suppress(BaleineError, OSError):
                    _rewrite(f"{launch.bundle_of(name)}/hosts", hosts(name, record, there))


def _rewrite(path: str, text: str) -> None:
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+") as stream:
        if stream.read() != text:
            stream.seek(0)
            stream.truncate()
            stream.write(text)
