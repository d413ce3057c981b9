/* SPDX-License-Identifier: Apache-2.0 */
/* Passes of a warm move: after each the copy is the file, whatever became of it in between; a
 * stream that was cut off, damaged, or made up is refused.
 * rows: F57 F58 F97 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/directory.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/json.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/rundir.h"

#define BLOCK WARM_BLOCK_MIN

static char *top, *state_dir, *run_dir, *state; /* <top>/lib, <top>/run, <top>/lib/pods/q */
static Ctl ctl;

static int set_up(void **unused) {
        const char *tmp = getenv("TMPDIR") ?: "/tmp";

        if (asprintf(&top, "%s/warm.XXXXXX", tmp) < 0 || !mkdtemp(top) ||
            asprintf(&state_dir, "%s/lib", top) < 0 || asprintf(&run_dir, "%s/run", top) < 0 ||
            asprintf(&state, "%s/pods/q", state_dir) < 0)
                return -1;
        ctl = (Ctl){ .config = { .run_dir = run_dir,
                                 .state_dir = state_dir,
                                 .backing_dir = (char[]){ "" } } };
        return 0;
}

static int tear_down(void **unused) {
        directory_remove(top);
        free(top);
        free(state_dir);
        free(run_dir);
        free(state);
        return 0;
}

static int make_file(const char *name) {
        _cleanup_free_ char *path = NULL;
        int fd;

        assert_true(asprintf(&path, "%s/%s", top, name) > 0);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        return fd;
}

/* -- a stream in memory, a file at each of its ends -- */

typedef struct Ends {
        Buf in, out;
        size_t at;
        int from, to;
        WarmTables *sent, *arrived;
        uint64_t size; /* of the file `from` */
        int (*look)(void *userdata, uint64_t n, Error *reterr);
        bool moving;
        unsigned looks;
        uint64_t n_sent; /* in the last pass */
} Ends;

static int read_memory(void *userdata, void *p, size_t n, Error *reterr) {
        Ends *e = userdata;

        if (e->at == e->in.len)
                return error_setf(reterr, -ENODATA, "the end");
        if (e->in.len - e->at < n)
                return error_setf(reterr, -ECONNRESET, "cut off");
        memcpy(p, e->in.data + e->at, n);
        e->at += n;
        return 0;
}

static int write_memory(void *userdata, const void *p, size_t n, Error *reterr) {
        Ends *e = userdata;

        return buf_append(&e->out, p, n) < 0 ? error_oom(reterr) : 0;
}

static ColdPipe pipe_of(Ends *e) {
        return (ColdPipe){ read_memory, write_memory, e };
}

static void ends_init(Ends *e, uint64_t size) {
        *e = (Ends){ .from = make_file("source"), .to = make_file("copy"), .size = size };
        assert_int_equal(ftruncate(e->from, (off_t)size), 0);
        assert_int_equal(warm_tables_new(BLOCK, 1, &e->sent, NULL), 0);
        assert_int_equal(warm_tables_new(BLOCK, 1, &e->arrived, NULL), 0);
}

static void ends_done(Ends *e) {
        buf_done(&e->in);
        buf_done(&e->out);
        (void)warm_tables_free(e->sent);
        (void)warm_tables_free(e->arrived);
        (void)close_fd(e->from);
        (void)close_fd(e->to);
}
#define _cleanup_ends_ _cleanup_(ends_done)

/* What was written is what is read next. */
static void turn(Ends *e) {
        buf_done(&e->in);
        e->in = e->out;
        e->out = (Buf){};
        e->at = 0;
}

static int send_pass(Ends *e) {
        ColdPipe pipe = pipe_of(e);
        WarmPass pass = { .pipe = &pipe,
                          .tables = e->sent,
                          .moving = e->moving,
                          .look = e->look,
                          .userdata = e };
        int r = warm_send_file(&pass, e->from, "source", 0, e->size, NULL);

        e->n_sent = pass.sent;
        turn(e);
        return r;
}

static int take_pass(Ends *e) {
        ColdPipe pipe = pipe_of(e);

        return warm_receive_file(&pipe, e->arrived, e->to, "copy", 0, 0, 1ULL << 40, NULL);
}

