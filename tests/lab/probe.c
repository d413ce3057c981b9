/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in the containers of the lab tests, the demo and the bench: one static program.
 *
 *      probe count [MS]            "count N MONOTONIC_NS", one line every MS milliseconds (10)
 *      probe memory MIB [MS]       fills MIB, then every MS (100) changes a page of each MIB,
 * checks all of it and says "memory N ok HASH" (or "memory N BAD"); on start "memory id PID START"
 *      probe sink                  reads stdin to its end; "sink BYTES HASH" then, and after each
 * 64 KiB probe stream RATE BYTES     BYTES of text lines "s NUMBER ...." at RATE bytes a second, on
 * stdout and (with "e") on stderr at once; then "stream done" probe exit MS CODE          waits,
 * exits probe id                    "id PID START BOOT_ID" probe tick DEVICE           one byte a
 * millisecond to DEVICE, for ever probe hash BYTES            the hash of the first BYTES of the
 * stream that `probe feed` writes probe feed RATE BYTES       those bytes, at RATE bytes a second
 *      probe dirty MIB RATE        writes to RATE MiB of the pages of MIB a second, one after the
 * other, and checks each first; every 250 ms "dirty PAGES NS ok", or "dirty BAD"
 *      probe slow RATE COMMAND     runs it, with RATE bytes a second into its stdin
 *
 * The hash is FNV-1a, 64 bits. Output is written with one write() a line, so that a line is whole.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME  0x100000001b3ULL

static uint64_t hash(uint64_t h, const uint8_t *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                h = (h ^ p[i]) * FNV_PRIME;
        return h;
}

