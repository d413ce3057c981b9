/* SPDX-License-Identifier: Apache-2.0 */
/* Pod.Start: a stopped pod starts again, by its definition: the machine, then one container after
 * the other, in the order of their making. */
#include <string.h>

#include "lib/log.h"
#include "shim/definition.h"
#include "shim/file-job.h"
#include "shim/migrate/migrate.h"
#include "shim/move-record.h"
#include "shim/offline.h"

typedef struct StartPod {
        Shim *shim;
        Definition definition;
        bool kept; /* logs were kept while there was no shim */
        size_t at; /* the container under way */
        Error why; /* it failed */
        OpDone done;
        void *job;
} StartPod;

static void finish(StartPod *c, int r, const Error *err) {
        OpDone done = c->done;
        void *job = c->job;
        Error e = err ? *err : ERROR_INIT;

        c->shim->restarting = false;
        definition_done(&c->definition);
        free(c);
        done(job, r, NULL, &e);
}

static void on_stopped(void *userdata, int r, const void *result, const Error *err) {
        StartPod *c = userdata;

        if (r < 0)
                log_err("the pod could not be stopped again: %s", error_text(err, r));
        c->shim->starting = false;
        finish(c, c->why.code, &c->why);
}

/* Half a pod is of no use: it is stopped as it was before. */
static void give_up(StartPod *c, int r, const Error *err) {
        Shim *s = c->shim;
        Error e = ERROR_INIT;

        c->why = err ? *err : ERROR_INIT;
        if (c->why.code == 0)
                (void)error_setf(&c->why, r, "%s", error_text(NULL, r));
        s->starting = true; /* until it has ended again */
        r = s->vm ? vm_stop(s->vm, 0, on_stopped, c, &e) : 0;
        if (r <= 0)
                on_stopped(c, r, NULL, &e);
}

static void next_container(StartPod *c);

static void on_started(void *userdata, int r, const void *result, const Error *err) {
        StartPod *c = userdata;

        if (r < 0) {
                give_up(c, r, err);
                return;
        }
        c->at++;
        next_container(c);
}

static void on_created(void *userdata, int r, const void *result, const Error *err) {
        StartPod *c = userdata;
        Container *made;
        Error e = ERROR_INIT;

        if (r == 0) {
                made = c->shim->pod
                               ? pod_container(c->shim->pod, c->definition.containers[c->at].id)
                               : NULL;
                r = made ? container_start(made, NULL, on_started, c, &e)
                         : error_setf(&e, -ENOTCONN, "the VM is gone");
                if (r == 1)
                        return;
                err = &e;
        }
        on_started(c, r, NULL, err);
}

static void next_container(StartPod *c) {
        Error e = ERROR_INIT;
        int r;

        if (c->at == c->definition.n_containers) {
                log_info("pod %s has started again", c->shim->pod_id);
                finish(c, 0, NULL);
                return;
        }
        r = shim_create_defined(c->shim, &c->definition.containers[c->at], on_created, c, &e);
        if (r < 0)
                give_up(c, r, &e);
        else if (r == 0)
                on_created(c, 0, NULL, NULL);
}

static void on_machine(void *userdata, int r, const void *result, const Error *err) {
        StartPod *c = userdata;

        if (r < 0)
                give_up(c, r, err);
        else
                next_container(c);
}

/* Nothing of the old tree is in use any more. */
static bool is_idle(const Shim *s) {
        return !s->move && (!s->pod || (pod_is_idle(s->pod) && scsi_is_idle(vm_scsi(s->vm))));
}

static void on_read(void *userdata, int r, const void *result, const Error *err) {
        StartPod *c = userdata;
        const Definition *d = &c->definition;
        Shim *s = c->shim;
        Error e = ERROR_INIT;

        s->starting = false;
        if (r == 0 && !is_idle(s)) { /* since it was looked at */
                r = error_setf(&e, -EBUSY, "Start: a call to the old pod is under way");
                err = &e;
        }
        if (r < 0) {
                finish(c, r, err);
                return;
        }
        if (d->n_containers > 0)
                s->made = MAX_OF(s->made, d->containers[d->n_containers - 1].made);
        s->receive = false; /* what it was there for has come, and ended */
        stdio_hub_again(s->stdio);
        if (c->kept)
                stdio_hub_keep_logs(s->stdio);
        shim_drop_tree(s);
        r = shim_start_vm(s,
                          &(ShimVmOptions){ .memory_mib = d->memory_mib,
                                            .vcpus = d->vcpus,
                                            .network = d->network,
                                            .publish = d->publish,
                                            .defined = true },
                          on_machine, c, &e);
        if (r <= 0)
                on_machine(c, r, NULL, &e);
}

/* On the thread for files. */
static int read_definition(void *argument, Error *reterr) {
        StartPod *c = argument;
        const Shim *s = c->shim;
        int r = move_record_settle(s->state_path, s->pod_id, reterr);

        if (r == 0)
                r = definition_read(s->state_path, &c->definition, reterr);

        if (r == -ENOENT)
                return error_setf(reterr, r, "Start: how pod %s was made is not known on this host",
                                  s->pod_id);
        if (r == 0) {
                r = offline_check_journal(s->state_path, s->pod_id, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "Start");
        }
        return r < 0 ? r : offline_take_logs(s->dir.path, s->state_path, &c->kept, reterr);
}

int shim_check_stopped(const Shim *s, const char *call, Error *reterr) {
        if (s->starting || s->restarting || s->ending)
                return error_setf(reterr, -EBUSY, "%s: the pod is %s", call,
                                  s->ending ? "being removed" : "being started");
        if ((s->receive && !s->vm) || migration_is_active(migrate_controller(s->migrate)))
                return error_setf(reterr, -EBADFD, "%s: the pod is being migrated", call);
        if (s->given_away || (s->vm && vm_state(s->vm) == VM_SOURCE_MOVED))
                return error_setf(reterr, -EBADFD, "%s: the pod has moved to another host", call);
        if (s->vm && vm_state(s->vm) != VM_TERMINATED)
                return error_setf(reterr, -EBADFD, "%s: the VM is %s; podferry stop %s first", call,
                                  fsm_state_name(&vm_fsm, (int)vm_state(s->vm)), s->pod_id);
        if (!is_idle(s))
                return error_setf(reterr, -EBUSY, "%s: a call to the old pod is under way", call);
        return 0;
}

int shim_start_pod(Shim *s, OpDone done, void *job, Error *reterr) {
        StartPod *c;
        int r;

        r = shim_check_stopped(s, "Start", reterr);
        if (r < 0)
                return r;
        c = calloc(1, sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (StartPod){ .shim = s, .done = done, .job = job };
        r = file_job(s, read_definition, c, on_read, c, reterr);
        if (r < 0) {
                free(c);
                return r;
        }
        s->starting = s->restarting = true;
        return r;
}
