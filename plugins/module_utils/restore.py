# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges as their manifests have them: how one is wanted that a person, or a reboot of the host, has set down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import bridge, manifest, netlink, units
from .process import Runner


def wanted(run: Runner, name: str, state: str) -> bridge.Wanted:
    """Return a bridge as it is recorded, in a state. One of the 2019 scripts has its name alone: the kernel is asked.

    :raises BaleineError: for a manifest that is not understood.
    """
    record = manifest.read("bridge", name) or {}
    params: dict[str, Any] = {**bridge.facts(run, name), "state": state}
    params["move_addresses"] = "moved" in params
    if "mtu" in record:  # a link that is down, or gone, no longer shows all that was asked for
        params.update(
            addresses=manifest.split(record.get("address", "")),
            mtu=units.number(record["mtu"]) or params.get("mtu"),
            stp=record.get("stp") == "yes",
            mac=record.get("mac"),
        )
    return bridge.request(params)


def is_lost(record: Mapping[str, str], link: Mapping[str, Any]) -> bool:
    """Say whether a bridge should be up and its link, or one of its addresses, is gone.

    :param link: as the kernel has it; empty for none.
    """
    addresses = manifest.split(record.get("address", ""))
    gone = not link or not set(addresses) <= set(netlink.global_addresses(dict(link)))
    return record.get("state") == "up" and "mtu" in record and gone
