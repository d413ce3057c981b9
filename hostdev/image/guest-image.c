/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/image/guest-image.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hostdev/image/files.h"

#define MANIFEST_MAX 65536U

static void free_json(json_object **o) {
        (void)json_object_put(*o);
}

static bool is_hex_digest(const char *s) {
        return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* One file of the manifest: its digest, if the file has the size that is said there. */
static int read_file(int dir_fd, json_object *files, const char *name, char digest[7 + 64 + 1],
                     Error *reterr) {
        json_object *file = NULL, *hex = NULL, *size = NULL;
        struct stat st;

        if (!json_object_object_get_ex(files, name, &file) ||
            !json_object_object_get_ex(file, "sha256", &hex) ||
            !json_object_object_get_ex(file, "size", &size) ||
            !json_object_is_type(hex, json_type_string) ||
            !is_hex_digest(json_object_get_string(hex)))
                return error_setf(reterr, -EBADMSG, "it does not say what %s is", name);
        if (fstatat(dir_fd, name, &st, 0) < 0)
                return error_setf(reterr, -errno, "%s: %m", name);
        if (st.st_size != json_object_get_int64(size))
                return error_setf(reterr, -EBADMSG, "%s is not the one that it describes", name);
        (void)snprintf(digest, 7 + 64 + 1, "sha256:%s", json_object_get_string(hex));
        return 0;
}

static int parse(int dir_fd, const char *text, GuestImage *ret, Error *reterr) {
        _cleanup_(free_json) json_object *o = json_tokener_parse(text);
        json_object *files = NULL;
        int r;

        if (!o || !json_object_object_get_ex(o, "files", &files) ||
            !json_object_is_type(files, json_type_object))
                return error_setf(reterr, -EBADMSG, "it does not list files");
        r = read_file(dir_fd, files, "vmlinux", ret->kernel, reterr);
        return r < 0 ? r : read_file(dir_fd, files, "initrd", ret->initrd, reterr);
}

int guest_image_read(const char *directory, GuestImage *ret, Error *reterr) {
        _cleanup_close_ int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_buf_ Buf text = {};
        GuestImage image = {};
        int r;

        *ret = (GuestImage){};
        if (dir_fd < 0)
                return error_setf(reterr, -errno, "guest image %s: %m", directory);
        r = files_read(dir_fd, "manifest.json", MANIFEST_MAX, &text, reterr);
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = parse(dir_fd, (const char *)text.data, &image, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "%s/manifest.json (hack/image makes it anew)",
                                    directory);
        *ret = image;
        return 0;
}
