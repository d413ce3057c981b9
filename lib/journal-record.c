/* SPDX-License-Identifier: Apache-2.0 */
/* One record, little-endian:
 *
 *      0   u32  magic "PFJ" and the format's number, 1
 *      4   u32  length of the body
 *      8   u32  CRC-32C of the body
 *      12  u32  CRC-32C of the 12 bytes before
 *      16  body: u8 kind, u8 mode, 6 zero bytes, u64 epoch, u64 time, three strings (u8 length,
 * bytes) session, pod, peer, then u32 length and payload
 *
 * The header's own sum makes the length trustworthy, so that a record which ends beyond the file is
 * known to be torn and one that is damaged in the middle of the file is not taken for it. */
#include "lib/journal-record.h"

#include <endian.h>
#include <string.h>

#include "lib/crc32c.h"

#define MAGIC      "PFJ"
#define FORMAT     1U
#define FIXED_SIZE 24U
#define MODE_MAX   7U

static void put32(uint8_t *p, uint32_t v) {
        v = htole32(v);
        memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v) {
        v = htole64(v);
        memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

static uint64_t get64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return le64toh(v);
}

static int encode_string(const char *what, const char *s, Buf *b, Error *reterr) {
        size_t n = strnlen(s, JOURNAL_NAME_MAX);
        uint8_t len = (uint8_t)n;

        if (n >= JOURNAL_NAME_MAX)
                return error_setf(reterr, -EINVAL, "journal: %s is too long", what);
        if (buf_append(b, &len, 1) < 0 || buf_append(b, s, n) < 0)
                return error_oom(reterr);
        return 0;
}

static int encode_body(const JournalRecord *r, Buf *b, Error *reterr) {
        uint8_t fixed[FIXED_SIZE] = {}, len[4];
        int e;

        fixed[0] = (uint8_t)r->kind;
        fixed[1] = r->mode;
        put64(fixed + 8, r->epoch);
        put64(fixed + 16, r->at_ns);
        if (buf_append(b, fixed, sizeof(fixed)) < 0)
                return error_oom(reterr);
        e = encode_string("session", r->session, b, reterr);
        if (e == 0)
                e = encode_string("pod", r->pod, b, reterr);
        if (e == 0)
                e = encode_string("peer", r->peer, b, reterr);
        if (e < 0)
                return e;
        put32(len, (uint32_t)r->payload_len);
        if (buf_append(b, len, sizeof(len)) < 0 ||
            (r->payload_len && buf_append(b, r->payload, r->payload_len) < 0))
                return error_oom(reterr);
        return 0;
}

int journal_record_encode(const JournalRecord *r, Buf *b, Error *reterr) {
        uint8_t header[JOURNAL_HEADER_SIZE] = { 'P', 'F', 'J', FORMAT };
        _cleanup_buf_ Buf body = {};
        int e;

        if (r->kind <= JOURNAL_NONE || r->kind >= _JOURNAL_KIND_MAX)
                return error_setf(reterr, -EINVAL, "journal: no record of kind %d", (int)r->kind);
        if (r->mode > MODE_MAX)
                return error_setf(reterr, -EINVAL, "journal: mode %u", r->mode);
        if (r->payload_len > JOURNAL_PAYLOAD_MAX)
                return error_setf(reterr, -EINVAL, "journal: payload of %zu bytes, at most %u",
                                  r->payload_len, JOURNAL_PAYLOAD_MAX);
        e = encode_body(r, &body, reterr);
        if (e < 0)
                return e;
        put32(header + 4, (uint32_t)body.len);
        put32(header + 8, crc32c(0, body.data, body.len));
        put32(header + 12, crc32c(0, header, 12));
        if (buf_reserve(b, sizeof(header) + body.len) < 0 ||
            buf_append(b, header, sizeof(header)) < 0 || buf_append(b, body.data, body.len) < 0)
                return error_oom(reterr);
        return 0;
}

static bool header_is_good(const uint8_t *p, size_t n) {
        return n >= JOURNAL_HEADER_SIZE && memcmp(p, MAGIC, 3) == 0 &&
               get32(p + 12) == crc32c(0, p, 12);
}

/* Does a good header stand anywhere behind the first byte? Then what is in front is no torn end. */
static bool more_follows(const uint8_t *p, size_t n) {
        for (size_t i = 1; i + JOURNAL_HEADER_SIZE <= n; i++)
                if (p[i] == 'P' && header_is_good(p + i, n - i))
                        return true;
        return false;
}

static int decode_string(const uint8_t **p, size_t *n, char *ret) {
        size_t len;

        if (*n < 1 || (*p)[0] >= JOURNAL_NAME_MAX || *n - 1 < (*p)[0])
                return -EBADMSG;
        len = (*p)[0];
        if (memchr(*p + 1, '\0', len))
                return -EBADMSG;
        memcpy(ret, *p + 1, len);
        ret[len] = '\0';
        *p += 1 + len;
        *n -= 1 + len;
        return 0;
}

static int decode_body(const uint8_t *p, size_t n, JournalRecord *r) {
        *r = (JournalRecord){};
        if (n < FIXED_SIZE || p[0] == JOURNAL_NONE || p[0] >= _JOURNAL_KIND_MAX)
                return -EBADMSG;
        for (unsigned i = 2; i < 8; i++)
                if (p[i] != 0)
                        return -EBADMSG;
        if (p[1] > MODE_MAX)
                return -EBADMSG;
        r->kind = (JournalKind)p[0];
        r->mode = p[1];
        r->epoch = get64(p + 8);
        r->at_ns = get64(p + 16);
        p += FIXED_SIZE;
        n -= FIXED_SIZE;
        if (decode_string(&p, &n, r->session) < 0 || decode_string(&p, &n, r->pod) < 0 ||
            decode_string(&p, &n, r->peer) < 0)
                return -EBADMSG;
        if (n < 4 || n - 4 != get32(p))
                return -EBADMSG;
        r->payload = p + 4;
        r->payload_len = n - 4;
        return 0;
}

int journal_record_parse(const uint8_t *p, size_t n, JournalRecord *ret, size_t *ret_len,
                         Error *reterr) {
        size_t len;

        if (n == 0)
                return JOURNAL_PARSE_END;
        if (!header_is_good(p, n)) {
                if (n > JOURNAL_HEADER_SIZE + JOURNAL_RECORD_MAX || more_follows(p, n))
                        return error_setf(reterr, -EBADMSG, "damaged header");
                return JOURNAL_PARSE_TORN;
        }
        if (p[3] != FORMAT)
                return error_setf(reterr, -EPROTONOSUPPORT, "format %u, this podferry reads %u",
                                  p[3], FORMAT);
        len = get32(p + 4);
        if (len > JOURNAL_RECORD_MAX)
                return error_setf(reterr, -EBADMSG, "record of %zu bytes", len);
        if (len > n - JOURNAL_HEADER_SIZE)
                return JOURNAL_PARSE_TORN;
        if (crc32c(0, p + JOURNAL_HEADER_SIZE, len) != get32(p + 8)) {
                if (len == n - JOURNAL_HEADER_SIZE)
                        return JOURNAL_PARSE_TORN;
                return error_setf(reterr, -EBADMSG, "damaged record");
        }
        if (decode_body(p + JOURNAL_HEADER_SIZE, len, ret) < 0)
                return error_setf(reterr, -EBADMSG, "record makes no sense");
        *ret_len = JOURNAL_HEADER_SIZE + len;
        return JOURNAL_PARSE_RECORD;
}
