/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <sys/epoll.h>

#include "lib/message.h"
#include "lib/pace.h"
#include "shim/ferry/ferry.h"

/* What the files of the ferry share.
 *
 * Two halves of one struct: what the owner's thread and the ferry's thread share is in `shared`,
 * under its lock, and everything else belongs to the ferry's thread from the moment it runs until
 * it is joined. The thread's loop is edge-triggered throughout: an event only sets bits in
 * Watch.ready, one pass (ferry_pass) then does all the work there is, and a bit is cleared by the
 * EAGAIN that proves it stale. So nothing spins on a descriptor that nobody can serve yet. */

#define FERRY_CHANNEL_CONTROL  0U
#define FERRY_CHANNEL_MESSAGES 1U
#define FERRY_CHANNEL_FIRST    2U /* of the relayed connections */
#define FERRY_EVENTS_MAX       256U
#define FERRY_CHUNK            (128U << 10) /* one read */
#define FERRY_BURST            (1U << 20) /* over the transport in one pass, before others' turn */

typedef struct Watch {
        int fd;         /* owned; -EBADF: none */
        uint32_t ready; /* EPOLL* bits not yet known to be stale */
} Watch;

/* One relayed connection: a local socket and its channel. Each direction ends for itself:
 *   in  (socket -> channel): ends with the socket's end-of-file, or when the peer stops taking
 *   out (channel -> socket): ends with the channel's end-of-stream; a socket that takes no more is
 *                            `deaf`: what still comes is thrown away, and the peer was told
 * The record goes when both have ended. */
typedef struct Conn {
        struct Conn *next;
        Watch watch;
        FerryKind kind;
        uint32_t channel;
        unsigned tries;   /* connect() attempts so far */
        bool wanted, due; /* DESTINATION: still to be connected; try now */
        bool answered;    /* SOURCE: the peer said Connected, or why not */
        bool refused;     /* SOURCE: there is nothing behind the channel */
        bool established; /* counted as open */
        bool full;        /* the session takes no more now; its writable callback clears this */
        bool stalled;     /* the session keeps bytes that the socket did not take */
        bool deaf, told;  /* see above */
        bool peer_deaf;   /* the other end takes no more of ours */
        bool peer_ended;  /* the channel's end-of-stream came */
        bool in_done, out_done;
        bool lingers;         /* deafened: kept until its owner has closed the other end */
        bool gated;           /* its next packet waits at the gate */
        uint32_t packet_left; /* with a gate: of a packet that passes */
} Conn;

typedef enum CommandType {
        COMMAND_TRANSPORT,
        COMMAND_LISTEN,
        COMMAND_RULE,
        COMMAND_HOLD,
        COMMAND_LET_GO,
        COMMAND_STALL,
        COMMAND_FLOW,
        COMMAND_PACE,
        COMMAND_CUT,
        COMMAND_REFUSE,
        COMMAND_DEAFEN,
        COMMAND_GATE,
        COMMAND_OPEN_GATE,
} CommandType;

typedef struct Command {
        struct Command *next;
        CommandType type;
        FerryKind kind;
        int fd, out_fd; /* owned */
        uint64_t rate;  /* bytes a second */
        char *path;     /* owned */
} Command;

void command_free(Command *c);

struct Ferry {
        struct {
                pthread_mutex_t lock;
                Command *first, **last;
                FerryEvent events[FERRY_EVENTS_MAX];
                size_t events_at, n_events;
                FerryCounters counters;
                bool stop;
        } shared;
        pthread_t thread;
        bool running;
        int message_fd, event_fd;         /* the owner's ends */
        char *listening[_FERRY_KIND_MAX]; /* paths, unlinked at the end */

        /* the ferry's thread */
        FerryRole role;
        uint32_t max_connections, n_connections;
        Session *session;
        int epoll;
        Watch wake;    /* eventfd of the commands */
        Watch timer;   /* timerfd: connects to try again */
        Watch pacer;   /* timerfd: a kind with a pace may go on */
        Watch in, out; /* the transport; out.fd == in.fd if it is one socket */
        bool attached, up_announced;
        Watch listeners[_FERRY_KIND_MAX];
        char *rules[_FERRY_KIND_MAX];
        bool held[_FERRY_KIND_MAX];
        bool stalls[_FERRY_KIND_MAX];   /* SOURCE: what is said here is not taken */
        Pace paces[_FERRY_KIND_MAX];    /* SOURCE */
        bool refusing[_FERRY_KIND_MAX]; /* SOURCE: nobody is let in any more */
        bool deafened[_FERRY_KIND_MAX]; /* FERRY_EVENT_CLOSED is due */
        bool gate;                      /* SOURCE: what libvirt says is looked at */
        Conn *conns;
        MessageReader control;
        Buf control_out;
        uint8_t *chunk;
        FerryCounters counters; /* published after each pass */
        bool finishing;         /* channel 1 was shut down; FERRY_EVENT_SENT is due */
        int failed;             /* 0, or why the ferry gave up */
        Error failure;
};

/* ferry-loop.c */
void *ferry_loop(void *ferry);
int ferry_watch(Ferry *f, Watch *w, int fd, uint32_t events); /* takes fd on success only */
void ferry_unwatch(Ferry *f, Watch *w);
int ferry_fail(Ferry *f, int r, const Error *err); /* returns r */

/* ferry.c */
void ferry_post(Ferry *f, FerryEventType type, FerryKind kind, int r, const Error *err);
Command *ferry_take_commands(Ferry *f);
void ferry_publish(Ferry *f);
bool ferry_stopped(Ferry *f);

/* ferry-pace.c */
void ferry_set_pace(Ferry *f, FerryKind kind, uint64_t rate);
/* How many bytes of this kind may be taken now, at most `max`. 0: none, and the pacer wakes us. */
size_t ferry_pace_room(Ferry *f, FerryKind kind, size_t max);
void ferry_pace_took(Ferry *f, FerryKind kind, size_t n);
void ferry_pacer_read(Ferry *f);

/* ferry-conn.c */
extern const SessionOps ferry_session_ops;
int ferry_add_conn(Ferry *f, FerryKind kind, uint32_t channel, int fd); /* takes fd on success */
int ferry_want_conn(Ferry *f, FerryKind kind, uint32_t channel, Error *reterr);
void ferry_conn_answered(Ferry *f, uint32_t channel, int code, const Error *err);
/* Everything that connections, listeners and the control channel can do now. True: there is more.
 */
bool ferry_serve(Ferry *f);
void ferry_close_conns(Ferry *f);
void ferry_hold_conns(Ferry *f, FerryKind kind, bool hold);
void ferry_cut_conns(Ferry *f, FerryKind kind);
void ferry_deafen_conns(Ferry *f, FerryKind kind);
