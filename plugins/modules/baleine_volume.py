#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_volume
short_description: Make and destroy named volumes
version_added: 0.1.0
description:
  - A named volume is a directory that outlives containers, and that several can share. Its files have plain owners,
    which are those inside every container that mounts it.
  - A container that names a volume makes it too. This module is for those that shall be there, or gone, by themselves.
extends_documentation_fragment:
  - lab.baleine.attributes
options:
  name:
    description:
      - The name of the volume.
    type: str
    required: true
  state:
    description:
      - V(present) makes an empty volume if need be.
      - V(absent) destroys it with its files. One that a container names is kept, and the error names these containers.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: lab.baleine.baleine_container
"""

EXAMPLES = r"""
- name: A volume for a database
  lab.baleine.baleine_volume:
    name: data
"""

RETURN = r"""
volume:
  description: What is true of the volume after the task. Empty where there is none, and in check mode where
    something would change.
  returned: success
  type: dict
  contains:
    name:
      description: The name.
      type: str
      returned: always
    state:
      description: V(present), or V(missing) when the manifest is there and the directory is not.
      type: str
      returned: always
    path:
      description: Its directory on the host.
      type: str
      returned: always
    created:
      description: When it was made (UTC, ISO 8601).
      type: str
      returned: always
    containers:
      description: The containers that name it.
      type: list
      elements: str
      returned: always
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
drift:
  description: What the host no longer showed of what was recorded.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import process, task, volume


def work(run: process.Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    return task.result_of(volume.ensure([volume.request(params)], check), "volume")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    task.perform(module, work)


if __name__ == "__main__":
    main()
