/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/move-record.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controllers/checks.h"
#include "hostdev/image/files.h"
#include "lib/cleanup.h"
#include "shim/definition.h"

#define NAME       "moving.json"
#define RECORD_MAX (64U << 10)

void move_record_done(MoveRecord *r) {
        free(r->from);
        free(r->to);
        *r = (MoveRecord){};
}

static int open_state(const char *state, int *ret, Error *reterr) {
        *ret = open(state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret < 0 ? error_setf(reterr, -errno, "%s: %m", state) : 0;
}

static int broken(const char *state, Error *reterr) {
        return error_setf(reterr, -EBADMSG,
                          "%s/" NAME " is not what was written there: look at the volumes of the "
                          "pod, then remove it",
                          state);
}

static char *get_path(json_object *o, const char *key) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string) ||
            path_check(key, json_object_get_string(v), NULL) < 0)
                return NULL;
        return strdup(json_object_get_string(v));
}

int move_record_read(const char *state, MoveRecord *ret, Error *reterr) {
        _cleanup_close_ int dir = -EBADF;
        _cleanup_buf_ Buf content = {};
        json_object *o, *device = NULL;
        MoveRecord record = {};
        int r;

        r = open_state(state, &dir, reterr);
        if (r == 0)
                r = files_read(dir, NAME, RECORD_MAX, &content, reterr);
        if (r < 0)
                return r;
        o = json_tokener_parse((const char *)content.data);
        record.from = get_path(o, "from");
        record.to = get_path(o, "to");
        if (!record.from || !record.to || !json_object_object_get_ex(o, "device", &device) ||
            !json_object_is_type(device, json_type_boolean))
                r = broken(state, reterr);
        record.device = r == 0 && json_object_get_boolean(device);
        (void)json_object_put(o);
        if (r < 0)
                move_record_done(&record);
        else
                *ret = record;
        return r;
}

bool move_record_is_there(const char *state) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" NAME, state) < 0) {
                path = NULL;
                return true; /* then it is looked at */
        }
        return access(path, F_OK) == 0;
}

static bool put(json_object *o, const char *key, json_object *value) {
        if (o && value && json_object_object_add(o, key, value) == 0)
                return true;
        (void)json_object_put(value);
        return false;
}

static int write_record(const char *state, const MoveRecord *r, Error *reterr) {
        json_object *o = json_object_new_object();
        _cleanup_close_ int dir = -EBADF;
        const char *text = NULL;
        int k;

        if (put(o, "from", json_object_new_string(r->from)) &&
            put(o, "to", json_object_new_string(r->to)) &&
            put(o, "device", json_object_new_boolean(r->device)))
                text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);
        k = text ? open_state(state, &dir, reterr) : error_oom(reterr);
        if (k == 0)
                k = files_write(dir, NAME, text, strlen(text), reterr);
        (void)json_object_put(o);
        return k;
}

int move_record_remove(const char *state, Error *reterr) {
        _cleanup_close_ int dir = -EBADF;
        int r = open_state(state, &dir, reterr);

        if (r == 0 && unlinkat(dir, NAME, 0) < 0 && errno != ENOENT)
                r = error_setf(reterr, -errno, "%s/" NAME ": %m", state);
        return r;
}

static int check_source(const char *path, bool with_source, DiskInfo *ret, Error *reterr) {
        int r = disk_probe_header(path, ret, reterr);

        if (r == 0 && with_source && ret->more)
                return error_setf(reterr, -EINVAL,
                                  "%s has snapshots or bitmaps, which the copy would not have: "
                                  "move it without --remove-source",
                                  path);
        return r;
}

int move_record_begin(const char *state, const MoveBegin *b, MoveRecord *r, Error *reterr) {
        DiskOwner owner = { .pod = b->pod, .session = b->session };
        DiskInfo source;
        struct stat st;
        int k;

        r->device = stat(r->to, &st) == 0 && S_ISBLK(st.st_mode);
        k = check_source(r->from, b->with_source, &source, reterr);
        if (k == 0)
                k = write_record(state, r, reterr);
        if (k < 0)
                return k;
        k = disk_make_target(r->to, b->format, b->size, source.allocated, &owner, &r->device,
                             reterr);
        if (k < 0)
                (void)move_record_remove(state, NULL);
        return k;
}

/* A pod that was never defined has nothing to be changed. */
static int define(const char *state, const char *from, const char *to, Error *reterr) {
        return definition_is_there(state) ? definition_move_disk(state, from, to, reterr) : 0;
}

int move_record_define(const char *state, const MoveRecord *r, Error *reterr) {
        int k = disk_sync(r->to, reterr);

        if (k < 0)
                return k;
        k = define(state, r->from, r->to, reterr);
        if (k < 0)
                (void)define(state, r->to, r->from, NULL);
        return k;
}

int move_record_undefine(const char *state, const MoveRecord *r, Error *reterr) {
        return define(state, r->to, r->from, reterr);
}

int move_record_undo(const char *state, const char *pod, const MoveRecord *r, Error *reterr) {
        int k = r->device ? 0 : disk_discard(r->to, pod, reterr);

        return k < 0 ? k : move_record_remove(state, reterr);
}

int move_record_complete(const MoveRecord *r, bool with_source, Error *reterr) {
        struct stat st;
        int k = 0;

        if (!r->device)
                k = disk_commit(r->to, reterr);
        if (k < 0 || !with_source || lstat(r->from, &st) < 0 || !S_ISREG(st.st_mode))
                return k;
        return unlink(r->from) < 0 ? error_setf(reterr, -errno, "cannot remove %s: %m", r->from)
                                   : 0;
}

int move_record_settle(const char *state, const char *pod, Error *reterr) {
        MoveRecord record = {};
        bool moved = false;
        int r;

        if (!move_record_is_there(state))
                return 0;
        r = move_record_read(state, &record, reterr);
        if (r == 0 && definition_is_there(state))
                r = definition_has_disk(state, record.to, &moved, reterr);
        if (r == 0 && moved)
                r = move_record_complete(&record, false, reterr);
        else if (r == 0 && !record.device)
                r = disk_discard(record.to, pod, reterr);
        if (r == 0)
                r = move_record_remove(state, reterr);
        move_record_done(&record);
        return r;
}
