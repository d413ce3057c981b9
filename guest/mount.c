/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/mount.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "guest/check.h"
#include "guest/files.h"
#include "guest/scsi.h"
#include "lib/buf.h"
#include "lib/log.h"
#include "lib/magic.h"

typedef struct Mount {
        char *path;
        size_t kept; /* how much of the path was there before */
        bool is_node;
        struct Mount *next;
} Mount;

static Mount *mounts; /* the newest first */

static const char *const filesystems[] = { "erofs", "squashfs", "ext4" };

/* clang-format off */
static const struct { const char *name; unsigned long flag; } flags[] = {
        { "noatime",    MS_NOATIME },    { "nodiratime", MS_NODIRATIME }, { "relatime", MS_RELATIME },
        { "nosuid",     MS_NOSUID },     { "nodev",      MS_NODEV },      { "noexec",   MS_NOEXEC },
        { "sync",       MS_SYNCHRONOUS },{ "dirsync",    MS_DIRSYNC },    { "ro",       MS_RDONLY },
        { "defaults",   0 },             { "rw",         0 },
};
/* clang-format on */

static Mount *mount_free(Mount *m) {
        if (m)
                free(m->path);
        free(m);
        return NULL;
}
DEFINE_CLEANUP(Mount *, mount_free);

static int mount_new(const char *path, bool is_node, Mount **ret, Error *reterr) {
        _cleanup_(mount_freep) Mount *m = NULL;

        for (const Mount *o = mounts; o; o = o->next)
                if (strcmp(o->path, path) == 0)
                        return error_setf(reterr, -EEXIST, "%s is taken already", path);
        m = calloc(1, sizeof(*m));
        if (!m)
                return error_oom(reterr);
        m->path = strdup(path);
        if (!m->path)
                return error_oom(reterr);
        m->is_node = is_node;
        *ret = TAKE(m);
        return 0;
}

static void keep(Mount *m) {
        m->next = mounts;
        mounts = m;
}

/* Walks down from the root without following symbolic links, making what is not there. In
 * m->kept how much was there; the last directory in *ret. */
static int make_directories(Mount *m, const char *path, int *ret, Error *reterr) {
        _cleanup_close_ int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        char name[256];

        if (at < 0)
                return error_setf(reterr, -errno, "cannot open /: %m");
        for (const char *p = path; *p == '/';) {
                size_t len = strcspn(p + 1, "/");
                int next;

                (void)snprintf(name, sizeof(name), "%.*s", (int)len, p + 1);
                if (mkdirat(at, name, 0755) == 0) {
                        if (m->kept == 0)
                                m->kept = (size_t)(p - path) + 1;
                } else if (errno != EEXIST)
                        return error_setf(reterr, -errno, "cannot make %s: %m", path);
                next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return error_setf(reterr, -errno, "cannot go into %s: %m", path);
                (void)close_fd(at);
                at = next;
                p += len + 1;
        }
        *ret = TAKE_FD(at);
        return 0;
}

static void remove_directories(const Mount *m) {
        char path[CHECK_PATH_MAX + 1];
        char *slash;

        if (m->kept == 0)
                return;
        (void)snprintf(path, sizeof(path), "%s", m->path);
        do {
                if (rmdir(path) < 0)
                        return; /* others use it by now */
                slash = strrchr(path, '/');
                *slash = '\0';
        } while (strlen(path) >= m->kept);
}

static int add_option(Buf *b, const char *option) {
        return buf_printf(b, "%s%s", b->len > 0 ? "," : "", option);
}

static int parse_options(const MountRequest *q, const char *filesystem, unsigned long *ret_flags,
                         Buf *ret_data, Error *reterr) {
        unsigned long set = q->read_only ? MS_RDONLY : 0;

        for (size_t i = 0; i < q->n_options; i++) {
                bool found = false;

                for (size_t k = 0; k < ELEMENTSOF(flags); k++)
                        if (strcmp(q->options[i], flags[k].name) == 0) {
                                set |= flags[k].flag;
                                found = true;
                        }
                if (!found && add_option(ret_data, q->options[i]) < 0)
                        return error_oom(reterr);
        }
        if (buf_append(ret_data, "", 1) < 0)
                return error_oom(reterr);
        if (strcmp(filesystem, "erofs") == 0)
                set |= MS_RDONLY;
        *ret_flags = set;
        return 0;
}

static int mount_at(int dir, const char *source, const char *filesystem, unsigned long set,
                    const char *data, Error *reterr) {
        char target[64];

        (void)snprintf(target, sizeof(target), "/proc/self/fd/%d", dir);
        if (mount(source, target, filesystem, set, data) < 0)
                return error_setf(reterr, -errno, "cannot mount %s (%s): %m", filesystem, source);
        return 0;
}

static int check_filesystem(const char *name, Error *reterr) {
        for (size_t i = 0; i < ELEMENTSOF(filesystems); i++)
                if (strcmp(name, filesystems[i]) == 0)
                        return 0;
        return error_setf(reterr, -EOPNOTSUPP, "the guest has no filesystem \"%.32s\"", name);
}

