/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/log.h"

/* Where the shim's log lines go: to journald with their fields where its socket is there, else to
 * stderr (the terminal with --foreground, else the file shim.log in the run directory), one line
 * each with the time in front. Every line carries POD=. */
void log_sink_start(const char *pod, const char *level); /* `pod` is borrowed for ever */
