/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: what a configuration may say, which programs may run, and that one which hangs, fails,
 * floods its log or leaves something behind is dealt with. rows: F74 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "shim/config.h"
#include "shim/ctl/hook-link.h"
#include "shim/ctl/hook-run.h"
#include "shim/ctl/hook-serve.h"
#include "shim/ctl/migrate-hooks.h"
#include "shim/ctl/values.h"
#include "shim/plan/plan-engine.h"

static char directory[64];

/* -- what a configuration may say -- */

#define HOOKS(x) "{\"hooks\": " x "}"
#define ONE(x)   HOOKS("{\"pre-target\": [" x "]}")
#define RUN      "\"run\": [\"/x\"]"

static const struct {
        const char *text, *says; /* NULL: accepted */
} rows[] = {
        { HOOKS("{}"), NULL },
        { HOOKS("{\"on-failure\": []}"), NULL },
        { ONE("{" RUN "}"), NULL },
        { ONE("{\"run\": [\"/x\", \"\", \"a b\"], \"timeout\": \"1ms\", \"retries\": 10,"
              " \"retry_delay\": \"0\", \"on_failure\": \"abort\"}"),
          NULL },
        { HOOKS("{\"post-source\": [{" RUN ", \"on_failure\": \"ignore\"}]}"), NULL },
        { HOOKS("1"), "hooks: an object" },
        { HOOKS("[]"), "hooks: an object" },
        { HOOKS("{\"pre\": []}"), "no event 'pre'" },
        { HOOKS("{\"pre-source\": {}}"), "pre-source: a list" },
        { HOOKS("{\"pre-source\": null}"), "pre-source: a list" },
        { HOOKS("{\"post-source\": [{" RUN ", \"on_failure\": \"abort\"}]}"), "nothing is left" },
        { HOOKS("{\"on-failure\": [{" RUN ", \"on_failure\": \"abort\"}]}"), "nothing is left" },
        { ONE("\"/x\""), "pre-target[0]: an object" },
        { ONE("null"), "pre-target[0]: an object" },
        { ONE("{}"), "\"run\" is missing" },
        { ONE("{\"run\": \"/x\"}"), "run: a program" },
        { ONE("{\"run\": []}"), "run: a program" },
        { ONE("{\"run\": [1]}"), "run: a list of texts" },
        { ONE("{\"run\": [\"/x\", null]}"), "run: a list of texts" },
        { ONE("{\"run\": [\"/x\\u0000y\"]}"), "run: a list of texts" },
        { ONE("{\"run\": [\"x\"]}"), "run: the program" },
        { ONE("{\"run\": [\"\"]}"), "run: the program" },
        { ONE("{\"run\": [\"/a/../x\"]}"), "run: the program" },
        { ONE("{\"run\": [\"/x\", \"a\\nb\"]}"), "run: an argument" },
        { ONE("{" RUN ", \"timeout\": 30}"), "timeout: a text" },
        { ONE("{" RUN ", \"timeout\": \"soon\"}"), "timeout: \"soon\"" },
        { ONE("{" RUN ", \"timeout\": \"0\"}"), "timeout: 0: from 1ms" },
        { ONE("{" RUN ", \"timeout\": \"2h\"}"), "timeout: 2h: from 1ms" },
        { ONE("{" RUN ", \"timeout\": \"-1s\"}"), "timeout: \"-1s\"" },
        { ONE("{" RUN ", \"retries\": -1}"), "retries: a number" },
        { ONE("{" RUN ", \"retries\": 11}"), "retries: a number" },
        { ONE("{" RUN ", \"retries\": 1.5}"), "retries: a number" },
        { ONE("{" RUN ", \"retries\": 99999999999999999999}"), "retries: a number" },
        { ONE("{" RUN ", \"retry_delay\": \"61s\"}"), "retry_delay: 61s" },
        { ONE("{" RUN ", \"on_failure\": \"retry\"}"), "on_failure: abort or ignore" },
        { ONE("{" RUN ", \"on_failure\": true}"), "on_failure: abort or ignore" },
        { ONE("{" RUN ", \"shell\": true}"), "pre-target[0]: unknown key 'shell'" },
        { ONE("{" RUN "}, {" RUN ", \"x\": 1}"), "pre-target[1]: unknown key 'x'" },
};

