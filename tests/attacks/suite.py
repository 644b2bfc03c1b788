# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that is attacked, and the containers that the attacks run in: naive, Baleine's, docker's, podman's."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.lab import run, trees
from tests.lab.target import Target

SOURCES = Path(__file__).parent
SECRET = "only-the-host-knows"
TREE = "/srv/attack-tree"
IMAGE = "attack"
SHARED = "/srv/attack-shared"
#: Whoever starts a container stands in a directory of the host, has one open, and has variables of its own.
CARELESS = "cd /root; exec 9</root 7</root; export ATTACK_HOST_VARIABLE=yes"


class Result(NamedTuple):
    """Whether an attack succeeded, and what stopped it."""

    done: bool
    why: str


def program() -> Path:
    """The attacks as one static program, in the cache."""
    sources = sorted(SOURCES.glob("*.[ch]"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    made = run.CACHE / f"attacks-{key}"
    with run.locked(run.CACHE / "attacks.lock"):
        if not made.exists():
            for old in run.CACHE.glob("attacks-*"):
                old.unlink()
            new = run.CACHE / "attacks.new"
            flags = ["-static", "-O1", "-Wall", "-Wextra", "-Werror"]
            run.machine(["gcc", *flags, "-o", str(new), *(str(path) for path in sources if path.suffix == ".c")])
            new.rename(made)
    return made


def prepare(host: Target) -> dict[str, str]:
    """Give a host its secrets, its victims, another container and what attacks it.

    Returns what the attacker knows of the host.
    """
    disk = host.sh("mountpoint -d /").stdout.strip()
    image(host, disk)
    host.sh(f"""
        cd {TREE}
        ATTACK_VICTIM=1 setsid -f ./attacks victim /run/attack.pid </dev/null >/dev/null 2>&1
        for turn in $(seq 100); do [ -s /run/attack.pid ] || sleep 1; done
        [ -s /run/attack.pid ]
        mkdir /sys/fs/cgroup/attack-victims
        setsid -f sh -c 'echo 0 >/sys/fs/cgroup/attack-victims/cgroup.procs; exec sleep 100000' </dev/null >/dev/null 2>&1
        baleine container create -c other -i tiny -p 'sleep 100000'
    """)
    return {"ATTACK_PID": host.read("/run/attack.pid").strip(), "ATTACK_DISK": disk}


def image(host: Target, disk: str) -> None:
    """Make the tree and the image of what attacks a host, and give it a secret.

    disk: MAJOR:MINOR of what the host's root is on.
    """
    host.push(program(), f"{TREE}.program")
    trees.tiny_image(host)
    host.expect(f"file /var/lib/baleine/images/{IMAGE}", f"file /var/lib/baleine/manifeste/images/{IMAGE}.manifest")
    host.sh(f"""
        umask 022
        echo {SECRET} >/root/attack-secret
        mkdir -p {TREE} {SHARED} /mnt/attack
        chmod 777 {SHARED}
        mount -o loop,ro /var/lib/baleine/images/tiny /mnt/attack
        cp -a /mnt/attack/. {TREE}
        umount /mnt/attack; rmdir /mnt/attack
        cd {TREE}
        mkdir -p shared
        mv ../attack-tree.program attacks
        chmod 755 attacks
        for copy in suid capable; do cp attacks attacks-$copy; done
        chmod 4755 attacks-suid
        mknod attack-disk b {disk.replace(":", " ")}
        cp /lib/modules/$(uname -r)/kernel/drivers/net/dummy.ko attack.ko 2>/dev/null || true
        {shlex.join(trees.MKE2FS)} -d . /var/lib/baleine/images/{IMAGE} 64M
        cd /var/lib/baleine/manifeste/images; sed s/tiny/{IMAGE}/ tiny.manifest >{IMAGE}.manifest
        chmod 600 {IMAGE}.manifest /var/lib/baleine/images/{IMAGE}
    """)


def naive(facts: Mapping[str, str], words: str = "run") -> str:
    """The script that runs the attacks in namespaces and a chroot, as the documents of 2019 have it."""
    inside = f"mount --bind {SHARED} {TREE}/shared; exec chroot {TREE} /attacks {words}"
    variables = " ".join(f"{key}={value}" for key, value in facts.items())
    return f"{CARELESS}; env {variables} unshare -mpuin --fork --mount-proc={TREE}/proc sh -c {shlex.quote(inside)}"


def baleine(facts: Mapping[str, str], words: str = "run", options: str = "") -> str:
    """The script that runs them as the program of a container of Baleine's."""
    variables = " ".join(f"-e {key}={value}" for key, value in facts.items())
    command = f"baleine container run --rm -i {IMAGE} -v {SHARED}:/shared {variables} {options}"
    return f"{CARELESS}; {command} -- /attacks {words}"


def engine(name: str, facts: Mapping[str, str], words: str = "run") -> str:
    """The script that runs them with docker or podman, as these come."""
    variables = " ".join(f"-e {key}={value}" for key, value in facts.items())
    return f"{CARELESS}; {name} run --rm -v {SHARED}:/shared {variables} {IMAGE} /attacks {words}"


def results(host: Target, script: str) -> dict[str, Result]:
    """Run a script and read what its attacks tell."""
    shown = host.sh(script, timeout=1800).stdout
    lines = [line.split("\t") for line in shown.splitlines() if line.count("\t") == 2]
    return {name: Result(word == "done", why) for name, word, why in lines}
