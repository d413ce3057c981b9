/* SPDX-License-Identifier: Apache-2.0 */
/* Where pods are: one `podferry ps --json` a host answers for all that ask at that time. An answer
 * counts only if it was asked for after the question arose. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "shim/ctl/json.h"
#include "shim/plan/plan-driver.h"

#define DEADLINE_MS 60000U

static unsigned hosts_of(const PlanEntry *e, unsigned ret[static 1 + PLAN_TO_MAX]) {
        ret[0] = e->from;
        for (unsigned i = 0; i < e->n_to; i++)
                ret[1 + i] = e->to[i];
        return 1 + e->n_to;
}

/* One pod, as its shim's dump, or the error of asking it, says. */
static PlanFact fact_of(json_object *dump) {
        json_object *migration = json_get(dump, "migration");

        if (json_get(dump, "error"))
                return PLAN_FACT_DEAD;
        if (strcmp(json_get_text(dump, "state"), "stopped") == 0) /* it has no shim */
                return PLAN_FACT_HERE;
        if (!json_get(dump, "tree")) /* it begins or ends, or was given away */
                return PLAN_FACT_BUSY;
        return migration && strcmp(json_get_text(migration, "state"), "idle") != 0 ? PLAN_FACT_BUSY
                                                                                   : PLAN_FACT_HERE;
}

static void on_line(void *userdata, const char *line, size_t n) {
        _cleanup_json_ json_object *o = NULL;
        PlanLook *l = userdata;
        PlanEngine *g = &l->driver->run->engine;

        if (json_read(line, n, &o, NULL) < 0)
                return;
        for (size_t i = 0; i < g->n_entries; i++)
                if (strcmp(g->entries[i].pod->pod, json_get_text(o, "pod")) == 0)
                        l->facts[i] = fact_of(o);
}

static void describe(PlanDriver *d, const PlanJob *j, PlanVerdict v, char *ret, size_t size) {
        static const char *const words[_PLAN_FACT_MAX] = {
                [PLAN_FACT_SILENT] = "does not answer",
                [PLAN_FACT_NONE] = "does not have it",
                [PLAN_FACT_HERE] = "has it",
                [PLAN_FACT_BUSY] = "has it in a migration",
                [PLAN_FACT_DEAD] = "has it, but its shim has died",
        };
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        unsigned hosts[1 + PLAN_TO_MAX], n = hosts_of(e, hosts);
        size_t used = 0;

        ret[0] = '\0';
        if (v == PLAN_STAYED || v == PLAN_ARRIVED)
                return;
        for (unsigned i = 0; i < n && used < size; i++)
                used += (size_t)snprintf(ret + used, size - used, "%s%.60s %s", i > 0 ? ", " : "",
                                         d->run->plan.hosts[hosts[i]].name, words[j->facts[i]]);
}

static void answer(PlanDriver *d, PlanJob *j) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        unsigned hosts[1 + PLAN_TO_MAX], n = hosts_of(e, hosts);
        bool busy = false;
        char reason[280];
        PlanVerdict v;
        size_t at;

        for (unsigned i = 0; i < n; i++) {
                if (j->need[i] > 0)
                        return;
                busy |= j->facts[i] == PLAN_FACT_BUSY;
        }
        for (unsigned i = 0; i < n; i++)
                busy &= j->facts[i] != PLAN_FACT_DEAD;
        j->checking = false;
        v = plan_decide(j->facts, n, &at);
        describe(d, j, v, reason, sizeof(reason));
        plan_driver_tell(d, j->entry,
                         &(PlanEvent){ .kind = PLAN_EVENT_FACTS,
                                       .verdict = v,
                                       .busy = busy,
                                       .host = hosts[at],
                                       .reason = reason });
}

/* Gives what this look found to all that wait for it or an earlier one. */
static void spread(PlanLook *l, bool silent) {
        PlanDriver *d = l->driver;

        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                unsigned hosts[1 + PLAN_TO_MAX], n = hosts_of(&d->run->engine.entries[i], hosts);
                PlanJob *j = &d->jobs[i];

                for (unsigned k = 0; j->checking && k < n; k++)
                        if (hosts[k] == l->host && j->need[k] > 0 && j->need[k] <= l->started) {
                                j->facts[k] = silent ? PLAN_FACT_SILENT : l->facts[i];
                                j->need[k] = 0;
                        }
                if (j->checking)
                        answer(d, j);
        }
}

