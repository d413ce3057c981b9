/* SPDX-License-Identifier: Apache-2.0 */
/* One thread asks, and whoever wants to know waits for it with a deadline. A thread that hangs in
 * libvirt cannot be ended: it is left behind, and what it shares lives as long as either of the two
 * does. */
#include "hostdev/libvirt/virt-survey.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hostdev/libvirt/virt-internal.h"
#include "hostdev/qemu-process.h"

typedef struct Survey {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned refs;
        char *uri, *prefix;
        VirtSurvey *found; /* complete but for the jobs once `listed` */
        bool listed, ended;
        int r;
        Error error;
} Survey;

static const char *const control_names[_VIRT_CONTROL_MAX] = {
        [VIRT_CONTROL_OK] = "ok",
        [VIRT_CONTROL_BUSY] = "busy",
        [VIRT_CONTROL_BROKEN] = "broken",
};

const char *virt_control_name(VirtControl c) {
        return c < _VIRT_CONTROL_MAX ? control_names[c] : NULL;
}

static void survey_unref(Survey *s) {
        bool last;

        (void)pthread_mutex_lock(&s->lock);
        last = --s->refs == 0;
        (void)pthread_mutex_unlock(&s->lock);
        if (!last)
                return;
        (void)pthread_mutex_destroy(&s->lock);
        (void)pthread_cond_destroy(&s->changed);
        free(s->uri);
        free(s->prefix);
        free(s->found);
        free(s);
}

/* -- the thread that asks -- */

/* libvirt answers this from what it knows, without asking QEMU. */
static VirtControl control_of(const Libvirt *lv, virDomainPtr domain) {
        virDomainControlInfo info;

        if (lv->virDomainGetControlInfo(domain, &info, 0) < 0) {
                lv->virResetLastError();
                return VIRT_CONTROL_OK; /* one that does not run has none */
        }
        return info.state == VIR_DOMAIN_CONTROL_OK      ? VIRT_CONTROL_OK
               : info.state == VIR_DOMAIN_CONTROL_ERROR ? VIRT_CONTROL_BROKEN
                                                        : VIRT_CONTROL_BUSY;
}

/* One that ends meanwhile is left out. */
static void look(const Libvirt *lv, virDomainPtr domain, const char *prefix, VirtSurvey *to) {
        const char *name = lv->virDomainGetName(domain);
        VirtSurveyed *d = &to->domains[to->n];
        int state, reason;

        *d = (VirtSurveyed){};
        if (!name || strncmp(name, prefix, strlen(prefix)) != 0 ||
            strlen(name) >= sizeof(d->name) ||
            lv->virDomainGetState(domain, &state, &reason, 0) < 0 ||
            lv->virDomainGetUUIDString(domain, d->uuid) < 0 ||
            !virt_state_of(state, reason, &d->state, &d->reason)) {
                lv->virResetLastError();
                return;
        }
        (void)snprintf(d->name, sizeof(d->name), "%s", name);
        d->control = control_of(lv, domain);
        to->n++;
}

/* This one may wait for QEMU, so it comes last, and a QEMU that is stopped is not asked. */
static void ask_for_job(Survey *s, const Libvirt *lv, virDomainPtr domain, const char *name) {
        virTypedParameterPtr params = NULL;
        int type = VIR_DOMAIN_JOB_NONE, n = 0;
        char uuid[VIRT_UUID_SIZE];
        bool known;
        pid_t pid;

        if (virt_qemu_find(name, &pid, uuid, NULL) == 0 && process_is_stopped(pid))
                return;
        known = lv->virDomainGetJobStats(domain, &type, &params, &n, 0) >= 0;
        lv->virTypedParamsFree(params, n);
        lv->virResetLastError();
        (void)pthread_mutex_lock(&s->lock);
        for (size_t i = 0; known && i < s->found->n; i++)
                if (strcmp(s->found->domains[i].name, name) == 0) {
                        s->found->domains[i].job_known = true;
                        s->found->domains[i].job = type != VIR_DOMAIN_JOB_NONE;
                }
        (void)pthread_mutex_unlock(&s->lock);
}

