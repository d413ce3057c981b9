/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/fake-host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void note(char *log, size_t size, const char *fmt, ...) _printf_(3, 4);
static void note(char *log, size_t size, const char *fmt, ...) {
        size_t n = strlen(log);
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(log + n, size - n, fmt, ap);
        va_end(ap);
        n = strlen(log);
        if (n + 1 < size)
                memcpy(log + n, ";", 2);
}

#define TRACE(h, ...) note((h)->trace, sizeof((h)->trace), __VA_ARGS__)

static int answer_as_told(FakeHost *h, FakeOp op, OpDone done, void *job, Error *reterr) {
        h->calls[op]++;
        if (h->mode[op] == FAKE_REFUSE)
                return error_setf(reterr, h->code[op] ?: -EIO, "refused by the fake");
        if (h->mode[op] == FAKE_NOW)
                return 0;
        if (h->n_pending == FAKE_PENDING_MAX)
                abort();
        h->pending[h->n_pending++] = (FakePending){ .op = op, .done = done, .job = job };
        return 1;
}

static int plug(void *h, uint32_t slot, const ScsiDiskConfig *disk, OpDone done, void *job,
                Error *reterr) {
        TRACE((FakeHost *)h, "plug %u", slot);
        return answer_as_told(h, FAKE_PLUG, done, job, reterr);
}

static int unplug(void *h, uint32_t slot, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "unplug %u", slot);
        return answer_as_told(h, FAKE_UNPLUG, done, job, reterr);
}

static int guest_mount(void *h, uint32_t slot, const ScsiMountConfig *mount, const char *guest_path,
                       OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "mount %u:%u", slot, mount->partition);
        return answer_as_told(h, FAKE_MOUNT, done, job, reterr);
}

static int guest_unmount(void *h, uint32_t slot, const char *guest_path, bool last, OpDone done,
                         void *job, Error *reterr) {
        TRACE((FakeHost *)h, "unmount %u%s", slot, last ? " last" : "");
        return answer_as_told(h, FAKE_UNMOUNT, done, job, reterr);
}

const ScsiOps fake_scsi_ops = {
        .plug = plug,
        .unplug = unplug,
        .guest_mount = guest_mount,
        .guest_unmount = guest_unmount,
};

static int overlay(void *h, const char *guest_id, const ContainerOverlay *o, OpDone done, void *job,
                   Error *reterr) {
        size_t n = 0;

        while (o->lower[n])
                n++;
        TRACE((FakeHost *)h, "overlay %s %zu%s", guest_id, n, o->upper[0] ? " rw" : "");
        return answer_as_told(h, FAKE_OVERLAY, done, job, reterr);
}

static int remove_overlay(void *h, const char *guest_id, const char *guest_path, OpDone done,
                          void *job, Error *reterr) {
        TRACE((FakeHost *)h, "remove-overlay %s", guest_id);
        return answer_as_told(h, FAKE_REMOVE_OVERLAY, done, job, reterr);
}

static int create(void *userdata, const ProcessKey *init, const char *rootfs,
                  const char *config_json, const ProcessSpec *spec, const ProcessChannels *channels,
                  uint32_t *ret_pid, OpDone done, void *job, Error *reterr) {
        FakeHost *h = userdata;

        TRACE(h, "create %s", init->guest_id);
        (void)snprintf(h->last_config, sizeof(h->last_config), "%s", config_json);
        *ret_pid = h->next_pid++;
        return answer_as_told(h, FAKE_CREATE, done, job, reterr);
}

static int delete_container(void *h, const char *guest_id, bool force, OpDone done, void *job,
                            Error *reterr) {
        TRACE((FakeHost *)h, "delete %s", guest_id);
        return answer_as_told(h, FAKE_DELETE, done, job, reterr);
}

static int update(void *h, const char *guest_id, const char *resources_json, OpDone done, void *job,
                  Error *reterr) {
        TRACE((FakeHost *)h, "update %s", guest_id);
        return answer_as_told(h, FAKE_UPDATE, done, job, reterr);
}

