/* SPDX-License-Identifier: Apache-2.0 */
/* A pod that is stopped while it moves live, or started while it moves as a stopped one: the move
 * is torn down and goes the other way, in the same command (docs/changes.md). What follows what is
 * a table (controllers/migration/change.h); here is how it is seen and done.
 *
 * Nothing of it is on disk. Whoever kills this command between two ways finds the pod at the
 * source, running or stopped, as after any move that was rolled back. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"

#define LOOK_MS 250U /* between two looks, unless the shim tells of a change */

static ChangeAction feed(Mover *m, ChangeEvent e) {
        ChangeAction action;
        int r = change_step(&m->change, e, &action, NULL);

        assert(r == 0);
        return action;
}

/* -- what is seen -- */

void mover_note_step(Mover *m, const ItineraryStep *step) {
        static const struct {
                const char *type, *step;
                ChangeEvent event;
        } marks[] = {
                { "live", "transfer", CHANGE_BEGUN }, { "cold", "offer", CHANGE_BEGUN },
                { "cold", "resume", CHANGE_BEGUN },   { "cold", "copy", CHANGE_COPIES },
                { "warm", "offer", CHANGE_BEGUN },    { "warm", "resume", CHANGE_BEGUN },
                { "warm", "copy", CHANGE_COPIES },
        };

        for (size_t i = 0; i < ELEMENTSOF(marks); i++)
                if (strcmp(marks[i].type, m->journey.itinerary->type) == 0 &&
                    strcmp(marks[i].step, step->name) == 0)
                        (void)feed(m, marks[i].event);
}

typedef struct Heeding {
        Mover *mover;
        ChangeAction start; /* what a start of the pod leads to now */
        char refusal[200];
} Heeding;

static const char *heed_wish(void *userdata, const Wish *wish) {
        Heeding *h = userdata;
        Mover *m = h->mover;
        Cold *c = m->cold;

        switch (wish->kind) {
        case WISH_START:
                return h->start == CHANGE_REFUSE ? h->refusal : NULL;
        case WISH_CANCEL:
                m->cancelled = true; /* as Ctrl-C is */
                return NULL;
        case WISH_CUTOVER:
                if (!c || !c->warm)
                        return "nothing holds it: it moves as a stopped pod";
                c->warm->told = true;
                return NULL;
        case WISH_BANDWIDTH:
                if (!c)
                        return "nothing of it goes over now";
                c->bandwidth = wish->value;
                pace_set(&c->link.pace, wish->value, clock_us());
                return NULL;
        case WISH_OTHER:
        case _WISH_MAX:
                break;
        }
        return "that is for a live move, and this one is not";
}

int mover_heed_wishes(Mover *m, Error *reterr) {
        Heeding h = { .mover = m };
        ChangeCell cell;
        bool to_start;

        if (m->wishes.fd < 0 ||
            !change_cell(change_state(&m->change), CHANGE_START, m->change.mode, &cell))
                return 0;
        h.start = cell.action;
        if (h.start == CHANGE_REFUSE)
                (void)snprintf(h.refusal, sizeof(h.refusal),
                               "the pod is being moved to another host as a stopped one, because "
                               "--type %s was given: start it there, or interrupt that move first",
                               m->type);
        to_start = wishes_take(&m->wishes, heed_wish, &h);
        if (m->cancelled)
                return error_setf(reterr, -ECANCELED, "cancelled");
        return to_start && h.start == CHANGE_TEAR_DOWN
                       ? error_setf(reterr, -ECANCELED, "pod %s is to be started here", m->pod)
                       : 0;
}

static int get_flag(sd_bus *bus, const char *name, bool *ret, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int flag, r;

        r = pod_call(bus, CALL_DEADLINE, &reply, reterr, BUS_POD, "org.freedesktop.DBus.Properties",
                     "Get", "ss", BUS_INTERFACE ".Pod", name);
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "v", "b", &flag) < 0)
                return error_setf(reterr, -EBADMSG, "property %s is no boolean", name);
        *ret = flag;
        return 0;
}

typedef enum Sight {
        RUNS,
        RESTS,
        STARTS,
        STOPS,
} Sight;

