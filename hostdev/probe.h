/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <systemd/sd-event.h>

#include "hostdev/libvirt/domain-xml.h"
#include "lib/task.h"

/* Which domain type works here: /dev/kvm that opens proves nothing, so a guest is started.
 *
 * The guest kernel runs under kvm, without a disk, until it gives up looking for one; a machine on
 * which it comes that far is taken. The answer is kept in the state directory and holds for this
 * host kernel, this QEMU and this guest kernel. */
typedef struct ProbeConfig {
        const char *state_dir; /* keeps "domain-type" */
        const char *kernel;    /* guest vmlinux */
        const char *qemu;      /* NULL: "qemu-system-x86_64" in $PATH */
} ProbeConfig;

/* 0 with *ret if the answer is known (cached, or no /dev/kvm to open); 1: a guest is being tried,
 * `done` gets a const DomainType (never an error: what cannot be proven is DOMAIN_QEMU), after 8 s
 * at the latest. -ENOENT: no QEMU or no kernel there. SIGCHLD must be blocked (sd-event). */
int probe_domain_type(sd_event *loop, const ProbeConfig *config, DomainType *ret, OpDone done,
                      void *userdata, Error *reterr);
