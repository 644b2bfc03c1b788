# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module says of one resource."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

FACTS = ("container", "bridge", "volume", "image", "command", "store")


class Answer(NamedTuple):
    """What a module said of one resource."""

    changed: bool = False
    actions: tuple[Any, ...] = ()
    before: Any = None
    after: Any = None
    drift: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: str = ""
    facts: Mapping[str, Any] = {}

    @property
    def differing(self) -> set[str]:
        """What the diff shows to be otherwise afterwards."""
        before, after = self.before or {}, self.after or {}
        return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def answer(result: Mapping[str, Any], what: str) -> Answer:
    """Return what a result says of one resource, by its name in plans (`container web1`)."""
    diffs = result.get("diff") or ()
    before, after = {}, {}
    for diff in [diffs] if isinstance(diffs, Mapping) else diffs:
        before.update(json.loads(diff["before"] or "{}"))
        after.update(json.loads(diff["after"] or "{}"))
    actions = tuple((item["action"], item["reason"]) for item in result.get("actions", ()) if item["resource"] == what)
    drift = tuple(text for text in result.get("drift", ()) if text.startswith(f"{what}: "))
    warned = [str(item) for item in result.get("warnings", ())]  # of some versions of Ansible, more than a text
    warnings = tuple(text for text in warned if f"{what}: " in text)
    facts = next((result[key] for key in FACTS if key in result), {})
    failed = str(result.get("msg", result)) if result.get("failed") else ""
    changed = False if failed else result["changed"]
    return Answer(changed, actions, before.get(what), after.get(what), drift, warnings, failed, facts)


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """Return a value with the words of one resource in its texts."""
    if isinstance(value, str):
        for key, word in words.items():
            value = value.replace("{" + key + "}", word)
        return value
    if isinstance(value, Mapping):
        return {key: filled(item, words) for key, item in value.items()}
    return [filled(item, words) for item in value] if isinstance(value, list) else value


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys too."""
    if isinstance(value, Mapping):
        yield from (text for item in value.items() for text in texts(list(item)))
    elif isinstance(value, list):
        yield from (text for item in value for text in texts(item))
    else:
        yield str(value)
