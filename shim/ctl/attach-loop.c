/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/attach-loop.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/ctl.h"

#define INPUT_MAX (16U << 10)  /* one frame */
#define KEEP_MAX  (256U << 10) /* input that is not known to be taken */
#define CTRL_P    0x10
#define CTRL_Q    0x11

typedef struct Loop {
        AttachSession *s;
        int signal_fd;
        bool raw, stdin_open, after_ctrl_p;
        struct termios saved;

        /* Input: bytes [base, base + kept.len) of all that the process was ever given. What is
         * taken goes from the front; a new link begins with what it says was taken. */
        Buf kept;
        uint64_t base, sent;
        bool started; /* base is known */
        bool counted; /* this link has said what was taken */
        bool closed;  /* the end was sent on this link */

        uint64_t shown, present; /* with lines: offsets, for caught_up */
        bool caught_up;

        bool following; /* the new link has not said that it is open */
        AttachEnd end;
        bool over;
        char why[sizeof(((Error *)0)->text)]; /* it could not be followed */
} Loop;

void terminal_size(uint32_t *ret_rows, uint32_t *ret_columns) {
        struct winsize w = {};

        if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0)
                w = (struct winsize){};
        *ret_rows = w.ws_row;
        *ret_columns = w.ws_col;
}

int attach_open(AttachSession *s, sd_bus *bus, const char *path, Error *reterr) {
        return attach_link_local(&s->link, bus, path, &s->target, false, reterr);
}

void attach_close(AttachSession *s) {
        attach_link_close(&s->link);
        free(TAKE(s->host));
}

/* -- terminal and signals -- */

static void enter_raw(Loop *l) {
        struct termios t;

        if (!l->s->terminal || !l->s->link.with_stdin || tcgetattr(STDIN_FILENO, &l->saved) < 0)
                return;
        t = l->saved;
        cfmakeraw(&t);
        l->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
}

static void leave_raw(Loop *l) {
        if (l->raw)
                (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &l->saved);
        l->raw = false;
}

