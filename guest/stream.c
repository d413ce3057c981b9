/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/stream.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"

enum {
        TURN = 64 * 1024,      /* read of one stream before others have their turn */
        TTY_LEFT = 128 * 1024, /* more than the kernel keeps in a pty */
        LITTLE = 32 * 1024,    /* a read of less than that, */
        PAUSE_NS = 1000000,    /* and so soon after the one before, and the stream rests so long */
};

struct Stream {
        Streams *all;
        StreamKind kind;
        uint32_t channel;
        int fd;
        bool is_tty;
        bool ended;    /* output: nobody can write any more; input: nobody reads */
        bool eof;      /* input: the host has closed */
        bool unwanted; /* output: is read and thrown away */
        bool exited;   /* output: stream_drain() was called */
        bool drained;  /* output: what was there at that moment has been relayed */
        size_t drain_left;
        bool rests;       /* output: on the list, to be read when the pause ends */
        uint64_t last_ns; /* output: when something was read */
        Stream *next_resting;
        Watch watch;
        StreamChanged changed;
        void *userdata;
        Stream *next;
};

static void pause_ends(void *userdata, uint32_t events);

int streams_init(Streams *all, Loop *l, Session *s, Error *reterr) {
        _cleanup_close_ int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        int r;

        *all = (Streams){ .loop = l, .session = s };
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot make a timer for streams: %m");
        r = watch_init(&all->pause, l, fd, EPOLLIN, pause_ends, all);
        if (r < 0)
                return error_setf(reterr, r, "cannot watch a timer: %s", strerror(-r));
        (void)TAKE_FD(fd); /* the watch has it */
        return 0;
}

static Stream *find(Streams *all, uint32_t channel) {
        Stream *s = all->by_channel[channel % STREAM_BUCKETS];

        while (s && s->channel != channel)
                s = s->next;
        return s;
}

static void tell(Stream *s) {
        if (s->changed)
                s->changed(s->userdata);
}

static void shutdown_channel(Stream *s) {
        Error err = ERROR_INIT;
        int r;

        if (s->channel == 0)
                return;
        r = session_shutdown(s->all->session, s->channel, &err);
        if (r < 0 && r != -ENOENT && r != -EPIPE)
                log_warning("stream: channel %u: %s", s->channel, error_text(&err, r));
}

static bool take_off(Stream **list, const Stream *s) {
        for (Stream **p = list; *p; p = &(*p)->next_resting)
                if (*p == s) {
                        *p = s->next_resting;
                        return true;
                }
        return false;
}

static void wake_up(Stream *s) {
        if (s->rests && !take_off(&s->all->due, s))
                (void)take_off(&s->all->resting, s);
        s->rests = false;
}

static void end(Stream *s) {
        if (s->ended)
                return;
        s->ended = true;
        wake_up(s);
        watch_done(&s->watch);
        s->fd = close_fd(s->fd);
        shutdown_channel(s);
}

/* --- output --- */

/* The host has dropped the channel: nobody will ever read it, and no room will come. The process
 * must not be held up by that. */
static bool is_unwanted(Stream *s) {
        if (session_write(s->all->session, s->channel, "", 0) < 0)
                s->unwanted = true;
        return s->unwanted;
}

/* Reads once. Bytes, 0: nothing there now, -ENOBUFS: no place to put them, -EPIPE: ended. */
static ssize_t relay(Stream *s, size_t max) {
        static uint8_t nowhere[4096];
        size_t room = sizeof(nowhere);
        void *p = nowhere;
        ssize_t n;

        if (!s->unwanted) {
                p = session_reserve(s->all->session, s->channel, &room);
                if (!p && !is_unwanted(s))
                        return -ENOBUFS;
        }
        if (s->unwanted) {
                p = nowhere;
                room = sizeof(nowhere);
        }
        do
                n = read(s->fd, p, MIN_OF(room, max));
        while (n < 0 && errno == EINTR);
        if (!s->unwanted)
                session_commit(s->all->session, s->channel, n > 0 ? (size_t)n : 0);
        if (n > 0)
                return n;
        return n < 0 && errno == EAGAIN ? 0 : -EPIPE; /* a pty without slaves says EIO */
}

