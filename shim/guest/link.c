/* SPDX-License-Identifier: Apache-2.0 */
/* Events:  fd readable -> session_input;  session wakes -> a deferred flush -> sendmsg, and
 * EPOLLOUT only while the socket is full;  fd ends -> session_detach, and a timer dials again with
 * growing intervals (QEMU listens as long as it lives; there is no event for "it listens again").
 */
#include "shim/guest/link.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "lib/log.h"

#define READ_SIZE     (64U << 10)
#define WRITE_VECTORS 64
#define DIAL_MIN_USEC 5000U
#define DIAL_MAX_USEC 1000000U
/* For the answer to our HELLO. The guest may have dropped both: the news that the host before has
 * left come on another queue than our bytes, and can overtake what we said. */
#define ANSWER_MIN_USEC 1000000U
#define ANSWER_MAX_USEC 16000000U
/* One turn of the loop reads at most this much before others get theirs. */
#define READS_A_TURN 4U

typedef struct Consumer {
        uint32_t channel;
        const GuestLinkConsumer *ops;
        void *userdata;
} Consumer;

struct GuestLink {
        sd_event *event;
        const GuestLinkOps *ops;
        void *userdata;

        Session *session;
        uint8_t session_id[16];
        uint32_t next_channel; /* of the session, as far as handed out */
        char *path;
        int fd;
        bool held;
        bool attached;           /* the session knows of this connection */
        uint64_t dial_usec;      /* the next interval */
        sd_event_source *io;     /* of fd */
        sd_event_source *flush;  /* defer, one shot */
        sd_event_source *dial;   /* timer, one shot */
        sd_event_source *answer; /* timer, one shot: from HELLO to its answer */
        uint64_t answer_usec;
        bool answers;    /* there is an agent, and it has answered before (maybe another shim) */
        uint8_t *buffer; /* while connected */

        Consumer *consumers; /* sorted by channel */
        size_t n_consumers;
};

static int connect_now(GuestLink *l);
static void flush(GuestLink *l);

/* Consumers */

static size_t consumer_at(const GuestLink *l, uint32_t channel) {
        size_t low = 0, high = l->n_consumers;

        while (low < high) {
                size_t mid = (low + high) / 2;

                if (l->consumers[mid].channel < channel)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static const Consumer *consumer_of(const GuestLink *l, uint32_t channel) {
        size_t i = consumer_at(l, channel);

        return i < l->n_consumers && l->consumers[i].channel == channel ? &l->consumers[i] : NULL;
}

int guest_link_consume(GuestLink *l, uint32_t channel, const GuestLinkConsumer *ops, void *userdata,
                       Error *reterr) {
        size_t i = consumer_at(l, channel);
        Consumer *grown;

        if (consumer_of(l, channel))
                return error_setf(reterr, -EEXIST, "channel %u has a consumer", channel);
        grown = reallocarray(l->consumers, l->n_consumers + 1, sizeof(*grown));
        if (!grown)
                return error_oom(reterr);
        l->consumers = grown;
        memmove(&grown[i + 1], &grown[i], (l->n_consumers - i) * sizeof(*grown));
        grown[i] = (Consumer){ channel, ops, userdata };
        l->n_consumers++;
        if (l->session)
                session_taken(l->session, channel);
        return 0;
}

void guest_link_forget(GuestLink *l, uint32_t channel) {
        size_t i = consumer_at(l, channel);

        if (!consumer_of(l, channel))
                return;
        l->n_consumers--;
        memmove(&l->consumers[i], &l->consumers[i + 1],
                (l->n_consumers - i) * sizeof(*l->consumers));
}

/* What the session calls */

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        const Consumer *c = consumer_of(userdata, channel);

        return c ? c->ops->data(c->userdata, channel, p, n) : 0;
}

static void on_eof(void *userdata, uint32_t channel) {
        const Consumer *c = consumer_of(userdata, channel);

        if (c && c->ops->eof)
                c->ops->eof(c->userdata, channel);
}

static void on_writable(void *userdata, uint32_t channel) {
        const Consumer *c = consumer_of(userdata, channel);

        if (c && c->ops->writable)
                c->ops->writable(c->userdata, channel);
}

static void on_up(void *userdata) {
        GuestLink *l = userdata;

        l->dial_usec = DIAL_MIN_USEC;
        l->answer_usec = ANSWER_MIN_USEC;
        l->answers = true;
        (void)sd_event_source_set_enabled(l->answer, SD_EVENT_OFF);
        l->ops->up(l->userdata);
}

static void on_wake(void *userdata) {
        GuestLink *l = userdata;

        if (l->attached && !l->held)
                (void)sd_event_source_set_enabled(l->flush, SD_EVENT_ONESHOT);
}

static const SessionOps session_ops = {
        .data = on_data,
        .eof = on_eof,
        .writable = on_writable,
        .up = on_up,
        .wake = on_wake,
};

/* The connection */

static void drop(GuestLink *l) {
        (void)sd_event_source_set_enabled(l->answer, SD_EVENT_OFF);
        l->io = sd_event_source_disable_unref(l->io);
        l->fd = close_fd(l->fd);
        if (l->attached)
                session_detach(l->session);
        l->attached = false;
        freep(&l->buffer);
}

static void dial_later(GuestLink *l) {
        if (!l->path)
                return;
        (void)sd_event_source_set_time_relative(l->dial, l->dial_usec);
        (void)sd_event_source_set_enabled(l->dial, SD_EVENT_ONESHOT);
        l->dial_usec = MIN_OF(l->dial_usec * 2, DIAL_MAX_USEC);
}

static void lose(GuestLink *l, int code, const Error *err) {
        drop(l);
        if (code == -ESTALE || code == -EPERM) {
                freep(&l->path);
                l->ops->lost(l->userdata, code, err);
                return;
        }
        if (code < 0)
                log_warning("guest link: %s", error_text(err, code));
        l->ops->down(l->userdata);
        dial_later(l);
}

static void watch(GuestLink *l, uint32_t events) {
        if (l->io)
                (void)sd_event_source_set_io_events(l->io, events);
}

static void flush(GuestLink *l) {
        while (l->attached && !l->held) {
                struct iovec iov[WRITE_VECTORS];
                int count = session_output(l->session, iov, WRITE_VECTORS);
                ssize_t n;

                if (count == 0) {
                        watch(l, EPOLLIN);
                        return;
                }
                if (l->ops->sending)
                        l->ops->sending(l->userdata);
                n = sendmsg(l->fd, &(struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)count },
                            MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        watch(l, EPOLLIN | EPOLLOUT);
                        return;
                }
                if (n < 0) {
                        lose(l, 0, NULL); /* the reader would find out as well, but later */
                        return;
                }
                session_output_done(l->session, (size_t)n);
        }
}

