/* SPDX-License-Identifier: Apache-2.0 */
/* VmOps: the domain by libvirt, the agent by the guest link. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "shim/migrate/migrate.h"
#include "shim/volume-move.h"
#include "shim/wiring/ops.h"

#define CONNECT_TIMEOUT_USEC (120ULL * 1000 * 1000)

/* An operation that more than one event may end: the first one does. */
struct VmCall {
        Shim *shim;
        VmCall **slot; /* where the shim keeps it */
        OpDone done;
        void *job;
        sd_event_source *deadline;
        const char *what;
};

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata);

static int vm_call_new(Shim *s, VmCall **slot, const char *what, uint64_t timeout_usec, OpDone done,
                       void *job, Error *reterr) {
        VmCall *c;
        int r;

        if (*slot)
                return error_setf(reterr, -EBUSY, "%s is under way", what);
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (VmCall){ .shim = s, .slot = slot, .done = done, .job = job, .what = what };
        r = sd_event_add_time_relative(s->event, &c->deadline, CLOCK_MONOTONIC, timeout_usec, 0,
                                       on_deadline, c);
        if (r < 0) {
                free(c);
                return error_setf(reterr, r, "%s: no timer", what);
        }
        *slot = c;
        return 0;
}

static VmCall *vm_call_free(VmCall *c) {
        *c->slot = NULL;
        sd_event_source_disable_unref(c->deadline);
        free(c);
        return NULL;
}

static void vm_call_end(VmCall *c, int r, const Error *err) {
        OpDone done;
        void *job;

        if (!c)
                return;
        done = c->done;
        job = c->job;
        (void)vm_call_free(c);
        done(job, r, NULL, err);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        VmCall *c = userdata;
        Error err = ERROR_INIT;

        (void)error_setf(&err, -ETIMEDOUT, "%s: no answer from the guest in time", c->what);
        vm_call_end(c, -ETIMEDOUT, &err);
        return 0;
}

/* Domain */

static DomainSpec domain_spec(const VmSpec *vm) {
        return (DomainSpec){
                .type = vm->domain_type == VM_DOMAIN_KVM ? DOMAIN_KVM : DOMAIN_QEMU,
                .name = vm->domain_name,
                .uuid = vm->uuid,
                .machine = vm->machine,
                .memory_mib = vm->memory_mib,
                .vcpus = vm->vcpus,
                .kernel = vm->kernel.path,
                .initrd = vm->initrd.path,
                .cmdline = vm->cmdline,
                .link_path = vm->link_path,
                .console_path = vm->console_path[0] ? vm->console_path : NULL,
                .n_scsi_controllers = vm->n_scsi_controllers,
                .n_spare_ports = SHIM_SPARE_PORTS,
        };
}

typedef struct DiskList {
        DiskSpec disks[SCSI_SLOTS_MAX];
        size_t n;
} DiskList;

static int add_disk(void *userdata, const ScsiDiskInfo *info) {
        DiskList *list = userdata;

        if (list->n < SCSI_SLOTS_MAX)
                list->disks[list->n++] = shim_disk_spec(info->slot, &info->config);
        return 0;
}

/* The list must stay as long as the specification. */
static void add_nics(Shim *s, DomainSpec *spec, NicSpec nics[NET_INTERFACES_MAX],
                     ShimNic list[NET_INTERFACES_MAX]) {
        spec->n_nics = shim_nics(s, list);
        for (size_t i = 0; i < spec->n_nics; i++)
                nics[i] = list[i].spec;
        spec->nics = nics;
}

int shim_domain_xml(Shim *s, bool with_disks, char **ret, Error *reterr) {
        DomainSpec spec = domain_spec(vm_spec(s->vm));
        _cleanup_free_ DiskList *list = calloc(1, sizeof(*list));
        NicSpec nics[NET_INTERFACES_MAX];
        ShimNic taps[NET_INTERFACES_MAX];

        if (!list)
                return error_oom(reterr);
        if (with_disks)
                (void)scsi_each_disk(vm_scsi(s->vm), add_disk, list);
        spec.disks = list->disks;
        spec.n_disks = list->n;
        add_nics(s, &spec, nics, taps);
        return domain_xml(&spec, ret, reterr);
}

