# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``baleine help``: the manual, made of the table of commands, in English and in French, as text and for man(1)."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from . import VERSION
from .commands import COMMANDS
from .commands_common import Command, Flag, name_flag
from .parse import Options, Usage

WIDTH = 100
INTRODUCTION = (
    "Containers without a daemon: an image is one file with one ext4 filesystem, a container runs on a copy of it, and "
    "classic Linux bridges connect containers. Flags stand in any order.",
    "Des conteneurs sans démon : une image est un fichier contenant un seul système de fichiers ext4, un conteneur "
    "tourne sur une copie, et des ponts Linux classiques relient les conteneurs. L'ordre des options est libre.",
)
TITLES = {
    "NAME": "NOM", "SYNOPSIS": "SYNOPSIS", "DESCRIPTION": "DESCRIPTION", "COMMANDS": "COMMANDES", "FLAGS": "OPTIONS",
    "EXAMPLES": "EXEMPLES", "EXIT CODES": "CODES DE SORTIE",
}  # fmt: skip
CODES = (
    "0: done. 1: it failed, and why is on the standard error output. 2: the command was not understood.",
    "0 : fait. 1 : échec, dont la raison est sur la sortie d'erreur. 2 : la commande n'est pas comprise.",
)
#: What stands for values, in French.
VALUES = {
    "NAME": "NOM", "SIZE": "TAILLE", "DIRECTORY": "RÉPERTOIRE", "PACKAGE": "PAQUET", "ADDRESS": "ADRESSE",
    "PREFIX": "PRÉFIXE", "BRIDGE": "PONT", "GATEWAY": "PASSERELLE", "PROGRAM": "PROGRAMME", "KEY": "CLÉ",
    "VALUE": "VALEUR", "USER": "UTILISATEUR", "GROUP": "GROUPE", "NUMBER": "NOMBRE", "SECONDS": "SECONDES",
    "BYTES": "OCTETS", "CPUS": "PROCESSEURS", "TARGET": "CIBLE", "COMMAND": "COMMANDE", "SUITE": "VERSION",
    "FILE": "FICHIER", "TAG": "ÉTIQUETTE", "PATH": "CHEMIN", "ACCESS": "ACCÈS", "NODES": "NŒUDS", "TIME": "DATE",
    "IN": "ENTRÉE", "OUT": "SORTIE", "POLICY": "POLITIQUE", "RETRIES": "ESSAIS", "PROFILE": "PROFIL",
}  # fmt: skip


def is_french(environment: Mapping[str, str]) -> bool:
    """Say whether the locale of messages is French: the first of three variables that is set decides (locale(7))."""
    for key in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(key):
            return environment[key].lower().startswith("fr")
    return False


def show(options: Options) -> int:
    """Print the manual, or the part of it about the commands that are named."""
    chosen = select(options.names)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    print(text(chosen, is_french(os.environ), whole=len(chosen) == len(COMMANDS)), end="")
    return 0


def version(_options: Options) -> int:
    """Print the version."""
    print(VERSION)
    return 0


def select(words: Sequence[str]) -> list[Command]:
    """Return the commands that words name: ``image``, ``image create``, ``create``, or all for none.

    :raises Usage: when there is none.
    """
    names = [word for word in words if any(word in (command.kind, command.verb) for command in COMMANDS)]
    chosen = [command for command in COMMANDS if all(name in (command.kind, command.verb) for name in names[:2])]
    if len(names) < min(len(words), 2) or not chosen:
        raise Usage(f"there is no command {' '.join(words)!r}", " ".join(names[:1]))
    return chosen


