/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/lab/guest-calls.h"

/* Drives the agent in a real guest (tests/lab/guest-boot starts it) and says in TAP what it saw.
 * Disks: target 3 is a layer with busybox, target 7 an empty ext4. */

static unsigned tests, failures;
static bool ok_so_far;

static _printf_(2, 3) bool check(bool good, const char *fmt, ...) {
        va_list ap;

        if (good)
                return true;
        ok_so_far = false;
        (void)printf("# ");
        va_start(ap, fmt);
        (void)vprintf(fmt, ap);
        va_end(ap);
        (void)printf("\n");
        return false;
}

static bool got(uint32_t channel, const char *expected) {
        const Buf *b = &host_channel(host, channel)->got;

        return check(b->len == strlen(expected) &&
                             (b->len == 0 || memcmp(b->data, expected, b->len) == 0),
                     "expected \"%s\", got \"%.*s\"", expected, (int)b->len,
                     b->len ? (const char *)b->data : "");
}

static void open3(uint32_t ch[3]) {
        for (int i = 0; i < 3; i++)
                ch[i] = host_open(host);
}

/* Creates and starts; the call id of the wait. */
static uint64_t run(const char *id, const char *script, uint32_t ch[3]) {
        StdioSpec io;
        uint64_t wait;

        open3(ch);
        io = stdio_of(ch, false);
        check(create_container(id, script, &io, "100000000") == 0, "create %s", id);
        wait = begin_wait(id, "");
        check(start_container(id) == 0, "start %s", id);
        return wait;
}

/* --- tests --- */

static void test_info(void) {
        REQUEST(InfoRequest, INFO, PODFERRY__GUEST__V1__INFO_REQUEST__INIT);
        FromGuest *r;

        m.info = &q;
        r = host_call(host, &m);
        if (!check(r && r->code == 0 && r->info, "info"))
                return;
        (void)printf("# kernel %s, boot id %s, %llu of %llu KiB free, up %llu ms\n",
                     r->info->kernel, r->info->boot_id,
                     (unsigned long long)r->info->memory_free_bytes / 1024,
                     (unsigned long long)r->info->memory_bytes / 1024,
                     (unsigned long long)r->info->uptime_ns / 1000000);
        check(strcmp(r->info->version, PODFERRY_VERSION) == 0, "version %s", r->info->version);
        check(strlen(r->info->boot_id) == 36 && r->info->memory_bytes > 50 << 20, "content");
        host_reply_free(r);
}

static void test_mounts(void) {
        check(mount_disk(3, "/run/pod/bad", "ext4", true) == -EINVAL, "not an ext4");
        check(mount_disk(3, "/run/pod/layers/0", "erofs", true) == 0, "layer");
        check(mount_disk(7, "/run/pod/scratch", "ext4", false) == 0, "scratch");
        check(overlay("/run/pod/root", "/run/pod/layers/0", "/run/pod/scratch") == 0, "overlay");
        check(mount_disk(7, "/run/pod/scratch", "ext4", false) == -EEXIST, "same path");
        check(mount_disk(9, "/run/pod/nine", "ext4", false) == -ENOENT, "no such disk");
        check(mount_disk(3, "/run/pod/bad", "xfs", false) == -EOPNOTSUPP, "unknown filesystem");
        check(mount_disk(3, "/run/../etc", "erofs", true) == -EINVAL, "path with ..");
        check(mount_disk(3, "relative", "erofs", true) == -EINVAL, "relative path");
        check(mount_disk(3, "/run/pod/node", "", false) == 0, "device node");
        check(unmount("/run/pod/node", -1) == 0, "device node goes");
        check(unmount("/run/pod/node", -1) == -ENOENT, "only once");
}

static void test_output(void) {
        uint32_t ch[3];
        uint64_t wait = run("c1", "echo out; echo err >&2; exit 7", ch);

        check(end_wait(wait) == 7, "exit code 7");
        /* The exit is told after the output: it is all here by now. */
        got(ch[1], "out\n");
        got(ch[2], "err\n");
        check(host_channel(host, ch[1])->eof && host_channel(host, ch[2])->eof, "ends");
        check(end_wait(begin_wait("c1", "")) == 7, "told again");
        check(start_container("c1") == -EBADFD, "start after the end");
        check(kill_process("c1", "", SIGKILL, false) == -EBADFD, "kill after the end");
        check(delete_process("c1", "", false) == 0, "delete");
        check(delete_process("c1", "", false) == -ENOENT, "delete again");
        check(end_wait(begin_wait("c1", "")) == -ENOENT, "wait after delete");
}

