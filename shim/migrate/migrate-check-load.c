/* SPDX-License-Identifier: Apache-2.0 */
/* What a forecast goes by: how much of its memory the pod uses, and how much it writes within a
 * tenth of a second and within a second.
 *
 *      look          pages of QEMU's memory, the first time        (thread for files)
 *      start         libvirt's measurement of a second begins      (lane of queries)
 *      0.1 s later   the pages again: the short look               (thread for files)
 *      1.06 s later  the pages again, and libvirt's result: the long look
 *      3 s later     the pages again, if the link does not carry twice as much: what matters then
 * is whether it writes to ever more of them
 *
 * libvirt's least time is a second, and a pass over memory is shorter as a rule. Of the long look
 * the one with more samples counts: libvirt's are 512 pages of each GiB, ours 4096 in all. libvirt
 * does not say when it is through, so it is asked when it must be; QEMU may need a little longer,
 * and then it is asked again. */
#include "lib/clock.h"
#include "shim/file-job.h"
#include "shim/migrate/migrate-check.h"
#include "shim/wiring/ops.h"

#define SHORT_MS         100U
#define LONG_MS          1000U
#define FAR_MS           3000U
#define REST_MS          60U /* for QEMU to compare its samples */
#define AGAIN_MS         100U
#define LOOKS_MAX        30U
#define BYTES(mib)       ((uint64_t)(mib) << 20)
#define LIBVIRT_MORE_MIB 8192U /* of memory, from which libvirt's samples are more */

static void failed(CheckRun *c, int r, const Error *err) {
        check_put_error(c->load, "error", r, err);
        c->load = NULL;
        check_go_on(c);
}

static uint64_t ms_since(const CheckMemory *m) {
        return (m->now_us - m->begin_us) / 1000U;
}

static void put_look(CheckRun *c, const char *ms, const char *bytes) {
        check_put_number(c->load, ms, ms_since(&c->memory));
        check_put_number(c->load, bytes, c->memory.written);
}

static int arm(CheckRun *c, uint64_t at_us, sd_event_time_handler_t handler) {
        return sd_event_add_time(c->migrate->shim->event, &c->timer, CLOCK_MONOTONIC, at_us, 0,
                                 handler, c) < 0
                       ? -ENOMEM
                       : 0;
}

static int look_again(void *argument, Error *reterr) {
        CheckMemory *m = argument;

        m->now_us = clock_us();
        m->written = qemu_memory_written(m->sample);
        return 0;
}

/* A timer has come: looks again, and then goes on with done(). */
static int look_on_time(CheckRun *c, OpDone done) {
        Error e = ERROR_INIT;
        int r;

        c->timer = sd_event_source_disable_unref(c->timer);
        r = file_job(c->migrate->shim, look_again, &c->memory, done, c, &e);
        if (r < 0)
                failed(c, r, &e);
        return 0;
}

/* -- the far look -- */

static void on_far(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        put_look(c, "far_ms", "far_bytes");
        check_go_on(c);
}

static int on_far_time(sd_event_source *source, uint64_t usec, void *userdata) {
        return look_on_time(userdata, on_far);
}

/* `written` is of a second. */
static bool is_close(const CheckRun *c) {
        uint64_t carries = c->link.bps, most = c->ask.options.bandwidth;

        if (most > 0)
                carries = MIN_OF(carries, most);
        return c->memory.written > carries / 2;
}

static void look_far(CheckRun *c) {
        if (!is_close(c) || arm(c, c->memory.begin_us + FAR_MS * 1000U, on_far_time) < 0)
                check_go_on(c);
}

/* -- the result of libvirt's -- */

static int on_time_again(sd_event_source *source, uint64_t usec, void *userdata);

