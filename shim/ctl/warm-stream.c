/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/warm-stream.h"

#include <assert.h>
#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "hostdev/image/digest.h"

#define HASH_LEN (DIGEST_HEX_SIZE - 1U)

static const uint8_t no_digest[WARM_DIGEST];

/* -- tables -- */

uint64_t warm_block_size(uint64_t bytes) {
        uint64_t block = WARM_BLOCK_MIN;

        while (block < WARM_BLOCK_MAX && bytes / block > WARM_BLOCKS)
                block *= 2;
        return block;
}

int warm_tables_new(uint64_t block, size_t n_files, WarmTables **ret, Error *reterr) {
        WarmTables *t;

        if (block < WARM_BLOCK_MIN || block > WARM_BLOCK_MAX || (block & (block - 1)) != 0)
                return error_setf(reterr, -EBADMSG, "blocks of %" PRIu64 " bytes", block);
        t = calloc(1, sizeof(*t) + n_files * sizeof(t->files[0]));
        if (!t)
                return error_oom(reterr);
        t->block = block;
        t->n_files = n_files;
        *ret = t;
        return 0;
}

WarmTables *warm_tables_free(WarmTables *t) {
        for (size_t i = 0; t && i < t->n_files; i++)
                free(t->files[i].digests);
        free(t);
        return NULL;
}

static uint8_t *digest_at(const WarmTable *t, size_t i) {
        return t->digests + i * WARM_DIGEST;
}

static bool is_hole(const WarmTable *t, size_t i) {
        return memcmp(digest_at(t, i), no_digest, WARM_DIGEST) == 0;
}

/* What it grows by is zeroes, as in the file. A block that was the last one, and now has another
 * length, has another digest. */
static int resize(WarmTables *all, size_t which, const char *path, uint64_t size, Error *reterr) {
        WarmTable *t = &all->files[which];
        uint64_t n = size / all->block + (size % all->block > 0);
        size_t others = all->n_blocks - t->n;
        uint8_t *digests;

        t->size = size;
        if (n == t->n && t->digests)
                return 0;
        if (n > WARM_BLOCKS_MAX - others)
                return error_setf(reterr, -EFBIG,
                                  "%s: %" PRIu64 " bytes are too many to be compared in blocks of "
                                  "%" PRIu64 ": move it with --type cold",
                                  path, size, all->block);
        /* not realloc(): untouched pages, of a large file with little in it, take no memory */
        digests = calloc((size_t)n + 1, WARM_DIGEST);
        if (!digests)
                return error_oom(reterr);
        if (t->digests)
                memcpy(digests, t->digests, MIN_OF((size_t)n, t->n) * WARM_DIGEST);
        free(t->digests);
        t->digests = digests;
        all->n_blocks = others + (size_t)n;
        t->n = (size_t)n;
        return 0;
}

static void hash_table(const WarmTables *all, const WarmTable *t,
                       char ret[static DIGEST_HEX_SIZE]) {
        Digest d;

        digest_init(&d);
        digest_add_number(&d, all->block);
        digest_add_number(&d, t->size);
        digest_add(&d, t->digests, t->n * WARM_DIGEST);
        digest_hex(&d, ret);
}

