/* SPDX-License-Identifier: Apache-2.0 */
/* What is told and heard beside the calls: words of a hostile peer, answers after the end, options,
 * history, progress, calls that tune a running transfer.
 *
 * rows: H2 H14 H15 F61 F63 F81 B8 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controllers/migration/internal.h"
#include "lib/log.h"
#include "lib/message.h"
#include "peer.pb-c.h"
#include "tests/fakes/fake-migration.h"
#include "tests/unit/migration-rig.h"

/* -- extra calls -- */

static void test_tune(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        assert_int_equal(
                migration_tune(SRC(&w), "m1", MIGRATION_CALL_SET_BANDWIDTH, 5, NULL, NULL, NULL),
                0);
        assert_int_equal(migration_tune(SRC(&w), "m1", MIGRATION_CALL_CANCEL, 5, NULL, NULL, NULL),
                         -EINVAL);
        assert_int_equal(migration_tune(SRC(&w), "m1", MIGRATION_CALL_SWITCH_TO_POSTCOPY, 0, NULL,
                                        NULL, NULL),
                         -EBADFD);
        assert_int_equal(migration_tune(DST(&w), "m1", MIGRATION_CALL_PAUSE, 0, NULL, NULL, NULL),
                         -EBADFD);
        fake_world_done(&w);
}

/* -- a hostile peer -- */

typedef struct Podferry__Peer__V1__Peer PeerMessage;

static void hear(Migration *m, PeerMessage *p) {
        uint8_t buf[512];
        size_t n = protobuf_c_message_get_packed_size(&p->base);

        assert_true(n <= sizeof(buf));
        migration_on_peer(m, buf, protobuf_c_message_pack(&p->base, buf));
}

static PeerMessage word(uint64_t epoch) {
        static char pod[] = "p1", session[] = "m1";
        PeerMessage p = PODFERRY__PEER__V1__PEER__INIT;

        p.pod = pod;
        p.session = session;
        p.epoch = epoch;
        p.number = 1;
        return p;
}

static void test_hostile(void **state) {
        static char other[] = "other";
        Podferry__Peer__V1__Ready ready = PODFERRY__PEER__V1__READY__INIT;
        Podferry__Peer__V1__Released released = PODFERRY__PEER__V1__RELEASED__INIT;
        Podferry__Peer__V1__Running running = PODFERRY__PEER__V1__RUNNING__INIT;
        Podferry__Peer__V1__Kept kept = PODFERRY__PEER__V1__KEPT__INIT;
        MigrationOptions o = migration_defaults();
        PeerMessage p;
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        libvirt_until(&w, FAKE_FINISHED);
        /* READY that is not of this pod, session, epoch, or without a number. */
        for (int i = 0; i < 6; i++) {
                p = word(2);
                p.body_case = PODFERRY__PEER__V1__PEER__BODY_READY;
                p.ready = &ready;
                if (i == 0)
                        p.pod = other;
                else if (i == 1)
                        p.session = other;
                else if (i == 2)
                        p.epoch = 1;
                else if (i == 3)
                        p.epoch = 3;
                else if (i == 4)
                        p.number = 0;
                else
                        p.body_case = PODFERRY__PEER__V1__PEER__BODY__NOT_SET;
                hear(SRC(&w), &p);
                assert_int_equal(w.s, MIGRATION_AT_PAUSED);
                assert_int_equal(w.side[0].n_journal, 1);
        }
        /* RUNNING before RELEASED, words of the wrong side, rubbish. */
        p = word(2);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_RUNNING;
        p.running = &running;
        hear(SRC(&w), &p);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_RELEASED;
        p.released = &released;
        hear(SRC(&w), &p);
        migration_on_peer(SRC(&w), "\xff\xff\xff", 3);
        migration_on_peer(SRC(&w), "", 0);
        assert_int_equal(w.side[0].n_journal, 1);
        /* RELEASED before READY at the destination. */
        p = word(1);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_RELEASED;
        p.released = &released;
        hear(DST(&w), &p);
        assert_int_equal(w.side[1].n_journal, 0);
        assert_int_equal(w.d, MIGRATION_AT_PAUSED);
        quiet_run(&w);
        /* KEPT after it runs at the destination. */
        p = word(1);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_KEPT;
        p.kept = &kept;
        hear(DST(&w), &p);
        assert_int_equal(w.d, MIGRATION_AT_RUNNING);
        assert_int_equal(migration_outcome(DST(&w)), MIGRATION_OUTCOME_MOVED);
        assert_string_equal(w.broken, "");
        fake_world_done(&w);
}

