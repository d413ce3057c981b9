/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting until fewer moves leave this host, or come to the other one (places.h). Before anything
 * else is done: a pod that waits is as it was, and nobody else waits for it. Out before in, always,
 * so that no two moves wait for each other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "shim/ctl/lock-files.h"
#include "shim/ctl/migrate.h"
#include "shim/ctl/values.h"

#define ANSWER_MS 120000U /* as for any first answer of the other host */
#define LEAVE_MS  3000U

static void tell(Mover *m, bool out, uint64_t limit, unsigned others) {
        char text[160];

        (void)snprintf(text, sizeof(text),
                       "%u %s %s %s, of %u at most (--%s): waits for one to end", others,
                       others == 1 ? "move" : "moves", out ? "from" : "to",
                       out ? "this host" : "the other host", (unsigned)limit, out ? "out" : "in");
        show_step(&m->show, "queue", text);
}

static int take_out(Mover *m, Error *reterr) {
        _cleanup_close_ int watch_fd = -EBADF;
        unsigned taken = 0, told = 0;
        int r;

        if (m->max_out == 0) { /* counted, for those who have a limit */
                (void)place_take(m->ctl->config.run_dir, PLACE_OUT, 0, &m->out, NULL, NULL);
                return 0;
        }
        r = lock_files_watch(m->ctl->config.run_dir, &watch_fd, reterr);
        while (r == 0 && (r = place_take(m->ctl->config.run_dir, PLACE_OUT, (unsigned)m->max_out,
                                         &m->out, &taken, reterr)) == -EAGAIN) {
                if (taken != told)
                        tell(m, true, m->max_out, taken);
                told = taken;
                (void)mover_wait_for_fd(m, watch_fd, LOCK_LOOK_MS);
                lock_files_watch_read(watch_fd);
                r = mover_interrupted(m, reterr);
        }
        return r;
}

/* The command's own words, if it has ended, are the better reason. */
static int explain(Mover *m, int r, const char *what, Error *reterr) {
        Error why = ERROR_INIT;

        if (remote_wait(&m->place, LEAVE_MS) && remote_finish(&m->place, 0, &why) < 0)
                return error_setf(reterr, r, "%s: %s", m->remote.name, why.text);
        return error_setf(reterr, r, "%s: %s", m->remote.name, what);
}

/* 1: a line, without its end. 0: not yet. */
static int read_line(Mover *m, char *line, size_t size, size_t *used, Error *reterr) {
        for (;;) {
                ssize_t n = recv(m->place_fd, line + *used, 1, MSG_DONTWAIT);

                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return explain(m, -ECONNRESET, "it ended without a word", reterr);
                if (line[*used] == '\n') {
                        line[*used] = '\0';
                        *used = 0;
                        return 1;
                }
                if (++*used == size)
                        return explain(m, -EBADMSG, "what it says is not podferry receive's",
                                       reterr);
        }
}

/* 1: it has the place. */
static int take_line(Mover *m, const char *line, Error *reterr) {
        uint64_t n;

        if (strcmp(line, "have") == 0)
                return 1;
        if (strncmp(line, "wait ", 5) != 0 || value_number(line + 5, 1, PLACES_MAX, &n, NULL) < 0)
                return explain(m, -EBADMSG, "what it says is not podferry receive's", reterr);
        tell(m, false, m->max_in, (unsigned)n);
        return 0;
}

static int wait_for_place(Mover *m, Error *reterr) {
        uint64_t end = clock_ms() + ANSWER_MS;
        char line[32];
        size_t used = 0;
        int r = 0;

        while (r == 0) {
                r = mover_interrupted(m, reterr);
                if (r == 0)
                        r = read_line(m, line, sizeof(line), &used, reterr);
                if (r == 1) {
                        end = 0; /* it lives: how long it waits is not its doing */
                        r = take_line(m, line, reterr);
                        continue;
                }
                if (r == 0 && end > 0 && clock_ms() >= end)
                        r = explain(m, -ETIMEDOUT, "podferry receive does not answer there",
                                    reterr);
                if (r == 0)
                        (void)mover_wait_for_fd(m, m->place_fd, LOCK_LOOK_MS);
        }
        return r < 0 ? r : 0;
}

static int take_in(Mover *m, Error *reterr) {
        char number[24];
        const char *args[] = { "receive", "--place", number, NULL };
        int r;

        if (m->max_in == 0) /* it is counted there, by its first command */
                return 0;
        (void)snprintf(number, sizeof(number), "%u", (unsigned)m->max_in);
        r = remote_start_stream(&m->remote, args, &m->place, &m->place_fd, reterr);
        return r < 0 ? r : wait_for_place(m, reterr);
}

int mover_queue(Mover *m, Error *reterr) {
        int r;

        m->step = "queue";
        r = take_out(m, reterr);
        if (r < 0)
                return r;
        m->step = "connect";
        return take_in(m, reterr);
}

const char *mover_placed(const Mover *m) {
        return m->max_in > 0 || m->checking ? "--placed" : NULL;
}

void mover_leave_queue(Mover *m) {
        m->place_fd = close_fd(m->place_fd);
        (void)remote_finish(&m->place, LEAVE_MS, NULL);
        place_leave(&m->out);
}
