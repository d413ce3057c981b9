/* SPDX-License-Identifier: Apache-2.0 */
/* The states and verbs of assigned devices; devices themselves are refused until they are
 * supported. */
#include "controllers/vpci/vpci.h"

#include "controllers/checks.h"
#include "vpci.pb-c.h"

typedef Podferry__State__V1__Vpci PbVpci;

struct Vpci {
        Controller controller;
        Fsm fsm;
};

const EnvelopeType vpci_envelope = {
        .kind = "vpci",
        .type_url = "type.podferry.org/podferry.state.v1.Vpci",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__vpci__descriptor,
};

/* clang-format off */
#define TO(s) (1U << VPCI_##s)
static const FsmRow fsm_rows[_VPCI_STATE_MAX] = {
        [VPCI_ACTIVE]                = { "active",                TO(SOURCE_MIGRATING), FSM_FIRST },
        [VPCI_SOURCE_MIGRATING]      = { "source-migrating",      TO(ACTIVE), FSM_FROZEN },
        [VPCI_DESTINATION_MIGRATING] = { "destination-migrating", TO(ACTIVE) | TO(ABORTED), FSM_FIRST | FSM_FROZEN },
        [VPCI_ABORTED]               = { "aborted",               0, FSM_FINAL },
};
#undef TO
/* clang-format on */
const FsmTable vpci_fsm = { "vpci", fsm_rows, _VPCI_STATE_MAX };

static int vpci_can_freeze(const Controller *c, Error *reterr) {
        const Vpci *p = (const Vpci *)c; /* its first member */

        if (!fsm_can(&p->fsm, VPCI_SOURCE_MIGRATING))
                return fsm_refuse(&p->fsm, "freeze", reterr);
        return 0;
}

static void vpci_freeze(Controller *c) {
        fsm_must(&container_of(c, Vpci, controller)->fsm, VPCI_SOURCE_MIGRATING);
}

static void vpci_thaw(Controller *c) {
        Vpci *p = container_of(c, Vpci, controller);

        if (p->fsm.state == VPCI_SOURCE_MIGRATING)
                fsm_must(&p->fsm, VPCI_ACTIVE);
}

static const ControllerVtable vtable = {
        .kind = "vpci",
        .can_freeze = vpci_can_freeze,
        .freeze = vpci_freeze,
        .thaw = vpci_thaw,
};

static int vpci_alloc(Controller *parent, VpciState state, Vpci **ret, Error *reterr) {
        Vpci *p;

        p = calloc(1, sizeof(*p));
        if (!p)
                return error_oom(reterr);
        p->fsm = FSM_INIT(&vpci_fsm, (int)state, "vpci");
        controller_init(&p->controller, &vtable, parent, "vpci", &p->fsm);
        *ret = p;
        return 0;
}

int vpci_new(Controller *parent, Vpci **ret, Error *reterr) {
        return vpci_alloc(parent, VPCI_ACTIVE, ret, reterr);
}

Vpci *vpci_free(Vpci *p) {
        if (!p)
                return NULL;
        controller_done(&p->controller);
        free(p);
        return NULL;
}

Controller *vpci_controller(Vpci *p) {
        return &p->controller;
}

VpciState vpci_state(const Vpci *p) {
        return (VpciState)p->fsm.state;
}

int vpci_reserve(Vpci *p, const VpciDeviceConfig *device, uint64_t *ret_reservation,
                 Error *reterr) {
        int r;

        if (p->fsm.state != VPCI_ACTIVE)
                return fsm_refuse(&p->fsm, "reserve", reterr);
        r = text_check("device", device->host_address, 64, reterr);
        if (r < 0)
                return r;
        return error_setf(reterr, -EOPNOTSUPP,
                          "device %.200s: assigned devices are not supported yet",
                          device->host_address);
}

int vpci_save(const Vpci *p, Buf *ret, Error *reterr) {
        PbVpci w = PODFERRY__STATE__V1__VPCI__INIT;

        if (p->fsm.state != VPCI_SOURCE_MIGRATING)
                return fsm_refuse(&p->fsm, "save", reterr);
        return envelope_seal(&vpci_envelope, &w.base, ret, reterr);
}

int vpci_import(Controller *parent, const void *b, size_t n, Vpci **ret, Error *reterr) {
        ProtobufCMessage *m;
        int r;

        r = envelope_open(&vpci_envelope, b, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        if (((PbVpci *)m)->n_devices > 0)
                r = error_setf(reterr, -EOPNOTSUPP, "vpci envelope: devices are not supported yet");
        protobuf_c_message_free_unpacked(m, NULL);
        return r < 0 ? r : vpci_alloc(parent, VPCI_DESTINATION_MIGRATING, ret, reterr);
}

int vpci_patch(Vpci *p, uint64_t reservation, const char *host_address, Error *reterr) {
        if (p->fsm.state != VPCI_DESTINATION_MIGRATING)
                return fsm_refuse(&p->fsm, "patch", reterr);
        return error_setf(reterr, -ENOENT, "there is no device reservation %llu",
                          (unsigned long long)reservation);
}

int vpci_resume(Vpci *p, Error *reterr) {
        if (controller_is_frozen(&p->controller))
                fsm_must(&p->fsm, VPCI_ACTIVE);
        return 0;
}

int vpci_abort_migrated(Vpci *p, Error *reterr) {
        if (p->fsm.state == VPCI_DESTINATION_MIGRATING)
                fsm_must(&p->fsm, VPCI_ABORTED);
        return 0;
}
