/* SPDX-License-Identifier: Apache-2.0 */
/* How fast bulk crosses a session, beside a plain relay of the same bytes. Both read a file in
 * memory into a buffer, write it to a socketpair, read it on another thread and write it to
 * /dev/null; the session does its numbering, sums, credit and acknowledgements in between. Pairs of
 * runs are interleaved; the median of each is shown.
 *
 *   bench-session [MEBIBYTES [PAIRS]] [--json] */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/session.h"

#define SOURCE_SIZE (4U << 20)
#define BOUND       0.5
#define MAX_PAIRS   64

typedef struct Side {
        Session *session;
        int sock, file;
        size_t total, done; /* sent or received */
        int error;
} Side;

static uint8_t relay_buffer[2][256 << 10];

static double now(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int write_all(int fd, const uint8_t *p, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0)
                        return -errno;
                p += k;
                n -= (size_t)k;
        }
        return 0;
}

static void *relay_reader(void *arg) {
        Side *side = arg;

        while (side->done < side->total) {
                ssize_t n = read(side->sock, relay_buffer[1], sizeof(relay_buffer[1]));

                if (n <= 0 || write_all(side->file, relay_buffer[1], (size_t)n) < 0) {
                        side->error = -EIO;
                        break;
                }
                side->done += (size_t)n;
        }
        return NULL;
}

static int relay_writer(Side *side) {
        while (side->done < side->total) {
                ssize_t n = pread(side->file, relay_buffer[0], sizeof(relay_buffer[0]),
                                  (off_t)(side->done % SOURCE_SIZE));

                if (n <= 0 || write_all(side->sock, relay_buffer[0], (size_t)n) < 0)
                        return -EIO;
                side->done += (size_t)n;
        }
        return 0;
}

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        Side *side = userdata;

        if (write_all(side->file, p, n) < 0)
                side->error = -EIO;
        side->done += n;
        return n;
}

static void on_eof(void *userdata, uint32_t channel) {
}

static void on_wake(void *userdata) {
}

static const SessionOps ops = { .data = on_data, .eof = on_eof, .wake = on_wake };

/* Reads the source straight into the session's buffer, as long as there is room. */
static void fill(Side *side) {
        while (side->done < side->total) {
                size_t room;
                void *p = session_reserve(side->session, 1, &room);
                ssize_t n;

                if (!p)
                        return;
                n = pread(side->file, p, MIN_OF(room, side->total - side->done),
                          (off_t)(side->done % SOURCE_SIZE));
                session_commit(side->session, 1, n > 0 ? (size_t)n : 0);
                if (n <= 0) {
                        side->error = -EIO;
                        return;
                }
                side->done += (size_t)n;
        }
}

/* One turn of a loop: write what there is, then wait and read. */
static int turn(Side *side, uint8_t *buffer, size_t size, bool sender) {
        struct iovec iov[64];
        struct pollfd pfd = { .fd = side->sock, .events = POLLIN };
        ssize_t n;
        int k;

        if (sender)
                fill(side);
        k = session_output(side->session, iov, ELEMENTSOF(iov));
        if (k > 0) {
                n = writev(side->sock, iov, k);
                if (n < 0 && errno != EAGAIN)
                        return -errno;
                if (n > 0)
                        session_output_done(side->session, (size_t)n);
                if (n < 0)
                        pfd.events |= POLLOUT;
        }
        if (poll(&pfd, 1, k > 0 && !(pfd.events & POLLOUT) ? 0 : -1) < 0)
                return -errno;
        if (pfd.revents & (POLLIN | POLLHUP)) {
                n = read(side->sock, buffer, size);
                if (n <= 0)
                        return -EIO;
                return session_input(side->session, buffer, (size_t)n, NULL);
        }
        return 0;
}

static void *session_reader(void *arg) {
        Side *side = arg;

        while (side->done < side->total && side->error == 0)
                side->error = turn(side, relay_buffer[1], sizeof(relay_buffer[1]), false);
        while (side->error == 0) { /* the last acknowledgement */
                struct iovec iov[8];
                int k = session_output(side->session, iov, ELEMENTSOF(iov));
                ssize_t n;

                if (k == 0)
                        break;
                n = writev(side->sock, iov, k);
                if (n > 0)
                        session_output_done(side->session, (size_t)n);
        }
        return NULL;
}

static int session_writer(Side *side) {
        while (side->done < side->total || !session_channel_drained(side->session, 1)) {
                int r = turn(side, relay_buffer[0], sizeof(relay_buffer[0]), true);

                if (r < 0 || side->error < 0)
                        return r < 0 ? r : side->error;
        }
        return 0;
}

