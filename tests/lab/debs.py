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

#: A suite that is made into a tree in half a second, beside one that differs by its name alone, and the same at another
#: address: of the machine's own programs, for two processors that it runs.
SMALL, SMALLER = "small", "smaller"
SMALL_MIRROR, SMALL_KEYRING = "copy:///srv/small", "/srv/small/small.gpg"
SMALL_SCRIPT = r"""
set -eu
umask 022
cd /srv/small
root=work/base
mkdir -p pool $root/bin $root/sbin $root/usr/bin $root/lib64 $root/etc/apt/trusted.gpg.d $root/var/lib/dpkg/info
mkdir -p $root/var/tmp $root/var/log $root/tmp $root/proc $root/sys $root/dev $root/root $root/run
cp /bin/busybox $root/bin/busybox
for name in sh rm diff sbin/ldconfig sbin/start-stop-daemon; do # what dpkg looks for
    case $name in */*) ;; *) name=bin/$name ;; esac
    ln -s /bin/busybox $root/$name
done
for file in /usr/bin/env /usr/bin/dpkg /usr/bin/dpkg-deb /usr/bin/dpkg-query /usr/bin/dpkg-split /bin/tar; do
    cp -L $file $root/usr/bin
    ldd $file | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r library; do
        mkdir -p $root$(dirname $library)
        cp -L $library $root$library
    done
done
cp -L /lib64/ld-linux-x86-64.so.2 $root/lib64
echo 'root:x:0:0:root:/root:/bin/sh' >$root/etc/passwd
echo 'root:x:0:' >$root/etc/group
pack() { # pack NAME ARCHITECTURE FIELDS
    mkdir -p work/$1/DEBIAN work/$1/usr/share
    echo $1 >work/$1/usr/share/$1
    printf 'Package: %s\nArchitecture: %s\nVersion: 1\nMaintainer: L <l@example.org>\nDescription: %s\n' $1 $2 $1 \
        >work/$1/DEBIAN/control
    printf "$3" >>work/$1/DEBIAN/control
    dpkg-deb -Znone --build work/$1 pool/$1_1_$2.deb >/dev/null
}
for architecture in amd64 i386; do pack base $architecture 'Essential: yes\nPriority: required\n'; done
for name in apt hello ed; do pack $name all 'Priority: optional\n'; done
rm -r work
export GNUPGHOME=/srv/small/gnupg; mkdir -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key small@example.org rsa2048 sign never
gpg --export small@example.org >small.gpg
cp small.gpg again.gpg
for suite in small smaller; do
    for architecture in amd64 i386; do
        mkdir -p dists/$suite/main/binary-$architecture
        for deb in pool/*_all.deb pool/*_$architecture.deb; do
            dpkg-deb -f $deb
            printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' $deb $(stat -c %s $deb) $(sha256sum $deb | cut -d' ' -f1)
        done >dists/$suite/main/binary-$architecture/Packages
    done
    (
        cd dists/$suite
        {
            printf 'Suite: %s\nCodename: %s\nArchitectures: amd64 i386\nComponents: main\n' $suite $suite
            printf 'Date: %s\nSHA256:\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')"
            for index in main/binary-*/Packages; do
                printf ' %s %s %s\n' $(sha256sum $index | cut -d' ' -f1) $(stat -c %s $index) $index
            done
        } >Release
        gpg --batch --quiet --clearsign --output InRelease Release
    )
done
gpgconf --kill all
rm -r $GNUPGHOME
ln -s small /srv/again
"""


def packages(*more: str) -> Path:
    """The packages of a minimal Debian, and more with what they need, in the cache."""
    folder = run.CACHE / "-".join(("debs", trees.SUITE, *more))
    with run.locked(run.CACHE / "debs.lock"):
        if not folder.is_dir():
            new = run.CACHE / "debs.new"
            options = [f"--aptopt={option}" for option in proxy.apt_options()]
            hook = f"--customize-hook=copy-out /var/cache/apt/archives {new}"
            words = ["mmdebstrap", "--variant=minbase", "--skip=essential/unlink", *options, hook]
            words += [f"--include={','.join(more)}"] if more else []
            run.fetch([*words, trees.SUITE, "/dev/null"], new)
            (new / "archives").rename(folder)
            shutil.rmtree(new)
    return folder


def arm_busybox() -> Path:
    """A busybox for arm64, in the cache."""
    file = run.CACHE / f"busybox-arm64-{trees.SUITE}"
    with run.locked(run.CACHE / "busybox-arm64.lock"):
        if not file.exists():
            new = run.CACHE / "busybox-arm64.new"
            options = [f"--aptopt={option}" for option in proxy.apt_options()]
            words = ["mmdebstrap", "--variant=extract", "--architectures=arm64", "--include=busybox-static", *options]
            run.fetch([*words, trees.SUITE, str(new)], new)
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
    run.wait_for(lambda: host.run(["/bin/sh", "-c", reached], check=False).returncode == 0, run.LONGEST, 0.2)
    return len(list(folder.glob("*.deb")))


def make_small_mirror(host: LabHost) -> None:
    """Make the suites of few packages in a lab host, which takes about a second."""
    host.expect("file /srv/small*", "file /srv/again")
    host.write("/srv/small/make", SMALL_SCRIPT)
    host.run(["/bin/bash", "/srv/small/make"], timeout=300)


def fetched(host: LabHost) -> int:
    """How many packages were fetched from the mirror so far."""
    return host.read(LOG).count('.deb HTTP/1.1" 200')
