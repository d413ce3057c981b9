/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's actions do for one pod: its lock, its move, its adoption. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "controllers/ids.h"
#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"
#include "shim/plan/plan-driver.h"

/* -- the lock -- */

/* Whether the store may let somebody else have it: not while a move of it may run that nobody has
 * confirmed the end of. */
int plan_job_release(PlanJob *j, Error *reterr) {
        const PlanEntry *e = &j->driver->run->engine.entries[j->entry];

        j->checking = false;
        return plan_store_unlock(j->driver->store, &j->lock,
                                 e->doubt || e->fsm.state == PLAN_UNKNOWN, reterr);
}

/* Once for each that has it. */
static void tell_holder(PlanDriver *d, PlanJob *j, const char *pod) {
        if (!j->lock.holder[0] || strcmp(j->told, j->lock.holder) == 0)
                return;
        (void)snprintf(j->told, sizeof(j->told), "%s", j->lock.holder);
        plan_show_note(d->show, pod, "waits: %s has it", j->told);
}

/* The store has failed us, and the pod's lock with it: nothing can be begun, or found out, here. */
static int give_up(PlanDriver *d, PlanJob *j, Error *reterr) {
        PlanEntry *e = &d->run->engine.entries[j->entry];

        if (e->doubt)
                e->asks = UINT16_MAX;
        return error_setf(reterr, d->failed, "%s", d->error.text);
}

void plan_job_check(PlanDriver *d, PlanJob *j) {
        const char *pod = d->run->engine.entries[j->entry].pod->pod;
        Error e = ERROR_INIT;
        int r = 0;

        if (d->failed < 0 && plan_store_is_shared(d->store) && !j->lock.shared)
                r = give_up(d, j, &e);
        else
                r = plan_store_lock(d->store, &j->lock, pod, &e);
        if (r == -EAGAIN) {
                j->check_later = true;
                plan_driver_lost(d, &e);
        } else if (r == 1) {
                tell_holder(d, j, pod);
                plan_driver_tell(d, j->entry, &(PlanEvent){ .kind = PLAN_EVENT_HELD });
        } else if (r < 0)
                plan_driver_tell(d, j->entry,
                                 &(PlanEvent){ .kind = PLAN_EVENT_FACTS,
                                               .verdict = PLAN_UNREACHED,
                                               .reason = error_text(&e, r) });
        else
                plan_looks_want(d, j);
}

/* -- the commands -- */

static int add(char ***words, const char *a, const char *b) {
        return words_add(words, a) < 0 || (b && words_add(words, b) < 0) ? -ENOMEM : 0;
}

/* undo: from where its disks have the names of the map to where they had their own. */
static int add_disk(char ***words, const char *path, const PlanHost *mapped, bool undo) {
        _cleanup_free_ char *there = NULL, *word = NULL;

        if (plan_map_disk(mapped, path, &there) < 0)
                return -ENOMEM;
        if (!there) /* the plan was refused, unless that host's map is not asked for */
                return 0;
        if (asprintf(&word, "%s=%s", undo ? there : path, undo ? path : there) < 0) {
                word = NULL;
                return -ENOMEM;
        }
        return add(words, "--disk", word);
}

static int add_maps(char ***words, const PlanPod *p, const PlanHost *from, const PlanHost *to,
                    bool undo) {
        const char *network = p->network ? plan_map_network(to, p->network) : NULL;

        if (network && add(words, "--net", network) < 0)
                return -ENOMEM;
        for (size_t i = 0; p->disks && p->disks[i]; i++)
                if (add_disk(words, p->disks[i], undo ? from : to, undo) < 0)
                        return -ENOMEM;
        return 0;
}

/* What the plan's own queue lets begin may still have to wait for the moves of others. */
static int add_limits(char ***words, const PlanHost *from, const PlanHost *to) {
        char out[16], in[16];

        (void)snprintf(out, sizeof(out), "%u", from->out);
        (void)snprintf(in, sizeof(in), "%u", to->in);
        return add(words, "--out", out) < 0 || add(words, "--in", in) < 0 ? -ENOMEM : 0;
}

/* Copies of one plan begin together: how many there are at once is for its limits to say. A plan
 * that other machines do not see has its name on this one only. */
