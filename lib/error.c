/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 sequence that starts at s (shortest form, no surrogates), 0 if none does. */
static size_t utf8_length(const unsigned char *s) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        size_t n = s[0] < 0x80       ? 1
                   : s[0] >> 5 == 6  ? 2
                   : s[0] >> 4 == 14 ? 3
                   : s[0] >> 3 == 30 ? 4
                                     : 0;
        uint32_t c = n == 1 ? s[0] : s[0] & (0x7fU >> n);

        for (size_t i = 1; i < n; i++) {
                if (s[i] >> 6 != 2)
                        return 0;
                c = c << 6 | (s[i] & 0x3fU);
        }
        return n && c >= least[n] && c <= 0x10ffff && c >> 11 != 0x1b ? n : 0;
}

void text_clean(char *text) {
        for (size_t n; *text; text += n) {
                unsigned char c = (unsigned char)*text;

                n = utf8_length((const unsigned char *)text);
                if (n == 0 || c < ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0))
                        memset(text, '?', n = n ?: 1);
        }
}

void text_clean_lines(char *text) {
        for (char *line = text; line;) {
                char *end = strchr(line, '\n');

                if (end)
                        *end = '\0';
                text_clean(line);
                if (end)
                        *end = '\n';
                line = end ? end + 1 : NULL;
        }
}

int error_setf(Error *reterr, int code, const char *fmt, ...) {
        va_list ap;

        assert(code < 0);
        if (!reterr)
                return code;
        reterr->code = code;
        va_start(ap, fmt);
        (void)vsnprintf(reterr->text, sizeof(reterr->text), fmt, ap);
        va_end(ap);
        text_clean(reterr->text);
        return code;
}

int error_prefix(Error *reterr, int code, const char *fmt, ...) {
        char old[sizeof(reterr->text)], what[256];
        va_list ap;

        assert(code < 0);
        if (!reterr)
                return code;
        (void)snprintf(old, sizeof(old), "%s", error_text(reterr, code));
        va_start(ap, fmt);
        (void)vsnprintf(what, sizeof(what), fmt, ap);
        va_end(ap);
        reterr->code = code;
        if (snprintf(reterr->text, sizeof(reterr->text), "%s: %s", what, old) < 0)
                reterr->text[0] = '\0';
        text_clean(reterr->text);
        return code;
}

const char *error_text(const Error *e, int code) {
        if (e && e->text[0])
                return e->text;
        return strerrordesc_np(code < 0 ? -code : code) ?: "unknown error";
}