/* Not watched meanwhile. False if that cannot be done: then it is read as often as it wants. */
static bool rest(Stream *s) {
        static const struct itimerspec once = { .it_value.tv_nsec = PAUSE_NS };

        if (!s->all->resting && timerfd_settime(s->all->pause.fd, 0, &once, NULL) < 0)
                return false;
        if (watch_set(&s->watch, 0) < 0)
                return false;
        s->rests = true;
        s->next_resting = s->all->resting;
        s->all->resting = s;
        return true;
}

static void watch_output(Stream *s) {
        if (s->watch.events == 0 && watch_set(&s->watch, EPOLLIN) < 0)
                log_err("stream: channel %u cannot be watched", s->channel);
}

/* `got` bytes came. Little but often? */
static bool is_chatty(Stream *s, size_t got, bool rested) {
        uint64_t before = s->last_ns;

        if (got == 0)
                return false;
        s->last_ns = clock_ns(CLOCK_MONOTONIC);
        return got < LITTLE && (rested || s->last_ns - before < PAUSE_NS);
}

static void pump(Stream *s) {
        bool rested = s->rests;
        size_t left = TURN;
        ssize_t n = 0;

        wake_up(s);
        while (left > 0 && (n = relay(s, left)) > 0) {
                left -= (size_t)n;
                if (s->exited)
                        s->drain_left -= MIN_OF(s->drain_left, (size_t)n);
        }
        if (n == -EPIPE)
                end(s);
        else if (n == -ENOBUFS)
                (void)watch_set(&s->watch, 0);
        else if (!is_chatty(s, TURN - left, rested) || !rest(s))
                watch_output(s);
        if (s->exited && !s->drained && (n == 0 || s->ended || s->drain_left == 0)) {
                s->drained = true;
                tell(s);
        }
}

static void output_ready(void *userdata, uint32_t events) {
        pump(userdata);
}

static void pause_ends(void *userdata, uint32_t events) {
        Streams *all = userdata;
        uint64_t times;

        if (read(all->pause.fd, &times, sizeof(times)) < 0)
                return; /* set anew meanwhile */
        all->due = all->resting;
        all->resting = NULL;
        while (all->due)
                pump(all->due); /* takes it off */
}

static void resume_output(Stream *s) {
        if (!s->ended && s->fd >= 0 && !s->rests)
                watch_output(s);
}

static void drain_output(Stream *s) {
        int there = 0;

        s->exited = true;
        if (s->ended || s->fd < 0) {
                s->drained = true;
                return;
        }
        if (s->is_tty || ioctl(s->fd, FIONREAD, &there) < 0 || there < 0)
                s->drain_left = TTY_LEFT;
        else
                s->drain_left = (size_t)there + 1; /* one more, so that an end is seen as well */
        if (s->rests || s->watch.events != 0)
                pump(s);
}

/* --- input --- */

static void input_ready(void *userdata, uint32_t events) {
        Stream *s = userdata;

        (void)watch_set(&s->watch, 0);
        if (events & EPOLLERR)
                end(s);
        session_taken(s->all->session, s->channel);
}

static size_t give(Stream *s, const uint8_t *p, size_t n) {
        size_t done = 0;

        if (s->ended)
                return n;
        if (s->fd < 0)
                return 0; /* kept by the session until stream_start() */
        while (done < n) {
                ssize_t k = write(s->fd, p + done, n - done);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0 && errno != EAGAIN) {
                        end(s);
                        return n;
                }
                if (k <= 0) {
                        if (watch_set(&s->watch, EPOLLOUT) < 0)
                                log_err("stream: channel %u cannot be watched", s->channel);
                        break;
                }
                done += (size_t)k;
        }
        return done;
}

/* A pipe is closed; in a terminal the end of input is typed. */
static void end_input(Stream *s) {
        struct termios t;

        s->eof = true;
        if (s->fd < 0)
                return;
        if (s->is_tty && tcgetattr(s->fd, &t) == 0 && (t.c_lflag & ICANON) &&
            write(s->fd, &t.c_cc[VEOF], 1) < 0)
                log_warning("stream: cannot type the end of input: %m");
        end(s);
}

