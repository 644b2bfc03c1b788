# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages say is true of the product: commands, flags, options and variables that they name are there."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from baleine_cli.commands import COMMANDS
from baleine_cli.commands_common import KINDS
from baleine_cli.parse import parse
from tests.integration import docker_table
from tests.unit.test_honesty import MODULES, ROOT, specification

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("docs/docsite/**/*.rst")),
    *sorted(ROOT.glob("roles/*/README.md")),
]
#: Where commands are named to users beside the pages: documentation, messages and hints.
SOURCES = [
    *sorted(ROOT.glob("plugins/**/*.py")),
    *sorted(ROOT.glob("roles/*/meta/argument_specs.yml")),
    *sorted(ROOT.glob("roles/host/files/baleine_cli/*.py")),
]
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/*/meta"))

#: A literal of a page that begins with ``baleine`` or the kind of a resource; it may go over the end of a line.
LITERAL = re.compile(rf"(?<=`)(?:baleine\s+)?(?:(?:{'|'.join(KINDS)})\|?)+\s[^`]+(?=`)")
#: A command in running text or a message, with the flags behind it.
RUNNING = re.compile(rf"\bbaleine (?:{'|'.join(KINDS)}) [a-z]+(?: --?[a-z][a-z-]*| (?:[A-Z]+|{{\w+}}))*")
TYPED = re.compile(r"^ *(?:[#$] )?(?:[A-Z_]+=\S+ )?(baleine (?:.*\\\n)*.*)$", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^\.\. code-block:: (\w+)\n(?:    :[^\n]*\n)*\n((?:(?:    [^\n]*)?\n)+)", re.MULTILINE)
EXAMPLES = re.compile(r'^EXAMPLES = r?"""(.*?)"""', re.MULTILINE | re.DOTALL)
#: A row of a table about variables: their names, and what stands for their defaults.
TABLED = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \|([^|]*)\|", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and text of each block of code of a page."""
    return [*FENCED.findall(text), *DIRECTIVE.findall(text), *(("yaml", block) for block in EXAMPLES.findall(text))]


def unknown(fragment: str) -> list[str]:
    """Return what a command that is named in part has and `baleine help` has not: its verb, or flags."""
    words = re.sub(r"[\[\]…]", " ", fragment).removeprefix("baleine").split()
    kinds, verb, *rest = words[: words.index("--")] if "--" in words else words
    asked = {word.partition("=")[0] for word in rest if re.match("--[a-z]", word)}
    asked |= {f"-{letter}" for word in rest if re.match("-[a-z]", word) for letter in word[1:]}
    wrong = []
    for kind in kinds.split("|"):
        command = next((command for command in COMMANDS if (command.kind, command.verb) == (kind, verb)), None)
        known = {name for flag in command.flags for name in (flag.short, flag.long)} if command else set()
        wrong += [f"{kind} {verb} {flag}" for flag in sorted(asked - known)] if command else [f"{kind} {verb}"]
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_in_the_pages_is_parsed(path):
    for _language, block in blocks(path.read_text()):
        for line in TYPED.findall(block):
            words = shlex.split(line.replace("\\\n", " "), comments=True)
            parse(words[1 : words.index("|") if "|" in words else None])


@pytest.mark.parametrize("path", PAGES + SOURCES, ids=name)
def test_every_named_command_exists_and_has_the_named_flags(path):
    text = path.read_text()
    named = [*RUNNING.findall(text), *(LITERAL.findall(text) if path in PAGES else ())]
    assert [wrong for fragment in named for wrong in unknown(fragment)] == []


def test_a_missing_command_in_a_page_would_be_found():
    assert unknown("container|image frobnicate") == ["container frobnicate", "image frobnicate"]
    assert unknown("baleine container exec -c NAME [-itx] [--no=1] -- ps --all") == [
        "container exec --no",
        "container exec -x",
    ]
    assert LITERAL.findall("`baleine\nimage  lost`, ``container|image lost -x``, `image`, `baleine help`") == [
        "baleine\nimage  lost",
        "container|image lost -x",
    ]
    assert RUNNING.findall("Run: baleine image lost -i {name} --flag, then") == ["baleine image lost -i {name} --flag"]


def test_every_flag_of_docker_run_is_listed_with_flags_and_options_that_exist(monkeypatch):
    create = next(command for command in COMMANDS if (command.kind, command.verb) == ("container", "create"))
    flags = {name for flag in create.flags for name in (flag.short, flag.long)}
    options = specification("baleine_container", monkeypatch)
    rows = docker_table.run_flags()
    assert len(rows) > 10
    for theirs, ours, named in rows:
        assert ours <= flags and named <= {*options, *options["limits"]["options"]}, theirs


def documents(path: Path) -> Iterator[Any]:
    for language, block in blocks(path.read_text()):
        if language in ("yaml", "yml"):
            yield from yaml.safe_load_all(block)


def tasks(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each module of ours that a text in YAML uses, with its arguments."""
    if isinstance(value, list):
        for item in value:
            yield from tasks(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            module = str(key).rpartition("lab.baleine.")[2]
            if module in MODULES:
                yield module, item
            yield from tasks(item)


def certain(value: Any) -> Any:
    """Leave out the values that only a run would know."""
    if isinstance(value, Mapping):
        return {key: certain(item) for key, item in value.items() if not (isinstance(item, str) and "{{" in item)}
    return [certain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", [*PAGES, *(path for path in SOURCES if path.parent.name == "modules")], ids=name)
def test_every_task_in_the_pages_has_known_options_and_accepted_values(path, monkeypatch):
    arg_spec = pytest.importorskip("ansible.module_utils.common.arg_spec")
    shown = [task for document in documents(path) for task in tasks(document)]
    assert shown or path.parent.name != "modules", "there is no example"
    for module, arguments in shown:
        given = certain(arguments or {})
        found = arg_spec.ArgumentSpecValidator(specification(module, monkeypatch)).validate(given).error_messages
        templated = given != (arguments or {})
        assert [text for text in found if not (templated and "missing required" in text)] == [], (module, arguments)


def documentation(path: Path) -> Mapping[str, Any]:
    """Return what a plugin says of itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            found: Mapping[str, Any] = yaml.safe_load(ast.literal_eval(node.value))
            return found
    raise AssertionError(f"{path} documents nothing")


#: Options of Ansible's own fragment (constructed) that inventories are written with.
CONSTRUCTED = {"compose", "groups", "keyed_groups", "strict", "use_extra_vars", "leading_separator"}


@pytest.mark.parametrize("path", [*PAGES, ROOT / "plugins/inventory/baleine.py"], ids=name)
def test_every_inventory_of_containers_in_the_pages_has_known_options(path):
    options = documentation(ROOT / "plugins/inventory/baleine.py")["options"].keys() | CONSTRUCTED
    for document in documents(path):
        if isinstance(document, Mapping) and document.get("plugin") == "lab.baleine.baleine":
            assert set(document) <= options


def role_options(role: str) -> Mapping[str, Any]:
    found = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    options: Mapping[str, Any] = found["argument_specs"]["main"]["options"]
    return options


def role_variables(role: str) -> set[str]:
    """Return what a role takes, and what it gives to those that come after it."""
    path = ROOT / "roles" / role / "vars/main.yml"
    return {*role_options(role), *(yaml.safe_load(path.read_text()) if path.exists() else ())}


@pytest.mark.parametrize("role", ROLES)
def test_the_page_of_a_role_lists_exactly_its_variables(role):
    rows = TABLED.findall((ROOT / "roles" / role / "README.md").read_text())
    assert {variable for names, _default in rows for variable in re.findall(r"\w+", names)} == set(role_options(role))


@pytest.mark.parametrize("role", ROLES)
def test_the_specification_of_a_role_lists_exactly_its_defaults(role):
    given = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())
    said = {key: option["default"] for key, option in role_options(role).items() if "default" in option}
    assert {key: value for key, value in given.items() if "{{" not in str(value)} == said  # one is made of others
    assert set(given) <= set(role_options(role))


def test_the_action_group_has_every_module():
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert sorted(groups["baleine"]) == sorted(MODULES)


@pytest.mark.parametrize("path", [path for path in PAGES if path.name.startswith("README")], ids=name)
def test_every_default_in_the_pages_is_that_of_the_role(path):
    options = {key: option for role in ROLES for key, option in role_options(role).items()}
    for names, cell in TABLED.findall(path.read_text()):
        values = [yaml.safe_load(value) for value in re.findall(r"`([^`]+)`", cell)]
        for variable, value in itertools.zip_longest(re.findall(r"\w+", names), values):
            if variable in options:
                assert options[variable].get("default") in ((value,) if values else (None, "")), variable


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_variable_of_a_role_or_connection_in_the_pages_exists(path):
    connection = documentation(ROOT / "plugins/connection/baleine.py")["options"].values()
    there = {
        "farm_state",
        *ROLES,
        *MODULES,
        *(entry["name"] for option in connection for entry in option.get("vars", ())),
    }
    there = there.union(*map(role_variables, ROLES))
    named = re.findall(rf"\b(?:{'|'.join(ROLES)}|baleine_host)_[a-z_]+\b", path.read_text())
    assert {word for word in named if not word.endswith(("_role", "_module"))} - there == set()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_file_and_make_target_in_the_pages_exists(path):
    text, made = path.read_text(), {"bench/output"}
    files = re.findall(r"`((?:bench|docs|inventory|playbooks|plugins|roles|tests)/[\w./]+)`", text)
    assert [file for file in files if file not in made and not (ROOT / file).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets


def test_every_explained_error_exists_in_the_source():
    explained = re.findall(r'^"(.+)"$', (ROOT / "docs/docsite/rst/troubleshooting.rst").read_text(), re.MULTILINE)
    made = "".join(path.read_text() for path in SOURCES)
    assert len(explained) > 5
    assert [error for error in explained if not all(part.strip() in made for part in error.split("…"))] == []


def test_the_front_page_leads_to_every_module_plugin_and_role():
    front = (ROOT / "docs/docsite/index.rst").read_text()
    plugins = [("connection", "baleine"), ("inventory", "baleine")]
    for kind, one in [*(("module", module) for module in MODULES), *(("role", role) for role in ROLES), *plugins]:
        assert f"<lab.baleine.{one}#{kind}>" in front and f"<collection/{one}_{kind}>" in front
