/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>

#include "controllers/migration/decide.h"
#include "controllers/migration/options.h"
#include "controllers/migration/progress.h"
#include "lib/buf.h"
#include "lib/envelope.h"
#include "lib/fsm.h"
#include "lib/journal.h"
#include "lib/task.h"

/* The migration session of one pod on one side: at most one at a time.
 *
 * It does no I/O: everything it does to the world goes through MigrationOps, and everything that
 * happens comes in by the migration_on_...() functions. The calls of docs/migration.md are legal or
 * not by one table (migration_table()); each is idempotent for the same session id and arguments.
 * The hand-over inside follows docs/model/handover.pml. Loop thread only.
 *
 * Wiring, in short: the shim makes one Migration per pod when it starts, with the pod's journal; if
 * the journal's last record is of an unfinished session it calls migration_adopt(). */
typedef struct Migration Migration;

typedef enum MigrationState {
        MIGRATION_IDLE,
        MIGRATION_SOURCE_PREPARED, /* frozen, not yet saved */
        MIGRATION_SOURCE_EXPORTED,
        MIGRATION_DESTINATION_IMPORTED,
        MIGRATION_DESTINATION_PREPARED,
        MIGRATION_TRANSPORT_WAITING, /* Transfer was called; no transport yet */
        MIGRATION_TRANSPORT_READY,   /* a transport, no Transfer yet */
        MIGRATION_TRANSFERRING,
        MIGRATION_POSTCOPY_BROKEN, /* source: the link of a post-copy is lost for good */
        MIGRATION_SWITCHOVER,      /* blackout: the hand-over is under way */
        MIGRATION_TRANSFERRED, /* decided: the destination has it (runtime: both wait for Finalize)
                                */
        MIGRATION_CANCELLING,
        MIGRATION_CANCELLED,
        MIGRATION_FAILED,
        MIGRATION_FINALIZED,
        _MIGRATION_STATE_MAX,
        _MIGRATION_STATE_INVALID = -EINVAL,
} MigrationState;

typedef enum MigrationCall {
        MIGRATION_CALL_CHECK,
        MIGRATION_CALL_EXPORT,
        MIGRATION_CALL_IMPORT,
        MIGRATION_CALL_PATCH,
        MIGRATION_CALL_PREPARE,
        MIGRATION_CALL_REGISTER_SOCKET,
        MIGRATION_CALL_TRANSFER,
        MIGRATION_CALL_FINALIZE_STOP,
        MIGRATION_CALL_FINALIZE_RESUME,
        MIGRATION_CALL_CLEANUP,
        MIGRATION_CALL_CANCEL,
        MIGRATION_CALL_FORCE_COMPLETE,
        MIGRATION_CALL_PAUSE,
        MIGRATION_CALL_SET_BANDWIDTH,
        MIGRATION_CALL_SET_MAX_DOWNTIME,
        MIGRATION_CALL_SWITCH_TO_POSTCOPY,
        MIGRATION_CALL_SET_TIMEOUT,
        MIGRATION_CALL_CUTOVER,
        _MIGRATION_CALL_MAX,
} MigrationCall;

const char *migration_call_name(MigrationCall c); /* as on D-Bus: "PrepareAndExport" */
extern const FsmTable migration_fsm;
extern const EnvelopeType migration_envelope;

/* What Save collects, and Import gets. */
#define MIGRATION_PODS_MAX 16U
typedef struct MigrationTree {
        Buf vm;
        Buf pods[MIGRATION_PODS_MAX];
        uint32_t n_pods;
} MigrationTree;
void migration_tree_done(MigrationTree *t);

/* A host, for the compatibility check before anything is touched; "" = not known. */
typedef struct MigrationFacts {
        char host_uuid[40], hostname[72];
        char version[32];    /* of podferry */
        char hypervisor[64]; /* "QEMU 7.2.17, libvirt 9.0.0" */
        char arch[32], machine[64], domain_type[16];
        char cpu_xml[16384]; /* <cpu> of the host; of use with kvm */
        uint64_t memory_mib; /* source: of the guest; destination: free on the host */
} MigrationFacts;

typedef enum MigrationTimer {
        MIGRATION_TIMER_LIMIT,     /* time limit of the transfer; of the pause, once forced */
        MIGRATION_TIMER_TRANSPORT, /* there is none */
        MIGRATION_TIMER_PROGRESS,  /* no byte moves */
        MIGRATION_TIMER_REPEAT,    /* say it again */
        MIGRATION_TIMER_HANDOVER,  /* READY or Finalize does not come */
        MIGRATION_TIMER_CUTOVER,   /* the time until which the pod is held */
        MIGRATION_TIMER_ABORT,     /* an abort has no effect */
        _MIGRATION_TIMER_MAX,
} MigrationTimer;

