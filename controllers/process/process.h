/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"
#include "controllers/events.h"

#define PROCESS_JSON_MAX    (1U << 20)
#define PROCESS_WAITERS_MAX 1024U

/* One process of a container: its init (exec id "") or an exec.
 *
 * A process is known to the guest by (guest id of the container, exec id). Its exit comes from one
 * wait call that is made when the guest knows the process and lives until the exit: the call's id
 * travels with the pod and the destination adopts it. The exit is reported exactly once to every
 * waiter, to the owner and to the event sink; an exit that arrives while the process is frozen is
 * kept, and is reported by whichever side resumes (process_pending_exit / process_put_exit carry it
 * across). Created, running and exited processes all migrate and come back to what they were.
 * Loop thread only. Picture: docs/states/process.md. */
typedef struct Process Process;

typedef enum ProcessState {
        PROCESS_NOT_CREATED, /* an init whose container is being created */
        PROCESS_CREATED,
        PROCESS_STARTING, /* start call in flight */
        PROCESS_RUNNING,
        PROCESS_TERMINATED, /* exited; the guest still knows it until delete */
        PROCESS_DELETING,   /* delete call in flight */
        PROCESS_DELETED,    /* final */
        PROCESS_SOURCE_MIGRATING,
        PROCESS_DESTINATION_MIGRATING,
        _PROCESS_STATE_MAX,
} ProcessState;

/* Names of a process on this host and in the guest. Borrowed for the call. */
typedef struct ProcessKey {
        const char *container_id; /* host-facing: logs, events */
        const char *guest_id;     /* of the container; guest calls */
        const char *exec_id;      /* "": init */
} ProcessKey;

typedef struct ProcessChannels {
        uint32_t in, out, err; /* session channels, 0: none */
} ProcessChannels;

typedef struct ProcessSpec {
        const char *exec_id;      /* "": init */
        const char *process_json; /* OCI process of an exec; NULL for an init */
        bool terminal;            /* then stderr has no channel */
        bool stdin_open;          /* stdin has a channel; else it is /dev/null */
        uint32_t rows, columns;   /* of the terminal at first, 0: not set */
} ProcessSpec;

/* What a process needs from the guest (shim/guest) and from stdio relaying (shim). Asynchronous
 * ones follow lib/task.h. */
typedef struct ProcessOps {
        /* Makes the host's end of stdio (log, attach) and opens the channels. All zero in
         * *channels: allocate (in only with stdin_open, err not with terminal) and store them. Not
         * all zero: open exactly these (the pod moved here, or the source goes on). Synchronous. */
        int (*io_open)(void *userdata, const ProcessKey *key, const ProcessSpec *spec,
                       ProcessChannels *channels, Error *reterr);
        /* The host's end goes; what arrived is on disk. Never fails. */
        void (*io_close)(void *userdata, const ProcessKey *key, const ProcessChannels *channels);

        /* init: starts the created container; exec: makes and starts it. Result: const uint32_t
         * *pid in the guest, through *ret_pid when done at once. */
        int (*start)(void *userdata, const ProcessKey *key, const ProcessSpec *spec,
                     const ProcessChannels *channels, uint32_t *ret_pid, OpDone done, void *job,
                     Error *reterr);
        /* -ENOENT: no such process any more. */
        int (*kill)(void *userdata, const ProcessKey *key, uint32_t signal, bool all, OpDone done,
                    void *job, Error *reterr);
        int (*resize)(void *userdata, const ProcessKey *key, uint32_t rows, uint32_t columns,
                      OpDone done, void *job, Error *reterr);
        /* End of input after what was written. Synchronous, idempotent. */
        int (*close_stdin)(void *userdata, const ProcessKey *key, const ProcessChannels *channels,
                           Error *reterr);
        /* The guest forgets an exited exec. -ENOENT counts as done. */
        int (*delete)(void *userdata, const ProcessKey *key, OpDone done, void *job, Error *reterr);

        /* Asks for the exit. Returns 1 with the call's id in *ret_call_id, or < 0; never 0. done
         * comes once, after the last byte of output was taken, with const ProcessExit *, or with
         * r < 0 when the guest is gone for good (not for a broken transport). */
        int (*wait)(void *userdata, const ProcessKey *key, uint64_t *ret_call_id, OpDone done,
                    void *job, Error *reterr);
        /* The same for a call that was made before (by the source). Returns 1 or < 0. NULL: nobody
         * knows whether that was answered already, so wait() asks again. */
        int (*adopt_wait)(void *userdata, const ProcessKey *key, uint64_t call_id, OpDone done,
                          void *job, Error *reterr);
        /* Forgets the call here: its done does not come after this. Never fails. */
        void (*drop_wait)(void *userdata, uint64_t call_id);
} ProcessOps;

/* How its container hears of an exit: once, before the event and the waiters. */
typedef void (*ProcessExited)(void *owner, Process *p, const ProcessExit *exit);