/* What was decided is answered after the session is gone, from the journal. */
static void test_answers_later(void **state) {
        Podferry__Peer__V1__Query query = PODFERRY__PEER__V1__QUERY__INIT;
        MigrationOptions o = migration_defaults();
        PeerMessage p;
        FakeWorld w;

        fake_world_init(&w);
        assert_true(drive_to(&w, MIGRATION_FINALIZED, &o));
        assert_int_equal(migration_cleanup(SRC(&w), "m1", NULL, NULL, NULL), 0);
        p = word(2);
        p.body_case = PODFERRY__PEER__V1__PEER__BODY_QUERY;
        p.query = &query;
        hear(SRC(&w), &p);
        assert_int_equal(w.side[1].n_in, 1);
        p.epoch = 1;
        hear(SRC(&w), &p);
        assert_int_equal(w.side[1].n_in, 1);
        fake_world_done(&w);
}

/* -- options, history -- */

static int count_option(void *userdata, const char *name, const char *value, const char *help) {
        MigrationOptions *o = userdata;

        assert_true(strlen(help) > 5);
        assert_int_equal(migration_options_set(o, name, value, NULL), 0);
        return 0;
}

static void test_options(void **state) {
        static const struct {
                const char *name, *value;
                int want;
        } rows[] = {
                { "handover", "fast", 0 },
                { "handover", "quick", -EINVAL },
                { "max_downtime", "250", 0 },
                { "max_downtime", "-1", -EINVAL },
                { "max_downtime", "", -EINVAL },
                { "max_downtime", "99999999999999999999", -EINVAL },
                { "connections", "300", -EINVAL },
                { "connections", "4", 0 },
                { "auto_converge", "true", 0 },
                { "auto_converge", "yes", -EINVAL },
                { "compression", "zstd", 0 },
                { "nonsense", "1", -EINVAL },
                { "transport", "qemu+tcp://h2/system", 0 },
                { "transport", "a b", -EINVAL },
        };
        MigrationOptions o = migration_defaults(), copy = migration_defaults();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Error e = ERROR_INIT;

                assert_int_equal(migration_options_set(&o, rows[i].name, rows[i].value, &e),
                                 rows[i].want);
                if (rows[i].want < 0)
                        assert_non_null(strstr(e.text, rows[i].name));
        }
        assert_int_equal(o.handover, MIGRATION_HANDOVER_FAST);
        assert_int_equal(o.max_downtime_ms, 250);
        assert_int_equal(o.connections, 4);
        assert_true(o.auto_converge);
        assert_int_equal(migration_options_each(&o, count_option, &copy), 0);
        memcpy(copy.origin, o.origin, sizeof(o.origin)); /* all of them were set */
        assert_memory_equal(&o, &copy, sizeof(o));
        assert_int_equal(migration_options_check(&o, NULL), -EINVAL); /* no TLS */
        o.transport[0] = '\0';
        assert_int_equal(migration_options_check(&o, NULL), -EOPNOTSUPP); /* zstd */
        o.compression = MIGRATION_COMPRESSION_XBZRLE;
        assert_int_equal(migration_options_check(&o, NULL), -EINVAL); /* with connections */
        o.compression = MIGRATION_COMPRESSION_NONE;
        assert_int_equal(migration_options_check(&o, NULL), 0);
        o.postcopy = true;
        assert_int_equal(migration_options_check(&o, NULL), -EINVAL); /* with connections */
        o.postcopy = false;
        o.connections = 0;
        o.compression_cache = 1 << 20;
        assert_int_equal(migration_options_check(&o, NULL), -EINVAL);
        o.compression = MIGRATION_COMPRESSION_XBZRLE;
        assert_int_equal(migration_options_check(&o, NULL), 0);
        o.postcopy = true;
        o.handover = MIGRATION_HANDOVER_SHIMS;
        assert_int_equal(migration_options_check(&o, NULL), -EINVAL);
        o.postcopy = false;
        assert_int_equal(migration_options_set(&o, "verify", "true", NULL), 0);
        assert_int_equal(migration_options_check(&o, NULL), -EOPNOTSUPP); /* not ignored */
}

