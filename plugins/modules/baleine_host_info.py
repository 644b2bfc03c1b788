#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_host_info
short_description: Say what a host is, lacks and suffers from as a host of containers
version_added: 0.1.0
description:
  - Reads the host, and changes nothing on it.
extends_documentation_fragment:
  - lab.baleine.attributes.info
seealso:
  - module: lab.baleine.baleine_command
"""

EXAMPLES = r"""
- name: What of this host would hurt
  lab.baleine.baleine_host_info:
  register: host

- name: Say it
  ansible.builtin.debug:
    var: host.hazards
"""

RETURN = r"""
cgroup:
  description: The layout of cgroups. V(unified) is v2, V(legacy) is v1, V(hybrid) is v1 beside a v2 that still has
    controllers.
  returned: success
  type: str
runtime:
  description: The OCI runtime that starts containers here, V(crun) or V(runc), or none.
  returned: success
  type: str
packages_missing:
  description: Debian packages that are still needed.
  returned: success
  type: list
  elements: str
hazards:
  description: What would hurt containers on this host.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description: The setting or rule.
      type: str
      returned: always
    why:
      description: What it does to containers.
      type: str
      returned: always
    hint:
      description: What can be done.
      type: str
      returned: always
errors:
  description: Why the host cannot run containers at all. Empty where it can.
  returned: success
  type: list
  elements: str
kernel:
  description: The release of the kernel.
  returned: success
  type: str
running:
  description: The names of the containers that have living processes, as the kernel shows them. The command line is not
    needed for that, nor a manifest.
  returned: success
  type: list
  elements: str
  sample: [web1]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import hazards, task


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    task.perform(module, lambda run, params, check: {"changed": False, **hazards.report(run)})


if __name__ == "__main__":
    main()
