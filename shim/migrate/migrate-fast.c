/* SPDX-License-Identifier: Apache-2.0 */
/* handover=fast at the source: libvirt lets the destination run by itself, and never two run.
 *
 * The call by which it does so goes through the ferry, and waits at its gate. By then libvirt needs
 * nothing from QEMU here any more: memory and disks are over there. QEMU is stopped as a whole, the
 * guest in it has not run since the blackout, and only then the call may go. From that moment on
 * nothing that libvirt says, or finds when its connection breaks, lets the guest run here: whatever
 * it sends to QEMU is not read. It stays so, also without this shim, until the other side says
 * RUNNING (then QEMU is killed) or that its copy is gone for good (then QEMU goes on, and does what
 * libvirt has told it meanwhile). A QEMU that stands is the only record of it: both end with the
 * host. */
#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

static void failed(Migrate *m, int r, const Error *err) {
        if (!m->aborted)
                migration_on_host_failed(m->migration, "handoff", r, err);
}

static void on_stopped(void *userdata, int r, const void *result, const Error *err) {
        Migrate *m = userdata;
        Error e = ERROR_INIT;

        m->stopping = false;
        if (r < 0) {
                failed(m, r, err);
                return;
        }
        if (m->aborted || !m->ferry) { /* nothing went over, so nothing runs there */
                fence_continue(m->fence);
                return;
        }
        fence_keep(m->fence);
        m->held = true;
        log_info("migration: QEMU is held: from now on the guest may run at the destination");
        r = ferry_gate(m->ferry, false, &e);
        if (r < 0) { /* the call has not gone, so nothing runs there */
                migrate_let_source_go(m);
                failed(m, r, &e);
                return;
        }
        migration_on_domain(m->migration, MIGRATION_DOMAIN_HELD, NULL);
}

/* Not while libvirt waits for an answer of QEMU's to a question of ours: it would get none. */
void migrate_stop_source(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        if (!m->gate_waits || m->statistics_in_flight || m->tunes > 0 || !m->fence)
                return;
        m->gate_waits = false;
        m->stopping = true;
        migrate_hold_libvirt(m);
        r = fence_stop(m->fence, on_stopped, m, &e);
        if (r <= 0)
                on_stopped(m, r, NULL, &e);
}

void migrate_on_gate(Migrate *m, const Error *err) {
        if (err->code < 0) {
                failed(m, err->code, err);
                return;
        }
        if (m->aborted || m->stopping || m->held)
                return;
        m->gate_waits = true;
        migrate_stop_source(m);
}

void migrate_let_source_go(Migrate *m) {
        m->gate_waits = false;
        m->held = false;
        if (m->fence && !m->stopping)
                fence_continue(m->fence);
}

int migrate_find_held(Migrate *m, Error *reterr) {
        int r = migrate_own_fence(m, reterr);

        if (r < 0)
                return r;
        r = m->fence ? fence_stands(m->fence) : 0;
        if (r < 0)
                return error_setf(reterr, r, "it cannot be seen whether QEMU stands");
        m->held = r > 0;
        if (m->held)
                fence_keep(m->fence);
        return m->held;
}
