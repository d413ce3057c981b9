/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim that is started again needs of a session, beside the journal: which one it is, its
 * options, which QEMU would be fenced, and at a destination the pod as it came and how it was
 * patched. As JSON in what shim/keep.c keeps, from the start of the transfer on. */
#include <string.h>

#include "controllers/checks.h"
#include "controllers/ids.h"
#include "lib/log.h"
#include "shim/keep.h"
#include "shim/migrate/migrate-internal.h"

static int add_text(json_object *to, const char *name, const char *value) {
        json_object *o = json_object_new_string(value);

        return o && json_object_object_add(to, name, o) == 0 ? 0 : -ENOMEM;
}

static int add_number(json_object *to, const char *name, uint64_t value) {
        json_object *o = json_object_new_uint64(value);

        return o && json_object_object_add(to, name, o) == 0 ? 0 : -ENOMEM;
}

static const char *text_of(json_object *o, const char *name) {
        json_object *v = NULL;

        return json_object_object_get_ex(o, name, &v) && json_object_is_type(v, json_type_string)
                       ? json_object_get_string(v)
                       : "";
}

static uint64_t number_of(json_object *o, const char *name) {
        json_object *v = NULL;

        return json_object_object_get_ex(o, name, &v) ? json_object_get_uint64(v) : 0;
}

/* -- patches -- */

static json_object *patch_json(const ContainerPatch *patch) {
        json_object *o = json_object_new_object(), *disks = json_object_new_array();
        int r = o && disks ? 0 : -ENOMEM;

        if (r == 0)
                r = add_text(o, "source", patch->source_id);
        if (r == 0)
                r = add_text(o, "id", patch->id);
        for (size_t i = 0; r == 0 && i < patch->n_disks; i++) {
                json_object *path = json_object_new_string(patch->disk_paths[i]);

                r = path && json_object_array_add(disks, path) == 0 ? 0 : -ENOMEM;
        }
        if (r == 0 && json_object_object_add(o, "disks", disks) == 0)
                return o;
        json_object_put(disks);
        json_object_put(o);
        return NULL;
}

int migrate_note_patch(Migrate *m, const ContainerPatch *patch, Error *reterr) {
        json_object *o = patch_json(patch);

        if (!o)
                return error_oom(reterr);
        if (!m->patches)
                m->patches = json_object_new_object();
        /* by the source's id: a patch that is repeated replaces the one before */
        if (!m->patches || json_object_object_add(m->patches, patch->source_id, o) != 0) {
                json_object_put(o);
                return error_oom(reterr);
        }
        return 0;
}

static int replay_one(Migrate *m, json_object *o, Error *reterr) {
        json_object *disks = NULL;
        ContainerPatch patch;
        const char **paths;
        size_t n;
        int r;

        if (!json_object_object_get_ex(o, "disks", &disks) ||
            !json_object_is_type(disks, json_type_array))
                return error_setf(reterr, -EBADMSG, "what was kept: a patch without disks");
        n = json_object_array_length(disks);
        paths = calloc(MAX_OF(n, (size_t)1), sizeof(*paths));
        if (!paths)
                return error_oom(reterr);
        for (size_t i = 0; i < n; i++) {
                const char *path = json_object_get_string(json_object_array_get_idx(disks, i));

                paths[i] = path ?: "";
        }
        patch = (ContainerPatch){ .source_id = text_of(o, "source"),
                                  .id = text_of(o, "id"),
                                  .bundle = "",
                                  .log_path = "",
                                  .disk_paths = paths,
                                  .n_disks = n };
        r = pod_patch_container(m->shim->pod, &patch, reterr);
        free(paths);
        return r;
}

int migrate_replay_patches(Migrate *m, Error *reterr) {
        if (!m->patches)
                return 0;
        json_object_object_foreach(m->patches, source_id, o) {
                int r = replay_one(m, o, reterr);

                if (r < 0)
                        return error_prefix(reterr, r, "container %.80s", source_id);
        }
        return 0;
}

/* -- the session -- */

static int add_option(void *userdata, const char *name, const char *value, const char *help) {
        return add_text(userdata, name, value);
}

static int fill(const Migrate *m, json_object *o) {
        JournalRecord r = {};
        json_object *options;

        migration_identity(m->migration, &r);
        if (add_text(o, "role", migration_role_name(migration_role(m->migration))) < 0 ||
            add_text(o, "session", r.session) < 0 || add_text(o, "pod", r.pod) < 0 ||
            add_text(o, "peer", r.peer) < 0 || add_number(o, "epoch", r.epoch) < 0 ||
            (m->qemu_pid > 0 && add_number(o, "qemu", (uint64_t)m->qemu_pid) < 0))
                return -ENOMEM;
        options = json_object_new_object();
        if (!options || json_object_object_add(o, "options", options) != 0) {
                json_object_put(options);
                return -ENOMEM;
        }
        if (m->network.path && (add_text(o, "network", m->network.path) < 0 ||
                                add_number(o, "network_mode", (uint64_t)m->network.mode) < 0))
                return -ENOMEM;
        if (m->patches && json_object_object_add(o, "patches", json_object_get(m->patches)) != 0) {
                json_object_put(m->patches);
                return -ENOMEM;
        }
        return migration_options_each(&m->options, add_option, options);
}

