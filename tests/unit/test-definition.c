/* SPDX-License-Identifier: Apache-2.0 */
/* How a pod was made, on disk and back; and what is refused of what is found there.
 * rows: F53 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "shim/definition.h"
#include "shim/rundir.h"

#define SPEC "{\"disks\":[{\"destination\":\"\",\"path\":\"/l\"},{\"destination\":\"/a\"}]}"

static char *state;

static int set_up(void **unused) {
        const char *tmp = getenv("TMPDIR") ?: "/tmp";

        if (asprintf(&state, "%s/definition.XXXXXX", tmp) < 0 || !mkdtemp(state))
                return -1;
        return 0;
}

static int tear_down(void **unused) {
        directory_remove(state);
        free(state);
        return 0;
}

static void begin(void) {
        Definition d = { .epoch = 3,
                         .memory_mib = 192,
                         .vcpus = 2,
                         .network = (char[]){ "ns:/run/netns/a \"b\"" },
                         .publish = (char[]){ "" } };

        assert_int_equal(definition_begin(state, &d, NULL), 0);
}

static void put(const char *id, uint64_t made, const char *spec) {
        DefinitionContainer c = { .id = strdup(id), .made = made, .spec = strdup(spec) };

        assert_int_equal(definition_put(state, &c, NULL), 0);
        free(c.id);
        free(c.spec);
}

/* A file there, with this content. */
static void write_file(const char *name, const char *text) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        assert_true(asprintf(&path, "%s/definition/%s", state, name) > 0);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void test_round(void **unused) {
        _cleanup_definition_ Definition d = {};

        assert_false(definition_is_there(state));
        assert_int_equal(definition_read(state, &d, NULL), -ENOENT);
        begin();
        put("later", 20, SPEC);
        put("a.b", 10, "{}");
        put("a.b", 11, SPEC); /* replaces */
        assert_true(definition_is_there(state));
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.epoch, 3);
        assert_int_equal(d.memory_mib, 192);
        assert_int_equal(d.vcpus, 2);
        assert_string_equal(d.network, "ns:/run/netns/a \"b\"");
        assert_string_equal(d.publish, "");
        assert_int_equal(d.n_containers, 2);
        assert_string_equal(d.containers[0].id, "a.b"); /* in the order of their making */
        assert_int_equal(d.containers[0].made, 11);
        assert_string_equal(d.containers[0].spec, SPEC);
        assert_string_equal(d.containers[1].id, "later");
        definition_done(&d);
        assert_int_equal(definition_drop(state, "a.b", NULL), 0);
        assert_int_equal(definition_drop(state, "a.b", NULL), 0);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.n_containers, 1);
        begin(); /* another pod of that name: nothing of the one before is left */
        definition_done(&d);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.n_containers, 0);
}

static void test_disks(void **unused) {
        _cleanup_definition_ Definition d = {};

        begin();
        put("c", 1, SPEC);
        assert_int_equal(definition_add_disk(state, "c", "{\"destination\":\"/b\"}", NULL), 0);
        assert_int_equal(definition_remove_disk(state, "c", "/a", NULL), 0);
        assert_int_equal(definition_remove_disk(state, "c", "/none", NULL), 0);
        assert_int_equal(definition_add_disk(state, "other", "{}", NULL), -ENOENT);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_string_equal(d.containers[0].spec,
                            "{\"disks\":[{\"destination\":\"\",\"path\":\"/l\"},"
                            "{\"destination\":\"/b\"}]}");
}

static void test_moved_disk(void **unused) {
        _cleanup_definition_ Definition d = {};
        bool there;

        begin();
        put("a", 1, SPEC);
        put("b", 2, "{\"disks\":[{\"path\":\"/other\",\"size\":1},{\"path\":null}]}");
        assert_int_equal(definition_move_disk(state, "/l", "/new", NULL), 0);
        assert_int_equal(definition_move_disk(state, "/none", "/new", NULL), 0);
        assert_int_equal(definition_has_disk(state, "/new", &there, NULL), 0);
        assert_true(there);
        assert_int_equal(definition_has_disk(state, "/l", &there, NULL), 0);
        assert_false(there);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_string_equal(d.containers[0].spec,
                            "{\"disks\":[{\"destination\":\"\",\"path\":\"/new\"},"
                            "{\"destination\":\"/a\"}]}");
        assert_non_null(strstr(d.containers[1].spec, "\"/other\",\"size\":1}"));
}

/* Of a directory that two hosts share, the one that the pod left takes away what is its own. */
static void test_owner(void **unused) {
        begin();
        definition_remove_own(state, 2);
        assert_true(definition_is_there(state));
        definition_remove_own(state, 3);
        assert_false(definition_is_there(state));
}

static DefinitionContainer staged = { .id = (char[]){ "s" }, .spec = (char[]){ "{}" } };

static void stage(uint64_t epoch) {
        Definition d = { .epoch = epoch,
                         .memory_mib = 64,
                         .vcpus = 1,
                         .network = (char[]){ "none" },
                         .publish = (char[]){ "" },
                         .containers = &staged,
                         .n_containers = 1 };

        assert_int_equal(definition_stage(state, &d, NULL), 0);
}

