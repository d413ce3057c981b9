/* SPDX-License-Identifier: Apache-2.0 */
/* Places of moves: counted whoever has them, waited for by those who have a limit, free again when
 * they are left or their owner is killed; and the other host's end over a pipe.
 * rows: F71 */
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
#include "shim/ctl/lock-files.h"
#include "shim/ctl/places.h"

#define WAIT_MS 10000

static char dir[] = "/tmp/test-places.XXXXXX";

static int set_up(void **state) {
        return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
        return rmdir(dir); /* nothing is left in it */
}

static int take(PlaceKind kind, unsigned limit, Place *p, unsigned *taken) {
        Error e = ERROR_INIT;
        int r = place_take(dir, kind, limit, p, taken, &e);

        if (r < 0 && r != -EAGAIN)
                print_message("%s\n", e.text);
        return r;
}

static void test_limit(void **state) {
        _cleanup_place_ Place a = PLACE_INIT, b = PLACE_INIT, c = PLACE_INIT, d = PLACE_INIT;
        unsigned taken = 99;

        assert_int_equal(take(PLACE_OUT, 2, &a, &taken), 0);
        assert_int_equal(taken, 0);
        assert_int_equal(take(PLACE_OUT, 2, &b, &taken), 0);
        assert_int_equal(taken, 1);
        assert_int_equal(take(PLACE_OUT, 2, &c, &taken), -EAGAIN);
        assert_int_equal(taken, 2);
        assert_int_equal(take(PLACE_OUT, 3, &c, NULL), 0);
        /* the other kind is another matter */
        assert_int_equal(take(PLACE_IN, 1, &d, &taken), 0);
        assert_int_equal(taken, 0);
        /* without a limit none waits, and is counted */
        place_leave(&d);
        assert_int_equal(take(PLACE_OUT, 0, &d, &taken), 0);
        assert_int_equal(taken, 3);
        place_leave(&a); /* three left: the first name is free, and that does not matter */
        assert_int_equal(take(PLACE_OUT, 3, &a, &taken), -EAGAIN);
        place_leave(&b);
        assert_int_equal(take(PLACE_OUT, 3, &a, &taken), 0);
        assert_int_equal(taken, 2);
}

static void test_left(void **state) {
        _cleanup_place_ Place a = PLACE_INIT;
        char path[64];

        assert_int_equal(take(PLACE_OUT, 1, &a, NULL), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", dir, a.name);
        assert_int_equal(access(path, F_OK), 0);
        place_leave(&a);
        assert_int_equal(access(path, F_OK), -1);
        place_leave(&a); /* and again */
}

static bool has_news(int fd, int ms) {
        return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, ms) == 1;
}

