/* SPDX-License-Identifier: Apache-2.0 */
/* What a check before a migration asks libvirt beside virt_facts(): of the domain at the source, of
 * what the destination can be. */
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/domain-look.h"
#include "hostdev/libvirt/virt-internal.h"

static const char *operation_name(int operation) {
        static const char *const names[] = {
                [VIR_DOMAIN_JOB_OPERATION_UNKNOWN] = "unknown",
                [VIR_DOMAIN_JOB_OPERATION_START] = "start",
                [VIR_DOMAIN_JOB_OPERATION_SAVE] = "save",
                [VIR_DOMAIN_JOB_OPERATION_RESTORE] = "restore",
                [VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN] = "incoming migration",
                [VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT] = "outgoing migration",
                [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT] = "snapshot",
                [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT] = "snapshot revert",
                [VIR_DOMAIN_JOB_OPERATION_DUMP] = "dump",
                [VIR_DOMAIN_JOB_OPERATION_BACKUP] = "backup",
        };

        return operation >= 0 && operation < (int)ELEMENTSOF(names) && names[operation]
                       ? names[operation]
                       : "unknown";
}

static int read_operation(const Libvirt *lv, virDomainPtr domain, VirtInspect *ret, Error *reterr) {
        int type = VIR_DOMAIN_JOB_NONE, n = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
        virTypedParameterPtr params = NULL;

        if (lv->virDomainGetJobStats(domain, &type, &params, &n, 0) < 0)
                return libvirt_error(lv, reterr);
        (void)lv->virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
        lv->virTypedParamsFree(params, n);
        ret->job = type == VIR_DOMAIN_JOB_NONE ? "none" : operation_name(operation);
        return 0;
}

typedef struct BlockJobs {
        const Libvirt *lv;
        virDomainPtr domain;
        unsigned n;
} BlockJobs;

static void count_block_job(void *userdata, const char *target) {
        virDomainBlockJobInfo info;
        BlockJobs *b = userdata;

        if (b->lv->virDomainGetBlockJobInfo(b->domain, target, &info, 0) > 0)
                b->n++;
}

static int run_inspect(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        VirtInspect *ret = &job->out.inspect;
        BlockJobs blocks = { lv, domain, 0 };
        int r, n;

        *ret = (VirtInspect){};
        r = domain_info(job->v, domain, &ret->domain, reterr);
        if (r == 0)
                r = read_operation(lv, domain, ret, reterr);
        if (r < 0)
                return r;
        n = lv->virDomainSnapshotNum(domain, 0);
        if (n < 0)
                return libvirt_error(lv, reterr);
        ret->snapshots = (unsigned)n;
        job->result_text = lv->virDomainGetXMLDesc(domain, 0);
        if (!job->result_text)
                return libvirt_error(lv, reterr);
        ret->xml = job->result_text;
        domain_look_targets(ret->xml, count_block_job, &blocks);
        ret->block_jobs = blocks.n;
        return 0;
}

int virt_inspect(Virt *v, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, "look", run_inspect, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->result = &job->out.inspect;
        return job_submit(job, LANE_QUERY, reterr);
}

static int run_machine(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        _cleanup_free_ char *xml = NULL;

        xml = lv->virConnectGetDomainCapabilities(conn, NULL, "x86_64", job->xml,
                                                  domain_type_name((DomainType)job->number), 0);
        return xml ? 0 : libvirt_error(lv, reterr);
}

int virt_knows_machine(Virt *v, DomainType type, const char *machine, OpDone done, void *userdata,
                       Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(v, "machine type", run_machine, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->of_host = true;
        job->number = type;
        job->xml = strdup(machine);
        if (!job->xml)
                return error_oom(reterr);
        return job_submit(TAKE(job), LANE_QUERY, reterr);
}
