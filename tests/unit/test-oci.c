/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "hostdev/image/files.h"
#include "shim/ctl/json.h"
#include "shim/ctl/oci.h"

static char *const command[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" },
                                 (char[]){ "echo \"$X\"\n\\" }, NULL };

static const char *env_of(json_object *process, const char *key) {
        json_object *env = json_get_array(process, "env"), *e;
        const char *found = NULL;

        for (JSON_EACH(i, env, e)) {
                const char *s = json_object_get_string(e);

                if (strncmp(s, key, strlen(key)) == 0 && s[strlen(key)] == '=')
                        found = s + strlen(key) + 1;
        }
        return found;
}

static void test_spec(void **state) {
        char *const env[] = { (char[]){ "PATH=/x" }, (char[]){ "A=b=c" }, NULL };
        _cleanup_json_ json_object *spec = NULL, *again = NULL;
        json_object *process;
        OciOptions o = { .args = command, .env = env, .hostname = "p", .uid = 4294967294U };
        const char *text;

        assert_int_equal(oci_spec_make(&o, &spec, NULL), 0);
        text = json_object_to_json_string(spec);
        assert_int_equal(json_read(text, strlen(text), &again, NULL), 0);
        process = json_get(again, "process");
        assert_string_equal(json_object_get_string(
                                    json_object_array_get_idx(json_get_array(process, "args"), 2)),
                            command[2]);
        assert_string_equal(env_of(process, "PATH"), "/x");
        assert_string_equal(env_of(process, "A"), "b=c");
        assert_string_equal(env_of(process, "HOSTNAME"), "p");
        assert_null(env_of(process, "TERM"));
        assert_int_equal(json_get_number(json_get(process, "user"), "uid"), 4294967294);
        assert_null(strstr(text, "CAP_SYS_ADMIN"));
        assert_null(strstr(text, "CAP_MKNOD"));
        assert_null(json_get(json_get(again, "linux"), "cgroupsPath"));
}

static void test_bad_process(void **state) {
        char *const not_text[] = { (char[]){ "\xff" }, NULL };
        char *const no_name[] = { (char[]){ "=x" }, NULL };
        json_object *o = NULL;

        assert_int_equal(oci_process_make(&(OciOptions){ .args = not_text }, &o, NULL), -EINVAL);
        assert_int_equal(oci_process_make(&(OciOptions){}, &o, NULL), -EINVAL);
        assert_int_equal(
                oci_process_make(&(OciOptions){ .args = command, .cwd = "relative" }, &o, NULL),
                -EINVAL);
        assert_int_equal(
                oci_process_make(&(OciOptions){ .args = command, .env = no_name }, &o, NULL),
                -EINVAL);
        assert_null(o);
}

typedef struct BundleRow {
        const char *name, *config;
        int code;
} BundleRow;

#define GOOD_PROCESS "\"process\": {\"args\": [\"/a\"], \"cwd\": \"/\"}"

static const BundleRow bundle_rows[] = {
        { "good", "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS ", \"root\": {\"path\": \"root\"}}",
          0 },
        { "no JSON", "{", -EBADMSG },
        { "something after it", "{} {}", -EBADMSG },
        { "not an object", "[]", -EBADMSG },
        { "version", "{\"ociVersion\": \"2.0\", " GOOD_PROCESS "}", -EINVAL },
        { "no process", "{\"ociVersion\": \"1.0.2\"}", -EINVAL },
        { "args of numbers",
          "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [1], \"cwd\": \"/\"}}", -EINVAL },
        { "relative cwd",
          "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"a\"], \"cwd\": \"x\"}}",
          -EINVAL },
        { "no root", "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS "}", -EINVAL },
        { "missing root",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS ", \"root\": {\"path\": \"nope\"}}",
          -ENOENT },
        { "bind mount of the host",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"mounts\": [{\"destination\": \"/x\", \"source\": "
          "\"/etc\", \"options\": [\"rbind\"]}]}",
          -EOPNOTSUPP },
        { "namespace of the host",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"linux\": {\"namespaces\": [{\"type\": \"network\", "
          "\"path\": \"/proc/1/ns/net\"}]}}",
          -EOPNOTSUPP },
        { "linux is no object",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"linux\": []}",
          -EINVAL },
        { "mounts is no array",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"mounts\": {}}",
          -EINVAL },
        { "namespaces is no array",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"linux\": {\"namespaces\": {}}}",
          -EINVAL },
        { "hooks is no object",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"hooks\": [1]}",
          -EINVAL },
        { "root is text", "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS ", \"root\": \"root\"}",
          -EINVAL },
        { "env without a value",
          "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"a\"], \"cwd\": \"/\", \"env\": "
          "[\"A\"]}, \"root\": {\"path\": \"root\"}}",
          -EINVAL },
        { "env with a zero byte",
          "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"a\"], \"cwd\": \"/\", \"env\": "
          "[\"A=x\\u0000y\"]}, \"root\": {\"path\": \"root\"}}",
          -EINVAL },
        { "AppArmor",
          "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"a\"], \"cwd\": \"/\", "
          "\"apparmorProfile\": \"p\"}, \"root\": {\"path\": \"root\"}}",
          -EOPNOTSUPP },
        { "intelRdt",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"linux\": {\"intelRdt\": {\"closID\": \"c\"}}}",
          -EOPNOTSUPP },
        { "hooks",
          "{\"ociVersion\": \"1.0.2\", " GOOD_PROCESS
          ", \"root\": {\"path\": \"root\"}, \"hooks\": {\"prestart\": []}}",
          -EOPNOTSUPP },
};