static void test_parse(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_config_ Config c = {};
                Error e = ERROR_INIT;
                int r = config_parse(&c, "the-file", rows[i].text, &e);

                if (!rows[i].says) {
                        if (r < 0)
                                fail_msg("%s: %s", rows[i].text, e.text);
                        continue;
                }
                if (r != -EINVAL || !strstr(e.text, "the-file: hooks") ||
                    !strstr(e.text, rows[i].says))
                        fail_msg("%s: %d, says '%s'", rows[i].text, r, e.text);
        }
}

static void test_values(void **state) {
        _cleanup_config_ Config c = {};
        const HookList *l = &c.hooks.events[HOOK_PRE_TARGET];

        assert_int_equal(config_parse(&c, "f",
                                      ONE("{\"run\": [\"/x\", \"a b\"], \"timeout\": \"2m\","
                                          " \"retries\": 3, \"retry_delay\": \"500ms\","
                                          " \"on_failure\": \"ignore\"}, {" RUN "}"),
                                      NULL),
                         0);
        assert_int_equal(l->n, 2);
        assert_string_equal(l->hooks[0].run[1], "a b");
        assert_null(l->hooks[0].run[2]);
        assert_int_equal(l->hooks[0].timeout_ms, 120000);
        assert_int_equal(l->hooks[0].delay_ms, 500);
        assert_int_equal(l->hooks[0].retries, 3);
        assert_true(l->hooks[0].ignore);
        assert_int_equal(l->hooks[1].timeout_ms, HOOK_TIMEOUT_MS);
        assert_int_equal(l->hooks[1].retries, 0);
        assert_false(l->hooks[1].ignore);
}

static void test_too_many(void **state) {
        _cleanup_hooks_ Hooks h = {};

        for (unsigned i = 0; i <= HOOKS_MAX; i++) {
                char **words = NULL;

                assert_int_equal(words_add(&words, "/x"), 0);
                assert_int_equal(hooks_add(&h, HOOK_POST_SOURCE, words, NULL),
                                 i < HOOKS_MAX ? 0 : -EINVAL);
        }
        assert_int_equal(h.events[HOOK_POST_SOURCE].n, HOOKS_MAX);
        assert_true(h.events[HOOK_POST_SOURCE].hooks[0].ignore);
}

static const struct {
        const char *text, *says;
} given[] = {
        { "pre-source=/x", NULL },
        { "on-failure=/x 'a b'", NULL },
        { "pre-target=/x", "other host" },
        { "post-target=/x", "other host" },
        { "pre-source", "EVENT=COMMAND" },
        { "=/x", "EVENT=COMMAND" },
        { "", "EVENT=COMMAND" },
        { "after=/x", "EVENT=COMMAND" },
        { "pre-source=", "empty command" },
        { "pre-source=x", "run: the program" },
        { "pre-source=/x 'a", "quote" },
};

static void test_given(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(given); i++) {
                MoverHooks h = {};
                Error e = ERROR_INIT;
                int r = mover_hooks_give(&h, given[i].text, &e);

                assert_int_equal(r, given[i].says ? -EINVAL : 0);
                if (given[i].says && !strstr(e.text, given[i].says))
                        fail_msg("%s: says '%s'", given[i].text, e.text);
                assert_int_equal(hooks_any(&h.given), !given[i].says);
                mover_hooks_done(&h);
        }
}

/* -- programs -- */

static char *program(const char *name, mode_t mode, const char *text) {
        char *path = NULL;
        FILE *f;

        assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
        f = fopen(path, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, mode), 0);
        return path;
}