/* key's ids are borrowed and must outlive the process; the container calls process_rename when they
 * change. An init starts NotCreated, an exec Created. */
int process_new(Controller *parent, const ProcessKey *key, const ProcessSpec *spec, Process **ret,
                Error *reterr);
Process *process_free(Process *p); /* not while a call is in flight; drops the wait and stdio */
DEFINE_CLEANUP(Process *, process_free);
void process_bind(Process *p, const ProcessOps *ops, void *userdata, const PodEvents *events,
                  ProcessExited exited, void *owner);
void process_rename(Process *p, const char *container_id);
Controller *process_controller(Process *p);

/* Init only, for its container: stdio is opened before the guest creates the container, and the
 * process is Created after it. -EBADFD in any other state than NotCreated. */
int process_open_io(Process *p, Error *reterr);
int process_created(Process *p, uint32_t pid, Error *reterr); /* also makes the wait call */

/* Created only. Result: const uint32_t *pid, also through *ret_pid (may be NULL) when done at once.
 * A failed start terminates the process with code 1: as runtimes expect, delete it. */
int process_start(Process *p, uint32_t *ret_pid, OpDone done, void *job, Error *reterr);
/* Created: terminates it here (an exec) or passes it to the guest (an init). Running: to the guest,
 * -ENOENT if it has just gone. Terminated: done, nothing to do. Frozen: -EBADFD. */
int process_kill(Process *p, uint32_t signal, bool all, OpDone done, void *job, Error *reterr);
int process_resize(Process *p, uint32_t rows, uint32_t columns, OpDone done, void *job,
                   Error *reterr);                  /* Running with a terminal, else -EBADFD */
int process_close_stdin(Process *p, Error *reterr); /* no-op without stdin or after the exit */
/* Created (exit 0) or Terminated. Running, starting, frozen: -EBADFD. The guest is told about execs
 * that it knows; the container removes its init itself. May be called again after a failure. */
int process_delete(Process *p, OpDone done, void *job, Error *reterr);
/* Result: const ProcessExit *, also through *ret when it has exited (0). Legal in every state;
 * while frozen it waits for whichever comes. -ENOSPC: too many waiters. -ECANCELED comes when the
 * process object goes. */
int process_wait(Process *p, ProcessExit *ret, OpDone done, void *job, Error *reterr);
/* Forgets every waiter with this job; not from inside the completion of a wait. */
void process_unwait(Process *p, void *job);

ProcessState process_state(const Process *p);
ProcessState process_state_before(const Process *p); /* frozen: what it was, else the state */
const char *process_exec_id(const Process *p);
bool process_is_init(const Process *p);
uint32_t process_pid(const Process *p); /* 0 before the guest made it */
bool process_terminal(const Process *p);
void process_spec(const Process *p, ProcessSpec *ret); /* borrowed strings */
const ProcessChannels *process_channels(const Process *p);
uint64_t process_wait_call(const Process *p);       /* 0: none outstanding */
uint64_t process_saved_wait_call(const Process *p); /* as it came, or goes, with the pod */
const ProcessExit *process_exit(const Process *p);  /* NULL: none yet */
bool process_busy(const Process *p);                /* a call is in flight (the wait apart) */

/* Migration. */
int process_save(const Process *p, Buf *ret, Error *reterr); /* -EBADFD unless frozen (source) */
int process_import(Controller *parent, const char *container_id, const char *guest_id,
                   const void *b, size_t n, Process **ret, Error *reterr);
/* An exit that arrived since the freeze and was not reported: it belongs in the handoff. Copies it
 * and returns true; it stays here as well and is reported here if the source thaws. */
bool process_pending_exit(const Process *p, ProcessExit *ret);
/* Destination: the exit that came with the handoff; reported by resume. -EBADFD unless
 * DestinationMigrating of a process that runs; -EEXIST twice. */
int process_put_exit(Process *p, const ProcessExit *exit, Error *reterr);
/* Destination, first half of resume: opens stdio and adopts the wait. Changes no state and tells
 * nobody; may be repeated after a failure. */
int process_adopt(Process *p, Error *reterr);
/* Destination: adopts, and reports an exit that was put. Source: thaws, and reports an exit that
 * was kept. A no-op when not migrating. */
int process_resume(Process *p, Error *reterr);
/* Source, after the destination runs: ends the object with exit->moved; waiters and owner hear of
 * it, no guest call is made. */
void process_moved(Process *p);
/* The VM is gone for good: ends the object with PROCESS_EXIT_UNKNOWN whatever it was doing. */
void process_lost(Process *p);
/* DestinationMigrating: ends with PROCESS_EXIT_ABORTED; a no-op otherwise. */
int process_abort_migrated(Process *p, Error *reterr);

extern const FsmTable process_fsm;
extern const EnvelopeType process_envelope;
