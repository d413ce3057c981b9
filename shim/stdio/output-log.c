/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/stdio/output-log.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "lib/directory.h"
#include "lib/log.h"

/* Vectors of one writev: two or three a line. */
#define VECTORS 768

struct OutputLog {
        char *path, *old_path;
        int fd, old_fd;
        uint64_t old_base; /* offset of the first byte of old_fd, if there is one */
        uint64_t base;     /* of fd */
        uint64_t end;
        uint64_t half;    /* when PATH reaches this it becomes PATH.1 */
        bool inside_line; /* history that ended in the middle of one */
        bool failing;     /* has said that writing fails */
};

static const char *const stream_names[_OUTPUT_STREAM_MAX] = { "stdout", "stderr" };

/* Files */

static int make_directory_of(const char *path, Error *reterr) {
        _cleanup_free_ char *copy = strndup(path, (size_t)(strrchr(path, '/') - path));

        return copy ? directory_make(copy, 0700, reterr) : error_oom(reterr);
}

static int open_file(const char *path, int flags, Error *reterr) {
        int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);

        return fd < 0 ? error_setf(reterr, -errno, "open %s: %m", path) : fd;
}

static int log_alloc(const char *path, uint64_t max_bytes, OutputLog **ret, Error *reterr) {
        _cleanup_(output_log_freep) OutputLog *log = calloc(1, sizeof(*log));

        if (!log)
                return error_oom(reterr);
        *log = (OutputLog){ .fd = -EBADF, .old_fd = -EBADF, .half = MAX_OF(max_bytes / 2, 1U) };
        log->path = strdup(path);
        if (!log->path || asprintf(&log->old_path, "%s.1", path) < 0)
                return error_oom(reterr);
        *ret = TAKE(log);
        return 0;
}

int output_log_new(const char *path, uint64_t max_bytes, OutputLog **ret, Error *reterr) {
        _cleanup_(output_log_freep) OutputLog *log = NULL;
        int r;

        r = log_alloc(path, max_bytes, &log, reterr);
        if (r < 0)
                return r;
        r = make_directory_of(path, reterr);
        if (r < 0)
                return r;
        if (unlink(log->old_path) < 0 && errno != ENOENT)
                return error_setf(reterr, -errno, "remove %s: %m", log->old_path);
        log->fd = open_file(path, O_CREAT | O_TRUNC, reterr);
        if (log->fd < 0)
                return log->fd;
        *ret = TAKE(log);
        return 0;
}

int output_log_reopen(const char *path, uint64_t max_bytes, uint64_t start, OutputLog **ret,
                      Error *reterr) {
        _cleanup_(output_log_freep) OutputLog *log = NULL;
        struct stat st;
        int r;

        r = log_alloc(path, max_bytes, &log, reterr);
        if (r < 0)
                return r;
        log->fd = open_file(path, O_CREAT, reterr);
        if (log->fd < 0)
                return log->fd;
        log->base = log->old_base = start;
        log->old_fd = open_file(log->old_path, 0, NULL);
        if (log->old_fd >= 0) {
                if (fstat(log->old_fd, &st) < 0)
                        return error_setf(reterr, -errno, "stat %s: %m", log->old_path);
                log->base += (uint64_t)st.st_size;
        }
        if (fstat(log->fd, &st) < 0)
                return error_setf(reterr, -errno, "stat %s: %m", path);
        log->end = log->base + (uint64_t)st.st_size;
        *ret = TAKE(log);
        return 0;
}

OutputLog *output_log_free(OutputLog *log) {
        if (!log)
                return NULL;
        (void)close_fd(log->fd);
        (void)close_fd(log->old_fd);
        free(log->path);
        free(log->old_path);
        free(log);
        return NULL;
}

void output_log_remove_files(OutputLog *log) {
        (void)unlink(log->path);
        (void)unlink(log->old_path);
}

