# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory itself: what a lab host is, what it hides, what the leak check sees, what stop leaves."""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import cgroups, kernel, leaks, loops, run, trees
from tests.lab.host import LabHost
from tests.lab.kernel import Route
from tests.lab.wire import Wire

if TYPE_CHECKING:
    from conftest import Laboratory

Factory = Callable[..., LabHost]


@pytest.fixture(scope="module")
def pair(wire: Wire, lab_factory: Factory) -> tuple[LabHost, LabHost]:
    """Two pristine Debian hosts on the wire, each with an sshd."""
    hosts = lab_factory("left", root="debian", wire=wire), lab_factory("right", root="debian", wire=wire)
    for host in hosts:
        host.start_sshd()
    return hosts


def test_a_lab_host_has_no_route_and_reaches_nothing(lab: LabHost) -> None:
    network = kernel.of(lab)
    assert network.routes == []
    assert [name for name, link in network.links.items() if link.up] == ["lo"]
    # An address that is nobody's (RFC 5737); the attempt ends inside for want of a route.
    refused = lab.run(["bash", "-c", "echo >/dev/tcp/192.0.2.1/80"], check=False, timeout=120)
    assert "unreachable" in refused.stderr
    assert lab.read("/proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_a_lab_host_has_its_own_names_processes_and_root(lab: LabHost, lab_factory: Factory) -> None:
    other = lab_factory("other")
    assert lab.sh("hostname").stdout == "lab\n"
    assert lab.read("/etc/machine-id") not in ("", Path("/etc/machine-id").read_text(), other.read("/etc/machine-id"))
    lab.write("/usr/local/share/mark", "here\n")
    assert lab.path("/usr/local/share/mark").exists()
    assert not other.path("/usr/local/share/mark").exists()
    assert not Path("/usr/local/share/mark").exists()
    listing = ["ls", "/proc"]  # PID 1 and ls
    assert run.wait_for(lambda: len([name for name in lab.run(listing).stdout.split() if name.isdigit()]) == 2)
    namespaces = ("mnt", "net", "pid", "uts", "ipc")
    assert all(os.readlink(f"/proc/{lab.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}") for name in namespaces)
    assert other.stop() == []


def test_images_are_on_the_real_filesystem_and_no_directory_of_the_machine_is_mounted(lab: LabHost) -> None:
    lines = lab.read("/proc/self/mountinfo").splitlines()
    points = {line.split()[4]: line.split(" - ")[1].split()[0] for line in lines}
    assert points["/"] == "overlay"
    assert points["/var/lib/baleine"] not in ("overlay", "tmpfs")
    assert set(points) - {
        "/",
        "/proc",
        "/sys",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/run",
        "/var/lib/baleine",
        "/var/log/baleine",
        "/mnt",
        "/srv",
        "/tmp",
        "/var/tmp",
        "/var/lib/docker",
        "/var/lib/containers",
    } == {point for point in points if point.startswith("/sys/fs/cgroup")}
    assert lab.sh(
        "ls -A /var/lib/baleine /run/baleine /etc/cron.d/baleine /usr/local/bin/baleine", check=False
    ).stdout.split() == ["/var/lib/baleine:"]


def test_commands_run_in_cgroups_of_their_lab_host_only(lab: LabHost) -> None:
    assert all(
        f"/{cgroups.LAB}/{lab.cgroup}" in line
        for line in lab.read("/proc/self/cgroup").splitlines()
        if line.partition(":")[2].partition(":")[0] in {"", *(tree.name for tree in cgroups.hierarchies())}
    )
    for tree in cgroups.hierarchies():
        folder = f"/sys/fs/cgroup/{tree.name}".rstrip("/")
        lab.sh(f"mkdir {folder}/mine; [ -e {folder}/mine/cgroup.procs ]")
        assert (tree.lab / lab.cgroup / "mine").is_dir()
        lab.sh(f"rmdir {folder}/mine")


def test_a_host_can_see_the_real_cgroup_roots(lab_factory: Factory) -> None:
    host = lab_factory("real", cgroup_root="real")
    assert cgroups.LAB in host.sh("ls /sys/fs/cgroup /sys/fs/cgroup/*").stdout
    assert host.cgroup in host.read("/proc/self/cgroup")
    if any(tree.version == 1 for tree in cgroups.hierarchies()):
        name = f"lab-test-{os.getpid()}"  # a killed run may have left its own
        host.sh(f"mkdir -p /sys/fs/cgroup/freezer/{name}/web1")
        assert f"cgroup freezer:/{name}/web1 was left behind" in host.leaks(timeout=0)
        assert f"cgroup freezer:/{name} had to be removed" in host.stop()


def test_a_command_gets_a_clean_environment_its_input_and_a_timeout(lab: LabHost) -> None:
    assert lab.run(["cat"], input="words").stdout == "words"
    assert set(lab.run(["env"], env={"MORE": "1"}).stdout.split()) == {
        *(f"{key}={value}" for key, value in run.CLEAN_ENV.items()),
        "MORE=1",
    }
    assert lab.run(["id", "-un"], user="nobody").stdout == "nobody\n"
    with pytest.raises(run.CommandFailed, match="no such luck"):
        lab.sh("echo no such luck >&2; exit 3")
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run(["sleep", "600"], timeout=0.2)
    assert run.wait_for(lambda: "sleep" not in lab.sh("ps -e").stdout)


def test_pid_one_reaps_orphans(lab: LabHost) -> None:
    lab.sh("(sleep 0.05 &) ; (sleep 0.05 &)")
    assert run.wait_for(lambda: "sleep" not in lab.sh("ps -e").stdout)


def test_the_tiny_image_runs_under_a_runtime(lab: LabHost, tiny: str) -> None:
    folder = "/var/lib/baleine"
    assert lab.read(f"{folder}/manifeste/images/{tiny}.manifest") == (
        f"nom_image: tiny\ntaille: 64\nchemin: {folder}/images\n"
    )
    assert lab.sh(f"stat -c %a {folder} {folder}/images; stat -c '%s' {folder}/images/tiny").stdout.split() == [
        "700",
        "700",
        str(64 << 20),
    ]
    lab.sh(f"""
        cp --sparse=always {folder}/images/tiny {folder}/try; mkdir -p /run/try/rootfs
        mount -o loop {folder}/try /run/try/rootfs; cd /run/try; runc spec
        sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"httpd", "--help"/' config.json
        runc run try >out 2>&1 || true; umount rootfs; rm {folder}/try""")
    assert "BusyBox" in lab.read("/run/try/out")
    lab.sh("rm -rf /run/try; rmdir /run/runc 2>/dev/null || true")


def test_the_leak_check_is_silent_if_nothing_is_left(lab: LabHost) -> None:
    assert lab.leaks() == []


@pytest.mark.parametrize(
    ("make", "message", "clear"),
    [
        (
            "truncate -s 1M /var/lib/baleine/f; losetup -f --show /var/lib/baleine/f >/tmp/loop",
            "loop device loop* on /var/lib/baleine/f was left",
            "losetup -d $(cat /tmp/loop); rm /var/lib/baleine/f",
        ),
        (
            "truncate -s 1M /var/lib/baleine/f; losetup -f --show /var/lib/baleine/f >/tmp/loop; rm /var/lib/baleine/f",
            "loop device loop* on /var/lib/baleine/f (deleted) was left",
            "losetup -d $(cat /tmp/loop)",
        ),
        (
            "truncate -s 1M /root/f; losetup -f --show /root/f >/tmp/loop",
            "loop device loop* on /root/f was left",
            "losetup -d $(cat /tmp/loop); rm /root/f",
        ),
        ("mount -t tmpfs lost /mnt", "mount /mnt (again) was left behind (tmpfs from lost)", "umount /mnt"),
        ("ip link add vif1234_0 type bridge", "link vif1234_0 was left behind (bridge)", "ip link del vif1234_0"),
        ("ip netns add lost", "mount /run/netns/lost was left", "ip netns del lost; umount /run/netns"),
        (
            "unshare -n sleep 6000 >/dev/null 2>&1 &",
            "network namespace net:* was left behind (of process *sleep)",
            "kill $(pidof sleep)",
        ),
        ("setsid sleep 6000 >/dev/null 2>&1 &", "process * sleep 6000 was left", "kill $(pidof sleep)"),
        ("mkdir /sys/fs/cgroup/*/lost", "cgroup *:/lost was left", "rmdir /sys/fs/cgroup/*/lost"),
        ("mkdir -p /run/crun/web1", "state /run/crun/web1 was left", "rm -r /run/crun"),
        (
            "mkdir -p /mnt/baleine/web1; echo >/mnt/baleine/web1/f",
            "file /mnt/baleine/web1/f was left",
            "rm -r /mnt/baleine",
        ),
        (
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            "sysctl net/ipv4/ip_forward was changed from '0' to '1'",
            "echo 0 >/proc/sys/net/ipv4/ip_forward",
        ),
        ("nft add table inet lost", "packet filter nft: table inet lost* was left", "nft delete table inet lost"),
    ],
    ids=[
        "loop",
        "deleted",
        "overlay",
        "mount",
        "link",
        "netns",
        "netns-process",
        "process",
        "cgroup",
        "state",
        "file",
        "sysctl",
        "rule",
    ],
)
def test_the_leak_check_names_everything_that_is_left(lab: LabHost, make: str, message: str, clear: str) -> None:
    if make.startswith("mkdir /sys/fs/cgroup/*"):
        first = f"/sys/fs/cgroup/{cgroups.hierarchies()[0].name}/lost"
        make, clear = f"mkdir {first}", f"rmdir {first}"
    with run.locked(run.BASE / "leaks.lock"):  # nobody can tell whose a deleted file was that nobody mounts
        lab.sh(make)
        try:
            assert run.wait_for(lambda: fnmatch.filter(lab.leaks(timeout=0), f"{message}*")), lab.leaks(timeout=0)
        finally:
            lab.sh(clear)
        assert lab.leaks() == []


def test_a_test_file_that_leaves_something_behind_fails(laboratory: Laboratory) -> None:
    other = type(laboratory)()
    host = other.host("untidy")
    host.sh("ip link add vif1 type bridge; mkdir -p /run/crun/web1")
    assert other.close(patience=10) == [
        "untidy: link vif1 was left behind (bridge)",
        "untidy: state /run/crun/web1 was left behind (a directory)",
    ]
    assert host.stopped


def test_a_stopped_host_leaves_nothing(lab_factory: Factory) -> None:
    before = leaks.snapshot()
    host = lab_factory("brief", leak_check=False)
    host.popen(["sleep", "600"])
    host.sh("""
        truncate -s 8M /var/lib/baleine/f; mke2fs -q /var/lib/baleine/f; mount -o loop /var/lib/baleine/f /mnt
        ip link add vif1 type veth peer name vif2; mkdir -p /run/baleine; echo >/run/baleine/x
        sleep 600 >/dev/null 2>&1 & echo $! >/tmp/pid""")
    for tree in cgroups.hierarchies():
        if tree.name == "freezer":  # a frozen process on v1 cannot be killed
            host.sh(
                "mkdir /sys/fs/cgroup/freezer/f; cat /tmp/pid >/sys/fs/cgroup/freezer/f/cgroup.procs"
                "; echo FROZEN >/sys/fs/cgroup/freezer/f/freezer.state"
            )
    folder = host.folder
    assert host.stop() == []
    assert leaks.check(None, before) == []
    assert not folder.exists()


def test_the_stop_of_a_host_reports_everything_it_had_to_force(lab_factory: Factory) -> None:
    host = lab_factory("careless", leak_check=False)
    host.sh("truncate -s 8M /var/lib/baleine/f; losetup -f /var/lib/baleine/f")
    [problem] = host.stop()
    assert problem.startswith("loop device loop")
    assert problem.endswith("had to be detached")


def test_a_killed_test_run_leaves_no_process_and_the_next_run_removes_the_rest(laboratory: object) -> None:
    script = """if True:
        import sys; sys.path.insert(0, sys.argv[1])
        from tests.lab.host import LabHost
        from tests.lab.wire import Wire
        wire = Wire(); host = LabHost("orphan", wire=wire); keep = host.popen(["sleep", "600"])
        host.sh("truncate -s 1M /var/lib/baleine/f; losetup -f /var/lib/baleine/f")
        print(host.pid, wire.pid, host.folder.parent, flush=True); sys.stdin.read()"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(run.REPOSITORY)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    *pids, folder = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run.wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    name = Path(folder).name

    def swept() -> bool:  # the kernel may still be ending the last process
        run.sweep()
        return not any(tree.endswith(name) for tree in cgroups.subtrees())

    assert run.wait_for(swept)
    assert not Path(folder).exists()
    assert "/f (deleted)" not in [loop.path for loop in loops.all_loops()]


def test_two_hosts_on_a_wire_reach_each_other_and_the_controller_reaches_them(
    wire: Wire, pair: tuple[LabHost, LabHost]
) -> None:
    left, right = pair
    assert wire.ssh(left, "hostname; id -un; sudo -n id -un").stdout.split() == ["left", "ops", "root"]
    greeting = left.run(["bash", "-c", f"exec 3<>/dev/tcp/{right.address}/22; head -c 7 <&3"]).stdout
    assert greeting == "SSH-2.0"
    own = Route("172.30.0.0/24", "", "eth0", left.address, protocol="kernel", scope="link")
    assert kernel.of(left).routes == [own]


def test_ansible_reaches_the_hosts_from_the_wire(wire: Wire, pair: tuple[LabHost, LabHost], tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps(wire.inventory(*pair)))
    said = wire.run(
        [
            str(Path(sys.executable).with_name("ansible")),
            "-i",
            str(inventory),
            "lab",
            "-m",
            "ansible.builtin.command",
            "-a",
            "id -un",
        ],
        cwd=tmp_path,
    ).stdout
    assert said.count("root") == 2


def test_the_package_proxy_serves_apt_in_a_pristine_debian(pair: tuple[LabHost, LabHost]) -> None:
    host = pair[0]
    assert host.run(["which", "crun"], check=False).returncode == 1
    host.use_package_proxy()
    host.sh(
        "apt-get -q update && apt-get -qy install --no-install-recommends hello",
        timeout=900,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    assert "Hello" in host.run(["hello"]).stdout


def test_the_package_proxy_serves_mmdebstrap_in_a_copy_of_the_machine(wire: Wire, lab_factory: Factory) -> None:
    host = lab_factory("builder", wire=wire)
    options = [f"--aptopt={option}" for option in (f'Acquire::http::Proxy "{wire.proxy_url}"', *wire.apt_options())]
    host.run(
        ["mmdebstrap", "--variant=extract", "--include=hello", *options, trees.SUITE, "/var/lib/baleine/tree"],
        timeout=900,
    )
    assert host.path("/var/lib/baleine/tree/usr/bin/hello").exists()
    host.sh("rm -r /var/lib/baleine/tree")
