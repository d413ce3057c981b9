/* SPDX-License-Identifier: Apache-2.0 */
/* rows: H1 H9 F76 F88 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fakes/fail-malloc.h"
#include "tests/fakes/fake-host.h"
#include "tests/fakes/fake-network.h"

/* A network in each state, and what every call does there. */
typedef struct Rig {
        FakeNetwork fake;
        NetFacts *facts, *other; /* here, and on another host */
        Network *n;
        FakeAnswer answer;
        Buf saved;
} Rig;

static void plan(Rig *r, size_t n_interfaces) {
        Error e = ERROR_INIT;

        *r = (Rig){ .facts = fake_network_facts(3, 5), .other = fake_network_facts(3, 9) };
        r->fake.facts = r->facts;
        assert_int_equal(network_new(NULL, &r->n, &e), 0);
        network_bind(r->n, &fake_network_ops, &r->fake);
        r->facts->n_interfaces = n_interfaces;
        assert_int_equal(network_plan(r->n, NETWORK_NAMESPACE, "/n", r->facts, &e), 0);
        r->facts->n_interfaces = 3;
}

static void done(Rig *r) {
        while (fake_network_fire(&r->fake, -EIO))
                ;
        r->n = network_free(r->n);
        (void)net_facts_free(r->facts);
        (void)net_facts_free(r->other);
        buf_done(&r->saved);
}

static void save(Rig *r) {
        assert_int_equal(controller_freeze(network_controller(r->n), NULL), 0);
        assert_int_equal(network_save(r->n, &r->saved, NULL), 0);
}

static void import(Rig *r) {
        save(r);
        r->n = network_free(r->n);
        assert_int_equal(network_import(NULL, r->saved.data, r->saved.len, &r->n, NULL), 0);
        network_bind(r->n, &fake_network_ops, &r->fake);
}

static void bring_to(Rig *r, NetworkState state) {
        plan(r, 2);
        r->fake.later = state == NETWORK_SETTING_UP;
        if (state == NETWORK_NOT_CONFIGURED)
                return;
        r->fake.refuse[FAKE_NETWORK_GUEST] = state == NETWORK_INVALID ? -EIO : 0;
        (void)network_setup(r->n, fake_answer, &r->answer, NULL);
        r->fake.refuse[FAKE_NETWORK_GUEST] = 0;
        if (state == NETWORK_CHANGING) {
                r->fake.later = true;
                assert_int_equal(network_remove(r->n, "eth1", fake_answer, &r->answer, NULL), 1);
        }
        if (state == NETWORK_TORN_DOWN)
                network_teardown(r->n);
        if (state == NETWORK_SOURCE_MIGRATING)
                save(r);
        if (state == NETWORK_DESTINATION_MIGRATING)
                import(r);
        assert_int_equal(network_state(r->n), state);
        r->fake.trace[0] = '\0';
        r->fake.later = false;
}

typedef enum Verb {
        VERB_PLAN,
        VERB_SETUP,
        VERB_ADD,
        VERB_REMOVE,
        VERB_TEARDOWN,
        VERB_FREEZE,
        VERB_THAW,
        VERB_SAVE,
        VERB_PATCH,
        VERB_RESUME,
        VERB_RESET,
        VERB_ABORT,
        _VERB_MAX,
} Verb;

static int call(Rig *r, Verb verb) {
        NetworkPatch patch = { .path = "/m", .facts = r->other };
        _cleanup_buf_ Buf b = {};
        int k = 0;

        switch (verb) {
        case VERB_PLAN:
                return network_plan(r->n, NETWORK_NONE, "", NULL, NULL);
        case VERB_SETUP:
                return network_setup(r->n, fake_answer, &r->answer, NULL);
        case VERB_ADD:
                k = network_add(r->n, "eth2", fake_answer, &r->answer, NULL);
                while (k == 1 && fake_network_fire(&r->fake, 0))
                        ;
                return k == 1 ? r->answer.r : k;
        case VERB_REMOVE:
                return network_remove(r->n, "eth1", fake_answer, &r->answer, NULL);
        case VERB_TEARDOWN:
                network_teardown(r->n);
                return 0;
        case VERB_FREEZE:
                return controller_freeze(network_controller(r->n), NULL);
        case VERB_THAW:
                controller_thaw(network_controller(r->n));
                return 0;
        case VERB_SAVE:
                return network_save(r->n, &b, NULL);
        case VERB_PATCH:
                return network_patch(r->n, &patch, NULL);
        case VERB_RESUME:
                return network_resume(r->n, NULL);
        case VERB_RESET:
                return network_reset(r->n, fake_answer, &r->answer, NULL);
        case VERB_ABORT:
                return network_abort_migrated(r->n, NULL);
        case _VERB_MAX:
                break;
        }
        return -EINVAL;
}

