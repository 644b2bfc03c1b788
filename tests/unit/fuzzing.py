# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzing: valid texts, broken in a thousand ways, at the doors where texts of others come in.

A door may refuse by BaleineError (the command line's by Usage) and in no other way. `make fuzz` runs it for as long as
one likes: `python -m tests.unit.fuzzing SECONDS [SEED]`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from baleine import (
    description,
    enter,
    image,
    launch,
    manifest,
    neighbours,
    oci_image,
    pid1,
    remote,
    seccomp,
    superblock,
    survey,
    units,
    volume,
)
from baleine.errors import BaleineError
from baleine_cli.parse import Usage, parse
from tests.unit.support import run

REFUSALS = (BaleineError, Usage)
#: What parsers stumble over.
WORDS = (
    "", "\0", "\n", "\r", "\t", " ", ":", ",", "+", "/", "..", "../..", "//", "%s", "{}", "-", "--", "--format=json", "=", "@", "\\",
    "0", "-1", "00", "1e999", "NaN", "Infinity", "-0", "9" * 30, "18446744073709551616", "0x10", "1_000", "٣", "²", "½", "é",
    "\ufeff", "\u2028", "\x85", "\u200f", "\ud800", "\U0001f433", "null", "true", "[]", "{}", '""', "[[", '{"a":', "[" * 3000,
    '{"a":' * 2000, "A" * 300, ":latest", "::1", "::", "fe80::1%eth0", "0.0.0.0/0", "1.2.3.4/33", "255.255.255.255/32", "1.1.1.1/-1",
    "::ffff:1.2.3.4/128", "ff02::1/64", "ff:ff:ff:ff:ff:ff", "default", "NaNM", "1.5.5G", "1" * 5000,
)  # fmt: skip
CONTAINER = """nom_container: web1
nom_image: apache2:v2
pid: 4242
nom_bridge: private,public
starting_time: 2019-05-09-21h-50m-05s
format: 1
state: running
wanted_state: started
start_ticks: 12345
boot_id: 6f7c8d1e-0000-4000-8000-000000000000
exit_code: 0
restarts: 3
retry_at: 2026-01-31T13:05:09Z
oom_kills: 1
created: 2026-01-31T13:05:09Z
image_digest: sha256:00
first_id: 1879048192
runtime: crun
address: 192.168.42.2/24+fd00::2/64,10.0.0.2/8
mac: 02:00:00:00:00:01,02:00:00:00:00:02
interface: vifc866_0,vifc866_1
networks: [{"addresses": ["192.168.42.2/24", "fd00::2/64"], "bridge": "private", "gateway": "192.168.42.1", "mac": "", "mtu": 1400, "rate_in": 64000, \
"rate_out": null, "routes": [{"destination": "10.1.0.0/16", "gateway": "192.168.42.9"}]}, {"bridge": "public", "addresses": ["10.0.0.2/8"]}]
limits: {"cpus": 0.5, "cpu_weight": 50, "cpuset": "0-2,7", "devices": [], "memory": 67108864, "pids": 20, "io_write_rate": 8388608}
command: ["/usr/sbin/apache2ctl", "-D", "FOREGROUND"]
env: {"LANG": "C.UTF-8", "EMPTY": ""}
volumes: [{"idmap": true, "read_only": false, "source": "data", "target": "/var/lib/data"}, {"source": "/srv/www", "target": "/var/www"}]
init: true
user: www-data:www-data
workdir: /var/www
hostname: web1
dns: {"servers": ["192.168.42.1"], "search": ["example.org"], "options": ["ndots:1"]}
ulimits: {"nofile": "1024:4096"}
sysctls: {"net.ipv4.ip_unprivileged_port_start": "80"}
secrets: [{"name": "key", "source": "/root/key", "mode": "0400"}]
labels: {"site": "lille"}
restart_policy: on-failure
restart_retries: 5
depends_on: [{"name": "db", "condition": "healthy"}]
schedule: {"start": "0 8 * * 1-5", "stop": "0 18 * * 1-5"}
healthcheck: {"http": "/", "port": 80, "interval": 60, "retries": 3, "start_period": 60, "timeout": 5}
stop_signal: QUIT
stop_timeout: 10.0
extra_hosts: {"db": "192.168.42.9"}
log_size: 16777216
capabilities: {"add": ["NET_RAW"], "drop": ["CHOWN"]}
no_new_privileges: false
seccomp: compat
userns: host
read_only: true
tmpfs: [{"target": "/run", "size": 16777216, "mode": "0755"}]
"""
OLD_CONTAINER = """nom_container: web1
nom_image: apache2
pid: 31
nom_bridge: private
starting_time: 2019-05-09-21h-50m-05s
"""
IMAGE = """nom_image: web1
taille: 10240
chemin: /nowhere/images
format: 1
state: present
size: 10737418240
digest: sha256:0123
fingerprint: 1 2 3
created: 2026-01-31T13:05:09Z
recipe: {"suite": "bookworm", "packages": ["apache2"], "files": [], "commands": [["true"]]}
next: {"digest": "sha256:4567", "fingerprint": "4 5 6", "size": "5"}
"""
VOLUME = "nom_volume: web1\nformat: 1\ncreated: 2026-01-31T13:05:09Z\n"
BRIDGE = """nom_bridge: web1
format: 1
state: up
address: 192.168.42.1/24,fd00::1/64
mtu: 1500
stp: no
mac: 02:00:00:00:00:09
port: eth1
moved: {"eth1": {"addresses": ["10.0.0.1/8"], "routes": []}}
"""
PUBLISHED = f"""format: 1
name: web1
version: 1.2
architecture: amd64
created: 2026-01-31T13:05:09Z
size: 67108864
digest: sha256:{"0123456789abcdef" * 4}
file: web1-1.2.tar.zst
file_size: 1234567
file_sha256: {"0123456789abcdef" * 4}
config: {{"cmd": ["sleep", "1"], "env": {{"A": "b"}}}}
"""
PROFILE = json.dumps({
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                 {"name": "clone", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
                  "excludes": {"arches": ["s390"]}}],
}, indent=1)  # fmt: skip
DOCKER = json.dumps([{"Config": "config.json", "RepoTags": ["web1:latest"], "Layers": ["layer.tar"]}], indent=1)
CONFIG = json.dumps({
    "architecture": "amd64", "os": "linux", "created": "2026-01-31T13:05:09Z",
    "config": {"Entrypoint": ["/entry"], "Cmd": ["a", "b"], "Env": ["A=b", "C="], "User": "app", "WorkingDir": "/srv",
               "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "QUIT"},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0123456789abcdef" * 4]},
}, indent=1)  # fmt: skip
LAYER = "a layer that is never unpacked"


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def index(manifest_text: str) -> str:
    """The index of an OCI layout with one image."""
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "size": len(manifest_text),
        "digest": digest(manifest_text),
        "annotations": {"org.opencontainers.image.ref.name": "web1"},
    }
    return json.dumps({"schemaVersion": 2, "manifests": [entry]}, indent=1)


