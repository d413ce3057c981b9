/* SPDX-License-Identifier: Apache-2.0 */
/* Two sides of a migration, driven to each state by the calls that lead there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/migration-rig.h"

MigrationOptions migration_defaults(void) {
        MigrationOptions o;

        migration_options_init(&o);
        return o;
}

void libvirt_until(FakeWorld *w, FakeLibvirt lv) {
        while (w->lv != lv)
                assert_true(fake_libvirt(w, 0));
}

void quiet_run(FakeWorld *w) {
        assert_true(fake_run(w, 500));
        assert_string_equal(w->broken, "");
}

bool drive_to(FakeWorld *w, MigrationState s, const MigrationOptions *o) {
        _cleanup_buf_ Buf b = {};

        switch (s) {
        case MIGRATION_IDLE:
                return true;
        case MIGRATION_SOURCE_EXPORTED:
        case MIGRATION_DESTINATION_IMPORTED:
        case MIGRATION_DESTINATION_PREPARED:
                assert_int_equal(migration_export(SRC(w), "m1", &b, NULL), 0);
                assert_int_equal(migration_import(DST(w), "m1", "", b.data, b.len, NULL), 0);
                if (s == MIGRATION_DESTINATION_PREPARED)
                        assert_int_equal(migration_prepare(DST(w), "m1", NULL, NULL, NULL), 0);
                return true;
        case MIGRATION_TRANSPORT_READY:
                return fake_until_transport(w, o);
        case MIGRATION_TRANSPORT_WAITING:
                assert_true(fake_until_transport(w, o));
                assert_int_equal(migration_transfer(SRC(w), "m1", o, NULL), 0);
                assert_int_equal(migration_transfer(DST(w), "m1", o, NULL), 0);
                return true;
        case MIGRATION_TRANSFERRING:
                return fake_until_transferring(w, o);
        case MIGRATION_SWITCHOVER:
                assert_true(fake_until_transferring(w, o));
                libvirt_until(w, FAKE_FINISHED);
                return true;
        case MIGRATION_TRANSFERRED:
        case MIGRATION_FINALIZED:
                assert_true(fake_until_transferring(w, o));
                quiet_run(w);
                if (s == MIGRATION_FINALIZED) {
                        assert_int_equal(migration_finalize(SRC(w), "m1", false, NULL, NULL, NULL),
                                         0);
                        assert_int_equal(migration_finalize(DST(w), "m1", true, NULL, NULL, NULL),
                                         0);
                }
                return true;
        case MIGRATION_CANCELLING:
                assert_true(fake_until_transferring(w, o));
                fake_link(w, false);
                libvirt_until(w, FAKE_SWITCH);
                w->side[MIGRATION_SOURCE].mode[FAKE_MIGRATE_ABORT] = FAKE_LATER;
                assert_int_equal(migration_cancel(SRC(w), "m1", NULL), 0);
                assert_int_equal(migration_cancel(DST(w), "m1", NULL), 0);
                return true;
        case MIGRATION_CANCELLED:
                assert_true(fake_until_transport(w, o));
                assert_int_equal(migration_cancel(SRC(w), "m1", NULL), 0);
                assert_int_equal(migration_cancel(DST(w), "m1", NULL), 0);
                return true;
        case MIGRATION_FAILED:
                assert_true(fake_until_transferring(w, o));
                assert_true(fake_libvirt(w, 1));
                quiet_run(w);
                return true;
        case MIGRATION_POSTCOPY_BROKEN: /* test-migration-converge */
        case MIGRATION_SOURCE_PREPARED: /* within PrepareAndExport only */
        case _MIGRATION_STATE_MAX:
        case _MIGRATION_STATE_INVALID:
                break;
        }
        return false;
}
