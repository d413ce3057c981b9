/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/check.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

int check_id(const char *what, const char *id, Error *reterr) {
        size_t n = id ? strlen(id) : 0;

        if (n == 0)
                return error_setf(reterr, -EINVAL, "%s is empty", what);
        if (n > CHECK_ID_MAX)
                return error_setf(reterr, -EINVAL, "%s is %zu characters long, at most %d allowed",
                                  what, n, CHECK_ID_MAX);
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)id[i];

                if (!isascii(c) || (!isalnum(c) && (i == 0 || !strchr("._-", c))))
                        return error_setf(reterr, -EINVAL,
                                          "%s: character %zu is not allowed in an id", what, i + 1);
        }
        return 0;
}

int check_path(const char *what, const char *path, Error *reterr) {
        size_t n = path ? strlen(path) : 0;

        if (n < 2 || path[0] != '/')
                return error_setf(reterr, -EINVAL, "%s is not an absolute path", what);
        if (n > CHECK_PATH_MAX)
                return error_setf(reterr, -EINVAL, "%s is %zu characters long, at most %d allowed",
                                  what, n, CHECK_PATH_MAX);
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)path[i];

                if (!isascii(c) || (!isalnum(c) && !strchr("._/@+-", c)))
                        return error_setf(reterr, -EINVAL,
                                          "%s: character %zu is not allowed in a guest path", what,
                                          i + 1);
        }
        for (const char *p = path; p; p = strchr(p + 1, '/')) {
                size_t len = strcspn(p + 1, "/");

                if (len == 0 || (p[1] == '.' && (len == 1 || (len == 2 && p[2] == '.'))))
                        return error_setf(reterr, -EINVAL,
                                          "%s \"%s\" has an empty, \".\" or \"..\" component", what,
                                          path);
                if (len > 255)
                        return error_setf(reterr, -EINVAL, "%s has a component above 255 bytes",
                                          what);
        }
        return 0;
}

int check_disk(const ScsiAddress *disk, Error *reterr) {
        if (!disk)
                return error_setf(reterr, -EINVAL, "no disk is given");
        if (disk->controller > CHECK_CONTROLLER_MAX || disk->target > CHECK_TARGET_MAX ||
            disk->lun > CHECK_LUN_MAX || disk->partition > CHECK_PARTITION_MAX)
                return error_setf(reterr, -EINVAL, "no disk can be at %u:%u:%u partition %u",
                                  disk->controller, disk->target, disk->lun, disk->partition);
        return 0;
}

int check_option(const char *option, Error *reterr) {
        size_t n = option ? strlen(option) : 0;

        if (n == 0 || n > 128)
                return error_setf(reterr, -EINVAL, "a mount option is empty or too long");
        for (size_t i = 0; i < n; i++)
                if (!isgraph((unsigned char)option[i]) || option[i] == ',' || option[i] == '\\')
                        return error_setf(reterr, -EINVAL,
                                          "a mount option has a character that is not allowed");
        return 0;
}

int check_window(uint32_t rows, uint32_t columns, Error *reterr) {
        if (rows > CHECK_WINDOW_MAX || columns > CHECK_WINDOW_MAX)
                return error_setf(reterr, -EINVAL, "no terminal has %u rows and %u columns", rows,
                                  columns);
        return 0;
}

int check_stdio(const StdioSpec *stdio, Error *reterr) {
        uint32_t in, out, err;

        if (!stdio)
                return 0;
        in = stdio->stdin_channel;
        out = stdio->stdout_channel;
        err = stdio->stderr_channel;
        if ((in && (in == out || in == err)) || (out && out == err))
                return error_setf(reterr, -EINVAL, "one channel is given for two streams");
        if (stdio->terminal && err)
                return error_setf(reterr, -EINVAL, "a terminal has no stderr of its own");
        return check_window(stdio->rows, stdio->columns, reterr);
}

int check_json_size(const char *what, size_t n, Error *reterr) {
        if (n == 0 || n > CHECK_JSON_MAX)
                return error_setf(reterr, -EINVAL, "%s has %zu bytes, 1 to %d allowed", what, n,
                                  CHECK_JSON_MAX);
        return 0;
}