/* {"run": [path], "timeout": ...}: an event with this one. */
static void make(Hooks *h, HookEvent e, const char *path, const char *more) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ json_object *o = NULL;

        assert_true(asprintf(&text, "{\"%s\": [{\"run\": [\"%s\"] %s}]}", hook_event_name(e), path,
                             more) > 0);
        assert_int_equal(json_read(text, strlen(text), &o, NULL), 0);
        assert_int_equal(hooks_parse(h, o, NULL), 0);
}

static void check_says(const char *path, const char *says) {
        _cleanup_hooks_ Hooks h = {};
        Error e = ERROR_INIT;
        int r;

        make(&h, HOOK_PRE_SOURCE, path, "");
        r = hook_check(&h.events[HOOK_PRE_SOURCE].hooks[0], &e);
        if ((r == 0) != (says == NULL) || (says && !strstr(e.text, says)))
                fail_msg("%s: %d, says '%s'", path, r, e.text);
}

static void test_check(void **state) {
        _cleanup_free_ char *good = program("good", 0755, "#!/bin/sh\n"), *inside = NULL;
        _cleanup_free_ char *plain = program("plain", 0644, ""), *link = NULL, *open = NULL;
        _cleanup_free_ char *wide = program("wide", 0777, ""), *other = program("other", 0755, "");
        bool root = geteuid() == 0;

        check_says(good, NULL);
        check_says("/nonexistent/hook", "No such file");
        check_says(directory, "no file");
        check_says("/dev/null", "no file");
        check_says(plain, "not executable");
        assert_true(asprintf(&link, "%s/link", directory) > 0);
        assert_int_equal(symlink(wide, link), 0);
        check_says(wide, root ? "others than root may write" : NULL);
        check_says(link, root ? "others than root may write" : NULL);
        assert_true(asprintf(&open, "%s/open", directory) > 0);
        assert_int_equal(mkdir(open, 0700), 0);
        assert_int_equal(chmod(open, 0777), 0);
        assert_true(asprintf(&inside, "%s/in", open) > 0);
        assert_int_equal(rename(good, inside), 0);
        check_says(inside, root ? "others than root may write" : NULL);
        if (root) {
                assert_int_equal(chown(other, 12345, 0), 0);
                check_says(other, "belongs to user 12345");
        }
}

static void test_facts(void **state) {
        _cleanup_json_ json_object *o = NULL, *own = NULL;
        _cleanup_hooks_ Hooks h = {};

        make(&h, HOOK_PRE_TARGET, "/nonexistent/a", "");
        make(&h, HOOK_PRE_SOURCE, "/nonexistent/b", "");
        make(&h, HOOK_ON_FAILURE, "/nonexistent/c", "");
        o = hooks_facts(&h, true);
        assert_int_equal(json_get_number(json_get(o, "events"), "pre-target"), 1);
        assert_null(json_get(json_get(o, "events"), "pre-source"));
        assert_int_equal(json_object_array_length(json_get(o, "problems")), 2);
        own = hooks_facts(&h, false);
        assert_int_equal(json_get_number(json_get(own, "events"), "pre-source"), 1);
        assert_null(json_get(json_get(own, "events"), "pre-target"));
}

/* The other host says what it likes. */
static void test_learn(void **state) {
        static const char *const texts[] = {
                "1",
                "null",
                "{}",
                "{\"events\": [], \"problems\": {}}",
                "{\"events\": {\"pre-target\": \"x\"}, \"problems\": [1, null, {}]}",
                "{\"events\": {\"pre-target\": -5, \"x\": 1}, \"problems\": [[\"x\"]]}",
        };
        _cleanup_json_ json_object *many = json_object_new_object();
        json_object *list = json_object_new_array();
        char text[2000];
        MoverHooks h = {};

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_json_ json_object *o = NULL;

                (void)json_read(texts[i], strlen(texts[i]), &o, NULL);
                mover_hooks_learn(&h, o, "h2\033[31m");
                assert_false(h.there[HOOK_PRE_TARGET]);
                assert_int_equal(h.n_problems, 0);
                assert_string_equal(h.there_name, "h2?[31m");
        }
        memset(text, 'x', sizeof(text));
        text[sizeof(text) - 1] = '\0';
        text[5] = '\n';
        for (int i = 0; i < 100; i++)
                assert_int_equal(json_append(list, json_object_new_string(text)), 0);
        assert_int_equal(json_add(many, "problems", list), 0);
        mover_hooks_learn(&h, many, "h2");
        assert_int_equal(h.n_problems, HOOK_PROBLEMS_MAX);
        assert_int_equal(strlen(h.problems[0]), HOOK_PROBLEM_MAX - 1);
        assert_int_equal(h.problems[0][5], '?');
}

