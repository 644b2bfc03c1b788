#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_store
short_description: Give a host a store in which copies share their blocks
version_added: 0.1.0
description:
  - Puts C(/var/lib/baleine) into an XFS filesystem with reflink, which is one file, C(/var/lib/baleine-store.xfs). A
    container is then created in the same few milliseconds whatever its image holds, and takes only the space of what it
    changes.
  - What is there moves into the store, and out of it with O(state=absent). It is copied with its holes, compared, and
    only then taken away where it was. Whatever interrupts that, the next run finishes it, and nothing is lost.
  - Nothing is moved while a container runs or something is mounted by hand. Other commands are refused meanwhile.
  - The store is mounted by the first command after a boot, which is the pass of cron. C(/etc/fstab) has no line of it.
  - On a host whose C(/var/lib/baleine) is on a filesystem that can share blocks already (XFS, btrfs), nothing is done.
extends_documentation_fragment:
  - lab.baleine.attributes
options:
  size:
    description:
      - How large the store is, such as V(20G). A bare number is MiB. All of it is reserved on the host's filesystem, so
        that a host that is full cannot break the store.
      - A larger size makes it grow, also while containers run. It never shrinks; move out of it first.
      - Needed with O(state=present).
    type: str
  state:
    description:
      - V(present) makes the store and moves everything into it.
      - V(absent) moves everything out and removes it.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: lab.baleine.baleine_image
"""

EXAMPLES = r"""
- name: Copies of images cost nothing
  lab.baleine.baleine_store:
    size: 20G

- name: No store
  lab.baleine.baleine_store:
    state: absent
"""

RETURN = r"""
store:
  description: What is true of the store after the task. Empty in check mode where something would change.
  returned: success
  type: dict
  contains:
    state:
      description: V(present); V(absent); or V(native) where the host needs none.
      type: str
      returned: always
    path:
      description: Its file. Empty where there is none.
      type: str
      returned: always
    size:
      description: Its size in bytes.
      type: int
      returned: always
    free:
      description: Free bytes where images and containers are.
      type: int
      returned: always
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
  sample: [{"action": "grow", "resource": "store /var/lib/baleine-store.xfs", "reason": "size 10G -> 20G"}]
drift:
  description: What the host no longer showed of what was recorded.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import process, store, task


def work(run: process.Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    return task.result_of([store.ensure(run, store.request(params), check)], "store")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "size": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["size"])],
        supports_check_mode=True,
    )
    task.perform(module, work)


if __name__ == "__main__":
    main()
