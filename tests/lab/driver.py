# SPDX-License-Identifier: GPL-3.0-or-later
"""Many module calls in one machine, some at the same time, with what they said kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import agent
from .agent import Call
from .target import Target

__all__ = ["Call", "Driver"]


class Driver:
    """Runs modules in a machine, whether they fail or not.

    :ivar heard: what the modules said, but for the parameters that they repeat.
    """

    def __init__(self, host: Target) -> None:
        self.host, self.heard = host, list[str]()

    def call(self, module: str, params: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
        """Run a module; its result, failed or not."""
        return self.together([Call(module, params, check)])[0]

    def together(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """Run modules at the same time; their results, in order."""
        results = [agent.result(done) for done in self.host.together(calls)]
        self.heard += [json.dumps({key: item for key, item in one.items() if key != "invocation"}) for one in results]
        return results
