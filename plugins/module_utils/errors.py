# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of Baleine."""

from __future__ import annotations


class BaleineError(Exception):
    """Something that was asked for cannot be done.

    :param message: what was attempted, on which object, and what the system said.
    :param hint: the next step for the person who reads it; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message
