/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/error.h"

/* The journal of one run of a plan: one record a line, "CRC-32C JSON", appended and on disk before
 * what it announces is done. A last line that a crash tore is cut off when it is opened for
 * writing; damage anywhere else is an error, never repaired. One writer (locked), any number of
 * readers. Every record has "n", which counts from 0, "at" (ms since 1970, for people only) and
 * "event". */
typedef int (*PlanVisitor)(void *userdata, json_object *record, Error *reterr);

/* Opens or makes it in a directory, and visits what is in it; plan-store.h has what is done with
 * it. -EBUSY: another process has it; -EBADMSG: damaged (line in the text). */
struct PlanJournal;
int plan_journal_open(int dir_fd, const char *name, PlanVisitor visit, void *userdata,
                      struct PlanJournal **ret, Error *reterr);
/* Without locking or changing it; *ret_torn and *ret_busy (somebody writes it) may be NULL. */
int plan_journal_read(int dir_fd, const char *name, PlanVisitor visit, void *userdata,
                      bool *ret_torn, bool *ret_busy, Error *reterr);

/* -- bytes -- */

int plan_record_encode(json_object *record, Buf *b); /* appends a line; -ENOMEM */
/* Visits every record; *ret_end is where the last whole one ends. */
int plan_record_walk(const char *name, const Buf *b, PlanVisitor visit, void *userdata,
                     size_t *ret_end, bool *ret_torn, uint64_t *ret_next, Error *reterr);
