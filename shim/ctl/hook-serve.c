/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/hook-serve.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>

#include <systemd/sd-journal.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "hostdev/image/files.h"
#include "lib/clock.h"
#include "shim/ctl/hook-run.h"
#include "shim/ctl/json.h"
#include "shim/ctl/migrate.h"
#include "shim/ctl/values.h"

typedef struct Serving {
        const HookServe *s;
        json_object *request;
        Hooks hooks; /* of this event only */
        char **env;  /* without the attempt */
        int stops[HOOK_STOPS];
} Serving;

static void serving_done(Serving *v) {
        (void)json_object_put(v->request);
        (void)words_free(v->env);
        hooks_done(&v->hooks);
}

/* -- the request -- */

static int read_line(int fd, Buf *line, Error *reterr) {
        for (;;) {
                char c;
                ssize_t n = read(fd, &c, 1); /* one line, once: what follows is not ours to take */

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "cannot read the request: %m");
                if (n == 0)
                        return error_setf(reterr, -EPIPE, "it ended before it asked for anything");
                if (c == '\n')
                        return 0;
                if (line->len >= HOOK_REQUEST_MAX)
                        return error_setf(reterr, -EBADMSG, "the request is too long");
                if (buf_append(line, &c, 1) < 0)
                        return error_oom(reterr);
        }
}

static const struct {
        const char *key, *variable;
        bool must;
} texts[] = {
        { "pod", "PODFERRY_POD", true },         { "type", "PODFERRY_TYPE", true },
        { "session", "PODFERRY_SESSION", true }, { "from", "PODFERRY_FROM", false },
        { "to", "PODFERRY_TO", false },          { "step", "PODFERRY_STEP", false },
        { "error", "PODFERRY_ERROR", false },    { "outcome", "PODFERRY_OUTCOME", false },
};

static int check_texts(const Serving *v, Error *reterr) {
        const char *pod = json_get_text(v->request, "pod");
        const char *type = json_get_text(v->request, "type");
        int r;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                json_object *o = json_get(v->request, texts[i].key);
                const char *text = json_get_text(v->request, texts[i].key);

                if (o && (!json_object_is_type(o, json_type_string) ||
                          strlen(text) != (size_t)json_object_get_string_len(o)))
                        return error_setf(reterr, -EINVAL, "%s: no text", texts[i].key);
                r = text_check(texts[i].key, text, HOOK_TEXT_MAX, reterr);
                if (r < 0)
                        return r;
        }
        r = id_check("pod name", pod, reterr);
        if (r == 0)
                r = id_check("session", json_get_text(v->request, "session"), reterr);
        if (r == 0 && v->s->pod && strcmp(v->s->pod, pod) != 0)
                r = error_setf(reterr, -EINVAL, "pod %.80s: it is another one", pod);
        if (r == 0)
                r = mover_check_type(type, reterr);
        return r;
}

/* Those of the command line first. */
static int collect(Serving *v, Error *reterr) {
        json_object *named = json_get(v->request, "hooks");
        int r = 0;

        if (named && !v->s->may_name)
                return error_setf(
                        reterr, -EPERM,
                        "this host runs its own hooks only, and the request names others");
        if (named)
                r = hooks_parse(&v->hooks, named, reterr);
        return r < 0 ? r : hooks_append(&v->hooks, v->s->own, v->s->event, reterr);
}

/* -- the environment -- */

