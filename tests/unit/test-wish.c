/* SPDX-License-Identifier: Apache-2.0 */
/* `podferry start` asks whoever moves the pod to let it go: granted, refused, given up, and with a
 * driver that is killed or a client that says what it should not.
 * rows: F55 */
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

/* A client that only connects. */
static int connect_raw(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s/.wish-p", dir);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        return fd;
}

/* wish_start() in a thread; nothing is asserted in there. */
typedef struct Client {
        pthread_t thread;
        int r, fd;
        Error err;
} Client;

static void *ask(void *userdata) {
        Client *c = userdata;

        c->r = wish_start(dir, "p", &c->fd, &c->err);
        return NULL;
}

static void client_start(Client *c) {
        *c = (Client){ .fd = -EBADF };
        assert_int_equal(pthread_create(&c->thread, NULL, ask, c), 0);
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
        assert_false(wishes_take(&w, NULL));
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
        assert_true(wishes_take(&w, NULL));
        assert_true(wishes_take(&w, NULL)); /* it lasts */
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
        Wishes w = WISHES_INIT;
        Client c;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        client_start(&c);
        await_connection(&w);
        assert_false(wishes_take(&w, "not \x01now"));
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
        assert_true(wishes_take(&w, NULL));
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
        (void)close_fd(connect_raw());
        assert_false(wishes_take(&w, NULL));
        fd = connect_raw();
        assert_true(wishes_take(&w, NULL));
        (void)close_fd(fd);
        assert_false(wishes_take(&w, NULL));
        assert_true(wishes_wait(&w, -1, 0));
        wishes_done(&w);
}

static void test_hostile(void **state) {
        int fds[WISHES_MAX + 1], talks;
        Wishes w = WISHES_INIT;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        talks = connect_raw();
        assert_int_equal(send(talks, "go\n", 3, 0), 3);
        assert_false(wishes_take(&w, NULL)); /* nothing is to be said there */
        (void)close_fd(talks);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = connect_raw();
                assert_true(wishes_take(&w, NULL));
        }
        assert_int_equal(w.n, WISHES_MAX);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                (void)close_fd(fds[i]);
        assert_false(wishes_take(&w, NULL));
        wishes_done(&w);
}

/* More than are taken: each is told, in the end. */
static void test_too_many(void **state) {
        int fds[WISHES_MAX];
        Wishes w = WISHES_INIT;
        Client c;

        assert_int_equal(wishes_open(&w, dir, "p", NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = connect_raw();
                assert_true(wishes_take(&w, NULL));
        }
        client_start(&c);
        /* it tries again, and one look may see more than one of its tries */
        while (pthread_tryjoin_np(c.thread, NULL) == EBUSY) {
                struct pollfd p = { .fd = w.fd, .events = POLLIN };

                (void)poll(&p, 1, 10);
                assert_true(wishes_take(&w, NULL));
        }
        assert_int_equal(c.r, -EBUSY);
        assert_non_null(strstr(c.err.text, "too many"));
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
                cmocka_unit_test(test_hung_up),   cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_too_many),  cmocka_unit_test(test_strange_answer),
                cmocka_unit_test(test_bad_names),
        };

        return cmocka_run_group_tests_name("wish", tests, set_up, tear_down);
}