static int add_set(char ***words, const PlanDriver *d) {
        char word[5 + ID_MAX + 1] = "with:", node[HOST_NAME_MAX + 1] = "";
        int n;

        if (!plan_store_is_shared(d->store) && gethostname(node, sizeof(node) - 1) < 0)
                node[0] = '\0';
        n = snprintf(word, sizeof(word), "with:%s%s%s", d->run->plan.name, node[0] ? "." : "",
                     node);
        if (n >= (int)sizeof(word) || id_check("set", word + 5, NULL) < 0)
                (void)snprintf(word, sizeof(word), "with:%s", d->run->plan.name);
        return add(words, "--copies", word);
}

static int make_move(const PlanDriver *d, const PlanPod *p, const PlanHost *from,
                     const PlanHost *to, char ***ret) {
        _cleanup_(words_freep) char **words = NULL;

        if (add(&words, p->way->command, p->pod) < 0 || add(&words, "--to", to->at) < 0 ||
            add(&words, "--progress", "json") < 0 || add_limits(&words, from, to) < 0 ||
            add_set(&words, d) < 0 || (p->way->type && add(&words, "--type", p->way->type) < 0) ||
            (to->program && add(&words, "--podferry", to->program) < 0))
                return -ENOMEM;
        for (size_t i = 0; p->options && p->options[i]; i++)
                if (words_add(&words, p->options[i]) < 0)
                        return -ENOMEM;
        if (add_maps(&words, p, from, to, d->run->rollback) < 0)
                return -ENOMEM;
        *ret = TAKE(words);
        return 0;
}

/* -- what migrate says -- */

static void tell_queue(const PlanJob *j, const char *text) {
        char clean[200];

        (void)snprintf(clean, sizeof(clean), "%s", text);
        text_clean(clean);
        plan_show_note(j->driver->show, j->driver->run->engine.entries[j->entry].pod->pod, "%s",
                       clean);
}

static void on_line(void *userdata, const char *line, size_t n) {
        _cleanup_json_ json_object *o = NULL;
        PlanJob *j = userdata;
        json_object *p;

        if (j->settling || json_read(line, n, &o, NULL) < 0)
                return;
        if (strcmp(json_get_text(o, "event"), "result") == 0) {
                (void)json_object_put(j->result);
                j->result = TAKE(o);
                return;
        }
        p = json_get(o, "progress");
        if (p) {
                j->live.percent = (unsigned)json_get_number(p, "percent");
                j->live.rate = (double)json_get_number(p, "throughput");
        }
        if (strcmp(json_get_text(o, "step"), "queue") == 0)
                tell_queue(j, json_get_text(o, "text"));
        if (*json_get_text(p ?: o, p ? "phase" : "step"))
                (void)snprintf(j->live.step, sizeof(j->live.step), "%s",
                               json_get_text(p ?: o, p ? "phase" : "step"));
        text_clean(j->live.step);
        plan_show_live(j->driver->show, j->entry);
}

static void take_figures(PlanJob *j) {
        json_object *source = json_get(json_get(j->result, "result"), "source");

        j->driver->run->figures[j->entry] =
                (PlanFigures){ .known = true,
                               .ms = clock_ms() - j->started_ms,
                               .blackout_ns = (uint64_t)json_get_number(source, "blackout_ns"),
                               .memory_bytes = (uint64_t)json_get_number(source, "memory_bytes"),
                               .disk_bytes = (uint64_t)json_get_number(source, "disk_bytes") };
}

