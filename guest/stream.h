/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "guest/loop.h"
#include "lib/session.h"

/* One direction of a process's stdio: a pipe or a pty at one side, a session channel at the other.
 *
 * Flow control goes through both ways: a channel that the host does not read stops the reading of
 * its pipe, and a pipe that the process does not read leaves its bytes in the session. Neither
 * touches any other stream.
 *
 * The agent runs before any container does (main.c), so each little write of a process would wake
 * it and go to the host alone. An output that brings little but often is therefore read once in a
 * millisecond, until it brings nothing.
 *
 * Output ends when the last writer closes (then the channel is shut down). A process may exit and
 * leave the pipe to a grandchild: so from stream_drain() on, the stream is settled once all that
 * was in the pipe at that moment is on its way, and goes on relaying until it is freed. */
typedef void (*StreamChanged)(void *userdata);

typedef struct Stream Stream;

enum { STREAM_BUCKETS = 256 };

typedef struct Streams {
        Loop *loop;
        Session *session;
        Stream *by_channel[STREAM_BUCKETS];
        Watch pause;     /* the timer for all that rest */
        Stream *resting; /* outputs that are read when it ends, */
        Stream *due;     /* and those of the one that has ended */
} Streams;

typedef enum StreamKind {
        STREAM_INPUT,  /* from the channel to the process */
        STREAM_OUTPUT, /* from the process to the channel */
} StreamKind;

int streams_init(Streams *all, Loop *l, Session *s, Error *reterr);
/* For SessionOps, channels above 0. Bytes for channels that nobody has are dropped. */
size_t streams_data(Streams *all, uint32_t channel, const void *p, size_t n);
void streams_eof(Streams *all, uint32_t channel);
void streams_writable(Streams *all, uint32_t channel);

/* Opens the channel (-EEXIST if it is open). Channel 0: output is read and thrown away. Moves
 * nothing before stream_start(). `changed` (may be NULL) is told when an output may have settled.
 */
int stream_new(Streams *all, StreamKind kind, uint32_t channel, StreamChanged changed,
               void *userdata, Stream **ret, Error *reterr);
/* Takes fd (the near end of a pipe, or a copy of the pty's master). */
int stream_start(Stream *s, int fd, bool is_tty, Error *reterr);
/* Shuts the channel down; what it still holds goes on to the host. */
Stream *stream_free(Stream *s);
DEFINE_CLEANUP(Stream *, stream_free);
/* Instead of stream_free() when nothing has come of the process: forgets the channel. */
Stream *stream_abandon(Stream *s);

/* The process has exited. Input ends. */
void stream_drain(Stream *s);
/* All that the process wrote has been given to the session, and if nobody can write any more, the
 * host has acknowledged it. */
bool stream_is_settled(const Stream *s);
int stream_resize(Stream *s, uint32_t rows, uint32_t columns, Error *reterr);
