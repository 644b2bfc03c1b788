# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a web server over HTTPS, signed with real keys: the round trip, and everything that may be wrong with it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.host import LabHost
from tests.lab.run import wait_for
from tests.lab.website import AUTHORITY, Website

SITE = "/srv/site"
IMAGES = "/var/lib/baleine/images"
TRUST = "/etc/baleine/trust"
KEY = ["--key", "ours@example.test"]


@pytest.fixture(scope="module")
def keys(lab: LabHost) -> LabHost:
    """Two keys of GnuPG, ours and another's, in the host's own folder; /srv/NAME.asc are their public halves."""
    for name in ("ours", "other"):
        lab.sh(
            f"gpg -q --batch --passphrase '' --quick-gen-key '{name} <{name}@example.test>' ed25519 sign never;"
            f"gpg -q --armor --export {name}@example.test > /srv/{name}.asc"
        )
    lab.sh("gpgconf --kill gpg-agent")
    return lab


@pytest.fixture(scope="module")
def site(lab: LabHost, keys: LabHost, tiny: str, baleine: Any) -> Iterator[Website]:
    """A web server with the tiny image as `tiny`, version 1, signed by our key, which is trusted for it."""
    website = Website(lab, SITE)
    baleine("image", "publish", "-i", "tiny", "--directory", SITE, "--version", "1", *KEY)
    baleine("image", "trust", "--prefix", "tiny", "--key", "/srv/ours.asc")
    lab.sh(f"cp -a {SITE} /srv/good")
    yield website
    website.stop()


@pytest.fixture
def fresh(lab: LabHost, site: Website, baleine: Any) -> Iterator[Website]:
    """The web server with what was published at first, and no imported image but the published one."""
    lab.sh(f"cp -a /srv/good/. {SITE}/")
    site.misbehave()
    yield site
    for name in baleine("image", "list", "-q").stdout.split():
        if name != "tiny":
            baleine("image", "remove", name)
    lab.sh(f"rm -f {IMAGES}/.*.part.*")


def fetch(lab: LabHost, site: Website, name: str = "tiny", **options: Any) -> dict[str, Any]:
    """Run the module with the published image as its source."""
    source = f"{site.url}/{name}.image"
    return lab.module("baleine_image", **{"name": "copy", "source": source, "ca_certificate": AUTHORITY, **options})


def described(lab: LabHost, name: str = "tiny") -> dict[str, str]:
    lines = lab.read(f"{SITE}/{name}.image").splitlines()
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)}


def describe(lab: LabHost, key: str = "ours", name: str = "tiny", **changes: str) -> None:
    """Change what a description says, and sign it anew: what only who has the key can do."""
    said = {**described(lab, name), **changes}
    lab.write(f"{SITE}/{name}.image", "".join(f"{word}: {value}\n" for word, value in said.items()))
    sign(lab, key, name)


def sign(lab: LabHost, key: str, name: str = "tiny") -> None:
    words = f"gpg -q --batch --yes -u {key}@example.test -o {name}.image.sig --detach-sign {name}.image"
    lab.sh(f"cd {SITE} && {words}; gpgconf --kill gpg-agent")


def left(lab: LabHost) -> list[str]:
    """What is in Baleine's folders beside the published image."""
    found = lab.sh("find /var/lib/baleine /mnt/baleine-images -mindepth 1 ! -type d 2>/dev/null || true").stdout.split()
    return [path for path in found if path.rpartition("/")[2] not in ("tiny", "tiny.manifest")]


def refused(lab: LabHost, site: Website, words: str, **options: Any) -> str:
    """See that the image is refused with these words and that nothing is left; returns the message."""
    result = fetch(lab, site, expect_failure=True, **options)
    assert words in result["msg"]
    assert left(lab) == []
    return str(result["msg"])


def test_a_published_image_can_be_unpacked_with_standard_tools(lab: LabHost, site: Website) -> None:
    listed = lab.sh(f"cd {SITE}; stat -c '%n %a' *").stdout.split()
    assert listed == ["tiny-1.tar.zst", "644", "tiny.image", "644", "tiny.image.sig", "644"]
    lab.sh(
        f"cd {SITE}; gpg -q --verify tiny.image.sig tiny.image; mkdir /srv/by-hand;"
        f"tar --zstd -xSf tiny-1.tar.zst -C /srv/by-hand; cmp /srv/by-hand/tiny {IMAGES}/tiny"
    )
    said = described(lab)
    assert (said["name"], said["version"], said["size"], said["file"]) == ("tiny", "1", str(64 << 20), "tiny-1.tar.zst")
    assert wait_for(lambda: not lab.sh("pgrep -x gpg-agent || true").stdout)


