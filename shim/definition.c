/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/definition.h"

#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "controllers/ids.h"
#include "hostdev/image/files.h"
#include "lib/cleanup.h"

#define DIRECTORY  "definition"
#define MACHINE    "machine.json"
#define PREFIX     "container-"
#define SUFFIX     ".json"
#define NEXT       "definition.next" /* has a DIRECTORY, as the state directory does */
#define UNFINISHED "definition.part" /* what becomes that */

static json_object *json_unref(json_object *o) {
        json_object_put(o);
        return NULL;
}
DEFINE_CLEANUP(json_object *, json_unref);
#define _cleanup_object_ _cleanup_(json_unrefp)

/* The directory, which is there. -ENOENT: it is not. */
static int open_there(const char *state, int *ret, Error *reterr) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" DIRECTORY, state) < 0) {
                path = NULL;
                return error_oom(reterr);
        }
        *ret = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *ret < 0 ? error_setf(reterr, -errno, "%s: %m", path) : 0;
}

static int file_name(const char *id, char *name, size_t size, Error *reterr) {
        int r = id_check("container id", id, reterr);

        if (r < 0)
                return r;
        (void)snprintf(name, size, PREFIX "%s" SUFFIX, id);
        return 0;
}

static int write_json(int dir, const char *name, json_object *o, Error *reterr) {
        const char *text = json_object_to_json_string_ext(
                o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!text)
                return error_oom(reterr);
        return files_write(dir, name, text, strlen(text), reterr);
}

static int add(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) == 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

int definition_begin(const char *state, const Definition *machine, Error *reterr) {
        _cleanup_object_ json_object *o = json_object_new_object();
        _cleanup_close_ int parent = -EBADF, dir = -EBADF;
        int r;

        if (!o || add(o, "epoch", json_object_new_uint64(machine->epoch)) < 0 ||
            add(o, "memory_mib", json_object_new_uint64(machine->memory_mib)) < 0 ||
            add(o, "vcpus", json_object_new_uint64(machine->vcpus)) < 0 ||
            add(o, "network", json_object_new_string(machine->network)) < 0 ||
            add(o, "publish", json_object_new_string(machine->publish)) < 0)
                return error_oom(reterr);
        definition_remove(state);
        r = files_open_directory(state, &parent, reterr);
        if (r == 0)
                r = files_sub_directory(parent, DIRECTORY, 0700, &dir, reterr);
        return r < 0 ? r : write_json(dir, MACHINE, o, reterr);
}

int definition_put(const char *state, const DefinitionContainer *c, Error *reterr) {
        _cleanup_object_ json_object *o = json_object_new_object();
        _cleanup_close_ int dir = -EBADF;
        char name[300];
        int r;

        if (!o || add(o, "made", json_object_new_uint64(c->made)) < 0 ||
            add(o, "spec", json_object_new_string(c->spec)) < 0)
                return error_oom(reterr);
        r = file_name(c->id, name, sizeof(name), reterr);
        if (r == 0)
                r = open_there(state, &dir, reterr);
        return r < 0 ? r : write_json(dir, name, o, reterr);
}

int definition_drop(const char *state, const char *id, Error *reterr) {
        _cleanup_close_ int dir = -EBADF;
        char name[300];
        int r;

        r = file_name(id, name, sizeof(name), reterr);
        if (r == 0)
                r = open_there(state, &dir, NULL);
        if (r == -ENOENT)
                return 0;
        if (r == 0 && unlinkat(dir, name, 0) < 0 && errno != ENOENT)
                r = -errno;
        return r < 0 ? error_setf(reterr, r, "%s/" DIRECTORY "/%s: %s", state, name,
                                  strerrordesc_np(-r))
                     : 0;
}

void definition_remove(const char *state) {
        _cleanup_close_ int parent = open(state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (parent >= 0)
                (void)files_remove_tree(parent, DIRECTORY);
}

bool definition_is_there(const char *state) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" DIRECTORY "/" MACHINE, state) < 0) {
                path = NULL;
                return false;
        }
        return access(path, F_OK) == 0;
}

/* -- reading -- */

static int broken(const char *state, const char *name, Error *reterr) {
        return error_setf(reterr, -EBADMSG, "%s/" DIRECTORY "/%s is not what was written there",
                          state, name);
}