static int set(char ***env, const char *name, const char *value) {
        _cleanup_free_ char *text = NULL;

        if (asprintf(&text, "%s=%s", name, value) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return words_add(env, text);
}

/* Where this podferry has its things is for a podferry that a hook calls. */
static int make_env(Serving *v, Error *reterr) {
        static const char *const passed[] = { "PODFERRY_CONFIG", "PODFERRY_GUEST_DIR" };
        int r = set(&v->env, "PATH",
                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

        if (r == 0)
                r = set(&v->env, "HOME", "/");
        if (r == 0)
                r = set(&v->env, "LANG", "C.UTF-8");
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(passed); i++)
                if (getenv(passed[i]))
                        r = set(&v->env, passed[i], getenv(passed[i]));
        if (r == 0)
                r = set(&v->env, "PODFERRY_EVENT", hook_event_name(v->s->event));
        if (r == 0)
                r = set(&v->env, "PODFERRY_SIDE", v->s->side);
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(texts); i++) {
                const char *text = json_get_text(v->request, texts[i].key);

                if (*text || texts[i].must)
                        r = set(&v->env, texts[i].variable, text);
        }
        return r < 0 ? error_oom(reterr) : 0;
}

/* -- what is said -- */

static int say(const Serving *v, const char *what, json_object *o, Error *reterr) {
        _cleanup_json_ json_object *line = json_object_new_object();
        const char *text;
        int r;

        if (!line || json_add(line, what, json_object_get(o)) < 0 ||
            !(text = json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE)))
                return error_oom(reterr);
        r = files_write_all(v->s->out, text, strlen(text));
        if (r == 0)
                r = files_write_all(v->s->out, "\n", 1);
        return r < 0 ? error_setf(reterr, r, "nobody listens: %s", strerrordesc_np(-r)) : 0;
}

static void to_journal(const Serving *v, const HookOutcome *o, const char *why) {
        (void)sd_journal_send("MESSAGE=hook %s %s: %s%s%s", hook_event_name(v->s->event),
                              hook_end_name(o->end), why, *o->output ? "\n" : "", o->output,
                              "PRIORITY=%d", o->end == HOOK_DONE ? LOG_INFO : LOG_WARNING,
                              "SYSLOG_IDENTIFIER=podferry", "POD=%s",
                              json_get_text(v->request, "pod"), "SESSION=%s",
                              json_get_text(v->request, "session"), NULL);
}

static int say_begun(const Serving *v, const Hook *h, uint32_t attempt, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add_string(o, "program", h->run[0]) < 0 ||
            json_add(o, "attempt", json_object_new_int64(attempt)) < 0 ||
            json_add(o, "of", json_object_new_int64(1 + (int64_t)h->retries)) < 0 ||
            json_add(o, "timeout_ms", json_object_new_uint64(h->timeout_ms)) < 0)
                return error_oom(reterr);
        return say(v, "begun", o, reterr);
}

static int say_hook(const Serving *v, const Hook *h, uint32_t attempt, HookOutcome *out,
                    const char *why, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        bool last = attempt > h->retries;

        text_clean_lines(out->output);
        to_journal(v, out, why);
        if (!o || json_add_string(o, "program", h->run[0]) < 0 ||
            json_add(o, "attempt", json_object_new_int64(attempt)) < 0 ||
            json_add(o, "of", json_object_new_int64(1 + (int64_t)h->retries)) < 0 ||
            json_add_string(o, "result", hook_end_name(out->end)) < 0 ||
            json_add(o, out->by_signal ? "signal" : "status", json_object_new_int64(out->status)) <
                    0 ||
            json_add(o, "ms", json_object_new_uint64(out->ms)) < 0 ||
            json_add_string(o, "output", out->output) < 0 ||
            json_add(o, "dropped", json_object_new_uint64(out->dropped)) < 0 ||
            (out->end != HOOK_DONE &&
             (json_add_string(o, "why", why) < 0 ||
              json_add(o, "ignored", json_object_new_boolean(last && h->ignore)) < 0)))
                return error_oom(reterr);
        return say(v, "hook", o, reterr);
}

static int say_end(const Serving *v, int result, const Error *why, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();

        if (!o || json_add(o, "ok", json_object_new_boolean(result == 0)) < 0 ||
            (result < 0 && json_add_string(o, "why", error_text(why, result)) < 0))
                return error_oom(reterr);
        return say(v, "end", o, reterr);
}

