/* SPDX-License-Identifier: Apache-2.0 */
/* A process's saved state (proto/state/v1/process.proto). */
#include "controllers/checks.h"
#include "controllers/ids.h"
#include "controllers/process/process-internal.h"
#include "process.pb-c.h"

typedef Podferry__State__V1__Process PbProcess;

const EnvelopeType process_envelope = {
        .kind = "process",
        .type_url = "type.podferry.org/podferry.state.v1.Process",
        .version = 1,
        .min_version = 1,
        .descriptor = &podferry__state__v1__process__descriptor,
};

enum { PHASE_RUNNING, PHASE_CREATED, PHASE_EXITED, N_PHASES };

static const ProcessState phase_state[N_PHASES] = {
        [PHASE_RUNNING] = PROCESS_RUNNING,
        [PHASE_CREATED] = PROCESS_CREATED,
        [PHASE_EXITED] = PROCESS_TERMINATED,
};

static uint32_t phase_of(ProcessState before) {
        uint32_t phase = PHASE_RUNNING;

        while (phase_state[phase] != before)
                phase++;
        return phase;
}

int process_save(const Process *p, Buf *ret, Error *reterr) {
        PbProcess w = PODFERRY__STATE__V1__PROCESS__INIT;

        if (p->fsm.state != PROCESS_SOURCE_MIGRATING)
                return fsm_refuse(&p->fsm, "save", reterr);
        w.exec_id = p->exec_id;
        w.phase = phase_of(p->before);
        w.pid = p->pid;
        w.terminal = p->terminal;
        w.stdin_open = p->stdin_open;
        w.rows = p->rows;
        w.columns = p->columns;
        if (w.phase == PHASE_EXITED) {
                w.exit_code = p->exit.code;
                w.exited_at_ns = p->exit.exited_at_ns;
        } else {
                w.wait_call = p->wait_call;
                w.stdin_channel = p->channels.in;
                w.stdout_channel = p->channels.out;
                w.stderr_channel = p->channels.err;
                if (p->process_json)
                        w.process_json = p->process_json;
        }
        return envelope_seal(&process_envelope, &w.base, ret, reterr);
}

static int bad(const PbProcess *w, const char *what, Error *reterr) {
        return error_setf(reterr, -EINVAL, "process envelope: process \"%.80s\": %s",
                          w->exec_id[0] ? w->exec_id : "init", what);
}

static int check_channels(const PbProcess *w, Error *reterr) {
        bool known = w->phase != PHASE_EXITED && w->pid != 0;

        if (!known && (w->stdin_channel || w->stdout_channel || w->stderr_channel))
                return bad(w, "it has channels but the guest does not use them", reterr);
        if (!known)
                return 0;
        if (!w->stdout_channel)
                return bad(w, "stdout_channel is missing", reterr);
        if (w->terminal != !w->stderr_channel)
                return bad(w, "stderr_channel and terminal contradict each other", reterr);
        if (w->stdin_open != !!w->stdin_channel)
                return bad(w, "stdin_channel and stdin_open contradict each other", reterr);
        if (w->stdin_channel == w->stdout_channel || w->stderr_channel == w->stdout_channel ||
            (w->stdin_channel && w->stdin_channel == w->stderr_channel))
                return bad(w, "two of its channels are the same", reterr);
        return 0;
}

static int check_phase(const PbProcess *w, Error *reterr) {
        bool init = !w->exec_id[0], known = w->pid != 0;
        bool waits = w->phase != PHASE_EXITED && known;

        if (w->phase >= N_PHASES)
                return bad(w, "phase is unknown", reterr);
        if (w->phase == PHASE_RUNNING && !known)
                return bad(w, "it runs with pid 0", reterr);
        if (w->phase == PHASE_CREATED && known != init)
                return bad(w,
                           init ? "it was created with pid 0" : "it was not started but has a pid",
                           reterr);
        if (waits != (w->wait_call != 0))
                return bad(w, waits ? "wait_call is missing" : "wait_call has nothing to wait for",
                           reterr);
        if ((w->phase == PHASE_CREATED && !init) != !!w->process_json[0])
                return bad(w,
                           "process_json belongs to an exec that was not started, and only there",
                           reterr);
        if (w->phase != PHASE_EXITED && (w->exit_code || w->exited_at_ns))
                return bad(w, "it has an exit but has not exited", reterr);
        if (w->exit_code > 255)
                return bad(w, "exit_code is out of range", reterr);
        return 0;
}

static int check(const PbProcess *w, Error *reterr) {
        int r;

        if (w->exec_id[0]) {
                r = id_check("process envelope: exec_id", w->exec_id, reterr);
                if (r < 0)
                        return r;
        }
        r = check_phase(w, reterr);
        if (r < 0)
                return r;
        if (w->rows > UINT16_MAX || w->columns > UINT16_MAX)
                return bad(w, "terminal size is out of range", reterr);
        r = check_channels(w, reterr);
        if (r < 0)
                return r;
        if (w->process_json[0])
                return json_object_check("process envelope: process_json", w->process_json,
                                         PROCESS_JSON_MAX, reterr);
        return 0;
}

static int import_message(Controller *parent, const ProcessKey *key, const PbProcess *w,
                          Process **ret, Error *reterr) {
        ProcessSpec spec = { .exec_id = w->exec_id,
                             .process_json = w->process_json[0] ? w->process_json : NULL,
                             .terminal = w->terminal,
                             .stdin_open = w->stdin_open,
                             .rows = w->rows,
                             .columns = w->columns };
        Process *p;
        int r;

        r = check(w, reterr);
        if (r < 0)
                return r;
        r = process_alloc(parent, key, &spec, PROCESS_DESTINATION_MIGRATING, &p, reterr);
        if (r < 0)
                return r;
        p->before = phase_state[w->phase];
        p->pid = w->pid;
        p->wait_call = w->wait_call;
        p->channels = (ProcessChannels){ .in = w->stdin_channel,
                                         .out = w->stdout_channel,
                                         .err = w->stderr_channel };
        p->has_exit = w->phase == PHASE_EXITED;
        p->exit = (ProcessExit){ .code = w->exit_code, .exited_at_ns = w->exited_at_ns };
        *ret = p;
        return 0;
}

int process_import(Controller *parent, const char *container_id, const char *guest_id,
                   const void *b, size_t n, Process **ret, Error *reterr) {
        ProcessKey key = { container_id, guest_id, "" };
        ProtobufCMessage *m;
        int r;

        r = envelope_open(&process_envelope, b, n, &m, NULL, reterr);
        if (r < 0)
                return r;
        r = import_message(parent, &key, (PbProcess *)m, ret, reterr);
        protobuf_c_message_free_unpacked(m, NULL);
        return r;
}