#define X (-EBADFD) /* refused, nothing changed */

/* clang-format off */
static const struct {
        int r[_VERB_MAX];
        const char *next[_VERB_MAX]; /* NULL: stays */
} cells[_NETWORK_STATE_MAX] = {
        /*                                plan setup add rem tear  freeze thaw save patch resume reset abort */
        [NETWORK_NOT_CONFIGURED]        = { { 0, 0, X, X, 0, 0, 0, X, X, 0, X, 0 },
                { [VERB_SETUP] = "configured", [VERB_FREEZE] = "source-migrating" } },
        [NETWORK_SETTING_UP]            = { { X, X, X, X, 0, X, 0, X, X, 0, X, 0 }, {} },
        [NETWORK_CONFIGURED]            = { { X, X, 0, 0, 0, 0, 0, X, X, 0, 0, 0 },
                { [VERB_TEARDOWN] = "torn-down", [VERB_FREEZE] = "source-migrating" } },
        [NETWORK_CHANGING]              = { { X, X, X, X, 0, X, 0, X, X, 0, X, 0 }, {} },
        [NETWORK_INVALID]               = { { X, X, X, X, 0, X, 0, X, X, 0, X, 0 },
                { [VERB_TEARDOWN] = "torn-down" } },
        [NETWORK_TORN_DOWN]             = { { X, X, X, X, 0, 0, 0, X, X, 0, X, 0 },
                { [VERB_FREEZE] = "source-migrating" } },
        [NETWORK_SOURCE_MIGRATING]      = { { X, X, X, X, 0, X, 0, 0, X, 0, X, 0 },
                { [VERB_TEARDOWN] = "torn-down", [VERB_THAW] = "configured", [VERB_RESUME] = "configured" } },
        [NETWORK_DESTINATION_MIGRATING] = { { X, X, X, X, 0, X, 0, X, 0, 0, X, 0 },
                { [VERB_TEARDOWN] = "torn-down", [VERB_RESUME] = "configured", [VERB_ABORT] = "torn-down" } },
};
/* clang-format on */

static void test_cells(void **state) {
        NetworkState s = (NetworkState)(uintptr_t)*state;

        for (int verb = 0; verb < _VERB_MAX; verb++) {
                const char *next = cells[s].next[verb] ?: fsm_state_name(&network_fsm, (int)s);
                static Rig r;

                bring_to(&r, s);
                assert_int_equal(call(&r, (Verb)verb), cells[s].r[verb]);
                assert_string_equal(fsm_state_name(&network_fsm, (int)network_state(r.n)), next);
                done(&r);
        }
}

static void test_setup(void **state) {
        static Rig r;

        plan(&r, 2);
        r.fake.later = true;
        assert_int_equal(network_setup(r.n, fake_answer, &r.answer, NULL), 1);
        assert_string_equal(r.fake.trace, "join /n eth0;");
        assert_true(fake_network_fire(&r.fake, 0));
        assert_true(fake_network_fire(&r.fake, 0));
        assert_string_equal(r.fake.trace,
                            "join /n eth0;join /n eth1;guest eth0.5 eth1.5 names announce;");
        assert_int_equal(r.answer.times, 0);
        assert_true(fake_network_fire(&r.fake, 0));
        assert_int_equal(r.answer.times, 1);
        assert_int_equal(network_state(r.n), NETWORK_CONFIGURED);
        done(&r);
        for (int at = 0; at < 3; at++) { /* each of them fails */
                plan(&r, 2);
                r.fake.later = true;
                assert_int_equal(network_setup(r.n, fake_answer, &r.answer, NULL), 1);
                for (int i = 0; i <= at; i++)
                        assert_true(fake_network_fire(&r.fake, i == at ? -EIO : 0));
                assert_int_equal(r.answer.r, -EIO);
                assert_int_equal(network_state(r.n), NETWORK_INVALID);
                /* a join that failed is undone as a whole by its own step */
                assert_int_equal(!!strstr(r.fake.trace, "leave /n eth0;"), at == 2);
                done(&r);
        }
}

