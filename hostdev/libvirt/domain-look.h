/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Single facts out of a domain's XML, which libvirt writes: it is searched for elements and their
 * attributes, and what is not found is not there. Pure, any thread. */

/* Names of the disks: "sda", ... */
typedef void (*DomainLookVisitor)(void *userdata, const char *name);
void domain_look_targets(const char *xml, DomainLookVisitor visit, void *userdata);
/* How QEMU caches this disk; "" if libvirt does not say. */
#define DOMAIN_LOOK_SIZE 32U
void domain_look_cache(const char *xml, const char *target, char ret[static DOMAIN_LOOK_SIZE]);
/* What is behind the disk, and whether it is being copied elsewhere. `source` is empty if there is
 * no such disk, or its name is too long. */
typedef struct DomainLookDisk {
        char source[4096];
        bool copying, ready;
        bool ending; /* libvirt is at it, one way or the other */
} DomainLookDisk;
void domain_look_disk(const char *xml, const char *target, DomainLookDisk *ret);
/* Devices that may not be able to move, by the names that controllers/migration/check-rules.c has
 * for them: once each. */
void domain_look_devices(const char *xml, DomainLookVisitor visit, void *userdata);
/* Size of the huge pages behind the guest's memory; 0: none. */
uint64_t domain_look_huge_page_kib(const char *xml);
