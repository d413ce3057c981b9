/* SPDX-License-Identifier: Apache-2.0 */
/* Migration out of this host, and what can be asked and told while it lasts. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"

/* A VirtMigrate with everything of its own. */
typedef struct MigrateInput {
        char *dest_uri, *migrate_uri, *disks_uri, *dest_xml, *dest_name;
        uint32_t *copy_slots;
        size_t n_copy_slots;
        unsigned long flags; /* libvirt's */
        uint64_t bandwidth_mib, bandwidth_postcopy_mib, max_downtime_ms;
        uint32_t parallel_connections;
        uint64_t compression_cache;
        uint32_t throttle_initial, throttle_increment;
} MigrateInput;

static void free_migrate_input(void *input) {
        MigrateInput *m = input;

        if (!m)
                return;
        free(m->dest_uri);
        free(m->migrate_uri);
        free(m->disks_uri);
        free(m->dest_xml);
        free(m->dest_name);
        free(m->copy_slots);
        free(m);
}

static int copy_string(char **ret, const char *s) {
        if (!s)
                return 0;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static unsigned long libvirt_flags(const VirtMigrate *m) {
        static const struct {
                unsigned ours;
                unsigned long theirs;
        } table[] = {
                { VIRT_MIGRATE_PAUSED, VIR_MIGRATE_PAUSED },
                { VIRT_MIGRATE_COPY_DISKS, VIR_MIGRATE_NON_SHARED_DISK },
                { VIRT_MIGRATE_POSTCOPY, VIR_MIGRATE_POSTCOPY },
                { VIRT_MIGRATE_AUTO_CONVERGE, VIR_MIGRATE_AUTO_CONVERGE },
                { VIRT_MIGRATE_COMPRESS, VIR_MIGRATE_COMPRESSED },
                { VIRT_MIGRATE_UNSAFE, VIR_MIGRATE_UNSAFE },
                { VIRT_MIGRATE_TLS, VIR_MIGRATE_TLS },
                { VIRT_MIGRATE_ZEROCOPY, VIR_MIGRATE_ZEROCOPY },
                { VIRT_MIGRATE_ABORT_ON_ERROR, VIR_MIGRATE_ABORT_ON_ERROR },
                { VIRT_MIGRATE_SYNCHRONOUS_WRITES, VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES },
        };
        unsigned long flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER;

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (m->flags & table[i].ours)
                        flags |= table[i].theirs;
        if (m->parallel_connections > 0)
                flags |= VIR_MIGRATE_PARALLEL;
        return flags;
}

static int copy_input(const VirtMigrate *m, MigrateInput *ret) {
        *ret = (MigrateInput){
                .n_copy_slots = m->n_copy_slots,
                .flags = libvirt_flags(m),
                .bandwidth_mib = m->bandwidth_mib,
                .bandwidth_postcopy_mib = m->bandwidth_postcopy_mib,
                .max_downtime_ms = m->max_downtime_ms,
                .parallel_connections = m->parallel_connections,
                .compression_cache = m->compression_cache,
                .throttle_initial = m->throttle_initial,
                .throttle_increment = m->throttle_increment,
        };
        if (copy_string(&ret->dest_uri, m->dest_uri) < 0 ||
            copy_string(&ret->migrate_uri, m->migrate_uri) < 0 ||
            copy_string(&ret->disks_uri, m->disks_uri) < 0 ||
            copy_string(&ret->dest_xml, m->dest_xml) < 0 ||
            copy_string(&ret->dest_name, m->dest_name) < 0)
                return -ENOMEM;
        if (m->n_copy_slots == 0)
                return 0;
        ret->copy_slots = calloc(m->n_copy_slots, sizeof(*ret->copy_slots));
        if (!ret->copy_slots)
                return -ENOMEM;
        memcpy(ret->copy_slots, m->copy_slots, m->n_copy_slots * sizeof(*ret->copy_slots));
        return 0;
}

typedef struct Params {
        const Libvirt *lv;
        virTypedParameterPtr list;
        int n, max;
        int r;
} Params;

static void add_string(Params *p, const char *name, const char *value) {
        if (value && p->lv->virTypedParamsAddString(&p->list, &p->n, &p->max, name, value) < 0)
                p->r = -ENOMEM;
}

static void add_u64(Params *p, const char *name, uint64_t value) {
        if (value > 0 && p->lv->virTypedParamsAddULLong(&p->list, &p->n, &p->max, name, value) < 0)
                p->r = -ENOMEM;
}

static void add_int(Params *p, const char *name, uint32_t value) {
        if (value > 0 &&
            p->lv->virTypedParamsAddInt(&p->list, &p->n, &p->max, name, (int)value) < 0)
                p->r = -ENOMEM;
}

static int make_params(const MigrateInput *m, Params *p) {
        add_string(p, VIR_MIGRATE_PARAM_URI, m->migrate_uri);
        add_string(p, VIR_MIGRATE_PARAM_DISKS_URI, m->disks_uri);
        add_string(p, VIR_MIGRATE_PARAM_DEST_XML, m->dest_xml);
        add_string(p, VIR_MIGRATE_PARAM_DEST_NAME, m->dest_name);
        add_u64(p, VIR_MIGRATE_PARAM_BANDWIDTH, m->bandwidth_mib);
        add_u64(p, VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, m->bandwidth_postcopy_mib);
        add_int(p, VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, m->parallel_connections);
        add_int(p, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, m->throttle_initial);
        add_int(p, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, m->throttle_increment);
        if (m->flags & VIR_MIGRATE_COMPRESSED)
                add_string(p, VIR_MIGRATE_PARAM_COMPRESSION, "xbzrle");
        add_u64(p, VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, m->compression_cache);
        for (size_t i = 0; i < m->n_copy_slots; i++) {
                char target[DISK_TARGET_SIZE];

                disk_target(m->copy_slots[i], target);
                add_string(p, VIR_MIGRATE_PARAM_MIGRATE_DISKS, target);
        }
        return p->r;
}

static int run_migrate(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        const MigrateInput *m = job->input;
        Params p = { .lv = lv };
        int r;

        if (m->max_downtime_ms > 0 &&
            lv->virDomainMigrateSetMaxDowntime(domain, m->max_downtime_ms, 0) < 0)
                return libvirt_error(lv, reterr);
        r = make_params(m, &p);
        if (r < 0)
                r = error_oom(reterr);
        else if (lv->virDomainMigrateToURI3(domain, m->dest_uri, p.list, (unsigned)p.n,
                                            (unsigned)m->flags) < 0)
                r = libvirt_error(lv, reterr);
        lv->virTypedParamsFree(p.list, p.n);
        return r;
}

/* The domain is gone from this host, and its statistics with it: the event brought them. */
static void finish_migrate(Job *job) {
        job->out.job = job->v->last_job;
        job->result = &job->out.job;
        job_complete(job);
}

static int check_migrate(const VirtMigrate *m, Error *reterr) {
        if (!m->dest_uri)
                return error_setf(reterr, -EINVAL, "a migration needs a destination");
        if (m->n_copy_slots > DOMAIN_SLOTS_MAX)
                return error_setf(reterr, -EINVAL, "more disks to copy than there can be");
        for (size_t i = 0; i < m->n_copy_slots; i++)
                if (m->copy_slots[i] >= DOMAIN_SLOTS_MAX)
                        return error_setf(reterr, -EINVAL, "disk slot %u: there are %u",
                                          m->copy_slots[i], DOMAIN_SLOTS_MAX);
        /* Without a list libvirt would copy whatever can be written to. */
        if (!(m->flags & VIRT_MIGRATE_COPY_DISKS) != !m->n_copy_slots)
                return error_setf(reterr, -EINVAL, "copying disks needs a list of them");
        return 0;
}

int virt_migrate(Virt *v, const VirtMigrate *m, OpDone done, void *userdata, Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = check_migrate(m, reterr);
        if (r < 0)
                return r;
        r = job_new(v, "migration", run_migrate, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->finish = finish_migrate;
        job->free_input = free_migrate_input;
        job->input = malloc(sizeof(MigrateInput));
        if (!job->input || copy_input(m, job->input) < 0)
                return error_oom(reterr);
        v->last_job = (VirtJob){};
        return job_submit(TAKE(job), LANE_MIGRATE, reterr);
}

static uint64_t get_u64(const Libvirt *lv, virTypedParameterPtr params, int n, const char *name) {
        unsigned long long value = 0;

        if (lv->virTypedParamsGetULLong(params, n, name, &value) < 0)
                lv->virResetLastError();
        return value;
}

static VirtJobKind job_kind(int type) {
        switch (type) {
        case VIR_DOMAIN_JOB_NONE:
                return VIRT_JOB_NONE;
        case VIR_DOMAIN_JOB_COMPLETED:
                return VIRT_JOB_COMPLETED;
        case VIR_DOMAIN_JOB_FAILED:
                return VIRT_JOB_FAILED;
        case VIR_DOMAIN_JOB_CANCELLED:
                return VIRT_JOB_CANCELED;
        default:
                return VIRT_JOB_ACTIVE;
        }
}

void job_from_params(const Libvirt *lv, int type, virTypedParameterPtr params, int n,
                     VirtJob *ret) {
        const struct {
                const char *name;
                uint64_t *value;
        } fields[] = {
                { VIR_DOMAIN_JOB_TIME_ELAPSED, &ret->elapsed_ms },
                { VIR_DOMAIN_JOB_SETUP_TIME, &ret->setup_ms },
                { VIR_DOMAIN_JOB_DATA_TOTAL, &ret->total },
                { VIR_DOMAIN_JOB_DATA_PROCESSED, &ret->processed },
                { VIR_DOMAIN_JOB_DATA_REMAINING, &ret->remaining },
                { VIR_DOMAIN_JOB_MEMORY_TOTAL, &ret->memory_total },
                { VIR_DOMAIN_JOB_MEMORY_PROCESSED, &ret->memory_processed },
                { VIR_DOMAIN_JOB_MEMORY_REMAINING, &ret->memory_remaining },
                { VIR_DOMAIN_JOB_MEMORY_BPS, &ret->memory_bps },
                { VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, &ret->page_size },
                { VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, &ret->dirty_pages_per_s },
                { VIR_DOMAIN_JOB_MEMORY_ITERATION, &ret->iteration },
                { VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS, &ret->postcopy_requests },
                { VIR_DOMAIN_JOB_DISK_TOTAL, &ret->disk_total },
                { VIR_DOMAIN_JOB_DISK_PROCESSED, &ret->disk_processed },
                { VIR_DOMAIN_JOB_DISK_REMAINING, &ret->disk_remaining },
                { VIR_DOMAIN_JOB_DISK_BPS, &ret->disk_bps },
                { VIR_DOMAIN_JOB_COMPRESSION_BYTES, &ret->compressed_bytes },
                { VIR_DOMAIN_JOB_COMPRESSION_PAGES, &ret->compressed_pages },
        };
        unsigned long long downtime;
        const char *text = NULL;
        int success = 1, throttle = 0;

        *ret = (VirtJob){ .kind = job_kind(type) };
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                *fields[i].value = get_u64(lv, params, n, fields[i].name);
        ret->has_downtime =
                lv->virTypedParamsGetULLong(params, n, VIR_DOMAIN_JOB_DOWNTIME, &downtime) == 1;
        if (ret->has_downtime)
                ret->downtime_ms = downtime;
        if (lv->virTypedParamsGetString(params, n, VIR_DOMAIN_JOB_ERRMSG, &text) == 1 && text)
                (void)snprintf(ret->error, sizeof(ret->error), "%s", text);
        /* An event of a job that failed says so in a field of its own, libvirt's type does not. */
        if (lv->virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_SUCCESS, &success) < 0)
                lv->virResetLastError();
        if (lv->virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, &throttle) ==
            1)
                ret->throttle = throttle > 0 ? (uint32_t)throttle : 0;
        if (ret->kind == VIRT_JOB_COMPLETED && !success)
                ret->kind = VIRT_JOB_FAILED;
        lv->virResetLastError();
}

