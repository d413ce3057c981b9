/* SPDX-License-Identifier: Apache-2.0 */
/* The network's states and verbs; what needs interfaces is refused until they are supported. */
#include "controllers/network/network.h"

#include <assert.h>
#include <string.h>

#include "controllers/checks.h"
#include "network.pb-c.h"

typedef Podferry__State__V1__Network PbNetwork;

struct Network {
        Controller controller;
        Fsm fsm;
        NetworkState before; /* frozen: where thaw and resume lead */
};

const EnvelopeType network_envelope = {
        .kind = "network",
        .type_url = "type.podferry.org/podferry.state.v1.Network",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__network__descriptor,
};

/* clang-format off */
#define TO(s) (1U << NETWORK_##s)
#define SETTLED (TO(NOT_CONFIGURED) | TO(CONFIGURED) | TO(TORN_DOWN))
static const FsmRow fsm_rows[_NETWORK_STATE_MAX] = {
        [NETWORK_NOT_CONFIGURED] = { "not-configured", TO(CONFIGURED) | TO(INVALID) | TO(TORN_DOWN) | TO(SOURCE_MIGRATING), FSM_FIRST },
        [NETWORK_CONFIGURED]     = { "configured",     TO(INVALID) | TO(TORN_DOWN) | TO(SOURCE_MIGRATING), 0 },
        [NETWORK_INVALID]        = { "invalid",        TO(TORN_DOWN), 0 },
        [NETWORK_TORN_DOWN]      = { "torn-down",      TO(SOURCE_MIGRATING), 0 },
        [NETWORK_SOURCE_MIGRATING]      = { "source-migrating",      SETTLED, FSM_FROZEN },
        [NETWORK_DESTINATION_MIGRATING] = { "destination-migrating", SETTLED, FSM_FIRST | FSM_FROZEN },
};
#undef SETTLED
#undef TO
/* clang-format on */
const FsmTable network_fsm = { "network", fsm_rows, _NETWORK_STATE_MAX };

static const NetworkState phases[] = { NETWORK_NOT_CONFIGURED, NETWORK_CONFIGURED,
                                       NETWORK_TORN_DOWN };

static int network_can_freeze(const Controller *c, Error *reterr) {
        const Network *n = (const Network *)c; /* its first member */

        if (!fsm_can(&n->fsm, NETWORK_SOURCE_MIGRATING))
                return fsm_refuse(&n->fsm, "freeze", reterr);
        return 0;
}

static void network_freeze(Controller *c) {
        Network *n = container_of(c, Network, controller);

        n->before = (NetworkState)n->fsm.state;
        fsm_must(&n->fsm, NETWORK_SOURCE_MIGRATING);
}

static void network_thaw(Controller *c) {
        Network *n = container_of(c, Network, controller);

        if (n->fsm.state == NETWORK_SOURCE_MIGRATING)
                fsm_must(&n->fsm, (int)n->before);
}

static const ControllerVtable vtable = {
        .kind = "network",
        .can_freeze = network_can_freeze,
        .freeze = network_freeze,
        .thaw = network_thaw,
};

static int network_alloc(Controller *parent, NetworkState state, Network **ret, Error *reterr) {
        Network *n;

        n = calloc(1, sizeof(*n));
        if (!n)
                return error_oom(reterr);
        n->fsm = FSM_INIT(&network_fsm, (int)state, "network");
        controller_init(&n->controller, &vtable, parent, "network", &n->fsm);
        *ret = n;
        return 0;
}

int network_new(Controller *parent, Network **ret, Error *reterr) {
        return network_alloc(parent, NETWORK_NOT_CONFIGURED, ret, reterr);
}

Network *network_free(Network *n) {
        if (!n)
                return NULL;
        controller_done(&n->controller);
        free(n);
        return NULL;
}

Controller *network_controller(Network *n) {
        return &n->controller;
}

NetworkState network_state(const Network *n) {
        return (NetworkState)n->fsm.state;
}

static int namespace_check(const char *network_namespace, Error *reterr) {
        int r;

        r = path_check_or_empty("network namespace", network_namespace, reterr);
        if (r < 0)
                return r;
        if (network_namespace && network_namespace[0])
                return error_setf(reterr, -EOPNOTSUPP,
                                  "network namespace %.200s: interfaces are not supported yet",
                                  network_namespace);
        return 0;
}

int network_setup(Network *n, const char *network_namespace, Error *reterr) {
        int r;

        if (n->fsm.state != NETWORK_NOT_CONFIGURED)
                return fsm_refuse(&n->fsm, "set up", reterr);
        r = namespace_check(network_namespace, reterr);
        if (r < 0)
                return r;
        fsm_must(&n->fsm, NETWORK_CONFIGURED);
        return 0;
}

int network_teardown(Network *n, Error *reterr) {
        if (n->fsm.state != NETWORK_TORN_DOWN && n->fsm.state != NETWORK_NOT_CONFIGURED)
                fsm_must(&n->fsm, NETWORK_TORN_DOWN);
        return 0;
}

int network_save(const Network *n, Buf *ret, Error *reterr) {
        PbNetwork w = PODFERRY__STATE__V1__NETWORK__INIT;

        if (n->fsm.state != NETWORK_SOURCE_MIGRATING)
                return fsm_refuse(&n->fsm, "save", reterr);
        while (phases[w.phase] != n->before)
                w.phase++;
        return envelope_seal(&network_envelope, &w.base, ret, reterr);
}

int network_import(Controller *parent, const void *p, size_t n, Network **ret, Error *reterr) {
        ProtobufCMessage *m;
        const PbNetwork *w;
        uint32_t phase;
        int r;

        r = envelope_open(&network_envelope, p, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        w = (PbNetwork *)m;
        phase = w->phase;
        if (w->n_interfaces > 0)
                r = error_setf(reterr, -EOPNOTSUPP,
                               "network envelope: interfaces are not supported yet");
        else if (phase >= ELEMENTSOF(phases))
                r = error_setf(reterr, -EINVAL, "network envelope: phase is unknown");
        protobuf_c_message_free_unpacked(m, NULL);
        if (r < 0)
                return r;
        r = network_alloc(parent, NETWORK_DESTINATION_MIGRATING, ret, reterr);
        if (r == 0)
                (*ret)->before = phases[phase];
        return r;
}

int network_patch(Network *n, const char *network_namespace, Error *reterr) {
        if (n->fsm.state != NETWORK_DESTINATION_MIGRATING)
                return fsm_refuse(&n->fsm, "patch", reterr);
        return namespace_check(network_namespace, reterr);
}

int network_resume(Network *n, Error *reterr) {
        if (controller_is_frozen(&n->controller))
                fsm_must(&n->fsm, (int)n->before);
        return 0;
}

int network_abort_migrated(Network *n, Error *reterr) {
        if (n->fsm.state == NETWORK_DESTINATION_MIGRATING)
                fsm_must(&n->fsm, NETWORK_TORN_DOWN);
        return 0;
}
