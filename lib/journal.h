/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

/* The journal of a pod on one host: who may run it, as records that survive any crash.
 *
 * A file of records, each with length and CRC32C, appended and fsynced (the directory too when the
 * file is made) before journal_append() returns. A last record that a crash tore is cut off when
 * the file is opened; damage anywhere else is an error, never repaired. Epochs never fall. One
 * process at a time (locked while open). Layout: docs/journal.md. */
typedef struct Journal Journal;

typedef enum JournalKind {
        JOURNAL_NONE,     /* an empty journal; not on disk */
        JOURNAL_PREPARED, /* S: a session began; the guest is this host's, at this epoch */
        JOURNAL_FENCING,  /* S: about to kill its guest */
        JOURNAL_RELEASED, /* S: its guest can never run again here */
        JOURNAL_KEPT,     /* S: the session is over and the guest stayed */
        JOURNAL_READY,    /* D: complete; payload: the handoff */
        JOURNAL_REFUSED,  /* D: will never run at this epoch */
        JOURNAL_OWNED,    /* D: the guest is this host's, at this epoch */
        JOURNAL_RUNNING,  /* D: and runs */
        JOURNAL_LOST,     /* either: no host has the guest; payload: the reason */
        JOURNAL_DONE,     /* S: the destination runs */
        _JOURNAL_KIND_MAX,
} JournalKind;

const char *journal_kind_name(JournalKind k);     /* "prepared"; NULL if out of range */
bool journal_kind_is_destinations(JournalKind k); /* only a destination writes it */

#define JOURNAL_NAME_MAX    80U
#define JOURNAL_PAYLOAD_MAX (8U << 20)

typedef struct JournalRecord {
        JournalKind kind;
        uint8_t mode; /* of the hand-over, a small number of the caller's; 0..7 */
        uint64_t epoch;
        uint64_t at_ns;                 /* CLOCK_REALTIME; filled in by journal_append */
        char session[JOURNAL_NAME_MAX]; /* migration session id */
        char pod[JOURNAL_NAME_MAX];     /* pod id at the source */
        char peer[JOURNAL_NAME_MAX];    /* host UUID or name of the other side, "" if not known */
        const void *payload;            /* borrowed */
        size_t payload_len;
} JournalRecord;

/* Opens or makes it. -EBUSY another process has it; -EBADMSG damaged (offset in the text);
 * -EPROTONOSUPPORT a later format. */
int journal_open(const char *path, Journal **ret, Error *reterr);
Journal *journal_free(Journal *j);
DEFINE_CLEANUP(Journal *, journal_free);

/* On disk when it returns 0. -EINVAL: epoch below the last one, or a field too long. After a failed
 * write the journal is cut back to where it was; if that fails too, every later append is -EIO. */
int journal_append(Journal *j, const JournalRecord *r, Error *reterr);

/* The last record (kind NONE when empty); strings and payload are borrowed until the next append.
 */
const JournalRecord *journal_last(const Journal *j);
/* The handoff that the READY record of the last record's session holds; NULL if there is none. */
const void *journal_handoff(const Journal *j, size_t *ret_len);
bool journal_was_torn(const Journal *j); /* the open cut a torn record off */

/* Reads a journal without locking or changing it, for tools: every record in order; the visitor
 * stops by returning < 0. *ret_torn (may be NULL): the last record is incomplete. */
typedef int (*JournalVisitor)(void *userdata, const JournalRecord *r, Error *reterr);
int journal_read(const char *path, JournalVisitor visit, void *userdata, bool *ret_torn,
                 Error *reterr);

/* The last of them, without its payload; kind NONE also if there is no journal. */
int journal_read_last(const char *path, JournalRecord *ret, Error *reterr);

/* May `next` follow `last` on this host? The order of the model (docs/model), as one table. 0 or
 * -EINVAL with what is wrong. */
int journal_check_order(const JournalRecord *last, const JournalRecord *next, Error *reterr);
