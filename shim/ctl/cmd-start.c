/* SPDX-License-Identifier: Apache-2.0 */
/* podferry start: a stopped pod runs again. */
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/start.h"
#include "shim/ctl/values.h"
#include "shim/ctl/wish.h"

static int start_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_start = {
        .name = "start",
        .operands = "POD...",
        .summary = "Start a stopped pod again",
        .text = "Its machine is made anew, and its containers run on the disks that they had: what\n"
                "was written is there, processes and memory are not. Also for a pod that was here\n"
                "before the host was booted anew. While podferry migrate moves it, stopped, that\n"
                "lets it go first, and moves it live once it runs; not with its --type cold, and\n"
                "not once the pod was given to the other host.",
        .completes = "pods",
        .run = start_run,
};

/* Whoever moves it, as a stopped pod, lets it go, and waits until it has started. */
static int start_one(const Ctl *ctl, const char *pod, Error *reterr) {
        _cleanup_close_ int wish = -EBADF;
        int r = wish_start(ctl->config.run_dir, pod, &wish, reterr);

        return r < 0 ? error_prefix(reterr, r, "%s", pod) : pod_start(ctl, pod, reterr);
}

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
                r = start_one(ctl, pods[i], &e);
                if (r < 0)
                        status = ctl_fail(r, &e, "start");
        }
        return status;
}
