/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a cold move at the destination. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hostdev/disk/content.h"
#include "lib/clock.h"
#include "shim/ctl/cold-check.h"
#include "shim/ctl/migrate-warm.h"
#include "shim/ctl/values.h"
#include "shim/volume-check.h"

#define COMMIT_TRIES 3U
#define SHOW_MS      250U

int cold_connect(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *answer = NULL;
        Cold *c = m->cold;
        int r;

        r = cold_link_open(&c->link, m, reterr);
        if (r == 0)
                r = cold_ask(&c->link, "hello", NULL, &answer, reterr);
        if (r < 0)
                return r;
        (void)snprintf(c->host, sizeof(c->host), "%.63s", json_get_text(answer, "host"));
        (void)snprintf(c->there, sizeof(c->there), "%.15s", json_get_text(answer, "state"));
        c->shim_there = json_object_get_boolean(json_get(answer, "shim"));
        c->join_there = json_object_get_boolean(json_get(answer, "join"));
        text_clean(c->host);
        mover_hooks_learn(&m->hooks, json_get(answer, "hooks"), c->host);
        text_clean(c->there);
        return 0;
}

/* As it is, or once more: what was said before does not count. */
static int connect_again(Mover *m, Error *reterr) {
        const ColdLink *l = &m->cold->link;

        return l->fd >= 0 && !l->broken && !l->refused ? 0 : cold_connect(m, reterr);
}

static bool is_there(const Cold *c, OfflineState s) {
        return strcmp(c->there, offline_state_name(s)) == 0;
}

/* An earlier attempt has given the pod away: the other host has it, or can have it, or has given it
 * back. */
int cold_resume(Mover *m, Error *reterr) {
        Cold *c = m->cold;

        c->runs = c->shim_there && is_there(c, OFFLINE_OWNED);
        if (is_there(c, OFFLINE_OWNED) || is_there(c, OFFLINE_READY))
                return 0;
        if (is_there(c, OFFLINE_RETURNED)) {
                int r = cold_take_back(m, reterr);

                if (r == 0)
                        r = cold_withdraw(m, reterr);
                return r < 0 ? r
                             : error_setf(reterr, -EBADFD,
                                          "the other host has given it back, which was not "
                                          "finished; it is now");
        }
        return error_setf(reterr, -EBADFD,
                          "pod %s was given to that host, which does not know it (any more): if it "
                          "neither ran there nor went on from there, remove %s/outgoing here, and "
                          "it is this host's again",
                          m->pod, c->state);
}

/* -- offer -- */

static int make_tokens(Mover *m, Error *reterr) {
        ColdPlan *p = &m->cold->plan;

        for (size_t i = 0; i < p->n_disks; i++) {
                int r = p->disks[i].plan == STORAGE_PLAN_SHARED
                                ? disk_token_make(p->disks[i].spec->disk.host_path, m->session,
                                                  (uint32_t)i, TOKEN_SOURCE, p->disks[i].token,
                                                  reterr)
                                : 0;

                if (r < 0)
                        return r;
        }
        return 0;
}

static void remove_tokens(const Mover *m) {
        const ColdPlan *p = &m->cold->plan;

        for (size_t i = 0; i < p->n_disks; i++)
                if (p->disks[i].plan == STORAGE_PLAN_SHARED)
                        disk_token_remove(p->disks[i].spec->disk.host_path, m->session, (uint32_t)i,
                                          TOKEN_SOURCE);
}

static json_object *disk_json(const ColdDisk *d) {
        _cleanup_json_ json_object *o = json_object_new_object();

        return !o || json_add_string(o, "plan", storage_plan_name(d->plan)) < 0 ||
                               json_add_string(o, "there", d->there) < 0 ||
                               json_add_string(o, "token", d->token) < 0 ||
                               json_add(o, "bytes", json_object_new_uint64(d->bytes)) < 0 ||
                               json_add(o, "data", json_object_new_uint64(d->data)) < 0
                       ? NULL
                       : TAKE(o);
}

static int offer_json(const Mover *m, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *disks = json_object_new_array();
        const ColdPlan *p = &m->cold->plan;
        Definition d = p->definition;
        _cleanup_free_ char *network = NULL;

        if (m->network && asprintf(&network, "ns:%s", m->network) < 0)
                network = NULL;
        if (!o || json_add(o, "disks", disks) < 0 || (m->network && !network))
                return error_oom(reterr);
        d.network = network ?: d.network;
        if (json_add_string(o, "pod", m->pod) < 0 ||
            json_add_string(o, "storage", cold_wish_name(m->cold->storage)) < 0 ||
            json_add(o, "definition", cold_definition_json(&d)) < 0)
                return error_oom(reterr);
        for (size_t i = 0; i < p->n_disks; i++)
                if (json_append(disks, disk_json(&p->disks[i])) < 0)
                        return error_oom(reterr);
        *ret = TAKE(o);
        return 0;
}

