#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_bridge
short_description: Make, change and remove bridges for containers
version_added: 0.1.0
description:
  - A classic Linux bridge with addresses of its own. No packet filter rule is made, no setting of the host changed.
  - Options change in place. A bridge that was deleted or changed by hand is healed, and RV(drift) says so.
extends_documentation_fragment:
  - lab.baleine.attributes
options:
  name:
    description:
      - The name of the bridge, which is a link of the host and has at most 15 characters.
    type: str
    required: true
  state:
    description:
      - V(up) and V(down) make the bridge and set its state.
      - V(absent) removes it. A bridge that containers are connected to is not removed, the error names them.
    type: str
    choices: [up, down, absent]
    default: up
  addresses:
    description:
      - The host's addresses on the bridge, IPv4 and IPv6, in CIDR form. The list is exact.
      - A network that meets one the host already routes elsewhere is refused.
    type: list
    elements: str
    default: []
  mtu:
    description:
      - The MTU in bytes.
    type: int
    default: 1500
  stp:
    description:
      - Whether to look for loops with the spanning tree protocol. It makes a new port wait 15 seconds twice before it
        forwards.
    type: bool
    default: false
  mac:
    description:
      - The MAC address. The default is made from the machine and the name, and stays the same whatever ports come and
        go.
    type: str
  ports:
    description:
      - Interfaces of the host that are ports of the bridge. The list is exact; links of containers do not count.
      - An interface that has addresses or the default route is refused, it would be cut off.
    type: list
    elements: str
    default: []
seealso:
  - module: lab.baleine.baleine_container
"""

EXAMPLES = r"""
- name: A private bridge
  lab.baleine.baleine_bridge:
    name: private
    addresses:
      - 192.168.42.1/24
      - fd00:42::1/64

- name: No such bridge
  lab.baleine.baleine_bridge:
    name: private
    state: absent
"""

RETURN = r"""
bridge:
  description: What is true of the bridge after the task. Empty where there is none.
  returned: success
  type: dict
  contains:
    name:
      description: The name.
      type: str
      returned: always
    state:
      description: V(up), V(down), or V(missing) when the manifest is there and the link is not.
      type: str
      returned: always
    addresses:
      description: The addresses in CIDR form.
      type: list
      elements: str
      returned: always
    mtu:
      description: The MTU in bytes.
      type: int
      returned: always
    stp:
      description: Whether the spanning tree protocol is on.
      type: bool
      returned: always
    mac:
      description: The MAC address.
      type: str
      returned: always
    ports:
      description: The host's interfaces that are ports.
      type: list
      elements: str
      returned: always
    containers:
      description: The running containers that are connected.
      type: list
      elements: str
      returned: always
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
  sample: [{"action": "add_address", "resource": "bridge private", "reason": "drift: 192.168.42.1/24 is gone"}]
drift:
  description: What the host no longer showed of what was recorded.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import bridge, task


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["up", "down", "absent"], "default": "up"},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "mtu": {"type": "int", "default": 1500},
            "stp": {"type": "bool", "default": False},
            "mac": {"type": "str"},
            "ports": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    task.perform(
        module,
        lambda run, params, check: task.result_of(bridge.ensure(run, [bridge.request(params)], check), "bridge"),
    )


if __name__ == "__main__":
    main()
