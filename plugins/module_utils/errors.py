# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of Baleine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Optional, TypeVar

T = TypeVar("T")


class BaleineError(Exception):
    """Something that was asked for cannot be done.

    :param message: what was attempted, on which object, and what the system said.
    :param hint: the next step for the person who reads it; may be empty.
    :param code: what a program that cannot be run makes of it, as shells have it: 126 or 127; otherwise 0.
    """

    def __init__(self, message: str, hint: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class Busy(BaleineError):
    """Another command is at work on it: who need not wait goes on with something else."""


def known(value: Optional[T], what: str) -> T:
    """Return a value that must be known here.

    :raises BaleineError: where it is not; then this is a mistake of Baleine's own.
    """
    if value is None:
        raise BaleineError(f"{what} is not known here", "This is a bug of Baleine: please report it")
    return value


@contextlib.contextmanager
def explained(attempt: str, hint: str = "") -> Iterator[None]:
    """Say for a person what was attempted when the system refuses something inside.

    :param hint: the next step.
    :raises BaleineError: for an OSError, with the system's word for it.
    """
    try:
        yield
    except OSError as error:
        raise BaleineError(f"{attempt}: {error.strerror}", hint) from None
