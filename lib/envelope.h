/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "lib/buf.h"
#include "lib/error.h"

/* Self-describing saved state: type URL, schema version, payload. The same state always makes the
 * same bytes. */
typedef struct EnvelopeType {
        const char *kind; /* "vm"; the type URL is "type.podferry.org/podferry.state.v1.Vm" */
        const char *type_url;
        uint32_t version;                             /* written */
        uint32_t min_version;                         /* oldest that is still read */
        const ProtobufCMessageDescriptor *descriptor; /* of the payload */
} EnvelopeType;

#define ENVELOPE_MAX (8U << 20)

/* Packs the payload message into an envelope appended to *ret. */
int envelope_seal(const EnvelopeType *t, const ProtobufCMessage *payload, Buf *ret, Error *reterr);

/* Opens an envelope strictly, in this order: size cap, outer parse, type URL, version range (the
 * refusal names both), payload parse in canonical form, unknown fields at every depth. The caller
 * owns *ret (protobuf_c_message_free_unpacked) and checks what it means. *ret_version may be NULL.
 * -EINVAL empty or another type; -EPROTONOSUPPORT version; -EBADMSG bytes; -ENOMEM. */
int envelope_open(const EnvelopeType *t, const void *p, size_t n, ProtobufCMessage **ret,
                  uint32_t *ret_version, Error *reterr);

/* Only the outer layer, for tools: strings are owned by the caller. */
int envelope_peek(const void *p, size_t n, char **ret_type_url, uint32_t *ret_version,
                  Buf *ret_payload, Error *reterr);
