/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/boot.h"

#include <fcntl.h>
#include <malloc.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "guest/files.h"
#include "lib/log.h"

/* Lines go to the kernel's log, and from there to the console if there is one. */
static int kmsg = -EBADF;

static void kmsg_sink(int priority, const char *text, const LogField *fields, size_t n_fields) {
        char line[900];
        int n = snprintf(line, sizeof(line), "<%d>podferry-agent: %s\n", LOG_PRI(priority), text);

        if (kmsg >= 0 && n > 0 && write(kmsg, line, MIN_OF((size_t)n, sizeof(line) - 1)) < 0)
                return; /* nowhere left to say it */
}

static void open_standard_files(void) {
        int fd = open("/dev/null", O_RDWR);

        /* 0, 1 and 2 must never become something that a child could take for its own. */
        while (fd >= 0 && fd <= 2)
                fd = dup(fd);
        (void)close_fd(fd);
        for (int i = 0; i < 3; i++)
                (void)close(i);
        for (int i = 0; i < 3; i++)
                (void)open("/dev/null", O_RDWR);
        kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
        log_set_sink(kmsg_sink);
}

static const struct {
        const char *type, *path, *options;
        unsigned long flags;
} mounts[] = {
        { "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
        { "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
        { "devtmpfs", "/dev", "mode=0755", MS_NOSUID },
        { "cgroup2", "/sys/fs/cgroup", "nsdelegate", MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

/* The initial RAM filesystem is the root of everything and has no parent mount, so that
 * pivot_root() refuses it; a bind mount of it over itself has one. */
static int give_root_a_parent(Error *reterr) {
        static const char there[] = "/.root";

        if (mkdir(there, 0700) < 0 || mount("/", there, NULL, MS_BIND, NULL) < 0 ||
            chdir(there) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
            chdir("/") < 0)
                return error_setf(reterr, -errno, "cannot move the root: %m");
        (void)rmdir(there);
        return 0;
}

/* Crun makes a copy of itself for each call, unless it lies on a filesystem that is read-only. */
static int protect_programs(Error *reterr) {
        if (mount("/bin", "/bin", NULL, MS_BIND, NULL) < 0 ||
            mount(NULL, "/bin", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
                  NULL) < 0)
                return error_setf(reterr, -errno, "cannot make /bin read-only: %m");
        return 0;
}

static int make_mounts(Error *reterr) {
        int r = give_root_a_parent(reterr);

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(mounts); i++)
                if (mount(mounts[i].type, mounts[i].path, mounts[i].type, mounts[i].flags,
                          mounts[i].options) < 0)
                        r = error_setf(reterr, -errno, "cannot mount %s: %m", mounts[i].path);
        return r < 0 ? r : protect_programs(reterr);
}

static int make_directories(Error *reterr) {
        static const char *const paths[] = { "/run/podferry", "/run/podferry/containers",
                                             "/run/crun" };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                if (mkdir(paths[i], 0700) < 0 && errno != EEXIST)
                        return error_setf(reterr, -errno, "cannot make %s: %m", paths[i]);
        return 0;
}

/* The agent is what every container hangs on: the kernel must not kill it for want of memory, nor
 * make it wait for its pages. Its children are put back to normal (guest/spawn.c). */
static int protect_agent(Error *reterr) {
        struct rlimit files = { 1048576, 1048576 };
        int r = file_write_string("/proc/self/oom_score_adj", "-1000", reterr);

        if (r < 0)
                return r;
        (void)mallopt(M_ARENA_MAX, 1);
        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                return error_setf(reterr, -errno, "cannot lock memory: %m");
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
                return error_setf(reterr, -errno, "cannot have enough files: %m");
        (void)signal(SIGPIPE, SIG_IGN);
        return 0;
}

/* Containers of a pod find each other at localhost. */
static int raise_loopback(Error *reterr) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

        if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
                return error_setf(reterr, -errno, "cannot raise the loopback interface: %m");
        return 0;
}

int boot_setup(Error *reterr) {
        int r;

        (void)umask(022);
        r = make_mounts(reterr);
        open_standard_files();
        if (r < 0)
                return r;
        if ((r = make_directories(reterr)) < 0 || (r = raise_loopback(reterr)) < 0)
                return r;
        return protect_agent(reterr);
}

static int load_module(const char *file, const char *parameters, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        char path[300];

        (void)snprintf(path, sizeof(path), "/lib/modules/%s", file);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot open %s: %m", path);
        if (syscall(SYS_finit_module, fd, parameters, 0) < 0 && errno != EEXIST)
                return error_setf(reterr, -errno, "cannot load %s: %m", path);
        (void)unlink(path); /* its bytes are memory of the guest */
        return 0;
}

/* Goes on after a failure, and returns the first. */
int boot_load_modules(const char *stage, Error *reterr) {
        _cleanup_buf_ Buf order = {};
        char *line, *rest;
        int r, first = 0;

        r = file_read("/lib/modules/order", 65536, &order, reterr);
        if (r < 0)
                return r;
        if (buf_append(&order, "", 1) < 0)
                return error_oom(reterr);
        rest = (char *)order.data;
        while ((line = strsep(&rest, "\n"))) {
                const char *its_stage = strsep(&line, " ");
                const char *file = strsep(&line, " ");

                if (!file || strcmp(its_stage, stage) != 0)
                        continue;
                r = load_module(file, line ?: "", first < 0 ? NULL : reterr);
                if (r < 0 && first == 0)
                        first = r;
        }
        return first;
}
