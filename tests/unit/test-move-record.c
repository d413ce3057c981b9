/* SPDX-License-Identifier: Apache-2.0 */
/* What is on disk of a volume that moves, and that a cut anywhere in it leaves nothing behind.
 * rows: F54 F57 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/definition.h"
#include "shim/move-record.h"
#include "shim/rundir.h"

#define SIZE (1U << 20)

typedef struct Rig {
        char *state, *from, *to, *mark;
        MoveRecord record;
        uint64_t size;
} Rig;

static char *inside(const Rig *r, const char *name) {
        char *path;

        assert_true(asprintf(&path, "%s/%s", r->state, name) > 0);
        return path;
}

static void make_file(const char *path, off_t size) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, size), 0);
}

static bool is_there(const char *path) {
        return access(path, F_OK) == 0;
}

/* A pod with two containers that have the disk, and another one. */
static void define(Rig *r) {
        Definition d = { .epoch = 1,
                         .memory_mib = 64,
                         .vcpus = 1,
                         .network = (char[]){ "none" },
                         .publish = (char[]){ "" } };

        assert_int_equal(definition_begin(r->state, &d, NULL), 0);
        for (unsigned i = 0; i < 2; i++) {
                char id[] = { (char)('a' + i), '\0' };
                DefinitionContainer c = { .id = id, .made = i + 1 };

                assert_true(asprintf(&c.spec,
                                     "{\"disks\":[{\"path\":\"/l\",\"size\":5},"
                                     "{\"path\":\"%s\",\"size\":%u}]}",
                                     r->from, SIZE) > 0);
                assert_int_equal(definition_put(r->state, &c, NULL), 0);
                free(c.spec);
        }
}

static int set_up(void **state) {
        Rig *r = calloc(1, sizeof(*r));

        if (!r || asprintf(&r->state, "%s/move.XXXXXX", getenv("TMPDIR") ?: "/tmp") < 0 ||
            !mkdtemp(r->state))
                return -1;
        r->from = inside(r, "old");
        r->to = inside(r, "new");
        r->mark = inside(r, "new.incomplete");
        r->record = (MoveRecord){ .from = r->from, .to = r->to };
        r->size = SIZE;
        make_file(r->from, SIZE);
        define(r);
        *state = r;
        return 0;
}

static int tear_down(void **state) {
        Rig *r = *state;

        directory_remove(r->state);
        free(r->state);
        free(r->from);
        free(r->to);
        free(r->mark);
        free(r);
        return 0;
}

static int begin(Rig *r, const char *format, Error *reterr) {
        MoveBegin b = { .pod = "p", .session = "s", .format = format, .size = r->size };

        return move_record_begin(r->state, &b, &r->record, reterr);
}

static bool defined(const Rig *r, const char *path) {
        bool there;

        assert_int_equal(definition_has_disk(r->state, path, &there, NULL), 0);
        return there;
}

static void test_to_the_end(void **state) {
        MoveRecord read = {};
        Rig *r = *state;

        assert_int_equal(begin(r, "raw", NULL), 0);
        assert_true(is_there(r->to) && is_there(r->mark));
        assert_int_equal(move_record_read(r->state, &read, NULL), 0);
        assert_string_equal(read.from, r->from);
        assert_string_equal(read.to, r->to);
        assert_false(read.device);
        move_record_done(&read);
        assert_int_equal(move_record_define(r->state, &r->record, NULL), 0);
        assert_true(is_there(r->mark)); /* QEMU has the old one still */
        assert_true(defined(r, r->to) && !defined(r, r->from) && defined(r, "/l"));
        assert_int_equal(move_record_complete(&r->record, true, NULL), 0);
        assert_false(is_there(r->mark) || is_there(r->from));
        assert_true(is_there(r->to));
        assert_int_equal(move_record_remove(r->state, NULL), 0);
        assert_false(move_record_is_there(r->state));
        assert_int_equal(move_record_remove(r->state, NULL), 0);
}

