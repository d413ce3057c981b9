/* SPDX-License-Identifier: Apache-2.0 */
/* The passes of a warm move over the disks of a pod that runs.
 *
 * QEMU has copied disks in the page cache (only shared ones, which are not copied, go around it:
 * hostdev/libvirt/domain-xml.c), so what is read here is what it has written. What is read while it
 * is written to may be torn; it is sent again, since the last pass reads all of it once more. */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "hostdev/image/disk.h"
#include "lib/clock.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/ctl/values.h"

#define PAUSE_MS 10000U /* at least, before another pass of a pod that is held */
#define CLOCK_MS 60000U /* between two looks at the time of day */

/* -- what is asked for -- */

bool warm_has_option(const Mover *m, const char *name) {
        return m->journey.itinerary == &itinerary_warm &&
               (strcmp(name, "cutover") == 0 || strcmp(name, "cutover_at") == 0);
}

static int take_options(const Mover *m, Warm *w, Error *reterr) {
        w->passes_max = m->passes > 0 ? (unsigned)m->passes : WARM_PASSES_DEFAULT;
        for (size_t i = 0; i < m->n_options; i++) {
                const char *name = m->options[i].name, *value = m->options[i].value;
                int r = 0;

                if (strcmp(name, "cutover_at") == 0)
                        r = value_number(value, 0, 1ULL << 40, &w->at, reterr);
                else if (strcmp(name, "cutover") == 0 && strcmp(value, "hold") == 0)
                        w->hold = true;
                else if (strcmp(name, "cutover") == 0 && strcmp(value, "auto") != 0)
                        r = error_setf(reterr, -EINVAL, "\"%.40s\": hold or auto", value);
                if (r < 0)
                        return error_prefix(reterr, r, "--cutover");
        }
        return 0;
}

int warm_look(Mover *m, Error *reterr) {
        int r = cold_look(m, reterr);
        Warm *w;

        if (r < 0)
                return r;
        w = calloc(1, sizeof(*w));
        if (!w)
                return error_oom(reterr);
        m->cold->warm = w;
        return take_options(m, w, reterr);
}

Warm *warm_free(Warm *w) {
        if (!w)
                return NULL;
        w->tables = warm_tables_free(w->tables);
        free(w);
        return NULL;
}

bool warm_has_begun(const Cold *c) {
        return c->warm && c->warm->tables;
}

/* -- when it goes over -- */

/* What is left for the last pass is about what is written during one like the present. */
bool warm_is_enough(const WarmFacts *f) {
        if (f->due)
                return true;
        if (f->held)
                return false;
        return f->sent <= WARM_LITTLE || f->passes >= f->passes_max ||
               (f->passes > 1 && f->sent > f->before / 4 * 3);
}

static bool is_due(const Warm *w) {
        return w->told || (w->at > 0 && (uint64_t)time(NULL) >= w->at);
}

/* Not longer than until the clock is to be looked at again: it may be set. */
static uint64_t ms_to_time(uint64_t at) {
        uint64_t now = (uint64_t)time(NULL);

        return at > now ? MIN_OF((at - now) * 1000, (uint64_t)CLOCK_MS) : 0;
}

/* The first pass goes on to its end, however soon it is to go over: while the pod stands it would
 * take as long. */
static int look(void *userdata, uint64_t n, Error *reterr) {
        Mover *m = userdata;
        Warm *w = m->cold->warm;
        int r;

        cold_on_moved(m, n);
        r = mover_interrupted(m, reterr);
        return r < 0 ? r : w->pass.moving && w->passes > 0 && is_due(w);
}