static void on_result(void *userdata, int r, const void *result, const Error *err) {
        const VirtDirty *d = result;
        CheckRun *c = userdata;

        if (r == 0 && d->measuring && ++c->looked < LOOKS_MAX &&
            arm(c, clock_us() + AGAIN_MS * 1000U, on_time_again) == 0)
                return;
        if (r == 0 && d->measured) {
                uint64_t bytes = d->mib_per_s < UINT32_MAX ? BYTES(d->mib_per_s) * d->seconds : 0;

                check_put_number(c->load, "libvirt_bytes", bytes);
                if (c->memory.size >= BYTES(LIBVIRT_MORE_MIB)) {
                        check_put_number(c->load, "long_ms", d->seconds * LONG_MS);
                        check_put_number(c->load, "long_bytes", bytes);
                }
        }
        look_far(c); /* what it does not say, our own look did */
}

static void ask_libvirt(CheckRun *c) {
        Virt *virt;

        if (!c->measures || shim_virt(c->migrate->shim, &virt, NULL) < 0 ||
            virt_dirty_look(virt, on_result, c, NULL) < 0)
                look_far(c);
}

static int on_time_again(sd_event_source *source, uint64_t usec, void *userdata) {
        CheckRun *c = userdata;

        c->timer = sd_event_source_disable_unref(c->timer);
        ask_libvirt(c);
        return 0;
}

/* -- the looks before -- */

static void on_long(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        put_look(c, "long_ms", "long_bytes");
        ask_libvirt(c);
}

static int on_long_time(sd_event_source *source, uint64_t usec, void *userdata) {
        return look_on_time(userdata, on_long);
}

static void on_short(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;
        Error e = ERROR_INIT;

        put_look(c, "short_ms", "short_bytes");
        if (arm(c, c->memory.begin_us + (LONG_MS + REST_MS) * 1000U, on_long_time) < 0)
                failed(c, error_oom(&e), &e);
}

static int on_short_time(sd_event_source *source, uint64_t usec, void *userdata) {
        return look_on_time(userdata, on_short);
}

/* -- the beginning -- */

static void await_short(CheckRun *c) {
        Error e = ERROR_INIT;

        if (arm(c, c->memory.begin_us + SHORT_MS * 1000U, on_short_time) < 0)
                failed(c, error_oom(&e), &e);
}

/* libvirt may have no answer: QEMU looks at no memory below 128 MiB, and another job may be in the
 * way, which other rules tell. */
static void on_started(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;

        c->measures = r == 0;
        await_short(c);
}

static int look_first(void *argument, Error *reterr) {
        CheckMemory *m = argument;

        m->begin_us = clock_us();
        return qemu_memory_new(m->pid, m->size, &m->sample, reterr);
}

static void on_first(void *userdata, int r, const void *result, const Error *err) {
        CheckRun *c = userdata;
        Virt *virt;

        if (r < 0) {
                failed(c, r, err);
                return;
        }
        check_put_number(c->load, "used", qemu_memory_used(c->memory.sample));
        check_put_number(c->load, "grain", qemu_memory_grain(c->memory.sample));
        if (c->memory.size < BYTES(VIRT_DIRTY_LEAST_MIB) ||
            shim_virt(c->migrate->shim, &virt, NULL) < 0 ||
            virt_dirty_start(virt, LONG_MS / 1000U, on_started, c, NULL) < 0)
                await_short(c);
}

int check_step_load(CheckRun *c) {
        Shim *s = c->migrate->shim;
        Error e = ERROR_INIT;
        int r;

        if (!c->ask.forecast || !c->facts)
                return 0;
        c->load = json_object_new_object();
        if (!c->load || json_object_object_add(c->facts, "load", c->load) < 0) {
                (void)json_object_put(c->load);
                c->load = NULL;
                return 0;
        }
        if (c->memory.pid <= 0 || !s->vm)
                r = error_setf(&e, -EBADFD, "the pod's domain does not run");
        else {
                c->memory.size = BYTES(vm_spec(s->vm)->memory_mib);
                r = file_job(s, look_first, &c->memory, on_first, c, &e);
        }
        if (r < 0)
                check_put_error(c->load, "error", r, &e);
        return r > 0;
}
