# Copyright: Baleine contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import textwrap

OPTIONS = r"""
  name:
    description:
      - The name of the container.
    type: str
    required: true
  state:
    description:
      - V(started) creates the container if need be and starts it if it does not run.
      - V(stopped) creates it if need be and ends its processes and network; disk and characteristics stay.
      - V(paused) is V(started), and then frozen where it stands. After a crash or a reboot it runs.
      - V(present) creates it if need be, and does not care whether it runs.
      - V(absent) ends it and destroys its disk and characteristics.
    type: str
    choices: [started, stopped, paused, present, absent]
    default: started
  image:
    description:
      - The image whose copy it runs on.
    type: str
  command:
    description:
      - The program and its arguments, as a list, or as one string that is split like shell words. It is never given
        to a shell.
      - The default is what an imported image says, its entry point and command; a command that is given stands for
        both. Required with any other O(image).
    type: raw
  networks:
    description:
      - The interfaces C(eth0), C(eth1), … in this order. None means that the container has no network but its own
        loopback.
    type: list
    elements: dict
    suboptions:
      bridge:
        description: The bridge it is connected to.
        type: str
        required: true
      addresses:
        description: Addresses, IPv4 and IPv6, in CIDR form. They must belong to a network of the bridge, where the
          bridge has one.
        type: list
        elements: str
        default: []
      gateway:
        description: The default gateway.
        type: str
      routes:
        description: Further routes.
        type: list
        elements: dict
        default: []
        suboptions:
          destination:
            description: The network in CIDR form.
            type: str
            required: true
          gateway:
            description: The address it is reached by.
            type: str
            required: true
      mac:
        description: The MAC address. The default is made from the machine, the name and the index, and stays.
        type: str
      mtu:
        description: The MTU in bytes. The default is the bridge's.
        type: int
      rate_in:
        description: The most bits a second that reach the container, such as V(20mbit). The default is no limit.
        type: str
      rate_out:
        description: The most bits a second that leave it, such as V(1.5gbit). It cannot change that itself.
        type: str
  hostname:
    description:
      - The host name inside. The default is the container's name.
    type: str
  env:
    description:
      - The environment of the program, beside C(PATH), C(HOME), C(container) and the variables of an imported image.
        Values are kept in the manifest; give no secret.
    type: dict
  workdir:
    description:
      - The working directory of the program, an absolute path. The default is the image's, or V(/).
    type: str
  user:
    description:
      - Who the program runs as inside, a name or a number, or V(USER:GROUP). The default is the image's, or root of
        the container, who is nobody on the host.
    type: str
  limits:
    description:
      - What the container may use. A limit that is left out does not exist. Changed in place, without a restart.
      - A limit that this host cannot have is an error that says why.
    type: dict
    suboptions:
      memory:
        description: Memory, such as V(256M). A bare number is bytes. No swap is used beyond it.
        type: str
      cpus:
        description: CPU time, in CPUs, such as V(0.5).
        type: float
      cpu_weight:
        description: Its share of CPU time where it is short, from 1 to 10000. What is not said is V(100).
        type: int
      cpuset:
        description: The CPUs it may run on, such as V(0-1).
        type: str
      cpuset_mems:
        description: The memory nodes it may use, such as V(0).
        type: str
      pids:
        description: The number of processes and threads. The default is V(2048); V(4194303) is as good as none.
        type: int
      io_read_rate:
        description: Bytes a second read from its disk, such as V(10M).
        type: str
      io_write_rate:
        description:
          - Bytes a second written to its disk, such as V(10M), buffered writes too.
          - On cgroup v1 what a program writes itself (directly, by fsync) and what the kernel writes for it later are
            counted apart, each up to the rate.
        type: str
      io_read_ops:
        description: Reads from its disk a second.
        type: int
      io_write_ops:
        description: Writes to its disk a second.
        type: int
      devices:
        description:
          - Device nodes of the host that it may use, beside C(null), C(zero), C(full), C(random), C(urandom), C(tty)
            and terminals of its own. Any other device answers C(EPERM), whatever node leads to it.
          - The nodes are seen under the same paths, and every user inside may use them.
        type: list
        elements: dict
        suboptions:
          path:
            description: The node's path on the host, below C(/dev).
            type: str
            required: true
          access:
            description: What may be done, of V(r), V(w) and V(m) (make further nodes of it).
            type: str
            default: rw
  volumes:
    description:
      - Named volumes, and files and directories of the host, that are seen inside.
      - A named volume belongs to the container's own ids. It is made when a container that names it starts, outlives
        it, and can be shared.
      - A path of the host is mounted without a mapping of owners. What belongs to the host's users belongs to
        C(nobody) (65534) inside, so that the container reads what everybody may read. To let it write, use
        O(volumes[].idmap), or give the source on the host to the container's own ids,
        RV(lab.baleine.baleine_container#module:container.first_id) plus the id inside.
    type: list
    elements: dict
    suboptions:
      source:
        description: The name of a volume, or an absolute path on the host, which must exist when the container starts.
        type: str
        required: true
      target:
        description: Absolute path inside.
        type: str
        required: true
      read_only:
        description: Whether the container cannot write there.
        type: bool
        default: false
      idmap:
        description: Whether the owners 0 to 65535 of a path of the host are those inside. Then root inside owns what
          root of the host owns there. A named volume always is.
        type: bool
        default: false
  init:
    description:
      - Whether a small PID 1 starts the program, passes signals on, reaps orphans, records the exit code and stays
        until the last process
        has ended. The default is V(true).
      - With V(false) the program itself is PID 1, and its exit code is not known.
    type: bool
  size:
    description:
      - The size of its disk, such as V(20G); a bare number is MiB. The default is whatever it is, at first the image's.
      - A disk can only grow, and not while it is mounted. A running container is restarted for it where O(recreate)
        allows that.
    type: str
  labels:
    description:
      - Words of your own about it, which lists can be filtered by.
    type: dict
  restart_policy:
    description:
      - Whether the cron pass (C(baleine supervise)) starts it again when it ended by itself or with the host.
      - V(no) leaves it. V(on-failure) restarts it unless its exit code is 0; an unknown one counts as failure.
        V(unless-stopped) restarts it unless it was stopped on purpose. V(always) is that, and starts it after a reboot
        of the host even if it was.
      - One that keeps ending is restarted with growing delays. The default is V(unless-stopped).
    type: str
    choices: ['no', always, unless-stopped, on-failure]
  restart_retries:
    description:
      - How often V(on-failure) tries in a row. The default V(0) is without end.
    type: int
  depends_on:
    description:
      - Containers that must run before it is started. A start while one of them does not run is refused; for a healthy
        one 30 seconds are waited. The cron pass starts it once they are.
    type: list
    elements: dict
    suboptions:
      name:
        description: The other container.
        type: str
        required: true
      condition:
        description: Whether it must run, or its O(healthcheck) must have passed too.
        type: str
        choices: [started, healthy]
        default: started
  schedule:
    description:
      - When cron starts and stops it, each five fields of a crontab in the host's local time.
    type: dict
    suboptions:
      start:
        description: When it is started, such as V(0 8 * * 1-5).
        type: str
      stop:
        description: When it is stopped.
        type: str
  healthcheck:
    description:
      - What the cron pass asks a running container to know that it is well.
    type: dict
    suboptions:
      http:
        description: A path that must answer with a status below 400, asked from the host at the container's first
          address.
        type: str
      port:
        description: The port for O(healthcheck.http).
        type: int
        default: 80
      command:
        description: A command that must end with 0 inside, a list or one string split like shell words. It gets the
          environment, the user and the directory of the container's program.
        type: raw
      interval:
        description: How many passes of cron (minutes) lie between two checks.
        type: int
        default: 1
      timeout:
        description: Seconds that a check may take, at most 30; one by O(healthcheck.http) at most 5.
        type: float
        default: 5
      retries:
        description: How many failures in a row make it unhealthy.
        type: int
        default: 3
      start_period:
        description: Seconds after the start in which a failure does not count.
        type: float
        default: 0
      action:
        description: What the cron pass does with an unhealthy one.
        type: str
        choices: [none, restart]
        default: none
  stop_signal:
    description:
      - The signal that asks its program to end. The default is the image's, or V(TERM).
      - Real-time signals are V(RTMIN+3) and so on.
    type: str
  stop_timeout:
    description:
      - Seconds until a program that does not end is killed. The default is V(10).
    type: float
  extra_hosts:
    description:
      - Further names in its C(/etc/hosts), with their addresses. Containers that share a bridge are in it by
        themselves.
    type: dict
  log_size:
    description:
      - How large its log may be, such as V(16M). The cron pass drops the oldest blocks; between two passes nothing
        bounds it. The default is V(16M).
    type: str
  dns:
    description:
      - Its C(/etc/resolv.conf). Without it the image's own stays.
    type: dict
    suboptions:
      servers:
        description: Addresses of name servers.
        type: list
        elements: str
      search:
        description: Domains in which short names are looked for.
        type: list
        elements: str
      options:
        description: Options of resolv.conf(5).
        type: list
        elements: str
  ulimits:
    description:
      - Limits of a process by their names in C(ulimit), such as C(nofile), each V(SOFT:HARD) or one number for both.
    type: dict
  sysctls:
    description:
      - Settings of its own namespaces, those below C(net) and C(fs.mqueue), C(kernel.shm*), C(kernel.msg*) and
        C(kernel.sem).
    type: dict
  secrets:
    description:
      - Files of the host that are copied to C(/run/secrets) inside when it starts, on a tmpfs. Only their paths are
        recorded.
    type: list
    elements: dict
    suboptions:
      name:
        description: The file's name below C(/run/secrets).
        type: str
        required: true
      source:
        description: Absolute path on the host.
        type: str
        required: true
      mode:
        description: Its mode, in octal. It belongs to the program's user.
        type: str
        default: '0400'
  share_network:
    description:
      - Another container whose network and ids it shares, instead of O(networks) of its own. That one must run first.
      - When that one was restarted, its network is a new one. The next run of the task restarts this container too.
    type: str
  capabilities:
    description:
      - Changes to the eleven capabilities(7) that root has in every container, those of Podman. Names with or without
        C(CAP_). Nobody else in it has any.
      - Each one holds for what belongs to the container alone, unless O(userns=host).
    type: dict
    suboptions:
      add:
        description: Further capabilities, such as V(NET_RAW).
        type: list
        elements: str
      drop:
        description: Those that it shall not have; V(ALL) are all of them.
        type: list
        elements: str
  no_new_privileges:
    description:
      - No program in it gains privileges that who starts it has not. Programs with a set-user-ID bit or with file
        capabilities (C(su), C(sudo), C(ping)) then run as the user who starts them. The default is V(true).
    type: bool
  seccomp:
    description:
      - Which system calls it may make. V(default) is at least as strict as Docker's. V(compat) lets 32-bit programs run
        on a 64-bit host too. V(unconfined) is all. An absolute path is that of a profile on the host, in Docker's form;
        it is read at each start.
    type: str
  apparmor:
    description:
      - V(default) is Baleine's own profile of AppArmor, where the host has AppArmor; it is loaded when need be.
        V(unconfined) is none. Another name is that of a profile that the host has loaded.
    type: str
  userns:
    description:
      - V(auto) gives it 65,536 user and group ids of its own, which nobody else on the host has. It is the default.
      - V(host) gives it the host's ids, for a kernel older than Linux 5.12. Its root is the host's then, without the
        host's capabilities.
      - The disk is the same either way.
    type: str
    choices: [auto, host]
  read_only:
    description:
      - Whether its disk cannot be written to while it runs. Volumes and O(tmpfs) can. The default is V(false).
    type: bool
  tmpfs:
    description:
      - Directories in memory, empty at each start. What lies in them counts against O(limits.memory).
    type: list
    elements: dict
    suboptions:
      target:
        description: Absolute path inside.
        type: str
        required: true
      size:
        description: How much it may hold, such as V(16M). The default is V(64M).
        type: str
      mode:
        description: The mode of the directory, in octal.
        type: str
        default: '1777'
  restart:
    description:
      - Restart the container if it runs. This is not idempotent, every run restarts it.
    type: bool
    default: false
  recreate:
    description:
      - What to do when something differs that cannot change in a running container.
      - V(never) fails, changes nothing, and says what differs.
      - V(on_change) restarts the container as described. Its disk is kept when O(command), O(env), O(user),
        O(workdir), O(hostname), O(init), O(volumes) or what it may do (such as O(capabilities)) differ. It gets a new
        disk when O(image) differs or was rebuilt; the old one is kept as C(NAME.old-TIME).
        If the new one does not start, the old one is started again.
      - V(always) does it even when nothing differs, keeping the disk. This is not idempotent.
    type: str
    choices: [never, on_change, always]
    default: never
  wait:
    description:
      - Wait until the container answers. Only with O(state=started); not in check mode.
    type: dict
    suboptions:
      http:
        description: A path that must answer with a status below 400, asked from the host at the container's first
          address.
        type: str
      port:
        description: The port for O(wait.http).
        type: int
        default: 80
      command:
        description: A command that must end with 0 inside, a list or one string split like shell words.
        type: raw
      healthy:
        description: Wait until its O(healthcheck) passes.
        type: bool
        default: false
      timeout:
        description: Seconds to wait. The last error is in the message.
        type: float
        default: 30
"""


class ModuleDocFragment:
    """The options of a container: those of the module of one, and of an element of the module of many."""

    # annotated, because yamllint takes what is merely assigned in such a class for a literal
    DOCUMENTATION: str = f"options:\n{OPTIONS}"

    SET: str = """
options:
  containers:
    description:
      - The containers. Each is described by itself, with the options of M(lab.baleine.baleine_container).
    type: list
    elements: dict
    required: true
    suboptions:
""" + textwrap.indent(re.sub(r"\bO\((?=\w)", "O(containers[].", OPTIONS), "    ")
