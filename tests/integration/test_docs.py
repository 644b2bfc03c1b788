# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages that show a way, followed to the letter: their files are written and their commands typed as they stand there.
And the page for who comes from Docker, held against the real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.integration import docker_table
from tests.lab import kernel, run, trees
from tests.lab.engines import DOCKER, Engines
from tests.lab.host import LabHost
from tests.lab.wire import Wire

PAGES = run.REPOSITORY / "docs" / "docsite" / "rst"
READMES = (run.REPOSITORY / "README.md", run.REPOSITORY / "README.fr.md")
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n((?:    :[^\n]*\n)*)\n((?:(?:    [^\n]*)?\n)+)", re.MULTILINE)


class Step(NamedTuple):
    """A file to write (``name`` is its name), or commands to type."""

    name: str
    text: str


def steps(page: str) -> list[Step]:
    """Return what a page asks for, in its order; what gets Ansible onto the machine aside."""
    found = []
    for _language, options, text in BLOCK.findall((PAGES / page).read_text()):
        caption = re.search(r":caption: (\S+)", options)
        if ":class: preparation" not in options:
            found.append(Step(caption.group(1) if caption else "", textwrap.dedent(text).strip() + "\n"))
    return found


def like(line: str) -> str:
    """A line whose numbers and columns may be others: pids and times are."""
    return re.sub(r" +", " ", re.sub(r"\d+", "0", line)).strip()


def changes(recap: str) -> int:
    return int(re.findall(r"changed=(\d+)", recap)[-1])


@pytest.mark.parametrize(
    "page", [PAGES / "getting_started.rst", PAGES / "demarrage.rst", *READMES], ids=lambda it: it.name
)
def test_the_start_page_installs_every_needed_package_first(page: Path) -> None:
    text = page.read_text()
    wanted = "apt-get install curl git make python3-venv"
    assert wanted in text and text.index("apt-get update") < text.index(wanted) < text.index("git clone")


def typed_or_written(page: str) -> list[Any]:
    """What a page asks for, without what is said in its language: names of playbooks and of their tasks."""
    found: list[Any] = []
    for step in steps(page):
        text = re.sub(r"(first|premier|last|dernier)\.yml|LANG=\S+ ", "", step.text)
        text = re.sub(r"( *- )name: [A-Z].*\n *", r"\1", text)
        found.append(yaml.safe_load(text) if step.name else text)
    return found


def test_both_languages_have_the_same_files_commands_and_output() -> None:
    english, french = typed_or_written("getting_started.rst"), typed_or_written("demarrage.rst")
    assert english == french and sum(isinstance(step, list) for step in english) == 2
    english, french = (
        [
            re.sub(r"DÉPÔT|REPOSITORY| *#.*", "", text)
            for text in re.findall(r"```.*?```", readme.read_text(), re.DOTALL)
        ]
        for readme in READMES
    )
    assert english == french


@pytest.fixture(scope="module")
def newcomer(wire: Wire, lab_factory: Any) -> LabHost:
    """A machine that has Ansible and the collection, and the package proxy as its only way out."""
    host: LabHost = lab_factory("newcomer", wire=wire, checkout=True)
    host.use_package_proxy()
    return host


def follow(newcomer: LabHost, page: str, after: Callable[[str], None] = lambda _line: None) -> list[tuple[str, str]]:
    """Do what a page says; returns each command with what it printed.

    :param after: is told each command once it is done.
    """
    folder = f"/root/{page}"
    newcomer.run(["mkdir", "-p", folder])
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ANSIBLE_COLLECTIONS_PATH": str(run.REPOSITORY / ".collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    said: list[tuple[str, str]] = []
    for step in steps(page):
        if step.name:
            newcomer.write(f"{folder}/{step.name}", step.text)
            continue
        for line in step.text.splitlines():
            if not line.startswith("# "):  # what the page says that the last command prints
                assert like(line) in map(like, said[-1][1].splitlines()), f"{said[-1][0]}\n{line}\n{said[-1][1]}"
                continue
            done = newcomer.run(["sh", "-c", f"cd {folder} && {line[2:]}"], env=environment, check=False, timeout=600)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            said.append((line, done.stdout))
            if line.startswith("# kill"):  # the kernel needs less time for that than who types the next line
                assert run.wait_for(lambda: "running" not in newcomer.sh("baleine container list").stdout)
            after(line)
    return said


