/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/checks.h"

#include <assert.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

static bool has_control(const char *s) {
        for (; *s; s++)
                if ((unsigned char)*s < 0x20 || *s == 0x7f)
                        return true;
        return false;
}

static bool component_is_bad(const char *p, size_t n) {
        return n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.');
}

int path_check(const char *what, const char *path, Error *reterr) {
        if (!path || !path[0])
                return error_setf(reterr, -EINVAL, "%s is empty", what);
        if (strlen(path) > PATH_LEN_MAX)
                return error_setf(reterr, -EINVAL, "%s is %zu bytes long, at most %u allowed", what,
                                  strlen(path), PATH_LEN_MAX);
        if (has_control(path))
                return error_setf(reterr, -EINVAL, "%s has a control character in it", what);
        if (path[0] != '/')
                return error_setf(reterr, -EINVAL, "%s \"%.200s\" is not absolute", what, path);
        if (strcmp(path, "/") == 0)
                return 0;
        for (const char *p = path; *p;) {
                size_t n = strcspn(++p, "/");

                if (component_is_bad(p, n))
                        return error_setf(reterr, -EINVAL,
                                          "%s \"%.200s\" is not normalised: it has an empty, "
                                          "\".\" or \"..\" component",
                                          what, path);
                p += n;
        }
        return 0;
}

int path_check_or_empty(const char *what, const char *path, Error *reterr) {
        return !path || !path[0] ? 0 : path_check(what, path, reterr);
}

int text_check(const char *what, const char *text, size_t max, Error *reterr) {
        if (!text)
                return error_setf(reterr, -EINVAL, "%s is missing", what);
        if (strlen(text) > max)
                return error_setf(reterr, -EINVAL, "%s is %zu bytes long, at most %zu allowed",
                                  what, strlen(text), max);
        if (has_control(text))
                return error_setf(reterr, -EINVAL, "%s has a control character in it", what);
        return 0;
}

int json_object_check(const char *what, const char *text, size_t max, Error *reterr) {
        enum json_tokener_error e;
        json_object *o;
        bool is_object;

        if (!text || !text[0])
                return error_setf(reterr, -EINVAL, "%s is empty", what);
        if (strlen(text) > max)
                return error_setf(reterr, -EINVAL, "%s is %zu bytes long, at most %zu allowed",
                                  what, strlen(text), max);
        o = json_tokener_parse_verbose(text, &e);
        is_object = json_object_is_type(o, json_type_object);
        json_object_put(o);
        if (e != json_tokener_success)
                return error_setf(reterr, -EINVAL, "%s is not JSON: %s", what,
                                  json_tokener_error_desc(e));
        if (!is_object)
                return error_setf(reterr, -EINVAL, "%s is not a JSON object", what);
        return 0;
}

static int hex_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int digest_check(const char *what, const char *digest, Error *reterr) {
        size_t n = digest ? strlen(digest) : 0;

        if (n != 7 + 2 * DIGEST_BYTES || strncmp(digest, "sha256:", 7) != 0)
                return error_setf(reterr, -EINVAL,
                                  "%s \"%.100s\" is not \"sha256:\" and 64 hex digits", what,
                                  digest ?: "");
        for (size_t i = 7; i < n; i++)
                if (hex_value(digest[i]) < 0)
                        return error_setf(reterr, -EINVAL,
                                          "%s \"%s\" is not \"sha256:\" and 64 hex digits", what,
                                          digest);
        return 0;
}

int digest_check_or_empty(const char *what, const char *digest, Error *reterr) {
        return !digest || !digest[0] ? 0 : digest_check(what, digest, reterr);
}

void digest_to_bytes(const char *digest, uint8_t ret[DIGEST_BYTES]) {
        assert(strlen(digest) == 7 + 2 * DIGEST_BYTES);
        for (size_t i = 0; i < DIGEST_BYTES; i++)
                ret[i] = (uint8_t)(hex_value(digest[7 + 2 * i]) << 4 |
                                   hex_value(digest[7 + 2 * i + 1]));
}

void digest_from_bytes(const uint8_t bytes[DIGEST_BYTES], char ret[7 + 64 + 1]) {
        static const char hex[] = "0123456789abcdef";

        memcpy(ret, "sha256:", 7);
        for (size_t i = 0; i < DIGEST_BYTES; i++) {
                ret[7 + 2 * i] = hex[bytes[i] >> 4];
                ret[7 + 2 * i + 1] = hex[bytes[i] & 15];
        }
        ret[7 + 2 * DIGEST_BYTES] = '\0';
}

size_t strv_len(const char *const *v) {
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

char **strv_free(char **v) {
        for (char **p = v; p && *p; p++)
                free(*p);
        free(v);
        return NULL;
}

int strv_copy(const char *const *v, char ***ret) {
        _cleanup_(strv_freep) char **copy = NULL;
        size_t n = strv_len(v);

        if (n == 0) {
                *ret = NULL;
                return 0;
        }
        copy = calloc(n + 1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                copy[i] = strdup(v[i]);
                if (!copy[i])
                        return -ENOMEM;
        }
        *ret = TAKE(copy);
        return 0;
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_sort(char **v) {
        size_t n = strv_len((const char *const *)v);

        if (n > 1)
                qsort(v, n, sizeof(*v), compare_strings);
}

static bool strv_contains(const char *const *v, const char *s) {
        for (; v && *v; v++)
                if (strcmp(*v, s) == 0)
                        return true;
        return false;
}

static bool is_subset(const char *const *a, const char *const *b) {
        for (; a && *a; a++)
                if (!strv_contains(b, *a))
                        return false;
        return true;
}

bool strv_same_set(const char *const *a, const char *const *b) {
        return is_subset(a, b) && is_subset(b, a);
}
