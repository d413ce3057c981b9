/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/migrate.h"

/* The command line of podferry migrate, of which podferry check takes a part: ids of the options,
 * and the reader of both. */
enum {
        TO = 1,
        NAME,
        PROGRESS,
        PROGRAM,
        IDENTITY,
        SSH_OPTION,
        LIMIT,
        NETWORK,
        NETWORK_MODE,
        DISK,
        FIRST_TEXT, /* the rest are options of the shims, as text */
        HANDOVER = FIRST_TEXT,
        STORAGE,
        TRANSPORT,
        MIGRATE_URI,
        COMPLETION,
        ACTION,
        DOWNTIME,
        BANDWIDTH,
        COMPRESSION,
        CONNECTIONS,
        PROGRESS_TIMEOUT,
        AUTO_CONVERGE,
        POST_COPY,
        KEEP_DISKS,
        REMOVE_VOLUMES,
        PER_GIB,
        PAUSE_TIMEOUT,
        STALL_ACTION,
        CUTOVER,
        PLAINTEXT,
        SET,
        UNSAFE,
        DISK_SPACE,
        TYPE,
        STOP_TIMEOUT,
        PASSES,
        JSON,
        HOOK,
        NO_HOOKS,
        FORECAST,
        MAX_OUT,
        MAX_IN,
        COPIES,
};

typedef struct Texts {
        char numbers[OPTIONS_MAX][24];
        char names[OPTIONS_MAX][40]; /* of --set */
        size_t n_names;
} Texts;

typedef struct Line {
        const char *to, *program;
        char **ssh_args;
        bool json;
        Texts texts; /* which the options point into */
} Line;

#define MOVER_INIT(c)                                                                              \
        {                                                                                          \
                .ctl = (c), .stop_ms = 10000, .signal_fd = -EBADF, .calls = REMOTE_RUN_INIT,       \
                .transport = REMOTE_RUN_INIT, .wishes = WISHES_INIT, .out = PLACE_INIT,            \
                .place = REMOTE_RUN_INIT, .place_fd = -EBADF, .copies = "wait"                     \
        }

/* < 0: *ret_status is the exit status, and the user was told. */
int migrate_line_read(Mover *m, const Command *self, int argc, char **argv, Line *line,
                      int *ret_status);
