/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is copied to another file while the guest works: libvirt's block copy. */
#include <stdio.h>

#include "hostdev/libvirt/virt-internal.h"

static int run_copy(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const unsigned flags = VIR_DOMAIN_BLOCK_COPY_REUSE_EXT |
                               VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB |
                               VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES;
        const unsigned long long *bandwidth = job->input;
        const Libvirt *lv = job->v->lv;
        virTypedParameterPtr params = NULL;
        char target[DISK_TARGET_SIZE];
        int n = 0, max = 0, r = 0;

        disk_target((uint32_t)job->number, target);
        if (*bandwidth > 0)
                r = lv->virTypedParamsAddULLong(&params, &n, &max, VIR_DOMAIN_BLOCK_COPY_BANDWIDTH,
                                                *bandwidth);
        if (r >= 0)
                r = lv->virDomainBlockCopy(domain, target, job->xml, params, n, flags);
        if (r < 0)
                r = libvirt_error(lv, reterr);
        lv->virTypedParamsFree(params, n);
        return r < 0 ? r : 0;
}

int virt_copy_disk(Virt *v, const DiskSpec *to, uint64_t bandwidth_mib, OpDone done, void *userdata,
                   Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        unsigned long long *bandwidth;
        int r;

        if (bandwidth_mib > VIRT_COPY_BANDWIDTH_MAX)
                return error_setf(reterr, -EINVAL, "bandwidth: at most %u MiB/s",
                                  VIRT_COPY_BANDWIDTH_MAX);
        r = job_new(v, "copying a disk", run_copy, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        bandwidth = malloc(sizeof(*bandwidth));
        if (!bandwidth)
                return error_oom(reterr);
        *bandwidth = bandwidth_mib << 20;
        job->input = bandwidth;
        job->free_input = free;
        job->number = to->slot;
        r = disk_xml(to, &job->xml, reterr);
        return r < 0 ? r : job_submit(TAKE(job), LANE_CHANGE, reterr);
}

static int run_end(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        char target[DISK_TARGET_SIZE];

        disk_target((uint32_t)job->number, target);
        if (lv->virDomainBlockJobAbort(domain, target,
                                       job->flag ? VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT : 0) < 0)
                return libvirt_error(lv, reterr);
        return 0;
}

int virt_copy_end(Virt *v, uint32_t slot, bool pivot, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, pivot ? "going over to the copy of a disk" : "ending the copy of a disk",
                    run_end, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->number = slot;
        job->flag = pivot;
        return job_submit(job, LANE_CHANGE, reterr);
}

static int run_look(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        virDomainBlockJobInfo info = {};
        const Libvirt *lv = job->v->lv;
        char target[DISK_TARGET_SIZE];

        disk_target((uint32_t)job->number, target);
        if (lv->virDomainGetBlockJobInfo(domain, target, &info, 0) < 0)
                return libvirt_error(lv, reterr);
        job->out.copy = (VirtCopy){ .copied = info.cur, .total = info.end };
        return 0;
}

int virt_copy_look(Virt *v, uint32_t slot, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, "looking at the copy of a disk", run_look, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->number = slot;
        job->result = &job->out.copy;
        return job_submit(job, LANE_QUERY, reterr);
}