static int ps(void *h, const char *guest_id, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "ps %s", guest_id);
        return answer_as_told(h, FAKE_PS, done, job, reterr);
}

static int bind_volume(void *h, const char *guest_id, const ContainerBind *b, OpDone done,
                       void *job, Error *reterr) {
        TRACE((FakeHost *)h, "bind %s %s%s%s", guest_id, b->destination, b->read_only ? " ro" : "",
              b->block_device ? " block" : "");
        return answer_as_told(h, FAKE_BIND, done, job, reterr);
}

static int unbind_volume(void *h, const char *guest_id, const char *destination, OpDone done,
                         void *job, Error *reterr) {
        TRACE((FakeHost *)h, "unbind %s %s", guest_id, destination);
        return answer_as_told(h, FAKE_UNBIND, done, job, reterr);
}

static bool gone(void *h) {
        return ((FakeHost *)h)->gone;
}

const ContainerOps fake_container_ops = {
        .overlay = overlay,
        .remove_overlay = remove_overlay,
        .create = create,
        .delete = delete_container,
        .update = update,
        .ps = ps,
        .bind = bind_volume,
        .unbind = unbind_volume,
        .gone = gone,
};

static int io_open(void *userdata, const ProcessKey *key, const ProcessSpec *spec,
                   ProcessChannels *c, Error *reterr) {
        FakeHost *h = userdata;
        bool given = c->in || c->out || c->err;
        int r;

        TRACE(h, "%s %s/%s", given ? "io-reopen" : "io-open", key->container_id, key->exec_id);
        r = answer_as_told(h, FAKE_IO_OPEN, NULL, NULL, reterr);
        if (r < 0 || given)
                return r;
        *c = (ProcessChannels){ .in = spec->stdin_open ? h->next_channel++ : 0,
                                .out = h->next_channel++,
                                .err = spec->terminal ? 0 : h->next_channel++ };
        return 0;
}

static void io_close(void *userdata, const ProcessKey *key, const ProcessChannels *channels) {
        FakeHost *h = userdata;

        h->calls[FAKE_IO_CLOSE]++;
        TRACE(h, "io-close %s/%s", key->container_id, key->exec_id);
}

static int start(void *userdata, const ProcessKey *key, const ProcessSpec *spec,
                 const ProcessChannels *channels, uint32_t *ret_pid, OpDone done, void *job,
                 Error *reterr) {
        FakeHost *h = userdata;

        TRACE(h, "start %s/%s", key->guest_id, key->exec_id);
        *ret_pid = h->next_pid++;
        return answer_as_told(h, FAKE_START, done, job, reterr);
}

static int kill_process(void *h, const ProcessKey *key, uint32_t signal, bool all, OpDone done,
                        void *job, Error *reterr) {
        TRACE((FakeHost *)h, "kill %s/%s %u%s", key->guest_id, key->exec_id, signal,
              all ? " all" : "");
        return answer_as_told(h, FAKE_KILL, done, job, reterr);
}

static int resize(void *h, const ProcessKey *key, uint32_t rows, uint32_t columns, OpDone done,
                  void *job, Error *reterr) {
        TRACE((FakeHost *)h, "resize %s/%s %ux%u", key->guest_id, key->exec_id, rows, columns);
        return answer_as_told(h, FAKE_RESIZE, done, job, reterr);
}

static int close_stdin(void *h, const ProcessKey *key, const ProcessChannels *channels,
                       Error *reterr) {
        TRACE((FakeHost *)h, "close-stdin %s/%s", key->guest_id, key->exec_id);
        return answer_as_told(h, FAKE_CLOSE_STDIN, NULL, NULL, reterr);
}

static int delete_exec(void *h, const ProcessKey *key, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "delete-exec %s/%s", key->guest_id, key->exec_id);
        return answer_as_told(h, FAKE_DELETE_EXEC, done, job, reterr);
}

