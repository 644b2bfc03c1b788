# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings the files of the command line from the controller to the module of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

COLLECTION = Path(__file__).resolve().parents[2]
#: Packages on a host, and where the collection has them.
PACKAGES = {
    "baleine": COLLECTION / "plugins" / "module_utils",
    "baleine_cli": COLLECTION / "roles" / "host" / "files" / "baleine_cli",
}


def collect() -> dict[str, str]:
    """Return the text of every file of the command line, by path below the library."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}": path.read_text(encoding="utf-8")
        for package, folder in PACKAGES.items()
        for path in sorted((*folder.rglob("*.py"), *folder.glob("*.1")))
    }


class ActionModule(ActionBase):
    """One task, one transfer."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state", "present") == "present":
            arguments["files"] = collect()
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        result.pop("invocation", None)  # it holds every file
        return result
