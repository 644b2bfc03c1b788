# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One container in the hands of a command: carries out its plan and keeps its manifest true at every step."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import Any, Callable, Optional

from . import cgroup, disk, enter, image, launch, log, manifest, neighbours, network, policy, runtime, units, volume
from .container import WISHES, Found, Wanted
from .description import DIRECTORY, Description, to_record
from .devices import change as change_devices
from .errors import BaleineError, known
from .netlink import batch
from .plan import Action, Plan, apply
from .process import Runner, boot_id, fault
from .survey import DISKS, disk_of, free_ids, surroundings


class Keeper:
    """Made under the container's lock, for one plan."""

    def __init__(self, run: Runner, wanted: Wanted, found: Found, grace: Optional[float]) -> None:
        self.run, self.wanted, self.found, self.grace = run, wanted, found, grace
        self.name, self.what = wanted.name, f"container {wanted.name}"
        self.record: manifest.Record = dict(found.record or {})
        self.description, self.interfaces = found.description, found.interfaces

    def carry_out(self, decided: Plan) -> None:
        """Do what was decided. A creation that fails leaves nothing; where only the disk was lost, the rest stays."""
        creates = any(action.verb == "create" for action in decided.actions)
        fresh = self.found.state in ("absent", "creating", "removing")
        undo = None if not creates else self.remove if fresh else lambda: self.save(state="stopped")
        apply(decided, {action.verb: self.act for action in decided.actions}, undo)
        wish = WISHES.get(self.wanted.state)
        if decided.actions and self.record and wish and self.record.get("wanted_state") != wish:
            self.save(wanted_state=wish)

    def act(self, action: Action) -> None:
        """Take one step: the method of its name, with its data."""
        getattr(self, action.verb)(**action.data)

    def wish(self) -> None:
        """Record what is wished alone."""
        self.save(wanted_state=WISHES[self.wanted.state])

    def make_volume(self, name: str) -> None:
        """Make a named volume."""
        volume.make(name)

    def save(self, **changes: str) -> None:
        """Write the manifest with some keys changed."""
        self._write(changes, lasting=True)

    def note(self, **changes: str) -> None:
        """Write the manifest with keys changed that say what a power cut ends: that it runs, and as which process."""
        self._write(changes, lasting=False)

    def _write(self, changes: dict[str, str], lasting: bool) -> None:
        self.record = policy.observed(self.record, changes)
        try:
            manifest.write("container", self.name, self.record, lasting)
        except BaleineError:  # a full disk does not keep from making room on it
            if self.wanted.state != "absent" and changes.get("state") != "removing":
                raise
        fault(f"saved {self.record.get('state')}")

    def claim(self, description: Description, **changes: str) -> None:
        """Record a description with what is given out once: addresses, interface names, ids.

        :raises BaleineError: for an address that somebody took since the plan was made.
        """
        with manifest.registry():
            around = surroundings(self.name)
            for item in description.networks:
                used = {ip: who for ip, who in around["used"].get(item.bridge, {}).items() if who != self.what}
                network.check_member(self.what, item, around["bridges"].get(item.bridge, ()), used)
            interfaces = network.interfaces_for(self.name, description.networks, self.interfaces, around["taken"])
            was_shared = self.description is not None and self.description.share_network
            mine = "" if was_shared and not description.share_network else self.record.get("first_id")
            first_id = self.ids_of(description, mine or "")
            self.description, self.interfaces = description, interfaces
            self.record = to_record(self.name, description, interfaces, self.record)
            self.save(first_id=first_id, **changes)

    def ids_of(self, description: Description, mine: str = "") -> str:
        """Return where its ids begin on the host: at those that it has, at new ones, or at the host's own."""
        private = description.privileges["userns"] != "host"
        return (mine if mine != "0" else "") or str(free_ids(self.name)) if private else "0"

    def create(self, description: Description) -> None:
        """Copy the image; the manifest comes first, the disk appears under its name when it is whole."""
        wish = WISHES.get(self.wanted.state, "stopped")
        self.claim(description, state="creating", wanted_state=wish, created=manifest.utc_now())
        self.copy_image(description.image, disk_of(self.name))
        self.save(state="stopped")

    def copy_image(self, source: str, target: str) -> None:
        """Copy an image to a disk."""
        record = image.current(source) or {}
        os.makedirs(DISKS, mode=0o700, exist_ok=True)
        copied = self.make_disk(partial(image.copy, self.run, source, record), target, self.wanted.size)
        self.record.update(image_digest=image.true_digest(source, record), **copied.record())

    def grow(self, size: int) -> None:
        """Make its disk larger: a copy of it, so that whatever happens one of them is whole."""
        launch.need_free(disk_of(self.name), self.what)
        self.make_disk(partial(disk.copy, disk_of(self.name)), disk_of(self.name), size)

    def make_disk(self, copy: Callable[[str], disk.Copied], target: str, size: Optional[int]) -> disk.Copied:
        """Make a disk of another one, as large as ``size`` (bytes) or as that: under a temporary name, then renamed.

        :param copy: makes the copy under that name.
        """
        temporary = f"{DISKS}/.{self.name}.part"
        manifest.discard(temporary)
        try:
            copied = copy(temporary)
            if size and size > os.path.getsize(temporary):
                disk.grow(self.run, temporary, size)
                fault("grown")
            fault("copied")
            os.rename(temporary, target)
        except BaseException:
            manifest.discard(temporary)
            raise
        fault("renamed")
        manifest.sync_directory(DISKS)
        return copied

    def start(self) -> None:
        """Start on the container's own disk."""
        description = known(self.description, f"{self.what}: what it is")
        runtime_name = runtime.choose()
        if not self.record.get("first_id"):  # one of the 2019 scripts
            with manifest.registry():
                self.save(first_id=self.ids_of(description))
        joined = None
        if description.share_network:
            other = manifest.read("container", description.share_network) or {}
            if not enter.is_alive(other):
                raise BaleineError(f"{self.what}: share_network: container {description.share_network} does not run")
            if (other["first_id"] == "0") != (description.privileges["userns"] == "host"):
                hint = "Give both of them the same userns: who owns a network decides over it"
                raise BaleineError(f"{self.what}: share_network: {description.share_network} has another userns", hint)
            joined, self.record["first_id"] = int(other["pid"]), other["first_id"]
        restarts = units.number(self.record.get("restarts", "")) or 0
        self.record = policy.observed(self.record, dict.fromkeys(policy.OBSERVED, ""))
        begin = {"state": "starting", "pid": "", "starting_time": "", "start_ticks": "", "exit_code": ""}
        begin["restarts"] = str(restarts + 1) if self.wanted.state == "revived" else ""
        begin["health"] = "starting" if description.settings["healthcheck"] else ""
        self.note(**begin, runtime=runtime_name)
        volumes = tuple(item._replace(source=volume.place(item.source)) for item in description.volumes)
        wanted = launch.Launch(
            self.name,
            disk_of(self.name),
            int(self.record["first_id"]),
            runtime_name,
            description._replace(volumes=volumes),
            self.interfaces,
            self.found.mtus or surroundings(self.name)["mtus"],
            neighbours.hosts(self.name, self.record, neighbours.running()),
            self.wanted.stdio,
            joined,
        )
        try:
            with contextlib.suppress(BaleineError):  # a log's trouble is for the pass to tell
                log.mark(self.name, time.time())
            launch.start(self.run, wanted, self.begun)
        except BaseException:
            self.save(state="stopped", pid="", start_ticks="")
            raise
        self.note(state="running", starting_time=time.strftime("%Y-%m-%d-%Hh-%Mm-%Ss"))
        self.tell_neighbours()

    def tell_neighbours(self) -> None:
        """Let the hosts files of those that share a bridge with it say who is there now."""
        neighbours.refresh(item.network.bridge for item in self.interfaces)

    def begun(self, pid: int, ticks: int) -> None:
        """Record the first process before its program runs: whoever is interrupted after that is found out."""
        fault("created")
        self.note(pid=str(pid), start_ticks=str(ticks), boot_id=boot_id())
        fault("begun")
        if self.wanted.stdio:
            self.wanted.stdio.begun(pid)

    def stop(self, number: Optional[int] = None) -> None:
        """End the processes and their network; disk and characteristics stay.

        :param number: the signal that asks for it; None is the container's own.
        """
        self.save(state="stopping", **({"wanted_state": "stopped"} if self.wanted.state == "stopped" else {}))
        if enter.is_alive(self.record):
            settings = known(self.description, f"{self.what}: what it is").settings
            if cgroup.frozen(self.name):
                self.unpause()
            launch.stop(
                self.name,
                int(self.record["pid"]),
                int(self.record["start_ticks"]),
                settings["stop_timeout"] if self.grace is None else self.grace,
                number or policy.signals()[settings["stop_signal"]],
            )
        fault("ended")
        self.settle()

    def settle(self) -> None:
        """Record how it ended and clear what it left; a disk that the kernel still writes is waited for."""
        self.save(**{**launch.ended(self.name, self.record), "state": "stopping"})  # before what tells it is cleared
        launch.clear(self.run, self.name, self.record.get("runtime", ""), [item.link for item in self.interfaces])
        launch.need_free(disk_of(self.name), self.what)
        self.save(state="stopped")
        self.tell_neighbours()

    def remove(self) -> None:
        """Destroy disk and characteristics, the manifest last."""
        if self.record:
            self.save(state="removing")
        launch.clear(self.run, self.name, self.record.get("runtime", ""), [item.link for item in self.interfaces])
        launch.need_free(disk_of(self.name), self.what)
        unfinished = [f"{DISKS}/.{self.name}.part", f"{DISKS}/.{self.name}.new"]
        for path in (disk_of(self.name), *unfinished, *log.files(self.name)):
            manifest.discard(path)
        fault("unlinked")
        if self.description is not None:
            folder = self.description.directory
            manifest.drop_empty(*([folder] if os.path.dirname(folder) == DIRECTORY else []))
            launch.leave(DIRECTORY)
        manifest.remove("container", self.name)
        self.record = {}
        self.tell_neighbours()

    def recreate(self, description: Description, new_disk: bool, start: bool) -> None:
        """Prepare the new one completely, stop the old, start the new; go back to the old if that fails."""
        was_running = enter.is_alive(self.record)
        old = dict(self.record), self.description, self.interfaces
        copied = {}
        if new_disk:
            self.copy_image(description.image, f"{DISKS}/.{self.name}.new")
            copied = {key: text for key, text in self.record.items() if key.startswith(("image_digest", "copy"))}
            self.record = dict(old[0])
        try:
            self.stop() if was_running else self.settle()
            if copied:
                self.exchange_disks()
            self.claim(description, state="stopped", **copied)
            if start:
                self.start()
            if copied:
                self.save(aside="")
        except BaseException:
            put_back(self.name, self.record)
            self.record, self.description, self.interfaces = old
            self.save(state="stopped" if not enter.is_alive(self.record) else "running")
            if was_running and not enter.is_alive(self.record):
                with contextlib.suppress(BaleineError):  # the first error is the one to tell
                    self.start()
            raise

    def exchange_disks(self) -> None:
        """Put the old disk aside and the new one in its place; the manifest says so first, for whoever comes next."""
        aside = f"{self.name}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        while os.path.lexists(disk_of(aside)):
            aside += "x"
        self.save(state="recreating", aside=aside)
        os.rename(disk_of(self.name), disk_of(aside))
        fault("put aside")
        os.rename(f"{DISKS}/.{self.name}.new", disk_of(self.name))
        fault("exchanged")
        manifest.sync_directory(DISKS)

    def set_limits(self, limits: dict[str, Any]) -> None:
        """Change the limits in place."""
        if enter.is_alive(self.record):
            old = known(self.description, f"{self.what}: what it is").limits
            if old.get("devices") != limits.get("devices"):
                change_devices(self.run, self.name, self.record, old.get("devices"), limits.get("devices"))
            cgroup.set_limits(self.name, int(self.record["pid"]), limits)
        if self.description is not None:
            self.description = self.description._replace(limits=limits)
        self.save(limits=manifest.to_json(limits))

    def set_policy(self, settings: dict[str, Any]) -> None:
        """Record what only Baleine itself looks at."""
        description = known(self.description, f"{self.what}: what it is")
        self.description = description._replace(settings=settings)
        self.record = to_record(self.name, self.description, self.interfaces, self.record)
        self.save()
        neighbours.refresh()

    def pause(self, still: bool = True) -> None:
        """Freeze its processes, or let them go on."""
        cgroup.freeze(self.name, still)
        self.save(state="paused" if still else "running")

    def unpause(self) -> None:
        """Let them go on."""
        self.pause(False)

    def cut(self, link: str) -> None:
        """Take an interface away."""
        if os.path.exists(f"/sys/class/net/{link}"):
            batch(self.run, [f"link del dev {link}"], self.what)

    def connect(self, interface: network.Interface, mending: network.Mending) -> None:
        """Make or mend one interface of the running container."""
        pid = int(self.record["pid"])
        host, inside = mending.host, mending.inside
        if mending.remake:
            self.cut(interface.link)
            host = tuple(network.link_lines(interface, pid, surroundings(self.name)["mtus"]))
            inside = tuple(network.inside_lines(interface))
        batch(self.run, host, f"{self.what}: connecting it")
        batch(self.run, inside, f"{self.what}: addressing it", pid)

    def record_networks(self, interfaces: tuple[network.Interface, ...]) -> None:
        """Write the networks into the manifest, and all addresses into the hosts files."""
        description = known(self.description, f"{self.what}: what it is")
        self.claim(description._replace(networks=tuple(item.network for item in interfaces)))
        neighbours.refresh()


def put_back(name: str, record: manifest.Record) -> None:
    """Undo what an interrupted recreate did to the disks; the new one was never written to by its user."""
    aside = record.get("aside", "")
    if aside and os.path.exists(disk_of(aside)):
        os.replace(disk_of(aside), disk_of(name))
    manifest.discard(f"{DISKS}/.{name}.new")
