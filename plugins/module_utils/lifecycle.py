# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers: what is found on the host, and how a plan is carried out. Every change of a container passes here."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace

from . import cgroup, container, disk, image, launch, manifest, netlink, network, runtime
from .container import Found, Wanted
from .description import Description, ip_of, to_record
from .errors import BaleineError, known
from .plan import Action, Outcome, Plan, apply
from .process import Runner, boot_id
from .survey import DISKS, disk_of, facts, find, free_ids, surroundings

#: How long a program gets to end after SIGTERM, as with both leading engines.
GRACE_SECONDS = 10.0
#: A recorded state that is no longer true once the first process is gone.
ENDED_BY_ITSELF = ("running", "paused", "starting", "stopping")


def ensure(
    run: Runner, wanted_all: Sequence[Wanted], check: bool = False, grace: float = GRACE_SECONDS
) -> list[Outcome]:
    """Bring containers to what is wanted, or only say what that would take (``check``).

    Everything is planned, and so every refusal made, before the first change.

    :param grace: seconds that a program gets to end.
    :raises BaleineError: see :func:`container.plan`; or with the step that failed.
    """
    if check:
        return [Outcome(decided) for _wanted, _found, decided in _plan_all(run, wanted_all, check)]
    with manifest.lock(_locks(wanted_all)):
        plans = _plan_all(run, wanted_all, check)
        outcomes = []
        for wanted, found, decided in plans:
            _Keeper(run, wanted, found, grace).carry_out(decided)
            outcomes.append(Outcome(decided, facts(run, wanted.name)))
    return outcomes


def _plan_all(run: Runner, wanted_all: Sequence[Wanted], check: bool) -> list[tuple[Wanted, Found, Plan]]:
    """Plan a set: what an earlier one of it will have, a later one cannot take."""
    claimed: dict[str, dict[str, str]] = {}
    plans = []
    for wanted in wanted_all:
        found = find(run, wanted)
        used = {bridge: {**found.used.get(bridge, {}), **claimed.get(bridge, {})} for bridge in found.bridges}
        found = replace(found, used=used)
        plans.append((wanted, found, container.plan(wanted, found, check)))
        for item in wanted.description.networks if wanted.description else ():
            claimed.setdefault(item.bridge, {}).update({ip_of(a): f"container {wanted.name}" for a in item.addresses})
    return plans


def _locks(wanted_all: Sequence[Wanted]) -> list[tuple[str, str, bool]]:
    locks = []
    for wanted in wanted_all:
        locks.append(("container", wanted.name, False))
        if wanted.description:
            locks.append(("image", wanted.description.image, True))
            locks += [("bridge", item.bridge, True) for item in wanted.description.networks]
    return locks


