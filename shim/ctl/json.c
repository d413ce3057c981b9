/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/json.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 64

int json_add(json_object *o, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(o, key, value) < 0) {
                (void)json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int json_append(json_object *array, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_array_add(array, value) < 0) {
                (void)json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int json_add_string(json_object *o, const char *key, const char *value) {
        return json_add(o, key, json_object_new_string(value));
}

int json_read(const char *text, size_t n, json_object **ret, Error *reterr) {
        json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
        enum json_tokener_error e;
        json_object *o;

        if (!t)
                return error_oom(reterr);
        json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = n > INT_MAX ? NULL : json_tokener_parse_ex(t, text, (int)n);
        e = n > INT_MAX ? json_tokener_error_size : json_tokener_get_error(t);
        if (e == json_tokener_continue && o == NULL && n <= INT_MAX) {
                /* a bare number needs to be told that there is no more */
                o = json_tokener_parse_ex(t, "\n", 1);
                e = json_tokener_get_error(t);
        }
        if (e != json_tokener_success || !o) {
                (void)error_setf(reterr, -EBADMSG, "no JSON at byte %zu: %s",
                                 json_tokener_get_parse_end(t),
                                 e == json_tokener_success ? "null" : json_tokener_error_desc(e));
                json_tokener_free(t);
                (void)json_object_put(o);
                return -EBADMSG;
        }
        json_tokener_free(t);
        *ret = o;
        return 0;
}

json_object *json_get(json_object *o, const char *key) {
        json_object *value;

        if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &value))
                return NULL;
        return value;
}

const char *json_get_text(json_object *o, const char *key) {
        json_object *value = json_get(o, key);

        return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

int64_t json_get_number(json_object *o, const char *key) {
        return json_object_get_int64(json_get(o, key));
}

json_object *json_get_array(json_object *o, const char *key) {
        json_object *value = json_get(o, key);

        return json_object_is_type(value, json_type_array) ? value : NULL;
}

void json_print(json_object *o, bool pretty) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
                    (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
                            : JSON_C_TO_STRING_PLAIN);

        (void)puts(json_object_to_json_string_ext(o, flags) ?: "null");
}

json_object *json_find_kind(json_object *node, const char *kind) {
        json_object *children = json_get_array(node, "children"), *child;

        if (strcmp(json_get_text(node, "kind"), kind) == 0)
                return node;
        for (JSON_EACH(i, children, child)) {
                json_object *found = json_find_kind(child, kind);

                if (found)
                        return found;
        }
        return NULL;
}
