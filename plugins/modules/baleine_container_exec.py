#!/usr/bin/python
# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: baleine_container_exec
short_description: Run a program in a container that runs
version_added: 0.1.0
description:
  - Runs one more program in a container, without a shell, and returns its code and words.
  - A code other than 0 fails the task, as with M(ansible.builtin.command).
extends_documentation_fragment:
  - lab.baleine.attributes
attributes:
  check_mode:
    support: partial
    details:
      - With O(creates) or O(removes) it predicts; without them it is skipped, for nobody knows what a program would do.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(creates) or O(removes).
options:
  name:
    description: The name of the container.
    type: str
    required: true
  argv:
    description: The program and its arguments.
    type: list
    elements: str
    required: true
  creates:
    description: A path in the container. Where it exists, nothing is run.
    type: str
  removes:
    description: A path in the container. Where it does not exist, nothing is run.
    type: str
  stdin:
    description: What the program reads.
    type: str
    default: ""
  env:
    description: Environment variables, beside those of the container's own program.
    type: dict
    default: {}
  workdir:
    description: The directory inside. The default is that of the container's own program.
    type: str
  user:
    description: The user inside, C(NAME) or C(UID), either with C(:GROUP). The default is that of the container.
    type: str
seealso:
  - module: lab.baleine.baleine_container
  - plugin: lab.baleine.baleine
    plugin_type: connection
"""

EXAMPLES = r"""
- name: Enable a module once
  lab.baleine.baleine_container_exec:
    name: proxy
    argv: [a2enmod, proxy_http]
    creates: /etc/apache2/mods-enabled/proxy_http.load
"""

RETURN = r"""
rc:
  description: The program's code. V(126) where it cannot be executed, V(127) where there is none.
  returned: when it was run
  type: int
stdout:
  description: What it wrote to its standard output. RV(ignore:stdout_lines) has its lines.
  returned: when it was run
  type: str
stderr:
  description: What it wrote to its error output. RV(ignore:stderr_lines) has its lines.
  returned: when it was run
  type: str
cmd:
  description: What was run, or would be.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import enter, manifest, oci, rootfs, task, units
from ..module_utils.errors import BaleineError
from ..module_utils.process import ENVIRONMENT


def exists(root: str, path: str) -> bool:
    """Say whether a path is in a container, following no link out of it."""
    try:
        os.close(rootfs.open_inside(root, path, os.O_PATH))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "creates": {"type": "str"},
            "removes": {"type": "str"},
            "stdin": {"type": "str", "default": ""},
            "env": {"type": "dict", "default": {}},
            "workdir": {"type": "str"},
            "user": {"type": "str"},
        },
        supports_check_mode=True,
    )

    def work(run, params, check):
        name = units.check_name(params["name"], "container")
        shown, msg = {"changed": False, "cmd": params["argv"]}, "It would be run"
        if not params["argv"]:
            raise BaleineError(f"container {name}: argv is empty", "Name a program")
        try:
            record = enter.need_running(name)
        except BaleineError as error:
            if not check:
                raise
            known = bool(params["creates"])  # of what is new, nobody knows whether there is anything to remove
            warnings = [f"{error.message}; taken to come from an earlier task"]
            return {**shown, "changed": known, "skipped": not known, "msg": msg, "warnings": warnings}
        root = f"/proc/{record['pid']}/root"
        if params["creates"] and exists(root, params["creates"]):
            return {**shown, "msg": f"{params['creates']} exists"}
        if params["removes"] and not exists(root, params["removes"]):
            return {**shown, "msg": f"{params['removes']} does not exist"}
        if check:
            known = bool(params["creates"] or params["removes"])
            return {**shown, "changed": known, "skipped": not known, "msg": msg}
        env = {**manifest.from_json(record, "env", {}), **{key: str(value) for key, value in params["env"].items()}}
        workdir = params["workdir"] or record.get("workdir", "")
        user = record.get("user", "") if params["user"] is None else params["user"]
        enter.need_directory(name, root, workdir)
        code = enter.judge(root, params["argv"][0], {**oci.ENVIRONMENT, **env}, workdir or "/")
        out = err = ""
        if code:
            err = f"{params['argv'][0]}: {'there is no such program' if code == 127 else 'it cannot be executed'}"
        else:
            reader, writer = os.pipe()  # empty: no terminal or other device of the host is handed over to the container
            os.close(writer)
            os.dup2(reader, 0)
            code, out, err = module.run_command(
                enter.exec_argv(name, record, tuple(params["argv"]), env, workdir, user),
                data=params["stdin"] or None,
                binary_data=True,  # no newline is added
                environ_update=ENVIRONMENT,
                expand_user_and_vars=False,
                handle_exceptions=False,
                errors="surrogate_or_replace",
            )
        result = {**shown, "changed": True, "rc": code, "stdout": out, "stderr": err}
        if code:
            module.fail_json(msg=f"container {name}: {params['argv'][0]} ended with {code}", **result)
        return result

    task.perform(module, work)


if __name__ == "__main__":
    main()
