/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/lock-files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/inotify.h>

#include "hostdev/image/files.h"
#include "lib/cleanup.h"
#include "lib/directory.h"

int lock_files_open(const char *run_dir, int *ret_dir_fd, Error *reterr) {
        int r = directory_make(run_dir, 0711, reterr);

        return r < 0 ? r : files_open_directory(run_dir, ret_dir_fd, reterr);
}

int lock_files_begin(int dir_fd, Error *reterr) {
        while (flock(dir_fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return error_setf(reterr, -errno, "run directory: cannot lock: %m");
        return 0;
}

void lock_files_end(int dir_fd) {
        (void)flock(dir_fd, LOCK_UN);
}

/* Opened for reading only: the end of that wakes nobody who waits. */
int lock_file_is_taken(int dir_fd, const char *name, Error *reterr) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : error_setf(reterr, -errno, "%s: %m", name);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return unlinkat(dir_fd, name, 0) < 0 ? error_setf(reterr, -errno, "%s: %m", name)
                                                     : 0;
        return errno == EWOULDBLOCK ? 1 : error_setf(reterr, -errno, "%s: %m", name);
}

int lock_file_take(int dir_fd, const char *name, int *ret_fd, Error *reterr) {
        _cleanup_close_ int fd =
                openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
                return error_setf(reterr, -errno, "%s: %m", name);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

void lock_file_leave(int dir_fd, const char *name, int *fd) {
        if (*fd >= 0)
                (void)unlinkat(dir_fd, name, 0);
        *fd = close_fd(*fd);
}

int lock_files_watch(const char *run_dir, int *ret_fd, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = directory_make(run_dir, 0711, reterr);
        if (r < 0)
                return r;
        fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0 || inotify_add_watch(fd, run_dir, IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR) < 0)
                return error_setf(reterr, -errno, "%s: cannot be watched: %m", run_dir);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

void lock_files_watch_read(int fd) {
        char events[4096];

        while (read(fd, events, sizeof(events)) > 0)
                ;
}
