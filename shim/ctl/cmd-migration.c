/* SPDX-License-Identifier: Apache-2.0 */
/* podferry migration: what can be said to a migration that is under way, at its source. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/values.h"
#include "shim/ctl/wish.h"

#define MIGRATION_FACE BUS_INTERFACE ".Migration"

typedef struct Verb {
        const char *words[2]; /* "set", "bandwidth" */
        const char *member;   /* the call of the bus */
        char value;           /* 's' size, 'd' duration, 0: none */
} Verb;

static const Verb verbs[] = {
        { { "force" }, "ForceComplete", 0 },
        { { "pause" }, "Pause", 0 },
        { { "post-copy" }, "SwitchToPostCopy", 0 },
        { { "cutover" }, "Cutover", 0 },
        { { "cancel" }, "Cancel", 0 },
        { { "set", "bandwidth" }, "SetBandwidth", 's' },
        { { "set", "downtime" }, "SetMaxDowntime", 'd' },
        { { "set", "timeout" }, "SetTimeout", 'd' },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_migration = {
        .name = "migration",
        .operands = "VERB POD",
        .summary = "Tell a migration that is under way what to do",
        .text = "On the host that the pod leaves, while memory and disks go over; cancel, cutover\n"
                "and set bandwidth also while a stopped pod's disks do, or those of one that is\n"
                "copied ahead:\n"
                "\n"
                "  force POD                 complete it now: by post-copy if it was allowed\n"
                "                            (--post-copy), else as pause does\n"
                "  pause POD                 the pod stands, and what is left goes over; it is\n"
                "                            rolled back, and runs on here, if that takes\n"
                "                            longer than --pause-timeout of podferry migrate\n"
                "  post-copy POD             the pod goes on over there at once and fetches its\n"
                "                            memory; there is no way back\n"
                "  cutover POD               a pod that is held (--cutover) goes over; one whose\n"
                "                            disks are copied ahead (--type warm), once they\n"
                "                            were copied for the first time\n"
                "  cancel POD                the pod stays here\n"
                "  set bandwidth POD SIZE    bytes a second at most, 0: no limit\n"
                "  set downtime POD TIME     the longest blackout to allow, from now on\n"
                "  set timeout POD TIME      the time for all of it, from its beginning; 0: none\n"
                "\n"
                "  podferry migration set downtime web 800ms\n"
                "\n"
                "What is in effect, and how far it is: podferry inspect POD.",
        .completes = "pods",
        .run = self_run,
};

/* How many operands the verb is; 0: it is another one. */
static int match(const Verb *v, int n, char **operands) {
        int words = v->words[1] ? 2 : 1;

        for (int i = 0; i < words; i++)
                if (i >= n || strcmp(operands[i], v->words[i]) != 0)
                        return 0;
        return words;
}

static int read_value(const Verb *v, const char *text, uint64_t *ret, Error *reterr) {
        return v->value == 's' ? value_size(text, ret, reterr) : value_duration(text, ret, reterr);
}

/* Of a move as a stopped pod, or of one that copies ahead. -ENOENT: there is none, so a shim moves
 * it. */
static int say_to_driver(const Ctl *ctl, const Verb *v, const char *pod, uint64_t value,
                         Error *reterr) {
        char line[WISH_MAX], number[24] = "";
        int r;

        if (v->value)
                (void)snprintf(number, sizeof(number), " %" PRIu64, value);
        (void)snprintf(line, sizeof(line), "%s%s%s%s", v->words[0], v->words[1] ? " " : "",
                       v->words[1] ?: "", number);
        r = wish_tell(ctl->config.run_dir, pod, line, reterr);
        return r < 0 && r != -ENOENT ? error_prefix(reterr, r, "%s", pod) : r;
}

static int say(const Ctl *ctl, const Verb *v, const char *pod, uint64_t value, Error *reterr) {
        _cleanup_free_ char *session = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = id_check("pod name", pod, reterr);
        if (r < 0)
                return r;
        r = say_to_driver(ctl, v, pod, value, reterr);
        if (r != -ENOENT)
                return r;
        r = pod_connect(ctl->config.run_dir, pod, &bus, reterr);
        if (r == 0)
                r = pod_get_string(bus, BUS_MIGRATION, MIGRATION_FACE, "Session", &session, reterr);
        if (r < 0)
                return r;
        if (!*session)
                return error_setf(reterr, -EBADFD, "%s is not being migrated", pod);
        if (v->value)
                return pod_call(bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE,
                                v->member, "st", session, value);
        return pod_call(bus, CALL_DEADLINE, NULL, reterr, BUS_MIGRATION, MIGRATION_FACE, v->member,
                        "s", session);
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        const Verb *v = NULL;
        Error e = ERROR_INIT;
        uint64_t value = 0;
        int n, r, words = 0, status;
        char **operands;
        bool unused;

        if (!ctl_simple(self, argc, argv, 1, 4, &unused, &operands, &n, &status))
                return status;
        for (size_t i = 0; i < ELEMENTSOF(verbs) && words == 0; i++) {
                words = match(&verbs[i], n, operands);
                v = &verbs[i];
        }
        if (words == 0)
                return ctl_usagef(self, "\"%.40s\" is no verb", operands[0]);
        if (n <= words)
                return ctl_usagef(self, "POD is missing");
        if (v->value && n == words + 1)
                return ctl_usagef(self, "the value is missing");
        if (n > words + 1 + (v->value != 0))
                return ctl_usagef(self, "unexpected \"%.60s\"", operands[n - 1]);
        if (v->value) {
                r = read_value(v, operands[words + 1], &value, &e);
                if (r < 0)
                        return ctl_usage(self, &e);
        }
        r = say(ctl, v, operands[words], value, &e);
        return r < 0 ? ctl_fail(r, &e, "migration") : CTL_OK;
}
