/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* The output of one process on disk, in the format of the Container Runtime Interface:
 *
 *      2026-01-31T12:00:00.123456789Z stdout F a whole line
 *      2026-01-31T12:00:00.123456789Z stderr P a piece that no newline ended
 *
 * Lossless: the bodies put together, with a newline after each F, are exactly what the process
 * wrote. A position in it is an offset that counts all bytes ever written, so it means the same
 * after the log was cut and on every host that the pod moves to. The log is two files, PATH and
 * PATH.1 (older); when PATH is half of the allowed size it becomes PATH.1 and the older one goes.
 */
typedef struct OutputLog OutputLog;

typedef enum OutputStream {
        OUTPUT_STDOUT,
        OUTPUT_STDERR,
        _OUTPUT_STREAM_MAX,
} OutputStream;

#define OUTPUT_PIECE_MAX  (16U << 10) /* bytes of one line's body */
#define OUTPUT_HEADER_LEN 40U         /* before the body */
#define OUTPUT_LINE_MAX   (OUTPUT_HEADER_LEN + OUTPUT_PIECE_MAX + 1U)

/* A new, empty log, whatever was at the path; directories are made. */
int output_log_new(const char *path, uint64_t max_bytes, OutputLog **ret, Error *reterr);
/* The log that is there, whose oldest byte in PATH.1 (or PATH, without one) has the offset `start`.
 */
int output_log_reopen(const char *path, uint64_t max_bytes, uint64_t start, OutputLog **ret,
                      Error *reterr);
OutputLog *output_log_free(OutputLog *log); /* the files stay */
DEFINE_CLEANUP(OutputLog *, output_log_free);
void output_log_remove_files(OutputLog *log); /* readers that have it open read on */

/* Appends what the process wrote; returns how many of the n bytes are in the file: what is not
 * (disk full) must be offered again. */
size_t output_log_write(OutputLog *log, OutputStream stream, const void *p, size_t n);
/* History from another host: bytes of the file at `offset`, which must be the present end (or
 * anything, for the first). -EINVAL there is a gap. Bytes that are here already are skipped. */
int output_log_append(OutputLog *log, uint64_t offset, const void *p, size_t n, Error *reterr);

/* Makes `end` the end of a log that was reopened: what is behind it goes. If the log is shorter
 * than that, its oldest bytes are those that are missing. */
int output_log_cut(OutputLog *log, uint64_t end, Error *reterr);

uint64_t output_log_start(const OutputLog *log); /* offset of the oldest byte kept */
uint64_t output_log_end(const OutputLog *log);
/* Reads up to n bytes at *offset, which is first moved up to the oldest byte kept (*ret_skipped
 * says by how much; may be NULL). 0 at the end. */
ssize_t output_log_read(const OutputLog *log, uint64_t *offset, void *p, size_t n,
                        uint64_t *ret_skipped);

/* One line of the format. Returns its length with the newline, 0 if p holds no whole line yet, or
 * < 0 if the line is not of this format (its length, negated). */
typedef struct OutputLine {
        OutputStream stream;
        const char *body;
        size_t n;
        bool newline; /* the process wrote one after it */
} OutputLine;
ssize_t output_line_parse(const char *p, size_t n, OutputLine *ret);
