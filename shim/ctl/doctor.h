/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "controllers/migration/diagnose.h"
#include "hostdev/libvirt/virt-survey.h"
#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/ctl/remote.h"

/* podferry doctor, in parts. Looking changes nothing, and each look has a deadline, whatever hangs.
 *
 *      cmd-doctor.c    the command line, and the order of things
 *      doctor-look.c   what this host shows of a pod, as facts (controllers/migration/diagnose.h)
 *      doctor-other.c  the same from the other host, which is believed nothing
 *      doctor-show.c   a diagnosis, for people and for programs
 *      doctor-fix.c    the one action */
typedef struct Doctor {
        const Ctl *ctl;
        const char *to, *program, *name; /* the other host; "to" NULL: none */
        uint64_t timeout_ms;             /* for its answer */
        Remote remote;                   /* where there is one */
        VirtSurvey *survey;              /* of this host's libvirt; NULL: */
        Error trouble;                   /* why not */
} Doctor;

void doctor_done(Doctor *d);

/* Asks libvirt, once for all pods: what is looked at afterwards is as of then. */
void doctor_survey(Doctor *d);
/* Names of all that may be a pod of this host: run directories, the state directory, machines.
 * Sorted, each once; NULL-terminated. */
int doctor_pods(const Doctor *d, char ***ret, Error *reterr);
/* Facts of one pod here, as text; the caller owns it. */
int doctor_look(const Doctor *d, const char *pod, char **ret, Error *reterr);
/* Facts of the pod on the other host. -ETIMEDOUT, -EBADMSG and others, with what it said. */
int doctor_look_there(const Doctor *d, const char *pod, DiagnoseFacts **ret, Error *reterr);

/* What is known of a pod, and what that means. */
typedef struct Case {
        const char *pod;
        DiagnoseFacts *here, *there; /* there: NULL, also if it was asked in vain */
        Error there_error;
        Diagnosis diagnosis;
} Case;

void case_done(Case *c);
/* -ENOENT: neither host that was asked has anything of it. */
int doctor_examine(Doctor *d, const char *pod, Case *ret, Error *reterr);

/* Does what the diagnosis proposes (diagnose_may_fix()). Looks again where nobody may come between.
 * -EBADFD: it is not so any more, nothing was done. */
int doctor_fix(Doctor *d, const Case *c, Error *reterr);
/* The command line that does the same, or "". */
void doctor_command(const Doctor *d, const Case *c, char *ret, size_t size);

/* What was tried and what came of it; `tried` NULL: nothing was. */
typedef struct Treatment {
        const char *code, *tried;
        int r;
        const Error *error;
} Treatment;

void doctor_show(const Doctor *d, const Case *c, const Treatment *t, bool detail);
int doctor_show_json(const Doctor *d, const Case *c, const Treatment *t, Error *reterr);
