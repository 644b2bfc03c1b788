# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's new name: its manifest, disk and log, such that a crash at any step is finished later."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from . import container, enter, launch, log, manifest, schedule, units
from .description import DIRECTORY, from_record
from .errors import BaleineError
from .process import Runner
from .survey import DISKS, disk_of, need_closed


def rename(run: Runner, old: str, new: str) -> None:
    """Give a container that does not run another name. Its links, MAC addresses and ids stay what they are.

    :raises BaleineError: where it runs or is unfinished, others name it, or the new name is taken.
    """
    what = f"container {old}"
    units.check_name(new, "container")
    with manifest.lock([("container", old, False), ("container", new, False)]):
        finish(old)
        record = manifest.need("container", old)
        if enter.is_alive(record) or record.get("state", "stopped") not in ("stopped", *container.LIVES):
            raise BaleineError(f"{what}: it runs, or something is left undone", f"baleine container stop -c {old}")
        need_closed(disk_of(old), old, what)
        record = {**record, **(launch.ended(old, record) if container.is_over(record, False) else {})}
        launch.clear(run, old, record.get("runtime", ""), manifest.split(record.get("interface", "")))
        if manifest.read("container", new) is not None or os.path.lexists(disk_of(new)):
            raise BaleineError(f"container {new}: it exists already", "Choose another name, or remove it first")
        others = [name for name in manifest.names("container") if name not in (old, new) and old in _named_by(name)]
        if others:
            raise BaleineError(f"{what}: others depend on it by its name: {', '.join(others)}", "Change these first")
        changed = {"nom_container": new, "state": "renaming", "renamed_from": old}
        own = (("hostname", old, new), ("directory", f"{DIRECTORY}/{old}", f"{DIRECTORY}/{new}"))
        changed.update({key: mine for key, theirs, mine in own if record.get(key) == theirs})
        manifest.write("container", old, {**record, "state": "renaming", "renamed_to": new})
        manifest.write("container", new, {**record, **changed})
        finish(new)
        if record.get("schedule"):
            schedule.refresh()


def _named_by(name: str) -> Mapping[str, str]:
    with contextlib.suppress(BaleineError):
        return from_record(name, manifest.read("container", name) or {})[0].needs()
    return {}


def finish(name: str) -> None:
    """Finish a renaming that was interrupted, whichever of the two names is asked for."""
    record = manifest.read("container", name) or {}
    if record.get("state") != "renaming":
        return
    old, new = record.get("renamed_from") or name, record.get("renamed_to") or name
    with manifest.registry():  # the other name's lock is not ours
        record = manifest.read("container", new) or {}
        if not record:  # it had hardly begun
            record = {**(manifest.read("container", old) or {}), "state": "stopped", "renamed_to": ""}
            manifest.write("container", old, record)
            return
        pairs = [(disk_of(old), disk_of(new)), *zip(log.files(old), log.files(new))]
        for source, target in pairs:
            if os.path.exists(source) and not os.path.exists(target):
                os.rename(source, target)
        manifest.sync_directory(DISKS)
        manifest.remove("container", old)
        done = {key: value for key, value in record.items() if key not in ("renamed_from", "renamed_to")}
        manifest.write("container", new, {**done, "state": "stopped"})
