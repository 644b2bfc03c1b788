# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken texts at every door: refused, and nothing else. `make fuzz` goes on for as long as one likes."""

from __future__ import annotations

import random

from tests.unit import fuzzing
from tests.unit.fuzzing_seeds import CONTAINER


def test_broken_texts_are_refused_and_never_crash() -> None:
    found = fuzzing.fuzz(seed=2019, enough=lambda tried: tried >= 10000)
    assert found.crashes == []
    assert min(found.tried.values()) >= 100


def test_mutations_differ_from_their_original() -> None:
    chance = random.Random(1)
    made = [fuzzing.mutate(chance, CONTAINER) for _turn in range(200)]
    assert sum(text != CONTAINER for text in made) > 150 and len(set(made)) > 150
