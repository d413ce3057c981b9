/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* Files in the run directory that say who takes part in something, by who has them locked: one that
 * is killed takes part no more. All that look at them, or change them, do so one at a time. */
int lock_files_open(const char *run_dir, int *ret_dir_fd, Error *reterr);
int lock_files_begin(int dir_fd, Error *reterr); /* alone with all of them from here on */
void lock_files_end(int dir_fd);

/* 1: somebody has it. A file that nobody has any more goes. */
int lock_file_is_taken(int dir_fd, const char *name, Error *reterr);
/* Makes and locks it; nobody may have it. */
int lock_file_take(int dir_fd, const char *name, int *ret_fd, Error *reterr);
/* Its file goes with it. *fd may be -EBADF. */
void lock_file_leave(int dir_fd, const char *name, int *fd);

/* What has something to read when one of them may have gone or changed: *ret_fd, the caller's. One
 * that is killed closes its file a moment before the lock goes (__fput() of Linux), so that it is
 * to be looked after LOCK_LOOK_MS, too. */
int lock_files_watch(const char *run_dir, int *ret_fd, Error *reterr);
void lock_files_watch_read(int fd); /* what it has, before another look */
#define LOCK_LOOK_MS 1000U
