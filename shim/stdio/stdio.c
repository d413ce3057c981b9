/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/stdio/stdio.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shim/stdio/stdio-internal.h"

#define EXIT_GRACE_USEC 250000U

/* The list */

int stdio_compare(const Stdio *io, const char *guest_id, const char *exec_id) {
        return strcmp(io->guest_id, guest_id) ?: strcmp(io->exec_id, exec_id);
}

Stdio *stdio_find(StdioHub *hub, const char *guest_id, const char *exec_id) {
        for (Stdio *io = hub->first; io; io = io->next)
                if (!io->removed && stdio_compare(io, guest_id, exec_id) == 0)
                        return io;
        return NULL;
}

void stdio_free(Stdio *io) {
        for (Stdio **at = &io->hub->first; *at; at = &(*at)->next)
                if (*at == io) {
                        *at = io->next;
                        break;
                }
        while (io->n_clients > 0)
                (void)attach_client_free(io->clients[--io->n_clients]);
        (void)output_log_free(io->log);
        sd_event_source_disable_unref(io->drained_later);
        sd_event_source_disable_unref(io->grace);
        free(io->container_id);
        free(io->guest_id);
        free(io->exec_id);
        free(io);
}

int stdio_add(StdioHub *hub, const ProcessKey *key, Stdio **ret, Error *reterr) {
        Stdio **at = &hub->first;
        Stdio *io = calloc(1, sizeof(*io));

        if (!io)
                return error_oom(reterr);
        io->hub = hub;
        io->container_id = strdup(key->container_id);
        io->guest_id = strdup(key->guest_id);
        io->exec_id = strdup(key->exec_id);
        if (!io->container_id || !io->guest_id || !io->exec_id) {
                stdio_free(io);
                return error_oom(reterr);
        }
        while (*at && stdio_compare(*at, key->guest_id, key->exec_id) < 0)
                at = &(*at)->next;
        io->next = *at;
        *at = io;
        *ret = io;
        return 0;
}

void stdio_wake_clients(Stdio *io) {
        for (size_t i = 0; i < io->n_clients; i++)
                attach_client_wake(io->clients[i]);
}

static void forget_channels(Stdio *io) {
        Session *s = guest_link_session(io->hub->link);
        uint32_t ids[] = { io->channels.in, io->channels.out, io->channels.err };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                if (ids[i] == 0)
                        continue;
                guest_link_forget(io->hub->link, ids[i]);
                if (s && session_is_open(s, ids[i]))
                        session_drop(s, ids[i]);
        }
        io->channels = (ProcessChannels){};
}

/* What the link calls */

static size_t on_data(void *userdata, uint32_t channel, const void *p, size_t n) {
        Stdio *io = userdata;
        size_t taken;

        if (channel == io->channels.in)
                return n; /* the guest has nothing to say there */
        taken = output_log_write(io->log,
                                 channel == io->channels.err ? OUTPUT_STDERR : OUTPUT_STDOUT, p, n);
        if (taken > 0)
                stdio_wake_clients(io);
        return taken;
}

static void pass_exit_on(Stdio *io) {
        StdioDrained drained = io->drained;

        if (!drained || !io->has_exit)
                return;
        io->grace = sd_event_source_disable_unref(io->grace);
        io->drained = NULL;
        io->has_exit = false;
        drained(io->drained_userdata, &io->exit);
}

static int on_grace_over(sd_event_source *source, uint64_t usec, void *userdata) {
        pass_exit_on(userdata);
        return 0;
}

/* The agent tells an exit after the host has all output, unless something the process left behind
 * keeps its stdout open: then the end never comes, and what was written before is in the session
 * and overtakes nothing but the exit. So that is waited for, but not for ever. */
static void check_drained(Stdio *io) {
        if (!io->drained || !io->has_exit)
                return;
        if (stdio_is_drained(io) ||
            (!io->grace && sd_event_add_time_relative(io->hub->event, &io->grace, CLOCK_MONOTONIC,
                                                      EXIT_GRACE_USEC, 0, on_grace_over, io) < 0))
                pass_exit_on(io);
}

static void on_eof(void *userdata, uint32_t channel) {
        Stdio *io = userdata;

        if (channel == io->channels.out)
                io->out_ended = true;
        if (channel == io->channels.err)
                io->err_ended = true;
        check_drained(io);
}

