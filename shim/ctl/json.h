/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* json-c with our habits: owned locals are released, building says -ENOMEM, reading never fails on
 * what is missing (documents of the shim, which may be of another version). */
static inline void json_putp(json_object **o) {
        if (*o)
                (void)json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

/* Take `value` in every case, also NULL, which is -ENOMEM. */
int json_add(json_object *o, const char *key, json_object *value);
int json_append(json_object *array, json_object *value);
int json_add_string(json_object *o, const char *key, const char *value);

/* Strict: one document, at most 32 deep, nothing after it. -EBADMSG with the place. */
int json_read(const char *text, size_t n, json_object **ret, Error *reterr);

json_object *json_get(json_object *o, const char *key);     /* borrowed; NULL: not there */
const char *json_get_text(json_object *o, const char *key); /* "" if it is not there */
int64_t json_get_number(json_object *o, const char *key);   /* 0 */
/* In a dump of the shim's: the first descendant of a kind, borrowed; NULL. */
json_object *json_find_kind(json_object *node, const char *kind);
json_object *json_get_array(json_object *o, const char *key); /* NULL */
#define JSON_EACH(i, array, element)                                                               \
        size_t i = 0, _n = (array) ? json_object_array_length(array) : 0;                          \
        i < _n && (((element) = json_object_array_get_idx((array), i)), true);                     \
        i++

/* One line on stdout, or several for people. */
void json_print(json_object *o, bool pretty);