static bool same_content(Ends *e) {
        static uint8_t x[BLOCK], y[BLOCK];
        struct stat st;

        if (fstat(e->to, &st) < 0 || (uint64_t)st.st_size != e->size)
                return false;
        for (uint64_t at = 0; at < e->size; at += BLOCK) {
                ssize_t n = pread(e->from, x, BLOCK, (off_t)at);

                if (n <= 0 || pread(e->to, y, BLOCK, (off_t)at) != n ||
                    memcmp(x, y, (size_t)n) != 0)
                        return false;
        }
        return true;
}

static void pass(Ends *e) {
        assert_int_equal(send_pass(e), 0);
        assert_int_equal(take_pass(e), 0);
        assert_int_equal(e->at, e->in.len);
        assert_true(same_content(e));
}

static void put_at(const Ends *e, uint64_t at, const char *text) {
        assert_int_equal(pwrite(e->from, text, strlen(text), (off_t)at), strlen(text));
}

static void punch(const Ends *e, uint64_t at, uint64_t n) {
        assert_int_equal(
                fallocate(e->from, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n),
                0);
}

static uint64_t allocated(int fd) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

/* -- passes -- */

static void test_only_changes(void **unused) {
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 40 * BLOCK);
        for (unsigned i = 0; i < 40; i += 2)
                put_at(&e, i * BLOCK + 100, "data");
        pass(&e);
        assert_int_equal(e.n_sent, 20 * BLOCK);
        pass(&e);
        assert_int_equal(e.n_sent, 0); /* nothing changed */
        assert_true(e.in.len < 200);
        put_at(&e, 4 * BLOCK + 100, "date");
        put_at(&e, 7 * BLOCK, "new");
        pass(&e);
        assert_int_equal(e.n_sent, 2 * BLOCK);
}

static void test_zeroed(void **unused) {
        static uint8_t zeroes[BLOCK];
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 40 * BLOCK);
        for (unsigned i = 0; i < 40; i++)
                put_at(&e, i * BLOCK, "data");
        pass(&e);
        for (unsigned i = 10; i < 20; i++)
                assert_int_equal(pwrite(e.from, zeroes, BLOCK, (off_t)(i * BLOCK)), BLOCK);
        punch(&e, 20 * BLOCK, 10 * BLOCK);
        punch(&e, 39 * BLOCK, BLOCK);
        pass(&e);
        assert_int_equal(e.n_sent, 0);
        assert_true(e.in.len < 300);              /* one word for all that is in a row */
        assert_true(allocated(e.to) < 40 * 4096); /* and what the file system needs itself */
        put_at(&e, 25 * BLOCK, "again");
        pass(&e);
        assert_int_equal(e.n_sent, BLOCK);
}

/* A part of a block that becomes zeroes does so over there, too. */
static void test_sparse(void **unused) {
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 2 * BLOCK);
        put_at(&e, 0, "begin");
        put_at(&e, BLOCK - 8, "end");
        pass(&e);
        assert_true(allocated(e.to) < BLOCK);
        punch(&e, 0, 4096);
        put_at(&e, 5 * 4096, "middle");
        pass(&e);
        assert_true(allocated(e.to) < BLOCK);
}

static void resize_to(Ends *e, uint64_t size) {
        e->size = size;
        assert_int_equal(ftruncate(e->from, (off_t)size), 0);
}

static void test_sizes(void **unused) {
        static const uint64_t sizes[] = { BLOCK - 1, BLOCK,         BLOCK + 1, 3 * BLOCK - 7,
                                          100,       2 * BLOCK + 1, BLOCK,     0,
                                          5,         7 * BLOCK };
        _cleanup_ends_ Ends e = {};

        ends_init(&e, BLOCK / 2);
        put_at(&e, 7, "data");
        pass(&e);
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                resize_to(&e, sizes[i]);
                pass(&e); /* zeroes, or less */
                if (sizes[i] > 4) {
                        put_at(&e, sizes[i] - 4, "last");
                        pass(&e);
                        assert_true(e.n_sent > 0);
                }
        }
}

/* Whatever happens in between, in any order. */
static void test_random(void **unused) {
        static uint8_t data[3 * BLOCK];
        uint64_t x = 88172645463325252ULL;
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 20 * BLOCK);
        for (unsigned i = 0; i < 300; i++) {
                uint64_t at, n;

                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                at = (x >> 8) % e.size, n = MIN_OF((x >> 40) % sizeof(data) + 1, e.size - at);
                memset(data, (int)(x & 0x7f), (size_t)n);
                if (x % 11 == 0)
                        resize_to(&e, (x >> 20) % (20 * BLOCK) + 1);
                else if (x % 3 == 0)
                        punch(&e, at, n);
                else
                        assert_int_equal(pwrite(e.from, data, (size_t)n, (off_t)at), n);
                if (i % 3 == 0)
                        pass(&e);
        }
        pass(&e);
}