static void test_take(void **state) {
        static const char said[] =
                "{\"program\": \"/x\\u001b[2J\", \"attempt\": -3, \"of\": \"y\","
                " \"ms\": 12, \"output\": \"a\\nb\\u0007\", \"result\": \"done\","
                " \"extra\": {}, \"why\": [1], \"ignored\": 1}";
        const HookCall call = { .event = HOOK_PRE_TARGET, .there = true };
        _cleanup_json_ json_object *o = NULL, *clean = NULL, *none = NULL;

        assert_int_equal(json_read(said, strlen(said), &o, NULL), 0);
        clean = hook_link_take(&call, o, false);
        assert_string_equal(json_get_text(clean, "program"), "/x?[2J");
        assert_string_equal(json_get_text(clean, "output"), "a\nb?");
        assert_string_equal(json_get_text(clean, "side"), "destination");
        assert_string_equal(json_get_text(clean, "why"), "");
        assert_int_equal(json_get_number(clean, "attempt"), 0);
        assert_int_equal(json_get_number(clean, "ms"), 12);
        assert_null(json_get(clean, "extra"));
        none = hook_link_take(&call, NULL, true);
        assert_string_equal(json_get_text(none, "result"), "begun");
}

/* -- one run -- */

static const struct {
        const char *name, *text; /* a script */
        unsigned timeout_ms;     /* 0: none */
        int code;
        HookEnd end;
        int status;
        const char *says, *output; /* parts; NULL: none */
        unsigned more_ms;          /* it takes so much longer than its timeout */
} runs[] = {
        { "it ends well", "#!/bin/sh\necho one; echo two >&2; read x || echo no input; pwd\n", 0, 0,
          HOOK_DONE, 0, "", "one\ntwo\nno input\n/\n", 0 },
        { "it fails", "#!/bin/sh\necho before; echo because; exit 3\n", 0, -EIO, HOOK_FAILED, 3,
          "exit status 3: because", "because", 0 },
        { "a signal ends it", "#!/bin/sh\nkill -9 $$\n", 0, -EIO, HOOK_FAILED, 9,
          "ended by signal 9", NULL, 0 },
        { "it hangs", "#!/bin/sh\necho waiting\nsleep 1000\n", 300, -ETIMEDOUT, HOOK_LATE, 15,
          " s, killed: waiting", "waiting", 0 },
        { "it hangs and does not listen",
          "#!/bin/sh\ntrap '' TERM\necho deaf\nwhile :; do sleep 1000; done\n", 200, -ETIMEDOUT,
          HOOK_LATE, 9, "not done in ", "deaf", 2000 },
        { "it stands still", "#!/bin/sh\nkill -STOP $$\n", 200, -ETIMEDOUT, HOOK_LATE, 9,
          "not done", NULL, 2000 },
        { "it floods, and ends", "#!/bin/sh\nhead -c 50000000 /dev/zero | tr '\\0' x\necho end\n",
          0, 0, HOOK_DONE, 0, "", "xend\n", 0 },
        { "it floods and hangs", "#!/bin/sh\nexec yes\n", 300, -ETIMEDOUT, HOOK_LATE, 15,
          " s, killed: y", "y\ny\n", 0 },
        { "a child keeps its output open", "#!/bin/sh\nsleep 1000 & echo gone\n", 0, 0, HOOK_DONE,
          0, "", "gone\n", 0 },
        { "it closes its output, and hangs", "#!/bin/sh\nexec sleep 1000 >/dev/null 2>&1\n", 300,
          -ETIMEDOUT, HOOK_LATE, 15, "not done", NULL, 0 },
        { "its interpreter is not there", "#!/nonexistent/sh\n", 0, -ENOENT, HOOK_NOT_RUN, 0,
          "cannot be run: No such file", NULL, 0 },
        { "it is no program", "hello\n", 0, -ENOEXEC, HOOK_NOT_RUN, 0, "cannot be run: Exec format",
          NULL, 0 },
};

