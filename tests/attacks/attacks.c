/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * attacks run [NAME...]   run attacks as the root of a container; a line each: NAME, `done` or `refused`, and why
 * attacks list            their names
 * attacks swap ONE OTHER COUNTER
 *                         exchange two names for as long as it runs, and count in a file how often
 * attacks lease            let nobody else open our standard output (fcntl(2): for 45 s, then again)
 * attacks rooted, mounts  what a program of the image tries for another user
 * attacks victim PID-FILE be the process of the host that they are after
 *
 * The container has no tools and no C library: this is linked statically.
 */
#include "attacks.h"

#include <linux/keyctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/un.h>

int victim;
dev_t disk;

long fail(int number)
{
    errno = number;
    return -1;
}

long reads_at(int folder, const char *path, const char *word)
{
    static char text[1 << 16];
    int file = openat(folder, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return -1;
    ssize_t length = 0, more;
    while (length < (ssize_t)sizeof text - 1 && (more = read(file, text + length, sizeof text - 1 - length)) > 0)
        length += more;
    close(file);
    if (length <= 0 && *word)
        return fail(ENODATA);
    return memmem(text, length, word, strlen(word)) ? length : fail(ENODATA);
}

long reads(const char *path, const char *word) { return reads_at(AT_FDCWD, path, word); }

long writes(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_NOCTTY);
    if (file < 0)
        return -1;
    ssize_t done = write(file, text, strlen(text));
    int number = errno;
    close(file);
    return done == (ssize_t)strlen(text) ? done : fail(number);
}

long overwrites(const char *path, const char *text)
{
    char old[4096] = "";
    int file = open(path, O_RDONLY);
    if (file < 0)
        return -1;
    ssize_t length = read(file, old, sizeof old - 1);
    close(file);
    if (length < 0 || writes(path, text) < 0)
        return -1;
    long result = reads(path, text);
    writes(path, old);
    return result;
}

long mounts(const char *kind, const char *data)
{
    mkdir(SCRATCH, 0700); /* there may be another root by now */
    mkdir(MOUNT, 0700);
    return mount("attack", MOUNT, kind, 0, data);
}

long device(mode_t kind, int major, int minor, int flags)
{
    unlink(SCRATCH "/node");
    if (mknod(SCRATCH "/node", kind | 0600, makedev(major, minor)))
        return -1;
    return open(SCRATCH "/node", flags | O_NONBLOCK | O_NOCTTY);
}

long leave_root(void)
{
    int top = open("/", O_RDONLY | O_DIRECTORY);
    mkdir(SCRATCH "/cell", 0700);
    if (top < 0 || chroot(SCRATCH "/cell") || fchdir(top))
        return -1;
    for (int step = 0; step < 64; step++)
        if (chdir(".."))
            return -1;
    return chroot(".");
}

const char *host_proc(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", victim);
    if (reads(path, "attack-victim") > 0 || (leave_root() == 0 && reads(path, "attack-victim") > 0))
        return "/proc";
    errno = ESRCH;
    return NULL;
}

long join(const char *namespace)
{
    char path[64];
    if (!host_proc())
        return -1;
    snprintf(path, sizeof path, "/proc/1/ns/%s", namespace);
    int file = open(path, O_RDONLY);
    return file < 0 ? -1 : setns(file, 0);
}

long becomes(const char *path)
{
    struct stat found;
    if (leave_root())
        return -1;
    for (int turn = 0; turn < 100; turn++) {
        if (stat(path, &found) == 0)
            return 0;
        usleep(50000);
    }
    return fail(ETIME);
}

int clone_into(int flags)
{
    struct clone_args how = {.flags = flags, .exit_signal = SIGCHLD};
    int child = syscall(SYS_clone3, &how, sizeof how);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid(child, NULL, 0);
    return child;
}