static int op_create(void *userdata, const VmSpec *vm, OpDone done, void *job, Error *reterr) {
        _cleanup_free_ char *xml = NULL;
        DomainSpec spec = domain_spec(vm);
        NicSpec nics[NET_INTERFACES_MAX];
        ShimNic taps[NET_INTERFACES_MAX];
        Shim *s = userdata;
        Virt *virt;
        int r;

        add_nics(s, &spec, nics, taps);

        r = shim_virt(s, &virt, reterr);
        if (r < 0)
                return r;
        r = virt_set_domain(virt, vm->domain_name, vm->uuid, reterr);
        if (r < 0)
                return r;
        r = domain_xml(&spec, &xml, reterr);
        return r < 0 ? r : virt_create(virt, xml, false, done, job, reterr);
}

/* Guest link */

static void on_info(void *userdata, int r, const void *result, const Error *err) {
        Shim *s = userdata;
        const FromGuest *reply = result;

        if (r == 0 && reply->body_case == PODFERRY__GUEST__V1__FROM_GUEST__BODY_INFO && reply->info)
                log_info("the guest is up: agent %s, kernel %s", reply->info->version,
                         reply->info->kernel);
        vm_call_end(s->connecting, r, err);
}

static void on_clock(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0 && r != -ENOTCONN)
                log_warning("the guest's clock could not be set: %s", error_text(err, r));
}

static void set_clock(Shim *s) {
        Podferry__Guest__V1__ClockRequest body = PODFERRY__GUEST__V1__CLOCK_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;
        struct timespec now;
        Error err = ERROR_INIT;
        int r;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        body.realtime_ns = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
        request.body_case = TO_GUEST_BODY(CLOCK);
        request.clock = &body;
        r = guest_call(s, &request, on_clock, s, &err);
        if (r < 0)
                log_warning("the guest's clock could not be set: %s", error_text(&err, r));
}

/* Also after the pod came here from another host: its clock stood still meanwhile. */
void shim_on_link_up(Shim *s) {
        set_clock(s);
}

static int op_connect(void *userdata, OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__InfoRequest body = PODFERRY__GUEST__V1__INFO_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;
        Shim *s = userdata;
        int r;

        r = vm_call_new(s, &s->connecting, "connect to the guest", CONNECT_TIMEOUT_USEC, done, job,
                        reterr);
        if (r < 0)
                return r;
        request.body_case = TO_GUEST_BODY(INFO);
        request.info = &body;
        if ((r = guest_link_begin(s->link, reterr)) < 0 ||
            (r = guest_link_open(s->link, vm_spec(s->vm)->link_path, false, reterr)) < 0 ||
            (r = guest_rpc_start(s->rpc, reterr)) < 0 ||
            (r = guest_call_reply(s, &request, on_info, s, reterr)) < 0) {
                (void)vm_call_free(s->connecting);
                guest_link_close(s->link);
        }
        return r;
}

static void on_power_off_reply(void *userdata, int r, const void *result, const Error *err) {
        Shim *s = userdata;

        if (r < 0 && r != -ENOTCONN) /* it may be down before it could answer */
                vm_call_end(s->powering_off, r, err);
}

static int op_power_off(void *userdata, uint32_t timeout_ms, OpDone done, void *job,
                        Error *reterr) {
        Podferry__Guest__V1__PowerOffRequest body = PODFERRY__GUEST__V1__POWER_OFF_REQUEST__INIT;
        ToGuest request = TO_GUEST_INIT;
        Shim *s = userdata;
        int r;

        r = vm_call_new(s, &s->powering_off, "power off", timeout_ms * 1000ULL, done, job, reterr);
        if (r < 0)
                return r;
        request.body_case = TO_GUEST_BODY(POWER_OFF);
        request.power_off = &body;
        r = guest_call(s, &request, on_power_off_reply, s, reterr);
        if (r < 0)
                (void)vm_call_free(s->powering_off);
        return r;
}

