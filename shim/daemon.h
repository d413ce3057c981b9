/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/error.h"

/* Going to the background, before the first thread.
 *
 * The process that was started stays until the daemon says that it serves (or why not), and exits
 * with 0 or 1; so whoever starts a shim just waits for it. */

/* Forks. In the daemon: returns 0 with a session of its own and *ret_fd to report on. The process
 * that was started does not return: it exits as the daemon reports. */
int daemon_start(int *ret_fd, Error *reterr);
/* The daemon serves: lets the starter go. From here on stdin and stdout are /dev/null, and stderr
 * goes to `log_path` (appended). */
int daemon_log(const char *path,
               Error *reterr); /* before it is ready, whoever starts it hears none */
int daemon_ready(int fd, const char *log_path, Error *reterr);
/* The daemon could not start: the starter prints the text and exits with 1. */
void daemon_failed(int fd, const char *text);
