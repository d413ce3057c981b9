/* SPDX-License-Identifier: Apache-2.0 */
/* podferry check: can this pod move there? Everything that podferry migrate asks first. */
#include <stdio.h>

#include "shim/ctl/commands.h"
#include "shim/ctl/migrate-line.h"

static const Option options[] = {
        { TO, 0, "to", "HOST", "the other host, as in podferry migrate" },
        { NAME, 'n', "name", "NAME", "name of the pod over there (as here)" },
        { TYPE, 0, "type", "live|cold|warm",
          "which move, as in podferry migrate (as the pod is: one that\ndoes not run moves cold)" },
        { JSON, 0, "json", NULL, "print JSON for programs" },
        { LIMIT, 't', "timeout", "TIME", "give up if it takes longer (no limit)" },
        { PROGRAM, 0, "podferry", "PATH", "this program over there (podferry)" },
        { IDENTITY, 'i', "identity", "FILE", "the key that ssh uses" },
        { SSH_OPTION, 'o', "ssh-option", "NAME=VALUE",
          "one for ssh, as in ssh_config(5); again for more" },
        { NETWORK, 0, "net", "ns:PATH", "the pod's network namespace over there" },
        { NETWORK_MODE, 0, "net-mode", "M", "keep or rebind, as in podferry migrate" },
        { DISK, 0, "disk", "FILE=THERE",
          "where a volume would be on the other host, if not at FILE;\nagain for others" },
        { STORAGE, 0, "storage", "copy|shared",
          "what would happen to writable disks (as each disk says)" },
        { TRANSPORT, 0, "transport", "URI", "libvirt+tcp://HOST or libvirt+tls://HOST: is called" },
        { KEEP_DISKS, 0, "keep-source-disks", NULL, "as in podferry migrate" },
        { REMOVE_VOLUMES, 0, "remove-source-volumes", NULL, "as in podferry migrate" },
        { UNSAFE, 0, "unsafe", NULL, "what may be overridden warns, and does not block" },
        { DISK_SPACE, 0, "disk-space", "allocated|virtual",
          "what of copied disks must fit there: what is in them now,\nor all that may be" },
        { FORECAST, 0, "forecast", NULL,
          "also say how long it would take, and whether it converges:\n"
          "takes two seconds or four; the options below count for it" },
        { DOWNTIME, 0, "max-downtime", "TIME", "longest blackout to allow (500ms)" },
        { BANDWIDTH, 0, "bandwidth", "SIZE", "bytes a second at most" },
        { COMPLETION, 0, "completion-timeout", "TIME", "for memory and disks (by their size)" },
        { PER_GIB, 0, "timeout-per-gib", "TIME", "for each GiB of them (300s; 0: no limit)" },
        { ACTION, 0, "timeout-action", "A", "then: abort or force-complete (abort)" },
        { PAUSE_TIMEOUT, 0, "pause-timeout", "TIME",
          "longest time to stand for it, when forced (60s)" },
        { STALL_ACTION, 0, "stall-action", "A",
          "advise, abort or force-complete, if it does not converge\n(advise)" },
        { HANDOVER, 0, "handover", "M", "shims, fast or runtime" },
        { AUTO_CONVERGE, 0, "auto-converge", NULL, "slow the pod down if it writes too fast" },
        { POST_COPY, 0, "post-copy", NULL, "post-copy is allowed; needs --handover fast" },
        { SET, 'O', "set", "NAME=VALUE", "any option of a migration; again for more" },
};

static int check_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_check = {
        .name = "check",
        .operands = "POD",
        .summary = "Say whether a pod could move to another host, and what is in the way",
        .text = "Asks both hosts, changes nothing and leaves nothing. All reasons are told at\n"
                "once: what blocks, what warns, what is good to know, and how to mend it.\n"
                "podferry migrate asks the same before it touches anything.\n"
                "\n"
                "With --forecast it looks for a second at how much the pod writes, sends bytes\n"
                "to the other host for half a second, and says how long a move would take, for\n"
                "how long the pod would stand, and whether it would converge at all.\n"
                "\n"
                "Exit status: 0 it can move (also with warnings), 1 something blocks, 125 the\n"
                "question could not be asked (no such pod, a wrong command line), 130 it was\n"
                "interrupted.\n"
                "\n"
                "  podferry check web --to ssh://root@h2\n"
                "  podferry check web --to ssh://root@h2 --forecast\n"
                "  podferry check web --to ssh://root@h2 --json | jq '.findings[].code'",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = check_run,
};

static int check_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(mover_done) Mover m = MOVER_INIT(ctl);
        int status = CTL_FAILED, r;
        Error e = ERROR_INIT;
        Line line = {};

        if (migrate_line_read(&m, self, argc, argv, &line, &status) < 0)
                return status;
        show_init(&m.show, line.json);
        r = mover_check_only(&m, &e);
        if (r < 0) {
                (void)ctl_fail(r, &e, "check");
                return m.cancelled ? CTL_INTERRUPTED : CTL_FAILED;
        }
        mover_print_check(&m, line.json);
        return mover_count(&m, "blocks") > 0 ? CTL_BLOCKED : CTL_OK;
}
