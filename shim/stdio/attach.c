/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/stdio/attach.h"

#include <string.h>
#include <sys/socket.h>

#include "lib/buf.h"

#define READ_SIZE MAX_OF(ATTACH_FRAME_MAX, OUTPUT_LINE_MAX)
/* One turn of the loop serves one client at most this many frames before others get theirs. */
#define FRAMES_A_TURN 8U

typedef enum Last {
        LAST_NONE,
        LAST_EXIT,
        LAST_MOVED,
} Last;

struct AttachClient {
        sd_event_source *io;
        const OutputLog *log;
        const AttachOps *ops;
        void *userdata;
        int fd;
        uint64_t offset;  /* of the log, sent so far */
        uint64_t skipped; /* to be told as a gap */
        bool with_stdin, hold_stdin, hold_input, lines;
        bool tell_end;     /* of the log: not told yet */
        bool tell_taken;   /* the count changed since it was told */
        bool close_wanted; /* end of stdin follows `pending` */
        Buf pending;       /* stdin that the session had no room for */
        Last last;
        uint32_t code;
};

static void put_le64(uint8_t *p, uint64_t v) {
        for (int i = 0; i < 8; i++)
                p[i] = (uint8_t)(v >> (8 * i));
}

/* 1 sent, 0 no room, < 0 the client is gone. */
static int send_frame(AttachClient *c, AttachFrame type, const void *p, size_t n) {
        uint8_t head = (uint8_t)type;
        union {
                const void *in;
                void *out;
        } u = { .in = p };
        struct iovec iov[] = { { &head, 1 }, { u.out, n } };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

        for (;;) {
                if (sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                        return 1;
                if (errno == EAGAIN || errno == ENOBUFS)
                        return 0;
                if (errno != EINTR)
                        return -errno;
        }
}

static int send_number(AttachClient *c, AttachFrame type, uint64_t v) {
        uint8_t payload[8];

        put_le64(payload, v);
        return send_frame(c, type, payload, sizeof(payload));
}

/* Output */

/* Puts the lines of one stream at the start of p together. Returns the bytes of the log that they
 * are; 0 if there is no whole line. */
static size_t gather(const char *p, size_t n, char *body, size_t *ret_body, OutputStream *stream) {
        size_t used = 0, out = 0;

        while (used < n) {
                OutputLine line;
                ssize_t len = output_line_parse(p + used, n - used, &line);

                if (len == 0)
                        break;
                if (len < 0) { /* an offset that was not at a line, or a damaged file */
                        used += (size_t)-len;
                        continue;
                }
                if (out > 0 && (line.stream != *stream || out + line.n + 1 > ATTACH_FRAME_MAX))
                        break;
                if (line.n + 1 > ATTACH_FRAME_MAX)
                        line.n = ATTACH_FRAME_MAX - 1;
                *stream = line.stream;
                memcpy(body + out, line.body, line.n);
                out += line.n;
                if (line.newline)
                        body[out++] = '\n';
                used += (size_t)len;
        }
        *ret_body = out;
        return used;
}

/* The same for a client that wants the lines themselves: as many whole ones as make a frame. */
static size_t gather_lines(const char *p, size_t n) {
        const char *end = memrchr(p, '\n', MIN_OF(n, ATTACH_FRAME_MAX));

        return end ? (size_t)(end - p) + 1 : 0;
}

static int send_piece(AttachClient *c, const char *p, size_t n, char *body, size_t *ret_used) {
        OutputStream stream = OUTPUT_STDOUT;
        size_t n_body;

        if (c->lines) {
                *ret_used = gather_lines(p, n);
                return *ret_used > 0 ? send_frame(c, ATTACH_LINES, p, *ret_used) : 1;
        }
        *ret_used = gather(p, n, body, &n_body, &stream);
        if (n_body == 0)
                return 1;
        return send_frame(c, stream == OUTPUT_STDOUT ? ATTACH_STDOUT : ATTACH_STDERR, body, n_body);
}

/* 1 something was sent, 0 nothing to send or no room, < 0 gone. */
static int send_output(AttachClient *c, char *buffer, char *body) {
        uint64_t offset = c->offset, skipped;
        size_t used;
        ssize_t n;
        int r = 1;

        n = output_log_read(c->log, &offset, buffer, READ_SIZE, &skipped);
        if (n < 0)
                return (int)n;
        c->skipped += skipped;
        c->offset = offset;
        if (c->skipped > 0) {
                r = send_number(c, ATTACH_GAP, c->skipped);
                if (r <= 0)
                        return r;
                c->skipped = 0;
        }
        if (n == 0)
                return 0;
        r = send_piece(c, buffer, (size_t)n, body, &used);
        if (used == 0) {
                if ((size_t)n < READ_SIZE) /* the end of PATH.1 inside a line cannot be */
                        return 0;
                used = (size_t)n;
        }
        if (r > 0)
                c->offset += used;
        return r;
}

static bool output_waits(const AttachClient *c) {
        return c->skipped > 0 || c->offset < output_log_end(c->log);
}

static int send_moved(AttachClient *c) {
        const char *way = c->ops->way(c->userdata);
        size_t n = MIN_OF(strlen(way), ATTACH_FRAME_MAX - 16U);
        _cleanup_free_ uint8_t *payload = malloc(16 + n);

        if (!payload)
                return 0; /* the socket stays writable: again next turn */
        put_le64(payload, c->ops->taken(c->userdata));
        put_le64(payload + 8, c->offset);
        memcpy(payload + 16, way, n);
        return send_frame(c, ATTACH_MOVED, payload, 16 + n);
}

static int send_last(AttachClient *c) {
        uint8_t code[4];

        if (c->last == LAST_MOVED)
                return send_moved(c);
        for (int i = 0; i < 4; i++)
                code[i] = (uint8_t)(c->code >> (8 * i));
        return send_frame(c, ATTACH_EXIT, code, sizeof(code));
}

/* < 0: the client is done with. */
static int pump(AttachClient *c) {
        _cleanup_free_ char *buffer = NULL;
        int r;

        if (c->tell_end) {
                r = send_number(c, ATTACH_END, output_log_end(c->log));
                if (r <= 0)
                        return r;
                c->tell_end = false;
        }
        if (c->tell_taken) {
                r = send_number(c, ATTACH_TAKEN, c->ops->taken(c->userdata));
                if (r <= 0)
                        return r;
                c->tell_taken = false;
        }
        if (output_waits(c)) {
                buffer = malloc(READ_SIZE + ATTACH_FRAME_MAX);
                if (!buffer)
                        return 0; /* the socket stays writable: again next turn */
        }
        for (unsigned i = 0; i < FRAMES_A_TURN && output_waits(c); i++) {
                r = send_output(c, buffer, buffer + READ_SIZE);
                if (r <= 0)
                        return r;
        }
        if (c->last != LAST_NONE && !output_waits(c)) {
                r = send_last(c);
                return r > 0 ? -EPIPE : r;
        }
        return 0;
}

/* Input */

static void feed_pending(AttachClient *c) {
        size_t n;

        if (c->hold_stdin)
                return;
        if (c->pending.len > 0) {
                n = c->ops->take(c->userdata, c->pending.data, c->pending.len);
                buf_consume(&c->pending, n);
                c->tell_taken |= n > 0;
        }
        if (c->pending.len > 0)
                return;
        buf_done(&c->pending);
        if (c->close_wanted) {
                c->close_wanted = c->with_stdin = false; /* more of it breaks the rules */
                c->ops->close_stdin(c->userdata);
        }
}

static int handle_frame(AttachClient *c, const uint8_t *p, size_t n) {
        switch (p[0]) {
        case ATTACH_STDIN:
                if (!c->with_stdin || c->close_wanted)
                        return -EPROTO;
                if (buf_append(&c->pending, p + 1, n - 1) < 0)
                        return -ENOMEM;
                return 0;
        case ATTACH_RESIZE:
                if (n != 5)
                        return -EPROTO;
                c->ops->resize(c->userdata, (uint32_t)(p[1] | p[2] << 8),
                               (uint32_t)(p[3] | p[4] << 8));
                return 0;
        case ATTACH_CLOSE_STDIN:
                if (!c->with_stdin || n != 1)
                        return -EPROTO;
                c->close_wanted = true;
                return 0;
        default:
                return -EPROTO;
        }
}

/* Only called while nothing is pending. < 0: the client is done with. */
static int receive(AttachClient *c) {
        _cleanup_free_ uint8_t *frame = malloc(ATTACH_FRAME_MAX + 2);
        ssize_t n;
        int r;

        if (!frame)
                return -ENOMEM;
        for (unsigned i = 0; i < FRAMES_A_TURN && c->pending.len == 0; i++) {
                n = recv(c->fd, frame, ATTACH_FRAME_MAX + 2, MSG_DONTWAIT);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                if (n == 0)
                        return -EPIPE;
                if ((size_t)n > ATTACH_FRAME_MAX + 1)
                        return -EMSGSIZE;
                r = handle_frame(c, frame, (size_t)n);
                if (r < 0)
                        return r;
                feed_pending(c);
        }
        return 0;
}

/* Events */

static bool wants_input(const AttachClient *c) {
        return !c->hold_input && c->pending.len == 0 && !c->close_wanted &&
               !(c->with_stdin && c->hold_stdin);
}

static void watch(AttachClient *c) {
        uint32_t events = 0;

        if (wants_input(c))
                events |= EPOLLIN;
        if (c->tell_taken || c->tell_end || output_waits(c) || c->last != LAST_NONE)
                events |= EPOLLOUT;
        (void)sd_event_source_set_io_events(c->io, events);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        AttachClient *c = userdata;
        int r = 0;

        if (revents & EPOLLIN)
                r = receive(c);
        else if (revents & (EPOLLHUP | EPOLLERR))
                r = -EPIPE;
        if (r == 0)
                r = pump(c);
        if (r < 0)
                c->ops->gone(c->userdata, c);
        else
                watch(c);
        return 0;
}

void attach_client_wake(AttachClient *c) {
        feed_pending(c);
        watch(c);
}

void attach_client_hold_stdin(AttachClient *c, bool hold) {
        c->hold_stdin = hold;
        attach_client_wake(c);
}

void attach_client_hold_input(AttachClient *c, bool hold) {
        c->hold_input = hold;
        attach_client_wake(c);
}

void attach_client_exit(AttachClient *c, uint32_t code) {
        if (c->last == LAST_NONE)
                c->last = LAST_EXIT;
        c->code = code;
        watch(c);
}

void attach_client_moved(AttachClient *c) {
        if (c->last == LAST_NONE)
                c->last = LAST_MOVED;
        watch(c);
}

bool attach_client_has_stdin(const AttachClient *c) {
        return c->with_stdin;
}

int attach_client_new(sd_event *event, const OutputLog *log, const AttachWishes *wishes,
                      const AttachOps *ops, void *userdata, AttachClient **ret, int *ret_fd,
                      Error *reterr) {
        AttachClient *c;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return error_setf(reterr, -errno, "socketpair: %m");
        c = calloc(1, sizeof(*c));
        r = c ? sd_event_add_io(event, &c->io, fds[0], EPOLLIN, on_io, c) : -ENOMEM;
        if (r < 0) {
                free(c);
                (void)close_fd(fds[0]);
                (void)close_fd(fds[1]);
                return error_setf(reterr, r, "attach: %s", strerrordesc_np(-r));
        }
        c->log = log;
        c->ops = ops;
        c->userdata = userdata;
        c->fd = fds[0];
        c->offset = wishes->offset;
        c->with_stdin = c->tell_taken = wishes->with_stdin;
        c->lines = c->tell_end = wishes->lines;
        watch(c);
        *ret = c;
        *ret_fd = fds[1];
        return 0;
}

/* A socket closed with input unread tells the client of a reset before it tells him the rest of the
 * output: what was not taken stays his anyway, so it is thrown away here. Bounded: he may be
 * sending all the while. */
static void discard_input(int fd) {
        uint8_t byte;

        for (unsigned i = 0; i < 1024; i++)
                if (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) <= 0)
                        return;
}

AttachClient *attach_client_free(AttachClient *c) {
        if (!c)
                return NULL;
        if (c->fd >= 0)
                discard_input(c->fd);
        sd_event_source_disable_unref(c->io);
        (void)close_fd(c->fd);
        buf_done(&c->pending);
        free(c);
        return NULL;
}
