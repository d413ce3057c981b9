/* SPDX-License-Identifier: Apache-2.0 */
/* What two hosts compare before a migration. libvirt's XML is only searched for single elements:
 * it is machine-written, and the worst that a change of it can do is to leave a fact empty, which
 * the caller sees. */
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"

#define ARCH "x86_64"

/* The first element of that name in xml, from "<name" to "</name>"; length 0 if there is none. */
static const char *element(const char *xml, const char *name, size_t *ret_length) {
        char open[32], close[32];
        const char *from, *to;

        *ret_length = 0;
        if (snprintf(open, sizeof(open), "<%s>", name) >= (int)sizeof(open) ||
            snprintf(close, sizeof(close), "</%s>", name) >= (int)sizeof(close))
                return NULL;
        from = strstr(xml, open);
        to = from ? strstr(from, close) : NULL;
        if (!to)
                return NULL;
        *ret_length = (size_t)(to - from) + strlen(close);
        return from;
}

static void element_text(const char *xml, const char *name, char *ret, size_t size) {
        size_t n;
        const char *e = element(xml, name, &n);
        size_t tags = 2 * strlen(name) + strlen("<></>");

        ret[0] = '\0';
        if (e && n >= tags && n - tags < size)
                (void)snprintf(ret, size, "%.*s", (int)(n - tags), e + strlen(name) + 2);
}

/* Whom libvirt's DAC driver gives files to; it tells numbers only. Without that driver QEMU is
 * root. */
static void read_owner(const char *xml, VirtFacts *f) {
        const char *model = strstr(xml, "<model>dac</model>");
        const char *label = model ? strstr(model, "<baselabel type='qemu'>+") : NULL;
        const char *end = model ? strstr(model, "</secmodel>") : NULL;
        unsigned uid, gid;

        if (label && end && label < end &&
            sscanf(label, "<baselabel type='qemu'>+%u:+%u<", &uid, &gid) == 2) {
                f->qemu_uid = uid;
                f->qemu_gid = gid;
        }
}

static int read_capabilities(Job *job, virConnectPtr conn, Error *reterr) {
        _cleanup_free_ char *xml = job->v->lv->virConnectGetCapabilities(conn);
        VirtFacts *f = &job->out.facts;
        const char *cpu;
        size_t n;

        if (!xml)
                return libvirt_error(job->v->lv, reterr);
        element_text(xml, "uuid", f->host_uuid, sizeof(f->host_uuid));
        element_text(xml, "arch", f->arch, sizeof(f->arch));
        read_owner(xml, f);
        f->has_kvm = strstr(xml, "<domain type='kvm'") != NULL;
        cpu = element(xml, "cpu", &n);
        job->result_text = strndup(cpu ?: "", n);
        if (!job->result_text)
                return error_oom(reterr);
        f->cpu_xml = job->result_text;
        return 0;
}

static int run_facts(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        _cleanup_free_ char *xml = NULL;
        VirtFacts *f = &job->out.facts;
        unsigned long hypervisor, daemon;
        int r;

        *f = (VirtFacts){};
        if (lv->virConnectGetVersion(conn, &hypervisor) < 0 ||
            lv->virConnectGetLibVersion(conn, &daemon) < 0)
                return libvirt_error(lv, reterr);
        f->hypervisor_version = hypervisor;
        f->libvirt_version = daemon;
        r = read_capabilities(job, conn, reterr);
        if (r < 0)
                return r;
        xml = lv->virConnectGetDomainCapabilities(conn, NULL, ARCH, "q35",
                                                  domain_type_name((DomainType)job->number), 0);
        if (!xml)
                return libvirt_error(lv, reterr);
        element_text(xml, "machine", f->machine, sizeof(f->machine));
        return 0;
}

int virt_facts(Virt *v, DomainType type, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, "host facts", run_facts, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->of_host = true;
        job->number = type;
        job->result = &job->out.facts;
        return job_submit(job, LANE_QUERY, reterr);
}

static int run_compare(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        int r;

        r = lv->virConnectCompareHypervisorCPU(conn, NULL, ARCH, "q35", "kvm", job->xml,
                                               VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE);
        if (r == VIR_CPU_COMPARE_IDENTICAL || r == VIR_CPU_COMPARE_SUPERSET)
                return 0;
        return libvirt_error(lv, reterr);
}

int virt_compare_cpu(Virt *v, const char *cpu_xml, OpDone done, void *userdata, Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(v, "CPU comparison", run_compare, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->of_host = true;
        job->xml = strdup(cpu_xml);
        if (!job->xml)
                return error_oom(reterr);
        return job_submit(TAKE(job), LANE_QUERY, reterr);
}