/* Who waits is woken by who leaves, and not by others who look. */
static void test_watch(void **state) {
        _cleanup_place_ Place a = PLACE_INIT, b = PLACE_INIT;
        int fd;

        assert_int_equal(take(PLACE_OUT, 1, &a, NULL), 0);
        assert_int_equal(lock_files_watch(dir, &fd, NULL), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(take(PLACE_OUT, 1, &b, NULL), -EAGAIN);
        assert_false(has_news(fd, 0));
        place_leave(&a);
        assert_true(has_news(fd, WAIT_MS));
        lock_files_watch_read(fd);
        assert_false(has_news(fd, 0));
        assert_int_equal(take(PLACE_OUT, 1, &b, NULL), 0);
        (void)close(fd);
}

static void test_killed(void **state) {
        _cleanup_place_ Place a = PLACE_INIT;
        int ready[2], fd, status;
        pid_t pid;
        char c;

        assert_int_equal(lock_files_watch(dir, &fd, NULL), 0);
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                Place p = PLACE_INIT;

                if (place_take(dir, PLACE_IN, 1, &p, NULL, NULL) < 0 ||
                    write(ready[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        assert_true(pid > 0);
        (void)close(ready[1]);
        assert_int_equal(read(ready[0], &c, 1), 1);
        assert_int_equal(take(PLACE_IN, 1, &a, NULL), -EAGAIN);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(has_news(fd, WAIT_MS));
        assert_int_equal(take(PLACE_IN, 1, &a, NULL), 0);
        (void)close(ready[0]);
        (void)close(fd);
}

/* More than there can be: told, whatever the limit. */
static void test_all(void **state) {
        Place p[PLACES_MAX + 1];
        Error e = ERROR_INIT;

        for (unsigned i = 0; i <= PLACES_MAX; i++)
                p[i] = PLACE_INIT;
        for (unsigned i = 0; i < PLACES_MAX; i++)
                assert_int_equal(take(PLACE_OUT, 0, &p[i], NULL), 0);
        assert_int_equal(place_take(dir, PLACE_OUT, 0, &p[PLACES_MAX], NULL, &e), -EUSERS);
        assert_non_null(strstr(e.text, "256 moves"));
        for (unsigned i = 0; i < PLACES_MAX; i++)
                place_leave(&p[i]);
}

/* What is no file, or no directory, is refused by name. */
static void test_bad(void **state) {
        Place p = PLACE_INIT;
        Error e = ERROR_INIT;
        char path[64];

        (void)snprintf(path, sizeof(path), "%s/.move-out-0", dir);
        (void)unlink(path);
        assert_int_equal(symlink("/etc/passwd", path), 0);
        assert_int_equal(place_take(dir, PLACE_OUT, 1, &p, NULL, &e), -ELOOP);
        assert_non_null(strstr(e.text, ".move-out-0"));
        assert_int_equal(unlink(path), 0);
        assert_int_equal(place_take("/proc/none", PLACE_OUT, 1, &p, NULL, &e), -ENOENT);
}

/* -- over a pipe -- */

typedef struct Server {
        pid_t pid;
        int in, out; /* to it, from it */
} Server;

static void serve(Server *s, unsigned limit) {
        int in[2], out[2];

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        s->pid = fork();
        if (s->pid == 0) {
                (void)dup2(in[0], STDIN_FILENO);
                (void)dup2(out[1], STDOUT_FILENO);
                (void)close_range(3, ~0U, 0); /* the other servers' stdin among them */
                _exit(place_serve(dir, limit, NULL) < 0);
        }
        assert_true(s->pid > 0);
        (void)close(in[0]);
        (void)close(out[1]);
        s->in = in[1], s->out = out[0];
}

static void hear(const Server *s, const char *line) {
        char text[32] = "";

        for (size_t n = 0; n < strlen(line); n++) {
                assert_true(has_news(s->out, WAIT_MS));
                assert_int_equal(read(s->out, text + n, 1), 1);
        }
        assert_string_equal(text, line);
}

static void hang_up(Server *s) {
        int status;

        (void)close(s->in);
        assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
        assert_int_equal(status, 0);
        (void)close(s->out);
}

static void test_serve(void **state) {
        Server a, b, c;

        serve(&a, 1);
        hear(&a, "have\n");
        serve(&b, 1);
        hear(&b, "wait 1\n");
        serve(&c, 2);
        hear(&c, "have\n");
        hear(&b, "wait 2\n");
        hang_up(&a);
        hear(&b, "wait 1\n");
        hang_up(&c);
        hear(&b, "have\n");
        hang_up(&b);
        /* one that gives up waiting */
        serve(&a, 1);
        hear(&a, "have\n");
        serve(&b, 1);
        hear(&b, "wait 1\n");
        hang_up(&b);
        hang_up(&a);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_limit), cmocka_unit_test(test_left),
                cmocka_unit_test(test_watch), cmocka_unit_test(test_killed),
                cmocka_unit_test(test_all),   cmocka_unit_test(test_bad),
                cmocka_unit_test(test_serve),
        };

        return cmocka_run_group_tests_name("places", tests, set_up, tear_down);
}
