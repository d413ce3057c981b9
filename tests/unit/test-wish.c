/* SPDX-License-Identifier: Apache-2.0 */
/* `podferry start` asks whoever moves the pod to let it go, and podferry migration tells it this
 * and that: granted, refused, given up, and with a driver that is killed or a client that says what
 * it should not. rows: F34 F55 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/ctl/wish.h"

#define WAIT_MS 10000U

static char dir[] = "/tmp/test-wish.XXXXXX";

static int set_up(void **state) {
        return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
        return rmdir(dir);
}

static Wish last;

/* userdata: the refusal, or NULL. */
static const char *heed(void *userdata, const Wish *wish) {
        last = *wish;
        return userdata;
}

static bool take(Wishes *w) {
        return wishes_take(w, heed, NULL);
}

/* A client that only says a line. */
static int connect_raw(const char *line) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/.wish-p", dir);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));
        return fd;
}

/* wish_start() in a thread; nothing is asserted in there. */
typedef struct Client {
        pthread_t thread;
        const char *line; /* wish_tell() instead */
        int r, fd;
        Error err;
} Client;

static void *ask(void *userdata) {
        Client *c = userdata;

        c->r = c->line ? wish_tell(dir, "p", c->line, &c->err)
                       : wish_start(dir, "p", &c->fd, &c->err);
        return NULL;
}

static void client_tell(Client *c, const char *line) {
        *c = (Client){ .fd = -EBADF, .line = line };
        assert_int_equal(pthread_create(&c->thread, NULL, ask, c), 0);
}

static void client_start(Client *c) {
        client_tell(c, NULL);
}

static void await_connection(const Wishes *w) {
        struct pollfd p = { .fd = w->fd, .events = POLLIN };

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static void test_nobody(void **state) {
        Wishes w = WISHES_INIT;
        char path[64];
        int fd = 0;

        assert_int_equal(wish_start(dir, "p", &fd, NULL), 0);
        assert_int_equal(fd, -EBADF);
        /* One that was killed leaves its socket. */
        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        w.fd = close_fd(w.fd);
        free(w.path);
        (void)snprintf(path, sizeof(path), "%s/.wish-p", dir);
        assert_int_equal(access(path, F_OK), 0);
        assert_int_equal(wish_start(dir, "p", &fd, NULL), 0);
        assert_int_equal(fd, -EBADF);
        /* And the next one takes its place. */
        w = WISHES_INIT;
        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        assert_false(take(&w));
        wishes_done(&w);
        assert_int_equal(access(path, F_OK), -1);
}

static void test_granted(void **state) {
        Wishes w = WISHES_INIT;
        struct stat st;
        Client c;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        assert_int_equal(stat(w.path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        client_start(&c);
        await_connection(&w);
        assert_true(take(&w));
        assert_true(take(&w)); /* it lasts */
        wishes_close(&w);
        assert_false(wishes_wait(&w, -1, 0));
        wishes_grant(&w);
        assert_int_equal(pthread_join(c.thread, NULL), 0);
        assert_int_equal(c.r, 0);
        assert_true(c.fd >= 0);
        assert_false(wishes_wait(&w, -1, 0)); /* it starts the pod */
        (void)close_fd(c.fd);
        assert_true(wishes_wait(&w, -1, WAIT_MS));
        wishes_done(&w);
}

static void test_refused(void **state) {
        char refusal[] = "not \x01now";
        Wishes w = WISHES_INIT;
        Client c;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        client_start(&c);
        await_connection(&w);
        assert_false(wishes_take(&w, heed, refusal));
        assert_int_equal(pthread_join(c.thread, NULL), 0);
        assert_int_equal(c.r, -EBUSY);
        assert_non_null(strstr(c.err.text, "not "));
        assert_null(strchr(c.err.text, '\x01'));
        assert_int_equal(c.fd, -EBADF);
        wishes_done(&w);
}

/* The driver ends without a word, or dies: then nobody moves the pod. */
static void test_given_up(void **state) {
        Wishes w = WISHES_INIT;
        Client c;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        client_start(&c);
        await_connection(&w);
        assert_true(take(&w));
        wishes_done(&w);
        assert_int_equal(pthread_join(c.thread, NULL), 0);
        assert_int_equal(c.r, 0);
        assert_int_equal(c.fd, -EBADF);
}

/* Whoever asked and went away wants nothing any more. */
static void test_hung_up(void **state) {
        Wishes w = WISHES_INIT;
        int fd;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        (void)close_fd(connect_raw("start\n"));
        assert_false(take(&w));
        fd = connect_raw("start\n");
        assert_true(take(&w));
        (void)close_fd(fd);
        assert_false(take(&w));
        assert_true(wishes_wait(&w, -1, 0));
        wishes_done(&w);
}

static void test_told(void **state) {
        static const struct {
                const char *line;
                Wish wish;
        } rows[] = {
                { "cancel", { WISH_CANCEL, 0 } },
                { "cutover", { WISH_CUTOVER, 0 } },
                { "set bandwidth 1048576", { WISH_BANDWIDTH, 1048576 } },
                { "set bandwidth 18446744073709551615", { WISH_BANDWIDTH, UINT64_MAX } },
                { "set downtime 7", { WISH_OTHER, 0 } },
                { "cancel it", { WISH_OTHER, 0 } },
                { "", { WISH_OTHER, 0 } },
        };
        Wishes w = WISHES_INIT;
        Client c;

        assert_int_equal(wish_tell(dir, "p", "cancel", NULL), -ENOENT);
        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        for (size_t i = 0; i < 2 * ELEMENTSOF(rows); i++) {
                static char not_now[] = "not now";
                char *no = i % 2 ? not_now : NULL;

                client_tell(&c, rows[i / 2].line);
                await_connection(&w);
                assert_false(wishes_take(&w, heed, no));
                assert_int_equal(pthread_join(c.thread, NULL), 0);
                assert_int_equal(c.r, no ? -EBUSY : 0);
                assert_memory_equal(&last, &rows[i / 2].wish, sizeof(last));
                if (no)
                        assert_string_equal(c.err.text, no);
        }
        wishes_done(&w);
        assert_int_equal(wish_tell(dir, "p", "cancel", NULL), -ENOENT);
}

static void test_hostile(void **state) {
        static const char *const lines[] = {
                "",
                "start",
                "\n\n",
                "start\nstart\n",
                "start \n",
                "set bandwidth \n",
                "set bandwidth -1\n",
                "set bandwidth 1x\n",
                "set bandwidth 18446744073709551616\n",
                "cancel and a line that is longer than any that is said here, and goes on\n",
        };
        int fds[WISHES_MAX + 1];
        Wishes w = WISHES_INIT;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                int fd = connect_raw(lines[i]);

                (void)shutdown(fd, SHUT_WR);
                last.kind = WISH_OTHER;
                assert_false(take(&w)); /* none lasts, and none is heeded */
                assert_int_equal(last.kind, i == 3 ? WISH_START : WISH_OTHER);
                (void)close_fd(fd);
        }
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = connect_raw("start\n");
                assert_true(take(&w));
        }
        assert_int_equal(w.n, WISHES_MAX);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void)close_fd(fds[i]);
        assert_false(take(&w));
        wishes_done(&w);
}

