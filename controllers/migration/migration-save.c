/* SPDX-License-Identifier: Apache-2.0 */
/* The export envelope: kind "migration", around the envelopes of the pod's controllers. */
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "controllers/migration/internal.h"
#include "lib/envelope.h"
#include "migration.pb-c.h"

const EnvelopeType migration_envelope = {
        .kind = "migration",
        .type_url = "type.podferry.org/podferry.state.v1.Migration",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__migration__descriptor,
};

typedef struct Podferry__State__V1__Migration ExportMessage;
typedef struct Podferry__State__V1__SourceFacts FactsMessage;

static void export_message_free(ExportMessage *e) {
        if (e)
                protobuf_c_message_free_unpacked(&e->base, NULL);
}

static void export_message_freep(ExportMessage **e) {
        export_message_free(*e);
}

void migration_tree_done(MigrationTree *t) {
        buf_done(&t->vm);
        for (uint32_t i = 0; i < t->n_pods; i++)
                buf_done(&t->pods[i]);
        *t = (MigrationTree){};
}

void migration_export_done(MigrationExport *e) {
        migration_tree_done(&e->tree);
}

int migration_export_seal(const MigrationExport *e, Buf *ret, Error *reterr) {
        FactsMessage facts = PODFERRY__STATE__V1__SOURCE_FACTS__INIT;
        ExportMessage m = PODFERRY__STATE__V1__MIGRATION__INIT;
        ProtobufCBinaryData pods[MIGRATION_PODS_MAX];
        MigrationExport copy = *e; /* protobuf-c wants char * that is not const */

        facts.host_uuid = copy.facts.host_uuid;
        facts.hostname = copy.facts.hostname;
        facts.version = copy.facts.version;
        facts.hypervisor = copy.facts.hypervisor;
        facts.arch = copy.facts.arch;
        facts.machine = copy.facts.machine;
        facts.domain_type = copy.facts.domain_type;
        facts.cpu_xml = copy.facts.cpu_xml;
        facts.memory_mib = copy.facts.memory_mib;
        m.session = copy.session;
        m.pod = copy.pod;
        m.epoch = copy.epoch;
        m.facts = &facts;
        m.vm = (ProtobufCBinaryData){ copy.tree.vm.len, copy.tree.vm.data };
        for (uint32_t i = 0; i < copy.tree.n_pods; i++)
                pods[i] = (ProtobufCBinaryData){ copy.tree.pods[i].len, copy.tree.pods[i].data };
        m.n_pods = copy.tree.n_pods;
        m.pods = pods;
        return envelope_seal(&migration_envelope, &m.base, ret, reterr);
}

static int take_string(const char *field, const char *from, char *to, size_t n, Error *reterr) {
        size_t len = strlen(from);

        if (len >= n)
                return error_setf(reterr, -EINVAL, "%s: %zu characters, at most %zu", field, len,
                                  n - 1);
        memcpy(to, from, len + 1);
        return 0;
}

static int take_facts(const FactsMessage *m, MigrationFacts *f, Error *reterr) {
        const struct {
                const char *field, *from;
                char *to;
                size_t n;
        } strings[] = {
                { "facts.host_uuid", m->host_uuid, f->host_uuid, sizeof(f->host_uuid) },
                { "facts.hostname", m->hostname, f->hostname, sizeof(f->hostname) },
                { "facts.version", m->version, f->version, sizeof(f->version) },
                { "facts.hypervisor", m->hypervisor, f->hypervisor, sizeof(f->hypervisor) },
                { "facts.arch", m->arch, f->arch, sizeof(f->arch) },
                { "facts.machine", m->machine, f->machine, sizeof(f->machine) },
                { "facts.domain_type", m->domain_type, f->domain_type, sizeof(f->domain_type) },
                { "facts.cpu_xml", m->cpu_xml, f->cpu_xml, sizeof(f->cpu_xml) },
        };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                int r = take_string(strings[i].field, strings[i].from, strings[i].to, strings[i].n,
                                    reterr);

                if (r < 0)
                        return r;
        }
        f->memory_mib = m->memory_mib;
        return 0;
}

static int take_tree(const ExportMessage *m, MigrationTree *t, Error *reterr) {
        if (m->vm.len == 0)
                return error_setf(reterr, -EINVAL, "vm: missing");
        if (m->n_pods > MIGRATION_PODS_MAX)
                return error_setf(reterr, -EINVAL, "pods: %zu of them, at most %u", m->n_pods,
                                  MIGRATION_PODS_MAX);
        if (buf_append(&t->vm, m->vm.data, m->vm.len) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < m->n_pods; i++) {
                if (m->pods[i].len == 0)
                        return error_setf(reterr, -EINVAL, "pods[%zu]: empty", i);
                t->n_pods++;
                if (buf_append(&t->pods[i], m->pods[i].data, m->pods[i].len) < 0)
                        return error_oom(reterr);
        }
        return 0;
}

int migration_export_open(const void *p, size_t n, MigrationExport *ret, Error *reterr) {
        _cleanup_(export_message_freep) ExportMessage *m = NULL;
        _cleanup_(migration_export_done) MigrationExport e = {};
        ProtobufCMessage *base = NULL;
        int r;

        r = envelope_open(&migration_envelope, p, n, &base, NULL, reterr);
        if (r < 0)
                return r;
        m = (ExportMessage *)(void *)base;
        r = id_check("session", m->session, reterr);
        if (r == 0)
                r = id_check("pod", m->pod, reterr);
        if (r == 0 && (m->epoch == 0 || m->epoch > INT64_MAX))
                r = error_setf(reterr, -EINVAL, "epoch: %llu", (unsigned long long)m->epoch);
        if (r == 0 && !m->facts)
                r = error_setf(reterr, -EINVAL, "facts: missing");
        if (r == 0)
                r = take_string("session", m->session, e.session, sizeof(e.session), reterr);
        if (r == 0)
                r = take_string("pod", m->pod, e.pod, sizeof(e.pod), reterr);
        if (r == 0)
                r = take_facts(m->facts, &e.facts, reterr);
        if (r == 0)
                r = take_tree(m, &e.tree, reterr);
        if (r < 0)
                return r;
        e.epoch = m->epoch;
        *ret = e;
        e = (MigrationExport){};
        return 0;
}