OCI_MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"digest": digest(CONFIG), "size": len(CONFIG)},
        "layers": [{"digest": digest(LAYER), "size": len(LAYER)}],
    },
    indent=1,
)
LAYOUT = index(OCI_MANIFEST)
PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\nwww-data:x:33:app\naudio:x:29:www-data,app\n"


class Door(NamedTuple):
    """Where a text comes in: what to begin with, and what takes it."""

    name: str
    seeds: tuple[str, ...]
    take: Callable[[str], object]


class Report(NamedTuple):
    """How many texts were tried at each door, and what came out that may not."""

    tried: dict[str, int]
    crashes: list[str]


def mutate(chance: random.Random, seed: str) -> str:
    """Break a text at a few places."""
    text = seed
    for _turn in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.choice((0, 1, 1, 2, 5, 20)))
        kind = chance.randrange(6)
        if kind == 0:
            text = text[:at] + chance.choice(WORDS) + text[end:]
        elif kind == 1:
            text = text[:at] + chr(chance.choice((chance.randrange(128), chance.randrange(0x2FFF)))) + text[end:]
        elif kind == 2:
            text = text[:at] + text[end:]
        elif kind == 3:
            lines = text.split("\n")
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
            text = "\n".join(lines)
        elif kind == 4:  # a whole value
            lines = text.split("\n")
            index = chance.randrange(len(lines))
            key, colon, value = lines[index].partition(":")
            lines[index] = f"{key}{colon} {chance.choice((*WORDS, value[: len(value) // 2], json.dumps([value])))}"
            text = "\n".join(lines)
        else:  # one value of a JSON text, of another kind
            numbers = [index for index, character in enumerate(text) if character in '0123456789"[{']
            if numbers:
                at = chance.choice(numbers)
                text = (
                    text[:at] + chance.choice(("null", "[]", "{}", "-1", "1e400", '"\\ud800"', "true")) + text[at + 1 :]
                )
    return text[: 1 << 16]


