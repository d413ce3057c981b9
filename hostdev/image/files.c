/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/directory.h"

static void close_dir(DIR **d) {
        if (*d)
                (void)closedir(*d);
}

int files_sub_directory(int dir_fd, const char *name, unsigned mode, int *ret_fd, Error *reterr) {
        int fd;

        if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
                return error_setf(reterr, -errno, "cannot make the directory %s: %m", name);
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot open the directory %s: %m", name);
        *ret_fd = fd;
        return 0;
}

int files_open_directory(const char *path, int *ret_fd, Error *reterr) {
        int fd, r;

        r = directory_make(path, 0711, reterr);
        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot open the directory %s: %m", path);
        *ret_fd = fd;
        return 0;
}

ssize_t files_read_start(int fd, void *p, size_t n) {
        size_t got = 0;

        while (got < n) {
                ssize_t k = pread(fd, (char *)p + got, n - got, (off_t)got);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                got += (size_t)k;
        }
        return (ssize_t)got;
}

int files_read(int dir_fd, const char *name, size_t max, Buf *ret, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot read %s: %m", name);
        if (buf_reserve(ret, max + 2) < 0)
                return error_oom(reterr);
        n = files_read_start(fd, ret->data + ret->len, max + 1);
        if (n < 0)
                return error_setf(reterr, (int)n, "cannot read %s: %s", name,
                                  strerrordesc_np((int)-n));
        if ((size_t)n > max)
                return error_setf(reterr, -EFBIG, "%s is larger than %zu bytes", name, max);
        ret->data[ret->len + (size_t)n] = '\0';
        ret->len += (size_t)n;
        return 0;
}

int files_write_all(int fd, const void *p, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                p = (const char *)p + k;
                n -= (size_t)k;
        }
        return 0;
}

int files_publish(int from_dir, const char *from, int to_dir, const char *to, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;

        fd = openat(from_dir, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0 || renameat(from_dir, from, to_dir, to) < 0 ||
            fsync(to_dir) < 0)
                return error_setf(reterr, -errno, "cannot write %s: %m", to);
        return 0;
}

int files_write(int dir_fd, const char *name, const void *p, size_t n, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        char temp[128];
        int r;

        r = snprintf(temp, sizeof(temp), ".%.80s.%ld", name, (long)getpid());
        if (r < 0 || (size_t)r >= sizeof(temp))
                return error_setf(reterr, -ENAMETOOLONG, "the name %s is too long", name);
        fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot write %s: %m", name);
        r = files_write_all(fd, p, n);
        if (r < 0)
                r = error_setf(reterr, r, "cannot write %s: %s", name, strerrordesc_np(-r));
        else
                r = files_publish(dir_fd, temp, dir_fd, name, reterr);
        if (r < 0)
                (void)unlinkat(dir_fd, temp, 0);
        return r;
}

static DIR *open_dir(int dir_fd, const char *name) {
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d;

        if (fd < 0)
                return NULL;
        d = fdopendir(fd);
        if (!d)
                (void)close_fd(fd);
        return d;
}

static bool is_dot(const char *name) {
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* 0 removed, 1 a directory with something in it. */
static int remove_one(int dir_fd, const char *name) {
        if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -errno;
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
                return 0;
        return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

/* Empties the directory `name` of `top`; what it holds that is not empty moves up into `top`, so
 * that no depth of a tree needs more than two descriptors here. */
static int empty_one(int top, const char *name, uint64_t *counter) {
        _cleanup_(close_dir) DIR *d = open_dir(top, name);
        struct dirent *e;
        int r;

        if (!d)
                return -errno;
        while ((errno = 0, e = readdir(d))) {
                char up[32];

                if (is_dot(e->d_name))
                        continue;
                r = remove_one(dirfd(d), e->d_name);
                if (r == 1) {
                        do
                                (void)snprintf(up, sizeof(up), ".up.%" PRIu64, (*counter)++);
                        while (renameat2(dirfd(d), e->d_name, top, up, RENAME_NOREPLACE) < 0 &&
                               errno == EEXIST);
                        r = faccessat(dirfd(d), e->d_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? -EXDEV
                                                                                           : 0;
                }
                if (r < 0)
                        return r;
        }
        if (errno != 0)
                return -errno;
        return unlinkat(top, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int files_remove_tree(int dir_fd, const char *name) {
        _cleanup_(close_dir) DIR *d = NULL;
        uint64_t counter = 0;
        bool again = true;
        int r;

        r = remove_one(dir_fd, name);
        if (r <= 0)
                return r;
        d = open_dir(dir_fd, name);
        if (!d)
                return -errno;
        while (again) {
                struct dirent *e;

                again = false;
                rewinddir(d);
                while ((errno = 0, e = readdir(d))) {
                        if (is_dot(e->d_name))
                                continue;
                        r = remove_one(dirfd(d), e->d_name);
                        if (r == 1) {
                                again = true;
                                r = empty_one(dirfd(d), e->d_name, &counter);
                        }
                        if (r < 0)
                                return r;
                }
                if (errno != 0)
                        return -errno;
        }
        return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int files_lock(int dir_fd, const char *name, bool try, FileLock *ret, Error *reterr) {
        if (strlen(name) >= sizeof(ret->name))
                return error_setf(reterr, -ENAMETOOLONG, "the name %s is too long", name);
        for (;;) {
                _cleanup_close_ int fd = -EBADF;
                struct stat ours, theirs;

                fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (fd < 0)
                        return error_setf(reterr, -errno, "cannot lock %s: %m", name);
                while (flock(fd, LOCK_EX | (try ? LOCK_NB : 0)) < 0) {
                        if (errno == EWOULDBLOCK)
                                return error_setf(reterr, -EAGAIN, "%s is locked", name);
                        if (errno != EINTR)
                                return error_setf(reterr, -errno, "cannot lock %s: %m", name);
                }
                /* The one who had it may have removed the file: then this lock is nobody's. */
                if (fstat(fd, &ours) < 0)
                        return error_setf(reterr, -errno, "cannot lock %s: %m", name);
                if (fstatat(dir_fd, name, &theirs, AT_SYMLINK_NOFOLLOW) < 0 ||
                    ours.st_ino != theirs.st_ino)
                        continue;
                (void)stpcpy(ret->name, name);
                ret->dir_fd = dir_fd;
                ret->fd = TAKE_FD(fd);
                return 0;
        }
}

void files_unlock(FileLock *l) {
        if (l->fd < 0)
                return;
        (void)unlinkat(l->dir_fd, l->name, 0);
        l->fd = close_fd(l->fd);
}
