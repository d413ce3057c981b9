/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "lib/journal.h"

/* Bytes of the journal, without I/O; shared by journal.c and its tests. */
#define JOURNAL_HEADER_SIZE 16U
#define JOURNAL_RECORD_MAX  (JOURNAL_PAYLOAD_MAX + 4096U)

/* Appends one record to *b. -EINVAL: a field out of range. */
int journal_record_encode(const JournalRecord *r, Buf *b, Error *reterr);

typedef enum JournalParse {
        JOURNAL_PARSE_RECORD, /* *ret and *ret_len are valid; strings copied, payload points into p
                               */
        JOURNAL_PARSE_END,    /* no bytes left */
        JOURNAL_PARSE_TORN,   /* what is left is a record that a crash cut off */
} JournalParse;

/* Parses the record at the start of p, of n bytes up to the end of the file. Returns a
 * JournalParse, -EBADMSG for damage that a crash cannot have made, or -EPROTONOSUPPORT. */
int journal_record_parse(const uint8_t *p, size_t n, JournalRecord *ret, size_t *ret_len,
                         Error *reterr);