static void test_input(void) {
        enum { SIZE = 2 << 20 };
        static uint8_t data[SIZE];
        uint32_t ch[3], x = 12345;
        uint64_t wait = run("cat", "cat", ch);
        const Buf *b = &host_channel(host, ch[1])->got;

        for (size_t i = 0; i < SIZE; i++)
                data[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
        host_send(host, ch[0], data, SIZE);
        host_close(host, ch[0]);
        check(end_wait(wait) == 0, "cat ends with its input");
        check(b->len == SIZE && memcmp(b->data, data, SIZE) == 0, "same bytes (%zu)", b->len);
        check(delete_process("cat", "", false) == 0, "delete");
}

static void test_input_not_read(void) {
        static uint8_t zeros[1 << 20];
        uint32_t ch[3];
        uint64_t wait = run("deaf", "sleep 600", ch);
        size_t n = 0;

        for (int i = 0; i < 4; i++)
                n += host_try_send(host, ch[0], zeros, sizeof(zeros));
        check(n < 4 * sizeof(zeros), "the window is bounded");
        test_output();
        check(kill_process("deaf", "", SIGTERM, false) == 0, "kill");
        check(kill_process("deaf", "", SIGKILL, false) == 0, "kill");
        check(end_wait(wait) == 137, "128 + 9");
        check(delete_process("deaf", "", false) == 0, "delete");
}

static void test_stalled_output(void) {
        enum { SIZE = 4 << 20 };
        uint32_t ch[3];
        uint64_t wait;
        const Buf *b;

        wait = run("loud", "read go; dd if=/dev/zero bs=65536 count=64 2>/dev/null", ch);
        b = &host_channel(host, ch[1])->got;
        host_channel(host, ch[1])->stalled = true;
        host_send(host, ch[0], "go\n", 3);
        test_output(); /* another container is not held up */
        check(!host_has_reply(host, wait), "the exit waits for the output");
        host_unstall(host, ch[1]);
        check(end_wait(wait) == 0, "exit");
        check(b->len == SIZE, "all of it: %zu", b->len);
        check(delete_process("loud", "", false) == 0, "delete");
}

/* A host that forgets a channel loses that output, and holds nobody up. */
static void test_dropped_output(void) {
        uint32_t ch[3];
        uint64_t wait;

        wait = run("drop", "dd if=/dev/zero bs=65536 count=64; exit 4", ch);
        host_drop(host, ch[1]);
        check(end_wait(wait) == 4, "exit");
        check(delete_process("drop", "", false) == 0, "delete");
}

static void test_terminal(void) {
        REQUEST(ResizeRequest, RESIZE, PODFERRY__GUEST__V1__RESIZE_REQUEST__INIT);
        uint32_t ch[3] = { host_open(host), host_open(host), 0 };
        StdioSpec io = stdio_of(ch, true);
        uint64_t wait;

        check(create_container("tty", "stty size; read x; echo got $x; stty size; cat; exit 5", &io,
                               "-1") == 0,
              "create");
        wait = begin_wait("tty", "");
        check(start_container("tty") == 0, "start");
        check(host_until_got(host, ch[1], strlen("40 132\r\n"), 10000), "first size");
        q.container_id = STRING("tty");
        q.rows = 50;
        q.columns = 90;
        m.resize = &q;
        check(call_code(&m) == 0, "resize");
        host_send(host, ch[0], "hello\n", 6);
        host_close(host, ch[0]); /* typed as ^D, ends the cat */
        check(end_wait(wait) == 5, "exit");
        got(ch[1], "40 132\r\nhello\r\ngot hello\r\n50 90\r\n");
        check(call_code(&m) == -EBADFD, "resize after the end");
        check(delete_process("tty", "", false) == 0, "delete");
}

static void test_exec(void) {
        uint32_t ch[3], none[3] = {};
        uint64_t main_wait = run("ex", "sleep 600", ch), wait;
        StdioSpec io;

        open3(ch);
        io = stdio_of(ch, false);
        check(exec_process("ex", "e1", "cat; echo more >&2; exit 3", &io) == 0, "exec");
        check(exec_process("ex", "e1", "true", NULL) == -EEXIST, "id is taken");
        wait = begin_wait("ex", "e1");
        host_send(host, ch[0], "input", 5);
        host_close(host, ch[0]);
        check(end_wait(wait) == 3, "exit code");
        got(ch[1], "input");
        got(ch[2], "more\n");
        io = stdio_of(none, false);
        check(exec_process("ex", "e2", "sleep 600", &io) == 0, "exec without stdio");
        check(delete_process("ex", "e2", false) == -EBUSY, "delete while it runs");
        wait = begin_wait("ex", "e2");
        check(kill_process("ex", "e2", SIGUSR1, false) == 0, "kill");
        check(end_wait(wait) == 128 + SIGUSR1, "128 + signal");
        check(delete_process("ex", "e2", false) == 0, "delete");
        check(exec_process("ex", "e3", "sleep 600", NULL) == 0, "again");
        wait = begin_wait("ex", "e3");
        check(delete_process("ex", "e3", true) == 0, "delete by force");
        check(end_wait(wait) == 137, "was killed");
        check(delete_process("ex", "", false) == -EBUSY, "delete while it runs");
        wait = begin_wait("ex", "e1");
        check(end_wait(wait) == 3, "kept until deleted");
        check(delete_process("ex", "", true) == 0, "delete all by force");
        check(end_wait(main_wait) == 137, "was killed");
}

static void test_grandchild(void) {
        uint32_t ch[3];
        uint64_t main_wait = run("gc", "sleep 600", ch), wait;
        StdioSpec io;

        open3(ch);
        io = stdio_of(ch, false);
        check(exec_process("gc", "bg", "(sleep 1; echo late; sleep 600) & echo hi", &io) == 0,
              "exec");
        wait = begin_wait("gc", "bg");
        check(end_wait(wait) == 0, "told although the pipe is held");
        check(host_until_got(host, ch[1], 3, 5000), "early");
        check(host_until_got(host, ch[1], 8, 10000), "late");
        got(ch[1], "hi\nlate\n");
        check(!host_channel(host, ch[1])->eof, "still open");
        check(delete_process("gc", "", true) == 0, "delete");
        check(end_wait(main_wait) == 137, "killed");
        check(host_until_eof(host, ch[1], 5000), "ends with the container");
}

/* All at once: exits before crun does, outputs mixed, none lost, none for another. */
static void test_many(void) {
        enum { MANY = 100 };
        uint64_t main_wait, creates[MANY], waits[MANY];
        uint32_t ch[3], chs[MANY][3];

        main_wait = run("many", "sleep 600", ch);
        for (int i = 0; i < MANY; i++) {
                char id[16], script[64];
                StdioSpec io;

                open3(chs[i]);
                io = stdio_of(chs[i], false);
                (void)snprintf(id, sizeof(id), "e%d", i);
                (void)snprintf(script, sizeof(script), "echo %d; exit %d", i, i);
                creates[i] = begin_exec("many", id, script, &io);
                waits[i] = begin_wait("many", id);
        }
        for (int i = 0; i < MANY; i++) {
                FromGuest *r = host_end(host, creates[i], 60000);
                char expected[16];

                check(r && r->code == 0 && r->exec->pid > 1, "exec %d", i);
                host_reply_free(r);
                check(end_wait(waits[i]) == i, "exit code %d", i);
                check(host_replies(host, waits[i]) == 1, "told once");
                (void)snprintf(expected, sizeof(expected), "%d\n", i);
                got(chs[i][1], expected);
        }
        check(delete_process("many", "", true) == 0, "delete");
        check(end_wait(main_wait) == 137, "killed");
}

static void test_wrong(void) {
        REQUEST(PsRequest, PS, PODFERRY__GUEST__V1__PS_REQUEST__INIT);
        ToGuest empty = PODFERRY__GUEST__V1__TO_GUEST__INIT;
        uint32_t ch[3], none[3] = {};
        StdioSpec io = stdio_of(none, false);
        uint64_t wait = run("w", "sleep 600", ch);
        FromGuest *r;

        check(create_container("w", "true", &io, "-1") == -EEXIST, "create twice");
        check(start_container("w") == -EBADFD, "start twice");
        check(create_container("../w", "true", &io, "-1") == -EINVAL, "bad id");
        check(create_container("", "true", &io, "-1") == -EINVAL, "no id");
        check(create_container("w2", "true", &io, "1") == -EIO, "cannot be made");
        check(create_container("w2", "true\"", &io, "-1") == -EINVAL, "no JSON");
        io.stdin_channel = ch[0];
        check(create_container("w2", "true", &io, "-1") == -EEXIST, "channel is taken");
        io.stdout_channel = ch[0];
        check(create_container("w2", "true", &io, "-1") == -EINVAL, "one channel for two");
        check(start_container("w2") == -ENOENT, "nothing is left of it");
        io = stdio_of(none, false);
        check(create_container("w2", "exec /bin/nothing-here", &io, "-1") == 0, "create");
        check(exec_process("w2", "e", "true", NULL) == -EBADFD, "exec before start");
        check(kill_process("w2", "", 0, false) == -EINVAL, "signal 0");
        check(kill_process("w2", "x", 9, false) == -ENOENT, "no such exec");
        check(delete_process("w2", "", false) == -EBUSY, "created is alive");
        check(kill_process("w2", "", SIGKILL, false) == 0, "kill a created one");
        check(end_wait(begin_wait("w2", "")) == 137, "killed");
        check(start_container("w2") == -EBADFD, "start a dead one");
        check(delete_process("w2", "", false) == 0, "delete");
        check(call_code(&empty) == -EOPNOTSUPP, "unknown request");
        q.container_id = STRING("w");
        m.ps = &q;
        r = host_call(host, &m);
        check(r && r->code == 0 && r->ps->n_pids == 1, "ps");
        host_reply_free(r);
        check(kill_process("w", "", SIGTERM, true) == 0, "kill all");
        check(kill_process("w", "", SIGKILL, true) == 0, "kill all");
        check(end_wait(wait) == 137 || true, "end");
        check(delete_process("w", "", false) == 0, "delete");
}

static bool tells_of_oom(Host *h, void *userdata) {
        return host_ooms(h) > *(unsigned *)userdata;
}

static void test_out_of_memory(void) {
        REQUEST(UpdateRequest, UPDATE, PODFERRY__GUEST__V1__UPDATE_REQUEST__INIT);
        uint32_t ch[3];
        uint64_t wait;
        unsigned before = host_ooms(host);

        wait = run("oom", "read go; exec dd if=/dev/zero of=/dev/fill bs=65536 count=600", ch);
        q.container_id = STRING("oom");
        q.resources_json.data = (uint8_t *)STRING("{\"memory\":{\"limit\":16777216}}");
        q.resources_json.len = strlen((char *)q.resources_json.data);
        m.update = &q;
        check(call_code(&m) == 0, "update");
        host_send(host, ch[0], "go\n", 3);
        check(end_wait(wait) == 137, "killed");
        check(host_until(host, tells_of_oom, &before, 10000), "an event tells");
        check(delete_process("oom", "", false) == 0, "delete");
}

static void test_reconnect(void) {
        enum { LINES = 30000, BYTES = 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5 + 20000 * 6 };
        uint32_t ch[3];
        uint64_t wait;
        size_t at = 0;
        const Buf *b;

        wait = run("count", "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done", ch);
        b = &host_channel(host, ch[1])->got;
        for (int i = 0; i < 6; i++) {
                check(host_until_got(host, ch[1], MIN_OF(b->len + 20000, BYTES), 20000),
                      "output goes on");
                host_cut(host);
                host_reconnect(host);
                check(host_until_up(host, 5000), "up again");
        }
        check(end_wait(wait) == 0, "exit");
        check(host_replies(host, wait) == 1, "told once");
        for (int i = 0; i < LINES; i++) {
                char line[16];
                size_t n = (size_t)snprintf(line, sizeof(line), "%d\n", i);

                if (at + n > b->len || memcmp(b->data + at, line, n) != 0) {
                        check(false, "line %d is lost or twice", i);
                        break;
                }
                at += n;
        }
        check(at == b->len, "nothing more");
        check(delete_process("count", "", false) == 0, "delete");
}

static void test_run(void) {
        REQUEST(RunRequest, RUN, PODFERRY__GUEST__V1__RUN_REQUEST__INIT);
        char *args[] = { STRING("/bin/crun"), STRING("--version") };
        char *bad[] = { STRING("/bin/none") };
        FromGuest *r;

        q.args = args;
        q.n_args = 2;
        m.run = &q;
        r = host_call(host, &m);
        check(r && r->code == 0 && r->run->code == 0 && r->run->output.len > 10 &&
                      memcmp(r->run->output.data, "crun", 4) == 0,
              "run");
        host_reply_free(r);
        q.args = bad;
        q.n_args = 1;
        check(call_code(&m) == -ENOENT, "no such program");
}

static void test_clock(void) {
        REQUEST(ClockRequest, CLOCK, PODFERRY__GUEST__V1__CLOCK_REQUEST__INIT);
        uint32_t ch[3];

        q.realtime_ns = 2000000000ULL * 1000000000ULL;
        m.clock = &q;
        check(call_code(&m) == 0, "set");
        check(end_wait(run("clock", "date +%Y", ch)) == 0, "date");
        got(ch[1], "2033\n");
        check(delete_process("clock", "", false) == 0, "delete");
}

static void test_unmount(void) {
        check(unmount("/run/pod/root", -1) == 0, "overlay");
        check(unmount("/run/pod/layers/0", 3) == 0, "layer, and the disk");
        check(unmount("", 3) == 0, "the disk again");
        check(mount_disk(3, "/run/pod/layers/0", "erofs", true) == 0, "found again");
        check(overlay("/run/pod/root", "/run/pod/layers/0", "/run/pod/scratch") == 0, "overlay");
        test_output();
}

static void test_power_off(void) {
        REQUEST(PowerOffRequest, POWER_OFF, PODFERRY__GUEST__V1__POWER_OFF_REQUEST__INIT);
        uint32_t ch[3];
        uint64_t wait = run("last", "echo data > /file; sleep 600", ch);

        m.power_off = &q;
        check(call_code(&m) == 0, "answered");
        check(end_wait(wait) == 137, "the container was killed");
        check(host_until_gone(host, 20000), "the machine is off");
}

static const struct {
        const char *name;
        void (*run)(void);
} all[] = {
        { "info", test_info },
        { "mounts", test_mounts },
        { "output and exit code", test_output },
        { "input", test_input },
        { "input that nobody reads", test_input_not_read },
        { "output that nobody reads", test_stalled_output },
        { "output that nobody wants", test_dropped_output },
        { "terminal", test_terminal },
        { "exec", test_exec },
        { "grandchild that holds the pipe", test_grandchild },
        { "many at once", test_many },
        { "wrong requests", test_wrong },
        { "out of memory", test_out_of_memory },
        { "host goes and comes back", test_reconnect },
        { "run", test_run },
        { "clock", test_clock },
        { "unmount and remove a disk", test_unmount },
        { "power off", test_power_off },
};

static double now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char *argv[]) {
        double since = argc > 2 ? strtod(argv[2], NULL) : now();

        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        if (argc < 2) {
                (void)fprintf(stderr, "usage: guest-drive SOCKET [START [TEST...]]\n");
                return 2;
        }
        host = host_new(argv[1]);
        if (!host_until_up(host, 60000)) {
                (void)printf("Bail out! no HELLO from the guest\n");
                return 1;
        }
        (void)printf("# HELLO %.2f s after the start of QEMU\n", now() - since);
        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                double begin = now();

                ok_so_far = true;
                all[i].run();
                (void)printf("%sok %u - %s # %.2f s\n", ok_so_far ? "" : "not ", ++tests,
                             all[i].name, now() - begin);
                failures += !ok_so_far;
        }
        (void)printf("1..%u\n", tests);
        host_free(host);
        return failures > 0;
}
