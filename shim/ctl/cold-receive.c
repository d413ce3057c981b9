/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/cold-receive.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "shim/ctl/bus.h"
#include "shim/ctl/cold-check.h"
#include "shim/ctl/json.h"

#define LOCK_TRIES 50U /* of 100 ms: the end of an attempt that was cut off */

/* -- requests -- */

int cold_heed_here(ColdReceiver *c, const char *code, int r, Error *reterr) {
        if (r >= 0 || r == -ENOMEM || !c->findings)
                return r;
        if (cold_note(c->findings, code, error_text(reterr, r)) < 0)
                return error_oom(reterr);
        *reterr = ERROR_INIT;
        return 0;
}

static int do_hello(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        _cleanup_record_ OfflineRecord in = {};
        const char *state = "other";
        char host[256] = "";
        int r;

        r = offline_read(c->state, OFFLINE_INCOMING, &in, reterr);
        if (r < 0)
                return r;
        if (in.state == OFFLINE_NONE || strcmp(in.session, c->session) == 0)
                state = offline_state_name(in.state);
        (void)gethostname(host, sizeof(host) - 1);
        return json_add_string(answer, "host", host) < 0 ||
                               json_add(answer, "join", json_object_new_boolean(true)) < 0 ||
                               json_add_string(answer, "state", state) < 0 ||
                               json_add(answer, "hooks", hooks_facts(&c->ctl->config.hooks, true)) <
                                       0 ||
                               json_add(answer, "shim",
                                        json_object_new_boolean(cold_check_free(c, NULL) < 0)) < 0
                       ? error_oom(reterr)
                       : 0;
}

/* What is there is of this session. */
static int check_session(const ColdReceiver *c, OfflineState *ret, Error *reterr) {
        _cleanup_record_ OfflineRecord in = {};
        int r = offline_read(c->state, OFFLINE_INCOMING, &in, reterr);

        if (r < 0)
                return r;
        *ret = in.state;
        if (in.state != OFFLINE_NONE && strcmp(in.session, c->session) != 0)
                return error_setf(reterr, -EBUSY,
                                  "pod %s came, or half came, in another move (from pod %s, %s): "
                                  "if that one is not to go on, podferry rm --force %s there",
                                  c->name, in.pod, offline_state_name(in.state), c->name);
        return 0;
}

static int do_offer(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        OfflineState state;
        int r = check_session(c, &state, reterr);

        if (r == 0 && (state == OFFLINE_OWNED || c->offered))
                r = error_setf(reterr, -EBADFD, "pod %s is here already", c->name);
        if (r == 0) /* what an attempt that was cut off has left */
                r = offline_discard(c->state, false, reterr);
        return r < 0 ? r : cold_take_offer(c, request, answer, reterr);
}

/* As do_offer(), of which the source will make use only if nothing is found. */
static int do_check(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        json_object *findings = json_object_new_array();
        OfflineState state;
        int r;

        if (json_add(answer, "findings", findings) < 0)
                return error_oom(reterr);
        c->findings = findings;
        r = cold_heed_here(c, "pod-exists", check_session(c, &state, reterr), reterr);
        if (r == 0)
                r = cold_take_offer(c, request, answer, reterr);
        c->findings = NULL;
        return r < 0 ? r : cold_tell_ahead(c, answer, reterr);
}

static int do_commit(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        OfflineState state;
        int r = check_session(c, &state, reterr);

        if (r == 0 && state != OFFLINE_READY && state != OFFLINE_OWNED)
                r = error_setf(reterr, -EBADFD, "pod %s is not complete here (%s)", c->name,
                               offline_state_name(state));
        return r < 0 ? r : offline_commit(c->state, reterr);
}

static int do_discard(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        OfflineState state;
        int r = check_session(c, &state, reterr);

        cold_remove_tokens(c);
        copy_leave(&c->copy);
        c->offered = false;
        return r < 0 ? r : offline_discard(c->state, false, reterr);
}

/* The source takes it back, which it may once it was told that this host never starts it again: a
 * pod that runs here stays. */
static int do_return(ColdReceiver *c, json_object *request, json_object *answer, Error *reterr) {
        _cleanup_bus_ sd_bus *bus = NULL;
        OfflineState state;
        int r = check_session(c, &state, reterr);

        if (r == 0 && state != OFFLINE_READY && state != OFFLINE_OWNED && state != OFFLINE_RETURNED)
                r = error_setf(reterr, -EBADFD, "pod %s is not here (%s)", c->name,
                               offline_state_name(state));
        if (r < 0)
                return r;
        r = pod_connect(c->ctl->config.run_dir, c->name, &bus, reterr);
        if (r == 0)
                r = pod_call(bus, WORK_DEADLINE, NULL, reterr, BUS_ROOT, BUS_INTERFACE, "Leave",
                             "");
        if (r == 0 || r == -ENOENT)
                r = cold_check_free(c, reterr);
        return r < 0 ? r : offline_discard(c->state, true, reterr);
}

