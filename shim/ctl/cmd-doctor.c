/* SPDX-License-Identifier: Apache-2.0 */
/* podferry doctor: what is wrong with a pod, and the one safe thing to do. */
#include <stdio.h>
#include <string.h>

#include "controllers/ids.h"
#include "shim/ctl/commands.h"
#include "shim/ctl/doctor.h"
#include "shim/ctl/values.h"

#define TIMEOUT_MS 20000U

enum { TO = 1, NAME, PROGRAM, LIMIT, FIX, JSON, FACTS };

static const Option options[] = {
        { TO, 0, "to", "HOST", "ask this other host, too, as in podferry migrate" },
        { NAME, 'n', "name", "NAME", "name of the pod over there (as here)" },
        { PROGRAM, 0, "podferry", "PATH", "this program over there (podferry)" },
        { LIMIT, 't', "timeout", "TIME", "for the other host's answer (20s)" },
        { FIX, 0, "fix", NULL, "do what is proposed, if surely safe, and look again" },
        { JSON, 0, "json", NULL, "print JSON for programs, a line for each pod" },
        { FACTS, 0, "facts", NULL, "only what is seen here of one POD, for another host" },
};

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv);

const Command command_doctor = {
        .name = "doctor",
        .operands = "[POD...]",
        .summary = "Say what is wrong with pods, and the one safe thing to do about it",
        .text = "Looks at shims, machines, QEMU processes, journals and logs; with --to on the\n"
                "other host, too. Nothing hangs, whatever does, and nothing is changed unless\n"
                "--fix is given: then what is proposed is done, and only if no second copy of a\n"
                "pod can come of it. No machine is ever ended. Without POD: all that there is,\n"
                "also machines and directories without a pod.\n"
                "\n"
                "Exit status: 0 all is well (also with advice), 1 something is to be done, or\n"
                "not enough could be seen, 125 the question could not be asked (no such pod, a\n"
                "wrong command line).\n"
                "\n"
                "  podferry doctor\n"
                "  podferry doctor web --to ssh://root@h2 --fix\n"
                "  podferry doctor --json | jq -r 'select(.severity != \"ok\") | .pod, .code'",
        .options = options,
        .n_options = ELEMENTSOF(options),
        .completes = "pods",
        .run = self_run,
};

typedef struct DoctorLine {
        bool fix, json, facts;
        char **pods; /* as given */
        int n;
} DoctorLine;

void doctor_done(Doctor *d) {
        remote_done(&d->remote);
        free(d->survey);
}

void case_done(Case *c) {
        (void)diagnose_facts_free(TAKE(c->here));
        (void)diagnose_facts_free(TAKE(c->there));
}

/* -- one pod -- */

/* This host after the other one: what was asked of libvirt before may be of before a move. */
static int see_both(Doctor *d, const char *pod, Case *c, Error *reterr) {
        _cleanup_free_ char *text = NULL;
        int r;

        case_done(c);
        c->there_error = ERROR_INIT;
        if (d->to)
                (void)doctor_look_there(d, d->name ?: pod, &c->there, &c->there_error);
        if (d->to && !d->trouble.text[0])
                doctor_survey(d);
        r = doctor_look(d, pod, &text, reterr);
        if (r == 0)
                r = diagnose_facts_read(text, &c->here, reterr);
        if (r == 0)
                c->diagnosis = diagnose(c->here, c->there, d->to);
        return r;
}

int doctor_examine(Doctor *d, const char *pod, Case *ret, Error *reterr) {
        int r;

        ret->pod = pod;
        r = see_both(d, pod, ret, reterr);
        /* The hosts are seen one after the other, and a pod may have moved in between. */
        if (r == 0 && ret->diagnosis.severity == DIAGNOSE_ALARM)
                r = see_both(d, pod, ret, reterr);
        if (r < 0)
                return r;
        if (diagnose_is_there(ret->here) || (ret->there && diagnose_is_there(ret->there)))
                return 0;
        if (ret->there_error.text[0])
                return error_setf(reterr, -ENOENT,
                                  "no such pod on this host, and the other one cannot be asked: %s",
                                  ret->there_error.text);
        return error_setf(reterr, -ENOENT,
                          "no such pod on this host%s; podferry ps shows those "
                          "that are here",
                          d->to ? ", and none on the other" : "");
}

static int show(const Doctor *d, const DoctorLine *line, const Case *c, const Treatment *t,
                Error *reterr) {
        if (line->json)
                return doctor_show_json(d, c, t, reterr);
        doctor_show(d, c, t, line->n > 0);
        return 0;
}

static bool is_fine(const Case *c) {
        return c->diagnosis.severity <= DIAGNOSE_ADVISES;
}