static void test_add_and_remove(void **state) {
        static Rig r;

        bring_to(&r, NETWORK_CONFIGURED);
        assert_int_equal(network_add(r.n, "eth1", fake_answer, &r.answer, NULL), -EEXIST);
        assert_int_equal(network_remove(r.n, "eth9", fake_answer, &r.answer, NULL), -ENOENT);
        assert_int_equal(network_add(r.n, "lo", fake_answer, &r.answer, NULL), -EINVAL);
        assert_int_equal(network_remove(r.n, "eth0", fake_answer, &r.answer, NULL), 0);
        assert_string_equal(r.fake.trace, "guest eth1.5 -eth0;unplug 0;leave /n eth0;");
        r.fake.trace[0] = '\0';
        assert_int_equal(network_add(r.n, "eth2", fake_answer, &r.answer, NULL), 1);
        assert_true(fake_network_fire(&r.fake, 0));
        assert_int_equal(r.answer.r, 0); /* in the slot that was free */
        assert_string_equal(r.fake.trace,
                            "read /n;plug 0;join /n eth2;guest eth2.5 eth1.5 announce;");
        done(&r);
        for (int at = 0; at < 4; at++) { /* what was done is undone, in the reverse order */
                static const char *const undone[] = { "", "", "unplug 2;",
                                                      "leave /n eth2;unplug 2;" };
                static const FakeNetworkOp ops[] = { FAKE_NETWORK_READ, FAKE_NETWORK_PLUG,
                                                     FAKE_NETWORK_JOIN, FAKE_NETWORK_GUEST };
                size_t n;

                bring_to(&r, NETWORK_CONFIGURED);
                r.fake.refuse[ops[at]] = -EIO;
                if (network_add(r.n, "eth2", fake_answer, &r.answer, NULL) == 1)
                        assert_true(fake_network_fire(&r.fake, 0));
                assert_int_equal(network_state(r.n), NETWORK_CONFIGURED);
                n = strlen(r.fake.trace) - strlen(undone[at]);
                assert_string_equal(r.fake.trace + n, undone[at]);
                assert_int_equal(network_remove(r.n, "eth2", fake_answer, &r.answer, NULL),
                                 -ENOENT);
                done(&r);
        }
}

static void test_refused_remove(void **state) {
        static Rig r;

        bring_to(&r, NETWORK_CONFIGURED);
        r.fake.refuse[FAKE_NETWORK_UNPLUG] = -ETIMEDOUT;
        assert_int_equal(network_remove(r.n, "eth1", fake_answer, &r.answer, NULL), -ETIMEDOUT);
        assert_int_equal(network_state(r.n), NETWORK_CONFIGURED);
        assert_int_equal(controller_freeze(network_controller(r.n), NULL), -EBADFD);
        r.fake.refuse[FAKE_NETWORK_UNPLUG] = 0;
        assert_int_equal(network_remove(r.n, "eth1", fake_answer, &r.answer, NULL), 0);
        assert_int_equal(controller_freeze(network_controller(r.n), NULL), 0);
        done(&r);
}

/* The VM dies under a call: the call fails, and the namespace is left. */
static void test_lost(void **state) {
        static const NetworkState states[] = { NETWORK_SETTING_UP, NETWORK_CHANGING };

        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                static Rig r;

                bring_to(&r, states[i]);
                network_teardown(r.n);
                assert_int_equal(network_state(r.n), states[i]);
                assert_true(fake_network_fire(&r.fake, -ENOTCONN));
                assert_int_equal(r.answer.r, -ENOTCONN);
                assert_int_equal(network_state(r.n), NETWORK_TORN_DOWN);
                done(&r);
        }
}

