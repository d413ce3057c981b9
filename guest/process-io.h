/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/stream.h"
#include "guest/wire.h"

/* The stdio of one process: up to three pipes, or one pty.
 *
 * Pipes exist before crun runs. A pty is made by crun in the container; its master comes through a
 * socket, and lies there when crun has ended. */
typedef struct Stdio {
        bool terminal;
        uint32_t channels[3], rows, columns; /* 0: none */
        Stream *streams[3];                  /* stdin, stdout, stderr; NULL: none */
        int console;                         /* listening for the pty */
        char console_path[48];
} Stdio;

/* Opens channels, and fills fds with what the process is given (the caller closes them; negative:
 * none). `spec` NULL: no stdio. */
int stdio_prepare(Stdio *io, Streams *all, const StdioSpec *spec, StreamChanged changed,
                  void *userdata, int fds[3], Error *reterr);
/* Crun has made the process: takes the pty. */
int stdio_connect(Stdio *io, Error *reterr);
void stdio_drain(Stdio *io); /* the process has exited */
bool stdio_is_settled(const Stdio *io);
int stdio_resize(Stdio *io, uint32_t rows, uint32_t columns, Error *reterr);
void stdio_done(Stdio *io);    /* the process is forgotten */
void stdio_abandon(Stdio *io); /* nothing has come of the process */
/* As the host gave it. */
void stdio_describe(const Stdio *io, StdioSpec *ret);
