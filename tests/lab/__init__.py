# SPDX-License-Identifier: GPL-3.0-or-later
"""The test laboratory: lab hosts on one machine, wires between them, a guest, the leak check and small trees.

host.py     LabHost: namespaces, a root and cgroup subtrees of its own
guest.py    Guest: a Debian under qemu, with systemd, cgroup v2 and a power switch
guest_base.py   its disk, kernel and initrd
commands.py   Place: where commands run, of all three
target.py   Target: what a test asks of a lab host or the guest
wire.py     Wire: a bridge joining lab hosts, ssh, the package proxy at its address
leaks.py    what is there before and after, and what was left behind
trees.py    root filesystems and images: the pristine Debian, the tiny busybox image
product.py  the product, copied into a machine; its Ansible modules, run there
agent.py    the warm process that runs them; driver.py   many calls, with what they said
boot.py     what PID 1 of a lab host does before it does nothing
kernel.py   the judge of the network: what the kernel holds, read with pyroute2 (kernel_reader.py)
cgroups.py, loops.py, proxy.py   the machine's hierarchies and loop devices; the package proxy's process
run.py      commands, the run's folders, the sweep of what a killed run left
"""
