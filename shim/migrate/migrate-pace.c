/* SPDX-License-Identifier: Apache-2.0 */
/* `bandwidth`, where disks are copied over our own transport.
 *
 * libvirt has one number for memory and disks. With it QEMU's copy of a disk takes as long for a
 * hole as for data (its block job counts what it has looked at), so that an empty disk of 4 GiB
 * would hold up the move for a minute, and a later change is for memory alone. So libvirt gets none
 * for the disks, and their connections are paced in the ferry, where holes are a few bytes. Memory,
 * which would run free until libvirt is told its number, waits for that in the ferry, too. */
#include "lib/log.h"
#include "shim/migrate/migrate-internal.h"

#define BANDWIDTH_ANY (INT64_MAX >> 20) /* MiB a second: the most that libvirt takes */

uint64_t migrate_mib_of(uint64_t bytes) {
        return (bytes >> 20) + ((bytes & ((1U << 20) - 1)) > 0);
}

int migrate_pace_begin(Migrate *m, size_t n_copies, Error *reterr) {
        uint64_t mib = migrate_mib_of(m->options.bandwidth);
        int r;

        if (n_copies == 0)
                return 0;
        m->pace = (MigratePace){ .disks = true, .mib = mib, .waits = mib > 0 };
        if (mib == 0)
                return 0;
        r = ferry_pace(m->ferry, FERRY_DISK, mib << 20, reterr);
        return r < 0 ? r : ferry_stall(m->ferry, FERRY_MEMORY, true, reterr);
}

/* Memory goes unless it is held, or has not got its limit yet. */
int migrate_flow_memory(Migrate *m, Error *reterr) {
        if (!m->ferry || m->pace.waits || migration_is_held(m->migration))
                return 0;
        return ferry_stall(m->ferry, FERRY_MEMORY, false, reterr);
}

static void on_limited(void *userdata, int r, const void *result, const Error *err) {
        Migrate *m = userdata;
        Error e = ERROR_INIT;

        m->tunes--;
        m->pace.waits = false;
        if (r < 0)
                log_warning("migration: memory goes without its limit: %s", error_text(err, r));
        r = migrate_flow_memory(m, &e);
        if (r < 0)
                migration_on_host_failed(m->migration, "memory", r, &e);
        migrate_stop_source(m);
}

/* QEMU's memory has connected: now libvirt can be told, and nothing else has changed it since. */
void migrate_pace_memory(Migrate *m) {
        Error e = ERROR_INIT;
        int r;

        if (!m->pace.waits || m->pace.told || migration_role(m->migration) != MIGRATION_SOURCE)
                return;
        m->pace.told = true;
        m->tunes++;
        r = virt_set_bandwidth(m->shim->virt, m->pace.mib ?: BANDWIDTH_ANY, on_limited, m, &e);
        if (r <= 0)
                on_limited(m, r, NULL, &e);
}

int migrate_pace_set(Migrate *m, uint64_t mib, OpDone done, void *userdata, Error *reterr) {
        if (m->pace.disks && !m->pace.lifted && m->ferry) {
                int r = ferry_pace(m->ferry, FERRY_DISK, mib << 20, reterr);

                if (r < 0)
                        return r;
                m->pace.mib = mib;
        }
        return virt_set_bandwidth(m->shim->virt, mib ?: BANDWIDTH_ANY, done, userdata, reterr);
}

/* While the pod stands nothing is limited, as with libvirt's own. */
void migrate_pace_lift(Migrate *m) {
        if (!m->pace.disks || m->pace.lifted || m->pace.mib == 0 || !m->ferry)
                return;
        m->pace.lifted = ferry_pace(m->ferry, FERRY_DISK, 0, NULL) == 0;
}