static uint64_t now_ns(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns) {
        struct timespec t = { .tv_sec = (time_t)(ns / 1000000000ULL),
                              .tv_nsec = (long)(ns % 1000000000ULL) };

        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void put(int fd, const void *p, size_t n) {
        const uint8_t *at = p;

        while (n > 0) {
                ssize_t k = write(fd, at, n);

                if (k < 0)
                        _exit(3);
                at += k;
                n -= (size_t)k;
        }
}

__attribute__((format(printf, 2, 3))) static void say(int fd, const char *fmt, ...) {
        char line[256];
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        if (n > 0)
                put(fd, line, (size_t)n);
}

static uint64_t number(int argc, char **argv, int i, uint64_t otherwise) {
        return argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
}

_Noreturn static void run_count(uint64_t ms) {
        uint64_t next = now_ns();

        for (uint64_t n = 1;; n++) {
                say(1, "count %llu %llu\n", (unsigned long long)n, (unsigned long long)now_ns());
                next += ms * 1000000;
                if (next < now_ns()) /* after a stop: no burst to catch up */
                        next = now_ns();
                sleep_until(next);
        }
}

static unsigned long long start_time(void) {
        char line[1024], *p;
        unsigned long long t = 0;
        int fd = open("/proc/self/stat", O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

        if (fd >= 0)
                (void)close(fd);
        if (n <= 0)
                return 0;
        line[n] = '\0';
        p = strrchr(line, ')');
        for (int i = 0; p && i < 20; i++)
                p = strchr(p + 1, ' ');
        if (p)
                t = strtoull(p, NULL, 10);
        return t;
}

static int run_memory(uint64_t mib, uint64_t ms) {
        const size_t block = 1 << 20, page = 4096;
        uint8_t *m = malloc(mib * block);
        uint64_t *sums = calloc(mib, sizeof(*sums)), next = now_ns(), state = 1;

        if (!m || !sums)
                return 2;
        for (size_t i = 0; i < mib * block; i++)
                m[i] = (uint8_t)((state = state * 6364136223846793005ULL +
                                          1442695040888963407ULL) >>
                                 56);
        for (uint64_t b = 0; b < mib; b++)
                sums[b] = hash(FNV_OFFSET, m + b * block, block);
        say(1, "memory id %d %llu\n", (int)getpid(), start_time());
        for (uint64_t n = 1;; n++) {
                uint64_t all = FNV_OFFSET;

                for (uint64_t b = 0; b < mib; b++) {
                        uint64_t h = hash(FNV_OFFSET, m + b * block, block);

                        if (h != sums[b]) {
                                say(1, "memory %llu BAD block %llu\n", (unsigned long long)n,
                                    (unsigned long long)b);
                                return 1;
                        }
                        all = hash(all, (const uint8_t *)&h, sizeof(h));
                        m[b * block + (n % (block / page)) * page] ^= (uint8_t)n;
                        sums[b] = hash(FNV_OFFSET, m + b * block, block);
                }
                say(1, "memory %llu ok %016llx\n", (unsigned long long)n, (unsigned long long)all);
                next += ms * 1000000;
                if (next < now_ns())
                        next = now_ns();
                sleep_until(next);
        }
}

/* What no compression makes small, and what tells a page that is an older one. */
static uint64_t word_of(uint64_t page, uint64_t round, uint64_t at) {
        uint64_t x = (page << 32 ^ round << 8 ^ at) + 0x9e3779b97f4a7c15ULL;

        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
        return (x ^ x >> 27) * 0x94d049bb133111ebULL;
}

static int run_dirty(uint64_t mib, uint64_t rate) {
        const uint64_t page = 4096, pages = mib * 256, step = 64; /* words: 8 of a page */
        uint64_t *m = aligned_alloc(page, mib << 20), begin, said, done = 0, now, due;

        if (!m || rate == 0)
                return 2;
        memset(m, 1, mib << 20);
        begin = said = now_ns();
        for (uint64_t round = 0;; round++)
                for (uint64_t p = 0; p < pages; p++) {
                        for (uint64_t at = 0; at < page / sizeof(*m); at += step) {
                                uint64_t *w = m + p * (page / sizeof(*m)) + at;

                                if (round > 0 && *w != word_of(p, round - 1, at)) {
                                        say(1, "dirty BAD page %llu\n", (unsigned long long)p);
                                        return 1;
                                }
                                *w = word_of(p, round, at);
                        }
                        if (++done % 64 != 0)
                                continue;
                        now = now_ns();
                        due = done * 1000000000ULL / (rate * 256);
                        /* Linux sets a timer, and lets others run, for a time that has gone by,
                         * too: whoever is not to wait must not ask for it. */
                        if (begin + due > now)
                                sleep_until(begin + due);
                        else if (now - begin - due > 1000000000ULL)
                                begin = now - due;
                        if (now - said >= 250000000) {
                                said = now;
                                say(1, "dirty %llu %llu ok\n", (unsigned long long)done,
                                    (unsigned long long)said);
                        }
                }
}

static int run_sink(void) {
        static uint8_t bytes[65536];
        uint64_t total = 0, h = FNV_OFFSET, said = 0;
        ssize_t n;

        while ((n = read(0, bytes, sizeof(bytes))) > 0) {
                h = hash(h, bytes, (size_t)n);
                total += (uint64_t)n;
                if (total - said >= sizeof(bytes)) {
                        say(1, "sink %llu\n", (unsigned long long)total);
                        said = total;
                }
        }
        say(1, "sink end %llu %016llx\n", (unsigned long long)total, (unsigned long long)h);
        return n < 0;
}

static int run_stream(uint64_t rate, uint64_t bytes, int both) {
        static const char fill[] =
                "................................................................";
        uint64_t begin = now_ns(), sent = 0;

        for (uint64_t n = 1; sent < bytes; n++) {
                char line[128];
                int k = snprintf(line, sizeof(line), "s %llu %.*s\n", (unsigned long long)n,
                                 (int)(n % 60), fill);

                put(1, line, (size_t)k);
                if (both)
                        put(2, line, (size_t)k);
                sent += (uint64_t)k;
                if (n % 16 == 0)
                        sleep_until(begin + sent * 1000 / (rate / 1000 + 1) * 1000);
        }
        say(1, "stream done\n");
        return 0;
}

/* The bytes of feed: position-dependent, so that any slip shows. */
static void feed_bytes(uint64_t at, uint8_t *p, size_t n) {
        for (size_t i = 0; i < n; i++) {
                uint64_t x = at + i;

                p[i] = (uint8_t)(x ^ x >> 8 ^ (x >> 16) * 31);
        }
}

static int run_feed(uint64_t rate, uint64_t bytes) {
        uint64_t begin = now_ns(), sent = 0;
        uint8_t block[1000];

        while (sent < bytes) {
                size_t n = bytes - sent < sizeof(block) ? (size_t)(bytes - sent) : sizeof(block);

                feed_bytes(sent, block, n);
                put(1, block, n);
                sent += n;
                if (rate)
                        sleep_until(begin + sent * 1000000 / rate * 1000);
        }
        return 0;
}

static int run_hash(uint64_t bytes) {
        uint64_t h = FNV_OFFSET;
        uint8_t block[1000];

        for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
                size_t n = bytes - at < sizeof(block) ? (size_t)(bytes - at) : sizeof(block);

                feed_bytes(at, block, n);
                h = hash(h, block, n);
        }
        say(1, "%016llx\n", (unsigned long long)h);
        return 0;
}

static int run_id(void) {
        char boot[64] = "";
        int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, boot, 36);

        boot[n > 0 ? n : 0] = '\0';
        say(1, "id %d %llu %s\n", (int)getpid(), start_time(), boot);
        return 0;
}

static int run_tick(const char *device) {
        int fd = open(device, O_WRONLY | O_NOCTTY);
        uint64_t next = now_ns();

        if (fd < 0)
                return 2;
        for (;;) {
                put(fd, ".", 1);
                next += 1000000;
                if (next < now_ns())
                        next = now_ns();
                sleep_until(next);
        }
}

