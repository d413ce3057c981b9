/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into the shims of a lab test: a process that comes to the moment which the file
 * $PODFERRY_KILL_AT names is killed by SIGKILL, there and then, and the file removed. So a crash is
 * at one instruction and not at some time after the start.
 *
 *      before-KIND   a record of this kind is about to be written to the journal
 *      KIND          it is on the disk ("fencing", "ready", ...: as journal_kind_name())
 *      stopped       QEMU got SIGSTOP
 *      killed        QEMU got SIGKILL
 *      KIND+state    state.0 or state.1 after a record of this kind was written
 *      before-cold-STATE   a record of a cold move is about to be written ("offered", "given", ...:
 *      cold-STATE          offline_state_name()), is on the disk, or ("none") was removed
 *
 * And a journal or log of a shim that is removed is kept in the folder $PODFERRY_KEEP. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/journal-record.h"

static char last[32]; /* the kind of the record written last by this process */

static void come_to(const char *moment) {
        const char *path = getenv("PODFERRY_KILL_AT");
        char wanted[64] = {};
        int fd;

        fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
                return;
        if (read(fd, wanted, sizeof(wanted) - 1) > 0) {
                wanted[strcspn(wanted, "\n")] = '\0';
                if (strcmp(wanted, moment) == 0 && unlink(path) == 0)
                        (void)kill(getpid(), SIGKILL);
        }
        (void)close(fd);
}

static int is_file(int fd, const char *end) {
        char link[64], path[512];
        size_t k = strlen(end);
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path));
        return n > (ssize_t)k && memcmp(path + n - k, end, k) == 0;
}

/* The names that a program built for large files calls. */
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at);
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) {
        ssize_t (*next)(int, const void *, size_t, off_t) =
                (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");

        if (is_file(fd, "/journal")) {
                JournalRecord r;
                char moment[64];
                size_t len;

                if (journal_record_parse(p, n, &r, &len, NULL) == JOURNAL_PARSE_RECORD) {
                        (void)snprintf(last, sizeof(last), "%s", journal_kind_name(r.kind));
                        (void)snprintf(moment, sizeof(moment), "before-%s", last);
                        come_to(moment);
                }
        }
        return next(fd, p, n, at);
}

int fdatasync(int fd) {
        int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
        int r = next(fd);

        if (last[0] && is_file(fd, "/journal"))
                come_to(last);
        return r;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t at);
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t at) {
        ssize_t (*next)(int, const struct iovec *, int, off_t) =
                (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev64");
        ssize_t k = next(fd, iov, n, at);
        char moment[64];

        if (last[0] && (is_file(fd, "/state.0") || is_file(fd, "/state.1"))) {
                (void)snprintf(moment, sizeof(moment), "%s+state", last);
                come_to(moment);
        }
        return k;
}

/* Before its last name goes. */
static void keep_file(int at, const char *path) {
        const char *to = getenv("PODFERRY_KEEP"), *name = strrchr(path, '/');
        char copy[512], data[65536];
        int in, out;
        ssize_t k;

        name = name ? name + 1 : path;
        if (!to || !name || (strcmp(name, "journal") != 0 && strcmp(name, "shim.log") != 0))
                return;
        (void)snprintf(copy, sizeof(copy), "%s/%s-%d", to, name, getpid());
        in = openat(at, path, O_RDONLY | O_CLOEXEC);
        out = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        while (in >= 0 && out >= 0 && (k = read(in, data, sizeof(data))) > 0)
                if (write(out, data, (size_t)k) != k)
                        break;
        (void)close(in);
        (void)close(out);
}

int unlink(const char *path) {
        int (*next)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");

        keep_file(AT_FDCWD, path);
        return next(path);
}

static int is_record(const char *path) {
        return strcmp(path, "outgoing") == 0 || strcmp(path, "incoming") == 0;
}

int unlinkat(int at, const char *path, int flags) {
        int (*next)(int, const char *, int) =
                (int (*)(int, const char *, int))dlsym(RTLD_NEXT, "unlinkat");
        int r;

        if (!(flags & AT_REMOVEDIR))
                keep_file(at, path);
        if (is_record(path))
                come_to("before-cold-none");
        r = next(at, path, flags);
        if (r == 0 && is_record(path))
                come_to("cold-none");
        return r;
}

/* A record is written beside the old one, and renamed. */
int renameat(int from_at, const char *from, int to_at, const char *to) {
        int (*next)(int, const char *, int, const char *) =
                (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
        char text[64] = {}, moment[96] = "";
        int fd = is_record(to) ? openat(from_at, from, O_RDONLY | O_CLOEXEC) : -1, r;

        if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strncmp(text, "state ", 6) == 0) {
                text[strcspn(text, "\n")] = '\0';
                (void)snprintf(moment, sizeof(moment), "before-cold-%s", text + 6);
                come_to(moment);
        }
        if (fd >= 0)
                (void)close(fd);
        r = next(from_at, from, to_at, to);
        if (moment[0])
                come_to(moment + strlen("before-"));
        return r;
}

long syscall(long number, ...) {
        long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
        long a[6], r;
        va_list list;

        va_start(list, number);
        for (size_t i = 0; i < 6; i++)
                a[i] = va_arg(list, long);
        va_end(list);
        r = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (number == SYS_pidfd_send_signal && a[1] == SIGSTOP)
                come_to("stopped");
        if (number == SYS_pidfd_send_signal && a[1] == SIGKILL)
                come_to("killed");
        return r;
}
