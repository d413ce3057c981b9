/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a pod that does not run, or is stopped for it. Until the step "hand-over" it is the
 * source's, whatever fails; after it the destination's, and only "commit" tells that one so. */
#include "shim/ctl/migrate-cold.h"

bool cold_is_new(const Mover *m) {
        return m->cold->record.state != OFFLINE_GIVEN;
}

bool cold_is_given(const Mover *m) {
        return !cold_is_new(m);
}

bool cold_runs(const Mover *m) {
        return cold_is_new(m) && m->cold->start;
}

bool cold_starts(const Mover *m) {
        return m->cold->start && !m->cold->runs;
}

static const ItineraryStep steps[] = {
        { "preflight", "this host", .run = cold_look },
        { "connect", "the other host", .run = cold_connect },
        { "preflight", NULL, .wanted = cold_is_new, .run = mover_hooks_check },
        { "resume", "an earlier attempt", .wanted = cold_is_given, .run = cold_resume },
        { "queue", NULL, .wanted = cold_joins, .run = cold_join },
        { "offer", "disks over there", .wanted = cold_is_new, .run = cold_offer,
          .undo = cold_withdraw },
        { "layers", NULL, .wanted = cold_is_new, .run = cold_layers },
        { "pre-source", NULL, .wanted = cold_is_new, .run = mover_hooks_pre_source },
        { "pre-target", NULL, .wanted = cold_is_new, .run = mover_hooks_pre_target },
        { "stop", "stopping it", .wanted = cold_runs, .run = cold_stop, .undo = cold_start_again },
        { "stop", NULL, .wanted = cold_is_new, .run = cold_leave },
        { "copy", "disks and logs", .wanted = cold_is_new, .run = cold_files },
        { "hand-over", NULL, .tell = true, .wanted = cold_is_new, .run = cold_give,
          .undo = cold_take_back },
        { "commit", NULL, .tell = true, .run = cold_commit },
        { "start", "starting it over there", .wanted = cold_starts, .run = cold_start_there },
        { "cleanup", NULL, .tell = true, .run = cold_remove },
};

const Itinerary itinerary_cold = { "cold", steps, ELEMENTSOF(steps), cold_end };
