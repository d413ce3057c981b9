/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/disk/content.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "hostdev/disk/inspect.h"
#include "hostdev/image/digest.h"

#define PIECE (64 << 10)

static bool is_zero(const uint8_t *p, size_t n) {
        return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* A hole is not read. Where nothing is known of holes, all of it is data. */
static off_t next_data(int fd, off_t at) {
        off_t data = lseek(fd, at, SEEK_DATA);

        if (data < 0 && errno == ENXIO)
                return lseek(fd, 0, SEEK_END);
        return data < at ? at : data / PIECE * PIECE; /* a hole may end within a piece */
}

static int add_file(Digest *d, const char *path, const atomic_bool *stop, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        _cleanup_free_ uint8_t *piece = malloc(PIECE);
        off_t size, at = 0;

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        if (!piece)
                return error_oom(reterr);
        size = lseek(fd, 0, SEEK_END);
        if (size < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        digest_add_number(d, (uint64_t)size);
        while ((at = MAX_OF(next_data(fd, at), at)) < size) {
                size_t want = (size_t)MIN_OF(size - at, (off_t)PIECE), n;

                if (atomic_load(stop))
                        return error_setf(reterr, -ECANCELED, "cancelled");
                for (n = 0; n < want;) {
                        ssize_t k = pread(fd, piece + n, want - n, at + (off_t)n);

                        if (k < 0 && errno == EINTR)
                                continue;
                        if (k <= 0)
                                return error_setf(reterr, k < 0 ? -errno : -EIO,
                                                  "%s: cannot be read at %jd", path, (intmax_t)at);
                        n += (size_t)k;
                }
                if (!is_zero(piece, n)) {
                        digest_add_number(d, (uint64_t)at);
                        digest_add_string(d, piece, n);
                }
                at += (off_t)n;
        }
        return 0;
}

static int file_digest(const char *path, const atomic_bool *stop, char ret[static DIGEST_HEX_SIZE],
                       Error *reterr) {
        Digest d;
        int r;

        digest_init(&d);
        r = add_file(&d, path, stop, reterr);
        if (r == 0)
                digest_hex(&d, ret);
        return r;
}

int disk_content_digest(const char *path, const char *format, const char *backing_dir,
                        const atomic_bool *stop, char ret[static LAYER_DIGEST_SIZE],
                        Error *reterr) {
        _cleanup_free_ char *next = NULL;
        char first[DIGEST_HEX_SIZE], more[DIGEST_HEX_SIZE];
        Digest chain;
        int r;

        r = file_digest(path, stop, first, reterr);
        if (r == 0 && strcmp(format, "qcow2") == 0)
                r = disk_backing(path, backing_dir, &next, reterr);
        if (r < 0)
                return r;
        if (next) {
                digest_init(&chain);
                digest_add_string(&chain, first, strlen(first));
        }
        for (unsigned depth = 0; next; depth++) {
                _cleanup_free_ char *at = TAKE(next);

                if (depth >= DISK_BACKING_DEPTH_MAX)
                        return error_setf(reterr, -EINVAL, "%s: too many images behind it", path);
                if ((r = file_digest(at, stop, more, reterr)) < 0 ||
                    (r = disk_backing(at, backing_dir, &next, reterr)) < 0)
                        return r;
                digest_add_string(&chain, more, strlen(more));
                if (!next)
                        digest_hex(&chain, first);
        }
        (void)stpcpy(stpcpy(ret, "sha256:"), first);
        return 0;
}
