/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/attach-loop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/ctl.h"
#include "shim/stdio/attach.h"

#define CONTAINER BUS_INTERFACE ".Container"
#define INPUT_MAX (16U << 10)
#define CTRL_P    0x10
#define CTRL_Q    0x11

typedef struct Loop {
        AttachSession *s;
        int signal_fd;
        bool raw, stdin_open, after_ctrl_p;
        struct termios saved;
        uint8_t input[1 + INPUT_MAX]; /* frame type and bytes, waiting for room in the socket */
        size_t n_input;
        AttachEnd end;
        bool over;
} Loop;

void terminal_size(uint32_t *ret_rows, uint32_t *ret_columns) {
        struct winsize w = {};

        if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0)
                w = (struct winsize){};
        *ret_rows = w.ws_row;
        *ret_columns = w.ws_col;
}

int attach_open(AttachSession *s, Error *reterr) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int fd, r;

        s->fd = -EBADF;
        if (s->from_now)
                r = pod_call(s->bus, CALL_DEADLINE, &reply, reterr, s->path, CONTAINER, "Attach",
                             "sa{sv}", s->exec_id, 2, "stdin", "b", s->with_stdin, "offset", "t",
                             UINT64_MAX);
        else
                r = pod_call(s->bus, CALL_DEADLINE, &reply, reterr, s->path, CONTAINER, "Attach",
                             "sa{sv}", s->exec_id, 1, "stdin", "b", s->with_stdin);
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "h", &fd) < 0)
                return error_setf(reterr, -EBADMSG, "Attach returned no socket");
        s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (s->fd < 0 || fcntl(s->fd, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "Attach: %m");
        return 0;
}

void attach_close(AttachSession *s) {
        s->fd = close_fd(s->fd);
}

/* -- terminal and signals -- */

