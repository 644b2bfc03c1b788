# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that come from elsewhere and go there: sources, configurations, and what an export comes to."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from baleine import layers, oci_image, origin, transfer
from baleine.errors import BaleineError
from tests.unit.support import verbs

FULL: dict[str, Any] = {
    "entrypoint": ["/bin/sh", "-c"], "cmd": ["echo a, b: c\n"], "env": {"A": "", "B": "x=y"}, "user": "app:33",
    "workdir": "/srv", "labels": {"a.b": "c, d"}, "exposed_ports": ["53/udp", "80/tcp"], "stop_signal": "SIGINT",
    "architecture": "arm64",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tar:/a/../b.tar", ("tar", "/b.tar", "")),
        ("tar:/with:colon", ("tar", "/with:colon", "")),
        ("dir:/srv/tree/", ("dir", "/srv/tree", "")),
        ("docker-archive:/a.tar", ("docker-archive", "/a.tar", "")),
        ("docker-archive:/a.tar:web:1", ("docker-archive", "/a.tar", "web:1")),
        ("oci:/a:localhost/web:1", ("oci", "/a", "localhost/web:1")),
        ("docker://host:5000/team/web:1", ("docker", "host:5000/team/web:1", "")),
        ("docker://host/web@sha256:" + "0" * 64, ("docker", "host/web@sha256:" + "0" * 64, "")),
    ],
)
def test_a_source_is_parsed_into_kind_location_and_image(text: str, expected: tuple[str, ...]) -> None:
    found = origin.parse(text, "image a")
    assert tuple(found)[:3] == expected
    assert origin.parse(str(found), "image a") == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither a source"),
        ("/a.tar", "neither a source"),
        ("zip:/a", "neither a source"),
        ("tar:/a\n", "neither a source"),
        ("tar:", "no absolute path"),
        ("tar:a.tar", "no absolute path"),
        ("dir:../x", "no absolute path"),
        ("docker-archive:web:1", "no absolute path"),
        ("docker-archive:/a:", "no image's name"),
        ("docker-archive:/a:-x", "no image's name"),
        ("docker-archive:/a:a b", "no image's name"),
        ("docker:web", "names no image of a registry"),
        ("docker:///web", "names no image of a registry"),
        ("docker://--tls-verify=false", "names no image of a registry"),
        ("docker://host/a b", "names no image of a registry"),
        ("https://host/a.tar", "does not end in a name"),
    ],
)
def test_an_invalid_source_is_refused(text: str, why: str) -> None:
    with pytest.raises(BaleineError, match=why):
        origin.parse(text, "image a")


