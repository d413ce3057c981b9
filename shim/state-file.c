/* SPDX-License-Identifier: Apache-2.0 */
/* A record, little-endian: "PfSt", u32 CRC-32C of all that follows, u64 generation, u32 length,
 * u32 zero, and the bytes. What an earlier, longer record left behind them does not count. */
#include "shim/state-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/crc32c.h"
#include "lib/frame.h"

#define HEADER     24U
#define PIECES_MAX 6

static const uint8_t magic[4] = { 'P', 'f', 'S', 't' };

int state_file_init(StateFile *f, const char *path, Error *reterr) {
        *f = STATE_FILE_INIT;
        f->path = strdup(path);
        return f->path ? 0 : error_oom(reterr);
}

void state_file_done(StateFile *f) {
        free(f->path);
        for (size_t i = 0; i < ELEMENTSOF(f->fds); i++)
                (void)close_fd(f->fds[i]);
        *f = STATE_FILE_INIT;
}

static int open_slot(StateFile *f, size_t slot, int flags, Error *reterr) {
        _cleanup_free_ char *path = NULL;

        if (f->fds[slot] >= 0)
                return 0;
        if (asprintf(&path, "%s.%zu", f->path, slot) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        f->fds[slot] = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
        if (f->fds[slot] < 0) {
                f->fds[slot] = -EBADF;
                return error_setf(reterr, -errno, "open %s: %m", path);
        }
        return 0;
}

int state_file_write(StateFile *f, const struct iovec *pieces, int n, Error *reterr) {
        size_t slot = (f->generation + 1) & 1, total = 0;
        struct iovec iov[1 + PIECES_MAX];
        uint8_t header[HEADER];
        uint32_t crc;
        ssize_t k;
        int r;

        if (n < 0 || n > PIECES_MAX)
                return error_setf(reterr, -EINVAL, "state of %d pieces", n);
        r = open_slot(f, slot, O_CREAT, reterr);
        if (r < 0)
                return r;
        for (int i = 0; i < n; i++) {
                iov[1 + i] = pieces[i];
                total += pieces[i].iov_len;
        }
        if (total > STATE_FILE_MAX)
                return error_setf(reterr, -EFBIG, "state of %zu bytes", total);
        memcpy(header, magic, sizeof(magic));
        put_le64(header + 8, f->generation + 1);
        put_le32(header + 16, (uint32_t)total);
        put_le32(header + 20, 0);
        crc = crc32c(0, header + 8, HEADER - 8);
        for (int i = 0; i < n; i++)
                crc = crc32c(crc, pieces[i].iov_base, pieces[i].iov_len);
        put_le32(header + 4, crc);
        iov[0] = (struct iovec){ header, HEADER };
        do
                k = pwritev(f->fds[slot], iov, 1 + n, 0);
        while (k < 0 && errno == EINTR);
        if (k < 0 || (size_t)k != HEADER + total)
                return error_setf(reterr, k < 0 ? -errno : -ENOSPC, "write %s.%zu: %s", f->path,
                                  slot, k < 0 ? strerrordesc_np(errno) : "cut short");
        f->generation++;
        return 0;
}

/* Reads n bytes at `at`; less is a failure. */
static int read_all(int fd, void *p, size_t n, size_t at) {
        for (size_t done = 0; done < n;) {
                ssize_t k = pread(fd, (uint8_t *)p + done, n - done, (off_t)(at + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -ENODATA;
                done += (size_t)k;
        }
        return 0;
}

/* 0 and the record if the slot holds a sound one. */
static int read_slot(StateFile *f, size_t slot, Buf *ret, uint64_t *ret_generation) {
        _cleanup_free_ uint8_t *raw = NULL;
        uint8_t header[HEADER];
        uint32_t n;
        int r;

        r = open_slot(f, slot, 0, NULL);
        if (r == 0)
                r = read_all(f->fds[slot], header, HEADER, 0);
        if (r < 0)
                return r;
        n = get_le32(header + 16);
        if (memcmp(header, magic, sizeof(magic)) != 0 || n > STATE_FILE_MAX ||
            get_le32(header + 20) != 0)
                return -EBADMSG;
        raw = malloc(n + 1U);
        if (!raw)
                return -ENOMEM;
        r = read_all(f->fds[slot], raw, n, HEADER);
        if (r < 0)
                return r;
        if (crc32c(crc32c(0, header + 8, HEADER - 8), raw, n) != get_le32(header + 4))
                return -EBADMSG;
        *ret_generation = get_le64(header + 8);
        return buf_append(ret, raw, n);
}

int state_file_read(StateFile *f, Buf *ret, Error *reterr) {
        _cleanup_buf_ Buf first = {}, second = {};
        uint64_t generation[2] = {};
        const Buf *best = &first;
        int r[2];

        r[0] = read_slot(f, 0, &first, &generation[0]);
        r[1] = read_slot(f, 1, &second, &generation[1]);
        if (r[0] == -ENOMEM || r[1] == -ENOMEM)
                return error_oom(reterr);
        if (r[0] < 0 && r[1] < 0)
                return error_setf(reterr, -ENOENT, "%s: there is no saved state", f->path);
        if (r[0] < 0 || (r[1] >= 0 && generation[1] > generation[0]))
                best = &second;
        f->generation = MAX_OF(generation[0], generation[1]);
        return buf_append(ret, best->data, best->len) < 0 ? error_oom(reterr) : 0;
}
