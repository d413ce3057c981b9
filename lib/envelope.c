/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/envelope.h"

#include <string.h>

#include "envelope.pb-c.h"
#include "lib/message.h"

int envelope_seal(const EnvelopeType *t, const ProtobufCMessage *payload, Buf *ret, Error *reterr) {
        _cleanup_buf_ Buf body = {};
        Podferry__State__V1__Envelope e = PODFERRY__STATE__V1__ENVELOPE__INIT;
        _cleanup_free_ char *url = NULL;
        size_t n;

        n = protobuf_c_message_get_packed_size(payload);
        if (n > ENVELOPE_MAX)
                return error_setf(reterr, -EMSGSIZE, "%s envelope of %zu bytes, at most %u allowed",
                                  t->kind, n, ENVELOPE_MAX);
        url = strdup(t->type_url);
        if (!url || buf_reserve(&body, n + 1) < 0)
                return error_oom(reterr);
        body.len = protobuf_c_message_pack(payload, body.data);
        e.type_url = url;
        e.version = t->version;
        e.payload = (ProtobufCBinaryData){ .len = body.len, .data = body.data };
        n = podferry__state__v1__envelope__get_packed_size(&e);
        if (buf_reserve(ret, n) < 0)
                return error_oom(reterr);
        ret->len += podferry__state__v1__envelope__pack(&e, ret->data + ret->len);
        return 0;
}

static Podferry__State__V1__Envelope *open_outer(const char *kind, const void *p, size_t n,
                                                 Error *reterr, int *ret_code) {
        ProtobufCMessage *m;

        *ret_code = -EBADMSG;
        if (n == 0) {
                *ret_code = error_setf(reterr, -EINVAL, "%s envelope is empty", kind);
                return NULL;
        }
        if (n > ENVELOPE_MAX + 256U) {
                *ret_code =
                        error_setf(reterr, -EBADMSG, "%s envelope of %zu bytes, at most %u allowed",
                                   kind, n, ENVELOPE_MAX);
                return NULL;
        }
        m = message_unpack_strict(&podferry__state__v1__envelope__descriptor, p, n, reterr);
        if (!m)
                *ret_code = error_prefix(reterr, -EBADMSG, "%s envelope", kind);
        return (Podferry__State__V1__Envelope *)m;
}

int envelope_open(const EnvelopeType *t, const void *p, size_t n, ProtobufCMessage **ret,
                  uint32_t *ret_version, Error *reterr) {
        Podferry__State__V1__Envelope *e;
        ProtobufCMessage *m = NULL;
        int r;

        e = open_outer(t->kind, p, n, reterr, &r);
        if (!e)
                return r;
        if (strcmp(e->type_url, t->type_url) != 0)
                r = error_setf(reterr, -EINVAL,
                               "%s envelope: type_url is \"%.100s\", expected \"%s\"", t->kind,
                               e->type_url, t->type_url);
        else if (e->version < t->min_version || e->version > t->version)
                r = error_setf(reterr, -EPROTONOSUPPORT,
                               "%s envelope: version is %u, this podferry reads %u to %u", t->kind,
                               e->version, t->min_version, t->version);
        else {
                m = message_unpack_strict(t->descriptor, e->payload.data, e->payload.len, reterr);
                r = m ? 0 : error_prefix(reterr, -EBADMSG, "%s envelope: payload", t->kind);
        }
        if (r == 0) {
                *ret = m;
                if (ret_version)
                        *ret_version = e->version;
        }
        podferry__state__v1__envelope__free_unpacked(e, NULL);
        return r;
}

int envelope_peek(const void *p, size_t n, char **ret_type_url, uint32_t *ret_version,
                  Buf *ret_payload, Error *reterr) {
        Podferry__State__V1__Envelope *e;
        _cleanup_free_ char *url = NULL;
        int r;

        e = open_outer("this", p, n, reterr, &r);
        if (!e)
                return r;
        url = strdup(e->type_url);
        r = url ? buf_append(ret_payload, e->payload.data, e->payload.len) : -ENOMEM;
        if (r < 0)
                r = error_oom(reterr);
        else {
                *ret_type_url = TAKE(url);
                *ret_version = e->version;
        }
        podferry__state__v1__envelope__free_unpacked(e, NULL);
        return r;
}
