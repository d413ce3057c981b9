/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F41. The options that one host tells the other: there and back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/migrate/migrate-options.h"

static void set(MigrationOptions *o, MigrationOrigin by, const char *name, const char *value) {
        Error e = ERROR_INIT;

        assert_int_equal(migration_options_set_by(o, by, name, value, &e), 0);
}

static void test_there_and_back(void **state) {
        MigrationOptions o, read, own;
        Error e = ERROR_INIT;
        json_object *list;

        migration_options_init(&o);
        set(&o, MIGRATION_BY_CONFIGURATION, "handover", "fast");
        set(&o, MIGRATION_BY_CONFIGURATION, "post_copy", "true");
        set(&o, MIGRATION_BY_CALL, "bandwidth_postcopy", "77");
        set(&o, MIGRATION_BY_CALL, "transport", "libvirt+tls://h/");
        list = migrate_options_json(&o);
        assert_non_null(list);
        assert_int_equal(migrate_options_read(json_object_to_json_string(list), &read, &e), 0);
        assert_memory_equal(&read, &o, sizeof(o));

        /* what the destination's own configuration says stays out */
        migration_options_init(&own);
        migration_options_lay_under(&own, &read);
        assert_memory_equal(&own, &o, sizeof(o));
        assert_int_equal(migrate_options_agree(&o, list, &e), 0);
        (void)json_object_put(list);
}

static const struct {
        const char *text, *error; /* NULL: accepted */
} texts[] = {
        { "[]", NULL },
        { "", "not a list" },
        { "{}", "not a list" },
        { "[", "not a list" },
        { "[1]", "without name" },
        { "[{\"name\": \"handover\", \"value\": \"fast\"}]", "without name" },
        { "[{\"name\": \"handover\", \"value\": 1, \"from\": \"call\"}]", "without name" },
        { "[{\"name\": \"handover\", \"value\": \"fast\", \"from\": \"god\"}]", "without name" },
        { "[{\"name\": \"handover\", \"value\": \"slow\", \"from\": \"call\"}]",
          "option handover" },
        { "[{\"name\": \"new\", \"value\": \"1\", \"from\": \"call\"}]", "no option \"new\"" },
        { "[{\"name\": \"new\", \"value\": \"1\", \"from\": \"default\"}]", NULL },
};

static void test_hostile(void **state) {
        _cleanup_free_ char *longer = malloc(MIGRATE_OPTIONS_MAX + 2);
        MigrationOptions o, before;
        Error e = ERROR_INIT;

        migration_options_init(&o);
        before = o;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                int r = migrate_options_read(texts[i].text, &o, &e);

                if (!texts[i].error) {
                        assert_int_equal(r, 0);
                } else {
                        assert_int_equal(r, -EINVAL);
                        assert_non_null(strstr(e.text, texts[i].error));
                }
                assert_memory_equal(&o, &before, sizeof(o));
        }
        assert_non_null(longer);
        memset(longer, ' ', MIGRATE_OPTIONS_MAX + 1);
        longer[MIGRATE_OPTIONS_MAX + 1] = '\0';
        assert_int_equal(migrate_options_read(longer, &o, &e), -EINVAL);
}

static const struct {
        const char *name, *value;
        bool agrees;
} pairs[] = {
        { "handover", "fast", false },
        { "post_copy", "true", false },
        { "transport", "libvirt+tcp://localhost/", false },
        { "bandwidth", "5", true },
};

static void test_agree(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                MigrationOptions mine, theirs;
                Error e = ERROR_INIT;
                json_object *list;
                int r;

                migration_options_init(&mine);
                migration_options_init(&theirs);
                set(&theirs, MIGRATION_BY_CONFIGURATION, pairs[i].name, pairs[i].value);
                list = migrate_options_json(&theirs);
                r = migrate_options_agree(&mine, list, &e);
                assert_int_equal(r, pairs[i].agrees ? 0 : -EINVAL);
                if (r < 0)
                        assert_non_null(strstr(e.text, pairs[i].name));
                assert_int_equal(migrate_options_agree(&theirs, list, &e), 0);
                assert_int_equal(migrate_options_agree(&mine, NULL, &e), 0);
                (void)json_object_put(list);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_and_back),
                cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_agree),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
