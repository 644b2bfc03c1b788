# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of tar archives and directories: everything that is in them, and what of them is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.listing import IMAGES, listing
from tests.lab.host import LabHost

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


def test_a_directory_and_a_tar_of_it_give_the_same_tree_with_all_that_is_in_it(lab: LabHost, odd: str) -> None:
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


def test_an_image_is_made_anew_when_its_source_holds_something_else_and_only_then(lab: LabHost, odd: str) -> None:
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


def test_files_and_commands_come_on_top_of_a_source(lab: LabHost, odd: str) -> None:
    lab.module(
        "baleine_image", name="top", source=f"dir:{odd}", size="128M", files=[{"path": "/etc/motd", "content": "hello"}],
        commands=["cat /etc/motd >/etc/said"],
    )  # fmt: skip
    assert lab.run(["debugfs", "-R", "cat /etc/said", f"{IMAGES}/top"]).stdout == "hello"
    for name in ("top", "packed", "odd"):
        lab.module("baleine_image", name=name, state="absent")


def test_a_round_trip_through_each_form_changes_nothing_in_the_tree(lab: LabHost, odd: str) -> None:
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


GOOD = ("good", {"data": b"good\n"})
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "climbs": (lambda: tar_of(GOOD, ("a/../../etc/climbed", {})), "leads out of its directory"),
    "hard link that climbs": (
        lambda: tar_of(("x", {"type": tarfile.LNKTYPE, "linkname": "../../etc/passwd"})),
        "leads out of its directory",
    ),
    "hard link to the host": (
        lambda: tar_of(("x", {"type": tarfile.LNKTYPE, "linkname": "/etc/hostname"})), "No such file"
    ),
    "no archive": (lambda: b"this is no archive" * 1000, "no whole tar archive"),
    "nothing": (lambda: b"", "no whole tar archive"),
    "cut short in a file": (lambda: tar_of(GOOD, ("big", {"data": b"x" * 100000}))[:50000], "no whole tar archive"),
    "cut short in a header": (lambda: tar_of(GOOD, GOOD)[:1200], "no whole tar archive"),
    "cut short between two": (lambda: tar_of(GOOD)[:1024], "no whole tar archive"),
    "rubbish after the first": (lambda: tar_of(GOOD)[:1024] + b"rubbish!" * 1000, "no whole tar archive"),
    "promises a terabyte": (lambda: lying(1 << 40), "no whole tar archive"),
    "promises a header of a terabyte": (lambda: lying(1 << 40, tarfile.XHDTYPE), "no whole tar archive"),
    "negative size": (lambda: lying(-512), "Invalid argument"),
    "time that is none": (lambda: tar_of(("x", {"pax_headers": {"mtime": "1e400000000"}})), "no whole tar archive"),
    "attribute that is none": (lambda: tar_of(("x", {"pax_headers": {"SCHILY.xattr.nonsense": "1"}})), "'x': "),
    "kind that is none": (lambda: tar_of(("x", {"type": b"Z"})), "kind that is not known"),
    "name too long": (lambda: tar_of(("n" * 300, {})), "File name too long"),
    "more than the image": (lambda: tar_of(("big", {"data": b"x" * (40 << 20)})), "larger size"),
    "a bomb of zeros": (lambda: __import__("gzip").compress(tar_of(("big", {"data": bytes(40 << 20)}))), "larger size"),
    "more entries than files": (
        lambda: __import__("gzip").compress(tar_of(*[(f"d/{n}", {"type": tarfile.LNKTYPE, "linkname": "no"}) for n in range(3)])),
        "No such file",
    ),
    "torn gzip": (lambda: __import__("gzip").compress(tar_of(GOOD))[:-6], "cannot be unpacked"),
    "gzip with a wrong sum": (lambda: __import__("gzip").compress(tar_of(GOOD))[:-8] + bytes(8), "cannot be unpacked"),
    "torn xz": (lambda: __import__("lzma").compress(tar_of(GOOD))[:-20], "cannot be unpacked"),
    "no zstd": (lambda: b"\x28\xb5\x2f\xfd" + b"rubbish" * 1000, "zstd"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    lab: LabHost, odd: str, make: Callable[[], bytes], words: str
) -> None:
    before = lab.sh("find /var/lib/baleine /etc /mnt | sort; losetup --list | grep hostile || true").stdout
    lab.path(f"{WORK}/hostile.tar").write_bytes(make())
    refused = lab.module(
        "baleine_image", name="hostile", source=f"tar:{WORK}/hostile.tar", size="32M", expect_failure=True
    )
    assert words in refused["msg"] and "image hostile" in refused["msg"] and "bug" not in refused["msg"], refused["msg"]
    assert lab.sh("find /var/lib/baleine /etc /mnt | sort; losetup --list | grep hostile || true").stdout == before


def test_links_and_absolute_names_stay_inside_the_tree(lab: LabHost, odd: str) -> None:
    lab.write("/etc/victim", "mine")
    archive = tar_of(
        ("/etc/absolute", {"data": b"in"}),
        ("out", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), ("out/victim", {"data": b"no"}),
        ("up", {"type": tarfile.SYMTYPE, "linkname": "../../../../../../../etc"}), ("up/climbed", {"data": b"no"}),
        ("etc/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/victim"}), ("etc/link", {"data": b"replaced"}),
        ("dev/sda", {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0, "mode": 0o666}),
        ("dir", {"type": tarfile.DIRTYPE, "mode": 0o755}), ("dir/x", {}), ("dir", {"data": b"a file now"}),
    )  # fmt: skip
    lab.path(f"{WORK}/links.tar").write_bytes(archive)
    lab.module("baleine_image", name="links", source=f"tar:{WORK}/links.tar", size="32M")
    assert lab.read("/etc/victim") == "mine" and not lab.path("/etc/climbed").exists()
    found = {line.split()[0]: line.split()[1:] for line in listing(lab, "links")}
    assert {"etc/absolute", "etc/victim", "etc/climbed", "etc/link", "dev/sda", "dir"} <= set(found)
    assert found["etc/link"][3] == "8" and found["dir"][3] == "10" and "dir/x" not in found
    lab.module("baleine_image", name="links", state="absent")
