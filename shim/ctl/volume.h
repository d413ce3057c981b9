/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

/* A volume on the command line: FILE:PATH and then flags, each with a colon before it.
 *
 *      ro, rw                  read-only; can be written (the default)
 *      copy, shared, same      what a migration does with it (docs/storage.md)
 *      block (or dev)          the disk itself at PATH, as a device
 *      part=N                  its Nth partition instead of the whole disk
 *      format=raw|qcow2        what it is, against what it looks like */
typedef struct VolumeValue {
        char *file;         /* absolute */
        char *destination;  /* absolute, in the container */
        const char *mode;   /* "copy", "shared", "same"; static */
        const char *format; /* "raw", "qcow2", "": by its content; static */
        uint32_t partition; /* 0: the whole disk */
        bool read_only, block_device;
} VolumeValue;

/* -EINVAL shows the value and says what is expected; nothing is allocated then. */
int volume_parse(const char *text, VolumeValue *ret, Error *reterr);
void volume_value_done(VolumeValue *v);
/* Looks at the file, and makes the entry of "disks" of it (shim/container-spec.h). */
int volume_json(const VolumeValue *v, json_object **ret, Error *reterr);
