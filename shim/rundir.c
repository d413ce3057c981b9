/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/rundir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "controllers/ids.h"
#include "lib/directory.h"

/* The longest name of a socket that anyone makes in the directory. */
#define LONGEST_SOCKET "migration-memory.sock"

char *run_dir_file(const RunDir *d, const char *name) {
        char *path;

        return asprintf(&path, "%s/%s", d->path, name) < 0 ? NULL : path;
}

static int check_ours(const char *path, int fd, Error *reterr) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return error_setf(reterr, -errno, "stat %s: %m", path);
        if (st.st_uid != geteuid() || (st.st_mode & 077))
                return error_setf(reterr, -EPERM,
                                  "%s belongs to uid %u with mode %03o: it must be ours and 0700",
                                  path, st.st_uid, st.st_mode & 0777U);
        return 0;
}

/* The lock counts only if the file is still the one at the path: a shim that goes removes it. */
static bool same_file(int dir_fd, const char *name, int fd) {
        struct stat a, b;

        return fstat(fd, &a) == 0 && fstatat(dir_fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
               a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* One try: 0 locked, 1 lost a race against a shim that removes the directory (try again). */
static int try_lock(const char *path, int *ret, bool *ret_was_there, Error *reterr) {
        _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;
        bool made;
        int r;

        made = mkdir(path, 0700) == 0;
        if (!made && errno != EEXIST)
                return error_setf(reterr, -errno, "make directory %s: %m", path);
        dir_fd = open(path, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
        if (dir_fd < 0)
                return errno == ENOENT ? 1 : error_setf(reterr, -errno, "open %s: %m", path);
        r = check_ours(path, dir_fd, reterr);
        if (r < 0)
                return r;
        fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno == ENOENT ? 1 : error_setf(reterr, -errno, "%s/lock: %m", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return error_setf(reterr, -EBUSY, "%s: another shim serves this pod", path);
                return error_setf(reterr, -errno, "lock %s/lock: %m", path);
        }
        if (!same_file(dir_fd, "lock", fd))
                return 1;
        *ret_was_there = !made;
        *ret = TAKE_FD(fd);
        return 0;
}

int run_dir_open(RunDir *d, const char *base, const char *pod, Error *reterr) {
        _cleanup_free_ char *path = NULL;
        struct sockaddr_un *sa;
        int r;

        *d = RUN_DIR_INIT;
        r = id_check("pod name", pod, reterr);
        if (r < 0)
                return r;
        if (asprintf(&path, "%s/%s", base, pod) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        if (strlen(path) + 1 + strlen(LONGEST_SOCKET) >= sizeof(sa->sun_path))
                return error_setf(reterr, -EINVAL,
                                  "%s is too long: sockets in it must have paths below %zu bytes",
                                  path, sizeof(sa->sun_path));
        /* QEMU, which may not be root, has sockets of a migration below. */
        r = directory_make(base, 0711, reterr);
        if (r < 0)
                return r;
        for (unsigned tries = 0; tries < 100; tries++) {
                r = try_lock(path, &d->lock_fd, &d->was_there, reterr);
                if (r < 0)
                        return r;
                if (r == 0) {
                        d->path = TAKE(path);
                        return 0;
                }
        }
        return error_setf(reterr, -EBUSY, "%s: shims of this pod come and go", path);
}

int run_dir_write_pid(const RunDir *d, Error *reterr) {
        _cleanup_free_ char *path = run_dir_file(d, "pid");
        _cleanup_close_ int fd = -EBADF;

        if (!path)
                return error_oom(reterr);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0 || dprintf(fd, "%d\n", getpid()) < 0)
                return error_setf(reterr, -errno, "write %s: %m", path);
        return 0;
}

static void remove_tree(int dir_fd, unsigned depth) {
        DIR *dir = fdopendir(dir_fd);
        struct dirent *e;

        if (!dir) {
                (void)close_fd(dir_fd);
                return;
        }
        while ((e = readdir(dir))) {
                int fd;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (unlinkat(dirfd(dir), e->d_name, 0) == 0 || depth == 0)
                        continue;
                fd = openat(dirfd(dir), e->d_name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
                if (fd >= 0)
                        remove_tree(fd, depth - 1);
                (void)unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
        }
        (void)closedir(dir);
}

void directory_remove(const char *path) {
        int fd = open(path, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                remove_tree(fd, 4);
        (void)rmdir(path);
}

/* A link in the directory names it: what a shim that is killed leaves, the next one finds. */
#define SOCKETS_LINK "sockets"
#define SOCKETS_OF   "../.migrate-"

int run_dir_own_sockets(const RunDir *d, const char *session, Error *reterr) {
        _cleanup_free_ char *link = run_dir_file(d, SOCKETS_LINK), *to = NULL;

        if (!link || asprintf(&to, SOCKETS_OF "%s", session) < 0) {
                to = NULL;
                return error_oom(reterr);
        }
        (void)unlink(link);
        if (symlink(to, link) < 0)
                return error_setf(reterr, -errno, "%s: %m", link);
        return 0;
}

void run_dir_disown_sockets(const RunDir *d) {
        _cleanup_free_ char *link = run_dir_file(d, SOCKETS_LINK);

        if (link)
                (void)unlink(link);
}

static void remove_sockets(const RunDir *d) {
        _cleanup_free_ char *link = run_dir_file(d, SOCKETS_LINK), *path = NULL;
        char to[256] = {};
        ssize_t n = link ? readlink(link, to, sizeof(to) - 1) : -1;

        if (n <= (ssize_t)strlen(SOCKETS_OF) || strncmp(to, SOCKETS_OF, strlen(SOCKETS_OF)) != 0 ||
            id_check("session", to + strlen(SOCKETS_OF), NULL) < 0 ||
            asprintf(&path, "%s/%s", d->path, to) < 0)
                return;
        directory_remove(path);
}

void run_dir_remove(RunDir *d) {
        if (d->path) {
                remove_sockets(d);
                directory_remove(d->path);
        }
        run_dir_done(d);
}

void run_dir_done(RunDir *d) {
        free(d->path);
        (void)close_fd(d->lock_fd);
        *d = RUN_DIR_INIT;
}
