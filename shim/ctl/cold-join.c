/* SPDX-License-Identifier: Apache-2.0 */
/* A copy's turn among those that come to the same host (copies.h), at both ends. It is waited for
 * before anything is offered, and so before a pod that runs is stopped: one that waits is as it
 * was. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "shim/ctl/cold-receive.h"
#include "shim/ctl/lock-files.h"
#include "shim/ctl/migrate-cold.h"

#define SIGN_MS 60000U /* less than the source's patience (cold-link.c) */

/* -- the destination -- */

static int add_ahead(json_object *o, const CopiesAhead *a, Error *reterr) {
        json_object *wait = json_object_new_object(), *pods = json_object_new_array();

        if (json_add(o, "wait", wait) < 0) {
                (void)json_object_put(pods);
                return error_oom(reterr);
        }
        if (json_add(wait, "pods", pods) < 0 ||
            json_add(wait, "generation", json_object_new_uint64(a->generation)) < 0 ||
            json_add(wait, "copies", json_object_new_uint64(a->n)) < 0)
                return error_oom(reterr);
        for (unsigned i = 0; i < MIN_OF(a->n, COPIES_TOLD_MAX); i++)
                if (json_append(pods, json_object_new_string(a->pods[i])) < 0)
                        return error_oom(reterr);
        return 0;
}

static int say_ahead(const ColdReceiver *c, const CopiesAhead *a, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        int r = o ? add_ahead(o, a, reterr) : error_oom(reterr);

        return r < 0 ? r : cold_answer(c, o, reterr);
}

int cold_tell_ahead(const ColdReceiver *c, json_object *answer, Error *reterr) {
        CopiesAhead ahead;
        int r = copies_look(c->ctl->config.run_dir, c->name, &ahead, reterr);

        return r < 0 || ahead.n == 0 ? r : add_ahead(answer, &ahead, reterr);
}

/* Whoever waits says nothing: what comes is the end, or no podferry's. */
static int heed_source(const ColdReceiver *c, Error *reterr) {
        char byte;
        int r = c->pipe->read(c->pipe->userdata, &byte, 1, reterr);

        return r < 0 ? r : error_setf(reterr, -EBADMSG, "a request while the last one waits");
}

static bool is_same(const CopiesAhead *a, const CopiesAhead *b) {
        bool same = a->generation == b->generation && a->n == b->n;

        for (unsigned i = 0; same && i < MIN_OF(a->n, COPIES_TOLD_MAX); i++)
                same = strcmp(a->pods[i], b->pods[i]) == 0;
        return same;
}

static int wait_for_turn(ColdReceiver *c, int watch_fd, Error *reterr) {
        CopiesAhead ahead, told = {};
        uint64_t sign_ms = 0;
        int r;

        while ((r = copy_try(&c->copy, &ahead, reterr)) == -EAGAIN) {
                if (!is_same(&ahead, &told) || clock_ms() >= sign_ms) {
                        r = say_ahead(c, &ahead, reterr);
                        if (r < 0)
                                return r;
                        told = ahead;
                        sign_ms = clock_ms() + SIGN_MS;
                }
                if (c->pipe->wait(c->pipe->userdata, watch_fd, (int)LOCK_LOOK_MS)) {
                        r = heed_source(c, reterr);
                        if (r < 0)
                                return r;
                }
                lock_files_watch_read(watch_fd);
        }
        return r;
}

int cold_take_join(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        const char *run_dir = c->ctl->config.run_dir;
        _cleanup_close_ int watch_fd = -EBADF;
        int r;

        if (c->offered || c->copy.fd >= 0)
                return error_setf(reterr, -EBADFD, "it takes part already");
        if (!c->pipe->wait)
                return error_setf(reterr, -EOPNOTSUPP, "no way to wait");
        r = lock_files_watch(run_dir, &watch_fd, reterr);
        if (r == 0)
                r = copy_enter(run_dir, c->name, json_get_text(request, "with"), &c->copy, reterr);
        if (r == 0)
                r = wait_for_turn(c, watch_fd, reterr);
        if (r < 0)
                return r;
        return json_add(answer, "generation", json_object_new_uint64(c->copy.generation)) < 0
                       ? error_oom(reterr)
                       : 0;
}

/* -- the source -- */

void cold_describe_wait(const Mover *m, json_object *wait, char *ret, size_t size) {
        json_object *pods = json_get_array(wait, "pods"), *v;
        int64_t n = json_get_number(wait, "copies");
        char names[300] = "";
        size_t len = 0, shown = 0;

        for (JSON_EACH(i, pods, v)) {
                const char *pod =
                        json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";

                if (i >= COPIES_TOLD_MAX || id_check("pod name", pod, NULL) < 0)
                        break;
                len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
                                        pod);
                shown++;
        }
        (void)snprintf(ret, size, "generation %u of copies to %s still copies %s%s",
                       (unsigned)json_get_number(wait, "generation"), m->cold->host,
                       shown ? names : "others", n > (int64_t)shown ? ", ..." : "");
}

static void tell(Mover *m, json_object *wait) {
        char text[400];

        cold_describe_wait(m, wait, text, sizeof(text));
        show_step(&m->show, "queue", text);
}

/* --timeout begins after it, as after any wait for a turn. */
static int wait_for_word(Mover *m, Error *reterr) {
        uint64_t end_ms = m->end_ms, since = clock_ms();
        bool waits = true;
        int r = 0;

        m->end_ms = 0;
        while (r == 0 && waits) {
                _cleanup_json_ json_object *answer = NULL;

                r = cold_hear(&m->cold->link, &answer, reterr);
                waits = r == 0 && json_get(answer, "wait");
                if (waits)
                        tell(m, json_get(answer, "wait"));
        }
        m->end_ms = end_ms > 0 ? end_ms + (clock_ms() - since) : 0;
        return r;
}

bool cold_joins(const Mover *m) {
        return cold_is_new(m) && m->cold->join_there && strcmp(m->copies, "now") != 0;
}

int cold_join(Mover *m, Error *reterr) {
        _cleanup_json_ json_object *request = json_object_new_object();
        const char *with = strncmp(m->copies, "with:", 5) == 0 ? m->copies + 5 : "";
        int r;

        if (!request || json_add_string(request, "with", with) < 0)
                return error_oom(reterr);
        r = cold_say(&m->cold->link, "join", TAKE(request), reterr);
        return r < 0 ? r : wait_for_word(m, reterr);
}
