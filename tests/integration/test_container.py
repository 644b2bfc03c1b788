# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on a real kernel: created, started, changed in place, killed, healed, refused, removed."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.locking import holding, waiting
from tests.lab import kernel, product
from tests.lab.host import LabHost
from tests.lab.kernel import Link, Network, Qdisc, Route
from tests.lab.run import wait_for

SLEEP = ["sleep", "1000"]


@pytest.fixture(scope="module", autouse=True)
def bridges(lab: LabHost, tiny: str) -> None:
    lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    lab.module("baleine_bridge", name="public", addresses=["10.0.0.1/8"])
    lab.rebase()


@pytest.fixture
def name(lab: LabHost, request: pytest.FixtureRequest) -> Any:
    """A name for one test; what has it is removed afterwards."""
    chosen = "t" + re.sub(r"[^a-z]", "", request.node.name.replace("test_", ""))[:40]
    yield chosen
    lab.module("baleine_container", name=chosen, state="absent")


def container(lab: LabHost, name: str, **options: Any) -> dict[str, Any]:
    settings = {
        "image": "tiny",
        "command": SLEEP,
        "networks": [{"bridge": "private", "addresses": ["192.168.42.9/24"]}],
    }
    return lab.module("baleine_container", name=name, **{**settings, **options})


def inside(lab: LabHost, name: str, script: str) -> str:
    """Run a shell line in a container, by the command line."""
    return lab.run(["/usr/local/bin/baleine", "container", "exec", "-c", name, "--", "sh", "-c", script]).stdout


def record(lab: LabHost, name: str) -> dict[str, str]:
    text = lab.read(f"/var/lib/baleine/manifeste/containers/{name}.manifest")
    return {key: value.strip() for key, _colon, value in (line.partition(":") for line in text.splitlines())}


def kernel_traces(lab: LabHost, name: str, pid: int) -> list[str]:
    """What must vanish with a container's processes: loop device, mount of the disk, links."""
    found = [line for line in lab.read("/proc/1/mountinfo").splitlines() if f"/mnt/baleine/{name}" in line]
    inode = lab.path(f"/var/lib/baleine/containers/{name}").stat().st_ino
    listed = json.loads(lab.run(["losetup", "--json", "--list", "-O", "NAME,BACK-INO"]).stdout or "{}")
    found += [str(loop["name"]) for loop in listed.get("loopdevices", []) if int(loop["back-ino"]) == inode]
    links = record(lab, name)["interface"].split(",")
    return found + [link for link in links if link in kernel.of(lab).links]


def network_of(lab: LabHost, name: str) -> Network:
    """What the kernel holds of a container's network namespace."""
    return kernel.of(lab, record(lab, name)["pid"])


def seen(link: Link) -> tuple[tuple[str, ...], str, int, bool]:
    """Of an interface what a task asks for: addresses, bridge, MTU, and whether it is up."""
    return link.addresses, link.master, link.mtu, link.up


@pytest.mark.smoke
def test_the_prediction_matches_the_change_and_the_second_run_changes_nothing(lab: LabHost, name: str) -> None:
    predicted = container(lab, name, check=True)
    assert not lab.path(f"/var/lib/baleine/manifeste/containers/{name}.manifest").exists()
    done = container(lab, name)
    assert predicted["changed"] and done["changed"]
    assert predicted["diff"] == done["diff"]
    assert predicted["actions"] == done["actions"]
    again = container(lab, name)
    assert not again["changed"] and again["actions"] == [] and again["drift"] == []
    assert again["container"]["pid"] == done["container"]["pid"]


@pytest.mark.smoke
def test_a_container_has_separate_namespaces_and_ids_and_a_disk_hidden_from_the_host(
    lab: LabHost, baleine: Any, name: str
) -> None:
    facts = container(lab, name)["container"]
    pid = facts["pid"]
    for kind in ("pid", "mnt", "net", "uts", "ipc", "cgroup", "user"):
        assert lab.sh(f"readlink /proc/{pid}/ns/{kind}").stdout != lab.sh(f"readlink /proc/1/ns/{kind}").stdout, kind
    assert lab.sh(f"cat /proc/{pid}/uid_map").stdout.split() == ["0", str(facts["first_id"]), "65536"]
    assert facts["first_id"] >= 0x70000000
    assert inside(lab, name, "touch /mine; stat -c %u /mine; cat /proc/sys/net/ipv4/ip_forward").split() == ["0", "0"]
    assert not [line for line in lab.read("/proc/1/mountinfo").splitlines() if f"/mnt/baleine/{name} " in line]
    assert inside(lab, name, "hostname").strip() == name
    assert "idmapped" in inside(lab, name, "mount | grep ' / '")


