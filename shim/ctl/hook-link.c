/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/hook-link.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "shim/ctl/hook-run.h"
#include "shim/ctl/hook-serve.h"
#include "shim/ctl/values.h"

#define CONNECT_MS 120000U /* until it begins, with a password to type before */
#define SLACK_MS   30000U  /* for the rest of what it has to do and to say */
#define END_MS     (HOOK_GRACE_MS + 8000U)
#define WORDS_MS   3000U /* for one that has not begun */

typedef struct Link {
        Mover *mover;
        const HookCall *call;
        int fd;
        RemoteRun run;
        Buf in;
        uint64_t end_ms;
        bool answered, ended;
        int result; /* of its "end" */
        Error why;
} Link;

/* -- the request -- */

static int put_text(json_object *o, const char *key, const char *text) {
        char clean[HOOK_TEXT_MAX];

        if (!text)
                return 0;
        (void)snprintf(clean, sizeof(clean), "%s", text);
        text_clean(clean);
        return json_add_string(o, key, clean);
}

static int make_request(const Mover *m, const HookCall *call, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        const HookList *given = &m->hooks.given.events[call->event];

        if (!o || put_text(o, "pod", call->there ? m->new_name : m->pod) < 0 ||
            put_text(o, "type", m->journey.itinerary->type) < 0 ||
            put_text(o, "session", m->session) < 0 || put_text(o, "from", m->hooks.here_name) < 0 ||
            put_text(o, "to", m->hooks.there_name) < 0 || put_text(o, "step", call->step) < 0 ||
            put_text(o, "error", call->error) < 0 || put_text(o, "outcome", call->outcome) < 0)
                return error_oom(reterr);
        if (!call->there && given->n > 0) {
                _cleanup_json_ json_object *named = json_object_new_object();

                if (!named ||
                    json_add(named, hook_event_name(call->event),
                             hooks_json(given->hooks, given->n)) < 0 ||
                    json_add(o, "hooks", json_object_get(named)) < 0)
                        return error_oom(reterr);
        }
        *ret = TAKE(o);
        return 0;
}

/* A new socket has room for it. One that has ended already says why when it is listened to. */
static int say(const Link *l, const char *text, size_t n) {
        ssize_t k = send(l->fd, text, n, MSG_NOSIGNAL);

        return k == (ssize_t)n || (k < 0 && errno == EPIPE) ? 0 : k < 0 ? -errno : -EIO;
}

static int send_request(Link *l, Error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        const char *text;
        int r = make_request(l->mover, l->call, &o, reterr);

        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                         JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return error_oom(reterr);
        if (strlen(text) > HOOK_REQUEST_MAX)
                return error_setf(reterr, -EINVAL, "--hook: all of them together are too long");
        r = say(l, text, strlen(text));
        if (r == 0)
                r = say(l, "\n", 1);
        return r < 0 ? error_setf(reterr, r, "cannot ask: %s", strerrordesc_np(-r)) : 0;
}

static int open_link(Link *l, Error *reterr) {
        const char *event = hook_event_name(l->call->event);
        const char *here[] = { "hooks", "--run", event, NULL };
        const char *there[] = { "receive", "--pod", l->mover->new_name, "--hooks", event, NULL };
        _cleanup_(remote_done) Remote self = {};
        int r = 0;

        if (!l->call->there)
                r = remote_here(&self, reterr);
        if (r == 0)
                r = remote_start_stream(l->call->there ? &l->mover->remote : &self,
                                        l->call->there ? there : here, &l->run, &l->fd, reterr);
        if (r < 0)
                return r;
        l->end_ms = clock_ms() + CONNECT_MS;
        return send_request(l, reterr);
}

/* -- what it says -- */

static int take_text(json_object *o, json_object *said, const char *key, size_t max) {
        char text[HOOK_OUTPUT_MAX + 1];

        (void)snprintf(text, sizeof(text), "%.*s", (int)MIN_OF(max, (size_t)HOOK_OUTPUT_MAX),
                       json_get_text(said, key));
        text_clean_lines(text);
        return json_add_string(o, key, text);
}

static int take_number(json_object *o, json_object *said, const char *key) {
        int64_t n = json_get_number(said, key);

        return json_get(said, key) ? json_add(o, key, json_object_new_int64(MAX_OF(n, 0))) : 0;
}

json_object *hook_link_take(const HookCall *call, json_object *said, bool begun) {
        static const char *const numbers[] = { "attempt", "of",         "ms",    "dropped",
                                               "status",  "timeout_ms", "signal" };
        _cleanup_json_ json_object *o = json_object_new_object();
        bool good = o && json_add_string(o, "event", hook_event_name(call->event)) == 0 &&
                    json_add_string(o, "side", call->there ? "destination" : "source") == 0 &&
                    take_text(o, said, "program", 400) == 0;

        for (size_t i = 0; good && i < ELEMENTSOF(numbers); i++)
                good = take_number(o, said, numbers[i]) == 0;
        if (good && begun)
                good = json_add_string(o, "result", "begun") == 0;
        else if (good)
                good = take_text(o, said, "result", 20) == 0 &&
                       take_text(o, said, "output", HOOK_OUTPUT_MAX) == 0;
        if (good && json_get(said, "why"))
                good = take_text(o, said, "why", 400) == 0 &&
                       json_add(o, "ignored",
                                json_object_new_boolean(
                                        json_object_get_boolean(json_get(said, "ignored")))) == 0;
        return good ? TAKE(o) : NULL;
}

