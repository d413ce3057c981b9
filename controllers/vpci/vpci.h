/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/controller.h"

/* PCI devices of the host assigned to the VM. Not supported yet: the controller is
 * there, empty, with its envelope and its verbs; a reservation is refused. Owned by the VM; loop
 * thread only. Picture: docs/states/vpci.md. */
typedef struct Vpci Vpci;

typedef enum VpciState {
        VPCI_ACTIVE,
        VPCI_SOURCE_MIGRATING,
        VPCI_DESTINATION_MIGRATING,
        VPCI_ABORTED,
        _VPCI_STATE_MAX,
} VpciState;

typedef struct VpciDeviceConfig {
        const char *host_address; /* "0000:01:00.0" */
        uint32_t function;        /* of a virtual function, 0 else */
} VpciDeviceConfig;

int vpci_new(Controller *parent, Vpci **ret, Error *reterr);
Vpci *vpci_free(Vpci *p);
DEFINE_CLEANUP(Vpci *, vpci_free);
Controller *vpci_controller(Vpci *p);
VpciState vpci_state(const Vpci *p);

int vpci_reserve(Vpci *p, const VpciDeviceConfig *device, uint64_t *ret_reservation,
                 Error *reterr); /* -EOPNOTSUPP; -EBADFD frozen */

int vpci_save(const Vpci *p, Buf *ret, Error *reterr); /* -EBADFD unless frozen */
int vpci_import(Controller *parent, const void *b, size_t n, Vpci **ret, Error *reterr);
int vpci_patch(Vpci *p, uint64_t reservation, const char *host_address,
               Error *reterr);           /* -ENOENT */
int vpci_resume(Vpci *p, Error *reterr); /* no-op when not migrating */
int vpci_abort_migrated(Vpci *p, Error *reterr);

extern const FsmTable vpci_fsm;
extern const EnvelopeType vpci_envelope;
