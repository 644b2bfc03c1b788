# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of tar archives and directories: everything that is in them, and what of them is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.listing import IMAGES, listing
from tests.lab.host import LabHost
from tests.lab.run import wait_for

WORK = "/srv/transfer"
#: A tree with everything that an archive can lose.
ODD = """
umask 022; cd {tree}
mkdir -p bin etc/deep dev proc sys sticky srv
cp /bin/busybox bin/busybox; ln -s busybox bin/sh; ln bin/busybox bin/true
for name in cat id echo env sleep; do ln -s busybox bin/$name; done
printf 'root:x:0:0::/root:/bin/sh\\napp:x:1000:1000::/:/bin/sh\\n' >etc/passwd
cp bin/busybox bin/su; chown 0:1000 bin/su; chmod 6755 bin/su
chmod 1777 sticky; chown 1000:1000 srv; chmod 2750 srv
echo x >'etc/deep/name with space'; echo y >"etc/deep/$(printf 'caf\\303\\251 \\377')"; echo l >etc/{long}
printf 1 >'back\\nslash'; printf 2 >-dash; printf 3 >'*'; printf 4 >"$(printf 'two\\nlines')"; printf 5 >"$(printf '\\377')"
ln -s ../../../../../../outside etc/out; ln -s /nowhere etc/nowhere
mknod dev/null c 1 3; mknod dev/disk b 7 77; mkfifo -m 640 etc/pipe
setfattr -n user.note -v hello etc/passwd; setfattr -n user.bin -v 0x00ff0a3d etc/passwd
cp bin/busybox bin/ping; setcap cap_net_raw+ep bin/ping
truncate -s 40M sparse; printf begin | dd of=sparse conv=notrunc status=none
printf middle | dd of=sparse bs=1M seek=20 conv=notrunc status=none
truncate -s 1T srv/huge; printf z | dd of=srv/huge bs=1M seek=900000 conv=notrunc status=none
touch -d '2019-05-09 21:50:05.123456789' etc/passwd etc/deep; touch -h -d 2001-02-03 etc/out
touch -d '1965-01-01' sticky; chmod 751 .
"""


@pytest.fixture(scope="module")
def odd(lab: LabHost) -> str:
    """A directory with odd files, on the lab host's plain disk."""
    lab.install_baleine()
    tree = f"{WORK}/odd"
    lab.sh(f"mkdir -p {tree} {IMAGES} /var/lib/baleine/manifeste/images")
    lab.sh(ODD.format(tree=tree, long="n" * 200))
    return tree


def test_a_directory_and_a_tar_of_it_give_the_same_complete_tree(lab: LabHost, odd: str) -> None:
    wanted = listing(lab, "", odd)
    assert len(wanted) > 25 and any("security.capability" in line for line in wanted)
    request = {"name": "odd", "source": f"dir:{odd}", "size": "128M"}
    predicted = lab.module("baleine_image", check=True, **request)
    done = lab.module("baleine_image", **request)
    assert predicted["changed"] and done["changed"] and done["diff"] == predicted["diff"]
    assert listing(lab, "odd") == wanted
    assert not lab.module("baleine_image", **request)["changed"]
    tar = "tar --create --xattrs --xattrs-include='*' --format=posix --sparse --numeric-owner"
    lab.sh(f"cd {WORK} && {tar} -C {odd} . | tee odd.tar | zstd -q >odd.tar.zst && gzip -k odd.tar && xz -0 -k odd.tar")
    for ending in ("", ".gz", ".xz", ".zst"):
        lab.module("baleine_image", name="packed", source=f"tar:{WORK}/odd.tar{ending}", size="128M")
        assert listing(lab, "packed") == wanted, ending
    lab.sh(f"rm {WORK}/odd.tar.*; mv {WORK}/odd.tar {WORK}/moved.tar")