/* Until it is time for another pass, or to go over. */
static int wait_held(Mover *m, uint64_t ms, Error *reterr) {
        const Warm *w = m->cold->warm;
        const ColdLink *l = &m->cold->link;
        uint64_t end = clock_ms() + ms, now;
        struct pollfd fds[] = { { .fd = m->signal_fd, .events = POLLIN },
                                { .fd = l->fd, .events = POLLIN },
                                mover_wish_fd(m) };

        while (!is_due(w) && (now = clock_ms()) < end) {
                uint64_t left = end - now;
                int r = mover_interrupted(m, reterr);

                if (r < 0)
                        return r;
                if (m->end_ms > now)
                        left = MIN_OF(left, m->end_ms - now);
                if (w->at > 0)
                        left = MIN_OF(left, ms_to_time(w->at));
                if (poll(fds, ELEMENTSOF(fds), (int)left) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
                if (fds[1].revents) { /* it has no reason to say anything but its end */
                        r = cold_hear(&m->cold->link, NULL, reterr);
                        return r < 0 ? r
                                     : error_setf(reterr, -EBADMSG,
                                                  "%s: an answer that nobody asked for",
                                                  m->remote.name);
                }
        }
        return mover_interrupted(m, reterr);
}

/* -- a pass -- */

static int make_tables(Mover *m, Error *reterr) {
        const ColdPlan *p = &m->cold->plan;
        uint64_t bytes = 0;
        size_t n = 0;

        for (size_t i = 0; i < p->n_disks; i++) {
                const ColdDisk *d = &p->disks[i];
                DiskInfo info = {};
                int r = 0;

                if (!cold_is_copy(d))
                        continue;
                /* An image may become as large as what is in it. */
                if (strcmp(d->spec->disk.format, "raw") != 0)
                        r = disk_probe_header(d->spec->disk.host_path, &info, reterr);
                if (r < 0)
                        return r;
                bytes += MAX_OF(info.virtual_size, d->bytes);
                n++;
        }
        return warm_tables_new(warm_block_size(bytes), n, &m->cold->warm->tables, reterr);
}

/* What follows, also an error, is not where the stream stands. */
int warm_send_disk(Mover *m, const ColdDisk *d, uint64_t which, Error *reterr) {
        const ScsiDiskConfig *disk = &d->spec->disk;
        _cleanup_close_ int fd =
                open(disk->host_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        bool raw = strcmp(disk->format, "raw") == 0;
        Warm *w = m->cold->warm;
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                r = error_setf(reterr, -errno, "%s: %m", disk->host_path);
        else
                r = warm_send_file(&w->pass, fd, disk->host_path, (size_t)which,
                                   raw ? d->bytes : (uint64_t)st.st_size, reterr);
        if (r < 0)
                m->cold->link.broken = true;
        return r;
}

void warm_begin_pass(Mover *m, bool moving) {
        Warm *w = m->cold->warm;

        w->pass = (WarmPass){ .pipe = &m->cold->link.pipe,
                              .tables = w->tables,
                              .moving = moving,
                              .look = look,
                              .userdata = m };
}

static int send_pass(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *request = json_object_new_object();
        Cold *c = m->cold;
        uint64_t which = 0;
        int r;

        c->total = c->processed = 0;
        c->since_ms = clock_ms();
        for (size_t i = 0; i < c->plan.n_disks; i++)
                if (cold_is_copy(&c->plan.disks[i]))
                        c->total += c->plan.disks[i].data;
        warm_begin_pass(m, true);
        if (!request ||
            json_add(request, "block", json_object_new_uint64(c->warm->tables->block)) < 0)
                return error_oom(reterr);
        r = cold_say(&c->link, "ahead", TAKE(request), reterr);
        for (size_t i = 0; r == 0 && i < c->plan.n_disks; i++)
                if (cold_is_copy(&c->plan.disks[i]))
                        r = warm_send_disk(m, &c->plan.disks[i], which++, reterr);
        return r < 0 ? r : cold_hear(&c->link, NULL, reterr);
}

static void tell_pass(Mover *m, bool held) {
        const Warm *w = m->cold->warm;
        char text[200];

        (void)snprintf(text, sizeof(text), "pass %u: %.1f MB went over", w->passes,
                       (double)w->pass.sent / 1e6);
        show_note(&m->show, text);
        if (!held || w->passes > 1)
                return;
        (void)snprintf(text, sizeof(text),
                       "held: podferry migration cutover %s, here, lets it go over", m->pod);
        show_note(&m->show, text);
}

/* 1: enough. A pod that has ended meanwhile moves as it is. */
static int one_pass(Mover *m, uint64_t *before, Error *reterr) {
        Warm *w = m->cold->warm;
        uint64_t began = clock_ms();
        WarmFacts facts;
        int r;

        r = send_pass(m, reterr);
        if (r == 0)
                r = cold_look_at_shim(m, reterr);
        if (r == -ENOENT) {
                m->cold->gone = true;
                return error_setf(reterr, r,
                                  "the pod is not here any more: it was removed, or "
                                  "moved live, meanwhile");
        }
        if (r == 0)
                r = cold_check_unchanged(m, reterr);
        if (r < 0)
                return r;
        w->passes++;
        w->ahead += w->pass.sent;
        m->cold->record.start = m->cold->start;
        facts = (WarmFacts){ .passes = w->passes,
                             .passes_max = w->passes_max,
                             .sent = w->pass.sent,
                             .before = *before,
                             .due = is_due(w) || !m->cold->start,
                             .held = w->hold || w->at > 0 };
        *before = w->pass.sent;
        tell_pass(m, facts.held && !facts.due);
        if (warm_is_enough(&facts))
                return 1;
        if (!facts.held)
                return 0;
        r = wait_held(m, MAX_OF(clock_ms() - began, (uint64_t)PAUSE_MS), reterr);
        return r < 0 ? r : is_due(w);
}

int warm_ahead(Mover *m, Error *reterr) {
        uint64_t before = 0;
        int r;

        r = make_tables(m, reterr);
        while (r == 0)
                r = one_pass(m, &before, reterr);
        return MIN_OF(r, 0);
}
