/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/disk/target.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "hostdev/disk/inspect.h"
#include "lib/cleanup.h"

/* The kernel gives a device exclusively to one: not while it is mounted, or behind another one. */
static int check_alone(const char *path, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0 && errno == EBUSY)
                return error_setf(reterr, -EBUSY, "%s: something of this host uses it", path);
        return fd < 0 ? error_setf(reterr, -errno, "%s: %m", path) : 0;
}

static int check_device(const char *path, const char *format, uint64_t size, Error *reterr) {
        DiskWants wants = { .format = "", .backing_dir = "", .writable = true };
        DiskInfo info;
        int r;

        if (strcmp(format, "raw") != 0)
                return error_setf(reterr, -EINVAL,
                                  "%s: a block device takes a raw volume, and this one is %s: name "
                                  "a file",
                                  path, format);
        r = check_alone(path, reterr);
        if (r == 0)
                r = disk_inspect(path, &wants, &info, reterr);
        if (r < 0)
                return r;
        if (strcmp(info.format, "raw") != 0 || info.filesystem[0])
                return error_setf(reterr, -EEXIST,
                                  "%s: there is %s on it, which would be overwritten: wipefs -a "
                                  "says that it may be",
                                  path, info.filesystem[0] ? info.filesystem : info.format);
        if (info.virtual_size != size)
                return error_setf(reterr, info.virtual_size < size ? -ENOSPC : -EINVAL,
                                  "%s: it has %" PRIu64 " bytes, the volume has %" PRIu64
                                  ": make it exactly as large, QEMU copies to no other",
                                  path, info.virtual_size, size);
        return 0;
}

int disk_make_target(const char *path, const char *format, uint64_t virtual_size, uint64_t room,
                     const DiskOwner *owner, bool *ret_device, Error *reterr) {
        struct stat st;
        int r;

        *ret_device = stat(path, &st) == 0 && S_ISBLK(st.st_mode);
        if (*ret_device)
                return check_device(path, format, virtual_size, reterr);
        r = disk_check_name(path, format, reterr);
        return r < 0 ? r : disk_make_destination(path, format, virtual_size, room, owner, reterr);
}

int disk_sync(const char *path, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0 || fsync(fd) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        return disk_sync_entry(path, reterr);
}