/* Moves what there is: > 0 goes on, 0 this direction has ended, < 0 the budget is used up. */
static int relay_once(int from, int to, int64_t *budget) {
        static uint8_t bytes[65536];
        size_t most = *budget < (int64_t)sizeof(bytes) ? (size_t)*budget : sizeof(bytes);
        ssize_t n = read(from, bytes, most);

        if (n <= 0)
                return 0;
        put(to, bytes, (size_t)n);
        *budget -= n;
        return *budget > 0 ? 1 : -1;
}

/* rate: bytes a second into it; 0: as fast as it goes. */
static int run_cut(int64_t budget, uint64_t rate, char **command) {
        int in[2], out[2], status = 0, on = 1;
        uint64_t next = now_ns();
        pid_t child;

        if (pipe(in) < 0 || pipe(out) < 0)
                return 2;
        child = fork();
        if (child == 0) {
                (void)setpgid(0, 0);
                (void)dup2(in[0], 0);
                (void)dup2(out[1], 1);
                for (int i = 0; i < 2; i++) {
                        (void)close(in[i]);
                        (void)close(out[i]);
                }
                execvp(command[0], command);
                _exit(127);
        }
        (void)close(in[0]);
        (void)close(out[1]);
        (void)signal(SIGPIPE, SIG_IGN);
        while (on > 0) {
                struct pollfd p[2] = { { .fd = in[1] >= 0 ? 0 : -1, .events = POLLIN },
                                       { .fd = out[0], .events = POLLIN } };

                if (poll(p, 2, -1) < 0)
                        break;
                if (p[1].revents)
                        on = relay_once(out[0], 1, &budget);
                if (on > 0 && p[0].revents && rate > 0) {
                        int64_t piece = (int64_t)(rate / 100 + 1), rest = piece;

                        if (relay_once(0, in[1], &rest) == 0)
                                on = 0;
                        if (next < now_ns())
                                next = now_ns();
                        next += (uint64_t)(piece - rest) * 1000000000ULL / rate;
                        sleep_until(next);
                } else if (on > 0 && p[0].revents && relay_once(0, in[1], &budget) <= 0) {
                        (void)close(in[1]);
                        in[1] = -1;
                        on = budget > 0;
                }
        }
        if (in[1] >= 0)
                (void)close(in[1]);
        (void)close(out[0]);
        if (budget <= 0)
                (void)kill(-child, SIGKILL);
        (void)waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* probe discard DEVICE FROM BYTES: what a file system on it would do with blocks it has freed. */
static int run_discard(const char *device, uint64_t from, uint64_t n) {
        /* linux/fs.h, which musl-gcc has not */
        const unsigned long blkdiscard = 0x1277;
        uint64_t range[2] = { from, n };
        int fd = open(device, O_WRONLY | O_CLOEXEC);

        return fd < 0 || ioctl(fd, (int)blkdiscard, range) < 0;
}

int main(int argc, char **argv) {
        const char *what = argc > 1 ? argv[1] : "";

        if (strcmp(what, "count") == 0)
                run_count(number(argc, argv, 2, 10));
        if (strcmp(what, "memory") == 0)
                return run_memory(number(argc, argv, 2, 16), number(argc, argv, 3, 100));
        if (strcmp(what, "sink") == 0)
                return run_sink();
        if (strcmp(what, "stream") == 0)
                return run_stream(number(argc, argv, 2, 1000000), number(argc, argv, 3, 1000000),
                                  argc > 4);
        if (strcmp(what, "feed") == 0)
                return run_feed(number(argc, argv, 2, 0), number(argc, argv, 3, 1000000));
        if (strcmp(what, "hash") == 0)
                return run_hash(number(argc, argv, 2, 0));
        if (strcmp(what, "id") == 0)
                return run_id();
        if (strcmp(what, "tick") == 0 && argc > 2)
                return run_tick(argv[2]);
        if (strcmp(what, "discard") == 0 && argc > 2)
                return run_discard(argv[2], number(argc, argv, 3, 0), number(argc, argv, 4, 0));
        if (strcmp(what, "cut") == 0 && argc > 3)
                return run_cut((int64_t)number(argc, argv, 2, 0), 0, argv + 3);
        if (strcmp(what, "slow") == 0 && argc > 3)
                return run_cut(INT64_MAX, number(argc, argv, 2, 0), argv + 3);
        if (strcmp(what, "dirty") == 0)
                return run_dirty(number(argc, argv, 2, 16), number(argc, argv, 3, 10));
        if (strcmp(what, "exit") == 0) {
                sleep_until(now_ns() + number(argc, argv, 2, 0) * 1000000);
                return (int)number(argc, argv, 3, 0);
        }
        say(2, "probe: what?\n");
        return 2;
}