static void on_writable(void *userdata, uint32_t channel) {
        stdio_wake_clients(userdata);
}

static const GuestLinkConsumer consumer = {
        .data = on_data,
        .eof = on_eof,
        .writable = on_writable,
};

/* Opening */

static int log_path(const Stdio *io, char **ret, Error *reterr) {
        const char *dir = io->hub->log_dir;
        int n;

        if (io->exec_id[0])
                n = asprintf(ret, "%s/%s/%s.log", dir, io->container_id, io->exec_id);
        else
                n = asprintf(ret, "%s/%s.log", dir, io->container_id);
        if (n < 0)
                *ret = NULL;
        return n < 0 ? error_oom(reterr) : 0;
}

int stdio_open_log(Stdio *io, bool reopen, uint64_t start, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        uint64_t max = io->hub->config.log_max_bytes;
        int r;

        if (io->log)
                return 0;
        r = log_path(io, &path, reterr);
        if (r < 0)
                return r;
        if (reopen)
                return output_log_reopen(path, max, start, &io->log, reterr);
        return output_log_new(path, max, &io->log, reterr);
}

/* Opens the channel here, and ends our direction of an output channel: nothing is sent there. */
static int open_channel(Stdio *io, uint32_t *channel, bool imported, bool output, bool *ended,
                        Error *reterr) {
        Session *s = guest_link_session(io->hub->link);
        int r;

        if (!s)
                return error_setf(reterr, -EBADFD, "there is no guest link");
        if (!imported) {
                *channel = guest_link_next_channel(io->hub->link);
                r = session_open(s, *channel, reterr);
                if (r < 0)
                        return r;
        }
        if (!session_is_open(s, *channel)) { /* it had ended before the pod moved */
                *ended = true;
                return 0;
        }
        r = guest_link_consume(io->hub->link, *channel, &consumer, io, reterr);
        if (r < 0)
                return r;
        return output ? session_shutdown(s, *channel, reterr) : 0;
}

static int open_channels(Stdio *io, const ProcessSpec *spec, ProcessChannels *channels,
                         Error *reterr) {
        bool imported = channels->in || channels->out || channels->err;
        int r = 0;

        io->channels = *channels;
        if (imported ? channels->in != 0 : spec->stdin_open)
                r = open_channel(io, &io->channels.in, imported, false, &io->stdin_closed, reterr);
        else
                io->stdin_closed = true;
        if (r == 0 && (imported ? channels->out != 0 : true))
                r = open_channel(io, &io->channels.out, imported, true, &io->out_ended, reterr);
        if (r == 0 && (imported ? channels->err != 0 : !spec->terminal))
                r = open_channel(io, &io->channels.err, imported, true, &io->err_ended, reterr);
        if (r == 0)
                *channels = io->channels;
        return r;
}

static void remove_one(Stdio *io) {
        forget_channels(io);
        if (io->log)
                output_log_remove_files(io->log);
        io->removed = true;
        io->drained = NULL;
        if (!io->exit_told)
                stdio_exited(io, PROCESS_EXIT_UNKNOWN);
        if (io->n_clients == 0)
                stdio_free(io);
}

int stdio_open(StdioHub *hub, const ProcessKey *key, const ProcessSpec *spec,
               ProcessChannels *channels, Error *reterr) {
        Stdio *io = stdio_find(hub, key->guest_id, key->exec_id);
        bool imported = channels->in || channels->out || channels->err;
        int r;

        if (io && io->opened && imported) /* the source goes on: it never was closed */
                return 0;
        if (io && io->opened)
                return error_setf(reterr, -EEXIST, "stdio of %s %s is open", key->container_id,
                                  key->exec_id);
        if (io && !imported && !io->again) { /* of one that could not be created */
                remove_one(io);
                io = NULL;
        }
        if (!io) {
                r = stdio_add(hub, key, &io, reterr);
                if (r < 0)
                        return r;
        }
        io->opened = true;
        io->again = false;
        r = stdio_open_log(io, hub->kept && !io->exec_id[0], 0, reterr);
        if (r == 0)
                r = open_channels(io, spec, channels, reterr);
        if (r < 0) {
                if (!imported && io->log)
                        output_log_remove_files(io->log);
                forget_channels(io);
                stdio_free(io);
                return r;
        }
        for (size_t i = 0; i < io->n_clients; i++)
                attach_client_hold_input(io->clients[i], false);
        return 0;
}

