/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a connection, and somebody who watches the wire: one static program for containers,
 * a third host and the switch.
 *
 *      netprobe echo PORT           sends back what comes, to any number of clients; also by UDP
 *      netprobe discard PORT        reads and forgets
 *      netprobe client HOST PORT MS
 *              every MS a numbered message, whatever became of those before; at SIGTERM it waits
 *              for what is not answered yet, then "sent N received N longest MS"; a connection that
 *              ends, or does not answer for 10 s then, is "broken REASON" and status 1
 *      netprobe flood HOST PORT MS  sends for MS; "bytes N ns N"
 *      netprobe arp IF FROM TARGET MS
 *              asks by IF who has TARGET, every MS, of everybody
 *      netprobe watch IF...
 *              ARP, RARP and neighbour discovery, as they come in by these interfaces:
 *              "NS IF KIND SENDER-MAC ADDRESS [TARGET]"; "watching" first. NS is when the kernel
 * had it; lines of one interface are in order
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX  64
#define LAST_WAIT_MS 10000

static volatile sig_atomic_t stop;

static void on_signal(int number) {
        (void)number;
        stop = 1;
}

static uint64_t now_ns(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static int fail(const char *what) {
        (void)fprintf(stderr, "netprobe: %s: %s\n", what, strerror(errno));
        return 2;
}

/* Both families at once. */
static int serve_at(int port, int type) {
        struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
        int fd = socket(AF_INET6, type, 0), on = 1, off = 0;

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
            bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
            (type == SOCK_STREAM && listen(fd, 16) < 0))
                return -1;
        return fd;
}

static void echo_datagram(int fd) {
        static char buffer[65536];
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        ssize_t k = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &size);

        if (k >= 0)
                (void)sendto(fd, buffer, (size_t)k, 0, (struct sockaddr *)&from, size);
}

static int run_server(int port, int echo) {
        struct pollfd fds[CLIENTS_MAX + 2] = {
                { .fd = serve_at(port, SOCK_STREAM), .events = POLLIN },
                { .fd = echo ? serve_at(port, SOCK_DGRAM) : -1, .events = POLLIN },
        };
        static char buffer[65536];
        int n = 2;

        if (fds[0].fd < 0 || (echo && fds[1].fd < 0))
                return fail("listen");
        (void)printf("listening\n");
        (void)fflush(stdout);
        for (;;) {
                if (poll(fds, (nfds_t)n, -1) < 0)
                        return fail("poll");
                for (int i = n - 1; i > 1; i--) {
                        ssize_t k;

                        if (!fds[i].revents)
                                continue;
                        k = read(fds[i].fd, buffer, sizeof(buffer));
                        if (k > 0 && echo)
                                k = write(fds[i].fd, buffer, (size_t)k);
                        if (k <= 0) {
                                (void)close(fds[i].fd);
                                fds[i] = fds[--n];
                        }
                }
                if (fds[1].revents)
                        echo_datagram(fds[1].fd);
                if (fds[0].revents && n < CLIENTS_MAX + 2) {
                        int on = 1, fd = accept(fds[0].fd, NULL, NULL);

                        if (fd >= 0) {
                                (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
                                fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
                        }
                }
        }
}

static int connect_to(const char *host, const char *port) {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV },
                        *a;
        int fd, on = 1;

        if (getaddrinfo(host, port, &hints, &a) != 0) {
                errno = EINVAL;
                return -1;
        }
        fd = socket(a->ai_family, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
                return -1;
        freeaddrinfo(a);
        return fd;
}

typedef struct Tally {
        uint64_t sent, received, last, longest;
        uint64_t in[8192]; /* bytes of the reply, as they come */
        size_t n_bytes;
} Tally;

/* Numbers come back in order, each once. */
static int take_replies(int fd, Tally *t) {
        char *at = (char *)t->in;
        ssize_t n = recv(fd, at + t->n_bytes, sizeof(t->in) - t->n_bytes, MSG_DONTWAIT);
        size_t whole;

        if (n < 0)
                return errno == EAGAIN ? 0 : -1;
        if (n == 0) {
                errno = ECONNRESET;
                return -1;
        }
        t->n_bytes += (size_t)n;
        whole = t->n_bytes / sizeof(uint64_t);
        for (size_t i = 0; i < whole; i++) {
                uint64_t now = now_ns();

                if (t->in[i] != t->received) {
                        errno = EBADMSG;
                        return -1;
                }
                t->received++;
                if (t->last && now - t->last > t->longest)
                        t->longest = now - t->last;
                t->last = now;
        }
        t->n_bytes -= whole * sizeof(uint64_t);
        memmove(at, at + whole * sizeof(uint64_t), t->n_bytes);
        return 0;
}

/* A silence that has not ended yet would not count. */
static bool take_last_replies(int fd, Tally *t) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        while (t->received < t->sent) {
                int k = poll(&p, 1, LAST_WAIT_MS);

                if (k == 0)
                        errno = ETIMEDOUT;
                if (k == 0 || (k > 0 && take_replies(fd, t) < 0))
                        return false;
        }
        return true;
}

