/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's end of the other host's hooks: against podferry itself, and against commands that
 * say what they like, or nothing. rows: F74 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "shim/ctl/hook-link.h"
#include "shim/ctl/migrate-cold.h"
#include "shim/ctl/values.h"

#define BEGUN "{\"begun\":{\"program\":\"/x\",\"attempt\":1,\"of\":1,\"timeout_ms\":1000}}"
#define ENDED "{\"end\":{\"ok\":true}}"

static const struct {
        const char *name, *script;
        int code;
        const char *says;
} rows[] = {
        { "all is well", "echo '" BEGUN "'; echo '" ENDED "'", 0, "" },
        { "with what is not known in it",
          "echo '{\"begun\":7}'; echo '{\"hook\":[]}'; echo '" ENDED "'", 0, "" },
        { "in pieces", "printf '{\"end\"'; sleep 0.1; printf ':{\"ok\":true}}\\n'", 0, "" },
        { "what comes after the end", "echo '" ENDED "'; echo x", 0, "" },
        { "a hook failed", "echo '{\"end\":{\"ok\":false,\"why\":\"/x: no\\u001b\"}}'", -EIO,
          "destination: /x: no?" },
        { "no reason", "echo '{\"end\":{}}'", -EIO, "destination: " },
        { "an end that is none", "echo '{\"end\":null}'", -EBADMSG, "not podferry" },
        { "not JSON", "echo hello; exec sleep 100", -EBADMSG, "not podferry" },
        { "an empty line", "echo; exec sleep 100", -EBADMSG, "not podferry" },
        { "another object", "echo '{}'; exec sleep 100", -EBADMSG, "not podferry" },
        { "no end of a line", "exec tr '\\0' x </dev/zero", -EBADMSG, "too much at once" },
        { "nothing", "exit 0", -ECONNRESET, "ended without a word" },
        { "a reason on stderr", "echo no such host >&2; exit 255", -ECONNRESET, "no such host" },
        { "half of it", "echo '" BEGUN "'; echo dead >&2; exit 1", -ECONNRESET, "dead" },
        { "silence", "exec sleep 100", -ETIMEDOUT, "--timeout" },
        { "silence after it began", "echo '" BEGUN "'; exec sleep 100", -ETIMEDOUT, "--timeout" },
};

static void mover(Mover *m, const char *to) {
        *m = (Mover){ .pod = "web",
                      .new_name = "web2",
                      .session = "m1",
                      .signal_fd = -EBADF,
                      .time_limit_ms = 700,
                      .journey.itinerary = &itinerary_cold };
        assert_int_equal(remote_parse(to, "podferry", NULL, &m->remote, NULL), 0);
        show_init(&m->show, false);
}

static void test_row(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const HookCall call = { .event = HOOK_PRE_TARGET, .there = true };
                _cleanup_free_ char *quoted = word_quote(rows[i].script), *to = NULL;
                uint64_t begun = clock_ms();
                Error e = ERROR_INIT;
                Mover m;
                int r;

                assert_true(asprintf(&to, "exec:sh -c %s", quoted) > 0);
                mover(&m, to);
                m.end_ms = rows[i].code == -ETIMEDOUT ? clock_ms() + m.time_limit_ms : 0;
                r = hook_link_run(&m, &call, &e);
                if (r != rows[i].code || !strstr(e.text, rows[i].says) ||
                    clock_ms() - begun > 20000)
                        fail_msg("%s: %d '%s' after %u ms", rows[i].name, r, e.text,
                                 (unsigned)(clock_ms() - begun));
                remote_done(&m.remote);
        }
}

/* While it is ending, only a signal that comes now is heard; what it said before is remembered. */
static void test_signal(void **state) {
        const HookCall call = { .event = HOOK_POST_TARGET, .there = true };
        sigset_t set, old;
        Mover m;

        mover(&m, "exec:sh -c 'exec sleep 100'");
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGUSR1);
        assert_int_equal(sigprocmask(SIG_BLOCK, &set, &old), 0);
        m.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        assert_true(m.signal_fd >= 0);
        m.ending = true;
        m.end_ms = 1; /* long ago: does not count any more */
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
        assert_int_equal(hook_link_run(&m, &call, NULL), -ECANCELED);
        assert_true(m.cancelled);
        remote_done(&m.remote);
        mover(&m, "exec:sh -c 'echo \\{\\\"end\\\":{\\\"ok\\\":true}}'");
        m.ending = m.cancelled = true;
        assert_int_equal(hook_link_run(&m, &call, NULL), 0);
        assert_true(m.cancelled);
        remote_done(&m.remote);
        assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
}

/* Both ends are ours. */
static void test_podferry(void **state) {
        static const char config[] =
                "{\"hooks\": {\"pre-target\": [{\"run\": [\"/bin/sh\", \"-c\","
                " \"exit 7\"]}], \"post-target\": [{\"run\": [\"/bin/false\"]}]}}";
        HookCall call = { .event = HOOK_PRE_TARGET, .there = true };
        char path[] = "/tmp/podferry-hook-link.XXXXXX";
        int fd = mkstemp(path);
        _cleanup_free_ char *to = NULL;
        Error e = ERROR_INIT;
        Mover m;

        assert_true(fd >= 0);
        assert_int_equal(write(fd, config, strlen(config)), (ssize_t)strlen(config));
        assert_true(asprintf(&to, "exec:env PODFERRY_CONFIG=%s", path) > 0);
        mover(&m, to);
        free(m.remote.program);
        m.remote.program = strdup(PODFERRY);
        assert_int_equal(hook_link_run(&m, &call, &e), -EIO);
        if (!strstr(e.text, "destination: /bin/sh: exit status 7"))
                fail_msg("%s", e.text);
        call.event = HOOK_POST_TARGET;
        assert_int_equal(hook_link_run(&m, &call, NULL), 0); /* it may only warn */
        call.event = HOOK_PRE_SOURCE;
        assert_int_equal(hook_link_run(&m, &call, &e), -ECONNRESET);
        assert_non_null(strstr(e.text, "not for another host to ask for"));
        remote_done(&m.remote);
        (void)unlink(path);
        (void)close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_row),
                cmocka_unit_test(test_signal),
                cmocka_unit_test(test_podferry),
        };

        return cmocka_run_group_tests_name("hook-link", tests, NULL, NULL);
}
