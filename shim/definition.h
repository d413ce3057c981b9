/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/task.h"
#include "shim/annotations.h"

/* How a pod was made, on disk: what its machine has, and each container as Pod.CreateContainer got
 * it (shim/container-spec.h), with the disks that it has now. A stopped pod is started again from
 * it, also by a shim that knows nothing else, as after a reboot of the host.
 *
 *      <state_dir>/pods/<pod>/definition/machine.json
 *                                        container-<id>.json
 *
 * Each file is replaced as a whole, so a crash leaves the old or the new one. All of this blocks:
 * for the thread of files. `state` is the pod's state directory. */
typedef struct DefinitionContainer {
        char *id;
        uint64_t made; /* orders them; microseconds of the clock, if it was not set back */
        char *spec;    /* JSON */
} DefinitionContainer;

typedef struct Definition {
        uint64_t epoch; /* of the host's ownership that wrote it (docs/handover.md) */
        uint64_t memory_mib;
        uint32_t vcpus;
        char *network, *publish; /* as ShimVmOptions says */
        DefinitionContainer *containers;
        size_t n_containers;
} Definition;

#define DEFINITION_FILE_MAX ((2U << 20) + 4096) /* a specification, and what is around it */

/* A pod begins: nothing of an earlier one of this name is left. */
int definition_begin(const char *state, const Definition *machine, Error *reterr);
int definition_put(const char *state, const DefinitionContainer *c, Error *reterr);
/* A container that is not defined is dropped already. */
int definition_drop(const char *state, const char *id, Error *reterr);
/* Containers in the order of their making. -ENOENT: there is none; -EBADMSG: a file is not what was
 * written, named. */
int definition_read(const char *state, Definition *ret, Error *reterr);
/* What its containers say of migrations, up to the first that is not to be understood: the code of
 * annotations_take(), or -EBADMSG. Does not block. */
int definition_annotations(const Definition *d, Annotations *ret, Error *reterr);
bool definition_is_there(const char *state);
void definition_remove(const char *state);
/* The same, for a host that owned the pod up to `epoch`: if two hosts share the directory, what the
 * next owner wrote or staged stays. */
void definition_remove_own(const char *state, uint64_t epoch);
/* Of a pod that is on its way here: whole, and where no start looks for it
 * (<state>/definition.next) until the pod is this host's. One that was staged before is replaced.
 */
int definition_stage(const char *state, const Definition *d, Error *reterr);
/* What was staged with this epoch counts from now on; again after a crash anywhere in it. -ENOENT:
 * there is none. */
int definition_publish(const char *state, uint64_t epoch, Error *reterr);
/* The pod did not come. */
void definition_unstage(const char *state);

/* A disk of the container came (its JSON, as in the specification) or went. -ENOENT: no such
 * container. */
int definition_add_disk(const char *state, const char *id, const char *disk_json, Error *reterr);
int definition_remove_disk(const char *state, const char *id, const char *destination,
                           Error *reterr);
/* The disk `from`, of whichever containers, is at `to` now. One that nobody has is no error. After
 * a failure some may have it already: call it again. */
int definition_move_disk(const char *state, const char *from, const char *to, Error *reterr);
/* Does a container have a disk there? */
int definition_has_disk(const char *state, const char *path, bool *ret, Error *reterr);
void definition_done(Definition *d);
#define _cleanup_definition_ _cleanup_(definition_done)
