/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "lib/error.h"

/* This terminal at a process in a pod: stdin to it, its output to stdout and stderr, Ctrl-C and
 * friends as signals to it, the window's size to its terminal. Ctrl-P Ctrl-Q leaves it running. */
typedef struct AttachSession {
        sd_bus *bus;
        const char *pod, *path, *exec_id; /* object of the container; "" its init */
        bool with_stdin;
        bool terminal;  /* the process has one */
        bool from_now;  /* only what it writes from now on */
        int fd;         /* from attach_open() on */
        uint32_t code;  /* of the process, when it has ended */
        uint64_t taken; /* bytes of stdin */
} AttachSession;

typedef enum AttachEnd {
        ATTACH_ENDED,    /* the process did: code */
        ATTACH_MOVED_ON, /* the pod is on another host now */
        ATTACH_DETACHED, /* Ctrl-P Ctrl-Q */
        ATTACH_LOST,     /* the shim has gone away */
} AttachEnd;

/* Before the process starts, so that nothing of it is missed. */
int attach_open(AttachSession *s, Error *reterr);
/* Until it ends; puts the terminal back. */
int attach_run(AttachSession *s, AttachEnd *ret, Error *reterr);
void attach_close(AttachSession *s);
/* What the end means as an exit status, said to the user where there is something to say. */
int attach_status(const AttachSession *s, AttachEnd end);
/* Of the terminal at stdin; zeros if there is none. */
void terminal_size(uint32_t *ret_rows, uint32_t *ret_columns);
