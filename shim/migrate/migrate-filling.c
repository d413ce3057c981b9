/* SPDX-License-Identifier: Apache-2.0 */
/* The disks that a destination fills, by path, and the directory of the transfer's sockets: in
 * "filling" of its run directory, from before the first disk is made. The tree that says the same
 * is kept only once the transfer starts, and a shim that is started to remove what a dead one has
 * left has no tree at all. */
#include <fcntl.h>
#include <string.h>

#include "hostdev/image/disk.h"
#include "hostdev/image/files.h"
#include "lib/log.h"
#include "shim/migrate/migrate.h"
#include "shim/rundir.h"

#define NAME        "filling"
#define FILLING_MAX (1U << 20)

static int open_directory(const char *run_dir) {
        int fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int migrate_filling_write(const char *run_dir, const Buf *paths, Error *reterr) {
        _cleanup_close_ int dir = open_directory(run_dir);

        return dir < 0 ? error_setf(reterr, dir, "%s: %s", run_dir, strerrordesc_np(-dir))
                       : files_write(dir, NAME, paths->data, paths->len, reterr);
}

/* <run_dir>/.migrate-<session>, and nothing else, is removed whole. */
static bool is_transfer_directory(const Shim *s, const char *path) {
        size_t n = strlen(s->config.run_dir);

        return strncmp(path, s->config.run_dir, n) == 0 &&
               strncmp(path + n, "/.migrate-", 10) == 0 && !strchr(path + n + 1, '/');
}

void migrate_filling_end(const Shim *s, bool discard) {
        _cleanup_close_ int dir = s->dir.path ? open_directory(s->dir.path) : -EBADF;
        _cleanup_buf_ Buf paths = {};
        const char *p, *end;

        if (dir < 0 || files_read(dir, NAME, FILLING_MAX, &paths, NULL) < 0)
                return;
        p = (const char *)paths.data;
        end = p + paths.len;
        for (; discard && p < end; p += strlen(p) + 1) { /* there is a NUL behind the last, too */
                Error err = ERROR_INIT;
                int r = 0;

                if (is_transfer_directory(s, p))
                        directory_remove(p);
                else
                        r = disk_discard(p, s->pod_id, &err);
                if (r < 0)
                        log_warning("migration: %s", error_text(&err, r));
        }
        (void)unlinkat(dir, NAME, 0);
}