typedef enum MigrationOutcome {
        MIGRATION_OUTCOME_NONE,  /* not decided */
        MIGRATION_OUTCOME_MOVED, /* the destination has the pod */
        MIGRATION_OUTCOME_KEPT,  /* the source has it */
        MIGRATION_OUTCOME_LOST,  /* nobody has */
        _MIGRATION_OUTCOME_MAX,
} MigrationOutcome;
const char *migration_outcome_name(MigrationOutcome o);

/* The world, given by the owner; userdata is the first argument of each. Where an OpDone is taken,
 * lib/task.h holds; the others answer at once. All must be there, unless marked. */
typedef struct MigrationOps {
        /* -- the tree of controllers -- */
        int (*freeze)(void *u, Error *reterr); /* whole tree, all or nothing */
        void (*thaw)(void *u);                 /* before the transfer began */
        int (*save)(void *u, MigrationTree *ret, Error *reterr);
        int (*import)(void *u, const char *pod, const MigrationTree *t,
                      Error *reterr); /* or nothing
                                        is there */
        /* `patch` is what migration_patch() was given. -ENOENT: no such container. */
        int (*patch)(void *u, const char *container, const void *patch, OpDone done, void *job,
                     Error *reterr);
        int (*unpatched)(void *u, Buf *ret); /* how many; their source ids, "a, b", go to *ret */
        /* Source: the guest stays, thaw everything. Destination: the guest runs here, bind and
         * adopt everything. May be repeated. */
        int (*resume_tree)(void *u, MigrationRole role, OpDone done, void *job, Error *reterr);
        int (*moved)(void *u, Error *reterr); /* source, after RELEASED: vm_moved() */
        int (*abort_tree)(void *u, const char *reason,
                          Error *reterr); /* destination: AbortMigrated,
                                             and the tree is gone */
        /* The tree follows: vm_migration_started(), vm_migration_completed(). */
        int (*transfer_begins)(void *u, MigrationRole role, Error *reterr);
        int (*transfer_ends)(void *u, MigrationRole role, Error *reterr);

        /* -- the host -- */
        int (*facts)(void *u, MigrationFacts *ret, Error *reterr);
        int (*prepare)(void *u, OpDone done, void *job,
                       Error *reterr); /* destination: disks, XML */
        /* Removes what the session made or left on this host: a destination that does not have the
         * pod its disks, a source that has not its own (unless keep_source_disks). */
        int (*cleanup)(void *u, MigrationRole role, MigrationOutcome outcome,
                       const MigrationOptions *o, OpDone done, void *job, Error *reterr);
        /* Source: libvirt's migration; completes when its call returned, whatever it says. */
        int (*migrate)(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr);
        /* Asks; the outcome is migrate's. A guest that is held goes on. */
        int (*migrate_abort)(void *u, OpDone done, void *job, Error *reterr);
        /* Destination: ready to take connections of the transfer. */
        int (*receive)(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr);
        /* Result: const MigrationDomain *. -ENOENT is not a failure here: state NONE. A failure
         * means UNKNOWN: nothing is decided on it. */
        int (*domain)(void *u, OpDone done, void *job, Error *reterr);
        /* Source, the point of no return, in ONE act: see that the guest has not run since the
         * blackout, then kill it so that no thread of it runs again. 0/done(0): so it is (also when
         * it is gone already). -EALREADY: it runs (again), and was not touched. Else: not certain;
         * is called again. */
        int (*fence)(void *u, OpDone done, void *job, Error *reterr);
        int (*suspend_domain)(void *u, OpDone done, void *job, Error *reterr); /* source */
        int (*resume_domain)(void *u, OpDone done, void *job, Error *reterr);
        int (*destroy_domain)(void *u, OpDone done, void *job, Error *reterr); /* fine if none */
        /* While transferring: SET_BANDWIDTH (MiB a second, 0: no limit), SET_MAX_DOWNTIME (ms) or
         * SWITCH_TO_POSTCOPY; what else there is to call is made of these. -EOPNOTSUPP where it is
         * not supported. NULL: so. */
        int (*tune)(void *u, MigrationCall what, uint64_t value, OpDone done, void *job,
                    Error *reterr);

        /* Source: a pod that was held (migration_is_held) when migrate began need not wait any
         * more: its memory may go. NULL: nothing of it waited. */
        void (*let_go)(void *u);

        /* -- the guest link and the peer -- */
        /* Source, blackout: the link neither consumes nor writes from now on; its checkpoint and
         * what happened since the export go to *ret (the "handoff" envelope). May be repeated.
         * -EAGAIN: what has to go before it is on its way yet; migration_look_again() when not. */
        int (*checkpoint)(void *u, Buf *ret, Error *reterr);
        /* Rollback: the link goes on from its own state, whatever became of checkpoint. */
        void (*uncheckpoint)(void *u);
        /* Destination: checks the handoff and keeps it; the link speaks only from resume_tree().
         * May be repeated with the same bytes. */
        int (*adopt)(void *u, const void *handoff, size_t n, Error *reterr);
        /* One packed podferry.peer.v1.Peer, framed by the owner. < 0: not sent (it is repeated
         * anyway). */
        int (*send)(void *u, const void *peer, size_t n);
        /* Destination: what belongs to the pod, and not to its memory, is on disk here, so that a
         * shim that comes after this one has it. While it is not, this host does not say that it is
         * ready; migration_look_again() when it is, or could not be. NULL: always. */
        bool (*kept)(void *u);
        int (*journal)(void *u, const JournalRecord *r,
                       Error *reterr); /* on disk when it returns */

        /* -- the rest -- */
        void (*timer)(void *u, MigrationTimer t, uint64_t ms); /* one shot; 0 cancels */
        uint64_t (*now_ns)(void *u);                           /* CLOCK_MONOTONIC */
        uint64_t (*clock_ns)(void *u);                         /* CLOCK_REALTIME */
        void (*notify)(void *u, const MigrationNotification *n);
        void (*changed)(void *u); /* state, outcome, error or progress changed (properties) */
} MigrationOps;

