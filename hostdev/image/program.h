/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/buf.h"
#include "lib/error.h"

/* Runs a program of the host (mkfs.erofs, tar, ...) to its end: found in PATH, no shell, arguments
 * as they are, stdin empty, locale C, signals as after exec. Blocks.
 *
 * stdout is appended to *ret_stdout (at most PROGRAM_OUTPUT_MAX; NULL: discarded). 0 if the program
 * exits with 0. -ENOENT it is not installed; -ENOSPC it says that there is no space left; -EIO any
 * other failure; the text then has the end of what it wrote to stderr. */
#define PROGRAM_OUTPUT_MAX (1U << 20)
int program_run(const char *const argv[], Buf *ret_stdout, Error *reterr);
/* The same for a program that reads what may be hostile: at most 20 s, 10 s of CPU, 1 GiB of
 * memory. */
int program_run_limited(const char *const argv[], Buf *ret_stdout, Error *reterr);
/* The same for a program of podferry: with the caller's whole environment, and `in` as its stdin
 * (< 0: empty). */
int program_run_own(const char *const argv[], int in, Buf *ret_stdout, Error *reterr);
