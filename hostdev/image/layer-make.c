/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/layer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hostdev/image/cache.h"
#include "lib/magic.h"
#include "hostdev/image/manifest.h"
#include "hostdev/image/program.h"

/* A layer's bytes must depend on the tree alone. */
#define FIXED_UUID "706f6466-6572-7279-8000-6c6179657230"

typedef enum SourceKind {
        SOURCE_DIRECTORY,
        SOURCE_TAR,
        SOURCE_IMAGE,
} SourceKind;

typedef struct Source {
        SourceKind kind;
        char *path; /* absolute, without links */
        int fd;
        const char *filesystem; /* of an image */
        uint64_t size;          /* of a file */
} Source;

static void source_done(Source *s) {
        free(s->path);
        s->fd = close_fd(s->fd);
}

static int look_at_file(Source *s, const struct stat *st, Error *reterr) {
        uint8_t first[MAGIC_BYTES];
        const char *archive;
        ssize_t n;

        n = files_read_start(s->fd, first, sizeof(first));
        if (n < 0)
                return error_setf(reterr, (int)n, "%s: %s", s->path, strerrordesc_np((int)-n));
        s->size = (uint64_t)st->st_size;
        s->filesystem = magic_filesystem(first, (size_t)n);
        archive = magic_archive(first, (size_t)n);
        if (s->filesystem && strcmp(s->filesystem, "xfs") != 0) {
                s->kind = SOURCE_IMAGE;
                if (s->size % 512 != 0)
                        return error_setf(reterr, -EINVAL,
                                          "%s: a %s image, but its size is no multiple of 512 "
                                          "bytes: truncated?",
                                          s->path, s->filesystem);
                return 0;
        }
        if (!archive)
                return error_setf(reterr, -EINVAL,
                                  "%s: neither a directory, nor a tar archive, nor an erofs, "
                                  "squashfs or ext4 image",
                                  s->path);
        s->kind = SOURCE_TAR;
        return 0;
}

static int source_open(Source *s, const char *path, Error *reterr) {
        struct stat st;

        *s = (Source){ .fd = -EBADF };
        s->path = realpath(path, NULL);
        if (!s->path)
                return error_setf(reterr, -errno, "%s: %m", path);
        s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (s->fd < 0 || fstat(s->fd, &st) < 0)
                return error_setf(reterr, -errno, "%s: %m", s->path);
        if (S_ISREG(st.st_mode))
                return look_at_file(s, &st, reterr);
        if (!S_ISDIR(st.st_mode))
                return error_setf(reterr, -EINVAL, "%s: neither a directory nor a file", s->path);
        s->kind = SOURCE_DIRECTORY;
        return 0;
}

static int source_manifest(const Source *s, ManifestKind kind, Manifest *ret, Error *reterr) {
        if (s->kind == SOURCE_DIRECTORY)
                return manifest_of_directory(s->fd, s->path, kind, ret, reterr);
        return manifest_of_file(s->fd, s->path, kind, ret, reterr);
}

