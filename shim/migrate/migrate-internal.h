/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>

#include <peer.pb-c.h>

#include "hostdev/fence.h"
#include "lib/message.h"
#include "shim/definition.h"
#include "shim/ferry/ferry.h"
#include "shim/migrate/migrate.h"

/* The log of one process on its way to the destination. */
typedef struct LogCursor {
        char *guest_id, *exec_id;
        uint64_t offset;
} LogCursor;

typedef struct Storage Storage;

/* migrate-network.c */
typedef struct MigrateNetwork {
        char *path; /* destination: as Patch says; NULL: it does not */
        NetworkMode mode;
        bool again;    /* by a shim that was started anew: what runs is not cut off */
        bool joining;  /* taps and namespace, under way */
        bool opening;  /* the gates, under way */
        bool open;     /* all of them are */
        bool complete; /* the guest is, which is told after that */
        bool runs;     /* the guest does, and libvirt did not ask */
        bool shut;     /* rebind: the gates open when the guest has its new addresses */
} MigrateNetwork;

/* migrate-pace.c: source, its disks are copied through the ferry. */
typedef struct MigratePace {
        bool disks;   /* so it is, and libvirt has no limit for them */
        uint64_t mib; /* a second; 0: no limit */
        bool waits;   /* memory, until libvirt has its limit */
        bool told;    /* libvirt */
        bool lifted;  /* the pod stands */
} MigratePace;

struct Migrate {
        Shim *shim;
        Migration *migration;
        Journal *journal; /* NULL until the first record */
        MigrationOptions options;
        uint64_t silent_bytes, silent_since_ms; /* destination of a post-copy: is_silent() */
        MigrationFacts facts;                   /* of this host, once learnt */
        bool facts_known;
        bool has_kvm;                           /* with it */
        gid_t qemu_gid;                         /* with it */
        uint64_t qemu_version, libvirt_version; /* with it */
        struct CheckFiles *tokens;              /* migrate-check.c: those that are written */
        sd_bus *tokens_bus;                     /* and for whom */
        struct CheckFiles *at_files;            /* the thread for files is at them */
        MigrateFace face;

        sd_event_source *timers[_MIGRATION_TIMER_MAX];
        sd_event_source *statistics; /* while memory moves, at the source */
        bool statistics_in_flight;
        unsigned tunes; /* calls to libvirt that are under way */

        /* migrate-driver.c */
        sd_bus *driver; /* source: whom the session is bound to, or NULL */
        sd_event_source *driver_pipe, *driver_step;
        bool driver_bound, driver_gone, driver_cancelled;

        /* migrate-peer.c */
        Ferry *ferry;
        sd_event_source *ferry_events, *ferry_messages;
        MessageReader reader;
        Buf out; /* framed messages that the ferry has not taken */
        size_t out_at;

        MigrateNetwork network;
        uint64_t complete_ms; /* destination: the copy was complete */
        sd_event_source *quiet_timer;

        MigratePace pace;

        /* migrate-logs.c */
        LogCursor *logs;
        size_t n_logs, logs_at;

        /* migrate-definition.c */
        Definition definition; /* destination: as it comes */
        size_t definition_bytes;
        bool staged;             /* all of it came, and has gone to the thread for files */
        unsigned staging;        /* how often it is there, and not on disk yet */
        bool reading_definition; /* source */

        /* migrate-storage.c */
        Storage *storage;
        char *offer;              /* destination: what the source said of the disks */
        bool aborted;             /* source: while the disks were verified */
        atomic_bool storage_stop; /* the thread for files is to read disks no further */

        /* migrate-hosts.c */
        char *dir;      /* sockets of this transfer */
        char *ticket;   /* destination: made by prepare */
        char *dest_xml; /* source: from the ticket */
        uint64_t memory_bytes, disk_bytes;
        Fence *fence;              /* source: of its QEMU, from the start of the transfer */
        struct Relay *fence_waits; /* source: it is to be fenced, once QEMU has no question left */
        struct Relay *abort;       /* source: libvirt is to abort, once QEMU's part is over */
        sd_event_source *abort_timer;
        struct Relay *last_words; /* source: the session's cleanup waits until they are heard */
        sd_event_source *last_words_timer;
        bool holding; /* source: libvirt does not hear the peer's libvirt */
        /* source, handover=fast (migrate-fast.c): its libvirt's last call waits; QEMU is being
         * stopped; it stands, and the call has gone */
        bool gate_waits, stopping, held;

        /* migrate-handoff.c */
        bool checkpointed;
        bool checkpoint_waits; /* until the logs are on their way */
        Buf handoff;           /* destination: what was adopted */
        bool resumed;          /* destination: the tree is bound */
        char *ended; /* destination: the guest has, which the tree hears once it is; why */

        /* migrate-kept.c: what a shim that starts again needs of the session */
        char *kept;           /* NULL: there is nothing to keep */
        Buf imported[2];      /* destination: VM and pod, as they came */
        json_object *patches; /* and what was patched in them */
        pid_t qemu_pid;       /* source: which would be fenced */

