# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzing: valid texts, broken in a thousand ways, at the doors where texts of others come in.

A door may refuse by BaleineError (the command line's by Usage) and in no other way. `make fuzz` runs it for as long as
one likes: `python -m tests.unit.fuzzing SECONDS [SEED]`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from baleine import (
    launch,
    manifest,
    survey,
)
from baleine.errors import BaleineError
from baleine_cli.parse import Usage
from tests.unit.fuzzing_doors import doors

REFUSALS = (BaleineError, Usage)
#: What parsers stumble over.
WORDS = (
    "", "\0", "\n", "\r", "\t", " ", ":", ",", "+", "/", "..", "../..", "//", "%s", "{}", "-", "--", "--format=json", "=", "@", "\\",
    "0", "-1", "00", "1e999", "NaN", "Infinity", "-0", "9" * 30, "18446744073709551616", "0x10", "1_000", "٣", "²", "½", "é",
    "\ufeff", "\u2028", "\x85", "\u200f", "\ud800", "\U0001f433", "null", "true", "[]", "{}", '""', "[[", '{"a":', "[" * 3000,
    '{"a":' * 2000, "A" * 300, ":latest", "::1", "::", "fe80::1%eth0", "0.0.0.0/0", "1.2.3.4/33", "255.255.255.255/32", "1.1.1.1/-1",
    "::ffff:1.2.3.4/128", "ff02::1/64", "ff:ff:ff:ff:ff:ff", "default", "NaNM", "1.5.5G", "1" * 5000,
)  # fmt: skip


class Report(NamedTuple):
    """How many texts were tried at each door, and what came out that may not."""

    tried: dict[str, int]
    crashes: list[str]


def mutate(chance: random.Random, seed: str) -> str:
    """Break a text at a few places."""
    text = seed
    for _turn in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.choice((0, 1, 1, 2, 5, 20)))
        kind = chance.randrange(6)
        if kind == 0:
            text = text[:at] + chance.choice(WORDS) + text[end:]
        elif kind == 1:
            text = text[:at] + chr(chance.choice((chance.randrange(128), chance.randrange(0x2FFF)))) + text[end:]
        elif kind == 2:
            text = text[:at] + text[end:]
        elif kind == 3:
            lines = text.split("\n")
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
            text = "\n".join(lines)
        elif kind == 4:  # a whole value
            lines = text.split("\n")
            index = chance.randrange(len(lines))
            key, colon, value = lines[index].partition(":")
            lines[index] = f"{key}{colon} {chance.choice((*WORDS, value[: len(value) // 2], json.dumps([value])))}"
            text = "\n".join(lines)
        else:  # one value of a JSON text, of another kind
            numbers = [index for index, character in enumerate(text) if character in '0123456789"[{']
            if numbers:
                at = chance.choice(numbers)
                text = (
                    text[:at] + chance.choice(("null", "[]", "{}", "-1", "1e400", '"\\ud800"', "true")) + text[at + 1 :]
                )
    return text[: 1 << 16]


@contextlib.contextmanager
def state(folder: Path) -> Iterator[None]:
    """Let the core look for its manifests there, and for no disk or log of this machine."""
    with mock.patch.multiple(manifest, MANIFESTS=str(folder), LIBRARY=str(folder)), \
         mock.patch.object(survey, "DISKS", str(folder)), mock.patch.object(launch, "BUNDLES", str(folder)):  # fmt: skip
        yield


def fuzz(seed: int, enough: Callable[[int], bool]) -> Report:
    """Go round the doors until it is enough (asked after each round, with the number of texts)."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, state(Path(name)):
        all_doors = doors(Path(name))
        tried, crashes = dict.fromkeys((door.name for door in all_doors), 0), []
        for door in all_doors:
            for text in door.seeds:
                door.take(text)
        while not enough(sum(tried.values())):
            for door in all_doors:
                for text in door.seeds:
                    broken = mutate(chance, text)
                    tried[door.name] += 1
                    try:
                        door.take(broken)
                    except REFUSALS:
                        pass
                    except Exception:
                        crashes.append(f"{door.name}: {broken[:2000]!r}\n{traceback.format_exc(limit=-3)}")
    return Report(tried, crashes)


def main() -> int:
    """Fuzz for some seconds, and print the figures."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int.from_bytes(os.urandom(4), "big")
    end = time.monotonic() + seconds
    found = fuzz(seed, lambda _tried: time.monotonic() > end)
    for name, count in found.tried.items():
        print(f"{name:28} {count:9,}")
    print("\n\n".join(found.crashes[:10]))
    print(f"inputs tried {sum(found.tried.values()):,}, crashes {len(found.crashes)} (seed {seed}, {seconds:.0f} s)")
    return bool(found.crashes)


if __name__ == "__main__":
    sys.exit(main())
