# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line on a host: plans of its files."""

from __future__ import annotations

import pytest

from baleine import install
from baleine.errors import BaleineError
from tests.unit.support import verbs

FILES = {"baleine/units.py": "units\n", "baleine_cli/main.py": "main\n"}
INSTALLED = install.wanted(FILES)


@pytest.mark.parametrize(
    ("files", "found", "expected"),
    [
        (FILES, {}, ["write"] * 5),
        (FILES, INSTALLED, []),
        ({**FILES, "baleine/units.py": "Units\n"}, INSTALLED, ["write"]),
        ({"baleine/units.py": "units\n"}, INSTALLED, ["delete"]),
        (FILES, {**INSTALLED, f"{install.LIBRARY}/baleine/old.py": ""}, ["delete"]),
        (FILES, {**INSTALLED, install.LAUNCHER: "#!/bin/sh\n"}, ["write"]),
        (None, INSTALLED, ["delete"] * 5),
        (None, {}, []),
    ],
    ids=["nothing", "same", "changed", "gone", "left over", "launcher", "absent", "absent twice"],
)
def test_only_different_files_are_written_and_only_surplus_files_deleted(files, found, expected):
    decided = install.plan(install.wanted(files), found)
    assert verbs(decided) == expected
    left = {path: text for path, text in found.items() if not files or path in install.wanted(files)}
    for action in decided.actions:
        if action.verb == "write":
            left[action.data["path"]] = install.wanted(files)[action.data["path"]]
        else:
            left.pop(action.data["path"], None)
    assert not install.plan(install.wanted(files), left).changed


def test_man_pages_are_installed_in_the_directory_of_man():
    goal = install.wanted({**FILES, "baleine_cli/baleine.fr.1": "page\n"})
    assert goal["/usr/local/share/man/fr/man1/baleine.1"] == "page\n" and len(goal) == len(INSTALLED) + 1


def test_the_cron_file_is_installed_unless_cron_is_false():
    lines = INSTALLED["/etc/cron.d/baleine"].splitlines()
    assert [line.split(" root ")[0] for line in lines if " root " in line] == ["* * * * *", "@reboot"]
    assert verbs(install.plan(install.wanted(FILES, cron=False), INSTALLED)) == ["delete"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "baleine/../../x"])
def test_no_file_is_installed_outside_the_library(name):
    with pytest.raises(BaleineError, match="no path below"):
        install.wanted({name: ""})
