/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/duration.h"

#include <ctype.h>
#include <string.h>

int duration_parse(const char *text, uint64_t *ret_ms, Error *reterr) {
        static const struct {
                const char *name;
                uint64_t ms;
        } units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 }, { "h", 3600000 } };
        unsigned long long n;
        char *rest;

        errno = 0;
        n = isdigit((unsigned char)*text) ? strtoull(text, &rest, 10) : 0;
        if (isdigit((unsigned char)*text) && errno == 0)
                for (size_t i = 0; i < ELEMENTSOF(units); i++)
                        if (strcmp(rest, units[i].name) == 0 && n < UINT32_MAX) {
                                *ret_ms = n * units[i].ms;
                                return 0;
                        }
        return error_setf(reterr, -EINVAL,
                          "\"%.60s\" is no time: a number of seconds, or with ms, "
                          "s, m or h after it",
                          text);
}
