# SPDX-License-Identifier: GPL-3.0-or-later
"""All resources of a subject, led through all cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.lab.host import LabHost

from .by_hand import drift, foreign
from .subject import Subject
from .table import Table


def walk(subject: Subject, host: LabHost, table: Table) -> list[str]:
    """Lead all resources of a subject through all cases."""
    steps: dict[str, Callable[[], list[str]]] = {
        "check": subject.made,
        "again": subject.again,
        "option": subject.option,
        "info": subject.info,
        "spelled": subject.spelled,
        "case": subject.cased,
        "removed": subject.removed,
        "drift": lambda: drift(subject, host),
        "secret": subject.secret,
        "absent": subject.absent,
        "foreign": lambda: foreign(subject, host),
        "two at once": subject.twice,
    }
    wrong = []
    for case, step in steps.items():
        subject.tried = 0
        told = step()
        wrong += table.fill(subject.module, case, subject.tried, told)
    return wrong


def told(wrong: Sequence[str]) -> str:
    return "\n" + "\n".join(wrong)
