/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing that comes out of handoff_open() can make a counter wrap, a path of an id, or one process
 * two: whoever wrote it. */
#include "shim/migrate/handoff.h"

#include <string.h>

#include "controllers/ids.h"
#include "lib/envelope.h"

const EnvelopeType handoff_envelope = {
        .kind = "handoff",
        .type_url = "type.podferry.org/podferry.state.v1.Handoff",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__handoff__descriptor,
};

#define PROCESSES_MAX (256U * 1025U)
#define COUNTER_MAX   ((uint64_t)INT64_MAX)

Handoff *handoff_free(Handoff *h) {
        if (h)
                podferry__state__v1__handoff__free_unpacked(h, NULL);
        return NULL;
}

static int compare(const char *guest_a, const char *exec_a, const char *guest_b,
                   const char *exec_b) {
        return strcmp(guest_a, guest_b) ?: strcmp(exec_a, exec_b);
}

static int compare_stdio(const void *a, const void *b) {
        const HandoffStdio *x = *(HandoffStdio *const *)a, *y = *(HandoffStdio *const *)b;

        return compare(x->guest_id, x->exec_id, y->guest_id, y->exec_id);
}

static int compare_exits(const void *a, const void *b) {
        const HandoffExit *x = *(HandoffExit *const *)a, *y = *(HandoffExit *const *)b;

        return compare(x->guest_id, x->exec_id, y->guest_id, y->exec_id);
}

int handoff_seal(Handoff *h, Buf *ret, Error *reterr) {
        if (h->n_stdio > 1)
                qsort(h->stdio, h->n_stdio, sizeof(HandoffStdio *), compare_stdio);
        if (h->n_exits > 1)
                qsort(h->exits, h->n_exits, sizeof(HandoffExit *), compare_exits);
        return envelope_seal(&handoff_envelope, &h->base, ret, reterr);
}

static int check_process(const char *list, const char *guest_id, const char *exec_id,
                         Error *reterr) {
        int r;

        r = id_check("guest_id", guest_id, reterr);
        if (r == 0 && exec_id[0])
                r = id_check("exec_id", exec_id, reterr);
        return r < 0 ? error_prefix(reterr, r, "handoff: %s", list) : 0;
}

static int check_exit(const char *list, const HandoffExit *x, Error *reterr) {
        int r = check_process(list, x->guest_id, x->exec_id, reterr);

        if (r == 0 && x->code > 255)
                r = error_setf(reterr, -EINVAL, "handoff: %s: exit code %u", list, x->code);
        return r;
}

static int check_stdio(const HandoffStdio *s, Error *reterr) {
        int r = check_process("stdio", s->guest_id, s->exec_id, reterr);

        if (r < 0)
                return r;
        if (s->log_start > s->log_end || s->log_end > COUNTER_MAX)
                return error_setf(reterr, -EINVAL, "handoff: stdio: log from %llu to %llu",
                                  (unsigned long long)s->log_start, (unsigned long long)s->log_end);
        if (s->stdin_taken > COUNTER_MAX)
                return error_setf(reterr, -EINVAL, "handoff: stdio: stdin_taken is %llu",
                                  (unsigned long long)s->stdin_taken);
        if (!s->exit)
                return 0;
        r = check_exit("stdio", s->exit, reterr);
        if (r == 0 && compare(s->guest_id, s->exec_id, s->exit->guest_id, s->exit->exec_id) != 0)
                r = error_setf(reterr, -EINVAL, "handoff: stdio: the exit of another process");
        return r;
}

static int check_lists(const Handoff *h, Error *reterr) {
        int r = 0;

        if (h->n_stdio > PROCESSES_MAX || h->n_exits > PROCESSES_MAX)
                return error_setf(reterr, -EINVAL, "handoff: too many processes");
        for (size_t i = 0; r == 0 && i < h->n_stdio; i++) {
                r = check_stdio(h->stdio[i], reterr);
                if (r == 0 && i > 0 && compare_stdio(&h->stdio[i - 1], &h->stdio[i]) >= 0)
                        r = error_setf(reterr, -EINVAL, "handoff: stdio: not sorted, or twice");
        }
        for (size_t i = 0; r == 0 && i < h->n_exits; i++) {
                r = check_exit("exits", h->exits[i], reterr);
                if (r == 0 && i > 0 && compare_exits(&h->exits[i - 1], &h->exits[i]) >= 0)
                        r = error_setf(reterr, -EINVAL, "handoff: exits: not sorted, or twice");
        }
        return r;
}

static int check(const Handoff *h, Error *reterr) {
        int r;

        r = id_check("handoff: pod_id", h->pod_id, reterr);
        if (r < 0)
                return r;
        if (h->epoch > COUNTER_MAX)
                return error_setf(reterr, -EINVAL, "handoff: epoch is %llu",
                                  (unsigned long long)h->epoch);
        if (h->link.len == 0)
                return error_setf(reterr, -EINVAL, "handoff: link: missing");
        if (h->next_call_id == 0 || h->next_call_id > COUNTER_MAX)
                return error_setf(reterr, -EINVAL, "handoff: next_call_id is %llu",
                                  (unsigned long long)h->next_call_id);
        return check_lists(h, reterr);
}

int handoff_open(const void *p, size_t n, Handoff **ret, Error *reterr) {
        _cleanup_(handoff_freep) Handoff *h = NULL;
        ProtobufCMessage *base = NULL;
        int r;

        r = envelope_open(&handoff_envelope, p, n, &base, NULL, reterr);
        if (r < 0)
                return r;
        h = (Handoff *)(void *)base;
        r = check(h, reterr);
        if (r < 0)
                return r;
        *ret = TAKE(h);
        return 0;
}