static const struct {
        const char *name;
        ColdTake *take;
} requests[] = {
        { "hello", do_hello },
        { "join", cold_take_join },   /* it is to be copied: when may that begin */
        { "offer", do_offer },        /* what comes: is it possible, and what is missing */
        { "ahead", cold_take_ahead }, /* disks follow, and the pod still runs there */
        { "check", do_check },        /* the same, but nothing is made */
        { "files", cold_take_files }, /* they follow */
        { "seal", cold_take_seal },   /* ready */
        { "commit", do_commit },      /* owned */
        { "discard", do_discard },    /* not owned: gone */
        { "return", do_return },      /* returned */
};

static int answer_request(ColdReceiver *c, const Buf *text, json_object *answer, Error *reterr) {
        _cleanup_json_ json_object *o = NULL;
        const char *what;
        int r;

        r = json_read((const char *)text->data, text->len, &o, reterr);
        if (r < 0)
                return r;
        what = json_get_text(o, "do");
        for (size_t i = 0; i < ELEMENTSOF(requests); i++)
                if (strcmp(requests[i].name, what) == 0)
                        return requests[i].take(c, o, answer, reterr);
        return error_setf(reterr, -EOPNOTSUPP, "no request \"%.40s\": another version of podferry",
                          what);
}

int cold_answer(const ColdReceiver *c, json_object *answer, Error *reterr) {
        const char *text = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN);

        if (!text)
                return error_oom(reterr);
        return cold_put(c->pipe, &(ColdFrame){ COLD_JSON, (uint32_t)strlen(text), 0 }, text,
                        reterr);
}

/* A request that failed is answered, and ends it: the other side begins anew. */
static int serve_one(ColdReceiver *c, Error *reterr) {
        _cleanup_json_ json_object *answer = json_object_new_object();
        _cleanup_buf_ Buf text = {};
        ColdFrame f;
        int r;

        r = answer ? cold_get(c->pipe, &f, &text, reterr) : error_oom(reterr);
        if (r < 0)
                return r;
        r = f.type == COLD_JSON ? answer_request(c, &text, answer, reterr)
                                : error_setf(reterr, -EBADMSG, "a file that was not asked for");
        if (r < 0) {
                Error why = *reterr;

                text_clean(why.text);
                if (json_add_string(answer, "error", error_text(&why, r)) == 0)
                        (void)cold_answer(c, answer, NULL);
                return r;
        }
        return cold_answer(c, answer, reterr);
}

static int take_lock(ColdReceiver *c, Error *reterr) {
        int r;

        for (unsigned i = 0;; i++) {
                r = offline_lock(c->ctl->config.state_dir, c->name, &c->lock, reterr);
                if (r != -EBUSY || i >= LOCK_TRIES)
                        return r;
                (void)poll(NULL, 0, 100);
        }
}

/* Half a copy is of no use to anybody. */
static int drop_half(const ColdReceiver *c, Error *reterr) {
        _cleanup_record_ OfflineRecord in = {};
        int r;

        cold_remove_tokens(c);
        r = offline_read(c->state, OFFLINE_INCOMING, &in, reterr);
        return r < 0 || in.state != OFFLINE_FILLING || strcmp(in.session, c->session) != 0
                       ? r
                       : offline_discard(c->state, false, reterr);
}

int cold_receive(const Ctl *ctl, const char *name, const char *session, const ColdPipe *pipe,
                 Error *reterr) {
        ColdReceiver c = { .ctl = ctl,
                           .name = name,
                           .session = session,
                           .lock = OFFLINE_LOCK_INIT,
                           .copy = COPY_INIT,
                           .pipe = pipe };
        int r;

        if (asprintf(&c.state, "%s/pods/%s", ctl->config.state_dir, name) < 0)
                return error_oom(reterr);
        r = take_lock(&c, reterr);
        if (r == 0) {
                int k;

                while ((r = serve_one(&c, reterr)) == 0)
                        ;
                if (r == -ENODATA) /* it said all that it had to say */
                        r = 0;
                k = drop_half(&c, r == 0 ? reterr : NULL);
                r = r < 0 ? r : k;
        }
        copy_leave(&c.copy);
        offline_unlock(&c.lock);
        c.warm = warm_tables_free(c.warm);
        cold_plan_done(&c.plan);
        offline_record_done(&c.record);
        free(c.state);
        return r;
}
