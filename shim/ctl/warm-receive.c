/* SPDX-License-Identifier: Apache-2.0 */
/* The destination of a warm move: that of a cold one, whose disks are filled in several passes. */
#include <fcntl.h>
#include <string.h>

#include "hostdev/image/disk.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/json.h"
#include "shim/ctl/warm-stream.h"

int warm_take_disk(const ColdReceiver *c, const ColdDisk *d, uint64_t which, Error *reterr) {
        _cleanup_close_ int fd = open(d->there, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        bool raw = strcmp(d->spec->disk.format, "raw") == 0;

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", d->there);
        /* An image grows. */
        return warm_receive_file(c->pipe, c->warm, fd, d->there, (size_t)which, raw ? d->bytes : 1,
                                 raw ? d->bytes : DISK_SIZE_MAX, reterr);
}

static int begin(ColdReceiver *c, json_object *request, Error *reterr) {
        int64_t block = json_get_number(request, "block");
        size_t n = 0;

        if (c->warm)
                return 0;
        for (size_t i = 0; i < c->plan.n_disks; i++)
                n += cold_is_copy(&c->plan.disks[i]);
        return warm_tables_new(block > 0 ? (uint64_t)block : 0, n, &c->warm, reterr);
}

/* A pass follows the request: each disk to be copied. */
int cold_take_ahead(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        uint64_t which = 0;
        int r;

        if (!c->offered)
                return error_setf(reterr, -EBADFD, "nothing was offered");
        r = begin(c, request, reterr);
        for (size_t i = 0; r == 0 && i < c->plan.n_disks; i++)
                if (cold_is_copy(&c->plan.disks[i]))
                        r = warm_take_disk(c, &c->plan.disks[i], which++, reterr);
        return r;
}
