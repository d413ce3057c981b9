/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's actions do for one pod: its lock, its move, its adoption. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/clock.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"
#include "shim/plan/plan-driver.h"

/* -- the lock -- */

static void close_lock(PlanDriver *d, PlanJob *j) {
        if (j->watch >= 0)
                (void)inotify_rm_watch(d->inotify_fd, j->watch);
        j->watch = -1;
        j->try_fd = close_fd(j->try_fd);
}

/* Told when whoever has it closes it, which is when the last of their commands has ended. The
 * descriptor stays open meanwhile: our own closing would be told, too. */
static int watch_lock(PlanDriver *d, PlanJob *j) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", j->try_fd);
        j->watch = inotify_add_watch(d->inotify_fd, path, IN_CLOSE);
        return j->watch < 0 ? -errno : 0;
}

/* As files_lock() does it, which says nothing of when to try again. 1: another one has it, and we
 * are told when that changes. */
static int lock_pod(PlanDriver *d, PlanJob *j, const char *pod, Error *reterr) {
        struct stat ours, theirs;
        bool watched = j->watch >= 0;

        for (;;) {
                if (j->try_fd < 0)
                        j->try_fd = openat(d->store->locks_fd, pod,
                                           O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (j->try_fd < 0)
                        return error_setf(reterr, -errno, "lock of %s: %m", pod);
                if (flock(j->try_fd, LOCK_EX | LOCK_NB) < 0) {
                        int r = errno == EWOULDBLOCK ? 0 : -errno;

                        if (r == 0 && watched)
                                return 1;
                        if (r == 0)
                                r = watch_lock(d, j);
                        watched = r == 0; /* and look again, now that we would be told */
                        if (r < 0)
                                return error_setf(reterr, r, "lock of %s: %s", pod,
                                                  strerrordesc_np(-r));
                        continue;
                }
                /* The one who had it may have removed the file: then this lock is nobody's. */
                if (fstat(j->try_fd, &ours) == 0 &&
                    fstatat(d->store->locks_fd, pod, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
                    ours.st_ino == theirs.st_ino)
                        break;
                close_lock(d, j);
                watched = false;
        }
        j->lock.dir_fd = d->store->locks_fd;
        (void)snprintf(j->lock.name, sizeof(j->lock.name), "%s", pod);
        j->lock.fd = TAKE_FD(j->try_fd);
        close_lock(d, j);
        return 0;
}

void plan_job_release(PlanJob *j) {
        files_unlock(&j->lock);
        j->lock = FILE_LOCK_INIT;
        j->checking = false;
        close_lock(j->driver, j);
}

void plan_job_check(PlanDriver *d, PlanJob *j) {
        const char *pod = d->run->engine.entries[j->entry].pod->pod;
        Error e = ERROR_INIT;
        int r = 0;

        if (j->lock.fd < 0)
                r = lock_pod(d, j, pod, &e);
        if (r == 1)
                plan_driver_tell(d, j->entry, &(PlanEvent){ .kind = PLAN_EVENT_HELD });
        else if (r < 0)
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

static int make_move(const PlanPod *p, const PlanHost *from, const PlanHost *to, bool undo,
                     char ***ret) {
        _cleanup_(words_freep) char **words = NULL;

        if (add(&words, p->way->command, p->pod) < 0 || add(&words, "--to", to->at) < 0 ||
            add(&words, "--progress", "json") < 0 ||
            (to->program && add(&words, "--podferry", to->program) < 0))
                return -ENOMEM;
        for (size_t i = 0; p->options && p->options[i]; i++)
                if (words_add(&words, p->options[i]) < 0)
                        return -ENOMEM;
        if (add_maps(&words, p, from, to, undo) < 0)
                return -ENOMEM;
        *ret = TAKE(words);
        return 0;
}

/* -- what migrate says -- */

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

static void begin(PlanDriver *d, PlanJob *j, unsigned on, char **words, int r, Error *e) {
        if (r == 0) {
                j->child.on_line = on_line;
                j->child.on_end = on_end;
                j->child.userdata = j;
                j->started_ms = clock_ms();
                r = plan_child_start(&j->child, d->event, &d->looks[on].remote,
                                     (const char *const *)words, j->lock.fd, 0, e);
        }
        if (r < 0)
                plan_driver_tell(d, j->entry,
                                 &(PlanEvent){ .kind = PLAN_EVENT_ENDED,
                                               .why = PLAN_CLASS_INTERNAL,
                                               .reason = error_text(e, r) });
}

void plan_job_move(PlanDriver *d, PlanJob *j, unsigned host) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        _cleanup_(words_freep) char **words = NULL;
        Error err = ERROR_INIT;
        int r;

        j->settling = false;
        r = make_move(e->pod, &d->run->plan.hosts[e->from], &d->run->plan.hosts[host],
                      d->run->rollback, &words);
        if (r == 0)
                r = record_start(d, j, "move", e->from, host);
        j->recorded |= r == 0;
        begin(d, j, e->from, words, r, &err);
}

/* From the side that has something of it. */
void plan_job_settle(PlanDriver *d, PlanJob *j, unsigned host) {
        const PlanEntry *e = &d->run->engine.entries[j->entry];
        bool here = j->facts[0] == PLAN_FACT_BUSY || j->facts[0] == PLAN_FACT_DEAD ||
                    j->facts[0] == PLAN_FACT_HERE || !d->run->plan.hosts[e->from].at;
        const PlanHost *other = &d->run->plan.hosts[here ? host : e->from];
        _cleanup_(words_freep) char **words = NULL;
        Error err = ERROR_INIT;
        int r = 0;

        j->settling = true;
        if (add(&words, "adopt", e->pod->pod) < 0 || add(&words, "--to", other->at) < 0 ||
            (other->program && add(&words, "--podferry", other->program) < 0))
                r = error_oom(&err);
        if (r == 0)
                r = record_start(d, j, "settle", e->from, host);
        begin(d, j, here ? e->from : host, words, r, &err);
}
