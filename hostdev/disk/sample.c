/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/disk/sample.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "lib/cleanup.h"

#define BLOCK       4096U
#define SAMPLES     512U
#define EXTENTS_MAX 65536U /* of one file: then the rest counts as the first ones */

/* The next piece with data at or after `at`; false: there is none. What knows no holes is one. */
static bool next_data(int fd, off_t at, off_t *ret_from, off_t *ret_to) {
        off_t from = lseek(fd, at, SEEK_DATA), to;

        if (from < 0)
                return false;
        to = lseek(fd, from, SEEK_HOLE);
        *ret_from = from;
        *ret_to = to;
        return to > from;
}

static uint64_t count_data(int fd) {
        off_t from, to = 0;
        uint64_t sum = 0;

        for (unsigned i = 0; i < EXTENTS_MAX && next_data(fd, to, &from, &to); i++)
                sum += (uint64_t)(to - from);
        return sum;
}

static bool is_used(int fd, off_t at) {
        uint8_t b[BLOCK];
        ssize_t n = pread(fd, b, sizeof(b), at);

        return n < 0 || (n > 0 && (b[0] != 0 || memcmp(b, b + 1, (size_t)n - 1) != 0));
}

int disk_sample_data(const char *path, uint64_t *ret, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        uint64_t data, step, before = 0, next, n = 0, used = 0;
        off_t from, to = 0;

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        data = count_data(fd);
        step = MAX_OF(data / SAMPLES, (uint64_t)BLOCK);
        next = step / 2;
        for (unsigned i = 0; i < EXTENTS_MAX && next_data(fd, to, &from, &to); i++) {
                uint64_t length = (uint64_t)(to - from);

                for (; next < before + length; next += step, n++)
                        used += is_used(fd, (from + (off_t)(next - before)) / BLOCK * BLOCK);
                before += length;
        }
        *ret = n > 0 ? (uint64_t)((double)data * (double)used / (double)n) : data;
        return 0;
}
