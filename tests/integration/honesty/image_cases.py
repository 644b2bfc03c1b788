# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of an image, of its export, and what is done with it."""

from __future__ import annotations

from typing import Any

from tests.lab import debs, rpms

from .case import EVERYWHERE, Case, Lacking

NO_IMAGE = {"from_image": None}
#: A tree of the suites that tests/lab/debs.py makes, and one of the repository of tests/lab/rpms.py.
SMALL = {**NO_IMAGE, "suite": debs.SMALL, "mirror": debs.SMALL_MIRROR, "keyring": debs.SMALL_KEYRING}
REPOSITORY = {"name": "lab", "baseurl": "file:///srv/rpm/$releasever", "gpgkey": rpms.KEY}
RED = {**NO_IMAGE, "packages": ["bash"], "releasever": "9", "size": "256M", "repositories": [REPOSITORY]}


def repository(**more: str) -> dict[str, Any]:
    return {"repositories": [{**REPOSITORY, **more}]}


FILES = [{"path": "/srv/one", "content": "thunder one"}, {"path": "/srv/two", "content": "thunder two", "mode": "0600"}]

IMAGE: dict[str, Case] = {
    "name": EVERYWHERE,
    "name#latest": Case({"name": "{name}:latest"}, does="nothing"),
    "state": EVERYWHERE,
    "size": Case({"size": "96M"}, ({"size": 96}, {"size": "96MiB"}, {"size": "98304k"})),
    "suite": Case({"suite": debs.SMALLER}, cased={"suite": "Smaller"}, base=SMALL),
    "suite#derived": Case({"suite": "trixie"}, does="refuse", words="do not go with from_image"),
    "mirror": Case(
        {"mirror": "copy:///srv/again"},
        ({"mirror": "copy:///srv/again/"},),
        cased={"mirror": "copy:///srv/Again"},
        base=SMALL,
    ),
    "mirror#derived": Case({"mirror": "copy:///srv/again"}, does="refuse", words="do not go with from_image"),
    "packages": Case(
        {"packages": ["hello", "ed"]},
        ({"packages": ["ed", "hello", "ed"]},),
        {"packages": ["ed"]},
        {"packages": ["Hello", "ed"]},
        base=SMALL,
    ),
    "packages#derived": Case({"packages": ["hello"]}, does="fail", words="neither apt-get nor dnf"),
    "architecture": Case({"architecture": "i386"}, base=SMALL),
    "architecture#own": Case({"architecture": "amd64"}, base=SMALL, does="nothing"),
    "architecture#foreign": Case(
        {"architecture": "arm64"},
        base=SMALL,
        does="fail",
        words="cannot run them",
        lacking=Lacking({"architecture": "arm64"}, "cannot run them"),
    ),
    "keyring": Case(
        {"keyring": "/srv/small/again.gpg"},
        ({"keyring": "/srv//small/./again.gpg"},),
        cased={"keyring": "/srv/small/Again.gpg"},
        lacking=Lacking({"keyring": "/srv/h/none.gpg"}, "/srv/h/none.gpg"),
        base=SMALL,
    ),
    "proxy": Case({"proxy": "http://proxy.example:3128"}, does="nothing"),
    "from_image": Case(
        {"from_image": "other"},
        ({"from_image": "other:latest"},),
        cased={"from_image": "Other"},
        lacking=Lacking({"from_image": "hnone"}, "there is no image hnone"),
        shown=("from_image", "source"),
    ),
    "source": Case(
        {"source": "tar:/srv/h/two.tar"},
        ({"source": "tar:/srv/h/two.copy"},),
        base={**NO_IMAGE, "source": "dir:/srv/h/tree"},
        shown=("origin", "source"),
        lacking=Lacking({"source": "tar:/srv/h/none.tar"}, "/srv/h/none.tar"),
    ),
    "repositories": Case(
        {"repositories": [REPOSITORY, {**REPOSITORY, "name": "again"}]},
        fewer={"repositories": [{**REPOSITORY, "name": "again"}]},
        base=RED,
    ),
    "repositories.name": Case(repository(name="other"), cased=repository(name="Other"), base=RED),
    "repositories.baseurl": Case(
        repository(baseurl="file:///srv/rpm/again"),
        (repository(baseurl="file:///srv/rpm/again/"),),
        cased=repository(baseurl="file:///srv/rpm/Again"),
        base=RED,
    ),
    "repositories.gpgkey": Case(
        repository(gpgkey="/srv/rpm/again.key"),
        (repository(gpgkey="/srv//rpm/./again.key"), repository(gpgkey="file:///srv/rpm/again.key")),
        cased=repository(gpgkey="/srv/rpm/Again.key"),
        lacking=Lacking(repository(gpgkey="/srv/h/none.key"), "/srv/h/none.key"),
        base=RED,
    ),
    "releasever": Case({"releasever": "again"}, cased={"releasever": "Again"}, base=RED),
    "from_container": Case(
        {**NO_IMAGE, "size": None, "from_container": "hbase"},
        shown=None,
        lacking=Lacking({**NO_IMAGE, "size": None, "from_container": "hnone"}, "there is none"),
    ),
    "insecure": Case({"insecure": True}, does="nothing"),
    "unsigned": Case({"unsigned": True}, does="nothing"),
    "ca_certificate": Case({"ca_certificate": "/srv/h/one"}, does="nothing"),
    "files": Case({"files": FILES}, fewer={"files": FILES[1:]}),
    "files.path": Case(
        {"files": [{"path": "/srv/a"}]}, ({"files": [{"path": "//srv/./a"}]},), cased={"files": [{"path": "/srv/A"}]}
    ),
    "files.content": Case(
        {"files": [{"path": "/a", "content": "x"}]}, cased={"files": [{"path": "/a", "content": "X"}]}
    ),
    "files.mode": Case({"files": [{"path": "/a", "mode": "0600"}]}, ({"files": [{"path": "/a", "mode": "00600"}]},)),
    "commands": Case(
        {"commands": ["echo a >/a", "echo b >/b"]},
        fewer={"commands": ["echo b >/b"]},
        cased={"commands": ["echo A >/a", "echo b >/b"]},
    ),
    "rebuild": Case({"rebuild": "always"}, does="act"),
    "rebuild#never": Case({"rebuild": "never", "commands": ["true"]}, does="nothing"),
}

TREE = {"target": "tar:/srv/h/tree.tar"}
EXPORT: dict[str, Case] = {
    "name": EVERYWHERE,
    "target": Case(
        {"target": "docker-archive:/srv/h/out.tar"},
        ({"target": "docker-archive:/srv//h/./out.tar"}, {"name": "tiny:latest"}),
        cased={"target": "docker-archive:/srv/h/Out.tar"},
    ),
    "target#oci": Case(
        {"target": "oci-archive:/srv/h/out.oci"},
        lacking=Lacking({"target": "oci-archive:/srv/h/hlack.oci"}, "image hlack: there is none"),
    ),
    "target#tree": Case(TREE, ({"target": "tar:/srv/h/../h/tree.tar"},)),
    "insecure": Case({"insecure": True}, base=TREE, does="nothing"),
    "proxy": Case({"proxy": "http://proxy.example:3128"}, base=TREE, does="nothing"),
}
