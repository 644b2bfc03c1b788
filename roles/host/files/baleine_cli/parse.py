# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From words to a command and its options. Flags stand in any order; the table in commands.py is all that is known."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from .commands import COMMANDS, HELP, KINDS, Command, Flag, name_flag


class Usage(Exception):
    """A command that cannot be understood.

    :param message: what is wrong with it; :param topic: the words after ``baleine help`` that tell more.
    """

    def __init__(self, message: str, topic: str = "") -> None:
        super().__init__(message)
        self.message, self.topic = message, topic


class Options:
    """What was given to a command, by long name without dashes; ``names`` are the resources, ``program`` follows ``--``."""

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
    if not words:
        raise Usage("no command")
    head = words[: words.index("--")] if "--" in words else words
    if words[0] == "help" or "--help" in head or "-h" in head:
        options = Options()
        options.names = [word for word in head if not word.startswith("-") and word != "help"]
        return HELP, options
    if words[0] not in KINDS:
        raise Usage(f"there is no command {words[0]!r}")
    command, rest = _find_verb(words[0], words[1:])
    options = _take(command, rest)
    _check(command, options)
    return command, options


def _find_verb(kind: str, words: list[str]) -> tuple[Command, list[str]]:
    """Return the command of a kind and the other words: flags may stand before the verb (``bridge -b NAME up``)."""
    verbs = {command.verb: command for command in COMMANDS if command.kind == kind}
    for index, word in enumerate(words):
        if word not in verbs:
            continue
        try:
            before = _take(verbs[word], words[:index])
        except Usage:
            continue  # it is the value of a flag, or a flag before it is another verb's
        if not before.names or not any(flag.names() & set(words[:index]) for flag in ()):
            if _only_flags(verbs[word], words[:index]):
                return verbs[word], words[:index] + words[index + 1 :]
    wrong = next((word for word in words if not word.startswith("-")), "")
    if wrong and wrong not in verbs:
        raise Usage(f"there is no command '{kind} {wrong}'", kind)
    raise Usage(f"{kind}: which command? {', '.join(verbs)}" if not wrong else f"{kind}: the flags do not go with it", kind)