/* An attack in a child of its own: exit code 0 when it succeeded, else its errno. */
static void attempt(const struct attack *attack)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        alarm(30);
        mkdir(SCRATCH, 0700);
        if (unshare(CLONE_NEWNS) == 0) /* what succeeds shall not disturb the next one */
            mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
        mount("proc", "/proc", "proc", 0, NULL);
        if (access("/sys/kernel", F_OK))
            mount("sysfs", "/sys", "sysfs", 0, NULL);
        errno = 0;
        long result = attack->run();
        _exit(result >= 0 ? 0 : errno ? errno : 255);
    }
    waitpid(child, &status, 0);
    kill(-child, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    const char *why = code < 0 ? strsignal(WTERMSIG(status)) : strerror(code);
    printf("%s\t%s\t%s\n", attack->name, code == 0 ? "done" : "refused", code == 0 ? "" : why);
    fflush(stdout);
}

static void each(int count, char **names, void (*act)(const struct attack *))
{
    const struct attack *lists[] = {ESCAPES, KERNEL, HOST, ARRANGED};
    for (size_t list = 0; list < ARRAY(lists) - (count == 0); list++)
        for (const struct attack *attack = lists[list]; attack->name; attack++) {
            int wanted = count == 0;
            for (int at = 0; at < count; at++)
                wanted |= strcmp(names[at], attack->name) == 0;
            if (wanted)
                act(attack);
        }
}

static void tell(const struct attack *attack) { puts(attack->name); }

static void listens(const char *path, int abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + abstract, sizeof address.sun_path - abstract, "%s", path);
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t length = sizeof(sa_family_t) + abstract + strlen(path) + !abstract;
    if (server < 0 || bind(server, (struct sockaddr *)&address, length) || listen(server, 8))
        perror(path);
}

/* A process of the host with a secret in its environment, its keyring and behind its sockets. */
static int be_victim(const char *pid_file)
{
    signal(SIGUSR1, SIG_IGN);
    prctl(PR_SET_NAME, "attack-victim");
    long key = syscall(SYS_add_key, "user", "attack-key", SECRET_WORD, strlen(SECRET_WORD), KEY_SPEC_USER_KEYRING);
    if (key < 0 || syscall(SYS_keyctl, KEYCTL_SETPERM, key, 0x3f3f0000))
        perror("key");
    unlink("/run/attack.socket");
    listens("/run/attack.socket", 0);
    listens("attack", 1);
    FILE *file = fopen(pid_file, "w");
    if (!file || fprintf(file, "%d\n", getpid()) < 0 || fclose(file))
        return 1;
    for (;;)
        pause();
}

static void take_lease(void)
{
    int file = open("/proc/self/fd/1", O_RDONLY);
    signal(SIGIO, SIG_IGN);
    close(1);
    close(2);
    for (;;) {
        fcntl(file, F_SETLEASE, F_RDLCK);
        usleep(10000);
    }
}

static int swap_names(const char *one, const char *other, const char *counter)
{
    int file = open(counter, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, sizeof(uint64_t)))
        return 1;
    volatile uint64_t *swaps = mmap(NULL, sizeof *swaps, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (swaps == MAP_FAILED)
        return 1;
    for (;;)
        if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0)
            ++*swaps;
}

int main(int count, char **words)
{
    const char *numbers = getenv("ATTACK_DISK"), *pid = getenv("ATTACK_PID");
    int major_number = 0, minor_number = 0;
    if (numbers)
        sscanf(numbers, "%d:%d", &major_number, &minor_number);
    disk = makedev(major_number, minor_number);
    victim = pid ? atoi(pid) : 0;
    if (count == 3 && strcmp(words[1], "victim") == 0)
        return be_victim(words[2]);
    if (count == 5 && strcmp(words[1], "swap") == 0)
        return swap_names(words[2], words[3], words[4]);
    if (count == 2 && strcmp(words[1], "lease") == 0)
        take_lease();
    if (count == 2 && strcmp(words[1], "rooted") == 0)
        return geteuid() == 0 ? 0 : EPERM;
    if (count == 2 && strcmp(words[1], "mounts") == 0)
        return mounts("tmpfs", "") == 0 ? 0 : errno;
    if (count == 2 && strcmp(words[1], "list") == 0)
        each(0, NULL, tell);
    else if (count >= 2 && strcmp(words[1], "run") == 0)
        each(count - 2, words + 2, attempt);
    else
        return 64;
    return 0;
}
