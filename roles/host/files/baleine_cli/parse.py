# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From words to a command and its options. Flags stand in any order; the table in commands.py is all that is known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional

from .commands import COMMANDS
from .commands_common import HELP, KINDS, Command, name_flag


class Usage(Exception):
    """A command that cannot be understood.

    :param message: what is wrong with it; :param topic: the words after ``baleine help`` that tell more.
    """

    def __init__(self, message: str, topic: str = "") -> None:
        super().__init__(message)
        self.message, self.topic = message, topic


class Options:
    """What was given to a command, by long name without dashes; ``names`` are resources, ``program`` follows ``--``."""

    def __init__(self, topic: str = "") -> None:
        self.topic = topic
        self.values: dict[str, Any] = {}
        self.names: list[str] = []
        self.program: list[str] = []

    def text(self, key: str) -> Optional[str]:
        """Return the value of a flag, or None."""
        value: Optional[str] = self.values.get(key)
        return value

    def many(self, key: str) -> list[str]:
        """Return the values of a flag that may be repeated."""
        return list(self.values.get(key, ()))

    def on(self, key: str) -> bool:
        """Say whether a flag without a value was given."""
        return key in self.values

    def number(self, key: str) -> Optional[int]:
        """Return a flag's value as a number, or None.

        :raises Usage: when it is none.
        """
        value = self.text(key)
        if value is not None and not (value.isascii() and value.isdigit()):
            raise Usage(f"--{key} {value!r} is no number", self.topic)
        return None if value is None else int(value)

    def elements(self, key: str) -> list[str]:
        """Return the elements of a comma separated value; empty ones stay."""
        value = self.text(key)
        return [] if value is None else [element.strip() for element in value.split(",")]

    def path(self, text: str) -> str:
        """Return a path as the caller meant it, who was in a directory of his own."""
        return os.path.join(os.environ.get("PWD", "/"), text)

    def place(self, key: str) -> str:
        """Return a flag's ``KIND:PATH``, with the path as :meth:`path` has it; what is none is judged later."""
        kind, colon, path = (self.text(key) or "").partition(":")
        return f"{kind}:{self.path(path)}" if colon else kind

    def pairs(self, key: str) -> dict[str, str]:
        """Return repeated ``KEY=VALUE`` values.

        :raises Usage: for one that is none.
        """
        found = {}
        for text in self.many(key):
            name, equals, value = text.partition("=")
            if not name or not equals:
                raise Usage(f"--{key} {text!r}: write it as KEY=VALUE", self.topic)
            found[name] = value
        return found


def parse(words: Sequence[str]) -> tuple[Command, Options]:
    """Return the command that was meant and what was given to it.

    :raises Usage: naming the word that is not understood.
    """
    words = list(words)
    head = words[: words.index("--")] if "--" in words else words
    if not head:
        raise Usage("no command")
    if words[0] == "help" or head[-1] in ("--help", "-h") or head[0] in ("--help", "-h"):
        options = Options()
        options.names = [word for word in head if not word.startswith("-") and word != "help"]
        return HELP, options
    words = ["version"] if head == ["--version"] else words
    single = next((command for command in COMMANDS if not command.kind and command.verb == words[0]), None)
    if single is None and words[0] not in KINDS:
        raise Usage(f"there is no command {words[0]!r}")
    command, rest = (single, words[1:]) if single else _find_verb(words[0], words[1:])
    options = _take(command, rest)
    _check(command, options)
    return command, options


def _find_verb(kind: str, words: list[str]) -> tuple[Command, list[str]]:
    """Return the command of a kind and the other words: flags may stand before the verb (``bridge -b NAME up``)."""
    verbs = {command.verb: command for command in COMMANDS if command.kind == kind}
    wrong: Optional[Usage] = None
    for index, word in enumerate(words):
        if word == "--":
            break
        if word in verbs:
            try:
                plain = _take(verbs[word], words[:index]).names
            except Usage as error:  # this word is a flag's value, or a flag before it is none of this verb's
                wrong = wrong or error
                continue
            if not plain:
                return verbs[word], words[:index] + words[index + 1 :]
            break
    if wrong:
        raise wrong
    plain = [word for word in words if not word.startswith("-")]
    if plain and plain[0] not in verbs:
        raise Usage(f"there is no command '{kind} {plain[0]}'", kind)
    raise Usage(f"{kind}: one of these is missing: {', '.join(verbs)}", kind)