/* `ops` is borrowed and must outlive it. pod: id on this host, copied. last: of the pod's journal
 * here; NULL or kind NONE for a fresh pod (epoch 1) and for a shim that will receive one. */
int migration_new(const char *pod, const JournalRecord *last, const MigrationOps *ops,
                  void *userdata, Migration **ret, Error *reterr);
Migration *migration_free(Migration *m); /* not while an operation is in flight */
DEFINE_CLEANUP(Migration *, migration_free);

MigrationState migration_state(const Migration *m);
const Fsm *migration_get_fsm(const Migration *m);
MigrationRole migration_role(const Migration *m);  /* of the session; SOURCE when idle */
const char *migration_session(const Migration *m); /* "" when idle */
bool migration_in_postcopy(const Migration *m);    /* the source's memory is fetched from here */
/* Either side of a post-copy: memory of the pod is on its way in connections that this process
 * carries. A new transport resumes them (migration_register_socket()), Reconnect would drop them.
 */
bool migration_carries_postcopy(const Migration *m);
uint64_t migration_epoch(const Migration *m); /* that this host owns or is to own */
MigrationOutcome migration_outcome(const Migration *m);
const Error *migration_error(const Migration *m); /* why it failed: step, reason, what was rolled
                                                     back; code 0 if it did not */
/* Source, nobody has it: its guest had ended by itself, and was not lost on the way. */
bool migration_guest_ended(const Migration *m);
bool migration_is_active(const Migration *m); /* tree frozen or inert: task calls are refused */
bool migration_in_flight(const Migration *m); /* an operation is: do not free */
void migration_progress(const Migration *m, MigrationProgress *ret);
const MigrationHistory *migration_history(const Migration *m);
int migration_dump(const Migration *m, json_object **ret, Error *reterr);

/* Calls. Each but Check needs the id of the session under way: another is -EINVAL (-EBUSY for
 * Export and Import, which would begin one). Not legal now: -EBADFD, names the state it is in and
 * those it needs; nothing changed. Another call in flight: -EBUSY. Those without `done` answer at
 * once. */
/* 0: a check may say that a session could begin here. What else it depends on: check.h. */
int migration_check(const Migration *m, MigrationRole role, const MigrationOptions *o,
                    Error *reterr);
int migration_export(Migration *m, const char *session, Buf *ret, Error *reterr);
/* *p is what migration_export() gave. pod: the id here ("" keeps the source's). */
int migration_import(Migration *m, const char *session, const char *pod, const void *p, size_t n,
                     Error *reterr);
int migration_patch(Migration *m, const char *session, const char *container, const void *patch,
                    OpDone done, void *job, Error *reterr);
int migration_prepare(Migration *m, const char *session, OpDone done, void *job, Error *reterr);
/* 0: the owner now hands the socket to the transport and says migration_on_transport(). A second
 * one is legal while the first is not in use any more, and replaces it. */
int migration_register_socket(Migration *m, const char *session, Error *reterr);
/* For what is left to say once the transfer is over: this host or the other one has a shim that was
 * started anew, so what the old transport carried is lost on one side. 0: the owner drops it and
 * hands a new one over, as above. Also after the session, if it was the last one here: what was
 * decided is answered from the journal. -EBADFD: the transfer is still at work, or it is post-copy:
 * what is on its way may not be dropped, and migration_register_socket() resumes it. */
