/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "shim/config.h"

typedef struct Row {
        const char *text;
        const char *says; /* NULL: accepted */
} Row;

static const Row rows[] = {
        { "{}", NULL },
        { "{\"memory_mib\": 512, \"vcpus\": 2, \"handover\": \"fast\"}", NULL },
        { "{\"stop_pod_on_term\": true, \"log_max_mib\": 1}", NULL },
        { "{\"migration\": {}}", NULL },
        { "{\"migration\": {\"max_downtime\": 9, \"auto_converge\": true, \"stall_action\": \"abort\"}}",
          NULL },
#define PLANS(more) "{\"plans\": {\"store\": \"etcd\"" more "}}"
#define AT(url)     PLANS(", \"endpoints\": [\"" url "\"]")
        { "{\"plans\": {\"store\": \"files\"}}", NULL },
        { AT("http://127.0.0.1:2379"), NULL },
        { AT("http://[::1]:2379"), NULL },
        { AT("http://localhost"), NULL },
        { AT("https://etcd.example:2379"), NULL },
        { PLANS(", \"endpoints\": [\"http://etcd.example\"], \"allow_plaintext\": true, "
                "\"prefix\": \"/a/b\", \"ttl\": 3, \"wait\": 1"),
          NULL },
        { PLANS(", \"endpoints\": [\"https://e\"], \"ca\": \"/ca\", \"cert\": \"/c\", \"key\": \"/k\""),
          NULL },
        { "{\"plans\": []}", "plans must be an object" },
        { "{\"plans\": {}}", "store must be files or etcd" },
        { "{\"plans\": {\"store\": \"zookeeper\"}}", "store must be files or etcd" },
        { PLANS(""), "endpoints are missing" },
        { PLANS(", \"endpoints\": []"), "1 to 8 are expected" },
        { PLANS(", \"endpoints\": \"http://127.0.0.1\""), "endpoints must be of type array" },
        { PLANS(", \"endpoints\": [1]"), "endpoints must be texts" },
        { PLANS(", \"endpoint\": []"), "unknown key 'endpoint'" },
        { AT("http://etcd.example:2379"), "take https://, or allow_plaintext" },
        { AT("http://127.0.0.1.example"), "take https://, or allow_plaintext" },
        { AT("http://localhost.example"), "take https://, or allow_plaintext" },
        { AT("ftp://127.0.0.1"), "must be http://HOST" },
        { AT("http://127.0.0.1:2379/v3"), "nothing else" },
        { AT("http://me@127.0.0.1"), "nothing else" },
        { AT("http://127.0.0.1:"), "nothing else" },
        { AT("http://127.0.0.1:123456"), "nothing else" },
        { AT("http://"), "nothing else" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"cert\": \"/c\""), "cert and key go together" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"ca\": \"ca\""),
          "ca must be an absolute path" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"prefix\": \"a\""),
          "prefix \"a\" must be like" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"prefix\": \"/a/\""), "must be like" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"prefix\": \"/a b\""), "must be like" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"ttl\": 2"), "ttl must be from 3 to 600" },
        { PLANS(", \"endpoints\": [\"https://e\"], \"wait\": 0"), "wait must be from 1" },
#undef AT
#undef PLANS
        { "{\"network\": {}}", NULL },
        { "{\"network\": {\"wiring\": \"redirect\"}}", NULL },
        { "{\"network\": \"macvtap\"}", "network must be an object" },
        { "{\"network\": {\"wire\": \"macvtap\"}}", "network: unknown key 'wire'" },
        { "{\"network\": {\"wiring\": \"bridge\"}}", "must be auto, redirect or macvtap" },
        { "{\"network\": {\"wiring\": 1}}", "must be auto, redirect or macvtap" },
        { "{\"network\": {\"wiring\": \"auto\\u0000\"}}", "must be auto, redirect or macvtap" },
        { "{\"migration\": 1}", "must be an object" },
        { "{\"migration\": {\"max_downtime\": 9.5}}", "max_downtime must be a text, a number" },
        { "{\"migration\": {\"max_downtime\": null}}", "max_downtime" },
        { "{\"migration\": {\"max_downtime\": -1}}", "max_downtime" },
        { "{\"migration\": {\"stall_action\": \"abort\\u0000\"}}", "stall_action" },
        { "{\"migration\": {\"downtime\": 9}}", "there is no option \"downtime\"" },
        { "{\"migration\": {\"post_copy\": true}}", "post_copy needs handover=fast" },
        { "", "not JSON" },
        { "{", "not JSON" },
        { "{} {}", "not JSON" },
        { "[]", "one JSON object" },
        { "{\"memory\": 512}", "unknown key 'memory'" },
        { "{\"memory_mib\": \"512\"}", "memory_mib must be a number" },
        { "{\"memory_mib\": 1}", "from 96" },
        { "{\"memory_mib\": 1e3}", "memory_mib must be a number" },
        { "{\"memory_mib\": -1}", "from 96" },
        { "{\"memory_mib\": 99999999999999999999}", "from 96" },
        { "{\"vcpus\": 256}", "from 1 to 64" },
        { "{\"run_dir\": \"podferry\"}", "absolute path" },
        { "{\"run_dir\": \"\"}", "must be a text" },
        { "{\"run_dir\": \"/a\\u0000b\"}", "must be a text" },
        { "{\"run_dir\": null}", "must be a text" },
        { "{\"domain_type\": \"xen\"}", "cannot be 'xen'" },
        { "{\"stop_pod_on_term\": 1}", "true or false" },
};

