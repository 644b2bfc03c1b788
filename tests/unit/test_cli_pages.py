# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the table of commands beside the manual: pages for man(1), and completion, as bash itself takes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from baleine_cli import completion, manual
from baleine_cli.commands import COMMANDS
from baleine_cli.main import main
from baleine_cli.parse import parse

FOLDER = Path(manual.__file__).parent


def completed(*words: str) -> list[str]:
    """Return what bash offers for the last of these words; ``list`` of each kind is answered by a function."""
    script = f"""{completion.text()}
baleine() {{ echo "$1 $3" | grep -q -e 'container -aq' -e 'image -q' && echo "$1-one" "$1-two"; }}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_baleine
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(("name", "french"), [("baleine.1", False), ("baleine.fr.1", True)])
def test_the_man_page_matches_the_table_of_commands(name, french):
    """`make manual` writes them."""
    assert (FOLDER / name).read_text() == manual.roff(french)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.kind} {command.verb}")
def test_a_command_is_parsed_as_its_synopsis_says(command):
    words = re.sub(r"\[[^]]*\]", "", manual.synopsis(command, french=False)).split()[1:]
    found, options = parse([*words, "OTHER"] if command.names == "two" else words)
    assert found == command and all(options.text(key) for key in command.required)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["baleine", ""], {"container", "image", "bridge", "volume", "help", "supervise"}),
        (["baleine", "container", "st"], {"start", "stop", "stats"}),
        (["baleine", "help", "bridge", "li"], {"list"}),
        (["baleine", "image", "create", "--mi"], {"--mirror"}),
        (["baleine", "container", "stop", ""], {"container-one", "container-two"}),
        (["baleine", "container", "stop", "-c", "container-t"], {"container-two"}),
        (["baleine", "image", "remove", ""], {"image-one", "image-two"}),
        (["baleine", "container", "list", "--format", ""], {"json", "table"}),
        (["baleine", "image", "-s", "10G", "create", "--su"], set()),  # 10G is taken for the verb: nothing wrong is offered
    ],
)  # fmt: skip
def test_bash_completes_commands_flags_and_names(words, offered):
    assert offered <= set(completed(*words)) and (len(words[-1]) == 0 or offered == set(completed(*words)))


def test_bash_completes_no_flag_of_ours_after_two_dashes():
    assert completed("baleine", "container", "exec", "-c", "x", "--", "container") == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.kind} {command.verb}")
def test_every_flag_of_every_command_is_completed(command):
    words = [word for word in (command.kind, command.verb) if word]
    flags = {name for flag in command.flags for name in (flag.short, flag.long) if name}
    assert command.verb == "help" or set(completed("baleine", *words, "-")) == flags


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_that_of_the_collection(word, capsys):
    galaxy = (Path(__file__).parents[2] / "galaxy.yml").read_text()
    assert main([word]) == 0
    assert f"\nversion: {capsys.readouterr().out}" in galaxy
