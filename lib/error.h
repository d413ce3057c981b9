/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/cleanup.h"

/* What went wrong, for people; the code of it travels in the return value.
 *
 * The text is made once, where the fact is known, and says what failed, on what, and what to do.
 * Callers add context with error_prefix() on the way up. `reterr` may be NULL everywhere: then only
 * the code is returned. Plain value, no ownership, may be copied.
 *
 * Codes that a caller may branch on (everything else is passed up unchanged):
 *   -EINVAL argument is wrong      -ENOENT no such thing        -EEXIST it is there already
 *   -EBADFD wrong state for this   -EPROTONOSUPPORT envelope version not spoken here
 *   -EBUSY try again later         -ENOSPC a limit is reached   -EOPNOTSUPP not supported (yet)
 *   -ETIMEDOUT deadline passed     -ECANCELED was cancelled     -EBADMSG bytes do not parse */
typedef struct Error {
        int code;
        char text[508];
} Error;

#define ERROR_INIT                                                                                 \
        (Error) {                                                                                  \
        }

/* Writes `code` and the text to *reterr and returns `code` (negative), so that it can be returned.
 */
int error_setf(Error *reterr, int code, const char *fmt, ...) _printf_(3, 4);

/* Puts "<what>: " before the text that *reterr holds (or before the text of `code` if it holds
 * none) and returns `code`. */
int error_prefix(Error *reterr, int code, const char *fmt, ...) _printf_(3, 4);

/* The text if there is one, else the system's text for `code`. Never NULL; borrowed. */
const char *error_text(const Error *e, int code);

#define error_oom(reterr) error_setf((reterr), -ENOMEM, "out of memory")

/* Texts hold what others sent (a guest, a peer, a client of the bus) and go to terminals, logs and
 * the bus: control characters, and bytes that are not UTF-8, become '?'. In place. */
void text_clean(char *text);
/* The same, but lines stay lines. */
void text_clean_lines(char *text);