@pytest.mark.parametrize(
    "config", [{"architecture": "amd64"}, FULL, *({"architecture": "amd64", key: FULL[key]} for key in FULL)]
)
def test_a_written_configuration_is_read_back(config: dict[str, Any]) -> None:
    document = json.loads(json.dumps(oci_image.write_config(config, "2026-01-01T00:00:00Z", "sha256:1", "sha256:2")))
    assert oci_image.read_config(document) == config
    assert oci_image.comment(document) == "sha256:2"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"config": None}, {}),
        ({"config": {"Cmd": None, "Env": None, "Labels": None, "User": ""}}, {}),
        ({"config": {"Env": ["A=1", "NOTHING", "=x", "A=2", "B="]}}, {"env": {"A": "2", "B": ""}}),
        ({"config": {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}}}}, {"exposed_ports": ["443/tcp", "80/tcp"]}),
        ({"config": {"Healthcheck": {"Test": ["NONE"]}, "Volumes": {"/x": {}}}}, {}),
        ({"architecture": "s390x"}, {"architecture": "s390x"}),
        ({"config": {"Cmd": ["printf", r"a\x00b\ud800", "\\\\"]}}, {"cmd": ["printf", r"a\x00b\ud800", "\\\\"]}),
    ],
)
def test_missing_and_empty_values_are_not_kept(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert oci_image.read_config(given) == expected


@pytest.mark.parametrize(
    "given",
    [[], "x", 1, {"config": []}, {"config": {"Cmd": "sh"}}, {"config": {"Cmd": [1]}}, {"config": {"Env": {"A": "1"}}},
     {"config": {"Labels": {"a": 1}}}, {"config": {"User": 0}}, {"architecture": ["x"]},
     {"config": {"Cmd": ["a\0b"]}}, {"config": {"Cmd": ["x" * 300_000]}}, {"config": {"Cmd": ["a\\\\\0b"]}},
     {"config": {"Env": ["A=\udfff"]}}, {"config": {"Labels": {"\ud800": ""}}}, {"config": {"ExposedPorts": {"\ud800": {}}}}],
    ids=ascii,
)  # fmt: skip
def test_an_invalid_configuration_is_refused(given: Any) -> None:
    with pytest.raises(BaleineError):
        oci_image.read_config(given)


def wanted(target: str = "docker-archive:/srv/web.tar", name: str = "web") -> transfer.Wanted:
    return transfer.request({"name": name, "target": target})


HERE = transfer.Found({"nom_image": "web"}, "sha256:1")


@pytest.mark.parametrize(
    ("found", "check", "expected"),
    [
        (HERE, False, ["export"]),
        (HERE._replace(holds="sha256:1"), False, []),
        (HERE._replace(holds="sha256:2"), False, ["export"]),
        (HERE._replace(holds="something else"), True, ["export"]),
        (transfer.Found(), True, ["export"]),
    ],
)
def test_an_export_is_needed_only_if_the_target_lacks_the_image(
    found: transfer.Found, check: bool, expected: list[str]
) -> None:
    decided = transfer.plan(wanted(), found, check)
    assert verbs(decided) == expected
    assert (decided.before == decided.after) == (not expected)
    assert bool(decided.warnings) == (found.digest is None)
    assert "docker-archive:/srv/web.tar" in str(decided.actions) or not found.digest or not expected


def test_a_missing_image_is_not_exported() -> None:
    with pytest.raises(BaleineError, match="image web: there is none"):
        transfer.plan(wanted(), transfer.Found())


@pytest.mark.parametrize(
    ("name", "target", "tag"),
    [
        ("web", "docker-archive:/a", "web:latest"),
        ("Web:RC1", "docker-archive:/a", "web:RC1"),
        ("web:latest", "oci-archive:/a", "web:latest"),
        ("web..x", "docker-archive:/a:good/name:3", "good/name:3"),
        ("web..x", "tar:/a", "web..x:latest"),
    ],
)
def test_an_image_gets_a_name_that_docker_accepts(name: str, target: str, tag: str) -> None:
    assert wanted(target, name).tag == tag


@pytest.mark.parametrize("name", ["web..x", "web-", "a_-b", "web."])
def test_a_name_that_docker_refuses_needs_another_one(name: str) -> None:
    with pytest.raises(BaleineError, match="no name that Docker takes"):
        wanted("docker-archive:/a", name)


@pytest.mark.parametrize("target", ["dir:/a", "oci:/a", "tar:a", "https://host/a.image", "nothing"])
def test_an_invalid_target_is_refused(target: str) -> None:
    with pytest.raises(BaleineError, match=r"no target|no absolute path|neither a source"):
        wanted(target)


@pytest.mark.parametrize("size", [1, 511, 512, 4096, 5000])
def test_a_stream_returns_every_byte_once_and_can_go_back_one_block(size: int) -> None:
    content = bytes(range(256)) * 64
    stream = layers.Stream(iter([content[at : at + size] for at in range(0, len(content), size)]), 1 << 20)
    assert stream.read(700) == content[:700] and stream.tell() == 700
    stream.seek(699)
    assert stream.read(2) == content[699:701]
    stream.seek(9000)
    assert stream.read(1 << 20) == content[9000:] and stream.read(1) == b""
    assert stream.hash.digest() == hashlib.sha256(content).digest()


def test_a_stream_ends_at_its_limit() -> None:
    stream = layers.Stream(iter([bytes(100)] * 100), 999)
    with pytest.raises(BaleineError, match="more than the image can"):
        stream.read(2000)
