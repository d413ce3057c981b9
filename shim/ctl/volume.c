/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/volume.h"

#include <stdlib.h>
#include <string.h>

#include "controllers/scsi/scsi.h"
#include "hostdev/image/disk.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"

void volume_value_done(VolumeValue *v) {
        free(v->file);
        free(v->destination);
        *v = (VolumeValue){};
}

/* No "..", no ".", no empty part: what it says is where it is. */
static bool is_plain_absolute(const char *path) {
        if (path[0] != '/' || !path[1])
                return false;
        for (const char *p = path; *p;) {
                size_t n = strcspn(++p, "/");

                if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && strncmp(p, "..", 2) == 0))
                        return false;
                p += n;
        }
        return true;
}

/* One of the words; NULL if it is none. Static. */
static const char *pick(const char *word, const char *const *words) {
        for (; *words; words++)
                if (strcmp(*words, word) == 0)
                        return *words;
        return NULL;
}

/* -EEXIST: it contradicts a flag before it. */
static int take_word(const char **field, const char *word) {
        if (*field && strcmp(*field, word) != 0)
                return -EEXIST;
        *field = word;
        return 0;
}

static int volume_flag(VolumeValue *v, const char **access, const char *flag) {
        static const char *const modes[] = { "copy", "shared", "same", NULL };
        static const char *const formats[] = { "raw", "qcow2", NULL };
        const char *word;
        uint64_t n;

        if (strcmp(flag, "ro") == 0 || strcmp(flag, "rw") == 0) {
                v->read_only = flag[1] == 'o';
                return take_word(access, flag);
        } else if (strcmp(flag, "dev") == 0 || strcmp(flag, "block") == 0) {
                v->block_device = true;
        } else if ((word = pick(flag, modes))) {
                return take_word(&v->mode, word);
        } else if (strncmp(flag, "format=", 7) == 0) {
                word = pick(flag + 7, formats);
                return word ? take_word(&v->format, word) : -EINVAL;
        } else if (strncmp(flag, "part=", 5) == 0) {
                if (value_number(flag + 5, 1, 128, &n, NULL) < 0)
                        return -EINVAL;
                if (v->partition > 0 && v->partition != n)
                        return -EEXIST;
                v->partition = (uint32_t)n;
        } else {
                return -EINVAL;
        }
        return 0;
}

static int volume_flags(VolumeValue *v, const char *text, char **save, Error *reterr) {
        const char *access = NULL; /* "ro", "rw" */

        for (char *flag = strtok_r(NULL, ":", save); flag; flag = strtok_r(NULL, ":", save)) {
                int r = volume_flag(v, &access, flag);

                if (r == -EEXIST)
                        return error_setf(reterr, -EINVAL,
                                          "volume \"%.200s\": \"%.40s\" contradicts what is before "
                                          "it",
                                          text, flag);
                if (r < 0)
                        return error_setf(
                                reterr, r,
                                "volume \"%.200s\": \"%.40s\" is none of ro, block, copy, "
                                "shared, same, part=N, format=raw, format=qcow2",
                                text, flag);
        }
        if (v->mode && strcmp(v->mode, "same") == 0 && !v->read_only)
                return error_setf(
                        reterr, -EINVAL,
                        "volume \"%.200s\": what can be written does not stay the same on "
                        "two hosts: same is for :ro",
                        text);
        if (v->mode && strcmp(v->mode, "copy") == 0 && v->read_only)
                return error_setf(
                        reterr, -EINVAL,
                        "volume \"%.200s\": a read-only disk is not copied: :same if both "
                        "hosts have it, :shared if they see one file",
                        text);
        if (!v->mode)
                v->mode = v->read_only ? "same" : "copy";
        if (!v->format)
                v->format = "";
        return 0;
}

int volume_parse(const char *text, VolumeValue *ret, Error *reterr) {
        _cleanup_(volume_value_done) VolumeValue v = {};
        _cleanup_free_ char *copy = strdup(text);
        char *save = NULL, *file, *destination;
        int r;

        if (!copy)
                return error_oom(reterr);
        file = strtok_r(copy, ":", &save);
        destination = file ? strtok_r(NULL, ":", &save) : NULL;
        if (!destination || text[0] == ':')
                return error_setf(reterr, -EINVAL,
                                  "\"%.200s\" is no volume: FILE:PATH, then flags such as :ro or "
                                  ":shared",
                                  text);
        if (!is_plain_absolute(destination))
                return error_setf(reterr, -EINVAL,
                                  "volume \"%.200s\": %.100s is no place in the container: an "
                                  "absolute path below /, without . and ..",
                                  text, destination);
        r = volume_flags(&v, text, &save, reterr);
        if (r < 0)
                return r;
        v.file = realpath(file, NULL);
        if (!v.file)
                return error_setf(reterr, -errno, "volume %.200s: %m", file);
        v.destination = strdup(destination);
        if (!v.destination)
                return error_oom(reterr);
        *ret = v;
        v = (VolumeValue){};
        return 0;
}

/* Of a partition, and of an image behind another one, only the guest sees what is in it. */
static int find_filesystem(const VolumeValue *v, const DiskInfo *info, const char **ret,
                           Error *reterr) {
        if (v->block_device)
                *ret = "";
        else if (v->partition > 0 || info->backed)
                *ret = SCSI_FILESYSTEM_AUTO;
        else if (*info->filesystem)
                *ret = info->filesystem;
        else
                return error_setf(
                        reterr, -EINVAL,
                        "%s: no file system that podferry knows is in it; make one with "
                        "mkfs.ext4, name a partition with :part=N, or give it as a device "
                        "with :block",
                        v->file);
        return 0;
}

int volume_json(const VolumeValue *v, json_object **ret, Error *reterr) {
        _cleanup_json_ json_object *o = json_object_new_object();
        const char *filesystem = "";
        DiskInfo info;
        int r;

        r = strcmp(v->format, "raw") == 0 ? disk_probe_raw(v->file, !v->read_only, &info, reterr)
                                          : disk_probe(v->file, !v->read_only, &info, reterr);
        if (r == 0)
                r = find_filesystem(v, &info, &filesystem, reterr);
        if (r < 0)
                return r;
        if (!o || json_add_string(o, "role", "volume") < 0 ||
            json_add_string(o, "path", v->file) < 0 ||
            json_add_string(o, "format", info.format) < 0 ||
            json_add(o, "format_given", json_object_new_boolean(v->format[0] != '\0')) < 0 ||
            json_add_string(o, "filesystem", filesystem) < 0 ||
            json_add(o, "block_device", json_object_new_boolean(v->block_device)) < 0 ||
            json_add(o, "partition", json_object_new_int64(v->partition)) < 0 ||
            json_add(o, "read_only", json_object_new_boolean(v->read_only)) < 0 ||
            json_add(o, "size", json_object_new_uint64(info.virtual_size)) < 0 ||
            json_add_string(o, "mode", v->mode) < 0 ||
            json_add_string(o, "destination", v->destination) < 0)
                return error_oom(reterr);
        *ret = TAKE(o);
        return 0;
}
