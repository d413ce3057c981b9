/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "shim/ctl/migrate.h"
#include "shim/ctl/values.h"

#define LOOK_MS        250U   /* between two looks at the progress */
#define SETTLE_MS      60000U /* for a cancelled transfer to end */
#define TRANSPORTS_MAX 20U

typedef struct Step {
        const char *name, *text;
        int (*run)(Mover *m, Error *reterr);
} Step;

static int check_source(Mover *m, Error *reterr) {
        return mover_check(m, &m->source, reterr);
}

static int check_destination(Mover *m, Error *reterr) {
        return mover_check(m, &m->destination, reterr);
}

static const Step steps[] = {
        { "preflight", "this host", mover_connect_source },
        { "connect", "the other host", mover_start_destination }, /* while this host is checked */
        { "preflight", NULL, check_source },
        { "connect", NULL, mover_connect_destination },
        { "preflight", "the other host", check_destination },
        { "layers", NULL, mover_send_layers },
        { "export", "state of the pod", mover_export },
        { "import", "state over there", mover_import },
        { "patch", NULL, mover_patch },
        { "prepare", "disks and machine over there", mover_prepare },
        { "connect", "transport", mover_connect_transport },
        { "transfer", "memory and disks", mover_transfer },
};

static bool take_signals(Mover *m) {
        struct signalfd_siginfo si;

        while (read(m->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
                m->cancelled = true;
        return m->cancelled;
}

static int run_steps(Mover *m, Error *reterr) {
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                int r;

                m->step = steps[i].name;
                if (take_signals(m))
                        return error_setf(reterr, -ECANCELED, "interrupted");
                if (steps[i].text)
                        show_step(&m->show, steps[i].name, steps[i].text);
                r = steps[i].run(m, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_over(const Side *s) {
        static const char *const over[] = { "transferred", "cancelled", "failed", "finalized",
                                            "idle" };

        for (size_t i = 0; i < ELEMENTSOF(over); i++)
                if (strcmp(s->state, over[i]) == 0)
                        return true;
        return false;
}

/* Works off what both shims sent, then waits for more, a signal, or the time for the next look. */
static void wait_for_news(Mover *m, unsigned ms) {
        struct pollfd fds[3] = {
                { .fd = sd_bus_get_fd(m->source.bus), .events = POLLIN },
                { .fd = sd_bus_get_fd(m->destination.bus), .events = POLLIN },
                { .fd = m->signal_fd, .events = POLLIN },
        };
        sd_bus *buses[] = { m->source.bus, m->destination.bus };
        bool news = false;

        for (size_t i = 0; i < ELEMENTSOF(buses); i++)
                while (sd_bus_process(buses[i], NULL) > 0)
                        news = true;
        if (!news)
                (void)poll(fds, ELEMENTSOF(fds), (int)ms);
}

static void look_at_progress(Mover *m) {
        _cleanup_json_ json_object *p = NULL;

        if (mover_get_json(&m->source, "Progress", &p, NULL) == 0 && p)
                show_progress(&m->show, p);
}

/* The command that carries the bytes has ended while they are needed: another one. */
static int keep_transport(Mover *m, Error *reterr) {
        char text[80];
        int r;

        if (!remote_has_ended(&m->transport) || is_over(&m->source) ||
            strcmp(m->source.state, "cancelling") == 0)
                return 0;
        if (m->transports >= TRANSPORTS_MAX)
                return error_setf(reterr, -ECONNRESET, "the transport broke %u times",
                                  m->transports);
        (void)snprintf(text, sizeof(text), "the transport broke; connecting again (%u)",
                       m->transports);
        show_note(&m->show, text);
        r = mover_connect_transport(m, reterr);
        return r == -EBADFD ? 0 : r; /* over meanwhile */
}

/* Until both sides have ended their transfer, which way ever. */
static int wait_for_end(Mover *m, uint64_t limit_ms, bool cancelling, Error *reterr) {
        uint64_t end = limit_ms > 0 ? clock_ms() + limit_ms : UINT64_MAX, look = 0;

        for (;;) {
                int r = mover_get_state(m, &m->source, reterr);

                if (r == 0)
                        r = mover_get_state(m, &m->destination, reterr);
                if (r < 0)
                        return r;
                if (is_over(&m->source) && is_over(&m->destination))
                        return 0;
                if (!cancelling && take_signals(m))
                        return error_setf(reterr, -ECANCELED, "interrupted");
                if (clock_ms() >= end)
                        return error_setf(reterr, -ETIMEDOUT, "not done in %llu s",
                                          (unsigned long long)limit_ms / 1000);
                if (!cancelling) {
                        r = keep_transport(m, reterr);
                        if (r < 0)
                                return r;
                }
                if (clock_ms() >= look) {
                        look_at_progress(m);
                        look = clock_ms() + LOOK_MS;
                }
                wait_for_news(m, LOOK_MS);
        }
}

/* What a side says of this session; what it says of another one is not ours. */
static bool moved_by(const Mover *m, Side *side) {
        (void)json_object_put(TAKE(side->result));
        if (side->bus)
                (void)mover_get_json(side, "Result", &side->result, NULL);
        if (strcmp(json_get_text(side->result, "session"), m->session) != 0)
                (void)json_object_put(TAKE(side->result));
        return strcmp(json_get_text(side->result, "outcome"), "moved") == 0;
}

static bool has_moved(Mover *m) {
        bool source = moved_by(m, &m->source), destination = moved_by(m, &m->destination);

        return source || destination;
}

/* With handover=runtime both wait for the word at "transferred". */
static bool waits_for_word(const Mover *m) {
        return strcmp(m->source.state, "transferred") == 0 &&
               strcmp(m->destination.state, "transferred") == 0;
}

/* Cleanup may be the shim's last call: that it then goes away is no failure. */
static int clean_up(Mover *m, Side *side, Error *reterr) {
        int r;

        if (!side->bus || !side->began)
                return 0;
        r = mover_call(m, side, WORK_DEADLINE, "Cleanup", NULL, reterr);
        side->began = false;
        return r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE ? 0 : r;
}

/* With handover=runtime the source hears last that the pod runs over there. */
static int wait_finalized(Mover *m, Error *reterr) {
        uint64_t end = clock_ms() + SETTLE_MS;

        for (;;) {
                int r = mover_get_state(m, &m->source, reterr);

                if (r < 0)
                        return r;
                if (strcmp(m->source.state, "finalized") == 0 ||
                    strcmp(m->source.state, "failed") == 0)
                        return 0;
                if (clock_ms() >= end)
                        return error_setf(reterr, -ETIMEDOUT,
                                          "the source has not heard that the pod runs over there");
                wait_for_news(m, LOOK_MS);
        }
}

static int finish(Mover *m, Error *reterr) {
        int r;

        m->step = "finalize";
        r = mover_call(m, &m->source, WORK_DEADLINE, "Finalize", "stop", reterr);
        if (r == 0)
                r = mover_call(m, &m->destination, WORK_DEADLINE, "Finalize", "resume", reterr);
        if (r == 0)
                r = wait_finalized(m, reterr);
        if (r < 0)
                return r;
        if (!has_moved(m))
                return error_setf(reterr, -EBADFD, "%s", json_get_text(m->source.result, "reason"));
        m->step = "cleanup";
        r = clean_up(m, &m->source, reterr);
        if (r == 0)
                r = clean_up(m, &m->destination, reterr);
        return r;
}

static void cancel_one(Mover *m, Side *side) {
        if (side->bus && side->began)
                (void)mover_call(m, side, CALL_DEADLINE, "Cancel", NULL, NULL);
}

static void end_one(Mover *m, Side *side, const char *action) {
        if (side->bus && side->began) {
                (void)mover_call(m, side, WORK_DEADLINE, "Finalize", action, NULL);
                (void)clean_up(m, side, NULL);
        }
}

/* Back to where it was. Returns false if it turns out that the pod has moved after all. */
static bool roll_back(Mover *m) {
        Error e = ERROR_INIT;

        cancel_one(m, &m->source);
        cancel_one(m, &m->destination);
        if (m->source.began && m->destination.began)
                (void)wait_for_end(m, SETTLE_MS, true, &e);
        m->source.lost = m->source.began && mover_get_state(m, &m->source, &e) < 0;
        m->destination.lost = m->destination.began && mover_get_state(m, &m->destination, &e) < 0;
        if (has_moved(m))
                return false;
        m->undecided = m->source.lost || (m->source.began && !is_over(&m->source));
        end_one(m, &m->source, "resume");
        end_one(m, &m->destination, "stop");
        return true;
}

/* The commands on the other host end when their stdin does. */
static void disconnect(Mover *m) {
        m->source.bus = sd_bus_flush_close_unref(m->source.bus);
        m->destination.bus = sd_bus_flush_close_unref(m->destination.bus);
        (void)remote_finish(&m->transport, 5000, NULL);
        (void)remote_finish(&m->calls, SETTLE_MS, NULL);
}

/* The reason that a side gave for ending by itself; of one that we made end, ours is better. */
static void prefer_reason(const Mover *m, Error *e, const char **step) {
        const json_object *const results[] = { m->source.result, m->destination.result };

        for (size_t i = 0; i < ELEMENTSOF(results); i++) {
                json_object *r = i == 0 ? m->source.result : m->destination.result;
                const char *reason = json_get_text(r, "reason");

                if (results[i] && *reason) {
                        (void)error_setf(e, -EBADFD, "%s: %.400s",
                                         i == 0 ? "source" : "destination", reason);
                        if (*json_get_text(r, "step"))
                                *step = json_get_text(r, "step");
                        return;
                }
        }
}

static const char *after_rollback(const Mover *m) {
        if (strcmp(json_get_text(m->source.result, "outcome"), "lost") == 0)
                return "the pod is lost: it runs on neither host";
        if (!m->facts)
                return "nothing was changed";
        if (m->undecided)
                return "which host has the pod is not decided: podferry adopt, with --to and the "
                       "same host, goes on with it";
        if (m->destination.lost)
                return "the pod runs on here; what is left on the other host goes by podferry "
                       "adopt, with --to and the same host";
        return m->source.began || m->source.result
                       ? "rolled back: the pod runs on here, and nothing is left on the other host"
                       : "nothing was changed: the pod runs on here";
}

int mover_run(Mover *m) {
        Error e = ERROR_INIT;
        bool moved = false, by_itself;
        int r;

        r = run_steps(m, &e);
        if (r == 0) {
                r = wait_for_end(m, m->time_limit_ms, false, &e);
                m->step = "transfer";
        }
        by_itself = r == 0;
        if (r == 0 && (has_moved(m) || waits_for_word(m)))
                moved = true;
        else {
                bool began = m->source.began;

                if (r == 0)
                        r = error_setf(&e, -EBADFD, "it did not move");
                moved = !roll_back(m);
                m->source.began = began;
        }
        if (moved)
                r = finish(m, &e);
        if (r == 0)
                show_result(&m->show, m->new_name, m->remote.name, m->source.result,
                            m->destination.result);
        else if (moved)
                show_failure(&m->show, m->step, error_text(&e, r),
                             "the pod has moved all the same");
        else {
                const char *step = m->step;

                if (by_itself)
                        prefer_reason(m, &e, &step);
                show_failure(&m->show, step, error_text(&e, r), after_rollback(m));
        }
        disconnect(m);
        return r;
}

void mover_done(Mover *m) {
        disconnect(m);
        (void)json_object_put(m->source.result);
        (void)json_object_put(m->destination.result);
        (void)json_object_put(m->facts);
        free(m->envelope);
        free(m->ticket);
        (void)words_free(m->disks);
        m->signal_fd = close_fd(m->signal_fd);
        remote_done(&m->remote);
}
