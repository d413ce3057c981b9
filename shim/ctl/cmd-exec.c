/* SPDX-License-Identifier: Apache-2.0 */
/* podferry exec and attach: this terminal at a further process of a container, or at its first. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "shim/ctl/attach-loop.h"
#include "shim/ctl/bus.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/ctl/oci.h"
#include "shim/ctl/values.h"

#define CONTAINER_FACE BUS_INTERFACE ".Container"

typedef struct Target {
        const char *run_dir;
        char *pod, *container, *path;
        sd_bus *bus;
} Target;

static void target_done(Target *t) {
        t->bus = sd_bus_flush_close_unref(t->bus);
        free(t->pod);
        free(t->container);
        free(t->path);
}

static int target_open(const Ctl *ctl, const char *text, Target *t, Error *reterr) {
        int r;

        t->run_dir = ctl->config.run_dir;
        r = value_target(text, &t->pod, &t->container, reterr);
        if (r == 0)
                r = pod_connect(t->run_dir, t->pod, &t->bus, reterr);
        if (r == 0) {
                _cleanup_free_ char *id = NULL;

                r = pod_find_container(t->bus, t->pod, t->container, &t->path, &id, reterr);
                if (r == 0) {
                        free(t->container);
                        t->container = TAKE(id);
                }
        }
        return r;
}

enum { TTY = 1, INTERACTIVE, ENV, WORKDIR, USER, DETACH, NO_STDIN, STAY, EXEC };

static const Option exec_options[] = {
        { TTY, 't', "tty", NULL, "give it a terminal" },
        { INTERACTIVE, 'i', "interactive", NULL, "pass stdin on" },
        { DETACH, 'd', "detach", NULL, "start it and leave it running" },
        { ENV, 'e', "env", "K=V", "variable of the command; K alone passes yours" },
        { WORKDIR, 'w', "workdir", "DIR", "working directory in the container" },
        { USER, 'u', "user", "UID[:GID]", "user of the command, by number" },
        { STAY, 0, "stay", NULL, ATTACH_STAY_HELP },
};

static int exec_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_exec = {
        .name = "exec",
        .operands = "POD[/CONTAINER] COMMAND [ARGUMENT...]",
        .summary = "Run a further command in a container",
        .text = "Its output and exit status come here, signals go there. The container may be\n"
                "left out when the pod has only one. Of detached commands that have ended, and\n"
                "of others that nobody waited for, the last 64 stay for logs and attach.\n"
                "\n"
                "  podferry exec -ti web /bin/sh\n"
                "  podferry exec web/log ps",
        .options = exec_options,
        .n_options = ELEMENTSOF(exec_options),
        .operands_end_options = true,
        .completes = "pods",
        .run = exec_run,
};

typedef struct Exec {
        OciOptions oci;
        char **env;
        bool interactive, detach, stay;
        const char *target;
} Exec;

static int take_option(Exec *x, int id, const char *value, Error *reterr) {
        switch (id) {
        case TTY:
                x->oci.terminal = true;
                return 0;
        case INTERACTIVE:
                x->interactive = true;
                return 0;
        case DETACH:
                x->detach = true;
                return 0;
        case STAY:
                x->stay = true;
                return 0;
        case ENV:
                return words_add(&x->env, value) < 0 ? error_oom(reterr) : 0;
        case WORKDIR:
                x->oci.cwd = value;
                return 0;
        case USER:
                return value_user(value, &x->oci.uid, &x->oci.gid, reterr);
        default:
                return -EINVAL;
        }
}

/* True: go on. */
static bool parse(Exec *x, const Command *self, int argc, char **argv, int *ret_status) {
        Error e = ERROR_INIT;
        OptionParser p;
        int id, code = 0, n;
        char **operands;

        option_parser_init(&p, self, argc, argv);
        while (code == 0 && (id = option_next(&p, &e)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        *ret_status = CTL_OK;
                        return false;
                }
                code = id < 0 ? id : option_took(&p, take_option(x, id, p.value, &e), &e);
        }
        operands = option_operands(&p, &n);
        if (code == 0 && n > 1 && strcmp(operands[1], "--") == 0) {
                operands[1] = operands[0]; /* "exec POD -- COMMAND" */
                operands++;
                n--;
        }
        if (code == 0 && n < 2)
                code = error_setf(&e, -EINVAL, "%s is missing", n < 1 ? "POD" : "COMMAND");
        if (code < 0) {
                *ret_status = ctl_usage(self, &e);
                return false;
        }
        x->target = operands[0];
        x->oci.args = operands + 1;
        x->oci.env = x->env;
        return true;
}

static int make_exec(const Exec *x, const Target *t, char id[static 24], Error *reterr) {
        _cleanup_json_ json_object *process = NULL;
        uint32_t rows = 0, columns = 0, number;
        const char *text;
        int r;

        r = oci_process_make(&x->oci, &process, reterr);
        if (r < 0)
                return r;
        if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
                return error_setf(reterr, -errno, "random number: %m");
        (void)snprintf(id, 24, "exec-%08x", number);
        if (x->oci.terminal)
                terminal_size(&rows, &columns);
        text = json_object_to_json_string_ext(process, JSON_C_TO_STRING_PLAIN);
        if (!text)
                return error_oom(reterr);
        return pod_call(t->bus, CALL_DEADLINE, NULL, reterr, t->path, CONTAINER_FACE, "Exec",
                        "ssbuu", id, text, x->oci.terminal, rows, columns);
}

static int start_exec(const Target *t, const char *id, Error *reterr) {
        return pod_call(t->bus, WORK_DEADLINE, NULL, reterr, t->path, CONTAINER_FACE, "StartExec",
                        "s", id);
}

