/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* OCI runtime specifications: the one that `run` makes, or one that a bundle brings.
 *
 * The root, its path, the cgroup and the mounts of volumes are added behind this (pod, agent): they
 * are places in the guest. */
typedef struct OciOptions {
        char *const *args;        /* NULL-terminated; at least one */
        char *const *env;         /* "K=V", or "K": as it is here; NULL-terminated, may be NULL */
        char *const *annotations; /* "K=V"; NULL-terminated, may be NULL */
        const char *cwd;          /* NULL: "/" */
        const char *hostname;     /* NULL: none */
        uint32_t uid, gid;
        bool user_given; /* over a bundle's user */
        bool terminal;
        bool read_only; /* the root file system */
} OciOptions;

/* -EINVAL: an argument or a variable is not UTF-8 or not of its form. The caller owns *ret. */
int oci_spec_make(const OciOptions *o, json_object **ret, Error *reterr);
/* The annotations of *o into a specification, over those that it has. -EINVAL: one is not of its
 * form. */
int oci_annotate(const OciOptions *o, json_object *config, Error *reterr);
/* The "process" of an exec. */
int oci_process_make(const OciOptions *o, json_object **ret, Error *reterr);

/* A bundle directory: config.json, checked for what makes no sense in a virtual machine (bind
 * mounts of this host, namespaces by path, hooks: -EOPNOTSUPP), and the absolute path of its root.
 * `o` overrides what it has: args (may be NULL here), env, cwd, user, terminal, read_only. A
 * cgroupsPath is taken out: the guest has cgroups of its own. */
int oci_bundle_load(const char *directory, const OciOptions *o, json_object **ret_config,
                    char **ret_root, Error *reterr);