/* "": as it should be; else what it was. */
static void run_row(size_t i, unsigned timeout_ms, char ret[static 400]) {
        char *const env[] = { (char[]){ "PATH=/usr/bin:/bin" }, NULL };
        static const int stops[HOOK_STOPS] = { -1, -1 };
        _cleanup_free_ char *path = program("run", 0755, runs[i].text);
        _cleanup_hooks_ Hooks h = {};
        char more[40] = "";
        Error e = ERROR_INIT;
        HookOutcome o;
        int r;

        if (timeout_ms > 0)
                (void)snprintf(more, sizeof(more), ", \"timeout\": \"%ums\"", timeout_ms);
        make(&h, HOOK_PRE_SOURCE, path, more);
        r = hook_run(&h.events[HOOK_PRE_SOURCE].hooks[0], env, stops, &o, &e);
        assert_true(o.n_output <= HOOK_OUTPUT_MAX);
        if (strstr(runs[i].name, "floods, and ends"))
                assert_int_equal(o.dropped + o.n_output, 50000004);
        ret[0] = '\0';
        if (r != runs[i].code || o.end != runs[i].end || o.status != runs[i].status ||
            !strstr(e.text, runs[i].says) ||
            (runs[i].output ? !strstr(o.output, runs[i].output) : o.n_output > 0) ||
            o.ms < timeout_ms + runs[i].more_ms || o.ms > timeout_ms + 20000)
                (void)snprintf(ret, 400, "%s: %d, %s %d in %u ms, says '%.200s', output %zu bytes",
                               runs[i].name, r, hook_end_name(o.end), o.status, (unsigned)o.ms,
                               e.text, o.n_output);
}

/* One that is ended at its deadline has done its part before, if the machine let it: else once
 * more, with more time. */
static void test_run(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(runs); i++) {
                char was[400];

                run_row(i, runs[i].timeout_ms, was);
                if (was[0] && runs[i].timeout_ms > 0)
                        run_row(i, 20 * runs[i].timeout_ms, was);
                if (was[0])
                        fail_msg("%s", was);
        }
}

/* Nothing of a hook's group is left, also of one that ended well. */
static void test_group(void **state) {
        char *const env[] = { (char[]){ "PATH=/usr/bin:/bin" }, NULL };
        static const int stops[HOOK_STOPS] = { -1, -1 };
        _cleanup_free_ char *path = program("group", 0755, "#!/bin/sh\nsleep 1000 & echo $!\n");
        _cleanup_hooks_ Hooks h = {};
        HookOutcome o;
        uint64_t end;
        pid_t child;

        make(&h, HOOK_PRE_SOURCE, path, "");
        assert_int_equal(hook_run(&h.events[HOOK_PRE_SOURCE].hooks[0], env, stops, &o, NULL), 0);
        child = (pid_t)atoi(o.output);
        assert_true(child > 1);
        for (end = clock_ms() + 5000; clock_ms() < end && kill(child, 0) == 0;) {
                char stat[64], text[256] = "";
                FILE *f;

                /* killed, but whoever inherits it has not waited for it */
                (void)snprintf(stat, sizeof(stat), "/proc/%d/stat", child);
                f = fopen(stat, "re");
                if (f && fgets(text, sizeof(text), f) && strstr(text, ") Z"))
                        end = 0;
                if (f)
                        (void)fclose(f);
                (void)poll(NULL, 0, 5);
        }
        assert_true(kill(child, 0) < 0 || end == 0);
}

