/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/ferry/ferry-gate.h"

#include <stdbool.h>

#define HEADER      28U         /* length, program, version, procedure, type, serial, status */
#define PACKET_MAX  (64U << 20) /* libvirt's own limit is 32 MiB and 4 bytes */
#define PROGRAM     0x20008086U /* the hypervisor drivers */
#define KEEPALIVE   0x6b656570U
#define FINISH3     217U /* virDomainMigrateFinish3, and the one with typed parameters */
#define FINISH3_NEW 306U
#define TYPE_CALL   0U

static uint32_t number(const uint8_t *p) {
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Its last argument says whether it is a cancellation: then no guest is let run by it. One that is
 * too long to be seen whole counts as none. */
static GateVerdict look_at_finish(const uint8_t *p, size_t n, size_t max, uint32_t len) {
        if (len > max)
                return GATE_STOP;
        if (n < len)
                return GATE_MORE;
        return len >= HEADER + 4 && number(p + len - 4) != 0 ? GATE_PASS : GATE_STOP;
}

GateVerdict gate_look(const uint8_t *p, size_t n, size_t max, uint32_t *ret_len) {
        uint32_t len, program, procedure;

        if (n < HEADER)
                return GATE_MORE;
        len = number(p);
        program = number(p + 4);
        procedure = number(p + 12);
        /* Programs of libvirt's family differ in their last byte only. */
        if (len < HEADER || len > PACKET_MAX ||
            ((program ^ PROGRAM) > 0xffU && program != KEEPALIVE))
                return GATE_GARBLED;
        *ret_len = len;
        if (program == PROGRAM && number(p + 16) == TYPE_CALL &&
            (procedure == FINISH3 || procedure == FINISH3_NEW))
                return look_at_finish(p, n, max, len);
        return GATE_PASS;
}
