/* SPDX-License-Identifier: Apache-2.0 */
/* Envelopes and framed messages: what is written is read back, and nothing else is.
 * rows: H1 H5 F62 B10 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "agent.pb-c.h"
#include "envelope.pb-c.h"
#include "lib/envelope.h"
#include "lib/message.h"

/* A payload with a nested message, repeated strings and a bool. */
static const EnvelopeType type = {
        .kind = "mount",
        .type_url = "type.podferry.org/podferry.guest.v1.MountRequest",
        .version = 3,
        .min_version = 2,
        .descriptor = &podferry__guest__v1__mount_request__descriptor,
};

static Podferry__Guest__V1__ScsiAddress disk = {
        .base = PROTOBUF_C_MESSAGE_INIT(&podferry__guest__v1__scsi_address__descriptor),
        .controller = 1,
        .target = 63,
};
static char path[] = "/run/x", filesystem[] = "erofs", option_a[] = "noatime", option_b[] = "ro";
static char *options[] = { option_a, option_b };
static const Podferry__Guest__V1__MountRequest payload = {
        .base = PROTOBUF_C_MESSAGE_INIT(&podferry__guest__v1__mount_request__descriptor),
        .disk = &disk,
        .guest_path = path,
        .filesystem = filesystem,
        .read_only = true,
        .n_options = 2,
        .options = options,
};

static int open_bytes(const Buf *b, Error *reterr) {
        ProtobufCMessage *m = NULL;
        int r;

        r = envelope_open(&type, b->data, b->len, &m, NULL, reterr);
        if (r == 0)
                protobuf_c_message_free_unpacked(m, NULL);
        else
                assert_null(m);
        return r;
}

static void test_round_trip(void **state) {
        _cleanup_buf_ Buf a = {}, b = {};
        ProtobufCMessage *m;
        uint32_t version;

        assert_int_equal(envelope_seal(&type, &payload.base, &a, NULL), 0);
        assert_int_equal(envelope_open(&type, a.data, a.len, &m, &version, NULL), 0);
        assert_int_equal(version, 3);
        assert_int_equal(((Podferry__Guest__V1__MountRequest *)m)->disk->target, 63);
        assert_int_equal(envelope_seal(&type, m, &b, NULL), 0);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        protobuf_c_message_free_unpacked(m, NULL);
}

static void test_peek(void **state) {
        _cleanup_buf_ Buf a = {}, body = {};
        _cleanup_free_ char *url = NULL;
        uint32_t version;

        assert_int_equal(envelope_seal(&type, &payload.base, &a, NULL), 0);
        assert_int_equal(envelope_peek(a.data, a.len, &url, &version, &body, NULL), 0);
        assert_string_equal(url, type.type_url);
        assert_int_equal(version, 3);
        assert_int_equal(body.len, protobuf_c_message_get_packed_size(&payload.base));
        assert_int_equal(envelope_peek("", 0, &url, &version, &body, NULL), -EINVAL);
}

static void seal_with(Buf *ret, const char *url, uint32_t version, const void *body, size_t n) {
        Podferry__State__V1__Envelope e = PODFERRY__STATE__V1__ENVELOPE__INIT;
        _cleanup_free_ char *copy = strdup(url);
        _cleanup_buf_ Buf b = {};

        assert_int_equal(buf_append(&b, body, n), 0);
        e.type_url = copy;
        e.version = version;
        e.payload = (ProtobufCBinaryData){ .len = b.len, .data = b.data };
        assert_int_equal(buf_reserve(ret, podferry__state__v1__envelope__get_packed_size(&e)), 0);
        ret->len = podferry__state__v1__envelope__pack(&e, ret->data);
}

typedef struct Refusal {
        const char *name;
        const char *url;
        uint32_t version;
        const char *body;
        size_t n;
        int r;
        const char *says;
} Refusal;