def test_a_published_image_is_fetched_once_with_the_same_content(lab: LabHost, fresh: Website, baleine: Any) -> None:
    predicted = fetch(lab, fresh, check=True)
    done = fetch(lab, fresh)
    assert predicted["changed"] and predicted["diff"] == done["diff"]
    assert done["image"]["digest"] == described(lab)["digest"] and done["image"]["size"] == 64 << 20
    assert lab.run(["cmp", f"{IMAGES}/copy", f"{IMAGES}/tiny"]).returncode == 0
    assert (done["image"]["version"], done["image"]["architecture"]) == ("1", "amd64")
    fingerprint = lab.sh(
        "gpg --with-colons --list-keys ours@example.test | sed -n 's/^fpr:*\\([0-9A-F]*\\):/\\1/p' | head -1"
    ).stdout
    assert done["image"]["signed_by"] == fingerprint.strip()
    fresh.misbehave()
    assert not fetch(lab, fresh)["changed"]
    assert [entry[0] for entry in fresh.log()] == ["/tiny.image", "/tiny.image.sig"]
    done = lab.module("baleine_container", name="c", image="copy", command=["cat", "/www/index.html"], state="started")
    baleine("container", "remove", "c")
    assert left(lab) == [f"{IMAGES}/copy", "/var/lib/baleine/manifeste/images/copy.manifest"]


def test_the_command_line_imports_and_prints_progress_only_to_a_terminal(
    lab: LabHost, fresh: Website, baleine: Any
) -> None:
    words = ["image", "import", "-i", "copy", "--source", f"{fresh.url}/tiny.image", "--ca-certificate", AUTHORITY]
    quiet = baleine(*words)
    assert quiet.stderr == ""
    assert "exists already" in baleine(*words, check=False).stderr
    baleine("image", "remove", "copy")
    seen = lab.run(["script", "-qec", " ".join(["baleine", *words]), "/dev/null"])
    assert "100 %" in seen.stdout


def test_a_name_is_verified_with_the_keys_of_its_longest_prefix(lab: LabHost, fresh: Website, baleine: Any) -> None:
    baleine("image", "tag", "-i", "tiny", "--target", "tiny-web:7")
    config = '{"cmd": ["cat", "/www/index.html"], "env": {"A": "é: ,"}}'
    lab.sh(f"echo 'config: {config}' >> /var/lib/baleine/manifeste/images/tiny-web:7.manifest")
    baleine("image", "publish", "-i", "tiny-web:7", "--directory", SITE, *KEY)
    assert described(lab, "tiny-web")["version"] == "7"
    taken = fetch(lab, fresh, "tiny-web")["image"]
    assert taken["version"] == "7" and taken["config"] == json.loads(config)
    lab.module("baleine_image", name="copy", state="absent")
    baleine("image", "remove", "tiny-web:7")
    baleine("image", "trust", "--prefix", "tiny-web", "--key", "/srv/other.asc")
    assert baleine("image", "trust").stdout.split()[2:] == [
        "tiny-web",
        f"{TRUST}/tiny-web.gpg",
        "tiny",
        f"{TRUST}/tiny.gpg",
    ]
    refused(lab, fresh, "No public key", source=f"{fresh.url}/tiny-web.image")
    baleine("image", "trust", "--prefix", "tiny-web", "--remove")
    assert "no key is trusted for it" in baleine("image", "trust", "--prefix", "x", "--remove", check=False).stderr
    lab.sh(f"cd {SITE}; for end in image image.sig; do cp tiny.$end strange.$end; done")
    refused(lab, fresh, "no key is trusted for images named strange", source=f"{fresh.url}/strange.image")


def test_a_tampered_file_description_or_signature_and_a_wrong_key_are_refused(lab: LabHost, fresh: Website) -> None:
    flip = "printf x | dd of={} bs=1 seek={} conv=notrunc status=none"
    for file, place, words in (
        ("tiny-1.tar.zst", 5000, "not the file that its description promises"),
        ("tiny.image", 40, "BAD signature"),
        ("tiny.image.sig", 100, "the signature is not good"),
    ):
        lab.sh(f"cp -a /srv/good/. {SITE}/; cd {SITE}; {flip.format(file, place)}")
        refused(lab, fresh, words)
    lab.sh(f"cp -a /srv/good/. {SITE}/")
    sign(lab, "other")
    refused(lab, fresh, "No public key")
    lab.sh(f"rm {SITE}/tiny.image.sig")
    message = refused(lab, fresh, "its signature: ")
    assert "404" in message and "unsigned: true" in message
    assert fetch(lab, fresh, unsigned=True)["image"]["signed_by"] == ""