static void on_end(void *userdata, int status, const Error *why) {
        PlanLook *l = userdata;

        if (status != 0)
                plan_show_note(l->driver->show, NULL, "%.80s: %s",
                               l->driver->run->plan.hosts[l->host].name, error_text(why, -EIO));
        spread(l, status != 0);
        plan_driver_pump(l->driver);
}

static bool is_wanted(const PlanDriver *d, const PlanLook *l) {
        for (unsigned i = 0; i < d->run->engine.n_entries; i++) {
                unsigned hosts[1 + PLAN_TO_MAX], n = hosts_of(&d->run->engine.entries[i], hosts);

                for (unsigned k = 0; d->jobs[i].checking && k < n; k++)
                        if (hosts[k] == l->host && d->jobs[i].need[k] > l->started)
                                return true;
        }
        return false;
}

static int start_one(PlanDriver *d, PlanLook *l, Error *reterr) {
        static const char *const args[] = { "ps", "--json", NULL };
        _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (null < 0)
                return error_setf(reterr, -errno, "/dev/null: %m");
        for (size_t i = 0; i < d->run->engine.n_entries; i++)
                l->facts[i] = PLAN_FACT_NONE;
        return plan_child_start(&l->child, d->event, &l->remote, args, null, DEADLINE_MS, reterr);
}

void plan_looks_start(PlanDriver *d) {
        for (size_t i = 0; i < d->run->plan.n_hosts; i++) {
                PlanLook *l = &d->looks[i];
                Error e = ERROR_INIT;
                int r;

                if (l->child.pid > 0 || !is_wanted(d, l))
                        continue;
                l->started++;
                r = start_one(d, l, &e);
                if (r < 0) {
                        plan_show_note(d->show, NULL, "%.80s: %s", d->run->plan.hosts[i].name,
                                       error_text(&e, r));
                        spread(l, true);
                }
        }
}

void plan_looks_want(PlanDriver *d, PlanJob *j) {
        unsigned hosts[1 + PLAN_TO_MAX];
        unsigned n = hosts_of(&d->run->engine.entries[j->entry], hosts);

        for (unsigned i = 0; i < n; i++)
                j->need[i] = d->looks[hosts[i]].started + 1; /* one that has not begun yet */
        j->checking = true;
}

int plan_looks_init(PlanDriver *d, Error *reterr) {
        const Plan *p = &d->run->plan;

        d->looks = calloc(p->n_hosts, sizeof(*d->looks));
        if (!d->looks)
                return error_oom(reterr);
        for (size_t i = 0; i < p->n_hosts; i++) {
                PlanLook *l = &d->looks[i];
                int r;

                if (p->hosts[i].here && d->run->foreign && !p->hosts[i].at)
                        return error_setf(reterr, -EINVAL,
                                          "host %.80s is \"here\" for the machine %.*s, where this "
                                          "run was begun, and has no \"at\" by which others reach "
                                          "it: go on with it there",
                                          p->hosts[i].name, (int)strcspn(d->run->node, " "),
                                          d->run->node);
                l->driver = d;
                l->host = (unsigned)i;
                l->child = (PlanChild){ .on_line = on_line, .on_end = on_end, .userdata = l };
                l->facts = calloc(d->run->engine.n_entries + 1, sizeof(*l->facts));
                if (!l->facts)
                        return error_oom(reterr);
                r = p->hosts[i].here && !d->run->foreign
                            ? remote_here(&l->remote, reterr)
                            : remote_parse(p->hosts[i].at, p->hosts[i].program, NULL, &l->remote,
                                           reterr);
                if (r == 0)
                        r = remote_ask_nothing(&l->remote, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "host %.80s", p->hosts[i].name);
        }
        return 0;
}

void plan_looks_done(PlanDriver *d) {
        for (size_t i = 0; d->looks && i < d->run->plan.n_hosts; i++) {
                plan_child_done(&d->looks[i].child);
                remote_done(&d->looks[i].remote);
                free(d->looks[i].facts);
        }
        free(d->looks);
}
