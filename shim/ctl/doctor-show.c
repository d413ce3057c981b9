/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "shim/ctl/doctor.h"

/* What --fix would do where no command of its own does it. */
static const char *deed(DiagnoseAction a) {
        return a == DIAGNOSE_CONTINUE_QEMU ? "lets QEMU go on"
               : a == DIAGNOSE_REMOVE_RUN_DIR
                       ? "removes the run directory; disks and definition stay"
               : a == DIAGNOSE_REMOVE_JOURNAL ? "removes the journal; disks stay"
                                              : "";
}

static void show_machine(const DiagnoseFacts *f) {
        if (f->libvirt_error[0])
                (void)printf("    libvirt   %s\n", f->libvirt_error);
        else
                (void)printf("    machine   %s%s%s%s%s\n", migration_domain_state_name(f->domain),
                             f->reason[0] ? ", " : "", f->reason,
                             f->job == CHECK_YES ? ", a job of libvirt's is under way" : "",
                             strcmp(f->control, "broken") == 0 ? ", its monitor is broken"
                             : strcmp(f->control, "busy") == 0 ? ", its monitor is busy"
                                                               : "");
        (void)printf("    QEMU      %s", diagnose_qemu_name(f->qemu));
        if (f->qemu_pid > 0 && f->qemu_pid != CHECK_NUMBER_UNKNOWN)
                (void)printf(", process %llu", (unsigned long long)f->qemu_pid);
        (void)putchar('\n');
}

static void show_facts(const char *which, const DiagnoseFacts *f) {
        (void)printf("  %s (%s)\n    shim      %s", which, f->host, diagnose_shim_name(f->shim));
        if (f->shim_pid > 0 && f->shim_pid != CHECK_NUMBER_UNKNOWN)
                (void)printf(", process %llu", (unsigned long long)f->shim_pid);
        (void)printf("%s%s\n", f->shim_error[0] ? ": " : "", f->shim_error);
        show_machine(f);
        if (f->session_state[0] && strcmp(f->session_state, "idle") != 0)
                (void)printf("    session   %s of a migration: %s, driver %s%s%s\n", f->side,
                             f->session_state, f->driver, f->session_error[0] ? ": " : "",
                             f->session_error);
        if (f->journal_error[0])
                (void)printf("    journal   %s\n", f->journal_error);
        else if (f->journal != JOURNAL_NONE)
                (void)printf("    journal   %s, epoch %llu, session %s\n",
                             journal_kind_name(f->journal), (unsigned long long)f->epoch,
                             f->session);
        else
                (void)printf("    journal   empty: no migration\n");
        if (f->incomplete > 0 && f->incomplete != CHECK_NUMBER_UNKNOWN)
                (void)printf("    disks     %llu half-copied\n", (unsigned long long)f->incomplete);
        for (size_t i = 0; i < f->n_log; i++)
                (void)printf("    log       %s\n", f->log[i].text);
}

static void show_treatment(const Case *c, const Treatment *t) {
        if (!t)
                return;
        if (!t->tried)
                (void)printf("  not done  %s\n",
                             c->diagnosis.action == DIAGNOSE_ADOPT_TO
                                     ? "that takes the other host: say which, with --to"
                             : c->diagnosis.action == DIAGNOSE_NOTHING
                                     ? "there is nothing here that is surely safe"
                                     : "it is to be done on the other host");
        else if (t->r < 0)
                (void)printf("  failed    %s: %s\n", t->tried, error_text(t->error, t->r));
        else
                (void)printf("  done      %s (it was: %s)\n", t->tried, t->code);
}

void doctor_show(const Doctor *d, const Case *c, const Treatment *t, bool detail) {
        const Diagnosis *g = &c->diagnosis;
        char command[512];

        (void)printf("%-20s %-13s %-19s %s%s\n", c->pod, diagnose_severity_name(g->severity),
                     g->code, g->there ? "on the other host: " : "", g->says);
        if (detail || g->severity > DIAGNOSE_ADVISES) {
                show_facts("this host", c->here);
                if (c->there)
                        show_facts("other host", c->there);
        }
        if (c->there_error.text[0])
                (void)printf("  other host: %s\n", c->there_error.text);
        show_treatment(c, t);
        doctor_command(d, c, command, sizeof(command));
        if (command[0])
                (void)printf("  do        %s%s%s%s%s\n",
                             g->there && g->action != DIAGNOSE_ADOPT_TO ? "on the other host: "
                                                                        : "",
                             command, deed(g->action)[0] ? " (" : "", deed(g->action),
                             deed(g->action)[0] ? ")" : "");
        else if (g->mend[0])
                (void)printf("  do        %s\n", g->mend);
}

/* -- for programs -- */

static int add_action(json_object *o, const Doctor *d, const Case *c) {
        _cleanup_json_ json_object *action = json_object_new_object();
        char command[512];

        doctor_command(d, c, command, sizeof(command));
        if (!action ||
            json_add_string(action, "kind", diagnose_action_name(c->diagnosis.action)) < 0 ||
            json_add_string(action, "command", command) < 0 ||
            json_add(action, "by_fix",
                     json_object_new_boolean(diagnose_may_fix(&c->diagnosis, d->to))) < 0)
                return -ENOMEM;
        return json_add(o, "action", TAKE(action));
}

static int add_treatment(json_object *o, const Treatment *t) {
        _cleanup_json_ json_object *treatment = json_object_new_object();

        if (!t || !t->tried)
                return 0;
        if (!treatment || json_add_string(treatment, "code", t->code) < 0 ||
            json_add_string(treatment, "action", t->tried) < 0 ||
            json_add_string(treatment, "error", t->r < 0 ? error_text(t->error, t->r) : "") < 0)
                return -ENOMEM;
        return json_add(o, "fixed", TAKE(treatment));
}

static int add_matrix(json_object *o, const Case *c) {
        _cleanup_json_ json_object *matrix = json_object_new_object();
        MigrationDecision m;

        if (!diagnose_matrix(c->here, c->there, &m))
                return 0;
        if (!matrix || json_add_string(matrix, "verdict", migration_verdict_name(m.verdict)) < 0 ||
            json_add_string(matrix, "action", migration_action_name(m.action)) < 0)
                return -ENOMEM;
        return json_add(o, "matrix", TAKE(matrix));
}

int doctor_show_json(const Doctor *d, const Case *c, const Treatment *t, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        const Diagnosis *g = &c->diagnosis;

        if (!o || json_add_string(o, "pod", c->pod) < 0 ||
            json_add_string(o, "code", g->code) < 0 ||
            json_add_string(o, "severity", diagnose_severity_name(g->severity)) < 0 ||
            json_add_string(o, "host", g->there ? "other" : "this") < 0 ||
            json_add_string(o, "row", g->row) < 0 || json_add_string(o, "text", g->says) < 0 ||
            json_add_string(o, "mend", g->mend) < 0 || add_action(o, d, c) < 0 ||
            add_treatment(o, t) < 0 || add_matrix(o, c) < 0 ||
            json_add(o, "here", json_object_get(c->here->document)) < 0 ||
            (c->there && json_add(o, "there", json_object_get(c->there->document)) < 0) ||
            (c->there_error.text[0] && json_add_string(o, "there_error", c->there_error.text) < 0))
                return error_oom(reterr);
        json_print(o, false);
        return 0;
}
