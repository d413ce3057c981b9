/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F05: two directories are the same storage only if what one side writes is read by the
 * other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hostdev/disk/token.h"
#include "lib/cleanup.h"

typedef struct Place {
        char dir[64], other[64];
        char here[96], there[96]; /* disks in them */
} Place;

static void touch(const char *path) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
        static Place p;

        (void)strcpy(p.dir, "/tmp/podferry-token-XXXXXX");
        (void)strcpy(p.other, "/tmp/podferry-token-XXXXXX");
        assert_non_null(mkdtemp(p.dir));
        assert_non_null(mkdtemp(p.other));
        (void)snprintf(p.here, sizeof(p.here), "%s/disk", p.dir);
        (void)snprintf(p.there, sizeof(p.there), "%s/disk", p.other);
        touch(p.here);
        touch(p.there);
        *state = &p;
        return 0;
}

static int teardown(void **state) {
        const Place *p = *state;

        return unlink(p->here) | unlink(p->there) | rmdir(p->dir) | rmdir(p->other);
}

static void test_same(void **state) {
        const Place *p = *state;
        char token[DISK_TOKEN_SIZE];

        assert_int_equal(disk_token_make(p->here, "m1", 3, TOKEN_SOURCE, token, NULL), 0);
        assert_int_equal(strlen(token), 32);
        assert_int_equal(disk_token_check(p->here, "m1", 3, TOKEN_SOURCE, token, NULL), 0);
        /* another disk, session or side is another token */
        assert_int_equal(disk_token_check(p->here, "m1", 4, TOKEN_SOURCE, token, NULL), -EREMOTE);
        assert_int_equal(disk_token_check(p->here, "m2", 3, TOKEN_SOURCE, token, NULL), -EREMOTE);
        assert_int_equal(disk_token_check(p->here, "m1", 3, TOKEN_DESTINATION, token, NULL),
                         -EREMOTE);
        disk_token_remove(p->here, "m1", 3, TOKEN_SOURCE);
        assert_int_equal(disk_token_check(p->here, "m1", 3, TOKEN_SOURCE, token, NULL), -EREMOTE);
        disk_token_remove(p->here, "m1", 3, TOKEN_SOURCE);
}

/* The same name with other content: two exports of the same file system, a stale file. */
static void test_other_storage(void **state) {
        const Place *p = *state;
        char token[DISK_TOKEN_SIZE], other[DISK_TOKEN_SIZE];
        Error e = ERROR_INIT;

        assert_int_equal(disk_token_make(p->here, "m1", 3, TOKEN_SOURCE, token, NULL), 0);
        assert_int_equal(disk_token_check(p->there, "m1", 3, TOKEN_SOURCE, token, &e), -EREMOTE);
        assert_non_null(strstr(e.text, "do not share"));
        assert_int_equal(disk_token_make(p->there, "m1", 3, TOKEN_SOURCE, other, NULL), 0);
        assert_int_equal(disk_token_check(p->there, "m1", 3, TOKEN_SOURCE, token, NULL), -EREMOTE);
        assert_int_equal(disk_token_check(p->there, "m1", 3, TOKEN_SOURCE, "", NULL), -EREMOTE);
        /* made anew: the old word counts no more */
        assert_int_equal(disk_token_make(p->here, "m1", 3, TOKEN_SOURCE, other, NULL), 0);
        assert_string_not_equal(token, other);
        assert_int_equal(disk_token_check(p->here, "m1", 3, TOKEN_SOURCE, token, NULL), -EREMOTE);
        disk_token_remove(p->here, "m1", 3, TOKEN_SOURCE);
        disk_token_remove(p->there, "m1", 3, TOKEN_SOURCE);
}

static void test_no_disk(void **state) {
        char token[DISK_TOKEN_SIZE];

        assert_int_equal(disk_token_check("/nosuch/disk", "m1", 0, TOKEN_SOURCE, "x", NULL),
                         -ENOENT);
        assert_int_equal(disk_token_make("/nosuch/disk", "m1", 0, TOKEN_SOURCE, token, NULL),
                         -ENOENT);
}

/* Links are not followed: whoever may write there cannot make us write elsewhere. */
static void test_link(void **state) {
        const Place *p = *state;
        char token[DISK_TOKEN_SIZE], link[160];
        struct stat st;

        (void)snprintf(link, sizeof(link), "%s/.podferry-m1-3-source", p->dir);
        assert_int_equal(symlink(p->there, link), 0);
        assert_int_equal(disk_token_make(p->here, "m1", 3, TOKEN_SOURCE, token, NULL), 0);
        assert_int_equal(stat(p->there, &st), 0);
        assert_int_equal(st.st_size, 0);
        assert_int_equal(lstat(link, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(unlink(link), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_same, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_storage, setup, teardown),
                cmocka_unit_test(test_no_disk),
                cmocka_unit_test_setup_teardown(test_link, setup, teardown),
        };

        return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
