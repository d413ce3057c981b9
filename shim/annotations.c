/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/annotations.h"

#include <string.h>

#include "lib/cleanup.h"

static const char prefix[] = "org.podferry.migration.";

/* The name of the option, or NULL. "source" is none: it says what a container is a copy of. */
static const char *option_name(const char *annotation) {
        const char *name = annotation + strlen(prefix);

        return strncmp(annotation, prefix, strlen(prefix)) == 0 && strcmp(name, "source") != 0
                       ? name
                       : NULL;
}

/* How the hosts speak to each other is theirs to say, not that of what they carry. */
static bool is_of_host(const char *name) {
        static const char *const names[] = { "transport", "migrate_uri", "allow_plaintext" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static void annotation_done(Annotation *a) {
        free(a->container);
        free(a->name);
        free(a->value);
}

void annotations_done(Annotations *a) {
        for (size_t i = 0; i < a->n; i++)
                annotation_done(&a->list[i]);
        free(a->list);
        *a = (Annotations){};
}

static int add(Annotations *a, const char *container, const char *name, const char *value,
               Error *reterr) {
        Annotation *grown, one = {};

        if (a->n >= ANNOTATIONS_MAX)
                return error_setf(reterr, -ENOSPC, "more than %u options of migrations in a pod",
                                  ANNOTATIONS_MAX);
        grown = reallocarray(a->list, a->n + 1, sizeof(*grown));
        if (!grown)
                return error_oom(reterr);
        a->list = grown;
        one = (Annotation){ strdup(container), strdup(name), strdup(value) };
        if (!one.container || !one.name || !one.value) {
                annotation_done(&one);
                return error_oom(reterr);
        }
        grown[a->n++] = one;
        return 0;
}

static int check_one(const char *name, json_object *value, Error *reterr) {
        MigrationOptions scratch;

        if (!json_object_is_type(value, json_type_string))
                return error_setf(reterr, -EINVAL, "the value is not a string");
        if (is_of_host(name))
                return error_setf(reterr, -EINVAL,
                                  "option %s is of the hosts: it is taken from the configuration "
                                  "and the call only",
                                  name);
        migration_options_init(&scratch);
        return migration_options_set_by(&scratch, MIGRATION_BY_ANNOTATION, name,
                                        json_object_get_string(value), reterr);
}

/* Two containers move together, so they cannot want it in two ways. */
static int check_others(const Annotations *a, const char *container, const char *name,
                        const char *value, Error *reterr) {
        for (size_t i = 0; i < a->n; i++) {
                const Annotation *o = &a->list[i];

                if (strcmp(o->container, container) != 0 && strcmp(o->name, name) == 0 &&
                    strcmp(o->value, value) != 0)
                        return error_setf(reterr, -EINVAL,
                                          "container %s of this pod says \"%.60s\", not \"%.60s\"",
                                          o->container, o->value, value);
        }
        return 0;
}

static int add_all(Annotations *a, const char *container, json_object *annotations, Error *reterr) {
        json_object_object_foreach(annotations, key, value) {
                const char *name = option_name(key);
                int r;

                if (!name)
                        continue;
                r = check_one(name, value, reterr);
                if (r == 0)
                        r = check_others(a, container, name, json_object_get_string(value), reterr);
                if (r == 0)
                        r = add(a, container, name, json_object_get_string(value), reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "annotation %.100s", key);
        }
        return 0;
}

static int copy_others(const Annotations *from, const char *container, Annotations *to,
                       Error *reterr) {
        for (size_t i = 0; i < from->n; i++) {
                const Annotation *o = &from->list[i];
                int r = strcmp(o->container, container) == 0
                                ? 0
                                : add(to, o->container, o->name, o->value, reterr);

                if (r < 0)
                        return r;
        }
        return 0;
}

int annotations_take(Annotations *a, const char *container, json_object *config,
                     const MigrationOptions *below, Error *reterr) {
        _cleanup_annotations_ Annotations fresh = {};
        json_object *annotations = NULL;
        MigrationOptions all;
        int r;

        r = copy_others(a, container, &fresh, reterr);
        if (r == 0 && json_object_object_get_ex(config, "annotations", &annotations) &&
            json_object_is_type(annotations, json_type_object))
                r = add_all(&fresh, container, annotations, reterr);
        if (r == 0 && below && fresh.n > 0) {
                annotations_lay(&fresh, below, &all);
                r = migration_options_check(&all, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "annotations %s", prefix);
        }
        if (r < 0)
                return r;
        annotations_done(a);
        *a = fresh;
        fresh = (Annotations){};
        return 0;
}

void annotations_drop(Annotations *a, const char *container) {
        size_t kept = 0;

        for (size_t i = 0; i < a->n; i++)
                if (strcmp(a->list[i].container, container) == 0)
                        annotation_done(&a->list[i]);
                else
                        a->list[kept++] = a->list[i];
        a->n = kept;
}

static bool knows(const Annotations *a, size_t n, const char *container) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(a->list[i].container, container) == 0)
                        return true;
        return false;
}

void annotations_merge(Annotations *a, Annotations *from) {
        size_t before = a->n;

        for (size_t i = 0; i < from->n; i++) {
                const Annotation *o = &from->list[i];

                if (!knows(a, before, o->container))
                        (void)add(a, o->container, o->name, o->value, NULL);
        }
        annotations_done(from);
}

void annotations_lay(const Annotations *a, const MigrationOptions *below, MigrationOptions *ret) {
        migration_options_init(ret);
        for (size_t i = 0; i < a->n; i++) /* each was tried when it was taken */
                (void)migration_options_set_by(ret, MIGRATION_BY_ANNOTATION, a->list[i].name,
                                               a->list[i].value, NULL);
        migration_options_lay_under(ret, below);
}
