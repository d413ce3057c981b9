/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/volume-move.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "lib/clock.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/json.h"
#include "shim/ctl/migrate-show.h"

#define FACE BUS_INTERFACE ".Container"

typedef struct Drive {
        const VolumeMoveLine *line;
        sd_bus *bus;
        char *path; /* of the container */
        int signal_fd;
        unsigned signals;
        sd_bus_message *reply;
        uint64_t copied, at_ms; /* of the last signal */
        Show show;
} Drive;

static void drive_done(Drive *d) {
        sd_bus_message_unref(d->reply);
        sd_bus_flush_close_unref(d->bus);
        (void)close_fd(d->signal_fd);
        free(d->path);
}

static int watch_signals(Drive *d, Error *reterr) {
        static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t set;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                (void)sigaddset(&set, numbers[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return error_setf(reterr, -errno, "signals: %m");
        d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return d->signal_fd < 0 ? error_setf(reterr, -errno, "signals: %m") : 0;
}

static int on_reply(sd_bus_message *message, void *userdata, sd_bus_error *reterr) {
        Drive *d = userdata;

        d->reply = sd_bus_message_ref(message);
        return 0;
}

static json_object *progress_json(const Drive *d, uint64_t copied, uint64_t total, uint64_t rate) {
        json_object *o = json_object_new_object(), *disk = json_object_new_object();

        if (!o || !disk || json_add(disk, "processed", json_object_new_uint64(copied)) < 0 ||
            json_add(disk, "total", json_object_new_uint64(total)) < 0) {
                (void)json_object_put(disk);
                (void)json_object_put(o);
                return NULL;
        }
        if (json_add(o, "disk", disk) < 0 || json_add_string(o, "phase", "copying") < 0 ||
            json_add(o, "percent",
                     json_object_new_uint64(total > 0 ? MIN_OF(copied, total) * 100 / total : 0)) <
                    0 ||
            json_add(o, "throughput", json_object_new_uint64(rate)) < 0) {
                (void)json_object_put(o);
                return NULL;
        }
        return o;
}

static int on_progress(sd_bus_message *message, void *userdata, sd_bus_error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        uint64_t copied, total, now = clock_ms(), rate = 0;
        const char *destination;
        Drive *d = userdata;

        if (sd_bus_message_read(message, "stt", &destination, &copied, &total) < 0 ||
            strcmp(destination, d->line->destination) != 0)
                return 0;
        if (d->at_ms > 0 && now > d->at_ms && copied > d->copied)
                rate = (copied - d->copied) * 1000 / (now - d->at_ms);
        d->copied = copied;
        d->at_ms = now;
        o = progress_json(d, copied, total, rate);
        if (o)
                show_progress(&d->show, o);
        return 0;
}

static int call(Drive *d, const char *to, Error *reterr) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_match_signal(d->bus, NULL, NULL, d->path, FACE, "VolumeMoving", on_progress, d);
        if (r >= 0)
                r = sd_bus_message_new_method_call(d->bus, &m, NULL, d->path, FACE, "MoveVolume");
        if (r >= 0)
                r = sd_bus_message_append(m, "sstb", d->line->destination, to,
                                          d->line->bandwidth_mib, (int)d->line->remove_source);
        if (r >= 0)
                r = sd_bus_call_async(d->bus, NULL, m, on_reply, d, UINT64_MAX);
        return r < 0 ? pod_error(NULL, r, reterr) : 0;
}

/* False: it is to be left alone. */
static bool heed_signals(Drive *d) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct signalfd_siginfo si;
        unsigned before = d->signals;

        while (read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
                d->signals++;
        if (d->signals == 0 || d->signals == before)
                return true;
        if (before > 0)
                return false;
        show_step(&d->show, "cancelled", "the volume stays where it is");
        return sd_bus_message_new_method_call(d->bus, &m, NULL, d->path, FACE,
                                              "CancelVolumeMove") >= 0 &&
               sd_bus_send(d->bus, m, NULL) >= 0;
}

static int wait_reply(Drive *d, Error *reterr) {
        while (!d->reply) {
                struct pollfd fds[] = { { .fd = sd_bus_get_fd(d->bus) },
                                        { .fd = d->signal_fd, .events = POLLIN } };
                int r = sd_bus_process(d->bus, NULL), events;

                if (r < 0)
                        return pod_error(NULL, r, reterr);
                if (r > 0)
                        continue;
                if (!heed_signals(d))
                        return error_setf(reterr, -ECANCELED, "interrupted");
                events = sd_bus_get_events(d->bus);
                fds[0].events = (short)(events < 0 ? POLLIN : events);
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return error_setf(reterr, -errno, "poll: %m");
        }
        if (sd_bus_message_is_method_error(d->reply, NULL) <= 0)
                return 0;
        return pod_error(sd_bus_is_open(d->bus) > 0 ? sd_bus_message_get_error(d->reply) : NULL,
                         -ECONNRESET, reterr);
}

/* As the shim takes it: it has another working directory. */
static int make_absolute(const char *file, char **ret, Error *reterr) {
        _cleanup_free_ char *here = file[0] == '/' ? NULL : get_current_dir_name();

        if (file[0] != '/' && !here)
                return error_setf(reterr, -errno, "the working directory: %m");
        if (asprintf(ret, "%s%s%s", here ?: "", here ? "/" : "", file) < 0) {
                *ret = NULL;
                return error_oom(reterr);
        }
        return 0;
}

int volume_move_drive(const Ctl *ctl, const VolumeMoveLine *line, bool *ret_interrupted,
                      Error *reterr) {
        _cleanup_(drive_done) Drive d = { .line = line, .signal_fd = -EBADF };
        _cleanup_free_ char *to = NULL;
        int r;

        show_init(&d.show, line->json);
        r = make_absolute(line->to, &to, reterr);
        if (r == 0)
                r = pod_connect(ctl->config.run_dir, line->pod, &d.bus, reterr);
        if (r == 0)
                r = pod_find_container(d.bus, line->pod, line->container, &d.path, NULL, reterr);
        if (r == 0)
                r = watch_signals(&d, reterr);
        if (r < 0)
                return r;
        show_step(&d.show, "copying", to);
        r = call(&d, to, reterr);
        if (r == 0)
                r = wait_reply(&d, reterr);
        *ret_interrupted = d.signals > 0;
        if (r == 0)
                show_step(&d.show, "moved", to);
        else
                show_step(&d.show, "failed",
                          r == -ECONNRESET ? "podferry adopt settles where the volume is"
                                           : "the volume stays where it was");
        return r;
}
