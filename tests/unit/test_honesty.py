# SPDX-License-Identifier: GPL-3.0-or-later
"""No option of a module is without a case of the honesty harness (tests/integration/test_honesty.py)."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.honesty_cases import TABLES

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))


class Declared(Exception):
    """Raised in the place of a module, with its specification."""


def specification(module: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """What a module tells Ansible of its options."""
    basic = pytest.importorskip("ansible.module_utils.basic")

    def declare(self: Any, argument_spec: Mapping[str, Any], **_other: Any) -> None:
        raise Declared(argument_spec)

    monkeypatch.setattr(basic.AnsibleModule, "__init__", declare)
    monkeypatch.setattr(sys, "path", [str(ROOT / ".collections"), *sys.path])
    with pytest.raises(Declared) as caught:
        importlib.import_module(f"ansible_collections.lab.baleine.plugins.modules.{module}").main()
    found: Mapping[str, Any] = caught.value.args[0]
    return found


def paths(options: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, option in options.items():
        yield f"{above}{name}"
        yield from paths(option.get("options") or {}, f"{above}{name}.")


def test_every_module_has_a_table():
    assert sorted(TABLES) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_every_option_of_a_module_is_in_its_table_and_nothing_else_is(module, monkeypatch):
    declared = set(paths(specification(module, monkeypatch)))
    tabled = {key.partition("#")[0] for key in TABLES[module]}
    assert sorted(declared - tabled) == [], "add a Case for each to tests/integration/honesty_cases.py"
    assert sorted(tabled - declared) == []


def not_texts(value: Any, where: str) -> Iterator[str]:
    """Descriptions that YAML read as something else: a colon with a space after it makes a mapping of a sentence."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if key == "description":
            texts = item if isinstance(item, list) else [item]
            yield from (f"{where}: {text}" for text in texts if not isinstance(text, (str, dict)))
            yield from (f"{where}: {text}" for text in texts if isinstance(text, dict) and isinstance(item, list))
        yield from not_texts(item, f"{where}/{key}")


@pytest.mark.parametrize("module", MODULES)
def test_the_documentation_of_a_module_can_be_read(module):
    blocks = {}
    for node in ast.parse((ROOT / f"plugins/modules/{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            blocks[ast.unparse(node.targets[0])] = node.value.value
    assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} <= set(blocks)
    for name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
        assert list(not_texts(yaml.safe_load(blocks[name]), name)) == []


def test_a_case_says_what_it_does():
    known = ("change", "act", "nothing", "refuse", "predict", "unknown", "everywhere")
    for module, table in TABLES.items():
        for key, case in table.items():
            assert case.does in known, (module, key)
            assert bool(case.words) == (case.does == "refuse"), (module, key)
            assert bool(case.to) == (case.does != "everywhere"), (module, key)