def test_an_image_is_made_again_only_if_the_content_of_its_source_changed(lab: LabHost, odd: str) -> None:
    from_tar = {"name": "packed", "source": f"tar:{WORK}/moved.tar", "size": "128M", "rebuild": "on_change"}
    lab.module("baleine_image", **from_tar)
    lab.sh(f"cp {WORK}/moved.tar {WORK}/copy.tar; touch {WORK}/moved.tar")
    assert not lab.module("baleine_image", **from_tar)["changed"]
    assert not lab.module("baleine_image", **{**from_tar, "source": f"tar:{WORK}/copy.tar"})["changed"]
    from_dir = {"name": "odd", "source": f"dir:{odd}", "size": "128M"}
    assert not lab.module("baleine_image", **from_dir)["changed"]
    lab.sh(f"echo z >{odd}/etc/new")
    changed = lab.module("baleine_image", check=True, **from_dir)
    assert changed["changed"] and changed["actions"][0]["reason"].startswith("source sha256:")
    lab.sh(f"rm {odd}/etc/new; touch -d '2019-05-09 21:50:05' {odd}/etc")
    assert lab.module("baleine_image", **from_dir)["changed"]
    assert "there is no tar:/nowhere" in str(
        lab.module("baleine_image", check=True, name="not", source="tar:/nowhere")["warnings"]
    )
    refused = lab.module("baleine_image", name="not", source="tar:/nowhere", expect_failure=True)
    assert "there is no tar:/nowhere to start from" in refused["msg"]


def test_files_and_commands_are_applied_on_top_of_a_source(lab: LabHost, odd: str) -> None:
    lab.module(
        "baleine_image", name="top", source=f"dir:{odd}", size="128M", files=[{"path": "/etc/motd", "content": "hello"}],
        commands=["cat /etc/motd >/etc/said"],
    )  # fmt: skip
    assert lab.run(["debugfs", "-R", "cat /etc/said", f"{IMAGES}/top"]).stdout == "hello"
    for name in ("top", "packed", "odd"):
        lab.module("baleine_image", name=name, state="absent")


def test_a_round_trip_through_each_format_keeps_the_tree_unchanged(lab: LabHost, odd: str) -> None:
    lab.module("baleine_image", name="odd", source=f"dir:{odd}", size="128M")
    wanted = listing(lab, "odd")
    for kind in ("docker-archive", "oci-archive", "tar"):
        request = {"name": "odd", "target": f"{kind}:{WORK}/odd.{kind}"}
        predicted = lab.module("baleine_image_export", check=True, **request)
        assert predicted["changed"] and not lab.path(f"{WORK}/odd.{kind}").exists()
        done = lab.module("baleine_image_export", **request)
        assert done["changed"] and done["diff"] == predicted["diff"] and done["export"] == predicted["export"]
        assert not lab.module("baleine_image_export", **request)["changed"]
        lab.module("baleine_image", name="back", source=f"{kind}:{WORK}/odd.{kind}", size="128M")
        assert listing(lab, "back") == wanted, kind
        size = lab.path(f"{WORK}/odd.{kind}").stat().st_size
        assert size < 10 << 20  # a terabyte with a hole in it among them
        lab.sh(
            f"cp {WORK}/odd.{kind} {WORK}/kept; printf x | dd of={WORK}/odd.{kind} bs=1 seek=700 conv=notrunc status=none"
        )
        mended = lab.module("baleine_image_export", **request)
        assert mended["changed"] and "something else" in mended["actions"][0]["reason"]
        lab.sh(f"cmp {WORK}/odd.{kind} {WORK}/kept; rm {WORK}/kept")
    assert "odd.tar" not in lab.sh(f"ls -A {WORK}").stdout.replace("odd.tar\n", "")
    for name in ("odd", "back"):
        lab.module("baleine_image", name=name, state="absent")
    missing = lab.module("baleine_image_export", check=True, name="odd", target=f"tar:{WORK}/x")
    assert missing["changed"] and "there is none" in str(missing["warnings"])
    for target, words in (
        (f"dir:{WORK}/x", "is no target"),
        ("tar:x", "no absolute path"),
        (f"tar:{WORK}/x", "there is none"),
    ):
        refused = lab.module("baleine_image_export", name="odd", target=target, expect_failure=True)
        assert words in refused["msg"], refused["msg"]


def test_the_command_line_replaces_an_older_export_and_skips_an_identical_one(lab: LabHost, odd: str) -> None:
    lab.module("baleine_image", name="odd", source=f"dir:{odd}", size="128M")
    for kind in ("docker-archive", "oci-archive", "tar"):
        target = lab.path(f"{WORK}/again.{kind}")
        export = ["baleine", "image", "export", "-i", "odd", "--target", f"{kind}:{WORK}/again.{kind}"]
        target.write_bytes(b"something else")
        said = [lab.run(export).stderr]
        first = target.stat()
        assert first.st_size > 1 << 20
        said.append(lab.run(export).stderr)
        assert said == ["", ""] and target.stat().st_ino == first.st_ino, kind
        target.unlink()
    lab.module("baleine_image", name="odd", state="absent")


