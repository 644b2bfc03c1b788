# SPDX-License-Identifier: GPL-3.0-or-later
"""How much is measured: the usual run, and the smallest one, which shows that every case works. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Scale(NamedTuple):
    """How often everything is measured, and how much of it."""

    #: A part of the usual rounds, but no fewer than ``least``; a round before them warms up and does not count.
    factor: float = 1.0
    least: int = 2
    warm_up: int = 1
    #: Rounds of the profile.
    profile: int = 9
    #: How many containers Baleine lists, one time and another, and how many the others list.
    crowds: tuple[int, int] = (50, 100)
    few: int = 5
    #: How many containers are idle, and how many one playbook makes.
    idle: int = 5
    batch: int = 50
    #: Whether the others play too: their collections are a large download.
    batch_peers: bool = True
    #: MiB of data in a container whose start is compared between stores, and bytes in an image that is copied.
    big: int = 256
    large: int = 262_000_000
    #: Seconds that a program has to end after it was asked to.
    grace: int = 10
    #: A whole Debian as an image and as packages, or the smallest that can stand for it.
    debian: bool = True

    def rounds(self, usual: int, least: int | None = None) -> int:
        """Return how many rounds count."""
        return max(self.least if least is None else min(least, self.least), round(usual * self.factor))


SMALLEST = Scale(
    factor=0.0,
    least=1,
    warm_up=0,
    profile=1,
    crowds=(1, 2),
    few=1,
    idle=1,
    batch=2,
    batch_peers=False,
    big=1,
    large=1_000_000,
    grace=1,
    debian=False,
)
