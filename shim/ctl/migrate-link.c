/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the link to the other host is, over the very byte stream that a move would use: a
 * command that is started there in the same way.
 *
 * The other end says after each read how much it has. By that, and not by what was written, the
 * speed is taken, since what is between takes megabytes at once; and so that a slow link is not
 * left with seconds of work when this is over, no more is under way than has arrived before. */
#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "hostdev/image/files.h"
#include "lib/clock.h"
#include "shim/ctl/migrate.h"

#define CHUNK      (256U << 10)
#define UNDER_WAY  (4U << 20) /* as the ferry has it, at most */
#define WARM_UP_US 150000U    /* from the first answer on: slow start, and buffers that fill */
#define MEASURE_US 350000U    /* and then so long */
#define LONGEST_MS 3000U

typedef struct Meter {
        int fd;
        uint8_t chunk[CHUNK];
        size_t at;              /* in the chunk that is being written */
        uint64_t sent, arrived; /* bytes */
        uint8_t answer[sizeof(uint64_t)];
        size_t n_answer;
        uint64_t first_us, now_us;    /* of an answer; 0: none yet */
        uint64_t from_us, from_bytes; /* where the speed is taken from; 0: not warm yet */
} Meter;

static int take_answer(Meter *m, Error *reterr) {
        uint64_t arrived;

        memcpy(&arrived, m->answer, sizeof(arrived));
        arrived = be64toh(arrived);
        m->n_answer = 0;
        if (arrived < m->arrived || arrived > m->sent)
                return error_setf(reterr, -EBADMSG, "the other host counts what was not sent");
        m->arrived = arrived;
        m->now_us = clock_us();
        if (m->first_us == 0)
                m->first_us = m->now_us;
        if (m->from_us == 0 && m->now_us - m->first_us >= WARM_UP_US) {
                m->from_us = m->now_us;
                m->from_bytes = arrived;
        }
        return 0;
}

static int read_answers(Meter *m, Error *reterr) {
        for (;;) {
                ssize_t k = read(m->fd, m->answer + m->n_answer, sizeof(m->answer) - m->n_answer);
                int r;

                if (k < 0)
                        return errno == EAGAIN || errno == EINTR
                                       ? 0
                                       : error_setf(reterr, -errno, "cannot read: %m");
                if (k == 0)
                        return error_setf(reterr, -ECONNRESET, "the connection ended");
                m->n_answer += (size_t)k;
                if (m->n_answer < sizeof(m->answer))
                        continue;
                r = take_answer(m, reterr);
                if (r < 0)
                        return r;
        }
}

static bool may_send(const Meter *m) {
        return m->sent - m->arrived < MIN_OF(CHUNK + m->arrived, (uint64_t)UNDER_WAY);
}

static int send_some(Meter *m, Error *reterr) {
        while (may_send(m)) {
                ssize_t k = send(m->fd, m->chunk + m->at, CHUNK - m->at, MSG_NOSIGNAL);

                if (k < 0)
                        return errno == EAGAIN || errno == EINTR
                                       ? 0
                                       : error_setf(reterr, -errno, "cannot write: %m");
                m->sent += (uint64_t)k;
                m->at = (m->at + (size_t)k) % CHUNK;
        }
        return 0;
}

static bool is_done(const Meter *m) {
        return m->from_us > 0 && m->now_us - m->from_us >= MEASURE_US && m->arrived > m->from_bytes;
}

static int measure(Mover *mover, Meter *m, Error *reterr) {
        uint64_t end = clock_ms() + LONGEST_MS, now;
        int r = 0;

        while (r == 0 && !is_done(m)) {
                struct pollfd fds[] = {
                        { .fd = m->fd, .events = (short)(POLLIN | (may_send(m) ? POLLOUT : 0)) },
                        { .fd = mover->signal_fd, .events = POLLIN },
                };

                now = clock_ms();
                if (now >= end)
                        return error_setf(reterr, -ETIMEDOUT, "too slow to be measured within %u s",
                                          LONGEST_MS / 1000);
                if (poll(fds, ELEMENTSOF(fds), (int)(end - now)) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
                r = mover_interrupted(mover, reterr);
                if (r == 0 && (fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
                        r = read_answers(m, reterr);
                if (r == 0 && (fds[0].revents & POLLOUT))
                        r = send_some(m, reterr);
        }
        return r;
}

/* Bytes that no compression on the way makes less. */
static int fill(uint8_t *p, size_t n, Error *reterr) {
        while (n > 0) {
                ssize_t k = getrandom(p, MIN_OF(n, (size_t)256), 0);

                if (k < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "random bytes: %m");
                p += k > 0 ? k : 0;
                n -= k > 0 ? (size_t)k : 0;
        }
        return 0;
}

/* What the command says itself is the better reason. */
static int explain(RemoteRun *run, int r, Error *reterr) {
        Error why = ERROR_INIT;

        if (r == -ECANCELED || r == -ETIMEDOUT)
                return r;
        if (remote_wait(run, 1000) && remote_finish(run, 0, &why) < 0)
                return error_setf(reterr, r, "%s", why.text);
        return r;
}

int mover_measure_link(Mover *m, LinkSpeed *ret, Error *reterr) {
        const char *args[] = { "receive", "--measure", NULL };
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ Meter *meter = calloc(1, sizeof(*meter));
        uint64_t begin = clock_ms();
        RemoteRun run = REMOTE_RUN_INIT;
        int r;

        if (!meter)
                return error_oom(reterr);
        r = fill(meter->chunk, CHUNK, reterr);
        if (r == 0)
                r = remote_start_stream(&m->remote, args, &run, &fd, reterr);
        if (r < 0)
                return r;
        meter->fd = fd;
        r = measure(m, meter, reterr);
        if (r < 0)
                r = explain(&run, r, reterr);
        fd = close_fd(fd);
        (void)remote_finish(&run, 1000, NULL);
        if (r < 0)
                return r;
        *ret = (LinkSpeed){ .bps = (meter->arrived - meter->from_bytes) * 1000000U /
                                   (meter->now_us - meter->from_us),
                            .ms = clock_ms() - begin };
        return 0;
}

int link_measure_serve(Error *reterr) {
        _cleanup_free_ uint8_t *p = malloc(CHUNK);
        uint64_t arrived = 0;

        if (!p)
                return error_oom(reterr);
        for (;;) {
                ssize_t k = read(STDIN_FILENO, p, CHUNK);
                uint64_t answer;
                int r;

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return error_setf(reterr, -errno, "cannot read: %m");
                if (k == 0)
                        return 0;
                arrived += (uint64_t)k;
                answer = htobe64(arrived);
                r = files_write_all(STDOUT_FILENO, &answer, sizeof(answer));
                if (r == -EPIPE)
                        return 0; /* it knows enough */
                if (r < 0)
                        return error_setf(reterr, r, "cannot write: %s", strerrordesc_np(-r));
        }
}
