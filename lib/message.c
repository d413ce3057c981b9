/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/message.h"

#include <string.h>

void message_reader_done(MessageReader *r) {
        buf_done(&r->buf);
}

static uint32_t get_le32(const uint8_t *p) {
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Handles whole messages at p; returns in *used how many bytes they were. */
static int take_messages(MessageReader *r, const uint8_t *p, size_t n, size_t *used,
                         MessageHandler handler, void *userdata, Error *reterr) {
        uint32_t max = r->max ?: MESSAGE_MAX_DEFAULT;

        *used = 0;
        while (n - *used >= 4) {
                uint32_t len = get_le32(p + *used);
                int k;

                if (len > max)
                        return error_setf(reterr, -EBADMSG,
                                          "message of %u bytes, at most %u allowed", len, max);
                if (n - *used - 4 < len)
                        break;
                k = handler(userdata, p + *used + 4, len, reterr);
                *used += 4 + (size_t)len;
                if (k < 0)
                        return k;
        }
        return 0;
}

int message_reader_feed(MessageReader *r, const void *p, size_t n, MessageHandler handler,
                        void *userdata, Error *reterr) {
        size_t used;
        int k;

        if (r->buf.len == 0) { /* the usual case: whole messages, no copy */
                k = take_messages(r, p, n, &used, handler, userdata, reterr);
                if (k < 0)
                        return k;
                k = buf_append(&r->buf, (const uint8_t *)p + used, n - used);
                return k < 0 ? error_oom(reterr) : 0;
        }
        if (buf_append(&r->buf, p, n) < 0)
                return error_oom(reterr);
        k = take_messages(r, r->buf.data, r->buf.len, &used, handler, userdata, reterr);
        buf_consume(&r->buf, used);
        return k;
}

int message_pack(const ProtobufCMessage *m, Buf *b) {
        size_t n = protobuf_c_message_get_packed_size(m);
        uint8_t head[4];
        int r;

        if (n > UINT32_MAX)
                return -EMSGSIZE;
        for (int i = 0; i < 4; i++)
                head[i] = (uint8_t)(n >> (8 * i));
        r = buf_reserve(b, n + 4);
        if (r < 0)
                return r;
        memcpy(b->data + b->len, head, 4);
        (void)protobuf_c_message_pack(m, b->data + b->len + 4);
        b->len += n + 4;
        return 0;
}

static const ProtobufCMessage *member(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                                      size_t i) {
        const char *at = (const char *)m + f->offset;

        if (f->label == PROTOBUF_C_LABEL_REPEATED)
                return (*(ProtobufCMessage *const *const *)(const void *)at)[i];
        return *(ProtobufCMessage *const *)(const void *)at;
}

static size_t members(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
        const char *quantifier = (const char *)m + f->quantifier_offset;

        if (f->label == PROTOBUF_C_LABEL_REPEATED)
                return *(const size_t *)(const void *)quantifier;
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
                return *(const uint32_t *)(const void *)quantifier == f->id;
        return 1;
}

/* The name of a message with unknown fields, at any depth; NULL if there is none. */
static const char *unknown_fields_in(const ProtobufCMessage *m) {
        if (m->n_unknown_fields > 0)
                return m->descriptor->name;
        for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

                if (f->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                for (size_t k = 0; k < members(m, f); k++) {
                        const ProtobufCMessage *child = member(m, f, k);
                        const char *name = child ? unknown_fields_in(child) : NULL;

                        if (name)
                                return name;
                }
        }
        return NULL;
}

ProtobufCMessage *message_unpack_strict(const ProtobufCMessageDescriptor *d, const void *p,
                                        size_t n, Error *reterr) {
        ProtobufCMessage *m;
        const char *name;

        m = protobuf_c_message_unpack(d, NULL, n, p);
        if (!m) {
                (void)error_setf(reterr, -EBADMSG, "%s: %zu bytes that do not parse", d->name, n);
                return NULL;
        }
        name = unknown_fields_in(m);
        if (name)
                (void)error_setf(reterr, -EBADMSG, "%s: unknown field in %s", d->name, name);
        else if (protobuf_c_message_get_packed_size(m) != n)
                (void)error_setf(reterr, -EBADMSG, "%s: not in canonical form", d->name);
        else
                return m;
        protobuf_c_message_free_unpacked(m, NULL);
        return NULL;
}
