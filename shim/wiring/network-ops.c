/* SPDX-License-Identifier: Apache-2.0 */
/* NetworkOps: namespaces by hostdev/net on a lane of its own, devices by libvirt, the inside by the
 * agent. */
#include <stdio.h>
#include <string.h>

#include "hostdev/net/net.h"
#include "lib/crc32c.h"
#include "lib/log.h"
#include "shim/file-job.h"
#include "shim/wiring/ops.h"

#define TAP_SIZE 16U

/* The same on both hosts, and another one for every pod. */
static void tap_name(const Shim *s, uint32_t slot, char ret[TAP_SIZE]) {
        const char *uuid = vm_spec(s->vm)->uuid;

        (void)snprintf(ret, TAP_SIZE, "pf%08xn%u", crc32c(0, uuid, strlen(uuid)), slot % 10);
}

typedef struct Interfaces {
        NetworkInterfaceInfo *list;
        size_t n;
} Interfaces;

static int add_interface(void *userdata, const NetworkInterfaceInfo *i) {
        Interfaces *x = userdata;

        if (x->n < NET_INTERFACES_MAX)
                x->list[x->n++] = *i;
        return 0;
}

size_t shim_interfaces(Shim *s, NetworkInterfaceInfo ret[NET_INTERFACES_MAX]) {
        Interfaces x = { .list = ret };

        if (s->pod)
                (void)network_each_interface(pod_network(s->pod), add_interface, &x);
        return x.n;
}

void shim_nic(Shim *s, const NetInterface *i, ShimNic *ret) {
        Network *network = pod_network(s->pod);
        size_t n_ports;
        const NetworkPort *ports = network_ports(network, &n_ports);

        *ret = (ShimNic){ .spec = { .slot = i->slot } };
        memcpy(ret->spec.mac, i->device_mac.data, sizeof(ret->spec.mac));
        tap_name(s, i->slot, ret->tap);
        if (network_kind(network) == NETWORK_NAMESPACE)
                ret->spec.tap = ret->tap;
        ret->spec.tap_is_made = net_wiring_is_made(s->wiring);
        for (size_t k = 0; k < n_ports; k++) {
                ret->forwards[k] = (ForwardSpec){ .host = ports[k].host,
                                                  .pod = ports[k].pod,
                                                  .udp = ports[k].udp };
                memcpy(ret->forwards[k].address, ports[k].address, sizeof(ports[k].address));
        }
        ret->spec.forwards = ret->forwards;
        ret->spec.n_forwards = n_ports;
}

size_t shim_nics(Shim *s, ShimNic ret[NET_INTERFACES_MAX]) {
        NetworkInterfaceInfo list[NET_INTERFACES_MAX];
        size_t n = shim_interfaces(s, list);

        for (size_t i = 0; i < n; i++)
                shim_nic(s, list[i].config, &ret[i]);
        return n;
}

/* Work in a namespace */

typedef struct NetJob {
        Shim *shim;       /* of the loop's thread */
        NetWiring wiring; /* wanted, then chosen */
        Error why;        /* it is not redirect */
        char *path;
        char host[32]; /* the namespace in which libvirt makes its taps; "": this process's */
        unsigned what;
        bool read, count;
        struct {
                NetInterface *wire;
                char tap[TAP_SIZE];
        } ends[NET_INTERFACES_MAX];
        size_t n;
        NetFacts *facts; /* results */
        ShimNetStatistics statistics;
        OpDone done;
        void *job;
} NetJob;

static NetJob *net_job_free(NetJob *j) {
        if (!j)
                return NULL;
        for (size_t i = 0; i < j->n; i++)
                (void)net_interface_free(j->ends[i].wire);
        (void)net_facts_free(j->facts);
        free(j->path);
        free(j);
        return NULL;
}
DEFINE_CLEANUP(NetJob *, net_job_free);

static int net_job_new(Shim *s, const char *path, unsigned what, OpDone done, void *job,
                       NetJob **ret, Error *reterr) {
        _cleanup_(net_job_freep) NetJob *j = calloc(1, sizeof(*j));

        if (!j)
                return error_oom(reterr);
        *j = (NetJob){
                .shim = s, .wiring = s->config.wiring, .what = what, .done = done, .job = job
        };
        j->path = strdup(path);
        if (!j->path)
                return error_oom(reterr);
        *ret = TAKE(j);
        return 0;
}