static void test_bundle(void **state) {
        const BundleRow *row = *state;
        char base[] = "/tmp/podferry-test-oci-XXXXXX", path[128];
        _cleanup_json_ json_object *config = NULL;
        _cleanup_free_ char *root = NULL;
        _cleanup_close_ int fd = -EBADF;
        Error e = ERROR_INIT;
        int r;

        assert_non_null(mkdtemp(base));
        (void)sprintf(path, "%s/root", base);
        assert_int_equal(mkdir(path, 0755), 0);
        fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(files_write(fd, "config.json", row->config, strlen(row->config), NULL), 0);
        r = oci_bundle_load(base, &(OciOptions){}, &config, &root, &e);
        assert_int_equal(files_remove_tree(AT_FDCWD, base), 0);
        assert_int_equal(r, row->code);
        if (r == 0)
                assert_string_equal(root, path);
        else
                assert_true(*e.text);
}

/* What the command line says goes over what the bundle says, and nothing of it is dropped. */
static void test_bundle_override(void **state) {
        static const char text[] =
                "{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"/a\"], \"cwd\": \"/\", "
                "\"user\": {\"uid\": 7, \"gid\": 8}}, \"root\": {\"path\": \"root\"}}";
        char base[] = "/tmp/podferry-test-oci-XXXXXX", path[128];
        char *const env[] = { (char[]){ "A=1" }, NULL };
        const OciOptions none = {}, all = { .args = command,
                                            .env = env,
                                            .cwd = "/w",
                                            .uid = 0,
                                            .user_given = true,
                                            .read_only = true };
        _cleanup_json_ json_object *kept = NULL, *changed = NULL;
        _cleanup_free_ char *root = NULL, *root_again = NULL;
        _cleanup_close_ int fd = -EBADF;
        json_object *p;

        assert_non_null(mkdtemp(base));
        (void)sprintf(path, "%s/root", base);
        assert_int_equal(mkdir(path, 0755), 0);
        fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(files_write(fd, "config.json", text, strlen(text), NULL), 0);
        assert_int_equal(oci_bundle_load(base, &none, &kept, &root, NULL), 0);
        assert_int_equal(oci_bundle_load(base, &all, &changed, &root_again, NULL), 0);
        assert_int_equal(files_remove_tree(AT_FDCWD, base), 0);

        p = json_get(kept, "process");
        assert_string_equal(json_get_text(p, "cwd"), "/");
        assert_int_equal(json_get_number(json_get(p, "user"), "uid"), 7);
        assert_null(json_get(json_get(kept, "root"), "readonly"));
        p = json_get(changed, "process");
        assert_string_equal(json_get_text(p, "cwd"), "/w");
        assert_int_equal(json_get_number(json_get(p, "user"), "uid"), 0);
        assert_string_equal(env_of(p, "A"), "1");
        assert_int_equal(json_object_array_length(json_get_array(p, "args")), 3);
        assert_true(json_object_get_boolean(json_get(json_get(changed, "root"), "readonly")));
}

int main(void) {
        struct CMUnitTest tests[3 + ELEMENTSOF(bundle_rows)] = {
                cmocka_unit_test(test_spec),
                cmocka_unit_test(test_bad_process),
                cmocka_unit_test(test_bundle_override),
        };

        for (size_t i = 0; i < ELEMENTSOF(bundle_rows); i++) {
                union {
                        const void *in;
                        void *out;
                } row = { .in = &bundle_rows[i] };

                tests[3 + i] = (struct CMUnitTest){ .name = bundle_rows[i].name,
                                                    .test_func = test_bundle,
                                                    .initial_state = row.out };
        }
        return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
