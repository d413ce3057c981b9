/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a migration that the containers of a pod bring along: which are taken, over what, and
 * what becomes of them when a container goes.
 * rows: F41 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/annotations.h"

#define P "org.podferry.migration."

static int take(Annotations *a, const char *container, const char *text,
                const MigrationOptions *below, Error *reterr) {
        json_object *config = json_tokener_parse(text);
        int r;

        assert_non_null(config);
        r = annotations_take(a, container, config, below, reterr);
        json_object_put(config);
        return r;
}

/* Each alone in a pod that says nothing else. */
static const struct {
        const char *config;
        int r;
        const char *says; /* part of the error, or the option and its value */
} rows[] = {
        { "{}", 0, NULL },
        { "{\"annotations\":[]}", 0, NULL },
        { "{\"annotations\":{\"a\":1,\"org.podferry.other\":\"x\"}}", 0, NULL },
        { "{\"annotations\":{\"" P "source\":\"c\"}}", 0, NULL },
        { "{\"annotations\":{\"" P "max_downtime\":\"9\"}}", 0, "9" },
        { "{\"annotations\":{\"" P "max_downtime\":9}}", -EINVAL, "not a string" },
        { "{\"annotations\":{\"" P "max_downtime\":\"long\"}}", -EINVAL, "max_downtime" },
        { "{\"annotations\":{\"" P "no_such\":\"1\"}}", -EINVAL, "no_such" },
        { "{\"annotations\":{\"" P "\":\"1\"}}", -EINVAL, "no option" },
        { "{\"annotations\":{\"" P "transport\":\"libvirt+tls://h\"}}", -EINVAL, "of the hosts" },
        { "{\"annotations\":{\"" P "allow_plaintext\":\"true\"}}", -EINVAL, "of the hosts" },
        { "{\"annotations\":{\"" P "migrate_uri\":\"tcp://h\"}}", -EINVAL, "of the hosts" },
        { "{\"annotations\":{\"" P "connections\":\"4\",\"" P "compression\":\"xbzrle\"}}", -EINVAL,
          "exclude each other" },
        { "{\"annotations\":{\"" P "connections\":\"4\",\"" P "max_downtime\":\"x\"}}", -EINVAL,
          "max_downtime" },
};

static void test_rows(void **state) {
        MigrationOptions below, o;

        migration_options_init(&below);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_annotations_ Annotations a = {};
                Error e = ERROR_INIT;
                int r = take(&a, "c", rows[i].config, &below, &e);

                if (r != rows[i].r || (r < 0 && !strstr(e.text, rows[i].says)))
                        fail_msg("%s: %d: %s", rows[i].config, r, e.text);
                assert_int_equal(a.n, r == 0 && rows[i].says ? 1 : 0); /* all or nothing */
                annotations_lay(&a, &below, &o);
                assert_int_equal(migration_options_origin(&o, "max_downtime"),
                                 r == 0 && rows[i].says ? MIGRATION_BY_ANNOTATION
                                                        : MIGRATION_BY_DEFAULT);
        }
}

static void test_strength(void **state) {
        _cleanup_annotations_ Annotations a = {};
        MigrationOptions below, base, o;

        migration_options_init(&below);
        assert_int_equal(migration_options_set_by(&below, MIGRATION_BY_CONFIGURATION,
                                                  "max_downtime", "400", NULL),
                         0);
        assert_int_equal(migration_options_set_by(&below, MIGRATION_BY_CONFIGURATION, "bandwidth",
                                                  "1048576", NULL),
                         0);
        assert_int_equal(
                take(&a, "c", "{\"annotations\":{\"" P "max_downtime\":\"200\"}}", &below, NULL),
                0);
        annotations_lay(&a, &below, &o);
        assert_int_equal(o.max_downtime_ms, 200);
        assert_int_equal(o.bandwidth, 1048576);
        assert_int_equal(migration_options_origin(&o, "bandwidth"), MIGRATION_BY_CONFIGURATION);

        migration_options_init(&o); /* a call */
        assert_int_equal(migration_options_set(&o, "max_downtime", "50", NULL), 0);
        annotations_lay(&a, &below, &base);
        migration_options_lay_under(&o, &base);
        assert_int_equal(o.max_downtime_ms, 50);
        assert_int_equal(o.bandwidth, 1048576);
}

/* What the configuration rules out is refused when the container is made, not when it moves. */
static void test_configuration(void **state) {
        _cleanup_annotations_ Annotations a = {};
        MigrationOptions below;
        Error e = ERROR_INIT;

        migration_options_init(&below);
        assert_int_equal(migration_options_set_by(&below, MIGRATION_BY_CONFIGURATION, "connections",
                                                  "2", NULL),
                         0);
        assert_int_equal(
                take(&a, "c", "{\"annotations\":{\"" P "compression\":\"xbzrle\"}}", &below, &e),
                -EINVAL);
        assert_non_null(strstr(e.text, "exclude each other"));
        assert_int_equal(
                take(&a, "c", "{\"annotations\":{\"" P "compression\":\"xbzrle\"}}", NULL, NULL),
                0);
}

static void test_containers(void **state) {
        _cleanup_annotations_ Annotations a = {}, came = {};
        Error e = ERROR_INIT;

        assert_int_equal(take(&a, "c", "{\"annotations\":{\"" P "bandwidth\":\"5\"}}", NULL, NULL),
                         0);
        assert_int_equal(take(&a, "d", "{\"annotations\":{\"" P "bandwidth\":\"5\"}}", NULL, NULL),
                         0);
        assert_int_equal(take(&a, "e", "{\"annotations\":{\"" P "bandwidth\":\"6\"}}", NULL, &e),
                         -EINVAL);
        assert_non_null(strstr(e.text, "container c"));
        assert_int_equal(a.n, 2);
        annotations_drop(&a, "c");
        annotations_drop(&a, "d");
        assert_int_equal(a.n, 0);

        assert_int_equal(take(&a, "c", "{\"annotations\":{\"" P "bandwidth\":\"6\"}}", NULL, NULL),
                         0);
        assert_int_equal(
                take(&came, "c", "{\"annotations\":{\"" P "bandwidth\":\"7\"}}", NULL, NULL), 0);
        assert_int_equal(take(&came, "x",
                              "{\"annotations\":{\"" P "handover\":\"fast\",\"" P
                              "cutover\":\"hold\"}}",
                              NULL, NULL),
                         0);
        annotations_merge(&a, &came);
        assert_int_equal(came.n, 0);
        assert_int_equal(a.n, 3); /* of c the newer word, and both of x */
        assert_string_equal(a.list[0].value, "6");
}

static void test_many(void **state) {
        _cleanup_annotations_ Annotations a = {};
        char name[32];
        int r = 0;

        for (unsigned i = 0; r == 0 && i <= ANNOTATIONS_MAX; i++) {
                (void)snprintf(name, sizeof(name), "c%u", i);
                r = take(&a, name, "{\"annotations\":{\"" P "bandwidth\":\"5\"}}", NULL, NULL);
        }
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(a.n, ANNOTATIONS_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),          cmocka_unit_test(test_strength),
                cmocka_unit_test(test_configuration), cmocka_unit_test(test_containers),
                cmocka_unit_test(test_many),
        };

        return cmocka_run_group_tests_name("annotations", tests, NULL, NULL);
}
