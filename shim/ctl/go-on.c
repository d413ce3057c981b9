/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/go-on.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "shim/ctl/migrate.h"
#include "shim/ctl/start.h"

#define LOOK_MS         250U
#define LIMIT_MS        120000U
#define ALONE_MS        15000U /* for one side to end its part after the other: libvirt's pace */
#define TRANSPORTS_MAX  40U
#define AGAIN_MS        1000U /* in post-copy: a side may not have noticed yet that its own broke */
#define REMOTE_DEADLINE SECONDS(120)

typedef struct Half {
        const char *name; /* for messages */
        sd_bus *bus;
        char state[32], side[16], record[16], outcome[16];
        char session[96];
        bool gone; /* it has ended, with all that it had here */
        uint64_t carried;
        /* look_closer() */
        char domain[24], driver[16];
        bool up;      /* a transport is in use */
        bool streams; /* post-copy, and what is on its way is kept */
        bool whole;   /* destination of one: all is there, and it waits for the source's end */
} Half;

typedef enum Way {
        WAY_ANEW,   /* what an earlier transport carried is dropped */
        WAY_RESUME, /* post-copy: it goes on */
        WAY_NONE,   /* post-copy, and there is a transport */
} Way;

typedef struct GoOn {
        const Ctl *ctl;
        const char *pod, *there_name;
        Remote remote;
        RemoteRun calls, transport;
        unsigned transports;
        uint64_t again_ms; /* not before: another transport */
        Error why;         /* the last one ended */
        uint64_t carried;
        Half here, there;
} GoOn;

static void go_on_done(GoOn *g) {
        g->here.bus = sd_bus_flush_close_unref(g->here.bus);
        g->there.bus = sd_bus_flush_close_unref(g->there.bus);
        (void)remote_finish(&g->transport, 5000, NULL);
        (void)remote_finish(&g->calls, 5000, NULL);
        remote_done(&g->remote);
}

/* -- what a side says -- */

static int get_text(const Half *h, const char *property, char *ret, size_t n, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = pod_get_string(h->bus, BUS_MIGRATION, MIGRATION_FACE, property, &text, reterr);
        if (r == 0)
                (void)snprintf(ret, n, "%s", text);
        return r;
}

static int get_object(const Half *h, const char *property, json_object **ret, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        int r;

        *ret = NULL;
        r = pod_get_string(h->bus, BUS_MIGRATION, MIGRATION_FACE, property, &text, reterr);
        return r == 0 && *text ? json_read(text, strlen(text), ret, reterr) : r;
}

static int look_once(Half *h, Error *reterr) {
        _cleanup_json_ json_object *journal = NULL, *result = NULL, *progress = NULL;
        char session[96];
        int r;

        if ((r = get_text(h, "State", h->state, sizeof(h->state), reterr)) < 0 ||
            (r = get_text(h, "Side", h->side, sizeof(h->side), reterr)) < 0 ||
            (r = get_text(h, "Session", session, sizeof(session), reterr)) < 0 ||
            (r = get_object(h, "Journal", &journal, reterr)) < 0 ||
            (r = get_object(h, "Result", &result, reterr)) < 0 ||
            (r = get_object(h, "Progress", &progress, reterr)) < 0)
                return r;
        h->carried = (uint64_t)json_get_number(progress, "carried");
        (void)snprintf(h->record, sizeof(h->record), "%s", json_get_text(journal, "record"));
        (void)snprintf(h->outcome, sizeof(h->outcome), "%s", json_get_text(result, "outcome"));
        if (h->session[0] == '\0')
                (void)snprintf(h->session, sizeof(h->session), "%s",
                               session[0] ? session : json_get_text(journal, "session"));
        return 0;
}

static int look(Half *h, Error *reterr) {
        Error e = ERROR_INIT;
        int r = h->gone ? 0 : look_once(h, &e);

        if (pod_has_gone(r)) {
                h->gone = true;
                return 0;
        }
        if (r < 0 && reterr)
                *reterr = e;
        return r < 0 ? error_prefix(reterr, r, "%s", h->name) : 0;
}