static int ask_shim(Mover *m, Sight *ret, Error *reterr) {
        _cleanup_free_ char *vm = NULL;
        bool starting = false, stopping = false;
        int r;

        r = get_flag(m->source.bus, "Starting", &starting, reterr);
        if (r == 0)
                r = get_flag(m->source.bus, "Stopping", &stopping, reterr);
        if (r == 0)
                r = pod_get_string(m->source.bus, BUS_VM, BUS_INTERFACE ".Vm", "State", &vm,
                                   reterr);
        if (r < 0)
                return r;
        if (stopping || strcmp(vm, "stopping") == 0)
                *ret = STOPS;
        else if (starting || strcmp(vm, "starting") == 0)
                *ret = STARTS;
        else if (strcmp(vm, "running") == 0)
                *ret = RUNS;
        else if (strcmp(vm, "terminated") == 0 || strcmp(vm, "not-created") == 0)
                *ret = RESTS;
        else
                return error_setf(reterr, -EBADFD, "pod %s: its machine is %s", m->pod, vm);
        return 0;
}

/* How the pod is here, now. */
static int look(Mover *m, Sight *ret, Error *reterr) {
        int r = 0;

        if (m->source.bus && sd_bus_is_open(m->source.bus) <= 0)
                m->source.bus = sd_bus_close_unref(m->source.bus);
        if (!m->source.bus)
                r = mover_connect_source(m, reterr);
        if (r == -ENOENT && pod_is_stopped(m->ctl, m->pod)) {
                *ret = RESTS;
                return 0;
        }
        return r < 0 ? r : ask_shim(m, ret, reterr);
}

/* Whoever drives it wants out: then nothing goes on another way. */
static bool wants_out(const Mover *m) {
        return m->cancelled || (m->end_ms > 0 && clock_ms() >= m->end_ms);
}

bool mover_was_stopped(Mover *m) {
        const char *outcome = json_get_text(m->source.result, "outcome");
        Sight sight = RUNS;
        bool stopped;

        if (wants_out(m))
                return false;
        if (strcmp(outcome, "lost") == 0) /* in the hand-over, or because its guest had ended */
                stopped = json_object_get_boolean(json_get(m->source.result, "ended"));
        else
                stopped = look(m, &sight, NULL) == 0 && (sight == STOPS || sight == RESTS);
        if (!stopped || feed(m, CHANGE_STOP) != CHANGE_TEAR_DOWN)
                return false;
        show_note(&m->show, "the pod was stopped: its live move is cancelled");
        return true;
}

bool mover_was_started(Mover *m) {
        Sight sight = RESTS;
        bool started;

        if (wants_out(m))
                return false;
        started = m->wishes.n > 0 ||
                  (m->change.mode != CHANGE_OFFLINE_ONLY && look(m, &sight, NULL) == 0 &&
                   (sight == STARTS || sight == RUNS));
        if (!started || feed(m, CHANGE_START) != CHANGE_TEAR_DOWN)
                return false;
        show_note(&m->show, "the pod is started here: the copy over there is given up");
        return true;
}

/* -- between two ways -- */

/* Until nobody starts or stops it. Those who were let to start it hang up when that is over. */
static int settle(Mover *m, ChangeEvent *ret, Error *reterr) {
        Sight sight = STARTS;
        int r = 0;

        m->step = "change";
        m->ending = false;
        wishes_close(&m->wishes); /* while its name is ours, by the lock */
        m->cold = cold_free(m->cold);
        wishes_grant(&m->wishes);
        while (r == 0 && !wishes_wait(&m->wishes, m->signal_fd, LOOK_MS))
                r = mover_interrupted(m, reterr);
        for (;;) {
                if (r == 0)
                        r = mover_interrupted(m, reterr);
                if (r == 0)
                        r = look(m, &sight, reterr);
                if (r < 0)
                        return r;
                if (sight == RUNS || sight == RESTS)
                        break;
                mover_wait_for_news(m, LOOK_MS);
        }
        *ret = sight == RUNS ? CHANGE_RUNS : CHANGE_RESTS;
        return 0;
}