static void test_undone(void **state) {
        Rig *r = *state;

        assert_int_equal(begin(r, "raw", NULL), 0);
        assert_int_equal(move_record_define(r->state, &r->record, NULL), 0);
        assert_int_equal(move_record_undefine(r->state, &r->record, NULL), 0);
        assert_int_equal(move_record_undo(r->state, "p", &r->record, NULL), 0);
        assert_true(defined(r, r->from) && !defined(r, r->to));
        assert_false(is_there(r->to) || is_there(r->mark) || move_record_is_there(r->state));
        assert_true(is_there(r->from));
}

/* Without QEMU the definition decides, wherever it was cut off. */
static void test_settle(void **state) {
        Rig *r = *state;

        assert_int_equal(move_record_settle(r->state, "p", NULL), 0);
        assert_int_equal(begin(r, "raw", NULL), 0);
        assert_int_equal(move_record_settle(r->state, "p", NULL), 0);
        assert_false(is_there(r->to) || is_there(r->mark) || move_record_is_there(r->state));
        assert_true(defined(r, r->from));

        assert_int_equal(begin(r, "raw", NULL), 0);
        assert_int_equal(move_record_define(r->state, &r->record, NULL), 0);
        assert_int_equal(move_record_settle(r->state, "p", NULL), 0);
        assert_true(is_there(r->to) && is_there(r->from) && defined(r, r->to));
        assert_false(is_there(r->mark) || move_record_is_there(r->state));
}

/* A record that was left behind removes nothing that has no mark of this pod's. */
static void test_settle_late(void **state) {
        Rig *r = *state;

        assert_int_equal(begin(r, "raw", NULL), 0);
        assert_int_equal(move_record_complete(&r->record, false, NULL), 0);
        assert_int_equal(move_record_settle(r->state, "p", NULL), 0);
        assert_true(is_there(r->to));
        assert_false(move_record_is_there(r->state));
}

static void test_refused(void **state) {
        _cleanup_free_ char *named = inside(*state, "new.qcow2");
        Rig *r = *state;
        Error e;

        make_file(r->to, 0);
        assert_int_equal(begin(r, "raw", &e), -EEXIST);
        assert_non_null(strstr(e.text, r->to));
        assert_true(is_there(r->to)); /* not ours */
        assert_int_equal(unlink(r->to), 0);
        r->record.to = named;
        assert_int_equal(begin(r, "raw", &e), -EINVAL);
        assert_non_null(strstr(e.text, "its name says qcow2"));
        r->record.to = (char[]){ "/none/there" };
        assert_int_equal(begin(r, "raw", &e), -ENOENT);
        r->record.to = r->to;
        r->size = 77;
        assert_int_equal(begin(r, "raw", &e), -EINVAL);
        assert_false(is_there(r->to) || is_there(r->mark) || move_record_is_there(r->state));
        assert_int_equal(unlink(r->from), 0);
        assert_int_equal(begin(r, "raw", &e), -ENOENT);
}

static void test_damage(void **state) {
        static const char *const texts[] = {
                "",
                "[]",
                "{}",
                "nothing",
                "{\"from\":\"a\",\"to\":\"/b\",\"device\":false}",
                "{\"from\":\"/a\",\"to\":\"/b/../c\",\"device\":false}",
                "{\"from\":\"/a\",\"device\":false}",
                "{\"from\":\"/a\",\"to\":\"/b\"}",
                "{\"from\":\"/a\",\"to\":\"/b\",\"device\":null}",
        };
        _cleanup_free_ char *path = inside(*state, "moving.json");
        MoveRecord read = {};
        Rig *r = *state;

        assert_int_equal(move_record_read(r->state, &read, NULL), -ENOENT);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                FILE *f = fopen(path, "we");
                Error e = ERROR_INIT;

                assert_non_null(f);
                assert_true(fputs(texts[i], f) >= 0);
                assert_int_equal(fclose(f), 0);
                if (move_record_read(r->state, &read, &e) != -EBADMSG ||
                    !strstr(e.text, "moving.json"))
                        fail_msg("%s: %s", texts[i], e.text);
                assert_int_equal(move_record_settle(r->state, "p", NULL), -EBADMSG);
        }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_to_the_end),  TEST(test_undone),  TEST(test_settle),
                TEST(test_settle_late), TEST(test_refused), TEST(test_damage),
        };

        return cmocka_run_group_tests_name("move-record", tests, NULL, NULL);
}