#define BODY(s) (s), sizeof(s) - 1
static const Refusal refusals[] = {
        { "good", NULL, 3, BODY("\x20\x01"), 0, NULL },
        { "previous version", NULL, 2, BODY("\x20\x01"), 0, NULL },
        { "empty payload", NULL, 3, BODY(""), 0, NULL },
        { "another type", "type.podferry.org/podferry.state.v1.Vm", 3, BODY(""), -EINVAL, "Vm" },
        { "no type", "", 3, BODY(""), -EINVAL, "type_url" },
        { "too old", NULL, 1, BODY(""), -EPROTONOSUPPORT,
          "version is 1, this podferry reads 2 to 3" },
        { "too new", NULL, 4, BODY(""), -EPROTONOSUPPORT, "version is 4" },
        { "version 0", NULL, 0, BODY(""), -EPROTONOSUPPORT, "version is 0" },
        { "unknown field", NULL, 3, BODY("\xf8\x07\x01"), -EBADMSG, "unknown field" },
        { "unknown field deep inside", NULL, 3, BODY("\x0a\x03\xf8\x07\x01"), -EBADMSG,
          "ScsiAddress" },
        { "scalar twice", NULL, 3, BODY("\x20\x01\x20\x01"), -EBADMSG, "canonical" },
        { "default value written out", NULL, 3, BODY("\x20\x00"), -EBADMSG, "canonical" },
        { "varint with a longer form", NULL, 3, BODY("\x20\x81\x00"), -EBADMSG, "canonical" },
        { "NUL inside a string", NULL, 3, BODY("\x12\x03/\0x"), -EBADMSG, "canonical" },
        { "cut off", NULL, 3, BODY("\x12\x05/x"), -EBADMSG, "parse" },
        { "not protobuf", NULL, 3, BODY("\xff\xff\xff\xff"), -EBADMSG, "parse" },
};

static void test_refusal(void **state) {
        const Refusal *row = *state;
        _cleanup_buf_ Buf b = {};
        Error e = ERROR_INIT;

        seal_with(&b, row->url ?: type.type_url, row->version, row->body, row->n);
        assert_int_equal(open_bytes(&b, &e), row->r);
        if (row->says)
                assert_non_null(strstr(e.text, row->says));
}

/* No damage makes it crash, and every cut is refused but one: without any payload it is an empty
 * message, which the owner of the type has to judge. */
static void test_damage(void **state) {
        _cleanup_buf_ Buf a = {};
        unsigned opened = 0;

        assert_int_equal(envelope_seal(&type, &payload.base, &a, NULL), 0);
        for (size_t i = 0; i < a.len; i++) {
                Buf cut = { .data = a.data, .len = i };

                opened += open_bytes(&cut, NULL) == 0;
                for (int bit = 0; bit < 8; bit++) {
                        a.data[i] ^= (uint8_t)(1 << bit);
                        (void)open_bytes(&a, NULL);
                        a.data[i] ^= (uint8_t)(1 << bit);
                }
        }
        assert_int_equal(opened, 1);
        assert_int_equal(buf_append(&a, "\x08", 1), 0);
        assert_int_equal(open_bytes(&a, NULL), -EBADMSG);
}

static void test_too_large(void **state) {
        _cleanup_free_ char *huge = calloc(1, ENVELOPE_MAX + 300);
        Podferry__Guest__V1__MountRequest m = payload;
        _cleanup_buf_ Buf b = {};
        Error e = ERROR_INIT;
        Buf raw = { .data = (uint8_t *)huge, .len = ENVELOPE_MAX + 300 };

        assert_non_null(huge);
        assert_int_equal(open_bytes(&raw, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "at most"));
        memset(huge, 'a', ENVELOPE_MAX + 10);
        m.guest_path = huge;
        assert_int_equal(envelope_seal(&type, &m.base, &b, NULL), -EMSGSIZE);
        assert_int_equal(b.len, 0);
}

typedef struct Seen {
        unsigned n;
        size_t bytes;
        int answer;
} Seen;

