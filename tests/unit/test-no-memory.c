/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim is made of beside its controllers, with the n-th allocation failing, for every n:
 * made, or refused with nothing left behind. (Controllers have such a test each.)
 * rows: H14 F74 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/log.h"
#include "shim/ferry/ferry.h"
#include "shim/guest/rpc.h"
#include "shim/hooks.h"
#include "shim/state-file.h"
#include "shim/stdio/attach.h"
#include "shim/stdio/stdio.h"
#include "tests/fakes/fail-malloc.h"

static sd_event *event;
static char directory[] = "/tmp/podferry-no-memory-XXXXXX", path[64];

static int make_ferry(void) {
        const FerryConfig config = { .role = FERRY_SOURCE, .session_id = { 1 } };
        _cleanup_(ferry_freep) Ferry *f = NULL;

        return ferry_new(&config, &f, NULL);
}

static int make_ferry_socket(void) {
        static Ferry *f; /* its thread allocates too: made once, outside the count */
        const FerryConfig config = { .role = FERRY_SOURCE, .session_id = { 1 } };
        int r;

        if (!f) {
                fail_malloc_at(0);
                assert_int_equal(ferry_new(&config, &f, NULL), 0);
                return -ENOMEM;
        }
        r = ferry_listen(f, FERRY_MEMORY, path, NULL);
        if (r == 0)
                f = ferry_free(f);
        return r;
}

static int make_link(void) {
        static const GuestLinkOps ops = {};
        _cleanup_(guest_link_freep) GuestLink *l = NULL;
        int r;

        r = guest_link_new(event, &ops, NULL, &l, NULL);
        return r < 0 ? r : guest_link_begin(l, NULL);
}

static void no_reply(void *userdata, int r, const FromGuest *reply, const Error *err) {
}

/* With a call that waits for its answer. */
static int make_rpc(void) {
        static const GuestLinkOps link_ops = {};
        static const GuestRpcOps ops = {};
        _cleanup_(guest_link_freep) GuestLink *l = NULL;
        _cleanup_(guest_rpc_freep) GuestRpc *rpc = NULL;
        ToGuest request = PODFERRY__GUEST__V1__TO_GUEST__INIT;
        int r;

        if ((r = guest_link_new(event, &link_ops, NULL, &l, NULL)) < 0 ||
            (r = guest_link_begin(l, NULL)) < 0 ||
            (r = guest_rpc_new(l, &ops, NULL, &rpc, NULL)) < 0 ||
            (r = guest_rpc_start(rpc, NULL)) < 0)
                return r;
        r = guest_rpc_call(rpc, &request, no_reply, NULL, NULL, NULL);
        if (r < 0)
                assert_int_equal(guest_rpc_pending(rpc), 0);
        return r < 0 ? r : 0;
}

/* With the log of a process that came with a handoff. */
static int make_stdio(void) {
        static const GuestLinkOps link_ops = {};
        const StdioConfig config = { .log_dir = directory, .log_max_bytes = 1 << 20 };
        const StdioState state = { .guest_id = "c1", .exec_id = "" };
        const ProcessKey key = { .container_id = "c1", .guest_id = "c1", .exec_id = "" };
        _cleanup_(guest_link_freep) GuestLink *l = NULL;
        _cleanup_(stdio_hub_freep) StdioHub *hub = NULL;
        int r;

        if ((r = guest_link_new(event, &link_ops, NULL, &l, NULL)) < 0 ||
            (r = stdio_hub_new(event, l, &config, &hub, NULL)) < 0)
                return r;
        r = stdio_put_state(hub, &key, &state, false, NULL);
        stdio_hub_discard(hub);
        return r;
}

static size_t take(void *userdata, const void *p, size_t n) {
        return n;
}

static uint64_t taken(void *userdata) {
        return 0;
}