def check_nothing_is_left(newcomer: LabHost) -> None:
    left = newcomer.sh("ls -A /var/lib/baleine /etc/cron.d /usr/local/bin 2>/dev/null").stdout
    assert "baleine" not in left.replace("/var/lib/baleine:", ""), left
    assert set(kernel.of(newcomer).links) == {"lo", "eth0"}


def test_the_commands_of_the_start_page_work_and_leave_nothing(newcomer: LabHost) -> None:
    """The French page has the same ones (above)."""
    said = follow(newcomer, "getting_started.rst")
    plays = [text for line, text in said if line.startswith("# ansible-playbook")]
    assert all("failed=0" in text for text in plays)
    assert [changes(text) == 0 for text in plays] == [False, False, True, False, False, False], plays
    states = [text for line, text in said if "container list" in line and "help" not in line]
    assert [re.findall(r"^web1 +apache2 +(\w+)", text, re.M) for text in states] == [
        ["running"], ["stopped"], ["stopped"], ["running"],
    ]  # fmt: skip
    supervised = [text for line, text in said if line == "# baleine supervise"]
    assert "container web1: started: " in supervised[0] and not supervised[1]
    check_nothing_is_left(newcomer)


def test_the_commands_of_the_page_on_work_inside_containers_give_the_shown_results(
    newcomer: LabHost, wire: Wire
) -> None:
    far = wire.proxy_url.removeprefix("http://").rstrip("/")
    newcomer.expect("process *socat*")
    newcomer.serve(3128, ["socat", "TCP-LISTEN:3128,fork,reuseaddr", f"TCP:{far}"])

    def let_apt_inside_believe_the_mirror_of_the_laboratory(line: str) -> None:
        if line == "# ansible-playbook containers.yml":
            text = "".join(f"{option};\n" for option in wire.apt_options())
            for name in ("web1", "web2"):
                words = f"container exec -c {name} -- tee /etc/apt/apt.conf.d/95lab"
                newcomer.run(["/usr/local/bin/baleine", *words.split()], input=text)

    said = follow(newcomer, "work_inside.rst", let_apt_inside_believe_the_mirror_of_the_laboratory)
    plays = [text for line, text in said if "site.yml" in line]
    assert plays[0].count("changed=4") == 2 and plays[1].count("changed=0") == 2, plays[:2]
    assert "Salut from" in plays[2] and [text.count("changed=2") for text in plays[2:]] == [2, 2], plays[2:]
    assert [text for line, text in said if "curl" in line] == ["Hello from web1\n", "Salut from web1\n"]
    check_nothing_is_left(newcomer)


def explained() -> dict[str, set[str]]:
    """Return the keys of the manifests of each kind that docs/manifests.md explains."""
    text = (run.REPOSITORY / "docs" / "manifests.md").read_text()
    parts = re.findall(r"^## (\w+)s\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = {kind.lower(): re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", part, re.MULTILINE) for kind, part in parts}
    return {kind: {key for row in found for key in re.findall(r"\w+", row)} for kind, found in rows.items()}


