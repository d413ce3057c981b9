/* SPDX-License-Identifier: Apache-2.0 */
/* Throughput of the ferry against plain relays over the same sockets: producer -> UNIX socket ->
 * carrier -> socketpair -> carrier -> UNIX socket -> consumer. Prints "ferry MIB_S plain MIB_S" for
 * each of N interleaved pairs. For hack/bench.
 *
 *      relay MIB [PAIRS] */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "shim/ferry/ferry.h"

#define BLOCK (128U << 10)

typedef struct Run {
        int produce, consume; /* the two outer sockets */
        uint64_t bytes;
} Run;

static void die(const char *what) {
        perror(what);
        exit(1);
}

static void *produce(void *run) {
        Run *r = run;
        static uint8_t block[BLOCK];

        for (uint64_t left = r->bytes; left > 0;) {
                ssize_t k = write(r->produce, block, MIN_OF((uint64_t)BLOCK, left));

                if (k <= 0)
                        die("write");
                left -= (uint64_t)k;
        }
        if (shutdown(r->produce, SHUT_WR) < 0)
                die("shutdown");
        return NULL;
}

static double consume(Run *r) {
        static uint8_t block[BLOCK];
        struct timespec a, b;
        pthread_t thread;
        uint64_t got = 0;
        ssize_t k;

        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        if (pthread_create(&thread, NULL, produce, r) != 0)
                die("thread");
        while ((k = read(r->consume, block, sizeof(block))) > 0)
                got += (uint64_t)k;
        (void)clock_gettime(CLOCK_MONOTONIC, &b);
        (void)pthread_join(thread, NULL);
        if (got != r->bytes)
                die("bytes are missing");
        return (double)r->bytes / (1 << 20) /
               ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
}

typedef struct Hop {
        int from, to;
} Hop;

static void *plain_hop(void *hop) {
        _cleanup_free_ uint8_t *block = malloc(BLOCK);
        Hop *h = hop;
        ssize_t n;

        if (!block)
                die("memory");
        while ((n = read(h->from, block, BLOCK)) > 0)
                for (ssize_t at = 0, k; at < n; at += k)
                        if ((k = write(h->to, block + at, (size_t)(n - at))) <= 0)
                                die("relay");
        (void)shutdown(h->to, SHUT_WR);
        return NULL;
}

static void pair(int ret[2]) {
        const int size = 1 << 20;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret) < 0)
                die("socketpair");
        for (int i = 0; i < 2; i++)
                (void)setsockopt(ret[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static double plain(uint64_t bytes) {
        int in[2], middle[2], out[2];
        pthread_t threads[2];
        double rate;

        pair(in);
        pair(middle);
        pair(out);
        Hop hops[2] = { { in[1], middle[0] }, { middle[1], out[0] } };
        for (int i = 0; i < 2; i++)
                if (pthread_create(&threads[i], NULL, plain_hop, &hops[i]) != 0)
                        die("thread");
        rate = consume(&(Run){ in[0], out[1], bytes });
        for (int i = 0; i < 2; i++)
                (void)pthread_join(threads[i], NULL);
        for (int i = 0; i < 2; i++) {
                (void)close(in[i]);
                (void)close(middle[i]);
                (void)close(out[i]);
        }
        return rate;
}

static double ferried(uint64_t bytes, const char *dir) {
        FerryConfig config = { .role = FERRY_SOURCE, .session_id = { 1 } };
        struct sockaddr_un here = { .sun_family = AF_UNIX }, there = { .sun_family = AF_UNIX };
        _cleanup_(ferry_freep) Ferry *s = NULL, *d = NULL;
        const int size = 1 << 20;
        Error e = ERROR_INIT;
        int listener, middle[2];
        double rate;
        Run r;

        (void)snprintf(here.sun_path, sizeof(here.sun_path), "%s/here", dir);
        (void)snprintf(there.sun_path, sizeof(there.sun_path), "%s/there", dir);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *)&there, sizeof(there)) < 0 ||
            listen(listener, 1) < 0)
                die("listen");
        if (ferry_new(&config, &s, &e) < 0)
                die(e.text);
        config.role = FERRY_DESTINATION;
        if (ferry_new(&config, &d, &e) < 0 ||
            ferry_listen(s, FERRY_MEMORY, here.sun_path, &e) < 0 ||
            ferry_rule(d, FERRY_MEMORY, there.sun_path, &e) < 0)
                die(e.text);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, middle) < 0)
                die("socketpair");
        if (ferry_set_transport(s, middle[0], middle[0], &e) < 0 ||
            ferry_set_transport(d, middle[1], middle[1], &e) < 0)
                die(e.text);
        r = (Run){ socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -EBADF, bytes };
        (void)setsockopt(r.produce, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        if (connect(r.produce, (struct sockaddr *)&here, sizeof(here)) < 0)
                die("connect");
        r.consume = accept(listener, NULL, NULL);
        rate = consume(&r);
        (void)close(r.consume);
        (void)close(r.produce);
        (void)close(listener);
        (void)unlink(there.sun_path);
        return rate;
}

int main(int argc, char **argv) {
        uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 256;
        int pairs = argc > 2 ? atoi(argv[2]) : 5;
        char dir[] = "/tmp/podferry-relay.XXXXXX";

        (void)signal(SIGPIPE, SIG_IGN);
        if (!mkdtemp(dir))
                die("mkdtemp");
        for (int i = 0; i < pairs; i++) {
                double f = ferried(mib << 20, dir), p = plain(mib << 20);

                printf("ferry %.0f plain %.0f\n", f, p);
        }
        (void)rmdir(dir);
        return 0;
}
