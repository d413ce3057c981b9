/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/buf.h"
#include "lib/error.h"

/* A stream that survives its transport: numbered, acknowledged, flow-controlled channels.
 *
 * A Session is one endpoint and does no I/O of its own. Whoever owns the transport (an fd with its
 * event source) attaches it, feeds what it reads to session_input(), and writes what
 * session_output() shows. Everything happens on the caller's thread; callbacks run inside
 * session_input(), session_taken() and (after session_open() or session_thaw(), for what waited)
 * session_output(). From a callback everything may be called but session_input(), session_output(),
 * session_save() and session_free(). Layout on the wire: lib/frame.h. Properties: docs/session.md.
 *
 * One end is the HOST (it dials: a shim towards its guest, the source shim towards the
 * destination), the other the GUEST (it answers). The HOST raises the epoch each time a new host
 * attaches; the GUEST refuses a lower one. Both ends agree on channel ids by other means (control
 * messages); 0 is always open. */
typedef struct Session Session;

typedef enum SessionRole {
        SESSION_HOST,
        SESSION_GUEST,
} SessionRole;

typedef struct SessionConfig {
        SessionRole role;
        uint8_t id[16]; /* HOST: chosen once per pod; GUEST: all zero = take the first that comes */
        uint64_t epoch; /* HOST: 1 at first; GUEST: 0 */
        uint32_t window;       /* receive window of a channel in bytes; 0 = 256 KiB */
        uint32_t total;        /* cap of bytes kept for resending, all channels; 0 = 4 MiB */
        uint32_t reserve;      /* part of `total` that only channel 0 may use; 0 = 256 KiB */
        uint32_t max_channels; /* open at once; 0 = 4096 */
} SessionConfig;

typedef struct SessionOps {
        /* Bytes of a channel, in order, each exactly once. Returns how many were taken (0..n). What
         * is not taken stays in the session (bounded by the window) until session_taken(). `p` is
         * borrowed. */
        size_t (*data)(void *userdata, uint32_t channel, const void *p, size_t n);
        /* The peer closed its direction of the channel and all its bytes were taken. */
        void (*eof)(void *userdata, uint32_t channel);
        /* A session_write() that came back short may go on. May be NULL. */
        void (*writable)(void *userdata, uint32_t channel);
        /* HELLO was exchanged: the transport is in use. May be NULL. */
        void (*up)(void *userdata);
        /* GUEST: a host of a higher epoch attached. May be NULL. */
        void (*new_epoch)(void *userdata, uint64_t epoch);
        /* There is output where before was none: arrange for session_output(), until that returns 0
         * or all it showed was written and nothing new came. Never called from inside
         * session_input()'s callbacks, session_output() and session_output_done(). */
        void (*wake)(void *userdata);
} SessionOps;

int session_new(const SessionConfig *config, const SessionOps *ops, void *userdata, Session **ret,
                Error *reterr);
Session *session_free(Session *s);
DEFINE_CLEANUP(Session *, session_free);

/* Channels. Opening a channel that is open is -EEXIST; over the limit -ENOSPC. Both directions of
 * it are open at once. Frames that arrive for a channel that is not open here are kept until it is
 * opened (same bounds), since the two ends open it at different moments; they are offered by
 * session_taken() or the next session_input() or session_output(). An id is used once only in the
 * life of a session. */
int session_open(Session *s, uint32_t channel, Error *reterr);
/* Sends end-of-stream after what was written. The channel goes when both directions have ended and
 * the peer has acknowledged ours. Idempotent. */
int session_shutdown(Session *s, uint32_t channel, Error *reterr);
/* Forgets the channel: unsent and undelivered bytes of it are dropped on both ends (peer sees eof).
 */
void session_drop(Session *s, uint32_t channel);
bool session_is_open(const Session *s, uint32_t channel);

/* Takes up to n bytes (copied) and returns how many, 0 when window or buffer is full (ops->writable
 * comes later). -ENOENT: not open; -EPIPE: shut down; -ENOMEM. */
ssize_t session_write(Session *s, uint32_t channel, const void *p, size_t n);
/* Space that session_write() would take now; and a place to read into directly, so that bulk data
 * is not copied: reserve returns a pointer to *ret_n contiguous bytes (NULL when none), commit
 * hands over the first n of them. No other call on the session in between. */
void *session_reserve(Session *s, uint32_t channel, size_t *ret_n);
void session_commit(Session *s, uint32_t channel, size_t n);

/* The consumer of a channel can go on: offers what is kept to ops->data again. */
void session_taken(Session *s, uint32_t channel);

/* Transport. attach: a new byte stream is there, starts with HELLO (HOST raises nothing: see
 * session_raise_epoch). detach: it is gone; everything is kept. input: bytes from the transport;
 * -EBADMSG when they break the protocol beyond resynchronising, -ESTALE when this end is fenced off
 * by a higher epoch, -EPERM when the session id is another's: the caller drops the transport. */
void session_attach(Session *s);
void session_detach(Session *s);
int session_input(Session *s, const void *p, size_t n, Error *reterr);
/* Points iov[0..] at what is to be written; returns how many entries (0 = nothing). The bytes stay
 * valid until session_output_done(n written) or detach. */
int session_output(Session *s, struct iovec *iov, int max);
void session_output_done(Session *s, size_t n);
bool session_is_up(const Session *s);
/* Probes the peer (a PING that must be answered); the answer shows in stats.pongs. */
void session_ping(Session *s);

/* Checkpoint: the endpoint between two events, as bytes (deterministic), and back. save is legal at
 * any time; after session_freeze() the endpoint neither writes, acknowledges nor delivers until
 * session_thaw(): that is the source at the blackout. import makes a detached endpoint that goes on
 * as if nothing had happened; channels are as they were. */
void session_freeze(Session *s);
void session_thaw(Session *s);
int session_save(const Session *s, Buf *ret, Error *reterr);
int session_import(const void *p, size_t n, const SessionOps *ops, void *userdata, Session **ret,
                   Error *reterr);
/* HOST: the next attach speaks with a higher epoch (detached only). */
int session_raise_epoch(Session *s, uint64_t epoch, Error *reterr);
uint64_t session_epoch(const Session *s);

/* Channel ids: the next one that was never used on this session, and the floor that travels. */
uint32_t session_next_channel(Session *s);
void session_raise_channel_floor(Session *s, uint32_t floor);

typedef struct SessionStats {
        uint64_t epoch, sent_seq, acked_seq, received_seq;
        uint64_t bytes_in, bytes_out, frames_in, frames_out;
        uint64_t resent_frames, dropped_frames, resyncs, pongs, attaches;
        uint32_t channels, unacked_bytes, undelivered_bytes;
        bool up, frozen;
        /* Limits: ours, and the peer's as its first HELLO said (0 before). */
        uint32_t window, total, reserve, max_channels, peer_window, peer_total;
        uint32_t pool, pool_used; /* credit for channels that need more, and granted of it */
} SessionStats;

void session_stats(const Session *s, SessionStats *ret);

/* Something left to send or to be acknowledged on this channel? (To know that all arrived.) */
bool session_channel_drained(const Session *s, uint32_t channel);