static int add_wait(FakeHost *h, const ProcessKey *key, uint64_t call_id, OpDone done, void *job) {
        FakeWait *w;

        if (h->n_waits == FAKE_WAITS_MAX)
                abort();
        w = &h->waits[h->n_waits++];
        *w = (FakeWait){ .call_id = call_id, .done = done, .job = job };
        (void)snprintf(w->guest_id, sizeof(w->guest_id), "%s", key->guest_id);
        (void)snprintf(w->exec_id, sizeof(w->exec_id), "%s", key->exec_id);
        return 1;
}

static int wait_process(void *userdata, const ProcessKey *key, uint64_t *ret_call_id, OpDone done,
                        void *job, Error *reterr) {
        FakeHost *h = userdata;

        h->calls[FAKE_WAIT]++;
        if (h->mode[FAKE_WAIT] == FAKE_REFUSE)
                return error_setf(reterr, -EIO, "refused by the fake");
        *ret_call_id = h->next_call++;
        return add_wait(h, key, *ret_call_id, done, job);
}

static int adopt_wait(void *userdata, const ProcessKey *key, uint64_t call_id, OpDone done,
                      void *job, Error *reterr) {
        FakeHost *h = userdata;

        h->calls[FAKE_ADOPT_WAIT]++;
        if (h->mode[FAKE_ADOPT_WAIT] == FAKE_REFUSE)
                return error_setf(reterr, -EIO, "refused by the fake");
        return add_wait(h, key, call_id, done, job);
}

static void remove_wait(FakeHost *h, size_t i) {
        memmove(&h->waits[i], &h->waits[i + 1], (h->n_waits - i - 1) * sizeof(h->waits[0]));
        h->n_waits--;
}

static void drop_wait(void *userdata, uint64_t call_id) {
        FakeHost *h = userdata;

        h->calls[FAKE_DROP_WAIT]++;
        for (size_t i = 0; i < h->n_waits; i++)
                if (h->waits[i].call_id == call_id) {
                        remove_wait(h, i);
                        return;
                }
        abort(); /* a wait that nobody made */
}

const ProcessOps fake_process_ops = {
        .io_open = io_open,
        .io_close = io_close,
        .start = start,
        .kill = kill_process,
        .resize = resize,
        .close_stdin = close_stdin,
        .delete = delete_exec,
        .wait = wait_process,
        .adopt_wait = adopt_wait,
        .drop_wait = drop_wait,
};

static int vm_create_domain(void *h, const VmSpec *spec, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "vm-create");
        return answer_as_told(h, FAKE_VM_CREATE, done, job, reterr);
}

static int vm_connect(void *h, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "vm-connect");
        return answer_as_told(h, FAKE_VM_CONNECT, done, job, reterr);
}

static int vm_power_off(void *h, uint32_t timeout_ms, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "vm-power-off %u", timeout_ms);
        return answer_as_told(h, FAKE_VM_POWER_OFF, done, job, reterr);
}

static int vm_destroy(void *h, OpDone done, void *job, Error *reterr) {
        TRACE((FakeHost *)h, "vm-destroy");
        return answer_as_told(h, FAKE_VM_DESTROY, done, job, reterr);
}

static void vm_link(void *userdata, VmLink *ret) {
        const FakeHost *h = userdata;

        *ret = (VmLink){ .session_id = { 1, 2, 3 },
                         .epoch = 1,
                         .next_call_id = h->next_call,
                         .next_channel = h->next_channel };
}

const VmOps fake_vm_ops = {
        .create = vm_create_domain,
        .connect = vm_connect,
        .power_off = vm_power_off,
        .destroy = vm_destroy,
        .link = vm_link,
};