/* PATH becomes PATH.1. If that fails the log just grows on. */
static void rotate(OutputLog *log) {
        _cleanup_close_ int fd = -EBADF;

        if (rename(log->path, log->old_path) < 0)
                return;
        fd = open_file(log->path, O_CREAT | O_EXCL, NULL);
        if (fd < 0) {
                (void)rename(log->old_path, log->path);
                return;
        }
        (void)close_fd(log->old_fd);
        log->old_fd = log->fd;
        log->old_base = log->base;
        log->fd = TAKE_FD(fd);
        log->base = log->end;
}

/* All of it or nothing. */
static int write_all(OutputLog *log, const struct iovec *iov, int count, size_t total) {
        uint64_t at = log->end - log->base;
        ssize_t n;

        do
                n = pwritev(log->fd, iov, count, (off_t)at);
        while (n < 0 && errno == EINTR);
        if (n >= 0 && (size_t)n == total) {
                log->end += total;
                log->failing = false;
                return 0;
        }
        if (!log->failing)
                log_err("%s: %s: output waits until it can be written", log->path,
                        n < 0 ? strerrordesc_np(errno) : "disk full");
        log->failing = true;
        if (n > 0 && ftruncate(log->fd, (off_t)at) < 0)
                log_err("%s: a torn write could not be undone: %m", log->path);
        return -EIO;
}

/* Writing */

typedef struct Headers {
        char full[OUTPUT_HEADER_LEN + 1];
        char part[OUTPUT_HEADER_LEN + 1];
} Headers;

static void make_headers(Headers *h, OutputStream stream) {
        struct timespec now;
        char seconds[24];
        struct tm tm;
        int n;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)gmtime_r(&now.tv_sec, &tm);
        (void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
        n = snprintf(h->full, sizeof(h->full), "%.19s.%09ldZ %s F ", seconds, now.tv_nsec,
                     stream_names[stream]);
        assert(n == OUTPUT_HEADER_LEN);
        (void)snprintf(h->part, sizeof(h->part), "%.38sP ", h->full);
}

static struct iovec vector(const void *p, size_t n) {
        union {
                const void *in;
                void *out;
        } u = { .in = p }; /* writev does not write to it */

        return (struct iovec){ u.out, n };
}

/* Points iov at the lines of p; returns how many bytes of p they are. */
static size_t lay_out(const Headers *h, const char *p, size_t n, struct iovec *iov, int *ret_count,
                      size_t *ret_total) {
        size_t done = 0, total = 0;
        int count = 0;

        while (done < n && count + 3 <= VECTORS) {
                size_t piece = MIN_OF(n - done, (size_t)OUTPUT_PIECE_MAX + 1);
                const char *newline = memchr(p + done, '\n', piece);

                if (newline)
                        piece = (size_t)(newline - (p + done)) + 1;
                else
                        piece = MIN_OF(piece, (size_t)OUTPUT_PIECE_MAX);
                iov[count++] = vector(newline ? h->full : h->part, OUTPUT_HEADER_LEN);
                iov[count++] = vector(p + done, piece);
                total += OUTPUT_HEADER_LEN + piece;
                if (!newline) {
                        iov[count++] = vector("\n", 1);
                        total++;
                }
                done += piece;
        }
        *ret_count = count;
        *ret_total = total;
        return done;
}

size_t output_log_write(OutputLog *log, OutputStream stream, const void *p, size_t n) {
        struct iovec iov[VECTORS];
        size_t done = 0;
        Headers h;

        make_headers(&h, stream);
        while (done < n) {
                size_t total, taken;
                int count;

                if (log->end - log->base >= log->half)
                        rotate(log);
                taken = lay_out(&h, (const char *)p + done, n - done, iov, &count, &total);
                if (write_all(log, iov, count, total) < 0)
                        break;
                done += taken;
        }
        return done;
}

