/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "guest/agent.h"
#include "guest/files.h"
#include "guest/handlers.h"

/* Requests about the guest as a whole. */

static uint64_t meminfo(const char *text, const char *key) {
        const char *at = strstr(text, key);

        return at ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

int handle_info(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        InfoReply body = PODFERRY__GUEST__V1__INFO_REPLY__INIT;
        FromGuest reply = FROM_GUEST_INIT;
        _cleanup_buf_ Buf memory = {};
        char version[] = PODFERRY_VERSION, boot_id[64];
        struct timespec up;
        struct utsname u;
        int r;

        if (uname(&u) < 0 || clock_gettime(CLOCK_BOOTTIME, &up) < 0)
                return error_setf(reterr, -errno, "the kernel does not say what it is: %m");
        if ((r = file_read_line("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id),
                                reterr)) < 0 ||
            (r = file_read("/proc/meminfo", 8192, &memory, reterr)) < 0)
                return r;
        if (buf_append(&memory, "", 1) < 0)
                return error_oom(reterr);
        body.version = version;
        body.kernel = u.release;
        body.boot_id = boot_id;
        body.memory_bytes = meminfo((const char *)memory.data, "MemTotal:");
        body.memory_free_bytes = meminfo((const char *)memory.data, "MemAvailable:");
        body.uptime_ns = (uint64_t)up.tv_sec * 1000000000U + (uint64_t)up.tv_nsec;
        body.containers = a->containers.n;
        reply.body_case = FROM_GUEST(INFO);
        reply.info = &body;
        call_finish(call, 0, NULL, &reply);
        return 1;
}

int handle_clock(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        struct timespec t = { .tv_sec = (time_t)(m->clock->realtime_ns / 1000000000U),
                              .tv_nsec = (long)(m->clock->realtime_ns % 1000000000U) };

        if (m->clock->realtime_ns > INT64_MAX)
                return error_setf(reterr, -EINVAL, "that is no time of this age");
        if (clock_settime(CLOCK_REALTIME, &t) < 0)
                return error_setf(reterr, -errno, "cannot set the clock: %m");
        return 0;
}
