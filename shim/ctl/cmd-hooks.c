/* SPDX-License-Identifier: Apache-2.0 */
/* podferry hooks: this host's hooks, and whether they can run. With --run it is what podferry
 * migrate starts on its own host to run some: hook-serve.h. */
#include <stdio.h>

#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/hook-serve.h"
#include "shim/ctl/json.h"

enum { JSON = 1, RUN };

static const Option options[] = {
        { JSON, 0, "json", NULL, "print JSON for programs" },
        { RUN, 0, "run", "EVENT", "for podferry migrate, which says what for on stdin" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_hooks = {
        .name = "hooks",
        .operands = "",
        .summary = "Show the programs that this host runs around a migration",
        .text = "They are in config.json, \"hooks\" (docs/hooks.md). Each is looked at as\n"
                "podferry migrate does before it begins: is it there, can it be run, and is it\n"
                "root's alone to change.\n"
                "\n"
                "Exit status: 0 all can run, 1 one cannot, 125 the configuration is wrong.",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "",
        .run = self_run,
};

static int show(HookEvent e, size_t i, const Hook *h, bool json, bool *ret_good) {
        Error why = ERROR_INIT;
        int r = hook_check(h, &why);

        *ret_good = *ret_good && r == 0;
        if (json) {
                _cleanup_json_ json_object *list = hooks_json(h, 1);
                json_object *o = list ? json_object_array_get_idx(list, 0) : NULL;

                if (!o || json_add_string(o, "event", hook_event_name(e)) < 0 ||
                    json_add_string(o, "problem", r < 0 ? error_text(&why, r) : "") < 0)
                        return -ENOMEM;
                json_print(o, false);
                return 0;
        }
        (void)printf("%-11s %zu  %s", hook_event_name(e), i, h->run[0]);
        for (size_t k = 1; h->run[k]; k++)
                (void)printf(" %s", h->run[k]);
        (void)printf("  (%.1f s, %u retries, %s)\n", (double)h->timeout_ms / 1000.0, h->retries,
                     h->ignore ? "ignore" : "abort");
        if (r < 0)
                (void)printf("%-14s cannot run: %s\n", "", error_text(&why, r));
        return 0;
}

static int show_all(const Ctl *ctl, bool json) {
        bool good = true;

        for (int e = 0; e < _HOOK_EVENT_MAX; e++)
                for (size_t i = 0; i < ctl->config.hooks.events[e].n; i++) {
                        int r = show((HookEvent)e, i, &ctl->config.hooks.events[e].hooks[i], json,
                                     &good);

                        if (r < 0)
                                return ctl_fail(r, NULL, "hooks");
                }
        return good ? CTL_OK : CTL_BLOCKED;
}

static int serve(const Ctl *ctl, const char *event, Error *reterr) {
        HookServe s = { .own = &ctl->config.hooks,
                        .event = hook_event_from_name(event),
                        .side = "source",
                        .may_name = true };

        if (s.event == _HOOK_EVENT_INVALID || hook_event_is_target(s.event))
                return error_setf(reterr, -EINVAL, "--run \"%.40s\": no event of this side", event);
        return hook_serve_standard(&s, reterr);
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        const char *event = NULL;
        Error e = ERROR_INIT;
        bool json = false;
        OptionParser p;
        int id, r;

        option_parser_init(&p, self, argc, argv);
        while ((id = option_next(&p, &e)) > 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return CTL_OK;
                }
                if (id == RUN)
                        event = p.value;
                else
                        json = true;
        }
        if (id == 0 && p.n_operands > 0)
                id = error_setf(&e, -EINVAL, "no operands are expected");
        if (id < 0)
                return ctl_usage(self, &e);
        if (!event)
                return show_all(ctl, json);
        r = serve(ctl, event, &e);
        return r < 0 ? ctl_fail(r, &e, "hooks") : CTL_OK;
}
