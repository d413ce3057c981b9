/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a migration: finished, or rolled back, and what is said of it. Only what a shim has
 * said is told for a fact; what nobody could be asked about is called that. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/migrate-cold.h"
#include "shim/ctl/values.h"

#define LOOK_MS     250U
#define SETTLE_MS   75000U /* for the other host's command, which waits for its shim */
#define STRANGER_MS 3000U  /* for one that never said anything */

/* What a side says of this session; what it says of another one is not ours. One over there that
 * has not answered yet has nothing to say, and may never do so. */
static bool moved_by(const Mover *m, Side *side) {
        bool stranger = side == &m->destination && !side->answered;

        (void)json_object_put(TAKE(side->result));
        if (side->bus && !side->abandoned && !stranger)
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

        if (!side->bus || side->abandoned || !side->began)
                return 0;
        r = mover_call(m, side, WORK_DEADLINE, "Cleanup", NULL, reterr);
        side->began = false;
        return pod_has_gone(r) ? 0 : r;
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
                mover_wait_for_news(m, LOOK_MS);
        }
}

/* The destination gets its word whatever becomes of the source's, once the pod has moved. One whose
 * command has ended does the same by itself. */
static int finalize_destination(Mover *m, Error *reterr) {
        int r = m->destination.abandoned ? -ECONNRESET
                                         : mover_call(m, &m->destination, WORK_DEADLINE, "Finalize",
                                                      "resume", reterr);

        if (!pod_has_gone(r))
                return r;
        m->destination.abandoned = true;
        show_note(&m->show, "the command on the other host has ended; its shim goes on alone");
        return 0;
}

/* It is over there, and not all of it: a post-copy lost the rest. */
static int check_whole(Mover *m, Error *reterr) {
        const char *reason = json_get_text(m->destination.result, "reason");

        if (strcmp(json_get_text(m->destination.result, "outcome"), "moved") != 0 || !*reason)
                return 0;
        m->step = "transfer";
        return error_setf(reterr, -EIO, "%.400s", reason);
}

/* 0 or < 0 with *ret_moved: whether the pod has moved. */
static int finish(Mover *m, bool *ret_moved, Error *reterr) {
        Error later = ERROR_INIT;
        int r, k;

        m->step = "finalize";
        show_step(&m->show, m->step, NULL);
        r = mover_call(m, &m->source, WORK_DEADLINE, "Finalize", "stop", reterr);
        *ret_moved = r == 0 || has_moved(m);
        if (!*ret_moved)
                return r;
        k = finalize_destination(m, &later);
        if (r == 0 && k == 0)
                r = wait_finalized(m, reterr);
        if (r == 0 && k < 0)
                r = error_setf(reterr, k, "%s", error_text(&later, k));
        *ret_moved = has_moved(m);
        if (r == 0 && !*ret_moved)
                r = error_setf(reterr, -EBADFD, "%s", json_get_text(m->source.result, "reason"));
        if (!*ret_moved)
                return r;
        if (r == 0) {
                m->step = "cleanup";
                show_step(&m->show, m->step, NULL);
                r = check_whole(m, reterr);
        }
        k = clean_up(m, &m->source, r == 0 ? reterr : NULL);
        r = r < 0 ? r : k;
        k = clean_up(m, &m->destination, r == 0 ? reterr : NULL);
        return r < 0 ? r : k;
}

/* A call may still be at work there: it ends. */
static void cancel_one(Mover *m, Side *side) {
        uint64_t end = clock_ms() + SETTLE_MS;

        while (side->bus && side->began && !side->abandoned &&
               mover_call(m, side, CALL_DEADLINE, "Cancel", NULL, NULL) == -EBUSY &&
               clock_ms() < end)
                mover_wait_for_news(m, LOOK_MS);
}

static void end_one(Mover *m, Side *side, const char *action) {
        if (side->bus && side->began && !side->abandoned) {
                (void)mover_call(m, side, WORK_DEADLINE, "Finalize", action, NULL);
                (void)clean_up(m, side, NULL);
        }
}

static void disconnect_destination(Mover *m, bool *ret_clean) {
        bool started = m->calls.pid > 0;

        m->destination.bus = sd_bus_close_unref(m->destination.bus);
        (void)remote_finish(&m->transport, 5000, NULL);
        if (remote_finish(&m->calls, m->destination.answered ? SETTLE_MS : STRANGER_MS, NULL) < 0 &&
            started && ret_clean)
                *ret_clean = false;
}

/* Back to where it was. Returns false if it turns out that the pod has moved after all. */
static bool roll_back(Mover *m) {
        Error e = ERROR_INIT;

        if (m->destination.abandoned) /* its command, which is bound to it, sees our end */
                m->destination.bus = sd_bus_close_unref(m->destination.bus);
        cancel_one(m, &m->source);
        cancel_one(m, &m->destination);
        (void)mover_wait_for_end(m, &e);
        if (has_moved(m))
                return false;
        end_one(m, &m->source, "resume");
        end_one(m, &m->destination, "stop");
        return true;
}

/* -- what is said -- */

/* The reason that a side gave for ending by itself; of one that we made end, ours is better. */
static void prefer_reason(const Mover *m, Error *e, const char **step) {
        const Side *const sides[] = { &m->source, &m->destination };

        for (size_t i = 0; i < ELEMENTSOF(sides); i++) {
                json_object *r = sides[i]->result;
                const char *reason = json_get_text(r, "reason");

                if (r && *reason) {
                        (void)error_setf(e, -EBADFD, "%s: %.400s", sides[i]->name, reason);
                        if (*json_get_text(r, "step"))
                                *step = json_get_text(r, "step");
                        return;
                }
        }
}

