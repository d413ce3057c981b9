/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/files.h"

#include <fcntl.h>
#include <string.h>

int file_read(const char *path, size_t max, Buf *ret, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        size_t before = ret->len;

        if (fd < 0)
                return error_setf(reterr, -errno, "cannot open %s: %m", path);
        while (ret->len - before < max) {
                size_t want = MIN_OF(max - (ret->len - before), (size_t)4096);
                ssize_t n;

                if (buf_reserve(ret, want) < 0)
                        return error_oom(reterr);
                n = read(fd, ret->data + ret->len, want);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "cannot read %s: %m", path);
                if (n == 0)
                        break;
                ret->len += (size_t)n;
        }
        return 0;
}

int file_read_line(const char *path, char *ret, size_t size, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        int r = file_read(path, size - 1, &b, reterr);

        if (r < 0)
                return r;
        while (b.len > 0 && strchr(" \t\n", b.data[b.len - 1]))
                b.len--;
        if (b.len > 0)
                memcpy(ret, b.data, b.len);
        ret[b.len] = '\0';
        return 0;
}

static int write_whole(int fd, const char *path, const void *p, size_t n, Error *reterr) {
        ssize_t k;

        do
                k = write(fd, p, n);
        while (k < 0 && errno == EINTR);
        if (k < 0)
                return error_setf(reterr, -errno, "cannot write %s: %m", path);
        if ((size_t)k < n)
                return error_setf(reterr, -EIO, "cannot write all of %s", path);
        return 0;
}

int file_write(const char *path, const void *p, size_t n, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

        if (fd < 0)
                return error_setf(reterr, -errno, "cannot open %s: %m", path);
        return write_whole(fd, path, p, n, reterr);
}

int file_write_string(const char *path, const char *s, Error *reterr) {
        return file_write(path, s, strlen(s), reterr);
}

int file_create(const char *path, const void *p, size_t n, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;

        (void)unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot create %s: %m", path);
        return write_whole(fd, path, p, n, reterr);
}