@pytest.mark.smoke
def test_a_container_answers_on_ipv4_and_ipv6_at_once_with_its_interfaces_in_order(
    lab: LabHost, baleine: Any, name: str
) -> None:
    networks = [
        {
            "bridge": "public",
            "addresses": ["10.0.0.2/8"],
            "routes": [{"destination": "172.16.0.0/12", "gateway": "10.0.0.1"}],
        },
        {"bridge": "private", "addresses": ["192.168.42.9/24", "FD42:0::9/64"], "gateway": "192.168.42.1"},
    ]
    command = ["httpd", "-f", "-p", "[::]:80", "-h", "/www"]
    container(lab, name, networks=networks, command=command, wait={"http": "/", "timeout": 60})
    network, outside = network_of(lab, name), kernel.of(lab).links
    assert {inside: seen(link) for inside, link in network.links.items()} == {
        "lo": (("127.0.0.1/8", "::1/128"), "", 65536, True),
        "eth0": (("10.0.0.2/8",), "", 1500, True),
        "eth1": (("192.168.42.9/24", "fd42::9/64"), "", 1500, True),
    }
    links = record(lab, name)["interface"].split(",")
    assert [seen(outside[link]) for link in links] == [
        ((), "public", 1500, True),
        ((), "private", 1500, True),
    ]
    assert lab.sh("curl -s -o /dev/null -w '%{http_code}' 'http://[fd42::9]/'", check=False).stdout != "000"
    of_kernel = {"protocol": "kernel", "scope": "link"}
    assert set(network.routes) == {
        Route("0.0.0.0/0", "192.168.42.1", "eth1"),
        Route("10.0.0.0/8", link="eth0", source="10.0.0.2", **of_kernel),
        Route("172.16.0.0/12", "10.0.0.1", "eth0"),
        Route("192.168.42.0/24", link="eth1", source="192.168.42.9", **of_kernel),
        Route("fd42::/64", link="eth1", metric=256, protocol="kernel"),
    }
    assert not container(lab, name, networks=networks, command=command)["changed"]


