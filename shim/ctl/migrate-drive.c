/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/ctl/values.h"

#define LOOK_MS   250U   /* between two looks at the progress */
#define IN_USE_MS 1000U  /* between two looks whether a transport is wanted */
#define SETTLE_MS 60000U /* for a cancelled transfer to end */
#define ALONE_MS  10000U /* the same, of a destination whose source's shim has died */

/* When a broken transport is not worth another one: so many in a row that carried less than so much
 * of the pod, or so many in all. */
#define FRUITLESS_MAX  8U
#define FRUITFUL       (1U << 20)
#define TRANSPORTS_MAX 100U

static int check_both(Mover *m, Error *reterr) {
        int r = mover_check_both(m, reterr);

        return r < 0 ? r : mover_heed_check(m, reterr);
}

static const ItineraryStep steps[] = {
        { "preflight", "this host", .run = mover_connect_source },
        /* while this host is checked */
        { "connect", "the other host", .run = mover_start_destination },
        { "preflight", NULL, .run = mover_check_source },
        { "connect", NULL, .run = mover_connect_destination },
        { "preflight", "the other host", .run = check_both },
        { "layers", NULL, .run = mover_send_layers },
        { "pre-source", NULL, .run = mover_hooks_pre_source },
        { "pre-target", NULL, .run = mover_hooks_pre_target },
        { "export", "state of the pod", .run = mover_export },
        { "import", "state over there", .run = mover_import },
        { "patch", NULL, .run = mover_patch, .tell = true },
        { "prepare", "disks and machine over there", .run = mover_prepare },
        { "connect", "transport", .run = mover_connect_transport },
        { "transfer", "memory and disks", .run = mover_transfer },
};

/* It is not by its steps that it is undone: the two shims decide what becomes of the pod. */
static int end_live(Mover *m, int r, Error *err) {
        return mover_end(m, r == 0 ? mover_wait_for_end(m, err) : r, err);
}

static const Itinerary live = { "live", steps, ELEMENTSOF(steps), end_live };

bool mover_is_over(const Side *s) {
        static const char *const over[] = { "transferred", "cancelled", "failed",
                                            "finalized",   "idle",      "postcopy-broken" };

        for (size_t i = 0; i < ELEMENTSOF(over); i++)
                if (strcmp(s->state, over[i]) == 0)
                        return true;
        return false;
}

static void look_at_progress(Mover *m) {
        _cleanup_json_ json_object *p = NULL;

        if (mover_get_json(&m->source, "Progress", &p, NULL) == 0 && p)
                show_progress(&m->show, p);
}

/* Bytes of memory and disks that went over so far. */
static uint64_t moved_bytes(Mover *m) {
        _cleanup_json_ json_object *p = NULL;

        if (mover_get_json(&m->source, "Progress", &p, NULL) < 0 || !p)
                return m->moved_before;
        return (uint64_t)json_get_number(json_get(p, "memory"), "processed") +
               (uint64_t)json_get_number(json_get(p, "disk"), "processed");
}

/* The command that carries the bytes has ended while they are needed: is another one worth it, and
 * when? */
static int judge_break(Mover *m, Error *reterr) {
        uint64_t moved = moved_bytes(m);
        Error why = ERROR_INIT;
        char text[400];

        if (remote_finish(&m->transport, 0, &why) == 0)
                (void)error_setf(&why, -ECONNRESET, "the command ended");
        m->fruitless = moved >= m->moved_before + FRUITFUL ? 1 : m->fruitless + 1;
        m->moved_before = MAX_OF(m->moved_before, moved);
        if (m->fruitless >= FRUITLESS_MAX || m->transports >= TRANSPORTS_MAX)
                return error_setf(reterr, -ECONNRESET,
                                  "the transport broke %u times, %u of them in a row with next to "
                                  "nothing moved; the last time: %s",
                                  m->transports, m->fruitless, why.text);
        /* at once after the first time, then later and later */
        m->retry_ms = clock_ms() + (m->fruitless > 1 ? 50U << m->fruitless : 0);
        (void)snprintf(text, sizeof(text), "the transport broke (%.200s); connecting again (%u)",
                       why.text, m->transports);
        show_trouble(&m->show, text);
        return 0;
}

