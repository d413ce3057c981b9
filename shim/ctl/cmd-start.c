/* SPDX-License-Identifier: Apache-2.0 */
/* podferry start: a stopped pod runs again. */
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"

static int start_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_start = {
        .name = "start",
        .operands = "POD...",
        .summary = "Start a stopped pod again",
        .text = "Its machine is made anew, and its containers run on the disks that they had: what\n"
                "was written is there, processes and memory are not. Also for a pod that was here\n"
                "before the host was booted anew.",
        .completes = "pods",
        .run = start_run,
};

static int start_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        Error e = ERROR_INIT;
        int n, r, status;
        bool none = false;
        char **pods;

        if (!ctl_simple(self, argc, argv, 1, INT32_MAX, &none, &pods, &n, &status))
                return status;
        status = CTL_OK;
        for (int i = 0; i < n; i++) {
                e = ERROR_INIT;
                r = pod_start(ctl, pods[i], &e);
                if (r < 0)
                        status = ctl_fail(r, &e, "start");
        }
        return status;
}
