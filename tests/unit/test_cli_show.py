# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual in two languages, tables, and programs that cannot be executed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from baleine import enter
from baleine_cli import bridges, containers, images, main, manual, show
from baleine_cli.commands import COMMANDS
from baleine_cli.parse import Options, Usage, parse

TEXTS = {french: manual.text(COMMANDS, french, whole=True) for french in (False, True)}


@pytest.mark.parametrize("french", [False, True])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.kind} {command.verb}")
def test_the_manual_names_every_command_and_flag(command: manual.Command, french: bool) -> None:
    whole, own = TEXTS[french], manual.text([command], french, whole=False)
    assert manual.synopsis(command, french) in whole
    for flag in command.flags:
        for name in (flag.short, flag.long):
            assert name in own
    assert own.rstrip("\n") in whole
    assert max(len(line) for line in whole.splitlines() if "$ " not in line) <= manual.WIDTH


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.kind} {command.verb}")
def test_every_synopsis_is_parsed_when_typed(command: manual.Command) -> None:
    typed = re.sub(r" \[.*?\]", "", manual.synopsis(command, french=False)).replace("\u2026", "").split()[1:]
    if command.names == "two":
        typed += ["-i", "OTHER"]
    assert parse(typed)[0] is command


def test_each_value_has_a_french_word() -> None:
    same_in_both = {"CRONTAB", "FORMAT", "HARD", "MAC", "MODE", "SIGNAL", "SOFT", "SOURCE", "URL", "VERSION"}
    words = {word for command in COMMANDS for flag in command.flags for word in re.findall(r"[A-Z]{2,}", flag.value)}
    assert words - same_in_both <= set(manual.VALUES)


def test_the_french_help_differs_from_the_english() -> None:
    english, french = TEXTS[False], TEXTS[True]
    for command in COMMANDS:
        assert command.en != command.fr
        for flag in command.flags:
            assert flag.en != flag.fr, flag.long
    assert "RÉPERTOIRE" in french
    assert "RÉPERTOIRE" not in english
    assert "DIRECTORY" not in french


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "fr_FR.UTF-8"}, True),
        ({"LANG": "C", "LC_MESSAGES": "fr_CA.UTF-8"}, True),
        ({"LANG": "fr_FR.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_ALL": "", "LANG": "fr"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({}, False),
    ],
)
def test_the_locale_decides_the_language(environment: dict[str, str], expected: bool) -> None:
    assert manual.is_french(environment) is expected


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], len(COMMANDS)),
        (["image"], 13),
        (["image", "create"], 1),
        (["create"], 4),
        (["container", "exec", "web1"], 1),
    ],
)
def test_help_shows_a_part_of_the_manual(words: list[str], count: int) -> None:
    assert len(manual.select(words)) == count


@pytest.mark.parametrize(
    ("words", "topic"), [(["lst"], ""), (["container", "lst"], "container"), (["list", "containers"], "list")]
)
def test_help_about_an_unknown_command_names_it(words: list[str], topic: str) -> None:
    with pytest.raises(Usage) as caught:
        manual.select(words)
    assert (caught.value.message, caught.value.topic) == (f"there is no command '{' '.join(words)}'", topic)


def test_help_needs_no_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdout.reconfigure", lambda **words: None, raising=False)
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    assert main.main(["help", "bridge", "up"]) == 0
    assert "Activer des ponts" in capsys.readouterr().out
    assert main.main(["help", "nothing"]) == 2


def test_columns_are_aligned() -> None:
    text = show.table(("name", "size", "path"), [("a", "10G", "/x"), ("a_long_name", "", "/yyy")])
    assert text == "NAME         SIZE  PATH\na            10G   /x\na_long_name  -     /yyy\n"
    assert show.table(("name", "size"), []) == "NAME  SIZE\n"


CONTAINER = {
    "name": "web1", "image": "apache2", "image_outdated": False, "state": "running", "pid": 12, "running_seconds": 3725,
    "interfaces": [
        {"bridge": "private", "addresses": ["192.168.42.2/24", "fd12::2/64"]},
        {"bridge": "public", "addresses": []},
    ],
    "limits": {"memory": 512 << 20, "cpus": 0.5, "cpuset": None, "pids": None},
}  # fmt: skip


