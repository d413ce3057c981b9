/* SPDX-License-Identifier: Apache-2.0 */
/* What a check looks at in the file system, and the address that it calls: all that may block. */
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "hostdev/disk/sample.h"
#include "hostdev/image/disk.h"
#include "shim/migrate/migrate-check.h"

#define DIAL_MS 2000

CheckFiles *check_files_free(CheckFiles *f) {
        if (!f)
                return NULL;
        for (size_t i = 0; i < f->n; i++) {
                free(f->files[i].path);
                free(f->files[i].there);
                free(f->files[i].container);
        }
        free(f->files);
        free(f->layers);
        free(f->layer_sizes);
        free(f->layers_directory);
        free(f->dial);
        free(f);
        return NULL;
}

/* Of the file system that a file at this path is on, or would be. */
static void look_at_space(const char *path, char *ret_id, size_t size, uint64_t *ret_free) {
        _cleanup_free_ char *at = strdup(path);
        struct statvfs v;
        struct stat st;

        *ret_free = CHECK_NUMBER_UNKNOWN;
        if (ret_id)
                ret_id[0] = '\0';
        while (at && stat(at, &st) < 0) {
                char *slash = strrchr(at, '/');

                if ((errno != ENOENT && errno != ENOTDIR) || !slash || !at[1])
                        return;
                slash[slash == at ? 1 : 0] = '\0';
        }
        if (!at || statvfs(at, &v) < 0)
                return;
        if (ret_id)
                (void)snprintf(ret_id, size, "%llx", (unsigned long long)st.st_dev);
        *ret_free = (uint64_t)v.f_bavail * v.f_frsize;
}

/* A file that an attempt before this one left half filled is no obstacle: it is replaced. */
static void look_whether_there(CheckFile *f) {
        char mark[PATH_MAX];
        struct stat st;

        if (lstat(f->there, &st) < 0) {
                f->exists = errno == ENOENT || errno == ENOTDIR ? CHECK_NO : CHECK_UNKNOWN;
                return;
        }
        f->exists =
                (size_t)snprintf(mark, sizeof(mark), "%s.incomplete", f->there) < sizeof(mark) &&
                                S_ISREG(st.st_mode) && access(mark, F_OK) == 0
                        ? CHECK_NO
                        : CHECK_YES;
}

static bool has_plan(const CheckFile *f, const char *plan) {
        return strcmp(f->plan, plan) == 0;
}

static void look_for_token(const CheckFiles *all, CheckFile *f, const char *at, TokenSide side) {
        Error e = ERROR_INIT;
        int r;

        if (!f->theirs[0])
                return;
        r = disk_token_check(at, all->session, f->slot, side, f->theirs, &e);
        f->seen = r == 0 ? CHECK_YES : CHECK_NO;
        if (r < 0 && has_plan(f, "shared") && !f->why[0])
                (void)snprintf(f->why, sizeof(f->why), "%.250s", e.text);
}

static void write_token(const CheckFiles *all, CheckFile *f, const char *at) {
        Error e = ERROR_INIT;

        if (disk_token_make(at, all->session, f->slot, all->side, f->mine, &e) == 0)
                return;
        f->mine[0] = '\0';
        if (has_plan(f, "shared"))
                (void)snprintf(f->why, sizeof(f->why), "%.250s", e.text);
}

static void work_source(const CheckFiles *all, CheckFile *f) {
        DiskInfo info;

        if (disk_probe(f->path, false, &info, NULL) == 0)
                f->allocated = info.allocated;
        if (all->sample && has_plan(f, "copy") && disk_sample_data(f->path, &f->data, NULL) < 0)
                f->data = CHECK_NUMBER_UNKNOWN;
        if (all->look && has_plan(f, "shared"))
                look_for_token(all, f, f->path, TOKEN_DESTINATION);
        if (all->write && (has_plan(f, "shared") || has_plan(f, "copy")))
                write_token(all, f, f->path);
}

static void work_destination(const CheckFiles *all, CheckFile *f) {
        if (!all->look)
                return;
        look_whether_there(f);
        look_at_space(f->there, f->filesystem, sizeof(f->filesystem), &f->free);
        if (has_plan(f, "shared") || f->exists == CHECK_YES)
                look_for_token(all, f, f->there, TOKEN_SOURCE);
        if (all->write && has_plan(f, "shared") && f->seen == CHECK_YES)
                write_token(all, f, f->there);
}

