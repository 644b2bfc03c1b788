# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From words to a request: the documents' own lines, flags in any order, and what is refused."""

from __future__ import annotations

import itertools
import shlex

import pytest

from baleine_cli import bridges, containers, images, main
from baleine_cli.commands import COMMANDS
from baleine_cli.parse import Options, Usage, parse

START = "/usr/sbin/apache2ctl start"

DOCUMENTS = [
    ("image create -i apache2 -s 10240", "image create", ["apache2"], {"size": "10240"}),
    ("image mount -i apache2_reverse", "image mount", ["apache2_reverse"], {}),
    ("image umount -i apache2_reverse", "image umount", ["apache2_reverse"], {}),
    ("image list", "image list", [], {}),
    ("bridge create -b private -a 192.168.42.1/24", "bridge create", ["private"], {"address": "192.168.42.1/24"}),
    ("bridge create -b public -a 10.0.0.1/8", "bridge create", ["public"], {"address": "10.0.0.1/8"}),
    (
        f'container create -c mycontainer -i apache2 -b private -a 192.168.42.2/24 -p "{START}"',
        "container create",
        ["mycontainer"],
        {"image": "apache2", "bridge": "private", "address": "192.168.42.2/24", "program": START},
    ),
    ("container list", "container list", [], {}),
    ("container list -a", "container list", [], {"all": True}),
    ("container stop -c mycontainer", "container stop", ["mycontainer"], {}),
    ("container restart -c mycontainer", "container restart", ["mycontainer"], {}),
    ("container remove -c mycontainer2", "container remove", ["mycontainer2"], {}),
    ("bridge remove -b public", "bridge remove", ["public"], {}),
    ("bridge remove public", "bridge remove", ["public"], {}),
    ("bridge -b private up", "bridge up", ["private"], {}),
    ("bridge -b private down", "bridge down", ["private"], {}),
    ("bridge -b up down", "bridge down", ["up"], {}),
    ("bridge up -b up", "bridge up", ["up"], {}),
    ("image remove -i apache2", "image remove", ["apache2"], {}),
    ("image --name=apache2 remove", "image remove", ["apache2"], {}),
    ("image diff -i web:1 -i web:2", "image diff", ["web:1", "web:2"], {}),
    ("image diff web:1 web --format json", "image diff", ["web:1", "web"], {"format": "json"}),
    ("image list -q --format json", "image list", [], {"quiet": True, "format": "json"}),
    ("container stop web1 -t 30 web2 -c web3", "container stop", ["web3", "web1", "web2"], {"time": "30"}),
    ("container remove -fc web1", "container remove", ["web1"], {"force": True}),
    ("container create -iapache2 -cweb1 -ptrue --no-start", "container create", ["web1"],
     {"image": "apache2", "program": "true", "no-start": True}),
    ("container run -i tiny -- true", "container run", [], {"image": "tiny"}),
    ("container run -i tiny", "container run", [], {"image": "tiny"}),
    ("container create -c a -i b", "container create", ["a"], {"image": "b"}),
    ("container run --rm -i -t -i tiny -c a -- true", "container run", ["a"],
     {"rm": True, "interactive": True, "tty": True, "image": "tiny"}),
    ("container run -it -i tiny -- true", "container run", [], {"interactive": True, "tty": True, "image": "tiny"}),
    ("container run -ti -itiny -- true", "container run", [], {"interactive": True, "tty": True, "image": "tiny"}),
    ("container run -i tiny -i -- cat", "container run", [], {"interactive": True, "image": "tiny"}),
    ("container run --image=tiny --interactive -- cat", "container run", [], {"interactive": True, "image": "tiny"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "command", "names", "values"), DOCUMENTS)
def test_a_command_line_is_parsed(line: str, command: str, names: list[str], values: dict[str, object]) -> None:
    found, options = parse(shlex.split(line))
    assert (f"{found.kind} {found.verb}", options.names, options.values) == (command, names, values)


def test_flags_are_accepted_in_any_order() -> None:
    pairs = [["-i", "apache2"], ["-c", "web1"], ["-b", "a,b"], ["-a", ",10.0.0.2/8"], ["--program", START]]
    for order in itertools.permutations(pairs):
        for place in range(len(order) + 1):
            words = [word for pair in order[:place] for word in pair]
            words += ["create", *(word for pair in order[place:] for word in pair)]
            command, options = parse(["container", *words])
            assert (command.verb, options.names) == ("create", ["web1"])
            expected = {"image": "apache2", "bridge": "a,b", "address": ",10.0.0.2/8", "program": START}
            assert options.values == expected


#: Lines of the documents' own session, which tests/integration/test_session.py types, and the same in other words.
IN_OTHER_WORDS = [
    ("image create -i apache2 -s 10240", "image create --size 10240 --name apache2"),
    ("image create -i apache2_reverse -s 10240", "image -s 10240 create -i apache2_reverse"),
    ("image mount -i apache2_reverse", "image -i apache2_reverse mount"),
    ("image umount -i apache2_reverse", "image umount apache2_reverse"),
    ("bridge create -b private -a 192.168.42.1/24", "bridge create -a 192.168.42.1/24 -b private"),
    ("bridge create -b public -a 10.0.0.1/8", "bridge --address 10.0.0.1/8 create --bridge public"),
    (
        'container create -c mycontainer -i apache2 -b private -a 192.168.42.2/24 -p "/usr/sbin/apache2ctl start"',
        'container create -p "/usr/sbin/apache2ctl start" -a 192.168.42.2/24 -b private -i apache2 -c mycontainer',
    ),
    (
        'container create -c mycontainer2 -i apache2_reverse -b private,public -a 192.168.42.3/24,10.0.0.2/8 -p "/usr/sbin/apache2ctl start"',
        'container create -a 192.168.42.3/24,10.0.0.2/8 -p "/usr/sbin/apache2ctl start" -b private,public -c mycontainer2 -i apache2_reverse',
    ),
    ("container stop -c mycontainer", "container -c mycontainer stop"),
    ("container restart -c mycontainer", "container restart mycontainer"),
    ("container remove -c mycontainer2", "container remove mycontainer2"),
    ("container remove -c mycontainer", "container -c mycontainer remove"),
    ("bridge remove -b public", "bridge remove public"),
    ("bridge remove -b private", "bridge -b private remove"),
    ("image remove -i apache2_reverse", "image remove apache2_reverse"),
    ("image remove -i apache2", "image -i apache2 remove"),
]


@pytest.mark.parametrize(("line", "other"), IN_OTHER_WORDS)
def test_a_line_of_the_documented_session_may_have_its_words_in_another_order(line: str, other: str) -> None:
    (command, options), (same, others) = parse(shlex.split(line)), parse(shlex.split(other))
    assert (same, others.names, others.values) == (command, options.names, options.values)


@pytest.mark.parametrize(
    ("line", "names", "program", "flags"),
    [
        ("container exec -c web1 -- ls -l", ["web1"], ["ls", "-l"], set()),
        ("container exec -c web1 -it -- sh -c 'exit 3'", ["web1"], ["sh", "-c", "exit 3"], {"interactive", "tty"}),
        ("container exec -ti web1 -- cat -- --help", ["web1"], ["cat", "--", "--help"], {"interactive", "tty"}),
        ("container exec web1 -e A=1 -e B=2 -- env", ["web1"], ["env"], {"env"}),
        ("container -c web1 exec -- list", ["web1"], ["list"], set()),
    ],
)
def test_exec_passes_the_program_on_unchanged(line: str, names: list[str], program: list[str], flags: set[str]) -> None:
    command, options = parse(shlex.split(line))
    assert command.verb == "exec"
    assert (options.names, options.program, set(options.values)) == (names, program, flags)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no command"),
        ("-- sh", "no command"),
        ("volumes list", "'volumes'"),
        ("image", "create, list"),
        ("image frobnicate", "'image frobnicate'"),
        ("image create", "-i, --name is missing"),
        ("image create -i", "-i needs a value"),
        ("image create -i a b", "not also b"),
        ("image diff -i a", "two names"),
        ("image diff -i a b c", "two names"),
        ("image diff", "which image"),
        ("image list --format yaml", "table and json"),
        ("image create -i a --colour red", "no flag --colour"),
        ("image create -i a -s 1 -s 2", "given twice"),
        ("image list -x", "no flag -x"),
        ("image list apache2", "'apache2' is not understood"),
        ("image list --quiet=yes", "takes no value"),
        ("bridge -x private up", "no flag -x"),
        ("bridge private up", "'bridge private'"),
        ("container create -c a -p true", "-i, --image is missing"),
        ("image import -i a", "image import: --source is missing"),
        ("container stop", "which container"),
        ("container exec -c a", "no program"),
        ("container exec -c a ls", "put -- before the program"),
        ("container exec -- ls", "which container"),
        ("container run -i -- true", "-i, --image is missing"),
        ("container run -i tiny a b -- true", "put -- before"),
    ],
)
def test_an_unknown_word_is_named(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Usage) as caught:
        parse(shlex.split(line))
    assert said in caught.value.message
    assert main.main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", f"baleine: {caught.value.message}")
    assert err.splitlines()[1].startswith("See 'baleine help")