def packed() -> str:
    """A tar archive as docker save writes it; bytes as characters."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in (("manifest.json", DOCKER), ("config.json", CONFIG), ("layer.tar", "x" * 10240)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue().decode("latin-1")


def formatted() -> str:
    """The beginning of an ext4 filesystem of 64 MiB (Documentation/filesystems/ext4: super.rst); bytes as characters."""
    block = bytearray(4096)
    fields = {
        0: 4096,
        4: 16384,
        24: 2,
        32: 32768,
        40: 8192,
        56: 0xEF53 | 1 << 16,
        60: 1 << 16,
        76: 1,
        88: 256,
        92: 4,
        96: 0x42,
        224: 8,
    }
    for at, value in fields.items():
        block[1024 + at : 1028 + at] = value.to_bytes(4, "little")
    return block.decode("latin-1")


def doors(folder: Path) -> list[Door]:
    """Every door, with a state directory of its own for those that read files."""

    def recorded(kind: str, use: Callable[[manifest.Record], object]) -> Callable[[str], object]:
        path = folder / f"{kind}s/web1.manifest"
        path.parent.mkdir(exist_ok=True)

        def take(text: str) -> None:
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            try:
                record = manifest.read(kind, "web1")
                if record is not None:
                    use(record)
            finally:
                path.unlink()

        return take

    def container(record: manifest.Record) -> None:
        described, interfaces = description.from_record("web1", record)
        again = description.to_record("web1", described, interfaces, record)
        assert description.from_record("web1", again)[0] == described, "written and read back, it is something else"
        survey.surroundings("other")
        survey.free_ids("other")
        survey.facts(run, "web1")
        neighbours.hosts("web1", record, {"other": record})

    def picture(record: manifest.Record) -> None:
        image.current("web1")
        image.facts("web1")

    def identity(text: str) -> None:
        for name in ("passwd", "group"):
            (folder / "etc").mkdir(exist_ok=True)
            (folder / "etc" / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        for user in ("www-data", "1000", "app:audio", text[:20]):
            with contextlib.suppress(BaleineError):
                found = enter.find_identity(str(folder), user, "a tree")
                assert max(found.uid, found.gid, *found.groups) < 65536

    def exit_code(text: str) -> None:
        (folder / "exit").write_bytes(text.encode("utf-8", "surrogatepass"))
        code = pid1.exit_code(str(folder))
        assert code is None or 0 <= code < 256

    def names(text: str) -> None:
        for kind in manifest.KINDS:
            with contextlib.suppress(BaleineError):
                name = units.check_name(text, kind)
                assert "/" not in name and name not in ("", ".", "..") and name.isprintable() and name.isascii()

    def filtered(text: str) -> None:
        (folder / "profile").write_bytes(text.encode("utf-8", "surrogatepass"))
        json.dumps(seccomp.profile(str(folder / "profile"), ("CAP_CHOWN",), "it"))

    def saved(name: str) -> Callable[[str], object]:
        """What docker save or skopeo wrote, one of its files broken; the digests of what lies above that are right."""
        place = folder / name
        (place / "blobs/sha256").mkdir(parents=True)

        def put(*texts: str) -> None:
            for text in texts:
                (place / "blobs" / digest(text).replace(":", "/")).write_bytes(text.encode("utf-8", "surrogatepass"))

        files = {"manifest.json": DOCKER, "config.json": CONFIG, "index.json": LAYOUT, "layer.tar": LAYER}
        for file, content in files.items():
            (place / file).write_text(content)
        put(CONFIG, LAYER, OCI_MANIFEST)

        def take(text: str) -> None:
            if name == "manifest":
                put(text)
                (place / "index.json").write_text(index(text))
            else:
                (place / name).write_bytes(text.encode("utf-8", "surrogatepass"))
            with oci_image.opened_folder(str(place)) as get:
                read = oci_image.oci_layout if name in ("manifest", "index.json") else oci_image.docker_archive
                kept = read(get, "").config
            if name == "manifest" and text != OCI_MANIFEST:
                (place / "blobs" / digest(text).replace(":", "/")).unlink()
            assert oci_image.read_config(oci_image.write_config(kept, "", "")) | {"architecture": ""} == kept | {
                "architecture": ""
            }

        return take

    def archive(text: str) -> None:
        (folder / "archive.tar").write_bytes(text.encode("latin-1", "replace"))
        with oci_image.opened_archive(str(folder / "archive.tar"), str(folder), 1 << 20, "it") as get:
            oci_image.docker_archive(get, "")

    def filesystem(text: str) -> None:
        (folder / "disk").write_bytes(text.encode("latin-1", "replace"))
        os.truncate(folder / "disk", 1 << 26)
        superblock.refuse(superblock.read(str(folder / "disk")), 1 << 26)

    def published(text: str) -> None:
        found = remote.read(text.encode("utf-8", "surrogatepass"), "web1", "it")
        assert "/" not in found.file and found.size > 0 and found.file_size > 0

    addresses = (units.parse_address, units.parse_gateway, units.parse_destination, units.parse_mac)
    sizes = (lambda text, _what: units.parse_size(text), units.parse_rate, units.parse_cpus, units.parse_cpuset)

    def each(takers: tuple[Callable[[str, str], object], ...]) -> Callable[[str], object]:
        def take(text: str) -> None:
            for taker in takers:
                with contextlib.suppress(BaleineError):
                    taker(text, "it")

        return take

    return [
        Door("manifests: the lines", (CONTAINER, BRIDGE), lambda text: manifest.parse(text, "it")),
        Door("manifests: containers", (CONTAINER, OLD_CONTAINER), recorded("container", container)),
        Door("manifests: images", (IMAGE,), recorded("image", picture)),
        Door("manifests: bridges", (BRIDGE,), recorded("bridge", lambda record: survey.surroundings("web1"))),
        Door("manifests: volumes", (VOLUME,), recorded("volume", lambda record: volume.facts("web1"))),
        Door("names", ("web1", "apache2:v1.2", "my_bridge.0-1"), names),
        Door("addresses", ("192.168.42.2/24", "fd00::2/64", "02:00:00:00:00:01", "10.1.0.0/16"), each(addresses)),
        Door("sizes", ("512M", "1.5G", "10240", "20mbit", "0.5", "0-2,7"), each(sizes)),
        Door("commands", ("/usr/sbin/apache2ctl -D 'A B'", "sh -c \"a\\\"b\""), lambda text: units.split_command(text, "it")),
        Door("command lines", ("container\ncreate\n-i\napache2\n-c\nweb1\n-b\na,b\n-p\nsleep 1", "image\nlist\n--format\njson",
                               "container\nexec\n-it\n-c\nweb1\n--\nsh"), lambda text: parse(text.split("\n"))),
        Door("descriptions of images", (PUBLISHED,), published),
        Door("archives: what docker save wrote", (DOCKER,), saved("manifest.json")),
        Door("archives: configurations", (CONFIG,), saved("config.json")),
        Door("archives: OCI manifests", (OCI_MANIFEST,), saved("manifest")),
        Door("archives: OCI layouts", (LAYOUT,), saved("index.json")),
        Door("archives: tar", (packed(),), archive),
        Door("filesystems", (formatted(),), filesystem),
        Door("seccomp profiles", (PROFILE,), filtered),
        Door("trees: passwd and group", (PASSWD, GROUP), identity),
        Door("trees: exit codes", ("0", "137\n"), exit_code),
    ]  # fmt: skip


@contextlib.contextmanager
def state(folder: Path) -> Iterator[None]:
    """Let the core look for its manifests there, and for no disk or log of this machine."""
    with mock.patch.multiple(manifest, MANIFESTS=str(folder), LIBRARY=str(folder)), \
         mock.patch.object(survey, "DISKS", str(folder)), mock.patch.object(launch, "BUNDLES", str(folder)):  # fmt: skip
        yield


def fuzz(seed: int, enough: Callable[[int], bool]) -> Report:
    """Go round the doors until it is enough (asked after each round, with the number of texts)."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, state(Path(name)):
        all_doors = doors(Path(name))
        tried, crashes = dict.fromkeys((door.name for door in all_doors), 0), []
        for door in all_doors:
            for text in door.seeds:
                door.take(text)
        while not enough(sum(tried.values())):
            for door in all_doors:
                for text in door.seeds:
                    broken = mutate(chance, text)
                    tried[door.name] += 1
                    try:
                        door.take(broken)
                    except REFUSALS:
                        pass
                    except Exception:
                        crashes.append(f"{door.name}: {broken[:2000]!r}\n{traceback.format_exc(limit=-3)}")
    return Report(tried, crashes)


def main() -> int:
    """Fuzz for some seconds, and print the figures."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int.from_bytes(os.urandom(4), "big")
    end = time.monotonic() + seconds
    found = fuzz(seed, lambda _tried: time.monotonic() > end)
    for name, count in found.tried.items():
        print(f"{name:28} {count:9,}")
    print("\n\n".join(found.crashes[:10]))
    print(f"inputs tried {sum(found.tried.values()):,}, crashes {len(found.crashes)} (seed {seed}, {seconds:.0f} s)")
    return bool(found.crashes)


if __name__ == "__main__":
    sys.exit(main())