/* "auto": what the disk says it is, which the host did not look for. */
static int find_filesystem(const char *wanted, const char *device, const char **ret,
                           Error *reterr) {
        uint8_t first[MAGIC_BYTES];
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        *ret = wanted;
        if (strcmp(wanted, "auto") != 0)
                return check_filesystem(wanted, reterr);
        fd = open(device, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : pread(fd, first, sizeof(first), 0);
        if (n < 0)
                return error_setf(reterr, -errno, "cannot read %s: %m", device);
        *ret = magic_filesystem(first, (size_t)n);
        if (!*ret)
                return error_setf(reterr, -EINVAL, "there is no file system that is known on it");
        return check_filesystem(*ret, reterr);
}

static int mount_filesystem(Mount *m, const MountRequest *q, Error *reterr) {
        _cleanup_close_ int dir = -EBADF;
        _cleanup_buf_ Buf data = {};
        char name[64], device[80];
        const char *filesystem;
        unsigned long set = 0;
        int r;

        if ((r = scsi_find(q->disk, name, sizeof(name), reterr)) < 0)
                return r;
        (void)snprintf(device, sizeof(device), "/dev/%s", name);
        if ((r = find_filesystem(q->filesystem, device, &filesystem, reterr)) < 0 ||
            (r = parse_options(q, filesystem, &set, &data, reterr)) < 0 ||
            (r = make_directories(m, m->path, &dir, reterr)) < 0)
                return r;
        r = mount_at(dir, device, filesystem, set, (const char *)data.data, reterr);
        if (r < 0)
                remove_directories(m);
        if (r == -EROFS && (set & MS_RDONLY) && strcmp(filesystem, "ext4") == 0)
                return error_prefix(reterr, r,
                                    "it was not unmounted the last time, and its journal cannot be "
                                    "replayed read-only: mount it once so that it can be written");
        return r;
}

static int make_node(Mount *m, const MountRequest *q, Error *reterr) {
        _cleanup_close_ int dir = -EBADF;
        char name[64], path[128], text[32], parent[CHECK_PATH_MAX + 1];
        unsigned major_, minor_;
        char *slash;
        int r;

        r = scsi_find(q->disk, name, sizeof(name), reterr);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "/sys/class/block/%s/dev", name);
        r = file_read_line(path, text, sizeof(text), reterr);
        if (r < 0)
                return r;
        if (sscanf(text, "%u:%u", &major_, &minor_) != 2)
                return error_setf(reterr, -EIO, "%s makes no sense", path);
        (void)snprintf(parent, sizeof(parent), "%s", m->path);
        slash = strrchr(parent, '/');
        if (slash != parent) {
                *slash = '\0';
                r = make_directories(m, parent, &dir, reterr);
        } else {
                dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
                r = dir < 0 ? error_setf(reterr, -errno, "cannot open /: %m") : 0;
        }
        if (r < 0)
                return r;
        if (mknodat(dir, strrchr(m->path, '/') + 1, S_IFBLK | (q->read_only ? 0400 : 0600),
                    makedev(major_, minor_)) < 0)
                return error_setf(reterr, -errno, "cannot make the device %s: %m", m->path);
        return 0;
}

int mount_disk(const MountRequest *q, Error *reterr) {
        _cleanup_(mount_freep) Mount *m = NULL;
        int r;

        r = mount_new(q->guest_path, q->block_device, &m, reterr);
        if (r < 0)
                return r;
        r = q->block_device ? make_node(m, q, reterr) : mount_filesystem(m, q, reterr);
        if (r < 0)
                return r;
        keep(TAKE(m));
        return 0;
}

static int undo(Mount **at, Error *reterr) {
        Mount *m = *at;
        int r = m->is_node ? unlink(m->path) : umount2(m->path, UMOUNT_NOFOLLOW);

        if (r < 0 && !(m->is_node && errno == ENOENT))
                return error_setf(reterr, -errno, "cannot unmount %s: %m", m->path);
        if (m->is_node)
                *strrchr(m->path, '/') = '\0';
        remove_directories(m);
        *at = m->next;
        (void)mount_free(m);
        return 0;
}

/* --- overlay --- */

/* How much of the paths is the same, up to and without a slash. */
static size_t common_directory(const OverlayRequest *q) {
        size_t n = (size_t)(strrchr(q->lower[0], '/') - q->lower[0]);

        for (size_t i = 1; i < q->n_lower; i++)
                while (n > 0 &&
                       (strncmp(q->lower[i], q->lower[0], n) != 0 || q->lower[i][n] != '/'))
                        do
                                n--;
                        while (n > 0 && q->lower[0][n] != '/');
        return n;
}

static int make_upper(const char *upper, const char *name, char *ret, size_t size, Error *reterr) {
        Mount whole = {};
        int r, fd;

        (void)snprintf(ret, size, "%s/%s", upper, name);
        r = make_directories(&whole, ret, &fd, reterr);
        if (r >= 0)
                (void)close_fd(fd);
        return r;
}

