#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_container
short_description: Create, start, stop, change and remove containers
version_added: 0.1.0
description:
  - A container runs on a disk of its own, a copy of its image made when it is created and kept until it is removed.
  - It has its own PID, mount, network, UTS, IPC, cgroup and user namespaces. Nothing of Baleine runs beside it.
  - A task that names O(image) is the whole truth about the container. An option left out means its default, a list or
    dictionary is exact.
  - A task without O(image) only touches the state of a container that exists, and looks at nothing else.
  - Limits and networks change in place. What cannot is refused, unless O(recreate) allows it.
extends_documentation_fragment:
  - lab.baleine.attributes
  - lab.baleine.container
attributes:
  idempotent:
    support: partial
    details:
      - With O(restart=true) and with O(recreate=always) every run changes the container.
seealso:
  - module: lab.baleine.baleine_image
  - module: lab.baleine.baleine_bridge
"""

EXAMPLES = r"""
- name: A web server on the private bridge
  lab.baleine.baleine_container:
    name: web1
    image: apache2
    command: [/usr/sbin/apache2ctl, -D, FOREGROUND]
    networks:
      - bridge: private
        addresses: [192.168.42.11/24]
    limits:
      memory: 256M
      cpus: 0.5
      pids: 128
    volumes:
      - source: /srv/web1
        target: /var/www/html
        read_only: true
    wait:
      http: /

- name: Stop it, whatever it is
  lab.baleine.baleine_container:
    name: web1
    state: stopped

- name: Nothing left of it
  lab.baleine.baleine_container:
    name: web1
    state: absent
"""

RETURN = r"""
container:
  description: What is true of the container after the task. Empty where there is none, and in check mode where
    something would change.
  returned: success
  type: dict
  contains:
    name:
      description: The name.
      type: str
      returned: always
    state:
      description: V(running), V(stopped), or the step that a crash interrupted.
      type: str
      returned: always
    wanted_state:
      description: V(started) or V(stopped), as the user last asked for.
      type: str
      returned: always
    image:
      description: The image.
      type: str
      returned: always
    image_digest:
      description: Digest of the content its disk was copied from.
      type: str
      returned: always
    image_outdated:
      description: Whether the image has been made anew since.
      type: bool
      returned: always
    pid:
      description: The host's pid of its first process while it runs.
      type: int
      returned: always
    running_seconds:
      description: For how long it has been running.
      type: int
      returned: always
    exit_code:
      description: The program's exit code after it ended, where it is known.
      type: int
      returned: always
    oom_kills:
      description: How many of its processes were killed because its memory was used up, since its last start.
      type: int
      returned: always
    interfaces:
      description: Its interfaces, with their link on the host, bridge, addresses, MAC and rates in bits a second.
      type: list
      elements: dict
      returned: always
    limits:
      description: Its limits, in bytes, CPUs and numbers.
      type: dict
      returned: always
    health:
      description: What its health check found last, V(starting), V(healthy) or V(unhealthy), while it runs.
      type: str
      returned: always
    restarts:
      description: How often the cron pass started it in a row.
      type: int
      returned: always
    retry_at:
      description: Before which the cron pass does not start it again.
      type: str
      returned: always
    waits:
      description: What the cron pass waits for before it starts it.
      type: str
      returned: always
    command:
      description: The program and its arguments.
      type: list
      elements: str
      returned: always
    env:
      description: Its environment; also here are O(user), O(workdir), O(hostname), O(init), O(volumes), C(directory),
        O(dns), O(ulimits), O(sysctls), O(secrets), O(share_network), O(capabilities), O(no_new_privileges), O(seccomp),
        O(apparmor), O(userns), O(read_only) and O(tmpfs), normalised, and without what a secret holds.
      type: dict
      returned: always
    labels:
      description: Its labels; also here are O(restart_policy), O(restart_retries), O(depends_on), O(schedule),
        O(healthcheck), O(stop_signal), O(stop_timeout), O(extra_hosts) and O(log_size), normalised.
      type: dict
      returned: always
    first_id:
      description: The host's id that is root inside; its 65,536 ids begin there.
      type: int
      returned: always
    runtime:
      description: The OCI runtime that started it.
      type: str
      returned: always
    copy:
      description: How its disk was copied. Null for a disk of the older scripts.
      type: dict
      returned: always
      contains:
        method:
          description: V(reflink), or V(extents) on a filesystem that cannot share blocks.
          type: str
          returned: always
        seconds:
          description: How long it took.
          type: float
          returned: always
        bytes:
          description: The bytes of data that were copied or are shared.
          type: int
          returned: always
    disk:
      description: Its disk.
      type: str
      returned: always
    log:
      description: The file that holds what its program prints.
      type: str
      returned: always
actions:
  description: What was done, or would be done in check mode, with the reason of each step.
  returned: success
  type: list
  elements: dict
  sample: [{"action": "start", "resource": "container web1", "reason": "drift: its first process is gone"}]
drift:
  description: What the host no longer showed of what was recorded.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import arguments, container, lifecycle, process, task, waiting


def work(run: process.Runner, params: dict[str, Any], check: bool) -> dict[str, Any]:
    wanted = container.request(params)
    condition = waiting.request(params["wait"], f"container {wanted.name}")
    outcomes = lifecycle.ensure(run, [wanted], check)
    if condition and wanted.state == "started" and not check:
        waiting.wait(run, wanted.name, condition)
    return task.result_of(outcomes, "container")


def main() -> None:
    module = AnsibleModule(argument_spec=arguments.CONTAINER, supports_check_mode=True)
    task.perform(module, work)


if __name__ == "__main__":
    main()