static int on_flush(sd_event_source *source, void *userdata) {
        flush(userdata);
        return 0;
}

/* One read: 1 there may be more, 0 would block, and the connection is dropped when it has ended. */
static int read_once(GuestLink *l) {
        Error err = ERROR_INIT;
        ssize_t n;
        int r;

        n = read(l->fd, l->buffer, READ_SIZE);
        if (n < 0 && errno == EINTR)
                return 1;
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0) {
                lose(l, 0, NULL);
                return 0;
        }
        r = session_input(l->session, l->buffer, (size_t)n, &err);
        if (r < 0) {
                lose(l, r, &err);
                return 0;
        }
        return l->attached && (size_t)n == READ_SIZE;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        GuestLink *l = userdata;

        if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
                for (unsigned i = 0; i < READS_A_TURN && l->attached && !l->held; i++)
                        if (read_once(l) == 0)
                                break;
        if (l->attached)
                flush(l);
        return 0;
}

/* While held, only the end of the connection is of interest; it is found when it is released. */
static int start_io(GuestLink *l) {
        int r;

        l->buffer = malloc(READ_SIZE);
        if (!l->buffer)
                return -ENOMEM;
        r = sd_event_add_io(l->event, &l->io, l->fd, EPOLLIN, on_io, l);
        if (r < 0)
                return r;
        l->attached = true;
        session_attach(l->session);
        if (l->answers) {
                (void)sd_event_source_set_time_relative(l->answer, l->answer_usec);
                (void)sd_event_source_set_enabled(l->answer, SD_EVENT_ONESHOT);
        }
        flush(l);
        return 0;
}

static int on_no_answer(sd_event_source *source, uint64_t usec, void *userdata) {
        GuestLink *l = userdata;

        if (!l->attached || l->held || session_is_up(l->session))
                return 0;
        l->answer_usec = MIN_OF(l->answer_usec * 2, ANSWER_MAX_USEC);
        log_info("guest link: no answer from the agent, connecting again");
        lose(l, 0, NULL);
        return 0;
}