/* Device nodes of an archive have no business on this host; in a container /dev is its own. */
static int drop_devices(int dir_fd, unsigned depth) {
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (!d) {
                r = -errno;
                (void)close_fd(fd);
                return r;
        }
        for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
                _cleanup_close_ int sub = -EBADF;
                struct stat st;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (fstatat(dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        r = -errno;
                else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
                        r = unlinkat(dir_fd, e->d_name, 0) < 0 ? -errno : 0;
                else if (S_ISDIR(st.st_mode)) {
                        sub = openat(dir_fd, e->d_name,
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                        r = sub < 0                      ? -errno
                            : depth > MANIFEST_DEPTH_MAX ? -ELOOP
                                                         : drop_devices(sub, depth + 1);
                }
        }
        (void)closedir(d);
        return r;
}

/* Into a directory in a directory that only we may enter: the archive may give its root any mode.
 * GNU tar takes absolute names as relative, refuses names with "..", and makes links that lead
 * outside only when all else is unpacked, so nothing is written through them. */
static int unpack(const Source *s, const char *root, Error *reterr) {
        _cleanup_free_ char *file = NULL, *directory = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (asprintf(&file, "--file=%s", s->path) < 0)
                file = NULL;
        if (asprintf(&directory, "--directory=%s", root) < 0)
                directory = NULL;
        if (!file || !directory)
                return error_oom(reterr);
        r = program_run((const char *const[]){ "tar", "--extract", "--force-local", file, directory,
                                               "--numeric-owner", "--delay-directory-restore",
                                               "--xattrs", "--xattrs-include=user.*",
                                               "--xattrs-include=security.capability",
                                               "--warning=no-timestamp",
                                               "--warning=no-unknown-keyword", NULL },
                        NULL, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "cannot unpack %s", s->path);
        fd = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = fd < 0 ? -errno : drop_devices(fd, 0);
        if (r < 0)
                return error_setf(reterr, r, "cannot unpack %s: %s", s->path, strerrordesc_np(-r));
        return 0;
}

/* tmp/<key>/image, of the source or of what was unpacked to tmp/<key>/root. */
static int make_image(Cache *c, const Source *s, const char *key, Error *reterr) {
        _cleanup_free_ char *image = NULL, *root = NULL;
        _cleanup_close_ int fd = -EBADF, root_fd = -EBADF;
        int r;

        r = files_sub_directory(c->tmp_fd, key, 0700, &fd, reterr);
        if (r < 0)
                return r;
        if (asprintf(&image, "%s/tmp/%s/image", c->path, key) < 0)
                image = NULL;
        if (asprintf(&root, "%s/tmp/%s/root", c->path, key) < 0)
                root = NULL;
        if (!image || !root)
                return error_oom(reterr);
        if (s->kind == SOURCE_TAR) {
                r = files_sub_directory(fd, "root", 0755, &root_fd, reterr);
                if (r == 0)
                        r = unpack(s, root, reterr);
                if (r < 0)
                        return r;
        }
        r = program_run((const char *const[]){ "mkfs.erofs", "--quiet", "-T0", "-U", FIXED_UUID,
                                               image, s->kind == SOURCE_TAR ? root : s->path,
                                               NULL },
                        NULL, reterr);
        return r < 0 ? error_prefix(reterr, r, "cannot make an image of %s", s->path) : 0;
}

/* The image of tmp/<key> becomes a layer. */
static int keep_image(Cache *c, const char *key, Layer *ret, Error *reterr) {
        _cleanup_free_ char *temp = NULL;
        _cleanup_close_ int fd = -EBADF;
        char digest[LAYER_DIGEST_SIZE];
        int r;

        if (asprintf(&temp, "%s/image", key) < 0) {
                temp = NULL;
                return error_oom(reterr);
        }
        fd = openat(c->tmp_fd, temp, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_setf(reterr, -errno, "%s/tmp/%s: %m", c->path, temp);
        r = layer_digest_fd(fd, digest, NULL, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s/tmp/%s", c->path, temp);
        return cache_publish(c, temp, digest, "erofs", ret, reterr);
}

/* Under the lock of the content's key: makes the layer unless someone else just did. */
static int make_locked(Cache *c, const char *state_dir, const Source *s, const Manifest *status,
                       const char *key, Layer *ret, Error *reterr) {
        char digest[LAYER_DIGEST_SIZE];
        Manifest after;
        int r;

        if (cache_index_get(c, key, digest) == 0 && layer_find(state_dir, digest, ret, NULL) == 0)
                return 0;
        r = make_image(c, s, key, reterr);
        if (r == 0)
                r = source_manifest(s, MANIFEST_STATUS, &after, reterr);
        if (r < 0)
                return r;
        if (strcmp(after.hex, status->hex) != 0)
                return error_setf(reterr, -EBUSY, "%s changed while its image was made: try again",
                                  s->path);
        r = keep_image(c, key, ret, reterr);
        if (r == 0)
                r = cache_index_put(c, key, ret->digest, reterr);
        return r;
}

static int make_from_tree(Cache *c, const char *state_dir, const Source *s, const Manifest *status,
                          Layer *ret, Error *reterr) {
        _cleanup_unlock_ FileLock lock = FILE_LOCK_INIT;
        _cleanup_layer_ Layer l = LAYER_INIT;
        Manifest content;
        int r;

        r = source_manifest(s, MANIFEST_CONTENT, &content, reterr);
        if (r == 0)
                r = cache_lock(c, content.hex, &lock, reterr);
        if (r < 0)
                return r;
        r = make_locked(c, state_dir, s, status, content.hex, &l, reterr);
        (void)files_remove_tree(c->tmp_fd, content.hex);
        if (r < 0)
                return r;
        *ret = l;
        l = LAYER_INIT;
        return 0;
}

/* Stays where it is; only its digest is found. */
static int use_image(const Source *s, const char *digest, Layer *ret, Error *reterr) {
        Layer l = { .filesystem = s->filesystem, .size = s->size };
        int r = 0;

        if (digest)
                (void)stpcpy(l.digest, digest);
        else
                r = layer_digest_fd(s->fd, l.digest, NULL, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", s->path);
        l.path = strdup(s->path);
        if (!l.path)
                return error_oom(reterr);
        *ret = l;
        return 0;
}

int layer_make(const char *state_dir, const char *source, Layer *ret, Error *reterr) {
        _cleanup_(source_done) Source s = { .fd = -EBADF };
        _cleanup_cache_ Cache c = CACHE_INIT;
        char digest[LAYER_DIGEST_SIZE];
        Manifest status;
        bool fresh;
        int r;

        r = source_open(&s, source, reterr);
        if (r == 0)
                r = cache_open(&c, state_dir, reterr);
        if (r == 0)
                r = source_manifest(&s, MANIFEST_STATUS, &status, reterr);
        if (r < 0)
                return r;
        fresh = manifest_is_fresh(&status);
        if (cache_index_get(&c, status.hex, digest) == 0) {
                if (s.kind == SOURCE_IMAGE)
                        return use_image(&s, digest, ret, reterr);
                if (layer_find(state_dir, digest, ret, NULL) == 0)
                        return 0;
        }
        r = s.kind == SOURCE_IMAGE ? use_image(&s, NULL, ret, reterr)
                                   : make_from_tree(&c, state_dir, &s, &status, ret, reterr);
        if (r == 0 && !fresh)
                (void)cache_index_put(&c, status.hex, ret->digest, NULL); /* only a short cut */
        return r;
}
