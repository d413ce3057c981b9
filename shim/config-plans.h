/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* "plans" of the configuration: where the command line keeps the journals and locks of plans. The
 * shim reads it, as all of the file, and has no use for it. */
#define PLANS_ENDPOINTS_MAX 8U

typedef struct PlansConfig {
        char *endpoints[PLANS_ENDPOINTS_MAX]; /* http(s)://HOST[:PORT] of etcd */
        unsigned n_endpoints;
        char *prefix;          /* of every key; no slash at its end */
        char *ca, *cert, *key; /* files; ca NULL: what the system trusts */
        bool allow_plaintext;  /* http:// off the loopback */
        uint32_t ttl_s;        /* a driver that is gone for so long may be replaced */
        uint32_t wait_s;       /* an etcd that is gone is waited for so long */
} PlansConfig;

/* From its JSON; `file` is for errors. *ret stays NULL for "files", the default. -EINVAL with the
 * key, -ENOMEM. */
int plans_config_read(const char *file, json_object *v, PlansConfig **ret, Error *reterr);
PlansConfig *plans_config_free(PlansConfig *c);
DEFINE_CLEANUP(PlansConfig *, plans_config_free);