# Hostile archives


def tar_of(*members: tuple[str, dict[str, Any]], data: bytes = b"") -> bytes:
    """A tar archive of entries: name, attributes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, attributes in members:
            info = tarfile.TarInfo(name)
            content = attributes.get("data", data)
            for key, value in attributes.items():
                if key != "data":
                    setattr(info, key, value)
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def lying(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header that promises more than follows."""
    info = tarfile.TarInfo("lie")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 512 + bytes(1024)


def everywhere(words: str) -> bytes:
    """A header of pax for all entries that follow it."""
    info = tarfile.TarInfo("global")
    text = f"{len(words) + 4} {words}\n".encode()
    info.type, info.size = tarfile.XGLTYPE, len(text)
    return info.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512) + tar_of(GOOD)


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


Twist = Callable[[dict[str, Any]], Any]


def archive(
    *plain: bytes,
    pack: Callable[[bytes], bytes] = bytes,
    config: Twist = dict,
    main: Twist = dict,
    index: Twist = dict,
    saved: Twist = dict,
    spoil: Twist = dict,
) -> bytes:
    """An OCI layout with Docker's manifest.json, as a tar, of layers; each part can be twisted before it is written."""
    files: dict[str, bytes] = {}

    def blob(content: bytes, kind: str) -> dict[str, Any]:
        files[f"blobs/sha256/{digest(content)[7:]}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    layers = [blob(pack(layer), "layer.v1.tar") for layer in plain]
    rootfs = {"type": "layers", "diff_ids": [digest(layer) for layer in plain]}
    document = json.dumps(config({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})).encode()
    described = blob(document, "config.v1+json")
    manifest = json.dumps(main({"schemaVersion": 2, "config": described, "layers": layers})).encode()
    places = [f"blobs/sha256/{layer['digest'][7:]}" for layer in layers]
    entry = saved({"Config": f"blobs/sha256/{described['digest'][7:]}", "RepoTags": ["x:1"], "Layers": places})
    files["index.json"] = json.dumps(index({"manifests": [blob(manifest, "manifest.v1+json")]})).encode()
    files["manifest.json"] = json.dumps(entry if isinstance(entry, list) else [entry]).encode()
    files = spoil(files)
    return tar_of(*((name, {"data": content}) for name, content in files.items()))


def changed(part: str) -> Twist:
    """Change one byte of the blobs that hold a text."""

    def twist(files: dict[str, bytes]) -> dict[str, bytes]:
        return {
            name: bytes([content[0] ^ 1]) + content[1:] if part.encode() in content and name[:5] == "blobs" else content
            for name, content in files.items()
        }

    return twist


def nested(depth: int) -> Twist:
    """An index of an index of an index, in one archive without the blobs: the first of them is missed."""
    return lambda found: {"manifests": [{**found["manifests"][0], "digest": digest(b"%d" % depth)}]}


GOOD = ("good", {"data": b"good\n"})
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


@pytest.fixture(scope="module")
def refused(lab: LabHost, odd: str) -> dict[str, Any]:
    """What each hostile archive was told, and what it left, by its number."""
    folder = lab.path(f"{WORK}/hostile")
    folder.mkdir()
    for number, (kind, make, _words) in enumerate(HOSTILE.values()):
        (folder / f"{number:03}.{kind}").write_bytes(make())
    answers: dict[str, Any] = json.loads(
        lab.run(["python3", "-", f"{WORK}/hostile"], input=REFUSED, timeout=1800).stdout
    )
    return answers


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(refused: dict[str, Any], name: str) -> None:
    said, left = refused[f"{list(HOSTILE).index(name):03}"]
    assert said.startswith("BaleineError: image hostile: ") and HOSTILE[name][2] in said, said
    assert "bug" not in said and left == []


def test_a_failed_import_on_a_full_disk_leaves_nothing(lab: LabHost, odd: str) -> None:
    lab.sh(
        f"mkdir -p {WORK}/full {WORK}/much; mount -t tmpfs -o size=6m full {WORK}/full; head -c 20M /dev/urandom >{WORK}/much/x"
    )
    words = ["image", "import", "-i", "full", "--source", f"dir:{WORK}/much", "-s", "64M", "-r", f"{WORK}/full"]
    done = lab.run(["baleine", *words], check=False)
    assert done.returncode == 1 and "image full" in done.stderr and "bug" not in done.stderr
    assert lab.sh(f"ls -A {WORK}/full; losetup --list | grep full || true").stdout == ""
    lab.module("baleine_image", name="odd", source=f"dir:{odd}", size="128M")
    lab.sh(f"head -c 5M /dev/zero >{WORK}/full/fill")
    refused = lab.module("baleine_image_export", name="odd", target=f"tar:{WORK}/full/out.tar", expect_failure=True)
    assert "No space left" in refused["msg"]
    assert lab.sh(f"ls -A {WORK}/full; umount {WORK}/full").stdout == "fill\n"
    lab.module("baleine_image", name="odd", state="absent")


def test_a_source_that_is_not_a_file_is_refused_without_waiting(lab: LabHost, odd: str) -> None:
    lab.sh(f"mkfifo {WORK}/fifo")
    for source in ("tar", "docker-archive"):
        refused = lab.module("baleine_image", name="fifo", source=f"{source}:{WORK}/fifo", expect_failure=True)
        assert "no regular file" in refused["msg"]


def test_links_and_absolute_names_stay_inside_the_tree(lab: LabHost, odd: str) -> None:
    lab.write("/etc/victim", "mine")
    members = tar_of(
        ("/etc/absolute", {"data": b"in"}),
        ("out", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), ("out/victim", {"data": b"no"}),
        ("up", {"type": tarfile.SYMTYPE, "linkname": "../../../../../../../etc"}), ("up/climbed", {"data": b"no"}),
        ("etc/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/victim"}), ("etc/link", {"data": b"replaced"}),
        ("dev/sda", {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0, "mode": 0o666}),
        ("dir", {"type": tarfile.DIRTYPE, "mode": 0o755}), ("dir/x", {}), ("dir", {"data": b"a file now"}),
    )  # fmt: skip
    lab.path(f"{WORK}/links.tar").write_bytes(members)
    lab.module("baleine_image", name="links", source=f"tar:{WORK}/links.tar", size="32M")
    assert lab.read("/etc/victim") == "mine" and not lab.path("/etc/climbed").exists()
    found = {line.split()[0]: line.split()[1:] for line in listing(lab, "links")}
    assert {"etc/absolute", "etc/victim", "etc/climbed", "etc/link", "dev/sda", "dir"} <= set(found)
    assert found["etc/link"][3] == "8" and found["dir"][3] == "10" and "dir/x" not in found
    lab.module("baleine_image", name="links", state="absent")


