/* SPDX-License-Identifier: Apache-2.0 */
/* Plans in files of this host. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "shim/plan/plan-store.h"

#define CANCEL "cancel"

static void run_name(unsigned number, char ret[static 16]) {
        (void)snprintf(ret, 16, "run-%06u", number % 1000000U);
}

/* -- listing -- */

/* A second descriptor, because reading a directory moves its position. */
static DIR *open_list(int dir_fd) {
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (!d)
                (void)close_fd(fd);
        return d;
}

static int compare(const void *a, const void *b) {
        unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

        return x < y ? -1 : x > y;
}

static int list_runs(PlanStore *s, unsigned **ret, size_t *ret_n, Error *reterr) {
        _cleanup_free_ unsigned *list = NULL;
        DIR *d = open_list(s->dir_fd);
        size_t n = 0;
        unsigned number;
        int used;

        if (!d)
                return error_setf(reterr, -errno, "%s: %m", s->path);
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                unsigned *more;

                used = 0;
                if (sscanf(e->d_name, "run-%6u%n", &number, &used) != 1 || e->d_name[used] ||
                    number == 0)
                        continue;
                more = reallocarray(list, n + 1, sizeof(*list));
                if (!more) {
                        (void)closedir(d);
                        return error_oom(reterr);
                }
                list = more;
                list[n++] = number;
        }
        (void)closedir(d);
        if (n > 0)
                qsort(list, n, sizeof(*list), compare);
        *ret = TAKE(list);
        *ret_n = n;
        return 0;
}

static int read_run(PlanStore *s, unsigned number, PlanRun *ret, Error *reterr) {
        char name[16];
        int r;

        run_name(number, name);
        r = plan_journal_read(s->dir_fd, name, plan_run_take, ret, &ret->torn, &ret->busy, reterr);
        return r < 0 ? error_prefix(reterr, r, "%s", s->path) : 0;
}

static void prune(PlanStore *s) {
        _cleanup_free_ unsigned *list = NULL;
        char name[16];
        size_t n = 0;

        if (list_runs(s, &list, &n, NULL) < 0)
                return;
        for (size_t i = 0; i + PLAN_RUNS_MAX < n; i++) {
                run_name(list[i], name);
                (void)unlinkat(s->dir_fd, name, 0);
        }
}

static int open_run(PlanStore *s, unsigned number, json_object *begin, PlanRun *ret,
                    PlanJournal **ret_journal, Error *reterr) {
        _cleanup_(plan_journal_freep) PlanJournal *j = NULL;
        json_object *copy = begin ? json_object_get(begin) : NULL;
        char name[16];
        int r;

        run_name(number, name);
        r = plan_journal_open(s->dir_fd, name, plan_run_take, ret, &j, reterr);
        if (r < 0 || !begin || ret->number > 0) {
                if (begin) {
                        (void)json_object_put(begin);
                        (void)json_object_put(copy);
                        if (r == 0) /* somebody else was faster */
                                r = error_setf(reterr, -EBUSY, "%s: another run has begun", name);
                }
        } else {
                r = plan_journal_append(j, begin, reterr);
                if (r == 0)
                        r = plan_run_take(ret, copy, reterr);
                (void)json_object_put(copy);
                prune(s);
        }
        if (r < 0)
                return error_prefix(reterr, r, "%s", s->path);
        *ret_journal = TAKE(j);
        return 0;
}

/* -- asking a run to stop -- */

static int ask_cancel(PlanStore *s, const char *pod, Error *reterr) {
        char name[96];
        int r;

        (void)snprintf(name, sizeof(name), CANCEL "%s%s", pod ? "." : "", pod ?: "");
        r = files_write(s->dir_fd, name, "\n", 1, reterr);
        return r < 0 ? error_prefix(reterr, r, "%s", s->path) : 0;
}

static int take_cancel(PlanStore *s, char ret[], size_t size, Error *reterr) {
        DIR *d = open_list(s->dir_fd);
        int found = 0;

        if (!d)
                return error_setf(reterr, -errno, "%s: %m", s->path);
        for (struct dirent *e = readdir(d); e && !found; e = readdir(d)) {
                size_t n = strlen(CANCEL);

                if (strncmp(e->d_name, CANCEL, n) != 0 || (e->d_name[n] && e->d_name[n] != '.'))
                        continue;
                (void)snprintf(ret, size, "%s", e->d_name[n] ? e->d_name + n + 1 : "");
                found = unlinkat(s->dir_fd, e->d_name, 0) < 0 ? -errno : 1;
        }
        (void)closedir(d);
        return found < 0 ? error_setf(reterr, found, "%s: %s", s->path, strerrordesc_np(-found))
                         : found;
}

/* -- archive -- */

static int archive_runs(PlanStore *s, char **ret_path, Error *reterr) {
        _cleanup_close_ int archive = -EBADF;
        struct timespec now = {};
        char to[128];
        int r;

        r = files_sub_directory(s->plans_fd, ".archive", 0700, &archive, reterr);
        if (r < 0)
                return r;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)snprintf(to, sizeof(to), "%s.%lld-%09ld", s->name, (long long)now.tv_sec,
                       now.tv_nsec);
        if (renameat2(s->plans_fd, s->name, archive, to, RENAME_NOREPLACE) < 0 ||
            fsync(archive) < 0 || fsync(s->plans_fd) < 0)
                return error_setf(reterr, -errno, "%s: %m", s->path);
        if (asprintf(ret_path, "%.*s/.archive/%s", (int)(strrchr(s->path, '/') - s->path), s->path,
                     to) < 0) {
                *ret_path = NULL;
                return error_oom(reterr);
        }
        return 0;
}

/* -- what only a shared store has more of -- */

static int lock(PlanStore *s, PlanLock *l, Error *reterr) {
        (void)s, (void)l, (void)reterr;
        return 0;
}

static int watch(PlanStore *s, Error *reterr) {
        (void)s, (void)reterr;
        return 0;
}

static void unwatch(PlanStore *s) {
        (void)s;
}

const PlanStoreOps plan_store_files = {
        .name = "files",
        .done = unwatch,
        .list = list_runs,
        .read = read_run,
        .open_run = open_run,
        .ask_cancel = ask_cancel,
        .take_cancel = take_cancel,
        .archive = archive_runs,
        .lock = lock,
        .unlock = lock,
        .watch = watch,
        .unwatch = unwatch,
};
