/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/session.h"

/* The ferry carries a migration between two shims: one transport, many connections.
 *
 * It runs on a thread of its own and owns a session (lib/session.h) over the transport that the
 * runtime handed over. What libvirt and QEMU of the source host connect to (ferry_listen) comes out
 * at the destination as a connection to the path of the same kind (ferry_rule). Channel 1 of the
 * session is the shims' own: its local end is ferry_message_fd(), a byte stream on which they speak
 * lib/message-framed podferry.peer.v1.Peer messages. Channel 0 is the ferry's: Connect and
 * Connected.
 *
 *      libvirtd, QEMU of S -> UNIX path -> ferry of S ==transport== ferry of D -> UNIX path -> D's
 *
 * A transport that breaks stops the traffic and nothing else: ferry_set_transport() with a new one
 * goes on at the byte where the old one ended. A connection that is not read stops itself only;
 * end-of-stream and broken connections are passed on, each direction for itself.
 *
 * All functions are for one thread, the owner's (the loop); none of them waits for the network, and
 * ferry_free() waits only for the thread to notice. */
typedef struct Ferry Ferry;

typedef enum FerryKind {
        FERRY_LIBVIRT = 1, /* the peer's libvirtd */
        FERRY_MEMORY = 2,  /* QEMU's migration stream */
        FERRY_DISK = 3,    /* QEMU's NBD server */
        _FERRY_KIND_MAX,
        FERRY_MESSAGES = 0, /* in counters: channel 1 */
} FerryKind;

const char *ferry_kind_name(FerryKind kind); /* "libvirt"; NULL if there is none such */

typedef enum FerryRole {
        FERRY_SOURCE,      /* listens; SESSION_HOST */
        FERRY_DESTINATION, /* connects; SESSION_GUEST */
} FerryRole;

typedef struct FerryConfig {
        FerryRole role;
        /* SOURCE: random. DESTINATION: the one expected; all zero takes the first that comes. */
        uint8_t session_id[16];
        uint32_t window;          /* per connection, bytes; 0 = 4 MiB */
        uint32_t total;           /* kept for resending, bytes; 0 = 16 MiB */
        uint32_t max_connections; /* at once; 0 = 128 */
} FerryConfig;

int ferry_new(const FerryConfig *config, Ferry **ret, Error *reterr);
/* Ends the thread whatever it was doing, closes every connection and the transport (the sockets of
 * libvirt and QEMU see end-of-file), unlinks what ferry_listen() made. */
Ferry *ferry_free(Ferry *f);
DEFINE_CLEANUP(Ferry *, ferry_free);

/* Takes both descriptors in every case, also on failure: one stream socket given twice, or a pipe
 * (or socket) to read from and one to write to. An earlier transport is closed and the traffic goes
 * on over this one. -EINVAL: neither a stream socket nor a pipe. */
int ferry_set_transport(Ferry *f, int in_fd, int out_fd, Error *reterr);

/* SOURCE: makes a UNIX socket (mode 0660) at `path`; each connection to it is carried over. A stale
 * socket there is replaced. One path per kind: -EEXIST. -EOPNOTSUPP at a destination. */
int ferry_listen(Ferry *f, FerryKind kind, const char *path, Error *reterr);
/* DESTINATION: connections of this kind go to the UNIX socket at `path`, which need not exist yet.
 * Again with another path: holds for those to come. -EOPNOTSUPP at a source. */
int ferry_rule(Ferry *f, FerryKind kind, const char *path, Error *reterr);

/* hold: what the peer sends on connections of this kind stays in the session (bounded by the
 * window), so that the local socket gets none of it until the hold ends. cut: closes them all, both
 * ways, as if the peer had gone; later ones are not concerned. Both take effect within the thread's
 * next pass. */
int ferry_hold(Ferry *f, FerryKind kind, bool hold, Error *reterr);
/* SOURCE: nothing is taken from what connects here as this kind, so that it stands when the
 * socket's buffer is full, until this ends. One that hangs up meanwhile is read to its end. */
