/* SPDX-License-Identifier: Apache-2.0 */
/* The wire layout, both ways; frame.h describes it. Nothing here keeps state. */
#include "lib/frame.h"

#include <string.h>

#include "lib/crc32c.h"

static const uint8_t magic[4] = { 'P', 'f', 'S', 0x9e };

void put_le16(uint8_t *p, uint16_t v) {
        p[0] = (uint8_t)v;
        p[1] = (uint8_t)(v >> 8);
}

void put_le32(uint8_t *p, uint32_t v) {
        put_le16(p, (uint16_t)v);
        put_le16(p + 2, (uint16_t)(v >> 16));
}

void put_le64(uint8_t *p, uint64_t v) {
        put_le32(p, (uint32_t)v);
        put_le32(p + 4, (uint32_t)(v >> 32));
}

uint16_t get_le16(const uint8_t *p) {
        return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t get_le32(const uint8_t *p) {
        return (uint32_t)get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

uint64_t get_le64(const uint8_t *p) {
        return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

void frame_put(const Frame *f, uint8_t out[FRAME_HEADER]) {
        memcpy(out, magic, sizeof(magic));
        out[4] = FRAME_VERSION;
        out[5] = f->type;
        put_le16(out + 6, f->flags);
        put_le32(out + 8, f->link);
        put_le32(out + 12, f->channel);
        put_le64(out + 16, f->seq);
        put_le64(out + 24, f->ack);
        put_le32(out + 32, f->length);
        put_le32(out + 36, f->crc);
        put_le32(out + 40, crc32c(0, out, 40));
}

FrameCheck frame_get(const uint8_t *p, size_t n, Frame *ret) {
        if (memcmp(p, magic, n < sizeof(magic) ? n : sizeof(magic)) != 0)
                return FRAME_BAD;
        if (n < FRAME_HEADER)
                return FRAME_SHORT;
        if (get_le32(p + 40) != crc32c(0, p, 40))
                return FRAME_BAD;
        if (p[4] != FRAME_VERSION)
                return FRAME_FOREIGN;
        *ret = (Frame){
                .type = p[5],
                .flags = get_le16(p + 6),
                .link = get_le32(p + 8),
                .channel = get_le32(p + 12),
                .seq = get_le64(p + 16),
                .ack = get_le64(p + 24),
                .length = get_le32(p + 32),
                .crc = get_le32(p + 36),
        };
        return ret->length > FRAME_PAYLOAD_MAX ? FRAME_BAD : FRAME_GOOD;
}

bool frame_payload_good(const Frame *f, const uint8_t *payload) {
        return crc32c(0, payload, f->length) == f->crc;
}

size_t frame_find(const uint8_t *p, size_t from, size_t n) {
        while (from < n) {
                const uint8_t *at = memchr(p + from, magic[0], n - from);
                size_t left;

                if (!at)
                        return n;
                from = (size_t)(at - p);
                left = n - from;
                if (memcmp(at, magic, left < sizeof(magic) ? left : sizeof(magic)) == 0)
                        return from;
                from++;
        }
        return n;
}

bool frame_type_is_link(uint8_t type) {
        return type == FRAME_HELLO || type == FRAME_REFUSE || type == FRAME_RESYNC;
}

bool frame_type_is_numbered(uint8_t type) {
        return type == FRAME_DATA || type == FRAME_EOF || type == FRAME_RESET;
}

void hello_put(const Hello *h, uint8_t out[FRAME_HELLO_SIZE]) {
        memcpy(out, h->id, sizeof(h->id));
        put_le64(out + 16, h->epoch);
        put_le64(out + 24, h->expected);
        put_le32(out + 32, h->serial);
        put_le32(out + 36, h->role);
        put_le32(out + 40, h->window);
        put_le32(out + 44, h->total);
        put_le32(out + 48, h->max_channels);
        put_le32(out + 52, h->initial);
        put_le32(out + 56, h->control);
        put_le32(out + 60, h->spare);
}

void hello_get(const uint8_t in[FRAME_HELLO_SIZE], Hello *ret) {
        memcpy(ret->id, in, sizeof(ret->id));
        ret->epoch = get_le64(in + 16);
        ret->expected = get_le64(in + 24);
        ret->serial = get_le32(in + 32);
        ret->role = get_le32(in + 36);
        ret->window = get_le32(in + 40);
        ret->total = get_le32(in + 44);
        ret->max_channels = get_le32(in + 48);
        ret->initial = get_le32(in + 52);
        ret->control = get_le32(in + 56);
        ret->spare = get_le32(in + 60);
}

void refuse_put(const Refuse *r, uint8_t out[FRAME_REFUSE_SIZE]) {
        memcpy(out, r->id, sizeof(r->id));
        put_le64(out + 16, r->epoch);
        put_le32(out + 24, r->serial);
        put_le32(out + 28, r->reason);
}

void refuse_get(const uint8_t in[FRAME_REFUSE_SIZE], Refuse *ret) {
        memcpy(ret->id, in, sizeof(ret->id));
        ret->epoch = get_le64(in + 16);
        ret->serial = get_le32(in + 24);
        ret->reason = get_le32(in + 28);
}
