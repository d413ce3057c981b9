/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ctl/decode.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/envelope.h"
#include "lib/message.h"
#include "shim/ctl/json.h"
#include "shim/ctl/values.h"

#include "container.pb-c.h"
#include "handoff.pb-c.h"
#include "migration.pb-c.h"
#include "network.pb-c.h"
#include "plan9.pb-c.h"
#include "pod.pb-c.h"
#include "process.pb-c.h"
#include "scsi.pb-c.h"
#include "vm.pb-c.h"
#include "vpci.pb-c.h"

#define URL_PREFIX "type.podferry.org/"
#define DEPTH_MAX  32U

static const ProtobufCMessageDescriptor *const known[] = {
        &podferry__state__v1__container__descriptor, &podferry__state__v1__handoff__descriptor,
        &podferry__state__v1__migration__descriptor, &podferry__state__v1__network__descriptor,
        &podferry__state__v1__plan9__descriptor,     &podferry__state__v1__pod__descriptor,
        &podferry__state__v1__process__descriptor,   &podferry__state__v1__scsi__descriptor,
        &podferry__state__v1__vm__descriptor,        &podferry__state__v1__vpci__descriptor,
};

static int envelope_at(const void *p, size_t n, unsigned depth, json_object **ret, Error *reterr);
static json_object *message_json(const ProtobufCMessage *m, unsigned depth);

static bool is_text(const uint8_t *p, size_t n) {
        _cleanup_free_ char *s = NULL;

        for (size_t i = 0; i < n; i++)
                if (p[i] < 0x20 && p[i] != '\n' && p[i] != '\t' && p[i] != '\r')
                        return false;
        s = buf_text(p, n);
        return s && text_is_utf8(s);
}

static json_object *hex_json(const uint8_t *p, size_t n) {
        _cleanup_free_ char *hex = malloc(2 * n + 1);

        if (!hex)
                return NULL;
        for (size_t i = 0; i < n; i++)
                (void)sprintf(hex + 2 * i, "%02x", p[i]);
        return json_object_new_string_len(hex, (int)(2 * n));
}

/* An envelope, a JSON document, text, or else hexadecimal. */
static json_object *bytes_json(const ProtobufCBinaryData *b, unsigned depth) {
        json_object *o = NULL;

        if (b->len > 0 && envelope_at(b->data, b->len, depth + 1, &o, NULL) == 0)
                return o;
        if (b->len > 1 && b->data[0] == '{' &&
            json_read((const char *)b->data, b->len, &o, NULL) == 0)
                return o;
        if (is_text(b->data, b->len))
                return json_object_new_string_len((const char *)b->data, (int)b->len);
        return hex_json(b->data, b->len);
}

static size_t element_size(ProtobufCType type) {
        switch (type) {
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return 8;
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_SINT32:
        case PROTOBUF_C_TYPE_SFIXED32:
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
        case PROTOBUF_C_TYPE_FLOAT:
                return 4;
        case PROTOBUF_C_TYPE_ENUM:
                return sizeof(int);
        case PROTOBUF_C_TYPE_BOOL:
                return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
        default:
                return sizeof(void *);
        }
}

static json_object *enum_json(const ProtobufCFieldDescriptor *f, int value) {
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(f->descriptor, value);

        return v ? json_object_new_string(v->name) : json_object_new_int(value);
}

static json_object *value_json(const ProtobufCFieldDescriptor *f, const void *p, unsigned depth) {
        switch (f->type) {
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
                return json_object_new_int64(*(const int64_t *)p);
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
                return json_object_new_uint64(*(const uint64_t *)p);
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_SINT32:
        case PROTOBUF_C_TYPE_SFIXED32:
                return json_object_new_int64(*(const int32_t *)p);
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
                return json_object_new_int64(*(const uint32_t *)p);
        case PROTOBUF_C_TYPE_FLOAT:
                return json_object_new_double((double)*(const float *)p);
        case PROTOBUF_C_TYPE_DOUBLE:
                return json_object_new_double(*(const double *)p);
        case PROTOBUF_C_TYPE_BOOL:
                return json_object_new_boolean(*(const protobuf_c_boolean *)p);
        case PROTOBUF_C_TYPE_ENUM:
                return enum_json(f, *(const int *)p);
        case PROTOBUF_C_TYPE_STRING:
                return json_object_new_string(*(char *const *)p ?: "");
        case PROTOBUF_C_TYPE_BYTES:
                return bytes_json(p, depth);
        case PROTOBUF_C_TYPE_MESSAGE:
                return message_json(*(ProtobufCMessage *const *)p, depth + 1);
        default:
                return NULL;
        }
}