/* -- those of an event -- */

typedef struct Served {
        int code;
        Error why;
        char text[65536]; /* what was said */
} Served;

static void serve(Served *v, const Hooks *own, HookEvent event, bool may_name, const char *request,
                  bool hang_up) {
        HookServe s = {
                .own = own, .event = event, .side = "source", .may_name = may_name, .signals = -1
        };
        size_t used = 0;
        int pair[2];
        ssize_t n;

        *v = (Served){};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(write(pair[0], request, strlen(request)), (ssize_t)strlen(request));
        if (hang_up)
                assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
        s.in = s.out = pair[1];
        v->code = hook_serve(&s, &v->why);
        (void)close(pair[1]);
        while ((n = read(pair[0], v->text + used, sizeof(v->text) - 1 - used)) > 0)
                used += (size_t)n;
        (void)close(pair[0]);
}

static unsigned count(const char *text, const char *part) {
        unsigned n = 0;

        for (; (text = strstr(text, part)); text++)
                n++;
        return n;
}

#define WELL                                                                                       \
        "{\"pod\": \"web\", \"type\": \"live\", \"session\": \"m1\", \"from\": \"h1\", \"to\": \"h2\""

static const struct {
        const char *text, *says;
        int code;
} requests[] = {
        { "", "ended before", -EPIPE },
        { "{}", "ended before", -EPIPE }, /* no end of line */
        { "\n", "JSON", -EBADMSG },
        { "x\n", "JSON", -EBADMSG },
        { "{}\n", "pod name", -EINVAL },
        { "{\"pod\": \"../x\", \"type\": \"live\", \"session\": \"m1\"}\n", "pod name", -EINVAL },
        { "{\"pod\": \"web\", \"type\": \"tepid\", \"session\": \"m1\"}\n", "cold or warm",
          -EINVAL },
        { "{\"pod\": \"web\", \"type\": \"live\", \"session\": \"/\"}\n", "session", -EINVAL },
        { WELL ", \"error\": \"a\\nb\"}\n", "error", -EINVAL },
        { WELL ", \"error\": 1}\n", "error: no text", -EINVAL },
        { WELL ", \"step\": \"a\\u0000b\"}\n", "step: no text", -EINVAL },
        { WELL ", \"hooks\": {\"pre-source\": [{\"run\": [\"/bin/true\"]}]}}\n", "its own hooks",
          -EPERM },
        { WELL ", \"hooks\": null}\n", NULL, 0 },
        { WELL "}\n", NULL, 0 },
};

static void test_requests(void **state) {
        Served *v = calloc(1, sizeof(*v));
        Hooks own = {};

        assert_non_null(v);
        for (size_t i = 0; i < ELEMENTSOF(requests); i++) {
                serve(v, &own, HOOK_PRE_SOURCE, false, requests[i].text, true);
                if (v->code != requests[i].code ||
                    (requests[i].says && !strstr(v->why.text, requests[i].says)))
                        fail_msg("%s: %d '%s'", requests[i].text, v->code, v->why.text);
                if (v->code == 0)
                        assert_string_equal(v->text, "{\"end\":{\"ok\":true}}\n");
        }
        free(v);
}

static void test_too_long(void **state) {
        _cleanup_free_ char *text = malloc(HOOK_REQUEST_MAX + 2);
        Served *v = calloc(1, sizeof(*v));
        Hooks own = {};

        assert_non_null(text);
        assert_non_null(v);
        memset(text, 'x', HOOK_REQUEST_MAX + 1);
        text[HOOK_REQUEST_MAX + 1] = '\0';
        serve(v, &own, HOOK_PRE_SOURCE, false, text, false);
        assert_int_equal(v->code, -EBADMSG);
        free(v);
}