static int read_json(const char *state, int dir, const char *name, json_object **ret,
                     Error *reterr) {
        _cleanup_buf_ Buf content = {};
        json_tokener *t;
        int r;

        r = files_read(dir, name, DEFINITION_FILE_MAX, &content, reterr);
        if (r < 0)
                return r;
        t = json_tokener_new();
        if (!t)
                return error_oom(reterr);
        json_tokener_set_flags(t, JSON_TOKENER_STRICT);
        *ret = json_tokener_parse_ex(t, (const char *)content.data, (int)content.len + 1);
        json_tokener_free(t);
        return json_object_is_type(*ret, json_type_object) ? 0 : broken(state, name, reterr);
}

static bool get_number(json_object *o, const char *key, uint64_t max, uint64_t *ret) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int) ||
            json_object_get_int64(v) < 0)
                return false;
        *ret = json_object_get_uint64(v);
        return *ret <= max;
}

/* NULL: it is no text, or there is no memory for it. */
static char *get_text(json_object *o, const char *key) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
                return NULL;
        return strdup(json_object_get_string(v));
}

static int read_machine(const char *state, int dir, Definition *d, Error *reterr) {
        _cleanup_object_ json_object *o = NULL;
        uint64_t vcpus;
        int r;

        r = read_json(state, dir, MACHINE, &o, reterr);
        if (r < 0)
                return r;
        d->network = get_text(o, "network");
        d->publish = get_text(o, "publish");
        if (!d->network || !d->publish || !get_number(o, "epoch", INT64_MAX, &d->epoch) ||
            !get_number(o, "memory_mib", UINT32_MAX, &d->memory_mib) ||
            !get_number(o, "vcpus", UINT16_MAX, &vcpus))
                return broken(state, MACHINE, reterr);
        d->vcpus = (uint32_t)vcpus;
        return 0;
}

static int read_container(const char *state, int dir, const char *name, const char *id,
                          DefinitionContainer *c, Error *reterr) {
        _cleanup_object_ json_object *o = NULL;
        int r;

        r = read_json(state, dir, name, &o, reterr);
        if (r < 0)
                return r;
        c->id = strdup(id);
        c->spec = get_text(o, "spec");
        if (!c->id || !c->spec || !get_number(o, "made", INT64_MAX, &c->made))
                return broken(state, name, reterr);
        return 0;
}

/* The container that a file is of. False: none. */
static bool name_to_id(const char *name, char *id, size_t size) {
        size_t n = strlen(name), around = strlen(PREFIX) + strlen(SUFFIX);

        if (n <= around || n - around >= size || strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
            strcmp(name + n - strlen(SUFFIX), SUFFIX) != 0)
                return false;
        memcpy(id, name + strlen(PREFIX), n - around);
        id[n - around] = '\0';
        return id_check("container id", id, NULL) == 0;
}

static int read_containers(const char *state, int dir, Definition *d, Error *reterr) {
        int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3), r = 0;
        DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
        char id[256];

        if (!list) {
                (void)close_fd(copy);
                return error_setf(reterr, -errno, "%s/" DIRECTORY ": %m", state);
        }
        for (struct dirent *e = readdir(list); r == 0 && e; e = readdir(list)) {
                DefinitionContainer *grown;

                if (!name_to_id(e->d_name, id, sizeof(id)))
                        continue;
                grown = reallocarray(d->containers, d->n_containers + 1, sizeof(*grown));
                if (!grown) {
                        r = error_oom(reterr);
                        break;
                }
                d->containers = grown;
                grown[d->n_containers] = (DefinitionContainer){};
                r = read_container(state, dir, e->d_name, id, &grown[d->n_containers++], reterr);
        }
        (void)closedir(list);
        return r;
}

static int compare(const void *a, const void *b) {
        const DefinitionContainer *x = a, *y = b;

        return x->made != y->made ? (x->made > y->made ? 1 : -1) : strcmp(x->id, y->id);
}

int definition_read(const char *state, Definition *ret, Error *reterr) {
        _cleanup_definition_ Definition d = {};
        _cleanup_close_ int dir = -EBADF;
        int r;

        r = open_there(state, &dir, reterr);
        if (r == 0)
                r = read_machine(state, dir, &d, reterr);
        if (r == 0)
                r = read_containers(state, dir, &d, reterr);
        if (r < 0)
                return r;
        if (d.n_containers > 1)
                qsort(d.containers, d.n_containers, sizeof(*d.containers), compare);
        *ret = d;
        d = (Definition){};
        return 0;
}