static void test_transport(void **state) {
        static const struct {
                const char *transport, *uri; /* NULL: refused */
        } rows[] = {
                { "libvirt+tls://h2", "qemu+tls://h2/system" },
                { "libvirt+tls://h2/system", "qemu+tls://h2/system" },
                { "libvirt+tcp://h2:1/", "qemu+tcp://h2:1/system" },
                { "libvirt+tls://[::1]:16514?pkipath=/a/b",
                  "qemu+tls://[::1]:16514/system?pkipath=/a/b" },
                { "libvirt+tls://h2/system?no_verify=1", "qemu+tls://h2/system?no_verify=1" },
                { "libvirt+tls://", NULL },
                { "libvirt+tls:///system", NULL },
                { "libvirt+tls://?x", NULL },
                { "libvirt+tls://h2/session", NULL },
                { "libvirt+tls://h2/system/system", NULL },
                { "libvirt+tls:h2", NULL },
                { "qemu+tls://h2/system", NULL },
                { "libvirt://h2", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                MigrationOptions o = migration_defaults();
                char uri[MIGRATION_URI_MAX];
                Error e = ERROR_INIT;
                int r;

                assert_int_equal(migration_options_set(&o, "transport", rows[i].transport, NULL),
                                 0);
                o.allow_plaintext = true;
                r = migration_options_libvirt_uri(&o, uri, sizeof(uri), &e);
                if (r != (rows[i].uri ? 0 : -EINVAL) || migration_options_check(&o, NULL) != r)
                        fail_msg("%s: %d %s", rows[i].transport, r, e.text);
                if (rows[i].uri)
                        assert_string_equal(uri, rows[i].uri);
                else
                        assert_non_null(strstr(e.text, "option transport"));
        }
}

static int collect(void *userdata, const MigrationNotification *n) {
        uint64_t *last = userdata;

        assert_true(n->id > *last);
        *last = n->id;
        return 0;
}

static void test_history(void **state) {
        MigrationHistory *h = calloc(1, sizeof(*h));
        MigrationNotification n = { .result = MIGRATION_STARTED };
        uint64_t last = 0;
        bool gap;

        assert_non_null(h);
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(migration_history_add(h, &n)->id, i + 1);
        n.result = MIGRATION_PROGRESS;
        for (unsigned i = 0; i < 1000; i++)
                (void)migration_history_add(h, &n);
        assert_int_equal(h->len, 11);
        assert_int_equal(migration_history_since(h, 0, &gap, collect, &last), 0);
        assert_false(gap);
        assert_int_equal(last, 1010);
        n.result = MIGRATION_WARNING;
        for (unsigned i = 0; i < MIGRATION_HISTORY; i++)
                (void)migration_history_add(h, &n);
        last = 0;
        assert_int_equal(migration_history_since(h, 5, &gap, collect, &last), 0);
        assert_true(gap);
        assert_int_equal(last, 1010 + MIGRATION_HISTORY);
        last = 1100;
        assert_int_equal(migration_history_since(h, 1100, &gap, collect, &last), 0);
        assert_false(gap);
        free(h);
}

static void test_progress(void **state) {
        MigrationStatistics s = { .memory = { 100, 40, 60 } };
        MigrationDisk disk = { "c1 scratch", { 10, 5, 5 } };
        MigrationOptions o = migration_defaults();
        MigrationProgress p;
        json_object *dump;
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        migration_on_statistics(SRC(&w), &s, &disk, 1);
        migration_progress(SRC(&w), &p);
        assert_int_equal(p.percent, 40);
        assert_int_equal(p.phase, MIGRATION_PHASE_MEMORY);
        assert_string_equal(p.disks[0].name, "c1 scratch");
        s.memory =
                (MigrationBytes){ 100, 60, 80 }; /* dirtied again: the percentage does not fall */
        migration_on_statistics(SRC(&w), &s, NULL, 0);
        migration_progress(SRC(&w), &p);
        assert_int_equal(p.percent, 40);
        assert_int_equal(migration_dump(SRC(&w), &dump, NULL), 0);
        json_object_put(dump);
        quiet_run(&w);
        migration_progress(DST(&w), &p);
        assert_true(p.blackout_start_ns > 0 && p.blackout_end_ns > p.blackout_start_ns);
        assert_int_equal(p.percent, 100);
        migration_progress(SRC(&w), &p);
        assert_true(p.peer_blackout_ns > 0);
        fake_world_done(&w);
}

static void test_adopt_refuses(void **state) {
        static const JournalKind over[] = {
                JOURNAL_KEPT,
                JOURNAL_LOST,
                JOURNAL_RUNNING,
        };
        JournalRecord r = { .epoch = 2, .session = "m1", .pod = "p1" };
        FakeWorld w;

        fake_world_init(&w);
        for (size_t i = 0; i < ELEMENTSOF(over); i++) {
                r.kind = over[i];
                assert_int_equal(migration_adopt(SRC(&w), &r, false, NULL, 0, NULL), -EINVAL);
        }
        r.kind = JOURNAL_READY;
        assert_int_equal(migration_adopt(SRC(&w), &r, false, NULL, 0, NULL), -EINVAL);
        r.kind = JOURNAL_OWNED;
        r.epoch = 1;
        assert_int_equal(migration_adopt(SRC(&w), &r, false, "x", 1, NULL), -EINVAL);
        assert_int_equal(migration_state(SRC(&w)), MIGRATION_IDLE);
        fake_world_done(&w);
}

static Migration *with_last(FakeWorld *w, JournalKind kind) {
        JournalRecord last = { .kind = kind, .epoch = 2, .session = "m1", .pod = "p1" };
        Migration *m;

        assert_int_equal(migration_new("p1", &last, &fake_migration_ops, &w->side[0], &m, NULL), 0);
        return m;
}

/* A transport for what is left to say: not during a transfer, but also after the session. */
static void test_reconnect(void **state) {
        static const struct {
                JournalKind last;
                MigrationRole role;
        } rows[] = {
                { JOURNAL_KEPT, MIGRATION_SOURCE },
                { JOURNAL_DONE, MIGRATION_SOURCE },
                { JOURNAL_LOST, MIGRATION_SOURCE },
                { JOURNAL_RUNNING, MIGRATION_DESTINATION },
                { JOURNAL_REFUSED, MIGRATION_DESTINATION },
        };
        MigrationOptions o;
        FakeWorld w;

        migration_options_init(&o);
        fake_world_init(&w);
        assert_int_equal(migration_reconnect(SRC(&w), "m1", NULL), -EINVAL);
        assert_int_equal(migration_reconnect(SRC(&w), "", NULL), -EBADFD);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Migration *m = with_last(&w, rows[i].last);

                assert_int_equal(migration_last_role(m), rows[i].role);
                assert_int_equal(migration_reconnect(m, "m2", NULL), -EINVAL);
                assert_int_equal(migration_reconnect(m, "m1", NULL), 0);
                migration_on_transport(m, true, NULL);
                migration_on_transport(m, false, NULL);
                assert_int_equal(migration_reconnect(m, "m1", NULL), 0);
                assert_int_equal(migration_state(m), MIGRATION_IDLE);
                (void)migration_free(m);
        }
        assert_true(fake_until_transferring(&w, &o));
        assert_int_equal(migration_reconnect(SRC(&w), "m1", NULL), -EBADFD);
        assert_true(fake_run(&w, 300));
        assert_int_equal(migration_reconnect(SRC(&w), "m2", NULL), -EINVAL);
        assert_int_equal(migration_reconnect(SRC(&w), "m1", NULL), 0);
        fake_world_done(&w);
}

