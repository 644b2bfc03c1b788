# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The profile of AppArmor that containers run under, on a host that has AppArmor; the others have nothing of it."""

from __future__ import annotations

import os

from . import runtime
from .errors import BaleineError
from .process import Runner, check, find_program, read

NAME = "baleine-default"
ENABLED = "/sys/module/apparmor/parameters/enabled"
LOADED = "/sys/kernel/security/apparmor/profiles"
ABI = "/etc/apparmor.d/abi/3.0"
#: After moby's profiles/apparmor/template.go (Apache-2.0). Everything below /sys is denied, cgroups included.
PROFILE = """\
@ABI@
profile baleine-default flags=(attach_disconnected,mediate_deleted) {
  network,
  deny network alg,
  deny network vsock,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer=baleine-default,
  ptrace (trace,tracedby,read,readby) peer=baleine-default,
  deny mount,
  deny /proc/* w,
  deny /proc/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /sys/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/{security,debug,tracing}/** rwklx,
}
"""


def enabled() -> bool:
    """Say whether this host has AppArmor."""
    return read(ENABLED) == "Y"


def profile(run: Runner, setting: str, what: str) -> str:
    """Return the profile for a start, loading ours where that is not done yet; empty where there is to be none.

    :param setting: ``default`` (ours, where the host has AppArmor), ``unconfined``, or a profile that the host loaded.
    :raises BaleineError: for a profile that is not loaded, or cannot be.
    """
    if setting == "unconfined" or (setting == "default" and not enabled()):
        return ""
    name = NAME if setting == "default" else setting
    loaded = any(line.rpartition(" (")[0] == name for line in (read(LOADED) or "").splitlines())
    if setting == "default":
        text = PROFILE.replace("@ABI@", "abi <abi/3.0>," if os.path.exists(ABI) else "")
        if not loaded or read(f"{runtime.STATE}/apparmor") != text.strip():
            _load(run, text, what)
    elif not loaded:
        raise BaleineError(f"{what}: apparmor: the profile {name} is not loaded", "Load it: apparmor_parser -r FILE")
    return name


def _load(run: Runner, text: str, what: str) -> None:
    """Let the kernel have our profile; what is running under it follows."""
    program = find_program("apparmor_parser")
    if not program:
        hint = "Install the package apparmor, or say apparmor: unconfined"
        raise BaleineError(f"{what}: this host has AppArmor, and no apparmor_parser to load a profile with", hint)
    os.makedirs(runtime.STATE, mode=0o711, exist_ok=True)
    path = f"{runtime.STATE}/apparmor"
    with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as stream:
        stream.write(text)
    try:
        check(run([program, "--replace", "--skip-cache", stream.name]), f"{what}: loading the profile {NAME}")
    except BaseException:
        os.unlink(stream.name)
        raise
    os.rename(stream.name, path)


def label(pid: int) -> str:
    """Return the profile that a process runs under, empty for none: what exec adds gets the same."""
    found = (read(f"/proc/{pid}/attr/apparmor/current") or "").rpartition(" (")[0]
    return "" if found == "unconfined" else found
