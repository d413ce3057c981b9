/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/directory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"

int directory_make(const char *path, mode_t mode, Error *reterr) {
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return error_oom(reterr);
        for (char *end = copy + 1;; end++) {
                bool made;
                char c = *end;

                if (c != '/' && c != '\0')
                        continue;
                *end = '\0';
                made = mkdir(copy, 0700) == 0;
                if (!made && errno != EEXIST)
                        return error_setf(reterr, -errno, "make directory %s: %m", copy);
                if (made && chmod(copy, mode) < 0)
                        return error_setf(reterr, -errno, "mode of directory %s: %m", copy);
                *end = c;
                if (c == '\0')
                        return 0;
        }
}
