/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Reading and writing without waiting, of streams that somebody else may have open, too.
 * O_NONBLOCK belongs to the open file (open(2)): set here, a command that shares our standard
 * output would suddenly be told EAGAIN. A socket has MSG_DONTWAIT for it; a pipe has no such
 * choice. */

/* Before the first of the others. */
void nowait_prepare(int fd);
/* As read(2), write(2) and writev(2): -1 and errno, EAGAIN where those would wait. Nobody who reads
 * any more is EPIPE; with a socket no SIGPIPE comes of it. */
ssize_t nowait_read(int fd, void *p, size_t n);
ssize_t nowait_write(int fd, const void *p, size_t n);
ssize_t nowait_writev(int fd, struct iovec *iov, int n);
