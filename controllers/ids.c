/* SPDX-License-Identifier: Apache-2.0 */
#include "controllers/ids.h"

#include <ctype.h>
#include <string.h>

int id_check(const char *what, const char *id, Error *reterr) {
        size_t n = id ? strlen(id) : 0;

        if (n == 0)
                return error_setf(reterr, -EINVAL, "%s is empty", what);
        if (n > ID_MAX)
                return error_setf(reterr, -EINVAL, "%s is %zu characters long, at most %d allowed",
                                  what, n, ID_MAX);
        if (!isalnum((unsigned char)id[0]))
                return error_setf(reterr, -EINVAL, "%s \"%s\" must start with a letter or digit",
                                  what, id);
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char)id[i]) && !strchr("._-", id[i]))
                        return error_setf(
                                reterr, -EINVAL,
                                "%s \"%s\" may hold letters, digits, '.', '_' and '-' only", what,
                                id);
        return 0;
}
