/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

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
/* Devices that may not be able to move, by the names that controllers/migration/check-rules.c has
 * for them: once each. */
void domain_look_devices(const char *xml, DomainLookVisitor visit, void *userdata);
/* Size of the huge pages behind the guest's memory; 0: none. */
uint64_t domain_look_huge_page_kib(const char *xml);