/* A clean environment, with what it is about in it. */
static void test_environment(void **state) {
        _cleanup_free_ char *path = program("env", 0755, "#!/bin/sh\nexec env\n");
        static const char *const expected[] = {
                "PODFERRY_POD=web",       "PODFERRY_EVENT=on-failure",
                "PODFERRY_TYPE=live",     "PODFERRY_SESSION=m1",
                "PODFERRY_FROM=h1",       "PODFERRY_TO=h2",
                "PODFERRY_STEP=transfer", "PODFERRY_ERROR=it broke",
                "PODFERRY_SIDE=source",   "PODFERRY_OUTCOME=rolled-back",
                "PODFERRY_ATTEMPT=1",     "PATH=/usr/local/sbin",
        };
        Served *v = calloc(1, sizeof(*v));
        _cleanup_hooks_ Hooks h = {};

        assert_non_null(v);
        make(&h, HOOK_ON_FAILURE, path, "");
        assert_int_equal(setenv("LEAK", "yes", 1), 0);
        serve(v, &h, HOOK_ON_FAILURE, false,
              WELL ", \"step\": \"transfer\", \"error\": \"it broke\","
                   " \"outcome\": \"rolled-back\"}\n",
              false);
        assert_int_equal(v->code, 0);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                if (!strstr(v->text, expected[i]))
                        fail_msg("%s is not in %s", expected[i], v->text);
        assert_null(strstr(v->text, "LEAK"));
        free(v);
}

static void test_retry(void **state) {
        _cleanup_free_ char *path =
                program("retry", 0755,
                        "#!/bin/sh\necho try $PODFERRY_ATTEMPT\n[ $PODFERRY_ATTEMPT = 3 ]\n");
        Served *v = calloc(1, sizeof(*v));
        _cleanup_hooks_ Hooks enough = {}, few = {};

        assert_non_null(v);
        make(&enough, HOOK_PRE_SOURCE, path, ", \"retries\": 5, \"retry_delay\": \"10ms\"");
        serve(v, &enough, HOOK_PRE_SOURCE, false, WELL "}\n", false);
        assert_int_equal(v->code, 0);
        assert_int_equal(count(v->text, "{\"begun\""), 3);
        assert_int_equal(count(v->text, "\"result\":\"failed\""), 2);
        assert_int_equal(count(v->text, "\"ok\":true"), 1);
        make(&few, HOOK_PRE_SOURCE, path, ", \"retries\": 1, \"retry_delay\": \"10ms\"");
        serve(v, &few, HOOK_PRE_SOURCE, false, WELL "}\n", false);
        assert_int_equal(count(v->text, "{\"begun\""), 2);
        assert_non_null(strstr(v->text, "\"ok\":false,\"why\":\""));
        assert_non_null(strstr(v->text, "exit status 1: try 2"));
        free(v);
}

/* What failed and is to abort is the last; what is to be ignored is not. */
static void test_policy(void **state) {
        _cleanup_free_ char *bad = program("bad", 0755, "#!/bin/sh\nexit 1\n");
        _cleanup_free_ char *good = program("good2", 0755, "#!/bin/sh\necho fine\n");
        Served *v = calloc(1, sizeof(*v));
        _cleanup_hooks_ Hooks abort = {}, ignore = {}, post = {};

        assert_non_null(v);
        make(&abort, HOOK_PRE_SOURCE, bad, "");
        make(&abort, HOOK_PRE_SOURCE, good, "");
        serve(v, &abort, HOOK_PRE_SOURCE, false, WELL "}\n", false);
        assert_null(strstr(v->text, "fine"));
        assert_non_null(strstr(v->text, "\"ok\":false"));
        make(&ignore, HOOK_PRE_SOURCE, bad, ", \"on_failure\": \"ignore\"");
        make(&ignore, HOOK_PRE_SOURCE, good, "");
        serve(v, &ignore, HOOK_PRE_SOURCE, false, WELL "}\n", false);
        assert_non_null(strstr(v->text, "\"ignored\":true"));
        assert_non_null(strstr(v->text, "fine"));
        assert_non_null(strstr(v->text, "\"ok\":true"));
        make(&post, HOOK_POST_SOURCE, bad, "");
        make(&post, HOOK_POST_SOURCE, good, "");
        serve(v, &post, HOOK_POST_SOURCE, false, WELL "}\n", false);
        assert_non_null(strstr(v->text, "fine"));
        free(v);
}