static json_object *repeated_json(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m,
                                  unsigned depth) {
        const char *base = (const char *)m;
        size_t n = *(const size_t *)(const void *)(base + f->quantifier_offset);
        const char *elements = *(char *const *)(const void *)(base + f->offset);
        json_object *a = json_object_new_array();

        for (size_t i = 0; a && i < n; i++)
                if (json_object_array_add(
                            a, value_json(f, elements + i * element_size(f->type), depth)) < 0)
                        break;
        return a;
}

static bool is_absent(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m) {
        const char *base = (const char *)m;

        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
                return *(const uint32_t *)(const void *)(base + f->quantifier_offset) != f->id;
        return f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED &&
               !*(ProtobufCMessage *const *)(const void *)(base + f->offset);
}

/* An envelope within is shown as one. */
static json_object *inner_envelope(const ProtobufCMessage *m, unsigned depth) {
        size_t n = protobuf_c_message_get_packed_size(m);
        _cleanup_free_ uint8_t *packed = malloc(n + 1);
        json_object *o = NULL;

        if (!packed)
                return NULL;
        (void)protobuf_c_message_pack(m, packed);
        return envelope_at(packed, n, depth, &o, NULL) == 0 ? o : NULL;
}

static json_object *message_json(const ProtobufCMessage *m, unsigned depth) {
        json_object *o;

        if (depth > DEPTH_MAX)
                return json_object_new_string("...");
        if (strcmp(m->descriptor->short_name, "Envelope") == 0) {
                o = inner_envelope(m, depth);
                if (o)
                        return o;
        }
        o = json_object_new_object();
        for (unsigned i = 0; o && i < m->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

                if (is_absent(f, m))
                        continue;
                (void)json_object_object_add(
                        o, f->name,
                        f->label == PROTOBUF_C_LABEL_REPEATED
                                ? repeated_json(f, m, depth)
                                : value_json(f, (const char *)m + f->offset, depth));
        }
        return o;
}

static const ProtobufCMessageDescriptor *find_type(const char *url) {
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strncmp(url, URL_PREFIX, strlen(URL_PREFIX)) == 0 &&
                    strcmp(url + strlen(URL_PREFIX), known[i]->name) == 0)
                        return known[i];
        return NULL;
}

static int envelope_at(const void *p, size_t n, unsigned depth, json_object **ret, Error *reterr) {
        const ProtobufCMessageDescriptor *type;
        _cleanup_json_ json_object *o = NULL;
        _cleanup_free_ char *url = NULL;
        _cleanup_buf_ Buf payload = {};
        ProtobufCMessage *m;
        uint32_t version;
        int r;

        if (depth > DEPTH_MAX)
                return error_setf(reterr, -EBADMSG, "envelopes too deep in each other");
        r = envelope_peek(p, n, &url, &version, &payload, reterr);
        if (r < 0)
                return r;
        type = find_type(url);
        if (!type)
                return error_setf(reterr, -EOPNOTSUPP,
                                  "an envelope of type \"%.100s\", which is not "
                                  "known here",
                                  url);
        m = message_unpack_strict(type, payload.data, payload.len, reterr);
        if (!m)
                return error_prefix(reterr, -EBADMSG, "%s", type->short_name);
        o = json_object_new_object();
        r = !o || json_add_string(o, "type", url) < 0 ||
                            json_add(o, "version", json_object_new_int64(version)) < 0 ||
                            json_add(o, "payload", message_json(m, depth)) < 0
                    ? error_oom(reterr)
                    : 0;
        protobuf_c_message_free_unpacked(m, NULL);
        if (r == 0)
                *ret = TAKE(o);
        return r;
}

int decode_envelope(const void *p, size_t n, json_object **ret, Error *reterr) {
        return envelope_at(p, n, 0, ret, reterr);
}
