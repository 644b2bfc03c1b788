# SPDX-License-Identifier: GPL-3.0-or-later
"""How long images take to be made: of packages that a mirror in the same host gives, so that no network counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.lab import debs, run, trees

from .peers import DOCKER
from .place import TREE, CannotRun, Failed, Place
from .result import OURS, Cell
from .scale import Scale

LIMIT = 600.0
CREATE = ("baleine", "image", "create")
FRESH = "rm -rf /srv/plain /srv/documents* /var/cache/baleine; baleine image remove -f made derived"
DOCUMENTS = "the documents' way"
#: Rounds of `make` and `imports`: one of them takes long.
MADE_ROUNDS, IMPORT_ROUNDS = 2, 5


class Mirror(NamedTuple):
    """Where packages come from, the one that an image is made with, and one more for an image derived from it."""

    suite: str
    url: str
    keyring: str
    package: str
    more: str = ""


class Way(NamedTuple):
    """One way to make an image: its name, what is done before it, the command that is timed, a note."""

    name: str
    before: str
    command: Sequence[str]
    note: str


def mirror(place: Place, whole: bool) -> Mirror:
    """Make a mirror in the laboratory host: of a whole Debian, or of the few packages of the smallest suite."""
    if whole:
        debs.make_mirror(place.host, "apache2", "nano")
        return Mirror(debs.SUITE, debs.MIRROR, debs.KEYRING, "apache2", "nano")
    debs.make_small_mirror(place.host)
    return Mirror(debs.SMALL, debs.SMALL_MIRROR, debs.SMALL_KEYRING, "hello")  # its trees have no apt


def documents(there: Mirror) -> str:
    """What the documents of 2019 did, by hand."""
    return f"""cd /srv; dd if=/dev/zero of=documents.img bs=1M count=10240 status=none
mkfs.ext4 -q -F documents.img; mkdir documents; mount -o loop documents.img documents
debootstrap --variant=minbase --keyring={there.keyring} --include={there.package} {there.suite} documents {there.url} \
    /usr/share/debootstrap/scripts/sid >documents.log 2>&1 ||
    {{ tail -n 2 documents.log >&2; umount documents; exit 1; }}
umount documents; sync documents.img"""


def ways_to_make(there: Mirror) -> list[Way]:
    """Return the ways that are measured in every round, in their order: one leaves what the next one needs."""
    asked = ("--suite", there.suite, "--mirror", there.url, "--keyring", there.keyring)
    made = (*CREATE, "-i", "made", "-s", "10240", *asked, "--packages", there.package)
    derived = (*CREATE, "-i", "derived", "--from-image", "made", "--packages")
    without = "baleine image remove derived"
    included = f"--include=apt,{there.package}"
    tree = ("mmdebstrap", "--quiet", "--variant=minbase", included, f"--keyring={there.keyring}")
    ways = [
        Way(OURS, FRESH, made, f"10 GiB, Debian and {there.package} from nothing; no package kept"),
        Way(f"{OURS}, packages kept", "baleine image remove made", made, "the same, once more"),
        Way(f"{OURS}, derived", "true", (*derived, "none"), "a copy, checked and identified"),
        Way("mmdebstrap alone", "rm -rf /srv/plain", (*tree, there.suite, "/srv/plain", there.url), "into a directory"),
    ]
    if there.more:
        ways += [
            Way(f"{OURS}, derived, a package", without, (*derived, there.more), f"with {there.more}, fetched"),
            Way(f"{OURS}, derived, a kept package", without, (*derived, there.more), f"with {there.more}, kept"),
        ]
    return ways


def measure(place: Place, ways: Sequence[Way], rounds: int, warm_up: int = 0) -> dict[str, Cell]:
    """Take the samples of ways in turns; one that fails is out, with its words."""
    samples: dict[str, list[float]] = {way.name: [] for way in ways}
    reasons: dict[str, str] = {}
    for turn in range(warm_up + rounds):
        for way in ways:
            if way.name in reasons:
                continue
            try:
                place.do("sh", "-c", way.before, timeout=LIMIT)
                seconds = place.time(way.command, LIMIT)
            except Failed as error:
                reasons[way.name] = str(error)
                continue
            if turn >= warm_up:
                samples[way.name].append(seconds)
    failed = {name: Cell(reason=reason) for name, reason in reasons.items()}
    return {way.name: failed.get(way.name) or Cell(tuple(samples[way.name]), "", way.note) for way in ways}


def make(place: Place, scale: Scale) -> dict[str, Cell]:
    """Return the figures of each way; the machine's own filesystem holds the images, not the reflink store."""
    place.reflink(False)
    try:
        there = mirror(place, scale.debian)
        cells = measure(place, ways_to_make(there), scale.rounds(MADE_ROUNDS, least=1))
        cells[DOCUMENTS] = by_hand(place, there)
        return cells
    finally:
        place.do("sh", "-c", FRESH, timeout=LIMIT)
        place.reflink(True)


def by_hand(place: Place, there: Mirror) -> Cell:
    """Measure the documents' way, once: it takes too long to be measured twice."""
    if place.missing(["debootstrap"]):
        return Cell(reason="this machine has no debootstrap: the package is not installed")
    ways = [Way(DOCUMENTS, FRESH, ("sh", "-ec", documents(there)), "dd, mkfs, debootstrap")]
    return measure(place, ways, 1)[DOCUMENTS]


SAVED = "/srv/bench/saved.tar"


def ways_to_import() -> list[Way]:
    """Return the ways to make an image of an archive."""
    forget = f"baleine image remove -f saved; {DOCKER} rmi -f saved; podman rmi -f saved; true"
    before = f"{{ {forget}; }} >/dev/null 2>&1"
    ours = ("baleine", "image", "import", "-i", "saved", "--source", f"docker-archive:{SAVED}")
    return [
        Way(OURS, before, ours, "10 GiB image"),
        Way("docker load", before, (DOCKER, "load", "-q", "-i", SAVED), "overlay2"),
        Way("podman load", before, ("podman", "load", "-q", "-i", SAVED), "overlay"),
    ]


def imports(place: Place, scale: Scale, names: Sequence[str]) -> dict[str, Cell]:
    """Return how long what ``docker save`` wrote takes to become an image: a Debian of about 240 MB in one layer.

    names: the contenders that take part.
    :raises CannotRun: when docker, which writes the archive, does not.
    """
    if "docker" not in names:
        raise CannotRun("docker, which writes the archive, takes no part")
    ways = [way for way in ways_to_import() if way.name.partition(" ")[0] in names]
    place.reflink(False)
    try:
        if scale.debian:
            run.machine(["tar", "-C", str(trees.debian_tree()), "-cf", str(place.host.path(f"{SAVED}.tree")), "."])
        else:
            place.sh(f"tar -C {TREE} -cf {SAVED}.tree .")
        place.do("sh", "-ec", f"{DOCKER} import {SAVED}.tree saved; {DOCKER} save -o {SAVED} saved", timeout=LIMIT)
        return measure(place, ways, scale.rounds(IMPORT_ROUNDS, least=1), scale.warm_up)
    finally:
        place.do("sh", "-c", f"{ways[0].before}; rm -f {SAVED} {SAVED}.tree", timeout=LIMIT)
        place.reflink(True)
