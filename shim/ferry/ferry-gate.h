/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* One look at what the source's libvirt says to the other libvirt: is it the call by which the
 * other one lets the guest run? Packets of libvirt's protocol are numbers in network order, the
 * first of them the packet's length, and their layout and numbers do not change between versions.
 * No state; any thread. */
typedef enum GateVerdict {
        GATE_PASS,    /* *ret_len bytes, the whole packet, are of no concern */
        GATE_MORE,    /* too little of it is there to tell */
        GATE_STOP,    /* this call: from here on the guest may come to run over there */
        GATE_GARBLED, /* not libvirt's protocol */
} GateVerdict;

/* p: the beginning of a packet, n bytes of it and of what follows; no more than max are ever
 * shown. */
GateVerdict gate_look(const uint8_t *p, size_t n, size_t max, uint32_t *ret_len);
