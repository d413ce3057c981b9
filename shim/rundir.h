/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "lib/error.h"

/* The pod's run directory, <run_dir>/<pod>, 0700, and the lock that makes this process its only
 * shim.
 *
 * The lock is a file in it, held by flock() as long as the process lives, so that a shim that was
 * killed leaves nothing that must be cleaned before the next one can start. */
typedef struct RunDir {
        char *path;
        int lock_fd;
        bool was_there; /* another shim has been here before us */
} RunDir;

#define RUN_DIR_INIT                                                                               \
        (RunDir) {                                                                                 \
                .lock_fd = -EBADF                                                                  \
        }

/* -EINVAL: pod is no id or the path is too long for sockets in it; -EBUSY: another shim serves this
 * pod; -EPERM: the directory is not ours alone. */
int run_dir_open(RunDir *d, const char *base, const char *pod, Error *reterr);
/* "<path>/<name>"; the caller owns it. NULL: out of memory. */
char *run_dir_file(const RunDir *d, const char *name);
/* Writes our pid to "pid", for people and scripts. */
int run_dir_write_pid(const RunDir *d, Error *reterr);
/* A directory beside it, "<base>/.migrate-<session>", belongs to it from now on, and goes when it
 * goes, also if another shim made it. Before the directory is made. */
int run_dir_own_sockets(const RunDir *d, const char *session, Error *reterr);
void run_dir_disown_sockets(const RunDir *d); /* it is gone */
/* Removes the directory with all that is in it (files and directories, never through a link but
 * that of run_dir_own_sockets()) and lets the lock go. */
void run_dir_remove(RunDir *d);
/* Removes any directory in the same way; what cannot be removed stays. */
void directory_remove(const char *path);
void run_dir_done(RunDir *d); /* lets the lock go; the directory stays */
