/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/etcd-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#include "shim/ctl/ctl.h"
#include "shim/ctl/json.h"
#include "shim/plan/etcd/etcd.h"

extern char **environ;

static pid_t pid;
static int in_fd = -EBADF;
static char endpoint[64];

int ctl_fail(int code, const Error *e, const char *fmt, ...) {
        fail_msg("%s: %s", fmt, error_text(e, code));
        return CTL_FAILED;
}

int ctl_usage(const Command *c, const Error *e) {
        fail_msg("%s: %s", c->name, e->text);
        return CTL_FAILED;
}

void fake_etcd_start(char ret_endpoint[static 64]) {
        char *const args[] = { "python3", "-B", FAKE_ETCD, NULL };
        posix_spawn_file_actions_t actions;
        int in[2], out[2];
        unsigned port;
        FILE *f;

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, in[0], 0), 0);
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out[1], 1), 0);
        assert_int_equal(posix_spawnp(&pid, args[0], &actions, NULL, args, environ), 0);
        (void)posix_spawn_file_actions_destroy(&actions);
        (void)close(in[0]);
        (void)close(out[1]);
        in_fd = in[1]; /* it ends when we do */
        f = fdopen(out[0], "r");
        assert_non_null(f);
        if (fscanf(f, "%5u", &port) != 1)
                fail_msg("the stand-in for etcd does not start");
        (void)fclose(f);
        (void)snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", port);
        memcpy(ret_endpoint, endpoint, sizeof(endpoint));
}

void fake_etcd_end(void) {
        in_fd = close_fd(in_fd);
        if (pid > 0)
                (void)waitpid(pid, NULL, 0);
        pid = 0;
}

void fake_etcd(const char *fmt, ...) {
        char prefix[] = "/fake";
        PlansConfig config = { .endpoints = { endpoint }, .n_endpoints = 1, .prefix = prefix };
        _cleanup_json_ json_object *request = NULL, *answer = NULL;
        _cleanup_(etcd_freep) Etcd *e = NULL;
        char text[200];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        assert_int_equal(json_read(text, strlen(text), &request, NULL), 0);
        assert_int_equal(etcd_new(&config, &e, NULL), 0);
        assert_int_equal(etcd_call(e, "../fake", TAKE(request), &answer, NULL), 0);
}