@pytest.mark.smoke
def test_a_killed_container_leaves_no_mount_loop_device_or_link_and_is_started_again(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    lab.run(["kill", "-9", str(pid)])
    wait_for(lambda: not kernel_traces(lab, name, pid))
    assert kernel_traces(lab, name, pid) == []
    check = container(lab, name, check=True)
    healed = container(lab, name)
    assert [action["action"] for action in healed["actions"]] == ["start"] == [a["action"] for a in check["actions"]]
    assert healed["drift"] == [f"container {name}: its first process is gone"]
    assert healed["container"]["pid"] != pid
    lab.module("baleine_container", name=name, state="stopped")
    assert lab.run(["e2fsck", "-fn", f"/var/lib/baleine/containers/{name}"]).returncode == 0


def test_a_lost_address_of_a_container_is_restored_and_reported_as_drift(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    inside = network_of(lab, name)
    lab.sh(f"nsenter -n -t {pid} ip address del 192.168.42.9/24 dev eth0")
    healed = container(lab, name)
    assert network_of(lab, name).links == inside.links
    assert set(network_of(lab, name).routes) == set(inside.routes)
    assert [action["action"] for action in healed["actions"]] == ["connect"]
    assert healed["drift"] == [f"container {name}: eth0: address 192.168.42.9/24 missing"]
    assert record(lab, name)["pid"] == str(pid)


def test_a_deleted_bridge_is_restored_with_its_containers_and_reported_as_drift(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    outside = kernel.of(lab).links
    lab.sh("ip link del private")
    bridge = lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    assert bridge["drift"] == [
        "bridge private: the link is gone",
        f"bridge private: container {name} was cut off",
    ]
    assert container(lab, name)["changed"] is False
    assert kernel.of(lab).links == outside
    assert outside[record(lab, name)["interface"]].master == "private"
    lab.run(["ping", "-c", "1", "-w", "60", "192.168.42.9"])
    lab.sh("ip address del 192.168.42.1/24 dev private")
    bridge = lab.module("baleine_bridge", name="private", addresses=["192.168.42.1/24", "fd42::1/64"])
    assert [action["action"] for action in bridge["actions"]] == ["add_address"]
    assert bridge["drift"] == ["bridge private: the address 192.168.42.1/24 is gone"]
    assert kernel.of(lab).links == outside
    assert record(lab, name)["pid"] == str(pid)


def test_limits_are_set_in_the_kernel_and_change_without_a_restart(lab: LabHost, name: str) -> None:
    limits = {"memory": "64M", "cpus": 0.5, "cpuset": "0-1", "pids": 50}
    pid = container(lab, name, limits=limits)["container"]["pid"]
    assert container(lab, name, limits={**limits, "memory": str(64 << 20)})["changed"] is False
    changed = container(lab, name, limits={"memory": "128MiB", "pids": 60})
    assert [action["action"] for action in changed["actions"]] == ["set_limits"]
    assert changed["container"]["pid"] == pid
    again = container(lab, name, limits={"memory": "128M", "pids": 60})
    assert not again["changed"]
    lab.sh(f"echo 70 > $(find /sys/fs/cgroup -path '*baleine/{name}/pids.max')")
    assert container(lab, name, limits={"memory": "128M", "pids": 60})["drift"] == [
        f"container {name}: limits.pids was 70"
    ]


def test_networks_change_in_place_and_interfaces_can_be_added_and_removed(lab: LabHost, name: str) -> None:
    pid = container(lab, name)["container"]["pid"]
    first = {"bridge": "private", "addresses": ["192.168.42.10/24"], "mtu": 1400}
    two = [
        {**first, "rate_in": "16mbit", "rate_out": "8mbit"},
        {"bridge": "public", "addresses": ["10.1.0.2/8"]},
    ]
    changed = container(lab, name, networks=two)
    assert changed["container"]["pid"] == pid
    inside = network_of(lab, name)
    assert {link: seen(inside.links[link]) for link in inside.links if link != "lo"} == {
        "eth0": (("192.168.42.10/24",), "", 1400, True),
        "eth1": (("10.1.0.2/8",), "", 1500, True),
    }
    links, outside = record(lab, name)["interface"].split(","), kernel.of(lab)
    assert [seen(outside.links[link]) for link in links] == [
        ((), "private", 1400, True),
        ((), "public", 1500, True),
    ]
    # A bucket holds 20 ms of the rate, in bytes, and the queue 50 ms more.
    assert (outside.qdiscs[links[0]], inside.qdiscs["eth0"]) == (
        [Qdisc("tbf", 16_000_000, burst=40_000, limit=140_000)],
        [Qdisc("tbf", 8_000_000, burst=20_000, limit=70_000)],
    )
    assert outside.rates(links[1]) == inside.rates("eth1") == []
    assert not container(lab, name, networks=two)["changed"]
    lab.run(["ping", "-c", "1", "-w", "60", "10.1.0.2"])
    lab.run(["ping", "-c", "1", "-w", "60", "192.168.42.10"])
    changed = container(lab, name, networks=two[:1])
    assert [action["action"] for action in changed["actions"]] == ["cut", "record_networks"]
    assert set(network_of(lab, name).links) == {"lo", "eth0"}
    left = kernel.of(lab).links
    assert [link in left for link in links] == [True, False]
    assert not container(lab, name, networks=two[:1])["changed"]


def test_a_change_that_needs_a_recreate_is_refused_unless_allowed_and_keeps_the_disk(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name)["container"]["pid"]
    inside(lab, name, "echo kept > /root/data")
    refused = container(lab, name, env={"A": "1"}, expect_failure=True)
    assert "env none -> {'A': '1'}" in refused["msg"] and "recreate: on_change" in refused["msg"]
    assert record(lab, name)["pid"] == str(pid)
    done = container(lab, name, env={"A": "1"}, recreate="on_change")
    assert done["container"]["pid"] != pid
    assert inside(lab, name, "cat /root/data").strip() == "kept"
    assert "A=1" in lab.sh(f"tr '\\0' '\\n' < /proc/{done['container']['pid']}/environ").stdout.split()
    assert not container(lab, name, env={"A": "1"})["changed"]
    assert container(lab, name, env={"A": "1", "b": "2"}, check=True, recreate="on_change")["changed"]


def test_a_recreate_that_does_not_start_restores_the_old_container(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    inside(lab, name, "echo kept > /root/data")
    failed = container(lab, name, user="nobodyknows", recreate="on_change", expect_failure=True)
    assert "has no user nobodyknows" in failed["msg"]
    assert inside(lab, name, "cat /root/data").strip() == "kept"
    assert not container(lab, name)["changed"]


def test_another_image_makes_a_new_disk_and_keeps_the_old_one_until_it_is_removed_by_name(
    lab: LabHost, baleine: Any, name: str
) -> None:
    lab.module("baleine_image", name="other", from_image="tiny", files=[{"path": "/other", "content": "x"}])
    container(lab, name)
    inside(lab, name, "echo old > /root/data")
    refused = container(lab, name, image="other", expect_failure=True)
    assert "image tiny -> other" in refused["msg"]
    container(lab, name, image="other", recreate="on_change")
    assert inside(lab, name, "cat /other; ls /root").strip() == "x"
    removed = lab.module("baleine_container", name=name, state="absent")
    (aside,) = [path.name for path in lab.path("/var/lib/baleine/containers").iterdir()]
    assert aside in str(removed["warnings"])
    baleine("container", "remove", aside)
    assert not list(lab.path("/var/lib/baleine/containers").iterdir())
    lab.module("baleine_image", name="other", state="absent")


@pytest.mark.smoke
def test_a_task_without_image_changes_only_the_state(lab: LabHost, name: str) -> None:
    container(lab, name, env={"A": "1"})
    stopped = lab.module("baleine_container", name=name, state="stopped")
    assert stopped["container"]["state"] == "stopped" and stopped["container"]["exit_code"] == 143
    assert not lab.module("baleine_container", name=name, state="stopped")["changed"]
    refused = lab.module("baleine_container", name=name, state="started", hostname="x", expect_failure=True)
    assert "hostname without image" in refused["msg"]
    started = lab.module("baleine_container", name=name)
    assert started["container"]["state"] == "running"
    restarted = lab.module("baleine_container", name=name, restart=True)
    assert restarted["changed"] and restarted["container"]["pid"] != started["container"]["pid"]
    missing = lab.module("baleine_container", name="nobody", state="stopped", expect_failure=True)
    assert "container nobody: there is none" in missing["msg"]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("program", "code"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)],
    ids=["0", "7", "killed"],
)
def test_the_exit_code_of_a_program_is_known(lab: LabHost, name: str, program: list[str], code: int) -> None:
    container(lab, name, command=program, networks=[])
    info = {"names": [name]}
    assert wait_for(
        lambda: lab.module("baleine_container_info", **info)["containers"][0]["container"]["state"] == "stopped"
    )
    assert lab.module("baleine_container", name=name, state="stopped")["container"]["exit_code"] == code


@pytest.mark.smoke
def test_a_program_that_daemonises_lives_on_and_stops_at_once(lab: LabHost, name: str) -> None:
    facts = container(lab, name, command="sh -c 'httpd -p 80 -h /www'", wait={"http": "/", "timeout": 60})["container"]
    assert facts["state"] == "running"
    assert wait_for(lambda: lab.path(f"/run/baleine/containers/{name}/state/exit").exists())
    stopped = lab.module("baleine_container", name=name, state="stopped")["container"]
    assert (stopped["state"], stopped["exit_code"]) == ("stopped", 0)


def test_two_names_with_colliding_interface_names_both_work(lab: LabHost) -> None:
    by_digits: dict[str, str] = {}
    for number in range(2000):
        digits = hashlib.sha1(f"meet{number}\n".encode()).hexdigest()[:4]
        pair = (by_digits.setdefault(digits, f"meet{number}"), f"meet{number}")
        if pair[0] != pair[1]:
            break
    for index, one in enumerate(pair):
        container(lab, one, networks=[{"bridge": "private", "addresses": [f"192.168.42.{100 + index}/24"]}])
    links = [record(lab, one)["interface"] for one in pair]
    assert links[0] != links[1] and all(len(link) <= 15 for link in links)
    assert links[0][:7] == links[1][:7]
    for index, one in enumerate(pair):
        lab.run(["ping", "-c", "1", "-w", "60", f"192.168.42.{100 + index}"])
        assert not container(lab, one, networks=[{"bridge": "private", "addresses": [f"192.168.42.{100 + index}/24"]}])[
            "changed"
        ]
        lab.module("baleine_container", name=one, state="absent")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "nosuch"}, "there is no image nosuch"),
        ({"networks": [{"bridge": "nosuch"}]}, "there is no bridge nosuch"),
        (
            {"networks": [{"bridge": "private", "addresses": ["192.168.43.9/24"]}]},
            "outside the network of the bridge private",
        ),
        (
            {"networks": [{"bridge": "private", "addresses": ["192.168.42.1/24"]}]},
            "in use on the bridge private by the bridge",
        ),
        ({"command": "sh -c 'open"}, "No closing quotation"),
        ({"volumes": [{"source": "/no/such", "target": "/x"}]}, "volume /no/such: No such file"),
        ({"user": "nobodyknows"}, "has no user nobodyknows"),
        ({"limits": {"memory": "1M"}}, "too small"),
        ({"command": ["/no/such"]}, "its tree has no program /no/such"),
        ({"command": ["/etc/passwd"]}, "its tree has no executable program /etc/passwd"),
    ],
    ids=["image", "bridge", "outside", "in use", "quote", "volume", "user", "memory", "program", "not executable"],
)
def test_an_invalid_container_is_refused_and_leaves_nothing(lab: LabHost, options: dict[str, Any], words: str) -> None:
    before = sorted(str(path) for path in lab.path("/var/lib/baleine").rglob("*"))
    refused = container(lab, "refused", expect_failure=True, **options)
    assert words in refused["msg"], refused["msg"]
    assert "container refused" in refused["msg"]
    assert sorted(str(path) for path in lab.path("/var/lib/baleine").rglob("*")) == before