static void test_rows(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_config_ Config c = {};
                Error err = ERROR_INIT;
                int r = config_parse(&c, "the-file", rows[i].text, &err);

                if (!rows[i].says) {
                        assert_int_equal(r, 0);
                        continue;
                }
                assert_int_equal(r, -EINVAL);
                assert_non_null(strstr(err.text, "the-file"));
                if (!strstr(err.text, rows[i].says))
                        fail_msg("%s: says '%s'", rows[i].text, err.text);
                assert_null(c.run_dir); /* nothing half-made */
        }
}

static void test_values(void **state) {
        _cleanup_config_ Config c = {};

        assert_int_equal(config_parse(&c, "f",
                                      "{\"memory_mib\": 512, \"guest_dir\": \"/g\","
                                      " \"stop_pod_on_term\": true}",
                                      NULL),
                         0);
        assert_int_equal(c.memory_mib, 512);
        assert_string_equal(c.guest_dir, "/g");
        assert_true(c.stop_pod_on_term);
        assert_int_equal(c.vcpus, 1);
        assert_string_equal(c.run_dir, "/run/podferry");
        assert_string_equal(c.handover, "shims");
        assert_int_equal(c.wiring, NET_WIRING_AUTO);
        config_done(&c);
        assert_int_equal(config_parse(&c, "f", "{\"network\": {\"wiring\": \"macvtap\"}}", NULL),
                         0);
        assert_int_equal(c.wiring, NET_WIRING_MACVTAP);
        config_done(&c);
        assert_int_equal(config_parse(&c, "f",
                                      "{\"handover\": \"fast\", \"migration\": {\"bandwidth\": 5}}",
                                      NULL),
                         0);
        assert_int_equal(c.migration.bandwidth, 5);
        assert_int_equal(c.migration.handover, MIGRATION_HANDOVER_FAST);
        assert_int_equal(migration_options_origin(&c.migration, "bandwidth"),
                         MIGRATION_BY_CONFIGURATION);
        assert_int_equal(migration_options_origin(&c.migration, "max_downtime"),
                         MIGRATION_BY_DEFAULT);
}

static void test_files(void **state) {
        char path[] = "/tmp/podferry-config-XXXXXX";
        _cleanup_config_ Config c = {};
        Error err = ERROR_INIT;
        int fd = mkstemp(path);

        assert_true(fd >= 0);
        assert_true(dprintf(fd, "{\"vcpus\": 3}") > 0);
        assert_int_equal(setenv("PODFERRY_GUEST_DIR", "/env/guest", 1), 0);
        assert_int_equal(config_load(&c, path, &err), 0);
        assert_int_equal(c.vcpus, 3);
        assert_string_equal(c.guest_dir, "/env/guest");
        config_done(&c);
        assert_int_equal(setenv("PODFERRY_GUEST_DIR", "relative", 1), 0);
        assert_int_equal(config_load(&c, path, &err), -EINVAL);
        assert_int_equal(unsetenv("PODFERRY_GUEST_DIR"), 0);
        assert_int_equal(ftruncate(fd, CONFIG_SIZE_MAX * 2), 0);
        assert_int_equal(config_load(&c, path, &err), -EINVAL);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(config_load(&c, path, &err), -ENOENT); /* named, so it must be there */
        assert_int_equal(config_load(&c, "/proc/self/mem", &err) < 0, 1);
        assert_int_equal(setenv("PODFERRY_CONFIG", path, 1), 0);
        assert_int_equal(config_load(&c, NULL, &err), -ENOENT);
        (void)close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_files),
        };

        return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