static bool is_zero(const uint8_t *p, size_t n) {
        return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int put_with_number(const ColdPipe *pipe, ColdType type, uint64_t number, uint64_t value,
                           Error *reterr) {
        uint64_t le = htole64(value);

        return cold_put(pipe, &(ColdFrame){ type, sizeof(le), number }, &le, reterr);
}

static uint64_t number_in(const Buf *data) {
        uint64_t le;

        assert(data->len == sizeof(le)); /* cold_frame_parse() */
        memcpy(&le, data->data, sizeof(le));
        return le64toh(le);
}

/* -- sending -- */

typedef struct Sender {
        WarmPass *pass;
        WarmTable *table;
        int fd;
        const char *path;
        uint8_t *buffer;           /* of one block */
        uint64_t data_at, data_to; /* the data that comes next, as it was when it was looked for */
        uint64_t zero_at, zero_to; /* blocks that have become zeroes, not sent yet */
} Sender;

/* All of it at once: what is hashed is what is sent, whatever is written meanwhile. */
static int read_block(Sender *s, uint64_t at, size_t n, Error *reterr) {
        for (size_t done = 0; done < n;) {
                ssize_t k = pread(s->fd, s->buffer + done, n - done, (off_t)(at + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return error_setf(reterr, -errno, "%s: %m", s->path);
                if (k == 0 && !s->pass->moving)
                        return error_setf(reterr, -EBUSY, "%s: it became shorter meanwhile",
                                          s->path);
                if (k == 0) {
                        memset(s->buffer + done, 0, n - done);
                        break;
                }
                done += (size_t)k;
        }
        return 0;
}

static int flush_zeroes(Sender *s, Error *reterr) {
        uint64_t at = s->zero_at, n = s->zero_to - s->zero_at;

        s->zero_at = s->zero_to = 0;
        return n > 0 ? put_with_number(s->pass->pipe, COLD_ZEROES, at, n, reterr) : 0;
}

static int send_zeroes(Sender *s, size_t i, uint64_t at, size_t n, Error *reterr) {
        int r = 0;

        if (is_hole(s->table, i))
                return 0;
        memcpy(digest_at(s->table, i), no_digest, WARM_DIGEST);
        if (s->zero_to != at || s->zero_to == s->zero_at) {
                r = flush_zeroes(s, reterr);
                s->zero_at = at;
        }
        s->zero_to = at + n;
        return r;
}

static int send_block(Sender *s, size_t i, uint64_t at, size_t n, Error *reterr) {
        const ColdPipe *pipe = s->pass->pipe;
        uint8_t digest[WARM_DIGEST];
        Digest d;
        int r;

        digest_init(&d);
        digest_add(&d, s->buffer, n);
        digest_raw(&d, digest);
        if (memcmp(digest, digest_at(s->table, i), WARM_DIGEST) == 0)
                return 0;
        memcpy(digest_at(s->table, i), digest, WARM_DIGEST);
        r = flush_zeroes(s, reterr);
        if (r == 0)
                r = cold_put(pipe, &(ColdFrame){ COLD_BLOCK, WARM_DIGEST, at }, digest, reterr);
        for (size_t k = 0, part; r == 0 && k < n; k += part) {
                part = MIN_OF(n - k, (size_t)COLD_DATA_MAX);
                if (!is_zero(s->buffer + k, part))
                        r = cold_put(pipe, &(ColdFrame){ COLD_DATA, (uint32_t)part, at + k },
                                     s->buffer + k, reterr);
        }
        s->pass->sent += n;
        return r;
}

static int look_at_block(Sender *s, size_t i, uint64_t at, size_t n, Error *reterr) {
        int r = 0;

        if (at >= s->data_to) {
                r = cold_next_data(s->fd, at, s->table->size, &s->data_at, &s->data_to);
                if (r < 0)
                        return error_setf(reterr, r, "%s: %s", s->path, strerrordesc_np(-r));
        }
        /* No data begins before it, or in it. */
        if (s->data_at >= at + n)
                return send_zeroes(s, i, at, n, reterr);
        r = read_block(s, at, n, reterr);
        if (r == 0)
                r = is_zero(s->buffer, n) ? send_zeroes(s, i, at, n, reterr)
                                          : send_block(s, i, at, n, reterr);
        return r < 0 ? r : s->pass->look ? s->pass->look(s->pass->userdata, n, reterr) : 0;
}

int warm_send_file(WarmPass *p, int fd, const char *path, size_t which, uint64_t size,
                   Error *reterr) {
        const uint64_t block = p->tables->block;
        _cleanup_free_ uint8_t *buffer = malloc(block);
        WarmTable *t = &p->tables->files[which];
        Sender s = { .pass = p, .table = t, .fd = fd, .path = path, .buffer = buffer };
        char hash[DIGEST_HEX_SIZE];
        int r;

        assert(which < p->tables->n_files);
        if (!buffer)
                return error_oom(reterr);
        r = resize(p->tables, which, path, size, reterr);
        if (r == 0)
                r = put_with_number(p->pipe, COLD_FILE, which, size, reterr);
        for (size_t i = 0; r == 0 && i < t->n; i++)
                r = look_at_block(&s, i, i * block, (size_t)MIN_OF(block, size - i * block),
                                  reterr);
        if (r >= 0)
                r = flush_zeroes(&s, reterr);
        if (r < 0)
                return r;
        hash_table(p->tables, t, hash);
        return cold_put(p->pipe, &(ColdFrame){ COLD_END, HASH_LEN, size }, hash, reterr);
}

/* -- receiving -- */

typedef struct Receiver {
        const ColdPipe *pipe;
        WarmTables *tables;
        WarmTable *table;
        int fd;
        const char *path;
        uint64_t end;  /* of what was spoken of so far */
        bool open;     /* a block is under way: */
        size_t index;  /* which */
        uint64_t at;   /* up to where it is there */
        uint64_t to;   /* its end */
        bool had_data; /* in the file, before */
        uint8_t wanted[WARM_DIGEST];
        Digest hash;
} Receiver;

static int write_at(const Receiver *c, uint64_t at, const uint8_t *p, size_t n, Error *reterr) {
        for (size_t done = 0; done < n;) {
                ssize_t k = pwrite(c->fd, p + done, n - done, (off_t)(at + done));

                if (k < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "%s: %m", c->path);
                done += k > 0 ? (size_t)k : 0;
        }
        return 0;
}

static const uint8_t zeroes[COLD_DATA_MAX];

/* A file system that makes no holes gets zeroes. */
static int clear(const Receiver *c, uint64_t at, uint64_t n, Error *reterr) {
        int r = 0;

        if (n == 0 ||
            fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n) == 0)
                return 0;
        if (errno != EOPNOTSUPP)
                return error_setf(reterr, -errno, "%s: %m", c->path);
        for (uint64_t done = 0, part; r == 0 && done < n; done += part) {
                part = MIN_OF(n - done, (uint64_t)sizeof(zeroes));
                r = write_at(c, at + done, zeroes, (size_t)part, reterr);
        }
        return r;
}

#define UNIT 4096U /* what a file system can have as a hole */

/* What is zeroes in it becomes, or stays, a hole. */
static int write_sparse(const Receiver *c, uint64_t at, const uint8_t *p, size_t n, Error *reterr) {
        for (size_t from = 0, to; from < n; from = to) {
                bool zero = is_zero(p + from, MIN_OF(n - from, UNIT));
                int r = 0;

                for (to = MIN_OF(n, from + UNIT);
                     to < n && is_zero(p + to, MIN_OF(n - to, UNIT)) == zero;)
                        to = MIN_OF(n, to + UNIT);
                if (!zero)
                        r = write_at(c, at + from, p + from, to - from, reterr);
                else if (c->had_data)
                        r = clear(c, at + from, to - from, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int odd(const Receiver *c, Error *reterr) {
        return error_setf(reterr, -EBADMSG, "%s: data where none can be", c->path);
}

/* The block is zeroes up to there. */
static int skip_to(Receiver *c, uint64_t at, Error *reterr) {
        uint64_t from = c->at;

        for (uint64_t part; c->at < at; c->at += part) {
                part = MIN_OF(at - c->at, (uint64_t)sizeof(zeroes));
                digest_add(&c->hash, zeroes, (size_t)part);
        }
        return c->had_data ? clear(c, from, at - from, reterr) : 0;
}

static int close_block(Receiver *c, Error *reterr) {
        uint8_t digest[WARM_DIGEST];
        int r;

        if (!c->open)
                return 0;
        r = skip_to(c, c->to, reterr);
        if (r < 0)
                return r;
        c->open = false;
        digest_raw(&c->hash, digest);
        if (memcmp(digest, c->wanted, sizeof(digest)) != 0)
                return error_setf(reterr, -EBADMSG, "%s: what arrived is not what was sent",
                                  c->path);
        memcpy(digest_at(c->table, c->index), digest, sizeof(digest));
        return 0;
}

static int take_block(Receiver *c, const ColdFrame *f, const Buf *data, Error *reterr) {
        uint64_t block = c->tables->block;

        if (f->number < c->end || f->number >= c->table->size || f->number % block != 0)
                return odd(c, reterr);
        c->open = true;
        c->index = (size_t)(f->number / block);
        c->at = f->number;
        c->to = c->end = MIN_OF(f->number + block, c->table->size);
        c->had_data = !is_hole(c->table, c->index);
        memcpy(c->wanted, data->data, WARM_DIGEST);
        digest_init(&c->hash);
        return 0;
}

static int take_data(Receiver *c, const ColdFrame *f, const Buf *data, Error *reterr) {
        int r;

        if (!c->open || f->number < c->at || f->number > c->to || f->len > c->to - f->number)
                return odd(c, reterr);
        r = skip_to(c, f->number, reterr);
        if (r < 0)
                return r;
        digest_add(&c->hash, data->data, data->len);
        c->at += data->len;
        return write_sparse(c, f->number, data->data, data->len, reterr);
}

static int take_zeroes(Receiver *c, const ColdFrame *f, const Buf *data, Error *reterr) {
        uint64_t n = number_in(data), block = c->tables->block, size = c->table->size;

        if (f->number < c->end || f->number >= size || f->number % block != 0 || n == 0 ||
            n > size - f->number || (n % block != 0 && n != size - f->number))
                return odd(c, reterr);
        c->end = f->number + n;
        for (uint64_t i = f->number / block; i * block < c->end; i++)
                memcpy(digest_at(c->table, (size_t)i), no_digest, WARM_DIGEST);
        return clear(c, f->number, n, reterr);
}

static int take_begin(Receiver *c, size_t which, uint64_t min, uint64_t max, Buf *data,
                      Error *reterr) {
        uint64_t size;
        ColdFrame f;
        int r = cold_get(c->pipe, &f, data, reterr);

        if (r < 0)
                return r;
        if (f.type != COLD_FILE || f.number != which)
                return error_setf(reterr, -EBADMSG, "%s: another file came", c->path);
        size = number_in(data);
        if (size < min || size > max)
                return error_setf(reterr, -EBADMSG, "%s: %" PRIu64 " bytes are not what it has",
                                  c->path, size);
        r = resize(c->tables, which, c->path, size, reterr);
        if (r == 0 && ftruncate(c->fd, (off_t)size) < 0)
                r = error_setf(reterr, -errno, "%s: %m", c->path);
        return r;
}

static int take_frames(Receiver *c, Buf *data, ColdFrame *f, Error *reterr) {
        for (;;) {
                int r = cold_get(c->pipe, f, data, reterr);

                if (r == 0 && f->type != COLD_DATA)
                        r = close_block(c, reterr);
                if (r < 0)
                        return r;
                if (f->type == COLD_BLOCK)
                        r = take_block(c, f, data, reterr);
                else if (f->type == COLD_DATA)
                        r = take_data(c, f, data, reterr);
                else if (f->type == COLD_ZEROES)
                        r = take_zeroes(c, f, data, reterr);
                else
                        return 0;
                if (r < 0)
                        return r;
        }
}

int warm_receive_file(const ColdPipe *pipe, WarmTables *tables, int fd, const char *path,
                      size_t which, uint64_t min, uint64_t max, Error *reterr) {
        Receiver c = { .pipe = pipe,
                       .tables = tables,
                       .table = &tables->files[which],
                       .fd = fd,
                       .path = path };
        char hash[DIGEST_HEX_SIZE];
        _cleanup_buf_ Buf data = {};
        ColdFrame f;
        int r;

        assert(which < tables->n_files);
        r = take_begin(&c, which, min, max, &data, reterr);
        if (r == 0)
                r = take_frames(&c, &data, &f, reterr);
        if (r < 0)
                return r;
        hash_table(tables, c.table, hash);
        if (f.type != COLD_END || f.number != c.table->size ||
            memcmp(data.data, hash, HASH_LEN) != 0)
                return error_setf(reterr, -EBADMSG, "%s: what arrived is not what was sent", path);
        return fsync(fd) < 0 ? error_setf(reterr, -errno, "%s: %m", path) : 0;
}
