/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel settings of a device in another namespace: /proc/sys/net shows those of the thread that
 * looks. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "hostdev/net/net-internal.h"

typedef struct Visit {
        int fd; /* of the namespace */
        const char *device;
        NetSysctl *list;
        size_t n;
        bool set;
        int r; /* results */
        char path[128];
} Visit;

static int visit_one(Visit *v, NetSysctl *s) {
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        if (v->set && strcmp(s->value, "-") == 0)
                return 0;
        (void)snprintf(v->path, sizeof(v->path), "/proc/sys/net/%s/conf/%s/%s", s->family,
                       v->device, s->key);
        fd = open(v->path, (v->set ? O_WRONLY : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
        if (fd < 0 && errno == ENOENT) {
                if (!v->set)
                        (void)snprintf(s->value, sizeof(s->value), "-");
                return 0;
        }
        if (fd < 0)
                return -errno;
        if (v->set) {
                n = write(fd, s->value, strlen(s->value));
                return n < 0 ? -errno : 0;
        }
        n = read(fd, s->value, sizeof(s->value) - 1);
        if (n < 0)
                return -errno;
        s->value[n] = '\0';
        s->value[strcspn(s->value, "\n")] = '\0';
        return 0;
}

/* A thread of its own, so that nobody else can be left in the wrong namespace. */
static void *enter(void *argument) {
        Visit *v = argument;

        (void)snprintf(v->path, sizeof(v->path), "the namespace");
        if (setns(v->fd, CLONE_NEWNET) < 0)
                v->r = -errno;
        for (size_t i = 0; v->r == 0 && i < v->n; i++)
                v->r = visit_one(v, &v->list[i]);
        return NULL;
}

int net_sysctl(NetNs *ns, const char *device, NetSysctl *list, size_t n, bool set, Error *reterr) {
        Visit v = { .fd = ns->fd, .device = device, .list = list, .n = n, .set = set };
        pthread_t thread;
        int r;

        r = pthread_create(&thread, NULL, enter, &v);
        if (r != 0)
                return error_setf(reterr, -r, "a thread for %s", ns->path);
        (void)pthread_join(thread, NULL);
        return v.r < 0 ? error_setf(reterr, v.r, "%s of %s in %s: %s: %s%s",
                                    set ? "setting" : "reading", device, ns->path, v.path,
                                    strerrordesc_np(-v.r),
                                    v.r == -EROFS ? "; wiring by macvtap needs it writable" : "")
                       : 0;
}
