/* SPDX-License-Identifier: Apache-2.0 */
/* The states and verbs of directory shares; shares themselves are refused until they are
 * supported. */
#include "controllers/plan9/plan9.h"

#include "controllers/checks.h"
#include "plan9.pb-c.h"

typedef Podferry__State__V1__Plan9 PbPlan9;

struct Plan9 {
        Controller controller;
        Fsm fsm;
};

const EnvelopeType plan9_envelope = {
        .kind = "plan9",
        .type_url = "type.podferry.org/podferry.state.v1.Plan9",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__plan9__descriptor,
};

/* clang-format off */
#define TO(s) (1U << PLAN9_##s)
static const FsmRow fsm_rows[_PLAN9_STATE_MAX] = {
        [PLAN9_ACTIVE]                = { "active",                TO(SOURCE_MIGRATING), FSM_FIRST },
        [PLAN9_SOURCE_MIGRATING]      = { "source-migrating",      TO(ACTIVE), FSM_FROZEN },
        [PLAN9_DESTINATION_MIGRATING] = { "destination-migrating", TO(ACTIVE) | TO(ABORTED), FSM_FIRST | FSM_FROZEN },
        [PLAN9_ABORTED]               = { "aborted",               0, FSM_FINAL },
};
#undef TO
/* clang-format on */
const FsmTable plan9_fsm = { "plan9", fsm_rows, _PLAN9_STATE_MAX };

static int plan9_can_freeze(const Controller *c, Error *reterr) {
        const Plan9 *p = (const Plan9 *)c; /* its first member */

        if (!fsm_can(&p->fsm, PLAN9_SOURCE_MIGRATING))
                return fsm_refuse(&p->fsm, "freeze", reterr);
        return 0;
}

static void plan9_freeze(Controller *c) {
        fsm_must(&container_of(c, Plan9, controller)->fsm, PLAN9_SOURCE_MIGRATING);
}

static void plan9_thaw(Controller *c) {
        Plan9 *p = container_of(c, Plan9, controller);

        if (p->fsm.state == PLAN9_SOURCE_MIGRATING)
                fsm_must(&p->fsm, PLAN9_ACTIVE);
}

static const ControllerVtable vtable = {
        .kind = "plan9",
        .can_freeze = plan9_can_freeze,
        .freeze = plan9_freeze,
        .thaw = plan9_thaw,
};

static int plan9_alloc(Controller *parent, Plan9State state, Plan9 **ret, Error *reterr) {
        Plan9 *p;

        p = calloc(1, sizeof(*p));
        if (!p)
                return error_oom(reterr);
        p->fsm = FSM_INIT(&plan9_fsm, (int)state, "plan9");
        controller_init(&p->controller, &vtable, parent, "plan9", &p->fsm);
        *ret = p;
        return 0;
}

int plan9_new(Controller *parent, Plan9 **ret, Error *reterr) {
        return plan9_alloc(parent, PLAN9_ACTIVE, ret, reterr);
}

Plan9 *plan9_free(Plan9 *p) {
        if (!p)
                return NULL;
        controller_done(&p->controller);
        free(p);
        return NULL;
}

Controller *plan9_controller(Plan9 *p) {
        return &p->controller;
}

Plan9State plan9_state(const Plan9 *p) {
        return (Plan9State)p->fsm.state;
}

int plan9_reserve(Plan9 *p, const Plan9ShareConfig *share, uint64_t *ret_reservation,
                  Error *reterr) {
        int r;

        if (p->fsm.state != PLAN9_ACTIVE)
                return fsm_refuse(&p->fsm, "reserve", reterr);
        r = path_check("share", share->host_path, reterr);
        if (r < 0)
                return r;
        return error_setf(reterr, -EOPNOTSUPP,
                          "share %.200s: directory shares are not supported yet", share->host_path);
}

int plan9_save(const Plan9 *p, Buf *ret, Error *reterr) {
        PbPlan9 w = PODFERRY__STATE__V1__PLAN9__INIT;

        if (p->fsm.state != PLAN9_SOURCE_MIGRATING)
                return fsm_refuse(&p->fsm, "save", reterr);
        return envelope_seal(&plan9_envelope, &w.base, ret, reterr);
}

int plan9_import(Controller *parent, const void *b, size_t n, Plan9 **ret, Error *reterr) {
        ProtobufCMessage *m;
        int r;

        r = envelope_open(&plan9_envelope, b, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        if (((PbPlan9 *)m)->n_shares > 0)
                r = error_setf(reterr, -EOPNOTSUPP, "plan9 envelope: shares are not supported yet");
        protobuf_c_message_free_unpacked(m, NULL);
        return r < 0 ? r : plan9_alloc(parent, PLAN9_DESTINATION_MIGRATING, ret, reterr);
}

int plan9_patch(Plan9 *p, uint64_t reservation, const char *host_path, Error *reterr) {
        if (p->fsm.state != PLAN9_DESTINATION_MIGRATING)
                return fsm_refuse(&p->fsm, "patch", reterr);
        return error_setf(reterr, -ENOENT, "there is no share reservation %llu",
                          (unsigned long long)reservation);
}

int plan9_resume(Plan9 *p, Error *reterr) {
        if (controller_is_frozen(&p->controller))
                fsm_must(&p->fsm, PLAN9_ACTIVE);
        return 0;
}

int plan9_abort_migrated(Plan9 *p, Error *reterr) {
        if (p->fsm.state == PLAN9_DESTINATION_MIGRATING)
                fsm_must(&p->fsm, PLAN9_ABORTED);
        return 0;
}