static int keep_transport(Mover *m, Error *reterr) {
        int r = 0;

        if (m->transports == 0 || !remote_has_ended(&m->transport) || mover_is_over(&m->source) ||
            strcmp(m->source.state, "cancelling") == 0)
                return 0;
        if (m->transport.pid > 0)
                r = judge_break(m, reterr);
        if (r < 0 || clock_ms() < m->retry_ms)
                return r;
        r = mover_connect_transport(m, reterr);
        if (r == -EEXIST) { /* both shims still have the one whose command has ended */
                (void)remote_finish(&m->transport, 0, NULL);
                m->retry_ms = clock_ms() + IN_USE_MS;
                m->transports--;
                return 0;
        }
        return r == -EBADFD ? 0 : r; /* over meanwhile */
}

/* When ending, a side that cannot be asked any more ends by itself: it is bound to us. */
static int get_states(Mover *m, Error *reterr) {
        Side *sides[] = { &m->source, &m->destination };

        for (size_t i = 0; i < ELEMENTSOF(sides); i++) {
                int r;

                if (m->ending && (!sides[i]->bus || sides[i]->abandoned || !sides[i]->began))
                        continue;
                r = mover_get_state(m, sides[i], reterr);
                if (r < 0 && m->ending)
                        sides[i]->abandoned = true;
                else if (r < 0)
                        return error_prefix(reterr, r, "%s", sides[i]->name);
        }
        return 0;
}

static bool is_awaited(const Mover *m, const Side *s) {
        if (m->ending && (!s->bus || s->abandoned || !s->began))
                return false;
        return !mover_is_over(s);
}

int mover_wait_for_end(Mover *m, Error *reterr) {
        uint64_t begin = clock_ms(), look = 0;

        for (;;) {
                int r = get_states(m, reterr);

                if (r < 0)
                        return r;
                if (!is_awaited(m, &m->source) && !is_awaited(m, &m->destination))
                        return 0;
                /* By another client: of what had not begun, the destination hears from us alone. */
                if (!m->ending && strcmp(m->source.state, "cancelled") == 0)
                        return 0;
                r = mover_interrupted(m, reterr);
                if (r == 0 && m->ending &&
                    clock_ms() >= begin + (m->source.abandoned ? ALONE_MS : SETTLE_MS))
                        r = error_setf(reterr, -ETIMEDOUT, "not decided in time");
                if (r == 0 && !m->hopeless) {
                        r = keep_transport(m, reterr);
                        m->hopeless = r < 0;
                        r = m->ending ? 0 : r;
                }
                if (r < 0)
                        return r;
                if (clock_ms() >= look) {
                        look_at_progress(m);
                        look = clock_ms() + LOOK_MS;
                }
                mover_wait_for_news(m, LOOK_MS);
        }
}

/* -- which way -- */

static const Itinerary *const itineraries[] = { &live, &itinerary_cold, &itinerary_warm };

static const Itinerary *find_itinerary(const char *type) {
        for (size_t i = 0; i < ELEMENTSOF(itineraries); i++)
                if (strcmp(itineraries[i]->type, type) == 0)
                        return itineraries[i];
        return NULL;
}

int mover_check_type(const char *type, Error *reterr) {
        return find_itinerary(type)
                       ? 0
                       : error_setf(reterr, -EINVAL, "\"%.40s\": live, cold or warm", type);
}

int mover_choose(const Mover *m, const Itinerary **ret, Error *reterr) {
        bool rests = cold_pod_rests(m);

        if (rests && m->type && strcmp(m->type, live.type) == 0)
                return error_setf(reterr, -EBADFD,
                                  "pod %s does not run, so it cannot move live: leave out --type, "
                                  "or podferry start %s first",
                                  m->pod, m->pod);
        *ret = m->type ? find_itinerary(m->type) : rests ? &itinerary_cold : &live;
        return *ret == &live ? cold_admit_live(m, reterr) : 0;
}

static int before_step(Mover *m, const ItineraryStep *step, Error *reterr) {
        int r;

        m->step = step->name;
        r = mover_interrupted(m, reterr);
        if (r == 0)
                mover_note_step(m, step);
        if (r == 0 && (step->text || step->tell))
                show_step(&m->show, step->name, step->text);
        return r;
}

int mover_run(Mover *m) {
        const Itinerary *it = NULL;
        Error e = ERROR_INIT;
        int r;

        m->step = "preflight";
        r = mover_choose(m, &it, &e);
        if (r == 0)
                r = mover_queue(m, &e);
        if (m->time_limit_ms > 0)
                m->end_ms = clock_ms() + m->time_limit_ms;
        if (r == 0) {
                m->step = "preflight";
                r = mover_choose(m, &it, &e); /* it may have waited */
        }
        if (r < 0) {
                show_failure(&m->show, m->step, error_text(&e, r), "nothing was changed");
                return r;
        }
        m->live = &live;
        return mover_follow(m, it, before_step);
}
