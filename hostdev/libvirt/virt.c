/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/libvirt/virt.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"

#define QUEUE_MAX 64U

static const char *const state_names[_VIRT_STATE_MAX] = {
        [VIRT_NONE] = "none",        [VIRT_RUNNING] = "running",
        [VIRT_PAUSED] = "paused",    [VIRT_SHUTTING_DOWN] = "shutting-down",
        [VIRT_SHUTOFF] = "shut-off", [VIRT_CRASHED] = "crashed",
};

static const char *const reason_names[_VIRT_REASON_MAX] = {
        [VIRT_REASON_OTHER] = "other",
        [VIRT_REASON_BOOTED] = "booted",
        [VIRT_REASON_USER] = "user",
        [VIRT_REASON_MIGRATION] = "migration",
        [VIRT_REASON_MIGRATED] = "migrated",
        [VIRT_REASON_STARTING] = "starting",
        [VIRT_REASON_CANCELED] = "canceled",
        [VIRT_REASON_POSTCOPY] = "post-copy",
        [VIRT_REASON_POSTCOPY_FAILED] = "post-copy-failed",
        [VIRT_REASON_GUEST] = "guest",
        [VIRT_REASON_DESTROYED] = "destroyed",
        [VIRT_REASON_CRASHED] = "crashed",
        [VIRT_REASON_FAILED] = "failed",
        [VIRT_REASON_IO_ERROR] = "io-error",
};

const char *virt_state_name(VirtState s) {
        assert(s < _VIRT_STATE_MAX);
        return state_names[s];
}

const char *virt_reason_name(VirtReason r) {
        assert(r < _VIRT_REASON_MAX);
        return reason_names[r];
}

int virt_new(sd_event *loop, const char *uri, VirtHandler handler, void *userdata, Virt **ret,
             Error *reterr) {
        _cleanup_(virt_freep) Virt *v = NULL;
        _cleanup_free_ Virt *raw = NULL;
        int r;

        raw = calloc(1, sizeof(*raw));
        if (!raw)
                return error_oom(reterr);
        raw->uri = strdup(uri);
        if (!raw->uri)
                return error_oom(reterr);
        r = mailbox_init(&raw->mailbox, loop, reterr);
        if (r < 0) {
                free(raw->uri);
                return r;
        }
        v = TAKE(raw);
        v->loop = sd_event_ref(loop);
        v->handler = handler;
        v->userdata = userdata;
        lane_init(&v->lanes[LANE_QUERY], "libvirt-query", QUEUE_MAX);
        lane_init(&v->lanes[LANE_CHANGE], "libvirt-change", QUEUE_MAX);
        lane_init(&v->lanes[LANE_MIGRATE], "libvirt-migrate", 1);
        for (size_t i = 0; i < ELEMENTSOF(v->links); i++)
                v->links[i].v = v;
        (void)pthread_mutex_init(&v->lock, NULL);
        (void)pthread_mutex_init(&v->id_lock, NULL);
        *ret = TAKE(v);
        return 0;
}

/* Threads first: then nobody can put anything into the mailbox. Events and calls of our own that
 * still wait in it have no reader any more. */
Virt *virt_free(Virt *v) {
        if (!v)
                return NULL;
        assert(v->n_jobs == 0 && !v->delivering);
        for (size_t i = 0; i < ELEMENTSOF(v->lanes); i++)
                lane_done(&v->lanes[i]);
        if (v->event_thread) {
                connection_done(v);
                event_thread_put();
        }
        mailbox_done(&v->mailbox);
        sd_event_unref(v->loop);
        (void)pthread_mutex_destroy(&v->lock);
        (void)pthread_mutex_destroy(&v->id_lock);
        free(v->uri);
        free(v);
        return NULL;
}

unsigned virt_busy(const Virt *v) {
        return v->n_jobs;
}

int virt_set_domain(Virt *v, const char *name, const char *uuid, Error *reterr) {
        if (strcmp(v->name, name) == 0 && strcmp(v->uuid, uuid) == 0)
                return 0;
        if (v->n_jobs > 0 || v->n_internal > 0)
                return error_setf(reterr, -EBUSY, "calls about %s are under way", v->name);
        if (strlen(name) >= sizeof(v->name) || strlen(uuid) != VIRT_UUID_SIZE - 1)
                return error_setf(reterr, -EINVAL, "domain name or UUID is of the wrong length");
        (void)pthread_mutex_lock(&v->id_lock);
        (void)snprintf(v->name, sizeof(v->name), "%s", name);
        (void)snprintf(v->uuid, sizeof(v->uuid), "%s", uuid);
        (void)pthread_mutex_unlock(&v->id_lock);
        return 0;
}

