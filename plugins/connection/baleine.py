# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: baleine
short_description: Run tasks inside a container of Baleine, on this host or on one that SSH reaches
version_added: 0.1.0
author:
  - Baleine contributors (@baleine)
description:
  - Runs commands in a container that runs, and copies files in and out, with C(baleine container exec) on its host.
  - The host is the controller itself, or one that Ansible's own P(ansible.builtin.ssh#connection) plugin reaches. All
    variables of that plugin that name neither a host nor a user count here too, such as C(ansible_ssh_common_args).
  - Where O(host) is a host of the inventory, the variables of that host count, C(ansible_become) and all of its become
    plugin included.
  - Files are copied without Python; modules need Python in the container, as on any host.
notes:
  - C(become) of a task is about users inside the container. Becoming root on the host is O(host_become).
  - A C(become) inside that asks for a password is not supported. The container's root needs none.
extends_documentation_fragment:
  - ansible.builtin.connection_pipelining
options:
  container:
    description: The name of the container. The default is the name of the inventory, or what C(ansible_host) has there.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: baleine_container
  remote_user:
    description: The user inside, by name or id. The default is the one of the container's own program.
    type: str
    vars:
      - name: ansible_user
    cli:
      - name: user
    keyword:
      - name: remote_user
  executable:
    description: The shell inside.
    type: str
    default: /bin/sh
    vars:
      - name: ansible_executable
  host:
    description: The container's host, a name of the inventory or an address. The default is the controller itself.
    type: str
    vars:
      - name: baleine_host
  host_user:
    description: The user on the host.
    type: str
    vars:
      - name: baleine_host_user
  host_port:
    description: The port of the host's SSH server.
    type: int
    vars:
      - name: baleine_host_port
  host_private_key_file:
    description: The SSH key for the host.
    type: path
    vars:
      - name: baleine_host_private_key_file
  host_become:
    description: Become O(host_become_user) on the host first. C(baleine) needs root there.
    type: bool
    vars:
      - name: baleine_host_become
  host_become_method:
    description: The become plugin for that. The default is P(ansible.builtin.sudo#become).
    type: str
    vars:
      - name: baleine_host_become_method
  host_become_user:
    description: The user to become on the host. The default is V(root).
    type: str
    vars:
      - name: baleine_host_become_user
  host_become_password:
    description: The password for that.
    type: str
    vars:
      - name: baleine_host_become_password
  host_become_exe:
    description: The program for that, where it is not the plugin's own.
    type: str
    vars:
      - name: baleine_host_become_exe
"""

import copy
import os
import re
import shlex
import uuid

from ansible import constants as C
from ansible.errors import (
    AnsibleAuthenticationFailure,
    AnsibleConnectionFailure,
    AnsibleError,
    AnsibleFileNotFound,
)
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import become_loader, connection_loader

PROGRAM = "/usr/local/bin/baleine"
#: Bytes in memory at once, a multiple of dd's block.
BLOCK = 1024 * 1024
CHUNK = 32 * BLOCK
#: As shells have it: no such program, and one that SIGKILL ended.
NOT_FOUND = 127
KILLED = 137
#: A script that does nothing, and says whether anything can be done.
NOTHING = "exit 0"
WITHOUT_PYTHON = (
    "Make its image with packages: [python3], or install it with ansible.builtin.raw, which needs none. "
    "Where it has another name, set ansible_python_interpreter"
)
#: Of ssh's variables, those that would be about the container.
ABOUT_CONTAINER = ("inventory_hostname", "ansible_host", "ansible_ssh_host", "ansible_user", "ansible_ssh_user")
BECOME = ("become", "become_method", "become_user")
LOCAL = ("local", "ansible.builtin.local")


class Connection(ConnectionBase):
    """Ansible's ssh or local connection to a host, and one more step into a container there."""

    transport = "lab.baleine.baleine"
    has_pipelining = True
    has_tty = False

    def __init__(self, play_context, *args, **kwargs):
        super().__init__(play_context, *args, **kwargs)
        self._host = None
        self._host_vars = {}
        self._known = {}

    def _resolve_option_variables(self, variables, templar):
        """Also keep what ssh would take, of the host where the inventory knows it."""
        found = super()._resolve_option_variables(variables, templar)
        name = templar.template(variables.get("baleine_host", ""))
        known = variables.get("hostvars") or {}
        self._known = of_host = known[name] if name and name in known else {}
        connection_loader.get("ssh", class_only=True)  # its options are only known once it is loaded
        wanted = set(C.config.get_plugin_vars("connection", "ssh"))
        if not of_host:
            own = {key: variables[key] for key in wanted - set(ABOUT_CONTAINER) if key in variables}
            self._host_vars = {key: templar.template(value) for key, value in own.items()}
        else:
            wanted |= {"ansible_connection", *(f"ansible_{key}" for key in BECOME)}
            self._host_vars = {key: of_host[key] for key in wanted if key in of_host}
        return found

    def _connect(self):
        if self._connected:
            return self
        name = self.get_option("host")
        local = not name or name in C.LOCALHOST or self._host_vars.get("ansible_connection") in LOCAL
        context = copy.copy(self._play_context)
        context.remote_addr, context.remote_user, context.port = name, None, None
        direct = {"pipelining": True}
        if not local:
            direct["use_tty"] = False  # a terminal would change bytes and join stderr with stdout
            direct["host"] = self._host_vars.get("ansible_host") or self._host_vars.get("ansible_ssh_host") or name
            for ours, theirs in (("user", "remote_user"), ("port", "port"), ("private_key_file", "private_key_file")):
                if self.get_option(f"host_{ours}") is not None:
                    direct[theirs] = self.get_option(f"host_{ours}")
        host = connection_loader.get("local" if local else "ssh", context)
        host.set_options(var_options={} if local else self._host_vars, direct=direct)
        if boolean(self._host_option("become") or False):
            method = self._host_option("become_method") or "sudo"
            become = become_loader.get(method)
            if become is None:
                raise AnsibleError(f"{self._name}: there is no become plugin {method}. See baleine_host_become_method")
            given = {"become_user": self._host_option("become_user") or "root"}
            for ours, theirs in (("become_password", "become_pass"), ("become_exe", "become_exe")):
                if self.get_option(f"host_{ours}") is not None:
                    given[theirs] = self.get_option(f"host_{ours}")
            wanted = C.config.get_plugin_vars("become", become._load_name)
            of_host = {key: self._known[key] for key in wanted if key in self._known}
            become.set_options(var_options=of_host, direct=given)
            host.set_become_plugin(become)
        self._host = host
        self._connected = True
        return self

    def _host_option(self, key):
        value = self.get_option(f"host_{key}")
        return self._host_vars.get(f"ansible_{key}") if value is None else value

    @property
    def _name(self):
        """The container, and where it is, for errors."""
        where = self.get_option("host")
        return f"container {self.get_option('container')}" + (f" on {where}" if where else "")

    def _execute(self, script, in_data=None):
        """Run a shell script inside; returns code, stdout, stderr. Raises what a person can act on."""
        user = self.get_option("remote_user")
        words = [PROGRAM, "container", "exec", "-c", self.get_option("container"), *(["--user", user] if user else [])]
        command = shlex.join([*words, "--", self.get_option("executable"), "-c", to_text(script)])
        try:
            if self._host.become:
                command = self._host.become.build_become_command(command, self._host._shell)
            code, out, err = self._host.exec_command(command, in_data=in_data, sudoable=True)
        except AnsibleError as error:
            # Of a connection that failed ssh says itself what is wrong, but for a prompt that never came.
            about = "privilege escalation" if isinstance(error, AnsibleConnectionFailure) else "password|become success"
            if not self._host.become or not re.search(about, str(error)):
                raise
            hint = "Set baleine_host_become_password, or let sudo ask for none"
            raise AnsibleAuthenticationFailure(f"{self._name}: root on its host: {error}. {hint}") from error
        self._judge(code, to_text(err, errors="surrogate_or_replace"))
        if code == KILLED and script != NOTHING:
            self._execute(NOTHING)  # was it the program alone, or the container with all that was in it?
        return code, out, err

    def _judge(self, code, words):
        """Raise where it was not the program inside that failed."""
        name = self.get_option("container")
        if not code:
            return
        if code in (126, 127) and re.search(rf"{PROGRAM}'?: (\S+ )?([Nn]o such file|[Nn]ot found|not found)", words):
            raise AnsibleConnectionFailure(f"{self._name}: Baleine is not installed there. Use role lab.baleine.host")
        told = re.search(rf"^baleine: (?:container {re.escape(name)}: )?(.*)", words, re.MULTILINE | re.DOTALL)
        if code != 125 or not told:  # baleine's own code, which a program inside may have too
            return
        if f"baleine: container {name}: there is none" in words:
            hint = "See baleine container list -a, and set baleine_container where it has another name"
            raise AnsibleConnectionFailure(f"{self._name}: there is none. {hint}")
        if "baleine: this needs root" in words:
            raise AnsibleConnectionFailure(f"{self._name}: that needs root on its host. Set baleine_host_become: true")
        said = told.group(1).strip().split("\n")
        if "/etc/passwd has no user" in words:
            said.append("ansible_user and remote_user are a user inside, baleine_host_user is the one of its host")
        raise AnsibleConnectionFailure(f"{self._name}: {'. '.join(said)}")

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Run a command inside."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        code, out, err = self._execute(cmd, in_data)
        if code == NOT_FOUND and re.search(rb"python[0-9.]*'?: (inaccessible or )?(not found|No such file)", err):
            err = err.rstrip() + to_bytes(
                f"\n{self._name}: modules need Python inside, as on any host. {WITHOUT_PYTHON}\n"
            )
        return code, out, err

    def put_file(self, in_path, out_path):
        """Copy a file into the container; there it is whole or not at all."""
        super().put_file(in_path, out_path)
        if not os.path.exists(to_bytes(in_path)):
            raise AnsibleFileNotFound(f"{in_path}: there is no such file on the controller")
        target, part = shlex.quote(out_path), shlex.quote(f"{out_path}.{uuid.uuid4().hex}.part")
        size = 0
        with open(to_bytes(in_path), "rb") as stream:
            while True:
                chunk = stream.read(CHUNK)
                script = f"cat {'>>' if size else '>'} {part}" if chunk else f": >> {part}"
                size += len(chunk)
                last = len(chunk) < CHUNK
                if last:  # a broken stream ends like a whole one, but for its length
                    script += f" && [ $(wc -c < {part}) -eq {size} ] && [ ! -d {target} ] && mv -f {part} {target}"
                code, _out, err = self._execute(f"{script} || {{ rm -f {part}; exit 1; }}", chunk or None)
                if code:
                    raise AnsibleError(f"{self._name}: {out_path} cannot be written: {to_text(err).strip() or code}")
                if last:
                    return

    def fetch_file(self, in_path, out_path):
        """Copy a file out of the container; here it is whole or not at all."""
        super().fetch_file(in_path, out_path)
        source, part = shlex.quote(in_path), to_bytes(f"{out_path}.{uuid.uuid4().hex}.part")
        blocks = 0
        try:
            with open(part, "wb") as stream:
                while True:
                    script = f"dd if={source} bs={BLOCK} skip={blocks} count={CHUNK // BLOCK} status=none"
                    code, out, err = self._execute(script)
                    if code:
                        raise AnsibleError(f"{self._name}: {in_path} cannot be read: {to_text(err).strip() or code}")
                    stream.write(out)
                    blocks += CHUNK // BLOCK
                    if len(out) < CHUNK:
                        break
            os.replace(part, to_bytes(out_path))
        finally:
            if os.path.exists(part):
                os.unlink(part)

    def reset(self):
        """End what ssh keeps open."""
        self._connect()
        if hasattr(self._host, "reset") and self._host.transport != "local":
            self._host.reset()
        self.close()

    def close(self):
        """Let the host go; ssh keeps its own connection open as it is told to."""
        if self._host is not None:
            self._host.close()
        self._host, self._connected = None, False