/* What the shim here says of the pod. */
static void describe_here(Mover *m, bool began, Buf *text) {
        const char *done = began ? "rolled back: " : "nothing was changed: ";
        _cleanup_free_ char *vm = NULL;
        Error e = ERROR_INIT;
        int r = 0;

        if (m->source.bus && sd_bus_is_open(m->source.bus) <= 0)
                m->source.bus = sd_bus_close_unref(m->source.bus);
        if (!m->source.bus)
                r = mover_connect_source(m, &e);
        if (r == 0)
                r = mover_get_state(m, &m->source, &e);
        if (r == 0)
                r = pod_get_string(m->source.bus, BUS_VM, BUS_INTERFACE ".Vm", "State", &vm, &e);
        m->hooks.outcome = "undecided";
        if (r < 0)
                (void)buf_printf(
                        text,
                        "which host has the pod is not known, because its shim here cannot "
                        "be asked (%s): podferry adopt %s, with --to and the same host, "
                        "goes on with it if the shim has died, and podferry inspect %s "
                        "shows it if not",
                        error_text(&e, r), m->pod, m->pod);
        else if (strcmp(json_get_text(m->source.result, "outcome"), "lost") == 0) {
                m->hooks.outcome = "lost";
                (void)buf_printf(text, "the pod is lost: it runs on neither host");
        } else if (strcmp(m->source.state, "idle") != 0)
                (void)buf_printf(text,
                                 "which host has the pod is not decided (its migration is %s here, "
                                 "see podferry inspect %s): podferry adopt %s, with --to and the "
                                 "same host, goes on with it",
                                 m->source.state, m->pod, m->pod);
        else if (strcmp(vm, "running") == 0) {
                m->hooks.outcome = "rolled-back";
                (void)buf_printf(text, "%sthe pod runs on here", done);
        } else
                (void)buf_printf(text, "the pod here is %s: podferry inspect %s", vm, m->pod);
}

static void show_not_moved(Mover *m, bool began, const char *why, const char *step) {
        bool clean = true, asked = m->destination.answered;
        _cleanup_buf_ Buf text = {};

        disconnect_destination(m, &clean);
        if (m->facts)
                describe_here(m, began, &text);
        else
                (void)buf_printf(&text, "nothing was changed");
        if (asked && clean)
                (void)buf_printf(&text, ", and nothing is left on the other host");
        else if (asked)
                (void)buf_printf(
                        &text,
                        "; the other host could not be asked, and may have something left: "
                        "podferry adopt %s, with --to and the same host, ends it, or "
                        "podferry rm --force %s there",
                        m->pod, m->new_name);
        mover_hooks_after_failure(m, step, why);
        show_failure(&m->show, step, why, text.len ? (const char *)text.data : "");
}

/* Nothing is rolled back or finished: each host has a half. */
static int end_broken(Mover *m, Error *e) {
        const char *step = "memory";

        (void)error_setf(e, -EIO, "post-copy is broken");
        (void)has_moved(m);
        prefer_reason(m, e, &step);
        disconnect_destination(m, NULL);
        m->hooks.outcome = "undecided";
        mover_hooks_after_failure(m, step, e->text);
        show_failure(&m->show, step, e->text,
                     "post-copy is broken, and neither host has all of the pod: podferry doctor "
                     "says what is left, podferry rm --force on both gives it up");
        return -EIO;
}

int mover_end(Mover *m, int r, Error *e) {
        bool by_itself = r == 0, moved, began;
        const char *step;

        m->ending = true;
        if (by_itself && strcmp(m->source.state, "postcopy-broken") == 0)
                return end_broken(m, e);
        if (by_itself)
                m->step = "transfer";
        began = m->source.began || m->hooks.begun;
        moved = by_itself && (has_moved(m) || waits_for_word(m));
        if (by_itself && !moved)
                r = error_setf(e, -EBADFD, "it did not move");
        if (!moved)
                moved = !roll_back(m);
        if (moved) {
                r = finish(m, &moved, e);
                if (!moved)
                        moved = !roll_back(m);
        }
        step = m->step;
        if (moved)
                mover_hooks_after_move(m);
        if (r == 0)
                show_result(&m->show, m->new_name, m->remote.name, m->source.result,
                            m->destination.result);
        else if (moved)
                show_failure(&m->show, step, error_text(e, r), "the pod has moved all the same");
        else if (mover_was_stopped(m)) {
                bool clean = true;

                disconnect_destination(m, &clean);
                m->left = !clean;
        } else {
                if (by_itself)
                        prefer_reason(m, e, &step);
                show_not_moved(m, began, error_text(e, r), step);
        }
        return r;
}

void mover_done(Mover *m) {
        m->source.bus = sd_bus_close_unref(m->source.bus);
        disconnect_destination(m, NULL);
        mover_leave_queue(m);
        show_done(&m->show);
        (void)json_object_put(m->source.result);
        (void)json_object_put(m->destination.result);
        (void)json_object_put(m->facts);
        (void)json_object_put(m->rules);
        (void)json_object_put(m->report);
        wishes_done(&m->wishes);
        m->cold = cold_free(m->cold);
        free(m->envelope);
        free(m->ticket);
        (void)words_free(m->disks);
        mover_hooks_done(&m->hooks);
        m->signal_fd = close_fd(m->signal_fd);
        remote_done(&m->remote);
}