/* -- a pod that writes meanwhile -- */

static int enough_after_three(void *userdata, uint64_t n, Error *reterr) {
        Ends *e = userdata;

        return ++e->looks >= 3;
}

static int cancelled(void *userdata, uint64_t n, Error *reterr) {
        return error_setf(reterr, -ECANCELED, "interrupted");
}

static void test_cut_short(void **unused) {
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 10 * BLOCK);
        for (unsigned i = 0; i < 10; i++)
                put_at(&e, i * BLOCK, "data");
        e.look = enough_after_three;
        assert_int_equal(send_pass(&e), 0);
        assert_int_equal(e.n_sent, 3 * BLOCK);
        assert_int_equal(take_pass(&e), 0);
        assert_false(same_content(&e));
        e.look = NULL;
        pass(&e); /* the rest */
        assert_int_equal(e.n_sent, 7 * BLOCK);
        put_at(&e, 0, "date");
        e.look = cancelled;
        assert_int_equal(send_pass(&e), -ECANCELED);
}

/* Between the block that is read and the next one. */
static int write_between(void *userdata, uint64_t n, Error *reterr) {
        Ends *e = userdata;
        char text[16];

        (void)snprintf(text, sizeof(text), "%u", ++e->looks);
        put_at(e, 0, text);
        put_at(e, 9 * BLOCK, text);
        return 0;
}

static void test_moving(void **unused) {
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 10 * BLOCK);
        for (unsigned i = 0; i < 10; i++)
                put_at(&e, i * BLOCK, "data");
        e.look = write_between;
        e.moving = true;
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(send_pass(&e), 0);
                assert_int_equal(take_pass(&e), 0);
                assert_false(same_content(&e));
        }
        e.look = NULL;
        e.moving = false;
        pass(&e); /* it rests */
        assert_true(e.n_sent <= 2 * BLOCK);
}

static int shorten(void *userdata, uint64_t n, Error *reterr) {
        Ends *e = userdata;

        assert_int_equal(ftruncate(e->from, 3 * BLOCK / 2), 0);
        return 0;
}

static void test_shorter(void **unused) {
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 2 * BLOCK);
        put_at(&e, 0, "data");
        put_at(&e, BLOCK, "data");
        e.look = shorten;
        e.moving = true;
        assert_int_equal(send_pass(&e), 0); /* an image may become so */
        assert_int_equal(take_pass(&e), 0);
        resize_to(&e, 2 * BLOCK);
        put_at(&e, 0, "date");
        put_at(&e, BLOCK, "date");
        e.moving = false;
        assert_int_equal(send_pass(&e), -EBUSY); /* but at rest it is what it was */
}

/* -- what is not of ours -- */

/* A second pass with each word in it: a changed block, and one that has become zeroes. */
static void make_second(Ends *e) {
        ends_init(e, 2 * BLOCK + 10);
        put_at(e, BLOCK, "data");
        put_at(e, 2 * BLOCK, "some bytes");
        pass(e);
        punch(e, BLOCK, BLOCK);
        put_at(e, 2 * BLOCK, "other byte");
        assert_int_equal(send_pass(e), 0);
}

static void test_truncated(void **unused) {
        size_t n = 1;

        for (size_t k = 0; k < n; k++) {
                _cleanup_ends_ Ends e = {};

                make_second(&e);
                n = e.in.len;
                e.in.len = k;
                assert_true(take_pass(&e) < 0);
        }
        assert_int_equal(n, 16 + 8 + 16 + 8 + 16 + 32 + 16 + 10 + 16 + 64);
}

static void test_damaged(void **unused) {
        size_t n = 1;

        for (size_t k = 0; k < n; k++)
                for (unsigned bit = 0; bit < 8; bit++) {
                        _cleanup_ends_ Ends e = {};

                        make_second(&e);
                        n = e.in.len;
                        e.in.data[k] ^= (uint8_t)(1U << bit);
                        if (take_pass(&e) == 0)
                                fail_msg("byte %zu, bit %u", k, bit);
                }
}

static void put(Ends *e, ColdType type, uint64_t number, const void *p, size_t n) {
        ColdPipe pipe = pipe_of(e);

        assert_int_equal(cold_put(&pipe, &(ColdFrame){ type, (uint32_t)n, number }, p, NULL), 0);
}

