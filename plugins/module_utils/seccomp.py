# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which system calls a container may make: the default list, or a profile of the user's, as the runtime takes it.

The list is that of moby's profiles/seccomp/default.json (2026-06, Apache-2.0), made stricter: no 32-bit and x32 calls
unless they are asked for (CVE-2021-22555 and CVE-2014-0038 needed them), five families of sockets instead of all but
two (a family loads its kernel module: TIPC, CVE-2021-43267), no modify_ldt(2).
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from typing import Any, Optional

from .errors import BaleineError, explained

ALLOWED = """
373
accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 arm_sync_file_range bind breakpoint brk
cacheflush cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres
clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range
connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64
fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen
listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe
pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
removexattr removexattrat rename renameat renameat2 restart_syscall riscv_flush_icache riscv_hwprobe rmdir rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address set_tls setfsgid setfsgid32
setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32
setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn
socketcall splice stat stat64 statfs statfs64 statmount statx swapcontext symlink symlinkat sync sync_file_range
sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime
utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
"""
#: What a capability brings along; without it these are refused.
PRIVILEGED = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr"
    " lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd"
    " setdomainname sethostname setns syslog umount umount2 unshare",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}
#: Refused to everybody with EPERM, as programs expect it. What no list knows is ENOSYS: a C library newer than this
#: list then takes the older call.
REFUSED = """
add_key io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl migrate_pages modify_ldt
move_pages nfsservctl pivot_root request_key swapoff swapon sysfs uselib userfaultfd ustat vm86 vm86old
"""
EPERM, ENOSYS = 1, 38
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (clone(2))
NEW_NAMESPACES = 0x7E020000
#: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET (socket(2)): no AF_ALG, no AF_VSOCK
FAMILIES = (1, 2, 10, 16, 17)
#: PER_LINUX, PER_LINUX32, UNAME26, both, and the question (personality(2)).
PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
#: By machine: Docker's word for it, its own calls, and those of its 32-bit programs.
MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
WORDS = ("default", "compat", "unconfined")


def profile(setting: str, capabilities: Collection[str], what: str) -> Optional[dict[str, Any]]:
    """Return the part of the specification, None for ``unconfined``.

    :param setting: one of ``WORDS`` (``compat``: 32-bit programs too), or the path of a profile in the form of Docker.
    :param capabilities: those of the container.
    :raises BaleineError: for a file that is no such profile.
    """
    if setting == "unconfined":
        return None
    machine = os.uname().machine
    if setting in WORDS:
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": ENOSYS,
            "architectures": [*MACHINES.get(machine, ())[2:]] if setting == "compat" else [],
            "syscalls": _rules(capabilities, machine),
        }
    attempt = f"{what}: seccomp profile {setting}"
    try:
        with explained(attempt, "Name a file of the host"), open(setting, encoding="utf-8") as stream:
            return _resolve(json.load(stream), capabilities, machine)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BaleineError(
            f"{attempt}: not understood: {error}", "Write it in the form of Docker's default.json"
        ) from None


def _rules(capabilities: Collection[str], machine: str) -> list[dict[str, Any]]:
    """The default list."""
    extra = {name for key, names in PRIVILEGED.items() if key in capabilities for name in names.split()}
    allowed = {*ALLOWED.split(), *extra}
    refused = {*REFUSED.split(), *" ".join(PRIVILEGED.values()).split()} - allowed - {"clone", "clone3"}
    rules = [_rule("ALLOW", sorted(allowed)), _rule("ERRNO", sorted(refused), errnoRet=EPERM)]
    rules += [_rule("ALLOW", ["socket"], args=[_equal(family)]) for family in FAMILIES]
    rules += [_rule("ALLOW", ["socketpair"], args=[_equal(FAMILIES[0])])]
    rules += [_rule("ALLOW", ["personality"], args=[_equal(value)]) for value in PERSONALITIES]
    if "clone" not in allowed:
        where = 1 if machine.startswith("s390") else 0
        none = {"index": where, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        rules += [_rule("ALLOW", ["clone"], args=[none])]
    return rules


def _rule(action: str, names: list[str], **more: Any) -> dict[str, Any]:
    return {"names": names, "action": f"SCMP_ACT_{action}", **more}


def _equal(value: int) -> dict[str, Any]:
    return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}


def _resolve(found: Mapping[str, Any], capabilities: Collection[str], machine: str) -> dict[str, Any]:
    """Docker's form made the runtime's: rules that hold for other machines and capabilities go."""
    word, native = MACHINES.get(machine, (machine, ""))[:2]
    rules = []
    for rule in found["syscalls"]:
        needs, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        fits = {*needs.get("caps", ())} <= {*capabilities} and word in (needs.get("arches") or [word])
        if fits and not {word, *capabilities} & {*excludes.get("caps", ()), *excludes.get("arches", ())}:
            kept = {key: rule[key] for key in ("action", "args", "errnoRet") if rule.get(key) is not None}
            rules.append({"names": rule.get("names") or [rule["name"]], **kept})
    maps = [item for item in found.get("archMap") or () if item["architecture"] == native]
    subs = [name for item in maps for name in item.get("subArchitectures") or ()]
    kept = {key: found[key] for key in ("defaultAction", "defaultErrnoRet", "architectures", "flags") if key in found}
    return {"architectures": subs, **kept, "syscalls": rules}
