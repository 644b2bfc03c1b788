# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile images: what lies in a tree for whoever makes a container of it as the host's root."""

from __future__ import annotations

from typing import NamedTuple

from .suite import SECRET, SHARED

BASE = "/srv/hostile"  # tree: the image's; victim: of the host, must stay as it is; output: what was learnt of the host
VICTIM = f"{BASE}/victim"
OUTPUT = f"{BASE}/output"
TREE = f"{BASE}/tree"
CONTAINER = "hostile"
CREATE = f"baleine container create -c {CONTAINER} -i hostile -p 'sleep 1000'"
RESET = f"""
    while mountpoint -q {VICTIM}; do umount {VICTIM}; done
    rm -rf {VICTIM} {OUTPUT}; mkdir -p {VICTIM}/folder; echo kept >{VICTIM}/file; echo hostuser:x:777:777::/:/bin/sh >{VICTIM}/passwd
"""
#: Ends with 0 when the host was harmed, or told something.
HARMED = f"""
    mountpoint -q {VICTIM} || mountpoint -q {VICTIM}/folder || grep -qs {SECRET} {OUTPUT} ||
    [ "$(ls {VICTIM} | tr '\\n' ' ')" != 'file folder passwd ' ] || [ "$(cat {VICTIM}/file)" != kept ] || [ "$(ls {VICTIM}/folder)" ]
""".strip()


class Image(NamedTuple):
    """A hostile image.

    plant: prepares its tree, in it. naive: what an unsuspecting script does. baleine: the same with Baleine.
    refused: what Baleine says; where it is empty it may go on, and harm nothing.
    """

    name: str
    what: str
    cve: str
    plant: str
    naive: str
    baleine: str
    refused: str = ""


def _directory(name: str, cve: str, naive: str) -> Image:
    plant = f"rm -rf {name}; ln -s {VICTIM} {name}"
    return Image(
        f"{name}-link", f"`/{name}` leads to a directory of the host", cve, plant, naive, CREATE, "not a real directory"
    )


IMAGES = (
    _directory("dev", "CVE-2021-30465 and its family", f"mount -t tmpfs dev {TREE}/dev"),
    _directory("proc", "CVE-2019-19921", f"mount -t proc proc {TREE}/proc"),
    _directory("sys", "CVE-2019-19921", f"mount -t sysfs sys {TREE}/sys"),
    _directory("etc", "CVE-2015-3627 and its family", f"echo 127.0.0.1 localhost >{TREE}/etc/hosts"),
    Image("hosts-link", "`/etc/hosts` leads to a file of the host", "CVE-2015-3627 and its family",
          f"ln -sf {VICTIM}/file etc/hosts", f"echo 127.0.0.1 localhost >{TREE}/etc/hosts", CREATE),
    Image("resolv-link", "`/etc/resolv.conf` leads to a file of the host", "CVE-2015-3627 and its family",
          f"ln -sf {VICTIM}/file etc/resolv.conf", f"echo nameserver 192.0.2.1 >{TREE}/etc/resolv.conf",
          f"{CREATE} --dns 192.0.2.1"),
    Image("volume-link", "a volume's target leads to a directory of the host", "CVE-2021-30465, CVE-2023-27561",
          f"ln -s {VICTIM} data", f"mount --bind {SHARED} {TREE}/data", f"{CREATE} -v {SHARED}:/data"),
    Image("volume-parent-link", "a directory above a volume's target leads out", "CVE-2021-30465",
          "ln -s ../../../../../.. up", f"mount --bind {SHARED} {TREE}/up{VICTIM}", f"{CREATE} -v {SHARED}:/up{VICTIM}"),
    Image("passwd-link", "users are those of the host's file", "CVE-2019-14271's neighbour",
          f"ln -sf {VICTIM}/passwd etc/passwd", f"grep -q hostuser {TREE}/etc/passwd && echo {SECRET} >{OUTPUT}",
          f"{CREATE} -u hostuser && echo {SECRET} >{OUTPUT}", "no user hostuser"),
    Image("copy-into-link", "a file copied into the container lands on the host", "CVE-2018-15664",
          f"ln -s {VICTIM} in", f"cp /etc/hostname {TREE}/in/file",
          f"{CREATE}; baleine container copy /etc/hostname {CONTAINER}:/in/file"),
    Image("copy-out-of-link", "a file copied out of the container is one of the host", "CVE-2018-15664",
          "ln -s /root/attack-secret out", f"cp {TREE}/out {OUTPUT}",
          f"{CREATE}; baleine container copy {CONTAINER}:/out {OUTPUT}; rm -f $(find {OUTPUT} -type l)"),
)  # fmt: skip
