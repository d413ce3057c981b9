/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's saved state (proto/state/v1/pod.proto), and Patch. */
#include <stdlib.h>
#include <string.h>

#include "controllers/ids.h"
#include "controllers/pod/pod-internal.h"
#include "pod.pb-c.h"

typedef Podferry__State__V1__Pod PbPod;

const EnvelopeType pod_envelope = {
        .kind = "pod",
        .type_url = "type.podferry.org/podferry.state.v1.Pod",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__pod__descriptor,
};

typedef struct Saver {
        PbPod message;
        Buf network;
        Buf *containers;
        size_t n_containers;
        ProtobufCBinaryData *list;
} Saver;

static void saver_done(Saver *v) {
        for (size_t i = 0; v->containers && i < v->n_containers; i++)
                buf_done(&v->containers[i]);
        buf_done(&v->network);
        free(v->containers);
        free(v->list);
}

static ProtobufCBinaryData bytes_of(const Buf *b) {
        return (ProtobufCBinaryData){ .len = b->len, .data = b->data };
}

int pod_save(const Pod *p, Buf *ret, Error *reterr) {
        _cleanup_(saver_done) Saver v = { .message = PODFERRY__STATE__V1__POD__INIT };
        int r;

        if (p->fsm.state != POD_SOURCE_MIGRATING)
                return fsm_refuse(&p->fsm, "save", reterr);
        v.message.pod_id = p->id;
        if (strcmp(p->id, p->guest_id) != 0)
                v.message.guest_id = p->guest_id;
        v.n_containers = p->n_containers;
        v.containers = calloc(p->n_containers + 1, sizeof(*v.containers));
        v.list = calloc(p->n_containers + 1, sizeof(*v.list));
        if (!v.containers || !v.list)
                return error_oom(reterr);
        r = network_save(p->network, &v.network, reterr);
        if (r < 0)
                return r;
        v.message.network = bytes_of(&v.network);
        for (size_t i = 0; i < p->n_containers; i++) {
                r = container_save(p->containers[i], &v.containers[i], reterr);
                if (r < 0)
                        return r;
                v.list[i] = bytes_of(&v.containers[i]);
        }
        v.message.containers = v.list;
        v.message.n_containers = v.n_containers;
        return envelope_seal(&pod_envelope, &v.message.base, ret, reterr);
}

static int bad(const PbPod *w, const char *what, Error *reterr) {
        return error_setf(reterr, -EINVAL, "pod envelope: pod \"%.80s\": %s", w->pod_id, what);
}

static int check(const PbPod *w, Error *reterr) {
        int r;

        r = id_check("pod envelope: pod_id", w->pod_id, reterr);
        if (r == 0 && w->guest_id[0])
                r = id_check("pod envelope: guest_id", w->guest_id, reterr);
        if (r < 0)
                return r;
        if (strcmp(w->pod_id, w->guest_id) == 0)
                return bad(w, "guest_id repeats pod_id", reterr);
        if (w->n_containers > POD_CONTAINERS_MAX)
                return bad(w, "it has too many containers", reterr);
        return 0;
}

static int import_containers(Pod *p, Scsi *scsi, const PbPod *w, Error *reterr) {
        for (size_t i = 0; i < w->n_containers; i++) {
                _cleanup_(container_freep) Container *c = NULL;
                int r;

                r = container_import(&p->controller, scsi, w->containers[i].data,
                                     w->containers[i].len, &c, reterr);
                if (r < 0)
                        return r;
                if (i > 0 && strcmp(container_id(p->containers[i - 1]), container_id(c)) >= 0)
                        return bad(w, "container ids are not sorted or not unique", reterr);
                if (pod_container_by_guest_id(p, container_guest_id(c)))
                        return bad(w, "two containers have the same guest id", reterr);
                p->containers[p->n_containers++] = TAKE(c);
        }
        return 0;
}

/* What no two processes of a pod may have in common. */
typedef struct Numbers {
        uint64_t *channels, *calls;
        size_t n_channels, n_calls;
} Numbers;

static void numbers_done(Numbers *v) {
        free(v->channels);
        free(v->calls);
}

static int count_process(void *userdata, Process *p) {
        Numbers *v = userdata;

        v->n_calls++;
        return 0;
}

static int collect_process(void *userdata, Process *p) {
        const ProcessChannels *c = process_channels(p);
        uint64_t channels[] = { c->in, c->out, c->err };
        Numbers *v = userdata;

        for (size_t i = 0; i < ELEMENTSOF(channels); i++)
                if (channels[i] != 0)
                        v->channels[v->n_channels++] = channels[i];
        if (process_saved_wait_call(p) != 0)
                v->calls[v->n_calls++] = process_saved_wait_call(p);
        return 0;
}