/* While the other host takes its own. */
static int take_digests(const Mover *m, Error *reterr) {
        ColdPlan *p = &m->cold->plan;
        atomic_bool stop = false;
        int r = 0;

        for (size_t i = 0; r == 0 && i < p->n_disks; i++)
                if (p->disks[i].plan == STORAGE_PLAN_SAME && p->disks[i].same_as == SIZE_MAX)
                        r = disk_content_digest(
                                p->disks[i].spec->disk.host_path, p->disks[i].spec->disk.format,
                                m->ctl->config.backing_dir, &stop, p->disks[i].digest, reterr);
        return r;
}

static int compare_disk(const Mover *m, const ColdDisk *d, uint32_t slot, json_object *o,
                        Error *reterr) {
        const char *path = d->spec->disk.host_path;

        if (d->same_as != SIZE_MAX)
                return 0;
        if (d->plan == STORAGE_PLAN_SHARED)
                return disk_token_check(path, m->session, slot, TOKEN_DESTINATION,
                                        json_get_text(o, "token"), reterr);
        if (d->plan == STORAGE_PLAN_SAME && strcmp(d->digest, json_get_text(o, "digest")) != 0)
                return error_setf(reterr, -EREMOTE,
                                  "%s: it is read-only and not copied, but it is not the same on "
                                  "both hosts",
                                  path);
        return 0;
}

