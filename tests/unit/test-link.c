/* SPDX-License-Identifier: Apache-2.0 */
/* The guest link and the calls on it, against an agent in the same loop.
 * rows: H6 B1 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/guest-rig.h"

typedef struct Host {
        sd_event *event;
        GuestRig guest;
        GuestLink *link;
        GuestRpc *rpc;
        unsigned ups, downs, losses, replies, failures, broken, events;
        int last_code;
        char last_text[sizeof(((Error *)NULL)->text)];
} Host;

static void on_up(void *userdata) {
        ((Host *)userdata)->ups++;
}

static void on_down(void *userdata) {
        ((Host *)userdata)->downs++;
}

static void on_lost(void *userdata, int code, const Error *err) {
        ((Host *)userdata)->losses++;
}

static const GuestLinkOps link_ops = { on_up, on_down, on_lost };

static void on_event(void *userdata, const FromGuest *event) {
        ((Host *)userdata)->events++;
}

static void on_broken(void *userdata, const Error *err) {
        ((Host *)userdata)->broken++;
}

static const GuestRpcOps rpc_ops = { on_event, on_broken };

static void on_reply(void *userdata, int r, const FromGuest *reply, const Error *err) {
        Host *h = userdata;

        h->last_code = r;
        (void)snprintf(h->last_text, sizeof(h->last_text), "%s", err ? err->text : "");
        h->replies++;
        h->failures += r < 0;
        if (r == 0) {
                assert_non_null(reply);
                assert_string_equal(reply->info->version, "rig");
        }
}

static void host_up(Host *h, bool begin) {
        *h = (Host){};
        assert_true(sd_event_new(&h->event) >= 0);
        guest_rig_up(&h->guest, h->event);
        assert_int_equal(guest_link_new(h->event, &link_ops, h, &h->link, NULL), 0);
        assert_int_equal(guest_rpc_new(h->link, &rpc_ops, h, &h->rpc, NULL), 0);
        if (!begin)
                return;
        assert_int_equal(guest_link_begin(h->link, NULL), 0);
        assert_int_equal(guest_link_open(h->link, h->guest.path, false, NULL), 0);
        assert_int_equal(guest_rpc_start(h->rpc, NULL), 0);
        guest_rig_until(&h->guest, &h->ups, 1);
}

static void host_down(Host *h) {
        (void)guest_rpc_free(h->rpc);
        (void)guest_link_free(h->link);
        guest_rig_down(&h->guest);
        sd_event_unref(h->event);
}

static int call(Host *h, uint64_t *ret_call) {
        Podferry__Guest__V1__InfoRequest info = PODFERRY__GUEST__V1__INFO_REQUEST__INIT;
        ToGuest m = PODFERRY__GUEST__V1__TO_GUEST__INIT;
        Error err = ERROR_INIT;

        m.body_case = PODFERRY__GUEST__V1__TO_GUEST__BODY_INFO;
        m.info = &info;
        return guest_rpc_call(h->rpc, &m, on_reply, h, ret_call, &err);
}

static void test_calls(void **state) {
        uint64_t a, b;
        Host h;

        host_up(&h, true);
        assert_int_equal(call(&h, &a), 1);
        assert_int_equal(call(&h, &b), 1);
        assert_true(b > a && a > 0);
        assert_int_equal(h.replies, 0); /* never from inside the call */
        guest_rig_until(&h.guest, &h.replies, 2);
        assert_int_equal(h.failures, 0);
        h.guest.code = -ENOENT;
        assert_int_equal(call(&h, NULL), 1);
        guest_rig_until(&h.guest, &h.replies, 3);
        assert_int_equal(h.last_code, -ENOENT);
        assert_string_equal(h.last_text, "guest: no such luck");
        h.guest.code = -100000; /* no errno */
        assert_int_equal(call(&h, NULL), 1);
        guest_rig_until(&h.guest, &h.replies, 4);
        assert_int_equal(h.last_code, -EBADMSG);
        guest_rig_answer(&h.guest, a); /* twice: nobody waits */
        guest_rig_run(&h.guest, 20);
        assert_int_equal(h.replies, 4);
        host_down(&h);
}

/* The transport goes, and comes back: nothing is lost, nothing is answered twice. */
static void test_reconnect(void **state) {
        Host h;

        host_up(&h, true);
        for (unsigned i = 0; i < 20; i++) {
                assert_int_equal(call(&h, NULL), 1);
                if (i % 2)
                        guest_rig_run(&h.guest, i % 5);
                guest_rig_cut(&h.guest);
                if (i % 3 == 0)
                        assert_int_equal(call(&h, NULL), 1);
        }
        guest_rig_until(&h.guest, &h.replies, 27);
        guest_rig_run(&h.guest, 30);
        assert_int_equal(h.replies, 27);
        assert_int_equal(h.failures, 0);
        assert_int_equal(h.guest.requests, 27);
        assert_true(h.downs > 0 && h.guest.accepted > 2);
        assert_int_equal(guest_rpc_pending(h.rpc), 0);
        host_down(&h);
}

/* Calls that nobody will answer end when the VM does, also those made meanwhile by whom they fail.
 */
static void test_end(void **state) {
        uint64_t dropped;
        Host h;

        host_up(&h, true);
        h.guest.mute = true;
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(call(&h, &dropped), 1);
        guest_rpc_drop(h.rpc, dropped);
        guest_rpc_drop(h.rpc, 4711);
        guest_rig_run(&h.guest, 30);
        guest_rpc_fail_all(h.rpc, -ENOTCONN, "it ended");
        assert_int_equal(h.replies, 99);
        assert_int_equal(h.failures, 99);
        assert_string_equal(h.last_text, "it ended");
        guest_link_close(h.link);
        assert_false(guest_link_is_connected(h.link));
        host_down(&h);
}

