/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/ctl/ctl.h"

typedef struct VolumeMoveLine {
        const char *pod, *container; /* container NULL: the only one */
        const char *destination;     /* the path in it */
        const char *to;              /* made absolute here */
        uint64_t bandwidth_mib;      /* 0: not limited */
        bool remove_source, json;
} VolumeMoveLine;

/* Moves the volume and shows how far it is, as podferry migrate does. The first Ctrl-C cancels, and
 * waits until all is undone; the second one does not wait, which comes to the same.
 * *ret_interrupted: there was one. */
int volume_move_drive(const Ctl *ctl, const VolumeMoveLine *line, bool *ret_interrupted,
                      Error *reterr);
