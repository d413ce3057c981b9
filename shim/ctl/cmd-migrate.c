/* SPDX-License-Identifier: Apache-2.0 */
/* podferry migrate: the command line; what it does is in migrate.h. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/migrate-line.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/ctl/values.h"

static const Option options[] = {
        { TO, 0, "to", "HOST",
          "ssh://[USER@]HOST[:PORT], or exec:COMMAND that runs its\n"
          "arguments on the other host; PODFERRY_SSH is what is\n"
          "run for ssh:// (ssh)" },
        { NAME, 'n', "name", "NAME", "name of the pod over there (as here)" },
        { TYPE, 0, "type", "live|cold|warm",
          "live: while it runs; cold: it is stopped, moved, and started\n"
          "there; warm: disks are copied while it runs, then cold, with\n"
          "what was written since (as the pod is: one that does not run\n"
          "moves cold)" },
        { STOP_TIMEOUT, 0, "stop-timeout", "TIME",
          "with cold and warm: how long it may take to stop before it is\nkilled (10s)" },
        { PASSES, 0, "passes", "N", "with warm: over the disks while it runs, at most (8)" },
        { PROGRESS, 0, "progress", "json", "what happens, one JSON object a line, on stdout" },
        { LIMIT, 't', "timeout", "TIME", "roll back if it takes longer (no limit)" },
        { MAX_OUT, 0, "out", "N",
          "wait while N moves leave this host, whoever began them (no limit)" },
        { MAX_IN, 0, "in", "N", "the same for moves to the other host" },
        { COPIES, 0, "copies", "wait|now|with:NAME",
          "of a cold move: begin when the copies that go there\nalready are done (wait), at once, or together with those\nof the same NAME" },
        { PROGRAM, 0, "podferry", "PATH", "this program over there (podferry)" },
        { IDENTITY, 'i', "identity", "FILE", "the key that ssh uses" },
        { SSH_OPTION, 'o', "ssh-option", "NAME=VALUE",
          "one for ssh, as in ssh_config(5); again for more" },
        { NETWORK, 0, "net", "ns:PATH", "the pod's network namespace over there" },
        { NETWORK_MODE, 0, "net-mode", "M",
          "keep: same addresses there, connections live on;\n"
          "rebind: those of the namespace there, connections end" },
        { DISK, 0, "disk", "FILE=THERE",
          "where a volume is on the other host, if not at FILE; again\nfor others" },
        { STORAGE, 0, "storage", "copy|shared",
          "what happens to writable disks (as each disk says)" },
        { HANDOVER, 0, "handover", "M", "who lets it run over there: shims, fast or runtime" },
        { DOWNTIME, 0, "max-downtime", "TIME",
          "longest blackout to allow (500ms, reached step by step)" },
        { BANDWIDTH, 0, "bandwidth", "SIZE", "bytes a second at most" },
        { COMPLETION, 0, "completion-timeout", "TIME", "for memory and disks (by their size)" },
        { PER_GIB, 0, "timeout-per-gib", "TIME",
          "for each GiB of memory and copied disk (300s; 0: no limit)" },
        { PROGRESS_TIMEOUT, 0, "progress-timeout", "TIME",
          "roll back if no byte moves for so long (150s)" },
        { ACTION, 0, "timeout-action", "A", "after that time: abort or force-complete (abort)" },
        { PAUSE_TIMEOUT, 0, "pause-timeout", "TIME",
          "longest time to stand for it, when forced (60s)" },
        { STALL_ACTION, 0, "stall-action", "A",
          "when what is left does not get less: advise, abort or\nforce-complete (advise)" },
        { CUTOVER, 0, "cutover", "hold|TIME",
          "go over only when told (podferry migration cutover), or\n"
          "at a time: seconds since 1970 as in $(date -d 22:00 +%s)" },
        { AUTO_CONVERGE, 0, "auto-converge", NULL, "slow the pod down if it writes too fast" },
        { COMPRESSION, 0, "compression", "M", "xbzrle: what changed in a page, not the page" },
        { CONNECTIONS, 0, "connections", "N", "parallel ones for memory" },
        { POST_COPY, 0, "post-copy", NULL, "post-copy is allowed; needs --handover fast" },
        { KEEP_DISKS, 0, "keep-source-disks", NULL, "leave copied scratch disks here, too" },
        { REMOVE_VOLUMES, 0, "remove-source-volumes", NULL,
          "remove copied volumes here once it runs over there\n(they are kept)" },
        { TRANSPORT, 0, "transport", "URI",
          "memory and disks go straight to the libvirtd of the\n"
          "other host: libvirt+tcp://HOST or libvirt+tls://HOST" },
        { MIGRATE_URI, 0, "migrate-uri", "URI", "with --transport: QEMU's address there" },
        { HOOK, 0, "hook", "EVENT=COMMAND",
          "run this, too, on this host: before its own hooks, at\n"
          "pre-source, post-source or on-failure (docs/hooks.md);\nagain for more" },
        { NO_HOOKS, 0, "no-hooks", NULL, "run no hooks, on neither host" },
        { UNSAFE, 0, "unsafe", NULL, "go on where the check would let you (docs/check.md)" },
        { DISK_SPACE, 0, "disk-space", "allocated|virtual",
          "what of copied disks must fit there: what is in them now,\nor all that may be" },
        { PLAINTEXT, 0, "allow-plaintext", NULL,
          "with --transport libvirt+tcp://: memory may cross the\nnetwork without encryption" },
        { SET, 'O', "set", "NAME=VALUE",
          "any option of a migration, as in docs/policies.md; again\nfor more" },
};

static const struct {
        int id;
        const char *name; /* on the bus */
        char kind;        /* t text, s size, d duration, b switch */
} shim_options[] = {
        { HANDOVER, "handover", 't' },
        { STORAGE, "storage", 't' },
        { MIGRATE_URI, "migrate_uri", 't' },
        { ACTION, "timeout_action", 't' },
        { COMPRESSION, "compression", 't' },
        { CONNECTIONS, "connections", 't' },
        { BANDWIDTH, "bandwidth", 's' },
        { DOWNTIME, "max_downtime", 'd' },
        { COMPLETION, "completion_timeout", 'd' },
        { PROGRESS_TIMEOUT, "progress_timeout", 'd' },
        { AUTO_CONVERGE, "auto_converge", 'b' },
        { POST_COPY, "post_copy", 'b' },
        { KEEP_DISKS, "keep_source_disks", 'b' },
        { REMOVE_VOLUMES, "remove_source_volumes", 'b' },
        { PER_GIB, "timeout_per_gib", 'd' },
        { PAUSE_TIMEOUT, "pause_timeout", 'd' },
        { STALL_ACTION, "stall_action", 't' },
        { PLAINTEXT, "allow_plaintext", 'b' },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_migrate = {
        .name = "migrate",
        .operands = "POD",
        .summary = "Move a pod to another host while it runs",
        .text = "Containers, open files, pipes and connections go on over there; logs and\n"
                "layers that are missing there come along. podferry must be installed there;\n"
                "no port and no daemon is needed. ssh asks for a password only on a terminal.\n"
                "\n"
                "Whatever fails on the way, the pod runs on here (but not once post-copy has\n"
                "begun); the message says so if its shim does, and what to do if that could\n"
                "not be asked. Ctrl-C cancels, and\n"
                "killing this command, or its part on the other host, does the same: both\n"
                "shims notice. Once the pod has been handed over it stays over there.\n"
                "\n"
                "A pod that does not run moves cold: its disks, logs and all that it was made\n"
                "of; then it is a stopped pod of the other host. --type cold stops one that\n"
                "runs for it and starts it there, or here again if that fails. If this command\n"
                "is killed, give it again: until then the pod starts on one host at most.\n"
                "--type warm copies the disks while it runs, again and again as long as that\n"
                "pays, and only then stops it and copies what was written since.\n"
                "\n"
                "One that is stopped while it moves live goes on cold; one that is started\n"
                "(podferry start) while it moves cold starts here, and goes on live. Not with\n"
                "--type: then it stays here, stopped, or is not started.\n"
                "\n"
                "The other host has two minutes to answer. A connection that breaks later is\n"
                "made again, up to 8 times in a row with less than 1 MiB of the pod moved in\n"
                "between, up to 100 times in all, and within two minutes. One that hangs is\n"
                "the command's to find (ssh does, in half a minute), or --progress-timeout's.\n"
                "\n"
                "  podferry migrate web --to ssh://root@h2\n"
                "  podferry migrate web --to ssh://root@h2:2222 -i key -o ProxyJump=gate\n"
                "  podferry migrate web --to 'exec:hack/lab enter h2' --progress json",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = self_run,
};

static void put(Mover *m, const char *name, const char *value) {
        for (size_t i = 0; i < m->n_options; i++)
                if (strcmp(m->options[i].name, name) == 0) {
                        m->options[i].value = value;
                        return;
                }
        m->options[m->n_options].name = name;
        m->options[m->n_options++].value = value;
}

static int take_transport(Mover *m, const char *value, Error *reterr) {
        char uri[MIGRATION_URI_MAX + 16];
        MigrationOptions o;
        int r;

        migration_options_init(&o);
        r = migration_options_set(&o, "transport", value, reterr);
        if (r == 0)
                r = migration_options_libvirt_uri(&o, uri, sizeof(uri), reterr);
        if (r == 0)
                put(m, "transport", value);
        return r;
}

static int take_cutover(Mover *m, const char *value) {
        bool hold = strcmp(value, "hold") == 0;

        put(m, hold ? "cutover" : "cutover_at", value);
        return 0;
}

static int take_copies(Mover *m, const char *value, Error *reterr) {
        m->copies = value;
        if (strcmp(value, "wait") == 0 || strcmp(value, "now") == 0)
                return 0;
        if (strncmp(value, "with:", 5) != 0)
                return error_setf(reterr, -EINVAL,
                                  "--copies \"%.60s\": wait, now or with:NAME is expected", value);
        return id_check("--copies with:", value + 5, reterr);
}

/* NAME=VALUE; what it means, the shims know. */
static int take_any(Mover *m, Texts *t, const char *text, Error *reterr) {
        size_t n = strcspn(text, "=");

        if (n == 0 || n >= sizeof(t->names[0]) || !text[n])
                return error_setf(reterr, -EINVAL, "--set \"%.60s\": NAME=VALUE is expected", text);
        if (m->n_options >= OPTIONS_MAX - 1 || t->n_names >= OPTIONS_MAX) /* one more comes */
                return error_setf(reterr, -EINVAL, "--set: too many options");
        memcpy(t->names[t->n_names], text, n);
        t->names[t->n_names][n] = '\0';
        put(m, t->names[t->n_names++], text + n + 1);
        return 0;
}

static int take_shim_option(Mover *m, Texts *t, int id, const char *value, Error *reterr) {
        for (size_t i = 0; i < ELEMENTSOF(shim_options); i++) {
                uint64_t n = 0;
                int r = 0;

                if (shim_options[i].id != id)
                        continue;
                if (shim_options[i].kind == 's')
                        r = value_size(value, &n, reterr);
                else if (shim_options[i].kind == 'd')
                        r = value_duration(value, &n, reterr);
                else {
                        put(m, shim_options[i].name, value ?: "true");
                        return 0;
                }
                (void)snprintf(t->numbers[i], sizeof(t->numbers[i]), "%" PRIu64, n);
                if (r == 0)
                        put(m, shim_options[i].name, t->numbers[i]);
                return r;
        }
        return -EINVAL;
}

static int take_ssh_args(Line *l, const char *flag, const char *value, Error *reterr) {
        return words_add(&l->ssh_args, flag) < 0 || words_add(&l->ssh_args, value) < 0
                       ? error_oom(reterr)
                       : 0;
}

static int take_option(Mover *m, Line *l, Texts *t, int id, const char *value, Error *reterr) {
        switch (id) {
        case UNSAFE:
                m->unsafe = true;
                return 0;
        case HOOK:
                return mover_hooks_give(&m->hooks, value, reterr);
        case NO_HOOKS:
                m->hooks.none = true;
                return 0;
        case FORECAST:
                m->forecast = true;
                return 0;
        case TYPE:
                m->type = value;
                return mover_check_type(value, reterr);
        case STOP_TIMEOUT:
                return value_duration(value, &m->stop_ms, reterr);
        case PASSES:
                return value_number(value, 1, WARM_PASSES_MAX, &m->passes, reterr);
        case MAX_OUT:
                return value_number(value, 1, PLACES_MAX, &m->max_out, reterr);
        case MAX_IN:
                return value_number(value, 1, PLACES_MAX, &m->max_in, reterr);
        case COPIES:
                return take_copies(m, value, reterr);
        case DISK_SPACE:
                m->virtual_size = strcmp(value, "virtual") == 0;
                return m->virtual_size || strcmp(value, "allocated") == 0
                               ? 0
                               : error_setf(reterr, -EINVAL,
                                            "--disk-space \"%.40s\": allocated or virtual", value);
        case JSON:
                l->json = true;
                return 0;
        case TO:
                l->to = value;
                return 0;
        case NAME:
                m->new_name = value;
                return id_check("pod name", value, reterr);
        case PROGRAM:
                l->program = value;
                return 0;
        case IDENTITY:
                return take_ssh_args(l, "-i", value, reterr);
        case SSH_OPTION:
                return take_ssh_args(l, "-o", value, reterr);
        case LIMIT:
                return value_duration(value, &m->time_limit_ms, reterr);
        case NETWORK:
                if (strncmp(value, "ns:/", 4) != 0)
                        return error_setf(reterr, -EINVAL, "\"%.100s\": ns:PATH is expected",
                                          value);
                m->network = value + 3;
                return 0;
        case NETWORK_MODE:
                m->network_mode = value;
                if (strcmp(value, "keep") != 0 && strcmp(value, "rebind") != 0)
                        return error_setf(reterr, -EINVAL, "\"%.40s\": keep or rebind", value);
                return 0;
        case DISK:
                if (!strchr(value, '=') || value[0] != '/' || strchr(value, '=')[1] != '/')
                        return error_setf(reterr, -EINVAL,
                                          "\"%.200s\": two absolute paths with = between "
                                          "them",
                                          value);
                if (path_check("THERE", strchr(value, '=') + 1, reterr) < 0)
                        return -EINVAL;
                return words_add(&m->disks, value) < 0 ? error_oom(reterr) : 0;
        case CUTOVER:
                return take_cutover(m, value);
        case SET:
                return take_any(m, t, value, reterr);
        case TRANSPORT:
                return take_transport(m, value, reterr);
        case PROGRESS:
                l->json = strcmp(value, "json") == 0;
                return l->json ? 0 : error_setf(reterr, -EINVAL, "\"%.40s\" is not json", value);
        default:
                return take_shim_option(m, t, id, value, reterr);
        }
}

/* As long as for the first answer of the other host. */
#define TRANSPORT_TIMEOUT_MS "120000"

static int check_line(Mover *m, const Line *l, int n, char **operands, Error *reterr) {
        int r;

        if (n != 1)
                return error_setf(reterr, -EINVAL, "%s",
                                  n < 1 ? "POD is missing" : "one POD at a time");
        if (!l->to)
                return error_setf(reterr, -EINVAL, "--to is missing");
        if (m->passes > 0 && (!m->type || strcmp(m->type, itinerary_warm.type) != 0))
                return error_setf(reterr, -EINVAL, "--passes needs --type warm");
        if (m->network_mode && !m->network)
                return error_setf(reterr, -EINVAL, "--net-mode needs --net");
        if (m->hooks.none && hooks_any(&m->hooks.given))
                return error_setf(reterr, -EINVAL, "--hook and --no-hooks contradict each other");
        m->pod = operands[0];
        m->new_name = m->new_name ?: m->pod;
        m->to = l->to;
        m->program = l->program ?: "";
        r = id_check("pod name", m->pod, reterr);
        return r < 0 ? r : remote_parse(l->to, l->program, l->ssh_args, &m->remote, reterr);
}

static int make_session(Mover *m, Error *reterr) {
        uint64_t number;

        if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
                return error_setf(reterr, -errno, "random number: %m");
        (void)snprintf(m->session, sizeof(m->session), "m%016" PRIx64, number);
        return 0;
}

static int watch_signals(Mover *m, Error *reterr) {
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return error_setf(reterr, -errno, "signals: %m");
        m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return m->signal_fd < 0 ? error_setf(reterr, -errno, "signals: %m") : 0;
}

int migrate_line_read(Mover *m, const Command *self, int argc, char **argv, Line *line,
                      int *ret_status) {
        Error e = ERROR_INIT;
        OptionParser p;
        char **operands;
        int id, n, r = 0;

        option_parser_init(&p, self, argc, argv);
        put(m, "transport_timeout", TRANSPORT_TIMEOUT_MS); /* --set says otherwise */
        while (r == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        *ret_status = CTL_OK;
                        return -ECANCELED;
                }
                r = id < 0 ? id
                           : option_took(&p, take_option(m, line, &line->texts, id, p.value, &e),
                                         &e);
        }
        operands = option_operands(&p, &n);
        if (r == 0)
                r = check_line(m, line, n, operands, &e);
        line->ssh_args = words_free(line->ssh_args);
        if (r < 0) {
                *ret_status = ctl_usage(self, &e);
                return r;
        }
        r = make_session(m, &e);
        if (r == 0)
                r = watch_signals(m, &e);
        if (r < 0)
                *ret_status = ctl_fail(r, &e, "%s", self->name);
        return r;
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(mover_done) Mover m = MOVER_INIT(ctl);
        int status = CTL_FAILED, r;
        Line line = {};

        if (migrate_line_read(&m, self, argc, argv, &line, &status) < 0)
                return status;
        show_init(&m.show, line.json);
        r = mover_run(&m);
        return r == 0 ? CTL_OK : m.cancelled ? CTL_INTERRUPTED : CTL_FAILED;
}
