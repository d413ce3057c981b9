/* SPDX-License-Identifier: Apache-2.0 */
/* Generations of copies that come to one host: who belongs to one, who waits for it, and that it
 * ends however its copies end.
 * rows: F55, F56 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/lock-files.h"

#define WAIT_MS 10000

static char dir[] = "/tmp/test-copies.XXXXXX";

static int set_up(void **state) {
        return mkdtemp(dir) ? 0 : -1;
}

static void path_of(const char *name, char ret[static 160]) {
        (void)snprintf(ret, 160, "%s/%s", dir, name);
}

static int tear_down(void **state) {
        return rmdir(dir); /* nothing is left in it */
}

static Copy enter(const char *pod, const char *set) {
        Copy c = COPY_INIT;
        Error e = ERROR_INIT;
        int r = copy_enter(dir, pod, set, &c, &e);

        if (r < 0)
                print_message("%s\n", e.text);
        assert_int_equal(r, 0);
        return c;
}

static int try(Copy *c, CopiesAhead *a) {
        Error e = ERROR_INIT;
        int r = copy_try(c, a, &e);

        if (r < 0 && r != -EAGAIN)
                print_message("%s\n", e.text);
        return r;
}

static void assert_begins(Copy *c, unsigned generation) {
        CopiesAhead a;

        assert_int_equal(try(c, &a), 0);
        assert_int_equal(c->generation, generation);
        assert_int_equal(copy_begin(c, NULL), 0);
}

static void assert_waits(Copy *c, unsigned generation, const char *pod, unsigned n) {
        CopiesAhead a;
        bool told = false;

        assert_int_equal(try(c, &a), -EAGAIN);
        assert_int_equal(c->generation, 0);
        assert_int_equal(a.generation, generation);
        assert_int_equal(a.n, n);
        for (unsigned i = 0; i < MIN_OF(n, COPIES_TOLD_MAX); i++)
                told |= strcmp(a.pods[i], pod) == 0;
        assert_true(told);
}

/* Each test begins with a host that has had no copy. */
static int forget(void **state) {
        char path[160];

        path_of(".copies", path);
        (void)unlink(path);
        return 0;
}

static void test_frozen(void **state) {
        _cleanup_copy_ Copy a = enter("a", ""), b = COPY_INIT, c = COPY_INIT;
        CopiesAhead ahead;

        assert_int_equal(copies_look(dir, "b", &ahead, NULL), 0);
        assert_int_equal(ahead.n, 0);
        assert_begins(&a, 1);
        assert_int_equal(copies_look(dir, "b", &ahead, NULL), 0);
        assert_int_equal(ahead.n, 1);
        assert_string_equal(ahead.pods[0], "a");
        assert_int_equal(copies_look(dir, "a", &ahead, NULL), 0);
        assert_int_equal(ahead.n, 0); /* it belongs to it */
        b = enter("b", "");
        c = enter("c", "");
        assert_waits(&b, 1, "a", 1);
        assert_waits(&c, 1, "a", 1);
        copy_leave(&a);
        /* all who waited, whoever of them looks first */
        assert_begins(&c, 2);
        assert_begins(&b, 2);
        a = enter("a", "");
        assert_waits(&a, 2, "b", 2);
        copy_leave(&c);
        assert_waits(&a, 2, "b", 1);
        copy_leave(&b);
        assert_begins(&a, 3);
        copy_leave(&a); /* the last one */
        b = enter("b", "");
        assert_begins(&b, 1);
}

/* Until the first of it begins, whoever comes belongs to it. */
static void test_pending(void **state) {
        _cleanup_copy_ Copy a = enter("a", ""), b = COPY_INIT, c = COPY_INIT;
        CopiesAhead ahead;

        assert_int_equal(try(&a, &ahead), 0);
        b = enter("b", "");
        assert_int_equal(try(&b, &ahead), 0);
        assert_int_equal(b.generation, 1);
        assert_begins(&b, 1);
        c = enter("c", "");
        assert_waits(&c, 1, "a", 2);
        assert_begins(&a, 1); /* it was in time */
        copy_leave(&a);
        assert_waits(&c, 1, "b", 1);
        copy_leave(&b);
        assert_begins(&c, 2);
}

/* One that has gone is in no set any more, also while others of it are left. */
static void test_again(void **state) {
        _cleanup_copy_ Copy a = enter("a", ""), b = enter("b", "");

        assert_begins(&a, 1);
        assert_begins(&b, 1);
        copy_leave(&a);
        a = enter("a", "");
        assert_waits(&a, 1, "b", 1);
        copy_leave(&b);
        assert_begins(&a, 2);
}

