/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/disk/inspect.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/magic.h"
#include "hostdev/image/program.h"

/* QEMU's image locks (block/file-posix.c): bytes of the file, one for each right that somebody has,
 * and one for each that he lets nobody else have. */
#define LOCK_HAS       100
#define LOCK_ALONE     200
#define LOCK_READ_BIT  0 /* a consistent view */
#define LOCK_WRITE_BIT 1

static bool is_locked(int fd, off_t byte) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

        return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static int check_lock(const char *path, const DiskWants *w, Error *reterr) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        bool taken;

        if (fd < 0)
                return error_setf(reterr, -errno, "%s: %m", path);
        taken = is_locked(fd, LOCK_HAS + LOCK_WRITE_BIT) ||
                is_locked(fd, LOCK_ALONE + LOCK_READ_BIT) ||
                (w->writable && is_locked(fd, LOCK_ALONE + LOCK_WRITE_BIT));
        if (taken)
                return error_setf(
                        reterr, -EBUSY,
                        "%s: another machine uses it (its image is locked), or this pod by "
                        "another name; stop that one, or give both of them the disk as :ro",
                        path);
        return 0;
}

/* A mistake of the user's, or a guest that wrote the header of an image onto its raw disk. */
int disk_check_name(const char *path, const char *format, Error *reterr) {
        static const char *const formats[] = { "raw", "qcow2" };
        const char *dot = strrchr(path, '.');

        for (size_t i = 0; dot && i < ELEMENTSOF(formats); i++)
                if (strcasecmp(dot + 1, formats[i]) == 0 && strcmp(formats[i], format) != 0)
                        return error_setf(
                                reterr, -EINVAL,
                                "%s: its name says %s, its content is %s: rename it, or say "
                                "format=%s if you trust it",
                                path, formats[i], format, format);
        return 0;
}

