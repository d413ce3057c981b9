/* SPDX-License-Identifier: Apache-2.0 */
/* How much a guest writes. libvirt starts a measurement and does not say when it is over: one looks
 * then. QEMU samples pages (512 of each GiB): its other ways count with KVM alone. */
#include "hostdev/libvirt/virt-internal.h"

static int run_start(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;

        return lv->virDomainStartDirtyRateCalc(domain, (int)job->number,
                                               VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING) < 0
                       ? libvirt_error(lv, reterr)
                       : 0;
}

int virt_dirty_start(Virt *v, unsigned seconds, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        if (seconds < 1 || seconds > 60)
                return error_setf(reterr, -EINVAL, "%u s: libvirt measures for 1 to 60", seconds);
        r = job_new(v, "dirty rate", run_start, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->number = seconds;
        return job_submit(job, LANE_QUERY, reterr);
}

static void read_record(const Libvirt *lv, virDomainStatsRecordPtr s, VirtDirty *ret) {
        int status = VIR_DOMAIN_DIRTYRATE_UNSTARTED, period = 0;
        long long rate = -1;

        (void)lv->virTypedParamsGetInt(s->params, s->nparams, "dirtyrate.calc_status", &status);
        (void)lv->virTypedParamsGetInt(s->params, s->nparams, "dirtyrate.calc_period", &period);
        (void)lv->virTypedParamsGetLLong(s->params, s->nparams, "dirtyrate.megabytes_per_second",
                                         &rate);
        ret->measuring = status == VIR_DOMAIN_DIRTYRATE_MEASURING;
        ret->measured = status == VIR_DOMAIN_DIRTYRATE_MEASURED && period > 0 && rate >= 0;
        ret->seconds = period > 0 ? (unsigned)period : 0;
        ret->mib_per_s = rate > 0 ? (uint64_t)rate : 0;
}

static int run_look(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        virDomainPtr list[] = { domain, NULL };
        const Libvirt *lv = job->v->lv;
        virDomainStatsRecordPtr *records = NULL;
        int n;

        job->out.dirty = (VirtDirty){};
        n = lv->virDomainListGetStats(list, VIR_DOMAIN_STATS_DIRTYRATE, &records, 0);
        if (n < 0)
                return libvirt_error(lv, reterr);
        if (n > 0)
                read_record(lv, records[0], &job->out.dirty);
        lv->virDomainStatsRecordListFree(records);
        lv->virResetLastError();
        return 0;
}

int virt_dirty_look(Virt *v, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, "dirty rate", run_look, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->result = &job->out.dirty;
        return job_submit(job, LANE_QUERY, reterr);
}