static int watch_exec(const Exec *x, const Target *t, const char *id, int *ret_status,
                      Error *reterr) {
        AttachSession s = { .target = { .run_dir = t->run_dir,
                                        .pod = t->pod,
                                        .container = t->container,
                                        .exec_id = id,
                                        .wishes.with_stdin = x->interactive },
                            .link = ATTACH_LINK_INIT,
                            .terminal = x->oci.terminal,
                            .stay = x->stay };
        AttachEnd end = ATTACH_LOST;
        int r;

        /* Started first: an exec has streams from then on, and its log keeps what it says until we
         * are attached. */
        r = start_exec(t, id, reterr);
        if (r == 0)
                r = attach_open(&s, t->bus, t->path, reterr);
        if (r == 0 && !x->interactive) /* refused if it has ended already */
                (void)pod_call(t->bus, CALL_DEADLINE, NULL, NULL, t->path, CONTAINER_FACE,
                               "CloseStdin", "s", id);
        if (r == 0)
                r = attach_run(&s, &end, reterr);
        if (r == 0)
                *ret_status = attach_status(&s, end);
        if (r == 0 && end == ATTACH_ENDED)
                (void)attach_remove(&s, ATTACH_REMOVE_EXEC, NULL);
        else if (r < 0)
                (void)pod_call(t->bus, CALL_DEADLINE, NULL, NULL, t->path, CONTAINER_FACE, "Delete",
                               "s", id);
        attach_close(&s);
        return r;
}

static int exec_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(target_done) Target t = {};
        Exec x = {};
        Error e = ERROR_INIT;
        int r, status = CTL_OK;
        char id[24];

        if (!parse(&x, self, argc, argv, &status)) {
                (void)words_free(x.env);
                return status;
        }
        r = target_open(ctl, x.target, &t, &e);
        if (r == 0)
                r = make_exec(&x, &t, id, &e);
        if (r == 0 && x.detach) {
                r = start_exec(&t, id, &e);
                if (r == 0)
                        (void)puts(id);
                else
                        (void)pod_call(t.bus, CALL_DEADLINE, NULL, NULL, t.path, CONTAINER_FACE,
                                       "Delete", "s", id);
        } else if (r == 0)
                r = watch_exec(&x, &t, id, &status, &e);
        (void)words_free(x.env);
        if (r < 0) {
                (void)ctl_fail(r, &e, "exec");
                return ctl_run_status(r, &e);
        }
        return status;
}

static const Option attach_options[] = {
        { EXEC, 'e', "exec", "ID", "a command of podferry exec --detach instead" },
        { NO_STDIN, 0, "no-stdin", NULL, "only look" },
        { STAY, 0, "stay", NULL, ATTACH_STAY_HELP },
};

static int attach_command(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_attach = {
        .name = "attach",
        .operands = "POD[/CONTAINER]",
        .summary = "Connect this terminal to a container's command",
        .text = "Shows what it writes from now on (podferry logs shows what it wrote before),\n"
                "passes stdin and signals on, and ends with its exit status. Ctrl-P Ctrl-Q at a\n"
                "terminal leaves it running. When the pod moves, so does this: not a byte of\n"
                "input or output is lost.",
        .options = attach_options,
        .n_options = ELEMENTSOF(attach_options),
        .completes = "pods",
        .run = attach_command,
};

static bool has_terminal(const Target *t, const char *exec_id) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = bus_process_path(t->container, exec_id);
        int terminal = 0;

        if (!path ||
            pod_call(t->bus, CALL_DEADLINE, &reply, NULL, path, "org.freedesktop.DBus.Properties",
                     "Get", "ss", BUS_INTERFACE ".Process", "Terminal") < 0 ||
            sd_bus_message_enter_container(reply, 'v', "b") < 0 ||
            sd_bus_message_read(reply, "b", &terminal) < 0)
                return false;
        return terminal;
}

/* True: go on. */
static bool parse_attach(AttachSession *s, const Command *self, int argc, char **argv,
                         const char **ret_target, int *ret_status) {
        Error e = ERROR_INIT;
        char **operands;
        OptionParser p;
        int id, n;

        option_parser_init(&p, self, argc, argv);
        while ((id = option_next(&p, &e)) > 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        *ret_status = CTL_OK;
                        return false;
                }
                if (id == EXEC)
                        s->target.exec_id = p.value;
                else if (id == STAY)
                        s->stay = true;
                else
                        s->target.wishes.with_stdin = false;
        }
        operands = option_operands(&p, &n);
        if (id == 0 && n != 1)
                id = error_setf(&e, -EINVAL, "%s",
                                n < 1 ? "POD[/CONTAINER] is missing" : "one at a time");
        if (id < 0) {
                *ret_status = ctl_usage(self, &e);
                return false;
        }
        *ret_target = operands[0];
        return true;
}

static int attach_command(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(target_done) Target t = {};
        AttachSession s = { .target = { .exec_id = "", .wishes = { UINT64_MAX, true, false } },
                            .link = ATTACH_LINK_INIT };
        AttachEnd end = ATTACH_LOST;
        Error e = ERROR_INIT;
        const char *text;
        int r, status;

        if (!parse_attach(&s, self, argc, argv, &text, &status))
                return status;
        r = target_open(ctl, text, &t, &e);
        if (r == 0) {
                s.target.run_dir = t.run_dir;
                s.target.pod = t.pod;
                s.target.container = t.container;
                s.terminal = has_terminal(&t, s.target.exec_id);
                r = attach_open(&s, t.bus, t.path, &e);
        }
        if (r == 0)
                r = attach_run(&s, &end, &e);
        status = r < 0 ? ctl_fail(r, &e, "attach") : attach_status(&s, end);
        attach_close(&s);
        return status;
}