int migrate_keep_session(Migrate *m, Error *reterr) {
        json_object *o = json_object_new_object();
        const char *text = NULL;

        if (migration_role(m->migration) == MIGRATION_SOURCE)
                migrate_forget_kept(m); /* how it came here once */
        if (o && fill(m, o) == 0)
                text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        free(m->kept);
        m->kept = text ? strdup(text) : NULL;
        json_object_put(o);
        if (!m->kept)
                return error_oom(reterr);
        keep_now(m->shim->keep);
        return 0;
}

const char *migrate_kept_session(const Migrate *m) {
        return m->kept ?: "";
}

bool migrate_kept_tree(const Migrate *m, const Buf **ret_vm, const Buf **ret_pod) {
        if (m->imported[0].len == 0 || !m->kept || !m->shim->vm)
                return false;
        *ret_vm = &m->imported[0];
        *ret_pod = &m->imported[1];
        return true;
}

void migrate_forget_kept(Migrate *m) {
        for (size_t i = 0; i < ELEMENTSOF(m->imported); i++)
                buf_done(&m->imported[i]);
        json_object_put(TAKE(m->patches));
        free(TAKE(m->kept));
}

void migrate_forget_came(Migrate *m) {
        if (m->imported[0].len > 0 && !migration_is_active(m->migration))
                migrate_forget_kept(m);
}

/* -- and back -- */

static int read_options(Migrate *m, json_object *o, Error *reterr) {
        json_object *options = NULL;

        if (!json_object_object_get_ex(o, "options", &options) ||
            !json_object_is_type(options, json_type_object))
                return error_setf(reterr, -EBADMSG, "what was kept: a session without options");
        json_object_object_foreach(options, name, value) {
                const char *text = json_object_get_string(value);
                int r = migration_options_set(&m->options, name, text ?: "", reterr);

                if (r < 0)
                        return error_prefix(reterr, r, "what was kept");
        }
        return 0;
}

static int read_object(Migrate *m, json_object *o, KeptSession *ret, Error *reterr) {
        const char *texts[] = { text_of(o, "session"), text_of(o, "pod"), text_of(o, "peer") };
        char *to[] = { ret->session.session, ret->session.pod, ret->session.peer };
        json_object *patches = NULL;
        int r;

        r = id_check("what was kept: session", texts[0], reterr);
        if (r == 0)
                r = id_check("what was kept: pod", texts[1], reterr);
        if (r == 0)
                r = read_options(m, o, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                (void)snprintf(to[i], JOURNAL_NAME_MAX, "%s", texts[i]);
        ret->session.epoch = number_of(o, "epoch");
        ret->session.mode = (uint8_t)m->options.handover;
        ret->destination = strcmp(text_of(o, "role"), "destination") == 0;
        m->qemu_pid = (pid_t)MIN_OF(number_of(o, "qemu"), (uint64_t)INT32_MAX);
        if (text_of(o, "network")[0]) {
                r = path_check_or_empty("what was kept: network", text_of(o, "network"), reterr);
                if (r < 0)
                        return r;
                m->network.path = strdup(text_of(o, "network"));
                if (!m->network.path)
                        return error_oom(reterr);
                m->network.mode = number_of(o, "network_mode") == NETWORK_REBIND ? NETWORK_REBIND
                                                                                 : NETWORK_KEEP;
        }
        if (json_object_object_get_ex(o, "patches", &patches) &&
            json_object_is_type(patches, json_type_object))
                m->patches = json_object_get(patches);
        return 0;
}

int migrate_read_kept(Migrate *m, const Buf *text, KeptSession *ret, Error *reterr) {
        _cleanup_free_ char *copy = NULL;
        json_object *o;
        int r;

        *ret = (KeptSession){};
        if (text->len == 0)
                return 0;
        copy = buf_text(text->data, text->len);
        if (!copy)
                return error_oom(reterr);
        o = json_tokener_parse(copy);
        if (!o || !json_object_is_type(o, json_type_object))
                r = error_setf(reterr, -EBADMSG, "what was kept of the session is not readable");
        else
                r = read_object(m, o, ret, reterr);
        json_object_put(o);
        if (r == 0)
                m->kept = TAKE(copy);
        return r < 0 ? r : 1;
}
