/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of version 1, kept for ever: what each end writes in a fixed exchange, and the
 * checkpoint of each end in the middle of it. With --write DIRECTORY they are made anew
 * (hack/gen-golden), which is right only together with a new version of the protocol or of the
 * checkpoint. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/session-pair.h"

enum { HOST_WIRE, GUEST_WIRE, HOST_CHECKPOINT, GUEST_CHECKPOINT, N_GOLDEN };

static const char *const files[N_GOLDEN] = {
        [HOST_WIRE] = "host-wire-1.bin",
        [GUEST_WIRE] = "guest-wire-1.bin",
        [HOST_CHECKPOINT] = "host-checkpoint-1.bin",
        [GUEST_CHECKPOINT] = "guest-checkpoint-1.bin",
};

/* Every type of frame, every part of a checkpoint. */
static bool exchange(Pair *p, Buf out[N_GOLDEN]) {
        p->record[0] = &out[HOST_WIRE];
        p->record[1] = &out[GUEST_WIRE];
        pair_connect(p);
        for (uint32_t c = 1; c < 5; c++) {
                pair_open(p, 0, c);
                pair_open(p, 1, c);
        }
        (void)pair_settle(p);
        (void)pair_write(p, 0, 0, 30);
        (void)pair_write(p, 1, 1, 850); /* most of the first credit, so that more is granted */
        session_ping(p->end[0].session);
        (void)pair_settle(p);
        pair_shut(p, 0, 2);
        session_drop(p->end[1].session, 3);
        p->end[0].held[4] = true;
        (void)pair_write(p, 1, 4, 50);
        (void)pair_settle(p);
        if (session_open(p->end[1].session, 6, NULL) < 0)
                return false;
        p->end[1].open[6] = true;
        (void)pair_write(p, 1, 6, 20);
        (void)pair_output(p, 1, SIZE_MAX);
        (void)pair_write(p, 1, 6, 10);
        (void)pair_write(p, 0, 1, 60);
        (void)pair_input(p, 0, SIZE_MAX);
        (void)pair_output(p, 0, 100);
        (void)pair_write(p, 0, 1, 5);
        return session_save(p->end[0].session, &out[HOST_CHECKPOINT], NULL) == 0 &&
               session_save(p->end[1].session, &out[GUEST_CHECKPOINT], NULL) == 0;
}

static int read_file(const char *dir, const char *name, Buf *b) {
        char path[4096];
        uint8_t chunk[4096];
        size_t n;
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        f = fopen(path, "rbe");
        if (!f)
                return -errno;
        while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
                if (buf_append(b, chunk, n) < 0)
                        break;
        (void)fclose(f);
        return 0;
}

static int write_all(const char *dir) {
        Buf out[N_GOLDEN] = {};
        int r = 0;
        Pair p;

        if (pair_init(&p, NULL, NULL) < 0 || !exchange(&p, out) || p.wrong)
                return 1;
        for (int i = 0; i < N_GOLDEN; i++) {
                char path[4096];
                FILE *f;

                (void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
                f = fopen(path, "wbe");
                if (!f || fwrite(out[i].data, 1, out[i].len, f) != out[i].len)
                        r = 1;
                if (f && fclose(f) != 0)
                        r = 1;
                buf_done(&out[i]);
        }
        pair_done(&p);
        return r;
}

static void test_bytes(void **state) {
        Buf out[N_GOLDEN] = {};
        Pair p;

        assert_int_equal(pair_init(&p, NULL, NULL), 0);
        assert_true(exchange(&p, out));
        assert_null(p.wrong);
        for (int i = 0; i < N_GOLDEN; i++) {
                _cleanup_buf_ Buf want = {};

                assert_int_equal(read_file(GOLDEN_DIR, files[i], &want), 0);
                if (want.len != out[i].len || memcmp(want.data, out[i].data, want.len) != 0)
                        fail_msg("%s differs: %zu bytes, were %zu", files[i], out[i].len, want.len);
                buf_done(&out[i]);
        }
        pair_done(&p);
}

/* Checkpoints of version 1 are read, and the two ends go on from them together. */
static void test_go_on(void **state) {
        Buf out[N_GOLDEN] = {};
        Pair p;

        assert_int_equal(pair_init(&p, NULL, NULL), 0);
        assert_true(exchange(&p, out)); /* for what the applications know */
        for (int end = 0; end < 2; end++) {
                _cleanup_buf_ Buf b = {};
                PairEnd *e = &p.end[end];

                assert_int_equal(read_file(GOLDEN_DIR, files[HOST_CHECKPOINT + end], &b), 0);
                (void)session_free(e->session);
                e->session = NULL;
                assert_int_equal(session_import(b.data, b.len, &pair_ops, e, &e->session, &e->text),
                                 0);
                e->wire.len = 0;
                p.record[end] = NULL;
        }
        assert_int_equal(session_raise_epoch(p.end[0].session, 2, NULL), 0);
        pair_connect(&p);
        pair_hold(&p, 0, 4, false);
        pair_open(&p, 0, 6);
        pair_shut(&p, 1, 2);
        assert_true(pair_settle(&p));
        p.end[0].eof[3] = false; /* it was dropped, not shut down */
        assert_true(pair_complete(&p));
        pair_done(&p);
        for (int i = 0; i < N_GOLDEN; i++)
                buf_done(&out[i]);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_go_on),
        };

        if (argc == 3 && strcmp(argv[1], "--write") == 0)
                return write_all(argv[2]);
        return cmocka_run_group_tests_name("session-golden", tests, NULL, NULL);
}
