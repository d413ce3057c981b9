/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-event.h>

#include "lib/buf.h"
#include "shim/ctl/remote.h"

/* A podferry command that a plan runs, here or on another host, in its event loop: lines of its
 * output as they come, its last words, its end. Embedded; zero is "none". */
typedef struct PlanChild {
        pid_t pid;       /* 0: none */
        sd_event *event; /* borrowed */
        int out_fd, err_fd, pid_fd;
        sd_event_source *out, *err, *end, *deadline;
        Buf line;
        bool skipping;  /* a line that is too long */
        bool late;      /* killed by its deadline */
        char last[512]; /* what it wrote last on stderr */
        size_t last_len;
        void (*on_line)(void *userdata, const char *line, size_t n);
        /* May start the next one at once. status: as of waitpid(2); why: of a failure. */
        void (*on_end)(void *userdata, int status, const Error *why);
        void *userdata;
} PlanChild;

/* deadline_ms 0: none. `in` is borrowed; a command has it as long as it runs. */
int plan_child_start(PlanChild *c, sd_event *event, const Remote *r, const char *const args[],
                     int in, uint64_t deadline_ms, Error *reterr);
void plan_child_stop(PlanChild *c); /* asks it to; its end still comes */
void plan_child_done(PlanChild *c); /* forgets it, while it may go on */
