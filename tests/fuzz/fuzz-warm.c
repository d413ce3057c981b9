/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of a warm move, as the other host sends them, over one file: whatever is accepted, the
 * file is what its digests say. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostdev/image/digest.h"
#include "shim/ctl/warm-stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_MAX_HERE (4 * WARM_BLOCK_MIN)

typedef struct Input {
        const uint8_t *p;
        size_t left;
} Input;

static int read_input(void *userdata, void *p, size_t n, Error *reterr) {
        Input *in = userdata;

        if (in->left < n)
                return error_setf(reterr, -ECONNRESET, "the end");
        memcpy(p, in->p, n);
        in->p += n;
        in->left -= n;
        return 0;
}

static int write_nothing(void *userdata, const void *p, size_t n, Error *reterr) {
        return 0;
}

static void check(const WarmTables *all, int fd) {
        static uint8_t block[WARM_BLOCK_MIN], zeroes[WARM_BLOCK_MIN];
        const WarmTable *t = &all->files[0];
        struct stat st;

        if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != t->size)
                abort();
        for (size_t i = 0; i < t->n; i++) {
                uint8_t digest[WARM_DIGEST] = {};
                ssize_t n = pread(fd, block, sizeof(block), (off_t)(i * all->block));
                Digest d;

                if (n <= 0)
                        abort();
                digest_init(&d);
                digest_add(&d, block, (size_t)n);
                if (memcmp(block, zeroes, (size_t)n) != 0 ||
                    memcmp(t->digests + i * WARM_DIGEST, digest, WARM_DIGEST) != 0)
                        digest_raw(&d, digest);
                if (memcmp(t->digests + i * WARM_DIGEST, digest, WARM_DIGEST) != 0)
                        abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Input in = { data, size };
        const ColdPipe pipe = { read_input, write_nothing, &in };
        _cleanup_close_ int fd = memfd_create("fuzz-warm", MFD_CLOEXEC);
        _cleanup_(warm_tables_freep) WarmTables *t = NULL;

        if (fd < 0 || warm_tables_new(WARM_BLOCK_MIN, 1, &t, NULL) < 0)
                abort();
        while (warm_receive_file(&pipe, t, fd, "file", 0, 0, SIZE_MAX_HERE, NULL) == 0)
                check(t, fd);
        return 0;
}
