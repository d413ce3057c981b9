/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lab/guest-calls.h"

#include <stdio.h>
#include <string.h>

Host *host;

static int end_code(uint64_t call) {
        FromGuest *r = host_end(host, call, 30000);
        int code = r ? r->code : -ETIMEDOUT;

        if (r && code < 0)
                (void)printf("#   (%d: %s)\n", code, r->error);
        host_reply_free(r);
        return code;
}

int call_code(ToGuest *m) {
        return end_code(host_begin(host, m));
}

static void address(Podferry__Guest__V1__ScsiAddress *a, unsigned target) {
        podferry__guest__v1__scsi_address__init(a);
        a->target = target;
}

int mount_disk(unsigned target, const char *path, const char *type, bool read_only) {
        REQUEST(MountRequest, MOUNT, PODFERRY__GUEST__V1__MOUNT_REQUEST__INIT);
        Podferry__Guest__V1__ScsiAddress a;

        address(&a, target);
        q.disk = &a;
        q.guest_path = STRING(path);
        q.filesystem = STRING(type);
        q.read_only = read_only;
        q.block_device = type[0] == '\0';
        m.mount = &q;
        return call_code(&m);
}

int unmount(const char *path, int target) {
        REQUEST(UnmountRequest, UNMOUNT, PODFERRY__GUEST__V1__UNMOUNT_REQUEST__INIT);
        Podferry__Guest__V1__ScsiAddress a;

        address(&a, (unsigned)target);
        q.guest_path = STRING(path);
        q.disk = target < 0 ? NULL : &a;
        m.unmount = &q;
        return call_code(&m);
}

int overlay(const char *path, const char *lower, const char *upper) {
        REQUEST(OverlayRequest, OVERLAY, PODFERRY__GUEST__V1__OVERLAY_REQUEST__INIT);
        char *lowers[] = { STRING(lower) };

        q.guest_path = STRING(path);
        q.lower = lowers;
        q.n_lower = 1;
        q.upper = STRING(upper);
        m.overlay = &q;
        return call_code(&m);
}

StdioSpec stdio_of(const uint32_t ch[3], bool terminal) {
        StdioSpec s = PODFERRY__GUEST__V1__STDIO__INIT;

        s.terminal = terminal;
        s.stdin_channel = ch[0];
        s.stdout_channel = ch[1];
        s.stderr_channel = ch[2];
        s.rows = terminal ? 40 : 0;
        s.columns = terminal ? 132 : 0;
        return s;
}

#define CAPS "[\"CAP_KILL\",\"CAP_SYS_PTRACE\"]"
#define PROCESS                                                                                    \
        "{\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},\"env\":[\"PATH=/bin\",\"TERM=linux\"],"    \
        "\"capabilities\":{\"bounding\":" CAPS ",\"effective\":" CAPS ",\"permitted\":" CAPS "},"  \
        "\"args\":[\"/bin/sh\",\"-c\",\"%s\"]}"
#define CONFIG                                                                                     \
        "{\"ociVersion\":\"1.0.0\",\"process\":%s,\"root\":{\"path\":\"/nowhere\"},"               \
        "\"hostname\":\"pod\",\"mounts\":["                                                        \
        "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"                       \
        "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"                      \
        "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\"}],"               \
        "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"   \
        "{\"type\":\"uts\"}],\"resources\":{\"memory\":{\"limit\":%s}}}}"

static char *process_json(const char *script) {
        char *p;

        return asprintf(&p, PROCESS, script) < 0 ? NULL : p;
}

int create_container(const char *id, const char *script, StdioSpec *io, const char *memory) {
        REQUEST(CreateRequest, CREATE, PODFERRY__GUEST__V1__CREATE_REQUEST__INIT);
        char *process = process_json(script), *config;
        int r;

        if (!process || asprintf(&config, CONFIG, process, memory) < 0)
                return -ENOMEM;
        q.container_id = STRING(id);
        q.rootfs = STRING("/run/pod/root");
        q.config_json.data = (uint8_t *)config;
        q.config_json.len = strlen(config);
        q.stdio = io;
        m.create = &q;
        r = call_code(&m);
        free(config);
        free(process);
        return r;
}

int start_container(const char *id) {
        REQUEST(StartRequest, START, PODFERRY__GUEST__V1__START_REQUEST__INIT);

        q.container_id = STRING(id);
        m.start = &q;
        return call_code(&m);
}

uint64_t begin_exec(const char *id, const char *exec_id, const char *script, StdioSpec *io) {
        REQUEST(ExecRequest, EXEC, PODFERRY__GUEST__V1__EXEC_REQUEST__INIT);
        char *process = process_json(script);
        uint64_t call;

        q.container_id = STRING(id);
        q.exec_id = STRING(exec_id);
        q.process_json.data = (uint8_t *)process;
        q.process_json.len = process ? strlen(process) : 0;
        q.stdio = io;
        m.exec = &q;
        call = host_begin(host, &m);
        free(process);
        return call;
}

int exec_process(const char *id, const char *exec_id, const char *script, StdioSpec *io) {
        return end_code(begin_exec(id, exec_id, script, io));
}

int kill_process(const char *id, const char *exec_id, unsigned sig, bool all) {
        REQUEST(KillRequest, KILL, PODFERRY__GUEST__V1__KILL_REQUEST__INIT);

        q.container_id = STRING(id);
        q.exec_id = STRING(exec_id);
        q.signal = sig;
        q.all = all;
        m.kill = &q;
        return call_code(&m);
}

int delete_process(const char *id, const char *exec_id, bool force) {
        REQUEST(DeleteRequest, DELETE, PODFERRY__GUEST__V1__DELETE_REQUEST__INIT);

        q.container_id = STRING(id);
        q.exec_id = STRING(exec_id);
        q.force = force;
        m.delete_ = &q;
        return call_code(&m);
}

uint64_t begin_wait(const char *id, const char *exec_id) {
        REQUEST(WaitRequest, WAIT, PODFERRY__GUEST__V1__WAIT_REQUEST__INIT);

        q.container_id = STRING(id);
        q.exec_id = STRING(exec_id);
        m.wait = &q;
        return host_begin(host, &m);
}

/* The exit code; negative: the call failed. */
int end_wait(uint64_t call) {
        FromGuest *r = host_end(host, call, 30000);
        int code = !r ? -ETIMEDOUT : r->code < 0 ? r->code : (int)r->wait->code;

        host_reply_free(r);
        return code;
}
