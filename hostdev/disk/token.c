/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/disk/token.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "hostdev/image/files.h"

static const char *const side_names[_TOKEN_SIDE_MAX] = {
        [TOKEN_SOURCE] = "source",
        [TOKEN_DESTINATION] = "destination",
};

static int open_directory_of(const char *disk, int *ret, Error *reterr) {
        _cleanup_free_ char *copy = strdup(disk);
        char *slash = copy ? strrchr(copy, '/') : NULL;

        if (!copy)
                return error_oom(reterr);
        if (!slash)
                return error_setf(reterr, -EINVAL, "%s: not an absolute path", disk);
        slash[slash == copy ? 1 : 0] = '\0';
        *ret = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *ret < 0 ? error_setf(reterr, -errno, "%s: %m", copy) : 0;
}

static void token_name(const char *session, uint32_t slot, TokenSide side, char *ret, size_t size) {
        (void)snprintf(ret, size, ".podferry-%.64s-%u-%s", session, slot, side_names[side]);
}

/* The first of the names that the kernel knows for a block device. */
static int device_name(const char *disk, const struct stat *st, char *ret, size_t size,
                       Error *reterr) {
        static const char *const attributes[] = { "wwid", "device/wwid", "dm/uuid" };

        for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
                _cleanup_close_ int fd = -EBADF;
                char path[128], text[128];
                ssize_t n;

                (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(st->st_rdev),
                               minor(st->st_rdev), attributes[i]);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                n = fd < 0 ? 0 : files_read_start(fd, text, sizeof(text) - 1);
                while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
                        n--;
                if (n <= 0)
                        continue;
                (void)snprintf(ret, size, "device %.*s", (int)n, text);
                return 0;
        }
        return error_setf(reterr, -ENODEV,
                          "%s: a block device that has no WWID: nothing proves that the other host "
                          "has the same one",
                          disk);
}

int disk_token_make(const char *disk, const char *session, uint32_t slot, TokenSide side,
                    char ret[static DISK_TOKEN_SIZE], Error *reterr) {
        _cleanup_close_ int dir = -EBADF, fd = -EBADF;
        uint8_t random[16];
        char name[128];
        struct stat st;
        int r;

        if (stat(disk, &st) == 0 && S_ISBLK(st.st_mode))
                return device_name(disk, &st, ret, DISK_TOKEN_SIZE, reterr);
        r = open_directory_of(disk, &dir, reterr);
        if (r < 0)
                return r;
        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
                return error_setf(reterr, -EIO, "no random bytes");
        for (size_t i = 0; i < sizeof(random); i++)
                (void)snprintf(ret + 2 * i, 3, "%02x", random[i]);
        token_name(session, slot, side, name, sizeof(name));
        (void)unlinkat(dir, name, 0); /* of an earlier attempt */
        /* Not a secret, and on a network file system root may be nobody: so all may read it. */
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        r = fd < 0 ? -errno : files_write_all(fd, ret, strlen(ret));
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(dir, name, 0);
                return error_setf(reterr, r,
                                  "%s: nothing can be written beside it, so nothing proves that "
                                  "the hosts share it: %s",
                                  disk, strerrordesc_np(-r));
        }
        return 0;
}

static int differs(const char *disk, Error *reterr) {
        return error_setf(reterr, -EREMOTE,
                          "%s: what one host writes beside it the other does not see there: the "
                          "hosts do not share it",
                          disk);
}

int disk_token_check(const char *disk, const char *session, uint32_t slot, TokenSide side,
                     const char *wanted, Error *reterr) {
        char name[128], text[DISK_TOKEN_SIZE];
        _cleanup_close_ int dir = -EBADF, fd = -EBADF;
        struct stat st;
        ssize_t n;
        int r;

        if (stat(disk, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", disk);
        if (S_ISBLK(st.st_mode)) {
                r = device_name(disk, &st, text, sizeof(text), reterr);
                return r < 0 ? r : strcmp(text, wanted) == 0 ? 0 : differs(disk, reterr);
        }
        r = open_directory_of(disk, &dir, reterr);
        if (r < 0)
                return r;
        token_name(session, slot, side, name, sizeof(name));
        fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? differs(disk, reterr)
                                       : error_setf(reterr, -errno, "%s beside %s: %m", name, disk);
        n = files_read_start(fd, text, sizeof(text));
        if (n < 0)
                return error_setf(reterr, (int)n, "%s beside %s: %s", name, disk,
                                  strerrordesc_np((int)-n));
        if (n == 0 || (size_t)n != strlen(wanted) || memcmp(text, wanted, (size_t)n) != 0)
                return differs(disk, reterr);
        return 0;
}

void disk_token_remove(const char *disk, const char *session, uint32_t slot, TokenSide side) {
        _cleanup_close_ int dir = -EBADF;
        char name[128];

        if (open_directory_of(disk, &dir, NULL) < 0)
                return;
        token_name(session, slot, side, name, sizeof(name));
        (void)unlinkat(dir, name, 0);
}
