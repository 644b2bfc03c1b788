# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody does by hand to a resource, and what a module says of it."""

from __future__ import annotations

from typing import NamedTuple

from tests.lab.host import LabHost
from tests.lab.run import CommandFailed

from .subject import NOTHING, Subject


class Disturbance(NamedTuple):
    """What somebody does by hand to the first resource of a subject, and what a module says of it.

    :param of: to that of another option, as its case changes it.
    """

    script: str
    words: str
    #: What takes a foreign object away again; the module must have left it alone.
    undo: str = ""
    of: str = ""


MANIFESTS = "/var/lib/baleine/manifeste"
PID, LINK = "$(sed -n 's/^pid: //p' {manifest})", "$(sed -n 's/^interface: //p' {manifest})"
KILL = f"pid={PID}; kill -9 $pid; while [ -e /proc/$pid ]; do sleep 0.02; done"
INSIDE = f"nsenter -n -t {PID} ip"
FREEZER = "$(find /sys/fs/cgroup -path '*baleine/{name}/freezer.state')"
MEMORY = "$(find /sys/fs/cgroup -path '*baleine/{name}/memory.limit_in_bytes')"
CONTAINER_DRIFT = (
    Disturbance(KILL, "its first process is gone"),
    Disturbance(f"ip link del {LINK}", "eth0: its link is gone"),
    Disturbance(f"ip link set {LINK} nomaster", "eth0: not on hone"),
    Disturbance(f"ip link set {LINK} down", "eth0: not on hone"),
    Disturbance(f"{INSIDE} address flush dev eth0 scope global", "missing"),
    Disturbance(f"{INSIDE} address add 10.9.250.1/16 dev eth0", "address 10.9.250.1/16 too many"),
    Disturbance(f"{INSIDE} link set eth0 down", "eth0: down"),
    Disturbance(f"{INSIDE} link set eth0 address 02:00:00:00:00:09", "eth0: mac 02:00:00:00:00:09"),
    Disturbance(f"echo FROZEN >{FREEZER}", "it is paused"),
    Disturbance(f"{KILL}; rm /var/lib/baleine/containers/{{name}}", "its disk is gone"),
    Disturbance(f"echo THAWED >{FREEZER}", "it is running", of="state#paused"),
    Disturbance(f"echo 32M >{MEMORY}", "memory was 32M", of="limits"),
    Disturbance(f"{INSIDE} link set eth0 mtu 1234", "eth0: mtu 1234", of="networks.mtu"),
    Disturbance(f"{INSIDE} route del 172.16.0.0/12", "eth0: route 172.16.0.0/12 via", of="networks.routes"),
    Disturbance(f"{INSIDE} route del default", "eth0: route default via 10.9.0.1 missing", of="networks.gateway"),
    Disturbance(f"tc qdisc del dev {LINK} root", "eth0: rate_in none", of="networks.rate_in"),
    Disturbance(f"nsenter -n -t {PID} tc qdisc del dev eth0 root", "eth0: rate_out none", of="networks.rate_out"),
)
DRIFT: dict[str, tuple[Disturbance, ...]] = {
    "bridge": (
        Disturbance("ip link del {name}", "the link is gone"),
        Disturbance("ip address flush dev {name} scope global", "the address"),
        Disturbance("ip link set {name} mtu 1300", "mtu was 1300"),
        Disturbance("ip link set {name} down", "state was down"),
        Disturbance("ip link set {name} type bridge stp_state 1", "stp was True"),
        Disturbance("ip link set {name} address 02:00:00:00:00:09", "mac was 02:00:00:00:00:09"),
        Disturbance("ip address add 10.250.0.1/24 dev {name}", "the address 10.250.0.1/24 was added"),
        Disturbance("ip link set hport1 nomaster", "the port hport1 is gone", of="ports"),
    ),
    "container": CONTAINER_DRIFT,
    "store": (),
    "volume": (Disturbance("rmdir /var/lib/baleine/volumes/{name}", "its directory is gone"),),
    "image": (Disturbance("rm /var/lib/baleine/images/{name}", "its file is gone"),),
    "": (
        Disturbance("rm /usr/local/bin/baleine", ""),
        Disturbance("echo >>/usr/local/lib/baleine/baleine/a.py", ""),
        Disturbance("echo >/usr/local/lib/baleine/baleine/c.py", ""),
        Disturbance("chmod 644 /usr/local/bin/baleine", ""),
    ),
}
FOREIGN: dict[str, tuple[Disturbance, ...]] = {
    "bridge": (
        Disturbance(
            "ip link add {name} type veth peer hpeer",
            "did not make",
            "ip link show type veth dev {name} && ip link del {name}",
        ),
        Disturbance("ip link add {name} type bridge", "did not make", "ip link show {name} && ip link del {name}"),
    ),
    "container": (
        Disturbance(
            "echo mine >/var/lib/baleine/containers/{name}",
            "there is a disk or a run of it, but no manifest",
            "grep -x mine /var/lib/baleine/containers/{name} && rm /var/lib/baleine/containers/{name}",
        ),
    ),
    "volume": (
        Disturbance(
            "mkdir -p /var/lib/baleine/volumes; echo mine >/var/lib/baleine/volumes/{name}",
            "is no directory",
            "grep -x mine /var/lib/baleine/volumes/{name} && rm /var/lib/baleine/volumes/{name}",
        ),
    ),
    "image": (
        Disturbance(
            "echo mine >/var/lib/baleine/images/{name}",
            "that Baleine did not make",
            "grep -x mine /var/lib/baleine/images/{name} && rm /var/lib/baleine/images/{name}",
        ),
    ),
}