/* What is looked at only to choose. */
static int look_closer(Half *h, Error *reterr) {
        _cleanup_json_ json_object *dump = NULL;
        Error e = ERROR_INIT;
        json_object *m;
        int r = h->gone ? 0 : pod_dump(h->bus, &dump, &e);

        if (pod_has_gone(r)) {
                h->gone = true;
                return 0;
        }
        if (r < 0) {
                if (reterr)
                        *reterr = e;
                return error_prefix(reterr, r, "%s", h->name);
        }
        m = json_get(dump, "migration");
        (void)snprintf(h->domain, sizeof(h->domain), "%s", json_get_text(m, "domain"));
        (void)snprintf(h->driver, sizeof(h->driver), "%s", json_get_text(m, "driver"));
        h->up = json_object_get_boolean(json_get(m, "transport"));
        h->streams = json_object_get_boolean(json_get(m, "post_copy"));
        h->whole = json_object_get_boolean(json_get(m, "whole"));
        return 0;
}

static bool is_one_of(const char *state, const char *const *states) {
        for (; *states; states++)
                if (strcmp(state, *states) == 0)
                        return true;
        return false;
}

static bool is_over(const Half *h) {
        static const char *const over[] = { "transferred", "cancelled", "failed", "finalized",
                                            NULL };

        return is_one_of(h->state, over);
}

/* Nothing is left to do there. */
static bool is_settled(const Half *h) {
        return h->gone || strcmp(h->state, "idle") == 0;
}

/* -- both sides -- */

static int connect_there(GoOn *g, Error *reterr) {
        const char *const args[] = { "receive", "--pod", g->there_name, "--adopt", NULL };
        Error why = ERROR_INIT;
        int fd, r;

        g->there.bus = sd_bus_flush_close_unref(g->there.bus);
        (void)remote_finish(&g->calls, 3000, NULL);
        r = remote_start_stream(&g->remote, args, &g->calls, &fd, reterr);
        if (r < 0)
                return r;
        r = pod_connect_fds(fd, fd, &g->there.bus, reterr);
        if (r == 0)
                r = pod_call(g->there.bus, REMOTE_DEADLINE, NULL, reterr, BUS_ROOT, BUS_INTERFACE,
                             "Ping", "");
        if (r < 0) {
                int k = remote_finish(&g->calls, 3000, &why);

                if (k < 0)
                        return error_setf(reterr, k == -ENOENT ? k : r, "%s: %s", g->remote.name,
                                          why.text);
        }
        return r < 0 ? error_prefix(reterr, r, "%s", g->remote.name) : 0;
}

/* What goes from host to host in post-copy is the only copy of it: it goes on, or stays as it is.
 * Who drives it makes transports by himself. */
static int choose_in_postcopy(const Half *s, const Half *d, Way *ret, Error *reterr) {
        bool driven = strcmp(s->driver, "gone") != 0;

        if (!s->streams || is_settled(d) || strcmp(d->driver, "none") == 0)
                return error_setf(reterr, -EBADFD,
                                  "post-copy is broken: %s holds a part of the pod's memory, and a "
                                  "shim or QEMU that was to carry it is no more. Nothing was "
                                  "touched; podferry rm --force on both hosts gives the pod up",
                                  s->name);
        if (driven && (strcmp(s->driver, "bound") == 0 || (s->up && d->up)))
                return error_setf(reterr, -EEXIST,
                                  "it is post-copy, and whoever drives the migration lives%s: wait "
                                  "for its end. Nothing was changed",
                                  s->up && d->up ? " and has a transport in use" : "");
        *ret = s->up && d->up ? WAY_NONE : WAY_RESUME;
        return 0;
}

static int choose_way(GoOn *g, Way *ret, Error *reterr) {
        bool here = strcmp(g->here.side, "source") == 0;
        const Half *s = here ? &g->here : &g->there;
        int r;

        *ret = WAY_ANEW;
        r = look_closer(&g->here, reterr);
        if (r == 0)
                r = look_closer(&g->there, reterr);
        if (r < 0 || g->here.gone || g->there.gone ||
            (!s->streams && strncmp(s->domain, "post-copy", strlen("post-copy")) != 0))
                return r;
        return choose_in_postcopy(s, here ? &g->there : &g->here, ret, reterr);
}

