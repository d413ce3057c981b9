/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/error.h"

static LogSink log_sink;
static int log_max_level = LOG_INFO;

static const char *level_name(int priority) {
        static const char *const names[] = { "emerg",   "alert",  "crit", "error",
                                             "warning", "notice", "info", "debug" };

        return names[LOG_PRI(priority)];
}

static void stderr_sink(int priority, const char *text, const LogField *fields, size_t n_fields) {
        char line[1024];
        size_t used;
        int n;

        n = snprintf(line, sizeof(line), "%s: %s", level_name(priority), text);
        used = n < 0 ? 0 : MIN_OF((size_t)n, sizeof(line) - 2);
        for (size_t i = 0; i < n_fields && used < sizeof(line) - 2; i++) {
                if (!fields[i].value)
                        continue;
                n = snprintf(line + used, sizeof(line) - 1 - used, " %s=%s", fields[i].name,
                             fields[i].value);
                used = n < 0 ? used : MIN_OF(used + (size_t)n, sizeof(line) - 2);
        }
        line[used++] = '\n';
        if (write(STDERR_FILENO, line, used) < 0)
                return; /* nowhere left to say it */
}

void log_set_sink(LogSink sink) {
        log_sink = sink;
}

void log_set_max_level(int level) {
        log_max_level = level;
}

void log_fields(int priority, const LogField *fields, size_t n_fields, const char *fmt, ...) {
        char text[768];
        va_list ap;

        if (LOG_PRI(priority) > log_max_level)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        text_clean(text);
        (log_sink ?: stderr_sink)(priority, text, fields, n_fields);
}
