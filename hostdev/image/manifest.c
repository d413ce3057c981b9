/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/manifest.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "lib/buf.h"

#define FIELDS     (STATX_BASIC_STATS | STATX_MNT_ID)
#define XATTRS_MAX (64U << 10) /* what the kernel lets a file have */

typedef struct Walk {
        ManifestKind kind;
        Digest digest;
        const char *root;
        uint64_t mount_id;
        Buf path; /* of the entry, relative to the root, no NUL */
        struct timespec newest;
        Error *reterr;
} Walk;

static int fail(const Walk *w, int code, const char *what) {
        return error_setf(w->reterr, code, "%s%.*s: %s: %s", w->root, (int)w->path.len,
                          w->path.data ? (const char *)w->path.data : "", what,
                          strerrordesc_np(-code));
}

static void add_time(Digest *d, const struct statx_timestamp *t) {
        digest_add_number(d, (uint64_t)t->tv_sec);
        digest_add_number(d, t->tv_nsec);
}

static void add_status(Walk *w, const struct statx *st) {
        digest_add_string(&w->digest, w->path.data, w->path.len);
        digest_add_number(&w->digest, st->stx_mode);
        digest_add_number(&w->digest, st->stx_uid);
        digest_add_number(&w->digest, st->stx_gid);
        digest_add_number(&w->digest, S_ISDIR(st->stx_mode) ? 0 : st->stx_nlink);
        digest_add_number(&w->digest, S_ISREG(st->stx_mode) ? st->stx_size : 0);
        digest_add_number(&w->digest, makedev(st->stx_rdev_major, st->stx_rdev_minor));
        if (w->kind == MANIFEST_STATUS) {
                digest_add_number(&w->digest, makedev(st->stx_dev_major, st->stx_dev_minor));
                digest_add_number(&w->digest, st->stx_ino);
                add_time(&w->digest, &st->stx_mtime);
                add_time(&w->digest, &st->stx_ctime);
        }
        if (st->stx_ctime.tv_sec > w->newest.tv_sec ||
            (st->stx_ctime.tv_sec == w->newest.tv_sec &&
             (long)st->stx_ctime.tv_nsec > w->newest.tv_nsec))
                w->newest = (struct timespec){ st->stx_ctime.tv_sec, st->stx_ctime.tv_nsec };
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_one_xattr(Walk *w, const char *file, const char *name, char *value) {
        ssize_t n = lgetxattr(file, name, value, XATTRS_MAX);

        if (n < 0)
                return fail(w, -errno, "reading an extended attribute");
        digest_add_string(&w->digest, name, strlen(name));
        digest_add_string(&w->digest, value, (size_t)n);
        return 0;
}

/* By path through /proc, since a device or a link cannot be opened for it. */
static int add_xattrs(Walk *w, int dir_fd, const char *name) {
        _cleanup_free_ char *list = NULL, *value = NULL, *file = NULL;
        _cleanup_free_ const char **names = NULL;
        size_t n_names = 0;
        ssize_t n;
        int r = 0;

        if (asprintf(&file, "/proc/self/fd/%d/%s", dir_fd, name) < 0) {
                file = NULL;
                return error_oom(w->reterr);
        }
        n = llistxattr(file, NULL, 0);
        if (n == 0 || (n < 0 && errno == EOPNOTSUPP)) {
                digest_add_number(&w->digest, 0);
                return 0;
        }
        list = malloc(XATTRS_MAX + 1);
        value = malloc(XATTRS_MAX);
        if (!list || !value)
                return error_oom(w->reterr);
        n = llistxattr(file, list, XATTRS_MAX);
        if (n < 0)
                return fail(w, -errno, "listing the extended attributes");
        list[n] = '\0';
        names = calloc((size_t)n + 1, sizeof(*names));
        if (!names)
                return error_oom(w->reterr);
        for (const char *p = list; p < list + n; p += strlen(p) + 1)
                names[n_names++] = p;
        qsort(names, n_names, sizeof(*names), compare_names);
        digest_add_number(&w->digest, n_names);
        for (size_t i = 0; i < n_names && r == 0; i++)
                r = add_one_xattr(w, file, names[i], value);
        return r;
}

static int add_bytes(Walk *w, int fd, uint64_t expected) {
        _cleanup_free_ uint8_t *chunk = malloc(256U << 10);
        uint64_t total = 0;

        if (!chunk)
                return error_oom(w->reterr);
        for (;;) {
                ssize_t n = read(fd, chunk, 256U << 10);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail(w, -errno, "reading");
                if (n == 0)
                        break;
                digest_add(&w->digest, chunk, (size_t)n);
                total += (uint64_t)n;
        }
        return total == expected ? 0 : fail(w, -EBUSY, "it changed while it was read");
}

static int add_file(Walk *w, int dir_fd, const char *name, const struct statx *st) {
        _cleanup_close_ int fd = -EBADF;
        struct stat now;

        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &now) < 0)
                return fail(w, -errno, "cannot read it");
        if (!S_ISREG(now.st_mode) || now.st_ino != st->stx_ino)
                return fail(w, -EBUSY, "it changed while it was read");
        return add_bytes(w, fd, st->stx_size);
}

