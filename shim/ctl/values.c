/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/values.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "controllers/ids.h"
#include "lib/duration.h"

/* Digits at the start of text; the rest goes to *ret_rest. */
static int digits(const char *text, uint64_t *ret, const char **ret_rest) {
        char *end;

        if (!isdigit((unsigned char)*text))
                return -EINVAL;
        errno = 0;
        *ret = strtoull(text, &end, 10);
        *ret_rest = end;
        return errno != 0 ? -EINVAL : 0;
}

int value_size(const char *text, uint64_t *ret, Error *reterr) {
        static const char letters[] = "KMGT";
        const char *rest, *at;
        uint64_t n;
        unsigned shift = 0;

        if (digits(text, &n, &rest) < 0)
                goto bad;
        at = *rest ? strchr(letters, toupper((unsigned char)*rest)) : NULL;
        if (at) {
                shift = 10 * (unsigned)(at - letters + 1);
                rest++;
                if (*rest == 'i')
                        rest++;
        }
        if (toupper((unsigned char)*rest) == 'B')
                rest++;
        if (*rest || n > UINT64_MAX >> shift)
                goto bad;
        *ret = n << shift;
        return 0;
bad:
        return error_setf(reterr, -EINVAL, "\"%.60s\" is no size: a number, then K, M, G or T",
                          text);
}

int value_duration(const char *text, uint64_t *ret_ms, Error *reterr) {
        return duration_parse(text, ret_ms, reterr);
}

int value_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret, Error *reterr) {
        const char *rest;
        uint64_t n;

        if (digits(text, &n, &rest) < 0 || *rest || n < min || n > max)
                return error_setf(reterr, -EINVAL,
                                  "\"%.60s\" is no number from %" PRIu64 " to %" PRIu64, text, min,
                                  max);
        *ret = n;
        return 0;
}

int value_signal(const char *text, uint32_t *ret, Error *reterr) {
        const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
        uint64_t n;

        if (value_number(text, 1, 64, &n, NULL) == 0) {
                *ret = (uint32_t)n;
                return 0;
        }
        for (int i = 1; i < NSIG; i++) {
                const char *abbreviation = sigabbrev_np(i);

                if (abbreviation && strcasecmp(abbreviation, name) == 0) {
                        *ret = (uint32_t)i;
                        return 0;
                }
        }
        return error_setf(reterr, -EINVAL,
                          "\"%.60s\" is no signal: TERM, KILL, HUP, ... or 1 to 64", text);
}

int value_user(const char *text, uint32_t *ret_uid, uint32_t *ret_gid, Error *reterr) {
        uint64_t uid = 0, gid = 0;
        const char *rest;
        int r;

        r = digits(text, &uid, &rest);
        gid = uid;
        if (r == 0 && *rest == ':')
                r = digits(rest + 1, &gid, &rest);
        if (r < 0 || *rest || uid >= UINT32_MAX || gid >= UINT32_MAX)
                return error_setf(reterr, -EINVAL, "\"%.60s\" is no user: numbers, UID or UID:GID",
                                  text);
        *ret_uid = (uint32_t)uid;
        *ret_gid = (uint32_t)gid;
        return 0;
}

int value_target(const char *text, char **ret_pod, char **ret_container, Error *reterr) {
        _cleanup_free_ char *pod = strdup(text), *container = NULL;
        char *slash;
        int r;

        if (!pod)
                return error_oom(reterr);
        slash = strchr(pod, '/');
        if (slash) {
                *slash = '\0';
                container = strdup(slash + 1);
                if (!container)
                        return error_oom(reterr);
        }
        r = id_check("pod name", pod, reterr);
        if (r == 0 && container)
                r = id_check("container name", container, reterr);
        if (r < 0)
                return r;
        *ret_pod = TAKE(pod);
        *ret_container = TAKE(container);
        return 0;
}

char **words_free(char **words) {
        if (words)
                for (size_t i = 0; words[i]; i++)
                        free(words[i]);
        free(words);
        return NULL;
}

size_t words_count(char *const *words) {
        size_t n = 0;

        while (words && words[n])
                n++;
        return n;
}

int words_add(char ***words, const char *word) {
        size_t n = words_count(*words);
        char *copy = strdup(word), **more;

        if (!copy)
                return -ENOMEM;
        more = reallocarray(*words, n + 2, sizeof(*more));
        if (!more) {
                free(copy);
                return -ENOMEM;
        }
        more[n] = copy;
        more[n + 1] = NULL;
        *words = more;
        return 0;
}

/* One word from *at into `word` (as long as the whole text). -EINVAL: a quote without its end. */
static int next_word(const char **at, char *word) {
        const char *p = *at;
        char quote = 0;

        for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
                if (quote == '\'' ? *p == '\'' : quote && *p == '"')
                        quote = 0;
                else if (!quote && (*p == '\'' || *p == '"'))
                        quote = *p;
                else if (*p == '\\' && quote != '\'' && p[1])
                        *word++ = *++p;
                else
                        *word++ = *p;
        }
        *word = '\0';
        *at = p;
        return quote ? -EINVAL : 0;
}

int value_words(const char *text, char ***ret, Error *reterr) {
        _cleanup_(words_freep) char **words = NULL;
        _cleanup_free_ char *word = malloc(strlen(text) + 1);
        const char *at = text;

        if (!word)
                return error_oom(reterr);
        for (;;) {
                while (isspace((unsigned char)*at))
                        at++;
                if (!*at)
                        break;
                if (next_word(&at, word) < 0)
                        return error_setf(reterr, -EINVAL, "\"%.200s\": a quote has no end", text);
                if (words_add(&words, word) < 0)
                        return error_oom(reterr);
        }
        if (!words)
                return error_setf(reterr, -EINVAL, "an empty command");
        *ret = TAKE(words);
        return 0;
}

char *word_quote(const char *word) {
        _cleanup_free_ char *quoted = malloc(4 * strlen(word) + 3);
        char *p = quoted;

        if (!quoted)
                return NULL;
        *p++ = '\'';
        for (; *word; word++)
                if (*word == '\'')
                        p = stpcpy(p, "'\\''");
                else
                        *p++ = *word;
        *p++ = '\'';
        *p = '\0';
        return TAKE(quoted);
}

bool text_is_utf8(const char *s) {
        const unsigned char *p = (const unsigned char *)s;

        while (*p) {
                unsigned n = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : 3;
                uint32_t c = n == 0 ? *p : *p & (0x3fU >> n);

                if (*p >= 0x80 && (*p < 0xc2 || *p > 0xf4))
                        return false;
                for (unsigned i = 1; i <= n; i++) {
                        if ((p[i] & 0xc0) != 0x80)
                                return false;
                        c = c << 6 | (p[i] & 0x3fU);
                }
                if ((n == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
                    (n == 3 && (c < 0x10000 || c > 0x10ffff)))
                        return false;
                p += n + 1;
        }
        return true;
}