/* One that says nothing holds nobody up for long. */
static void test_silent(void **state) {
        Wishes w = WISHES_INIT;
        int fd, after;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        fd = connect_raw("sta");
        after = connect_raw("start\n");
        assert_true(take(&w));
        assert_int_equal(w.n, 1);
        (void)close_fd(fd);
        (void)close_fd(after);
        assert_false(take(&w));
        wishes_done(&w);
}

/* More than are taken: each is told, in the end. */
static void test_too_many(void **state) {
        int fds[WISHES_MAX];
        Wishes w = WISHES_INIT;
        Client c;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = connect_raw("start\n");
                assert_true(take(&w));
        }
        client_start(&c);
        /* it tries again, and one look may see more than one of its tries */
        while (pthread_tryjoin_np(c.thread, NULL) == EBUSY) {
                struct pollfd p = { .fd = w.fd, .events = POLLIN };

                (void)poll(&p, 1, 10);
                assert_true(take(&w));
        }
        assert_int_equal(c.r, -EBUSY);
        assert_non_null(strstr(c.err.text, "hangs up"));
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void)close_fd(fds[i]);
        wishes_done(&w);
}

/* Another server than ours: what it says is no more than a text. */
static void test_strange_answer(void **state) {
        static const struct {
                const char *says, *text;
        } rows[] = { { "what?\n", "it is being moved" }, { "no\n", "it is being moved" } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Wishes w = WISHES_INIT;
                Client c;
                int fd;

                assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
                client_start(&c);
                await_connection(&w);
                fd = accept(w.fd, NULL, NULL);
                assert_int_equal(send(fd, rows[i].says, strlen(rows[i].says), 0),
                                 strlen(rows[i].says));
                assert_int_equal(pthread_join(c.thread, NULL), 0);
                assert_int_equal(c.r, -EBUSY);
                assert_string_equal(c.err.text, rows[i].text);
                (void)close_fd(fd);
                wishes_done(&w);
        }
}

static void test_bad_names(void **state) {
        Wishes w = WISHES_INIT;
        char text[200];
        int fd;

        memset(text, 'x', sizeof(text));
        text[0] = '/';
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(wishes_open(&w, text, "p", NULL), -ENAMETOOLONG);
        assert_int_equal(wish_start(text, "p", &fd, NULL), -ENAMETOOLONG);
        assert_int_equal(wishes_open(&w, dir, "../p", NULL), -EINVAL);
        assert_int_equal(wish_start(dir, "../p", &fd, NULL), -EINVAL);
        assert_int_equal(w.fd, -EBADF);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody),    cmocka_unit_test(test_granted),
                cmocka_unit_test(test_refused),   cmocka_unit_test(test_given_up),
                cmocka_unit_test(test_hung_up),   cmocka_unit_test(test_told),
                cmocka_unit_test(test_hostile),   cmocka_unit_test(test_silent),
                cmocka_unit_test(test_too_many),  cmocka_unit_test(test_strange_answer),
                cmocka_unit_test(test_bad_names),
        };

        return cmocka_run_group_tests_name("wish", tests, set_up, tear_down);
}
