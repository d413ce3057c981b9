/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/volume-check.h"

#include <inttypes.h>
#include <string.h>

#include "hostdev/disk/inspect.h"

static int same_path(void *path, const ScsiDiskInfo *info) {
        return strcmp(info->config.host_path, path) == 0;
}

bool volume_is_held(const Shim *s, const char *path) {
        union {
                const char *in;
                void *out;
        } u = { .in = path };

        return s->vm && scsi_each_disk(vm_scsi(s->vm), same_path, u.out) != 0;
}

int volume_check(const ContainerDisk *d, bool held, const char *backing_dir, Error *reterr) {
        const ScsiDiskConfig *c = &d->disk;
        DiskWants wants = { .format = d->format_given ? c->format : "",
                            .backing_dir = backing_dir,
                            .writable = !c->read_only,
                            .held = held };
        DiskInfo info;
        int r;

        r = disk_inspect(c->host_path, &wants, &info, reterr);
        if (r < 0)
                return r;
        if (strcmp(info.format, c->format) != 0 || info.virtual_size != c->virtual_size)
                return error_setf(reterr, -EINVAL,
                                  "%s: it is %s with %" PRIu64 " bytes, not %s with %" PRIu64,
                                  c->host_path, info.format, info.virtual_size, c->format,
                                  c->virtual_size);
        return 0;
}
