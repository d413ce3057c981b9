/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "lib/error.h"
#include "shim/ctl/attach-link.h"

/* This terminal at a process in a pod: stdin to it, its output to stdout and stderr, Ctrl-C and
 * friends as signals to it, the window's size to its terminal. Ctrl-P Ctrl-Q leaves it running.
 *
 * It goes where the pod goes: what was not taken of the input is kept and sent there, and the
 * output goes on at the offset that was reached. */
typedef struct AttachSession {
        AttachTarget target;
        bool terminal; /* the process has one */
        bool stay;     /* do not follow it to another host */
        /* With target.wishes.lines: gets the lines of the log instead of stdout and stderr;
         * `caught_up` once, when those that were there at first have come. < 0 ends it. */
        int (*lines)(void *userdata, const char *p, size_t n);
        int (*caught_up)(void *userdata);
        void *userdata;

        AttachLink link; /* from attach_open() on */
        char *host;      /* where it is now; NULL: here */
        uint32_t code;   /* of the process, when it has ended */
        uint64_t taken;  /* bytes of stdin */
} AttachSession;

typedef enum AttachEnd {
        ATTACH_ENDED,    /* the process did: code */
        ATTACH_MOVED_ON, /* the pod is on another host now */
        ATTACH_DETACHED, /* Ctrl-P Ctrl-Q */
        ATTACH_LOST,     /* the shim, or the connection to it, has gone away */
} AttachEnd;

/* Before the process starts, so that nothing of it is missed. path: object of the container. */
int attach_open(AttachSession *s, sd_bus *bus, const char *path, Error *reterr);
/* Until it ends; puts the terminal back. */
int attach_run(AttachSession *s, AttachEnd *ret, Error *reterr);
/* Where it is now: the exec, or the whole pod, after its end. */
int attach_remove(AttachSession *s, AttachRemove what, Error *reterr);
void attach_close(AttachSession *s);
/* What the end means as an exit status, said to the user where there is something to say. */
int attach_status(const AttachSession *s, AttachEnd end);
#define ATTACH_STAY_HELP "end when the pod moves, instead of going on over there"
/* Of the terminal at stdin; zeros if there is none. */
void terminal_size(uint32_t *ret_rows, uint32_t *ret_columns);
/* All of it, also when someone made the descriptor non-blocking. */
int write_out(int fd, const void *p, size_t n);