static int count_message(void *userdata, const uint8_t *p, size_t n, Error *reterr) {
        Seen *s = userdata;

        s->n++;
        s->bytes += n;
        for (size_t i = 0; i < n; i++)
                if (p[i] != (uint8_t)n)
                        return -EILSEQ;
        return s->answer;
}

/* Messages of 0, 1, .. 40 bytes, each filled with its own length. */
static void frame_all(Buf *b) {
        for (uint8_t n = 0; n <= 40; n++) {
                uint8_t head[4] = { n }, body[40];

                memset(body, n, sizeof(body));
                assert_int_equal(buf_append(b, head, 4), 0);
                assert_int_equal(buf_append(b, body, n), 0);
        }
}

static void test_reader_any_split(void **state) {
        _cleanup_buf_ Buf b = {};

        frame_all(&b);
        for (size_t step = 1; step <= b.len; step++) {
                _cleanup_(message_reader_done) MessageReader r = { .max = 40 };
                Seen seen = {};

                for (size_t at = 0; at < b.len; at += step)
                        assert_int_equal(message_reader_feed(&r, b.data + at,
                                                             MIN_OF(step, b.len - at),
                                                             count_message, &seen, NULL),
                                         0);
                assert_int_equal(seen.n, 41);
                assert_int_equal(seen.bytes, 820);
                assert_int_equal(r.buf.len, 0);
        }
}

static void test_reader_limit(void **state) {
        _cleanup_(message_reader_done) MessageReader r = { .max = 40 };
        const uint8_t at_limit[4] = { 40 }, above[4] = { 41 }, most[4] = { 255, 255, 255, 255 };
        Error e = ERROR_INIT;
        Seen seen = {};

        assert_int_equal(message_reader_feed(&r, at_limit, 4, count_message, &seen, NULL), 0);
        message_reader_done(&r);
        r = (MessageReader){ .max = 40 };
        assert_int_equal(message_reader_feed(&r, above, 4, count_message, &seen, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "41"));
        message_reader_done(&r);
        r = (MessageReader){};
        assert_int_equal(message_reader_feed(&r, most, 4, count_message, &seen, &e), -EBADMSG);
        assert_int_equal(seen.n, 0);
}

static void test_reader_passes_the_handlers_code(void **state) {
        _cleanup_(message_reader_done) MessageReader r = { .max = 40 };
        Seen seen = { .answer = -ESTALE };
        const uint8_t two[] = { 1, 0, 0, 0, 1, 1, 0, 0, 0, 1 };

        assert_int_equal(message_reader_feed(&r, two, sizeof(two), count_message, &seen, NULL),
                         -ESTALE);
        assert_int_equal(seen.n, 1);
}

static void test_pack(void **state) {
        _cleanup_buf_ Buf b = {};
        ProtobufCMessage *m;

        assert_int_equal(message_pack(&payload.base, &b), 0);
        assert_int_equal(b.data[0] | b.data[1] << 8, b.len - 4);
        m = message_unpack_strict(type.descriptor, b.data + 4, b.len - 4, NULL);
        assert_non_null(m);
        assert_string_equal(((Podferry__Guest__V1__MountRequest *)m)->options[1], "ro");
        protobuf_c_message_free_unpacked(m, NULL);
}

int main(void) {
        static const struct CMUnitTest fixed[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_peek),
                cmocka_unit_test(test_damage),
                cmocka_unit_test(test_too_large),
                cmocka_unit_test(test_reader_any_split),
                cmocka_unit_test(test_reader_limit),
                cmocka_unit_test(test_reader_passes_the_handlers_code),
                cmocka_unit_test(test_pack),
        };
        struct CMUnitTest tests[ELEMENTSOF(fixed) + ELEMENTSOF(refusals)];

        memcpy(tests, fixed, sizeof(fixed));
        for (size_t i = 0; i < ELEMENTSOF(refusals); i++)
                tests[ELEMENTSOF(fixed) + i] =
                        (struct CMUnitTest){ .name = refusals[i].name,
                                             .test_func = test_refusal,
                                             .initial_state = (void *)(uintptr_t)&refusals[i] };
        return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