static int take_attempt(Link *l, json_object *said, bool begun, Error *reterr) {
        _cleanup_json_ json_object *o = hook_link_take(l->call, said, begun);
        uint64_t ms = (uint64_t)json_get_number(o, "timeout_ms");

        if (!o)
                return error_oom(reterr);
        l->answered = true;
        l->end_ms = clock_ms() + SLACK_MS + HOOK_DELAY_MS_MAX +
                    (begun ? MIN_OF(ms, (uint64_t)HOOK_TIMEOUT_MS_MAX) + HOOK_GRACE_MS : 0);
        show_hook(&l->mover->show, o);
        return 0;
}

static int take_line(Link *l, const char *text, size_t n, Error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        json_object *end;

        if (json_read(text, n, &o, NULL) < 0)
                return error_setf(reterr, -EBADMSG, "what it says is not podferry's");
        if (json_get(o, "begun"))
                return take_attempt(l, json_get(o, "begun"), true, reterr);
        if (json_get(o, "hook"))
                return take_attempt(l, json_get(o, "hook"), false, reterr);
        end = json_get(o, "end");
        if (!end)
                return error_setf(reterr, -EBADMSG, "what it says is not podferry's");
        l->ended = true;
        if (json_object_get_boolean(json_get(end, "ok")))
                return 0;
        l->result = error_setf(&l->why, -EIO, "%.450s", json_get_text(end, "why"));
        return 0;
}

static int take_lines(Link *l, Error *reterr) {
        while (!l->ended) {
                const char *from = (const char *)l->in.data;
                const char *end = l->in.len > 0 ? memchr(from, '\n', l->in.len) : NULL;
                int r;

                if (!end)
                        return l->in.len < HOOK_LINE_MAX
                                       ? 0
                                       : error_setf(reterr, -EBADMSG, "it says too much at once");
                r = take_line(l, from, (size_t)(end - from), reterr);
                if (r < 0)
                        return r;
                buf_consume(&l->in, (size_t)(end - from) + 1);
        }
        return 0;
}

/* -- waiting -- */

/* Once the pod is where it is to be, or is back, only a new signal ends what a hook does. */
static int look_around(Link *l, Error *reterr) {
        Mover *m = l->mover;
        bool before = m->cancelled, now;

        if (!m->ending)
                return mover_interrupted(m, reterr);
        m->cancelled = false;
        now = mover_take_signals(m);
        m->cancelled = before || now;
        return now ? error_setf(reterr, -ECANCELED, "interrupted") : 0;
}

static int read_more(Link *l, Error *reterr) {
        ssize_t n;

        if (buf_reserve(&l->in, 4096) < 0)
                return error_oom(reterr);
        n = recv(l->fd, l->in.data + l->in.len, 4096, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0)
                return error_setf(reterr, -ECONNRESET, "it ended without a word");
        l->in.len += (size_t)n;
        return take_lines(l, reterr);
}

static int wait_end(Link *l, Error *reterr) {
        while (!l->ended) {
                uint64_t now = clock_ms();
                int r = look_around(l, reterr);

                if (r < 0)
                        return r;
                if (now >= l->end_ms)
                        return error_setf(reterr, -ETIMEDOUT, "no word of it any more");
                if (!mover_wait_for_fd(l->mover, l->fd, l->end_ms - now))
                        continue;
                r = read_more(l, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What the command says itself is the better reason, where there is none but its end. */
static int explain(Link *l, int r, Error *reterr) {
        Error why = ERROR_INIT;

        l->fd = close_fd(l->fd); /* ends a hook that is still at work */
        if (remote_finish(&l->run,
                          r == -EBADMSG             ? 0
                          : l->answered || l->ended ? END_MS
                                                    : WORDS_MS,
                          &why) < 0 &&
            r == -ECONNRESET)
                r = error_setf(reterr, r, "%s", why.text);
        return r;
}

int hook_link_run(Mover *m, const HookCall *call, Error *reterr) {
        Link l = { .mover = m, .call = call, .fd = -EBADF, .run = REMOTE_RUN_INIT };
        int r = open_link(&l, reterr);

        if (r == 0)
                r = wait_end(&l, reterr);
        r = explain(&l, r, reterr);
        buf_done(&l.in);
        if (r == 0 && l.result < 0)
                r = error_setf(reterr, l.result, "%s", l.why.text);
        return r < 0 ? error_prefix(reterr, r, "%s", call->there ? "destination" : "source") : 0;
}
