# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command shares: tables and JSON out, several names in, warnings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Callable

from baleine import manifest, units
from baleine.errors import BaleineError
from baleine.plan import Outcome

from .main import FAILED, complain, printable
from .parse import Options

Facts = Mapping[str, Any]
#: What JSON leaves as it is and a terminal may obey (ECMA-48, C1).
COMMANDS_OF_TERMINALS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned columns under a header in upper case; an empty cell is a dash."""
    lines = [[title.upper() for title in head], *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
    return "\n".join(texts) + "\n"


def wants_json(options: Options) -> bool:
    """Say whether JSON is asked for."""
    return options.text("format") == "json"


def as_json(value: Any) -> str:
    """Return JSON that people can read too."""
    return json.dumps(value, indent=2, ensure_ascii=False).translate(COMMANDS_OF_TERMINALS) + "\n"


def changes(found: Iterable[tuple[str, str]]) -> str:
    """Return paths that differ, each with its mark, a line each."""
    return "".join(f"{mark} {printable(path)}\n" for mark, path in found)


def changed(found: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the same as JSON has it."""
    return [{"change": mark, "path": path} for mark, path in found]


def kind_of(options: Options) -> tuple[str, Any]:
    """Return the kind that a command is about, and its module: ``facts``, ``HEAD``, ``row``, ``absent``."""
    kind = options.topic.split()[0]
    return kind, import_module(f"{__package__}.{kind}s")


def collect(kind: str, facts: Callable[[str], Facts]) -> tuple[list[Facts], int]:
    """Return the facts of all resources of a kind, and the exit code: one that is broken does not stop the rest."""
    found = list[Facts]()
    code = every(manifest.names(kind), lambda name: found.append(facts(name)))
    return [shown for shown in found if shown], code


def every(names: Iterable[str], work: Callable[[str], None]) -> int:
    """Do something with each name; one that fails does not stop the rest. Returns the exit code."""
    code = 0
    for name in names:
        try:
            work(name)
        except BaleineError as error:
            complain(error.message, error.hint)
            code = FAILED
    return code


def print_list(
    options: Options, found: Sequence[Facts], head: Sequence[str], row: Callable[[Facts], Sequence[str]]
) -> None:
    """Print a list as it is asked for: a table, JSON, or the names only."""
    as_table = not wants_json(options)
    if options.on("quiet"):
        text = "".join(f"{facts['name']}\n" for facts in found)
    else:
        text = table(head, (row(facts) for facts in found)) if as_table else as_json(list(found))
    print(text, end="")


def list_(options: Options) -> int:
    """List what there is of a kind."""
    kind, module = kind_of(options)
    found, code = collect(kind, module.facts)
    print_list(options, found, module.HEAD, module.row)
    return code


def remove(options: Options) -> int:
    """Remove the resources that are named."""
    kind, module = kind_of(options)
    return each(options, kind, module.absent, removes=True)


def inspect(options: Options) -> int:
    """Print everything that is known of the resources that are named."""
    kind, module = kind_of(options)
    as_table, found = not wants_json(options), list[Facts]()
    code = every(options.names, lambda name: found.append(known(kind, name, module.facts)))
    if as_table:
        print("\n".join("".join(f"{key}: {_text(value)}\n" for key, value in shown.items()) for shown in found), end="")
    else:
        print(as_json(found), end="")
    return code


def _text(value: Any) -> str:
    plain = value is None or isinstance(value, str)
    return printable((value or "-") if plain else json.dumps(value, ensure_ascii=False))


def known(kind: str, name: str, facts: Callable[[str], Facts]) -> Facts:
    """Return the facts of a resource that exists.

    :raises BaleineError: where there is none.
    """
    shown = facts(units.check_name(name, kind))
    if not shown:
        raise manifest.missing(kind, name)
    return shown


def check_new(kind: str, name: str, hint: str) -> None:
    """Refuse to create what exists; what a crash left half made is no obstacle.

    :raises BaleineError: where there is one.
    """
    record = manifest.read(kind, units.check_name(name, kind))
    if record is not None and record.get("state") not in ("creating", "removing"):
        raise BaleineError(f"{kind} {name}: it exists already", hint)


def made(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Print the warnings of a creation, and return it.

    :raises BaleineError: where somebody else created it in the meantime.
    """
    warn(outcomes)
    for existing in (outcome.plan.name for outcome in outcomes if outcome.plan.before):
        raise BaleineError(f"{existing}: it exists already", "Another command made it at the same time")
    return outcomes


def result(options: Options, outcomes: Sequence[Outcome]) -> int:
    """Print what there is now as JSON, where that is asked for; returns the exit code."""
    if wants_json(options):
        print(as_json([outcome.facts for outcome in outcomes]), end="")
    return 0


def each(options: Options, kind: str, change: Callable[[str], Sequence[Outcome]], removes: bool = False) -> int:
    """Change each resource that is named; one that fails, or does not exist, does not stop the rest.

    :param removes: the change is a removal: where nothing was left to remove there was none, which --force forgives.
    :returns: the exit code.
    """

    def one(given: str) -> None:
        name = units.check_name(given, kind, aside=removes)
        if not removes:
            manifest.need(kind, name)
        outcomes = change(name)
        warn(outcomes)
        if removes and not options.on("force") and not any(outcome.plan.changed for outcome in outcomes):
            raise manifest.missing(kind, given)

    return every(options.names, one)


def prune(options: Options, names: Sequence[str]) -> int:
    """Remove resources that nothing needs, or with ``--dry-run`` nothing, and print their names."""
    kind, module = kind_of(options)
    options.names = list(names)

    def change(name: str) -> Sequence[Outcome]:
        done: Sequence[Outcome] = [] if options.on("dry-run") else module.absent(name)
        print(name, flush=True)
        return done

    return each(options, kind, change)


def warn(outcomes: Sequence[Outcome]) -> None:
    """Print the warnings of what was done."""
    for text in dict.fromkeys(text for outcome in outcomes for text in outcome.plan.warnings):
        complain(f"warning: {text}")
