# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line on a host: wanted files, found files, a plan, and its application."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from typing import Optional

from . import manifest, schedule
from .errors import BaleineError
from .plan import Action, Outcome, Plan, apply

LIBRARY = "/usr/local/lib/baleine"
LAUNCHER = "/usr/local/bin/baleine"
#: -I and -S: nothing of the caller's environment or of site-packages is looked at, which also saves half the start.
LAUNCHER_TEXT = f"""\
#!/usr/bin/python3 -IS
# Baleine's command line. Installed by the role lab.baleine.host.
import gc
import sys

gc.set_threshold(100000)  # most commands end before there is garbage worth looking for
sys.path.insert(0, "{LIBRARY}")
from baleine_cli.main import run

run()
"""
#: Pages of the manual, and where man(1) looks for them.
PAGES = {
    "baleine_cli/baleine.1": "/usr/local/share/man/man1/baleine.1",
    "baleine_cli/baleine.fr.1": "/usr/local/share/man/fr/man1/baleine.1",
}
#: bash reads this when the command is first completed in a shell.
COMPLETION = "/usr/local/share/bash-completion/completions/baleine"
COMPLETION_TEXT = "source <(baleine completion)\n"
#: What is ours outside the library.
OUTSIDE = (LAUNCHER, COMPLETION, *PAGES.values())
WHAT = "command line"


def find() -> dict[str, str]:
    """Return the text of every installed file, by path; of one with another mode than ours, something else."""
    found = {}
    paths = [os.path.join(folder, name) for folder, _folders, names in os.walk(LIBRARY) for name in names]
    for path in [*(path for path in paths if not path.endswith(".pyc")), *OUTSIDE, schedule.PASS, schedule.TIMES]:
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            found[path] = stream.read()
            mode = os.fstat(stream.fileno()).st_mode & 0o7777
            found[path] += f"\nmode {mode:o}" if mode != _mode(path) else ""
    return found


def _mode(path: str) -> int:
    return 0o755 if path == LAUNCHER else 0o644


def wanted(files: Optional[Mapping[str, str]], cron: bool = True) -> dict[str, str]:
    """Return the text of every wanted file, by path.

    :param files: by path below the library, as the controller has them; None where nothing is wanted.
    :param cron: whether the lines of cron are among them.
    :raises BaleineError: for a path that leads out of the library.
    """
    if files is None:
        return {}
    for name in files:
        if name.startswith("/") or ".." in name.split("/"):
            raise BaleineError(f"{WHAT}: {name!r} is no path below {LIBRARY}")
    goal = {PAGES.get(name, f"{LIBRARY}/{name}"): text for name, text in files.items()}
    goal.update({LAUNCHER: LAUNCHER_TEXT, COMPLETION: COMPLETION_TEXT})
    return {**goal, schedule.PASS: schedule.PASS_TEXT} if cron else goal


def plan(goal: Mapping[str, str], found: Mapping[str, str]) -> Plan:
    """Compare and decide. Pure."""
    surplus = sorted(path for path in found if path not in goal)
    missing = sorted(path for path, text in goal.items() if found.get(path) != text)
    steps = [("write", path, "differs" if path in found else "is missing") for path in missing]
    steps += [("delete", path, "is not wanted") for path in surplus]
    actions = [Action(verb, WHAT, f"{path} {why}", {"path": path}) for verb, path, why in steps]
    return Plan(WHAT, tuple(actions), {"files": _digests(found)}, {"files": _digests(goal)})


def _digests(texts: Mapping[str, str]) -> dict[str, str]:
    return {path: f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" for path, text in texts.items()}


def ensure(files: Optional[Mapping[str, str]], check: bool = False, cron: bool = True) -> list[Outcome]:
    """Install, replace or remove the command line; containers that run do not notice.

    :param files, cron: see :func:`wanted`. When containers start and stop is taken away with the command line alone.
    """
    goal = wanted(files, cron)
    with contextlib.nullcontext() if check else manifest.registry("install"):
        found = find()
        decided = plan(goal, {path: text for path, text in found.items() if path != schedule.TIMES or not goal})
        if not check:
            apply(decided, {"write": lambda action: _write(action, goal), "delete": _delete})
            if not goal:
                shutil.rmtree(LIBRARY, ignore_errors=True)
    return [Outcome(decided, {"launcher": LAUNCHER, "library": LIBRARY} if goal else {})]


def _write(action: Action, goal: Mapping[str, str]) -> None:
    path = action.data["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    manifest.replace(path, goal[path].encode(), _mode(path))
    os.chmod(path, _mode(path))  # whatever the umask


def _delete(action: Action) -> None:
    os.unlink(action.data["path"])
    if action.data["path"].startswith(LIBRARY):
        manifest.drop_empty(os.path.dirname(action.data["path"]))