int definition_annotations(const Definition *d, Annotations *ret, Error *reterr) {
        for (size_t i = 0; i < d->n_containers; i++) {
                _cleanup_object_ json_object *spec = json_tokener_parse(d->containers[i].spec);
                json_object *config = NULL;
                int r = -EBADMSG;

                if (json_object_is_type(spec, json_type_object) &&
                    json_object_object_get_ex(spec, "config", &config) &&
                    json_object_is_type(config, json_type_object))
                        r = annotations_take(ret, d->containers[i].id, config, NULL, reterr);
                else
                        (void)error_setf(reterr, r, "its specification has no config");
                if (r < 0)
                        return error_prefix(reterr, r, "container %s", d->containers[i].id);
        }
        return 0;
}

/* The directory of `state` that has another definition. */
static char *inside(const char *state, const char *name) {
        char *path;

        return asprintf(&path, "%s/%s", state, name) < 0 ? NULL : path;
}

/* Of an owner up to `epoch`. One that is unreadable is his; one that is being written is not. */
static bool is_own(const char *state, uint64_t epoch) {
        _cleanup_definition_ Definition d = {};
        _cleanup_close_ int dir = -EBADF;
        int r;

        if (open_there(state, &dir, NULL) < 0)
                return false;
        r = read_machine(state, dir, &d, NULL);
        return r == 0 ? d.epoch <= epoch : r != -ENOENT;
}

