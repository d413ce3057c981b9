/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/oom.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "guest/agent.h"
#include "guest/cgroup.h"

struct OomWatch {
        int wd;
        char container_id[CHECK_ID_MAX + 1];
        char group[128];
        uint64_t kills;
        OomWatch *next;
};

static void look(Oom *o, OomWatch *w) {
        OomEvent oom = PODFERRY__GUEST__V1__OOM_EVENT__INIT;
        FromGuest event = FROM_GUEST_INIT;
        uint64_t kills;

        if (cgroup_oom_kills(w->group, &kills, NULL) < 0 || kills <= w->kills)
                return;
        w->kills = kills;
        oom.container_id = w->container_id;
        event.body_case = FROM_GUEST(OOM);
        event.oom = &oom;
        rpc_event(&o->agent->rpc, &event);
}

static void ready(void *userdata, uint32_t events) {
        _Alignas(struct inotify_event) char buffer[4096];
        Oom *o = userdata;
        ssize_t n;

        while ((n = read(o->fd, buffer, sizeof(buffer))) > 0)
                for (char *p = buffer; p < buffer + n;) {
                        struct inotify_event e;

                        memcpy(&e, p, sizeof(e));
                        p += sizeof(e) + e.len;
                        for (OomWatch *w = o->first; w; w = w->next)
                                if (w->wd == e.wd)
                                        look(o, w);
                }
}

int oom_init(Oom *o, Agent *a, Error *reterr) {
        int r;

        *o = (Oom){ .agent = a, .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK) };
        if (o->fd < 0)
                return error_setf(reterr, -errno, "cannot make an inotify fd: %m");
        r = watch_init(&o->watch, &a->loop, o->fd, EPOLLIN, ready, o);
        return r < 0 ? error_setf(reterr, r, "cannot watch for OOM: %s", strerror(-r)) : 0;
}

int oom_add(Oom *o, const char *container_id, const char *group, Error *reterr) {
        OomWatch *w = malloc(sizeof(*w));
        char path[256];

        if (!w)
                return error_oom(reterr);
        *w = (OomWatch){};
        (void)snprintf(w->container_id, sizeof(w->container_id), "%s", container_id);
        (void)snprintf(w->group, sizeof(w->group), "%s", group);
        (void)snprintf(path, sizeof(path), CGROUP_ROOT "%s/memory.events", group);
        w->wd = inotify_add_watch(o->fd, path, IN_MODIFY);
        if (w->wd < 0) {
                int r = error_setf(reterr, -errno, "cannot watch %s: %m", path);

                free(w);
                return r;
        }
        w->next = o->first;
        o->first = w;
        look(o, w); /* what happened before the watch */
        return 0;
}

void oom_remove(Oom *o, const char *container_id) {
        for (OomWatch **p = &o->first; *p; p = &(*p)->next) {
                OomWatch *w = *p;

                if (strcmp(w->container_id, container_id) != 0)
                        continue;
                look(o, w);
                (void)inotify_rm_watch(o->fd, w->wd);
                *p = w->next;
                free(w);
                return;
        }
}