static int net_job_add(NetJob *j, Shim *s, const NetInterface *i, Error *reterr) {
        j->ends[j->n].wire = net_interface_copy(i);
        if (!j->ends[j->n].wire)
                return error_oom(reterr);
        tap_name(s, i->slot, j->ends[j->n++].tap);
        return 0;
}

static int count(NetJob *j, size_t i, NetNs *ns, Error *reterr) {
        (void)snprintf(j->statistics.of[i].name, sizeof(j->statistics.of[i].name), "%s",
                       j->ends[i].wire->name);
        j->statistics.n = i + 1;
        return net_statistics(ns, j->ends[i].tap, &j->statistics.of[i].all, reterr);
}

static int work_on(const NetJob *j, size_t i, NetNs *ns, NetNs *host, Error *reterr) {
        const NetInterface *wire = j->ends[i].wire;
        const char *tap = j->ends[i].tap;
        int r = 0;

        if (j->what & SHIM_NET_ALONE)
                r = net_check_alone(ns, host, wire, reterr);
        if (r == 0 && j->what & SHIM_NET_MAKE)
                r = net_make(ns, host, j->wiring, wire->name, tap, reterr);
        if (r == 0 && j->what & SHIM_NET_CUT)
                r = net_cut(ns, host, wire->name, tap, reterr);
        if (r == 0 && j->what & SHIM_NET_JOIN)
                r = net_join(ns, host, wire->name, tap, reterr);
        if (r == 0 && j->what & (SHIM_NET_OPEN | SHIM_NET_CLOSE))
                r = net_gate(ns, wire->name, tap, j->what & SHIM_NET_OPEN, reterr);
        if (r == 0 && j->what & SHIM_NET_OPEN)
                net_tell_switches(ns, wire);
        if (r == 0 && j->what & SHIM_NET_UNCUT)
                r = net_uncut(ns, host, wire, tap, reterr);
        if (r == 0 && j->what & SHIM_NET_UNMAKE)
                r = net_unmake(ns, host, wire->name, tap, reterr);
        return r;
}

/* A QEMU that ends meanwhile was in our own namespace, as a rule. */
static int open_host(const NetJob *j, NetNs **ret, Error *reterr) {
        int r = j->host[0] ? netns_open(j->host, ret, reterr) : -ENOENT;

        return r == -ENOENT ? netns_open(NULL, ret, reterr) : r;
}

/* What is looked for where libvirt is. */
#define IN_HOST                                                                                    \
        (SHIM_NET_MAKE | SHIM_NET_UNMAKE | SHIM_NET_CUT | SHIM_NET_UNCUT | SHIM_NET_JOIN |         \
         SHIM_NET_ALONE)

/* libvirt makes taps where it is itself, and that is where its QEMU is. */
static void find_host(Shim *s, NetJob *j) {
        const VmSpec *spec = s->vm ? vm_spec(s->vm) : NULL;
        pid_t pid;

        if (spec && virt_qemu_pid(spec->domain_name, spec->uuid, &pid, NULL) == 0)
                (void)snprintf(j->host, sizeof(j->host), "/proc/%d/ns/net", (int)pid);
}

/* Of the lane's thread. Of a namespace that is gone there is nothing left to be undone. */
static int run(void *argument, Error *reterr) {
        _cleanup_(netns_freep) NetNs *ns = NULL, *host = NULL;
        NetJob *j = argument;
        bool undo = !(j->what & (SHIM_NET_MAKE | SHIM_NET_JOIN | SHIM_NET_OPEN | SHIM_NET_CUT)) &&
                    !j->read && !j->count;
        size_t i;
        int r;

        r = netns_open(j->path, &ns, reterr);
        if (r == -ENOENT && undo)
                return 0;
        if (r == 0 && j->what & IN_HOST)
                r = open_host(j, &host, reterr);
        if (r == 0 && j->what & SHIM_NET_MAKE)
                j->wiring = net_wiring_choose(j->wiring, NULL, &j->why);
        if (r == 0 && j->read)
                r = net_read(ns, &j->facts, reterr);
        for (i = 0; r == 0 && i < j->n; i++) {
                r = j->count ? count(j, i, ns, reterr) : work_on(j, i, ns, host, reterr);
                if (r == -ENOENT && undo)
                        r = 0;
        }
        if (r < 0 && j->what & SHIM_NET_MAKE)
                for (; i > 0; i--)
                        (void)net_unmake(ns, host, j->ends[i - 1].wire->name, j->ends[i - 1].tap,
                                         NULL);
        return r;
}