static void put_number(Ends *e, ColdType type, uint64_t number, uint64_t value) {
        uint8_t le[8];

        for (unsigned i = 0; i < 8; i++)
                le[i] = (uint8_t)(value >> (8 * i));
        put(e, type, number, le, sizeof(le));
}

/* A file of three blocks and a half; "B" and so on are the words, with where and how much. */
typedef struct Odd {
        const char *name;
        struct {
                char type;
                uint64_t number, value;
        } words[4];
} Odd;

static const Odd odd[] = {
        { "a block in a block", { { 'B', 1, 0 } } },
        { "a block behind the end", { { 'B', 4 * BLOCK, 0 } } },
        { "a block far behind it", { { 'B', UINT64_MAX - BLOCK + 1, 0 } } },
        { "a block twice", { { 'B', BLOCK, 0 }, { 'B', BLOCK, 0 } } },
        { "a block backwards", { { 'Z', BLOCK, BLOCK }, { 'B', 0, 0 } } },
        { "a block that is another", { { 'B', 0, 0 }, { 'D', 0, 5 }, { 'E', 7 * BLOCK / 2, 0 } } },
        { "data without a block", { { 'D', 0, 5 } } },
        { "data after zeroes", { { 'Z', 0, BLOCK }, { 'D', 0, 5 } } },
        { "data before the block", { { 'B', BLOCK, 0 }, { 'D', BLOCK - 1, 5 } } },
        { "data over its end", { { 'B', 0, 0 }, { 'D', BLOCK - 4, 5 } } },
        { "data over the file's end", { { 'B', 3 * BLOCK, 0 }, { 'D', 7 * BLOCK / 2 - 4, 5 } } },
        { "data around", { { 'B', 0, 0 }, { 'D', UINT64_MAX, 5 } } },
        { "data backwards", { { 'B', 0, 0 }, { 'D', 9, 5 }, { 'D', 13, 5 } } },
        { "no zeroes", { { 'Z', 0, 0 } } },
        { "zeroes in a block", { { 'Z', 1, BLOCK } } },
        { "half a block of zeroes", { { 'Z', 0, BLOCK / 2 } } },
        { "zeroes over the end", { { 'Z', 0, 4 * BLOCK } } },
        { "zeroes around", { { 'Z', BLOCK, UINT64_MAX - BLOCK + 1 } } },
        { "zeroes behind the end", { { 'Z', 4 * BLOCK, BLOCK } } },
        { "zeroes backwards", { { 'Z', BLOCK, BLOCK }, { 'Z', 0, BLOCK } } },
        { "another file", { { 'F', 1, 7 * BLOCK / 2 } } },
        { "a request", { { 'J', 0, 5 } } },
        { "an end of another size", { { 'E', 4 * BLOCK, 0 } } },
        { "an end of another content", { { 'E', 7 * BLOCK / 2, 0 } } },
};

static void test_odd(void **param) {
        static const uint8_t payload[64] = "12345";
        const Odd *row = *param;
        _cleanup_ends_ Ends e = {};

        ends_init(&e, 7 * BLOCK / 2);
        put_number(&e, COLD_FILE, 0, 7 * BLOCK / 2);
        for (size_t i = 0; i < ELEMENTSOF(row->words) && row->words[i].type; i++) {
                char t = row->words[i].type;
                uint64_t number = row->words[i].number, value = row->words[i].value;

                if (t == 'Z' || t == 'F')
                        put_number(&e, (ColdType)t, number, value);
                else
                        put(&e, (ColdType)t, number, payload,
                            t == 'B'   ? WARM_DIGEST
                            : t == 'E' ? 64
                                       : (size_t)value);
        }
        turn(&e);
        assert_int_equal(take_pass(&e), -EBADMSG);
}

static void test_begin(void **unused) {
        static const struct {
                uint64_t which, size;
                int r;
        } rows[] = {
                { 1, 10, -EBADMSG },                                  /* another file */
                { 0, (1ULL << 40) + 1, -EBADMSG },                    /* above what it may have */
                { 0, BLOCK * (uint64_t)WARM_BLOCKS_MAX + 1, -EFBIG }, /* more than is compared */
                { 0, BLOCK * (uint64_t)WARM_BLOCKS_MAX, -ENODATA },   /* just not */
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_ends_ Ends e = {};
                int r;

                ends_init(&e, 0);
                put_number(&e, COLD_FILE, rows[i].which, rows[i].size);
                turn(&e);
                r = take_pass(&e);
                if (r != rows[i].r)
                        fail_msg("row %zu: %d", i, r);
        }
}