void shim_vm_calls_end(Shim *s, const char *reason) {
        Error err = ERROR_INIT;

        (void)error_setf(&err, -ENOTCONN, "the VM ended: %s", reason);
        vm_call_end(s->powering_off, 0, NULL);
        guest_link_close(s->link);
        guest_rpc_fail_all(s->rpc, -ENOTCONN, err.text);
        vm_call_end(s->connecting, -ENOTCONN, &err);
}

static int op_destroy(void *userdata, OpDone done, void *job, Error *reterr) {
        Shim *s = userdata;
        Virt *virt;
        int r;

        shim_vm_calls_end(s, "it is being stopped");
        r = shim_virt(s, &virt, reterr);
        return r < 0 ? r : virt_destroy(virt, done, job, reterr);
}

static void op_link(void *userdata, VmLink *ret) {
        Shim *s = userdata;

        *ret = (VmLink){ .next_call_id = guest_rpc_next_call(s->rpc) };
        guest_link_facts(s->link, ret->session_id, &ret->epoch, &ret->next_channel);
}

const VmOps shim_vm_ops = {
        .create = op_create,
        .connect = op_connect,
        .power_off = op_power_off,
        .destroy = op_destroy,
        .link = op_link,
};

/* Events */

void shim_vm_gone(Shim *s, const char *reason) {
        shim_vm_calls_end(s, reason);
        volume_move_vm_gone(s);
        if (s->vm && vm_state(s->vm) != VM_STOPPING && !vm_is_gone(s->vm))
                vm_died(s->vm, reason);
}

/* The last line on its console, where a kernel says why it ends: ": LINE", or nothing. What the
 * guest writes may be anything. */
static void last_words(const Shim *s, char *ret, size_t n) {
        _cleanup_close_ int fd = open(s->console_path, O_RDONLY | O_CLOEXEC);
        char text[256], *line;
        ssize_t k = -1;
        off_t end;

        ret[0] = '\0';
        if (fd >= 0 && (end = lseek(fd, 0, SEEK_END)) > 0)
                k = pread(fd, text, sizeof(text) - 1,
                          MAX_OF(end - (off_t)(sizeof(text) - 1), (off_t)0));
        while (k > 0 && (text[k - 1] == '\n' || text[k - 1] == '\r'))
                k--;
        if (k <= 0)
                return;
        text[k] = '\0';
        line = memrchr(text, '\n', (size_t)k);
        line = line ? line + 1 : text;
        text_clean(line);
        (void)snprintf(ret, n, ": %s", line);
}

/* Does it say that the domain is no more, and why? */
static bool says_gone(const Shim *s, const VirtEvent *e, char *ret_reason, size_t n) {
        char why[260];

        if (e->kind == VIRT_EVENT_BACK && e->domain.state == VIRT_NONE) {
                (void)snprintf(ret_reason, n, "libvirt no longer knows the VM");
                return true;
        }
        if (e->kind != VIRT_EVENT_STOPPED && e->kind != VIRT_EVENT_CRASHED)
                return false;
        last_words(s, why, sizeof(why));
        (void)snprintf(ret_reason, n, "the VM stopped (%s)%s", virt_reason_name(e->reason), why);
        return true;
}

void shim_on_virt_event(void *userdata, const VirtEvent *e) {
        Shim *s = userdata;
        char reason[320];
        bool gone = says_gone(s, e, reason, sizeof(reason));

        log_debug("libvirt: %s (%s)", virt_event_name(e->kind), virt_reason_name(e->reason));
        volume_move_on_virt_event(s, e);
        if (migrate_owns_domain(s->migrate)) {
                migrate_on_virt_event(s->migrate, e);
                /* Stopped again, by us, before the session was cleaned up. */
                if (gone && e->kind != VIRT_EVENT_BACK && s->vm && vm_state(s->vm) == VM_STOPPING)
                        shim_vm_calls_end(s, virt_reason_name(e->reason));
                if (gone)
                        migrate_guest_ended(s->migrate, reason);
                return;
        }
        /* One that libvirt is only about to make is not known to it yet. */
        if (gone && !(e->kind == VIRT_EVENT_BACK && s->vm && vm_state(s->vm) == VM_STARTING))
                shim_vm_gone(s, reason);
        else if (e->kind == VIRT_EVENT_LOST)
                log_warning("libvirt is gone; connecting again");
}