static void on_run(void *userdata, int r, const void *result, const Error *err) {
        _cleanup_(net_job_freep) NetJob *j = userdata;

        if (r == 0 && j->what & SHIM_NET_MAKE) {
                log_info("network: wired by %s%s%s", net_wiring_name(j->wiring),
                         j->why.text[0] ? ": " : "", j->why.text);
                j->shim->wiring = j->wiring;
        }
        const void *found = j->count ? (const void *)&j->statistics : j->facts;

        j->done(j->job, r, r == 0 ? found : NULL, err);
}

/* Takes the job. */
static int start(Shim *s, NetJob *j_arg, Error *reterr) {
        _cleanup_(net_job_freep) NetJob *j = j_arg;
        int r;

        r = net_job(s, run, j, on_run, j, reterr);
        if (r == 1)
                j = NULL;
        return r;
}

int shim_net_read(Shim *s, const char *path, OpDone done, void *job, Error *reterr) {
        NetJob *j = NULL;
        int r;

        r = net_job_new(s, path, 0, done, job, &j, reterr);
        if (r < 0)
                return r;
        j->read = true;
        return start(s, j, reterr);
}

static int all(Shim *s, unsigned what, bool counting, OpDone done, void *job, Error *reterr) {
        NetworkInterfaceInfo list[NET_INTERFACES_MAX];
        size_t n = shim_interfaces(s, list);
        _cleanup_(net_job_freep) NetJob *j = NULL;
        int r;

        if (n == 0 || network_kind(pod_network(s->pod)) != NETWORK_NAMESPACE)
                return 0;
        r = net_job_new(s, network_path(pod_network(s->pod)), what, done, job, &j, reterr);
        if (r == 0)
                j->count = counting;
        if (r == 0 && what & IN_HOST)
                find_host(s, j);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = net_job_add(j, s, list[i].config, reterr);
        return r < 0 ? r : start(s, TAKE(j), reterr);
}

int shim_net_all(Shim *s, unsigned what, OpDone done, void *job, Error *reterr) {
        return all(s, what, false, done, job, reterr);
}

int shim_net_statistics(Shim *s, OpDone done, void *job, Error *reterr) {
        return all(s, 0, true, done, job, reterr);
}

static int one(Shim *s, unsigned what, const char *path, const NetInterface *i, OpDone done,
               void *job, Error *reterr) {
        _cleanup_(net_job_freep) NetJob *j = NULL;
        int r;

        r = net_job_new(s, path, what, done, job, &j, reterr);
        if (r == 0 && what & IN_HOST)
                find_host(s, j);
        if (r == 0)
                r = net_job_add(j, s, i, reterr);
        return r < 0 ? r : start(s, TAKE(j), reterr);
}

/* The operations */

static int op_read(void *userdata, const char *path, OpDone done, void *job, Error *reterr) {
        return shim_net_read(userdata, path, done, job, reterr);
}

/* A device of libvirt's between making and unmaking what it opens. */
typedef struct Plug {
        Shim *shim;
        NetInterface *interface;
        OpDone done;
        void *job;
        int r; /* of libvirt */
        Error err;
} Plug;

static Plug *plug_free(Plug *p) {
        if (p)
                (void)net_interface_free(p->interface);
        free(p);
        return NULL;
}
DEFINE_CLEANUP(Plug *, plug_free);

static int plug_new(Shim *s, const NetInterface *i, OpDone done, void *job, Plug **ret,
                    Error *reterr) {
        _cleanup_(plug_freep) Plug *p = calloc(1, sizeof(*p));

        if (p)
                *p = (Plug){ .shim = s,
                             .interface = net_interface_copy(i),
                             .done = done,
                             .job = job,
                             .err = ERROR_INIT };
        if (!p || !p->interface)
                return error_oom(reterr);
        *ret = TAKE(p);
        return 0;
}

static void plug_end(Plug *p_arg) {
        _cleanup_(plug_freep) Plug *p = p_arg;

        p->done(p->job, p->r, NULL, &p->err);
}

static void on_unmade(void *userdata, int r, const void *result, const Error *err) {
        if (r < 0)
                log_warning("network: %s", error_text(err, r));
        plug_end(userdata);
}