static void test_keep(void **state) {
        static Rig r;

        bring_to(&r, NETWORK_DESTINATION_MIGRATING);
        assert_int_equal(call(&r, VERB_PATCH), 0);
        assert_string_equal(network_path(r.n), "/m");
        assert_int_equal(call(&r, VERB_PATCH), 0); /* may be repeated */
        assert_int_equal(network_resume(r.n, NULL), 0);
        assert_int_equal(network_reset(r.n, fake_answer, &r.answer, NULL), 0);
        assert_string_equal(r.fake.trace, "guest eth0.5 eth1.5 announce only;");
        network_teardown(r.n);
        assert_non_null(strstr(r.fake.trace, "leave /m eth0;leave /m eth1;"));
        done(&r);
        bring_to(&r, NETWORK_SOURCE_MIGRATING); /* there, it stays cut off */
        network_teardown(r.n);
        assert_string_equal(r.fake.trace, "leave /n eth0 cut;leave /n eth1 cut;");
        done(&r);
}

static void test_rebind(void **state) {
        NetworkPatch patch = { .path = "/m", .mode = NETWORK_REBIND };
        static Rig r;

        bring_to(&r, NETWORK_DESTINATION_MIGRATING);
        patch.facts = r.other;
        assert_int_equal(network_patch(r.n, &patch, NULL), 0);
        assert_int_equal(network_resume(r.n, NULL), 0);
        r.fake.refuse[FAKE_NETWORK_GUEST] = -EIO; /* a failure may be repeated */
        assert_int_equal(network_reset(r.n, fake_answer, &r.answer, NULL), -EIO);
        assert_int_equal(network_state(r.n), NETWORK_CONFIGURED);
        r.fake.refuse[FAKE_NETWORK_GUEST] = 0;
        r.fake.trace[0] = '\0';
        r.fake.later = true;
        assert_int_equal(network_reset(r.n, fake_answer, &r.answer, NULL), 1);
        assert_int_equal(network_state(r.n), NETWORK_CHANGING);
        assert_true(fake_network_fire(&r.fake, 0));
        assert_string_equal(r.fake.trace, "guest eth0.9 eth1.9 names announce;");
        assert_int_equal(network_state(r.n), NETWORK_CONFIGURED);
        done(&r);
}

static void test_bad_patches(void **state) {
        NetworkPatch patch = { .path = "" };
        Error e = ERROR_INIT;
        static Rig r;

        bring_to(&r, NETWORK_DESTINATION_MIGRATING);
        assert_int_equal(network_patch(r.n, &patch, &e), -EINVAL);
        assert_non_null(strstr(e.text, "--net ns:PATH"));
        patch.path = "m";
        assert_int_equal(network_patch(r.n, &patch, &e), -EINVAL);
        patch.path = "/m";
        patch.facts = r.other;
        r.other->n_interfaces = 1;
        assert_int_equal(network_patch(r.n, &patch, &e), -ENOENT);
        assert_non_null(strstr(e.text, "/m has no interface eth1, which the pod has"));
        r.other->n_interfaces = 3;
        memcpy(r.other->interfaces[2]->mac.data, r.facts->interfaces[0]->mac.data, 6);
        assert_int_equal(network_patch(r.n, &patch, &e), -EEXIST);
        assert_non_null(strstr(e.text, "02:00:00:00:00:05 (eth0) is in use there, by eth2"));
        assert_string_equal(network_path(r.n), "/n"); /* nothing has changed */
        done(&r);
        plan(&r, 2);
        assert_int_equal(network_plan(r.n, NETWORK_NONE, "", NULL, NULL), 0);
        import(&r);
        patch.facts = r.other;
        assert_int_equal(network_patch(r.n, &patch, &e), -EINVAL);
        assert_non_null(strstr(e.text, "the pod's network is \"none\""));
        done(&r);
}

/* A source that was started anew has an imported network; the pod runs elsewhere all the same. */
static void test_stays_cut(void **state) {
        for (int moved = 0; moved < 2; moved++) {
                static Rig r;

                r = (Rig){};
                bring_to(&r, NETWORK_DESTINATION_MIGRATING);
                if (moved)
                        network_stay_cut(r.n);
                network_teardown(r.n);
                if ((strstr(r.fake.trace, "leave /n eth0 cut;") != NULL) != moved)
                        fail_msg("moved %d: %s", moved, r.fake.trace);
                done(&r);
        }
}