int output_log_append(OutputLog *log, uint64_t offset, const void *p, size_t n, Error *reterr) {
        const char *at = p;

        if (log->end == 0 && log->old_fd < 0)
                log->base = log->end = offset;
        if (offset > log->end)
                return error_setf(reterr, -EINVAL, "%s ends at %llu, history goes on at %llu",
                                  log->path, (unsigned long long)log->end,
                                  (unsigned long long)offset);
        if (log->end - offset >= n)
                return 0;
        at += log->end - offset;
        n -= log->end - offset;
        while (n > 0) {
                size_t piece = n;
                struct iovec iov;

                if (log->end - log->base >= log->half) { /* cut at the next end of a line */
                        const char *newline = log->inside_line ? memchr(at, '\n', n) : NULL;

                        if (!log->inside_line)
                                rotate(log);
                        else if (newline)
                                piece = (size_t)(newline - at) + 1;
                }
                iov = vector(at, piece);
                if (write_all(log, &iov, 1, piece) < 0)
                        return error_setf(reterr, -EIO, "%s cannot be written", log->path);
                log->inside_line = at[piece - 1] != '\n';
                at += piece;
                n -= piece;
        }
        return 0;
}

int output_log_cut(OutputLog *log, uint64_t end, Error *reterr) {
        if (end >= log->end) {
                log->old_base += end - log->end;
                log->base += end - log->end;
                log->end = end;
                return 0;
        }
        if (end < log->base && log->old_fd >= 0) {
                uint64_t keep = end > log->old_base ? end - log->old_base : 0;

                if (ftruncate(log->old_fd, (off_t)keep) < 0)
                        return error_setf(reterr, -errno, "cut %s: %m", log->old_path);
        }
        log->base = MIN_OF(log->base, end);
        log->old_base = MIN_OF(log->old_base, end);
        if (ftruncate(log->fd, (off_t)(end - log->base)) < 0)
                return error_setf(reterr, -errno, "cut %s: %m", log->path);
        log->end = end;
        return 0;
}

/* Reading */

uint64_t output_log_start(const OutputLog *log) {
        return log->old_fd >= 0 ? log->old_base : log->base;
}

uint64_t output_log_end(const OutputLog *log) {
        return log->end;
}

ssize_t output_log_read(const OutputLog *log, uint64_t *offset, void *p, size_t n,
                        uint64_t *ret_skipped) {
        uint64_t start = output_log_start(log), base = log->base;
        int fd = log->fd;
        ssize_t got;

        if (ret_skipped)
                *ret_skipped = *offset < start ? start - *offset : 0;
        *offset = MAX_OF(*offset, start);
        if (*offset >= log->end)
                return 0;
        n = MIN_OF(n, log->end - *offset);
        if (*offset < log->base) {
                n = MIN_OF(n, log->base - *offset);
                fd = log->old_fd;
                base = log->old_base;
        }
        do
                got = pread(fd, p, n, (off_t)(*offset - base));
        while (got < 0 && errno == EINTR);
        return got < 0 ? -errno : got;
}

ssize_t output_line_parse(const char *p, size_t n, OutputLine *ret) {
        const char *newline = memchr(p, '\n', n);
        size_t len;

        if (!newline)
                return 0;
        len = (size_t)(newline - p) + 1;
        if (len < OUTPUT_HEADER_LEN + 1 || p[29] != 'Z' || p[30] != ' ' || p[37] != ' ' ||
            (p[38] != 'F' && p[38] != 'P') || p[39] != ' ')
                return -(ssize_t)len;
        if (memcmp(p + 31, stream_names[OUTPUT_STDOUT], 6) == 0)
                ret->stream = OUTPUT_STDOUT;
        else if (memcmp(p + 31, stream_names[OUTPUT_STDERR], 6) == 0)
                ret->stream = OUTPUT_STDERR;
        else
                return -(ssize_t)len;
        ret->body = p + OUTPUT_HEADER_LEN;
        ret->n = len - OUTPUT_HEADER_LEN - 1;
        ret->newline = p[38] == 'F';
        return (ssize_t)len;
}