static int make_client(void) {
        static const AttachOps ops = { .take = take, .taken = taken };
        const AttachWishes wishes = { .with_stdin = true };
        _cleanup_(output_log_freep) OutputLog *log = NULL;
        AttachClient *c;
        int r, fd;

        r = output_log_new(path, 1 << 20, &log, NULL);
        if (r < 0)
                return r;
        r = attach_client_new(event, log, &wishes, &ops, NULL, &c, &fd, NULL);
        if (r == 0) {
                (void)attach_client_free(c);
                (void)close_fd(fd);
        }
        output_log_remove_files(log);
        return r;
}

static int make_state(void) {
        _cleanup_(state_file_done) StateFile f = STATE_FILE_INIT;
        char word[] = "word", file[80];
        struct iovec iov = { word, 4 };
        _cleanup_buf_ Buf b = {};
        int r;

        r = state_file_init(&f, path, NULL);
        if (r == 0)
                r = state_file_write(&f, &iov, 1, NULL);
        if (r == 0)
                r = state_file_read(&f, &b, NULL);
        for (int i = 0; i < 2; i++) {
                (void)snprintf(file, sizeof(file), "%s.%d", path, i);
                (void)unlink(file);
        }
        return r;
}

/* Read, copied, and told to the other host. */
static int make_hooks(void) {
        static const char text[] =
                "{\"pre-target\": [{\"run\": [\"/x\", \"a\"]}, {\"run\": [\"/y\"]}]}";
        static json_object *o; /* made once, outside the count */
        _cleanup_hooks_ Hooks h = {}, copy = {};
        json_object *facts, *list;
        int r;

        o = o ?: json_tokener_parse(text);
        r = hooks_parse(&h, o, NULL);
        if (r == 0)
                r = hooks_append(&copy, &h, HOOK_PRE_TARGET, NULL);
        if (r < 0)
                return r;
        facts = hooks_facts(&copy, true);
        list = facts ? hooks_json(copy.events[HOOK_PRE_TARGET].hooks, 2) : NULL;
        r = list ? 0 : -ENOMEM;
        (void)json_object_put(facts);
        (void)json_object_put(list);
        return r;
}

typedef struct Row {
        const char *name;
        int (*make)(void);
        unsigned least; /* allocations that it surely makes */
} Row;

static const Row rows[] = {
        { "ferry", make_ferry, 4 },      { "a ferry's socket", make_ferry_socket, 2 },
        { "guest link", make_link, 2 },  { "guest calls", make_rpc, 5 },
        { "stdio hub", make_stdio, 5 },  { "attached client", make_client, 2 },
        { "state file", make_state, 2 }, { "hooks", make_hooks, 20 },
};

static void test_row(void **state) {
        const Row *row = *state;
        unsigned n = 0;
        int r;

        if (!fail_malloc_works())
                skip();
        (void)row->make(); /* what libraries keep for the next time */
        do {
                size_t before = fail_malloc_live();

                fail_malloc_at(++n);
                r = row->make();
                fail_malloc_at(0);
                if (r < 0 && r != -ENOMEM && r != -EAGAIN)
                        fail_msg("allocation %u: %s", n, strerror(-r));
                if (row->make != make_ferry_socket && fail_malloc_live() != before)
                        fail_msg("allocation %u: %zd blocks are left", n,
                                 (ssize_t)(fail_malloc_live() - before));
                assert_true(n < 1000);
        } while (r < 0);
        assert_true(n > row->least);
}

static int up(void **state) {
        log_set_max_level(LOG_EMERG);
        if (!mkdtemp(directory) || sd_event_new(&event) < 0)
                return -1;
        (void)snprintf(path, sizeof(path), "%s/x", directory);
        return 0;
}

static int down(void **state) {
        event = sd_event_unref(event);
        return rmdir(directory); /* nothing is left there either */
}

int main(void) {
        static struct CMUnitTest tests[ELEMENTSOF(rows)];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[i] = (struct CMUnitTest){ .name = rows[i].name,
                                                .test_func = test_row,
                                                .initial_state = (void *)(uintptr_t)&rows[i] };
        return cmocka_run_group_tests_name("no-memory", tests, up, down);
}