def test_links_of_lower_layers_stay_inside_the_tree(lab: LabHost, odd: str) -> None:
    lab.write("/etc/victim", "mine")
    lower = tar_of(
        ("out", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), ("etc", {"type": tarfile.DIRTYPE, "mode": 0o755}),
        ("etc/victim", {"data": b"theirs"}), ("etc/stays", {}), ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/victim"}),
        ("full/a", {}), ("full/b/c", {}), ("same/x", {}), (".wh.none", {}),
    )  # fmt: skip
    upper = tar_of(
        ("out/.wh.victim", {}), ("link", {"data": b"a file now"}), ("full/new", {}), ("full/.wh..wh..opq", {}),
        ("full/b/d", {}), ("same/x", {"data": b"new"}), ("same/.wh.x", {}),
    )  # fmt: skip
    lab.path(f"{WORK}/layers.tar").write_bytes(archive(lower, upper, pack=gzip.compress))
    lab.module(
        "baleine_image", name="layers", source=f"oci-archive:{WORK}/layers.tar:x:1", size="32M", expect_failure=True
    )
    lab.module("baleine_image", name="layers", source=f"docker-archive:{WORK}/layers.tar:x:1", size="32M")
    assert lab.read("/etc/victim") == "mine"
    found = {line.split()[0]: line.split()[1:] for line in listing(lab, "layers")}
    inside = {name for name in found if name.startswith(("etc", "full", "same", "link"))}
    assert inside == {"etc", "etc/stays", "full", "full/new", "full/b", "full/b/d", "same", "same/x", "link"}
    assert found["link"][3] == "10" and found["same/x"][3] == "3"
    lab.module("baleine_image", name="layers", state="absent")