static int list(Survey *s, const Libvirt *lv, virConnectPtr conn, virDomainPtr **ret,
                Error *reterr) {
        VirtSurvey *found = calloc(1, sizeof(*found));
        int n = found ? lv->virConnectListAllDomains(conn, ret, 0) : 0;

        if (!found)
                return error_oom(reterr);
        if (n < 0) {
                free(found);
                return libvirt_error(lv, reterr);
        }
        for (int i = 0; i < n && found->n < VIRT_SURVEY_MAX; i++)
                look(lv, (*ret)[i], s->prefix, found);
        (void)pthread_mutex_lock(&s->lock);
        s->found = found;
        s->listed = true;
        (void)pthread_mutex_unlock(&s->lock);
        return n;
}

static int ask(Survey *s, Error *reterr) {
        virDomainPtr *domains = NULL;
        const Libvirt *lv;
        virConnectPtr conn;
        int r;

        r = libvirt_load(&lv, reterr);
        if (r < 0)
                return r;
        conn = lv->virConnectOpen(s->uri);
        if (!conn) {
                (void)libvirt_error(lv, reterr);
                return error_prefix(reterr, -EBUSY, "libvirt at %s cannot be reached", s->uri);
        }
        r = list(s, lv, conn, &domains, reterr);
        for (int i = 0; i < r; i++) {
                const char *name = lv->virDomainGetName(domains[i]);

                if (name && virt_survey_find(s->found, name))
                        ask_for_job(s, lv, domains[i], name);
                (void)lv->virDomainFree(domains[i]);
        }
        free(domains);
        (void)lv->virConnectClose(conn);
        lv->virResetLastError();
        return r < 0 ? r : 0;
}

static void *run(void *argument) {
        Error e = ERROR_INIT;
        Survey *s = argument;
        int r = ask(s, &e);

        (void)pthread_mutex_lock(&s->lock);
        s->r = r;
        s->error = e;
        s->ended = true;
        (void)pthread_cond_signal(&s->changed);
        (void)pthread_mutex_unlock(&s->lock);
        survey_unref(s);
        return NULL;
}

/* -- the one who waits -- */

static Survey *survey_new(const char *uri, const char *prefix) {
        Survey *s = calloc(1, sizeof(*s));
        pthread_condattr_t attr;

        if (!s)
                return NULL;
        (void)pthread_mutex_init(&s->lock, NULL);
        (void)pthread_condattr_init(&attr);
        (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&s->changed, &attr);
        (void)pthread_condattr_destroy(&attr);
        s->refs = 1;
        s->uri = strdup(uri);
        s->prefix = strdup(prefix);
        if (s->uri && s->prefix)
                return s;
        survey_unref(s);
        return NULL;
}

static int wait_for(Survey *s, unsigned timeout_ms, VirtSurvey *copy, Error *reterr) {
        struct timespec end;
        int r = 0;

        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += timeout_ms / 1000U;
        end.tv_nsec += (long)(timeout_ms % 1000U) * 1000000L;
        if (end.tv_nsec >= 1000000000L) {
                end.tv_sec++;
                end.tv_nsec -= 1000000000L;
        }
        (void)pthread_mutex_lock(&s->lock);
        while (!s->ended && r == 0)
                r = pthread_cond_timedwait(&s->changed, &s->lock, &end);
        if (s->listed)
                *copy = *s->found;
        r = s->listed ? 0
            : s->ended
                    ? error_setf(reterr, s->r, "%s", error_text(&s->error, s->r))
                    : error_setf(reterr, -ETIMEDOUT, "libvirt at %s does not answer within %u ms",
                                 s->uri, timeout_ms);
        (void)pthread_mutex_unlock(&s->lock);
        return r;
}

int virt_survey(const char *uri, const char *prefix, unsigned timeout_ms, VirtSurvey **ret,
                Error *reterr) {
        _cleanup_free_ VirtSurvey *copy = calloc(1, sizeof(*copy));
        Survey *s = copy ? survey_new(uri, prefix) : NULL;
        pthread_t thread;
        int r;

        if (!s)
                return error_oom(reterr);
        s->refs++; /* the thread's */
        r = thread_start(&thread, "libvirt-survey", run, s);
        if (r < 0) {
                s->refs--;
                survey_unref(s);
                return error_setf(reterr, r, "starting a thread failed");
        }
        (void)pthread_detach(thread);
        r = wait_for(s, timeout_ms, copy, reterr);
        survey_unref(s);
        if (r == 0)
                *ret = TAKE(copy);
        return r;
}

const VirtSurveyed *virt_survey_find(const VirtSurvey *s, const char *name) {
        for (size_t i = 0; i < s->n; i++)
                if (strcmp(s->domains[i].name, name) == 0)
                        return &s->domains[i];
        return NULL;
}
