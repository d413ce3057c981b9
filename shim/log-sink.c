/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/log-sink.h"

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include <systemd/sd-journal.h>

#define FIELDS_MAX  12
#define JOURNAL_DIR "/run/systemd/journal/socket"

static const char *log_pod;

static void to_journal(int priority, const char *text, const LogField *fields, size_t n_fields) {
        char *texts[FIELDS_MAX + 4] = {};
        struct iovec iov[FIELDS_MAX + 4];
        int n = 0;

        if (asprintf(&texts[n], "MESSAGE=%s", text) >= 0)
                n++;
        if (asprintf(&texts[n], "PRIORITY=%d", LOG_PRI(priority)) >= 0)
                n++;
        if (asprintf(&texts[n], "POD=%s", log_pod) >= 0)
                n++;
        if (asprintf(&texts[n], "SYSLOG_IDENTIFIER=podferry") >= 0)
                n++;
        for (size_t i = 0; i < n_fields && i < FIELDS_MAX; i++)
                if (fields[i].value &&
                    asprintf(&texts[n], "%s=%s", fields[i].name, fields[i].value) >= 0)
                        n++;
        for (int i = 0; i < n; i++)
                iov[i] = (struct iovec){ texts[i], strlen(texts[i]) };
        (void)sd_journal_sendv(iov, n);
        for (int i = 0; i < n; i++)
                free(texts[i]);
}

static void to_stderr(int priority, const char *text, const LogField *fields, size_t n_fields) {
        static const char *const names[] = { "emerg",   "alert",  "crit", "error",
                                             "warning", "notice", "info", "debug" };
        char line[1280];
        size_t used, max = sizeof(line) - 2;
        struct timespec now;
        struct tm tm;
        int n;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)gmtime_r(&now.tv_sec, &tm);
        used = strftime(line, max, "%Y-%m-%dT%H:%M:%S", &tm);
        n = snprintf(line + used, max - used, ".%06ldZ %s: %s POD=%s", now.tv_nsec / 1000,
                     names[LOG_PRI(priority)], text, log_pod);
        used = MIN_OF(used + (size_t)MAX_OF(n, 0), max);
        for (size_t i = 0; i < n_fields && used < max; i++) {
                if (!fields[i].value)
                        continue;
                n = snprintf(line + used, max - used, " %s=%s", fields[i].name, fields[i].value);
                used = MIN_OF(used + (size_t)MAX_OF(n, 0), max);
        }
        for (size_t i = 0; i < used; i++)
                if (line[i] == '\n')
                        line[i] = ' ';
        line[used++] = '\n';
        if (write(STDERR_FILENO, line, used) < 0)
                return; /* nowhere left to say it */
}

static int level_of(const char *name) {
        if (strcmp(name, "debug") == 0)
                return LOG_DEBUG;
        if (strcmp(name, "warning") == 0)
                return LOG_WARNING;
        return strcmp(name, "error") == 0 ? LOG_ERR : LOG_INFO;
}

void log_sink_start(const char *pod, const char *level) {
        log_pod = pod;
        log_set_max_level(level_of(level));
        log_set_sink(access(JOURNAL_DIR, W_OK) == 0 ? to_journal : to_stderr);
}