/* A job without inputs, on the domain. */
static int submit(Virt *v, LaneId lane, const char *step, JobRun run, bool needs_domain,
                  OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, step, run, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->needs_domain = needs_domain;
        return job_submit(job, lane, reterr);
}

static int run_open(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        return 0;
}

int virt_open(Virt *v, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, "connecting", run_open, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->of_host = true;
        return job_submit(job, LANE_QUERY, reterr);
}

/* The value of attribute machine of <type>, as libvirt wrote it into the live XML. */
static void read_machine(Virt *v, virDomainPtr domain, VirtDomain *ret) {
        _cleanup_free_ char *xml = v->lv->virDomainGetXMLDesc(domain, 0);
        static const char mark[] = "machine='";
        const char *s = xml ? strstr(xml, mark) : NULL;
        size_t n;

        if (!s)
                return;
        s += sizeof(mark) - 1;
        n = strcspn(s, "'");
        if (n < sizeof(ret->machine))
                (void)snprintf(ret->machine, sizeof(ret->machine), "%.*s", (int)n, s);
}

static bool find_domain(Virt *v, virConnectPtr conn) {
        virDomainPtr d = v->lv->virDomainLookupByUUIDString(conn, v->uuid);

        if (!d)
                d = v->lv->virDomainLookupByName(conn, v->name);
        v->lv->virResetLastError();
        if (!d)
                return false;
        (void)v->lv->virDomainFree(d);
        return true;
}

static int run_create(Job *job, virConnectPtr conn, virDomainPtr none, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        virDomainPtr domain;
        int r;

        domain = lv->virDomainCreateXML(conn, job->xml, job->flag ? VIR_DOMAIN_START_PAUSED : 0);
        if (!domain) {
                r = libvirt_error(lv, reterr);
                if (find_domain(job->v, conn) && r != -EEXIST)
                        return error_prefix(reterr, -EEXIST, "there is one of that name or UUID");
                return r;
        }
        r = domain_info(job->v, domain, &job->out.domain, reterr);
        if (r >= 0)
                read_machine(job->v, domain, &job->out.domain);
        (void)lv->virDomainFree(domain);
        return r;
}

int virt_create(Virt *v, const char *xml, bool paused, OpDone done, void *userdata, Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(v, "creation", run_create, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->needs_domain = false;
        job->flag = paused;
        job->result = &job->out.domain;
        job->xml = strdup(xml);
        if (!job->xml)
                return error_oom(reterr);
        return job_submit(TAKE(job), LANE_CHANGE, reterr);
}

/* Looks the domain up by itself: that there is none is what was wanted. */
static int run_destroy(Job *job, virConnectPtr conn, virDomainPtr none, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        virDomainPtr domain;
        int r = 0;

        domain = lv->virDomainLookupByUUIDString(conn, job->v->uuid);
        if (!domain) {
                r = libvirt_error(lv, reterr);
                return r == -ENOENT ? 0 : r;
        }
        if (lv->virDomainDestroy(domain) < 0)
                r = libvirt_error(lv, reterr);
        (void)lv->virDomainFree(domain);
        if (r != -EBADFD && r != -ENOENT)
                return r;
        /* It ended between the two calls, unless it is still there. */
        domain = lv->virDomainLookupByUUIDString(conn, job->v->uuid);
        lv->virResetLastError();
        if (!domain)
                return 0;
        (void)lv->virDomainFree(domain);
        return r;
}

int virt_destroy(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, LANE_CHANGE, "destruction", run_destroy, false, done, userdata, reterr);
}

static int run_suspend(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        return job->v->lv->virDomainSuspend(domain) < 0 ? libvirt_error(job->v->lv, reterr) : 0;
}

static int run_resume(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        return job->v->lv->virDomainResume(domain) < 0 ? libvirt_error(job->v->lv, reterr) : 0;
}

int virt_suspend(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, LANE_CHANGE, "suspension", run_suspend, true, done, userdata, reterr);
}

int virt_resume(Virt *v, OpDone done, void *userdata, Error *reterr) {
        return submit(v, LANE_CHANGE, "resumption", run_resume, true, done, userdata, reterr);
}

int virt_query(Virt *v, OpDone done, void *userdata, Error *reterr) {
        Job *job;
        int r;

        r = job_new(v, "query", domain_query, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->needs_domain = false;
        job->result = &job->out.domain;
        return job_submit(job, LANE_QUERY, reterr);
}
