/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/migrate/migrate-options.h"

#include <string.h>

#include "lib/cleanup.h"

static int add_text(json_object *o, const char *key, const char *value) {
        json_object *text = json_object_new_string(value);

        if (!text || json_object_object_add(o, key, text) < 0) {
                (void)json_object_put(text);
                return -ENOMEM;
        }
        return 0;
}

typedef struct List {
        const MigrationOptions *options;
        json_object *array;
} List;

static int add_option(void *userdata, const char *name, const char *value, const char *help) {
        List *l = userdata;
        json_object *o = json_object_new_object();
        const char *from = migration_origin_name(migration_options_origin(l->options, name));

        if (!o || add_text(o, "name", name) < 0 || add_text(o, "value", value) < 0 ||
            add_text(o, "from", from) < 0 || json_object_array_add(l->array, o) < 0) {
                (void)json_object_put(o);
                return -ENOMEM;
        }
        return 0;
}

json_object *migrate_options_json(const MigrationOptions *o) {
        List l = { o, json_object_new_array() };

        if (l.array && migration_options_each(o, add_option, &l) < 0) {
                (void)json_object_put(l.array);
                return NULL;
        }
        return l.array;
}

static const char *text_of(json_object *o, const char *key) {
        json_object *v = NULL;

        if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v) ||
            !json_object_is_type(v, json_type_string))
                return NULL;
        return json_object_get_string(v);
}

static int read_origin(const char *name, MigrationOrigin *ret) {
        for (int i = 0; i < _MIGRATION_ORIGIN_MAX; i++)
                if (strcmp(migration_origin_name(i), name) == 0) {
                        *ret = i;
                        return 0;
                }
        return -EINVAL;
}

static int read_one(json_object *o, MigrationOptions *ret, Error *reterr) {
        const char *name = text_of(o, "name"), *value = text_of(o, "value"),
                   *from = text_of(o, "from");
        MigrationOrigin origin;

        if (!name || !value || !from || read_origin(from, &origin) < 0)
                return error_setf(reterr, -EINVAL,
                                  "source_options: an entry without name, value and from");
        /* Nobody asked for it, so it is as if this host did not know it. */
        return origin == MIGRATION_BY_DEFAULT
                       ? 0
                       : migration_options_set_by(ret, origin, name, value, reterr);
}

static int read_list(json_object *list, MigrationOptions *o, Error *reterr) {
        size_t n;
        int r = 0;

        if (!json_object_is_type(list, json_type_array))
                return error_setf(reterr, -EINVAL, "source_options: not a list");
        n = json_object_array_length(list);
        if (n > 2 * MIGRATION_OPTIONS_MAX)
                return error_setf(reterr, -EINVAL, "source_options: %zu of them, at most %u", n,
                                  2 * MIGRATION_OPTIONS_MAX);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = read_one(json_object_array_get_idx(list, i), o, reterr);
        return r;
}

int migrate_options_read(const char *text, MigrationOptions *o, Error *reterr) {
        MigrationOptions read;
        json_object *list;
        int r;

        if (strlen(text) > MIGRATE_OPTIONS_MAX)
                return error_setf(reterr, -EINVAL, "source_options: longer than %u bytes",
                                  MIGRATE_OPTIONS_MAX);
        list = json_tokener_parse(text);
        migration_options_init(&read);
        r = read_list(list, &read, reterr);
        (void)json_object_put(list);
        if (r == 0)
                *o = read;
        return r;
}

int migrate_options_agree(const MigrationOptions *mine, json_object *theirs, Error *reterr) {
        MigrationOptions o;
        const char *what;
        int r;

        if (!theirs)
                return 0;
        migration_options_init(&o);
        r = read_list(theirs, &o, reterr);
        if (r < 0)
                return error_prefix(reterr, r, "the ticket");
        what = o.handover != mine->handover                               ? "handover"
               : o.postcopy != mine->postcopy                             ? "post_copy"
               : (o.transport[0] != '\0') != (mine->transport[0] != '\0') ? "transport"
                                                                          : NULL;
        return what ? error_setf(reterr, -EINVAL,
                                 "option %s: the destination was prepared with another value; give "
                                 "both sides the same",
                                 what)
                    : 0;
}
