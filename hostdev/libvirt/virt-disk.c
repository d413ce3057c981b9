/* SPDX-License-Identifier: Apache-2.0 */
/* Hot-plug of disks and interfaces. An unplug is over when the hypervisor says that the device is
 * gone, which may come before libvirt's call returns or long after it. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/libvirt/virt-internal.h"

#define UNPLUG_USEC (10U * 1000U * 1000U)

/* Input of an unplug. An unplug that waits for the guest is in Virt.unplugs from its submission on,
 * so that it cannot miss the event. */
struct Unplug {
        Unplug *next;
        Job *job;
        char alias[DISK_ALIAS_SIZE];
        sd_event_source *deadline;
        bool removed;  /* the event has come */
        bool returned; /* libvirt's call has */
        bool nic;      /* not a disk */
        bool asking;   /* it was issued again at the deadline, to see what has become of it */
};

/* Lane threads. */
static bool slot_is_taken(Virt *v, virDomainPtr domain, uint32_t slot) {
        char target[DISK_TARGET_SIZE];
        virDomainBlockInfo info;
        bool taken;

        disk_target(slot, target);
        taken = v->lv->virDomainGetBlockInfo(domain, target, &info, 0) >= 0;
        v->lv->virResetLastError();
        return taken;
}

/* By its alias, which is the document's only trace of it that is ours. */
static bool nic_is_there(Virt *v, virDomainPtr domain, uint32_t slot) {
        char alias[DISK_ALIAS_SIZE], quoted[DISK_ALIAS_SIZE + 2];
        char *xml = v->lv->virDomainGetXMLDesc(domain, 0);
        bool there;

        nic_alias(slot, alias);
        (void)snprintf(quoted, sizeof(quoted), "'%s'", alias);
        there = xml && strstr(xml, quoted);
        free(xml);
        v->lv->virResetLastError();
        return there;
}

static int run_plug_nic(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;

        if (lv->virDomainAttachDeviceFlags(domain, job->xml, VIR_DOMAIN_AFFECT_LIVE) >= 0)
                return 0;
        return libvirt_error(lv, reterr);
}

static int run_plug(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        int r;

        if (lv->virDomainAttachDeviceFlags(domain, job->xml, VIR_DOMAIN_AFFECT_LIVE) >= 0)
                return 0;
        r = libvirt_error(lv, reterr);
        if (slot_is_taken(job->v, domain, (uint32_t)job->number))
                return error_prefix(reterr, -EEXIST, "slot %u is taken", (unsigned)job->number);
        return r;
}

int virt_plug_disk(Virt *v, const DiskSpec *disk, OpDone done, void *userdata, Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(v, "plugging a disk", run_plug, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        job->number = disk->slot;
        r = disk_xml(disk, &job->xml, reterr);
        if (r < 0)
                return r;
        return job_submit(TAKE(job), LANE_CHANGE, reterr);
}

static void unplug_forget(Unplug *u) {
        for (Unplug **p = &u->job->v->unplugs; *p; p = &(*p)->next)
                if (*p == u) {
                        *p = u->next;
                        break;
                }
        u->deadline = sd_event_source_disable_unref(u->deadline);
}

static void free_unplug(void *input) {
        Unplug *u = input;

        if (!u)
                return;
        unplug_forget(u);
        free(u);
}

/* libvirt has no code of its own for "no such device", which is success here. */
static int run_unplug(Job *job, virConnectPtr conn, virDomainPtr domain, Error *reterr) {
        const Libvirt *lv = job->v->lv;
        const Unplug *u = job->input;
        int r;

        if (lv->virDomainDetachDeviceAlias(domain, u->alias, 0) >= 0)
                return 1; /* the guest has been asked */
        r = libvirt_error(lv, reterr);
        if (lv->virConnectIsAlive(conn) == 1 &&
            !(u->nic ? nic_is_there : slot_is_taken)(job->v, domain, (uint32_t)job->number))
                return 0;
        return r;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Unplug *u = userdata;
        Job *job = u->job;

        u->deadline = sd_event_source_disable_unref(u->deadline);
        if (u->removed) {
                job->r = 0;
                job_complete(job);
                return 0;
        }
        /* The event may have been lost with a connection. */
        u->asking = true;
        u->returned = false;
        if (lane_put(&job->v->lanes[LANE_CHANGE], &job->note, &job->error) < 0) {
                job->r = -ETIMEDOUT;
                job_complete(job);
        }
        return 0;
}

static void finish_unplug(Job *job) {
        Unplug *u = job->input;
        int r;

        u->returned = true;
        if (u->removed)
                job->r = 0;
        if (job->r <= 0) {
                job_complete(job);
                return;
        }
        if (u->asking) {
                job->r = error_setf(&job->error, -ETIMEDOUT, "%s of %s: the guest keeps %s",
                                    job->step, job->v->name, u->alias);
                job_complete(job);
                return;
        }
        r = sd_event_add_time_relative(job->v->loop, &u->deadline, CLOCK_MONOTONIC, UNPLUG_USEC, 0,
                                       on_deadline, u);
        if (r < 0) {
                job->r = error_setf(&job->error, r, "%s: no timer", job->step);
                job_complete(job);
        }
}

void unplug_removed(Virt *v, const char *alias) {
        for (Unplug *u = v->unplugs, *next; u; u = next) {
                next = u->next;
                if (strcmp(u->alias, alias) != 0)
                        continue;
                u->removed = true;
                if (u->returned) {
                        u->job->r = 0;
                        job_complete(u->job);
                        return; /* its caller may have changed the list; one job per device */
                }
        }
}

static int unplug(Virt *v, bool nic, uint32_t slot, OpDone done, void *userdata, Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        Unplug *u;
        int r;

        r = job_new(v, nic ? "unplugging an interface" : "unplugging a disk", run_unplug, done,
                    userdata, &job, reterr);
        if (r < 0)
                return r;
        u = calloc(1, sizeof(*u));
        if (!u)
                return error_oom(reterr);
        job->input = u;
        job->free_input = free_unplug;
        job->finish = finish_unplug;
        job->number = slot;
        (nic ? nic_alias : disk_alias)(slot, u->alias);
        u->nic = nic;
        u->job = job;
        u->next = v->unplugs;
        v->unplugs = u;
        return job_submit(TAKE(job), LANE_CHANGE, reterr);
}

int virt_unplug_disk(Virt *v, uint32_t slot, OpDone done, void *userdata, Error *reterr) {
        if (slot >= DOMAIN_SLOTS_MAX)
                return error_setf(reterr, -EINVAL, "disk slot %u: there are %u", slot,
                                  DOMAIN_SLOTS_MAX);
        return unplug(v, false, slot, done, userdata, reterr);
}

int virt_plug_nic(Virt *v, const NicSpec *nic, OpDone done, void *userdata, Error *reterr) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        r = job_new(v, "plugging an interface", run_plug_nic, done, userdata, &job, reterr);
        if (r < 0)
                return r;
        r = nic_xml(nic, &job->xml, reterr);
        return r < 0 ? r : job_submit(TAKE(job), LANE_CHANGE, reterr);
}

int virt_unplug_nic(Virt *v, uint32_t slot, OpDone done, void *userdata, Error *reterr) {
        if (slot >= DOMAIN_SPARE_PORTS_MAX)
                return error_setf(reterr, -EINVAL, "interface slot %u: there are %u", slot,
                                  DOMAIN_SPARE_PORTS_MAX);
        return unplug(v, true, slot, done, userdata, reterr);
}