static void test_with(void **state) {
        _cleanup_copy_ Copy a = enter("a", "rack"), b = COPY_INIT, c = COPY_INIT, d = COPY_INIT;

        assert_begins(&a, 1);
        b = enter("b", "rack");
        c = enter("c", "shelf");
        d = enter("d", "");
        assert_begins(&b, 1);
        assert_waits(&c, 1, "a", 2);
        assert_waits(&d, 1, "b", 2);
        copy_leave(&a);
        assert_waits(&c, 1, "b", 1);
        copy_leave(&b);
        assert_begins(&d, 2);
        assert_begins(&c, 2);
        a = enter("a", "shelf"); /* the set of one that had waited */
        b = enter("b", "rack");
        assert_begins(&a, 2);
        assert_waits(&b, 2, "a", 3);
}

static void test_one_of_a_pod(void **state) {
        _cleanup_copy_ Copy a = enter("a", ""), b = COPY_INIT;

        assert_int_equal(copy_enter(dir, "a", "", &b, NULL), -EBUSY);
        assert_int_equal(copy_enter(dir, "../a", "", &b, NULL), -EINVAL);
        assert_int_equal(copy_enter(dir, "b", "x/y", &b, NULL), -EINVAL);
        copy_leave(&a);
        copy_leave(&a); /* and again */
        a = enter("a", "");
}

/* -- one that is killed -- */

