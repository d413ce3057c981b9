/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/process/process.h"
#include "shim/guest/link.h"
#include "shim/stdio/attach.h"
#include "shim/stdio/output-log.h"

/* The host's end of every process's stdin, stdout and stderr.
 *
 * Output goes from the session's data callback straight into the process's log file, so that what
 * is acknowledged to the guest is on disk; who is attached follows that file at his own pace.
 * Input goes from one attached client into the session, and the client is told how much was taken:
 * what is not taken stays his, also when the pod moves. Processes are known by (guest id of the
 * container, exec id), which never change. Loop thread only. */
typedef struct StdioHub StdioHub;
typedef struct Stdio Stdio;

typedef struct StdioConfig {
        const char *log_dir;    /* <log_dir>/<container>.log, <log_dir>/<container>/<exec>.log */
        uint64_t log_max_bytes; /* each */
        /* A client wants the terminal resized. */
        void (*resize)(void *userdata, const char *guest_id, const char *exec_id, uint32_t rows,
                       uint32_t columns);
        void *userdata;
} StdioConfig;

#define STDIO_CLIENTS_MAX 64U /* attached to one process */

int stdio_hub_new(sd_event *event, GuestLink *link, const StdioConfig *config, StdioHub **ret,
                  Error *reterr);
StdioHub *stdio_hub_free(StdioHub *hub);
DEFINE_CLEANUP(StdioHub *, stdio_hub_free);

/* ProcessOps.io_open and io_close. A process that was imported finds its counts again. */
int stdio_open(StdioHub *hub, const ProcessKey *key, const ProcessSpec *spec,
               ProcessChannels *channels, Error *reterr);
void stdio_close(StdioHub *hub, const ProcessKey *key);
/* The process (exec_id "": all of its container) was deleted: its log goes, and it itself when the
 * last client has read the rest. Ids of this host. */
void stdio_remove(StdioHub *hub, const char *container_id, const char *exec_id);
/* The pod has ended and is to start anew: the logs of its containers go on, execs are forgotten. */
void stdio_hub_again(StdioHub *hub);
/* Files with logs of containers were put into the log directory: they go on, too. */
void stdio_hub_keep_logs(StdioHub *hub);
Stdio *stdio_find(StdioHub *hub, const char *guest_id, const char *exec_id); /* NULL: none */

/* End of stdin after what was taken. Idempotent. */
int stdio_close_stdin(Stdio *io, Error *reterr);
/* All that the process wrote is in the log (both streams have ended). */
bool stdio_is_drained(const Stdio *io);
/* The exit as the guest told it: kept until all output is in, then drained() is called with it. It
 * travels in a checkpoint until then. when_drained: never calls from inside; NULL: nobody waits. */
typedef void (*StdioDrained)(void *userdata, const ProcessExit *exit);
void stdio_put_exit(Stdio *io, const ProcessExit *exit);
int stdio_when_drained(Stdio *io, StdioDrained drained, void *userdata, Error *reterr);
const ProcessExit *stdio_exit(const Stdio *io); /* kept; NULL: none is */
/* The exit was reported: clients get the rest of the output, then the code, then end of file. */
void stdio_exited(Stdio *io, uint32_t code);

/* A new client; *ret_fd is his end (SOCK_SEQPACKET). -EBUSY: stdin has a client already; -EINVAL:
 * the log does not reach to `offset`; -ENOSPC. UINT64_MAX as the offset: from now on. */
int stdio_attach(Stdio *io, const AttachWishes *wishes, int *ret_fd, Error *reterr);
/* Every client, also one that comes later, learns that the pod has moved, after the output that is
 * here; `way` is passed on to him. */
void stdio_hub_moved(StdioHub *hub, const char *way);
bool stdio_hub_has_clients(const StdioHub *hub);

/* The blackout: stdin is not taken from clients. Undone by thaw. */
void stdio_hub_freeze(StdioHub *hub);
void stdio_hub_thaw(StdioHub *hub);

/* What travels about one process, beside its channels. */
typedef struct StdioState {
        const char *guest_id, *exec_id; /* borrowed */
        uint64_t log_start, log_end, stdin_taken;
        bool stdin_closed, out_ended, err_ended;
        bool has_exit;
        ProcessExit exit; /* with has_exit: came, but was not reported */
} StdioState;
typedef int (*StdioVisitor)(void *userdata, const StdioState *state);
int stdio_each(const StdioHub *hub, StdioVisitor visit, void *userdata); /* by ids */
/* Destination: what stdio_open() of this process will find; key has the names on this host.
 * -EINVAL: the log here is not as long as the source's; -EEXIST: the process is open already. */
/* found: another shim of this host took the log, and may have taken more of it. */
int stdio_put_state(StdioHub *hub, const ProcessKey *key, const StdioState *state, bool found,
                    Error *reterr);
/* The same on the host where it was saved: the log is there, and what it has beyond log_end was not
 * acknowledged and comes again, so it is cut off. */
int stdio_restore(StdioHub *hub, const ProcessKey *key, const StdioState *state, Error *reterr);
/* Log history: reads at *offset (see output_log_read); writes what came from the source under the
 * name that the container has here. -ENOENT: no such process. */
ssize_t stdio_read_log(StdioHub *hub, const char *guest_id, const char *exec_id, uint64_t *offset,
                       void *p, size_t n);
int stdio_write_log(StdioHub *hub, const ProcessKey *key, uint64_t offset, const void *p, size_t n,
                    Error *reterr);
/* Every log that is open is history of a pod that does not come: forgets and removes them. */
void stdio_hub_discard(StdioHub *hub);
