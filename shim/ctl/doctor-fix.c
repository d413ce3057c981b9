/* SPDX-License-Identifier: Apache-2.0 */
/* Each action is that of a command, or is done under the lock of whoever else could act on the same
 * pod, after another look under that lock. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/fence.h"
#include "shim/ctl/doctor.h"
#include "shim/ctl/go-on.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/rundir.h"

/* The same diagnosis as before? */
static int look_again(Doctor *d, const Case *before, Error *reterr) {
        _cleanup_(case_done) Case now = {};
        int r;

        doctor_survey(d);
        r = doctor_examine(d, before->pod, &now, reterr);
        if (r == 0 && strcmp(now.diagnosis.code, before->diagnosis.code) != 0)
                r = error_setf(reterr, -EBADFD, "it is not so any more: %s", now.diagnosis.says);
        return r;
}

static int adopt(const Doctor *d, const char *pod, Error *reterr) {
        int r = shim_start_again(d->ctl, pod, reterr);

        if (r == 0)
                hand_over_hint(d->ctl, pod);
        return r == -EEXIST ? 0 : r; /* somebody else was faster */
}

static int adopt_to(const Doctor *d, const char *pod, Error *reterr) {
        char said[HAND_OVER_SAID];

        return hand_over_go_on(d->ctl, pod, d->to, d->program, d->name, said, reterr);
}

/* By a handle on the process, not by its number; it is proven to be the domain's, and stopped. */
static int let_go_on(const Case *c, Error *reterr) {
        _cleanup_(sd_event_unrefp) sd_event *loop = NULL;
        _cleanup_(fence_freep) Fence *f = NULL;
        int r = sd_event_new(&loop);

        if (r < 0)
                return error_setf(reterr, r, "event loop: %s", strerrordesc_np(-r));
        r = fence_open(loop, (pid_t)c->here->qemu_pid, c->here->uuid, NULL, NULL, &f, reterr);
        if (r < 0)
                return r;
        if (fence_stands(f) <= 0)
                return error_setf(reterr, -EBADFD, "QEMU %d does not stand any more",
                                  (int)c->here->qemu_pid);
        fence_inherit_stop(f);
        fence_continue(f);
        return 0;
}

/* With the run directory's lock no shim can begin: so nobody holds this QEMU, or needs the
 * directory. */
static int under_lock(Doctor *d, const Case *c, Error *reterr) {
        RunDir dir __attribute__((cleanup(run_dir_done))) = RUN_DIR_INIT;
        int r = run_dir_open(&dir, d->ctl->config.run_dir, c->pod, reterr);

        if (r == 0 && !dir.was_there) {
                run_dir_remove(&dir);
                return error_setf(reterr, -EBADFD, "its run directory has gone meanwhile");
        }
        if (r == 0)
                r = look_again(d, c, reterr);
        if (r < 0)
                return r;
        if (c->diagnosis.action == DIAGNOSE_CONTINUE_QEMU)
                return let_go_on(c, reterr);
        run_dir_remove(&dir);
        return 0;
}

static int remove_journal(Doctor *d, const Case *c, Error *reterr) {
        _cleanup_free_ char *directory = NULL, *path = NULL;
        _cleanup_(journal_freep) Journal *j = NULL;
        int r;

        if (asprintf(&directory, "%s/pods/%s", d->ctl->config.state_dir, c->pod) < 0 ||
            asprintf(&path, "%s/journal", directory) < 0)
                return error_oom(reterr);
        r = journal_open(path, &j, reterr); /* locked: no shim can begin */
        if (r == 0)
                r = look_again(d, c, reterr);
        if (r < 0)
                return r;
        if (unlink(path) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        (void)rmdir(directory); /* unless something else is in it, which is not ours to judge */
        return 0;
}

int doctor_fix(Doctor *d, const Case *c, Error *reterr) {
        switch (c->diagnosis.action) {
        case DIAGNOSE_ADOPT:
                return adopt(d, c->pod, reterr);
        case DIAGNOSE_ADOPT_TO:
                return adopt_to(d, c->pod, reterr);
        case DIAGNOSE_CONTINUE_QEMU:
        case DIAGNOSE_REMOVE_RUN_DIR:
                return under_lock(d, c, reterr);
        case DIAGNOSE_REMOVE_JOURNAL:
                return remove_journal(d, c, reterr);
        case DIAGNOSE_NOTHING:
        case _DIAGNOSE_ACTION_MAX:
                break;
        }
        return error_setf(reterr, -EOPNOTSUPP, "there is nothing that doctor could do");
}

void doctor_command(const Doctor *d, const Case *c, char *ret, size_t size) {
        _cleanup_free_ char *to = d->to ? word_quote(d->to) : NULL;
        const char *pod = c->diagnosis.there && d->name ? d->name : c->pod;

        ret[0] = '\0';
        switch (c->diagnosis.action) {
        case DIAGNOSE_ADOPT:
                (void)snprintf(ret, size, "podferry adopt %s", pod);
                break;
        case DIAGNOSE_ADOPT_TO:
                (void)snprintf(ret, size, "podferry adopt %s --to %s%s%s", c->pod, to ?: "HOST",
                               d->name ? " --name " : "", d->name ?: "");
                break;
        case DIAGNOSE_CONTINUE_QEMU:
        case DIAGNOSE_REMOVE_RUN_DIR:
        case DIAGNOSE_REMOVE_JOURNAL:
                (void)snprintf(ret, size, "podferry doctor %s --fix", pod);
                break;
        case DIAGNOSE_NOTHING:
        case _DIAGNOSE_ACTION_MAX:
                break;
        }
}
