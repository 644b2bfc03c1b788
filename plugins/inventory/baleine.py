# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: baleine
short_description: The containers of Baleine's hosts, as hosts of an inventory
version_added: 0.1.0
author:
  - Baleine contributors (@baleine)
description:
  - Asks each host for its containers with C(baleine container list -a --format json), hosts side by side, over SSH or
    on the controller itself.
  - Each container becomes a host with P(lab.baleine.baleine#connection) as its connection, and what is true of it as
    variables that begin with C(baleine_), such as C(baleine_image), C(baleine_state), C(baleine_labels),
    C(baleine_addresses) and C(baleine_bridges).
  - Containers are in the groups C(baleine), C(baleine_image_IMAGE), C(baleine_state_STATE), C(baleine_bridge_BRIDGE)
    and C(baleine_label_KEY_VALUE), and C(baleine_host_HOST) where there are hosts.
  - The file's name ends with C(baleine.yml) or C(baleine.yaml).
extends_documentation_fragment:
  - ansible.builtin.constructed
options:
  plugin:
    description: Names this plugin.
    type: str
    required: true
    choices: [lab.baleine.baleine]
  hosts:
    description:
      - The hosts to ask. Each is a host or a group of an inventory that was read before this file, or else an address.
        C(group_vars) and C(host_vars) beside the inventory count.
      - The default is the controller itself.
    type: list
    elements: str
    default: []
  hostname:
    description:
      - How a container is named in the inventory; C(CONTAINER) and C(HOST) in it are replaced.
      - The default is V(CONTAINER) for one host, V(CONTAINER@HOST) for several.
    type: str
  host_user:
    description: The user on the hosts that no inventory describes.
    type: str
  host_private_key_file:
    description: The SSH key for these.
    type: path
  host_become:
    description: Become root with sudo on these. C(baleine) needs root there.
    type: bool
    default: false
"""

EXAMPLES = r"""
# The containers of this machine
plugin: lab.baleine.baleine
---
# Those of all hosts of a group, described in an inventory that is read before
plugin: lab.baleine.baleine
hosts: [webfarm]
keyed_groups:
  - key: baleine_labels.role | default('none')
    prefix: role
"""

import json
import shlex
from concurrent.futures import ThreadPoolExecutor

from ansible import constants as C
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.helpers import sort_groups
from ansible.module_utils.common.text.converters import to_text
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.playbook.play_context import PlayContext
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.unsafe_proxy import wrap_var
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

LIST = shlex.join(["/usr/local/bin/baleine", "container", "list", "-a", "--format", "json"])
CONNECTION = "lab.baleine.baleine"
LOCAL = ("local", "ansible.builtin.local")
HOW = ("ansible_connection", "ansible_become", "ansible_become_method")


def variables_of(host, facts):
    """Return a container's variables from what its host says of it."""
    interfaces = facts.get("interfaces") or []
    found = {f"baleine_{key}": value for key, value in facts.items() if key not in ("name", "env")}
    found["baleine_container"] = facts["name"]
    found["baleine_bridges"] = sorted({item["bridge"] for item in interfaces})
    found["baleine_addresses"] = [address.partition("/")[0] for item in interfaces for address in item["addresses"]]
    found["ansible_connection"] = CONNECTION
    return {**found, "baleine_host": host} if host else found


def groups_of(variables):
    """Return the names of a container's groups, before they are made such as Ansible allows."""
    found = [f"baleine_{key}_{variables[f'baleine_{key}']}" for key in ("image", "state")]
    found += [f"baleine_bridge_{name}" for name in variables["baleine_bridges"]]
    found += [f"baleine_label_{key}_{value}" for key, value in (variables.get("baleine_labels") or {}).items()]
    return ["baleine", *found, *([f"baleine_host_{variables['baleine_host']}"] if "baleine_host" in variables else [])]


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Hosts are asked side by side; the inventory is changed by one thread."""

    NAME = "lab.baleine.baleine"

    def verify_file(self, path):
        """Take files whose names say so."""
        return super().verify_file(path) and path.endswith(("baleine.yml", "baleine.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        """Add the containers of all hosts; one that cannot be asked is a warning, but where there is no other."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        hosts = list(dict.fromkeys(name for given in self.get_option("hosts") for name in self._members(given))) or [""]
        calls = [self._prepare(host) for host in hosts]  # loaders are not made for threads
        with ThreadPoolExecutor(min(len(hosts), 16)) as pool:
            answers = list(pool.map(self._ask, hosts, calls))
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if len(failed) == len(hosts):
            raise AnsibleParserError("; ".join(str(error) for error in failed))
        for error in failed:
            self.display.warning(str(error))
        pattern = self.get_option("hostname") or ("CONTAINER@HOST" if len(hosts) > 1 else "CONTAINER")
        for host, answer in zip(hosts, answers):
            for facts in answer if isinstance(answer, list) else []:
                self._add(pattern.replace("HOST", host).replace("CONTAINER", facts["name"]), variables_of(host, facts))

    def _members(self, name):
        group = self.inventory.groups.get(name)
        return [host.name for host in group.get_hosts()] if group else [name]

    def _host_vars(self, host):
        """Return how a host is reached: by the inventory and its group_vars and host_vars, else by our own options."""
        known = self.inventory.hosts.get(host)
        if known is None:
            given = {"user": "host_user", "private_key_file": "host_private_key_file", "become": "host_become"}
            own = {f"ansible_{key}": self.get_option(option) for key, option in given.items()}
            return {key: value for key, value in own.items() if value is not None}
        every, found = self.inventory.groups["all"], {}
        groups = [group for group in known.get_groups() if group is not every]  # while it is read, not all are in all
        for layer in (every, *sort_groups(groups), known):
            beside = get_vars_from_inventory_sources(self.loader, self.inventory.processed_sources, [layer], "all")
            found = combine_vars(combine_vars(found, layer.get_vars()), beside)
        return combine_vars(found, self._vars)

    def _prepare(self, host):
        """Return a connection to a host, and the command that lists its containers; or why there is none."""
        found = self._host_vars(host) if host else {}
        self.templar.available_variables = found

        def take(*names):
            # No other is templated: it may need what is not known yet, facts above all.
            return {name: self.templar.template(found[name]) for name in names if name in found}

        try:
            how = take(*HOW)
            local = not host or host in C.LOCALHOST or how.get("ansible_connection") in LOCAL
            context = PlayContext()
            context.remote_addr, context.remote_user, context.port = host, None, None
            connection = connection_loader.get("local" if local else "ssh", context)
            variables = {} if local else take(*C.config.get_plugin_vars("connection", "ssh"))
            direct = {} if local else {"use_tty": False, "host": variables.get("ansible_host", host)}
            connection.set_options(var_options=variables, direct={"pipelining": True, **direct})
            if not boolean(how.get("ansible_become", False)):
                return connection, LIST
            method = how.get("ansible_become_method", "sudo")
            become = become_loader.get(method)
            if become is None:
                raise AnsibleError(f"there is no become plugin {method}. See ansible_become_method")
            options = take(*C.config.get_plugin_vars("become", become._load_name))
            become.set_options(var_options=options, direct={"become_user": "root"})
            connection.set_become_plugin(become)
            return connection, become.build_become_command(LIST, connection._shell)
        except AnsibleError as error:
            return AnsibleError(f"containers of {host or 'this machine'}: {error}")

    def _ask(self, host, call):
        """Return what a host says of its containers, or the error."""
        if isinstance(call, Exception):
            return call
        connection, command = call
        what = f"containers of {host or 'this machine'}"
        try:
            code, out, err = connection.exec_command(command, sudoable=True)
            if not code:
                return json.loads(out)
            hint = "Use role lab.baleine.host" if code == 127 else "baleine needs root there: ansible_become"
            return AnsibleError(f"{what}: {' '.join(to_text(err).split()) or code}. {hint}")
        except (AnsibleError, ValueError) as error:
            return AnsibleError(f"{what}: {error}")
        finally:
            connection.close()

    def _add(self, name, variables):
        if name in self.inventory.hosts:
            raise AnsibleParserError(f"{name}: two hosts of the inventory would have this name. Set hostname")
        self.inventory.add_host(name)
        if "baleine_host" in variables and variables["baleine_host"] not in self.inventory.hosts:
            given = {key: self.get_option(key) for key in ("host_user", "host_private_key_file", "host_become")}
            variables.update({f"baleine_{key}": value for key, value in given.items() if value is not None})
        for key, value in variables.items():
            self.inventory.set_variable(name, key, wrap_var(value))  # words of a host are no templates
        for group in groups_of(variables):
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
