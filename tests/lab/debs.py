# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror of another distribution of Debian's family: its own suite, signed with a key that no host trusts by itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from . import proxy, run, trees

if TYPE_CHECKING:
    from .host import LabHost

SUITE = "wonderful"
PORT = 8123
MIRROR = f"http://127.0.0.1:{PORT}"
KEYRING = "/srv/mirror/wonderful.gpg"
LOG = "/srv/mirror.log"

SCRIPT = r"""
set -eu
cd /srv/mirror
mkdir -p dists/wonderful/main/binary-amd64
for deb in pool/*.deb; do
    dpkg-deb -f "$deb"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done > dists/wonderful/main/binary-amd64/Packages
cd dists/wonderful
gzip -nk main/binary-amd64/Packages  # what debootstrap wants
{
    printf 'Origin: Wonderful\nSuite: wonderful\nCodename: wonderful\nArchitectures: amd64\nComponents: main\n'
    printf 'Date: %s\nSHA256:\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')"
    for index in main/binary-amd64/Packages main/binary-amd64/Packages.gz; do
        printf ' %s %s %s\n' "$(sha256sum $index | cut -d' ' -f1)" "$(stat -c %s $index)" $index
    done
} > Release
export GNUPGHOME=/srv/gnupg; mkdir -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key wonderful@example.org rsa2048 sign never
gpg --export wonderful@example.org > /srv/mirror/wonderful.gpg
gpg --batch --quiet --clearsign --output InRelease Release
gpgconf --kill all
rm -rf $GNUPGHOME
"""


def packages(*more: str) -> Path:
    """The packages of a minimal Debian, and more with what they need, in the cache."""
    folder = run.CACHE / "-".join(("debs", trees.SUITE, *more))
    with run.locked(run.CACHE / "debs.lock"):
        if not folder.is_dir():
            new = run.CACHE / "debs.new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            options = [f"--aptopt={option}" for option in proxy.apt_options()]
            hook = f"--customize-hook=copy-out /var/cache/apt/archives {new}"
            words = ["mmdebstrap", "--variant=minbase", "--skip=essential/unlink", *options, hook]
            words += [f"--include={','.join(more)}"] if more else []
            run.machine([*words, trees.SUITE, "/dev/null"], timeout=1200)
            (new / "archives").rename(folder)
            shutil.rmtree(new)
    return folder


def arm_busybox() -> Path:
    """A busybox for arm64, in the cache."""
    file = run.CACHE / f"busybox-arm64-{trees.SUITE}"
    with run.locked(run.CACHE / "busybox-arm64.lock"):
        if not file.exists():
            new = run.CACHE / "busybox-arm64.new"
            shutil.rmtree(new, ignore_errors=True)
            options = [f"--aptopt={option}" for option in proxy.apt_options()]
            words = ["mmdebstrap", "--variant=extract", "--architectures=arm64", "--include=busybox-static", *options]
            run.machine([*words, trees.SUITE, str(new)], timeout=1200)
            (new / "bin/busybox").rename(file)
            shutil.rmtree(new)
    return file


def make_mirror(host: LabHost, *more: str) -> int:
    """Make the mirror in a lab host and serve it there; returns how many packages it has.

    more: packages beside those of a minimal Debian.
    """
    host.expect("file /srv/mirror*", "process *http.server*")
    folder = packages(*more)
    for deb in folder.glob("*.deb"):
        host.push(deb, f"/srv/mirror/pool/{deb.name.replace('%3a', ':')}")
    host.write("/srv/mirror/make", SCRIPT)
    host.run(["/bin/bash", "/srv/mirror/make"], timeout=300)
    host.sh(f"cd /srv/mirror; python3 -u -m http.server --bind 127.0.0.1 {PORT} >{LOG} 2>&1 & ")
    reached = f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))'"
    run.wait_for(lambda: host.run(["/bin/sh", "-c", reached], check=False).returncode == 0, 60, 0.2)
    return len(list(folder.glob("*.deb")))


def fetched(host: LabHost) -> int:
    """How many packages were fetched from the mirror so far."""
    return host.read(LOG).count('.deb HTTP/1.1" 200')