static void test_blocks(void **unused) {
        static const uint64_t wrong[] = { 0,         1,         BLOCK - 1,         BLOCK / 2,
                                          BLOCK + 1, 3 * BLOCK, WARM_BLOCK_MAX * 2 };
        WarmTables *t = NULL;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_int_equal(warm_tables_new(wrong[i], 1, &t, NULL), -EBADMSG);
        assert_int_equal(warm_block_size(0), BLOCK);
        assert_int_equal(warm_block_size(64ULL << 30), BLOCK);
        assert_int_equal(warm_block_size(65ULL << 30), 2 * BLOCK);
        assert_int_equal(warm_block_size(1ULL << 40), 1 << 20);
        assert_int_equal(warm_block_size(UINT64_MAX), WARM_BLOCK_MAX);
}

/* -- the receiver -- */

#define SCRATCH 131072U
#define OFFER                                                                                      \
        "{\"do\":\"offer\",\"pod\":\"p\",\"definition\":{\"memory_mib\":64,\"vcpus\":1,"           \
        "\"network\":\"none\",\"publish\":\"\",\"containers\":[{\"id\":\"c\",\"made\":1,"          \
        "\"spec\":\"{\\\"config\\\":{},\\\"disks\\\":[{\\\"role\\\":\\\"scratch\\\","              \
        "\\\"path\\\":\\\"/s\\\",\\\"size\\\":131072,\\\"mode\\\":\\\"copy\\\"}]}\"}]},"           \
        "\"disks\":[{\"plan\":\"copy\",\"there\":\"/s\",\"bytes\":131072,\"data\":4096}]}"
#define AHEAD "{\"do\":\"ahead\",\"block\":65536}"
#define FILES "{\"do\":\"files\",\"logs\":[\"c.log\"]}"

static void ask(Ends *e, const char *text) {
        put(e, COLD_JSON, 0, text, strlen(text));
}

static void put_disk(Ends *e) {
        ColdPipe pipe = pipe_of(e);
        WarmPass pass = { .pipe = &pipe, .tables = e->sent };

        assert_int_equal(warm_send_file(&pass, e->from, "disk", 0, SCRATCH, NULL), 0);
}

static void put_plain(Ends *e, uint64_t which) {
        ColdPipe pipe = pipe_of(e);

        assert_int_equal(cold_send_file(&pipe, e->from, "disk", which, SCRATCH, NULL, NULL, NULL),
                         0);
}

static void put_whole(Ends *e) {
        ends_init(e, SCRATCH);
        put_at(e, 0, "first");
        ask(e, OFFER);
        ask(e, AHEAD);
        put_disk(e);
        put_at(e, 100, "second");
        ask(e, AHEAD);
        put_disk(e);
        put_at(e, 200, "third");
        ask(e, FILES);
        put_disk(e);
        put_plain(e, 1); /* the log */
}

static int converse(Ends *e) {
        ColdPipe pipe = pipe_of(e);
        Error err = ERROR_INIT;

        turn(e);
        return cold_receive(&ctl, "q", "m1", &pipe, &err);
}

static OfflineState record(void) {
        _cleanup_record_ OfflineRecord r = {};

        assert_int_equal(offline_read(state, OFFLINE_INCOMING, &r, NULL), 0);
        return r.state;
}

static void test_whole(void **unused) {
        _cleanup_free_ char *path = NULL;
        _cleanup_ends_ Ends e = {};

        put_whole(&e);
        ask(&e, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&e), 0);
        assert_int_equal(record(), OFFLINE_READY);
        assert_true(asprintf(&path, "%s/scratch-c.raw", state) > 0);
        (void)close_fd(e.to);
        e.to = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(e.to >= 0 && same_content(&e));
}

static void test_cut_off(void **unused) {
        _cleanup_ends_ Ends whole = {};

        put_whole(&whole);
        for (size_t k = 0; k < whole.out.len; k += k < 1500 ? 7 : 1993) {
                _cleanup_ends_ Ends e = {};

                ends_init(&e, 0);
                assert_int_equal(buf_append(&e.out, whole.out.data, k), 0);
                (void)converse(&e);
                if (access(state, F_OK) == 0)
                        fail_msg("cut at %zu: something is left", k);
        }
}

