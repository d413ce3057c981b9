/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes into containers that run, and out of them.
 *
 * What is to be bound is cloned as a detached mount here, then the worker's thread goes into the
 * container's mount namespace, attaches it and comes back. There all paths are the container's,
 * whose processes may change them meanwhile: they are walked by descriptors, and no symbolic link
 * is followed. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "guest/agent.h"
#include "guest/handlers.h"
#include "lib/log.h"

typedef struct BindJob {
        WorkerJob job;
        Call *call;
        int ns; /* mount namespace of the container */
} BindJob;

/* The directory that has the last part of the path, which is *ret_name. */
static int open_parent(const char *path, bool make, int *ret, const char **ret_name,
                       Error *reterr) {
        _cleanup_close_ int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        const char *p = path;

        if (at < 0)
                return error_setf(reterr, -errno, "cannot open /: %m");
        for (const char *slash; (slash = strchr(p + 1, '/')); p = slash) {
                char name[256];
                int next;

                if (snprintf(name, sizeof(name), "%.*s", (int)(slash - p - 1), p + 1) >=
                    (int)sizeof(name))
                        return error_setf(reterr, -ENAMETOOLONG, "%s: a name is too long", path);
                if (make && mkdirat(at, name, 0755) < 0 && errno != EEXIST)
                        return error_setf(reterr, -errno, "cannot make %s: %m", path);
                next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return error_setf(reterr, -errno, "cannot go into %s in the container: %m",
                                          path);
                (void)close_fd(at);
                at = next;
        }
        *ret = TAKE_FD(at);
        *ret_name = p + 1;
        return 0;
}

/* Where the mount goes: a directory, or for a device an empty file. */
static int open_target(const char *path, bool file, int *ret, Error *reterr) {
        _cleanup_close_ int parent = -EBADF;
        const char *name;
        int r;

        r = open_parent(path, true, &parent, &name, reterr);
        if (r < 0)
                return r;
        if (file)
                r = mknodat(parent, name, S_IFREG | 0600, 0);
        else
                r = mkdirat(parent, name, 0755);
        if (r < 0 && errno != EEXIST)
                return error_setf(reterr, -errno, "cannot make %s in the container: %m", path);
        *ret = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (file ? 0 : O_DIRECTORY));
        return *ret < 0 ? error_setf(reterr, -errno, "cannot open %s in the container: %m", path)
                        : 0;
}

static int attach(int tree, const BindRequest *q, Error *reterr) {
        _cleanup_close_ int target = -EBADF;
        struct stat st;
        int r;

        r = open_target(q->destination, q->block_device, &target, reterr);
        if (r < 0)
                return r;
        if (fstat(target, &st) < 0 || S_ISLNK(st.st_mode))
                return error_setf(reterr, -EINVAL, "%s in the container is a symbolic link",
                                  q->destination);
        if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return error_setf(reterr, -errno, "cannot mount at %s in the container: %m",
                                  q->destination);
        return 0;
}

static int detach(const UnbindRequest *q, Error *reterr) {
        _cleanup_close_ int parent = -EBADF;
        const char *name;
        int r;

        r = open_parent(q->destination, false, &parent, &name, reterr);
        if (r < 0)
                return r;
        if (fchdir(parent) < 0)
                return error_setf(reterr, -errno, "%s in the container: %m", q->destination);
        r = umount2(name, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
        if (r == -EINVAL)
                return error_setf(reterr, -ENOENT, "nothing is mounted at %s in the container",
                                  q->destination);
        if (r == -EBUSY)
                return error_setf(
                        reterr, r,
                        "%s: processes of the container have files open there, or are in it",
                        q->destination);
        return r < 0 ? error_setf(reterr, r, "cannot unmount %s in the container: %s",
                                  q->destination, strerrordesc_np(-r))
                     : 0;
}

static int inside(const BindJob *j, int tree, Error *reterr) {
        const ToGuest *m = j->call->request;
        _cleanup_close_ int own = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
        int r;

        if (own < 0)
                return error_setf(reterr, -errno, "mount namespace: %m");
        if (setns(j->ns, CLONE_NEWNS) < 0)
                return error_setf(reterr, -errno, "cannot go into the container: %m");
        r = (int)m->body_case == TO_GUEST(BIND) ? attach(tree, m->bind, reterr)
                                                : detach(m->unbind, reterr);
        if (setns(own, CLONE_NEWNS) < 0) { /* nothing that this thread does would be right */
                log_err("worker: cannot come back from a container: %m");
                abort();
        }
        return r;
}

static int clone_source(const BindRequest *q, int *ret, Error *reterr) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
        _cleanup_close_ int tree = -EBADF;

        tree = open_tree(AT_FDCWD, q->source,
                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
        if (tree < 0)
                return error_setf(reterr, -errno, "cannot take %s: %m", q->source);
        if (q->read_only && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return error_setf(reterr, -errno, "cannot make %s read-only: %m", q->source);
        *ret = TAKE_FD(tree);
        return 0;
}

static int run(WorkerJob *job, Error *reterr) {
        const BindJob *j = container_of(job, BindJob, job);
        const ToGuest *m = j->call->request;
        _cleanup_close_ int tree = -EBADF;
        int r;

        r = (int)m->body_case == TO_GUEST(BIND) ? clone_source(m->bind, &tree, reterr) : 0;
        return r < 0 ? r : inside(j, tree, reterr);
}

static void done(WorkerJob *job) {
        BindJob *j = container_of(job, BindJob, job);

        call_finish(j->call, job->code, &job->err, NULL);
        (void)close_fd(j->ns);
        free(j);
}

/* The namespace is opened while init is known to be alive, so its number is not another's yet. */
static int submit(Agent *a, Call *call, const char *id, Error *reterr) {
        const Process *init = NULL;
        Container *c;
        char path[64];
        BindJob *j;
        int r;

        if ((r = power_check(&a->power, reterr)) < 0 || (r = container_find(a, id, &c, reterr)) < 0)
                return r;
        init = container_init_process(c);
        if (!init || init->fsm.state != PROCESS_RUNNING)
                return error_setf(reterr, -EBADFD, "container %s does not run", id);
        j = malloc(sizeof(*j));
        if (!j)
                return error_oom(reterr);
        *j = (BindJob){ .job = { .run = run, .done = done }, .call = call };
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)init->pid);
        j->ns = open(path, O_RDONLY | O_CLOEXEC);
        if (j->ns < 0) {
                free(j);
                return error_setf(reterr, -errno, "container %s: %m", id);
        }
        worker_submit(&a->worker, &j->job);
        return 1;
}

int handle_bind(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        const BindRequest *q = m->bind;
        int r;

        if ((r = check_path("source", q->source, reterr)) < 0 ||
            (r = check_path("destination", q->destination, reterr)) < 0)
                return r;
        return submit(a, call, q->container_id, reterr);
}

int handle_unbind(Agent *a, Call *call, const ToGuest *m, Error *reterr) {
        int r = check_path("destination", m->unbind->destination, reterr);

        return r < 0 ? r : submit(a, call, m->unbind->container_id, reterr);
}
