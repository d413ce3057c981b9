/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest/wire.h"
#include "lib/error.h"

/* What the host says is checked here before anything else sees it. Pure functions. */

enum {
        CHECK_ID_MAX = 76,
        CHECK_PATH_MAX = 1024,
        CHECK_JSON_MAX = 1 << 20,
        CHECK_OPTIONS_MAX = 32,
        CHECK_LAYERS_MAX = 200,
        CHECK_ARGS_MAX = 256,
        CHECK_CONTROLLER_MAX = 15,
        CHECK_TARGET_MAX = 255,
        CHECK_LUN_MAX = 16383,
        CHECK_PARTITION_MAX = 128,
        CHECK_WINDOW_MAX = 10000, /* rows, columns */
};

/* 1..76 characters of [A-Za-z0-9._-], the first a letter or digit. */
int check_id(const char *what, const char *id, Error *reterr);
/* Absolute, normal (no "..", ".", "//", nor a slash at the end), and nothing that overlayfs options
 * or people would misread: [A-Za-z0-9._/@+-] only. "/" itself is refused. */
int check_path(const char *what, const char *path, Error *reterr);
int check_disk(const ScsiAddress *disk, Error *reterr);
/* One mount option: no commas (one is one), printable, not empty, bounded. */
int check_option(const char *option, Error *reterr);
/* NULL is valid: no stdio at all. Channels must differ, and a pty has no stderr. */
int check_stdio(const StdioSpec *stdio, Error *reterr);
int check_window(uint32_t rows, uint32_t columns, Error *reterr);
int check_json_size(const char *what, size_t n, Error *reterr);
