#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_containers
short_description: Create, start, stop, change and remove many containers in one task
version_added: 0.1.0
description:
  - What M(lab.baleine.baleine_container) does for one container, for a set of them, in much less time than a loop.
  - The whole set is planned before the first change. Where one of the containers is refused, nothing is changed.
  - Then several are worked on at the same time. Those that go are removed first, so that their addresses are free. What
    others depend on is started before them. Those that run and must be stopped to be changed take turns, each with its
    O(containers[].wait), so that not all of them are away at the same time.
  - One that fails does not keep the others from what they should be, but for those that take turns after it, which go
    on running as they are. The task fails then, and says of each what became of it.
extends_documentation_fragment:
  - lab.baleine.attributes
  - lab.baleine.container.set
attributes:
  idempotent:
    support: partial
    details:
      - With O(containers[].restart=true) and with O(containers[].recreate=always) every run changes the container.
options:
  prune:
    description:
      - Containers that are removed, disk and all, unless O(containers) lists them. The plan and the diff name them.
      - The default is that no others are touched.
    type: dict
    suboptions:
      label:
        description: Those with this label, V(KEY) or V(KEY=VALUE).
        type: str
      prefix:
        description: Those whose names begin with it.
        type: str
seealso:
  - module: lab.baleine.baleine_container
"""

EXAMPLES = r"""
- name: Three web servers, and no other container of this label
  lab.baleine.baleine_containers:
    containers:
      - name: web1
        image: apache2
        command: [/usr/sbin/apache2ctl, -D, FOREGROUND]
        networks: [{bridge: private, addresses: [192.168.42.11/24]}]
        labels: {farm: web}
      - name: web2
        image: apache2
        command: [/usr/sbin/apache2ctl, -D, FOREGROUND]
        networks: [{bridge: private, addresses: [192.168.42.12/24]}]
        labels: {farm: web}
    prune:
      label: farm=web

- name: As many as there are names
  lab.baleine.baleine_containers:
    containers: "{{ jobs | dict2items(key_name='name', value_name='command') | map('combine', {'image': 'debian'}) }}"
    prune:
      prefix: job
  vars:
    jobs:
      job1: sleep 1000
      job2: sleep 2000

- name: None of them is left
  lab.baleine.baleine_containers:
    containers: []
    prune:
      prefix: job
"""

RETURN = r"""
containers:
  description: What became of each container, by its name; those that were pruned are here too.
  returned: success, and when some failed
  type: dict
  contains:
    changed:
      description: Whether it was changed, or would be in check mode.
      type: bool
      returned: always
    container:
      description: As RV(lab.baleine.baleine_container#module:container).
      type: dict
      returned: always
    failed:
      description: That it is not what it should be.
      type: bool
      returned: when it failed
    msg:
      description: Why.
      type: str
      returned: when it failed
  sample: {"web1": {"changed": true, "container": {"name": "web1", "state": "running"}}}
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success, and when some failed
  type: list
  elements: dict
  sample: [{"action": "start", "resource": "container web1", "reason": "drift: its first process is gone"}]
drift:
  description: What the host no longer showed of what was recorded.
  returned: success, and when some failed
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import arguments, batch, container, process, survey, task, waiting


def work(run: process.Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    wanted = [container.request(item) for item in params["containers"]]
    asked = (
        (item["name"], waiting.request(item["wait"], f"container {item['name']}")) for item in params["containers"]
    )
    conditions = {name: condition for name, condition in asked if condition}
    done = batch.ensure(run, wanted, conditions, params["prune"], check)
    containers = {
        name: {"changed": outcome.plan.changed, "container": outcome.facts} for name, outcome in done.outcomes.items()
    }
    for name, error in done.failed.items():
        containers[name] = {"changed": True, "failed": True, "msg": str(error), "container": survey.facts(run, name)}
    answer = {**task.told(list(done.outcomes.values())), "containers": containers}
    answer["diff"] = [
        {**task.told([outcome])["diff"], "before_header": outcome.plan.name, "after_header": outcome.plan.name}
        for outcome in done.outcomes.values()
        if outcome.plan.changed
    ]
    if done.failed:
        reasons = "; ".join(str(error) for error in done.failed.values())
        said = f"{len(done.failed)} of {len(containers)} containers failed: {reasons}"
        answer.update(failed=True, changed=True, msg=said)
    return answer


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "containers": {"type": "list", "elements": "dict", "required": True, "options": arguments.CONTAINER},
            "prune": {"type": "dict", "options": {"label": {"type": "str"}, "prefix": {"type": "str"}}},
        },
        supports_check_mode=True,
    )
    task.perform(module, work)


if __name__ == "__main__":
    main()
