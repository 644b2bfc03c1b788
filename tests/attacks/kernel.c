/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Parts of the kernel that a container has no business with.
 */
#include "attacks.h"

#include <linux/bpf.h>
#include <linux/if_alg.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <sys/personality.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/timex.h>
#include <time.h>

/* dummy.ko of the host's own kernel, which came with the image */
static long module_load(void)
{
    int file = open("/attack.ko", O_RDONLY);
    long result = file < 0 ? -1 : syscall(SYS_finit_module, file, "", 0);
    if (result == 0)
        syscall(SYS_delete_module, "dummy", O_NONBLOCK);
    return result;
}

static long kexec(void) { return syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL); } /* unloads what is loaded: nothing */

static long bpf(void)
{
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
    return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map);
}

/* A counter of the whole first CPU, whoever runs on it */
static long perf(void)
{
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK};
    return syscall(SYS_perf_event_open, &event, -1, 0, -1, 0UL);
}

static long userfault(void) { return syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */); }

static long uring(void)
{
    struct io_uring_params params = {0};
    return syscall(SYS_io_uring_setup, 1, &params);
}

static long algorithms(void)
{
    struct sockaddr_alg name = {.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256"};
    int file = socket(AF_ALG, SOCK_SEQPACKET, 0);
    return file < 0 ? -1 : bind(file, (struct sockaddr *)&name, sizeof name);
}

static long vsock(void) { return socket(AF_VSOCK, SOCK_STREAM, 0); }
static long packet(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long raw_ip(void) { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }

static long interface(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_mtu = 1500};
    int file = socket(AF_INET, SOCK_DGRAM, 0);
    return ioctl(file, SIOCSIFMTU, &request);
}

/* nf_tables answers who may administer a network, in whatever user namespace */
static long nftables(void)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg body;
    } ask = {{sizeof ask, (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0}, {AF_UNSPEC, 0, 0}};
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } answer = {0};
    int file = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    if (file < 0 || send(file, &ask, sizeof ask, 0) < 0 || recv(file, &answer, sizeof answer, 0) < 0)
        return -1;
    return answer.head.nlmsg_type == NLMSG_ERROR ? fail(-((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error) : 0;
}

static long set_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return clock_settime(CLOCK_REALTIME, &now);
}

static long adjust_time(void)
{
    struct timex change = {.modes = ADJ_FREQUENCY};
    struct timex now = {0};
    adjtimex(&now);
    change.freq = now.freq;
    return adjtimex(&change);
}

static long swap(void)
{
    char page[4096] = {0};
    int file = open(SCRATCH "/swap", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int at = 0; at < 64; at++)
        if (write(file, page, sizeof page) != sizeof page)
            return -1;
    *(uint32_t *)(page + 1024) = 1;
    *(uint32_t *)(page + 1028) = 63;
    memcpy(page + 4086, "SWAPSPACE2", 10);
    if (pwrite(file, page, sizeof page, 0) < 0 || fsync(file))
        return -1;
    return swapon(SCRATCH "/swap", 0) ? -1 : swapoff(SCRATCH "/swap");
}

static long accounting(void)
{
    close(open(SCRATCH "/account", O_WRONLY | O_CREAT, 0600));
    return acct(SCRATCH "/account") ? -1 : acct(NULL);
}

/* The 32-bit calls of a 64-bit kernel, which have had holes of their own; 20 is getpid */
static long compat(void)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    return result > 0 ? 0 : fail(result ? -result : ENOSYS);
#else
    return fail(ENOSYS);
#endif
}

static long segments(void)
{
    char table[128];
    return syscall(SYS_modify_ldt, 0, table, sizeof table);
}

static long port_level(void) { return iopl(3); }
static long randomness_off(void) { return personality(ADDR_NO_RANDOMIZE); }
static long kernel_log(void)
{
    char text[4096];
    return klogctl(3, text, sizeof text);
}
static long listen_to_files(void) { return fanotify_init(FAN_CLASS_CONTENT, O_RDONLY); }

static long real_time(void)
{
    struct sched_param first = {.sched_priority = 1};
    return sched_setscheduler(0, SCHED_FIFO, &first);
}
static long priority(void) { return setpriority(PRIO_PROCESS, 0, -20); }
static long resource_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_MSGQUEUE, &limit);
    limit.rlim_max++;
    return setrlimit(RLIMIT_MSGQUEUE, &limit);
}
static long oom_score(void) { return writes("/proc/self/oom_score_adj", "-1000"); }

/* More processes than one container needs: 3,000 that share their memory */
static int idle(void *unused)
{
    pause();
    return unused != NULL;
}

static long processes(void)
{
    static char stacks[3000][4096] __attribute__((aligned(16)));
    for (size_t count = 0; count < ARRAY(stacks); count++)
        if (clone(idle, stacks[count] + sizeof stacks[count], CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, NULL) < 0)
            return -1;
    return 0;
}

const struct attack KERNEL[] = {
    {"kernel-module", module_load},
    {"kexec", kexec},
    {"bpf", bpf},
    {"perf", perf},
    {"userfaultfd", userfault},
    {"io-uring", uring},
    {"af-alg", algorithms},
    {"af-vsock", vsock},
    {"af-packet", packet},
    {"raw-ip", raw_ip},
    {"network-interface", interface},
    {"nftables", nftables},
    {"set-time", set_time},
    {"adjust-time", adjust_time},
    {"swap", swap},
    {"accounting", accounting},
    {"compat-calls", compat},
    {"modify-ldt", segments},
    {"port-level", port_level},
    {"personality", randomness_off},
    {"kernel-log", kernel_log},
    {"fanotify", listen_to_files},
    {"real-time", real_time},
    {"priority", priority},
    {"resource-limit", resource_limit},
    {"oom-score", oom_score},
    {"processes", processes},
    {NULL, NULL},
};