static void on_event(void *userdata, const PodEvent *e) {
        FakeHost *h = userdata;

        if (e->kind == POD_EVENT_EXITED || e->kind == POD_EVENT_DELETED)
                note(h->events, sizeof(h->events), "%s %s/%s %u%s", pod_event_name(e->kind),
                     e->container_id, e->exec_id, e->exit.code, e->exit.moved ? " moved" : "");
        else
                note(h->events, sizeof(h->events), "%s %s/%s%s", pod_event_name(e->kind),
                     e->container_id, e->exec_id, e->migrated ? " migrated" : "");
}

void fake_host_init(FakeHost *h, Scsi *scsi) {
        *h = (FakeHost){ .next_call = 1, .next_channel = 1, .next_pid = 100, .scsi = scsi };
        h->pod_ops = (PodOps){ .container = &fake_container_ops,
                               .process = &fake_process_ops,
                               .userdata = h,
                               .scsi = scsi,
                               .events = { .event = on_event, .userdata = h } };
}

void fake_all_later(FakeHost *h) {
        for (int i = 0; i < _FAKE_OP_MAX; i++)
                h->mode[i] = FAKE_LATER;
        h->mode[FAKE_IO_OPEN] = h->mode[FAKE_CLOSE_STDIN] = FAKE_NOW;
}

bool fake_fire(FakeHost *h, int r) {
        Error e = ERROR_INIT;
        FakePending p;
        uint32_t pid;
        ContainerPids pids = { .pids = &pid, .n = 1 };
        const void *result = NULL;

        if (h->n_pending == 0)
                return false;
        p = h->pending[0];
        memmove(&h->pending[0], &h->pending[1], (h->n_pending - 1) * sizeof(p));
        h->n_pending--;
        pid = h->next_pid++;
        if (r < 0)
                (void)error_setf(&e, r, "failed by the fake");
        else if (p.op == FAKE_PS)
                result = &pids;
        else if (p.op == FAKE_CREATE || p.op == FAKE_START)
                result = &pid;
        if (p.done)
                p.done(p.job, r, result, &e);
        return true;
}

void fake_fire_all(FakeHost *h, int r) {
        while (fake_fire(h, r))
                ;
}

static bool end_wait(FakeHost *h, const char *guest_id, const char *exec_id, int r, uint32_t code) {
        for (size_t i = 0; i < h->n_waits; i++) {
                FakeWait w = h->waits[i];
                ProcessExit exit = { .code = code,
                                     .exited_at_ns = 1234567890123456789U + h->n_exits };
                Error e = ERROR_INIT;

                if (strcmp(w.guest_id, guest_id) != 0 || strcmp(w.exec_id, exec_id) != 0)
                        continue;
                remove_wait(h, i);
                h->n_exits++;
                if (r < 0)
                        (void)error_setf(&e, r, "the guest is gone");
                w.done(w.job, r, r < 0 ? NULL : &exit, &e);
                return true;
        }
        return false;
}

bool fake_exit(FakeHost *h, const char *guest_id, const char *exec_id, uint32_t code) {
        return end_wait(h, guest_id, exec_id, 0, code);
}

bool fake_lose_wait(FakeHost *h, const char *guest_id, const char *exec_id) {
        return end_wait(h, guest_id, exec_id, -EPIPE, 0);
}

void fake_clear(FakeHost *h) {
        h->trace[0] = h->events[0] = '\0';
        memset(h->calls, 0, sizeof(h->calls));
}

void fake_answer(void *answer, int r, const void *result, const Error *err) {
        FakeAnswer *a = answer;

        a->times++;
        a->r = r;
        (void)snprintf(a->text, sizeof(a->text), "%s", r < 0 ? error_text(err, r) : "");
}

void fake_answer_exit(void *answer, int r, const void *result, const Error *err) {
        FakeAnswer *a = answer;

        fake_answer(answer, r, result, err);
        if (r == 0 && result)
                a->exit = *(const ProcessExit *)result;
}

void fake_answer_pid(void *answer, int r, const void *result, const Error *err) {
        FakeAnswer *a = answer;

        fake_answer(answer, r, result, err);
        if (r == 0 && result)
                a->pid = *(const uint32_t *)result;
}