int migration_reconnect(Migration *m, const char *session, Error *reterr);
/* Session, source's pod, peer and this side's epoch of the session under way, as its records have
 * them; kind NONE. */
void migration_identity(const Migration *m, JournalRecord *ret);
/* The side that the session of the journal's last record was on; SOURCE if there is none. */
MigrationRole migration_last_role(const Migration *m);
/* Returns at once; the outcome is the state. */
int migration_transfer(Migration *m, const char *session, const MigrationOptions *o, Error *reterr);
/* resume = false: stop. Contradicts what was decided: -EBADFD. Not decided yet: -EBUSY. */
int migration_finalize(Migration *m, const char *session, bool resume, OpDone done, void *job,
                       Error *reterr);
int migration_cleanup(Migration *m, const char *session, OpDone done, void *job, Error *reterr);
/* Returns at once; ends in Cancelled, or in Transferred when it came too late. */
int migration_cancel(Migration *m, const char *session, Error *reterr);
/* What can be said while it is under way, at the source. ForceComplete: post-copy where that is
 * allowed, else as Pause. Pause: the guest stands from the next moment on and what is left goes
 * over, within pause_timeout; both count once. SetTimeout: milliseconds from the beginning, 0: no
 * limit. Cutover: a pod that is held need not wait any more. */
int migration_tune(Migration *m, const char *session, MigrationCall what, uint64_t value,
                   OpDone done, void *job, Error *reterr);

/* What happens. */
typedef enum MigrationDomainEvent {
        MIGRATION_DOMAIN_INCOMING, /* destination: its QEMU is there, empty */
        MIGRATION_DOMAIN_POSTCOPY, /* source: stopped for good, the destination fetches its memory;
                                      destination: it runs, and memory of it is at the source */
        MIGRATION_DOMAIN_BLACKOUT, /* source: stopped for the switchover */
        MIGRATION_DOMAIN_HELD,     /* source, handover=fast: see MigrationDomain.held */
        MIGRATION_DOMAIN_COMPLETE, /* destination: complete and paused */
        MIGRATION_DOMAIN_RUNNING,  /* it runs (again) */
        MIGRATION_DOMAIN_GONE,     /* no domain any more */
        MIGRATION_DOMAIN_DIED,     /* source: the guest shut down or crashed by itself */
} MigrationDomainEvent;
void migration_on_domain(Migration *m, MigrationDomainEvent e, const char *reason);
void migration_on_peer(Migration *m, const void *peer, size_t n); /* one message; never trusted */
void migration_on_transport(Migration *m, bool up, const Error *why);
/* Is anything carried whose loss would break a post-copy? At the source the stream of QEMU's
 * memory; at the destination also what libvirt there has to answer. Not before both ends of it have
 * closed it is over. */
void migration_on_streams(Migration *m, bool open);
void migration_on_timer(Migration *m, MigrationTimer t);
void migration_on_statistics(Migration *m, const MigrationStatistics *s, const MigrationDisk *disks,
                             uint32_t n_disks);
/* Source: memory is gone over for the n-th time. The statistics that follow are of its beginning.
 */
void migration_on_iteration(Migration *m, uint32_t n);
/* The options in effect: as called, and as changed since. */
const MigrationOptions *migration_live_options(const Migration *m);
uint64_t migration_downtime_allowed(const Migration *m); /* ms; 0: the hypervisor's own */
bool migration_is_held(const Migration *m);              /* until the cutover */
/* Something that the guest needs on this host could not be had: gets out, as a cancel does. */
void migration_on_host_failed(Migration *m, const char *step, int r, const Error *err);
/* libvirt can be asked again after it was away: looks where the domain is. */
void migration_on_host_back(Migration *m);
void migration_look_again(Migration *m); /* what ops.kept or ops.checkpoint waited for has come */

/* A shim that starts again, right after migration_new(), when the journal's last record is of a
 * session that leaves something to do here: PREPARED, FENCING, RELEASED, DONE, READY, REFUSED or
 * OWNED; handoff: journal_handoff(). (A destination that was receiving and had not said READY: kind
 * NONE with session, pod and epoch e+1 filled in.) The tree has been rebuilt by the owner. Goes on,
 * or rolls back, as soon as a transport and the domain's state allow. -EINVAL: the session is over;
 * what the peer asks about it is answered from the journal anyway. */
int migration_adopt(Migration *m, const JournalRecord *last, bool postcopy, const void *handoff,
                    size_t n, Error *reterr);
