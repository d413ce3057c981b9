/* SPDX-License-Identifier: Apache-2.0 */
/* podferry adopt: a new shim for a pod whose shim was killed. */
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/start.h"

static int adopt_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_adopt = {
        .name = "adopt",
        .operands = "POD...",
        .summary = "Start a shim for a pod whose shim has died",
        .text = "The containers run on; a migration that had begun is rolled back, unless the\n"
                "other host has the pod already.",
        .completes = "pods",
        .run = adopt_run,
};

static int adopt_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        int n, status = CTL_OK;
        char **operands;
        bool json;

        if (!ctl_simple(self, argc, argv, 1, argc, &json, &operands, &n, &status))
                return status;
        status = CTL_OK;
        for (int i = 0; i < n; i++) {
                Error e = ERROR_INIT;
                int r = shim_start_again(ctl, operands[i], &e);

                if (r < 0)
                        status = ctl_fail(r, &e, "adopt");
        }
        return status;
}
