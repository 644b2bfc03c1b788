# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tree holds, file by file, to compare trees by."""

from __future__ import annotations

from tests.lab.host import LabHost

IMAGES = "/var/lib/baleine/images"
WORK = "/srv/listing"
#: What a listing shows of each file: kind and mode, owner, size, time, links, target, blocks, device, digest, xattrs.
LISTING = r"""
import hashlib, os, stat, sys
top = sys.argv[1]
def content(path):
    found, end = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while end < size:
            try:
                start = stream.seek(end, os.SEEK_DATA)
            except OSError:
                break
            end = stream.seek(start, os.SEEK_HOLE)
            stream.seek(start)
            data = stream.read(end - start).rstrip(bytes(1))
            found.update(repr((start, data)).encode() if data else b"")
    return found.hexdigest()
for folder, folders, files in sorted(os.walk(top)):
    folders.sort()
    for name in sorted([*folders, *files, "."] if folder == top else [*folders, *files]):
        path = os.path.join(folder, name)
        at = os.lstat(path)
        if name == "lost+found":
            continue
        regular = stat.S_ISREG(at.st_mode)
        words = [oct(at.st_mode), at.st_uid, at.st_gid, at.st_size if regular else 0, at.st_mtime_ns]
        words += [at.st_nlink if regular else 0, at.st_blocks if regular else 0, at.st_rdev]
        words += [ascii(os.readlink(path)) if stat.S_ISLNK(at.st_mode) else ""]
        words += [content(path) if regular else ""]
        words += [sorted((key, os.getxattr(path, key, follow_symlinks=False).hex())
                         for key in os.listxattr(path, follow_symlinks=False))]
        print(ascii(os.path.relpath(path, top))[1:-1].replace(" ", "_"), *words)
"""


def listing(host: LabHost, name: str, tree: str = "") -> list[str]:
    """What is in an image, or in a directory."""
    if not tree:
        script = (
            f"mkdir -p {WORK}/look && mount -o loop,ro,noload {IMAGES}/{name} {WORK}/look && exec python3 - {WORK}/look"
        )
        return host.run(["unshare", "-m", "sh", "-c", script], input=LISTING).stdout.splitlines()
    return host.run(["python3", "-", tree], input=LISTING).stdout.splitlines()
