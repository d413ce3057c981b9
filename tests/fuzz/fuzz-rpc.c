/* SPDX-License-Identifier: Apache-2.0 */
/* Channel 0 of the guest link at both of its ends, with any bytes on it. First byte: how many of
 * them come at a time, and (bit 7) whose input they are: the shim's, from an agent that may be
 * anybody's, or the agent's. Every call ends exactly once. */
#include <stdlib.h>

#include "guest/rpc.h"
#include "lib/log.h"
#include "shim/guest/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* -- the shim's end -- */

/* The link: hands what is fuzzed to whoever consumes channel 0; nothing can be sent. */
struct GuestLink {
        const GuestLinkConsumer *consumer;
        void *userdata;
};

Session *guest_link_session(GuestLink *l) {
        return (Session *)(void *)l; /* there is one; session_write() below */
}

int guest_link_consume(GuestLink *l, uint32_t channel, const GuestLinkConsumer *c, void *userdata,
                       Error *reterr) {
        l->consumer = c;
        l->userdata = userdata;
        return 0;
}

void guest_link_forget(GuestLink *l, uint32_t channel) {
        l->consumer = NULL;
}

ssize_t session_write(Session *s, uint32_t channel, const void *p, size_t n) {
        return (ssize_t)n;
}

void session_taken(Session *s, uint32_t channel) {
}

bool session_channel_drained(const Session *s, uint32_t channel) {
        return true;
}

#define CALLS 8U

typedef struct Host {
        unsigned ended[CALLS], events, broken;
} Host;

typedef struct Waiter {
        Host *host;
        unsigned i;
} Waiter;

static void on_reply(void *userdata, int r, const FromGuest *reply, const Error *err) {
        Waiter *w = userdata;

        if ((r == 0) != (reply != NULL) || (r < 0) != (err != NULL && err->text[0]))
                abort();
        w->host->ended[w->i]++;
}

static void on_event(void *userdata, const FromGuest *event) {
        ((Host *)userdata)->events++;
}

static void on_broken(void *userdata, const Error *err) {
        ((Host *)userdata)->broken++;
}

static void fuzz_shim(const uint8_t *p, size_t n, size_t slice) {
        static const GuestRpcOps ops = { .event = on_event, .broken = on_broken };
        Waiter waiters[CALLS];
        GuestLink link = {};
        GuestRpc *rpc = NULL;
        Host host = {};

        if (guest_rpc_new(&link, &ops, &host, &rpc, NULL) < 0 || guest_rpc_start(rpc, NULL) < 0)
                abort();
        for (unsigned i = 0; i < CALLS; i++) {
                ToGuest request = PODFERRY__GUEST__V1__TO_GUEST__INIT;

                waiters[i] = (Waiter){ &host, i };
                if (guest_rpc_call(rpc, &request, on_reply, &waiters[i], NULL, NULL) != 1)
                        abort();
        }
        while (n > 0) {
                size_t k = MIN_OF(n, slice);

                if (link.consumer->data(link.userdata, 0, p, k) != k)
                        abort();
                p += k;
                n -= k;
        }
        link.consumer->eof(link.userdata, 0);
        for (unsigned i = 0; i < CALLS; i++)
                if (host.ended[i] != 1)
                        abort();
        if (host.broken != 1)
                abort();
        (void)guest_rpc_free(rpc);
}

/* -- the agent's end -- */

static unsigned handled;

static int handle(Agent *a, Call *c, const ToGuest *request, Error *reterr) {
        FromGuest reply = PODFERRY__GUEST__V1__FROM_GUEST__INIT;

        handled++;
        if (request->call_id == 0)
                abort();
        if (request->call_id % 3 == 0)
                return error_setf(reterr, -EINVAL, "no");
        if (request->call_id % 3 == 1)
                return 0;
        call_finish(c, 0, NULL, &reply);
        return 1;
}

const RpcRow rpc_rows[] = { { TO_GUEST(START), handle },
                            { TO_GUEST(KILL), handle },
                            { TO_GUEST(MOUNT), handle },
                            { TO_GUEST(INFO), handle } };
const size_t rpc_n_rows = ELEMENTSOF(rpc_rows);

static void fuzz_agent(const uint8_t *p, size_t n, size_t slice) {
        Rpc rpc;

        rpc_init(&rpc, NULL, NULL);
        while (n > 0) {
                size_t k = rpc_data(&rpc, p, MIN_OF(n, slice));

                rpc_service(&rpc);
                p += k;
                n -= k;
        }
        if (rpc.calls != 0 || rpc.call_bytes != 0)
                abort();
        message_reader_done(&rpc.reader);
        buf_done(&rpc.input);
        buf_done(&rpc.output);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t slice;

        if (size == 0)
                return 0;
        log_set_max_level(LOG_EMERG);
        slice = (data[0] & 0x7fU) + 1;
        if (data[0] & 0x80)
                fuzz_agent(data + 1, size - 1, slice);
        else
                fuzz_shim(data + 1, size - 1, slice);
        return 0;
}
