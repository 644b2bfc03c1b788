# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container starts, runs one more program, and ends. Nothing here outlives the container's own processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

from . import apparmor, cgroup, disk, enter, log, network, oci, pid1, process, rootfs, runtime, seccomp, stage, units
from .architecture import need_runnable, of_path
from .description import Description
from .devices import stage as stage_devices
from .errors import BaleineError, Busy, explained
from .manifest import drop_empty, registry
from .netlink import batch
from .privileges import place
from .privileges import rights as rights_of

if TYPE_CHECKING:
    import socket

BUNDLES = "/run/baleine/containers"
#: Directories that the runtime mounts on, or that we bind files into.
REAL_DIRECTORIES = ("dev", "proc", "sys", "etc")
SETTLE_SECONDS = 5.0
#: The lock under which a container starts: the last one takes common directories away, but not from under a start.
STARTING = "starting"
#: Seconds after which a run was a good one.
LONG_RUN = 600.0


class Stdio(NamedTuple):
    """What a program in the foreground reads and writes, instead of nothing and its log.

    :param streams: its standard input, output and error output, where it has no terminal.
    :param console: a stream socket that becomes one that listens: through it comes the other end of the program's own
        terminal (SCM_RIGHTS, unix(7)); :param size: its ``height`` and ``width``.
    :param begun: is told the pid of the first process before the program runs.
    """

    begun: Callable[[int], None]
    streams: tuple[int, int, int] = (0, 0, 0)
    console: Optional[socket.socket] = None
    size: Optional[Mapping[str, int]] = None


class Launch(NamedTuple):
    """Everything that a start needs, decided before anything is touched.

    :param disk: its path; :param described: what it is, its volumes as paths of the host.
    :param mtus: of the bridges; :param hosts: its /etc/hosts.
    :param joined: a process whose network it shares.
    """

    name: str
    disk: str
    first_id: int
    runtime: str
    described: Description
    interfaces: tuple[network.Interface, ...] = ()
    mtus: Mapping[str, int] = {}
    hosts: str = ""
    stdio: Optional[Stdio] = None
    joined: Optional[int] = None


def bundle_of(name: str) -> str:
    """Return the directory of what a running container needs on the host."""
    return f"{BUNDLES}/{name}"


def start(run: process.Runner, launch: Launch, begun: Callable[[int, int], None]) -> None:
    """Start a container; nothing is left of one that does not start.

    :param begun: is told the pid of its first process, and when that started in clock ticks after boot, before the
        program runs.
    :raises BaleineError: with the step that failed and what the system said.
    """
    what = f"container {launch.name}"
    os.umask(0o022)  # the caller's may be one that its root, who is nobody here, cannot pass
    network.need_bridges(what, launch.interfaces)
    clear(run, launch.name, launch.runtime, [item.link for item in launch.interfaces])
    need_free(launch.disk, what)
    try:
        with registry(STARTING, shared=True):
            _prepare_bundle(launch)
            confined = apparmor.profile(run, launch.described.privileges["apparmor"], what)
            try:
                process.in_child(lambda: _become_runtime(launch, confined), f"{what}: starting it")
            except BaleineError as error:
                said = runtime.last_words(bundle_of(launch.name))
                raise BaleineError(f"{what}: {launch.runtime} says: {said}", error.hint) if said else error from None
        with open(f"{bundle_of(launch.name)}/pid") as stream:
            pid = int(stream.read())
        begun(pid, process.start_ticks(pid) or 0)
        cgroup.set_limits(launch.name, pid, launch.described.limits)
        network.connect(run, what, pid, launch.interfaces, launch.mtus)
        result = runtime.start(run, launch.runtime, launch.name)
        if result.code != 0:
            raise BaleineError(f"{what}: {launch.runtime} says: {result.said}", "Look at the program and its user")
    except BaseException:
        clear(run, launch.name, launch.runtime, [item.link for item in launch.interfaces])
        raise


