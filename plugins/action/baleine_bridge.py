# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, and confirms over a new connection what may have cut off the first one."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

#: The guard on the host waits for 30 seconds. The last attempt must not begin so late that it comes too late.
PATIENCE = 15


class ActionModule(ActionBase):
    """One task; where addresses moved, two connections."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        token = result.pop("guard", None)
        if token is None or result.get("failed"):
            return result
        confirmed = self._confirm(token, task_vars)
        if confirmed.get("failed"):
            return {**result, "failed": True, "msg": confirmed["msg"]}
        return {**result, "bridge": confirmed["bridge"]}

    def _confirm(self, token: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        arguments = {**self._task.args, "confirm": token}
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._connection.reset()
                return dict(self._execute_module(module_args=arguments, task_vars=task_vars))
            except AnsibleError as error:
                if time.monotonic() > end:
                    what = f"bridge {arguments['name']}: its addresses moved, but the host is not reached any more"
                    hint = "Its guard puts everything back 30 s after the change"
                    return {"failed": True, "msg": f"{what}: {error.message}. {hint}"}
                time.sleep(1)
