/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* What a host says of itself, as JSON from wherever: the one typed, bounded reader of it. A table
 * says which keys count; others are ignored, since they may be of a later version; what is wrong is
 * refused by name, and what is not there is unknown: "", CHECK_NUMBER_UNKNOWN, CHECK_UNKNOWN. */
#define CHECK_NUMBER_UNKNOWN UINT64_MAX

typedef enum CheckAnswer {
        CHECK_UNKNOWN,
        CHECK_NO,
        CHECK_YES,
} CheckAnswer;

typedef enum FactsKind {
        FACTS_TEXT,   /* const char *, borrowed from the document */
        FACTS_NUMBER, /* uint64_t */
        FACTS_ANSWER, /* CheckAnswer */
} FactsKind;

typedef struct FactsField {
        const char *key;
        FactsKind kind;
        size_t offset;
} FactsField;

#define FACTS_FIELD(type, member, kind, key)                                                       \
        { key, FACTS_##kind, offsetof(type, member) }

/* One object of at most max bytes, a few levels deep; the caller owns it. -EBADMSG, -EINVAL: too
 * long. */
int facts_parse(const char *text, size_t max, json_object **ret, Error *reterr);
/* A string of no more than 512 bytes (a path's length for "path" and "there") without control
 * characters. Here and below: -EINVAL says what is wrong. */
int facts_read_text(json_object *v, const char *what, const char **ret, Error *reterr);
/* The object `name` in o into *base, which the fields describe. */
int facts_read_part(json_object *o, const char *name, const FactsField *fields, size_t n,
                    void *base, Error *reterr);
/* A list of objects into an array of `size` bytes each, at most max. */
int facts_read_list(json_object *o, const char *name, const FactsField *fields, size_t n_fields,
                    void *base, size_t size, size_t max, size_t *ret_n, Error *reterr);