static void test_bad_plans(void **state) {
        Error e = ERROR_INIT;
        static Rig r;

        plan(&r, 2);
        assert_int_equal(network_plan(r.n, NETWORK_NAMESPACE, "n", r.facts, &e), -EINVAL);
        assert_int_equal(network_plan(r.n, NETWORK_NAMESPACE, "", r.facts, &e), -EINVAL);
        assert_int_equal(network_plan(r.n, NETWORK_NONE, "", r.facts, &e), -EINVAL);
        memcpy(r.facts->interfaces[1]->mac.data, r.facts->interfaces[0]->mac.data, 6);
        assert_int_equal(network_plan(r.n, NETWORK_NAMESPACE, "/n", r.facts, &e), -EEXIST);
        assert_non_null(strstr(e.text, "eth0 and eth1 have one MAC address"));
        assert_int_equal(network_kind(r.n), NETWORK_NONE);
        done(&r);
}

static void test_tables(void **state) {
        Error e = ERROR_INIT;

        assert_int_equal(fsm_check(&network_fsm, &e), 0);
        assert_int_equal(fsm_check(&network_interface_fsm, &e), 0);
        assert_int_equal(network_mode_from_name("rebind"), NETWORK_REBIND);
        assert_int_equal(network_mode_from_name("x"), -EINVAL);
}

static void test_dump(void **state) {
        json_object *o = NULL;
        const char *text;
        static Rig r;

        bring_to(&r, NETWORK_CONFIGURED);
        assert_int_equal(controller_dump(network_controller(r.n), &o, NULL), 0);
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
                                                         JSON_C_TO_STRING_NOSLASHESCAPE);
        assert_non_null(strstr(text, "\"network\":\"namespace\",\"namespace\":\"/n\""));
        assert_non_null(strstr(text, "{\"name\":\"eth0\",\"state\":\"up\","
                                     "\"mac\":\"02:00:00:00:00:05\",\"mtu\":1500,\"slot\":0,"
                                     "\"addresses\":[\"10.0.0.5/24\",\"fd00::5/64\"],"
                                     "\"gateways\":[\"10.0.0.254\"],\"routes\":1}"));
        json_object_put(o);
        done(&r);
}

/* Whatever allocation fails: refused, and nothing is lost or changed. */
static void test_no_memory(void **state) {
        NetworkPatch patch = { .path = "/m", .mode = NETWORK_REBIND };
        static Rig r;
        int k = -ENOMEM;

        if (!fail_malloc_works())
                skip();
        bring_to(&r, NETWORK_DESTINATION_MIGRATING);
        patch.facts = r.other;
        for (unsigned n = 1; k != 0; n++) {
                size_t before = fail_malloc_live();

                fail_malloc_at(n);
                k = network_patch(r.n, &patch, NULL);
                fail_malloc_at(0);
                assert_true(k == 0 || (k == -ENOMEM && fail_malloc_live() == before));
        }
        done(&r);
}

int main(void) {
        struct CMUnitTest tests[_NETWORK_STATE_MAX + 12] = {
                cmocka_unit_test(test_setup),          cmocka_unit_test(test_add_and_remove),
                cmocka_unit_test(test_refused_remove), cmocka_unit_test(test_lost),
                cmocka_unit_test(test_keep),           cmocka_unit_test(test_rebind),
                cmocka_unit_test(test_bad_patches),    cmocka_unit_test(test_bad_plans),
                cmocka_unit_test(test_tables),         cmocka_unit_test(test_dump),
                cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_stays_cut),
        };
        static char names[_NETWORK_STATE_MAX][80];

        for (int s = 0; s < _NETWORK_STATE_MAX; s++) {
                (void)snprintf(names[s], sizeof(names[s]), "cells of %s",
                               fsm_state_name(&network_fsm, s));
                tests[12 + s] = (struct CMUnitTest){ .name = names[s],
                                                     .test_func = test_cells,
                                                     .initial_state = (void *)(uintptr_t)s };
        }
        return _cmocka_run_group_tests("network", tests, ELEMENTSOF(tests), NULL, NULL);
}