void definition_remove_own(const char *state, uint64_t epoch) {
        static const char *const staged[] = { NEXT, UNFINISHED };
        _cleanup_close_ int parent = open(state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (is_own(state, epoch))
                definition_remove(state);
        for (size_t i = 0; parent >= 0 && i < ELEMENTSOF(staged); i++) {
                _cleanup_free_ char *path = inside(state, staged[i]);

                if (path && is_own(path, epoch))
                        (void)files_remove_tree(parent, staged[i]);
        }
}

/* -- of a pod that is on its way -- */

static int stage_error(const char *state, const char *name, int r, Error *reterr) {
        return error_setf(reterr, r, "%s/%s: %s", state, name, strerrordesc_np(-r));
}

int definition_stage(const char *state, const Definition *d, Error *reterr) {
        _cleanup_free_ char *unfinished = inside(state, UNFINISHED);
        _cleanup_close_ int parent = -EBADF;
        int r;

        if (!unfinished)
                return error_oom(reterr);
        r = files_open_directory(state, &parent, reterr);
        if (r < 0)
                return r;
        r = files_remove_tree(parent, UNFINISHED);
        if (r < 0)
                return stage_error(state, UNFINISHED, r, reterr);
        r = definition_begin(unfinished, d, reterr);
        for (size_t i = 0; r == 0 && i < d->n_containers; i++)
                r = definition_put(unfinished, &d->containers[i], reterr);
        if (r == 0 && (r = files_remove_tree(parent, NEXT)) < 0)
                r = stage_error(state, NEXT, r, reterr);
        if (r == 0 && renameat(parent, UNFINISHED, parent, NEXT) < 0)
                r = stage_error(state, NEXT, -errno, reterr);
        if (r == 0 && fsync(parent) < 0)
                r = stage_error(state, NEXT, -errno, reterr);
        if (r < 0)
                (void)files_remove_tree(parent, UNFINISHED);
        return r;
}

void definition_unstage(const char *state) {
        _cleanup_close_ int parent = open(state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (parent < 0)
                return;
        (void)files_remove_tree(parent, NEXT);
        (void)files_remove_tree(parent, UNFINISHED);
}

static int read_epoch(const char *state, uint64_t *ret, Error *reterr) {
        _cleanup_definition_ Definition d = {};
        _cleanup_close_ int dir = -EBADF;
        int r;

        r = open_there(state, &dir, reterr);
        if (r == 0)
                r = read_machine(state, dir, &d, reterr);
        *ret = d.epoch;
        return r;
}

int definition_publish(const char *state, uint64_t epoch, Error *reterr) {
        _cleanup_free_ char *next = inside(state, NEXT);
        _cleanup_close_ int parent = -EBADF;
        uint64_t staged;
        int r;

        if (!next)
                return error_oom(reterr);
        r = read_epoch(next, &staged, reterr);
        if (r == -ENOENT)
                (void)rmdir(next); /* empty: whoever published it was killed before the last step */
        if (r == 0 && staged != epoch)
                r = error_setf(reterr, -ENOENT, "%s is of epoch %llu, not %llu", next,
                               (unsigned long long)staged, (unsigned long long)epoch);
        if (r == 0)
                r = files_open_directory(state, &parent, reterr);
        if (r < 0)
                return r;
        definition_remove(
                state); /* of an earlier owner, if there is one: a crash now is made good */
        if (renameat(parent, NEXT "/" DIRECTORY, parent, DIRECTORY) < 0 || fsync(parent) < 0)
                return stage_error(state, DIRECTORY, -errno, reterr);
        (void)files_remove_tree(parent, NEXT);
        return 0;
}

/* -- disks that come and go -- */

/* 1: there is nothing to change. */
typedef int (*DiskEdit)(json_object *disks, const void *what);

static int edit_disks(const char *state, const char *id, DiskEdit edit, const void *what,
                      Error *reterr) {
        _cleanup_object_ json_object *o = NULL, *spec = NULL;
        _cleanup_close_ int dir = -EBADF;
        json_object *text, *disks;
        char name[300];
        int r;

        if ((r = file_name(id, name, sizeof(name), reterr)) < 0 ||
            (r = open_there(state, &dir, reterr)) < 0 ||
            (r = read_json(state, dir, name, &o, reterr)) < 0)
                return r;
        if (!json_object_object_get_ex(o, "spec", &text) ||
            !(spec = json_tokener_parse(json_object_get_string(text))) ||
            !json_object_object_get_ex(spec, "disks", &disks) ||
            !json_object_is_type(disks, json_type_array))
                return broken(state, name, reterr);
        r = edit(disks, what);
        if (r > 0)
                return 0;
        if (r == 0)
                r = add(o, "spec",
                        json_object_new_string(json_object_to_json_string_ext(
                                spec, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)));
        return r < 0 ? error_setf(reterr, r, "definition of container %s: %s", id,
                                  strerrordesc_np(-r))
                     : write_json(dir, name, o, reterr);
}

static int edit_add(json_object *disks, const void *what) {
        json_object *disk = json_tokener_parse(what);

        if (!disk || json_object_array_add(disks, disk) < 0) {
                json_object_put(disk);
                return -ENOMEM;
        }
        return 0;
}

static bool says(json_object *disk, const char *key, const char *value) {
        json_object *v;

        return json_object_object_get_ex(disk, key, &v) &&
               json_object_is_type(v, json_type_string) &&
               strcmp(json_object_get_string(v), value) == 0;
}

static int edit_remove(json_object *disks, const void *what) {
        for (size_t i = 0; i < json_object_array_length(disks); i++) {
                json_object *disk = json_object_array_get_idx(disks, i);

                if (says(disk, "destination", what))
                        return json_object_array_del_idx(disks, i, 1) < 0 ? -EINVAL : 0;
        }
        return 0;
}

int definition_add_disk(const char *state, const char *id, const char *disk_json, Error *reterr) {
        return edit_disks(state, id, edit_add, disk_json, reterr);
}

int definition_remove_disk(const char *state, const char *id, const char *destination,
                           Error *reterr) {
        return edit_disks(state, id, edit_remove, destination, reterr);
}

typedef struct DiskMove {
        const char *from, *to;
} DiskMove;

static int edit_move(json_object *disks, const void *what) {
        const DiskMove *move = what;
        int r = 1;

        for (size_t i = 0; i < json_object_array_length(disks); i++) {
                json_object *disk = json_object_array_get_idx(disks, i);

                if (!says(disk, "path", move->from))
                        continue;
                if (add(disk, "path", json_object_new_string(move->to)) < 0)
                        return -ENOMEM;
                r = 0;
        }
        return r;
}

int definition_move_disk(const char *state, const char *from, const char *to, Error *reterr) {
        _cleanup_definition_ Definition d = {};
        DiskMove move = { from, to };
        int r;

        r = definition_read(state, &d, reterr);
        for (size_t i = 0; r == 0 && i < d.n_containers; i++)
                r = edit_disks(state, d.containers[i].id, edit_move, &move, reterr);
        return r;
}

int definition_has_disk(const char *state, const char *path, bool *ret, Error *reterr) {
        _cleanup_definition_ Definition d = {};
        int r;

        *ret = false;
        r = definition_read(state, &d, reterr);
        for (size_t i = 0; r == 0 && i < d.n_containers; i++) {
                _cleanup_object_ json_object *spec = json_tokener_parse(d.containers[i].spec);
                json_object *disks = NULL;

                if (!json_object_object_get_ex(spec, "disks", &disks) ||
                    !json_object_is_type(disks, json_type_array))
                        return broken(state, d.containers[i].id, reterr);
                for (size_t k = 0; k < json_object_array_length(disks); k++)
                        *ret = *ret || says(json_object_array_get_idx(disks, k), "path", path);
        }
        return r;
}

void definition_done(Definition *d) {
        for (size_t i = 0; i < d->n_containers; i++) {
                free(d->containers[i].id);
                free(d->containers[i].spec);
        }
        free(d->containers);
        free(d->network);
        free(d->publish);
        *d = (Definition){};
}
