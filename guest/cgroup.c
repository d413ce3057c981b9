/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/cgroup.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "guest/files.h"

enum { DEPTH_MAX = 16 };

static int write_attribute(const char *group, const char *name, const char *value, Error *reterr) {
        char path[512];

        (void)snprintf(path, sizeof(path), CGROUP_ROOT "%s/%s", group, name);
        return file_write_string(path, value, reterr);
}

int cgroup_kill(const char *group, Error *reterr) {
        return write_attribute(group, "cgroup.kill", "1", reterr);
}

int cgroup_freeze(const char *group, bool frozen, Error *reterr) {
        return write_attribute(group, "cgroup.freeze", frozen ? "1" : "0", reterr);
}

typedef struct Pids {
        uint32_t *pids;
        size_t n, cap;
} Pids;

static int add_pid(Pids *all, uint32_t pid, Error *reterr) {
        uint32_t *more;

        if (all->n == CGROUP_PIDS_MAX)
                return error_setf(reterr, -ENOSPC, "above %d processes", CGROUP_PIDS_MAX);
        if (all->n == all->cap) {
                size_t cap = all->cap ? all->cap * 2 : 64;

                more = reallocarray(all->pids, cap, sizeof(*more));
                if (!more)
                        return error_oom(reterr);
                all->pids = more;
                all->cap = cap;
        }
        all->pids[all->n++] = pid;
        return 0;
}

static int add_pids_of(const char *dir, Pids *all, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        char path[4200];
        int r;

        (void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
        r = file_read(path, (size_t)CGROUP_PIDS_MAX * 8, &b, reterr);
        if (r < 0)
                return r == -EOPNOTSUPP ? 0 : r; /* a threaded group has threads only */
        if (buf_append(&b, "", 1) < 0)
                return error_oom(reterr);
        for (char *p = (char *)b.data, *end; *p; p = end) {
                unsigned long pid = strtoul(p, &end, 10);

                if (end == p)
                        break;
                end += strspn(end, "\n");
                r = add_pid(all, (uint32_t)pid, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int walk(const char *dir, int depth, Pids *all, Error *reterr) {
        DIR *d;
        int r;

        r = add_pids_of(dir, all, reterr);
        if (r < 0 || depth >= DEPTH_MAX)
                return r;
        d = opendir(dir);
        if (!d)
                return error_setf(reterr, -errno, "cannot list %s: %m", dir);
        for (struct dirent *e; r >= 0 && (e = readdir(d));) {
                char path[4096];
                int n;

                if (e->d_type != DT_DIR || e->d_name[0] == '.')
                        continue;
                n = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
                if (n < 0 || (size_t)n >= sizeof(path))
                        continue;
                r = walk(path, depth + 1, all, reterr);
                if (r == -ENOENT || r == -ENODEV)
                        r = 0; /* it went while we looked */
        }
        (void)closedir(d);
        return r;
}

int cgroup_pids(const char *group, uint32_t **ret, size_t *ret_n, Error *reterr) {
        Pids all = {};
        char dir[512];
        int r;

        (void)snprintf(dir, sizeof(dir), CGROUP_ROOT "%s", group);
        r = walk(dir, 0, &all, reterr);
        if (r < 0) {
                free(all.pids);
                return r;
        }
        *ret = all.pids;
        *ret_n = all.n;
        return 0;
}

int cgroup_oom_kills(const char *group, uint64_t *ret, Error *reterr) {
        _cleanup_buf_ Buf b = {};
        char path[512], *at;
        int r;

        (void)snprintf(path, sizeof(path), CGROUP_ROOT "%s/memory.events", group);
        r = file_read(path, 4096, &b, reterr);
        if (r < 0)
                return r;
        if (buf_append(&b, "", 1) < 0)
                return error_oom(reterr);
        at = strstr((char *)b.data, "oom_kill ");
        if (!at)
                return error_setf(reterr, -EBADMSG, "%s has no oom_kill", path);
        *ret = strtoull(at + strlen("oom_kill "), NULL, 10);
        return 0;
}