def need_free(path: str, what: str) -> None:
    """Wait until no loop device holds a disk: the kernel lets go of it a moment after the last process.

    :raises BaleineError: naming what still holds it.
    """
    hint = "Something still uses the disk (a mount, a shell in /proc/PID/root): end it, then try again"
    disk.need_free(path, f"{what}: its disk {path}", hint)


def _prepare_bundle(launch: Launch) -> None:
    """Make the directory of a container on the host, with what it and its PID 1 are given."""
    folder = bundle_of(launch.name)
    os.makedirs(BUNDLES, exist_ok=True)
    for path in (runtime.STATE, BUNDLES):  # the container's root, which is nobody here, must be able to pass
        os.chmod(path, 0o711)
    os.mkdir(folder, 0o711)
    os.mkdir(f"{folder}/volumes", 0o711)
    os.mkdir(f"{folder}/state", 0o700)
    os.makedirs(log.LOGS, mode=0o700, exist_ok=True)
    _write(f"{folder}/init", pid1.SCRIPT, 0o755)
    _write(f"{folder}/hosts", launch.hosts, 0o644)
    if launch.described.dns:
        _write(f"{folder}/resolv.conf", resolver(launch.described.dns), 0o644)
    if launch.stdio and launch.stdio.console:
        launch.stdio.console.bind(f"{folder}/console")
        launch.stdio.console.listen(1)
    odd = pid1.odd_variables(launch.described.env)
    options = f"size={16 + len(odd) // 256}k,nr_inodes=8,mode=0700,uid={launch.first_id},gid={launch.first_id}"
    flags = rootfs.MS_NOSUID | rootfs.MS_NODEV | rootfs.MS_NOEXEC
    rootfs.mount("baleine", f"{folder}/state", "tmpfs", flags, options)
    _write(f"{folder}/state/env", odd, 0o444)  # its directory lets nobody else of the host pass
    process.fault("bundle made")


def resolver(dns: Mapping[str, Sequence[str]]) -> str:
    """Return a container's /etc/resolv.conf (resolv.conf(5))."""
    lines = [f"nameserver {server}" for server in dns.get("servers", ())]
    lines += [f"{key} {' '.join(dns[key])}" for key in ("search", "options") if dns.get(key)]
    return "\n".join(lines) + "\n"


def _write(path: str, text: str, mode: int) -> None:
    with open(path, "x", encoding="utf-8", errors="surrogatepass") as stream:
        stream.write(text)
    os.chmod(path, mode)


