/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <syslog.h>

#include "lib/cleanup.h"

/* Structured log lines. lib/ and guest/ know no journald: a sink is set once at start-up (shim/
 * sets one that writes to journald where it runs, else to stderr). The default sink writes "<level>
 * text" to stderr. Loop thread and worker threads may log; setting the sink is for main() alone.
 *
 * Field names are journald's style (upper case); values may be NULL and are then left out. The
 * fields of the process (POD=, HOST=) are set once and go with every line. */
typedef struct LogField {
        const char *name;
        const char *value;
} LogField;

typedef void (*LogSink)(int priority, const char *text, const LogField *fields, size_t n_fields);

void log_set_sink(LogSink sink); /* NULL: back to stderr */
void log_set_max_level(
        int level); /* LOG_DEBUG..LOG_ERR; lines above it are dropped; default LOG_INFO */

void log_fields(int priority, const LogField *fields, size_t n_fields, const char *fmt, ...)
        _printf_(4, 5);

#define log_line(priority, ...) log_fields((priority), NULL, 0, __VA_ARGS__)
#define log_debug(...)          log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)           log_line(LOG_INFO, __VA_ARGS__)
#define log_warning(...)        log_line(LOG_WARNING, __VA_ARGS__)
#define log_err(...)            log_line(LOG_ERR, __VA_ARGS__)
