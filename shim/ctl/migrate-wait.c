/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting while a migration is driven: for an answer, for a command on the other host, for news of
 * both shims. Ctrl-C and --timeout are heard in each of them, until it is rolled back or finished,
 * which has deadlines of its own. */
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "lib/clock.h"
#include "shim/ctl/migrate.h"

bool mover_take_signals(Mover *m) {
        struct signalfd_siginfo si;

        while (read(m->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
                m->cancelled = true;
        return m->cancelled;
}

int mover_interrupted(Mover *m, Error *reterr) {
        bool signal = mover_take_signals(m);

        if (m->ending)
                return 0;
        if (signal)
                return error_setf(reterr, -ECANCELED, "interrupted");
        if (m->end_ms > 0 && clock_ms() >= m->end_ms)
                return error_setf(reterr, -ETIMEDOUT, "not done in %.1f s (--timeout)",
                                  (double)m->time_limit_ms / 1000.0);
        return mover_heed_wishes(m, reterr);
}

struct pollfd mover_wish_fd(const Mover *m) {
        return (struct pollfd){ .fd = m->ending ? -EBADF : m->wishes.fd, .events = POLLIN };
}

/* Until a descriptor has something, or ms have gone by, or it is time to look at --timeout. */
static void wait_fds(Mover *m, struct pollfd *fds, nfds_t n, uint64_t ms) {
        uint64_t now = clock_ms();

        if (!m->ending && m->end_ms > 0)
                ms = MIN_OF(ms, m->end_ms > now ? m->end_ms - now : 0);
        (void)poll(fds, n, (int)MIN_OF(ms, (uint64_t)INT_MAX));
}

static short bus_events(sd_bus *bus) {
        int events = sd_bus_get_events(bus);

        return (short)(events < 0 ? POLLIN : events);
}

bool mover_wait_for_fd(Mover *m, int fd, uint64_t ms) {
        struct pollfd fds[] = { { .fd = -1 },
                                { .fd = -1 },
                                { .fd = m->signal_fd, .events = POLLIN },
                                { .fd = fd, .events = POLLIN },
                                mover_wish_fd(m) };
        Side *sides[] = { &m->source, &m->destination };
        bool news = false;

        for (size_t i = 0; i < ELEMENTSOF(sides); i++) {
                sd_bus *bus = sides[i]->bus;

                while (bus && sd_bus_process(bus, NULL) > 0)
                        news = true;
                if (bus && sd_bus_is_open(bus) > 0)
                        fds[i] = (struct pollfd){ .fd = sd_bus_get_fd(bus),
                                                  .events = bus_events(bus) };
        }
        wait_fds(m, fds, ELEMENTSOF(fds), news ? 0 : ms);
        return fds[3].revents != 0;
}

void mover_wait_for_news(Mover *m, unsigned ms) {
        (void)mover_wait_for_fd(m, -1, ms);
}

static int on_reply(sd_bus_message *message, void *userdata, sd_bus_error *reterr) {
        sd_bus_message **reply = userdata;

        *reply = sd_bus_message_ref(message);
        return 0;
}

static uint64_t ms_to_timeout(sd_bus *bus) {
        uint64_t at;

        if (sd_bus_get_timeout(bus, &at) <= 0)
                return INT_MAX;
        return at / 1000 > clock_ms() ? at / 1000 - clock_ms() + 1 : 0;
}

int mover_send(Mover *m, Side *side, sd_bus_message *message, uint64_t deadline,
               sd_bus_message **ret, Error *reterr) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call_async(side->bus, &slot, message, on_reply, &reply, deadline);
        if (r < 0)
                return pod_error(NULL, r, reterr);
        for (;;) {
                struct pollfd fds[] = { { .fd = sd_bus_get_fd(side->bus),
                                          .events = bus_events(side->bus) },
                                        { .fd = m->signal_fd, .events = POLLIN },
                                        mover_wish_fd(m) };

                r = sd_bus_process(side->bus, NULL);
                if (reply || r < 0)
                        break;
                if (r > 0)
                        continue;
                r = mover_interrupted(m, reterr);
                if (r < 0) {
                        side->abandoned = side == &m->destination;
                        return r;
                }
                wait_fds(m, fds, ELEMENTSOF(fds), ms_to_timeout(side->bus));
        }
        if (!reply ||
            (sd_bus_message_is_method_error(reply, NULL) > 0 && sd_bus_is_open(side->bus) <= 0))
                return pod_error(NULL, r < 0 ? r : -ECONNRESET, reterr);
        if (sd_bus_message_is_method_error(reply, NULL) > 0)
                return pod_error(sd_bus_message_get_error(reply), -EIO, reterr);
        if (ret)
                *ret = TAKE(reply);
        return 0;
}

int mover_wait_command(Mover *m, RemoteRun *run, Error *reterr) {
        _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
        struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
                                { .fd = m->signal_fd, .events = POLLIN },
                                mover_wish_fd(m) };
        int r;

        if (fd < 0)
                return error_setf(reterr, -errno, "pidfd_open: %m");
        while (!remote_has_ended(run)) {
                r = mover_interrupted(m, reterr);
                if (r < 0) {
                        (void)remote_finish(run, 0, NULL);
                        return r;
                }
                wait_fds(m, fds, ELEMENTSOF(fds), INT_MAX);
        }
        return remote_finish(run, 0, reterr);
}
