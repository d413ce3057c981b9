/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/start.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "hostdev/image/program.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/values.h"
#include "shim/definition.h"
#include "shim/offline.h"
#include "shim/rundir.h"

#define SHIM_PROGRAM "containerd-shim-podferry-v2"

/* The caller owns it; a name without a slash is looked for in PATH. */
static char *find_shim(void) {
        static const char *const places[] = { "", "../libexec/podferry/" };
        char own[PATH_MAX];
        ssize_t n;
        char *slash;

        n = readlink("/proc/self/exe", own, sizeof(own) - 1);
        if (n <= 0)
                return strdup(SHIM_PROGRAM);
        own[n] = '\0';
        slash = strrchr(own, '/');
        if (!slash)
                return strdup(SHIM_PROGRAM);
        slash[1] = '\0';
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                char *path;

                if (asprintf(&path, "%s%s%s", own, places[i], SHIM_PROGRAM) < 0)
                        return NULL;
                if (access(path, X_OK) == 0)
                        return path;
                free(path);
        }
        return strdup(SHIM_PROGRAM);
}

static int check_free(const Ctl *ctl, const char *pod, Error *reterr) {
        Error e = ERROR_INIT;
        int fd, r;

        r = offline_check(ctl->config.state_dir, pod, &e);
        if (r < 0)
                return error_setf(reterr, r == -EBADFD ? -EEXIST : r, "%s", e.text);
        r = pod_connect_socket(ctl->config.run_dir, pod, &fd, reterr);
        if (r == 0) {
                (void)close_fd(fd);
                return error_setf(reterr, -EEXIST,
                                  "pod %s is here already; take another name, or "
                                  "podferry rm --force %s",
                                  pod, pod);
        }
        if (r == -ECONNREFUSED)
                return error_setf(reterr, -EEXIST,
                                  "pod %s was here and its shim has died; podferry rm --force %s "
                                  "removes what is left",
                                  pod, pod);
        if (r == -ENOENT && pod_is_stopped(ctl, pod))
                return error_setf(reterr, -EEXIST,
                                  "pod %s is here, stopped; podferry start %s, or podferry rm %s",
                                  pod, pod, pod);
        return r == -ENOENT ? 0 : error_prefix(reterr, r, "%s", pod);
}

/* in: what the shim is bound to as a receiver; < 0: nothing. */
static int spawn_shim(const Ctl *ctl, const char *pod, const char *how, int in, Error *reterr) {
        _cleanup_free_ char *program = NULL;
        const char *argv[10] = {};
        size_t n = 0;
        int r;

        program = find_shim();
        if (!program)
                return error_oom(reterr);
        argv[n++] = program;
        argv[n++] = "--pod";
        argv[n++] = pod;
        argv[n++] = "--run-dir";
        argv[n++] = ctl->config.run_dir;
        argv[n++] = "--state-dir";
        argv[n++] = ctl->config.state_dir;
        if (how)
                argv[n++] = how;
        if (in >= 0)
                argv[n++] = "--bound";
        r = program_run_own(argv, in, NULL, reterr);
        return r < 0 ? error_prefix(reterr, r, "cannot start the shim") : 0;
}

static int start_new(const Ctl *ctl, const char *pod, const char *how, int in, Error *reterr) {
        int r;

        r = id_check("pod name", pod, reterr);
        if (r == 0)
                r = check_free(ctl, pod, reterr);
        return r < 0 ? r : spawn_shim(ctl, pod, how, in, reterr);
}

int shim_start(const Ctl *ctl, const char *pod, Error *reterr) {
        return start_new(ctl, pod, NULL, -EBADF, reterr);
}

int shim_start_receiver(const Ctl *ctl, const char *pod, int *ret_hold, Error *reterr) {
        _cleanup_close_ int in = -EBADF, hold = -EBADF;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_setf(reterr, -errno, "pipe: %m");
        in = fds[0], hold = fds[1];
        r = start_new(ctl, pod, "--receive", in, reterr);
        if (r == 0)
                *ret_hold = TAKE_FD(hold);
        return r;
}

int shim_restart(const Ctl *ctl, const char *pod, Error *reterr) {
        int r = id_check("pod name", pod, reterr);

        return r < 0 ? r : spawn_shim(ctl, pod, NULL, -EBADF, reterr);
}

int shim_start_to_remove(const Ctl *ctl, const char *pod, Error *reterr) {
        int r = id_check("pod name", pod, reterr);

        return r < 0 ? r : spawn_shim(ctl, pod, "--discard", -EBADF, reterr);
}