/* --- all --- */

size_t streams_data(Streams *all, uint32_t channel, const void *p, size_t n) {
        Stream *s = find(all, channel);

        return s && s->kind == STREAM_INPUT ? give(s, p, n) : n;
}

void streams_eof(Streams *all, uint32_t channel) {
        Stream *s = find(all, channel);

        if (s && s->kind == STREAM_INPUT)
                end_input(s);
        else if (s && is_unwanted(s))
                resume_output(s);
}

void streams_writable(Streams *all, uint32_t channel) {
        Stream *s = find(all, channel);

        if (s && s->kind == STREAM_OUTPUT)
                resume_output(s);
}

int stream_new(Streams *all, StreamKind kind, uint32_t channel, StreamChanged changed,
               void *userdata, Stream **ret, Error *reterr) {
        Stream *s;
        int r;

        s = malloc(sizeof(*s));
        if (!s)
                return error_oom(reterr);
        *s = (Stream){ .all = all,
                       .kind = kind,
                       .channel = channel,
                       .fd = -EBADF,
                       .watch.fd = -EBADF,
                       .unwanted = channel == 0,
                       .changed = changed,
                       .userdata = userdata };
        if (channel != 0) {
                Stream **head = &all->by_channel[channel % STREAM_BUCKETS];

                s->next = *head;
                *head = s; /* first: opening may deliver what came before */
                r = session_open(all->session, channel, reterr);
                if (r < 0) {
                        *head = s->next;
                        free(s);
                        return r;
                }
        }
        *ret = s;
        return 0;
}

int stream_start(Stream *s, int fd, bool is_tty, Error *reterr) {
        bool output = s->kind == STREAM_OUTPUT;
        int r;

        s->fd = fd;
        s->is_tty = is_tty;
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return error_setf(reterr, -errno, "cannot make a stream wait-free: %m");
        r = watch_init(&s->watch, s->all->loop, fd, output ? (uint32_t)EPOLLIN : 0,
                       output ? output_ready : input_ready, s);
        if (r < 0)
                return error_setf(reterr, r, "cannot watch a stream: %s", strerror(-r));
        if (output)
                return 0;
        if (s->eof)
                end_input(s);
        session_taken(s->all->session, s->channel);
        return 0;
}

static Stream *release(Stream *s) {
        wake_up(s);
        watch_done(&s->watch);
        s->fd = close_fd(s->fd);
        for (Stream **p = &s->all->by_channel[s->channel % STREAM_BUCKETS]; *p; p = &(*p)->next)
                if (*p == s) {
                        *p = s->next;
                        break;
                }
        free(s);
        return NULL;
}

Stream *stream_free(Stream *s) {
        if (!s)
                return NULL;
        end(s);
        if (s->kind == STREAM_INPUT && s->channel != 0)
                session_taken(s->all->session, s->channel); /* nobody wants it: let it go */
        return release(s);
}

Stream *stream_abandon(Stream *s) {
        if (!s)
                return NULL;
        if (s->channel != 0)
                session_drop(s->all->session, s->channel);
        return release(s);
}

void stream_drain(Stream *s) {
        if (s->kind == STREAM_OUTPUT) {
                drain_output(s);
                return;
        }
        end(s);
        if (s->channel != 0)
                session_taken(s->all->session, s->channel);
}

bool stream_is_settled(const Stream *s) {
        if (s->kind == STREAM_INPUT)
                return true;
        if (!s->ended)
                return s->drained;
        return s->channel == 0 || session_channel_drained(s->all->session, s->channel);
}

int stream_resize(Stream *s, uint32_t rows, uint32_t columns, Error *reterr) {
        struct winsize w = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };

        if (s->fd < 0)
                return error_setf(reterr, -EBADFD, "the terminal is closed");
        if (ioctl(s->fd, TIOCSWINSZ, &w) < 0)
                return error_setf(reterr, -errno, "cannot resize the terminal: %m");
        return 0;
}
