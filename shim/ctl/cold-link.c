/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/cold-link.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "shim/ctl/migrate-cold.h"
#include "shim/ctl/values.h"

#define STALL_MS  150000U /* as a live transfer's progress_timeout */
#define SETTLE_MS 75000U  /* for the other host's command to remove what it has */
#define LOOK_MS   250U    /* at --timeout */
#define WORDS_MS  3000U   /* for its last words, once the stream broke; for a stranger */

/* The stream broke: what the command says itself is the better reason. */
static int explain(ColdLink *l, int r, Error *reterr) {
        Error why = ERROR_INIT;

        l->broken = true;
        if (r == -ECANCELED || (r == -ETIMEDOUT && mover_interrupted(l->mover, NULL) < 0))
                return r;
        if (remote_wait(&l->run, WORDS_MS)) {
                if (remote_finish(&l->run, 0, &why) == 0)
                        (void)error_setf(&why, r, "it ended without a word");
                return error_setf(reterr, r, "%s: %s", l->mover->remote.name, why.text);
        }
        return error_prefix(reterr, r, "%s", l->mover->remote.name);
}

/* Until so much time has gone by, or another rate was set, or the stream ended. */
static int wait_pace(ColdLink *l, uint64_t us, Error *reterr) {
        uint64_t end = clock_us() + us, rate = l->pace.rate, now;

        while (l->pace.rate == rate && (now = clock_us()) < end) {
                struct pollfd fds[] = { { .fd = l->fd },
                                        { .fd = l->mover->signal_fd, .events = POLLIN },
                                        mover_wish_fd(l->mover) };
                uint64_t left = MIN_OF(end - now, LOOK_MS * 1000ULL);
                struct timespec t = { .tv_nsec = (long)(left * 1000) };
                int r = mover_interrupted(l->mover, reterr);

                if (r < 0)
                        return r;
                if (ppoll(fds, ELEMENTSOF(fds), &t, NULL) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
                if (fds[0].revents & (POLLHUP | POLLERR)) {
                        pace_set(&l->pace, 0, 0); /* what is sent next finds out */
                        return 0;
                }
        }
        return 0;
}

static int wait_for(ColdLink *l, short events, Error *reterr) {
        struct pollfd fds[] = { { .fd = l->fd, .events = events },
                                { .fd = l->mover->signal_fd, .events = POLLIN },
                                mover_wish_fd(l->mover) };
        uint64_t end = clock_ms() + STALL_MS;

        for (;;) {
                int r = mover_interrupted(l->mover, reterr);

                if (r < 0)
                        return r;
                if (poll(fds, ELEMENTSOF(fds), LOOK_MS) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
                if (fds[0].revents)
                        return 0;
                if (clock_ms() >= end)
                        return error_setf(reterr, -ETIMEDOUT, "nothing moved for %u s",
                                          STALL_MS / 1000);
        }
}

static int write_link(void *userdata, const void *p, size_t n, Error *reterr) {
        ColdLink *l = userdata;

        for (size_t done = 0; done < n;) {
                size_t room = pace_room(&l->pace, n - done, clock_us());
                ssize_t k =
                        room == 0 ? 0 : send(l->fd, (const uint8_t *)p + done, room, MSG_NOSIGNAL);
                int r = 0;

                if (room == 0)
                        r = wait_pace(l, pace_wait_us(&l->pace), reterr);
                else if (k < 0 && errno == EAGAIN)
                        r = wait_for(l, POLLOUT, reterr);
                else if (k < 0 && errno != EINTR)
                        r = error_setf(reterr, -errno, "the stream broke: %m");
                if (r < 0)
                        return explain(l, r, reterr);
                done += k > 0 ? (size_t)k : 0;
                pace_took(&l->pace, k > 0 ? (size_t)k : 0);
        }
        return 0;
}

static int read_link(void *userdata, void *p, size_t n, Error *reterr) {
        ColdLink *l = userdata;

        for (size_t done = 0; done < n;) {
                ssize_t k = recv(l->fd, (uint8_t *)p + done, n - done, 0);
                int r = 0;

                if (k < 0 && errno == EAGAIN)
                        r = wait_for(l, POLLIN, reterr);
                else if (k < 0 && errno != EINTR)
                        r = error_setf(reterr, -errno, "the stream broke: %m");
                else if (k == 0)
                        r = error_setf(reterr, -ECONNRESET, "the stream ended");
                if (r < 0)
                        return explain(l, r, reterr);
                done += k > 0 ? (size_t)k : 0;
        }
        return 0;
}

int cold_link_open(ColdLink *l, Mover *m, Error *reterr) {
        const char *args[] = { "receive",   "--pod",    m->new_name,     "--cold",
                               "--session", m->session, mover_placed(m), NULL };
        int r;

        (void)cold_link_close(l);
        r = remote_start_stream(&m->remote, args, &l->run, &l->fd, reterr);
        if (r < 0)
                return r;
        l->mover = m;
        l->answered = l->refused = l->broken = false;
        /* From a full bucket: what is said first is little. */
        pace_set(&l->pace, m->cold->bandwidth, clock_us() - 1000000U);
        l->pipe = (ColdPipe){ read_link, write_link, l };
        return 0;
}

int cold_link_close(ColdLink *l) {
        l->fd = close_fd(l->fd);
        return remote_finish(&l->run, l->answered ? SETTLE_MS : WORDS_MS, NULL);
}

int cold_say(ColdLink *l, const char *what, json_object *more, Error *reterr) {
        _cleanup_json_ json_object *o = more ?: json_object_new_object();
        const char *text;

        if (l->fd < 0)
                return error_setf(reterr, -ENOTCONN, "%s: not connected", l->mover->remote.name);
        if (!o || json_add_string(o, "do", what) < 0 ||
            !(text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                               JSON_C_TO_STRING_NOSLASHESCAPE)))
                return error_oom(reterr);
        if (strlen(text) > COLD_JSON_MAX)
                return error_setf(reterr, -EFBIG, "the pod's definition is too large");
        return cold_put(&l->pipe, &(ColdFrame){ COLD_JSON, (uint32_t)strlen(text), 0 }, text,
                        reterr);
}

int cold_hear(ColdLink *l, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_buf_ Buf text = {};
        ColdFrame f;
        int r;

        r = cold_get(&l->pipe, &f, &text, reterr);
        if (r == 0 && f.type != COLD_JSON)
                r = error_setf(reterr, -EBADMSG, "a file instead of an answer");
        if (r == 0)
                r = json_read((const char *)text.data, text.len, &o, reterr);
        if (r < 0 && !l->broken) {
                l->broken = true;
                return error_setf(reterr, r, "%s: what it says is not podferry receive's",
                                  l->mover->remote.name);
        }
        if (r < 0)
                return r;
        l->answered = true;
        if (json_get(o, "error")) {
                char why[400];

                l->refused = true;
                (void)snprintf(why, sizeof(why), "%.399s", json_get_text(o, "error"));
                text_clean(why);
                return error_setf(reterr, -EREMOTEIO, "destination: %s", why);
        }
        if (ret)
                *ret = TAKE(o);
        return 0;
}

int cold_ask(ColdLink *l, const char *what, json_object *more, json_object **ret, Error *reterr) {
        int r = cold_say(l, what, more, reterr);

        return r < 0 ? r : cold_hear(l, ret, reterr);
}
