# SPDX-License-Identifier: GPL-3.0-or-later
"""The web farm on three lab hosts over SSH: built, broken by hand, healed, and taken away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.run import LONGEST, wait_for
from tests.lab.wire import Wire

pytestmark = pytest.mark.in_order
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)
RULES = "iptables-save; nft list ruleset; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null; true"
# What belongs to an interface comes and goes with it; counters and caches are no settings.
SYSCTLS = r"sysctl -a 2>/dev/null | grep -E '^net\.' | grep -vE '\.(conf|neigh)\.[^.]+\.|nf_conntrack_count|_gc_|stable_secret'"
#: The modules that run on a host, but not the shell that asks for them.
WORKERS = "pgrep -f '[A]nsiballZ|[a]nsible_collections|/usr/bin/[p]ython3 -c|python3$'"


class Farm:
    """Three hosts and the way to run the playbook on them."""

    def __init__(self, wire: Wire, hosts: list[LabHost], folder: Path) -> None:
        self.wire, self.hosts = wire, hosts
        self.settings: list[str] = []
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps(wire.inventory(*hosts, group="webfarm")))

    def play(
        self, *words: str, limit: str = "one", playbook: str = "playbooks/webfarm.yml"
    ) -> tuple[str, dict[str, tuple[int, ...]]]:
        """Run a playbook; returns its words and the recap by host: ok, changed, unreachable, failed."""
        environment = {**os.environ, **self.wire.environment, "ANSIBLE_CONFIG": str(Path("ansible.cfg").resolve())}
        argv = [str(PLAYBOOK), "-i", str(self.inventory), "--limit", limit, *words, playbook]
        done = self.wire.run(argv, check=False, env=environment, cwd=str(Path.cwd()), timeout=1800)
        recap = {match[1]: tuple(int(number) for number in match.groups()[1:]) for match in RECAP.finditer(done.stdout)}
        assert recap, done.stdout + done.stderr
        return done.stdout + " ".join(done.stderr.split()), recap  # warnings are wrapped


def settings(host: LabHost) -> str:
    """The packet filter and the settings of the network, as they must stay."""
    return str(host.net(["sh", "-c", f"{RULES}; {SYSCTLS}"]).stdout)


def traces(host: LabHost) -> dict[str, str]:
    """What a check must leave as it is: files, links, mounts."""
    return {
        "files": host.sh(
            "find / -xdev -newer /etc/mark -not -path '/tmp/*' -not -path '/proc/*' -not -name sshd.log -type f | sort"
        ).stdout,
        "network": "\n".join(kernel.of(host).lines()),
        "mounts": host.read("/proc/self/mountinfo"),
        "state": host.sh("find /var/lib/baleine /run/baleine /srv /mnt /var/log/baleine | sort", check=False).stdout,
    }


@pytest.fixture(scope="module")
def farm(wire: Wire, lab_factory: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A machine with nothing, one that has all packages, and one that cannot write where Baleine keeps its state."""
    roots = {"one": "debian", "two": "machine", "broken": "machine"}
    hosts = [lab_factory(name, root=root, wire=wire) for name, root in roots.items()]
    for host in hosts:
        host.use_package_proxy()
        host.start_sshd()
        # cron's daemon shall not start (invoke-rc.d(8)): it would heal what these tests break
        host.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        host.write("/etc/mark", "")
    hosts[2].sh("mount -t tmpfs -o ro,size=1m tmpfs /var/lib/baleine")
    os.chdir(Path(__file__).parents[2])
    yield Farm(wire, hosts, tmp_path_factory.mktemp("farm"))
    hosts[2].sh("umount /var/lib/baleine", check=False)
    for host in hosts:  # packages and their traces are the host's, asked for by role host
        host.expect("file /usr/local/*", "file /var/lib/baleine/*", "state */lock")


