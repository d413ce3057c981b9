/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-bus.h>

#include "lib/buf.h"
#include "shim/ctl/remote.h"
#include "shim/stdio/attach.h"

/* One client's connection to a process of a pod, wherever the pod is.
 *
 *      local       the socket of the shim's Attach, and the shim's bus for what else is asked
 *      remote      `podferry relay` on the host that the pod went to, which has a link of its own;
 *                  the same frames over its stdin and stdout, each with a length in front
 *
 * When a pod moves on from a host that was reached so, the relay there follows it: only that host
 * is known to know the way. If it comes to a host that is in the chain, the chain ends there. */

/* Between a client and the relay, beside the frames of attach.h. */
enum {
        /* From the client. */
        RELAY_SIGNAL = 64, /* u32 number */
        RELAY_FOLLOW = 65, /* after ATTACH_MOVED: go after it. Input before it is void */
        RELAY_REMOVE = 66, /* u8 AttachRemove */
        /* To the client. */
        RELAY_OPENED = 80,  /* u8: with stdin; frames of the process come after it */
        RELAY_REFUSED = 81, /* text: why it could not be opened; the last frame */
        RELAY_SAID = 82,    /* text for the user */
        RELAY_REMOVED = 83, /* text of a failure, or nothing */
};

typedef enum AttachRemove {
        ATTACH_REMOVE_EXEC,
        ATTACH_REMOVE_POD,
} AttachRemove;

/* What the last frame of a pod that moved says. */
typedef struct AttachWay {
        uint64_t taken, offset;
        char *to, *program, *pod, *uuid; /* NULL: nobody told where it went */
        uint64_t epoch;                  /* before the move */
} AttachWay;
/* payload: behind the type. -EBADMSG. */
int attach_way_parse(const uint8_t *payload, size_t n, AttachWay *ret, Error *reterr);
void attach_way_done(AttachWay *w);

/* Which process, and what is wanted of it. Borrowed strings. */
typedef struct AttachTarget {
        const char *run_dir, *pod, *container;
        const char *exec_id; /* "": init */
        AttachWishes wishes;
} AttachTarget;

typedef struct AttachLink {
        /* local */
        sd_bus *bus;
        char *path; /* object of the container */
        char *exec_id;
        /* remote */
        Remote remote;
        RemoteRun run;
        Buf in, out; /* framed bytes */

        int fd; /* -EBADF: not open */
        bool with_stdin;
} AttachLink;

#define ATTACH_LINK_INIT                                                                           \
        (AttachLink) {                                                                             \
                .run = REMOTE_RUN_INIT, .fd = -EBADF                                               \
        }

/* Attaches here. `bus` is referenced. wishes.with_stdin is only a wish if `lenient`: where stdin is
 * closed it is done without. */
int attach_link_local(AttachLink *l, sd_bus *bus, const char *path, const AttachTarget *t,
                      bool lenient, Error *reterr);
/* The same for a pod that came (back) to this host: 0 if it is here. -ENOENT: it is not this one.
 */
int attach_link_home(AttachLink *l, const AttachWay *way, const AttachTarget *t, Error *reterr);
/* Starts the relay; RELAY_OPENED or RELAY_REFUSED will be the first frame. */
int attach_link_remote(AttachLink *l, const AttachWay *way, const AttachTarget *t, Error *reterr);
bool attach_link_is_remote(const AttachLink *l);
void attach_link_close(AttachLink *l);

/* Events to poll for on l->fd. */
short attach_link_events(const AttachLink *l, bool has_input);
/* 1 sent or will be, 0 no room now, < 0 gone. */
int attach_link_send(AttachLink *l, uint8_t type, const void *p, size_t n);
/* The next frame: its length with the type, 0: none yet, < 0: the other end is gone. */
ssize_t attach_link_receive(AttachLink *l, uint8_t frame[static 1 + ATTACH_FRAME_MAX]);
/* A frame is here already: poll() does not tell. */
bool attach_link_has_frame(const AttachLink *l);
int attach_link_signal(AttachLink *l, uint32_t number, Error *reterr);
/* Here: at once. Remote: RELAY_REMOVED will come. Returns 1 then. */
int attach_link_remove(AttachLink *l, AttachRemove what, Error *reterr);

/* Frames in a stream of bytes. */
int relay_put(Buf *out, uint8_t type, const void *p, size_t n);
/* Takes the first whole frame off: as attach_link_receive(); -EBADMSG. */
ssize_t relay_take(Buf *in, uint8_t frame[static 1 + ATTACH_FRAME_MAX]);
