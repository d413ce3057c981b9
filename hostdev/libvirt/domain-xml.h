/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* The pod's VM as a typed description, and the libvirt XML made from it.
 *
 * Everything that the guest can see (machine, CPU, memory, PCI and drive addresses, the port's
 * number) follows from the description alone, and every address is written out. So two hosts that
 * write XML from the same description make the same machine, whatever paths they put in: that is
 * what lets a domain migrate. Pure functions, no state, any thread.
 *
 * PCI, on pcie.0: 00:01.0-7 the root ports for interfaces, there from the start or plugged later
 * (bus 1..n, the one in slot s on bus s + 1), 00:02.0 the virtio-serial controller,
 * 00:03.0..00:06.0 the virtio-scsi controllers. */

#define DOMAIN_LINK_PORT       "org.podferry.link.0" /* name of the guest link's virtio port */
#define DOMAIN_SCSI_MAX        4U
#define DOMAIN_SCSI_TARGETS    64U
#define DOMAIN_SLOTS_MAX       (DOMAIN_SCSI_MAX * DOMAIN_SCSI_TARGETS)
#define DOMAIN_SPARE_PORTS_MAX 8U
#define DOMAIN_VCPUS_MAX       64U

typedef enum DomainType {
        DOMAIN_QEMU, /* emulated (TCG) */
        DOMAIN_KVM,
        _DOMAIN_TYPE_MAX,
} DomainType;

const char *domain_type_name(DomainType t);
int domain_type_from_name(const char *name); /* -EINVAL if it is neither "kvm" nor "qemu" */

typedef struct DiskSpec {
        uint32_t slot;      /* controller * 64 + target; lun 0 */
        const char *path;   /* absolute */
        const char *format; /* "raw" or "qcow2" */
        bool read_only;
        bool shared; /* the other host sees the same file */
        bool block;  /* path is a block device */
} DiskSpec;

/* A port of the host that QEMU listens at, for the hypervisor's own network. */
typedef struct ForwardSpec {
        uint8_t address[4]; /* 0.0.0.0: all of the host's */
        uint16_t host, pod;
        bool udp;
} ForwardSpec;

typedef struct NicSpec {
        uint32_t slot; /* below n_spare_ports */
        uint8_t mac[6];
        const char *tap; /* made by libvirt under this name; NULL: the hypervisor's own network */
        const ForwardSpec *forwards; /* without a tap only */
        size_t n_forwards;
        bool tap_is_made; /* it is there already, and not libvirt's */
} NicSpec;

typedef struct DomainSpec {
        DomainType type;
        const char *name;
        const char *uuid; /* 36 characters, lower case */
        const char
                *machine; /* NULL: "q35"; a migrated domain needs the versioned name (VirtDomain) */
        uint64_t memory_mib;
        uint32_t vcpus;
        const char *kernel, *initrd; /* absolute paths: an ELF vmlinux (PVH), a cpio */
        const char *cmdline;         /* NULL: domain_default_cmdline() */
        const char *link_path;       /* socket where QEMU listens for the host end of the link */
        const char *console_path; /* file that takes the serial console; NULL: no console. Must be
                                     NULL on both hosts or on neither */
        uint32_t n_scsi_controllers; /* 1..4 */
        uint32_t n_spare_ports;      /* root ports for NICs, 0..8 */
        const DiskSpec *disks;       /* at most one per slot */
        size_t n_disks;
        const NicSpec *nics; /* at most one per slot */
        size_t n_nics;
} DomainSpec;

/* -EINVAL names the field that is out of range or cannot stand in XML. *ret is the caller's. */
int domain_xml(const DomainSpec *spec, char **ret, Error *reterr);
int disk_xml(const DiskSpec *disk, char **ret, Error *reterr); /* <disk> alone, for hot-plug */

int nic_xml(const NicSpec *nic, char **ret, Error *reterr); /* <interface> alone */

/* Kernel command line for a type and a number of vCPUs; a literal. */
const char *domain_default_cmdline(DomainType type, uint32_t vcpus, bool console);

/* Name of the disk in a slot, as libvirt wants it ("sda".."sdiv"), e.g. in the list of disks that a
 * migration copies; and the alias by which its removal is reported. */
#define DISK_TARGET_SIZE 8U
#define DISK_ALIAS_SIZE  24U
void disk_target(uint32_t slot, char ret[static DISK_TARGET_SIZE]);
void disk_alias(uint32_t slot, char ret[static DISK_ALIAS_SIZE]);
void nic_alias(uint32_t slot, char ret[static DISK_ALIAS_SIZE]);