/* -- running -- */

/* Until it is time for the next attempt, or nobody wants one any more. */
static int wait_delay(const Serving *v, uint64_t ms, Error *reterr) {
        uint64_t end = clock_ms() + ms;

        for (;;) {
                struct pollfd fds[] = { { .fd = v->stops[0], .events = POLLIN },
                                        { .fd = v->stops[1], .events = POLLIN } };
                uint64_t now = clock_ms();

                if (now >= end)
                        return 0;
                if (poll(fds, ELEMENTSOF(fds), (int)(end - now)) > 0)
                        return error_setf(reterr, -ECANCELED, "interrupted");
        }
}

/* One attempt. < 0 with *ret_heard false: nobody listens any more. */
static int run_once(Serving *v, const Hook *h, uint32_t attempt, bool *ret_heard, Error *reterr) {
        _cleanup_(words_freep) char **env = NULL;
        HookOutcome o;
        char number[16];
        int r = say_begun(v, h, attempt, reterr), k;

        *ret_heard = r == 0;
        if (r < 0)
                return r;
        (void)snprintf(number, sizeof(number), "%" PRIu32, attempt);
        for (size_t i = 0; r == 0 && v->env[i]; i++)
                r = words_add(&env, v->env[i]);
        if (r == 0)
                r = set(&env, "PODFERRY_ATTEMPT", number);
        if (r < 0)
                return error_oom(reterr);
        r = hook_run(h, env, v->stops, &o, reterr);
        k = say_hook(v, h, attempt, &o, r < 0 ? error_text(reterr, r) : "", NULL);
        *ret_heard = k == 0;
        return k < 0 ? error_setf(reterr, k, "nobody listens: %s", strerrordesc_np(-k)) : r;
}

static int run_hook(Serving *v, const Hook *h, bool *ret_heard, Error *reterr) {
        for (uint32_t attempt = 1;; attempt++) {
                int r = run_once(v, h, attempt, ret_heard, reterr);

                if (r == 0 || r == -ECANCELED || !*ret_heard || attempt > h->retries)
                        return r;
                r = wait_delay(v, h->delay_ms, reterr);
                if (r < 0)
                        return r;
        }
}

static int run_all(Serving *v, bool *ret_heard, Error *reterr) {
        const HookList *l = &v->hooks.events[v->s->event];

        *ret_heard = true;
        for (size_t i = 0; i < l->n; i++) {
                int r = run_hook(v, &l->hooks[i], ret_heard, reterr);

                if (r < 0 && (r == -ECANCELED || !*ret_heard || !l->hooks[i].ignore))
                        return r;
        }
        return 0;
}

int hook_serve(const HookServe *s, Error *reterr) {
        _cleanup_(serving_done) Serving v = { .s = s, .stops = { s->in, s->signals } };
        _cleanup_buf_ Buf line = {};
        Error why = ERROR_INIT;
        bool heard;
        int r;

        r = read_line(s->in, &line, reterr);
        if (r == 0)
                r = json_read((const char *)line.data, line.len, &v.request, reterr);
        if (r == 0)
                r = check_texts(&v, reterr);
        if (r == 0)
                r = collect(&v, reterr);
        if (r == 0)
                r = make_env(&v, reterr);
        if (r < 0)
                return r;
        r = run_all(&v, &heard, &why);
        if (!heard)
                return error_setf(reterr, r, "%s", error_text(&why, r));
        return say_end(&v, r, &why, reterr);
}

int hook_serve_standard(HookServe *s, Error *reterr) {
        _cleanup_close_ int signals = -EBADF;
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
            (signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
                return error_setf(reterr, -errno, "signals: %m");
        (void)umask(022);
        s->in = STDIN_FILENO;
        s->out = STDOUT_FILENO;
        s->signals = signals;
        return hook_serve(s, reterr);
}
