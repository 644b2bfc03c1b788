# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests are read by strangers: short files and functions, one thing per test, names in plain English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = {str(path.relative_to(TESTS)): path for path in sorted(TESTS.rglob("*.py"))}
LONGEST_FILE, LONGEST_FUNCTION, MOST_ASSERTS = 400, 40, 10

#: What still breaks a rule. An entry goes with its last reason: one that is not needed fails too.
LONG_FUNCTIONS = {
    "lab/host.py: LabHost.__init__",
    "lab/host.py: LabHost._config",
}

#: Words that no name of a test contains, and what is written instead.
BANNED = {
    r"^test_(what|who|whoever|whatever|where|whether)_": "begin with the noun that the test is about",
    r"^test_(it|its|he|they|this|that|of|after|with|without|from|beside)_": "begin with a noun",
    r"_(who|whom|whose_he)_|whoever|whichever|however": "name the person or the thing",
    r"what_is_no_|_that_is_(none|no)(_|$)|_(is|are)_none(_|$)": "invalid",
    r"_there_(is|are)_|_that_there": "missing, does not exist",
    r"_not_there(_|$)|_has_not(_|$)": "missing",
    r"_where_": "if",
    r"anew": "again",
    r"but_for|but_to_be": "except",
    r"_(is|are|was)_(told|said)(_|$)|_says_so(_|$)": "is reported",
    r"of_(its|their)_own(_|$)": "separate, unique, or nothing",
    r"unasked|_asked_for": "without a request, requested",
    r"_shall(_|$)": "must",
    r"nobody|somebody|nothing_of_(ours|its)": "name the person or the thing",
    r"_healed|_heals_": "is restored",
    r"cannot_be(_is|_are)?(_refused)?$|_that_cannot_be_is_": "invalid",
    r"(?<!left)_alone$": "only",
    r"keeper|survey|_spared|_taken_for_it": "the name of the thing",
}


def functions(source: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of a file that is not inside another one, by its name and its class."""
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield f"{node.name}.{method.name}", method


def length(function: ast.AST) -> int:
    """How many lines a function has, without its decorators."""
    first, last = getattr(function, "lineno", 0), getattr(function, "end_lineno", 0)
    return int(last - first + 1)


def asserts(function: ast.AST) -> int:
    """How many conditions a function asserts; those that "and" joins count one by one."""
    count = 0
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            joined = isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And)
            count += len(node.test.values) if joined else 1
    return count


def names_of_tests(source: str) -> list[str]:
    return [name for name, _function in functions(source) if name.startswith("test_")]


def banned(name: str) -> list[str]:
    """What is to be written instead of the words of a name that a stranger stumbles over."""
    return [f"{name}: {better}" for words, better in BANNED.items() if re.search(words, name)]


def test_no_test_file_has_more_than_400_lines():
    long = {name for name, path in FILES.items() if len(path.read_text().splitlines()) > LONGEST_FILE}
    assert long == set()


def test_no_function_of_the_tests_has_more_than_40_lines():
    long = {
        f"{file}: {name}"
        for file, path in FILES.items()
        for name, function in functions(path.read_text())
        if length(function) > LONGEST_FUNCTION
    }
    assert long == LONG_FUNCTIONS


def test_no_test_has_more_than_10_assertions():
    many = {
        f"{file}: {name}"
        for file, path in FILES.items()
        for name, function in functions(path.read_text())
        if asserts(function) > MOST_ASSERTS
    }
    assert many == set()


@pytest.mark.parametrize("file", [name for name in FILES if Path(name).name.startswith("test_")])
def test_the_names_of_tests_are_plain_sentences(file):
    found = [text for name in names_of_tests(FILES[file].read_text()) for text in banned(name)]
    assert found == []


@pytest.mark.parametrize(
    "name",
    [
        "test_what_is_no_size_is_refused",
        "test_a_name_that_is_none_is_refused",
        "test_who_waits_gets_the_lock",
        "test_an_image_is_made_anew_when_its_source_changed",
        "test_an_older_image_is_not_taken_unasked",
        "test_a_disk_grows_where_it_is_not_mounted",
        "test_a_filter_that_there_is_not_is_refused",
        "test_an_edited_image_is_told",
        "test_locks_are_taken_in_one_order_whoever_asks",
        "test_a_pause_is_a_state_of_its_own",
        "test_it_has_seven_namespaces",
        "test_a_request_for_what_cannot_be_is_refused",
    ],
)
def test_a_translated_name_would_be_found(name):
    assert banned(name)


def test_a_long_function_and_its_assertions_would_be_counted():
    source = "class A:\n    def one(self):\n        assert 1\n        def two():\n            assert 2 and 3\n"
    [(name, function)] = functions(source)
    assert (name, length(function), asserts(function)) == ("A.one", 4, 3)