static int open_signals(sigset_t *ret_old) {
        static const int numbers[] = {
                SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH
        };
        sigset_t set;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                (void)sigaddset(&set, numbers[i]);
        if (sigprocmask(SIG_BLOCK, &set, ret_old) < 0)
                return -errno;
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void send_size(Loop *l) {
        uint32_t rows, columns;

        terminal_size(&rows, &columns);
        if (l->s->terminal && rows > 0 && columns > 0) {
                uint8_t size[4] = { (uint8_t)rows, (uint8_t)(rows >> 8), (uint8_t)columns,
                                    (uint8_t)(columns >> 8) };

                (void)attach_link_send(&l->s->link, ATTACH_RESIZE, size, sizeof(size));
        }
}

static void on_signal(Loop *l) {
        struct signalfd_siginfo si;
        Error e = ERROR_INIT;

        while (read(l->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
                if (l->following && si.ssi_signo != SIGWINCH) { /* nobody is there to get it */
                        (void)snprintf(l->why, sizeof(l->why), "interrupted");
                        l->end = ATTACH_MOVED_ON;
                        l->over = true;
                } else if (si.ssi_signo == SIGWINCH) {
                        if (!l->following) /* else it is sent when it is there */
                                send_size(l);
                } else if (attach_link_signal(&l->s->link, si.ssi_signo, &e) < 0)
                        ctl_say("cannot send the signal on: %s", e.text);
        }
}

/* -- input -- */

/* Ctrl-P Ctrl-Q means us, not the process. Returns how many bytes are the process's. */
static size_t look_for_detach(Loop *l, const uint8_t *p, size_t n) {
        for (size_t i = 0; l->raw && i < n; i++) {
                if (l->after_ctrl_p && p[i] == CTRL_Q) {
                        l->end = ATTACH_DETACHED;
                        l->over = true;
                        return i > 0 ? i - 1 : 0;
                }
                l->after_ctrl_p = p[i] == CTRL_P;
        }
        return n;
}

static int read_input(Loop *l) {
        uint8_t bytes[INPUT_MAX];
        ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        if (n <= 0) {
                l->stdin_open = false;
                return 0;
        }
        return buf_append(&l->kept, bytes, look_for_detach(l, bytes, (size_t)n));
}

static bool input_waits(const Loop *l) {
        if (!l->s->link.with_stdin || !l->counted || l->following)
                return false;
        return l->sent < l->base + l->kept.len || (!l->stdin_open && !l->closed);
}

/* As much as there is room for. What fails is told by the end of the link. */
static void send_input(Loop *l) {
        AttachLink *link = &l->s->link;

        while (l->sent < l->base + l->kept.len) {
                size_t at = (size_t)(l->sent - l->base);
                size_t n = MIN_OF(l->kept.len - at, INPUT_MAX);

                if (attach_link_send(link, ATTACH_STDIN, l->kept.data + at, n) <= 0)
                        return;
                l->sent += n;
        }
        if (!l->stdin_open && !l->closed)
                l->closed = attach_link_send(link, ATTACH_CLOSE_STDIN, NULL, 0) > 0;
}

/* The process has all of its input up to here. */
static int on_taken(Loop *l, uint64_t taken) {
        if (!l->started) /* what others gave it before */
                l->base = taken;
        l->started = true;
        if (taken < l->base || taken > l->base + l->kept.len)
                return -EPROTO;
        buf_consume(&l->kept, (size_t)(taken - l->base));
        l->base = l->s->taken = taken;
        if (!l->counted)
                l->sent = taken;
        l->counted = true;
        return 0;
}

/* -- following -- */

static void use_link(Loop *l) {
        l->following = l->counted = l->closed = false;
        send_size(l);
}

static int start_following(Loop *l, const AttachWay *way, Error *reterr) {
        AttachSession *s = l->s;
        AttachLink next = ATTACH_LINK_INIT;
        int r;

        s->target.wishes.with_stdin = s->link.with_stdin;
        if (attach_link_is_remote(&s->link)) {
                r = attach_link_home(&next, way, &s->target, reterr);
                if (r == -ENOENT) /* it went on from there */
                        return attach_link_send(&s->link, RELAY_FOLLOW, NULL, 0) > 0 ? 0 : -EPIPE;
        } else
                r = attach_link_remote(&next, way, &s->target, reterr);
        if (r < 0)
                return r;
        attach_link_close(&s->link);
        s->link = next;
        free(s->host);
        s->host = attach_link_is_remote(&s->link) ? strdup(s->link.remote.name) : NULL;
        if (!attach_link_is_remote(&s->link))
                use_link(l);
        return 0;
}

static int on_moved(Loop *l, const uint8_t *payload, size_t n) {
        _cleanup_(attach_way_done) AttachWay way = {};
        Error e = ERROR_INIT;
        int r;

        r = attach_way_parse(payload, n, &way, &e);
        if (r == 0 && l->started)
                r = on_taken(l, way.taken);
        if (r == 0)
                l->s->taken = way.taken;
        l->end = ATTACH_MOVED_ON; /* unless it can be followed */
        if (r == 0 && way.to && !l->s->stay) {
                l->following = true;
                r = start_following(l, &way, &e);
        } else
                l->over = true;
        if (r < 0) {
                (void)snprintf(l->why, sizeof(l->why), "%s", error_text(&e, r));
                l->over = true;
        }
        return 0;
}

/* -- output -- */

static uint64_t little_endian(const uint8_t *p, unsigned n) {
        uint64_t v = 0;

        for (unsigned i = 0; i < n; i++)
                v |= (uint64_t)p[i] << (8 * i);
        return v;
}

int write_out(int fd, const void *p, size_t n) {
        const uint8_t *at = p;

        while (n > 0) {
                ssize_t k = write(fd, at, n);

                if (k < 0 && errno == EAGAIN)
                        (void)poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
                else if (k < 0 && errno != EINTR)
                        return -errno;
                if (k > 0) {
                        at += k;
                        n -= (size_t)k;
                }
        }
        return 0;
}

static int catch_up(Loop *l) {
        if (l->caught_up || l->shown < l->present || !l->s->caught_up)
                return 0;
        l->caught_up = true;
        return l->s->caught_up(l->s->userdata);
}

static int on_number(Loop *l, uint8_t type, uint64_t v) {
        switch (type) {
        case ATTACH_TAKEN:
                return on_taken(l, v);
        case ATTACH_GAP:
                l->shown += v;
                if (l->shown > v || !l->s->lines) /* else it begins with what there is */
                        ctl_say("%llu bytes of the log are no longer there", (unsigned long long)v);
                return catch_up(l);
        default: /* ATTACH_END */
                if (!l->caught_up)
                        l->present = v;
                return catch_up(l);
        }
}

static int on_frame(Loop *l, const uint8_t *p, size_t n) {
        int r;

        switch (p[0]) {
        case ATTACH_STDOUT:
                return write_out(STDOUT_FILENO, p + 1, n - 1);
        case ATTACH_STDERR:
                return write_out(STDERR_FILENO, p + 1, n - 1);
        case ATTACH_LINES:
                l->shown += n - 1;
                r = l->s->lines ? l->s->lines(l->s->userdata, (const char *)p + 1, n - 1) : 0;
                return r < 0 ? r : catch_up(l);
        case ATTACH_EXIT:
                l->end = ATTACH_ENDED;
                l->s->code = n >= 5 ? (uint32_t)little_endian(p + 1, 4) : CTL_FAILED;
                l->over = true;
                return 0;
        case ATTACH_MOVED:
                return on_moved(l, p + 1, n - 1);
        case ATTACH_GAP:
        case ATTACH_TAKEN:
        case ATTACH_END:
                return n >= 9 ? on_number(l, p[0], little_endian(p + 1, 8)) : 0;
        case RELAY_OPENED:
                l->s->link.with_stdin = n >= 2 && p[1];
                use_link(l);
                return 0;
        case RELAY_REFUSED:
                (void)snprintf(l->why, sizeof(l->why), "%.*s", (int)(n - 1), (const char *)p + 1);
                l->end = ATTACH_MOVED_ON;
                l->over = true;
                return 0;
        case RELAY_SAID:
                ctl_say("%.*s", (int)(n - 1), (const char *)p + 1);
                return 0;
        default:
                return 0; /* of a newer shim */
        }
}

/* The end of the link without a last frame. */
static void on_lost(Loop *l) {
        Error e = ERROR_INIT;

        l->over = true;
        l->end = l->following ? ATTACH_MOVED_ON : ATTACH_LOST;
        if (!attach_link_is_remote(&l->s->link))
                return;
        if (remote_finish(&l->s->link.run, 2000, &e) < 0)
                (void)snprintf(l->why, sizeof(l->why), "%s", e.text);
}

static int read_output(Loop *l) {
        uint8_t frame[1 + ATTACH_FRAME_MAX];

        for (unsigned i = 0; i < 64 && !l->over; i++) {
                ssize_t n = attach_link_receive(&l->s->link, frame);
                int r;

                if (n == 0)
                        return 0;
                if (n < 0) {
                        on_lost(l);
                        return 0;
                }
                r = on_frame(l, frame, (size_t)n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int wait_and_work(Loop *l) {
        bool wants = l->stdin_open && l->s->link.with_stdin && l->kept.len < KEEP_MAX;
        struct pollfd fds[3] = {
                { .fd = l->s->link.fd, .events = attach_link_events(&l->s->link, input_waits(l)) },
                { .fd = l->signal_fd, .events = POLLIN },
                { .fd = wants ? STDIN_FILENO : -1, .events = POLLIN },
        };
        bool more = attach_link_has_frame(&l->s->link);
        int r = 0;

        if (poll(fds, ELEMENTSOF(fds), more ? 0 : -1) < 0)
                return errno == EINTR ? 0 : -errno;
        if (fds[1].revents)
                on_signal(l);
        if (fds[2].revents)
                r = read_input(l);
        if (r == 0 && (fds[0].revents || more) && !l->over)
                r = read_output(l);
        return r;
}

/* Input is sent before the wait: what lets it go (a count, a new link) was read in the turn before.
 */
static int turn(Loop *l) {
        if (input_waits(l))
                send_input(l);
        return wait_and_work(l);
}

int attach_run(AttachSession *s, AttachEnd *ret, Error *reterr) {
        Loop l = { .s = s, .stdin_open = s->link.with_stdin, .shown = s->target.wishes.offset };
        sigset_t old;
        int r = 0;

        l.signal_fd = s->lines ? -EBADF : open_signals(&old); /* who only reads is ended by them */
        if (l.signal_fd < 0 && !s->lines)
                return error_setf(reterr, l.signal_fd, "signals: %s",
                                  strerrordesc_np(-l.signal_fd));
        enter_raw(&l);
        send_size(&l);
        while (r == 0 && !l.over)
                r = turn(&l);
        if (l.end == ATTACH_DETACHED && input_waits(&l)) /* what was typed before */
                send_input(&l);
        leave_raw(&l);
        buf_done(&l.kept);
        (void)close_fd(l.signal_fd);
        if (!s->lines)
                (void)sigprocmask(SIG_SETMASK, &old, NULL);
        if (r == -EPROTO)
                return error_setf(reterr, r, "its shim counts the input otherwise");
        if (r < 0)
                return error_setf(reterr, r, "cannot write its output: %s", strerrordesc_np(-r));
        if (*l.why)
                ctl_say("%s: %s", s->target.pod, l.why);
        *ret = l.end;
        return 0;
}

/* Waits for the answer of a relay; what else comes is of a process that has ended. */
static int wait_removed(AttachSession *s, Error *reterr) {
        uint8_t frame[1 + ATTACH_FRAME_MAX];

        for (;;) {
                struct pollfd p = { .fd = s->link.fd,
                                    .events = attach_link_events(&s->link, false) };
                ssize_t n = attach_link_receive(&s->link, frame);

                if (n < 0)
                        return error_setf(reterr, (int)n, "%s: the connection is lost", s->host);
                if (n > 0 && frame[0] == RELAY_REMOVED)
                        return n == 1 ? 0
                                      : error_setf(reterr, -EIO, "%s: %.*s", s->host, (int)(n - 1),
                                                   (const char *)frame + 1);
                if (n == 0 && poll(&p, 1, (int)(WORK_DEADLINE / 1000)) == 0)
                        return error_setf(reterr, -ETIMEDOUT, "%s: no answer", s->host);
        }
}

int attach_remove(AttachSession *s, AttachRemove what, Error *reterr) {
        int r = attach_link_remove(&s->link, what, reterr);

        return r == 1 ? wait_removed(s, reterr) : r;
}

int attach_status(const AttachSession *s, AttachEnd end) {
        const char *pod = s->target.pod;

        switch (end) {
        case ATTACH_ENDED:
                return (int)(s->code & 0xff);
        case ATTACH_DETACHED:
                ctl_say("left %s running; podferry attach %s %scomes back to it", pod, pod,
                        s->host ? "on the host that it is on now " : "");
                return CTL_OK;
        case ATTACH_MOVED_ON:
                ctl_say("%s: it has moved to another host and runs on there (%llu bytes of input "
                        "were taken); podferry attach %s there goes on",
                        pod, (unsigned long long)s->taken, pod);
                return CTL_FAILED;
        case ATTACH_LOST:
                if (s->host)
                        ctl_say("%s: the connection to it through %s is lost", pod, s->host);
                else
                        ctl_say("%s: its shim has gone away", pod);
                return CTL_FAILED;
        }
        return CTL_FAILED;
}