static int add_link(Walk *w, int dir_fd, const char *name) {
        char target[4096];
        ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));

        if (n < 0)
                return fail(w, -errno, "reading the link");
        digest_add_string(&w->digest, target, (size_t)n);
        return 0;
}

static int add_directory(Walk *w, int fd, unsigned depth);

static int add_entry(Walk *w, int dir_fd, const char *name, unsigned depth) {
        _cleanup_close_ int fd = -EBADF;
        struct statx st;
        int r = 0;

        if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, FIELDS, &st) < 0)
                return fail(w, -errno, "cannot look at it");
        if ((st.stx_mask & STATX_MNT_ID) && w->mount_id != st.stx_mnt_id)
                return error_setf(w->reterr, -EXDEV,
                                  "%s%.*s is a mount: unmount it first, or give a tar archive",
                                  w->root, (int)w->path.len, (const char *)w->path.data);
        add_status(w, &st);
        if (w->kind == MANIFEST_CONTENT)
                r = add_xattrs(w, dir_fd, name);
        if (r < 0)
                return r;
        if (S_ISDIR(st.stx_mode)) {
                fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        return fail(w, -errno, "cannot open it");
                return add_directory(w, fd, depth + 1);
        }
        if (w->kind == MANIFEST_CONTENT && S_ISREG(st.stx_mode))
                return add_file(w, dir_fd, name, &st);
        if (w->kind == MANIFEST_CONTENT && S_ISLNK(st.stx_mode))
                return add_link(w, dir_fd, name);
        return 0;
}

static void free_names(struct dirent ***names) {
        if (*names)
                for (size_t i = 0; (*names)[i]; i++)
                        free((*names)[i]);
        free(*names);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_dots(const struct dirent *e) {
        return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

/* Its names in byte order, NULL at the end. */
static int list_names(int fd, struct dirent ***ret) {
        struct dirent **names = NULL, **more;
        int n = scandirat(fd, ".", &names, not_dots, by_name);

        if (n < 0)
                return -errno;
        more = realloc(names, ((size_t)n + 1) * sizeof(*names));
        if (!more) {
                while (n-- > 0)
                        free(names[n]);
                free(names);
                return -ENOMEM;
        }
        more[n] = NULL;
        *ret = more;
        return n;
}

static int add_directory(Walk *w, int fd, unsigned depth) {
        _cleanup_(free_names) struct dirent **names = NULL;
        size_t len = w->path.len;
        int n, r;

        if (depth > MANIFEST_DEPTH_MAX)
                return fail(w, -ELOOP, "directories too deep in each other");
        n = list_names(fd, &names);
        if (n < 0)
                return fail(w, n, "cannot list it");
        for (int i = 0; i < n; i++) {
                if (buf_append(&w->path, "/", 1) < 0 ||
                    buf_append(&w->path, names[i]->d_name, strlen(names[i]->d_name)) < 0)
                        return error_oom(w->reterr);
                r = add_entry(w, fd, names[i]->d_name, depth);
                if (r < 0)
                        return r;
                w->path.len = len;
        }
        digest_add_number(&w->digest, UINT64_MAX); /* end of this directory */
        return 0;
}

static void begin(Walk *w, const char *domain) {
        digest_init(&w->digest);
        digest_add_string(&w->digest, domain, strlen(domain));
        digest_add_number(&w->digest, w->kind);
}

static void finish(Walk *w, Manifest *ret) {
        digest_hex(&w->digest, ret->hex);
        ret->newest = w->newest;
        buf_done(&w->path);
}

int manifest_of_directory(int dir_fd, const char *path, ManifestKind kind, Manifest *ret,
                          Error *reterr) {
        Walk w = { .kind = kind, .root = path, .reterr = reterr };
        struct statx st;
        int r = 0;

        if (statx(dir_fd, "", AT_EMPTY_PATH, FIELDS, &st) < 0)
                return fail(&w, -errno, "cannot look at it");
        w.mount_id = st.stx_mnt_id;
        begin(&w, "podferry layer of a directory 1");
        add_status(&w, &st);
        if (kind == MANIFEST_CONTENT)
                r = add_xattrs(&w, dir_fd, ".");
        if (r == 0)
                r = add_directory(&w, dir_fd, 0);
        finish(&w, ret);
        return r;
}

int manifest_of_file(int fd, const char *path, ManifestKind kind, Manifest *ret, Error *reterr) {
        Walk w = { .kind = kind, .root = path, .reterr = reterr };
        struct statx st;
        int r = 0;

        if (statx(fd, "", AT_EMPTY_PATH, FIELDS, &st) < 0)
                return fail(&w, -errno, "cannot look at it");
        begin(&w, "podferry layer of a file 1");
        if (kind == MANIFEST_STATUS)
                add_status(&w, &st);
        else if (lseek(fd, 0, SEEK_SET) < 0)
                r = fail(&w, -errno, "cannot read it");
        else
                r = add_bytes(&w, fd, st.stx_size);
        finish(&w, ret);
        return r;
}

bool manifest_is_fresh(const Manifest *m) {
        struct timespec now;

        /* 2 s: the coarsest change times in use */
        return clock_gettime(CLOCK_REALTIME, &now) < 0 || m->newest.tv_sec + 2 >= now.tv_sec;
}