static int connect_now(GuestLink *l) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int r;

        if (strlen(l->path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        (void)strcpy(sa.sun_path, l->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
                return -errno;
        l->fd = TAKE_FD(fd);
        if (l->held)
                return 0;
        r = start_io(l);
        if (r < 0)
                drop(l);
        return r;
}

static int on_dial(sd_event_source *source, uint64_t usec, void *userdata) {
        GuestLink *l = userdata;

        if (l->path && l->fd < 0 && connect_now(l) < 0)
                dial_later(l);
        return 0;
}

/* Life */

int guest_link_new(sd_event *event, const GuestLinkOps *ops, void *userdata, GuestLink **ret,
                   Error *reterr) {
        _cleanup_(guest_link_freep) GuestLink *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_oom(reterr);
        *l = (GuestLink){ .event = sd_event_ref(event),
                          .ops = ops,
                          .userdata = userdata,
                          .fd = -EBADF,
                          .dial_usec = DIAL_MIN_USEC,
                          .answer_usec = ANSWER_MIN_USEC };
        r = sd_event_add_defer(event, &l->flush, on_flush, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->flush, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(event, &l->dial, CLOCK_MONOTONIC, 0, 1000, on_dial, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->dial, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(event, &l->answer, CLOCK_MONOTONIC, 0, 1000, on_no_answer, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->answer, SD_EVENT_OFF);
        if (r < 0)
                return error_setf(reterr, r, "events of the guest link");
        *ret = TAKE(l);
        return 0;
}

GuestLink *guest_link_free(GuestLink *l) {
        if (!l)
                return NULL;
        guest_link_close(l);
        sd_event_source_disable_unref(l->flush);
        sd_event_source_disable_unref(l->dial);
        sd_event_source_disable_unref(l->answer);
        session_free(l->session);
        free(l->consumers);
        sd_event_unref(l->event);
        free(l);
        return NULL;
}

static void replace_session(GuestLink *l, Session *s) {
        drop(l);
        session_free(l->session);
        l->session = s;
}

int guest_link_begin(GuestLink *l, Error *reterr) {
        SessionConfig config = { .role = SESSION_HOST, .epoch = 1 };
        Session *s;
        int r;

        if (getrandom(config.id, sizeof(config.id), 0) != sizeof(config.id))
                return error_setf(reterr, -EIO, "no random bytes");
        r = session_new(&config, &session_ops, l, &s, reterr);
        if (r < 0)
                return r;
        replace_session(l, s);
        memcpy(l->session_id, config.id, sizeof(l->session_id));
        l->next_channel = 1;
        return 0;
}

int guest_link_import(GuestLink *l, const void *p, size_t n, const uint8_t id[static 16],
                      uint32_t next_channel, Error *reterr) {
        Session *s;
        int r;

        if (l->attached)
                return error_setf(reterr, -EBADFD, "the guest link is in use");
        r = session_import(p, n, &session_ops, l, &s, reterr);
        if (r < 0)
                return r;
        session_free(l->session); /* a held connection stays */
        l->session = s;
        l->answers = true;
        session_raise_channel_floor(s, next_channel);
        memcpy(l->session_id, id, sizeof(l->session_id));
        l->next_channel = next_channel;
        return 0;
}

uint32_t guest_link_next_channel(GuestLink *l) {
        uint32_t channel = session_next_channel(l->session);

        l->next_channel = channel + 1;
        return channel;
}

void guest_link_facts(const GuestLink *l, uint8_t ret_id[static 16], uint64_t *ret_epoch,
                      uint32_t *ret_next_channel) {
        memcpy(ret_id, l->session_id, sizeof(l->session_id));
        *ret_epoch = l->session ? session_epoch(l->session) : 0;
        *ret_next_channel = l->next_channel;
}

Session *guest_link_session(GuestLink *l) {
        return l->session;
}

int guest_link_open(GuestLink *l, const char *path, bool hold, Error *reterr) {
        char *copy = strdup(path);

        if (!copy)
                return error_oom(reterr);
        drop(l);
        free(l->path);
        l->path = copy;
        l->held = hold;
        l->dial_usec = DIAL_MIN_USEC;
        if (connect_now(l) < 0)
                dial_later(l);
        return 0;
}

int guest_link_release(GuestLink *l, Error *reterr) {
        int r;

        if (!l->session)
                return error_setf(reterr, -EBADFD, "the guest link has no session yet");
        l->held = false;
        if (l->attached) {
                session_thaw(l->session);
                watch(l, EPOLLIN);
                flush(l);
        } else if (l->fd >= 0) {
                r = start_io(l);
                if (r < 0) {
                        drop(l);
                        dial_later(l);
                }
        }
        return 0;
}

void guest_link_hold(GuestLink *l) {
        l->held = true;
        if (l->session)
                session_freeze(l->session);
        watch(l, 0);
}

void guest_link_drain(GuestLink *l) {
        while (l->attached && !l->held && read_once(l) > 0)
                ;
}

void guest_link_close(GuestLink *l) {
        drop(l);
        freep(&l->path);
        l->held = false;
        (void)sd_event_source_set_enabled(l->dial, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(l->flush, SD_EVENT_OFF);
}

bool guest_link_is_connected(const GuestLink *l) {
        return l->fd >= 0;
}

bool guest_link_is_up(const GuestLink *l) {
        return l->attached && session_is_up(l->session);
}