void check_files_remove_tokens(const CheckFiles *all) {
        for (size_t i = 0; i < all->n; i++)
                if (all->files[i].mine[0])
                        disk_token_remove(all->side == TOKEN_SOURCE ? all->files[i].path
                                                                    : all->files[i].there,
                                          all->session, all->files[i].slot, all->side);
}

static void look_for_layers(CheckFiles *f) {
        f->layers_missing = f->layers_bytes = 0;
        for (size_t i = 0; i < f->n_layers; i++) {
                _cleanup_layer_ Layer layer = LAYER_INIT;

                if (layer_find(f->state_dir, f->layers[i], &layer, NULL) != -ENOENT)
                        continue;
                f->layers_missing++;
                /* sizes are the other host's words */
                f->layers_bytes += MIN_OF(f->layer_sizes[i], INT64_MAX - f->layers_bytes);
        }
        look_at_space(f->layers_directory, NULL, 0, &f->layers_free);
}

/* -- the address of a direct transport -- */

static int wait_connected(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        int error = 0;
        socklen_t n = sizeof(error);
        int r = poll(&p, 1, DIAL_MS);

        if (r == 0)
                return -ETIMEDOUT;
        if (r < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
                return -errno;
        return -error;
}

static int connect_one(const struct addrinfo *a) {
        _cleanup_close_ int fd =
                socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return -errno;
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
                return 0;
        return errno == EINPROGRESS ? wait_connected(fd) : -errno;
}

/* libvirt+tcp://HOST[:PORT], also [IPv6]; what libvirtd listens on by default. */
static int split(const char *uri, char *host, size_t size, char port[16]) {
        const char *at = strstr(uri, "://"), *end, *colon;
        bool tls = strncmp(uri, "libvirt+tls:", 12) == 0;

        if (!at)
                return -EINVAL;
        at += 3;
        end = at + strcspn(at, "/?");
        if (*at == '[') {
                const char *close = memchr(at, ']', (size_t)(end - at));

                if (!close || (size_t)(close - at) > size)
                        return -EINVAL;
                (void)snprintf(host, size, "%.*s", (int)(close - at - 1), at + 1);
                colon = close[1] == ':' ? close + 1 : NULL;
        } else {
                colon = memchr(at, ':', (size_t)(end - at));
                if ((size_t)((colon ?: end) - at) >= size)
                        return -EINVAL;
                (void)snprintf(host, size, "%.*s", (int)((colon ?: end) - at), at);
        }
        if (colon && (size_t)(end - colon) <= 15)
                (void)snprintf(port, 16, "%.*s", (int)(end - colon - 1), colon + 1);
        else
                (void)snprintf(port, 16, "%s", tls ? "16514" : "16509");
        return 0;
}

static void dial(CheckFiles *f) {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
        char host[256], port[16];
        int r = split(f->dial, host, sizeof(host), port);

        if (r == 0) {
                int k = getaddrinfo(host, port, &hints, &list);

                if (k != 0) {
                        (void)snprintf(f->dial_error, sizeof(f->dial_error), "%.100s: %s", host,
                                       gai_strerror(k));
                        f->dialled = CHECK_NO;
                        return;
                }
                r = -ENOENT;
                for (const struct addrinfo *a = list; a && r != 0; a = a->ai_next)
                        r = connect_one(a);
                freeaddrinfo(list);
        }
        f->dialled = r == 0 ? CHECK_YES : CHECK_NO;
        if (r < 0)
                (void)snprintf(f->dial_error, sizeof(f->dial_error), "%s", strerrordesc_np(-r));
}

int check_files_work(void *argument, Error *reterr) {
        CheckFiles *all = argument;

        for (size_t i = 0; i < all->n; i++)
                if (all->side == TOKEN_SOURCE)
                        work_source(all, &all->files[i]);
                else
                        work_destination(all, &all->files[i]);
        if (all->layers_directory && all->look)
                look_for_layers(all);
        if (all->dial)
                dial(all);
        return 0;
}