static int compare_numbers(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

static int sort_and_check(const char *what, uint64_t *v, size_t n, Error *reterr) {
        if (n > 1)
                qsort(v, n, sizeof(*v), compare_numbers);
        for (size_t i = 1; i < n; i++)
                if (v[i] == v[i - 1])
                        return error_setf(reterr, -EINVAL,
                                          "pod envelope: two processes have the %s %llu", what,
                                          (unsigned long long)v[i]);
        return 0;
}

/* Sorted, each there once. */
static int collect(const Pod *p, Numbers *v, Error *reterr) {
        size_t n;
        int r;

        *v = (Numbers){};
        for (size_t i = 0; i < p->n_containers; i++)
                (void)container_each_process(p->containers[i], count_process, v);
        n = v->n_calls;
        v->n_calls = 0;
        v->channels = calloc(3 * n + 1, sizeof(*v->channels));
        v->calls = calloc(n + 1, sizeof(*v->calls));
        if (!v->channels || !v->calls)
                return error_oom(reterr);
        for (size_t i = 0; i < p->n_containers; i++)
                (void)container_each_process(p->containers[i], collect_process, v);
        r = sort_and_check("channel", v->channels, v->n_channels, reterr);
        return r < 0 ? r : sort_and_check("wait call", v->calls, v->n_calls, reterr);
}

int pod_check_floors(const Pod *p, uint64_t next_call_id, uint32_t next_channel, Error *reterr) {
        _cleanup_(numbers_done) Numbers v = {};
        int r;

        r = collect(p, &v, reterr);
        if (r < 0)
                return r;
        if (v.n_calls > 0 && v.calls[v.n_calls - 1] >= next_call_id)
                return error_setf(reterr, -EINVAL,
                                  "pod envelope: wait call %llu is not below next_call_id %llu",
                                  (unsigned long long)v.calls[v.n_calls - 1],
                                  (unsigned long long)next_call_id);
        if (v.n_channels > 0 && v.channels[v.n_channels - 1] >= next_channel)
                return error_setf(reterr, -EINVAL,
                                  "pod envelope: channel %llu is not below next_channel %u",
                                  (unsigned long long)v.channels[v.n_channels - 1], next_channel);
        return 0;
}

int pod_import(Controller *parent, Scsi *scsi, const void *b, size_t n, Pod **ret, Error *reterr) {
        _cleanup_(numbers_done) Numbers v = {};
        _cleanup_(pod_freep) Pod *p = NULL;
        ProtobufCMessage *m;
        const PbPod *w;
        int r;

        r = envelope_open(&pod_envelope, b, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        w = (PbPod *)m;
        r = check(w, reterr);
        if (r == 0)
                r = pod_alloc(parent, w->pod_id, w->guest_id, POD_DESTINATION_MIGRATING, &p,
                              reterr);
        if (r == 0)
                r = network_import(&p->controller, w->network.data, w->network.len, &p->network,
                                   reterr);
        if (r == 0)
                r = import_containers(p, scsi, w, reterr);
        protobuf_c_message_free_unpacked(m, NULL);
        if (r == 0)
                r = collect(p, &v, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

int pod_patch(Pod *p, const PodPatch *patch, Error *reterr) {
        char *id;
        int r;

        if (p->fsm.state != POD_DESTINATION_MIGRATING)
                return fsm_refuse(&p->fsm, "patch", reterr);
        r = id_check("pod id", patch->id, reterr);
        if (r == 0 && patch->network)
                r = network_patch(p->network, patch->network, reterr);
        if (r < 0)
                return r;
        id = strdup(patch->id);
        if (!id)
                return error_oom(reterr);
        free(p->id);
        p->fsm.id = p->controller.id = p->id = id;
        return 0;
}

static Container *by_source_id(const Pod *p, const char *source_id) {
        for (size_t i = 0; i < p->n_containers; i++)
                if (strcmp(container_source_id(p->containers[i]), source_id) == 0)
                        return p->containers[i];
        return NULL;
}

int pod_patch_container(Pod *p, const ContainerPatch *patch, Error *reterr) {
        Container *c, *other;
        int r;

        if (p->fsm.state != POD_DESTINATION_MIGRATING)
                return fsm_refuse(&p->fsm, "patch", reterr);
        r = id_check("container id", patch->id, reterr);
        if (r < 0)
                return r;
        c = by_source_id(p, patch->source_id ?: "");
        if (!c)
                return error_setf(reterr, -ENOENT, "pod %s has no container \"%.100s\"", p->id,
                                  patch->source_id ?: "");
        other = pod_container(p, patch->id);
        if (other && other != c)
                return error_setf(reterr, -EEXIST, "container id %s is taken by another container",
                                  patch->id);
        r = container_patch(c, patch, reterr);
        if (r < 0)
                return r;
        pod_sort(p);
        return 0;
}

int pod_each_unpatched(const Pod *p, ContainerVisitor visit, void *userdata) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < p->n_containers; i++)
                if (!container_is_patched(p->containers[i]))
                        r = visit(userdata, p->containers[i]);
        return r;
}
