# SPDX-License-Identifier: GPL-3.0-or-later
"""A small distribution of rpm packages, made of the machine's own programs and signed with a key of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .target import Target

REPOSITORY = "/srv/rpm/9"
KEY = "/srv/rpm/RPM-GPG-KEY-lab"
#: What a tree of it holds.
PACKAGES = ("bash", "coreutils", "filesystem", "glibc", "rpm")
#: Packages that must be refused: one without a signature, and one that another key signed.
UNSIGNED, FOREIGN = "unsigned", "foreign"
#: Where the tree's own rpm has its database: where neither this machine's nor an older release's has it.
DATABASE = "/usr/lib/sysimage/rpm"

# Programs come with the libraries that ldd names; those of the C library go into the package that all others need.
SCRIPT = r"""
set -eu
umask 022
work=/srv/rpm/work; mkdir -p $work/roots /srv/rpm/9; cd $work
export GNUPGHOME=$work/gnupg; mkdir -m 700 $GNUPGHOME
for who in lab stranger; do gpg --batch --quiet --passphrase '' --quick-generate-key "$who@example.org" rsa2048 sign never; done
gpg --armor --export lab@example.org > /srv/rpm/RPM-GPG-KEY-lab

put() { # put ROOT FILE...: with its libraries
    root=$1; shift
    for file in "$@"; do
        real=$(readlink -f $file); mkdir -p $root/usr/bin $root/usr/lib
        cp $real $root/usr/bin/$(basename $file)
        ldd $real | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r library; do
            cp $(readlink -f $library) $root/usr/lib/$(basename $library)
        done
    done
}
put roots/bash /bin/bash
ln -s bash roots/bash/usr/bin/sh
put roots/coreutils /bin/cat /bin/sleep /usr/bin/id /bin/ls
put roots/rpm /usr/bin/rpm /usr/bin/rpmkeys
mkdir -p roots/rpm/usr/lib/rpm roots/filesystem/usr/bin roots/filesystem/usr/sbin roots/filesystem/usr/lib roots/filesystem/usr/lib64
cp /usr/lib/rpm/rpmrc /usr/lib/rpm/macros roots/rpm/usr/lib/rpm
echo '%_dbpath /usr/lib/sysimage/rpm' >> roots/rpm/usr/lib/rpm/macros
for name in bin sbin lib lib64; do ln -s usr/$name roots/filesystem/$name; done
for name in proc sys dev etc run tmp root var/lib var/log; do mkdir -p roots/filesystem/$name; done
echo 'root:x:0:0:root:/root:/bin/bash' > roots/filesystem/etc/passwd
echo 'root:x:0:' > roots/filesystem/etc/group
mkdir -p roots/glibc/usr/lib roots/glibc/usr/lib64
for library in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1; do
    for root in roots/*/usr/lib; do
        if [ -e $root/$library ] && [ $root != roots/glibc/usr/lib ]; then mv $root/$library roots/glibc/usr/lib; fi
    done
done
cp $(readlink -f /lib64/ld-linux-x86-64.so.2) roots/glibc/usr/lib64/ld-linux-x86-64.so.2
for root in roots/coreutils roots/rpm; do
    for library in $(ls $root/usr/lib); do
        if [ -e roots/bash/usr/lib/$library ]; then rm $root/usr/lib/$library; fi
    done
done
for library in $(ls roots/coreutils/usr/lib); do rm -f roots/rpm/usr/lib/$library; done
for name in unsigned foreign; do mkdir -p roots/$name/usr/share; echo $name > roots/$name/usr/share/$name; done

spec() { # spec NAME REQUIRES EXTRA
    (cd roots/$1; find . -mindepth 1 \( -type d -printf '%%dir "/%P"\n' -o -printf '"/%P"\n' \)) > $1.files
    if [ $1 != filesystem ]; then sed -i '/^%dir/d' $1.files; fi
    cat > $1.spec <<EOF
Name: $1
Version: 1.0
Release: 1
Summary: $1 of the laboratory
License: GPL
AutoReqProv: no
$2
$3
%description
$1
%files -f $work/$1.files
EOF
    if [ $1 = rpm ]; then printf '%%post\nid -u > /var/lib/post-was-here\n' >> $1.spec; fi
    rpmbuild -bb --quiet --define "_topdir $work/top" --define "debug_package %{nil}" --define "__os_install_post %{nil}" \
        --define "_build_id_links none" --define "_binary_payload w1.gzdio" --define "_rpmdir /srv/rpm/9" --noclean \
        --buildroot $work/roots/$1 $1.spec
}
spec filesystem '' ''
spec glibc 'Requires: filesystem' 'Provides: libc.so.6'
spec bash 'Requires: glibc' 'Provides: /bin/sh'
spec coreutils 'Requires: bash' ''
spec rpm 'Requires(post): bash coreutils' 'Requires: bash'
spec unsigned 'Requires: filesystem' ''
spec foreign 'Requires: filesystem' ''
sign() { rpmsign --define "__gpg /usr/bin/gpg" --define "_gpg_name $1@example.org" --define "_gpg_digest_algo sha256" --addsign "${@:2}" >/dev/null; }
export GPG_TTY=/dev/null
sign lab $(ls /srv/rpm/9/*/*.rpm | grep -v -e /unsigned- -e /foreign-)
sign stranger /srv/rpm/9/*/foreign-*.rpm
createrepo_c --quiet /srv/rpm/9
gpgconf --kill all
cd /; rm -rf $work /root/.rpmdb
"""


def make_repository(host: Target) -> None:
    """Make the repository in a machine that has rpm and createrepo_c."""
    host.expect("file /srv/rpm*")
    host.write("/srv/rpm/make", SCRIPT)
    host.run(["/bin/bash", "/srv/rpm/make"], timeout=300)