/* Both take this one. -EEXIST is no failure: that side has not noticed yet that its own broke. */
static int give_transport(GoOn *g, bool resume, Error *reterr) {
        const char *const args[] = { "receive",
                                     "--pod",
                                     g->there_name,
                                     "--transport",
                                     "--session",
                                     g->here.session,
                                     resume ? NULL : "--adopt",
                                     NULL };
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (remote_finish(&g->transport, 0, &g->why) == 0)
                g->why = ERROR_INIT;
        if (g->transports++ >= TRANSPORTS_MAX)
                return error_setf(reterr, -ECONNRESET, "the transport broke %u times%s%.300s",
                                  TRANSPORTS_MAX, g->why.text[0] ? "; the last time: " : "",
                                  g->why.text);
        r = remote_start_stream(&g->remote, args, &g->transport, &fd, reterr);
        if (r < 0)
                return r;
        r = pod_call(g->here.bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                     resume ? "RegisterSocket" : "Reconnect", "sh", g->here.session, fd);
        /* Its transfer is being ended, or it has ended: the next look tells. */
        return r == -EBADFD || r == -EINVAL || pod_has_gone(r) || (resume && r == -EEXIST) ? 0 : r;
}

static int reconnect(GoOn *g, Error *reterr) {
        Way way;
        int r;

        if (clock_ms() < g->again_ms)
                return 0;
        r = choose_way(g, &way, reterr);
        if (r < 0 || way == WAY_NONE)
                return r;
        if (way == WAY_RESUME)
                g->again_ms = clock_ms() + AGAIN_MS;
        return give_transport(g, way == WAY_RESUME, reterr);
}

/* The destination of a post-copy has all of the pod, and waits to hear that the source has ended,
 * which nobody can tell any more: that host has nothing of it. */
static int let_go_of_source(GoOn *g, Error *reterr) {
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        (void)close_fd(pair[0]);
        r = pod_call(g->here.bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                     "Reconnect", "sh", g->here.session, pair[1]);
        (void)close_fd(pair[1]);
        g->there.gone = r == 0;
        return r;
}

/* What a driver calls at the end. Either shim may end the session by itself, so no answer counts.
 */
static void end_session(GoOn *g, Half *h) {
        bool source = strcmp(h->side, "source") == 0;
        bool moved = strcmp(h->outcome, "moved") == 0, kept = strcmp(h->outcome, "kept") == 0;

        if (h->gone || !is_over(h))
                return;
        if (!moved && !kept && strcmp(h->outcome, "lost") != 0) {
                /* handover=runtime: the destination waits for a word before it may own the pod */
                if (!source && strcmp(h->state, "transferred") == 0)
                        (void)pod_call(h->bus, SECONDS(1), NULL, NULL, BUS_MIGRATION,
                                       MIGRATION_FACE, "Finalize", "ss", g->here.session, "resume");
                return;
        }
        if (strcmp(h->state, "finalized") != 0)
                (void)pod_call(h->bus, WORK_DEADLINE, NULL, NULL, BUS_MIGRATION, MIGRATION_FACE,
                               "Finalize", "ss", g->here.session,
                               (source ? kept : moved) ? "resume" : "stop");
        (void)pod_call(h->bus, WORK_DEADLINE, NULL, NULL, BUS_MIGRATION, MIGRATION_FACE, "Cleanup",
                       "s", g->here.session);
}

/* handover=fast, by a podferry that could not keep libvirt from it. Nothing is made worse. */
static int check_one_copy(const GoOn *g, Error *reterr) {
        const Half *halves[] = { &g->here, &g->there };

        for (size_t i = 0; i < ELEMENTSOF(halves); i++) {
                const Half *a = halves[i], *b = halves[!i];

                if (!a->gone && !b->gone && strcmp(a->record, "kept") == 0 &&
                    (strcmp(b->record, "owned") == 0 || strcmp(b->record, "running") == 0))
                        return error_setf(reterr, -EBADFD,
                                          "both hosts have it: %s kept it, and it came to run on "
                                          "%s, too. Nothing was touched: look which copy is to "
                                          "stay, and end the other with podferry rm --force",
                                          a->name, b->name);
        }
        return 0;
}

