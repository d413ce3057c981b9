/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

/* Small file operations with the durability that caches and marks need. Directories are given as
 * descriptors, names have no slash. Codes are negative errno; *reterr says what failed. */

/* Makes `path` and what is missing above it (mode 0711) and opens it. */
int files_open_directory(const char *path, int *ret_fd, Error *reterr);
/* Makes a directory in another one if it is missing and opens it; never through a link. */
int files_sub_directory(int dir_fd, const char *name, unsigned mode, int *ret_fd, Error *reterr);
/* Whole content of a small file, at most `max` bytes (-EFBIG), with a NUL after it that is not
 * counted. */
int files_read(int dir_fd, const char *name, size_t max, Buf *ret, Error *reterr);
/* Replaces a file so that after a crash it has the old or the new content. */
int files_write(int dir_fd, const char *name, const void *p, size_t n, Error *reterr);
/* Renames a finished file from one directory to another, with its bytes on disk before. */
int files_publish(int from_dir, const char *from, int to_dir, const char *to, Error *reterr);
/* Removes a file or a directory with all that is in it, never through a link or into another
 * mount. Nothing there is success. */
int files_remove_tree(int dir_fd, const char *name);
/* All of p, also when the descriptor takes it in pieces. */
int files_write_all(int fd, const void *p, size_t n);
/* Up to n bytes from the start; the number of bytes read, or negative errno. */
ssize_t files_read_start(int fd, void *p, size_t n);

/* An exclusive lock by name (a file in dir_fd that goes away with the lock). Waits, unless
 * `try`: then -EAGAIN if someone holds it. */
typedef struct FileLock {
        int dir_fd; /* borrowed */
        int fd;
        char name[80];
} FileLock;

#define FILE_LOCK_INIT                                                                             \
        (FileLock) {                                                                               \
                .dir_fd = -EBADF, .fd = -EBADF                                                     \
        }

int files_lock(int dir_fd, const char *name, bool try, FileLock *ret, Error *reterr);
void files_unlock(FileLock *l);
#define _cleanup_unlock_ _cleanup_(files_unlock)
