# SPDX-License-Identifier: GPL-3.0-or-later
"""How long images take to be made: of packages that a mirror in the same host gives, so that no network counts."""

from __future__ import annotations

from typing import Callable

from tests.lab import debs

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


def _once(measure: Callable[[], float], note: str) -> Cell:
    """What takes too long to be measured twice."""
    try:
        return Cell((measure(),), "", note)
    except Failed as error:
        return Cell(reason=str(error))
