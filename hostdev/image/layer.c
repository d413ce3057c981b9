/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/layer.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hostdev/image/cache.h"
#include "lib/magic.h"

#define CHUNK (256U << 10)

/* What a layer may hold: what a guest mounts read-only. */
static const char *const filesystems[] = { "erofs", "squashfs", "ext4" };

void layer_done(Layer *l) {
        free(l->path);
        *l = LAYER_INIT;
}

int layer_digest_check(const char *digest, Error *reterr) {
        size_t n = strlen("sha256:");

        if (strncmp(digest, "sha256:", n) != 0 ||
            strspn(digest + n, "0123456789abcdef") != DIGEST_HEX_SIZE - 1 ||
            strlen(digest) != LAYER_DIGEST_SIZE - 1)
                return error_setf(reterr, -EINVAL,
                                  "\"%.100s\" is no digest: sha256: and 64 lower-case hex digits",
                                  digest);
        return 0;
}

static const char *hex_of(const char *digest) {
        return digest + strlen("sha256:");
}

void cache_done(Cache *c) {
        free(c->path);
        c->fd = close_fd(c->fd);
        c->index_fd = close_fd(c->index_fd);
        c->tmp_fd = close_fd(c->tmp_fd);
        c->lock_fd = close_fd(c->lock_fd);
        *c = CACHE_INIT;
}

/* Whatever in tmp has no living owner. An owner holds the lock of the same name. */
static void remove_stale(Cache *c) {
        _cleanup_close_ int fd = openat(c->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (!d)
                return;
        (void)TAKE_FD(fd);
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                _cleanup_unlock_ FileLock lock = FILE_LOCK_INIT;

                if (e->d_name[0] == '.')
                        continue;
                if (files_lock(c->lock_fd, e->d_name, true, &lock, NULL) == 0)
                        (void)files_remove_tree(c->tmp_fd, e->d_name);
        }
        (void)closedir(d);
}

int cache_open(Cache *c, const char *state_dir, Error *reterr) {
        int r;

        if (asprintf(&c->path, "%s/layers", state_dir) < 0) {
                c->path = NULL;
                return error_oom(reterr);
        }
        r = files_open_directory(c->path, &c->fd, reterr);
        if (r == 0)
                r = files_sub_directory(c->fd, "index", 0700, &c->index_fd, reterr);
        if (r == 0)
                r = files_sub_directory(c->fd, "tmp", 0700, &c->tmp_fd, reterr);
        if (r == 0)
                r = files_sub_directory(c->fd, "lock", 0700, &c->lock_fd, reterr);
        return r < 0 ? error_prefix(reterr, r, "layer cache %s", c->path) : 0;
}

int cache_lock(Cache *c, const char *key, FileLock *ret, Error *reterr) {
        int r;

        remove_stale(c);
        r = files_lock(c->lock_fd, key, false, ret, reterr);
        if (r < 0)
                return r;
        r = files_remove_tree(c->tmp_fd, key);
        if (r < 0)
                return error_setf(reterr, r, "cannot remove %s/tmp/%s: %s", c->path, key,
                                  strerrordesc_np(-r));
        return 0;
}

static int layer_fill(Layer *l, const char *cache, const char *digest, const char *filesystem,
                      uint64_t size) {
        char *path;

        if (asprintf(&path, "%s/%s.%s", cache, hex_of(digest), filesystem) < 0)
                return -ENOMEM;
        *l = (Layer){ .path = path, .filesystem = filesystem, .size = size };
        (void)stpcpy(l->digest, digest);
        return 0;
}

int layer_find(const char *state_dir, const char *digest, Layer *ret, Error *reterr) {
        _cleanup_free_ char *cache = NULL;
        int r;

        r = layer_digest_check(digest, reterr);
        if (r < 0)
                return r;
        if (asprintf(&cache, "%s/layers", state_dir) < 0) {
                cache = NULL;
                return error_oom(reterr);
        }
        for (size_t i = 0; i < ELEMENTSOF(filesystems); i++) {
                _cleanup_layer_ Layer l = LAYER_INIT;
                struct stat st;

                if (layer_fill(&l, cache, digest, filesystems[i], 0) < 0)
                        return error_oom(reterr);
                if (lstat(l.path, &st) < 0 || !S_ISREG(st.st_mode))
                        continue;
                l.size = (uint64_t)st.st_size;
                *ret = l;
                l = LAYER_INIT;
                return 0;
        }
        return error_setf(reterr, -ENOENT, "layer %s is not in %s", digest, cache);
}