/* Requests out of their order, each with a disk after it. */
static void test_order(void **unused) {
        static const struct {
                const char *first, *second, *third;
                bool plain; /* the last disk is sent as in a cold move */
                int r;
        } rows[] = {
                { AHEAD, NULL, NULL, false, -EBADFD },
                { OFFER, "{\"do\":\"ahead\"}", NULL, false, -EBADMSG },
                { OFFER, "{\"do\":\"ahead\",\"block\":-65536}", NULL, false, -EBADMSG },
                { OFFER, "{\"do\":\"ahead\",\"block\":65537}", NULL, false, -EBADMSG },
                { OFFER, AHEAD, FILES, true, -EBADMSG }, /* over what is there */
                { OFFER, FILES, NULL, false, -EBADMSG }, /* a rest of nothing */
                { OFFER, AHEAD, OFFER, false, -EBADFD },
                { OFFER, AHEAD, "{\"do\":\"commit\"}", false, -EBADFD },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_ends_ Ends e = {};
                int r;

                ends_init(&e, SCRATCH);
                put_at(&e, 0, "data");
                ask(&e, rows[i].first);
                if (rows[i].second) {
                        ask(&e, rows[i].second);
                        put_disk(&e);
                }
                if (rows[i].third)
                        ask(&e, rows[i].third);
                if (rows[i].plain)
                        put_plain(&e, 0);
                r = converse(&e);
                if (r != rows[i].r)
                        fail_msg("row %zu: %d", i, r);
                assert_int_equal(access(state, F_OK), -1);
        }
}

/* One that begins anew in the same connection finds nothing of before. */
static void test_again(void **unused) {
        _cleanup_ends_ Ends e = {}, second = {};

        put_whole(&e);
        ask(&e, "{\"do\":\"discard\"}");
        put_whole(&second);
        assert_int_equal(buf_append(&e.out, second.out.data, second.out.len), 0);
        ask(&e, "{\"do\":\"seal\"}");
        assert_int_equal(converse(&e), 0);
        assert_int_equal(record(), OFFLINE_READY);
}

/* -- when it goes over -- */

static void test_enough(void **unused) {
        static const struct {
                WarmFacts f;
                bool enough;
        } rows[] = {
                { { 1, 8, WARM_LITTLE + 1, 0, false, false }, false },
                { { 1, 8, WARM_LITTLE, 0, false, false }, true },
                { { 1, 1, 1ULL << 40, 0, false, false }, true },
                { { 2, 8, 1ULL << 30, 1ULL << 31, false, false }, false },
                { { 2, 8, 1ULL << 30, 1ULL << 30, false, false }, true },
                { { 2, 8, 7ULL << 30, 8ULL << 30, false, false }, true },
                { { 2, 8, 9ULL << 30, 8ULL << 30, false, false }, true },
                { { 7, 8, 1ULL << 30, 1ULL << 31, false, false }, false },
                { { 8, 8, 1ULL << 30, 1ULL << 31, false, false }, true },
                { { 900, 8, 0, 0, true, false }, false },
                { { 1, 8, 1ULL << 40, 0, true, true }, true },
                { { 1, 8, 1ULL << 40, 0, false, true }, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (warm_is_enough(&rows[i].f) != rows[i].enough)
                        fail_msg("row %zu", i);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest fixed[] = {
                T(test_only_changes), T(test_zeroed),    T(test_sparse), T(test_sizes),
                T(test_random),       T(test_cut_short), T(test_moving), T(test_shorter),
                T(test_truncated),    T(test_damaged),   T(test_begin),  T(test_blocks),
                T(test_whole),        T(test_cut_off),   T(test_order),  T(test_again),
                T(test_enough),
        };
        struct CMUnitTest tests[ELEMENTSOF(fixed) + ELEMENTSOF(odd)];

        memcpy(tests, fixed, sizeof(fixed));
        for (size_t i = 0; i < ELEMENTSOF(odd); i++)
                tests[ELEMENTSOF(fixed) + i] =
                        (struct CMUnitTest){ .name = odd[i].name,
                                             .test_func = test_odd,
                                             .setup_func = set_up,
                                             .teardown_func = tear_down,
                                             .initial_state = (void *)(uintptr_t)&odd[i] };
        return cmocka_run_group_tests_name("warm", tests, NULL, NULL);
}