static int take_answer(Mover *m, json_object *answer, Error *reterr) {
        json_object *disks = json_get_array(answer, "disks"),
                    *missing = json_get_array(answer, "missing"), *v;
        const ColdPlan *p = &m->cold->plan;

        if (!disks || json_object_array_length(disks) != p->n_disks)
                return error_setf(reterr, -EBADMSG, "destination: no answer to the offer");
        for (JSON_EACH(i, missing, v))
                if (json_object_is_type(v, json_type_string) &&
                    words_add(&m->cold->missing, json_object_get_string(v)) < 0)
                        return error_oom(reterr);
        for (size_t i = 0; i < p->n_disks; i++) {
                int r = compare_disk(m, &p->disks[i], (uint32_t)i,
                                     json_object_array_get_idx(disks, i), reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}

int cold_offer(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *request = NULL, *answer = NULL;
        Cold *c = m->cold;
        int r;

        r = cold_record(m, OFFLINE_OFFERED, reterr);
        if (r == 0)
                r = make_tokens(m, reterr);
        if (r == 0)
                r = offer_json(m, &request, reterr);
        if (r < 0)
                return r;
        c->offered = true;
        r = cold_say(&c->link, "offer", TAKE(request), reterr);
        if (r == 0)
                r = take_digests(m, reterr);
        if (r == 0)
                r = cold_hear(&c->link, &answer, reterr);
        if (r == 0)
                r = take_answer(m, answer, reterr);
        remove_tokens(m);
        return r;
}

/* -- the same, as a question -- */

/* A source that has no token, and why. */
static int note_tokens(Mover *m, Error *reterr) {
        ColdPlan *p = &m->cold->plan;
        int r = 0;

        for (size_t i = 0; r == 0 && i < p->n_disks; i++)
                if (p->disks[i].plan == STORAGE_PLAN_SHARED)
                        r = cold_heed(m, "storage-not-shared",
                                      disk_token_make(p->disks[i].spec->disk.host_path, m->session,
                                                      (uint32_t)i, TOKEN_SOURCE, p->disks[i].token,
                                                      reterr),
                                      reterr);
        return r;
}

static int note_answer(Mover *m, json_object *answer, Error *reterr) {
        json_object *found = json_get_array(answer, "findings"),
                    *disks = json_get_array(answer, "disks"),
                    *missing = json_get_array(answer, "missing"), *f;
        size_t n = missing ? json_object_array_length(missing) : 0;
        const ColdPlan *p = &m->cold->plan;
        char text[400];
        int r = 0;

        if (!found || !disks || json_object_array_length(disks) != p->n_disks ||
            json_object_array_length(found) > COLD_DISKS_MAX + cold_rules_n)
                return error_setf(reterr, -EBADMSG, "destination: no answer to the question");
        for (JSON_EACH(i, found, f))
                if (cold_finding(m->report, json_get_text(f, "code"), true, m->cold->host,
                                 json_get_text(f, "text")) < 0)
                        return error_oom(reterr);
        (void)snprintf(text, sizeof(text), "%zu image layers will be sent first", n);
        if (n > 0 && cold_finding(m->report, "layers-missing", true, m->cold->host, text) < 0)
                return error_oom(reterr);
        if (json_get(answer, "wait")) {
                cold_describe_wait(m, json_get(answer, "wait"), text, sizeof(text));
                if (cold_finding(m->report, "copies-wait", true, m->cold->host, text) < 0)
                        return error_oom(reterr);
        }
        for (size_t i = 0; r == 0 && i < p->n_disks; i++) {
                json_object *o = json_object_array_get_idx(disks, i);

                /* The other host has seen ours; without its own it has said why. */
                if (p->disks[i].plan == STORAGE_PLAN_SHARED && json_get_text(o, "token")[0])
                        r = cold_heed(m, "storage-not-shared",
                                      compare_disk(m, &p->disks[i], (uint32_t)i, o, reterr),
                                      reterr);
        }
        return r;
}

int cold_ask_check(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *request = NULL, *answer = NULL;
        int r = note_tokens(m, reterr);

        if (r == 0)
                r = offer_json(m, &request, reterr);
        if (r == 0)
                r = cold_ask(&m->cold->link, "check", TAKE(request), &answer, reterr);
        if (r == 0)
                r = note_answer(m, answer, reterr);
        remove_tokens(m);
        return r;
}

/* The way back of an offer. If the other host cannot be asked, the record stays: the next attempt
 * goes on under its name, and may replace what is over there. */
int cold_withdraw(Mover *m, Error *reterr) {
        Cold *c = m->cold;
        int r = 0;

        remove_tokens(m);
        if (c->offered) {
                r = connect_again(m, NULL);
                if (r == 0)
                        r = cold_ask(&c->link, "discard", NULL, NULL, NULL);
        }
        c->discarded = r == 0;
        if (r < 0 || c->lock.dir_fd < 0)
                return 0;
        return cold_record(m, OFFLINE_NONE, reterr);
}

int cold_layers(Mover *m, Error *reterr) {
        return mover_send_missing(m, m->cold->missing, reterr);
}

/* -- files -- */

static void show_moved(Mover *m) {
        Cold *c = m->cold;
        _cleanup_json_ json_object *o = json_object_new_object();
        json_object *disk = json_object_new_object();
        uint64_t ms = MAX_OF(clock_ms() - c->since_ms, 1ULL);

        c->shown_ms = clock_ms();
        if (!o || json_add(o, "disk", disk) < 0 || json_add_string(o, "phase", m->step) < 0 ||
            json_add(disk, "total", json_object_new_uint64(c->total)) < 0 ||
            json_add(disk, "processed", json_object_new_uint64(c->processed)) < 0 ||
            json_add(o, "throughput", json_object_new_uint64(c->processed * 1000 / ms)) < 0 ||
            json_add(o, "percent",
                     json_object_new_uint64(c->total > 0 ? c->processed * 100 / c->total : 100)) <
                    0)
                return;
        show_progress(&m->show, o);
}

void cold_on_moved(void *userdata, uint64_t n) {
        Mover *m = userdata;

        m->cold->processed = MIN_OF(m->cold->processed + n, m->cold->total);
        if (clock_ms() >= m->cold->shown_ms + SHOW_MS)
                show_moved(m);
}

int cold_check_unchanged(const Mover *m, Error *reterr) {
        _cleanup_definition_ Definition now = {};
        _cleanup_json_ json_object *a = NULL, *b = NULL;
        int r = definition_read(m->cold->state, &now, reterr);

        if (r < 0)
                return r;
        a = cold_definition_json(&now);
        b = cold_definition_json(&m->cold->plan.definition);
        if (!a || !b)
                return error_oom(reterr);
        return strcmp(json_object_to_json_string_ext(a, JSON_C_TO_STRING_PLAIN),
                      json_object_to_json_string_ext(b, JSON_C_TO_STRING_PLAIN)) == 0
                       ? 0
                       : error_setf(reterr, -EBUSY,
                                    "containers or disks of the pod were changed meanwhile: try "
                                    "again");
}

static int send_one(Mover *m, const char *path, uint64_t which, uint64_t size, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        return cold_send_file(&m->cold->link.pipe, fd, path, which,
                              size > 0 ? size : (uint64_t)st.st_size, cold_on_moved, m, reterr);
}

static int send_disks(Mover *m, uint64_t *which, Error *reterr) {
        const ColdPlan *p = &m->cold->plan;
        bool rest = warm_has_begun(m->cold);

        if (rest) {
                warm_begin_pass(m, false);
                pace_set(&m->cold->link.pace, 0, 0); /* the pod stands */
        }
        for (size_t i = 0; i < p->n_disks; i++) {
                const ScsiDiskConfig *disk = &p->disks[i].spec->disk;
                bool raw = strcmp(disk->format, "raw") == 0;
                int r;

                if (!cold_is_copy(&p->disks[i]))
                        continue;
                if (rest)
                        r = warm_send_disk(m, &p->disks[i], (*which)++, reterr);
                else
                        r = send_one(m, disk->host_path, (*which)++, raw ? p->disks[i].bytes : 0,
                                     reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_disks(Mover *m, Error *reterr) {
        const ColdPlan *p = &m->cold->plan;
        int r = 0;

        m->cold->total = m->cold->processed = 0;
        m->cold->since_ms = clock_ms();
        for (size_t i = 0; r == 0 && i < p->n_disks; i++) {
                if (!cold_is_copy(&p->disks[i]))
                        continue;
                m->cold->total += p->disks[i].data;
                if (p->disks[i].spec->disk.kind == SCSI_DISK_VOLUME)
                        r = volume_check(p->disks[i].spec, false, m->ctl->config.backing_dir,
                                         reterr);
        }
        return r;
}

/* Logs of containers that the pod has; the other host takes no others. */
static int list_logs(const Mover *m, json_object *list, Error *reterr) {
        static const char *const ends[] = { ".log", ".log.1" };
        const Definition *d = &m->cold->plan.definition;

        for (size_t i = 0; i < d->n_containers; i++)
                for (size_t k = 0; k < ELEMENTSOF(ends); k++) {
                        _cleanup_free_ char *name = NULL, *path = NULL;

                        if (asprintf(&name, "%s%s", d->containers[i].id, ends[k]) < 0)
                                name = NULL;
                        if (!name || asprintf(&path, "%s/logs/%s", m->cold->state, name) < 0)
                                path = NULL;
                        if (!path || (access(path, F_OK) == 0 &&
                                      json_append(list, json_object_new_string(name)) < 0))
                                return error_oom(reterr);
                }
        return 0;
}

static int send_logs(Mover *m, json_object *list, uint64_t which, Error *reterr) {
        json_object *v;

        for (JSON_EACH(i, list, v)) {
                _cleanup_free_ char *path = NULL;
                int r;

                if (asprintf(&path, "%s/logs/%s", m->cold->state, json_object_get_string(v)) < 0) {
                        path = NULL;
                        return error_oom(reterr);
                }
                r = send_one(m, path, which++, 0, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int cold_files(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *request = json_object_new_object();
        json_object *logs = json_object_new_array();
        ColdLink *l = &m->cold->link;
        uint64_t which = 0;
        int r;

        if (!request || json_add(request, "logs", logs) < 0)
                return error_oom(reterr);
        r = cold_check_unchanged(m, reterr);
        if (r == 0)
                r = check_disks(m, reterr);
        if (r == 0)
                r = list_logs(m, logs, reterr);
        if (r == 0)
                r = cold_say(l, "files", json_object_get(request), reterr);
        if (r == 0)
                r = send_disks(m, &which, reterr);
        if (r == 0)
                r = send_logs(m, logs, which, reterr);
        if (r == 0)
                r = cold_hear(l, NULL, reterr);
        if (r == 0)
                r = cold_ask(l, "seal", NULL, NULL, reterr);
        if (r == 0) {
                m->cold->processed = m->cold->total;
                show_moved(m);
        }
        return r;
}

/* -- after the decision -- */

int cold_commit(Mover *m, Error *reterr) {
        int r = 0;

        m->ending = true;
        for (unsigned i = 0; i < COMMIT_TRIES; i++) {
                r = connect_again(m, reterr);
                if (r == 0)
                        r = cold_ask(&m->cold->link, "commit", NULL, NULL, reterr);
                if (r == 0 || !m->cold->link.broken)
                        break;
        }
        if (r == 0)
                (void)snprintf(m->cold->there, sizeof(m->cold->there), "%s",
                               offline_state_name(OFFLINE_OWNED));
        return r;
}

/* The destination says first that it never starts it (again), and only then it is ours. */
int cold_take_back(Mover *m, Error *reterr) {
        Cold *c = m->cold;
        int r;

        if (c->record.state != OFFLINE_GIVEN)
                return 0;
        r = connect_again(m, reterr);
        if (r == 0)
                r = cold_ask(&c->link, "return", NULL, NULL, reterr);
        if (r < 0)
                return r;
        c->offered = true; /* its record that says so is there still */
        return cold_record(m, OFFLINE_OFFERED, reterr);
}

int cold_start_there(Mover *m, Error *reterr) {
        _cleanup_close_ int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
        const char *args[] = { "start", m->new_name, NULL };
        RemoteRun run = REMOTE_RUN_INIT;
        int r;

        if (nothing < 0)
                return error_setf(reterr, -errno, "/dev/null: %m");
        (void)cold_link_close(&m->cold->link); /* it has the lock, which keeps a shim out */
        r = remote_start(&m->remote, args, nothing, nothing, &run, reterr);
        if (r == 0)
                r = mover_wait_command(m, &run, reterr);
        if (r == 0 && m->cold->stopped)
                m->cold->still_ms = clock_ms() - m->cold->stopped_ms;
        return r < 0 ? error_prefix(reterr, r, "%s", m->remote.name) : 0;
}
