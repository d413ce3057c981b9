/* SPDX-License-Identifier: Apache-2.0 */
/* What moves with the pod: counts, flags, and the history of the logs. */
#include "shim/stdio/stdio-internal.h"

#include <string.h>

int stdio_each(const StdioHub *hub, StdioVisitor visit, void *userdata) {
        for (const Stdio *io = hub->first; io; io = io->next) {
                StdioState state = {
                        .guest_id = io->guest_id,
                        .exec_id = io->exec_id,
                        .log_start = output_log_start(io->log),
                        .log_end = output_log_end(io->log),
                        .stdin_taken = io->stdin_taken,
                        .stdin_closed = io->stdin_closed,
                        .out_ended = io->out_ended,
                        .err_ended = io->err_ended,
                        .has_exit = io->has_exit,
                        .exit = io->has_exit ? io->exit : (ProcessExit){},
                };
                int r;

                if (io->removed)
                        continue;
                r = visit(userdata, &state);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int find_or_add(StdioHub *hub, const ProcessKey *key, Stdio **ret, Error *reterr) {
        *ret = stdio_find(hub, key->guest_id, key->exec_id);
        return *ret ? 0 : stdio_add(hub, key, ret, reterr);
}

static void set_facts(Stdio *io, const StdioState *state) {
        io->stdin_taken = state->stdin_taken;
        io->stdin_closed = state->stdin_closed;
        io->out_ended = state->out_ended;
        io->err_ended = state->err_ended;
        io->has_exit = state->has_exit;
        io->exit = state->exit;
}

int stdio_put_state(StdioHub *hub, const ProcessKey *key, const StdioState *state, bool found,
                    Error *reterr) {
        Stdio *io;
        int r;

        r = find_or_add(hub, key, &io, reterr);
        if (r < 0)
                return r;
        if (io->opened)
                return error_setf(reterr, -EEXIST, "stdio of %s %s is in use", key->container_id,
                                  key->exec_id);
        r = stdio_open_log(io, found, state->log_start, reterr);
        if (r == 0 && found && output_log_end(io->log) > state->log_end)
                r = output_log_cut(io->log, state->log_end, reterr);
        if (r < 0)
                return r;
        if (output_log_end(io->log) == 0) /* nothing of it came, or nothing was kept */
                (void)output_log_append(io->log, state->log_start, "", 0, NULL);
        if (output_log_end(io->log) != state->log_end)
                return error_setf(reterr, -EINVAL,
                                  "the log of %s %s is %llu bytes long here and %llu at the source",
                                  key->container_id, key->exec_id,
                                  (unsigned long long)output_log_end(io->log),
                                  (unsigned long long)state->log_end);
        set_facts(io, state);
        return 0;
}

int stdio_restore(StdioHub *hub, const ProcessKey *key, const StdioState *state, Error *reterr) {
        Stdio *io;
        int r;

        r = find_or_add(hub, key, &io, reterr);
        if (r == 0)
                r = stdio_open_log(io, true, state->log_start, reterr);
        if (r == 0)
                r = output_log_cut(io->log, state->log_end, reterr);
        if (r == 0)
                set_facts(io, state);
        return r;
}

ssize_t stdio_read_log(StdioHub *hub, const char *guest_id, const char *exec_id, uint64_t *offset,
                       void *p, size_t n) {
        const Stdio *io = stdio_find(hub, guest_id, exec_id);

        return io && io->log ? output_log_read(io->log, offset, p, n, NULL) : -ENOENT;
}

int stdio_write_log(StdioHub *hub, const ProcessKey *key, uint64_t offset, const void *p, size_t n,
                    Error *reterr) {
        Stdio *io;
        int r;

        r = find_or_add(hub, key, &io, reterr);
        if (r < 0)
                return r;
        if (io->opened)
                return error_setf(reterr, -EEXIST, "stdio of %s %s is in use", key->container_id,
                                  key->exec_id);
        r = stdio_open_log(io, false, 0, reterr);
        return r < 0 ? r : output_log_append(io->log, offset, p, n, reterr);
}

void stdio_hub_discard(StdioHub *hub) {
        for (Stdio *io = hub->first, *next; io; io = next) {
                next = io->next;
                if (io->opened)
                        continue;
                if (io->log)
                        output_log_remove_files(io->log);
                stdio_free(io);
        }
}
