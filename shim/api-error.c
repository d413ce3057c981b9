/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/api-error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct Row {
        int code;
        const char *name;
} Row;

/* The first row of a name is the code that api_error_code() gives. */
/* clang-format off */
static const Row rows[] = {
        { -EINVAL,          API_ERROR_PREFIX "InvalidArgument" },
        { -ENOENT,          API_ERROR_PREFIX "NotFound" },
        { -EEXIST,          API_ERROR_PREFIX "AlreadyExists" },
        { -EBADFD,          API_ERROR_PREFIX "FailedPrecondition" },
        { -EPROTONOSUPPORT, API_ERROR_PREFIX "FailedPrecondition" },
        { -EBUSY,           API_ERROR_PREFIX "Unavailable" },
        { -ENOSPC,          API_ERROR_PREFIX "ResourceExhausted" },
        { -EOPNOTSUPP,      API_ERROR_PREFIX "Unimplemented" },
        { -ETIMEDOUT,       API_ERROR_PREFIX "DeadlineExceeded" },
        { -ECANCELED,       API_ERROR_PREFIX "Canceled" },
        { -EBADMSG,         API_ERROR_PREFIX "DataLoss" },
        { -EIO,             API_ERROR_PREFIX "Internal" },
};
/* clang-format on */

const char *api_error_name(int code) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].code == code)
                        return rows[i].name;
        return API_ERROR_PREFIX "Internal";
}

int api_error_code(const char *name) {
        for (size_t i = 0; name && i < ELEMENTSOF(rows); i++)
                if (strcmp(rows[i].name, name) == 0)
                        return rows[i].code;
        return -EIO;
}

int api_error_set(sd_bus_error *ret, int code, const Error *e) {
        (void)sd_bus_error_set(ret, api_error_name(code), error_text(e, code));
        return code;
}

int api_error_setf(sd_bus_error *ret, int code, const char *fmt, ...) {
        Error e = { .code = code };
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(e.text, sizeof(e.text), fmt, ap);
        va_end(ap);
        text_clean(e.text);
        return api_error_set(ret, code, &e);
}