static void plug_unmake(Plug *p) {
        Shim *s = p->shim;
        Error e = ERROR_INIT;
        int r = one(s, SHIM_NET_UNMAKE, network_path(pod_network(s->pod)), p->interface, on_unmade,
                    p, &e);

        if (r <= 0)
                on_unmade(p, r, NULL, &e);
}

static void on_plugged(void *userdata, int r, const void *result, const Error *err) {
        Plug *p = userdata;

        p->r = r;
        if (r == 0) {
                plug_end(p);
                return;
        }
        if (err)
                p->err = *err;
        plug_unmake(p);
}

static int plug(Plug *p, Error *reterr) {
        ShimNic nic;
        Virt *virt;
        int r;

        shim_nic(p->shim, p->interface, &nic);
        r = shim_virt(p->shim, &virt, reterr);
        return r < 0 ? r : virt_plug_nic(virt, &nic.spec, on_plugged, p, reterr);
}

static void on_made(void *userdata, int r, const void *result, const Error *err) {
        Plug *p = userdata;
        Error e = ERROR_INIT;

        if (r == 0) {
                r = plug(p, &e);
                if (r <= 0)
                        on_plugged(p, r, NULL, &e);
                return;
        }
        p->r = r;
        if (err)
                p->err = *err;
        plug_end(p);
}

static int op_plug(void *userdata, const NetInterface *i, OpDone done, void *job, Error *reterr) {
        _cleanup_(plug_freep) Plug *p = NULL;
        Shim *s = userdata;
        int r;

        r = plug_new(s, i, done, job, &p, reterr);
        if (r == 0)
                r = one(s, SHIM_NET_MAKE, network_path(pod_network(s->pod)), i, on_made, p, reterr);
        if (r == 1)
                p = NULL;
        return r;
}

static void on_unplugged(void *userdata, int r, const void *result, const Error *err) {
        Plug *p = userdata;

        p->r = r;
        if (err)
                p->err = *err;
        if (r == 0)
                plug_unmake(p);
        else
                plug_end(p);
}

static int op_unplug(void *userdata, const NetInterface *i, OpDone done, void *job, Error *reterr) {
        _cleanup_(plug_freep) Plug *p = NULL;
        Shim *s = userdata;
        Virt *virt;
        int r;

        if (vm_is_gone(s->vm))
                return 0;
        r = shim_virt(s, &virt, reterr);
        if (r == 0)
                r = plug_new(s, i, done, job, &p, reterr);
        if (r == 0)
                r = virt_unplug_nic(virt, i->slot, on_unplugged, p, reterr);
        if (r == 1)
                p = NULL;
        return r;
}

static int op_join(void *userdata, const char *path, const NetInterface *i, OpDone done, void *job,
                   Error *reterr) {
        return one(userdata, SHIM_NET_JOIN | SHIM_NET_OPEN, path, i, done, job, reterr);
}

static int op_leave(void *userdata, const char *path, const NetInterface *i, bool stays_cut,
                    OpDone done, void *job, Error *reterr) {
        return one(userdata, stays_cut ? SHIM_NET_CLOSE : SHIM_NET_CLOSE | SHIM_NET_UNCUT, path, i,
                   done, job, reterr);
}

static int op_guest(void *userdata, const NetworkGuest *g, OpDone done, void *job, Error *reterr) {
        Podferry__Guest__V1__NetworkRequest body = PODFERRY__GUEST__V1__NETWORK_REQUEST__INIT;
        _cleanup_free_ char *name = NULL;
        ToGuest request = TO_GUEST_INIT;
        Shim *s = userdata;

        name = strdup(g->only_announce || g->remove ? "" : s->pod_id);
        if (!name)
                return error_oom(reterr);
        body.interfaces = g->interfaces;
        body.n_interfaces = g->n_interfaces;
        body.names = g->names;
        body.host_name = name;
        body.announce = g->announce;
        body.keep = g->only_announce;
        if (g->remove) {
                body.remove = &g->remove->device_mac;
                body.n_remove = 1;
        }
        request.body_case = TO_GUEST_BODY(NETWORK);
        request.network = &body;
        return guest_call(s, &request, done, job, reterr);
}

const NetworkOps shim_network_ops = {
        .read = op_read,
        .plug = op_plug,
        .unplug = op_unplug,
        .join = op_join,
        .leave = op_leave,
        .guest = op_guest,
};