        /* migrate-own.c */
        bool adopted;           /* the session was begun by a shim that was killed */
        JournalKind adopted_at; /* and had come so far */
        Buf own_handoff;        /* what that one kept last */

        json_object *way; /* source, migrate-way.c: NULL: not told */
};

/* An operation whose result has to be made into another one's. */
typedef struct Relay {
        Migrate *migrate;
        MigrationDomain domain; /* migrate_op_domain() */
        OpDone done;
        void *job;
} Relay;
Relay *relay_new(Migrate *m, OpDone done, void *job);
void relay_done(Relay *r, int code, const void *result, const Error *err); /* frees it */

extern const MigrationOps migrate_ops;

/* migrate-tree.c */
int migrate_op_freeze(void *u, Error *reterr);
void migrate_op_thaw(void *u);
int migrate_op_save(void *u, MigrationTree *ret, Error *reterr);
int migrate_op_import(void *u, const char *pod, const MigrationTree *t, Error *reterr);
int migrate_import_tree(Shim *s, const Buf *vm, const Buf *pod, Error *reterr);
int migrate_op_patch(void *u, const char *container, const void *patch, OpDone done, void *job,
                     Error *reterr);
int migrate_op_unpatched(void *u, Buf *ret);
int migrate_op_resume_tree(void *u, MigrationRole role, OpDone done, void *job, Error *reterr);
int migrate_op_moved(void *u, Error *reterr);
int migrate_op_abort_tree(void *u, const char *reason, Error *reterr);
int migrate_op_transfer_begins(void *u, MigrationRole role, Error *reterr);
int migrate_op_transfer_ends(void *u, MigrationRole role, Error *reterr);

/* migrate-timers.c */
void migrate_op_timer(void *u, MigrationTimer t, uint64_t ms);

/* migrate-kept.c: the session, as far as the journal does not have it. */
int migrate_note_patch(Migrate *m, const ContainerPatch *patch, Error *reterr);
int migrate_replay_patches(Migrate *m, Error *reterr);
/* From now on (and again when more is known) it is kept. */
int migrate_keep_session(Migrate *m, Error *reterr);

/* migrate-own.c: a shim that was started again. */
int migrate_own_resume_source(Migrate *m, Error *reterr);
/* The pod is reported ended: no host has it. It may be started again here. */
void migrate_own_report_lost(Migrate *m);
/* The fence of a QEMU that another shim had begun to fence; 0 also if it is gone. */
int migrate_own_fence(Migrate *m, Error *reterr);
int migrate_patch_vm(Migrate *m, Error *reterr);

/* migrate-handoff.c */
int migrate_op_checkpoint(void *u, Buf *ret, Error *reterr);
void migrate_op_uncheckpoint(void *u);
int migrate_op_adopt(void *u, const void *handoff, size_t n, Error *reterr);

/* migrate-pace.c */
uint64_t migrate_mib_of(uint64_t bytes); /* rounded up */
/* Before libvirt begins, with so many disks to copy over our transport: m->pace. */
int migrate_pace_begin(Migrate *m, size_t n_copies, Error *reterr);
void migrate_pace_memory(Migrate *m); /* its connection is made */
int migrate_flow_memory(Migrate *m, Error *reterr);
/* Another limit, 0: none. As virt_set_bandwidth(). */
int migrate_pace_set(Migrate *m, uint64_t mib, OpDone done, void *userdata, Error *reterr);
void migrate_pace_lift(Migrate *m);

/* migrate-source.c, migrate-destination.c */
int migrate_op_migrate(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr);
int migrate_op_migrate_abort(void *u, OpDone done, void *job, Error *reterr);
int migrate_op_fence(void *u, OpDone done, void *job, Error *reterr);
/* The blackout: libvirt here is to learn nothing from the other one until it is decided who has the
 * guest. */
void migrate_mark_fence(Migrate *m);
void migrate_hold_libvirt(Migrate *m);
void migrate_let_libvirt_go(Migrate *m);
void migrate_op_let_go(void *u);
int migrate_op_tune(void *u, MigrationCall what, uint64_t value, OpDone done, void *job,
                    Error *reterr);
int migrate_op_prepare(void *u, OpDone done, void *job, Error *reterr);
int migrate_op_cleanup(void *u, MigrationRole role, MigrationOutcome outcome,
                       const MigrationOptions *o, OpDone done, void *job, Error *reterr);