def text(commands: Sequence[Command], french: bool, whole: bool) -> str:
    """Return the manual of some commands.

    :param whole: with what concerns all of them.
    """
    lines: list[str] = []
    if whole:
        lines += [_title("NAME", french), "    baleine", "", _title("SYNOPSIS", french)]
        lines += [f"    {synopsis(command, french)}" for command in commands]
        lines += ["", _title("DESCRIPTION", french), _fill(INTRODUCTION[french]), "", _title("COMMANDS", french)]
    for command in commands:
        lines += [*_command(command, french), ""]
    if whole:
        lines += [_title("EXIT CODES", french), _fill(CODES[french]), ""]
    return "\n".join(lines[:-1]) + "\n"


def synopsis(command: Command, french: bool) -> str:
    """Return a command in one line."""
    words = ["baleine", command.kind, command.verb] if command.kind else ["baleine", command.verb]
    if command.verb == "help":
        words.append(translate("[COMMAND]", french))
    elif command.names == "pair":
        words.append(translate("SOURCE TARGET", french))
    elif command.names:
        own = name_flag(command.kind)
        name = f"{own.short} {translate(own.value, french)}" + ("…" if command.names in ("many", "two", "any") else "")
        words.append(f"[{name}]" if command.names in ("maybe", "any") else name)
    required = [flag for flag in command.flags if flag.key in command.required]
    words += [f"{flag.short or flag.long} {translate(flag.value, french)}" for flag in required]
    if len(command.flags) > (1 if command.names else 0) + len(command.required):
        words.append("[OPTIONS]" if french else "[FLAGS]")
    if command.program:
        words.append(translate("-- PROGRAM [ARGUMENT…]", french))
    return " ".join(words)


def translate(value: str, french: bool) -> str:
    """Return what stands for a value, in the reader's language."""
    if not french:
        return value
    word, done = "", ""
    for character in value + "\0":
        if character.isupper():
            word += character
            continue
        done += VALUES.get(word, word) + character
        word = ""
    return done[:-1]


def _title(title: str, french: bool) -> str:
    return TITLES[title] if french else title


def _fill(paragraph: str, indent: int = 4) -> str:
    return textwrap.fill(
        paragraph, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def _command(command: Command, french: bool) -> Iterable[str]:
    yield f"  {synopsis(command, french)}"
    yield _fill(command.fr if french else command.en, 6)
    for flag in command.flags:
        yield from _flag(flag, french)
    for example in command.examples:
        yield f"      $ {example}"


def _flag(flag: Flag, french: bool) -> Iterable[str]:
    names = ", ".join(name for name in (flag.short, flag.long) if name)
    yield f"      {names} {translate(flag.value, french)}".rstrip()
    yield _fill(flag.fr if french else flag.en, 12)


def roff(french: bool) -> str:
    """Return the whole manual as a page of section 1, in the language of man(7)."""
    brief = "conteneurs sans démon" if french else "containers without a daemon"
    lines = [
        "'\\\" -*- coding: UTF-8 -*-",
        '.TH BALEINE 1 "" Baleine',
        ".nh",
        ".SH " + _title("NAME", french),
        f"baleine \\- {brief}",
    ]
    lines += [".SH " + _title("DESCRIPTION", french), _escape(INTRODUCTION[french])]
    lines.append(".SH " + _title("COMMANDS", french))
    for command in COMMANDS:
        lines += [".SS " + _escape(synopsis(command, french)), _escape(command.fr if french else command.en)]
        for flag in command.flags:
            names = ", ".join(f"\\fB{_escape(name)}\\fR" for name in (flag.short, flag.long) if name)
            lines += [".TP", f"{names} \\fI{_escape(translate(flag.value, french))}\\fR"]
            lines.append(_escape(flag.fr if french else flag.en))
        for example in command.examples:
            lines += [".PP", ".RS", f"$ {_escape(example)}", ".RE"]
    lines += [".SH " + _title("EXIT CODES", french), _escape(CODES[french])]
    return "\n".join(lines) + "\n"


def _escape(words: str) -> str:
    """Return text as roff prints it: backslashes, dashes that are typed, and a first character that is a request's."""
    words = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{words}" if words[:1] in (".", "'") else words