def _become_runtime(launch: Launch, confined: str) -> None:
    """In a forked child: mount the disk where only we see it, then become ``crun create``.

    :param confined: the profile of AppArmor; empty is none.
    """
    folder, what = bundle_of(launch.name), f"container {launch.name}"
    rootfs.unshare(rootfs.CLONE_NEWNS)
    os.makedirs(os.path.dirname(launch.described.directory), mode=0o711, exist_ok=True)
    disk.mount(launch.disk, launch.described.directory, launch.first_id)
    rootfs.check_real_directories(launch.described.directory, REAL_DIRECTORIES, what)
    identity = enter.find_identity(launch.described.directory, launch.described.user, what)
    state = f"{folder}/state"
    owner, group = launch.first_id + identity.uid, launch.first_id + identity.gid
    pid1.prepare_state(state, owner, group)
    os.chown(state, owner, group)
    binds = [oci.Bind(f"{folder}/hosts", "/etc/hosts", True, ("nosuid", "nodev"))]
    if launch.described.dns:
        binds.append(oci.Bind(f"{folder}/resolv.conf", "/etc/resolv.conf", True, ("nosuid", "nodev")))
    if launch.described.secrets:
        binds.append(stage.secrets(launch.described.secrets, f"{folder}/secrets", launch.first_id, identity, what))
    command = (_find_program(launch, what), *launch.described.command[1:])
    binds += [
        stage.bind(volume, f"{folder}/volumes/{index}", launch.first_id, what)
        for index, volume in enumerate(launch.described.volumes)
    ]
    tmpfs = launch.described.privileges["tmpfs"]
    targets = [*(bind.target for bind in binds), *(item["target"] for item in tmpfs)]
    places = {target: _place(launch.described.directory, target, targets, what) for target in targets}
    binds = [bind._replace(target=places[bind.target]) for bind in binds]
    tmpfs = [{**item, "target": places[item["target"]]} for item in tmpfs]
    if launch.described.init:
        binds += oci.init_binds(process.need_program("busybox", f"{what}: its PID 1"), folder)
        command = tuple(pid1.arguments(command))
    if launch.described.limits.get("devices"):
        binds += stage_devices(launch.described.limits["devices"], f"{folder}/devices", launch.first_id)
    console = launch.stdio is not None and launch.stdio.console is not None
    described, rights = launch.described, rights_of(launch.described.privileges, confined)
    first = oci.process(command, identity, described.env, described.workdir, console, described.ulimits, rights)
    if launch.stdio and console:
        first["consoleSize"] = launch.stdio.size
    specification = oci.specification(
        launch.described.directory,
        launch.described.hostname,
        first,
        launch.described.limits.get("devices") or (),
        launch.first_id,
        cgroup.path_of(launch.name),
        tuple(binds),
        os.path.isdir("/proc/sys/net/ipv6"),
        launch.described.sysctls,
        launch.joined,
        {**described.privileges, "tmpfs": tmpfs},
        seccomp.profile(described.privileges["seccomp"], rights.capabilities, what),
    )
    _write(f"{folder}/config.json", json.dumps(specification), 0o600)
    process.fault("specified")
    output = os.open(log.path_of(launch.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    streams = launch.stdio.streams if launch.stdio and not console else (process.empty(), output, output)
    for descriptor in {output, *streams}:  # so that /dev/stdout can be opened
        os.fchown(descriptor, launch.first_id + identity.uid, launch.first_id + identity.gid)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    process.keep_own()
    os.chdir("/")
    words = runtime.create_argv(launch.runtime, launch.name, folder, console)
    os.execve(words[0], words, process.ENVIRONMENT)


def _place(root: str, target: str, targets: Collection[str], what: str) -> str:
    """Return where the links of a tree make a mount lie, so that no runtime has to follow one (CVE-2021-30465).

    :raises BaleineError: for a link into what is the kernel's, where a volume could pass for it (CVE-2019-16884).
    """
    with explained(f"{what}: {target} of the tree", "Make it a file or directory in the image"):
        return place(
            rootfs.real_inside(root, target, {*targets} - {target}), f"{what}: {target} of the tree is a link: it"
        )


def _find_program(launch: Launch, what: str) -> str:
    """Return the path inside of the program, in the tree or in a volume.

    PID 1 is given a path: for a word its shell would prefer what it has built in to what the image has.

    :raises BaleineError: for a program that is not there or cannot be executed.
    """

    def open_path(path: str) -> int:
        for volume in sorted(launch.described.volumes, key=lambda volume: len(volume.target), reverse=True):
            below = os.path.relpath(path, volume.target)
            if below == "." and not os.path.isdir(volume.source):
                return os.open(volume.source, os.O_PATH | os.O_CLOEXEC)
            if not below.startswith(".."):
                return rootfs.open_inside(volume.source, below, os.O_PATH)
        return rootfs.open_inside(launch.described.directory, path, os.O_PATH)

    program = launch.described.command[0]
    code, path = enter.locate(open_path, program, {**oci.ENVIRONMENT, **launch.described.env}, launch.described.workdir)
    if code:
        word = "its tree has no program" if code == enter.NOT_FOUND else "its tree has no executable program"
        raise BaleineError(f"{what}: {word} {program}", "Name one that the image holds, with its path", code)
    need_runnable(of_path(launch.described.directory, path), what)
    return path


def stop(name: str, pid: int, ticks: int, seconds: float, number: int = signal.SIGTERM) -> None:
    """End a container's processes: a signal to the first one, and SIGKILL to it after ``seconds``.

    The kernel drops a signal that PID 1 of a namespace neither catches nor blocks (pid_namespaces(7)): a program
    that just started gets a moment to say that it cares, and one that does not care is not waited for.

    :raises BaleineError: when even that does not end it.
    """
    descriptor = process.open_process(pid, ticks)
    if descriptor is None:
        return
    try:
        cares = process.wait_until(lambda: process.handles_signal(pid, number), min(1.0, seconds))
        process.send_signal(pid, descriptor, number)
        if not process.wait_ended(descriptor, seconds if cares else 0):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not process.wait_ended(descriptor, 10.0):
                raise BaleineError(
                    f"container {name}: process {pid} does not end, not even by SIGKILL",
                    "It waits for a device: look at the kernel's messages (dmesg)",
                )
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def exit_code(name: str) -> Optional[int]:
    """Return the exit code that the program of a container left, or None where that is not known."""
    return pid1.exit_code(f"{bundle_of(name)}/state")


def ended(name: str, record: Mapping[str, str]) -> dict[str, str]:
    """Return what a manifest says of a container that has ended, its program's exit code as far as it is known.

    A run that was long, or that a reboot of the host ended, makes its restarts count from the first again.
    """
    code, ticks = exit_code(name), units.number(record.get("start_ticks", ""))
    found = {"state": "stopped", "pid": "", "start_ticks": "", "exit_code": str(code)}
    kills = cgroup.oom_kills(name)
    if kills:
        found["oom_kills"] = str(kills)
    if code is None:
        found["exit_code"] = "unknown" if record.get("pid") else record.get("exit_code") or "unknown"
    if ticks and (record.get("boot_id") != process.boot_id() or process.running_seconds(ticks) >= LONG_RUN):
        found.update(restarts="", retry_at="")
    return found


def leftovers(name: str, runtime_name: str) -> list[str]:
    """Return what a dead container left on the host."""
    folder = bundle_of(name)
    states = [f"{runtime.STATE}/{runtime_name}/{name}"] if runtime_name else []
    return [path for path in [folder, *states, *cgroup.directories(name)] if os.path.exists(path)]


def clear(run: process.Runner, name: str, runtime_name: str, links: Sequence[str] = ()) -> None:
    """Take away what a container that does not run left: runtime state, groups, tmpfs, bundle, links.

    What never was there is no error.
    """
    for one in (runtime_name,) if runtime_name else ("crun", "runc"):  # it may run while its manifest was moved away
        runtime.delete(run, one, name)
    cgroup.remove(name)
    cgroup.unthrottle(name)
    folder = bundle_of(name)
    if rootfs.is_mounted(f"{folder}/state"):
        rootfs.unmount(f"{folder}/state", rootfs.MNT_DETACH)
    rootfs.remove_tree(folder)
    process.fault("cleared")
    groups = (base + cgroup.PARENT for base in cgroup.hierarchies())
    leave(BUNDLES, f"{runtime.STATE}/crun", f"{runtime.STATE}/runc", *groups)
    for link in links:  # the kernel removes them with their namespace, a moment later
        path = f"/sys/class/net/{link}"
        if not process.wait_until(lambda path=path: not os.path.exists(path), SETTLE_SECONDS):  # type: ignore[misc]
            batch(run, [f"link del dev {link}"], f"container {name}")


def leave(*folders: str) -> None:
    """Remove directories that containers have in common; while one starts, or others use them, they stay.

    Who does the same at this moment is waited for: one of both is the last.
    """
    with contextlib.suppress(Busy), registry("ending"), registry(STARTING, wait=False):
        drop_empty(*folders)