static void test_garbage(void **state) {
        static const uint8_t bad[] = { 5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff };
        static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0x7f };
        const struct {
                const uint8_t *p;
                size_t n;
        } rows[] = { { bad, sizeof(bad) }, { huge, sizeof(huge) } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Host h;

                host_up(&h, true);
                h.guest.mute = true;
                assert_int_equal(call(&h, NULL), 1);
                (void)session_write(h.guest.session, 0, rows[i].p, rows[i].n);
                guest_rig_flush(&h.guest);
                guest_rig_until(&h.guest, &h.broken, 1);
                assert_int_equal(h.last_code, -EBADMSG);
                assert_int_equal(call(&h, NULL), -ENOTCONN);
                assert_int_equal(h.broken, 1);
                host_down(&h);
        }
}

/* The move of the link: what the source had under way is answered at the destination, once. */
static void test_move(void **state) {
        Buf saved = {}, in = {}, out = {};
        uint8_t id[16];
        uint64_t a, b, epoch;
        uint32_t channel;
        Host s, d;

        host_up(&s, true);
        host_up(&d, false);
        s.guest.mute = true;
        assert_int_equal(call(&s, &a), 1);
        guest_rig_until(&s.guest, &s.guest.requests, 1);
        guest_link_hold(s.link);
        assert_int_equal(call(&s, &b), 1); /* it never left the source */
        assert_int_equal(session_save(guest_link_session(s.link), &saved, NULL), 0);
        assert_int_equal(guest_rpc_save(s.rpc, &in, &out, NULL), 0);
        guest_link_facts(s.link, id, &epoch, &channel);

        /* connected and held before it knows anything */
        assert_int_equal(guest_link_release(d.link, NULL), -EBADFD);
        assert_int_equal(guest_link_open(d.link, s.guest.path, true, NULL), 0);
        assert_true(guest_link_is_connected(d.link));
        guest_link_close(s.link);
        assert_int_equal(guest_link_import(d.link, saved.data, saved.len, id, channel, NULL), 0);
        assert_int_equal(guest_rpc_import(d.rpc, in.data, in.len, out.data, out.len, NULL), 0);
        assert_int_equal(session_raise_epoch(guest_link_session(d.link), epoch + 1, NULL), 0);
        guest_rpc_raise_floor(d.rpc, guest_rpc_next_call(s.rpc));
        assert_int_equal(guest_rpc_adopt(d.rpc, a, on_reply, &d, NULL), 1);
        assert_int_equal(guest_rpc_adopt(d.rpc, a, on_reply, &d, NULL), -EEXIST);
        assert_int_equal(guest_rpc_adopt(d.rpc, b, on_reply, &d, NULL), 1);
        assert_int_equal(guest_rpc_start(d.rpc, NULL), 0);
        session_thaw(guest_link_session(d.link));
        assert_int_equal(guest_link_release(d.link, NULL), 0);
        for (unsigned i = 0; i < 400 && (d.ups == 0 || s.guest.requests < 2); i++) {
                guest_rig_run(&s.guest, 1);
                (void)sd_event_run(d.event, 1000);
        }
        assert_int_equal(s.guest.requests, 2);
        assert_int_equal(s.guest.last_call, b);
        guest_rig_answer(&s.guest, a);
        guest_rig_answer(&s.guest, b);
        for (unsigned i = 0; i < 400 && d.replies < 2; i++) {
                guest_rig_run(&s.guest, 1);
                (void)sd_event_run(d.event, 1000);
        }
        assert_int_equal(d.replies, 2);
        assert_int_equal(d.failures, 0);
        assert_int_equal(s.replies, 0);
        assert_true(guest_rpc_next_call(d.rpc) > b);
        buf_done(&saved);
        buf_done(&in);
        buf_done(&out);
        host_down(&s);
        host_down(&d);
}

/* QEMU is not there yet: dialled until it is. */
static void test_late(void **state) {
        Host h;

        host_up(&h, false);
        assert_int_equal(guest_link_begin(h.link, NULL), 0);
        assert_int_equal(guest_link_open(h.link, "/nonexistent/link.sock", false, NULL), 0);
        guest_rig_run(&h.guest, 10);
        assert_int_equal(h.ups, 0);
        assert_int_equal(guest_link_open(h.link, h.guest.path, false, NULL), 0);
        guest_rig_until(&h.guest, &h.ups, 1);
        guest_rig_stop_listening(&h.guest);
        guest_rig_cut(&h.guest);
        guest_rig_until(&h.guest, &h.downs, 1);
        assert_false(guest_link_is_up(h.link));
        guest_link_close(h.link);
        host_down(&h);
}

/* The agent lost our HELLO, as it may when it learns late that the host before has gone. */
static void test_no_answer(void **state) {
        Host h;

        host_up(&h, true);
        h.guest.deaf = 1;
        guest_rig_cut(&h.guest);
        guest_rig_until(&h.guest, &h.guest.accepted, 3);
        guest_rig_until(&h.guest, &h.ups, 2);
        assert_int_equal(h.losses, 0);
        assert_int_equal(call(&h, NULL), 1);
        guest_rig_until(&h.guest, &h.replies, 1);
        host_down(&h);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls),     cmocka_unit_test(test_reconnect),
                cmocka_unit_test(test_end),       cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_move),      cmocka_unit_test(test_late),
                cmocka_unit_test(test_no_answer),
        };

        return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