class _Keeper:
    """Carries out the plan of one container, and keeps its manifest true at every step."""

    def __init__(self, run: Runner, wanted: Wanted, found: Found, grace: float) -> None:
        self.run, self.wanted, self.found, self.grace = run, wanted, found, grace
        self.name, self.what = wanted.name, f"container {wanted.name}"
        self.record: manifest.Record = dict(found.record or {})
        self.description, self.interfaces = found.description, found.interfaces

    def carry_out(self, decided: Plan) -> None:
        created = any(action.verb == "create" for action in decided.actions) and not self.found.disk
        apply(
            decided,
            {
                "create": self.create,
                "start": lambda action: self.start(),
                "stop": lambda action: self.stop(),
                "settle": lambda action: self.settle(),
                "wish": lambda action: self.save(wanted_state=self.wanted.state),
                "remove": lambda action: self.remove(),
                "recreate": self.recreate,
                "set_limits": self.set_limits,
                "cut": lambda action: self.cut(action.data["link"]),
                "connect": self.connect,
                "record_networks": self.record_networks,
            },
            self.remove if created else None,
        )
        recorded = self.record.get("wanted_state")
        if (
            decided.actions
            and self.wanted.state in ("started", "stopped")
            and recorded != self.wanted.state
            and self.record
        ):
            self.save(wanted_state=self.wanted.state)

    def save(self, **changes: str) -> None:
        """Write the manifest with some keys changed."""
        self.record.update(changes)
        manifest.write("container", self.name, self.record)

    def describe(self, description: Description, interfaces: Sequence[network.Interface]) -> None:
        """Take a description into the record, not yet written."""
        self.description, self.interfaces = description, tuple(interfaces)
        self.record = to_record(self.name, description, interfaces, self.record)

    def create(self, action: Action) -> None:
        """Copy the image; the manifest comes first, the disk appears under its name when it is whole."""
        description: Description = action.data["description"]
        with manifest.registry():
            taken = surroundings(self.name)["taken"]
            interfaces = network.interfaces_for(self.name, description.networks, self.interfaces, taken)
            first_id = self.record.get("first_id") or str(free_ids(self.name))
            self.describe(description, interfaces)
            self.save(
                state="creating",
                wanted_state="started" if self.wanted.state == "started" else "stopped",
                first_id=first_id,
                created=manifest.utc_now(),
            )
        self.copy_image(description.image, disk_of(self.name))
        self.save(state="stopped")

    def copy_image(self, source: str, target: str) -> None:
        """Copy an image to a disk: under a temporary name, then renamed."""
        record = image.current(source) or {}
        os.makedirs(DISKS, mode=0o700, exist_ok=True)
        temporary = f"{DISKS}/.{os.path.basename(target)}.part"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        copied = disk.copy(image.path_of(source, record), temporary)
        os.rename(temporary, target)
        manifest.sync_directory(DISKS)
        self.record.update(image_digest=record.get("digest", ""), copy=copied.method)

    def start(self) -> None:
        """Start on the container's own disk."""
        description = known(self.description, f"{self.what}: what it is")
        runtime_name, _reason = runtime.choose()
        if not self.record.get("first_id"):  # one of the 2019 scripts
            with manifest.registry():
                self.save(first_id=str(free_ids(self.name)))
        self.save(state="starting", pid="", starting_time="", start_ticks="", exit_code="")
        try:
            pid, ticks = launch.start(
                self.run,
                launch.Launch(
                    name=self.name,
                    disk=disk_of(self.name),
                    mount_point=description.directory,
                    first_id=int(self.record["first_id"]),
                    runtime=runtime_name,
                    command=description.command,
                    hostname=description.hostname,
                    env=description.env,
                    workdir=description.workdir,
                    user=description.user,
                    init=description.init,
                    limits=description.limits,
                    volumes=description.volumes,
                    interfaces=self.interfaces,
                    mtus=self.found.mtus or surroundings(self.name)["mtus"],
                ),
            )
        except BaseException:
            self.save(state="stopped")
            raise
        self.save(
            state="running",
            pid=str(pid),
            start_ticks=str(ticks),
            boot_id=boot_id(),
            starting_time=time.strftime("%Y-%m-%d-%Hh-%Mm-%Ss"),
            runtime=runtime_name,
        )

    def stop(self) -> None:
        """End the processes and their network; disk and characteristics stay."""
        self.save(state="stopping")
        if container.is_alive(self.record):
            launch.stop(self.name, int(self.record["pid"]), int(self.record["start_ticks"]), self.grace)
        self.settle()

    def settle(self) -> None:
        """Record how it ended and clear what it left; a disk that the kernel still writes is waited for."""
        code = launch.exit_code(self.name)
        launch.clear(self.run, self.name, self.record.get("runtime", ""), [item.link for item in self.interfaces])
        if not launch.disk_is_free(disk_of(self.name)):
            raise BaleineError(
                f"{self.what}: its disk is still held by {', '.join(disk.holders(disk_of(self.name)))}",
                "Something still uses the disk (a mount, a shell in /proc/PID/root): end it, then try again",
            )
        self.save(state="stopped", pid="", start_ticks="", exit_code="unknown" if code is None else str(code))

    def remove(self) -> None:
        """Destroy disk and characteristics, the manifest last."""
        if self.record:
            self.save(state="removing")
        launch.clear(self.run, self.name, self.record.get("runtime", ""), [item.link for item in self.interfaces])
        if not launch.disk_is_free(disk_of(self.name)):
            raise BaleineError(
                f"{self.what}: its disk is still held by {', '.join(disk.holders(disk_of(self.name)))}",
                "Something still uses the disk: end it, then remove the container again",
            )
        for path in (
            disk_of(self.name),
            f"{DISKS}/.{self.name}.part",
            f"{DISKS}/.{self.name}.new.part",
            launch.log_of(self.name),
        ):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if self.description is not None:
            for folder in (self.description.directory, os.path.dirname(self.description.directory)):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        manifest.remove("container", self.name)
        self.record = {}

    def recreate(self, action: Action) -> None:
        """Prepare the new one completely, stop the old, start the new; go back to the old if that fails."""
        new: Description = action.data["description"]
        was_running = container.is_alive(self.record)
        prepared, aside = (
            f"{DISKS}/.{self.name}.new",
            f"{disk_of(self.name)}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}",
        )
        old_record, old_description, old_interfaces = dict(self.record), self.description, self.interfaces
        if action.data["new_disk"]:
            self.copy_image(new.image, prepared)
        new_disk_keys = {key: self.record.get(key, "") for key in ("image_digest", "copy")}
        self.record.update({key: old_record.get(key, "") for key in new_disk_keys})
        if was_running:
            self.stop()
        else:
            self.settle()
        moved = False
        try:
            if action.data["new_disk"]:
                os.rename(disk_of(self.name), aside)
                moved = True
                os.rename(prepared, disk_of(self.name))
                self.record.update(new_disk_keys)
            with manifest.registry():
                taken = surroundings(self.name)["taken"]
                self.describe(new, network.interfaces_for(self.name, new.networks, old_interfaces, taken))
                self.save()
            if action.data["start"] or (was_running and self.wanted.state == "present"):
                self.start()
        except BaseException:
            if moved:
                os.replace(aside, disk_of(self.name))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(prepared)
            self.record, self.description, self.interfaces = old_record, old_description, old_interfaces
            self.save(state="stopped", pid="", start_ticks="")
            if was_running:
                self.start()
            raise

    def set_limits(self, action: Action) -> None:
        """Change the limits in place."""
        limits = action.data["limits"]
        if container.is_alive(self.record):
            cgroup.set_limits(self.name, limits)
        if self.description is not None:
            self.description = replace(self.description, limits=limits)
        self.save(limits=manifest.to_json(limits))

    def cut(self, link: str) -> None:
        """Take an interface away."""
        if os.path.exists(f"/sys/class/net/{link}"):
            netlink.batch(self.run, [f"link del dev {link}"], self.what)

    def connect(self, action: Action) -> None:
        """Make or mend one interface of the running container."""
        item: network.Interface = action.data["interface"]
        mending: network.Mending = action.data["mending"]
        pid = int(self.record["pid"])
        if mending.remake:
            self.cut(item.link)
            mtus = surroundings(self.name)["mtus"]
            netlink.batch(self.run, network.link_lines(item, pid, mtus), f"{self.what}: connecting it")
            netlink.batch(self.run, network.inside_lines(item), f"{self.what}: addressing it", pid)
            return
        netlink.batch(self.run, mending.host, f"{self.what}: connecting it")
        netlink.batch(self.run, mending.inside, f"{self.what}: addressing it", pid)

    def record_networks(self, action: Action) -> None:
        """Write the networks into the manifest."""
        description = known(self.description, f"{self.what}: what it is")
        interfaces: tuple[network.Interface, ...] = action.data["interfaces"]
        self.describe(replace(description, networks=tuple(item.network for item in interfaces)), interfaces)
        self.save()


def correct(run: Runner, name: str) -> None:
    """Make a manifest tell the truth about a container that ended by itself: what is observed, never what is wished.

    Where another command is at work on it, that one does it.
    """
    with contextlib.suppress(BaleineError), manifest.lock([("container", name, False)], wait=False):
        record = manifest.read("container", name) or {}
        if record.get("state") in ENDED_BY_ITSELF and not container.is_alive(record):
            code = launch.exit_code(name)
            record.update(state="stopped", pid="", start_ticks="", exit_code="unknown" if code is None else str(code))
            manifest.write("container", name, record)