static int run_job(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        virTypedParameterPtr params = NULL;
        int type = VIR_DOMAIN_JOB_NONE, n = 0;

        if (lv->virDomainGetJobStats(domain, &type, &params, &n, (unsigned)job->number) < 0)
                return libvirt_error(lv, reterr);
        job_from_params(lv, type, params, n, &job->out.job);
        lv->virTypedParamsFree(params, n);
        return 0;
}

static int run_abort(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        int r;

        if (job->v->lv->virDomainAbortJob(domain) >= 0)
                return 0;
        r = libvirt_error(job->v->lv, reterr);
        return r == -EBADFD ? 0 : r; /* there is no job */
}

static int run_bandwidth(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;

        return lv->virDomainMigrateSetMaxSpeed(domain, job->number, 0) < 0
                       ? libvirt_error(lv, reterr)
                       : 0;
}

static int run_downtime(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;

        return lv->virDomainMigrateSetMaxDowntime(domain, job->number, 0) < 0
                       ? libvirt_error(lv, reterr)
                       : 0;
}

static int run_postcopy(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;

        return lv->virDomainMigrateStartPostCopy(domain, 0) < 0 ? libvirt_error(lv, reterr) : 0;
}

static int submit(Virt *v, const char *step, JobRun run, uint64_t number, bool has_result,
                  OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, step, run, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->number = number;
        if (has_result)
                job->result = &job->out.job;
        return job_submit(job, LANE_QUERY, reterr);
}

int virt_job(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, "job statistics", run_job, 0, true, done, userdata, reterr);
}

int virt_completed_job(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, "job statistics", run_job,
                      VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED, true,
                      done, userdata, reterr);
}

int virt_abort_job(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, "abort", run_abort, 0, false, done, userdata, reterr);
}

int virt_set_bandwidth(Virt *v, uint64_t mib_per_s, OpDone done, void *userdata, Error *reterr) {
        return submit(v, "bandwidth limit", run_bandwidth, mib_per_s, false, done, userdata,
                      reterr);
}

int virt_set_max_downtime(Virt *v, uint64_t ms, OpDone done, void *userdata, Error *reterr) {
        return submit(v, "downtime limit", run_downtime, ms, false, done, userdata, reterr);
}

int virt_start_postcopy(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, "post-copy", run_postcopy, 0, false, done, userdata, reterr);
}
