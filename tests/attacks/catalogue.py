# SPDX-License-Identifier: GPL-3.0-or-later
"""The attacks, what they are known from, and what answers them. The functions of these names are in the C files."""

from __future__ import annotations

from typing import NamedTuple

ROOT = "a root of its own (pivot_root)"
CLOSED = "nothing of the caller's is passed on"
DEVICES = "device rules, no CAP_MKNOD, disks are nodev"
ADMIN = "no CAP_SYS_ADMIN"
USERS = "a user namespace of its own"
PIDS = "a PID namespace and a /proc of its own"
SECCOMP = "seccomp"
READ_ONLY = "read-only and masked paths; the host's root is not its root"
CAPABILITIES = "eleven capabilities, of its own user namespace"
CGROUPS = "cgroups read-only, in a cgroup namespace"


class Attack(NamedTuple):
    """An attack by name; ``mild``: it can harm no machine, whoever runs it, and runs on this one too."""

    name: str
    what: str
    cve: str
    answer: str
    mild: bool = False


ATTACKS = (
    Attack("chroot-fchdir", "leave the root directory by fchdir(2) and `..`", "chroot(2)", ROOT, True),
    Attack("open-by-handle", "open the host's root by its inode number", "shocker, CVE-2014-3519", "no CAP_DAC_READ_SEARCH", True),
    Attack("leaked-descriptor", "use a directory that the caller had open", "CVE-2016-9962, CVE-2024-21626", CLOSED, True),
    Attack("leaked-directory", "climb from the caller's working directory", "CVE-2024-21626", CLOSED, True),
    Attack("leaked-environment", "read the caller's variables", "environ(7)", CLOSED, True),
    Attack("disk-read", "make the node of the host's disk, and read it", "mknod(2)", DEVICES),
    Attack("disk-write", "… and write it", "mknod(2)", DEVICES),
    Attack("disk-mount", "… and mount it", "mknod(2), mount(2)", DEVICES),
    Attack("disk-of-the-image", "a node of the host's disk that came with the image", "mount(8), nodev", DEVICES),
    Attack("disk-of-another", "read another container's disk at its loop device", "mknod(2)", DEVICES),
    Attack("devtmpfs", "mount all devices of the host", "mount(2)", ADMIN),
    Attack("device-memory", "open /dev/mem", "mem(4)", DEVICES),
    Attack("device-console", "open the host's console", "console(4)", DEVICES),
    Attack("device-kmsg", "write to the kernel's log", "kmsg(4)", DEVICES),
    Attack("device-loop", "take a loop device", "loop(4)", DEVICES),
    Attack("mount-tmpfs", "mount(2) at all", "CVE-2022-0185", ADMIN, True),
    Attack("mount-proc", "a fresh /proc, without masks", "proc(5)", ADMIN, True),
    Attack("mount-sysfs", "a fresh /sys, writable", "mount(2)", ADMIN, True),
    Attack("mount-bind", "bind what is hidden elsewhere", "mount(2)", ADMIN, True),
    Attack("mount-overlay", "mount an overlay", "CVE-2021-3493, CVE-2023-0386", ADMIN, True),
    Attack("mount-debugfs", "mount debugfs", "debugfs", ADMIN),
    Attack("mount-tracefs", "mount tracefs", "tracefs", ADMIN),
    Attack("remount", "make read-only mounts writable", "mount(2)", ADMIN),
    Attack("unmount", "take masks away", "umount(2)", ADMIN, True),
    Attack("fsopen", "the new mount interface", "CVE-2022-0185", f"{ADMIN}, {SECCOMP}", True),
    Attack("open-tree", "clone mounts", "open_tree(2)", f"{ADMIN}, {SECCOMP}", True),
    Attack("mount-namespace", "a mount namespace of its own", "CVE-2022-0185", f"{ADMIN}, {SECCOMP}", True),
    Attack("user-namespace", "a user namespace with all capabilities", "CVE-2022-0492, CVE-2023-32233", SECCOMP, True),
    Attack("user-namespace-clone3", "… by clone3(2), whose flags no filter sees", "CVE-2022-0185", SECCOMP, True),
    Attack("user-namespace-mount", "… and mount in it", "CVE-2021-3493", SECCOMP, True),
    Attack("setns-mounts", "join the host's mount namespace", "setns(2)", PIDS),
    Attack("setns-network", "join the host's network", "setns(2)", PIDS),
    Attack("signal-host", "kill processes of the host", "kill(2), cgroup.kill", f"{PIDS}; {CGROUPS}"),
    Attack("memory-of-host", "write to the memory of a process of the host", "ptrace(2), proc(5)", PIDS),
    Attack("environment-of-host", "read the environment of a process of the host", "proc(5)", PIDS),
    Attack("root-of-host", "reach the host's files by a process's root", "proc(5)", PIDS),
    Attack("socket-of-host", "speak to a daemon of the host", "unix(7)", ROOT),
    Attack("abstract-socket-of-host", "… at an abstract socket", "CVE-2020-15257", "a network namespace of its own"),
    Attack("keyring", "read a key of the host's root", "keyrings(7), CVE-2016-0728", f"{USERS}, {SECCOMP}"),
    Attack("proc-keys", "list the host's keys", "keyrings(7)", f"{USERS}; masked", True),
    Attack("root-of-ids", "be the host's root wherever the kernel asks", "CVE-2019-5736", USERS, True),
    Attack("suid-for-host", "leave a set-user-ID root program in a volume", "CVE-2021-41103", USERS, True),
    Attack("suid-program", "become root by a set-user-ID program", "CVE-2021-4034, CVE-2021-3156", "no_new_privs", True),
    Attack("file-capabilities", "get CAP_SYS_ADMIN by a file's capabilities", "capabilities(7)", CAPABILITIES, True),
    Attack("kernel-module", "load a kernel module", "init_module(2)", f"{CAPABILITIES}; {SECCOMP}"),
    Attack("kexec", "replace the kernel", "kexec_load(2)", f"{CAPABILITIES}; {SECCOMP}"),
    Attack("bpf", "make a BPF map", "CVE-2020-8835, CVE-2021-3490", SECCOMP, True),
    Attack("perf", "count what a whole CPU does", "CVE-2013-2094", SECCOMP, True),
    Attack("userfaultfd", "stop the kernel in page faults", "CVE-2022-2590", SECCOMP, True),
    Attack("io-uring", "io_uring", "CVE-2022-29582, CVE-2023-2598", SECCOMP, True),
    Attack("af-alg", "the kernel's cryptography", "CVE-2019-8912", SECCOMP, True),
    Attack("af-vsock", "a socket to the hypervisor", "CVE-2021-26708", SECCOMP, True),
    Attack("af-packet", "read and forge what is on the bridge", "CVE-2020-14386", "no CAP_NET_RAW", True),
    Attack("raw-ip", "forge IP packets", "CVE-2020-13401", "no CAP_NET_RAW", True),
    Attack("network-interface", "change its interfaces", "netdevice(7)", "no CAP_NET_ADMIN", True),
    Attack("nftables", "speak to nf_tables", "CVE-2022-32250, CVE-2024-1086", "no CAP_NET_ADMIN", True),
    Attack("set-time", "set the host's clock", "clock_settime(2)", CAPABILITIES),
    Attack("adjust-time", "change how the host's clock runs", "adjtimex(2)", CAPABILITIES),
    Attack("swap", "add swap space", "swapon(2)", CAPABILITIES),
    Attack("accounting", "log every process of the host", "acct(2)", CAPABILITIES),
    Attack("compat-calls", "32-bit system calls", "CVE-2021-22555", SECCOMP, True),
    Attack("modify-ldt", "segments of its own", "CVE-2015-5157", SECCOMP, True),
    Attack("port-level", "use the machine's I/O ports", "iopl(2)", CAPABILITIES),
    Attack("personality", "switch address randomisation off", "personality(2)", SECCOMP, True),
    Attack("kernel-log", "read the kernel's log", "syslog(2)", f"{CAPABILITIES}; {SECCOMP}", True),
    Attack("fanotify", "hold up what others do with files", "fanotify(7)", f"{CAPABILITIES}; {SECCOMP}", True),
    Attack("real-time", "take a CPU for itself", "sched(7)", "no CAP_SYS_NICE", True),
    Attack("priority", "run before all others", "setpriority(2)", "no CAP_SYS_NICE", True),
    Attack("resource-limit", "raise its limits", "setrlimit(2)", "no CAP_SYS_RESOURCE", True),
    Attack("oom-score", "be spared when memory is short", "proc(5)", "no CAP_SYS_RESOURCE", True),
    Attack("processes", "3,000 processes", "fork(2)", "a limit of processes by default"),
    Attack("core-pattern", "let the kernel run a program of the host when one dumps core", "CVE-2022-0811", READ_ONLY),
    Attack("release-agent", "… when a control group gets empty", "CVE-2022-0492", ADMIN),
    Attack("modprobe-path", "… when a module is missing", "proc(5)", READ_ONLY),
    Attack("sysctl-kernel", "change a setting of the kernel", "CVE-2022-0811", READ_ONLY),
    Attack("sysctl-files", "… of the filesystems", "proc(5)", READ_ONLY),
    Attack("sysctl-forwarding", "become a router between bridges", "ip(7)", READ_ONLY),
    Attack("sysrq", "press the magic key", "proc(5)", READ_ONLY),
    Attack("binfmt", "have a program of its own run as interpreter on the host", "binfmt_misc", ADMIN),
    Attack("sys-write", "change a setting in /sys", "sysfs(5)", READ_ONLY),
    Attack("sys-uevent", "tell the host's udev of devices", "udev(7)", READ_ONLY),
    Attack("cgroup-leave", "leave its control group", "cgroups(7)", CGROUPS),
    Attack("cgroup-limit", "lift its own limits", "cgroups(7)", CGROUPS),
    Attack("cgroup-others", "freeze and thaw services of the host", "cgroups(7)", CGROUPS),
    Attack("proc-kcore", "read the kernel's memory", "proc(5)", "masked"),
    Attack("proc-timers", "see what all processes wait for", "CVE-2017-5967", "masked", True),
    Attack("proc-interrupts", "count what the host's devices do (keys pressed, say)", "proc(5)", "masked", True),
    Attack("proc-kallsyms", "learn where the kernel lies", "proc(5)", CAPABILITIES, True),
    Attack("proc-pages", "watch the use of every page", "proc(5)", CAPABILITIES, True),
    Attack("proc-slabs", "watch the kernel's allocations", "proc(5)", USERS, True),
    Attack("sys-firmware", "read the machine's firmware tables", "sysfs(5)", "masked", True),
)  # fmt: skip