static int run_client(const char *host, const char *port, uint64_t ms) {
        static Tally t;
        uint64_t next;
        int fd = connect_to(host, port);

        if (fd < 0)
                return fail(host);
        (void)printf("connected\n");
        (void)fflush(stdout);
        next = now_ns();
        while (!stop) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t now = now_ns();
                struct timespec wait = { .tv_nsec = next > now ? (long)(next - now) : 0 };

                if (ppoll(&p, 1, &wait, NULL) > 0 && take_replies(fd, &t) < 0)
                        break;
                if (now_ns() >= next) {
                        if (send(fd, &t.sent, sizeof(t.sent), MSG_NOSIGNAL | MSG_DONTWAIT) !=
                            sizeof(t.sent)) {
                                if (errno != EAGAIN)
                                        break;
                        } else {
                                t.sent++;
                        }
                        next += ms * 1000000;
                }
        }
        if (!stop || !take_last_replies(fd, &t)) {
                (void)printf("broken %s after %llu\n", strerror(errno),
                             (unsigned long long)t.received);
                return 1;
        }
        (void)printf("sent %llu received %llu longest %.1f\n", (unsigned long long)t.sent,
                     (unsigned long long)t.received, (double)t.longest / 1e6);
        return 0;
}

static int run_flood(const char *host, const char *port, uint64_t ms) {
        static char buffer[65536];
        uint64_t begin, bytes = 0;
        int fd = connect_to(host, port);

        if (fd < 0)
                return fail(host);
        begin = now_ns();
        while (now_ns() - begin < ms * 1000000) {
                ssize_t n = send(fd, buffer, sizeof(buffer), MSG_NOSIGNAL);

                if (n < 0)
                        return fail("send");
                bytes += (uint64_t)n;
        }
        (void)printf("bytes %llu ns %llu\n", (unsigned long long)bytes,
                     (unsigned long long)(now_ns() - begin));
        return 0;
}

static const char *mac_text(const uint8_t *m) {
        static char text[18];

        (void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
                       m[4], m[5]);
        return text;
}

/* at: when the kernel had it, not when we came to read it; of the clock that date(1) shows. */
static void show_frame(const char *port, const struct timespec *at, const uint8_t *f, size_t n) {
        char a[INET6_ADDRSTRLEN] = "", b[INET6_ADDRSTRLEN] = "";
        const char *kind = NULL;
        uint16_t type;

        if (n < 42)
                return;
        type = (uint16_t)(f[12] << 8 | f[13]);
        if (type == 0x0806 || type == 0x8035) {
                kind = type == 0x8035 ? "rarp" : f[21] == 2 ? "arp-reply" : "arp-request";
                (void)inet_ntop(AF_INET, f + 28, a, sizeof(a));
                (void)inet_ntop(AF_INET, f + 38, b, sizeof(b));
        } else if (type == 0x86dd && n >= 78 && f[20] == 58) {
                kind = f[54] == 135   ? "solicitation"
                       : f[54] == 136 ? "advertisement"
                       : f[54] == 133 ? "router-solicitation"
                       : f[54] == 143 ? "mld"
                                      : NULL;
                (void)inet_ntop(AF_INET6, f + 22, a, sizeof(a));
                (void)inet_ntop(AF_INET6, f + 62, b, sizeof(b));
        }
        if (kind)
                (void)printf("%lld%09ld %s %s %s %s %s\n", (long long)at->tv_sec, at->tv_nsec, port,
                             kind, mac_text(f + 6), a, b);
}

