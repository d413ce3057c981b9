/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a cold move, and what is said of it. */
#include <stdio.h>
#include <string.h>

#include "shim/ctl/migrate-warm.h"

/* Of disks that were copied ahead, what went over in all, and while the pod stood. */
static int add_sizes(const Cold *c, json_object *o) {
        const Warm *w = warm_has_begun(c) ? c->warm : NULL;

        if (!w)
                return json_add(o, "disk_bytes", json_object_new_uint64(c->processed));
        return json_add(o, "disk_bytes", json_object_new_uint64(w->ahead + w->pass.sent)) < 0 ||
                               json_add(o, "passes", json_object_new_uint64(w->passes)) < 0 ||
                               json_add(o, "last_bytes", json_object_new_uint64(w->pass.sent)) < 0
                       ? -ENOMEM
                       : 0;
}

static int show_moved(Mover *m) {
        _cleanup_json_ json_object *here = json_object_new_object();
        _cleanup_json_ json_object *there = json_object_new_object();
        const Cold *c = m->cold;

        if (here && there && json_add_string(here, "type", m->journey.itinerary->type) == 0 &&
            add_sizes(c, here) == 0 &&
            json_add(here, "stopped_ms", json_object_new_uint64(c->still_ms)) == 0 &&
            json_add_string(there, "host", c->host) == 0 &&
            json_add_string(there, "state",
                            c->runs    ? "known"
                            : c->start ? "running"
                                       : "stopped") == 0)
                show_cold_result(&m->show, m->new_name, m->remote.name, here, there);
        return 0;
}

/* Given, and not to be had back. */
static void describe_given(const Mover *m, Buf *text) {
        const Cold *c = m->cold;

        if (strcmp(c->there, offline_state_name(OFFLINE_OWNED)) == 0)
                (void)buf_printf(text,
                                 "the pod is the other host's: podferry start %s there; podferry "
                                 "migrate %s, with --to and the same host, removes what is left "
                                 "here",
                                 m->new_name, m->pod);
        else
                (void)buf_printf(
                        text,
                        "the pod was given to the other host, and starts here no more%s%s: "
                        "podferry migrate %s, with --to and the same host, sees that to "
                        "its end",
                        c->why_not.text[0] ? ": " : "", c->why_not.text, m->pod);
}

static void describe_here(const Mover *m, Buf *text) {
        const Cold *c = m->cold;
        const char *done = c->offered ? "rolled back: " : "nothing was changed: ";

        if (c->stopped && c->restarted)
                (void)buf_printf(text, "%sthe pod runs on here, started again", done);
        else if (c->stopped)
                (void)buf_printf(text,
                                 "%sthe pod is here, stopped, and could not be started again (%s): "
                                 "podferry start %s",
                                 done, c->why_not.text, m->pod);
        else if (!c->plan.specs || c->gone) /* it is not known that there is one */
                (void)buf_printf(text, "nothing was changed");
        else
                (void)buf_printf(text, "%sthe pod %s here", done,
                                 c->start && !c->resumed ? "runs on" : "is");
        if (c->offered && c->discarded)
                (void)buf_printf(text, ", and nothing is left on the other host");
        else if (c->offered)
                (void)buf_printf(text,
                                 "; the other host could not be asked, and may have something "
                                 "left: the same command again, or podferry rm --force %s there, "
                                 "removes it",
                                 m->new_name);
}

int cold_end(Mover *m, int r, Error *err) {
        const char *step = m->step;
        Cold *c = m->cold;
        Buf text = {};

        m->ending = true;
        if (r == 0) {
                (void)cold_link_close(&c->link);
                mover_hooks_after_move(m);
                return show_moved(m);
        }
        if (c && c->moved) {
                (void)cold_link_close(&c->link);
                mover_hooks_after_move(m);
                (void)buf_printf(&text, "the pod has moved all the same; podferry migrate again "
                                        "removes the rest here");
        } else if (c) {
                Error e = ERROR_INIT;
                int k = itinerary_undo(&m->journey, m, &e);

                if (k < 0)
                        c->why_not = e;
                (void)cold_link_close(&c->link);
                if (c->record.state == OFFLINE_GIVEN) {
                        m->hooks.outcome = "undecided";
                        describe_given(m, &text);
                } else if (mover_was_started(m)) {
                        return r;
                } else {
                        describe_here(m, &text);
                }
                mover_hooks_after_failure(m, step, error_text(err, r));
        }
        show_failure(&m->show, step, error_text(err, r),
                     text.len > 0 ? (const char *)text.data : "nothing was changed");
        buf_done(&text);
        return r;
}