def test_a_list_shows_one_row_per_resource() -> None:
    bridges_ = "private=192.168.42.2/24+fd12::2/64 public"
    assert containers.row(CONTAINER) == (
        "web1", "apache2", "running", "12", "01:02:05", bridges_, "memory=512M cpus=0.5"
    )  # fmt: skip
    ended = {**CONTAINER, "state": "stopped", "pid": None, "running_seconds": None, "interfaces": [], "limits": {}}
    assert containers.row(ended) == ("web1", "apache2", "stopped", "", "", "", "")
    assert containers.row({**CONTAINER, "image_outdated": True})[1] == "apache2 (outdated)"
    bridge = {"name": "b", "state": "up", "addresses": ["10.0.0.1/8"], "stp": True, "containers": ["x", "y"]}
    assert bridges.row(bridge) == ("b", "up", "10.0.0.1/8", "yes", "2")
    image = {"name": "i", "size": 10 << 30, "allocated": 3 << 20, "path": "/p/i"}
    assert images.row(image) == ("i", "10G", "3M", "/p/i")


def test_a_list_is_printed_in_the_requested_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = {**CONTAINER, "name": "web2", "state": "stopped", "pid": None, "running_seconds": None}
    every = {"web1": CONTAINER, "web2": stopped}
    monkeypatch.setattr("baleine.manifest.names", lambda kind: list(every))
    monkeypatch.setattr(containers, "facts", every.get)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(main, "_end_cleanly", lambda: None)
    for words, expected in ((["-q"], "web1\n"), (["-qa"], "web1\nweb2\n")):
        assert main.main(["container", "list", *words]) == 0
        assert capsys.readouterr().out == expected
    assert main.main(["container", "list", "--all", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [CONTAINER, stopped]
    assert main.main(["container", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "web1"]
    assert main.main(["container", "list", "--format", "yaml"]) == 2


def test_a_broken_resource_does_not_stop_the_rest_of_a_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def facts(name: str) -> show.Facts:
        if name == "torn":
            raise show.BaleineError("manifest torn", "Mend it")
        return {"name": name}

    monkeypatch.setattr("baleine.manifest.names", lambda kind: ["a", "torn", "z"])
    assert show.collect("image", facts) == ([{"name": "a"}, {"name": "z"}], 1)
    assert capsys.readouterr().err == "baleine: manifest torn\nMend it\n"


@pytest.mark.parametrize(("force", "code"), [(False, 1), (True, 0)])
def test_the_removal_of_a_missing_resource_is_an_error_unless_it_is_forced(
    force: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from baleine.plan import Outcome, Plan

    options = Options("image remove")
    options.names, options.values = ["gone"], {"force": True} if force else {}
    assert show.each(options, "image", lambda name: [Outcome(Plan(name))], removes=True) == code
    assert ("image gone: there is none" in capsys.readouterr().err) is not force


def test_the_exit_code_of_a_program_is_read_as_shells_do(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, mode in (("bin/yes", 0o755), ("bin/no", 0o644)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    for name, line in (("good", "#! /bin/yes -x"), ("lost", "#!/bin/python9"), ("self", "#!/bin/self"), ("none", "#!")):
        (tmp_path / "bin" / name).write_text(f"{line}\necho\n")
        (tmp_path / "bin" / name).chmod(0o755)
    os.symlink("/bin/yes", tmp_path / "bin/link")
    table = {
        "yes": 0,
        "no": 126,
        "nosuch": 127,
        "/bin/yes": 0,
        "/bin/link": 0,
        "/bin": 126,
        "/bin/yes/x": 127,
        "./yes": 0,
        "good": 0,
        "lost": 127,
        "self": 0,
        "none": 0,
    }
    for program, code in table.items():
        assert enter.judge(str(tmp_path), program, {"PATH": "/sbin:/bin"}, "/bin") == code, program


def test_an_error_escapes_control_characters_in_foreign_text(capsys: pytest.CaptureFixture[str]) -> None:
    main.complain("no layer \x1b]0;mine\x07\u009b31m\ud800 in é\nsecond line", "a hint\r")
    assert capsys.readouterr().err == (
        "baleine: no layer \\x1b]0;mine\\x07\\x9b31m\\ud800 in é\nsecond line\na hint\\r\n"
    )
    main.complain("alone")
    assert capsys.readouterr().err == "baleine: alone\n"


def test_control_characters_in_the_data_of_an_image_are_escaped() -> None:
    words = {"user": "\x1b[31mé", "labels": {"\u009b31m": "\x1b]0;x\x07\n"}}
    text = show.as_json(words)
    assert json.loads(text) == words and all(c.isprintable() or c == "\n" for c in text) and "é" in text
    shown = [r"\x1b[31mé", r'{"\x9b31m": "\u001b]0;x\u0007\n"}']
    assert [show._text(value) for value in words.values()] == shown
