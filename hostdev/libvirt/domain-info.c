/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt's states and reasons in our words, and the pid of a domain's QEMU. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"
#include "hostdev/qemu-process.h"

#define PID_FILES "/run/libvirt/qemu"
#define ANY       (-1)

static const struct {
        int state, reason;
        VirtState ours;
        VirtReason why;
} states[] = {
        { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, VIRT_RUNNING, VIRT_REASON_BOOTED },
        { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATED, VIRT_RUNNING, VIRT_REASON_MIGRATED },
        { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, VIRT_RUNNING, VIRT_REASON_USER },
        { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, VIRT_RUNNING,
          VIRT_REASON_CANCELED },
        { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_POSTCOPY, VIRT_RUNNING, VIRT_REASON_POSTCOPY },
        { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_POSTCOPY_FAILED, VIRT_RUNNING,
          VIRT_REASON_POSTCOPY_FAILED },
        { VIR_DOMAIN_RUNNING, ANY, VIRT_RUNNING, VIRT_REASON_OTHER },
        { VIR_DOMAIN_BLOCKED, ANY, VIRT_RUNNING, VIRT_REASON_OTHER },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, VIRT_PAUSED, VIRT_REASON_USER },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION, VIRT_PAUSED, VIRT_REASON_MIGRATION },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP, VIRT_PAUSED, VIRT_REASON_STARTING },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_POSTCOPY, VIRT_PAUSED, VIRT_REASON_POSTCOPY },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_POSTCOPY_FAILED, VIRT_PAUSED,
          VIRT_REASON_POSTCOPY_FAILED },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR, VIRT_PAUSED, VIRT_REASON_IO_ERROR },
        { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_CRASHED, VIRT_CRASHED, VIRT_REASON_CRASHED },
        { VIR_DOMAIN_PAUSED, ANY, VIRT_PAUSED, VIRT_REASON_OTHER },
        { VIR_DOMAIN_PMSUSPENDED, ANY, VIRT_PAUSED, VIRT_REASON_OTHER },
        { VIR_DOMAIN_SHUTDOWN, ANY, VIRT_SHUTTING_DOWN, VIRT_REASON_OTHER },
        { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIRT_SHUTOFF, VIRT_REASON_GUEST },
        { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED, VIRT_SHUTOFF, VIRT_REASON_DESTROYED },
        { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED, VIRT_SHUTOFF, VIRT_REASON_CRASHED },
        { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_MIGRATED, VIRT_SHUTOFF, VIRT_REASON_MIGRATED },
        { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED, VIRT_SHUTOFF, VIRT_REASON_FAILED },
        { VIR_DOMAIN_SHUTOFF, ANY, VIRT_SHUTOFF, VIRT_REASON_OTHER },
        { VIR_DOMAIN_CRASHED, ANY, VIRT_CRASHED, VIRT_REASON_CRASHED },
};

bool virt_state_of(int state, int reason, VirtState *ret, VirtReason *ret_why) {
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                if (states[i].state != state ||
                    (states[i].reason != reason && states[i].reason != ANY))
                        continue;
                *ret = states[i].ours;
                *ret_why = states[i].why;
                return true;
        }
        return false;
}

int domain_info(Virt *v, virDomainPtr domain, VirtDomain *ret, Error *reterr) {
        VirtDomain d = { .id = -1 };
        int state, reason, r;
        unsigned id;

        if (v->lv->virDomainGetState(domain, &state, &reason, 0) < 0) {
                r = libvirt_error(v->lv, reterr);
                if (r != -ENOENT)
                        return r;
                *ret = d; /* VIRT_NONE: it ended after it was looked up */
                return 0;
        }
        if (!virt_state_of(state, reason, &d.state, &d.reason))
                return error_setf(reterr, -EIO, "libvirt's state %d is not known here", state);
        id = v->lv->virDomainGetID(domain);
        if (id != (unsigned)-1)
                d.id = (int)id;
        v->lv->virResetLastError();
        if (virt_qemu_pid(v->name, v->uuid, &d.pid, NULL) < 0)
                d.pid = 0;
        *ret = d;
        return 0;
}

int domain_query(Job *job, virConnectPtr conn, virDomainPtr none, Error *reterr) {
        virDomainPtr domain;
        int r;

        domain = job->v->lv->virDomainLookupByUUIDString(conn, job->v->uuid);
        if (!domain) {
                r = libvirt_error(job->v->lv, reterr);
                if (r != -ENOENT)
                        return r;
                job->out.domain = (VirtDomain){ .state = VIRT_NONE, .id = -1 };
                return 0;
        }
        r = domain_info(job->v, domain, &job->out.domain, reterr);
        (void)job->v->lv->virDomainFree(domain);
        return r;
}

static int read_pid(const char *name, pid_t *ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        char text[32] = {};
        long pid;
        char *end;
        int r;

        if (asprintf(&path, PID_FILES "/%s.pid", name) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        r = file_read(path, text, sizeof(text));
        if (r < 0)
                return error_setf(reterr, r, "%s: %s", path, error_text(NULL, r));
        errno = 0;
        pid = strtol(text, &end, 10);
        if (errno != 0 || end == text || (*end != '\0' && *end != '\n') || pid <= 1 ||
            pid > INT32_MAX)
                return error_setf(reterr, -EBADMSG, "%s does not hold a pid", path);
        *ret = (pid_t)pid;
        return 0;
}

int virt_qemu_pid(const char *name, const char *uuid, pid_t *ret, Error *reterr) {
        pid_t pid;
        int r = read_pid(name, &pid, reterr);

        if (r == 0)
                r = qemu_process_check(pid, uuid, reterr);
        if (r == 0)
                *ret = pid;
        return r;
}

int virt_qemu_find(const char *name, pid_t *ret, char ret_uuid[static VIRT_UUID_SIZE],
                   Error *reterr) {
        pid_t pid;
        int r = read_pid(name, &pid, reterr);

        if (r == 0)
                r = qemu_process_uuid(pid, name, ret_uuid, VIRT_UUID_SIZE, reterr);
        if (r == 0)
                *ret = pid;
        return r;
}
