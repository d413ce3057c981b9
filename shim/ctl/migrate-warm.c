/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a pod that runs until most of its disks are over there. It is the cold one but for its
 * step "ahead"; whatever fails in that, the pod runs on. A pod that does not run, or ends
 * meanwhile, moves cold. */
#include "shim/ctl/migrate-warm.h"

static const ItineraryStep steps[] = {
        { "preflight", "this host", .run = warm_look },
        { "connect", "the other host", .run = cold_connect },
        { "preflight", NULL, .wanted = cold_is_new, .run = mover_hooks_check },
        { "resume", "an earlier attempt", .wanted = cold_is_given, .run = cold_resume },
        { "offer", "disks over there", .wanted = cold_is_new, .run = cold_offer,
          .undo = cold_withdraw },
        { "layers", NULL, .wanted = cold_is_new, .run = cold_layers },
        { "ahead", "disks, while it runs", .wanted = cold_runs, .run = warm_ahead },
        { "pre-source", NULL, .wanted = cold_is_new, .run = mover_hooks_pre_source },
        { "pre-target", NULL, .wanted = cold_is_new, .run = mover_hooks_pre_target },
        { "stop", "stopping it", .wanted = cold_runs, .run = cold_stop, .undo = cold_start_again },
        { "stop", NULL, .wanted = cold_is_new, .run = cold_leave },
        { "copy", "the rest of disks and logs", .wanted = cold_is_new, .run = cold_files },
        { "hand-over", NULL, .tell = true, .wanted = cold_is_new, .run = cold_give,
          .undo = cold_take_back },
        { "commit", NULL, .tell = true, .run = cold_commit },
        { "start", "starting it over there", .wanted = cold_starts, .run = cold_start_there },
        { "cleanup", NULL, .tell = true, .run = cold_remove },
};

const Itinerary itinerary_warm = { "warm", steps, ELEMENTSOF(steps), cold_end };
