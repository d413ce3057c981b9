/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/container.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "guest/agent.h"
#include "guest/cgroup.h"
#include "lib/log.h"

static int make_directory(const char *path, Error *reterr) {
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_setf(reterr, -errno, "cannot make %s: %m", path);
        return 0;
}

/* Flat: no directories inside. */
static void remove_directory(const char *path) {
        DIR *dir = opendir(path);

        if (!dir)
                return;
        for (struct dirent *e; (e = readdir(dir));)
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        (void)unlinkat(dirfd(dir), e->d_name, 0);
        (void)closedir(dir);
        if (rmdir(path) < 0)
                log_warning("container: cannot remove %s: %m", path);
}

static Container *find(const Containers *all, const char *id) {
        Container *c = all->first;

        while (c && strcmp(c->id, id) != 0)
                c = c->next;
        return c;
}

int container_new(Agent *a, const char *id, Container **ret, Error *reterr) {
        Containers *all = &a->containers;
        Container *c;
        Process *init;
        int r;

        if (find(all, id))
                return error_setf(reterr, -EEXIST, "container %s is there already", id);
        if (all->n >= CONTAINERS_MAX)
                return error_setf(reterr, -ENOSPC, "there are %u containers already", all->n);
        c = malloc(sizeof(*c));
        if (!c)
                return error_oom(reterr);
        *c = (Container){ .agent = a };
        (void)snprintf(c->id, sizeof(c->id), "%s", id);
        (void)snprintf(c->directory, sizeof(c->directory), "/run/podferry/containers/%s", id);
        (void)snprintf(c->cgroup, sizeof(c->cgroup), "/podferry/%s", id);
        c->next = all->first;
        all->first = c;
        all->n++;
        r = container_add_process(c, "", &init, reterr);
        if (r >= 0)
                r = make_directory(c->directory, reterr);
        if (r < 0) {
                (void)container_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

Container *container_free(Container *c) {
        Containers *all;

        if (!c)
                return NULL;
        all = &c->agent->containers;
        oom_remove(&c->agent->oom, c->id);
        while (c->processes)
                container_remove_process(c, c->processes);
        remove_directory(c->directory);
        for (Container **p = &all->first; *p; p = &(*p)->next)
                if (*p == c) {
                        *p = c->next;
                        break;
                }
        all->n--;
        free(c);
        return NULL;
}

int container_find(Agent *a, const char *id, Container **ret, Error *reterr) {
        int r = check_id("container id", id, reterr);

        if (r < 0)
                return r;
        *ret = find(&a->containers, id);
        return *ret ? 0 : error_setf(reterr, -ENOENT, "there is no container %s", id);
}

static Process *process_of(const Container *c, const char *id) {
        Process *p = c->processes;

        while (p && strcmp(p->id, id) != 0)
                p = p->next;
        return p;
}

Process *container_init_process(const Container *c) {
        return process_of(c, "");
}

int container_find_process(Container *c, const char *exec_id, Process **ret, Error *reterr) {
        int r = exec_id[0] == '\0' ? 0 : check_id("exec id", exec_id, reterr);

        if (r < 0)
                return r;
        *ret = process_of(c, exec_id);
        if (!*ret)
                return error_setf(reterr, -ENOENT, "container %s has no exec %s", c->id, exec_id);
        return 0;
}

int containers_find_process(Agent *a, const char *id, const char *exec_id, Process **ret,
                            Error *reterr) {
        Container *c;
        int r = container_find(a, id, &c, reterr);

        return r < 0 ? r : container_find_process(c, exec_id, ret, reterr);
}

int container_add_process(Container *c, const char *exec_id, Process **ret, Error *reterr) {
        Containers *all = &c->agent->containers;
        Process *p;
        int r;

        if (process_of(c, exec_id))
                return error_setf(reterr, -EEXIST, "container %s has an exec %s already", c->id,
                                  exec_id);
        if (all->n_processes >= PROCESSES_MAX)
                return error_setf(reterr, -ENOSPC, "there are %u processes already",
                                  all->n_processes);
        r = process_new(c, exec_id, &p, reterr);
        if (r < 0)
                return r;
        p->next = c->processes;
        c->processes = p;
        all->n_processes++;
        *ret = p;
        return 0;
}

void container_remove_process(Container *c, Process *p) {
        Containers *all = &c->agent->containers;

        for (Process **at = &c->processes; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        break;
                }
        if (p->fsm.state == PROCESS_EXITED)
                all->n_unsettled--;
        all->n_processes--;
        (void)process_free(p);
}

bool container_has_ended(const Container *c) {
        for (const Process *p = c->processes; p; p = p->next)
                if (!process_has_ended(p))
                        return false;
        return true;
}

void container_path(const Container *c, const char *prefix, const char *name, const char *suffix,
                    char *ret, size_t size) {
        (void)snprintf(ret, size, "%s/%s%s%s", c->directory, prefix, name, suffix);
}

int container_pids(Container *c, uint32_t **ret, size_t *ret_n, Error *reterr) {
        return cgroup_pids(c->cgroup, ret, ret_n, reterr);
}

int container_kill_all(Container *c, unsigned sig, Error *reterr) {
        _cleanup_free_ uint32_t *pids = NULL;
        size_t n;
        int r;

        if (sig == SIGKILL)
                return cgroup_kill(c->cgroup, reterr);
        /* Frozen, so that nobody escapes by a fork in between. */
        r = cgroup_freeze(c->cgroup, true, reterr);
        if (r < 0)
                return r;
        r = cgroup_pids(c->cgroup, &pids, &n, reterr);
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (kill((pid_t)pids[i], (int)sig) < 0 && errno != ESRCH)
                        r = error_setf(reterr, -errno, "cannot send signal %u: %m", sig);
        if (r < 0)
                (void)cgroup_freeze(c->cgroup, false, NULL);
        else
                r = cgroup_freeze(c->cgroup, false, reterr);
        return r;
}

void container_process_ended(Container *c, Process *p) {
        c->agent->containers.n_unsettled++;
        if (p->delete) {
                Call *call = TAKE(p->delete);

                container_remove_process(c, p);
                call_finish(call, 0, NULL, NULL);
        }
        container_continue_delete(c);
        power_continue(&c->agent->power);
}

void containers_service(Containers *all) {
        for (Container *c = all->first; c && all->n_unsettled > 0; c = c->next)
                for (Process *p = c->processes; p; p = p->next)
                        if (process_settle(p))
                                all->n_unsettled--;
}
