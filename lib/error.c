/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_setf(Error *reterr, int code, const char *fmt, ...) {
        va_list ap;

        assert(code < 0);
        if (!reterr)
                return code;
        reterr->code = code;
        va_start(ap, fmt);
        (void)vsnprintf(reterr->text, sizeof(reterr->text), fmt, ap);
        va_end(ap);
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
        return code;
}

const char *error_text(const Error *e, int code) {
        if (e && e->text[0])
                return e->text;
        return strerrordesc_np(code < 0 ? -code : code) ?: "unknown error";
}
