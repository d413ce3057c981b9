/* SPDX-License-Identifier: Apache-2.0 */
/* The probe with scripts in the place of QEMU. Needs a /dev/kvm that opens; else there is nothing
 * to probe and the rows are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "hostdev/probe.h"

static char dir[] = "/tmp/podferry-probe-XXXXXX";
static char qemu[64], kernel[64], cache[64];

static void write_file(const char *path, const char *text, mode_t mode) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, mode), 0);
}

static void on_done(void *userdata, int r, const void *result, const Error *err) {
        assert_int_equal(r, 0);
        *(int *)userdata = (int)*(const DomainType *)result;
}

/* The answer; *ret_probed: a guest was started for it. */
static DomainType ask(bool *ret_probed) {
        const ProbeConfig config = { .state_dir = dir, .kernel = kernel, .qemu = qemu };
        DomainType type;
        sd_event *loop;
        int answer = -1;
        int r;

        assert_int_equal(sd_event_new(&loop), 0);
        r = probe_domain_type(loop, &config, &type, on_done, &answer, NULL);
        *ret_probed = r == 1;
        if (r == 0)
                answer = (int)type;
        while (answer < 0)
                assert_true(sd_event_run(loop, UINT64_MAX) >= 0);
        sd_event_unref(loop);
        return (DomainType)answer;
}

static void test_answers(void **state) {
        static const struct {
                const char *script;
                DomainType type;
        } rows[] = {
                { "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs on x'; sleep 60",
                  DOMAIN_KVM },
                { "printf 'Unable to mou'; printf 'nt root fs'", DOMAIN_KVM },
                { "head -c 100000 /dev/zero; printf 'Unable to mount root fs'", DOMAIN_KVM },
                { "echo Unable to mount; exit 0", DOMAIN_QEMU },
                { "exit 1", DOMAIN_QEMU },
                { "exec 1>&-; exit 0", DOMAIN_QEMU },
        };

        if (access("/dev/kvm", R_OK | W_OK) < 0)
                skip();
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char script[256];
                bool probed;

                (void)snprintf(script, sizeof(script), "#!/bin/sh\n%s\n", rows[i].script);
                write_file(qemu, script, 0700);
                (void)unlink(cache);
                assert_int_equal(ask(&probed), rows[i].type);
                assert_true(probed);
                assert_int_equal(ask(&probed), rows[i].type); /* kept */
                assert_false(probed);
        }
}

static void test_cache(void **state) {
        static const char *const bad[] = {
                "", "\n", "kvm", "kvm \n", "xen a b\n", "kvm other key\n"
        };
        bool probed;

        if (access("/dev/kvm", R_OK | W_OK) < 0)
                skip();
        write_file(qemu, "#!/bin/sh\nexit 0\n", 0700);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                write_file(cache, bad[i], 0600);
                assert_int_equal(ask(&probed), DOMAIN_QEMU);
                assert_true(probed);
        }
        write_file(kernel, "another kernel", 0600);
        (void)ask(&probed);
        assert_true(probed);
}

static void test_missing(void **state) {
        ProbeConfig config = { .state_dir = dir, .kernel = "/nonexistent", .qemu = qemu };
        DomainType type;
        sd_event *loop;

        if (access("/dev/kvm", R_OK | W_OK) < 0)
                skip();
        assert_int_equal(sd_event_new(&loop), 0);
        assert_int_equal(probe_domain_type(loop, &config, &type, on_done, NULL, NULL), -ENOENT);
        config = (ProbeConfig){ .state_dir = dir, .kernel = kernel, .qemu = "no-such-qemu" };
        assert_int_equal(probe_domain_type(loop, &config, &type, on_done, NULL, NULL), -ENOENT);
        sd_event_unref(loop);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_cache),
                cmocka_unit_test(test_missing),
        };
        sigset_t child;
        int r;

        (void)sigemptyset(&child);
        (void)sigaddset(&child, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &child, NULL);
        if (!mkdtemp(dir))
                return 1;
        (void)snprintf(qemu, sizeof(qemu), "%s/qemu", dir);
        (void)snprintf(kernel, sizeof(kernel), "%s/kernel", dir);
        (void)snprintf(cache, sizeof(cache), "%s/domain-type", dir);
        write_file(kernel, "a kernel", 0600);
        r = cmocka_run_group_tests_name("probe", tests, NULL, NULL);
        (void)unlink(qemu);
        (void)unlink(kernel);
        (void)unlink(cache);
        (void)rmdir(dir);
        return r;
}