/* All that the way before has left in it. */
static void forget_way(Mover *m) {
        Side *sides[] = { &m->source, &m->destination };

        for (size_t i = 0; i < ELEMENTSOF(sides); i++) {
                (void)sd_bus_close_unref(sides[i]->bus);
                (void)json_object_put(sides[i]->result);
                *sides[i] = (Side){};
        }
        (void)json_object_put(TAKE(m->facts));
        (void)json_object_put(TAKE(m->rules));
        (void)json_object_put(TAKE(m->report));
        free(TAKE(m->envelope));
        free(TAKE(m->ticket));
        m->envelope_size = 0;
        m->ending = m->hopeless = m->left = false;
        m->hooks.begun = m->hooks.begun_there = false;
        m->hooks.n_problems = 0;
        m->hooks.outcome = NULL;
        m->transports = m->fruitless = 0;
        m->moved_before = m->retry_ms = 0;
        m->step = "preflight";
        (void)snprintf(m->session, sizeof(m->session), "%.20s-%u", m->first_session, m->change.n);
}

static int tell_end(Mover *m, ChangeEvent e) {
        const char *there = m->left ? "; the other host could not be asked, and may have something "
                                      "left: podferry rm --force there removes it"
                                    : ", and nothing is left on the other host";
        char why[160], after[240];

        if (m->change.mode == CHANGE_LIVE_ONLY && m->change.n < CHANGES_MAX)
                (void)snprintf(why, sizeof(why),
                               "the pod was stopped meanwhile, and --type %s was given", m->type);
        else
                (void)snprintf(why, sizeof(why),
                               "the pod was stopped or started %u times while it moved: that is "
                               "enough",
                               m->change.n + 1);
        (void)snprintf(after, sizeof(after), "rolled back: the pod is here, %s%s",
                       e == CHANGE_RUNS ? "running" : "stopped", there);
        show_failure(&m->show, "change", why, after);
        return -EBADFD;
}

/* 1: the move goes on, the way of *it. Else it is over, and was told. */
static int go_on(Mover *m, const Itinerary **it) {
        Error e = ERROR_INIT;
        ChangeEvent event;
        ChangeAction action;
        int r = settle(m, &event, &e);

        if (r < 0) {
                (void)feed(m, m->cancelled ? CHANGE_CANCEL : CHANGE_FAILS);
                show_failure(&m->show, m->step, error_text(&e, r),
                             "the pod is here: podferry inspect shows it");
                return r;
        }
        action = feed(m, event);
        if (action == CHANGE_END)
                return tell_end(m, event);
        *it = action == CHANGE_GO_LIVE ? m->live : &itinerary_cold;
        show_change(&m->show, (*it)->type,
                    action == CHANGE_GO_LIVE ? "the pod runs: it moves live"
                                             : "the pod is stopped: it moves as it is");
        forget_way(m);
        return 1;
}

/* As a stopped pod, from some step of it on. */
static bool goes_offline(const Itinerary *it) {
        return it == &itinerary_cold || it == &itinerary_warm;
}

static void begin(Mover *m, const Itinerary *it) {
        bool cold = goes_offline(it);

        m->live = cold ? m->live : it;
        (void)snprintf(m->first_session, sizeof(m->first_session), "%s", m->session);
        change_init(&m->change,
                    !m->type ? CHANGE_FREE
                    : cold   ? CHANGE_OFFLINE_ONLY
                             : CHANGE_LIVE_ONLY,
                    m->pod);
        (void)feed(m, cold ? CHANGE_RESTS : CHANGE_RUNS);
}

static int run_way(Mover *m, const Itinerary *it, ItineraryBefore before) {
        Error e = ERROR_INIT;
        int r = goes_offline(it) ? 0 : cold_drop_offer(m, &e);

        if (r < 0) {
                show_failure(&m->show, "connect", error_text(&e, r), "nothing was changed");
                return r;
        }
        r = itinerary_run(&m->journey, it, before, m, &e);
        return it->end(m, r, &e);
}

int mover_follow(Mover *m, const Itinerary *it, ItineraryBefore before) {
        int r;

        begin(m, it);
        do {
                r = run_way(m, it, before);
                if (!change_is_teardown(&m->change)) {
                        (void)feed(m, r == 0         ? CHANGE_MOVED
                                      : wants_out(m) ? CHANGE_CANCEL
                                                     : CHANGE_FAILS);
                        return r;
                }
        } while ((r = go_on(m, &it)) > 0);
        return r;
}