static int watch_port(const char *port) {
        struct sockaddr_ll a = { .sll_family = AF_PACKET,
                                 .sll_protocol = htons(ETH_P_ALL),
                                 .sll_ifindex = (int)if_nametoindex(port) };
        int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

        if (fd < 0 || a.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
                return -1;
        return fd;
}

/* Of what comes in, not of what the switch sends out by them. */
static void show_next(const char *port, int fd) {
        char control[CMSG_SPACE(sizeof(struct timespec))];
        struct sockaddr_ll from;
        uint8_t frame[2048];
        struct iovec part = { frame, sizeof(frame) };
        struct msghdr m = { .msg_name = &from,
                            .msg_namelen = sizeof(from),
                            .msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control) };
        ssize_t k = recvmsg(fd, &m, MSG_DONTWAIT);
        struct cmsghdr *c = k > 0 ? CMSG_FIRSTHDR(&m) : NULL;
        struct timespec at;

        if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS ||
            from.sll_pkttype == PACKET_OUTGOING)
                return;
        memcpy(&at, CMSG_DATA(c), sizeof(at));
        show_frame(port, &at, frame, (size_t)k);
}

/* Room for what comes while we are not scheduled, too. */
static int watch_well(const char *port) {
        const int on = 1, room = 8 << 20;
        int fd = watch_port(port);

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
                return -1;
        return fd;
}

static int run_watch(char **ports, int n) {
        struct pollfd fds[16];
        sigset_t ends, before;

        for (int i = 0; i < n; i++) {
                fds[i] = (struct pollfd){ .fd = watch_well(ports[i]), .events = POLLIN };
                if (fds[i].fd < 0)
                        return fail(ports[i]);
        }
        (void)sigemptyset(&ends);
        (void)sigaddset(&ends, SIGTERM);
        (void)sigaddset(&ends, SIGINT);
        (void)sigprocmask(SIG_BLOCK, &ends, &before);
        (void)printf("watching\n");
        (void)fflush(stdout);
        while (!stop) {
                if (ppoll(fds, (nfds_t)n, NULL, &before) < 0)
                        break;
                for (int i = 0; i < n; i++)
                        if (fds[i].revents)
                                show_next(ports[i], fds[i].fd);
                (void)fflush(stdout);
        }
        return 0;
}

/* Requests as an address of this host would make them; broadcast, so that every place hears them.
 */
static int run_arp(const char *port, const char *from, const char *target, uint64_t ms) {
        uint8_t f[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, [12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
        int fd = watch_port(port);
        struct sockaddr_ll a;
        socklen_t size = sizeof(a);

        if (fd < 0 || getsockname(fd, (struct sockaddr *)&a, &size) < 0)
                return fail(port);
        memcpy(f + 6, a.sll_addr, 6);
        memcpy(f + 22, a.sll_addr, 6);
        if (inet_pton(AF_INET, from, f + 28) != 1 || inet_pton(AF_INET, target, f + 38) != 1)
                return fail("address");
        while (!stop) {
                struct timespec t = { .tv_nsec = (long)ms * 1000000 };

                if (send(fd, f, sizeof(f), 0) < 0)
                        return fail("send");
                (void)nanosleep(&t, NULL);
        }
        return 0;
}

int main(int argc, char **argv) {
        struct sigaction end = { .sa_handler = on_signal };
        const char *what = argc > 1 ? argv[1] : "";

        (void)sigaction(SIGTERM, &end, NULL);
        (void)sigaction(SIGINT, &end, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        if (argc == 3 && (strcmp(what, "echo") == 0 || strcmp(what, "discard") == 0)) {
                (void)signal(SIGTERM, SIG_DFL);
                return run_server(atoi(argv[2]), strcmp(what, "echo") == 0);
        }
        if (argc == 5 && strcmp(what, "client") == 0)
                return run_client(argv[2], argv[3], strtoull(argv[4], NULL, 10));
        if (argc == 5 && strcmp(what, "flood") == 0)
                return run_flood(argv[2], argv[3], strtoull(argv[4], NULL, 10));
        if (argc == 6 && strcmp(what, "arp") == 0)
                return run_arp(argv[2], argv[3], argv[4], strtoull(argv[5], NULL, 10));
        if (argc > 2 && argc < 18 && strcmp(what, "watch") == 0)
                return run_watch(argv + 2, argc - 2);
        (void)fprintf(stderr, "netprobe: echo, client, discard, flood or watch\n");
        return 2;
}