@pytest.mark.parametrize(
    "bad", ["a/b", "a b", "..", "x" * 300, "-x", ""], ids=["slash", "space", "dots", "long", "dash", "empty"]
)
def test_an_invalid_name_is_refused(lab: LabHost, bad: str) -> None:
    refused = container(lab, bad, expect_failure=True)
    assert "no valid name" in refused["msg"]


def test_an_address_in_use_is_refused_with_the_name_of_its_container(lab: LabHost, name: str) -> None:
    container(lab, name)
    refused = container(lab, "second", expect_failure=True)
    assert f"192.168.42.9 is in use on the bridge private by container {name}" in refused["msg"]


def test_a_disk_that_a_loop_device_still_holds_is_not_started(lab: LabHost, name: str) -> None:
    container(lab, name, state="present")
    loop = lab.sh(f"losetup --find --show /var/lib/baleine/containers/{name}").stdout.strip()
    try:
        refused = container(lab, name, expect_failure=True)
        assert f"still held by {loop}" in refused["msg"]
    finally:
        lab.run(["losetup", "-d", loop])
    assert container(lab, name)["container"]["state"] == "running"


def test_a_full_filesystem_in_the_middle_of_a_copy_leaves_nothing(lab_factory: Any) -> None:
    from tests.lab import trees

    full = lab_factory("full")
    full.sh(
        "mkdir -p /srv/small && mount -t tmpfs -o size=12m tmpfs /srv/small && mkdir -p /var/lib/baleine/containers"
    )
    trees.tiny_image(full)
    full.sh("mount --bind /srv/small /var/lib/baleine/containers && head -c 11m /dev/zero > /srv/small/filler")
    refused = full.module("baleine_container", name="x", image="tiny", command=SLEEP, expect_failure=True)
    assert "No space left" in refused["msg"] and "Make room" in refused["msg"]
    assert full.sh("ls -A /srv/small").stdout.split() == ["filler"]
    assert not full.path("/var/lib/baleine/manifeste/containers/x.manifest").exists()
    full.sh("umount /var/lib/baleine/containers; umount /srv/small")


