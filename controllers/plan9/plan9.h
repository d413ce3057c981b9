/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"

/* Directories of the host shared with the pod (9P2000.L). Not supported yet: the controller is
 * there, empty, with its envelope and its verbs; a reservation is refused. Owned by the VM; loop
 * thread only. Picture: docs/states/plan9.md. */
typedef struct Plan9 Plan9;

typedef enum Plan9State {
        PLAN9_ACTIVE,
        PLAN9_SOURCE_MIGRATING,
        PLAN9_DESTINATION_MIGRATING,
        PLAN9_ABORTED,
        _PLAN9_STATE_MAX,
} Plan9State;

typedef struct Plan9ShareConfig {
        const char *host_path;
        bool read_only;
} Plan9ShareConfig;

int plan9_new(Controller *parent, Plan9 **ret, Error *reterr);
Plan9 *plan9_free(Plan9 *p);
DEFINE_CLEANUP(Plan9 *, plan9_free);
Controller *plan9_controller(Plan9 *p);
Plan9State plan9_state(const Plan9 *p);

int plan9_reserve(Plan9 *p, const Plan9ShareConfig *share, uint64_t *ret_reservation,
                  Error *reterr); /* -EOPNOTSUPP; -EBADFD frozen */

int plan9_save(const Plan9 *p, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
int plan9_import(Controller *parent, const void *b, size_t n, Plan9 **ret, Error *reterr);
int plan9_patch(Plan9 *p, uint64_t reservation, const char *host_path, Error *reterr); /* -ENOENT */
int plan9_resume(Plan9 *p, Error *reterr); /* no-op when not migrating */
int plan9_abort_migrated(Plan9 *p, Error *reterr);

extern const FsmTable plan9_fsm;
extern const EnvelopeType plan9_envelope;
