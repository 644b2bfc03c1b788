# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house as docs/architecture.md draws it, held against what the files import.

The drawing is the fenced block of that document whose first line is ``floors``; each following line is
``name: file file file``, the top floor first. A file may import from the floors below its own and, on its own floor,
from the files that stand to its right.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins" / "module_utils"
COMMAND_LINE = ROOT / "roles" / "host" / "files" / "baleine_cli"
DRAWING = ROOT / "docs" / "architecture.md"
LARGEST_FILE = 400

CORE_FILES = sorted(path for path in CORE.glob("*.py") if path.stem != "__init__")
COMMAND_FILES = sorted(COMMAND_LINE.glob("*.py"))
PLUGIN_FILES = sorted((ROOT / "plugins").rglob("*.py"))


def floors(text: str) -> list[tuple[str, list[str]]]:
    """Return the floors of a drawing, from top to bottom, each with its files from left to right."""
    block = re.search(r"^```[^\n]*\nfloors\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    if block is None:
        return []
    lines = [line.partition(":") for line in block.group(1).splitlines() if line.strip()]
    return [(name.strip(), files.split()) for name, _colon, files in lines]


def upwards(drawn: list[tuple[str, list[str]]], imports: dict[str, set[str]]) -> list[str]:
    """Return what contradicts a drawing: files that are not in it or not there, and imports that go up or left."""
    place = {
        file: (floor, -column) for floor, (_name, files) in enumerate(drawn[::-1]) for column, file in enumerate(files)
    }
    names = [file for _name, files in drawn for file in files]
    wrong = [f"{file} is drawn twice" for file in sorted({file for file in names if names.count(file) > 1})]
    wrong += [f"{file} is drawn, but is not there" for file in sorted(set(place) - set(imports))]
    wrong += [f"{file} is there, but is not drawn" for file in sorted(set(imports) - set(place))]
    for file, used in sorted(imports.items()):
        for other in sorted(used):
            if file in place and other in place and place[other] >= place[file]:
                wrong.append(
                    f"{file} imports {other}, which stands {'above it' if place[other][0] > place[file][0] else 'left of it'}"
                )
    return wrong


def imported(path: Path) -> set[str]:
    """Return the neighbours that a file imports, wherever in it that is written."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.partition(".")[0]} if node.module else {name.name for name in node.names}
    return found


def modules(path: Path) -> Iterator[tuple[int, str]]:
    """Give the line and name of each module that a file imports by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            yield node.lineno, "." * node.level + (node.module or "")


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


SAMPLE = "# House\n\n```\nother: x\n```\n\n```text\nfloors\ntop: task\nmiddle: left right\nground:  errors \n```\n\n```\nnot: this\n```\n"
DRAWN = [("top", ["task"]), ("middle", ["left", "right"]), ("ground", ["errors"])]


def test_the_diagram_is_read_from_its_own_block_only():
    assert floors(SAMPLE) == DRAWN
    assert floors("# House\n") == []


@pytest.mark.parametrize(
    ("imports", "wrong"),
    [
        ({"task": {"left", "errors"}, "left": {"right"}, "right": {"errors"}, "errors": set()}, []),
        ({"task": set(), "left": set(), "right": {"left"}, "errors": set()}, ["right imports left, which stands left of it"]),
        ({"task": set(), "left": {"task"}, "right": set(), "errors": set()}, ["left imports task, which stands above it"]),
        ({"task": set(), "left": set(), "right": set()}, ["errors is drawn, but is not there"]),
        (
            {"task": set(), "left": set(), "right": set(), "errors": set(), "new": set()}, ["new is there, but is not drawn"],
        ),
    ],
    ids=["true", "left", "up", "missing", "new"],
)  # fmt: skip
def test_an_import_that_contradicts_the_diagram_is_found(imports, wrong):
    assert upwards(DRAWN, imports) == wrong


def test_the_core_imports_only_what_the_diagram_allows():
    assert DRAWING.exists(), "docs/architecture.md is not written yet"
    drawn = floors(DRAWING.read_text())
    assert drawn, "docs/architecture.md has no block whose first line is 'floors'"
    assert upwards(drawn, {path.stem: imported(path) for path in CORE_FILES}) == []


def sent(module: str) -> set[str]:
    """Return the files of the core that Ansible sends with a module: all that it may import, from wherever."""
    found: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "plugins" / "modules" / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            below = (node.module or "").partition("module_utils.")[2]
            names |= {below} if below else {name.name for name in node.names}
    while names:
        name = names.pop()
        found.add(name)
        names |= imported(CORE / f"{name}.py") - found
    return found


@pytest.mark.parametrize(
    "module",
    ["baleine_bridge", "baleine_command", "baleine_container_exec", "baleine_host_info", "baleine_volume"],
)
def test_a_module_that_moves_no_container_is_sent_without_what_moves_containers(module):
    """Ansible reads each file for its imports and the host compiles it anew, at every task."""
    assert {"task", "errors"} <= sent(module)
    assert sent(module) & {"container", "keeper", "lifecycle", "survey"} == set()


@pytest.mark.parametrize("path", [*CORE_FILES, *COMMAND_FILES], ids=relative)
def test_no_file_has_more_than_400_lines(path):
    assert lines(path) <= LARGEST_FILE


@pytest.mark.parametrize("path", CORE_FILES, ids=relative)
def test_the_core_imports_only_itself_and_the_standard_library(path):
    import sys

    if sys.version_info < (3, 10):
        pytest.skip("this Python does not say which modules are its own")
    foreign = [(n, name) for n, name in modules(path) if name.partition(".")[0] not in sys.stdlib_module_names]
    assert foreign == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=relative)
def test_no_plugin_uses_assert_print_or_subprocess(path):
    offences = [f"line {n}: import {name}" for n, name in modules(path) if name.partition(".")[0] == "subprocess"]
    banned = ["print", "os.system", "os.popen", *(["time.sleep"] if path.parent == CORE else [])]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            offences.append(f"line {node.lineno}: assert")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in banned:
            offences.append(f"line {node.lineno}: {ast.unparse(node.func)}")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            offences.append(f"line {node.lineno}: a bare except")
    assert offences == []


@pytest.mark.parametrize("path", [*CORE_FILES, *COMMAND_FILES, *PLUGIN_FILES], ids=relative)
def test_every_file_has_a_licence_line_and_a_docstring(path):
    text = path.read_text()
    if not text.strip():
        return  # a package's empty marker
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in text[:300]
    if path.parent.name == "module_utils":
        assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", CORE_FILES, ids=relative)
def test_every_public_definition_in_the_core_has_a_docstring(path):
    """Functions and classes that others may use have a docstring; methods and nested functions need none."""
    silent = [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_" and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("path", CORE_FILES, ids=relative)
def test_the_core_is_written_for_python_3_9(path):
    with tokenize.open(path) as stream:
        ast.parse(stream.read(), feature_version=(3, 9))