/* The guest ends by itself while it is copied: nobody has the pod, and it was not the move that
 * lost it. */
static void test_guest_ends(void **state) {
        for (int crash = 0; crash < 2; crash++) {
                MigrationOptions o = migration_defaults();
                FakeWorld w;

                fake_world_init(&w);
                assert_true(fake_until_transferring(&w, &o));
                w.reason = true;
                w.s = MIGRATION_AT_DEAD;
                migration_on_domain(SRC(&w), MIGRATION_DOMAIN_DIED, crash ? "crashed" : "guest");
                assert_false(migration_guest_ended(SRC(&w))); /* that is not decided */
                assert_true(fake_libvirt(&w, 2));
                assert_true(fake_run(&w, 300));
                assert_string_equal(w.broken, "");
                assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_LOST);
                assert_true(migration_guest_ended(SRC(&w)));
                assert_false(migration_guest_ended(DST(&w)));
                assert_non_null(strstr(migration_error(SRC(&w))->text, "had ended at the source"));
                fake_world_done(&w);
        }
}

/* Somebody else has put it away: nobody stopped the pod, so it is lost. */
static void test_destroyed(void **state) {
        MigrationOptions o = migration_defaults();
        FakeWorld w;

        fake_world_init(&w);
        assert_true(fake_until_transferring(&w, &o));
        w.reason = true;
        w.s = MIGRATION_AT_NONE;
        migration_on_domain(SRC(&w), MIGRATION_DOMAIN_GONE, "destroyed");
        assert_true(fake_libvirt(&w, 2));
        assert_true(fake_run(&w, 300));
        assert_int_equal(migration_outcome(SRC(&w)), MIGRATION_OUTCOME_LOST);
        assert_false(migration_guest_ended(SRC(&w)));
        fake_world_done(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tune),          cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_answers_later), cmocka_unit_test(test_options),
                cmocka_unit_test(test_transport),     cmocka_unit_test(test_history),
                cmocka_unit_test(test_progress),      cmocka_unit_test(test_reconnect),
                cmocka_unit_test(test_adopt_refuses), cmocka_unit_test(test_guest_ends),
                cmocka_unit_test(test_destroyed),
        };

        log_set_max_level(getenv("TRACE") ? LOG_DEBUG : LOG_EMERG);
        return cmocka_run_group_tests_name("migration", tests, NULL, NULL);
}