static int open_pair(Side *a, Side *b) {
        SessionConfig host = {
                .role = SESSION_HOST, .id = "bench", .epoch = 1, .window = 1U << 20
        };
        SessionConfig guest = { .role = SESSION_GUEST, .window = 1U << 20 };

        if (session_new(&host, &ops, a, &a->session, NULL) < 0 ||
            session_new(&guest, &ops, b, &b->session, NULL) < 0)
                return -ENOMEM;
        session_attach(a->session);
        session_attach(b->session);
        if (session_open(a->session, 1, NULL) < 0 || session_open(b->session, 1, NULL) < 0)
                return -ENOMEM;
        if (fcntl(a->sock, F_SETFL, O_NONBLOCK) < 0 || fcntl(b->sock, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

/* MB/s of one run, negative on error. */
static double run(bool session, int source, int sink, size_t total) {
        int sv[2], r = 0;
        Side a, b;
        pthread_t thread;
        double t;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
                return -1;
        a = (Side){ .sock = sv[0], .file = source, .total = total };
        b = (Side){ .sock = sv[1], .file = sink, .total = total };
        if (session)
                r = open_pair(&a, &b);
        t = now();
        if (r < 0 ||
            pthread_create(&thread, NULL, session ? session_reader : relay_reader, &b) != 0)
                return -1;
        r = session ? session_writer(&a) : relay_writer(&a);
        (void)pthread_join(thread, NULL);
        t = now() - t;
        (void)session_free(a.session);
        (void)session_free(b.session);
        (void)close(sv[0]);
        (void)close(sv[1]);
        return r < 0 || b.error < 0 || b.done != total ? -1 : (double)total / t / 1e6;
}

static int by_value(const void *x, const void *y) {
        const double *a = x, *b = y;

        return *a < *b ? -1 : *a > *b;
}

int main(int argc, char **argv) {
        static uint8_t block[SOURCE_SIZE];
        double relay[MAX_PAIRS], session[MAX_PAIRS], ratio[MAX_PAIRS];
        size_t total = 1U << 30;
        int source, sink, pairs = 5;
        bool json = false;
        int given = 0;

        for (int i = 1; i < argc; i++)
                if (strcmp(argv[i], "--json") == 0)
                        json = true;
                else if (given++ == 0)
                        total = (size_t)strtoul(argv[i], NULL, 10) << 20;
                else
                        pairs = (int)strtol(argv[i], NULL, 10);
        if (total == 0 || pairs < 1 || pairs > MAX_PAIRS) {
                (void)fprintf(stderr, "usage: bench-session [MEBIBYTES [PAIRS]] [--json]\n");
                return 2;
        }
        for (size_t i = 0; i < sizeof(block); i++)
                block[i] = (uint8_t)(i * 2654435761U >> 13);
        source = memfd_create("bench", MFD_CLOEXEC);
        sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (source < 0 || sink < 0 || write_all(source, block, sizeof(block)) < 0) {
                perror("bench-session");
                return 1;
        }
        for (int i = 0; i < pairs; i++) {
                relay[i] = run(false, source, sink, total);
                session[i] = run(true, source, sink, total);
                if (relay[i] < 0 || session[i] < 0) {
                        (void)fprintf(stderr, "bench-session: a run failed\n");
                        return 1;
                }
                ratio[i] = session[i] / relay[i];
        }
        qsort(relay, (size_t)pairs, sizeof(*relay), by_value);
        qsort(session, (size_t)pairs, sizeof(*session), by_value);
        qsort(ratio, (size_t)pairs, sizeof(*ratio), by_value);
        if (json)
                (void)printf("{\"figure\": \"session-throughput\", \"value\": %.3f, \"unit\": "
                             "\"ratio\", \"bound\": %.1f, \"peer\": \"plain relay %.0f MB/s, "
                             "session %.0f MB/s\", \"n\": %d, \"ok\": %s}\n",
                             ratio[pairs / 2], BOUND, relay[pairs / 2], session[pairs / 2], pairs,
                             ratio[pairs / 2] >= BOUND ? "true" : "false");
        else
                (void)printf("plain relay %8.0f MB/s\nsession     %8.0f MB/s\nratio       %8.3f "
                             "(at least %.1f)\n",
                             relay[pairs / 2], session[pairs / 2], ratio[pairs / 2], BOUND);
        return ratio[pairs / 2] >= BOUND ? 0 : 1;
}