int cache_publish(Cache *c, const char *temp, const char *digest, const char *filesystem,
                  Layer *ret, Error *reterr) {
        _cleanup_layer_ Layer l = LAYER_INIT;
        struct stat st;
        int r;

        if (fstatat(c->tmp_fd, temp, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            fchmodat(c->tmp_fd, temp, 0444, 0) < 0)
                return error_setf(reterr, -errno, "layer cache %s: %m", c->path);
        if (layer_fill(&l, c->path, digest, filesystem, (uint64_t)st.st_size) < 0)
                return error_oom(reterr);
        r = files_publish(c->tmp_fd, temp, c->fd, strrchr(l.path, '/') + 1, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "layer cache %s", c->path);
        *ret = l;
        l = LAYER_INIT;
        return 0;
}

int cache_index_get(Cache *c, const char *key, char ret[static LAYER_DIGEST_SIZE]) {
        _cleanup_buf_ Buf b = {};
        char *text;
        int r;

        r = files_read(c->index_fd, key, LAYER_DIGEST_SIZE, &b, NULL);
        if (r < 0)
                return r;
        text = (char *)b.data;
        text[strcspn(text, "\n")] = '\0';
        if (layer_digest_check(text, NULL) < 0)
                return -ENOENT; /* damaged: it is only a hint, made again */
        (void)stpcpy(ret, text);
        return 0;
}

int cache_index_put(Cache *c, const char *key, const char *digest, Error *reterr) {
        char text[LAYER_DIGEST_SIZE + 1];

        (void)stpcpy(stpcpy(text, digest), "\n");
        return files_write(c->index_fd, key, text, strlen(text), reterr);
}

int layer_digest_fd(int fd, char ret[static LAYER_DIGEST_SIZE], uint64_t *ret_size, Error *reterr) {
        _cleanup_free_ uint8_t *chunk = malloc(CHUNK);
        uint64_t total = 0;
        Digest d;

        if (!chunk)
                return error_oom(reterr);
        digest_init(&d);
        for (;;) {
                ssize_t n = pread(fd, chunk, CHUNK, (off_t)total);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "cannot read: %m");
                if (n == 0)
                        break;
                digest_add(&d, chunk, (size_t)n);
                total += (uint64_t)n;
        }
        digest_hex(&d, stpcpy(ret, "sha256:"));
        if (ret_size)
                *ret_size = total;
        return 0;
}

int layer_verify(const char *path, const char *digest, Error *reterr) {
        char found[LAYER_DIGEST_SIZE];
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = layer_digest_check(digest, reterr);
        if (r < 0)
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return error_setf(reterr, -errno, "layer %s: %m", path);
        r = layer_digest_fd(fd, found, NULL, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "layer %s", path);
        if (strcmp(found, digest) != 0)
                return error_setf(reterr, -EBADMSG, "layer %s is damaged: it is %s, not %s", path,
                                  found, digest);
        return 0;
}

/* Copies fd to out, at most `size` bytes; the file system is told from the first bytes. */
static int copy_in(int fd, int out, uint64_t size, char ret[static LAYER_DIGEST_SIZE],
                   const char **ret_filesystem, Error *reterr) {
        _cleanup_free_ uint8_t *chunk = malloc(CHUNK);
        uint8_t first[MAGIC_BYTES];
        uint64_t total = 0;
        Digest d;

        if (!chunk)
                return error_oom(reterr);
        digest_init(&d);
        for (;;) {
                ssize_t n = read(fd, chunk, CHUNK);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_setf(reterr, -errno, "cannot read it: %m");
                if (n == 0)
                        break;
                if ((uint64_t)n > size - total)
                        return error_setf(reterr, -EBADMSG,
                                          "more than the %" PRIu64 " bytes announced", size);
                if (total < sizeof(first))
                        memcpy(first + total, chunk,
                               MIN_OF((size_t)n, sizeof(first) - (size_t)total));
                r = files_write_all(out, chunk, (size_t)n);
                if (r < 0)
                        return error_setf(reterr, r, "cannot write it: %s", strerrordesc_np(-r));
                digest_add(&d, chunk, (size_t)n);
                total += (uint64_t)n;
        }
        if (total < size)
                return error_setf(reterr, -EBADMSG, "%" PRIu64 " of %" PRIu64 " bytes arrived",
                                  total, size);
        *ret_filesystem = magic_filesystem(first, MIN_OF((size_t)total, sizeof(first)));
        digest_hex(&d, stpcpy(ret, "sha256:"));
        return 0;
}

static int receive_locked(Cache *c, const char *digest, uint64_t size, int fd, Layer *ret,
                          Error *reterr) {
        _cleanup_close_ int out = -EBADF;
        char found[LAYER_DIGEST_SIZE];
        const char *filesystem = NULL;
        bool known = false;
        int r;

        out = openat(c->tmp_fd, hex_of(digest), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out < 0)
                return error_setf(reterr, -errno, "cannot write it: %m");
        r = copy_in(fd, out, size, found, &filesystem, reterr);
        if (r < 0)
                return r;
        if (strcmp(found, digest) != 0)
                return error_setf(reterr, -EBADMSG, "what arrived is %s", found);
        for (size_t i = 0; filesystem && i < ELEMENTSOF(filesystems); i++)
                known = known || strcmp(filesystem, filesystems[i]) == 0;
        if (!known)
                return error_setf(reterr, -EBADMSG, "there is no file system in it");
        return cache_publish(c, hex_of(digest), digest, filesystem, ret, reterr);
}

int layer_receive(const char *state_dir, const char *digest, uint64_t size, int fd, Layer *ret,
                  Error *reterr) {
        _cleanup_cache_ Cache c = CACHE_INIT;
        _cleanup_unlock_ FileLock lock = FILE_LOCK_INIT;
        int r;

        r = layer_digest_check(digest, reterr);
        if (r < 0)
                return r;
        r = cache_open(&c, state_dir, reterr);
        if (r == 0)
                r = cache_lock(&c, hex_of(digest), &lock, reterr);
        if (r < 0)
                return r;
        if (layer_find(state_dir, digest, ret, NULL) == 0)
                return 0;
        r = receive_locked(&c, digest, size, fd, ret, reterr);
        if (r < 0)
                r = error_prefix(reterr, r, "layer %s", digest);
        (void)files_remove_tree(c.tmp_fd, hex_of(digest));
        return r;
}