#: What an image can say of how it is run -> what its program prints. Its tree has a busybox and nothing else.
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "variables with line ends, more than one sign, none, and no name": (
        {"Env": ["A=1\n2", "B=x=y=", "C=", "NOTHING", "=none", "my.odd-one=1", "PATH=/bin"], "Cmd": ["/bin/env"]},
        "PATH=/bin\nA=1\n2\nB=x=y=\nC=\nmy.odd-one=1\ncontainer=baleine\nHOME=/\n",
    ),
    "a working directory that is not there": (
        {"WorkingDir": "/not/there/../yet/", "Cmd": ["/bin/sh", "-c", "pwd"]}, "/not/yet\n"
    ),
    "a program beside the working directory": ({"WorkingDir": "/bin", "Entrypoint": ["./echo"], "Cmd": ["a  b", "$HOME", ""]}, "a  b $HOME \n"),
    "numbers that have no names": ({"User": "4711:4712", "Cmd": ["/bin/id"]}, "uid=4711 gid=4712\n"),
    "a signal that has no name": ({"StopSignal": "SIGRTMIN+3", "Cmd": ["/bin/echo", "x"]}, "x\n"),
    "a signal that there is not": ({"StopSignal": "SIGNONE", "Cmd": ["/bin/echo", "x"]}, "x\n"),
    "a signal that PID 1 is not told": ({"StopSignal": "SIGPWR", "Cmd": ["/bin/echo", "x"]}, "x\n"),
    "nothing but null": (
        {**dict.fromkeys(("Entrypoint", "Env", "User", "WorkingDir", "Labels", "ExposedPorts", "StopSignal")), "Cmd": ["/bin/echo", "x"]},
        "x\n",
    ),
}  # fmt: skip


def small(lab: LabHost) -> bytes:
    """A layer with a busybox."""
    links = [(f"bin/{name}", {"type": tarfile.SYMTYPE, "linkname": "busybox"}) for name in ("sh", "env", "echo", "id")]
    folders = [(name, {"type": tarfile.DIRTYPE, "mode": 0o755}) for name in ("bin", "etc", "dev", "proc", "sys", "tmp")]
    return tar_of(*folders, ("bin/busybox", {"data": lab.path("/bin/busybox").read_bytes(), "mode": 0o755}), *links)


@pytest.mark.parametrize("name", SAID)
def test_an_image_runs_as_its_unusual_configuration_says(lab: LabHost, odd: str, name: str) -> None:
    config, said = SAID[name]
    nothing = (b"", bytes(1024))  # layers of commands that changed nothing, as engines and builders write them
    twisted = archive(small(lab), *nothing, config=lambda found: {**found, "config": config})
    lab.path(f"{WORK}/said.tar").write_bytes(twisted)
    for kind in ("docker-archive", "oci-archive"):
        lab.module("baleine_image", name="said", source=f"{kind}:{WORK}/said.tar", size="32M", state="present")
        done = lab.run(["baleine", "container", "run", "--rm", "-i", "said"])
        printed = [
            line for line in done.stdout.splitlines() if not line.startswith(("PWD=", "SHLVL="))
        ]  # of PID 1, a shell
        assert sorted(printed) == sorted(said.splitlines()) and done.stderr == ""
        lab.module("baleine_image", name="said", state="absent")


def test_a_container_is_stopped_by_the_real_time_signal_of_its_image(lab: LabHost, odd: str) -> None:
    script = "trap 'exit 7' 37; echo up >/tmp/up; while :; do sleep 0.1; done"
    config = {"StopSignal": "SIGRTMIN+3", "Cmd": ["/bin/busybox", "sh", "-c", script]}
    twisted = archive(small(lab), config=lambda found: {**found, "config": config})
    lab.path(f"{WORK}/signal.tar").write_bytes(twisted)
    lab.module("baleine_image", name="signal", source=f"docker-archive:{WORK}/signal.tar", size="32M")
    for number, init in enumerate((True, False)):
        request = {"name": f"signal{number}", "image": "signal", "init": init, "stop_timeout": 60}
        facts = lab.module("baleine_container", **request)["container"]
        assert facts["stop_signal"] == "RTMIN+3" and not lab.module("baleine_container", **request)["changed"]
        up = ["baleine", "container", "exec", "-c", request["name"], "--", "/bin/busybox", "test", "-e", "/tmp/up"]
        assert wait_for(lambda up=up: lab.run(up, check=False).returncode == 0)
        lab.run(["baleine", "container", "stop", "-c", request["name"]])
        shown = json.loads(lab.run(["baleine", "container", "inspect", request["name"], "--format", "json"]).stdout)[0]
        assert shown["exit_code"] == (7 if init else None), shown
        lab.module("baleine_container", name=request["name"], state="absent")
    lab.module("baleine_image", name="signal", state="absent")
