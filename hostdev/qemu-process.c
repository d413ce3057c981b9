/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/qemu-process.h"

#include <fcntl.h>
#include <stdbool.h>
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

int qemu_process_check(pid_t pid, const char *uuid, Error *reterr) {
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
                if (next && strcmp(s, uuid) == 0)
                        return 0;
                next = strcmp(s, "-uuid") == 0;
        }
        return error_setf(reterr, -ENOENT, "process %d is not the QEMU of domain %s", (int)pid,
                          uuid);
}
