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
        go; while the bridge holds the addresses of a port (O(move_addresses)), it is that port's, under which the
        machines around know them.
    type: str
  ports:
    description:
      - Interfaces of the host that are ports of the bridge. One that is taken from the list is taken from the bridge.
        Links of containers, and what somebody else made its port, are left alone.
      - An interface that has addresses or the default route is refused, it would be cut off, unless O(move_addresses)
        is set.
    type: list
    elements: str
    default: []
  move_addresses:
    description:
      - Whether the addresses and routes of an interface that becomes a port move to the bridge, all of them in one
        operation. They belong to the bridge then, beside O(addresses), and RV(bridge.moved) shows them.
      - They move back when the interface is taken from O(ports), or the bridge is V(absent). While they are here, tasks
        that keep the interface in O(ports) have to keep this option.
      - B(Warning:) this can cut off the connection that Ansible uses. Before the change a guard is started on the host.
        The task confirms the change over a new connection. Where that fails, the guard puts everything back after 30
        seconds, and ends. What moved is not finished until it is confirmed, so whoever runs the module without its
        action plugin has to run it again with O(confirm).
      - The host's own network configuration is not changed. It must not manage the interface any more, and a boot
        brings it back as that configuration says; so does a DHCP client that goes on asking on the interface.
      - Only routes of the main table move. A bridge that is V(down), or looks for loops with O(stp), takes no address.
    type: bool
    default: false
    version_added: 0.1.0
  confirm:
    description:
      - Confirms the move of addresses whose guard has this token, and finishes what was begun. For the action plugin of
        this module only.
      - Fails when the guard has put everything back already.
    type: str
    version_added: 0.1.0
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

- name: The network of the machines, with the address by which this host is reached
  lab.baleine.baleine_bridge:
    name: public
    ports:
      - eth0
    move_addresses: true

- name: No such bridge
  lab.baleine.baleine_bridge:
    name: private
    state: absent
"""

RETURN = r"""
bridge:
  description: What is true of the bridge after the task. Empty where there is none, and in check mode where something
    would change.
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
    moved:
      description: What came from each port and goes back to it, in the words of C(ip), by port.
      type: dict
      returned: when something did
      sample: {"eth0": {"addresses": [{"value": "172.30.0.11/24", "words": "172.30.0.11/24"}], "routes": []}}
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
guard:
  description: The token of the guard that waits for O(confirm).
  returned: when addresses moved and nobody has confirmed that yet
  type: str
drift:
  description: What the host no longer showed of what was recorded.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import bridge, guard, task
from ..module_utils.process import Runner


def work(run: Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    outcomes = bridge.ensure(run, [bridge.request(params)], check, params["confirm"] or "")
    token = guard.waiting(params["name"])
    return {**task.result_of(outcomes, "bridge"), **({"guard": token} if token else {})}


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
            "move_addresses": {"type": "bool", "default": False},
            "confirm": {"type": "str", "no_log": False},
        },
        supports_check_mode=True,
    )
    task.perform(module, work)


if __name__ == "__main__":
    main()
