/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/qemu-memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "lib/crc32c.h"

#define PAGE      4096U
#define SAMPLES   4096U
#define SLACK     (1U << 20) /* the mapping may be larger than the memory by a little */
#define IN_MEMORY (1ULL << 63 | 1ULL << 62) /* pagemap: present, or swapped out */
#define SWAPPED   (1ULL << 62)

typedef struct Page {
        uint64_t at;
        uint32_t sum;
        bool used, written;
} Page;

struct QemuMemory {
        pid_t pid;
        int pagemap;
        uint64_t size;
        size_t n, n_used;
        Page pages[SAMPLES];
};

static bool is_zero(const uint8_t *page) {
        return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* One that was never touched is not read, since that would make it: it is zero. One that is swapped
 * out, or cannot be read, counts as used and not as written. */
static void look_at(const QemuMemory *m, Page *p, bool *ret_used, uint32_t *ret_sum) {
        uint8_t buffer[PAGE];
        struct iovec here = { buffer, PAGE }, there = { (void *)(uintptr_t)p->at, PAGE };
        uint64_t entry = 0;

        *ret_sum = p->sum;
        *ret_used = false;
        if (pread(m->pagemap, &entry, sizeof(entry), (off_t)(p->at / PAGE * sizeof(entry))) ==
                    (ssize_t)sizeof(entry) &&
            !(entry & IN_MEMORY))
                return;
        *ret_used = true;
        if ((entry & SWAPPED) || process_vm_readv(m->pid, &here, 1, &there, 1, 0) != (ssize_t)PAGE)
                return;
        *ret_used = !is_zero(buffer);
        *ret_sum = *ret_used ? crc32c(0, buffer, PAGE) : 0;
}

/* One page of each of equal parts, not always at the same place of it. */
static void sample(QemuMemory *m, uint64_t from, uint64_t to) {
        uint64_t pages = (to - from) / PAGE, part, state = pages;

        m->n = (size_t)MIN_OF(pages, (uint64_t)SAMPLES);
        m->n_used = 0;
        part = pages / m->n;
        for (size_t i = 0; i < m->n; i++) {
                Page *p = &m->pages[i];

                state = state * 6364136223846793005ULL + 1442695040888963407ULL;
                *p = (Page){ .at = from + (i * pages / m->n + (state >> 33) % part) * PAGE };
                look_at(m, p, &p->used, &p->sum);
                m->n_used += p->used;
        }
}

/* A line of maps: memory that is written to and not executed, of about that size. */
static bool read_mapping(const char *line, uint64_t size, uint64_t *ret_from, uint64_t *ret_to) {
        char mode[5];

        return sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", ret_from, ret_to, mode) == 3 &&
               mode[1] == 'w' && mode[2] != 'x' && *ret_to > *ret_from &&
               *ret_to - *ret_from >= size && *ret_to - *ret_from - size < SLACK;
}

/* There may be two of that size, of which one is not used: domain-xml.c. */
static int find(QemuMemory *m, FILE *maps, Error *reterr) {
        uint64_t from, to, best_from = 0, best_to = 0;
        _cleanup_free_ char *line = NULL;
        size_t room = 0, most = 0;

        while (getline(&line, &room, maps) > 0) {
                if (!read_mapping(line, m->size, &from, &to))
                        continue;
                sample(m, from, to);
                if (best_to > 0 && m->n_used <= most)
                        continue;
                most = m->n_used;
                best_from = from, best_to = to;
        }
        if (best_to == 0)
                return error_setf(reterr, -ENOENT, "process %d has no mapping of %" PRIu64 " bytes",
                                  (int)m->pid, m->size);
        sample(m, best_from, best_to);
        return 0;
}

int qemu_memory_new(pid_t pid, uint64_t size, QemuMemory **ret, Error *reterr) {
        _cleanup_(qemu_memory_freep) QemuMemory *m = NULL;
        QemuMemory *raw = calloc(1, sizeof(*raw));
        char path[64];
        FILE *maps;
        int r;

        if (!raw)
                return error_oom(reterr);
        *raw = (QemuMemory){ .pid = pid, .size = size, .pagemap = -EBADF };
        m = raw;
        (void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
        m->pagemap = open(path, O_RDONLY | O_CLOEXEC);
        if (m->pagemap < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
        maps = fopen(path, "re");
        if (!maps)
                return error_setf(reterr, -errno, "%s: %m", path);
        r = find(m, maps, reterr);
        (void)fclose(maps);
        if (r == 0)
                *ret = TAKE(m);
        return r;
}

QemuMemory *qemu_memory_free(QemuMemory *m) {
        if (m)
                (void)close_fd(m->pagemap);
        free(m);
        return NULL;
}

/* Of n pages of the sample. */
static uint64_t bytes_of(const QemuMemory *m, size_t n) {
        return (uint64_t)((double)n / (double)m->n * (double)m->size);
}

uint64_t qemu_memory_used(const QemuMemory *m) {
        return bytes_of(m, m->n_used);
}

uint64_t qemu_memory_grain(const QemuMemory *m) {
        return bytes_of(m, 1);
}

uint64_t qemu_memory_written(QemuMemory *m) {
        size_t n = 0;

        for (size_t i = 0; i < m->n; i++) {
                Page *p = &m->pages[i];
                uint32_t sum;
                bool used;

                look_at(m, p, &used, &sum);
                p->written = p->written || sum != p->sum;
                n += p->written;
        }
        return bytes_of(m, n);
}
