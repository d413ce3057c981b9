/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/check.h"
#include "controllers/migration/migration.h"
#include "hostdev/libvirt/virt.h"
#include "shim/shim.h"

/* What the migration controller is wired to: the tree, libvirt, the guest link, the ferry that
 * carries the transfer, the journal and timers. One per shim, there from its start; idle it costs a
 * few hundred bytes. Loop thread only.
 *
 * The sockets of a transfer live in <run_dir>/.migrate-<session>/ on both hosts, because libvirt
 * uses the same path for the source's end and the destination's. */
typedef struct Migrate Migrate;

int migrate_new(Shim *s, Migrate **ret, Error *reterr);
Migrate *migrate_free(Migrate *m);
DEFINE_CLEANUP(Migrate *, migrate_free);
Migration *migrate_controller(Migrate *m);

/* From the first call of a session until its cleanup: the domain's coming and going is the
 * migration's business, so nobody else may take a stopped domain for a dead pod. */
bool migrate_owns_domain(const Migrate *m);
/* The domain has ended, and why. If it has come to run here, and only the session's end is left,
 * that is the pod's end, as ever. */
void migrate_guest_ended(Migrate *m, const char *reason);
/* What libvirt says of a domain, as the tables of a hand-over have it. */
MigrationDomainState migrate_domain_state(const VirtDomain *d, MigrationRole role);
void migrate_on_virt_event(Migrate *m, const VirtEvent *e);
/* The sockets of the session, when the session or the pod is gone. A no-op if there are none. */
void migrate_remove_dir(Migrate *m);

/* The calls that carry more than the controller knows. */
int migrate_register_socket(Migrate *m, const char *session, int fd,
                            Error *reterr); /* duplicates */
/* Source, once exported: what it plans with each disk, for the destination's Prepare; the caller
 * owns *ret. -EINVAL: a disk and the options contradict each other. */
int migrate_storage_offer(Migrate *m, const MigrationOptions *o, json_object **ret, Error *reterr);
/* As migration_cancel(). -EBUSY: the call that is at work is told not to read disks to their end;
 * again once it has ended. */
int migrate_cancel(Migrate *m, const char *session, Error *reterr);
/* Destination: which disks it is about to make, their paths each with a NUL, so that they are
 * removed even if it dies at once. Thread for files. */
int migrate_filling_write(const char *run_dir, const Buf *paths, Error *reterr);
/* They are complete, or (discard) the pod ends here: those that still have its mark are removed. */
void migrate_filling_end(const Shim *s, bool discard);
/* Destination. `storage`: the source's offer as text, "" without one. Result: const char *, the
 * ticket. */
int migrate_prepare(Migrate *m, const char *session, const MigrationOptions *o, const char *storage,
                    OpDone done, void *job, Error *reterr);
/* Destination, before Prepare: the namespace here ("": none), and "keep" or "rebind". */
int migrate_patch_network(Migrate *m, const char *session, const char *path, const char *mode,
                          Error *reterr);
/* How others get to where the pod goes; "": nobody says. Borrowed. */
typedef struct MigrateWay {
        const char *to;      /* as podferry migrate --to takes it */
        const char *program; /* podferry over there; "": the usual one */
        const char *pod;     /* its name over there */
} MigrateWay;
/* ticket, way: source only, "" at a destination. */
int migrate_transfer(Migrate *m, const char *session, const MigrationOptions *o, const char *ticket,
                     const MigrateWay *way, Error *reterr);
/* Learns what has to be known of this host (libvirt's version and so on). Result NULL. */
int migrate_learn_facts(Migrate *m, OpDone done, void *job, Error *reterr);

/* Every rule of controllers/migration/check.h on this side's facts and, if they are known, the
 * other side's: changes nothing that stays. Texts are borrowed for the call; "" where there is
 * none. */
typedef struct MigrateAsk {
        MigrationRole role;
        const char *session;
        MigrationOptions options;
        bool unsafe, virtual_size;
        const char *facts;     /* the other side's */
        const char *disks;     /* destination: JSON, path at the source -> path here */
        const char *namespace; /* destination: the pod's network here */
        bool rebind;           /* and it takes over the addresses there */
        const char *forecast;  /* source: make one, of this link (JSON); NULL: none is wanted */
        sd_bus *bus;           /* who asks; kept open by the caller until it is answered */
} MigrateAsk;
typedef struct MigrateAnswer {
        const CheckReport *report;
        json_object *facts; /* of this side */
} MigrateAnswer;
/* Result: const MigrateAnswer *. 1, or < 0. */
int migrate_check(Migrate *m, const MigrateAsk *ask, OpDone done, void *job, Error *reterr);

/* Source: when this connection closes in the middle of the session, the shim ends it by itself. */
int migrate_bind_driver(Migrate *m, sd_bus *bus, Error *reterr);
/* Destination: the same, and from now on, when this pipe comes to its end; without a pod by then
 * the shim ends. fd is borrowed for good. */
