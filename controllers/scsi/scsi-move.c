/* SPDX-License-Identifier: Apache-2.0 */
/* A volume that goes to another file while the guest uses it. Who moves it calls the hypervisor;
 * here is what may be moved, and what waits meanwhile. */
#include <string.h>

#include "controllers/checks.h"
#include "controllers/scsi/scsi-internal.h"

static int check_disk(const ScsiDisk *d, Error *reterr) {
        static const char *const names[_SCSI_DISK_KIND_MAX] = { [SCSI_DISK_LAYER] =
                                                                        "an image layer",
                                                                [SCSI_DISK_SCRATCH] =
                                                                        "a scratch disk",
                                                                [SCSI_DISK_VOLUME] = "a volume" };

        if (d->config.kind != SCSI_DISK_VOLUME)
                return error_setf(reterr, -EINVAL, "disk %s is %s: only volumes are moved",
                                  d->host_path, names[d->config.kind]);
        if (d->config.read_only)
                return error_setf(reterr, -EINVAL,
                                  "disk %s is read-only, so nothing changes it: copy the file, and "
                                  "give the pod the copy instead (podferry volume rm, volume add)",
                                  d->host_path);
        if (d->moving)
                return error_setf(reterr, -EBUSY, "disk %s is being moved already", d->host_path);
        if (d->fsm.state != SCSI_DISK_ATTACHED)
                return fsm_refuse(&d->fsm, "move", reterr);
        return 0;
}

int scsi_move_begin(Scsi *s, uint64_t reservation, const char *host_path, Error *reterr) {
        ScsiReservation *res = scsi_find_reservation(s, reservation);
        int r;

        if (s->fsm.state != SCSI_ACTIVE)
                return fsm_refuse(&s->fsm, "move", reterr);
        if (!res)
                return error_setf(reterr, -ENOENT, "there is no disk reservation %llu",
                                  (unsigned long long)reservation);
        r = path_check("disk path", host_path, reterr);
        if (r == 0)
                r = check_disk(res->disk, reterr);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < s->n_controllers * SCSI_TARGETS; i++)
                if (s->slots[i] && strcmp(s->slots[i]->host_path, host_path) == 0)
                        return error_setf(reterr, -EEXIST, "%s is a disk of the pod already",
                                          host_path);
        res->disk->moving = true;
        return 0;
}

bool scsi_is_moving(const Scsi *s, uint64_t reservation) {
        const ScsiReservation *res = scsi_find_reservation(s, reservation);

        return res && res->disk->moving;
}

int scsi_move_end(Scsi *s, uint64_t reservation, const char *host_path) {
        ScsiReservation *res = scsi_find_reservation(s, reservation);

        if (!res) /* unmapped when the VM had gone */
                return 0;
        if (host_path && scsi_disk_set_path(res->disk, host_path) < 0)
                return -ENOMEM;
        res->disk->moving = false;
        return 0;
}
