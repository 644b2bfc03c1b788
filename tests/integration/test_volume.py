# SPDX-License-Identifier: GPL-3.0-or-later
"""Named volumes and secrets on a real kernel: owners, sharing, backup and restore; what must stay hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.support import container, refused
from tests.lab.host import LabHost

VOLUMES = "/var/lib/baleine/volumes"


@pytest.fixture(autouse=True)
def nothing_left(lab: LabHost, tiny: str, baleine: Any) -> Iterator[None]:
    yield
    for kind in ("container", "volume"):
        for name in baleine(kind, "list", *(["-a"] if kind == "container" else []), "-q").stdout.split():
            baleine(kind, "remove", name)


def inside(baleine: Any, name: str, script: str, **options: Any) -> str:
    return str(baleine("container", "exec", "-c", name, "--", "sh", "-c", script, **options).stdout)


def test_a_volume_is_created_by_the_start_and_shared_with_unmapped_owners(lab: LabHost, baleine: Any) -> None:
    volumes = [{"source": "data", "target": "/data"}]
    predicted = container(lab, "one", volumes=volumes, check=True)
    assert not lab.path(f"{VOLUMES}/data").exists()
    done = container(lab, "one", volumes=volumes)
    assert predicted["actions"] == done["actions"] and done["actions"][0]["action"] == "make_volume"
    second = container(lab, "two", volumes=[{"source": "data", "target": "/srv", "read_only": True}])
    assert done["container"]["first_id"] != second["container"]["first_id"]
    inside(
        baleine, "one", "echo hello > /data/file; chown 1000:33 /data/file; echo s > /data/suid; chmod 4755 /data/suid"
    )
    assert inside(baleine, "two", "cat /srv/file; stat -c %u:%g /srv/file").split() == ["hello", "1000:33"]
    assert "Read-only" in inside(baleine, "two", "touch /srv/x 2>&1; true")
    assert lab.sh(f"stat -c %u:%g {VOLUMES}/data/file").stdout.strip() == "1000:33"
    assert lab.run(["cat", f"{VOLUMES}/data/file"], user="nobody", check=False).returncode != 0
    assert not container(lab, "one", volumes=volumes)["changed"]


def test_a_volume_outlives_its_containers_and_is_kept_while_one_names_it(lab: LabHost, baleine: Any) -> None:
    container(lab, "one", volumes=[{"source": "data", "target": "/data"}])
    inside(baleine, "one", "echo kept > /data/file")
    refused = lab.module("baleine_volume", name="data", state="absent", expect_failure=True)
    assert "containers use it: one" in refused["msg"]
    assert baleine("volume", "prune", "--dry-run").stdout == ""
    baleine("container", "remove", "one")
    container(lab, "two", volumes=[{"source": "data", "target": "/data"}])
    assert inside(baleine, "two", "cat /data/file").strip() == "kept"
    baleine("container", "remove", "two")
    assert baleine("volume", "prune").stdout == "data\n"
    assert not lab.path(f"{VOLUMES}/data").exists()


def test_the_module_of_volumes_is_honest(lab: LabHost, baleine: Any) -> None:
    for state in ("present", "absent"):
        predicted = lab.module("baleine_volume", name="v", state=state, check=True)
        done = lab.module("baleine_volume", name="v", state=state)
        assert (predicted["changed"], predicted["diff"]) == (done["changed"], done["diff"]) and done["changed"]
        assert not lab.module("baleine_volume", name="v", state=state)["changed"]
    lab.module("baleine_volume", name="v")
    lab.sh(f"rmdir {VOLUMES}/v")
    refused = container(lab, "c", volumes=[{"source": "v", "target": "/v"}], expect_failure=True)
    assert "its directory" in refused["msg"] and "baleine volume remove -v v" in refused["msg"]
    assert lab.module("baleine_volume", name="v")["drift"] == ["volume v: its directory is gone"]
    assert "no valid name" in lab.module("baleine_volume", name="a/b", expect_failure=True)["msg"]


@pytest.fixture
def backup(lab: LabHost, baleine: Any, request: pytest.FixtureRequest) -> Any:
    """A backup of the volume data, which the running container one uses."""
    container(lab, "one", volumes=[{"source": "data", "target": "/data"}])
    script = """cd /data; mkdir d; echo x > d/f; chown 33:33 d/f; chmod 4750 d/f
        ln d/f hard; ln -s d/f soft; dd if=/dev/zero of=hole bs=1 count=1 seek=50M 2>/dev/null"""
    inside(baleine, "one", script)
    path = f"/srv/data.{getattr(request, 'param', 'tar')}"
    baleine("volume", "backup", "-v", "data", "--target", path)
    yield path
    lab.sh(f"rm {path}")


@pytest.mark.parametrize("backup", ["tar", "tar.gz"], indirect=True)
def test_a_backup_restores_owners_modes_links_and_holes(lab: LabHost, baleine: Any, backup: str) -> None:
    assert lab.path(backup).stat().st_size < 1 << 20
    baleine("volume", "restore", "-v", "copy", "--source", backup)
    lists = [
        lab.sh(f"cd {VOLUMES}/{name}; find . -printf '%P %m %U:%G %y %l %n %s %b\\n' | sort").stdout
        for name in ("data", "copy")
    ]
    assert lists[0] == lists[1]
    assert "4750 33:33" in lists[0]


def test_a_backup_overwrites_no_file(baleine: Any, backup: str) -> None:
    assert "exists" in refused(baleine, "volume", "backup", "-v", "data", "--target", backup)


def test_a_restore_into_a_volume_with_files_or_in_use_is_refused(baleine: Any, backup: str) -> None:
    baleine("volume", "restore", "-v", "copy", "--source", backup)
    said = refused(baleine, "volume", "restore", "-v", "copy", "--source", backup)
    assert "it holds files" in said
    said = refused(baleine, "volume", "restore", "-v", "data", "--source", backup, "--force")
    assert "containers that run use it: one" in said


@pytest.mark.parametrize("backup", ["tar", "tar.gz"], indirect=True)
def test_a_truncated_backup_leaves_a_volume_unchanged(lab: LabHost, baleine: Any, backup: str) -> None:
    baleine("volume", "restore", "-v", "copy", "--source", backup)
    part = 700 if backup.endswith(".tar") else lab.path(backup).stat().st_size // 2
    torn = backup.replace("data", "torn")
    lab.sh(f"head -c {part} {backup} > {torn}; touch {VOLUMES}/copy/mine")
    refused(baleine, "volume", "restore", "-v", "copy", "--source", torn, "--force")
    assert lab.path(f"{VOLUMES}/copy/mine").exists()
    assert lab.sh(f"ls -A {VOLUMES}").stdout.split() == ["copy", "data"]
    baleine("volume", "restore", "-v", "copy", "--source", backup, "--force")
    assert not lab.path(f"{VOLUMES}/copy/mine").exists()
    lab.sh(f"rm {torn}")


def test_one_of_two_backups_to_the_same_file_wins_and_is_complete(lab: LabHost, baleine: Any) -> None:
    baleine("volume", "create", "-v", "data")
    lab.sh(f"head -c 30000000 /dev/urandom > {VOLUMES}/data/file; echo torn > /srv/.data.tar.part")
    baleine("volume", "backup", "-v", "data", "--target", "/srv/data.tar")  # what a killed one left is no hindrance
    lab.sh("rm /srv/data.tar")
    one = "/usr/local/bin/baleine volume backup -v data --target /srv/data.tar"
    said = lab.sh(f"{one} & {one} && echo 0 || echo $?; wait $! && echo 0 || echo $?")
    assert sorted(said.stdout.split()) == ["0", "1"] and "/srv/data.tar exists" in said.stderr
    lab.sh(f"tar -xOf /srv/data.tar ./file | cmp - {VOLUMES}/data/file")
    assert not lab.path("/srv/.data.tar.part").exists()
    lab.sh("rm /srv/data.tar")


def test_a_host_path_can_be_mapped_to_the_owners_of_the_container(lab: LabHost, baleine: Any) -> None:
    lab.sh("mkdir -p /srv/mine; echo x > /srv/mine/f; chown 33:33 /srv/mine/f")
    baleine("container", "create", "-c", "one", "-i", "tiny", "-v", "/srv/mine:/m:idmap", "-p", "sleep 1000")
    assert inside(baleine, "one", "stat -c %u /m/f; echo y > /m/g").strip() == "33"
    assert lab.sh("stat -c %u /srv/mine/g").stdout.strip() == "0"
    baleine("container", "remove", "one")
    lab.sh("rm -r /srv/mine")


def test_a_missing_source_is_refused_before_any_change(lab: LabHost, baleine: Any) -> None:
    for options in (
        {"volumes": [{"source": "/srv/none", "target": "/x"}]},
        {"secrets": [{"name": "k", "source": "/srv/none"}]},
    ):
        refused = container(lab, "one", expect_failure=True, **options)
        assert "/srv/none: No such file or directory" in refused["msg"]
        assert baleine("container", "list", "-a", "-q").stdout == ""
        assert container(lab, "one", check=True, **options)["changed"]


def test_a_secret_is_visible_only_to_the_program(lab: LabHost, baleine: Any) -> None:
    lab.write("/srv/key", "hunter2-of-the-lab", mode=0o600)
    secrets = [{"name": "key", "source": "/srv/key"}, {"name": "other", "source": "/srv/key", "mode": "0440"}]
    done = container(lab, "one", secrets=secrets, user="app")
    assert "hunter2" not in json.dumps(done)
    shown = inside(baleine, "one", "cat /run/secrets/key; stat -c '%a %u' /run/secrets/key /run/secrets/other; mount")
    assert "hunter2-of-the-lab" in shown and "400 1000\n440 1000\n" in shown
    assert any(" /run/secrets " in line and "tmpfs" in line and "ro," in line for line in shown.splitlines())
    assert "Read-only" in inside(baleine, "one", "echo > /run/secrets/key 2>&1; rm -f /run/secrets/key 2>&1; true")
    everything = lab.sh(
        "cat /var/lib/baleine/manifeste/*/*; ps auxww; cat /proc/1/mountinfo; cat /run/baleine/containers/one/config.json;"
        "cat /var/log/baleine/one.log"
    ).stdout
    assert "hunter2" not in everything
    assert not lab.sh("grep -rl hunter2-of-the-lab /var/lib/baleine/manifeste /run/baleine /var/log || true").stdout
    lab.write("/srv/key", "new", mode=0o600)
    baleine("container", "restart", "one", "-t", "1")
    assert inside(baleine, "one", "cat /run/secrets/key") == "new"
    lab.sh("rm /srv/key")
    failed = baleine("container", "restart", "one", "-t", "1", check=False)
    assert failed.returncode == 1 and "secret key: /srv/key" in failed.stderr


def test_resolver_ulimits_sysctls_and_extra_hosts_are_set_as_requested(lab: LabHost, baleine: Any) -> None:
    options = {
        "dns": {"servers": ["10.0.0.1"], "search": ["lab.example"]},
        "ulimits": {"nofile": "100:200"},
        "sysctls": {"kernel.shmmax": "123456"},
        "extra_hosts": {"db": "10.9.9.9"},
    }
    container(lab, "one", **options)
    script = "cat /etc/resolv.conf; ulimit -Sn; ulimit -Hn; cat /proc/sys/kernel/shmmax; grep db /etc/hosts"
    words = inside(baleine, "one", script).split()
    assert words == ["nameserver", "10.0.0.1", "search", "lab.example", "100", "200", "123456", "10.9.9.9", "db"]
    changed = container(lab, "one", **{**options, "extra_hosts": {"db": "10.9.9.8"}})
    assert [action["action"] for action in changed["actions"]] == ["set_policy"]
    assert inside(baleine, "one", "grep db /etc/hosts").split() == ["10.9.9.8", "db"]


def test_hosts_files_follow_the_names_of_neighbours(lab: LabHost, baleine: Any) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24"])
    for number, name in enumerate(("one", "two"), 2):
        container(
            lab,
            name,
            command=["httpd", "-f", "-h", "/www"],
            networks=[{"bridge": "private", "addresses": [f"192.168.42.{number}/24"]}],
        )
    assert "192.168.42.3 two" in inside(baleine, "one", "cat /etc/hosts")
    assert "192.168.42.2 one" in inside(baleine, "two", "cat /etc/hosts")
    assert "PING two (192.168.42.3)" in inside(baleine, "one", "ping -c 1 -W 1 two 2>&1; true")
    baleine("container", "stop", "two", "-t", "1")
    assert "two" not in inside(baleine, "one", "cat /etc/hosts")
    baleine("container", "start", "two")
    assert "192.168.42.3 two" in inside(baleine, "one", "cat /etc/hosts")
    for name in ("one", "two"):
        baleine("container", "remove", name)
    lab.module("baleine_bridge", name="private", state="absent")