/* One action, and what is so then. */
static int treat(Doctor *d, const DoctorLine *line, Case *c, Error *reterr) {
        DiagnoseAction action = c->diagnosis.action;
        Error why = ERROR_INIT, gone = ERROR_INIT;
        Treatment t = { .code = c->diagnosis.code };
        int r;

        if (!diagnose_may_fix(&c->diagnosis, d->to))
                return show(d, line, c, is_fine(c) ? NULL : &t, reterr);
        t.tried = diagnose_action_name(action);
        t.r = doctor_fix(d, c, &why);
        t.error = &why;
        doctor_survey(d);
        r = doctor_examine(d, c->pod, c, &gone);
        if (r < 0 && r != -ENOENT)
                return error_setf(reterr, r, "%s", gone.text);
        if (r == -ENOENT) /* nothing was all that there should be */
                c->diagnosis = (Diagnosis){ .code = "gone",
                                            .severity = t.r < 0 ? DIAGNOSE_ACT : DIAGNOSE_OK,
                                            .row = "none x none",
                                            .says = "nothing is left of it",
                                            .mend = "" };
        return show(d, line, c, &t, reterr);
}

static int one(Doctor *d, const DoctorLine *line, const char *pod, bool *ret_fine, Error *reterr) {
        _cleanup_(case_done) Case c = {};
        int r = doctor_examine(d, pod, &c, reterr);

        if (r == 0)
                r = line->fix ? treat(d, line, &c, reterr) : show(d, line, &c, NULL, reterr);
        *ret_fine = r == 0 && is_fine(&c);
        return r;
}

/* -- the command -- */

static int take_option(Doctor *d, DoctorLine *line, int id, const char *value, Error *reterr) {
        switch (id) {
        case TO:
                d->to = value;
                return 0;
        case NAME:
                d->name = value;
                return id_check("pod name", value, reterr);
        case PROGRAM:
                d->program = value;
                return 0;
        case LIMIT:
                return value_duration(value, &d->timeout_ms, reterr);
        case FIX:
                line->fix = true;
                return 0;
        case JSON:
                line->json = true;
                return 0;
        case FACTS:
                line->facts = true;
                return 0;
        default:
                return -EINVAL;
        }
}

/* 0; 1: the help page was printed. */
static int read_line(Doctor *d, DoctorLine *line, const Command *self, int argc, char **argv,
                     Error *reterr) {
        OptionParser p;
        int id, r = 0;

        option_parser_init(&p, self, argc, argv);
        while (r == 0 && (id = option_next(&p, reterr)) != 0) {
                if (id == OPTION_HELP) {
                        option_print_help(self);
                        return 1;
                }
                r = id < 0 ? id
                           : option_took(&p, take_option(d, line, id, p.value, reterr), reterr);
        }
        line->pods = option_operands(&p, &line->n);
        if (r == 0 && (d->name || d->program) && !d->to)
                r = error_setf(reterr, -EINVAL, "--name and --podferry need --to");
        if (r == 0 && d->name && line->n != 1)
                r = error_setf(reterr, -EINVAL, "--name is for one POD");
        if (r == 0 && line->facts && (line->n != 1 || d->to || line->fix))
                r = error_setf(reterr, -EINVAL, "--facts is for one POD, and nothing else");
        for (int i = 0; r == 0 && i < line->n; i++)
                r = id_check("pod name", line->pods[i], reterr);
        return r;
}

static int print_facts(const Doctor *d, const char *pod) {
        _cleanup_free_ char *text = NULL;
        Error e = ERROR_INIT;
        int r = doctor_look(d, pod, &text, &e);

        if (r < 0)
                return ctl_fail(r, &e, "doctor");
        (void)puts(text);
        return CTL_OK;
}

static int each(Doctor *d, const DoctorLine *line, char **pods) {
        int status = CTL_OK;

        for (size_t i = 0; pods[i]; i++) {
                Error e = ERROR_INIT;
                bool fine;
                int r = one(d, line, pods[i], &fine, &e);

                if (r == -ENOENT && line->n == 0)
                        continue; /* gone since we looked */
                if (r < 0)
                        status = ctl_fail(r, &e, "doctor: %s", pods[i]);
                else if (!fine && status == CTL_OK)
                        status = CTL_BLOCKED;
                (void)fflush(stdout);
        }
        return status;
}

static int self_run(Ctl *ctl, const Command *self, int argc, char **argv) {
        _cleanup_(doctor_done) Doctor d = { .ctl = ctl, .timeout_ms = TIMEOUT_MS };
        _cleanup_(words_freep) char **all = NULL;
        Error e = ERROR_INIT;
        DoctorLine line = {};
        int r;

        r = read_line(&d, &line, self, argc, argv, &e);
        if (r == 0 && d.to)
                r = remote_parse(d.to, d.program, NULL, &d.remote, &e);
        if (r != 0)
                return r > 0 ? CTL_OK : ctl_usage(self, &e);
        if (!d.to || line.n == 0)
                doctor_survey(&d);
        if (line.facts)
                return print_facts(&d, line.pods[0]);
        if (line.n == 0)
                r = doctor_pods(&d, &all, &e);
        for (int i = 0; r == 0 && i < line.n; i++)
                if (words_add(&all, line.pods[i]) < 0)
                        r = error_oom(&e);
        if (r < 0)
                return ctl_fail(r, &e, "doctor");
        r = all ? each(&d, &line, all) : CTL_OK;
        if (line.n > 0 || !d.trouble.text[0])
                return r;
        ctl_say("doctor: %s: machines without a pod are not seen", d.trouble.text);
        return r == CTL_OK ? CTL_BLOCKED : r;
}
