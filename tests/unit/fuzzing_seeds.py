# SPDX-License-Identifier: GPL-3.0-or-later
"""Valid texts, which fuzzing breaks: manifests, descriptions, configurations, archives, filesystems."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

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