def by_hand(subject: Subject, host: LabHost, script: str, key: str = "") -> None:
    name = subject.names[key or next(iter(subject.table))]
    manifest = f"{MANIFESTS}/{subject.kind}s/{name}.manifest"
    host.sh(script.replace("{name}", name).replace("{manifest}", manifest))


def drift(subject: Subject, host: LabHost) -> list[str]:
    """Done by hand to what is as its case has it: seen, called drift, healed, and then no more."""
    wrong, tried = list[str](), 0
    first = next(iter(subject.table))
    for disturbance in DRIFT[subject.kind]:
        key = disturbance.of or first
        if key not in subject.table:
            continue
        tried += 1
        told = list[str]()
        base = {key: subject.params(key)}
        wanted = {key: subject.params(key, subject.table[key].to if disturbance.of else NOTHING)}
        if disturbance.of:
            told += subject.predicted_and_done(wanted)
        try:
            by_hand(subject, host, disturbance.script, key)
        except CommandFailed as error:  # there is nothing to disturb
            told.append(f"cannot be done: {error}")
        subject.after, subject.facts = {}, {}
        seen = subject.run(wanted, check=True)[key]
        words = (*seen.drift, *([] if subject.kind else [""]))
        if not seen.changed or not any(disturbance.words in text for text in words):
            told.append(f"not seen: {seen}")
        told += subject.predicted_and_done(wanted) + subject.unchanged(wanted)
        if disturbance.of:
            told += subject.predicted_and_done(base)
        wrong += [f"{disturbance.script}: {text}" for text in told]
    subject.tried = tried
    return wrong


def foreign(subject: Subject, host: LabHost) -> list[str]:
    """What has a resource's name and is not Baleine's: refused, in check mode too, and left alone."""
    wrong = []
    key = next(iter(subject.table))
    for disturbance in FOREIGN.get(subject.kind, ()):
        by_hand(subject, host, disturbance.script)
        for check in (True, False):
            refused = subject.one(key, subject.params(key), check)
            wrong += [] if disturbance.words in refused.failed else [f"{disturbance.script}: not refused: {refused}"]
        by_hand(subject, host, disturbance.undo)
        subject.tried += 1
    return wrong