def test_a_key_that_has_expired_or_was_revoked_signs_nothing(lab: LabHost, fresh: Website, baleine: Any) -> None:
    past = "gpg -q --batch --yes --faked-system-time 20240101T000000"
    lab.sh(
        f"{past} --passphrase '' --quick-gen-key 'past <past@example.test>' ed25519 sign 1d;"
        f"cd {SITE}; {past} -u past@example.test -o tiny.image.sig --detach-sign tiny.image;"
        "gpg -q --export past@example.test > /srv/past.gpg; gpgconf --kill gpg-agent"
    )
    baleine("image", "trust", "--prefix", "tiny", "--key", "/srv/past.gpg")
    refused(lab, fresh, "its key has expired or was revoked")
    lab.sh(
        f"cp -a /srv/good/. {SITE}/; export GNUPGHOME=/srv/revoked; mkdir -m 700 $GNUPGHOME; gpg -q --import /srv/ours.asc;"
        "key=$(gpg --with-colons --list-keys ours@example.test | sed -n 's/^fpr:*\\([0-9A-F]*\\):/\\1/p' | head -1);"
        "sed 's/^:---/---/' /root/.gnupg/openpgp-revocs.d/$key.rev | gpg -q --import;"
        "gpg -q --export ours@example.test > /srv/revoked.gpg; gpgconf --kill gpg-agent"
    )
    baleine("image", "trust", "--prefix", "tiny", "--key", "/srv/revoked.gpg")
    refused(lab, fresh, "its key has expired or was revoked")
    baleine("image", "trust", "--prefix", "tiny", "--key", "/srv/ours.asc")


def test_a_signed_image_is_not_accepted_under_another_name(lab: LabHost, fresh: Website, baleine: Any) -> None:
    baleine("image", "tag", "-i", "tiny", "--target", "tiny.evil")
    baleine("image", "publish", "-i", "tiny.evil", "--directory", SITE, *KEY)
    baleine("image", "remove", "tiny.evil")
    lab.sh(f"cd {SITE}; for end in image image.sig; do cp tiny.evil.$end tiny.$end; done")
    refused(lab, fresh, "it describes the image 'tiny.evil', not tiny")


def test_a_false_description_is_refused_even_with_a_valid_signature(lab: LabHost, fresh: Website) -> None:
    for changes, words in (
        ({"size": str(32 << 20)}, "there is no file of"),
        ({"size": str(1 << 43)}, "there is no file of"),
        ({"digest": "sha256:" + "0" * 64}, "its content is not what its description says"),
        ({"file_size": "5000"}, "larger than the 5000 bytes"),
        ({"file_size": str(1 << 43)}, "there is no room for its"),
        ({"file_sha256": "0" * 64}, "not the file that its description promises"),
    ):
        lab.sh(f"cp -a /srv/good/. {SITE}/")
        describe(lab, **changes)
        refused(lab, fresh, words)


def test_a_decompression_bomb_and_a_file_without_ext4_are_refused(lab: LabHost, fresh: Website) -> None:
    lab.sh(f"""cd {SITE}; rm tiny-1.tar.zst; truncate -s 64M tiny
        tar -cf - tiny | (cat; head -c 512M /dev/zero) | zstd -q -o tiny-1.tar.zst; rm tiny""")
    size, digest = lab.sh(f"cd {SITE}; stat -c %s tiny-1.tar.zst; sha256sum < tiny-1.tar.zst").stdout.split()[:2]
    describe(lab, file_size=size, file_sha256=digest)
    refused(lab, fresh, "its content is not what its description says")
    lab.sh(f"""cd {SITE}; rm tiny-1.tar.zst; head -c 16M /dev/zero | tr '\\0' x > tiny
        tar --zstd -cf tiny-1.tar.zst tiny; python3 -IS -c "
import sys; sys.path.insert(0, '/usr/local/lib/baleine')
from baleine import disk; print(disk.digest('tiny'))" > /srv/digest; rm tiny""")
    size, digest = lab.sh(f"cd {SITE}; stat -c %s tiny-1.tar.zst; sha256sum < tiny-1.tar.zst").stdout.split()[:2]
    describe(lab, file_size=size, file_sha256=digest, digest=lab.read("/srv/digest").strip(), size=str(16 << 20))
    refused(lab, fresh, "no ext4 filesystem")