void migrate_discard_disks(Migrate *m);              /* those that the transfer was to fill */
int migrate_commit_disks(Migrate *m, Error *reterr); /* they are complete; may be repeated */
int migrate_take_connections(Migrate *m, Error *reterr);
int migrate_op_receive(void *u, const MigrationOptions *o, OpDone done, void *job, Error *reterr);
int migrate_op_resume_domain(void *u, OpDone done, void *job, Error *reterr);
int migrate_op_destroy_domain(void *u, OpDone done, void *job, Error *reterr);
void migrate_on_incoming(Migrate *m, const char *reason); /* libvirt begins to receive */
int migrate_op_domain(void *u, OpDone done, void *job, Error *reterr);
int migrate_op_facts(void *u, MigrationFacts *ret, Error *reterr);
/* Makes m->dir, where the sockets of the session go. */
int migrate_make_dir(Migrate *m, Error *reterr);
void migrate_said_all(Migrate *m);      /* the last words are heard, or will not be */
void migrate_abort_libvirt(Migrate *m); /* if that is still due */
int migrate_read_ticket(Migrate *m, const char *ticket, const MigrationOptions *options,
                        Error *reterr);

/* migrate-fast.c */
void migrate_on_gate(Migrate *m, const Error *err);
void migrate_stop_source(Migrate *m); /* if the gate waits for it, and it can be */

/* migrate-storage.c */
/* Is the disk one whose bytes travel? */
bool migrate_copies(const Migrate *m, const ScsiDiskConfig *disk);
int migrate_storage_prepare(Migrate *m, const char *offer, OpDone done, void *job, Error *reterr);
json_object *migrate_storage_answer(const Migrate *m); /* the caller owns it */
int migrate_storage_read_answer(Migrate *m, json_object *list, Error *reterr);
int migrate_storage_verify(Migrate *m, OpDone done, void *job, Error *reterr);
void migrate_storage_forget(Migrate *m); /* with its tokens */
/* Of a session that a shim before this one began: its tokens are here, to be removed. */
void migrate_storage_take_up(Migrate *m, const char *session, MigrationRole role);

void migrate_on_iteration(Migrate *m, unsigned n);
void migrate_poll_statistics(Migrate *m, bool on);

/* migrate-peer.c: the ferry and the messages on it. */
int migrate_ferry(Migrate *m, Ferry **ret, Error *reterr); /* made on first use */
void migrate_ferry_stop(Migrate *m);
int migrate_op_send(void *u, const void *peer, size_t n);
void migrate_flush(Migrate *m);
#define MIGRATE_OUT_MAX (32U << 20)

/* migrate-network.c */
/* Reads the namespace, repoints the pod at it, and cuts it off. Result NULL. */
int migrate_prepare_network(Migrate *m, OpDone done, void *job, Error *reterr);
void migrate_forget_network(Migrate *m);
void migrate_join_network(Migrate *m);
void migrate_gates(Migrate *m, bool open);
void migrate_guest_complete(Migrate *m);
void migrate_guest_runs(Migrate *m);
/* The tree of the destination and its guest link come to life; once. */
int migrate_resume_destination(Migrate *m, Error *reterr);
int migrate_resume_with_network(Migrate *m, OpDone done, void *job, Error *reterr);
void migrate_reset_network(Migrate *m);
/* At the source, which has the pod again: opens its gate, then lets the guest announce itself. */
void migrate_network_stays(Migrate *m);

/* migrate-check.c */
extern const EnvelopeType handoff_envelope;
void migrate_check_forget(Migrate *m); /* removes the tokens of the last check */
void migrate_check_bus_gone(Migrate *m, const sd_bus *bus);
uint64_t migrate_available_mib(void); /* memory of this host; 0: not known */

/* migrate-way.c */
int migrate_set_way(Migrate *m, const MigrateWay *way, Error *reterr);
void migrate_forget_way(Migrate *m);
/* Every attached client: the pod has moved, and how to get there. */
void migrate_tell_clients(Migrate *m);

/* migrate-driver.c */
void migrate_forget_driver(Migrate *m);
/* "bound", "unbound": its end would go unnoticed, "gone", "none": the session is of a shim that was
 * killed. */
const char *migrate_driver_name(const Migrate *m);
/* Nobody drives this session: once it is over, the shim ends it by itself. */
void migrate_end_alone(Migrate *m);
void migrate_driver_changed(Migrate *m); /* the session's state did */

/* migrate-logs.c */
int migrate_logs_begin(Migrate *m, Error *reterr);
/* Queues log chunks. -EAGAIN: there is more than may be queued now; once the queue is shorter,
 * again. */
int migrate_logs_pump(Migrate *m);
/* At the blackout, when no log grows any more: 0 once all of them are on their way. */
int migrate_logs_pump_all(Migrate *m);
void migrate_logs_end(Migrate *m);
/* Of a destination that has what it imported, as below. */
void migrate_logs_receive(Migrate *m, const char *guest_id, const char *exec_id, uint64_t offset,
                          const void *p, size_t n);
/* The names of a process on this host; -ENOENT. */
int migrate_process_key(Migrate *m, const char *guest_id, const char *exec_id, ProcessKey *ret);

/* migrate-definition.c */
void migrate_send_definition(Migrate *m);
/* Of one part; once all are there they go to disk. */
void migrate_take_definition(Migrate *m, const Podferry__Peer__V1__Definition *part);
void migrate_forget_definition(Migrate *m);
bool migrate_op_kept(void *u);
