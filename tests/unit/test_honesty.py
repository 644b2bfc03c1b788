# SPDX-License-Identifier: GPL-3.0-or-later
"""No option of a module is without a case of the honesty harness (tests/integration/test_honesty.py)."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.honesty.cases import TABLES

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
def test_every_option_of_a_module_and_nothing_else_is_in_its_table(module, monkeypatch):
    declared = set(paths(specification(module, monkeypatch)))
    tabled = {key.partition("#")[0] for key in TABLES[module]}
    assert sorted(declared - tabled) == [], "add a Case for each to tests/integration/honesty"
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


#: Options that all cases of a module use, or that have several options below them with cases of their own.
EVERYWHERE = ("name", "state", "containers", "containers.name", "prune")


def test_a_case_has_a_known_effect_and_only_the_parts_it_needs():
    known = ("change", "act", "nothing", "refuse", "fail", "unknown", "everywhere")
    for module, table in TABLES.items():
        for key, case in table.items():
            assert case.does in known, (module, key)
            assert bool(case.words) == (case.does in ("refuse", "fail")), (module, key)
            assert bool(case.to) == (case.does != "everywhere"), (module, key)
            assert case.does != "everywhere" or key in EVERYWHERE, (module, key)


def test_a_case_compares_different_values_and_has_no_unused_parts():
    for module, table in TABLES.items():
        for key, case in table.items():
            others = [*case.same, *([] if case.fewer is None else [case.fewer]), *([case.cased] if case.cased else [])]
            assert json.dumps(case.to) not in map(json.dumps, others), (module, key)
            assert case.does in ("change", "everywhere") or not others, (module, key)
            top = key.removeprefix("containers.").partition(".")[0].partition("#")[0]
            assert not case.to or top in case.to, (module, key)
            same = {name: item for name, item in case.base.items() if name in case.to}
            assert case.does != "change" or not case.to or same != case.to, (module, key)


#: Choices without a case, and why.
UNTRIED = {
    "recreate": {"on_change"},  # all cases of containers have it
    "architecture": {"armhf", "ppc64el", "riscv64", "s390x"},  # no host of the laboratory runs them
}


def choices(options: Mapping[str, Any]) -> Iterator[tuple[str, set[str]]]:
    for name, option in options.items():
        if option.get("choices"):
            yield name, set(option["choices"]) - {option.get("default"), "absent"}
        yield from choices(option.get("options") or {})


def values(item: Any, name: str) -> Iterator[Any]:
    """What an option of this name is given anywhere in a request."""
    if isinstance(item, Mapping):
        yield from [item[name]] if name in item else []
        yield from (value for below in item.values() for value in values(below, name))
    elif isinstance(item, (list, tuple)):
        yield from (value for below in item for value in values(below, name))


@pytest.mark.parametrize("module", MODULES)
def test_every_choice_of_an_option_is_tried(module, monkeypatch):
    for name, wanted in choices(specification(module, monkeypatch)):
        tried = {value for case in TABLES[module].values() for value in values([case.base, case.to], name)}
        assert wanted - tried - UNTRIED.get(name, set()) == set(), name
