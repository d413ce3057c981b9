/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hostdev/disk/target.h"
#include "lib/error.h"

/* What is on disk of a volume that moves to another place of this host (shim/volume-move.h): a
 * record in the pod's state directory, <state_dir>/pods/<pod>/moving.json, from before the new file
 * is made until nothing is left to be done; the new file, with its mark; and the pod's definition.
 *
 * The definition names the new place from when both have the same content, before QEMU goes over to
 * it. So without QEMU the definition is right, and with it QEMU is. All of this blocks: for the
 * thread of files. `state` is the pod's state directory. */
typedef struct MoveRecord {
        char *from, *to; /* absolute */
        bool device;     /* `to` is one that is there: it has no mark, and is never removed */
} MoveRecord;

void move_record_done(MoveRecord *r);
/* -ENOENT: no volume was being moved; -EBADMSG: it is not what was written there. */
int move_record_read(const char *state, MoveRecord *ret, Error *reterr);
bool move_record_is_there(const char *state);
int move_record_remove(const char *state, Error *reterr);

/* What is to be made. */
typedef struct MoveBegin {
        const char *pod, *session; /* for the mark */
        const char *format;        /* of both */
        uint64_t size;
        bool with_source; /* the old file is to go in the end */
} MoveBegin;
/* The record, then the new place: sets r->device. -EINVAL with_source: there is more in the old
 * file than is copied. Codes of disk_make_target(). After a failure nothing is there. */
int move_record_begin(const char *state, const MoveBegin *b, MoveRecord *r, Error *reterr);
/* QEMU has written all of it: the definition names the new place. After a failure the old one. */
int move_record_define(const char *state, const MoveRecord *r, Error *reterr);
/* It did not become that: the definition names the old place again. */
int move_record_undefine(const char *state, const MoveRecord *r, Error *reterr);
/* The new file and the record go; QEMU does not use the file (any more). */
int move_record_undo(const char *state, const char *pod, const MoveRecord *r, Error *reterr);
/* The pod has the new place: its mark goes, and with_source the old file. The record stays. */
int move_record_complete(const MoveRecord *r, bool with_source, Error *reterr);
/* No QEMU has the volume any more, and nobody moves it: makes an end of what was left, if anything
 * was. -EBADMSG, or codes of files: it is still there. */
int move_record_settle(const char *state, const char *pod, Error *reterr);
