/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "shim/shim.h"

/* Work on files that takes longer than the loop may wait, on a thread of its own (in order). run()
 * sees nothing but `argument`; done() comes on the loop. Returns 1 or < 0. */
int file_job(Shim *s, int (*run)(void *argument, Error *reterr), void *argument, OpDone done,
             void *job, Error *reterr);
/* The same on the thread for namespaces. */
int net_job(Shim *s, int (*run)(void *argument, Error *reterr), void *argument, OpDone done,
            void *job, Error *reterr);