def fair(host: LabHost, servers: int = 3) -> bool:
    """Whether the proxy gives each server its turn: one that lets it wait for a second is left aside for five."""
    return bool(wait_for(lambda: count(host) == {f"web{one + 1}": 12 // servers for one in range(servers)}, LONGEST))


#: Asks the proxy as often as it is told, each time over a connection of its own; a page for each answer.
ASK = """
import sys, urllib.request
for _ in range(int(sys.argv[1])):
    with urllib.request.urlopen("http://10.0.0.2/", timeout=60) as answer:
        print(answer.read().decode())
"""


def count(host: LabHost, requests: int = 12) -> dict[str, int]:
    """Ask the proxy; returns how often each server named itself in its page."""
    pages = host.run(["python3", "-c", ASK, str(requests)]).stdout
    names = re.findall(r"<h1>(web\d+)</h1>", pages)
    return {name: names.count(name) for name in sorted(set(names))}


@pytest.mark.smoke
def test_check_mode_on_empty_hosts_predicts_everything_and_leaves_no_trace(farm: Farm) -> None:
    before = traces(farm.hosts[0])
    words, recap = farm.play("--check", "--diff")
    assert recap["one"][1] > 8 and recap["one"][2:] == (0, 0), words
    for predicted in ("farm-web", "farm-proxy", "public", "private", "web1", "web2", "web3", "10.0.0.2/24"):
        assert predicted in words
    assert "taken to come from an earlier task" in words
    assert traces(farm.hosts[0]) == before


def test_two_hosts_get_their_farm_and_only_the_broken_one_fails_with_its_cause(farm: Farm) -> None:
    farm.settings = [settings(host) for host in farm.hosts[:2]]
    words, recap = farm.play(limit="all")
    assert [recap[name][3] for name in ("one", "two", "broken")] == [0, 0, 1], words
    assert "Read-only file system" in words and "broken" in words
    for name in ("one", "two"):
        told = rf"{name}: farm answers at http://10.0.0.2/: web1 (\d+), web2 (\d+), web3 (\d+)"
        turns = [int(number) for number in re.search(told, words).groups()]
        assert sum(turns) == 12 and all(turns), words
    for host in farm.hosts[:2]:
        assert fair(host)
        assert host.path("/usr/sbin/cron").exists() and "@reboot root" in host.read("/etc/cron.d/baleine")
    assert [settings(host) for host in farm.hosts[:2]] == farm.settings


def test_a_second_run_changes_nothing_also_in_check_mode(farm: Farm) -> None:
    words, recap = farm.play(limit="one,two")
    assert [recap[name][1] for name in ("one", "two")] == [0, 0], words
    words, recap = farm.play("--check", "--diff")
    assert recap["one"][1:] == (0, 0, 0), words


def test_web_servers_cannot_be_reached_from_public_even_if_the_host_routes(farm: Farm) -> None:
    host = farm.hosts[0]
    host.module(
        "baleine_container",
        name="attacker",
        image="farm-web",
        command=["sleep", "infinity"],
        networks=[{"bridge": "public", "addresses": ["10.0.0.66/24"], "gateway": "10.0.0.1"}],
    )
    host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
    try:
        pid = host.module("baleine_container", name="attacker", image=None, state="started")["container"]["pid"]
        host.sh(
            f"nsenter -n -t {pid} ip route add 192.168.42.0/24 via 10.0.0.1; "
            f"nsenter -n -t {pid} ip route add 192.168.42.11/32 via 10.0.0.2"
        )
        probe = "timeout {} bash -c 'exec 3<>/dev/tcp/{}/80' 2>&1 && echo reached"
        enter = 'baleine container exec -c {} -- bash -c "{}"'
        for server in ("192.168.42.11", "192.168.42.12", "192.168.42.13"):
            assert "reached" not in host.sh(enter.format("attacker", probe.format(3, server)), check=False).stdout, (
                server
            )
            assert "reached" in host.sh(enter.format("proxy", probe.format(60, server))).stdout
        assert (
            "reached" in host.sh(enter.format("attacker", probe.format(60, "10.0.0.2"))).stdout
        )  # the probe can succeed
    finally:
        host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
        host.module("baleine_container", name="attacker", state="absent")


def test_a_killed_web_server_loses_no_request_and_the_next_run_restarts_only_it(farm: Farm) -> None:
    host = farm.hosts[0]
    listed = {
        entry["name"]: entry
        for entry in json.loads(host.run(["baleine", "container", "list", "--format", "json"]).stdout)
    }
    assert set(listed) == {"proxy", "web1", "web2", "web3"}
    host.run(["kill", "-9", str(listed["web2"]["pid"])])
    answers = count(host)
    assert sum(answers.values()) == 12 and "web2" not in answers
    assert wait_for(lambda: set(count(host)) == {"web1", "web3"}, LONGEST)
    link = next(item["link"] for item in listed["web2"]["interfaces"])
    assert wait_for(lambda: link not in kernel.of(host).links)
    assert "/mnt/baleine/web2" not in host.read("/proc/self/mountinfo")
    words, recap = farm.play("--diff")
    assert recap["one"][1] == 1 and "+++ after: container web2" in words and "container web1" not in words, words
    assert fair(host)


def test_a_deleted_bridge_and_a_lost_address_are_restored_and_reported_as_drift(farm: Farm) -> None:
    host = farm.hosts[0]
    host.sh("ip link del private; ip address del 10.0.0.1/24 dev public")
    words, recap = farm.play("--diff", "-v")
    assert recap["one"][1] == 1, words  # of two bridges, by one task
    assert "bridge private: the link is gone" in words and "drift" in words
    assert "bridge public: the address 10.0.0.1/24 is gone" in words, words
    assert fair(host)


#: Asks the proxy, one request a moment after another, until its input ends; a line for each answer.
CLIENT = """
import select, sys, urllib.request
while not select.select([sys.stdin], [], [], 0.005)[0]:
    try:
        with urllib.request.urlopen("http://10.0.0.2/", timeout=60) as answer:
            answer.read()
            print(answer.status, flush=True)
    except OSError as error:
        print(error, flush=True)
"""


def test_a_changed_proxy_configuration_is_loaded_without_losing_a_request(farm: Farm) -> None:
    host = farm.hosts[0]
    answers = host.path("/tmp/answers")

    def more_answers() -> bool:
        """Whether the client gets twenty more."""
        before = len(answers.read_text().splitlines())
        return bool(wait_for(lambda: len(answers.read_text().splitlines()) >= before + 20, LONGEST))

    with answers.open("w") as stream:
        client = host.popen(["python3", "-c", CLIENT], stdin=subprocess.PIPE, stdout=stream)
    try:
        assert more_answers()
        words, recap = farm.play("-e", "farm_web_count=4")
        assert recap["one"][3] == 0, words
        assert more_answers()
    finally:
        client.communicate(timeout=LONGEST)
    assert set(answers.read_text().splitlines()) == {"200"}
    assert fair(host, 4)
    words, recap = farm.play()
    assert recap["one"][3] == 0 and fair(host), words


def test_a_playbook_killed_at_any_moment_is_finished_by_the_next_run(farm: Farm) -> None:
    host = farm.hosts[1]
    farm.play("-e", "farm_state=absent", limit="two")
    environment = {**os.environ, **farm.wire.environment, "ANSIBLE_CONFIG": str(Path("ansible.cfg").resolve())}
    argv = [str(PLAYBOOK), "-i", str(farm.inventory), "--limit", "two", "playbooks/webfarm.yml"]
    marks = (  # what has to be there when the axe falls
        "/var/lib/baleine/images/.farm-web.part",
        "/var/lib/baleine/images/.farm-proxy.part",
        "/var/lib/baleine/manifeste/containers/web2.manifest",
    )
    for mark in marks:
        play = farm.wire.popen(argv, env=environment, cwd=str(Path.cwd()))
        assert wait_for(lambda mark=mark: host.path(mark).exists(), 600)
        # first the controller, whose workers are in sessions of their own: nothing new is begun there
        farm.wire.run(["pkill", "-9", "-f", "bin/ansible-playbook"])
        play.wait()
        assert wait_for(lambda: not host.sh(f"kill -9 $({WORKERS}) 2>/dev/null || true; {WORKERS} || true").stdout)
        listed = json.loads(host.run(["baleine", "image", "list", "--format", "json"]).stdout)
        assert all(entry["state"] == "present" and entry["digest"] for entry in listed), listed
    words, recap = farm.play(limit="two")
    assert recap["two"][3] == 0, words
    assert fair(host)


def test_a_rule_that_drops_bridged_frames_is_named_by_the_role_and_by_the_failed_wait(farm: Farm) -> None:
    host = farm.hosts[0]
    host.sh("apt-get install -qqy --no-install-recommends nftables iptables >/dev/null 2>&1", timeout=900)
    host.sh("echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; iptables -P FORWARD DROP")
    try:
        # the proxy itself answers only when it has tried each member for a second: one attempt must outlast that
        words, recap = farm.play("-e", "farm_proxy_timeout=12")
        assert recap["one"][3] == 1, words
        role, _task, wait = words.partition("TASK [lab.baleine.farm_proxy : Reverse proxy]")
        assert "-P FORWARD DROP" in role and "br_netfilter" in role
        assert "HTTP 50" in wait and "-P FORWARD DROP" in wait
    finally:
        host.sh("iptables -P FORWARD ACCEPT; nft flush ruleset")
    words, recap = farm.play()
    assert recap["one"][3] == 0, words


def playbook_of_the_host(folder: Path, **options: str) -> str:
    """Write a playbook of the role `host` alone; options are include_role's."""
    playbook = folder / "host.yml"
    tasks = [{"name": "The host", "ansible.builtin.include_role": {"name": "lab.baleine.host", **options}}]
    playbook.write_text(json.dumps([{"hosts": "webfarm", "become": True, "gather_facts": False, "tasks": tasks}]))
    return str(playbook)


@pytest.fixture(scope="module")
def host_role(tmp_path_factory: pytest.TempPathFactory) -> str:
    return playbook_of_the_host(tmp_path_factory.mktemp("host"))


UNINSTALLED = ("-e", "host_state=absent")
WITH_DATA = (*UNINSTALLED, "-e", "host_remove_data=true")


def test_data_of_running_containers_is_not_removed_even_without_the_command_line(farm: Farm, host_role: str) -> None:
    words, recap = farm.play(*UNINSTALLED, playbook=host_role)
    assert recap["one"][3] == 0 and not farm.hosts[0].path("/usr/local/bin/baleine").exists(), words
    words, recap = farm.play(*WITH_DATA, playbook=host_role)
    assert recap["one"][3] == 1 and "proxy, web1, web2, web3" in words, words
    assert fair(farm.hosts[0])


def test_the_removal_of_the_farm_leaves_nothing_with_or_without_the_command_line(farm: Farm) -> None:
    hosts = farm.hosts[:2]
    assert [host.path("/usr/local/bin/baleine").exists() for host in hosts] == [False, True]
    for host in hosts:
        for aside in ("web1.old-20260101T000000Z", "proxy.old-20260101T000000Z"):  # as a recreate leaves them
            host.sh(f"truncate -s 1M /var/lib/baleine/containers/{aside}")
    words, recap = farm.play("-e", "farm_state=absent", limit="one,two")
    assert [recap[name][3] for name in ("one", "two")] == [0, 0], words
    for host in hosts:
        state = host.sh("find /var/lib/baleine /run/baleine /srv /etc/webfarm-proxy -type f", check=False).stdout
        assert state == "", state
        assert wait_for(lambda host=host: set(kernel.of(host).links) == {"lo", "eth0"})
        assert host.sh("find /sys/fs/cgroup -path '*baleine/*' -type d").stdout == ""
    words, recap = farm.play("-e", "farm_state=absent", limit="one,two")
    assert [recap[name][1] for name in ("one", "two")] == [0, 0], words
    assert settings(farm.hosts[1]) == farm.settings[1]


def test_an_uninstallation_with_its_data_leaves_no_file_of_baleine(farm: Farm, host_role: str) -> None:
    words, recap = farm.play(*WITH_DATA, playbook=host_role)
    assert recap["one"][3] == 0, words
    found = farm.hosts[0].sh(
        "find / -xdev -iname '*baleine*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/opt/*'"
    )
    left = [path for path in found.stdout.split() if not path.startswith(("/var/lib/baleine", "/var/log/baleine"))]
    assert left == [], left


def test_the_installed_keys_of_published_images_are_exactly_the_given_ones(farm: Farm, tmp_path: Path) -> None:
    playbook, host = playbook_of_the_host(tmp_path, tasks_from="trust"), farm.hosts[0]

    def trust(*words: str, **keys: str) -> int:
        told, recap = farm.play("-e", json.dumps({"host_trust": keys}), *words, playbook=playbook)
        assert recap["one"][3] == 0, told
        return recap["one"][1]

    assert trust("--check", web="one", db="two") > 0 and not host.path("/etc/baleine/trust").exists()
    assert trust(web="one", db="two") > 0
    assert host.sh("cd /etc/baleine/trust; grep . *").stdout.split() == ["db.asc:two", "web.asc:one"]
    host.write("/etc/baleine/trust/other.gpg", "three")
    assert trust(web="four") > 0 and trust(web="four") == 0
    assert host.sh("cd /etc/baleine/trust; grep -H . *").stdout.split() == ["web.asc:four"]


def test_a_host_gets_a_store_keeps_it_and_removes_it(farm: Farm, host_role: str) -> None:
    host = farm.hosts[1]

    def play(*words: str) -> int:
        """How many tasks changed something."""
        told, recap = farm.play(*words, limit="two", playbook=host_role)
        assert recap["two"][3] == 0, told
        return recap["two"][1]

    wanted = ("-e", "host_store_size=640M")
    assert play(*wanted, "--check") >= 1 and not host.path("/var/lib/baleine-store.xfs").exists()
    assert play(*wanted) >= 1 and "xfs" in host.sh("findmnt -rno FSTYPE /var/lib/baleine").stdout
    assert play(*wanted) == 0
    assert play("-e", "host_store_state=absent") == 1 and not host.path("/var/lib/baleine-store.xfs").exists()
    play(*wanted)
    play(*WITH_DATA)
    assert not host.path("/var/lib/baleine-store.xfs").exists()
    assert "xfs" not in host.sh("findmnt -rno FSTYPE /var/lib/baleine; true").stdout