static void on_end(void *userdata, int status, const Error *why) {
        PlanJob *j = userdata;
        json_object *result = json_get(j->result, "result");
        PlanEvent ev = { .kind = PLAN_EVENT_ENDED };
        char reason[280];

        j->live = (PlanLive){};
        ev.moved = !j->settling && status == 0 &&
                   strcmp(json_get_text(j->result, "outcome"), "moved") == 0;
        if (ev.moved)
                take_figures(j);
        else if (result && *json_get_text(result, "reason")) {
                (void)snprintf(reason, sizeof(reason), "%s: %s", json_get_text(result, "step"),
                               json_get_text(result, "reason"));
                text_clean(reason);
                ev.reason = reason;
                ev.why = plan_classify(json_get_text(result, "step"));
        } else {
                ev.reason = error_text(why, -EIO);
                /* ssh's own failure, or no podferry there: it was not even reached */
                ev.why = WIFEXITED(status) && (WEXITSTATUS(status) == 255 ||
                                               WEXITSTATUS(status) == CTL_NOT_FOUND)
                                 ? PLAN_CLASS_CONNECT
                                 : PLAN_CLASS_INTERNAL;
        }
        if (!ev.moved && WIFEXITED(status) && WEXITSTATUS(status) == CTL_INTERRUPTED)
                ev.why = PLAN_CLASS_CANCELLED;
        plan_driver_tell(j->driver, j->entry, &ev);
        (void)json_object_put(TAKE(j->result));
        plan_driver_pump(j->driver);
}

static int record_start(PlanDriver *d, const PlanJob *j, const char *event, unsigned from,
                        unsigned to) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        _cleanup_json_ json_object *o = plan_run_event(event, e);
        const Plan *p = &d->run->plan;

        if (!o || json_add_string(o, "from", p->hosts[from].name) < 0 ||
            json_add_string(o, "to", p->hosts[to].name) < 0 ||
            json_add(o, "tries", json_object_new_uint64(e->tries)) < 0)
                return plan_driver_record(d, NULL);
        return plan_driver_record(d, TAKE(o));
}

static void begin(PlanDriver *d, PlanJob *j, char **words, int r, Error *e) {
        if (r == 0) {
                j->child.on_line = on_line;
                j->child.on_end = on_end;
                j->child.userdata = j;
                j->started_ms = clock_ms();
                r = plan_child_start(&j->child, d->event, &d->looks[j->on].remote,
                                     (const char *const *)words, j->lock.file.fd, 0, e);
        }
        if (r < 0)
                plan_driver_tell(d, j->entry,
                                 &(PlanEvent){ .kind = PLAN_EVENT_ENDED,
                                               .why = PLAN_CLASS_INTERNAL,
                                               .reason = error_text(e, r) });
}

static int make_settle(const PlanPod *p, const PlanHost *other, char ***ret, Error *reterr) {
        _cleanup_(words_freep) char **words = NULL;

        if (add(&words, "adopt", p->pod) < 0 || add(&words, "--to", other->at) < 0 ||
            (other->program && add(&words, "--podferry", other->program) < 0))
                return error_oom(reterr);
        *ret = TAKE(words);
        return 0;
}

void plan_job_start(PlanDriver *d, PlanJob *j) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        const PlanHost *from = &d->run->plan.hosts[e->from];
        const PlanHost *to = &d->run->plan.hosts[e->to[e->candidate]];
        _cleanup_(words_freep) char **words = NULL;
        Error err = ERROR_INIT;
        int r;

        j->start_later = false;
        if (j->settling && !e->pod->way->repeats)
                r = make_settle(e->pod, j->on == e->from ? to : from, &words, &err);
        else
                r = make_move(d, e->pod, from, to, &words);
        begin(d, j, words, r, &err);
}

static void record_and_start(PlanDriver *d, PlanJob *j, unsigned host) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        int r = record_start(d, j, j->settling ? "settle" : "move", e->from, host);
        Error err = ERROR_INIT;

        if (!j->settling)
                j->recorded |= r >= 0;
        if (r == 0)
                plan_job_start(d, j);
        else if (r == 1)
                j->start_later = true;
        else
                begin(d, j, NULL, r, &err);
}

void plan_job_move(PlanDriver *d, PlanJob *j, unsigned host) {
        j->settling = false;
        j->on = d->run->engine.entries[j->entry].from;
        record_and_start(d, j, host);
}

/* From the side that has something of it; what only its source may go on with, from there. */
void plan_job_settle(PlanDriver *d, PlanJob *j, unsigned host) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        bool here = e->pod->way->repeats || j->facts[0] == PLAN_FACT_BUSY ||
                    j->facts[0] == PLAN_FACT_DEAD || j->facts[0] == PLAN_FACT_HERE ||
                    !d->run->plan.hosts[e->from].at;

        j->settling = true;
        j->on = here ? e->from : host;
        record_and_start(d, j, host);
}
