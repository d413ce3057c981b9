/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/vm/vm.h"

/* Inside controllers/vm only. */
struct Vm {
        Controller controller;
        Fsm fsm;
        VmSpec spec; /* its strings belong to the VM */
        bool destination;
        VmLink link; /* destination: as it was imported */

        Scsi *scsi;
        Plan9 *plan9;
        Vpci *vpci;

        const VmOps *ops;
        void *userdata;
        VmEnded ended;
        void *ended_userdata;
        char *end_reason; /* "" while it lives */
        bool end_told;

        Task *task; /* start or stop in flight */
        uint32_t stop_timeout_ms;
        bool power_off; /* the stop in flight asks the guest first */
        OpDone done;
        void *job;
};

int vm_spec_check(const VmSpec *spec, Error *reterr);
int vm_spec_copy(const VmSpec *from, VmSpec *to); /* -ENOMEM: *to is to be done all the same */
void vm_spec_done(VmSpec *spec);
int vm_link_check(const VmLink *link, Error *reterr);
/* With spec, without children. */
int vm_alloc(const VmSpec *spec, VmState state, Vm **ret, Error *reterr);