def test_each_key_of_a_manifest_is_explained(lab: LabHost, tiny: str, baleine: Any) -> None:
    lab.rebase()
    lab.module("baleine_bridge", name="lane", addresses=["10.9.0.1/24"])
    lab.write("/root/secret", "s")
    lab.module("baleine_image", name="derived", from_image=tiny)
    lab.module(
        "baleine_container", name="box", image="derived", command=["sleep", "100000"], stop_timeout=0, hostname="box",
        networks=[{"bridge": "lane", "addresses": ["10.9.0.2/24"]}], limits={"pids": 9}, user="0", workdir="/",
        env={"KEY": "value"}, volumes=[{"source": "data", "target": "/data"}], dns={"servers": ["10.9.0.1"]},
        ulimits={"nofile": "99"}, sysctls={"net.ipv4.ip_forward": "0"}, labels={"role": "test"}, restart_retries=2,
        secrets=[{"name": "secret", "source": "/root/secret"}], capabilities={"drop": ["ALL"]}, seccomp="unconfined",
        apparmor="unconfined", userns="host", read_only=True, tmpfs=[{"target": "/tmp"}], no_new_privileges=False,
        restart_policy="on-failure", schedule={"start": "0 8 * * *"}, healthcheck={"command": ["true"]},
        stop_signal="INT", extra_hosts={"other": "10.9.0.3"}, log_size="1M",
    )  # fmt: skip
    baleine("supervise")
    for kind, known in explained().items():
        texts = lab.sh(f"cat /var/lib/baleine/manifeste/{kind}s/*.manifest").stdout
        keys = {line.partition(":")[0] for line in texts.splitlines()}
        assert len(keys) > 1 and keys - known <= {"format"}, kind
    assert len(explained()) == 4
    for kind, name in (("container", "box"), ("bridge", "lane"), ("image", "derived"), ("volume", "data")):
        baleine(kind, "remove", name)


class Docker:
    """The real client, which needs no daemon to say what commands there are, and hides none where there is none."""

    def __init__(self) -> None:
        found = shutil.which(DOCKER)
        assert found, "no docker is installed"
        self.path = found

    def help(self, *words: str) -> str:
        environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nowhere"}
        argv = [self.path, *words, "--help"]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout

    def commands(self, *words: str) -> Iterator[str]:
        """Yield every command that has no others below it; those of plugins count as one."""
        sections = re.findall(r"^[\w ]*[Cc]ommands:\n((?:  .*\n)+)", self.help(*words), re.MULTILINE)
        below = [name for section in sections for name in re.findall(r"^  ([a-z]+)(\*?) ", section, re.MULTILINE)]
        for name, plugin in below:
            yield from [f"docker {name}"] if plugin else self.commands(*words, name)
        if not below:
            yield " ".join(["docker", *words])


def answered(command: str, table: set[str]) -> bool:
    """Say whether a table has a command, its other name (``docker container start``), or all that is below one."""
    words = command.split()
    short = ["docker", *words[2:]] if words[1] in ("container", "image") and words[2:] else words
    if short[-1] in ("ls", "rm", "prune"):  # what these are without their kind is another command
        short = words
    return bool({command, " ".join(short), *(f"{' '.join(words[:end])} …" for end in (2, 3))} & table)


def test_every_command_of_docker_is_listed_with_ours_or_with_a_reason() -> None:
    table, there = docker_table.docker_commands(), list(Docker().commands())
    assert len(there) > 100 and {"docker run", "docker volume ls", "docker swarm init"} <= set(there), there
    assert [command for command in there if not answered(command, table)] == []


def test_the_page_names_only_commands_and_flags_of_docker() -> None:
    docker = Docker()
    there = list(docker.commands())
    plugins = {"docker buildx …", "docker compose …"}  # Debian installs neither
    of_some_releases = {"docker checkpoint …", "docker completion …", "docker volume update"}
    for command in docker_table.docker_commands() - plugins - of_some_releases:
        begin = command.removesuffix("…")
        assert any(one.startswith(begin) if begin != command else answered(one, {command}) for one in there), command
    flags = set(re.findall(r"--[a-z-]+", docker.help("run")))
    assert set().union(*(theirs for theirs, _ours, _options in docker_table.run_flags())) <= flags


