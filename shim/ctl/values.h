/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* Values on the command line. All of them: -EINVAL with a text that shows the value and says what
 * is expected; nothing is allocated then. */

/* "512M", "2G", "1048576", also with "iB" or "B" after the letter: bytes. */
int value_size(const char *text, uint64_t *ret, Error *reterr);
/* "90", "90s", "500ms", "2m", "1h": milliseconds. */
int value_duration(const char *text, uint64_t *ret_ms, Error *reterr);
int value_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret, Error *reterr);
/* "9", "KILL", "SIGKILL". */
int value_signal(const char *text, uint32_t *ret, Error *reterr);
/* "1000" or "1000:100"; the group is the user's number if it is not given. */
int value_user(const char *text, uint32_t *ret_uid, uint32_t *ret_gid, Error *reterr);

/* "POD" or "POD/CONTAINER"; both are checked as ids; *ret_container is NULL without one. */
int value_target(const char *text, char **ret_pod, char **ret_container, Error *reterr);

/* A command line as a shell splits it into words, with quotes and backslashes and nothing else: no
 * variables, no patterns. NULL-terminated; free with words_free(). */
int value_words(const char *text, char ***ret, Error *reterr);
char **words_free(char **words);
DEFINE_CLEANUP(char **, words_free);
/* Appends a copy; *words may be NULL at first. -ENOMEM. */
int words_add(char ***words, const char *word);
size_t words_count(char *const *words);
/* A word as a shell would read it back; the caller owns it; NULL: out of memory. */
char *word_quote(const char *word);

bool text_is_utf8(const char *s);