static json_object *get(json_object *o, const char *key) {
        json_object *v = NULL;

        return o && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static const char *get_text(json_object *o, const char *key) {
        json_object *v = get(o, key);

        return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static int run_info(const char *path, json_object **ret, Error *reterr) {
        _cleanup_buf_ Buf out = {};
        int r;

        r = program_run_limited((const char *const[]){ "qemu-img", "info", "-U", "-f", "qcow2",
                                                       "--output=json", path, NULL },
                                &out, reterr);
        if (r < 0)
                return error_prefix(reterr, -EINVAL, "%s", path);
        if (buf_append(&out, "", 1) < 0)
                return error_oom(reterr);
        *ret = json_tokener_parse((const char *)out.data);
        return *ret ? 0 : error_setf(reterr, -EINVAL, "%s: qemu-img said no JSON", path);
}

/* The file that a backing file's name stands for, if it is one that may be used. The name is the
 * image's, so it may be anything: "json:{...}", "nbd://...", "/etc/shadow", "../../x". */
static int resolve_backing(const char *path, const char *name, const char *dir, char **ret,
                           Error *reterr) {
        _cleanup_free_ char *joined = NULL, *allowed = NULL, *real = NULL;
        const char *slash = strrchr(path, '/');
        size_t n;

        if (!dir[0])
                return error_setf(reterr, -EINVAL,
                                  "%s: it has a backing file (%.100s) and backing_dir is not set: "
                                  "qemu-img convert makes one file of it",
                                  path, name);
        if (strcspn(name, ":") < strcspn(name, "/"))
                return error_setf(reterr, -EINVAL, "%s: its backing file %.100s is no file", path,
                                  name);
        if (asprintf(&joined, "%.*s%s", name[0] == '/' ? 0 : (int)(slash - path + 1), path, name) <
            0) {
                joined = NULL;
                return error_oom(reterr);
        }
        allowed = realpath(dir, NULL);
        real = realpath(joined, NULL);
        if (!allowed || !real)
                return error_setf(reterr, -EINVAL, "%s: its backing file: %.200s: %m", path,
                                  allowed ? joined : dir);
        n = strlen(allowed);
        if (strncmp(real, allowed, n) != 0 || real[n] != '/')
                return error_setf(reterr, -EINVAL,
                                  "%s: its backing file %.200s is not below %.200s, the only place "
                                  "where backing files may be",
                                  path, real, allowed);
        *ret = TAKE(real);
        return 0;
}

static int find_backing(const char *path, json_object *said, const char *dir, DiskInfo *ret_info,
                        char **ret, Error *reterr) {
        const char *name = get_text(said, "backing-filename");
        const char *format = get_text(said, "backing-filename-format");
        _cleanup_free_ char *real = NULL;
        int r;

        if (!name[0])
                return error_setf(reterr, -EINVAL, "%s: the name of its backing file is not known",
                                  path);
        r = resolve_backing(path, name, dir, &real, reterr);
        if (r < 0)
                return r;
        r = disk_probe(real, false, ret_info, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s", path);
        if (strcmp(format, ret_info->format) != 0)
                return error_setf(reterr, -EINVAL,
                                  "%s: it says that its backing file %.200s is \"%.20s\", which is "
                                  "%s",
                                  path, real, format, ret_info->format);
        *ret = TAKE(real);
        return 0;
}

int disk_backing(const char *path, const char *backing_dir, char **ret, Error *reterr) {
        DiskInfo info, behind;
        json_object *said = NULL;
        int r;

        *ret = NULL;
        r = disk_probe(path, false, &info, reterr);
        if (r < 0 || !info.backed)
                return r;
        r = run_info(path, &said, reterr);
        if (r == 0)
                r = find_backing(path, said, backing_dir, &behind, ret, reterr);
        (void)json_object_put(said);
        return r;
}

static int check_chain(const char *path, const DiskWants *w, unsigned depth, const DiskInfo *info,
                       Error *reterr);

static int check_backing(const char *path, json_object *said, const DiskWants *w, unsigned depth,
                         Error *reterr) {
        _cleanup_free_ char *real = NULL;
        DiskInfo info;
        int r;

        if (depth >= DISK_BACKING_DEPTH_MAX)
                return error_setf(reterr, -EINVAL, "%s: more than %u images behind one another",
                                  path, DISK_BACKING_DEPTH_MAX);
        r = find_backing(path, said, w->backing_dir, &info, &real, reterr);
        return r < 0 ? r : check_chain(real, w, depth + 1, &info, reterr);
}

static int check_chain(const char *path, const DiskWants *w, unsigned depth, const DiskInfo *info,
                       Error *reterr) {
        json_object *said = NULL, *data;
        int r;

        if (strcmp(info->format, "qcow2") != 0)
                return 0;
        r = run_info(path, &said, reterr);
        if (r < 0)
                return r;
        data = get(get(said, "format-specific"), "data");
        if (strcmp(get_text(said, "format"), "qcow2") != 0 ||
            (uint64_t)json_object_get_int64(get(said, "virtual-size")) != info->virtual_size)
                r = error_setf(reterr, -EINVAL, "%s: qemu-img reads its header differently", path);
        else if (json_object_get_boolean(get(data, "corrupt")))
                r = error_setf(reterr, -EINVAL, "%s: it is corrupt: see qemu-img check", path);
        else if (get(data, "data-file"))
                r = error_setf(reterr, -EINVAL, "%s: its data is in another file", path);
        else if (get(said, "encrypted") && json_object_get_boolean(get(said, "encrypted")))
                r = error_setf(reterr, -EINVAL, "%s: it is encrypted, which is not supported",
                               path);
        else if (info->backed)
                r = check_backing(path, said, w, depth, reterr);
        (void)json_object_put(said);
        return r;
}

int disk_inspect(const char *path, const DiskWants *w, DiskInfo *ret, Error *reterr) {
        DiskInfo info;
        int r;

        r = strcmp(w->format, "raw") == 0 ? disk_probe_raw(path, w->writable, &info, reterr)
                                          : disk_probe(path, w->writable, &info, reterr);
        if (r < 0)
                return r;
        if (info.incomplete)
                return error_setf(reterr, -EBUSY,
                                  "%s: a migration that fills it has not ended, so it is not "
                                  "complete (%s.incomplete says so)",
                                  path, path);
        if (w->format[0] && strcmp(w->format, info.format) != 0)
                return error_setf(reterr, -EINVAL, "%s: it is %s, not %s", path, info.format,
                                  w->format);
        if (!w->format[0] && (r = disk_check_name(path, info.format, reterr)) < 0)
                return r;
        if (!w->held && (r = check_lock(path, w, reterr)) < 0)
                return r;
        r = check_chain(path, w, 0, &info, reterr);
        if (r == 0)
                *ret = info;
        return r;
}
