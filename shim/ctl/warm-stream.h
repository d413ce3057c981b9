/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "shim/ctl/cold-stream.h"

/* A pass of a warm move: of each file only what the other side does not have yet. Both sides keep a
 * digest of each block of each file, of what was sent and of what arrived; the file is empty at
 * first. In the stream of cold-stream.h:
 *
 *      F  a file begins; number: which; 8 bytes: its size, which may be another one than last time
 *      B  a block of it; number: where it begins; 32 bytes: its SHA-256
 *      D  data of the block; number: where. Ascending; what is between is zeroes
 *      Z  blocks of zeroes; number: where; 8 bytes: how many bytes
 *      E  the pass ends; number: the file's size; 64 hex digits: SHA-256 of all digests
 *
 * So each block is compared as it arrives, and at each end the whole. */
#define WARM_DIGEST     32U
#define WARM_BLOCK_MIN  (64ULL << 10)
#define WARM_BLOCK_MAX  (64ULL << 20)
#define WARM_BLOCKS     (1U << 20) /* so many are aimed at, of all files */
#define WARM_BLOCKS_MAX (4U << 20) /* files may grow: never more, 128 MiB of digests */

typedef struct WarmTable {
        uint64_t size; /* of the file */
        size_t n;
        uint8_t *digests; /* of each block; 32 zeroes: it is zeroes */
} WarmTable;

typedef struct WarmTables {
        uint64_t block; /* bytes: a power of two */
        size_t n_blocks, n_files;
        WarmTable files[];
} WarmTables;

/* The block with which so many bytes are compared. */
uint64_t warm_block_size(uint64_t bytes);
/* -EBADMSG: no such block. */
int warm_tables_new(uint64_t block, size_t n_files, WarmTables **ret, Error *reterr);
WarmTables *warm_tables_free(WarmTables *t);
DEFINE_CLEANUP(WarmTables *, warm_tables_free);

typedef struct WarmPass {
        const ColdPipe *pipe;
        WarmTables *tables;
        bool moving; /* the file is written to, and may become shorter, meanwhile */
        /* After each block, and n bytes of data: < 0 ends it; 1: the pass ends here, and the rest
         * is another one's. */
        int (*look)(void *userdata, uint64_t n, Error *reterr);
        void *userdata;
        uint64_t sent; /* bytes of blocks, all files so far */
} WarmPass;

/* `fd` is a file or block device, number `which` in the tables. -EFBIG: it has become too large. */
int warm_send_file(WarmPass *p, int fd, const char *path, size_t which, uint64_t size,
                   Error *reterr);
/* Into `fd`, which is as the last pass left it, or empty; the size that the other side says is from
 * min to max. Holes stay, and come where there are zeroes now. It is on disk then. -EBADMSG: it is
 * not what was sent. After a failure neither file nor table is of use. */
int warm_receive_file(const ColdPipe *pipe, WarmTables *tables, int fd, const char *path,
                      size_t which, uint64_t min, uint64_t max, Error *reterr);
