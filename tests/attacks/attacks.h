/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the attacks share. An attack is a function that returns the result of its last step: 0 or more when it succeeded,
 * and -1 with errno when something stopped it. Each runs in a process of its own (attacks.c), so it cleans up little.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct attack {
    const char *name;
    long (*run)(void);
};
extern const struct attack ESCAPES[], KERNEL[], HOST[], ARRANGED[];

/* What the attacker was told of the host, in environment variables. */
extern int victim; /* ATTACK_PID: a process of the host, which holds a secret */
extern dev_t disk; /* ATTACK_DISK: MAJOR:MINOR of the disk that the host's root is on */

#define SECRET "/root/attack-secret" /* a file of the host */
#define SECRET_WORD "only-the-host-knows"
#define SCRATCH "/tmp/.attack"
#define MOUNT SCRATCH "/mount"
#define ARRAY(list) (sizeof(list) / sizeof *(list))

int setns(int descriptor, int kind);
int unshare(int flags);
int clone_into(int flags); /* clone3(2) */

/* The steps of many attacks; each returns -1 with errno, or what is said. */
long fail(int number);                                    /* -1, with this errno */
long reads(const char *path, const char *word);           /* a file that holds the word */
long reads_at(int folder, const char *path, const char *word);
long writes(const char *path, const char *text);          /* a file that takes the text */
long overwrites(const char *path, const char *text);      /* ... and has it then; what was there is put back */
long mounts(const char *kind, const char *data);          /* a filesystem of this kind, at MOUNT */
long device(mode_t kind, int major, int minor, int flags); /* a new device node, opened */
long leave_root(void);                                    /* chroot(2): a root may leave a directory it is outside of */
const char *host_proc(void);                              /* a /proc in which the victim is, or NULL */
long join(const char *namespace);                         /* a namespace of the host's first process */
long becomes(const char *path);                           /* a path on the host that appears within seconds */
