/* SPDX-License-Identifier: Apache-2.0 */
/* podferry check for a cold move. The steps "preflight", "connect" and "offer" are the check: here
 * they only look, on both hosts, and go on where the move would end. */
#include <string.h>

#include "shim/ctl/cold-check.h"
#include "shim/ctl/migrate-cold.h"

int cold_heed(Mover *m, const char *code, int r, Error *reterr) {
        char host[64] = "";

        if (r >= 0 || r == -ENOMEM || !m->checking)
                return r;
        (void)gethostname(host, sizeof(host) - 1);
        if (cold_finding(m->report, code, false, host, error_text(reterr, r)) < 0)
                return error_oom(reterr);
        *reterr = ERROR_INIT;
        return 0;
}

static int begin_report(Mover *m, Error *reterr) {
        m->report = json_object_new_object();
        return !m->report || json_add_string(m->report, "type", "cold") < 0 ||
                               json_add(m->report, "more", json_object_new_boolean(false)) < 0 ||
                               json_add(m->report, "findings", json_object_new_array()) < 0
                       ? error_oom(reterr)
                       : 0;
}

/* What the other host says; one that cannot be asked is a finding like any other. */
static int ask_there(Mover *m, bool *ret_answered, Error *reterr) {
        Error e = ERROR_INIT;
        int r = cold_connect(m, &e);

        if (r == 0)
                r = cold_ask_check(m, &e);
        *ret_answered = r == 0;
        if (r == 0)
                return 0;
        if (r == -ENOMEM || mover_interrupted(m, NULL) < 0)
                return error_setf(reterr, r, "%s", error_text(&e, r));
        return cold_finding(m->report, "destination-unreachable", true, m->remote.name,
                            error_text(&e, r)) < 0
                       ? error_oom(reterr)
                       : 0;
}

static const char given_text[] = "an attempt before has given the pod away already";

int mover_check_cold(Mover *m, Error *reterr) {
        bool answered = false;
        Cold *c;
        int r;

        if (m->forecast)
                return error_setf(reterr, -EINVAL, "--forecast is for a live move");
        m->checking = true;
        r = begin_report(m, reterr);
        if (r == 0)
                r = cold_look(m, reterr);
        if (r < 0)
                return r;
        c = m->cold;
        offline_unlock(&c->lock); /* nobody is kept from starting it by a question */
        if (c->resumed)
                r = cold_finding(m->report, "given-away", false, "", given_text);
        else if (c->planned)
                r = ask_there(m, &answered, reterr);
        if (r == 0)
                r = cold_report_end(m->report, answered);
        return r == -ENOMEM ? error_oom(reterr) : r;
}