void stdio_close(StdioHub *hub, const ProcessKey *key) {
        Stdio *io = stdio_find(hub, key->guest_id, key->exec_id);

        if (!io)
                return;
        forget_channels(io);
        io->opened = false;
        io->stdin_closed = true;
        io->drained = NULL;
}

void stdio_remove(StdioHub *hub, const char *container_id, const char *exec_id) {
        for (Stdio *io = hub->first, *next; io; io = next) {
                next = io->next;
                if (!io->removed && strcmp(io->container_id, container_id) == 0 &&
                    (!exec_id[0] || strcmp(io->exec_id, exec_id) == 0))
                        remove_one(io);
        }
}

void stdio_hub_keep_logs(StdioHub *hub) {
        hub->kept = true;
}

void stdio_hub_again(StdioHub *hub) {
        for (Stdio *io = hub->first, *next; io; io = next) {
                next = io->next;
                if (io->removed)
                        continue;
                if (io->exec_id[0]) {
                        remove_one(io);
                        continue;
                }
                forget_channels(io);
                io->opened = io->stdin_closed = io->out_ended = io->err_ended = false;
                io->has_exit = io->exit_told = false;
                io->stdin_taken = 0;
                io->again = true;
        }
}

/* Stdin and exit */

int stdio_close_stdin(Stdio *io, Error *reterr) {
        Session *s = guest_link_session(io->hub->link);

        if (io->stdin_closed || io->channels.in == 0)
                return 0;
        io->stdin_closed = true;
        if (!s || !session_is_open(s, io->channels.in))
                return 0;
        return session_shutdown(s, io->channels.in, reterr);
}

bool stdio_is_drained(const Stdio *io) {
        return (io->out_ended || !io->channels.out) && (io->err_ended || !io->channels.err);
}

static int on_drained_later(sd_event_source *source, void *userdata) {
        Stdio *io = userdata;

        io->drained_later = sd_event_source_disable_unref(io->drained_later);
        check_drained(io);
        return 0;
}

void stdio_put_exit(Stdio *io, const ProcessExit *exit) {
        io->has_exit = true;
        io->exit = *exit;
        check_drained(io);
}

const ProcessExit *stdio_exit(const Stdio *io) {
        return io->has_exit ? &io->exit : NULL;
}

int stdio_when_drained(Stdio *io, StdioDrained drained, void *userdata, Error *reterr) {
        int r;

        io->drained_later = sd_event_source_disable_unref(io->drained_later);
        io->grace = sd_event_source_disable_unref(io->grace);
        if (drained && io->has_exit) {
                r = sd_event_add_defer(io->hub->event, &io->drained_later, on_drained_later, io);
                if (r < 0)
                        return error_setf(reterr, r, "event for an exit");
        }
        io->drained = drained;
        io->drained_userdata = userdata;
        return 0;
}

void stdio_exited(Stdio *io, uint32_t code) {
        io->exit_told = true;
        io->exit.code = code;
        for (size_t i = 0; i < io->n_clients; i++)
                attach_client_exit(io->clients[i], code);
}

size_t stdio_take(Stdio *io, const void *p, size_t n) {
        Session *s = guest_link_session(io->hub->link);
        ssize_t taken;

        if (!io->opened || io->stdin_closed || io->hub->frozen || !s)
                return 0;
        taken = session_write(s, io->channels.in, p, n);
        if (taken <= 0)
                return 0;
        io->stdin_taken += (uint64_t)taken;
        return (size_t)taken;
}

/* The hub */

int stdio_hub_new(sd_event *event, GuestLink *link, const StdioConfig *config, StdioHub **ret,
                  Error *reterr) {
        StdioHub *hub = calloc(1, sizeof(*hub));

        if (!hub)
                return error_oom(reterr);
        *hub = (StdioHub){ .event = event, .link = link, .config = *config };
        hub->log_dir = strdup(config->log_dir);
        if (!hub->log_dir) {
                free(hub);
                return error_oom(reterr);
        }
        *ret = hub;
        return 0;
}

StdioHub *stdio_hub_free(StdioHub *hub) {
        if (!hub)
                return NULL;
        while (hub->first) {
                forget_channels(hub->first);
                stdio_free(hub->first);
        }
        free(hub->log_dir);
        free(hub->way);
        free(hub);
        return NULL;
}
