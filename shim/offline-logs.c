/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of a pod without a shim: <state>/logs has those of its containers, not of their execs, which
 * end with the machine. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/directory.h"
#include "shim/offline.h"

#define CHUNK (64U << 10)

static DIR *close_list(DIR *d) {
        if (d)
                (void)closedir(d);
        return NULL;
}
DEFINE_CLEANUP(DIR *, close_list);

static int copy_content(int in, int out) {
        _cleanup_free_ uint8_t *chunk = malloc(CHUNK);

        if (!chunk)
                return -ENOMEM;
        for (;;) {
                ssize_t n = read(in, chunk, CHUNK);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return fsync(out) < 0 ? -errno : 0;
                r = files_write_all(out, chunk, (size_t)n);
                if (r < 0)
                        return r;
        }
}

static int copy_file(int from, int to, const char *name) {
        _cleanup_close_ int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        _cleanup_close_ int out = -EBADF;
        struct stat st;

        if (in < 0 || fstat(in, &st) < 0)
                return errno == ELOOP || errno == ENOENT ? 0 : -errno;
        if (!S_ISREG(st.st_mode)) /* a directory: execs */
                return 0;
        out = openat(to, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        return out < 0 ? -errno : copy_content(in, out);
}

/* Every file of the directory `from`, which may be missing, to the directory `to`. */
static int copy_all(const char *from, const char *to, bool *ret_any, Error *reterr) {
        _cleanup_(close_listp) DIR *list = opendir(from);
        _cleanup_close_ int out = -EBADF;
        int r = 0;

        if (!list)
                return errno == ENOENT ? 0 : error_setf(reterr, -errno, "%s: %m", from);
        r = directory_make(to, 0700, reterr);
        if (r < 0)
                return r;
        out = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (out < 0)
                return error_setf(reterr, -errno, "%s: %m", to);
        for (struct dirent *e = readdir(list); r == 0 && e; e = readdir(list)) {
                if (e->d_name[0] == '.')
                        continue;
                r = copy_file(dirfd(list), out, e->d_name);
                if (r < 0)
                        return error_setf(reterr, r, "%s/%s, to %s: %s", from, e->d_name, to,
                                          strerrordesc_np(-r));
                *ret_any = true;
        }
        return fsync(out) < 0 ? error_setf(reterr, -errno, "%s: %m", to) : 0;
}

static int both_paths(const char *run_dir, const char *state, char **run, char **kept) {
        if (asprintf(run, "%s/logs", run_dir) < 0) {
                *run = NULL;
                return -ENOMEM;
        }
        if (asprintf(kept, "%s/logs", state) < 0) {
                *kept = NULL;
                return -ENOMEM;
        }
        return 0;
}

static int remove_kept(const char *state, Error *reterr) {
        _cleanup_close_ int dir = open(state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int r = dir < 0 ? -errno : files_remove_tree(dir, "logs");

        return r < 0 ? error_setf(reterr, r, "%s/logs: %s", state, strerrordesc_np(-r)) : 0;
}

int offline_keep_logs(const char *run_dir, const char *state, Error *reterr) {
        _cleanup_free_ char *run = NULL, *kept = NULL;
        bool any = false;
        int r;

        if (both_paths(run_dir, state, &run, &kept) < 0)
                return error_oom(reterr);
        if (access(run, F_OK) < 0) /* it never started: what is kept is all there is */
                return 0;
        r = remove_kept(state, reterr);
        return r < 0 ? r : copy_all(run, kept, &any, reterr);
}

int offline_take_logs(const char *run_dir, const char *state, bool *ret_any, Error *reterr) {
        _cleanup_free_ char *run = NULL, *kept = NULL;
        int r;

        *ret_any = false;
        if (both_paths(run_dir, state, &run, &kept) < 0)
                return error_oom(reterr);
        r = copy_all(kept, run, ret_any, reterr);
        return r < 0 || !*ret_any ? r : remove_kept(state, reterr);
}
