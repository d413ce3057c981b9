/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-event.h>

#include "shim/stdio/output-log.h"

/* One attached client: a SOCK_SEQPACKET socket whose datagrams are one type byte and a payload.
 *
 * It follows the log from an offset, driven by the log's growth (attach_client_wake) and by room in
 * its socket; a client that does not read stops only itself. Frames, numbers little-endian: */
typedef enum AttachFrame {
        /* From the client. */
        ATTACH_STDIN = 0,       /* bytes */
        ATTACH_RESIZE = 6,      /* u16 rows, u16 columns */
        ATTACH_CLOSE_STDIN = 7, /* after the bytes before */
        /* To the client. */
        ATTACH_STDOUT = 1, /* bytes */
        ATTACH_STDERR = 2, /* bytes */
        ATTACH_EXIT = 3,   /* u32 code; the last frame */
        ATTACH_MOVED = 4,  /* u64 stdin bytes taken in all, u64 log offset reached, and where it is
                              (JSON: to, to_program, to_pod, uuid, epoch; nothing if nobody said
                              so); the last frame: attach again there with this offset */
        ATTACH_TAKEN = 5,  /* u64 stdin bytes taken in all; also the first frame with stdin */
        ATTACH_GAP = 8,    /* u64 bytes of log that are no longer there */
        ATTACH_LINES = 9,  /* whole lines of the log as they are, instead of stdout and stderr */
        ATTACH_END = 10,   /* u64 the log's present end; the first frame with lines */
} AttachFrame;

#define ATTACH_FRAME_MAX (64U << 10) /* payload, either way */

typedef struct AttachClient AttachClient;

/* What a client needs from the process it is attached to. */
typedef struct AttachOps {
        /* Takes up to n bytes of stdin and returns how many; 0: not now, attach_client_wake(). */
        size_t (*take)(void *userdata, const void *p, size_t n);
        uint64_t (*taken)(void *userdata); /* in all */
        void (*close_stdin)(void *userdata);
        void (*resize)(void *userdata, uint32_t rows, uint32_t columns);
        const char *(*way)(void *userdata); /* of ATTACH_MOVED */
        /* The client is gone or has had its last frame: the owner frees it now. */
        void (*gone)(void *userdata, AttachClient *c);
} AttachOps;

/* What a client wants. */
typedef struct AttachWishes {
        uint64_t offset; /* of the log */
        bool with_stdin;
        bool lines; /* of the log, not what they are made of */
} AttachWishes;

/* Makes the socket pair. `log` is borrowed and must outlive the client. */
int attach_client_new(sd_event *event, const OutputLog *log, const AttachWishes *wishes,
                      const AttachOps *ops, void *userdata, AttachClient **ret, int *ret_fd,
                      Error *reterr);
AttachClient *attach_client_free(AttachClient *c);
bool attach_client_has_stdin(const AttachClient *c);

/* The log grew, stdin has room again, or `taken` changed. Cheap when there is nothing to do. */
void attach_client_wake(AttachClient *c);
void attach_client_hold_stdin(AttachClient *c, bool hold); /* the blackout */
void attach_client_hold_input(AttachClient *c, bool hold); /* nothing of his is read */
/* What to say last, when all of the log was sent. */
void attach_client_exit(AttachClient *c, uint32_t code);
void attach_client_moved(AttachClient *c);
