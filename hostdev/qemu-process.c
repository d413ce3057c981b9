/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/qemu-process.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* QEMU's command line as libvirt writes it: the UUID comes long before this, whatever disks there
 * are (they are JSON, one argument each). */
#define CMDLINE_MAX (64U << 10)

int file_read(const char *path, char *ret, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t n = 0;

        if (fd < 0)
                return -errno;
        while (n < size - 1) {
                ssize_t got = read(fd, ret + n, size - 1 - n);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                n += (size_t)got;
        }
        ret[n] = '\0';
        return (int)n;
}

int process_argument(pid_t pid, const char *option, char *ret, size_t size, Error *reterr) {
        _cleanup_free_ char *cmdline = malloc(CMDLINE_MAX);
        char path[64];
        bool next = false;
        int n;

        if (!cmdline)
                return error_oom(reterr);
        (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
        n = file_read(path, cmdline, CMDLINE_MAX);
        if (n == -ENOENT || n == -ESRCH)
                return error_setf(reterr, -ENOENT, "process %d is gone", (int)pid);
        if (n < 0)
                return error_setf(reterr, n, "%s: %s", path, error_text(NULL, n));
        for (const char *s = cmdline; s < cmdline + n; s += strlen(s) + 1) {
                if (next && strlen(s) < size) {
                        (void)snprintf(ret, size, "%s", s);
                        return 0;
                }
                next = strcmp(s, option) == 0;
        }
        return error_setf(reterr, -ENOENT, "process %d has no %s", (int)pid, option);
}

static int is_not(pid_t pid, const char *domain, Error *reterr) {
        return error_setf(reterr, -ENOENT, "process %d is not the QEMU of domain %s", (int)pid,
                          domain);
}

int qemu_process_check(pid_t pid, const char *uuid, Error *reterr) {
        char its[64];
        Error e = ERROR_INIT;
        int r = process_argument(pid, "-uuid", its, sizeof(its), &e);

        if (r == -ENOENT || (r == 0 && strcmp(its, uuid) != 0))
                return is_not(pid, uuid, reterr);
        return r < 0 ? error_setf(reterr, r, "%s", e.text) : 0;
}

int qemu_process_uuid(pid_t pid, const char *name, char *ret, size_t size, Error *reterr) {
        char its[256], wanted[256];
        int r;

        if ((size_t)snprintf(wanted, sizeof(wanted), "guest=%s,", name) >= sizeof(wanted))
                return error_setf(reterr, -ENAMETOOLONG, "%s", name);
        r = process_argument(pid, "-name", its, sizeof(its), reterr);
        if (r == 0 && strncmp(its, wanted, strlen(wanted)) == 0)
                return process_argument(pid, "-uuid", ret, size, reterr);
        return r < 0 ? r : is_not(pid, name, reterr);
}

bool process_is_stopped(pid_t pid) {
        char path[64], text[512], *end;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (file_read(path, text, sizeof(text)) <= 0)
                return false;
        end = strrchr(text, ')'); /* of the name, which may hold anything */
        return end && (strncmp(end, ") T", 3) == 0 || strncmp(end, ") t", 3) == 0);
}