static void wait_for_news(GoOn *g) {
        Half *halves[] = { &g->here, &g->there };
        struct pollfd fds[2] = { { .fd = -1 }, { .fd = -1 } };
        bool news = false;

        for (size_t i = 0; i < ELEMENTSOF(halves); i++) {
                int r = 0;

                if (halves[i]->gone)
                        continue;
                while ((r = sd_bus_process(halves[i]->bus, NULL)) > 0)
                        news = true;
                if (r >= 0)
                        fds[i] = (struct pollfd){ .fd = sd_bus_get_fd(halves[i]->bus),
                                                  .events = POLLIN };
        }
        if (!news)
                (void)poll(fds, ELEMENTSOF(fds), (int)LOOK_MS);
}

/* As long as memory goes over, it is worth waiting for. */
static bool has_progressed(GoOn *g) {
        uint64_t carried = g->here.carried + g->there.carried;

        if (carried <= g->carried)
                return false;
        g->carried = carried;
        g->transports = MIN_OF(g->transports, 1U);
        return true;
}

static int drive(GoOn *g, Error *reterr) {
        uint64_t end = clock_ms() + LIMIT_MS, alone = 0;

        for (;;) {
                const Half *left;
                int r = look(&g->here, reterr);

                if (r == 0)
                        r = look(&g->there, reterr);
                if (r == 0)
                        r = check_one_copy(g, reterr);
                if (r < 0)
                        return r;
                left = g->there.gone ? &g->here : g->here.gone ? &g->there : NULL;
                if (is_settled(&g->here) && is_settled(&g->there))
                        return 0;
                if (left && alone == 0)
                        alone = clock_ms() + ALONE_MS;
                if (left && clock_ms() >= alone && !(is_over(left) && left->outcome[0]))
                        return error_setf(reterr, -EBADFD,
                                          "%s has ended its part, %s is still at %s (journal: %s)",
                                          left == &g->here ? g->there.name : g->here.name,
                                          left->name, left->state, left->record);
                if (has_progressed(g))
                        end = clock_ms() + LIMIT_MS;
                if (clock_ms() >= end)
                        return error_setf(reterr, -ETIMEDOUT,
                                          "not decided in %u s: %s is at %s, %s at %s",
                                          LIMIT_MS / 1000U, g->here.name, g->here.state,
                                          g->there.name, g->there.state);
                if (!left && remote_has_ended(&g->transport)) {
                        r = reconnect(g, reterr);
                        if (r < 0)
                                return r;
                }
                end_session(g, &g->here);
                end_session(g, &g->there);
                wait_for_news(g);
        }
}

/* Which host has it: a side that does not have it ends its shim. */
static int tell(const GoOn *g, char *ret_said, Error *reterr) {
        bool lost = strcmp(g->here.record, "lost") == 0 || strcmp(g->there.record, "lost") == 0;

        if (lost)
                return error_setf(reterr, -EBADFD, "the pod is lost: it runs on neither host");
        if (g->here.gone && g->there.gone) /* which says nothing of how it came to that */
                return error_setf(reterr, -ENOENT,
                                  "neither host has it any more: it has ended or was removed, or "
                                  "%s is not the host that it moved to",
                                  g->remote.name);
        if (!g->here.gone && (g->there.gone || strcmp(g->here.record, "kept") == 0 ||
                              strcmp(g->here.record, "running") == 0))
                (void)snprintf(ret_said, HAND_OVER_SAID, "%s runs on this host", g->pod);
        else
                (void)snprintf(ret_said, HAND_OVER_SAID, "%s runs on %s", g->there_name,
                               g->remote.name);
        return 0;
}

/* It is decided here, and the other side is through with it already. */
static bool has_forgotten(const GoOn *g) {
        return !g->there.session[0] && is_settled(&g->there) &&
               (is_over(&g->here) || is_settled(&g->here));
}

