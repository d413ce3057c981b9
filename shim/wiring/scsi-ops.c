/* SPDX-License-Identifier: Apache-2.0 */
/* ScsiOps: hot-plug by libvirt, mounts by the agent. */
#include "shim/wiring/ops.h"

#include <string.h>
#include <sys/stat.h>

typedef Podferry__Guest__V1__ScsiAddress GuestAddress;

static char *text(const char *s) {
        union {
                const char *in;
                char *out;
        } u = { .in = s };

        return u.out;
}

DiskSpec shim_disk_spec(uint32_t slot, const ScsiDiskConfig *disk) {
        struct stat st;

        return (DiskSpec){ .slot = slot,
                           .path = disk->host_path,
                           .format = disk->format,
                           .read_only = disk->read_only,
                           .shared = disk->mode == SCSI_STORAGE_SHARED,
                           .block = stat(disk->host_path, &st) == 0 && S_ISBLK(st.st_mode) };
}

static GuestAddress guest_address(uint32_t slot, uint32_t partition) {
        GuestAddress a = PODFERRY__GUEST__V1__SCSI_ADDRESS__INIT;

        a.controller = slot / SCSI_TARGETS;
        a.target = slot % SCSI_TARGETS;
        a.partition = partition;
        return a;
}

static int op_plug(void *userdata, uint32_t slot, const ScsiDiskConfig *disk, OpDone done,
                   void *job, Error *reterr) {
        DiskSpec spec = shim_disk_spec(slot, disk);
        Virt *virt;
        int r;

        r = shim_virt(userdata, &virt, reterr);
        return r < 0 ? r : virt_plug_disk(virt, &spec, done, job, reterr);
}

static int op_unplug(void *userdata, uint32_t slot, OpDone done, void *job, Error *reterr) {
        Shim *s = userdata;
        Virt *virt;
        int r;

        if (vm_is_gone(s->vm))
                return 0;
        r = shim_virt(s, &virt, reterr);
        return r < 0 ? r : virt_unplug_disk(virt, slot, done, job, reterr);
}

static int op_guest_mount(void *userdata, uint32_t slot, const ScsiMountConfig *mount,
                          const char *guest_path, OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__MountRequest body = PODFERRY__GUEST__V1__MOUNT_REQUEST__INIT;
        GuestAddress address = guest_address(slot, mount->partition);
        _cleanup_free_ char **options = NULL;
        ToGuest request = TO_GUEST_INIT;
        size_t n = 0;

        while (mount->options && mount->options[n])
                n++;
        options = calloc(n + 1, sizeof(*options));
        if (!options)
                return error_oom(reterr);
        for (size_t i = 0; i < n; i++)
                options[i] = text(mount->options[i]);
        body.disk = &address;
        body.guest_path = text(guest_path);
        body.filesystem = text(mount->filesystem ?: "");
        body.read_only = mount->read_only;
        body.options = options;
        body.n_options = n;
        body.block_device = mount->block_device;
        request.body_case = TO_GUEST_BODY(MOUNT);
        request.mount = &body;
        return guest_call(userdata, &request, done, job, reterr);
}

static int op_guest_unmount(void *userdata, uint32_t slot, const char *guest_path, bool last,
                            OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__UnmountRequest body = PODFERRY__GUEST__V1__UNMOUNT_REQUEST__INIT;
        GuestAddress address = guest_address(slot, 0);
        ToGuest request = TO_GUEST_INIT;
        Shim *s = userdata;

        if (vm_is_gone(s->vm))
                return 0;
        body.guest_path = text(guest_path);
        body.disk = last ? &address : NULL;
        request.body_case = TO_GUEST_BODY(UNMOUNT);
        request.unmount = &body;
        return guest_call_forget(s, &request, done, job, reterr);
}

const ScsiOps shim_scsi_ops = {
        .plug = op_plug,
        .unplug = op_unplug,
        .guest_mount = op_guest_mount,
        .guest_unmount = op_guest_unmount,
};
