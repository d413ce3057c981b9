/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "guest/reaper.h"

static Loop loop;
static Reaper reaper;
static unsigned told;
static int told_status;

static pid_t start(int code) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(code);
        return pid;
}

static void stop_when_told(void *userdata) {
        if (told > 0)
                loop.stop = true;
}

static void on_exit_of(void *userdata, int status, uint64_t at_ns) {
        told++;
        told_status = status;
        assert_true(at_ns > 0);
}

static void run_until_told(void) {
        told = 0;
        loop.stop = false;
        assert_int_equal(loop_run(&loop, stop_when_told, NULL, NULL), 0);
}

/* Waits until `pid` is dead, without reaping it. */
static void wait_dead(pid_t pid) {
        siginfo_t info;

        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static int setup(void **state) {
        assert_int_equal(loop_init(&loop, NULL), 0);
        assert_int_equal(reaper_init(&reaper, &loop, NULL), 0);
        return 0;
}

static void test_codes(void **state) {
        assert_int_equal(exit_code(0), 0);
        assert_int_equal(exit_code(7 << 8), 7);
        assert_int_equal(exit_code(255 << 8), 255);
        assert_int_equal(exit_code(SIGKILL), 137);
        assert_int_equal(exit_code(SIGSEGV | 0x80), 139);
}

static void test_child(void **state) {
        Child c = { .exited = on_exit_of };

        reaper_add(&reaper, &c, start(3));
        run_until_told();
        assert_int_equal(told, 1);
        assert_int_equal(exit_code(told_status), 3);
        assert_int_equal(c.pid, 0);
        reaper_remove(&reaper, &c);
}

/* One that nobody knows, and one whose exit tells when both are reaped. */
static pid_t reap_unknown(int code) {
        Child other = { .exited = on_exit_of };
        pid_t pid = start(code);

        wait_dead(pid);
        reaper_add(&reaper, &other, start(0));
        run_until_told();
        while (waitpid(pid, NULL, WNOHANG) == 0)
                ;
        return pid;
}

static void test_adopt_dead(void **state) {
        Child c = { .exited = on_exit_of };
        uint64_t at_ns = 0;
        int status = 0;
        pid_t pid;

        reaper_expect(&reaper);
        pid = reap_unknown(42);
        assert_true(reaper_adopt(&reaper, &c, pid, &status, &at_ns));
        assert_int_equal(exit_code(status), 42);
        assert_true(at_ns > 0);
        assert_int_equal(c.pid, 0);
        reaper_expect_end(&reaper);
}

static void test_adopt_alive(void **state) {
        Child c = { .exited = on_exit_of };
        uint64_t at_ns;
        pid_t pid;
        int status;

        reaper_expect(&reaper);
        pid = start(9);
        assert_false(reaper_adopt(&reaper, &c, pid, &status, &at_ns));
        reaper_expect_end(&reaper);
        run_until_told();
        assert_int_equal(exit_code(told_status), 9);
}

/* What was remembered is forgotten in time: a pid that comes round again is another process. */
static void test_forget(void **state) {
        Child c = { .exited = on_exit_of };
        uint64_t at_ns;
        pid_t pid;
        int status;

        reaper_expect(&reaper);
        pid = reap_unknown(42);
        reaper_expect_end(&reaper);
        reaper_expect(&reaper);
        assert_true(reaper_adopt(&reaper, &c, pid, &status, &at_ns));
        assert_int_equal(exit_code(status), 137); /* gone, nobody knows how */
        reaper_expect_end(&reaper);
}

static void test_removed(void **state) {
        Child c = { .exited = on_exit_of }, other = { .exited = on_exit_of };

        reaper_add(&reaper, &c, start(1));
        wait_dead(c.pid);
        reaper_remove(&reaper, &c);
        reaper_add(&reaper, &other, start(2));
        run_until_told();
        assert_int_equal(told, 1);
        assert_int_equal(exit_code(told_status), 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_codes),      cmocka_unit_test(test_child),
                cmocka_unit_test(test_adopt_dead), cmocka_unit_test(test_adopt_alive),
                cmocka_unit_test(test_forget),     cmocka_unit_test(test_removed),
        };

        return cmocka_run_group_tests_name("agent-reaper", tests, setup, NULL);
}
