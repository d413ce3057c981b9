/* SPDX-License-Identifier: Apache-2.0 */
/* podferry adopt: a new shim for a pod whose shim was killed. */
#include <stdio.h>

#include "controllers/ids.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/go-on.h"
#include "shim/ctl/start.h"

enum { TO = 1, NAME, PROGRAM };

static const Option options[] = {
        { TO, 0, "to", "HOST",
          "go on with a hand-over that was cut off: the other host,\n"
          "as in podferry migrate" },
        { NAME, 'n', "name", "NAME", "name of the pod over there (as here)" },
        { PROGRAM, 0, "podferry", "PATH", "this program over there (podferry)" },
};

static int adopt_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_adopt = {
        .name = "adopt",
        .operands = "POD...",
        .summary = "Start a shim for a pod whose shim has died",
        .text = "The containers run on. A migration that had begun is rolled back, unless the\n"
                "other host may have the pod already: then the pod stands still until the two\n"
                "hosts have spoken. With --to they do: shims are started on both that have\n"
                "none, and what their journals say is brought to its end. A post-copy whose\n"
                "transport and driver are gone goes on.",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = adopt_run,
};

static int adopt_one(const Ctl *ctl, const char *pod, Error *reterr) {
        int r = shim_start_again(ctl, pod, reterr);

        if (r == 0 || r == -EEXIST) /* it lives, and may wait for the other host */
                hand_over_hint(ctl, pod);
        return r;
}

static int go_on_one(const Ctl *ctl, const char *pod, const char *to, const char *program,
                     const char *name, Error *reterr) {
        char said[HAND_OVER_SAID];
        int r = hand_over_go_on(ctl, pod, to, program, name, said, reterr);

        if (r == 0)
                (void)puts(said);
        return r;
}

static int adopt_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        const char *to = NULL, *name = NULL, *program = NULL;
        int id, n, r = 0, status = CTL_OK;
        Error e = ERROR_INIT;
        OptionParser p;
        char **operands;

        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                if (id < 0)
                        r = id;
                else if (id == TO)
                        to = p.value;
                else if (id == PROGRAM)
                        program = p.value;
                else {
                        name = p.value;
                        r = id_check("pod name", name, &e);
                }
        }
        operands = option_operands(&p, &n);
        if (r == 0 && n == 0)
                r = error_setf(&e, -EINVAL, "POD is missing");
        if (r == 0 && (name || program) && !to)
                r = error_setf(&e, -EINVAL, "--name and --podferry need --to");
        if (r == 0 && name && n > 1)
                r = error_setf(&e, -EINVAL, "--name is for one POD");
        if (r < 0)
                return ctl_usage(self, &e);
        for (int i = 0; i < n; i++) {
                e = ERROR_INIT;
                r = to ? go_on_one(ctl, operands[i], to, program, name, &e)
                       : adopt_one(ctl, operands[i], &e);
                if (r < 0)
                        status = ctl_fail(r, &e, "adopt");
        }
        return status;
}
