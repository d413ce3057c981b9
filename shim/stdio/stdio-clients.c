/* SPDX-License-Identifier: Apache-2.0 */
/* Who is attached to a process. */
#include "shim/stdio/stdio-internal.h"

#include <string.h>

#include "lib/log.h"

static size_t on_take(void *userdata, const void *p, size_t n) {
        return stdio_take(userdata, p, n);
}

static uint64_t on_taken(void *userdata) {
        const Stdio *io = userdata;

        return io->stdin_taken;
}

static void on_close_stdin(void *userdata) {
        Error err = ERROR_INIT;
        int r;

        r = stdio_close_stdin(userdata, &err);
        if (r < 0)
                log_warning("stdin could not be closed: %s", error_text(&err, r));
}

static void on_resize(void *userdata, uint32_t rows, uint32_t columns) {
        const Stdio *io = userdata;
        const StdioConfig *config = &io->hub->config;

        if (config->resize)
                config->resize(config->userdata, io->guest_id, io->exec_id, rows, columns);
}

static void on_gone(void *userdata, AttachClient *c) {
        Stdio *io = userdata;

        for (size_t i = 0; i < io->n_clients; i++)
                if (io->clients[i] == c) {
                        io->clients[i] = io->clients[--io->n_clients];
                        break;
                }
        (void)attach_client_free(c);
        if (io->removed && io->n_clients == 0)
                stdio_free(io);
}

static const char *on_way(void *userdata) {
        const Stdio *io = userdata;

        return io->hub->way ? io->hub->way : "";
}

static const AttachOps attach_ops = {
        .way = on_way,
        .take = on_take,
        .taken = on_taken,
        .close_stdin = on_close_stdin,
        .resize = on_resize,
        .gone = on_gone,
};

static int check_attach(const Stdio *io, const AttachWishes *w, Error *reterr) {
        if (io->n_clients >= STDIO_CLIENTS_MAX)
                return error_setf(reterr, -ENOSPC, "%zu clients are attached already",
                                  io->n_clients);
        if (w->offset > output_log_end(io->log))
                return error_setf(reterr, -EINVAL, "offset %llu: the log ends at %llu",
                                  (unsigned long long)w->offset,
                                  (unsigned long long)output_log_end(io->log));
        for (size_t i = 0; w->with_stdin && i < io->n_clients; i++)
                if (attach_client_has_stdin(io->clients[i]))
                        return error_setf(reterr, -EBUSY, "another client has stdin");
        if (w->with_stdin && io->stdin_closed)
                return error_setf(reterr, -EBADFD, "stdin is closed");
        return 0;
}

int stdio_attach(Stdio *io, const AttachWishes *wishes, int *ret_fd, Error *reterr) {
        AttachWishes w = *wishes;
        AttachClient *c;
        int r;

        if (w.offset == UINT64_MAX)
                w.offset = output_log_end(io->log);
        r = check_attach(io, &w, reterr);
        if (r < 0)
                return r;
        r = attach_client_new(io->hub->event, io->log, &w, &attach_ops, io, &c, ret_fd, reterr);
        if (r < 0)
                return r;
        io->clients[io->n_clients++] = c;
        if (!io->opened) /* it has come from another host, and is about to run here */
                attach_client_hold_input(c, true);
        if (io->hub->frozen)
                attach_client_hold_stdin(c, true);
        if (io->exit_told)
                attach_client_exit(c, io->exit.code);
        else if (io->hub->way)
                attach_client_moved(c);
        return 0;
}

void stdio_hub_moved(StdioHub *hub, const char *way) {
        free(hub->way);
        hub->way = strdup(way);
        for (Stdio *io = hub->first; io; io = io->next)
                for (size_t i = 0; i < io->n_clients; i++)
                        attach_client_moved(io->clients[i]);
}

bool stdio_hub_has_clients(const StdioHub *hub) {
        for (const Stdio *io = hub->first; io; io = io->next)
                if (io->n_clients > 0)
                        return true;
        return false;
}

static void hold_all(StdioHub *hub, bool hold) {
        hub->frozen = hold;
        for (Stdio *io = hub->first; io; io = io->next)
                for (size_t i = 0; i < io->n_clients; i++)
                        attach_client_hold_stdin(io->clients[i], hold);
}

void stdio_hub_freeze(StdioHub *hub) {
        hold_all(hub, true);
}

void stdio_hub_thaw(StdioHub *hub) {
        hold_all(hub, false);
}