static void enter_raw(Loop *l) {
        struct termios t;

        if (!l->s->terminal || !l->s->with_stdin || tcgetattr(STDIN_FILENO, &l->saved) < 0)
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
                uint8_t frame[5] = { ATTACH_RESIZE, (uint8_t)rows, (uint8_t)(rows >> 8),
                                     (uint8_t)columns, (uint8_t)(columns >> 8) };

                (void)send(l->s->fd, frame, sizeof(frame), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
}

static void on_signal(Loop *l) {
        struct signalfd_siginfo si;
        Error e = ERROR_INIT;

        while (read(l->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
                if (si.ssi_signo == SIGWINCH)
                        send_size(l);
                else if (pod_call(l->s->bus, CALL_DEADLINE, NULL, &e, l->s->path, CONTAINER, "Kill",
                                  "sub", l->s->exec_id, si.ssi_signo, 0) < 0)
                        ctl_say("cannot send the signal on: %s", e.text);
        }
}

/* -- input -- */

/* Ctrl-P Ctrl-Q means us, not the process. Returns how many bytes are the process's. */
static size_t look_for_detach(Loop *l, size_t n) {
        for (size_t i = 0; l->raw && i < n; i++) {
                if (l->after_ctrl_p && l->input[1 + i] == CTRL_Q) {
                        l->end = ATTACH_DETACHED;
                        l->over = true;
                        return i > 0 ? i - 1 : 0;
                }
                l->after_ctrl_p = l->input[1 + i] == CTRL_P;
        }
        return n;
}

static void read_input(Loop *l) {
        ssize_t n = read(STDIN_FILENO, l->input + 1, INPUT_MAX);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (n <= 0) {
                l->stdin_open = false;
                l->input[0] = ATTACH_CLOSE_STDIN;
                l->n_input = 1;
                return;
        }
        l->input[0] = ATTACH_STDIN;
        n = (ssize_t)look_for_detach(l, (size_t)n);
        l->n_input = n > 0 ? 1 + (size_t)n : 0;
}

static void send_input(Loop *l) {
        if (send(l->s->fd, l->input, l->n_input, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                l->n_input = 0;
        else if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
                l->n_input = 0; /* the end of the socket says why */
}

/* -- output -- */

static uint64_t little_endian(const uint8_t *p, unsigned n) {
        uint64_t v = 0;

        for (unsigned i = 0; i < n; i++)
                v |= (uint64_t)p[i] << (8 * i);
        return v;
}

/* All of it, also when someone made the descriptor non-blocking. */
static int write_out(int fd, const uint8_t *p, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0 && errno == EAGAIN)
                        (void)poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
                else if (k < 0 && errno != EINTR)
                        return -errno;
                if (k > 0) {
                        p += k;
                        n -= (size_t)k;
                }
        }
        return 0;
}

static int on_frame(Loop *l, const uint8_t *p, size_t n) {
        switch (p[0]) {
        case ATTACH_STDOUT:
                return write_out(STDOUT_FILENO, p + 1, n - 1);
        case ATTACH_STDERR:
                return write_out(STDERR_FILENO, p + 1, n - 1);
        case ATTACH_EXIT:
                l->end = ATTACH_ENDED;
                l->s->code = n >= 5 ? (uint32_t)little_endian(p + 1, 4) : CTL_FAILED;
                l->over = true;
                return 0;
        case ATTACH_MOVED:
                l->end = ATTACH_MOVED_ON;
                l->over = true;
                break;
        case ATTACH_GAP:
                if (n >= 9)
                        ctl_say("%llu bytes of the log are no longer there",
                                (unsigned long long)little_endian(p + 1, 8));
                return 0;
        case ATTACH_TAKEN:
                break;
        default:
                return 0; /* of a newer shim */
        }
        if (n >= 9)
                l->s->taken = little_endian(p + 1, 8);
        return 0;
}

static int read_output(Loop *l) {
        uint8_t frame[1 + ATTACH_FRAME_MAX];
        ssize_t n = recv(l->s->fd, frame, sizeof(frame), MSG_DONTWAIT);

        /* ECONNRESET comes before what is still to be read, once: the shim closed with input
         * unread. */
        if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
                return 0;
        if (n <= 0) {
                l->end = ATTACH_LOST;
                l->over = true;
                return 0;
        }
        return on_frame(l, frame, (size_t)n);
}

static int turn(Loop *l) {
        struct pollfd fds[3] = {
                { .fd = l->s->fd, .events = POLLIN | (l->n_input > 0 ? POLLOUT : 0) },
                { .fd = l->signal_fd, .events = POLLIN },
                { .fd = l->stdin_open && l->n_input == 0 ? STDIN_FILENO : -1, .events = POLLIN },
        };

        if (poll(fds, ELEMENTSOF(fds), -1) < 0)
                return errno == EINTR ? 0 : -errno;
        if (fds[1].revents)
                on_signal(l);
        if (fds[2].revents)
                read_input(l);
        if (l->n_input > 0)
                send_input(l);
        if (fds[0].revents && !l->over)
                return read_output(l);
        return 0;
}

int attach_run(AttachSession *s, AttachEnd *ret, Error *reterr) {
        Loop l = { .s = s, .stdin_open = s->with_stdin };
        sigset_t old;
        int r = 0;

        l.signal_fd = open_signals(&old);
        if (l.signal_fd < 0)
                return error_setf(reterr, l.signal_fd, "signals: %s",
                                  strerrordesc_np(-l.signal_fd));
        enter_raw(&l);
        send_size(&l);
        while (r == 0 && !l.over)
                r = turn(&l);
        leave_raw(&l);
        (void)close_fd(l.signal_fd);
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        if (r < 0)
                return error_setf(reterr, r, "cannot write its output: %s", strerrordesc_np(-r));
        *ret = l.end;
        return 0;
}

int attach_status(const AttachSession *s, AttachEnd end) {
        switch (end) {
        case ATTACH_ENDED:
                return (int)(s->code & 0xff);
        case ATTACH_DETACHED:
                ctl_say("left %s running; podferry attach %s comes back to it", s->pod, s->pod);
                return CTL_OK;
        case ATTACH_MOVED_ON:
                ctl_say("%s: it has moved to another host and runs on there (%llu bytes of input "
                        "were taken); podferry attach %s there goes on",
                        s->pod, (unsigned long long)s->taken, s->pod);
                return CTL_FAILED;
        case ATTACH_LOST:
                ctl_say("%s: its shim has gone away", s->pod);
                return CTL_FAILED;
        }
        return CTL_FAILED;
}