static pid_t copy_in_child(const char *pod) {
        int pipe_fds[2];
        char c;
        pid_t pid;

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                Copy copy = COPY_INIT;
                CopiesAhead a;

                if (copy_enter(dir, pod, "", &copy, NULL) < 0 || copy_try(&copy, &a, NULL) < 0 ||
                    copy_begin(&copy, NULL) < 0 || write(pipe_fds[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        assert_int_equal(read(pipe_fds[0], &c, 1), 1);
        (void)close(pipe_fds[0]);
        (void)close(pipe_fds[1]);
        return pid;
}

static void test_killed(void **state) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_copy_ Copy b = COPY_INIT, a = COPY_INIT;
        struct pollfd p = { .events = POLLIN };
        pid_t pid = copy_in_child("a");
        CopiesAhead ahead;

        b = enter("b", "");
        assert_waits(&b, 1, "a", 1);
        assert_int_equal(lock_files_watch(dir, &fd, NULL), 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        p.fd = fd;
        assert_int_equal(poll(&p, 1, WAIT_MS), 1); /* whoever waits hears of it */
        a = enter("a", ""); /* in the place of the dead one: it belongs still */
        assert_int_equal(try(&a, &ahead), 0);
        assert_int_equal(a.generation, 1);
        assert_waits(&b, 1, "a", 1);
        copy_leave(&a);
        assert_begins(&b, 2);
}

/* -- what is on disk is not ours -- */

static void put(const char *name, const char *text) {
        char path[160];
        FILE *f;

        path_of(name, path);
        f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void test_damaged(void **state) {
        static const char *const texts[] = {
                "",
                "{",
                "[]",
                "{\"generation\": -3, \"set\": [\"x\"], \"with\": []}",
                "{\"generation\": 4294967296, \"set\": [\"x\"], \"with\": []}",
                "{\"generation\": 7, \"up\": true, \"set\": \"x\", \"with\": []}",
                "{\"generation\": 7, \"up\": true, \"set\": [\"x\"]}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_copy_ Copy x = enter("x", ""), a = enter("a", "");

                put(".copies", texts[i]);
                assert_begins(&a, 1);
                put(".copies", texts[i]);
                assert_int_equal(copy_begin(&a, NULL), 0);
        }
        put(".copies", "{\"generation\": 7, \"up\": 1, \"set\": [1, null, \"x\"], \"with\": [{}]}");
        {
                _cleanup_copy_ Copy x = enter("x", ""), a = enter("a", "");

                assert_waits(&a, 7, "x", 1);
                copy_leave(&x);
                assert_begins(&a, 8);
        }
        put(".copies", "{\"generation\": 4294967295, \"set\": [], \"with\": []}");
        {
                _cleanup_copy_ Copy a = enter("a", "");

                assert_begins(&a, 1);
        }
}

/* A file that nobody has locked is of nobody; one that is no file is refused. */
static void test_strangers(void **state) {
        _cleanup_copy_ Copy a = COPY_INIT;
        char path[160];
        CopiesAhead ahead;

        put(".copy-ghost", "rack");
        put(".copy-", "");
        put(".copies", "{\"generation\": 3, \"up\": true, \"set\": [\"ghost\"], \"with\": []}");
        a = enter("a", "");
        assert_begins(&a, 4);
        path_of(".copy-ghost", path);
        assert_int_equal(access(path, F_OK), -1);
        path_of(".copy-", path);
        assert_int_equal(unlink(path), 0);
        path_of(".copy-link", path);
        assert_int_equal(symlink("nowhere", path), 0);
        assert_int_equal(copy_try(&a, &ahead, NULL), 0); /* in its set: it need not look */
        forget(NULL);
        assert_int_equal(copy_try(&a, &ahead, NULL), -ELOOP);
        assert_int_equal(unlink(path), 0);
}

/* -- as a request of the source -- */

typedef struct Talk {
        Buf in, out;
        size_t at;
        Copy *leaves; /* once it is waited for the first time */
} Talk;

static int read_talk(void *userdata, void *p, size_t n, Error *reterr) {
        Talk *t = userdata;

        if (t->in.len - t->at < n)
                return error_setf(reterr, -ENODATA, "the end");
        memcpy(p, t->in.data + t->at, n);
        t->at += n;
        return 0;
}

static int write_talk(void *userdata, const void *p, size_t n, Error *reterr) {
        Talk *t = userdata;

        return buf_append(&t->out, p, n) < 0 ? error_oom(reterr) : 0;
}

/* The stream has its end at once, or stands while somebody else ends. */
static int wait_talk(void *userdata, int fd, int timeout_ms) {
        Talk *t = userdata;

        if (!t->leaves)
                return 1;
        copy_leave(t->leaves);
        t->leaves = NULL;
        return 0;
}

static void put_request(Talk *t, const char *text) {
        const ColdPipe to = { .write = write_talk, .userdata = t };
        Buf answers = t->out;

        t->out = t->in;
        assert_int_equal(
                cold_put(&to, &(ColdFrame){ COLD_JSON, (uint32_t)strlen(text), 0 }, text, NULL), 0);
        t->in = t->out;
        t->out = answers;
}

static int converse(Talk *t) {
        const ColdPipe pipe = { read_talk, write_talk, t, wait_talk };
        const Ctl ctl = { .config = { .run_dir = dir, .state_dir = dir } };
        Error e = ERROR_INIT;
        char path[160];
        int r = cold_receive(&ctl, "q", "m1", &pipe, &e);

        path_of(".copy-q", path);
        assert_int_equal(access(path, F_OK), -1); /* whatever came of it */
        path_of("pods", path);
        (void)rmdir(path);
        return r;
}

static unsigned count(const Talk *t, const char *what) {
        const uint8_t *p = t->out.data, *end = t->out.data + t->out.len;
        unsigned n = 0;

        while (p && (p = memmem(p, (size_t)(end - p), what, strlen(what)))) {
                p += strlen(what);
                n++;
        }
        return n;
}

static void talk_done(Talk *t) {
        buf_done(&t->in);
        buf_done(&t->out);
}

#define JOIN "{\"do\":\"join\"}"

static void test_request(void **state) {
        _cleanup_copy_ Copy a = enter("a", "rack");
        _cleanup_(talk_done) Talk first = {}, waits = {}, ends = {}, with = {};

        put_request(&first, JOIN);
        put_request(&first, "{\"do\":\"hello\"}");
        assert_int_equal(converse(&first), 0);
        assert_int_equal(count(&first, "\"generation\":1"), 1);
        assert_int_equal(count(&first, "\"join\":true"), 1);

        assert_begins(&a, 1); /* it had waited already when that one opened it */
        put_request(&ends, JOIN);
        assert_int_equal(converse(&ends), 0);
        assert_int_equal(count(&ends, "\"pods\":[\"a\"]"), 1);
        put_request(&with, "{\"do\":\"join\",\"with\":\"rack\"}");
        assert_int_equal(converse(&with), 0);
        assert_int_equal(count(&with, "\"wait\""), 0);
        put_request(&waits, JOIN);
        waits.leaves = &a;
        assert_int_equal(converse(&waits), 0);
        assert_int_equal(count(&waits, "\"wait\""), 1);
        assert_int_equal(count(&waits, "\"generation\":2"), 1);
}

static void test_refused(void **state) {
        _cleanup_copy_ Copy a = enter("a", "");
        _cleanup_(talk_done) Talk twice = {}, bad = {}, chatter = {};

        put_request(&twice, JOIN);
        put_request(&twice, JOIN);
        assert_int_equal(converse(&twice), -EBADFD);
        put_request(&bad, "{\"do\":\"join\",\"with\":\"../rack\"}");
        assert_int_equal(converse(&bad), -EINVAL);
        assert_begins(&a, 1);
        put_request(&chatter, JOIN);
        put_request(&chatter, JOIN); /* while it waits */
        assert_int_equal(converse(&chatter), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_frozen, forget),
                cmocka_unit_test_setup(test_pending, forget),
                cmocka_unit_test_setup(test_again, forget),
                cmocka_unit_test_setup(test_with, forget),
                cmocka_unit_test_setup(test_one_of_a_pod, forget),
                cmocka_unit_test_setup(test_killed, forget),
                cmocka_unit_test_setup(test_damaged, forget),
                cmocka_unit_test_setup(test_strangers, forget),
                cmocka_unit_test_setup(test_request, forget),
                cmocka_unit_test_setup(test_refused, forget),
        };

        return cmocka_run_group_tests_name("copies", tests, set_up, tear_down);
}
