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
        r = in && out ? program_run_limited((const char *const[]){ "qemu-img", "dd", "-U", "-f",
                                                                   "qcow2", "-O", "raw", "bs=4096",
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
typedef enum How { BY_CONTENT, BY_HEADER, AS_RAW } How;

static int look_at_qcow2(const char *path, const uint8_t *p, size_t n, How how, DiskInfo *ret,
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
        if (big_endian(p + 32, 4) != 0)
                return error_setf(reterr, -EINVAL, "%s: it is encrypted, which is not supported",
                                  path);
        ret->format = "qcow2";
        ret->virtual_size = big_endian(p + 24, 8);
        ret->backed = big_endian(p + 8, 8) != 0;
        ret->more = big_endian(p + 60, 4) != 0 || (version >= 3 && (big_endian(p + 88, 8) & 1));
        if (how == BY_HEADER ||
            ret->backed) /* what is in it is not looked for in a file that nobody has allowed */
                return 0;
        return qcow2_filesystem(path, &ret->filesystem, reterr);
}

static int look_inside(const char *path, int fd, const struct stat *st, How how, DiskInfo *ret,
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
        foreign = how == AS_RAW ? NULL : magic_foreign_disk(first, (size_t)n);
        if (foreign)
                return error_setf(reterr, -EINVAL,
                                  "%s: a %s image, which podferry does not use: qemu-img convert "
                                  "makes a qcow2 one of it",
                                  path, foreign);
        if (how != AS_RAW && (size_t)n >= sizeof(qcow2_magic) &&
            memcmp(first, qcow2_magic, sizeof(qcow2_magic)) == 0)
                return look_at_qcow2(path, first, (size_t)n, how, ret, reterr);
        ret->format = "raw";
        ret->virtual_size = size;
        ret->filesystem = magic_filesystem(first, (size_t)n);
        return 0;
}

static int mark_name(const char *path, char **ret) {
        return asprintf(ret, "%s.incomplete", path) < 0 ? -ENOMEM : 0;
}

static int probe(const char *path, bool writable, How how, DiskInfo *ret, Error *reterr) {
        _cleanup_free_ char *mark = NULL;
        _cleanup_close_ int fd = -EBADF;
        DiskInfo info = {};
        struct stat st;
        int r, fixed = 0;

        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == EISDIR)
                return error_setf(reterr, -EINVAL, "%s: a directory; a volume is a disk image",
                                  path);
        if (fd < 0 && errno == ENXIO) /* a socket, or a device without a driver */
                return error_setf(reterr, -EINVAL, "%s: neither a file nor a block device", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return error_setf(reterr, -EINVAL, "%s: neither a file nor a block device", path);
        if (writable && S_ISBLK(st.st_mode) && ioctl(fd, BLKROGET, &fixed) == 0 && fixed)
                return error_setf(reterr, -EACCES,
                                  "%s: a device that cannot be written: give it as :ro", path);
        r = look_inside(path, fd, &st, how, &info, reterr);
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
        return probe(path, writable, BY_CONTENT, ret, reterr);
}

int disk_probe_raw(const char *path, bool writable, DiskInfo *ret, Error *reterr) {
        return probe(path, writable, AS_RAW, ret, reterr);
}

int disk_probe_header(const char *path, DiskInfo *ret, Error *reterr) {
        return probe(path, false, BY_HEADER, ret, reterr);
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

int disk_sync_entry(const char *path, Error *reterr) {
        int r = sync_directory_of(path);

        return r < 0 ? error_setf(reterr, r, "directory of %s: %s", path, strerrordesc_np(-r)) : 0;
}

#define MARK_NAME_MAX 76 /* as long as ids may be */

/* The mark says for which pod and in which session the disk beside it is filled: it is that pod's
 * to replace or remove, and nobody else's. */
typedef struct Mark {
        bool there;
        char pod[MARK_NAME_MAX + 1], session[MARK_NAME_MAX + 1];
} Mark;

/* One that was being written when its host went down, or is somebody else's, has no pod. */
static int read_mark(const char *mark, Mark *ret, Error *reterr) {
        char text[2 * (MARK_NAME_MAX + 1) + 2], end;
        _cleanup_close_ int fd = -EBADF;
        Mark m = { .there = true };
        ssize_t n;

        *ret = (Mark){};
        fd = open(mark, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        n = fd < 0 ? -errno : files_read_start(fd, text, sizeof(text) - 1);
        if (n < 0)
                return error_setf(reterr, (int)n, "%s: %s", mark, strerrordesc_np((int)-n));
        text[n] = '\0';
        if (sscanf(text, "%76s %76s%c", m.pod, m.session, &end) != 3 || end != '\n')
                m.pod[0] = '\0';
        *ret = m;
        return 0;
}

/* The mark comes first and is on disk before the file it speaks of. */
static int set_mark(const char *path, const char *mark, const DiskOwner *owner, Error *reterr) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_setf(reterr, -errno, "cannot make %s: %m", mark);
        r = dprintf(fd, "%s %s\n", owner->pod, owner->session) < 0 || fsync(fd) < 0 ? -errno : 0;
        if (r == 0)
                r = sync_directory_of(path);
        if (r == 0)
                return 0;
        (void)unlink(mark);
        return error_setf(reterr, r, "cannot make %s: %s", mark, strerrordesc_np(-r));
}

/* What an earlier attempt of the same pod has left, or none at all, may be replaced. */
static int check_mark(const char *path, const char *mark, const DiskOwner *owner, Error *reterr) {
        bool here = faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        Mark m;
        int r;

        r = read_mark(mark, &m, reterr);
        if (r < 0 || !m.there || (!m.pod[0] && !here))
                return r;
        if (strcmp(m.pod, owner->pod) != 0)
                return error_setf(reterr, -EBUSY,
                                  "%s is half a copy for %s%.64s: if no migration fills it any "
                                  "more, remove it and %s",
                                  path, m.pod[0] ? "the pod " : "something else", m.pod, mark);
        if (strcmp(m.session, owner->session) == 0)
                return error_setf(reterr, -EEXIST, "%s would be the copy of two disks of the pod",
                                  path);
        return 0;
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

/* 0: that is found out later. */
static dev_t file_system_of(const char *path) {
        _cleanup_free_ char *copy = strdup(path);
        char *slash = copy ? strrchr(copy, '/') : NULL;
        struct stat st;

        if (!slash)
                return 0;
        slash[slash == copy ? 1 : 0] = '\0';
        return stat(copy, &st) < 0 ? 0 : st.st_dev;
}

bool disk_same_file_system(const char *path, const char *other) {
        return file_system_of(path) == file_system_of(other);
}

static int make_qcow2(const char *path, uint64_t size, Error *reterr) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%" PRIu64, size);
        return program_run((const char *const[]){ "qemu-img", "create", "-q", "-f", "qcow2", path,
                                                  text, NULL },
                           NULL, reterr);
}

static int check_absolute(const char *path, Error *reterr) {
        return path[0] == '/' ? 0 : error_setf(reterr, -EINVAL, "%s: not an absolute path", path);
}

static int check_absent(const char *path, Error *reterr) {
        return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0
                       ? error_setf(reterr, -EEXIST,
                                    "%s is there already and would be overwritten: move it away",
                                    path)
                       : 0;
}

int disk_check_destination(const char *path, uint64_t room, const DiskOwner *owner, Error *reterr) {
        _cleanup_free_ char *mark = NULL;
        bool replaced = false;
        struct stat st;
        Mark m;
        int r = check_absolute(path, reterr);

        if (r < 0)
                return r;
        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        r = check_mark(path, mark, owner, reterr);
        if (r == 0)
                r = read_mark(mark, &m, reterr);
        if (r < 0)
                return r;
        if (lstat(path, &st) == 0 && m.there && strcmp(m.pod, owner->pod) == 0) {
                uint64_t freed = (uint64_t)st.st_blocks * 512;

                replaced = true;
                room -= MIN_OF(room, freed);
        }
        r = replaced ? 0 : check_absent(path, reterr);
        return r < 0 ? r : check_room(path, room, reterr);
}

int disk_make_destination(const char *path, const char *format, uint64_t virtual_size,
                          uint64_t room, const DiskOwner *owner, Error *reterr) {
        bool raw = strcmp(format, "raw") == 0;
        _cleanup_free_ char *mark = NULL;
        int r;

        r = check_absolute(path, reterr);
        if (r < 0)
                return r;
        if (!raw && strcmp(format, "qcow2") != 0)
                return error_setf(reterr, -EINVAL, "%s: no disk format \"%s\"", path, format);
        if (virtual_size == 0 || virtual_size % 512 != 0 || virtual_size > DISK_SIZE_MAX)
                return error_setf(reterr, -EINVAL, "%s: no disk has %" PRIu64 " bytes", path,
                                  virtual_size);
        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        r = check_mark(path, mark, owner, reterr);
        if (r == 0)
                r = disk_discard(path, owner->pod, reterr);
        if (r < 0)
                return r;
        r = check_absent(path, reterr);
        if (r == 0)
                r = check_room(path, room, reterr);
        if (r == 0)
                r = set_mark(path, mark, owner, reterr);
        if (r == 0) {
                r = raw ? make_sparse(path, virtual_size, reterr)
                        : make_qcow2(path, virtual_size, reterr);
                if (r < 0)
                        (void)disk_discard(path, owner->pod, NULL);
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

int disk_discard(const char *path, const char *pod, Error *reterr) {
        _cleanup_free_ char *mark = NULL;
        struct stat st;
        bool here;
        Mark m;
        int r;

        if (mark_name(path, &mark) < 0)
                return error_oom(reterr);
        r = read_mark(mark, &m, reterr);
        if (r < 0 || !m.there)
                return r;
        here = lstat(path, &st) == 0;
        if (m.pod[0] ? strcmp(m.pod, pod) != 0 : here)
                return 0;
        if (here && !S_ISREG(st.st_mode))
                return error_setf(reterr, -EINVAL, "cannot remove %s: no file of ours", path);
        if ((here && unlink(path) < 0 && errno != ENOENT) || (unlink(mark) < 0 && errno != ENOENT))
                return error_setf(reterr, -errno, "cannot remove %s: %m", path);
        return 0;
}