/* Whoever asked is gone: the hook is ended, and no other one begins. */
static void test_hang_up(void **state) {
        _cleanup_free_ char *path = program("hang", 0755, "#!/bin/sh\nsleep 1000\n");
        Served *v = calloc(1, sizeof(*v));
        _cleanup_hooks_ Hooks h = {};
        uint64_t begun = clock_ms();

        assert_non_null(v);
        make(&h, HOOK_POST_SOURCE, path, ", \"retries\": 3");
        make(&h, HOOK_POST_SOURCE, path, "");
        serve(v, &h, HOOK_POST_SOURCE, false, WELL "}\n", true);
        assert_int_equal(count(v->text, "{\"begun\""), 1);
        assert_non_null(strstr(v->text, "\"result\":\"stopped\""));
        assert_non_null(strstr(v->text, "\"ok\":false"));
        assert_true(clock_ms() - begun < 20000);
        free(v);
}

/* Only where podferry migrate itself runs: its --hook, before the host's own. */
static void test_named(void **state) {
        _cleanup_free_ char *one = program("one", 0755, "#!/bin/sh\necho first\n");
        _cleanup_free_ char *two = program("two", 0755, "#!/bin/sh\necho second\n");
        _cleanup_free_ char *request = NULL;
        Served *v = calloc(1, sizeof(*v));
        _cleanup_hooks_ Hooks h = {};

        assert_non_null(v);
        make(&h, HOOK_PRE_SOURCE, two, "");
        assert_true(asprintf(&request,
                             WELL ", \"hooks\": {\"pre-source\": [{\"run\": [\"%s\"]}]}}\n",
                             one) > 0);
        serve(v, &h, HOOK_PRE_SOURCE, true, request, false);
        assert_int_equal(v->code, 0);
        assert_non_null(strstr(v->text, "first"));
        assert_true(strstr(v->text, "first") < strstr(v->text, "second"));
        serve(v, &h, HOOK_PRE_SOURCE, false, request, false);
        assert_int_equal(v->code, -EPERM);
        assert_string_equal(v->text, "");
        free(v);
}

/* Their steps are named as the events; a plan tries such a move again. */
static void test_plan(void **state) {
        assert_int_equal(plan_classify(hook_event_name(HOOK_PRE_SOURCE)), PLAN_CLASS_PREPARE);
        assert_int_equal(plan_classify(hook_event_name(HOOK_PRE_TARGET)), PLAN_CLASS_PREPARE);
}

static int set_up(void **state) {
        (void)snprintf(directory, sizeof(directory), "/tmp/podferry-hooks.XXXXXX");
        (void)signal(SIGPIPE, SIG_IGN);
        return mkdtemp(directory) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
        return remove(path);
}

static int tear_down(void **state) {
        return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),       cmocka_unit_test(test_values),
                cmocka_unit_test(test_too_many),    cmocka_unit_test(test_given),
                cmocka_unit_test(test_check),       cmocka_unit_test(test_facts),
                cmocka_unit_test(test_learn),       cmocka_unit_test(test_take),
                cmocka_unit_test(test_run),         cmocka_unit_test(test_group),
                cmocka_unit_test(test_requests),    cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_environment), cmocka_unit_test(test_retry),
                cmocka_unit_test(test_policy),      cmocka_unit_test(test_hang_up),
                cmocka_unit_test(test_named),       cmocka_unit_test(test_plan),
        };

        return cmocka_run_group_tests_name("hooks", tests, set_up, tear_down);
}
