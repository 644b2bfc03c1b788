# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of tar archives and directories, and exports: everything that is in them comes through."""

from __future__ import annotations

import pytest

from tests.integration.archives import WORK
from tests.integration.listing import IMAGES, listing
from tests.lab.host import LabHost

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
        assert predicted["changed"]
        assert not lab.path(f"{WORK}/odd.{kind}").exists()
        done = lab.module("baleine_image_export", **request)
        change = ("changed", "diff", "export")
        assert {key: done[key] for key in change} == {key: predicted[key] for key in change}
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


def test_an_export_of_a_missing_image_or_to_an_invalid_target_is_refused(lab: LabHost, odd: str) -> None:
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
