/* SPDX-License-Identifier: Apache-2.0 */
/* What a network does: set-up, an interface that comes or goes, teardown, and the word to the guest
 * after a migration. One call at a time; each is a task with undo. */
#include <assert.h>
#include <string.h>

#include "controllers/checks.h"
#include "controllers/network/network-internal.h"
#include "lib/log.h"

typedef struct NetCall {
        Network *network;
        char *name; /* of the one interface that it is about; NULL: all */
        Task *task;
        size_t at;
        OpDone done;
        void *job;
        NetworkState success, failure;
} NetCall;

static NetCall *net_call_free(NetCall *c) {
        if (c)
                free(c->name);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(NetCall *, net_call_free);

static int net_call_new(Network *n, const char *name, NetworkState failure, OpDone done, void *job,
                        NetCall **ret, Error *reterr) {
        _cleanup_(net_call_freep) NetCall *c = calloc(1, sizeof(*c));

        if (!c)
                return error_oom(reterr);
        *c = (NetCall){ .network = n,
                        .done = done,
                        .job = job,
                        .success = NETWORK_CONFIGURED,
                        .failure = failure };
        if (name && !(c->name = strdup(name)))
                return error_oom(reterr);
        *ret = TAKE(c);
        return 0;
}

/* -- host side of teardown: it outlives the tree -- */

static void on_left(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_warning("network: %s", error_text(err, r));
}

static void leave_all(Network *n, bool stays_cut) {
        for (size_t i = 0; i < n->n_interfaces; i++) {
                Interface *f = &n->interfaces[i];
                Error e = ERROR_INIT;
                int r = 0;

                if (f->fsm.state == NETWORK_INTERFACE_GONE)
                        continue;
                if (f->fsm.state != NETWORK_INTERFACE_PLANNED && n->ops &&
                    n->kind == NETWORK_NAMESPACE)
                        r = n->ops->leave(n->userdata, network_path(n), f->config, stays_cut,
                                          on_left, NULL, &e);
                if (r < 0)
                        on_left(NULL, r, NULL, &e);
                fsm_must(&f->fsm, NETWORK_INTERFACE_GONE);
        }
}

void network_stay_cut(Network *n) {
        n->stays_cut = true;
}

void network_teardown(Network *n) {
        bool moved = n->fsm.state == NETWORK_SOURCE_MIGRATING || n->stays_cut;

        n->lost = true;
        if (n->fsm.state == NETWORK_TORN_DOWN || n->fsm.state == NETWORK_NOT_CONFIGURED)
                return;
        if (fsm_flags(&n->fsm) & FSM_WAITING)
                return; /* its call fails now, and then does it */
        leave_all(n, moved);
        fsm_must(&n->fsm, NETWORK_TORN_DOWN);
}

/* -- calls -- */

static void on_call_done(void *userdata, int r, const void *result, const Error *err) {
        NetCall c = *(NetCall *)userdata;
        Network *n = c.network;

        (void)net_call_free(userdata);
        if (n->lost) {
                leave_all(n, false);
                fsm_must(&n->fsm, NETWORK_TORN_DOWN);
        } else {
                fsm_must(&n->fsm, (int)(r < 0 ? c.failure : c.success));
        }
        c.done(c.job, r, NULL, err);
}

/* Ran to its end at once: nobody else will say so. */
static int settle(Network *n, const NetCall *c, int r) {
        if (r <= 0)
                fsm_must(&n->fsm, (int)(r < 0 ? c->failure : c->success));
        return r;
}

static int start_call(NetCall *c_arg, NetworkState waiting, const TaskStep *steps, size_t n_steps,
                      Error *reterr) {
        _cleanup_(net_call_freep) NetCall *c = c_arg;
        Network *n = c->network;
        int r;

        fsm_must(&n->fsm, (int)waiting);
        r = task_start(steps, n_steps, c, on_call_done, c, NULL, reterr);
        (void)settle(n, c, r);
        if (r == 1)
                c = NULL;
        return r;
}

static Interface *its_interface(NetCall *c) {
        Interface *i = network_find(c->network, c->name);

        assert(i); /* only this call could take it away */
        return i;
}

/* -- set-up -- */

static int join_next(NetCall *c, Error *reterr);

static void on_joined(void *userdata, int r, const void *result, const Error *err) {
        NetCall *c = userdata;
        Interface *i = &c->network->interfaces[c->at];
        Error e = ERROR_INIT;

        fsm_must(&i->fsm, r < 0 ? NETWORK_INTERFACE_PLANNED : NETWORK_INTERFACE_UP);
        if (r == 0) {
                c->at++;
                r = join_next(c, &e);
                err = &e;
        }
        if (r <= 0)
                task_done(c->task, r, NULL, err);
}

/* The hypervisor's own network needs nothing from us. */
static int join_next(NetCall *c, Error *reterr) {
        Network *n = c->network;

        for (; c->at < n->n_interfaces; c->at++) {
                Interface *i = &n->interfaces[c->at];
                int r = 0;

                fsm_must(&i->fsm, NETWORK_INTERFACE_JOINING);
                if (n->kind == NETWORK_NAMESPACE)
                        r = n->ops->join(n->userdata, n->path, i->config, on_joined, c, reterr);
                if (r > 0)
                        return 1;
                fsm_must(&i->fsm, r < 0 ? NETWORK_INTERFACE_PLANNED : NETWORK_INTERFACE_UP);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int step_join_all(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        c->task = t;
        c->at = 0;
        return join_next(c, reterr);
}

static int tell_guest(Network *n, NetworkGuest g, OpDone done, void *job, Error *reterr) {
        NetInterface *all[NET_INTERFACES_MAX];

        for (size_t i = 0; i < n->n_interfaces; i++)
                if (n->interfaces[i].config != g.remove)
                        all[g.n_interfaces++] = n->interfaces[i].config;
        g.interfaces = all;
        return n->ops->guest(n->userdata, &g, done, job, reterr);
}

static int step_configure(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        return tell_guest(c->network,
                          (NetworkGuest){ .names = c->network->names, .announce = true }, task_done,
                          t, reterr);
}

static int undo_join_all(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        leave_all(c->network, false);
        return 0;
}

static const TaskStep setup_steps[] = {
        { "join", step_join_all, undo_join_all },
        { "configure the guest's interfaces", step_configure, NULL },
};

int network_setup(Network *n, OpDone done, void *job, Error *reterr) {
        NetCall *c = NULL;
        int r;

        if (n->fsm.state != NETWORK_NOT_CONFIGURED)
                return fsm_refuse(&n->fsm, "set up", reterr);
        if (n->kind == NETWORK_NONE) {
                fsm_must(&n->fsm, NETWORK_CONFIGURED);
                return 0;
        }
        r = net_call_new(n, NULL, NETWORK_INVALID, done, job, &c, reterr);
        return r < 0 ? r
                     : start_call(c, NETWORK_SETTING_UP, setup_steps, ELEMENTSOF(setup_steps),
                                  reterr);
}

/* -- an interface that comes -- */

static int free_slot(const Network *n) {
        for (uint32_t slot = 0; slot < NET_INTERFACES_MAX; slot++) {
                bool taken = false;

                for (size_t i = 0; i < n->n_interfaces; i++)
                        taken = taken || n->interfaces[i].config->slot == slot;
                if (!taken)
                        return (int)slot;
        }
        return -ENOSPC;
}

static int take_read(NetCall *c, const NetFacts *facts, Error *reterr) {
        NetInterface *found = net_facts_find(facts, c->name);
        Network *n = c->network;
        int r = free_slot(n);

        if (!found)
                return error_setf(reterr, -ENOENT, "%s has no interface %s", n->path, c->name);
        if (r < 0)
                return error_setf(reterr, r, "a pod has at most %d interfaces", NET_INTERFACES_MAX);
        found = net_interface_copy(found);
        if (!found)
                return error_oom(reterr);
        found->slot = (uint32_t)r;
        r = network_put(n, found, NETWORK_INTERFACE_PLANNED, reterr);
        (void)net_interface_free(found);
        if (r < 0)
                return r;
        r = network_check(n, reterr);
        if (r < 0)
                network_drop(n, its_interface(c));
        return r;
}

static void on_read(void *userdata, int r, const void *result, const Error *err) {
        NetCall *c = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = take_read(c, result, &e);
                err = &e;
        }
        task_done(c->task, r, NULL, err);
}

static int step_read(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        c->task = t;
        return c->network->ops->read(c->network->userdata, c->network->path, on_read, c, reterr);
}

static int undo_read(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        network_drop(c->network, its_interface(c));
        return 0;
}

static int step_plug(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        return c->network->ops->plug(c->network->userdata, its_interface(c)->config, task_done, t,
                                     reterr);
}

static int undo_plug(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        return c->network->ops->unplug(c->network->userdata, its_interface(c)->config, task_done, t,
                                       reterr);
}

static int step_join(void *object, Task *t, Error *reterr) {
        NetCall *c = object;
        Interface *i = its_interface(c);

        fsm_must(&i->fsm, NETWORK_INTERFACE_JOINING);
        return c->network->ops->join(c->network->userdata, c->network->path, i->config, task_done,
                                     t, reterr);
}

static int leave_one(NetCall *c, Task *t, Error *reterr) {
        return c->network->ops->leave(c->network->userdata, c->network->path,
                                      its_interface(c)->config, false, task_done, t, reterr);
}

static int undo_join(void *object, Task *t, Error *reterr) {
        return leave_one(object, t, reterr);
}

static int step_configure_one(void *object, Task *t, Error *reterr) {
        NetCall *c = object;
        Interface *i = its_interface(c);

        fsm_must(&i->fsm, NETWORK_INTERFACE_UP);
        return tell_guest(c->network, (NetworkGuest){ .announce = true }, task_done, t, reterr);
}

static const TaskStep add_steps[] = {
        { "read", step_read, undo_read },
        { "plug", step_plug, undo_plug },
        { "join", step_join, undo_join },
        { "configure the guest's interfaces", step_configure_one, NULL },
};

static int can_change(const Network *n, const char *what, const char *name, Error *reterr) {
        if (n->fsm.state != NETWORK_CONFIGURED)
                return fsm_refuse(&n->fsm, what, reterr);
        if (n->kind != NETWORK_NAMESPACE)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "%s: the pod's network is \"%s\": interfaces come and go in a "
                                  "namespace only",
                                  what, network_kind_name(n->kind));
        return net_name_check(name, reterr);
}

int network_add(Network *n, const char *name, OpDone done, void *job, Error *reterr) {
        NetCall *c = NULL;
        int r;

        r = can_change(n, "add an interface", name, reterr);
        if (r == 0 && network_find(n, name))
                r = error_setf(reterr, -EEXIST, "the pod has an interface %s already", name);
        if (r == 0)
                r = net_call_new(n, name, NETWORK_CONFIGURED, done, job, &c, reterr);
        return r < 0 ? r
                     : start_call(c, NETWORK_CHANGING, add_steps, ELEMENTSOF(add_steps), reterr);
}

/* -- an interface that goes -- */

static int step_take_down(void *object, Task *t, Error *reterr) {
        NetCall *c = object;
        Interface *i = its_interface(c);

        fsm_must(&i->fsm, NETWORK_INTERFACE_LEAVING);
        return tell_guest(c->network, (NetworkGuest){ .remove = i->config }, task_done, t, reterr);
}

static int step_unplug(void *object, Task *t, Error *reterr) {
        return undo_plug(object, t, reterr);
}

static int step_leave(void *object, Task *t, Error *reterr) {
        return leave_one(object, t, reterr);
}

static int step_forget(void *object, Task *t, Error *reterr) {
        NetCall *c = object;

        network_drop(c->network, its_interface(c));
        return 0;
}

static const TaskStep remove_steps[] = {
        { "take down", step_take_down, NULL },
        { "unplug", step_unplug, NULL },
        { "leave", step_leave, NULL },
        { "forget", step_forget, NULL },
};

static void on_removed(void *userdata, int r, const void *result, const Error *err) {
        NetCall *c = userdata;

        if (r < 0 && its_interface(c)->fsm.state == NETWORK_INTERFACE_LEAVING)
                fsm_must(&its_interface(c)->fsm, NETWORK_INTERFACE_FAILED);
        on_call_done(c, r, NULL, err);
}

int network_remove(Network *n, const char *name, OpDone done, void *job, Error *reterr) {
        _cleanup_(net_call_freep) NetCall *c = NULL;
        int r;

        r = can_change(n, "remove an interface", name, reterr);
        if (r == 0 && !network_find(n, name))
                r = error_setf(reterr, -ENOENT, "the pod has no interface %s", name);
        if (r == 0)
                r = net_call_new(n, name, NETWORK_CONFIGURED, done, job, &c, reterr);
        if (r < 0)
                return r;
        fsm_must(&n->fsm, NETWORK_CHANGING);
        r = task_start(remove_steps, ELEMENTSOF(remove_steps), c, on_removed, c, NULL, reterr);
        if (r < 0 && its_interface(c)->fsm.state == NETWORK_INTERFACE_LEAVING)
                fsm_must(&its_interface(c)->fsm, NETWORK_INTERFACE_FAILED);
        (void)settle(n, c, r);
        if (r == 1)
                c = NULL;
        return r;
}

/* -- after a migration -- */

static void on_reset(void *userdata, int r, const void *result, const Error *err) {
        NetCall *c = userdata;

        if (r == 0)
                c->network->arrived = false;
        on_call_done(c, r, NULL, err);
}

/* An announcement changes nothing: it is no state, and does not keep the pod from moving on. */
typedef struct Announcement {
        OpDone done;
        void *job;
} Announcement;

static void on_announced(void *userdata, int r, const void *result, const Error *err) {
        Announcement a = *(Announcement *)userdata;

        free(userdata);
        a.done(a.job, r, NULL, err);
}

static int announce(Network *n, OpDone done, void *job, Error *reterr) {
        Announcement *a = malloc(sizeof(*a));
        int r;

        if (!a)
                return error_oom(reterr);
        *a = (Announcement){ done, job };
        r = tell_guest(n, (NetworkGuest){ .announce = true, .only_announce = true }, on_announced,
                       a, reterr);
        if (r <= 0)
                free(a);
        return r;
}

int network_reset(Network *n, OpDone done, void *job, Error *reterr) {
        NetCall *c = NULL;
        int r;

        if (n->fsm.state != NETWORK_CONFIGURED)
                return fsm_refuse(&n->fsm, "reset", reterr);
        if (n->n_interfaces == 0)
                return 0;
        if (!n->arrived || n->mode == NETWORK_KEEP)
                return announce(n, done, job, reterr);
        r = net_call_new(n, NULL, NETWORK_CONFIGURED, done, job, &c, reterr);
        if (r < 0)
                return r;
        fsm_must(&n->fsm, NETWORK_CHANGING);
        r = tell_guest(n, (NetworkGuest){ .names = n->names, .announce = true }, on_reset, c,
                       reterr);
        if (r == 0)
                n->arrived = false;
        (void)settle(n, c, r);
        if (r <= 0)
                (void)net_call_free(c);
        return r;
}