@pytest.mark.parametrize("line", ["help", "--help", "help image create", "image create --help", "image -h"])
def test_help_is_found(line: str) -> None:
    assert parse(shlex.split(line))[0].verb == "help"


NETWORKS = [
    ("", "", "", []),
    ("a", "10.0.0.2/8", "", [("a", ["10.0.0.2/8"], None)]),
    ("a,b", "10.0.0.2/8", "", [("a", ["10.0.0.2/8"], None), ("b", [], None)]),
    ("a,b", ",10.0.0.2/8", "", [("a", [], None), ("b", ["10.0.0.2/8"], None)]),
    ("a,b", "10.0.0.2/8,fd00::2/64", ",fd00::1", [("a", ["10.0.0.2/8"], None), ("b", ["fd00::2/64"], "fd00::1")]),
    ("a", "10.0.0.2/8+fd00::2/64", "10.0.0.1", [("a", ["10.0.0.2/8", "fd00::2/64"], "10.0.0.1")]),
    ("a,b,c", "10.0.0.2/8,,192.168.1.2/24", "",
     [("a", ["10.0.0.2/8"], None), ("b", [], None), ("c", ["192.168.1.2/24"], None)]),
]  # fmt: skip


def _create(*words: str) -> Options:
    return parse(["container", "create", "-c", "web1", "-i", "x", "-p", "true", *words])[1]