int ferry_stall(Ferry *f, FerryKind kind, bool stall, Error *reterr);
/* SOURCE: of all that connect here as this kind, at most so many bytes a second are taken in all;
 * 0: as many as there are. Within a twentieth of a second, the first ones made come first. What one
 * that has hung up left in its socket goes at once. */
int ferry_pace(Ferry *f, FerryKind kind, uint64_t bytes_per_s, Error *reterr);
int ferry_cut(Ferry *f, FerryKind kind, Error *reterr);
/* SOURCE: cuts them, and closes every later one as soon as it is made. */
int ferry_refuse(Ferry *f, FerryKind kind, Error *reterr);

/* SOURCE: takes no more from them, so that who writes is told so (EPIPE), and closes every later
 * one, but leaves them open until their owners have closed them: FERRY_EVENT_CLOSED says that there
 * is none left, which may be at once. The channels end, and so do the peer's connections. */
int ferry_deafen(Ferry *f, FerryKind kind, Error *reterr);

/* SOURCE: a gate for what libvirt here says to the other one, to be closed before ferry_listen().
 * All of it passes but the call by which the other libvirt lets the guest run: that one waits, and
 * all that follows it, until the gate is opened; FERRY_EVENT_GATE says that it is there. */
int ferry_gate(Ferry *f, bool closed, Error *reterr);

/* The shims' own byte stream to the peer: a non-blocking UNIX stream socket, borrowed. What is
 * written to it may be written before there is a transport (up to what the buffers hold, then
 * EAGAIN). End-of-file on it means that the peer called ferry_finish() or that the ferry failed. */
int ferry_message_fd(const Ferry *f);
/* No more messages will be written: FERRY_EVENT_SENT comes as soon as the peer's ferry has
 * acknowledged all of them (it may then be freed without losing the last word). Idempotent. */
void ferry_finish(Ferry *f);

typedef enum FerryEventType {
        FERRY_EVENT_UP,        /* the transport is in use: HELLO was exchanged */
        FERRY_EVENT_LOST,      /* the transport is gone; `error` says why; wants a new one.
                                  -ENOTCONN the peer closed it, -EPERM it belongs to another session,
                                  -ESTALE this end was fenced off, -EBADMSG damaged, else errno */
        FERRY_EVENT_CONNECTED, /* a connection of `kind` is through */
        FERRY_EVENT_REFUSED,   /* a connection of `kind` could not be made; `error` says why */
        FERRY_EVENT_ENDED,     /* one of `kind` is over: both ends know, and nothing of it is on its
                                  way any more (counters: open) */
        FERRY_EVENT_SENT,      /* see ferry_finish() */
        FERRY_EVENT_CLOSED,    /* see ferry_deafen() */
        FERRY_EVENT_GATE,      /* see ferry_gate(); with an error: what libvirt says is not its
                                  protocol, and none of it passes */
        FERRY_EVENT_FAILED, /* the ferry itself can no longer go on (memory, or a peer that breaks
                               the rules); every connection was closed; free it */
} FerryEventType;

typedef struct FerryEvent {
        FerryEventType type;
        FerryKind kind;
        Error error;
} FerryEvent;

/* Readable (POLLIN, level) while events wait; borrowed. */
int ferry_event_fd(const Ferry *f);
/* The next event, oldest first; false if there is none. Never blocks. A reader that lets 256 of
 * them pile up loses the oldest (counted). */
bool ferry_next_event(Ferry *f, FerryEvent *ret);

typedef struct FerryTraffic {
        uint64_t sent, received; /* payload bytes over the session */
        uint32_t opened, refused, open;
} FerryTraffic;

typedef struct FerryCounters {
        FerryTraffic kind[_FERRY_KIND_MAX];          /* by FerryKind; [0] is the messages */
        uint64_t transport_sent, transport_received; /* with frames and what was sent again */
        uint32_t transports;                         /* set so far */
        uint32_t events_lost;
        bool up;
        SessionStats session;
} FerryCounters;

/* A consistent picture of the moment; cheap, may be called at any time. */
void ferry_counters(Ferry *f, FerryCounters *ret);