int migrate_bind_pipe(Migrate *m, int fd, Error *reterr);
void migrate_bus_gone(Migrate *m, const sd_bus *bus);

const char *migrate_ticket(const Migrate *m); /* NULL before it was made */
/* Also ends the shim when nothing is left for it to do: a source whose pod has moved, a destination
 * that did not get it. */
int migrate_cleanup(Migrate *m, const char *session, OpDone done, void *job, Error *reterr);

/* JSON for Check and PrepareAndExport: this host, and at a source the pod and its disks. The caller
 * owns it; NULL: out of memory. */
json_object *migrate_facts_json(Migrate *m, MigrationRole role);
/* Progress and result as the D-Bus properties of these names. The caller owns them; NULL: out of
 * memory. */
json_object *migrate_progress_json(const Migrate *m);
json_object *migrate_result_json(const Migrate *m);

/* The session, and the options that it has or that one would have that were called without any,
 * each with who says so, as members of *o. */
int migrate_dump(const Migrate *m, json_object *o, Error *reterr);

/* A shim that was killed and starts again goes on from what it saved: the tree as for an export,
 * and what a handoff holds. save_own changes nothing. */
int migrate_save_own(Migrate *m, Buf *ret, Error *reterr);
int migrate_import_own(Migrate *m, const Buf *vm, const Buf *pod, Error *reterr);
int migrate_take_own(Migrate *m, const void *p, size_t n, Error *reterr);

/* Of a session that is or was under way: kept beside the tree. "": none. */
const char *migrate_kept_session(const Migrate *m);
/* Destination: the tree as it came, which the session says how to patch. It counts until the pod
 * that it became was saved here for the first time; then it is forgotten. false: there is none. */
bool migrate_kept_tree(const Migrate *m, const Buf **ret_vm, const Buf **ret_pod);
void migrate_forget_kept(Migrate *m); /* all of it */
void migrate_forget_came(Migrate *m); /* that tree; and the rest, if its session is over */
/* What to write for the guest link and the logs: as they are, or as another shim left them; empty
 * while this host has not spoken to the guest. */
int migrate_save_link(Migrate *m, Buf *ret, Error *reterr);

/* What a move had closed of the pod's network. */
void migrate_open_gates(Migrate *m);
/* The shim ends: nothing is to be left of a check. True: the thread for files was at it, and has it
 * removed when all of its work is done. */
bool migrate_check_end(Migrate *m);
/* The pod is this host's since that epoch: what was staged counts. `came`: something must have
 * been.
 */
void migrate_publish_definition(Migrate *m, uint64_t epoch, bool came);

typedef struct KeptSession {
        JournalRecord session; /* kind NONE */
        bool destination;
} KeptSession;
/* 1: there was one. 0: none. */
int migrate_read_kept(Migrate *m, const Buf *text, KeptSession *ret, Error *reterr);
/* The tree of a destination, as it came, patched as it was. Result NULL. */
int migrate_import_received(Migrate *m, const Buf *vm, const Buf *pod, OpDone done, void *job,
                            Error *reterr);
/* The last record of the journal; NULL: there is none. */
const JournalRecord *migrate_journal_last(const Migrate *m);
/* What journal_handoff() has. */
const void *migrate_journal_handoff(const Migrate *m, size_t *ret_len);
/* The session of the last record is over, and the pod stays here: on disk when it returns. */
int migrate_keep_own(Migrate *m, Error *reterr);
/* handover=fast, and the session's last record is PREPARED: 1 if the shim before had stopped its
 * QEMU, so that the other host may run the pod; 0 if not, and then it does not. */
int migrate_find_held(Migrate *m, Error *reterr);
/* The session that was kept may have gone over to post-copy. */
bool migrate_allows_postcopy(const Migrate *m);
/* What QEMU sends and receives goes through the shims, and ends with one of them. */
bool migrate_relays(const Migrate *m);
/* It is certain that the other side has nothing that runs or could come to. */
void migrate_let_source_go(Migrate *m);
/* The session goes on from this record, of the journal's session if it has it; the tree is
 * imported. handoff: what was kept of link and logs. */
int migrate_go_on(Migrate *m, const JournalRecord *from, const Buf *handoff, Error *reterr);
/* Takes a transport for what is left to say; see migration_reconnect(). Duplicates. */
int migrate_reconnect(Migrate *m, const char *session, int fd, Error *reterr);

/* What the D-Bus face remembers between two signals. */
typedef struct MigrateFace {
        int state;
        bool finished;
        uint64_t progress_usec;
} MigrateFace;
MigrateFace *migrate_face(Migrate *m);

/* What PrepareAndExport answers with. */
typedef struct MigrationExport {
        const Buf *envelope;
        const char *facts;
} MigrationExport;

/* One container, from the JSON of the call Patch. */
typedef struct MigratePatch {
        const char *new_id;
        json_object *disks; /* path at the source -> path here; borrowed; NULL: none */
} MigratePatch;
