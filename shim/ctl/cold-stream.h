/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

/* What two podferrys say to each other when a pod moves cold: requests and answers in JSON, and
 * files, over one stream of bytes.
 *
 *      header   16 bytes: type, three zeroes, length of what follows (32 bits), a number (64 bits);
 *               little endian
 *      J        a request or an answer
 *      F        a file begins; number: which; 8 bytes: its size
 *      D        data of it; number: where. Ascending; what is between is a hole
 *      E        it ends; number: its size; 64 hex digits: SHA-256 of place, length and bytes of
 *               every D
 *      B, Z     of a warm move: warm-stream.h
 *
 * Everything that is read is hostile until it was checked. */
typedef enum ColdType {
        COLD_JSON = 'J',
        COLD_FILE = 'F',
        COLD_DATA = 'D',
        COLD_END = 'E',
        COLD_BLOCK = 'B',
        COLD_ZEROES = 'Z',
} ColdType;

#define COLD_HEADER   16U
#define COLD_JSON_MAX (40U << 20)
#define COLD_DATA_MAX (128U << 10)

typedef struct ColdFrame {
        ColdType type;
        uint32_t len;
        uint64_t number;
} ColdFrame;

/* The bytes below: all n of them, or < 0; -ENODATA: the end, before the first of them. wait: until
 * there is something to read, be it the end (1), or `fd` has something (0). */
typedef struct ColdPipe {
        int (*read)(void *userdata, void *p, size_t n, Error *reterr);
        int (*write)(void *userdata, const void *p, size_t n, Error *reterr);
        void *userdata;
        int (*wait)(void *userdata, int fd, int timeout_ms); /* NULL: this side waits for nothing */
} ColdPipe;

/* -EBADMSG: no such type, or longer than one of it may be. */
int cold_frame_parse(const uint8_t header[static COLD_HEADER], ColdFrame *ret, Error *reterr);
int cold_put(const ColdPipe *pipe, const ColdFrame *frame, const void *p, Error *reterr);
/* The next frame, with what follows its header in *ret_data (which is emptied first). */
int cold_get(const ColdPipe *pipe, ColdFrame *ret, Buf *ret_data, Error *reterr);

/* Where the data of a file is that comes next, and where it ends: both are its size if there is
 * none. A device, and a file system that knows no holes, has data only. Negative errno. */
int cold_next_data(int fd, uint64_t at, uint64_t size, uint64_t *ret_from, uint64_t *ret_to);

/* Holes, and pieces of nothing but zeroes, are not sent. `fd` is a file or block device of `size`
 * bytes. `moved` (may be NULL) is told of the bytes of each piece. */
typedef void (*ColdMoved)(void *userdata, uint64_t n);
int cold_send_file(const ColdPipe *pipe, int fd, const char *path, uint64_t which, uint64_t size,
                   ColdMoved moved, void *userdata, Error *reterr);
/* Into `fd`, an empty file, which then has the size that the other side says: from min to max.
 * -EBADMSG: it is not what was sent. */
int cold_receive_file(const ColdPipe *pipe, int fd, const char *path, uint64_t which, uint64_t min,
                      uint64_t max, Error *reterr);