def test_a_failed_wait_reports_the_last_error_and_the_dropping_rule(lab: LabHost, name: str) -> None:
    failed = container(lab, name, wait={"http": "/", "timeout": 5}, expect_failure=True)
    assert "last error: 192.168.42.9" in failed["msg"] and "refused" in failed["msg"]
    lab.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -P FORWARD DROP")  # 1 is the kernel's default
    try:
        failed = container(lab, name, wait={"http": "/", "timeout": 0.5}, expect_failure=True)
        assert "-P FORWARD DROP" in failed["msg"] and "br_netfilter" in failed["msg"]
        hazards = lab.module("baleine_host_info")["hazards"]
        assert any("-P FORWARD DROP" in hazard["what"] for hazard in hazards)
    finally:
        lab.sh("iptables -P FORWARD ACCEPT; nft flush ruleset")


def test_volumes_show_files_of_the_host_and_read_only_ones_cannot_be_written(
    lab: LabHost, baleine: Any, name: str
) -> None:
    lab.sh("mkdir -p /srv/closed/data /srv/rw; chmod 700 /srv/closed; echo hello > /srv/closed/data/page")
    volumes = [
        {"source": "/srv/closed/data", "target": "/data", "read_only": True},
        {"source": "/srv/rw", "target": "/rw"},
    ]
    first_id = container(lab, name, volumes=volumes)["container"]["first_id"]
    assert inside(lab, name, "cat /data/page; stat -c %u /data/page").split() == ["hello", "65534"]
    assert "Read-only" in inside(lab, name, "touch /data/x 2>&1; true")
    assert "denied" in inside(lab, name, "touch /rw/x 2>&1; true")
    lab.run(["chown", f"{first_id}:{first_id}", "/srv/rw"])
    assert inside(lab, name, "touch /rw/x && stat -c %u /rw/x").strip() == "0"
    lab.sh("rm -r /srv/closed /srv/rw")


