# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that no image may come from: one table, and a program that tries all of them."""

from __future__ import annotations

import gzip
import json
import lzma
import tarfile
from collections.abc import Callable

from tests.integration.archives import (
    GOOD,
    archive,
    changed,
    digest,
    everywhere,
    lying,
    nested,
    tar_of,
)

LAYER = tar_of(GOOD)
LONG = json.dumps([["x"] * 100] * 20000)
Case = tuple[str, Callable[[], bytes], str]
#: Name -> the kind of source, its bytes, what the error says.
HOSTILE: dict[str, Case] = {
    "a link for the tree itself": (
        "tar", lambda: tar_of(GOOD, ("./", {"type": tarfile.SYMTYPE, "linkname": "/etc"})), "resource busy"
    ),
    "a map of holes that lies": (
        "tar", lambda: tar_of(("x", {"data": b"x", "pax_headers": {"GNU.sparse.map": f"{1 << 62},1", "GNU.sparse.size": "1"}})),
        "File too large",
    ),
    "a header that names another file": (
        "tar", lambda: tar_of(("x", {"pax_headers": {"GNU.sparse.name": "../../etc/climbed", "GNU.sparse.map": "0,0"}})),
        "leads out of its directory",
    ),
    "capabilities that are none": ("tar", lambda: tar_of(("x", {"pax_headers": {"SCHILY.xattr.security.capability": "z"}})), "'x': "),
    "a climb for all that follow": ("tar", lambda: everywhere("path=../../etc/climbed"), "leads out of its directory"),
    "headers of headers": ("tar", lambda: lying(0, tarfile.XHDTYPE)[:512] * 5000 + LAYER, "no whole tar archive"),
    "climbs": ("tar", lambda: tar_of(GOOD, ("a/../../etc/climbed", {})), "leads out of its directory"),
    "hard link that climbs": (
        "tar", lambda: tar_of(("x", {"type": tarfile.LNKTYPE, "linkname": "../../etc/passwd"})),
        "leads out of its directory",
    ),
    "hard link to the host": (
        "tar", lambda: tar_of(("x", {"type": tarfile.LNKTYPE, "linkname": "/etc/hostname"})), "No such file"
    ),
    "no archive": ("tar", lambda: b"this is no archive" * 1000, "no whole tar archive"),
    "nothing": ("tar", lambda: b"", "no whole tar archive"),
    "cut short in a file": ("tar", lambda: tar_of(GOOD, ("big", {"data": b"x" * 99999}))[:50000], "no whole tar archive"),
    "cut short in a header": ("tar", lambda: tar_of(GOOD, GOOD)[:1200], "no whole tar archive"),
    "cut short between two": ("tar", lambda: tar_of(GOOD)[:1024], "no whole tar archive"),
    "rubbish after the first": ("tar", lambda: tar_of(GOOD)[:1024] + b"rubbish!" * 1000, "no whole tar archive"),
    "promises a terabyte": ("tar", lambda: lying(1 << 40), "no whole tar archive"),
    "promises a header of a terabyte": ("tar", lambda: lying(1 << 40, tarfile.XHDTYPE), "no whole tar archive"),
    "negative size": ("tar", lambda: lying(-512), "Invalid argument"),
    "time that is none": (
        "tar", lambda: tar_of(("x", {"pax_headers": {"mtime": "1e400000000"}})), "no whole tar archive"
    ),
    "attribute that is none": ("tar", lambda: tar_of(("x", {"pax_headers": {"SCHILY.xattr.nonsense": "1"}})), "'x': "),
    "kind that is none": ("tar", lambda: tar_of(("x", {"type": b"Z"})), "kind that is not known"),
    "name too long": ("tar", lambda: tar_of(("n" * 300, {})), "File name too long"),
    "more than the image": ("tar", lambda: tar_of(("big", {"data": b"x" * (40 << 20)})), "larger size"),
    "a bomb of zeros": ("tar", lambda: gzip.compress(tar_of(("big", {"data": bytes(40 << 20)}))), "larger size"),
    "more entries than files": ("tar", lambda: tar_of(*[GOOD] * 20000), "more entries than the image can have"),
    "torn gzip": ("tar", lambda: gzip.compress(tar_of(GOOD))[:-6], "cannot be unpacked"),
    "gzip with a wrong sum": ("tar", lambda: gzip.compress(tar_of(GOOD))[:-8] + bytes(8), "cannot be unpacked"),
    "torn xz": ("tar", lambda: lzma.compress(tar_of(GOOD))[:-20], "cannot be unpacked"),
    "no zstd": ("tar", lambda: b"\x28\xb5\x2f\xfd" + b"rubbish" * 1000, "zstd"),
    "an archive as a tree": ("oci-archive", lambda: tar_of(GOOD), "there is no index.json"),
    "an archive that is torn": ("docker-archive", lambda: archive(LAYER)[:3000], "no whole tar archive"),
    "an archive of rubbish": ("docker-archive", lambda: b"x" * 5000, "no whole tar archive"),
    "a layer that was changed": ("docker-archive", lambda: archive(LAYER, spoil=changed("good")), "the digest of it is"),
    "a layer that was changed, OCI": ("oci-archive", lambda: archive(LAYER, spoil=changed("good")), "the digest of it is"),
    "a configuration that was changed": (
        "docker-archive", lambda: archive(LAYER, spoil=changed("diff_ids")), "the digest of it is"
    ),
    "a manifest that was changed": ("oci-archive", lambda: archive(LAYER, spoil=changed("schema")), "the digest of it is"),
    "a layer that unpacks to something else": (
        "oci-archive",
        lambda: archive(
            LAYER, pack=gzip.compress, config=lambda found: {**found, "rootfs": {"diff_ids": [digest(b"other")]}}
        ),
        "the digest of it is",
    ),
    "a plain layer that is another one": (
        "oci-archive", lambda: archive(LAYER, config=lambda found: {**found, "rootfs": {"diff_ids": [digest(b"other")]}}),
        "the digest of it is",
    ),
    "a layer too many": (
        "oci-archive", lambda: archive(LAYER, config=lambda found: {**found, "rootfs": {"diff_ids": []}}), "names 0 layers"
    ),
    "a layer that is missing": (
        "docker-archive", lambda: archive(LAYER, saved=lambda found: {**found, "Layers": ["none/layer.tar"]}),
        "there is no layer none/layer.tar",
    ),
    "a layer of the host": (
        "docker-archive", lambda: archive(LAYER, saved=lambda found: {**found, "Layers": ["../../../etc/hostname"]}),
        "there is no layer",
    ),
    "a layer of another size": (
        "oci-archive",
        lambda: archive(LAYER, main=lambda found: {**found, "layers": [{**found["layers"][0], "size": 1 << 40}]}),
        "of another size",
    ),
    "a digest that climbs": (
        "oci-archive",
        lambda: archive(LAYER, main=lambda found: {**found, "config": {**found["config"], "digest": "sha256:../../x"}}),
        "of a kind that is not known",
    ),
    "a digest of another kind": (
        "oci-archive", lambda: archive(LAYER, index=lambda found: {"manifests": [{"digest": "md5:0"}]}),
        "of a kind that is not known",
    ),
    "no JSON": ("docker-archive", lambda: archive(LAYER, spoil=lambda files: {**files, "manifest.json": b"{"}), "is no JSON"),
    "endless JSON": (
        "docker-archive", lambda: archive(LAYER, spoil=lambda files: {**files, "manifest.json": b"[" * 200000}), "no JSON"
    ),
    "too much JSON": (
        "oci-archive", lambda: archive(LAYER, spoil=lambda files: {**files, "index.json": LONG.encode()}), "is too large"
    ),
    "JSON of another kind": (
        "docker-archive", lambda: archive(LAYER, saved=lambda found: {**found, "Layers": "x"}), "is not understood"
    ),
    "an index of what is not there": ("oci-archive", lambda: archive(LAYER, index=nested(1)), "there is no blobs"),
    "words that are none": (
        "docker-archive", lambda: archive(LAYER, config=lambda found: {**found, "config": {"Cmd": [1]}}),
        "is not understood",
    ),
    "a NUL byte": (
        "docker-archive", lambda: archive(LAYER, config=lambda found: {**found, "config": {"Env": ["A=\0"]}}), "NUL byte"
    ),
    "half a character": (
        "docker-archive", lambda: archive(LAYER, config=lambda found: {**found, "config": {"Cmd": ["\ud800"]}}),
        "half a character",
    ),
    "endless words": (
        "docker-archive", lambda: archive(LAYER, config=lambda found: {**found, "config": {"Cmd": ["x" * 300000]}}),
        "too long",
    ),
    "another system": (
        "docker-archive", lambda: archive(LAYER, config=lambda found: {**found, "os": "windows"}), "image for 'windows'"
    ),
    "two images": ("docker-archive", lambda: archive(LAYER, saved=lambda found: [found, found]), "2 images of it are meant"),
    "a mark that climbs": ("oci-archive", lambda: archive(tar_of(("a/.wh...", {}))), "names no file"),
    "a mark of nothing": ("oci-archive", lambda: archive(tar_of((".wh.", {}))), "names no file"),
    "a layer that climbs": ("oci-archive", lambda: archive(tar_of(("../x", {}))), "leads out of its directory"),
    "a layer that is a bomb": (
        "oci-archive", lambda: archive(tar_of(("big", {"data": bytes(40 << 20)})), pack=gzip.compress), "larger size"
    ),
    "a link for a manifest": (
        "docker-archive",
        lambda: tar_of(("manifest.json", {"type": tarfile.SYMTYPE, "linkname": "/etc/hostname"})),
        "there is no manifest.json",
    ),
}  # fmt: skip
#: All of them in one process; what each was told, and what it left.
REFUSED = r"""
import glob, json, os, sys, time
sys.path.insert(0, "/usr/local/lib/baleine")
from baleine import image, image_store
from baleine_cli.runner import run
def seen():
    found = {path for top in ("/var/lib/baleine", "/etc", "/mnt") for folder, folders, files in os.walk(top)
             for path in [os.path.join(folder, name) for name in folders + files]}
    end = time.monotonic() + 60  # the kernel lets go of a file a moment after its last user
    while (held := set(loops())) and time.monotonic() < end:
        time.sleep(0.05)
    return found | held
def loops():
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            yield from (line for line in open(path) if "hostile" in line)
        except OSError:
            pass
before, answers = seen(), {}
for path in sorted(glob.glob(sys.argv[1] + "/*")):
    number, kind = os.path.basename(path).split(".")
    try:
        image_store.ensure(run, [image.request({"name": "hostile", "source": f"{kind}:{path}", "size": "32M"})])
        said = "it was taken"
        image_store.remove("hostile")
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    answers[number] = said, sorted(seen() ^ before)
print(json.dumps(answers))
"""