@pytest.mark.parametrize(("bridge", "address", "gateway", "expected"), NETWORKS)
def test_the_nth_address_belongs_to_the_nth_bridge(
    bridge: str, address: str, gateway: str, expected: list[tuple[str, list[str], str]]
) -> None:
    words = [
        *(["-b", bridge] if bridge else []),
        *(["-a", address] if address else []),
        *(["--gateway", gateway] if gateway else []),
    ]
    found = containers.description(_create(*words))["networks"]
    assert [(item["bridge"], item["addresses"], item["gateway"]) for item in found] == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-b", "a", "-a", "10.0.0.2/8,10.0.0.3/8"), "--address has 2 elements, --bridge 1"),
        (("-a", "10.0.0.2/8"), "--address has 1 elements, --bridge 0"),
        (("-b", "a", "--gateway", "10.0.0.1,10.0.0.1"), "--gateway has 2"),
        (("-b", "a,,b"), "an element is empty"),
        (("-v", "/src"), "SOURCE:TARGET"),
        (("-v", "/src:/dst:rx"), "SOURCE:TARGET"),
        (("-e", "A"), "KEY=VALUE"),
    ],
)
def test_an_invalid_container_is_refused_with_the_reason(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(Usage, match=said):
        containers.description(_create(*words))


def test_the_request_of_a_container_is_complete() -> None:
    words = (
        "-v /a:/b -v /c:/d:ro -e A=1 -e B=x=y -w /tmp -u www --memory 64M --cpus 0.5 --cpuset 0-1 --pids 20 --no-init"
    )
    found = containers.description(_create(*words.split(), "-r", "/srv/web1", "--hostname", "w"))
    assert found == {
        "name": "web1",
        "image": "x",
        "state": "started",
        "command": "true",
        "networks": [],
        "directory": "/srv/web1",
        "hostname": "w",
        "env": {"A": "1", "B": "x=y"},
        "workdir": "/tmp",
        "user": "www",
        "limits": {"memory": "64M", "cpus": "0.5", "cpuset": "0-1", "pids": "20"},
        "volumes": [
            {"source": "/a", "target": "/b", "read_only": False, "idmap": False},
            {"source": "/c", "target": "/d", "read_only": True, "idmap": False},
        ],
        "init": False,
    }
    assert containers.description(_create("--no-start"))["state"] == "present"


@pytest.mark.parametrize(
    ("text", "bare", "expected"),
    [
        (None, False, ["apache2", "vim", "nano"]),
        (None, True, []),
        ("none", False, []),
        ("apache2, vim", False, ["apache2", "vim"]),
    ],
)
def test_the_packages_of_an_image_are_parsed(text: str, bare: bool, expected: list[str]) -> None:
    assert images.packages(text, bare) == expected


def test_every_command_has_a_handler_and_no_flag_is_defined_twice() -> None:
    from importlib import import_module

    for command in COMMANDS:
        module, _colon, function = command.handler.partition(":")
        assert callable(getattr(import_module(f"baleine_cli.{module}"), function))
        names = [name for flag in command.flags for name in (flag.short, flag.long) if name]
        assert len(set(names)) == len(names)
        assert all(flag.long.startswith("--") for flag in command.flags)
        assert set(command.required) <= {flag.key for flag in command.flags}


def test_only_root_may_run_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main(["bridge", "list"]) == 1
    assert main.main(["container", "exec", "-c", "a", "--", "ls"]) == 125
    assert capsys.readouterr().err.startswith("baleine: this needs root\n")


def test_bridges_keep_their_recorded_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    shown = {
        "name": "b",
        "state": "down",
        "addresses": ["10.0.0.1/8"],
        "mtu": 1500,
        "stp": False,
        "mac": None,
        "ports": [],
    }
    record = {
        "nom_bridge": "b",
        "mtu": "1400",
        "address": "10.0.0.1/8,fd00::1/64",
        "stp": "yes",
        "mac": "02:00:00:00:00:01",
    }
    monkeypatch.setattr(bridges, "facts", lambda name: shown)
    monkeypatch.setattr("baleine.manifest.read", lambda kind, name: record)
    monkeypatch.setattr("baleine.bridge.ensure", lambda run, wanted: asked.extend(wanted) or [])
    assert main.main(["bridge", "-b", "b", "up"]) == 0
    assert (asked[0].state, asked[0].mtu, asked[0].stp) == ("up", 1400, True)
    assert asked[0].addresses == ("10.0.0.1/8", "fd00::1/64")