/* The options must fit in a page, and there may be many layers: so they are told from a directory
 * that they have in common. Only this thread goes there. */
static int overlay_data(const OverlayRequest *q, const char *in, Buf *ret, Error *reterr) {
        char upper[CHECK_PATH_MAX + 32], work[CHECK_PATH_MAX + 32], common[CHECK_PATH_MAX + 1];
        size_t n = common_directory(q);
        int r;

        (void)snprintf(common, sizeof(common), "%.*s", (int)n, q->lower[0]);
        if (chdir(n > 0 ? common : "/") < 0)
                return error_setf(reterr, -errno, "cannot go into %s: %m", common);
        r = buf_printf(ret, "lowerdir=");
        for (size_t i = 0; r >= 0 && i < q->n_lower; i++)
                r = buf_printf(ret, "%s%s", i > 0 ? ":" : "", q->lower[i] + n + 1);
        if (r < 0)
                return error_oom(reterr);
        if ((r = make_upper(in, "upper", upper, sizeof(upper), reterr)) < 0 ||
            (r = make_upper(in, "work", work, sizeof(work), reterr)) < 0)
                return r;
        r = buf_printf(ret, ",upperdir=%s,workdir=%s", upper, work);
        if (r < 0 || buf_append(ret, "", 1) < 0)
                return error_oom(reterr);
        if (ret->len > 4096)
                return error_setf(reterr, -ENOSPC, "the paths of %zu layers are too long",
                                  q->n_lower);
        return 0;
}

static void upper_path(const char *path, char *ret, size_t size) {
        (void)snprintf(ret, size, "%s.upper", path);
}

/* A root that cannot be written has no disk for it. The runtime makes the mount points before it
 * makes the root read-only (runtime-spec, config.md, "root"), and they are small; besides,
 * overlayfs takes no layer alone that has no upper directory. */
static int mount_small_upper(const char *path, Error *reterr) {
        _cleanup_(mount_freep) Mount *m = NULL;
        _cleanup_close_ int dir = -EBADF;
        char upper[CHECK_PATH_MAX + 16];
        int r;

        upper_path(path, upper, sizeof(upper));
        if ((r = mount_new(upper, false, &m, reterr)) < 0 ||
            (r = make_directories(m, upper, &dir, reterr)) < 0)
                return r;
        r = mount_at(dir, "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755", reterr);
        if (r < 0) {
                remove_directories(m);
                return r;
        }
        keep(TAKE(m));
        return 0;
}

static int unmount_small_upper(const char *path, Error *reterr) {
        char upper[CHECK_PATH_MAX + 16];

        upper_path(path, upper, sizeof(upper));
        for (Mount **p = &mounts; *p; p = &(*p)->next)
                if (strcmp((*p)->path, upper) == 0)
                        return undo(p, reterr);
        return 0;
}

static int mount_layers(Mount *m, const OverlayRequest *q, Error *reterr) {
        _cleanup_close_ int dir = -EBADF;
        _cleanup_buf_ Buf data = {};
        char upper[CHECK_PATH_MAX + 16];
        int r;

        upper_path(m->path, upper, sizeof(upper));
        r = overlay_data(q, q->upper[0] != '\0' ? q->upper : upper, &data, reterr);
        if (r >= 0)
                r = make_directories(m, m->path, &dir, reterr);
        if (r >= 0) {
                r = mount_at(dir, "overlay", "overlay", 0, (const char *)data.data, reterr);
                if (r < 0)
                        remove_directories(m);
        }
        (void)!chdir("/");
        return r;
}

int mount_overlay(const OverlayRequest *q, Error *reterr) {
        _cleanup_(mount_freep) Mount *m = NULL;
        int r;

        r = mount_new(q->guest_path, false, &m, reterr);
        if (r >= 0 && q->upper[0] == '\0')
                r = mount_small_upper(m->path, reterr);
        if (r < 0)
                return r;
        r = mount_layers(m, q, reterr);
        if (r < 0) {
                (void)unmount_small_upper(m->path, NULL);
                return r;
        }
        keep(TAKE(m));
        return 0;
}

/* --- undo --- */

int mount_undo(const char *path, Error *reterr) {
        for (Mount **p = &mounts; *p; p = &(*p)->next)
                if (strcmp((*p)->path, path) == 0) {
                        int r = undo(p, reterr);

                        return r < 0 ? r : unmount_small_upper(path, reterr);
                }
        return error_setf(reterr, -ENOENT, "nothing of ours is mounted at %s", path);
}

int mount_undo_all(Error *reterr) {
        Mount **p = &mounts;
        int first = 0;

        while (*p) {
                Error err = ERROR_INIT;
                int r = undo(p, &err);

                if (r == 0)
                        continue;
                log_warning("power off: %s", error_text(&err, r));
                if (first == 0) {
                        first = r;
                        if (reterr)
                                *reterr = err;
                }
                p = &(*p)->next;
        }
        return first;
}