static bool is_there(const char *name) {
        _cleanup_free_ char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", state, name) > 0);
        return access(path, F_OK) == 0;
}

/* What is on its way here is not the definition before it is published, and is then all of it. */
static void test_stage(void **unused) {
        _cleanup_definition_ Definition d = {};

        assert_int_equal(definition_publish(state, 3, NULL), -ENOENT);
        begin();
        put("c", 1, SPEC);
        stage(4);
        stage(5);
        assert_int_equal(definition_publish(state, 4, NULL), -ENOENT);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.epoch, 3);
        definition_done(&d);
        assert_int_equal(definition_publish(state, 5, NULL), 0);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.epoch, 5);
        assert_int_equal(d.n_containers, 1);
        assert_string_equal(d.containers[0].id, "s");
        assert_false(is_there("definition.next"));
        assert_int_equal(definition_publish(state, 5, NULL), -ENOENT);
}

/* A crash after the old one was removed, and one while it is staged. */
static void test_stage_cut(void **unused) {
        _cleanup_free_ char *next = NULL, *part = NULL;
        _cleanup_definition_ Definition d = {};

        assert_true(asprintf(&next, "%s/definition.next", state) > 0 &&
                    asprintf(&part, "%s/definition.part", state) > 0);
        stage(5);
        assert_int_equal(definition_publish(state, 5, NULL), 0);
        stage(6);
        assert_int_equal(rename(next, part), 0);
        assert_int_equal(definition_publish(state, 6, NULL), -ENOENT);
        stage(6);
        assert_false(is_there("definition.part"));
        definition_remove(state);
        assert_int_equal(definition_publish(state, 6, NULL), 0);
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.epoch, 6);
}

/* A destination that the pod did not come to takes away what it staged, and no more. */
static void test_stage_gone(void **unused) {
        begin();
        stage(5);
        definition_remove_own(state, 2);
        assert_true(is_there("definition.next"));
        definition_remove_own(state, 5);
        assert_false(is_there("definition.next"));
        assert_false(definition_is_there(state));
        begin();
        stage(5);
        definition_unstage(state);
        assert_false(is_there("definition.next"));
        assert_true(definition_is_there(state));
        stage(5);
        definition_remove_own(state, 4); /* the source's, which shares the directory */
        assert_false(definition_is_there(state));
        assert_int_equal(definition_publish(state, 5, NULL), 0);
}

static void test_names(void **unused) {
        DefinitionContainer c = { .id = (char[]){ "../x" }, .spec = (char[]){ "{}" } };
        _cleanup_definition_ Definition d = {};
        char text[16];

        begin();
        assert_int_equal(definition_put(state, &c, NULL), -EINVAL);
        assert_int_equal(definition_drop(state, "../../x", NULL), -EINVAL);
        write_file("container-.json", "{}"); /* names of no container are passed over */
        write_file("container--x.json", "{}");
        write_file("README", "");
        assert_int_equal(definition_read(state, &d, NULL), 0);
        assert_int_equal(d.n_containers, 0);
        (void)snprintf(text, sizeof(text), "%s", "[]");
        write_file("container-x.json", text);
        assert_int_equal(definition_read(state, &d, NULL), -EBADMSG);
}

static void test_damage(void **unused) {
        static const struct {
                const char *file, *text;
        } rows[] = {
                { "machine.json", "" },
                { "machine.json", "{" },
                { "machine.json", "[]" },
                { "machine.json",
                  "{\"epoch\":1,\"memory_mib\":1,\"vcpus\":1,\"network\":\"none\"}" },
                { "machine.json",
                  "{\"epoch\":1,\"memory_mib\":-1,\"vcpus\":1,\"network\":\"\",\"publish\":\"\"}" },
                { "machine.json",
                  "{\"epoch\":1,\"memory_mib\":1,\"vcpus\":70000,\"network\":\"\",\"publish\":\"\"}" },
                { "machine.json",
                  "{\"epoch\":1,\"memory_mib\":1,\"vcpus\":1,\"network\":7,\"publish\":\"\"}" },
                { "container-c.json", "{}" },
                { "container-c.json", "{\"made\":1,\"spec\":{}}" },
                { "container-c.json", "{\"made\":\"1\",\"spec\":\"{}\"}" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_definition_ Definition d = {};
                Error e = ERROR_INIT;

                begin();
                put("c", 1, SPEC);
                write_file(rows[i].file, rows[i].text);
                if (definition_read(state, &d, &e) != -EBADMSG || !strstr(e.text, rows[i].file) ||
                    d.network || d.containers)
                        fail_msg("%s: %s: %s", rows[i].file, rows[i].text, e.text);
        }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_round),      TEST(test_disks), TEST(test_moved_disk),
                TEST(test_owner),      TEST(test_stage), TEST(test_stage_cut),
                TEST(test_stage_gone), TEST(test_names), TEST(test_damage),
        };

        return cmocka_run_group_tests_name("definition", tests, NULL, NULL);
}
