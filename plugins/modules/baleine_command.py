#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_command
short_description: Install the command line of Baleine on a host, or remove it
version_added: 0.1.0
description:
  - Copies the core of this collection and the command line that stands on it to C(/usr/local/lib/baleine), and
    C(baleine) to C(/usr/local/bin).
  - Replacing or removing it does not touch containers that run.
  - There is an action plugin of the same name, which brings the files from the controller.
extends_documentation_fragment:
  - lab.baleine.attributes
options:
  state:
    description:
      - Whether the command line should be there.
    type: str
    choices: [present, absent]
    default: present
  cron:
    description:
      - Whether cron makes a pass of supervision (C(baleine supervise)) each minute and at boot, told to it by
        C(/etc/cron.d/baleine).
      - It is removed with the command line, and so is C(/etc/cron.d/baleine-schedule), which holds the times at which
        containers start and stop.
    type: bool
    default: true
    version_added: 0.1.0
  files:
    description:
      - The files to install, by path. Set by the action plugin, not by a playbook.
    type: dict
seealso:
  - module: lab.baleine.baleine_host_info
"""

EXAMPLES = r"""
- name: The command line
  lab.baleine.baleine_command:
"""

RETURN = r"""
command:
  description: Where it is. Empty where it was removed.
  returned: success
  type: dict
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import install, process, task
from ..module_utils.errors import BaleineError


def work(run: process.Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    if params["state"] == "present" and not params["files"]:
        raise BaleineError("command line: no files came with the task", "Run it as a task of a playbook")
    files = params["files"] if params["state"] == "present" else None
    return task.result_of(install.ensure(files, check, params["cron"]), "command")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "cron": {"type": "bool", "default": True},
            "files": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    task.perform(module, work)


if __name__ == "__main__":
    main()
