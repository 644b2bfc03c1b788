# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a web server over HTTPS, signed with real keys: the round trip, and everything that may be wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.host import LabHost

SITE = "/srv/site"
IMAGES = "/var/lib/baleine/images"


@pytest.fixture(scope="module")
def keys(lab: LabHost) -> LabHost:
    """Two keys of GnuPG, ours and another's, in the host's own folder; /srv/NAME.asc are their public halves."""
    lab.expect("process *gpg-agent*")
    for name in ("ours", "other"):
        lab.sh(
            f"gpg -q --batch --passphrase '' --quick-gen-key '{name} <{name}@example.test>' ed25519 sign never;"
            f"gpg -q --armor --export {name}@example.test > /srv/{name}.asc"
        )
    lab.sh("gpgconf --kill gpg-agent")
    return lab


def described(lab: LabHost, name: str = "tiny") -> dict[str, str]:
    lines = lab.read(f"{SITE}/{name}.image").splitlines()
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)}


def test_what_is_published_can_be_taken_apart_with_plain_tools(
    lab: LabHost, keys: Any, tiny: str, baleine: Any
) -> None:
    made = baleine(
        "image", "publish", "-i", "tiny", "--directory", SITE, "--version", "1", "--key", "ours@example.test"
    )
    assert made.stdout.split() == [f"{SITE}/{name}" for name in ("tiny-1.tar.zst", "tiny.image.sig", "tiny.image")]
    assert lab.sh(f"ls -A {SITE}; stat -c %a {SITE}/*").stdout.split()[:3] == made.stdout.replace(
        f"{SITE}/", ""
    ).split()[:1] + ["tiny.image", "tiny.image.sig"]
    lab.sh(
        f"cd {SITE} && gpg --verify tiny.image.sig tiny.image && mkdir /srv/by-hand && tar --zstd -xSf tiny-1.tar.zst -C /srv/by-hand && cmp /srv/by-hand/tiny {IMAGES}/tiny"
    )
    assert lab.sh("pgrep -x gpg-agent || true").stdout == ""
