/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "controllers/migration/options.h"
#include "hostdev/net/wiring.h"
#include "lib/error.h"
#include "shim/hooks.h"
#include "shim/config-plans.h"

/* What the administrator may set: one JSON object in one file, every key optional.
 *
 * Read once at start-up. Strict: an unknown key, a wrong type or a value out of range is an error
 * that names the key, so that a typing error is never silently the default. */
typedef struct Config {
        char *run_dir;       /* /run/podferry; a pod's own directory is below it */
        char *state_dir;     /* /var/lib/podferry */
        char *backing_dir;   /* where qcow2 volumes may have backing files; "": nowhere */
        char *guest_dir;     /* where vmlinux and initrd are */
        char *libvirt_uri;   /* qemu:///system */
        char *domain_type;   /* auto, kvm, qemu */
        char *handover;      /* shims, fast, runtime */
        char *log_level;     /* debug, info, warning, error */
        uint32_t memory_mib; /* of a VM that does not say otherwise */
        uint32_t vcpus;
        uint32_t log_max_mib;       /* per container log, both files of it together */
        MigrationOptions migration; /* what it says of them; the rest is as by default */
        Hooks hooks;                /* programs around a migration: docs/hooks.md */
        PlansConfig *plans;         /* where plans are kept; NULL: in files below state_dir */
        NetWiring wiring;           /* of a pod's namespace: docs/network.md */
        bool stop_pod_on_term;      /* SIGTERM ends the pod; otherwise it waits to be adopted */
} Config;

#define CONFIG_PATH_DEFAULT "/etc/podferry/config.json"
#define CONFIG_SIZE_MAX     (64U << 10)

/* Reads `path`; NULL: $PODFERRY_CONFIG, else the default path, which may be missing. The guest
 * directory is $PODFERRY_GUEST_DIR if that is set. -EINVAL with the key, -ENOENT, -ENOMEM or the
 * code of reading. On failure *c is empty. */
int config_load(Config *c, const char *path, Error *reterr);
/* As above from text; `name` is for errors. Keys that are not in it get their defaults. */
int config_parse(Config *c, const char *name, const char *text, Error *reterr);
void config_done(Config *c);
#define _cleanup_config_ _cleanup_(config_done)