def test_an_interrupted_download_continues_at_once_or_in_the_next_run(
    lab: LabHost, fresh: Website, baleine: Any
) -> None:
    whole = int(described(lab)["file_size"])
    fresh.misbehave(cut=whole // 4, cuts=2)
    assert fetch(lab, fresh)["changed"]
    parts = [(first, given) for path, _status, first, given in fresh.log() if path.endswith(".zst")]
    assert [first for first, _given in parts] == [0, whole // 4, whole // 4 * 2]
    assert sum(given for _first, given in parts) == whole
    lab.module("baleine_image", name="copy", state="absent")
    fresh.misbehave(cut=whole // 2, cuts=1, status={})
    lab.sh(f"cd {SITE}; mv tiny-1.tar.zst aside; head -c {whole // 2} aside > tiny-1.tar.zst")
    broken = fetch(lab, fresh, expect_failure=True)
    assert "have come and are kept" in broken["msg"] and "it goes on from there" in broken["msg"]
    assert lab.sh(f"stat -c %s {IMAGES}/.copy.part.*").stdout.strip() == str(whole // 2)
    lab.sh(f"cd {SITE}; mv aside tiny-1.tar.zst")
    fresh.misbehave()
    assert fetch(lab, fresh)["changed"]
    assert [line[1:] for line in fresh.log() if line[0].endswith(".zst")] == [(206, whole // 2, whole - whole // 2)]
    assert left(lab) == [f"{IMAGES}/copy", "/var/lib/baleine/manifeste/images/copy.manifest"]


def test_a_killed_download_leaves_no_image_and_continues_later(lab: LabHost, fresh: Website, baleine: Any) -> None:
    whole = int(described(lab)["file_size"])
    fresh.misbehave(cut=whole // 2, hangs=True)
    words = ["image", "import", "-i", "copy", "--source", f"{fresh.url}/tiny.image", "--ca-certificate", AUTHORITY]
    process = lab.popen(["baleine", *words])
    arrived = f"test $(cat {IMAGES}/.copy.part.* 2>/dev/null | wc -c) = {whole // 2}"
    assert wait_for(lambda: lab.sh(f"{arrived} && echo all || true").stdout, interval=0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert baleine("image", "list", "-q").stdout.split() == ["tiny"]
    fresh.misbehave()
    assert fetch(lab, fresh)["changed"]
    assert [line[1:3] for line in fresh.log() if line[0].endswith(".zst")] == [(206, whole // 2)]


def test_an_image_that_cannot_be_published_is_refused_and_leaves_nothing(
    lab: LabHost, fresh: Website, baleine: Any
) -> None:
    before = lab.sh(f"cd {SITE}; ls -A; sha256sum tiny*").stdout
    for words, why in (
        (["-i", "nosuch"], "image nosuch: there is none"),
        (["-i", "tiny", "--version", "a/b"], "is no version"),
        (["-i", "tiny", "--key", "nobody@example.test"], "signing its description: gpg says"),
    ):
        assert why in baleine("image", "publish", "--directory", SITE, *words, check=False).stderr
        assert lab.sh(f"cd {SITE}; ls -A; sha256sum tiny*").stdout == before
    lab.sh("mkdir -p /srv/full; mount -t tmpfs -o size=500k full /srv/full")
    assert "compressing it" in baleine("image", "publish", "-i", "tiny", "--directory", "/srv/full", check=False).stderr
    assert lab.sh("ls -A /srv/full; umount /srv/full; rmdir /srv/full").stdout == ""


def test_parts_of_an_interrupted_download_are_removed_with_the_image(
    lab: LabHost, fresh: Website, baleine: Any
) -> None:
    lab.sh(f"cd {SITE}; truncate -s 9000 tiny-1.tar.zst")
    assert "are kept" in fetch(lab, fresh, expect_failure=True)["msg"]
    assert any(".part." in path for path in left(lab))
    assert lab.module("baleine_image", name="copy", state="absent")["changed"]
    assert left(lab) == []


def test_servers_without_ranges_with_wrong_answers_or_bad_redirects_are_handled(lab: LabHost, fresh: Website) -> None:
    whole = int(described(lab)["file_size"])
    fresh.misbehave(cut=whole // 4, cuts=1, no_ranges=True)
    assert fetch(lab, fresh)["changed"]
    lab.module("baleine_image", name="copy", state="absent")
    fresh.misbehave(cut=whole // 4, cuts=1, wrong_range=True)
    refused(lab, fresh, "another part of it than was asked for")
    fresh.misbehave(endless="/tiny.image")
    refused(lab, fresh, "this is larger than")
    fresh.misbehave(endless="/tiny-1.tar.zst")
    refused(lab, fresh, "larger than the")
    fresh.misbehave(redirect={"/tiny.image": "http://localhost/tiny.image"})
    refused(lab, fresh, "Only HTTPS is followed")
    fresh.misbehave(redirect={"/tiny.image": "/tiny.image"})
    refused(lab, fresh, "redirect")
    fresh.misbehave(redirect={"/tiny-1.tar.zst": f"{fresh.url}/elsewhere.tar.zst"})
    lab.sh(f"cd {SITE}; mv tiny-1.tar.zst elsewhere.tar.zst")
    assert fetch(lab, fresh)["changed"]


def test_an_untrusted_certificate_and_plain_http_are_refused(lab: LabHost, fresh: Website) -> None:
    refused(lab, fresh, "certificate verify failed", ca_certificate="")
    refused(lab, fresh, "is neither a source nor a target", source="http://localhost/tiny.image")
    refused(lab, fresh, "no plain URL", source="https://me:secret@localhost/tiny.image")
    refused(lab, fresh, "certificates /srv/nothing", ca_certificate="/srv/nothing")
    refused(lab, fresh, "certificates /srv/ours.asc", ca_certificate="/srv/ours.asc")


def test_a_full_disk_leaves_nothing(lab: LabHost, fresh: Website) -> None:
    whole = int(described(lab)["file_size"])
    for room in (whole // 2, whole + 200000):
        lab.sh(f"mount -t tmpfs -o size={room} full {IMAGES}")
        try:
            refused(lab, fresh, "oom")
        finally:
            lab.sh(f"umount {IMAGES}")


def test_a_newer_image_is_fetched_and_an_older_one_only_if_the_task_asks_for_it(lab: LabHost, fresh: Website) -> None:
    describe(lab, created="2026-01-02T00:00:00Z", version="2")
    assert fetch(lab, fresh)["image"]["version"] == "2"
    describe(lab, created="2026-01-03T00:00:00Z", version="3")
    predicted = fetch(lab, fresh, check=True)
    assert predicted["changed"] and "source" in predicted["actions"][0]["reason"]
    assert fetch(lab, fresh)["image"]["version"] == "3"
    describe(lab, created="2026-01-02T00:00:00Z", version="2")
    result = fetch(lab, fresh, expect_failure=True)
    assert "older" in result["msg"] and "rebuild: always" in result["msg"]
    assert not fetch(lab, fresh, rebuild="never")["changed"]
    assert fetch(lab, fresh, rebuild="always")["image"]["version"] == "2"


def test_an_image_stays_when_its_server_is_away(lab: LabHost, fresh: Website) -> None:
    fetch(lab, fresh)
    fresh.misbehave(status={"/tiny.image": 503})
    result = fetch(lab, fresh)
    assert not result["changed"] and "503" in str(result["warnings"]) and "it is kept" in str(result["warnings"])
    assert "503" in fetch(lab, fresh, rebuild="always", expect_failure=True)["msg"]
    fresh.misbehave()
    assert not fetch(lab, fresh, rebuild="never")["changed"]
    assert fresh.log() == []
    assert "503" not in str(fetch(lab, fresh))


def test_files_and_commands_are_applied_on_top_of_a_fetched_image(lab: LabHost, fresh: Website) -> None:
    request = {"size": "96M", "files": [{"path": "/mine", "content": "mine\n"}]}
    done = fetch(lab, fresh, **request)
    assert done["image"]["size"] == 96 << 20 and not fetch(lab, fresh, **request)["changed"]
    assert lab.run(["debugfs", "-R", "cat /mine", f"{IMAGES}/copy"]).stdout == "mine\n"
    lab.module("baleine_image", name="copy", state="absent")
    assert "smaller than" in fetch(lab, fresh, size="32M", expect_failure=True)["msg"]
