# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest: which tests stay together in one worker of pytest-xdist."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from .order import file_of


class ByFile(LoadScopeScheduling):
    """Gives a whole file to one worker, in the order of the collection.

    The tests of a file share lab hosts, and some lead on from one another.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return file_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)