class Beside:
    """Two containers on the bridge ``private`` of a host, each a web server, to be looked at beside other software."""

    ASK = "printf 'GET /passwd HTTP/1.0\\r\\n\\r\\n' | nc -w 2"

    def __init__(self, host: LabHost) -> None:
        self.host = host
        host.install_baleine()
        trees.tiny_image(host)
        host.module("baleine_bridge", name="private", addresses=["192.168.42.1/24"])
        for name, address in (("web1", "192.168.42.11/24"), ("web2", "192.168.42.12/24")):
            host.module(
                "baleine_container", name=name, image="tiny", command=["httpd", "-f", "-h", "/etc"], stop_timeout=0,
                networks=[{"bridge": "private", "addresses": [address]}], wait={"http": "/passwd"},
            )  # fmt: skip

    def answers(self, where: str = "192.168.42.12 80") -> bool:
        """Say whether web1 gets a page from there; by default from the other one."""
        argv = ["/usr/local/bin/baleine", "container", "exec", "-c", "web1", "--", "sh", "-c", f"{self.ASK} {where}"]
        return "root" in self.host.run(argv, check=False).stdout

    def dropping(self, what: str) -> bool:
        """Say whether Baleine names this among what would hurt."""
        return any(what in hazard["what"] for hazard in self.host.module("baleine_host_info")["hazards"])

    def end(self) -> None:
        self.host.sh("for name in web1 web2; do baleine container remove $name; done; baleine bridge remove private")


def advice(section: str) -> list[str]:
    """Return the commands that a section of the page about networks gives."""
    text = (PAGES / "networking.rst").read_text().partition(f"\n{section}\n---")[2].partition("\n---")[0]
    return re.findall(r"^    # (.*?)(?: +#.*)?$", text, re.MULTILINE)


def test_every_remedy_of_the_page_gets_past_the_packet_filter_of_docker(lab_factory: Callable[..., LabHost]) -> None:
    host = lab_factory("beside-docker", leak_check=False)  # what docker leaves is not ours
    Engines(host).begin(["dockerd"], [DOCKER, "info"])
    host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")  # as br_netfilter sets it when docker loads it
    pair, ways = Beside(host), advice("Beside Docker")
    assert [way.split()[0] for way in ways] == ["sysctl", "iptables"]
    undo = ["sysctl net.bridge.bridge-nf-call-iptables=1", ways[1].replace("-I", "-D")]
    for way, back in zip(ways, undo):
        assert not pair.answers() and pair.dropping("-P FORWARD DROP")
        host.sh(way)
        assert run.wait_for(pair.answers) and not pair.dropping("-P FORWARD DROP"), way
        host.sh(back)
    pair.end()


def test_the_page_describes_the_behaviour_with_firewalld_correctly(
    wire: Wire, lab_factory: Callable[..., LabHost]
) -> None:
    host = lab_factory("beside-firewalld", wire=wire, leak_check=False)  # its zones are not ours
    host.use_package_proxy()
    host.sh(
        "apt-get -qq update; apt-get install -qqy --no-install-recommends firewalld dbus >/dev/null 2>&1", timeout=900
    )
    host.sh("mkdir -p /run/dbus; dbus-daemon --system --fork; sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    pair, here = Beside(host), "192.168.42.1 8080"
    host.serve(8080, ["busybox", "httpd", "-f", "-p", "8080", "-h", "/etc"])
    assert run.wait_for(lambda: pair.answers(here))
    host.popen(["firewalld", "--nofork"])
    assert run.wait_for(lambda: host.sh("firewall-cmd --state 2>&1", check=False).returncode == 0, run.LONGEST)
    assert run.wait_for(pair.answers) and not pair.answers(here) and not pair.dropping("firewalld")
    host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    assert not pair.answers() and pair.dropping("firewalld has no zone for private")
    for command in advice("Beside firewalld"):
        host.sh(command)
    assert run.wait_for(pair.answers) and run.wait_for(lambda: pair.answers(here))
    assert not pair.dropping("firewalld")
    pair.end()
