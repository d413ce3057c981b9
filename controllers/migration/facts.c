/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/migration/facts.h"

#include <string.h>

#include "controllers/checks.h"

#define TEXT_MAX  512U
#define DEPTH_MAX 12

static const char *const type_names[] = { "a text", "a number", "true or false" };

static void put_unknown(const FactsField *f, void *base) {
        const uint64_t number = CHECK_NUMBER_UNKNOWN;
        const CheckAnswer answer = CHECK_UNKNOWN;
        const char *text = "";
        char *at = (char *)base + f->offset;

        if (f->kind == FACTS_TEXT)
                memcpy(at, &text, sizeof(text));
        else if (f->kind == FACTS_NUMBER)
                memcpy(at, &number, sizeof(number));
        else
                memcpy(at, &answer, sizeof(answer));
}

int facts_read_text(json_object *v, const char *what, const char **ret, Error *reterr) {
        size_t limit =
                strcmp(what, "path") == 0 || strcmp(what, "there") == 0 ? PATH_LEN_MAX : TEXT_MAX;
        const char *text = json_object_get_string(v);

        if (strlen(text) != (size_t)json_object_get_string_len(v))
                return error_setf(reterr, -EINVAL, "%s: a NUL in it", what);
        *ret = text;
        return text_check(what, text, limit, reterr);
}

static int put_value(const FactsField *f, json_object *v, void *base, Error *reterr) {
        static const json_type types[] = { json_type_string, json_type_int, json_type_boolean };
        char *at = (char *)base + f->offset;

        if (!json_object_is_type(v, types[f->kind]))
                return error_setf(reterr, -EINVAL, "%s is not %s", f->key, type_names[f->kind]);
        if (f->kind == FACTS_TEXT) {
                const char *text;
                int r = facts_read_text(v, f->key, &text, reterr);

                if (r == 0)
                        memcpy(at, &text, sizeof(text));
                return r;
        }
        if (f->kind == FACTS_NUMBER) {
                uint64_t number = json_object_get_uint64(v);

                if (json_object_get_int64(v) < 0)
                        return error_setf(reterr, -EINVAL, "%s is below 0", f->key);
                memcpy(at, &number, sizeof(number));
                return 0;
        }
        memcpy(at, &(CheckAnswer){ json_object_get_boolean(v) ? CHECK_YES : CHECK_NO },
               sizeof(CheckAnswer));
        return 0;
}

static int read_fields(json_object *o, const FactsField *fields, size_t n, void *base,
                       Error *reterr) {
        for (size_t i = 0; i < n; i++)
                put_unknown(&fields[i], base);
        for (size_t i = 0; o && i < n; i++) {
                json_object *v = NULL;
                int r;

                if (!json_object_object_get_ex(o, fields[i].key, &v))
                        continue;
                r = put_value(&fields[i], v, base, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}

int facts_read_part(json_object *o, const char *name, const FactsField *fields, size_t n,
                    void *base, Error *reterr) {
        json_object *part = NULL;
        int r;

        if (json_object_object_get_ex(o, name, &part) &&
            !json_object_is_type(part, json_type_object))
                return error_setf(reterr, -EINVAL, "facts: %s is not an object", name);
        r = read_fields(part, fields, n, base, reterr);
        return r < 0 ? error_prefix(reterr, r, "facts: %s", name) : 0;
}

int facts_read_list(json_object *o, const char *name, const FactsField *fields, size_t n_fields,
                    void *base, size_t size, size_t max, size_t *ret_n, Error *reterr) {
        json_object *list = NULL;
        size_t n;

        *ret_n = 0;
        if (!json_object_object_get_ex(o, name, &list))
                return 0;
        if (!json_object_is_type(list, json_type_array))
                return error_setf(reterr, -EINVAL, "facts: %s is not a list", name);
        n = json_object_array_length(list);
        if (n > max)
                return error_setf(reterr, -EINVAL, "facts: %s: %zu of them, at most %zu", name, n,
                                  max);
        for (size_t i = 0; i < n; i++) {
                json_object *e = json_object_array_get_idx(list, i);
                int r;

                if (!json_object_is_type(e, json_type_object))
                        return error_setf(reterr, -EINVAL, "facts: %s: not objects", name);
                r = read_fields(e, fields, n_fields, (char *)base + i * size, reterr);
                if (r < 0)
                        return error_prefix(reterr, r, "facts: %s", name);
        }
        *ret_n = n;
        return 0;
}

int facts_parse(const char *text, size_t max, json_object **ret, Error *reterr) {
        struct json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
        size_t n = strnlen(text, max + 1U);
        json_object *o = NULL;

        if (!t)
                return error_oom(reterr);
        if (n <= max) {
                json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
                o = json_tokener_parse_ex(t, text, (int)n + 1);
        }
        json_tokener_free(t);
        if (n > max)
                return error_setf(reterr, -EINVAL, "facts: longer than %zu bytes", max);
        if (!json_object_is_type(o, json_type_object)) {
                (void)json_object_put(o);
                return error_setf(reterr, -EBADMSG, "facts: not a JSON object");
        }
        *ret = o;
        return 0;
}
