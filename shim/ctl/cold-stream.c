/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/cold-stream.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "hostdev/image/digest.h"

#define HASH_LEN (DIGEST_HEX_SIZE - 1U)

static void put_number(uint8_t *p, uint64_t v, size_t n) {
        for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_number(const uint8_t *p, size_t n) {
        uint64_t v = 0;

        for (size_t i = n; i-- > 0;)
                v = v << 8 | p[i];
        return v;
}

int cold_frame_parse(const uint8_t header[static COLD_HEADER], ColdFrame *ret, Error *reterr) {
        static const struct {
                ColdType type;
                uint32_t min, max;
        } types[] = {
                { COLD_JSON, 2, COLD_JSON_MAX },
                { COLD_FILE, 8, 8 },
                { COLD_DATA, 1, COLD_DATA_MAX },
                { COLD_END, HASH_LEN, HASH_LEN },
                { COLD_BLOCK, SHA256_DIGEST_SIZE, SHA256_DIGEST_SIZE },
                { COLD_ZEROES, 8, 8 },
        };
        ColdFrame f = { .len = (uint32_t)get_number(header + 4, 4),
                        .number = get_number(header + 8, 8) };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (header[0] == types[i].type && get_number(header + 1, 3) == 0 &&
                    f.len >= types[i].min && f.len <= types[i].max) {
                        f.type = types[i].type;
                        *ret = f;
                        return 0;
                }
        return error_setf(reterr, -EBADMSG,
                          "what comes is not podferry's (type %u, %" PRIu32 " bytes)", header[0],
                          f.len);
}

int cold_put(const ColdPipe *pipe, const ColdFrame *frame, const void *p, Error *reterr) {
        uint8_t header[COLD_HEADER] = { (uint8_t)frame->type };
        int r;

        put_number(header + 4, frame->len, 4);
        put_number(header + 8, frame->number, 8);
        r = pipe->write(pipe->userdata, header, sizeof(header), reterr);
        return r < 0 ? r : pipe->write(pipe->userdata, p, frame->len, reterr);
}

int cold_get(const ColdPipe *pipe, ColdFrame *ret, Buf *ret_data, Error *reterr) {
        uint8_t header[COLD_HEADER];
        int r;

        r = pipe->read(pipe->userdata, header, sizeof(header), reterr);
        if (r == 0)
                r = cold_frame_parse(header, ret, reterr);
        if (r < 0)
                return r;
        buf_consume(ret_data, ret_data->len);
        if (buf_reserve(ret_data, ret->len) < 0)
                return error_oom(reterr);
        r = pipe->read(pipe->userdata, ret_data->data, ret->len, reterr);
        if (r == 0)
                ret_data->len = ret->len;
        return r;
}

/* -- a file -- */

static void hash_piece(Digest *d, uint64_t at, const void *p, size_t n) {
        digest_add_number(d, at);
        digest_add_string(d, p, n);
}

int cold_next_data(int fd, uint64_t at, uint64_t size, uint64_t *ret_from, uint64_t *ret_to) {
        off_t from = lseek(fd, (off_t)at, SEEK_DATA), to;

        *ret_from = *ret_to = size;
        if (from < 0 && errno == ENXIO)
                return 0;
        if (from < 0 && errno == EINVAL) {
                *ret_from = at;
                return 0;
        }
        if (from < 0)
                return -errno;
        to = lseek(fd, from, SEEK_HOLE);
        if (to < 0)
                return -errno;
        *ret_from = MIN_OF((uint64_t)from, size);
        *ret_to = MIN_OF((uint64_t)to, size);
        return 0;
}

static int read_piece(int fd, const char *path, void *p, size_t n, uint64_t at, Error *reterr) {
        for (size_t done = 0; done < n;) {
                ssize_t k = pread(fd, (uint8_t *)p + done, n - done, (off_t)(at + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return error_setf(reterr, -errno, "%s: %m", path);
                if (k == 0)
                        return error_setf(reterr, -EBUSY, "%s: it became shorter meanwhile", path);
                done += (size_t)k;
        }
        return 0;
}

static bool is_zero(const uint8_t *p, size_t n) {
        return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int send_extent(const ColdPipe *pipe, int fd, const char *path, uint64_t from, uint64_t to,
                       uint8_t *piece, Digest *d, ColdMoved moved, void *userdata, Error *reterr) {
        while (from < to) {
                size_t n = (size_t)MIN_OF(to - from, (uint64_t)COLD_DATA_MAX);
                int r = read_piece(fd, path, piece, n, from, reterr);

                if (r == 0 && !is_zero(piece, n)) {
                        hash_piece(d, from, piece, n);
                        r = cold_put(pipe, &(ColdFrame){ COLD_DATA, (uint32_t)n, from }, piece,
                                     reterr);
                }
                if (r < 0)
                        return r;
                if (moved)
                        moved(userdata, n);
                from += n;
        }
        return 0;
}

int cold_send_file(const ColdPipe *pipe, int fd, const char *path, uint64_t which, uint64_t size,
                   ColdMoved moved, void *userdata, Error *reterr) {
        _cleanup_free_ uint8_t *piece = malloc(COLD_DATA_MAX);
        char hash[DIGEST_HEX_SIZE];
        uint8_t n[8];
        Digest d;
        int r;

        if (!piece)
                return error_oom(reterr);
        put_number(n, size, sizeof(n));
        digest_init(&d);
        r = cold_put(pipe, &(ColdFrame){ COLD_FILE, sizeof(n), which }, n, reterr);
        for (uint64_t at = 0, from, to; r == 0 && at < size; at = to) {
                r = cold_next_data(fd, at, size, &from, &to);
                if (r < 0)
                        return error_setf(reterr, r, "%s: %s", path, strerrordesc_np(-r));
                r = send_extent(pipe, fd, path, from, to, piece, &d, moved, userdata, reterr);
        }
        if (r < 0)
                return r;
        digest_hex(&d, hash);
        return cold_put(pipe, &(ColdFrame){ COLD_END, HASH_LEN, size }, hash, reterr);
}

static int write_piece(int fd, const char *path, const Buf *data, uint64_t at, Error *reterr) {
        for (size_t done = 0; done < data->len;) {
                ssize_t k = pwrite(fd, data->data + done, data->len - done, (off_t)(at + done));

                if (k < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "%s: %m", path);
                done += k > 0 ? (size_t)k : 0;
        }
        return 0;
}

static int take_begin(const ColdPipe *pipe, const char *path, uint64_t which, uint64_t min,
                      uint64_t max, Buf *data, uint64_t *ret_size, Error *reterr) {
        ColdFrame f;
        int r = cold_get(pipe, &f, data, reterr);

        if (r < 0)
                return r;
        if (f.type != COLD_FILE || f.number != which)
                return error_setf(reterr, -EBADMSG, "%s: another file came", path);
        *ret_size = get_number(data->data, 8);
        return *ret_size >= min && *ret_size <= max
                       ? 0
                       : error_setf(reterr, -EBADMSG, "%s: %" PRIu64 " bytes are not what it has",
                                    path, *ret_size);
}

int cold_receive_file(const ColdPipe *pipe, int fd, const char *path, uint64_t which, uint64_t min,
                      uint64_t max, Error *reterr) {
        uint64_t size = 0, end = 0;
        char hash[DIGEST_HEX_SIZE];
        _cleanup_buf_ Buf data = {};
        ColdFrame f;
        Digest d;
        int r;

        r = take_begin(pipe, path, which, min, max, &data, &size, reterr);
        if (r < 0)
                return r;
        digest_init(&d);
        while ((r = cold_get(pipe, &f, &data, reterr)) == 0 && f.type == COLD_DATA) {
                if (f.number < end || f.number > size || f.len > size - f.number)
                        return error_setf(reterr, -EBADMSG, "%s: data where none can be", path);
                end = f.number + f.len;
                hash_piece(&d, f.number, data.data, data.len);
                r = write_piece(fd, path, &data, f.number, reterr);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        digest_hex(&d, hash);
        if (f.type != COLD_END || f.number != size || memcmp(data.data, hash, HASH_LEN) != 0)
                return error_setf(reterr, -EBADMSG, "%s: what arrived is not what was sent", path);
        if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        return 0;
}