def test_the_program_runs_as_the_requested_user_in_its_directory(lab: LabHost, name: str) -> None:
    facts = container(lab, name, user="www-data", workdir="/www", networks=[])["container"]
    assert wait_for(lambda: lab.read(f"/proc/{facts['pid']}/task/{facts['pid']}/children").split())  # PID 1 is at work
    status = lab.sh(f"cat /proc/{facts['pid']}/status").stdout
    assert f"Uid:\t{facts['first_id'] + 33}\t" in status
    assert "CapEff:\t0000000000000000" in status
    assert lab.sh(f"readlink /proc/{facts['pid']}/cwd").stdout.strip().endswith("/www")


def test_crun_and_runc_both_start_containers(lab: LabHost, name: str) -> None:
    # the lab host's v2 has no controllers, so crun is chosen; without crun it is runc
    facts = container(lab, name)["container"]
    assert facts["runtime"] == "crun"
    lab.module("baleine_container", name=name, state="stopped")
    lab.sh("mv /usr/bin/crun /usr/bin/crun.away")
    try:
        facts = lab.module("baleine_container", name=name, state="started")["container"]
        assert facts["runtime"] == "runc"
        lab.sh("mv /usr/sbin/runc /usr/sbin/runc.away")
        lab.module("baleine_container", name=name, state="stopped")
        refused = lab.module("baleine_container", name=name, state="started", expect_failure=True)
        assert "neither crun nor runc" in refused["msg"] and "package crun" in refused["msg"]
    finally:
        lab.sh("mv /usr/bin/crun.away /usr/bin/crun; mv /usr/sbin/runc.away /usr/sbin/runc")


def test_the_program_of_the_image_runs_instead_of_a_shell_builtin(lab: LabHost, name: str) -> None:
    script = "#!/bin/busybox sh\necho IMAGE_OWN; exec /bin/busybox sleep 1000\n"
    files = [{"path": "/usr/local/bin/sleep", "content": script, "mode": "0755"}]
    lab.module("baleine_image", name="own", from_image="tiny", files=files)
    container(lab, name, image="own")
    assert wait_for(lambda: lab.read(f"/var/log/baleine/{name}.log") == "IMAGE_OWN\n")
    lab.sh("mkdir -p /srv/tools; printf '#!/bin/sh\necho FROM_VOLUME\n' > /srv/tools/tool; chmod 755 /srv/tools/tool")
    volumes = [{"source": "/srv/tools", "target": "/opt/tools", "read_only": True}]
    changes = {"command": ["tool"], "env": {"PATH": "/bin:/opt/tools"}, "volumes": volumes}
    container(lab, name, image="own", recreate="on_change", **changes)
    assert wait_for(lambda: "FROM_VOLUME" in lab.read(f"/var/log/baleine/{name}.log"))
    lab.module("baleine_container", name=name, state="absent")
    lab.module("baleine_image", name="own", state="absent")
    lab.sh("rm -r /srv/tools")


