/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* Checks of strings and numbers that come from outside (a caller, an envelope), and copies of
 * string lists. `what` names the field in the error. */

#define PATH_LEN_MAX 4095U
#define TEXT_LEN_MAX 4095U
#define DIGEST_BYTES 32U

/* Absolute, normalised (no empty, "." or ".." component, no slash at the end), no control
 * characters, at most PATH_LEN_MAX bytes. "/" alone passes. -EINVAL. */
int path_check(const char *what, const char *path, Error *reterr);
/* As path_check, or empty. */
int path_check_or_empty(const char *what, const char *path, Error *reterr);
/* Printable, no control characters, at most max bytes. May be empty. -EINVAL. */
int text_check(const char *what, const char *text, size_t max, Error *reterr);
/* Valid UTF-8 JSON object of at most max bytes. -EINVAL. */
int json_object_check(const char *what, const char *text, size_t max, Error *reterr);

/* "sha256:" and 64 lower-case hex digits. -EINVAL. */
int digest_check(const char *what, const char *digest, Error *reterr);
int digest_check_or_empty(const char *what, const char *digest, Error *reterr);
void digest_to_bytes(const char *digest, uint8_t ret[DIGEST_BYTES]); /* a checked one */
void digest_from_bytes(const uint8_t bytes[DIGEST_BYTES], char ret[7 + 64 + 1]);

/* Lists of strings that end with NULL; NULL is an empty list. */
size_t strv_len(const char *const *v);
char **strv_free(char **v);
DEFINE_CLEANUP(char **, strv_free);
int strv_copy(const char *const *v, char ***ret); /* *ret NULL for an empty list; -ENOMEM */
void strv_sort(char **v);
bool strv_same_set(const char *const *a, const char *const *b);
