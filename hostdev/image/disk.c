/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/disk.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "hostdev/image/files.h"
#include "lib/magic.h"
#include "hostdev/image/program.h"

static const uint8_t qcow2_magic[] = { 'Q', 'F', 'I', 0xfb };

static uint64_t big_endian(const uint8_t *p, unsigned n) {
        uint64_t v = 0;

        for (unsigned i = 0; i < n; i++)
                v = v << 8 | p[i];
        return v;
}

/* The file system in a qcow2 image, through qemu-img, since its first block may be anywhere. */
static int qcow2_filesystem(const char *path, const char **ret, Error *reterr) {
        char temp[] = "/tmp/podferry-disk-XXXXXX";
        _cleanup_free_ char *in = NULL, *out = NULL;
        _cleanup_close_ int fd = -EBADF;
        uint8_t first[MAGIC_BYTES];
        ssize_t n;
        int r;

        fd = mkostemp(temp, O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot make a temporary file: %m");
        if (asprintf(&in, "if=%s", path) < 0)
                in = NULL;
        if (asprintf(&out, "of=%s", temp) < 0)
                out = NULL;
        r = in && out ? program_run_limited((const char *const[]){ "qemu-img", "dd", "-f", "qcow2",
                                                                   "-O", "raw", "bs=4096",
                                                                   "count=1", in, out, NULL },
                                            NULL, reterr)
                      : error_oom(reterr);
        (void)close_fd(TAKE_FD(fd));
        if (r == 0)
                fd = open(temp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        n = fd < 0 ? 0 : files_read_start(fd, first, sizeof(first));
        (void)unlink(temp);
        if (r < 0)
                return error_prefix(reterr, r, "%s", path);
        *ret = n > 0 ? magic_filesystem(first, (size_t)n) : NULL;
        return 0;
}

/* Header of qcow2, version 2 and 3: docs/interop/qcow2.txt of QEMU. */
static int look_at_qcow2(const char *path, const uint8_t *p, size_t n, DiskInfo *ret,
                         Error *reterr) {
        uint64_t version, incompatible;

        if (n < 104)
                return error_setf(reterr, -EINVAL, "%s: its qcow2 header is cut off", path);
        version = big_endian(p + 4, 4);
        incompatible = version >= 3 ? big_endian(p + 72, 8) : 0;
        if (version < 2 || version > 3)
                return error_setf(reterr, -EINVAL, "%s: qcow2 version %" PRIu64 " is not known",
                                  path, version);
        if (incompatible & 4)
                return error_setf(reterr, -EINVAL,
                                  "%s: its data is in another file, which podferry does not open",
                                  path);
        if (incompatible & 2)
                return error_setf(reterr, -EINVAL, "%s: it is marked corrupt: see qemu-img check",
                                  path);
        ret->format = "qcow2";
        ret->virtual_size = big_endian(p + 24, 8);
        ret->backed = big_endian(p + 8, 8) != 0;
        if (ret->backed) /* what is in it is not looked for in a file that nobody has allowed */
                return 0;
        return qcow2_filesystem(path, &ret->filesystem, reterr);
}

static int look_inside(const char *path, int fd, const struct stat *st, bool raw, DiskInfo *ret,
                       Error *reterr) {
        const char *foreign;
        uint8_t first[MAGIC_BYTES];
        uint64_t size = (uint64_t)st->st_size;
        ssize_t n;

        if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, &size) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        n = files_read_start(fd, first, sizeof(first));
        if (n < 0)
                return error_setf(reterr, (int)n, "%s: %s", path, strerrordesc_np((int)-n));
        foreign = raw ? NULL : magic_foreign_disk(first, (size_t)n);
        if (foreign)
                return error_setf(reterr, -EINVAL,
                                  "%s: a %s image, which podferry does not use: qemu-img convert "
                                  "makes a qcow2 one of it",
                                  path, foreign);
        if (!raw && (size_t)n >= sizeof(qcow2_magic) &&
            memcmp(first, qcow2_magic, sizeof(qcow2_magic)) == 0)
                return look_at_qcow2(path, first, (size_t)n, ret, reterr);
        ret->format = "raw";
        ret->virtual_size = size;
        ret->filesystem = magic_filesystem(first, (size_t)n);
        return 0;
}

static int mark_name(const char *path, char **ret) {
        return asprintf(ret, "%s.incomplete", path) < 0 ? -ENOMEM : 0;
}

static int probe(const char *path, bool writable, bool raw, DiskInfo *ret, Error *reterr) {
        _cleanup_free_ char *mark = NULL;
        _cleanup_close_ int fd = -EBADF;
        DiskInfo info = {};
        struct stat st;
        int r;

        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == EISDIR)
                return error_setf(reterr, -EINVAL, "%s: a directory; a volume is a disk image",
                                  path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return error_setf(reterr, -EINVAL, "%s: neither a file nor a block device", path);
        r = look_inside(path, fd, &st, raw, &info, reterr);
        if (r < 0)
                return r;
        if (info.virtual_size == 0 || info.virtual_size % 512 != 0 ||
            info.virtual_size > DISK_SIZE_MAX)
                return error_setf(reterr, -EINVAL,
                                  "%s: %" PRIu64 " bytes is no size of a disk (a multiple of 512, "
                                  "above 0)",
                                  path, info.virtual_size);
        info.allocated = S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : info.virtual_size;
        info.incomplete = access(mark, F_OK) == 0;
        info.filesystem = info.filesystem ?: "";
        *ret = info;
        return 0;
}

int disk_probe(const char *path, bool writable, DiskInfo *ret, Error *reterr) {
        return probe(path, writable, false, ret, reterr);
}

int disk_probe_raw(const char *path, bool writable, DiskInfo *ret, Error *reterr) {
        return probe(path, writable, true, ret, reterr);
}

static int check_size(const char *path, uint64_t size, Error *reterr) {
        if (size < DISK_SCRATCH_SIZE_MIN || size > DISK_SIZE_MAX || size % 4096 != 0)
                return error_setf(reterr, -EINVAL,
                                  "%s: %" PRIu64 " bytes is no size of a scratch disk (%llu MiB at "
                                  "least, a multiple of 4096)",
                                  path, size, DISK_SCRATCH_SIZE_MIN >> 20);
        return 0;
}

/* A new file of `size` bytes, all of them holes. */
static int make_sparse(const char *path, uint64_t size, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot make %s: %m", path);
        if (ftruncate(fd, (off_t)size) == 0)
                return 0;
        r = error_setf(reterr, -errno, "cannot make %s: %m", path);
        (void)unlink(path);
        return r;
}

int disk_make_scratch(const char *path, uint64_t size, Error *reterr) {
        int r;

        r = check_size(path, size, reterr);
        if (r == 0)
                r = make_sparse(path, size, reterr);
        if (r < 0)
                return r;
        r = program_run((const char *const[]){ "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0",
                                               "-E",
                                               "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                                               path, NULL },
                        NULL, reterr);
        if (r < 0) {
                (void)unlink(path);
                return error_prefix(reterr, r, "cannot make the scratch disk %s", path);
        }
        return 0;
}

static int sync_directory_of(const char *path) {
        _cleanup_free_ char *copy = strdup(path);
        _cleanup_close_ int fd = -EBADF;
        char *slash = copy ? strrchr(copy, '/') : NULL;

        if (!copy)
                return -ENOMEM;
        if (!slash)
                return -EINVAL;
        slash[slash == copy ? 1 : 0] = '\0';
        fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* The mark comes first and is on disk before the file it speaks of. */
static int set_mark(const char *path, const char *mark, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = open(mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        r = fd < 0 ? -errno : sync_directory_of(path);
        return r < 0 ? error_setf(reterr, r, "cannot make %s: %s", mark, strerrordesc_np(-r)) : 0;
}

static int check_room(const char *path, uint64_t allocated, Error *reterr) {
        _cleanup_free_ char *copy = strdup(path);
        struct statvfs fs;
        char *slash = copy ? strrchr(copy, '/') : NULL;

        if (!copy)
                return error_oom(reterr);
        if (!slash)
                return error_setf(reterr, -EINVAL, "%s: not an absolute path", path);
        slash[slash == copy ? 1 : 0] = '\0';
        if (statvfs(copy, &fs) < 0)
                return error_setf(reterr, -errno, "%s: %m", copy);
        if (allocated / fs.f_frsize > fs.f_bavail)
                return error_setf(reterr, -ENOSPC,
                                  "%s: %" PRIu64 " MiB to come, %" PRIu64 " MiB free", copy,
                                  allocated >> 20, (uint64_t)fs.f_bavail * fs.f_frsize >> 20);
        return 0;
}

static int make_qcow2(const char *path, uint64_t size, Error *reterr) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%" PRIu64, size);
        return program_run((const char *const[]){ "qemu-img", "create", "-q", "-f", "qcow2", path,
                                                  text, NULL },
                           NULL, reterr);
}

int disk_make_destination(const char *path, const char *format, uint64_t virtual_size,
                          uint64_t allocated, Error *reterr) {
        bool raw = strcmp(format, "raw") == 0;
        _cleanup_free_ char *mark = NULL;
        int r;

        if (path[0] != '/')
                return error_setf(reterr, -EINVAL, "%s: not an absolute path", path);
        if (!raw && strcmp(format, "qcow2") != 0)
                return error_setf(reterr, -EINVAL, "%s: no disk format \"%s\"", path, format);
        if (virtual_size == 0 || virtual_size % 512 != 0 || virtual_size > DISK_SIZE_MAX)
                return error_setf(reterr, -EINVAL, "%s: no disk has %" PRIu64 " bytes", path,
                                  virtual_size);
        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        r = disk_discard(path, reterr);
        if (r < 0)
                return r;
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return error_setf(reterr, -EEXIST,
                                  "%s is there already and would be overwritten: move it away",
                                  path);
        r = check_room(path, allocated, reterr);
        if (r == 0)
                r = set_mark(path, mark, reterr);
        if (r == 0) {
                r = raw ? make_sparse(path, virtual_size, reterr)
                        : make_qcow2(path, virtual_size, reterr);
                if (r < 0)
                        (void)disk_discard(path, NULL);
        }
        return r;
}

int disk_commit(const char *path, Error *reterr) {
        _cleanup_free_ char *mark = NULL;
        int r = 0;

        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        if (unlink(mark) < 0)
                r = errno == ENOENT ? 0 : -errno;
        else
                r = sync_directory_of(path);
        return r < 0 ? error_setf(reterr, r, "%s: %s", mark, strerrordesc_np(-r)) : 0;
}

int disk_discard(const char *path, Error *reterr) {
        _cleanup_free_ char *mark = NULL;

        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        if (faccessat(AT_FDCWD, mark, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        if ((unlink(path) < 0 && errno != ENOENT) || (unlink(mark) < 0 && errno != ENOENT))
                return error_setf(reterr, -errno, "cannot remove %s: %m", path);
        return 0;
}