int shim_start_again(const Ctl *ctl, const char *pod, Error *reterr) {
        int fd, r;

        r = id_check("pod name", pod, reterr);
        if (r < 0)
                return r;
        r = pod_connect_socket(ctl->config.run_dir, pod, &fd, reterr);
        if (r == 0) {
                (void)close_fd(fd);
                return error_setf(reterr, -EEXIST, "pod %s has a shim that lives", pod);
        }
        return r == -ECONNREFUSED ? spawn_shim(ctl, pod, "--adopt", -EBADF, reterr)
                                  : error_prefix(reterr, r, "%s", pod);
}

int pod_start(const Ctl *ctl, const char *pod, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = offline_check(ctl->config.state_dir, pod, reterr);
        if (r < 0)
                return r;
        if (pod_is_stopped(ctl, pod))
                r = shim_restart(ctl, pod, reterr);
        if (r == 0)
                r = pod_connect(ctl->config.run_dir, pod, &bus, reterr);
        if (r == -ECONNREFUSED)
                return error_setf(reterr, r, "the shim of pod %s has died; podferry adopt %s first",
                                  pod, pod);
        if (r < 0)
                return r;
        r = pod_call(bus, WORK_DEADLINE, NULL, reterr, BUS_POD, BUS_INTERFACE ".Pod", "Start", "");
        return r < 0 ? error_prefix(reterr, r, "%s", pod) : 0;
}

int pod_drop_offline(const Ctl *ctl, const char *pod, bool force, Error *reterr) {
        _cleanup_offline_lock_ OfflineLock lock = OFFLINE_LOCK_INIT;
        _cleanup_record_ OfflineRecord out = {}, none = {};
        _cleanup_free_ char *state = NULL;
        int r;

        r = offline_check(ctl->config.state_dir, pod, reterr);
        if (r != -EBADFD || !force)
                return r;
        if (asprintf(&state, "%s/pods/%s", ctl->config.state_dir, pod) < 0) {
                state = NULL;
                return error_oom(reterr);
        }
        r = offline_lock(ctl->config.state_dir, pod, &lock, reterr);
        if (r == 0)
                r = offline_read(state, OFFLINE_OUTGOING, &out, reterr);
        if (r < 0)
                return r;
        if (out.state != OFFLINE_GIVEN) {
                r = offline_discard(state, false, reterr);
                return r < 0 ? r : 1;
        }
        r = offline_write(state, OFFLINE_OUTGOING, &none, reterr);
        if (r < 0 || definition_is_there(state))
                return r;
        directory_remove(state); /* all but that was removed */
        return 1;
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sub-directories that are named like pods. */
static int list_names(const char *path, char ***ret, Error *reterr) {
        _cleanup_(words_freep) char **names = calloc(1, sizeof(*names));
        DIR *d;

        if (!names)
                return error_oom(reterr);
        d = opendir(path);
        if (!d && errno != ENOENT)
                return error_setf(reterr, -errno, "%s: %m", path);
        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
                if (id_check("pod", e->d_name, NULL) == 0 &&
                    (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) &&
                    words_add(&names, e->d_name) < 0) {
                        (void)closedir(d);
                        return error_oom(reterr);
                }
        if (d)
                (void)closedir(d);
        qsort(names, words_count(names), sizeof(*names), compare);
        *ret = TAKE(names);
        return 0;
}

int pods_list(const Ctl *ctl, char ***ret, Error *reterr) {
        return list_names(ctl->config.run_dir, ret, reterr);
}

/* With no shim, living or dead. */
static bool has_state(const Ctl *ctl, const char *pod, bool definition) {
        _cleanup_free_ char *run = NULL, *state = NULL;

        if (id_check("pod", pod, NULL) < 0)
                return false;
        if (asprintf(&run, "%s/%s", ctl->config.run_dir, pod) < 0)
                run = NULL;
        if (asprintf(&state, "%s/pods/%s", ctl->config.state_dir, pod) < 0)
                state = NULL;
        return run && state && access(run, F_OK) < 0 && access(state, F_OK) == 0 &&
               definition_is_there(state) == definition;
}

bool pod_is_stopped(const Ctl *ctl, const char *pod) {
        return has_state(ctl, pod, true);
}

bool pod_has_remains(const Ctl *ctl, const char *pod) {
        return has_state(ctl, pod, false);
}

int pods_list_known(const Ctl *ctl, char ***ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/pods", ctl->config.state_dir) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        return list_names(path, ret, reterr);
}

int pods_list_stopped(const Ctl *ctl, char ***ret, Error *reterr) {
        _cleanup_(words_freep) char **all = NULL, **names = calloc(1, sizeof(*names));
        int r;

        if (!names)
                return error_oom(reterr);
        r = pods_list_known(ctl, &all, reterr);
        for (size_t i = 0; r == 0 && all[i]; i++)
                if (pod_is_stopped(ctl, all[i]) && words_add(&names, all[i]) < 0)
                        r = error_oom(reterr);
        if (r == 0)
                *ret = TAKE(names);
        return r;
}