/* A shim that is being killed may still be connected to: once more, then. One that had only its end
 * left to do may be gone before anybody asks: the other host has the pod, or has not. */
static int connect_here(GoOn *g, Error *reterr) {
        bool seen = false;
        int r = 0;

        for (unsigned i = 0; i < 2; i++) {
                g->here.gone = false;
                g->here.bus = sd_bus_flush_close_unref(g->here.bus);
                r = shim_start_again(g->ctl, g->pod, reterr);
                seen = seen || r == 0 || r == -EEXIST;
                if (r == 0 || r == -EEXIST) /* it lives */
                        r = pod_connect(g->ctl->config.run_dir, g->pod, &g->here.bus, reterr);
                if (r == -ENOENT && seen) {
                        g->here.gone = true;
                        return 0;
                }
                if (r == 0)
                        r = look(&g->here, reterr);
                if (r < 0 || !g->here.gone)
                        return r;
        }
        return error_setf(reterr, -ECONNRESET, "%s: its shim has ended", g->pod);
}

int hand_over_go_on(const Ctl *ctl, const char *pod, const char *to, const char *program,
                    const char *name, char ret_said[static HAND_OVER_SAID], Error *reterr) {
        _cleanup_(go_on_done) GoOn g = { .ctl = ctl,
                                         .pod = pod,
                                         .there_name = name ?: pod,
                                         .calls = REMOTE_RUN_INIT,
                                         .transport = REMOTE_RUN_INIT,
                                         .here = { .name = "this host" },
                                         .there = { .name = "the other host" } };
        int r;

        if ((r = remote_parse(to, program, NULL, &g.remote, reterr)) < 0 ||
            (r = connect_here(&g, reterr)) < 0)
                return r;
        if (!g.here.session[0] && !g.here.gone)
                return error_setf(reterr, -EBADFD, "%s was in no migration", pod);
        r = connect_there(&g, reterr);
        if (pod_has_gone(r))
                r = connect_there(&g, reterr);
        if (r == -ENOENT && look_closer(&g.here, NULL) == 0 && g.here.whole &&
            !is_settled(&g.here)) {
                r = let_go_of_source(&g, reterr);
                if (r == 0)
                        r = drive(&g, reterr);
                return r < 0 ? r : tell(&g, ret_said, reterr);
        }
        if (r == -ENOENT && is_settled(&g.here)) { /* nothing of it is there: it was rolled back */
                g.there.gone = true;
                return tell(&g, ret_said, reterr);
        }
        if (r < 0 || (r = look(&g.there, reterr)) < 0)
                return r;
        if (!g.here.session[0])
                (void)snprintf(g.here.session, sizeof(g.here.session), "%s", g.there.session);
        if (strcmp(g.here.session, g.there.session) != 0 && !has_forgotten(&g))
                return error_setf(reterr, -EBADFD,
                                  "the pod over there was last in migration \"%s\", this one in %s",
                                  g.there.session, g.here.session);
        r = drive(&g, reterr);
        return r < 0 ? r : tell(&g, ret_said, reterr);
}

void hand_over_hint(const Ctl *ctl, const char *pod) {
        static const char *const waiting[] = { "switchover", "cancelling", NULL };
        static const char *const driverless[] = { "gone", "none", NULL };
        Half h = { .name = pod };

        if (pod_connect(ctl->config.run_dir, pod, &h.bus, NULL) < 0 || look(&h, NULL) < 0 ||
            look_closer(&h, NULL) < 0 || !is_one_of(h.state, waiting) ||
            !is_one_of(h.driver, driverless))
                ;
        else if (h.streams)
                ctl_say("%s is in post-copy, and nobody drives it (this is the %s); podferry adopt "
                        "%s --to HOST goes on with it",
                        pod, h.side, pod);
        else
                ctl_say("%s was being handed over (journal of the %s: %s); podferry adopt %s --to "
                        "HOST goes on with it",
                        pod, h.side, h.record[0] ? h.record : "nothing", pod);
        h.bus = sd_bus_flush_close_unref(h.bus);
}