def test_a_disk_without_its_manifest_is_not_overwritten(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name)
    inside(lab, name, "echo precious > /precious")
    path = f"/var/lib/baleine/manifeste/containers/{name}.manifest"
    lab.sh(f"mv {path} /tmp/away")
    refused = container(lab, name, expect_failure=True)
    assert "no manifest" in refused["msg"]
    lab.sh(f"mv /tmp/away {path}")
    assert inside(lab, name, "cat /precious").strip() == "precious"
    lab.sh(f"rm /var/lib/baleine/containers/{name}")
    assert "still runs on it" in container(lab, name, expect_failure=True)["msg"]
    assert container(lab, name, recreate="on_change")["drift"] == [f"container {name}: its disk is gone"]


def test_a_running_container_without_its_manifest_is_ended_by_its_removal(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name)["container"]["pid"]
    lab.sh(f"rm /var/lib/baleine/manifeste/containers/{name}.manifest /var/lib/baleine/containers/{name}")
    baleine("container", "remove", name)
    assert not lab.path(f"/proc/{pid}").exists()
    assert lab.sh(f"ls -d /run/baleine/*/{name} /sys/fs/cgroup/*/baleine/{name} 2>/dev/null", check=False).stdout == ""
    container(lab, name)


def test_a_killed_start_is_noticed_and_repeated(lab: LabHost, baleine: Any, name: str) -> None:
    container(lab, name, state="present")
    # crun start is where it ends: the process is there, its program is not
    lab.sh("mv /usr/bin/crun /usr/bin/crun.real")
    lab.write(
        "/usr/bin/crun",
        '#!/bin/sh\ncase " $* " in *" start "*) kill -9 $PPID; exit 1;; esac\nexec /usr/bin/crun.real "$@"\n',
        mode=0o755,
    )
    try:
        done = baleine("container", "start", name, check=False)
        assert done.returncode != 0
    finally:
        lab.sh("mv /usr/bin/crun.real /usr/bin/crun")
    listed = {c["name"]: c for c in json.loads(baleine("container", "list", "-a", "--format", "json").stdout)}
    assert listed[name]["state"] == "starting" and listed[name]["pid"]
    again = container(lab, name)
    assert [action["action"] for action in again["actions"]] == ["stop", "start"]
    assert again["container"]["state"] == "running" and not container(lab, name)["changed"]


def test_a_recreate_with_a_busy_disk_leaves_nothing_and_restores_the_old_container(lab: LabHost, name: str) -> None:
    lab.module("baleine_image", name="other", from_image="tiny", files=[{"path": "/other", "content": "x"}])
    pid = container(lab, name)["container"]["pid"]
    shell = lab.popen(["sh", "-c", f"cd /proc/{pid}/root && exec sleep 100000"])
    assert wait_for(lambda: lab.run(["pgrep", "-x", "-f", "sleep 100000"], check=False).returncode == 0)
    refused = container(lab, name, image="other", recreate="on_change", expect_failure=True)
    assert "still held by" in refused["msg"]
    lab.run(["pkill", "-9", "-x", "-f", "sleep 100000"])
    shell.wait()
    assert lab.sh("ls -A /var/lib/baleine/containers").stdout.split() == [name]
    assert container(lab, name)["container"]["state"] == "running"
    lab.module("baleine_container", name=name, state="absent")
    lab.module("baleine_image", name="other", state="absent")


def test_the_hosts_file_follows_the_addresses_and_a_foreign_directory_stays(
    lab: LabHost, baleine: Any, name: str
) -> None:
    container(lab, name)
    container(lab, name, networks=[{"bridge": "private", "addresses": ["192.168.42.10/24"]}])
    hosts = inside(lab, name, "cat /etc/hosts")
    assert f"192.168.42.10 {name}" in hosts and "192.168.42.9" not in hosts
    lab.sh("mkdir -p /srv/mine")
    words = ["-i", "tiny", "-c", "elsewhere", "-r", "/srv/mine/tree", "-p", "sleep 1000"]
    baleine("container", "create", *words)
    assert lab.module("baleine_container", name="elsewhere", image="tiny", command=SLEEP)["changed"] is False
    baleine("container", "remove", "elsewhere")
    assert lab.path("/srv/mine").is_dir()
    lab.sh("rm -r /srv/mine")