def _take(command: Command, words: Sequence[str]) -> Options:
    """Sort words into flags, plain arguments and the program after ``--``."""
    options = Options(f"{command.kind} {command.verb}".strip())
    flags = {name: flag for flag in command.flags for name in (flag.short, flag.long) if name}
    rest = list(words)

    def give(name: str, value: Optional[str]) -> None:
        flag = flags.get(name)
        if flag is None:
            raise Usage(f"{options.topic}: there is no flag {name}", options.topic)
        if not flag.value and value is not None:
            raise Usage(f"{options.topic}: {name} takes no value", options.topic)
        if flag.value and value is None:
            if flag.bare and name == flag.short and (not rest or rest[0].startswith("-")):
                options.values[flag.bare] = True
                return
            if not rest:
                raise Usage(f"{options.topic}: {name} needs a value: {flag.value}", options.topic)
            value = rest.pop(0)
        if flag.many:
            options.values.setdefault(flag.key, []).append(value)
        elif flag.value and flag.key in options.values:
            raise Usage(f"{options.topic}: {name} is given twice", options.topic)
        else:
            options.values[flag.key] = value if flag.value else True

    while rest:
        word = rest.pop(0)
        if word == "--":
            (options.program if command.program else options.names).extend(rest)
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            give(name, value if equals else None)
        elif word.startswith("-") and len(word) > 1:
            letters, known = word[1:], [flags.get(f"-{letter}") for letter in word[1:]]
            switches = len(known) > 1 and all(flag and (flag.bare or not flag.value) for flag in known)
            while letters:
                name, letters = f"-{letters[0]}", letters[1:]
                valued = bool(letters) and name in flags and bool(flags[name].value)
                if switches and flags[name].bare:
                    options.values[flags[name].bare] = True
                    continue
                give(name, letters if valued else None)
                if valued:
                    break
        else:
            options.names.append(word)
    return options


def _check(command: Command, options: Options) -> None:
    """Refuse what is missing or too much; resources named by flag and as arguments become one list."""
    if command.names == "pair":
        if len(options.names) != 2:
            raise Usage(f"{options.topic}: it takes SOURCE and TARGET", options.topic)
    elif command.names:
        flag = name_flag(command.kind)
        options.names = list(dict.fromkeys([*options.values.pop(flag.key, []), *options.names]))
        if command.program and len(options.names) > 1:
            raise Usage(f"{options.topic}: put -- before the program", options.topic)
        if not options.names and command.names in ("one", "two", "many"):
            raise Usage(f"{options.topic}: which {command.kind}? {flag.short}, {flag.long} is missing", options.topic)
        if command.names == "two" and len(options.names) != 2:
            raise Usage(f"{options.topic}: it takes two names", options.topic)
        if command.names in ("one", "maybe") and len(options.names) > 1:
            raise Usage(f"{options.topic}: one name is taken, not also {' '.join(options.names[1:])}", options.topic)
    elif options.names:
        raise Usage(f"{options.topic}: {options.names[0]!r} is not understood", options.topic)
    for flag in command.flags:
        if flag.key in command.required and options.text(flag.key) is None:
            raise Usage(f"{options.topic}: {flag.short and flag.short + ', '}{flag.long} is missing", options.topic)
    if options.text("format") not in (None, "table", "json"):
        raise Usage(f"--format {options.text('format')!r}: there are table and json", options.topic)
    if command.program and not options.program and command.verb != "run":  # that of its image
        raise Usage(f"{options.topic}: no program: give it after --", options.topic)
