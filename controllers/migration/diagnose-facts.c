/* SPDX-License-Identifier: Apache-2.0 */
/* The facts of a diagnosis: which there are, and the only way from a host's words to the rules. */
#include <string.h>

#include "controllers/ids.h"
#include "controllers/migration/diagnose.h"

/* What is said by a name, and becomes a number. */
typedef struct Named {
        const char *shim, *domain, *qemu, *record;
} Named;

/* clang-format off */
#define F(member, kind, key) FACTS_FIELD(DiagnoseFacts, member, kind, key)
#define N(member, key) FACTS_FIELD(Named, member, TEXT, key)
static const FactsField host_fields[] = { F(host, TEXT, "name"), F(version, TEXT, "podferry") };
static const FactsField pod_fields[] = {
        F(pod, TEXT, "name"), F(vm_state, TEXT, "state"), F(end_reason, TEXT, "end_reason"),
        F(agent, ANSWER, "agent"), F(saved, ANSWER, "saved"), F(defined, ANSWER, "defined"),
        F(files, ANSWER, "files"), F(incomplete, NUMBER, "incomplete"),
        F(outgoing, TEXT, "outgoing"), F(incoming, TEXT, "incoming"),
};
static const FactsField shim_fields[] = { F(shim_pid, NUMBER, "pid"), F(shim_error, TEXT, "error") };
static const FactsField session_fields[] = {
        F(session_state, TEXT, "state"), F(side, TEXT, "side"), F(driver, TEXT, "driver"),
        F(session_error, TEXT, "error"),
};
static const FactsField libvirt_fields[] = { F(libvirt_error, TEXT, "error") };
static const FactsField domain_fields[] = {
        F(reason, TEXT, "reason"), F(uuid, TEXT, "uuid"), F(control, TEXT, "control"),
        F(job, ANSWER, "job"),
};
static const FactsField qemu_fields[] = { F(qemu_pid, NUMBER, "pid") };
static const FactsField journal_fields[] = {
        F(mode, NUMBER, "mode"), F(epoch, NUMBER, "epoch"), F(session, TEXT, "session"),
        F(journal_error, TEXT, "error"),
};
static const FactsField line_fields[] = { FACTS_FIELD(DiagnoseLine, text, TEXT, "text") };
static const FactsField named_shim[] = { N(shim, "state") };
static const FactsField named_domain[] = { N(domain, "state") };
static const FactsField named_qemu[] = { N(qemu, "process") };
static const FactsField named_journal[] = { N(record, "record") };
#undef N
#undef F
/* clang-format on */

static const char *const shim_names[_DIAGNOSE_SHIM_MAX] = {
        [DIAGNOSE_SHIM_NONE] = "none",
        [DIAGNOSE_SHIM_DEAD] = "dead",
        [DIAGNOSE_SHIM_SILENT] = "silent",
        [DIAGNOSE_SHIM_ANSWERS] = "answers",
};

static const char *const qemu_names[_DIAGNOSE_QEMU_MAX] = {
        [DIAGNOSE_QEMU_UNKNOWN] = "unknown",
        [DIAGNOSE_QEMU_NONE] = "none",
        [DIAGNOSE_QEMU_RUNS] = "runs",
        [DIAGNOSE_QEMU_STOPPED] = "stopped",
};

const char *diagnose_shim_name(DiagnoseShim s) {
        return (size_t)s < ELEMENTSOF(shim_names) ? shim_names[s] : NULL;
}

const char *diagnose_qemu_name(DiagnoseQemu q) {
        return (size_t)q < ELEMENTSOF(qemu_names) ? qemu_names[q] : NULL;
}

static const char *shim_name(int i) {
        return diagnose_shim_name((DiagnoseShim)i);
}

static const char *qemu_name(int i) {
        return diagnose_qemu_name((DiagnoseQemu)i);
}

static const char *domain_name(int i) {
        return migration_domain_state_name((MigrationDomainState)i);
}

static const char *record_name(int i) {
        return journal_kind_name((JournalKind)i);
}

/* All four must be there: a host that leaves one away has not looked. */
static int find_name(const char *what, const char *text, const char *(*name)(int), int *ret,
                     Error *reterr) {
        const char *known;

        for (int i = 0; (known = name(i)); i++)
                if (strcmp(known, text) == 0) {
                        *ret = i;
                        return 0;
                }
        return error_setf(reterr, -EINVAL, "facts: %s \"%.40s\" is not known", what, text);
}

static int read_names(DiagnoseFacts *f, const Named *n, Error *reterr) {
        int shim = 0, domain = 0, qemu = 0, record = 0, r;

        if ((r = find_name("state of the shim", n->shim, shim_name, &shim, reterr)) < 0 ||
            (r = find_name("state of the domain", n->domain, domain_name, &domain, reterr)) < 0 ||
            (r = find_name("process of QEMU", n->qemu, qemu_name, &qemu, reterr)) < 0 ||
            (r = find_name("record of the journal", n->record, record_name, &record, reterr)) < 0)
                return r;
        f->shim = (DiagnoseShim)shim;
        f->domain = (MigrationDomainState)domain;
        f->qemu = (DiagnoseQemu)qemu;
        f->journal = (JournalKind)record;
        return 0;
}

#define PART(name, fields, base)                                                                   \
        facts_read_part(f->document, (name), (fields), ELEMENTSOF(fields), (base), reterr)

static int read_all(DiagnoseFacts *f, Error *reterr) {
        Named named = {};
        int r;

        if ((r = PART("host", host_fields, f)) < 0 || (r = PART("pod", pod_fields, f)) < 0 ||
            (r = PART("shim", shim_fields, f)) < 0 || (r = PART("shim", named_shim, &named)) < 0 ||
            (r = PART("session", session_fields, f)) < 0 ||
            (r = PART("libvirt", libvirt_fields, f)) < 0 ||
            (r = PART("domain", domain_fields, f)) < 0 ||
            (r = PART("domain", named_domain, &named)) < 0 ||
            (r = PART("qemu", qemu_fields, f)) < 0 || (r = PART("qemu", named_qemu, &named)) < 0 ||
            (r = PART("journal", journal_fields, f)) < 0 ||
            (r = PART("journal", named_journal, &named)) < 0)
                return r;
        r = facts_read_list(f->document, "log", line_fields, ELEMENTSOF(line_fields), f->log,
                            sizeof(*f->log), DIAGNOSE_LOG_LINES, &f->n_log, reterr);
        if (r == 0)
                r = id_check("facts: pod", f->pod, reterr);
        return r < 0 ? r : read_names(f, &named, reterr);
}

int diagnose_facts_read(const char *text, DiagnoseFacts **ret, Error *reterr) {
        _cleanup_(diagnose_facts_freep) DiagnoseFacts *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return error_oom(reterr);
        r = facts_parse(text, DIAGNOSE_FACTS_MAX, &f->document, reterr);
        if (r == 0)
                r = read_all(f, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(f);
        return 0;
}

DiagnoseFacts *diagnose_facts_free(DiagnoseFacts *f) {
        if (!f)
                return NULL;
        (void)json_object_put(f->document);
        free(f);
        return NULL;
}
