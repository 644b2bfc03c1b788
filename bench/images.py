# SPDX-License-Identifier: GPL-3.0-or-later
"""How long images take to be made: of packages that a mirror in the same host gives, so that no network counts."""

from __future__ import annotations

from typing import Callable

from tests.lab import debs, run, trees

from .place import Failed, Place
from .result import OURS, Cell

PACKAGE, MORE = "apache2", "nano"
LIMIT = 600.0
CREATE = ("baleine", "image", "create")
ASKED = ("--suite", debs.SUITE, "--mirror", debs.MIRROR, "--keyring", debs.KEYRING)
FRESH = "rm -rf /srv/plain /srv/documents* /var/cache/baleine; baleine image remove -f made derived"
#: What the documents of 2019 did, by hand.
DOCUMENTS = f"""cd /srv; dd if=/dev/zero of=documents.img bs=1M count=10240 status=none
mkfs.ext4 -q -F documents.img; mkdir documents; mount -o loop documents.img documents
debootstrap --variant=minbase --keyring={debs.KEYRING} --include={PACKAGE} {debs.SUITE} documents {debs.MIRROR} \
    /usr/share/debootstrap/scripts/sid >documents.log 2>&1 ||
    {{ tail -n 2 documents.log >&2; umount documents; exit 1; }}
umount documents; sync documents.img"""


def make(place: Place, rounds: int) -> dict[str, Cell]:
    """Return the figures of each way; the machine's own filesystem holds the images, not the reflink store."""
    place.reflink(False)
    debs.make_mirror(place.host, PACKAGE, MORE)
    tree = ("mmdebstrap", "--quiet", "--variant=minbase", f"--include=apt,{PACKAGE}", f"--keyring={debs.KEYRING}")
    made = (*CREATE, "-i", "made", "-s", "10240", *ASKED, "--packages", PACKAGE)
    derived = (*CREATE, "-i", "derived", "--from-image", "made")
    without = "baleine image remove derived"
    ways: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
        (OURS, FRESH, made, "10 GiB, Debian and apache2 from nothing; no package kept"),
        (f"{OURS}, packages kept", "baleine image remove made", made, "the same, once more"),
        (f"{OURS}, derived", "true", (*derived, "--packages", "none"), "a copy, checked and identified"),
        (f"{OURS}, derived, a package", without, (*derived, "--packages", MORE), f"with {MORE}, fetched"),
        (f"{OURS}, derived, a kept package", without, (*derived, "--packages", MORE), f"with {MORE}, kept"),
        ("mmdebstrap alone", "rm -rf /srv/plain", (*tree, debs.SUITE, "/srv/plain", debs.MIRROR), "into a directory"),
    )
    cells = {}
    samples: dict[str, list[float]] = {name: [] for name, *_rest in ways}
    try:
        for _turn in range(rounds):
            for name, before, command, _note in ways:
                place.do("sh", "-c", before, timeout=LIMIT)
                samples[name].append(place.time(command, LIMIT))
        cells = {name: Cell(tuple(samples[name]), "", note) for name, _before, _command, note in ways}
        place.do("sh", "-c", FRESH, timeout=LIMIT)
        cells["the documents' way"] = _once(
            lambda: place.time(("sh", "-ec", DOCUMENTS), LIMIT), "dd, mkfs, debootstrap"
        )
    finally:
        place.do("sh", "-c", FRESH, timeout=LIMIT)
        place.reflink(True)
    return cells


SAVED = "/srv/bench/saved.tar"


def imports(place: Place, rounds: int) -> dict[str, Cell]:
    """Return how long what ``docker save`` wrote takes to become an image: a Debian of about 240 MB in one layer."""
    ways = {
        OURS: (("baleine", "image", "import", "-i", "saved", "--source", f"docker-archive:{SAVED}"), "10 GiB image"),
        "docker load": (("docker", "load", "-q", "-i", SAVED), "overlay2"),
        "podman load": (("podman", "load", "-q", "-i", SAVED), "overlay"),
    }
    begin = (
        "baleine image remove -f saved; docker rmi -f saved >/dev/null 2>&1; podman rmi -f saved >/dev/null 2>&1; true"
    )
    samples: dict[str, list[float]] = {name: [] for name in ways}
    place.reflink(False)
    try:
        run.machine(["tar", "-C", str(trees.debian_tree()), "-cf", str(place.host.path(f"{SAVED}.tree")), "."])
        place.do("sh", "-ec", f"docker import {SAVED}.tree saved; docker save -o {SAVED} saved", timeout=LIMIT)
        for turn in range(rounds + 1):
            for name, (command, _note) in ways.items():
                place.do("sh", "-c", begin, timeout=LIMIT)
                seconds = place.time(command, LIMIT)
                samples[name] += [seconds] if turn else []  # the first round warms up
        return {name: Cell(tuple(samples[name]), "", note) for name, (_command, note) in ways.items()}
    except Failed as error:
        return {name: Cell(reason=str(error)) for name in ways}
    finally:
        place.do("sh", "-c", f"{begin}; rm -f {SAVED} {SAVED}.tree", timeout=LIMIT)
        place.reflink(True)


def _once(measure: Callable[[], float], note: str) -> Cell:
    """What takes too long to be measured twice."""
    try:
        return Cell((measure(),), "", note)
    except Failed as error:
        return Cell(reason=str(error))