def test_a_wait_for_a_command_respects_its_timeout(lab: LabHost, name: str) -> None:
    failed = container(lab, name, wait={"command": ["sleep", "1000"], "timeout": 1}, expect_failure=True)
    assert "did not end in 1 s" in failed["msg"]
    container(lab, name, wait={"command": "true"})


def test_two_containers_created_at_once_cannot_take_the_same_address(lab: LabHost) -> None:
    """Both come to the lock under which addresses are taken before either may have it."""

    def make(one: str) -> bool:
        try:
            container(lab, one, state="present")
        except AssertionError as error:
            assert "is in use" in str(error)
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        with holding(lab, ".registry"):
            made = pool.map(make, ("left", "right"))
            assert wait_for(lambda: waiting(lab, ".registry") == 2)
        assert sorted(made) == [False, True]
    for one in ("left", "right"):
        lab.module("baleine_container", name=one, state="absent")


def test_a_container_of_the_old_scripts_is_adopted_with_its_disk(lab: LabHost, baleine: Any) -> None:
    lab.sh("cp --sparse=always /var/lib/baleine/images/tiny /var/lib/baleine/containers/old")
    lines = (
        "nom_container: old\nnom_image: tiny\npid: 4242\nnom_bridge: private\nstarting_time: 2019-05-09-21h-50m-05s\n"
    )
    lab.write("/var/lib/baleine/manifeste/containers/old.manifest", lines)
    assert "old" in baleine("container", "list", "-a", "-q").stdout.split()
    lab.module("baleine_container", name="old", state="started")
    wanted = {"command": SLEEP, "networks": [{"bridge": "private", "addresses": ["192.168.42.77/24"]}]}
    facts = container(lab, "old", recreate="on_change", **wanted)["container"]
    assert facts["state"] == "running" and facts["interfaces"][0]["link"] == record(lab, "old")["interface"]
    lab.run(["ping", "-c", "1", "-w", "60", "192.168.42.77"])
    assert not container(lab, "old", **wanted)["changed"]
    lab.module("baleine_container", name="old", state="absent")


def test_running_containers_survive_an_update_or_removal_of_the_command_line(
    lab: LabHost, baleine: Any, name: str
) -> None:
    pid = container(lab, name, limits={"pids": 50})["container"]["pid"]
    folders = (("baleine", product.CORE), ("baleine_cli", product.COMMAND_LINE))
    files = {f"{folder}/{path.name}": path.read_text() for folder, source in folders for path in source.glob("*.py")}
    older = {**files, "baleine/errors.py": files["baleine/errors.py"] + "# older\n"}
    for version in (older, files):
        predicted = lab.module("baleine_command", check=True, params={"files": version})
        done = lab.module("baleine_command", params={"files": version})
        assert done["changed"] and predicted["actions"] == done["actions"]
        assert not lab.module("baleine_command", params={"files": version})["changed"]
        assert inside(lab, name, "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || echo 50").strip() == "50"
    lab.module("baleine_command", state="absent")
    assert not lab.path("/usr/local/bin/baleine").exists() and not lab.path("/etc/cron.d/baleine").exists()
    again = container(lab, name, limits={"pids": 50})
    assert not again["changed"] and again["container"]["pid"] == pid
    lab.install_baleine()


def test_the_command_line_refuses_to_run_without_root(lab: LabHost) -> None:
    refused = lab.run(
        [
            "/usr/bin/python3",
            "/opt/ansible-lib/run_module.py",
            "ansible_collections.lab.baleine.plugins.modules.baleine_container",
        ],
        user="nobody",
        check=False,
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"name": "x", "_ansible_remote_tmp": "/tmp"}}),
    )
    assert "needs root" in refused.stdout and "become" in refused.stdout


def test_a_container_that_ends_by_itself_is_removed_without_an_error(lab: LabHost, baleine: Any) -> None:
    for _attempt in range(6):
        words = ("-i", "tiny", "-c", "brief", "-b", "private", "-a", "192.168.42.9/24", "-p", "true")
        baleine("container", "create", *words)
        baleine("container", "remove", "brief")
