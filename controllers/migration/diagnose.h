/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/decide.h"
#include "controllers/migration/facts.h"

/* What is wrong with a pod, and the one safe thing to do about it: a pure function of what one or
 * both hosts say, never of an error that led there. Rules in order, the first that fires counts;
 * docs/doctor.md has them as a table. No rule's action could make a second writer, whatever else is
 * so that nobody knows.
 *
 * Facts are JSON. Also our own go through diagnose_facts_read(), as those of check.h. */
#define DIAGNOSE_FACTS_MAX (64U << 10)
#define DIAGNOSE_LOG_LINES 4U

typedef enum DiagnoseShim {
        DIAGNOSE_SHIM_NONE, /* no run directory */
        DIAGNOSE_SHIM_DEAD, /* a run directory, and nobody serves it */
        DIAGNOSE_SHIM_SILENT,
        DIAGNOSE_SHIM_ANSWERS,
        _DIAGNOSE_SHIM_MAX,
} DiagnoseShim;

typedef enum DiagnoseQemu {
        DIAGNOSE_QEMU_UNKNOWN,
        DIAGNOSE_QEMU_NONE,
        DIAGNOSE_QEMU_RUNS,    /* the process, whatever the guest does */
        DIAGNOSE_QEMU_STOPPED, /* by a signal: it answers nobody */
        _DIAGNOSE_QEMU_MAX,
} DiagnoseQemu;

const char *diagnose_shim_name(DiagnoseShim s);
const char *diagnose_qemu_name(DiagnoseQemu q);

typedef struct DiagnoseLine {
        const char *text;
} DiagnoseLine;

/* One pod on one host. Strings are borrowed from the document; what is not known is "",
 * CHECK_UNKNOWN, CHECK_NUMBER_UNKNOWN. */
typedef struct DiagnoseFacts {
        json_object *document;
        const char *pod, *host, *version;

        DiagnoseShim shim;
        uint64_t shim_pid;
        const char *shim_error;
        const char *vm_state, *end_reason; /* as the shim has it: "running", "terminated" */
        CheckAnswer agent;                 /* of the guest: its link is up */

        const char *session_state; /* "idle"; "" without a shim that answers */
        const char *side, *driver; /* driver: "bound", "unbound", "gone", "none": its shim died */
        const char *session_error;

        const char *libvirt_error;   /* it cannot be asked, or does not answer: why */
        MigrationDomainState domain; /* NONE also if libvirt could not be asked */
        const char *reason, *uuid, *control;
        CheckAnswer job;
        DiagnoseQemu qemu;
        uint64_t qemu_pid;

        JournalKind journal; /* the last record */
        uint64_t mode, epoch;
        const char *session, *journal_error;

        CheckAnswer saved;               /* what another shim could go on from */
        CheckAnswer defined;             /* podferry start has what it needs */
        CheckAnswer files;               /* there is something in the state directory */
        const char *outgoing, *incoming; /* records of a cold move: "given", "ready", "damaged" */
        uint64_t incomplete;             /* disks that a migration has half filled */

        DiagnoseLine log[DIAGNOSE_LOG_LINES];
        size_t n_log;
} DiagnoseFacts;

/* -EBADMSG, -EINVAL: as facts.h; also a name that is none of the known ones. */
int diagnose_facts_read(const char *text, DiagnoseFacts **ret, Error *reterr);
DiagnoseFacts *diagnose_facts_free(DiagnoseFacts *f);
DEFINE_CLEANUP(DiagnoseFacts *, diagnose_facts_free);
/* Is there anything of the pod on that host? */
bool diagnose_is_there(const DiagnoseFacts *f);

typedef enum DiagnoseSeverity {
        DIAGNOSE_OK,
        DIAGNOSE_ADVISES, /* good to know */
        DIAGNOSE_ACT,     /* "needs-action" */
        DIAGNOSE_BLIND,   /* not enough is known, so nothing is done */
        DIAGNOSE_ALARM,   /* two copies, or none */
        _DIAGNOSE_SEVERITY_MAX,
} DiagnoseSeverity;

typedef enum DiagnoseAction {
        DIAGNOSE_NOTHING,
        DIAGNOSE_ADOPT,    /* podferry adopt */
        DIAGNOSE_ADOPT_TO, /* podferry adopt --to, on either host */
        DIAGNOSE_CONTINUE_QEMU,
        DIAGNOSE_REMOVE_RUN_DIR,
        DIAGNOSE_REMOVE_JOURNAL,
        _DIAGNOSE_ACTION_MAX,
} DiagnoseAction;

const char *diagnose_severity_name(DiagnoseSeverity s);
const char *diagnose_action_name(DiagnoseAction a);

typedef struct Diagnosis {
        const char *code; /* API: scripts go by it */
        DiagnoseSeverity severity;
        const char *row;         /* of the matrix of both hosts that it rests on */
        const char *says, *mend; /* static; mend "": the action says it */
        DiagnoseAction action;
        bool there; /* it is about the other host */
} Diagnosis;

/* there: NULL if it was not asked, or (asked) in vain. */
Diagnosis diagnose(const DiagnoseFacts *here, const DiagnoseFacts *there, bool asked);
/* May the action be done from here? An action on the other host alone may not. */
bool diagnose_may_fix(const Diagnosis *d, bool has_other);
/* The matrix of decide.h for the two; false: it needs both, of one pod. */
bool diagnose_matrix(const DiagnoseFacts *here, const DiagnoseFacts *there, MigrationDecision *ret);

size_t diagnose_n_rules(void);
const char *diagnose_rule_code(size_t i);
DiagnoseSeverity diagnose_rule_severity(size_t i);
const char *diagnose_rule_row(size_t i);
