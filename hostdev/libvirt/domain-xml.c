/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/libvirt/domain-xml.h"

#include <assert.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "hostdev/libvirt/xml-writer.h"

#define NAME_MAX_LENGTH 128U
#define MEMORY_MIN_MIB  32U
#define MEMORY_MAX_MIB  (4U << 20)
#define LINK_SLOT       2U /* device numbers on pcie.0 */
#define SCSI_SLOT       3U
#define PORTS_SLOT      1U
#define CMDLINE_MAX     2048U
#define FORWARDS_MAX    64U
#define FORWARD_SIZE    48U
#define CMDLINE_BASE    "quiet panic=-1 cryptomgr.notests noreplace-smp lsm= rootfstype=ramfs"
#define CMDLINE_TCG     " no_timer_check"
#define CMDLINE_TCG_ONE " nolapic_timer"
#define MEMORY_ODD_KIB  8 /* the least that QEMU can add */
#define CMDLINE_CONSOLE " console=ttyS0"

static const char *const type_names[_DOMAIN_TYPE_MAX] = {
        [DOMAIN_QEMU] = "qemu",
        [DOMAIN_KVM] = "kvm",
};

const char *domain_type_name(DomainType t) {
        assert(t < _DOMAIN_TYPE_MAX);
        return type_names[t];
}

int domain_type_from_name(const char *name) {
        for (int i = 0; i < _DOMAIN_TYPE_MAX; i++)
                if (strcmp(type_names[i], name) == 0)
                        return i;
        return -EINVAL;
}

/* Under emulation the kernel may find its timer dead when the host is busy for the few ticks that
 * it looks, and panics ("IO-APIC + timer doesn't work!"): no_timer_check has it not look. A KVM
 * guest does not by itself. nolapic_timer saves an APIC calibration of 100 ms under emulation, and
 * costs idle CPU elsewhere or with more than one vCPU. */
const char *domain_default_cmdline(DomainType type, uint32_t vcpus, bool console) {
        if (type != DOMAIN_QEMU)
                return console ? CMDLINE_BASE CMDLINE_CONSOLE : CMDLINE_BASE;
        if (vcpus != 1)
                return console ? CMDLINE_BASE CMDLINE_TCG CMDLINE_CONSOLE
                               : CMDLINE_BASE CMDLINE_TCG;
        return console ? CMDLINE_BASE CMDLINE_TCG CMDLINE_TCG_ONE CMDLINE_CONSOLE
                       : CMDLINE_BASE CMDLINE_TCG CMDLINE_TCG_ONE;
}

/* libvirt counts like a spreadsheet: sda..sdz, sdaa, ... */
void disk_target(uint32_t slot, char ret[static DISK_TARGET_SIZE]) {
        char letters[3] = {};

        assert(slot < DOMAIN_SLOTS_MAX);
        if (slot < 26) {
                letters[0] = (char)('a' + slot);
        } else {
                letters[0] = (char)('a' + slot / 26 - 1);
                letters[1] = (char)('a' + slot % 26);
        }
        (void)snprintf(ret, DISK_TARGET_SIZE, "sd%s", letters);
}

void disk_alias(uint32_t slot, char ret[static DISK_ALIAS_SIZE]) {
        assert(slot < DOMAIN_SLOTS_MAX);
        (void)snprintf(ret, DISK_ALIAS_SIZE, "ua-disk-%u", slot);
}

void nic_alias(uint32_t slot, char ret[static DISK_ALIAS_SIZE]) {
        (void)snprintf(ret, DISK_ALIAS_SIZE, "ua-nic-%u", slot);
}

static int check_path(const char *what, const char *path, size_t max, Error *reterr) {
        if (!path || path[0] != '/')
                return error_setf(reterr, -EINVAL, "%s: an absolute path is needed", what);
        if (strlen(path) >= max)
                return error_setf(reterr, -EINVAL, "%s: the path is longer than %zu bytes", what,
                                  max - 1);
        return 0;
}

static int check_disk(const DiskSpec *d, uint32_t n_controllers, Error *reterr) {
        int r;

        if (d->slot >= n_controllers * DOMAIN_SCSI_TARGETS)
                return error_setf(reterr, -EINVAL, "disk slot %u: there are %u", d->slot,
                                  n_controllers * DOMAIN_SCSI_TARGETS);
        r = check_path("disk", d->path, PATH_MAX, reterr);
        if (r < 0)
                return r;
        if (!d->format || (strcmp(d->format, "raw") != 0 && strcmp(d->format, "qcow2") != 0))
                return error_setf(reterr, -EINVAL, "disk %s: format is raw or qcow2", d->path);
        return 0;
}

static bool is_uuid(const char *s) {
        size_t i;

        for (i = 0; s && i < 36; i++) {
                if (i == 8 || i == 13 || i == 18 || i == 23) {
                        if (s[i] != '-')
                                return false;
                } else if (!s[i] || !strchr("0123456789abcdef", s[i]))
                        return false;
        }
        return s && s[i] == '\0';
}

/* No slash: libvirt makes file names of it. */
static int check_name(const char *name, Error *reterr) {
        if (!name || !name[0] || name[0] == '.' || strlen(name) > NAME_MAX_LENGTH ||
            strchr(name, '/'))
                return error_setf(reterr, -EINVAL,
                                  "domain name: 1..%u characters, no '/' and no '.' in front",
                                  NAME_MAX_LENGTH);
        return 0;
}

static int check_numbers(const DomainSpec *s, Error *reterr) {
        if (s->type >= _DOMAIN_TYPE_MAX)
                return error_setf(reterr, -EINVAL, "domain type is out of range");
        if (s->memory_mib < MEMORY_MIN_MIB || s->memory_mib > MEMORY_MAX_MIB)
                return error_setf(reterr, -EINVAL, "memory: %u..%u MiB", MEMORY_MIN_MIB,
                                  MEMORY_MAX_MIB);
        if (s->vcpus < 1 || s->vcpus > DOMAIN_VCPUS_MAX)
                return error_setf(reterr, -EINVAL, "vcpus: 1..%u", DOMAIN_VCPUS_MAX);
        if (s->n_scsi_controllers < 1 || s->n_scsi_controllers > DOMAIN_SCSI_MAX)
                return error_setf(reterr, -EINVAL, "SCSI controllers: 1..%u", DOMAIN_SCSI_MAX);
        if (s->n_spare_ports > DOMAIN_SPARE_PORTS_MAX)
                return error_setf(reterr, -EINVAL, "spare ports: 0..%u", DOMAIN_SPARE_PORTS_MAX);
        return 0;
}

static int check_disks(const DomainSpec *s, Error *reterr) {
        bool taken[DOMAIN_SLOTS_MAX] = {};
        int r;

        for (size_t i = 0; i < s->n_disks; i++) {
                r = check_disk(&s->disks[i], s->n_scsi_controllers, reterr);
                if (r < 0)
                        return r;
                if (taken[s->disks[i].slot])
                        return error_setf(reterr, -EINVAL, "disk slot %u is given twice",
                                          s->disks[i].slot);
                taken[s->disks[i].slot] = true;
        }
        return 0;
}

static int check_nic(const NicSpec *n, uint32_t n_ports, Error *reterr) {
        if (n->slot >= n_ports)
                return error_setf(reterr, -EINVAL, "interface slot %u: there are %u", n->slot,
                                  n_ports);
        if (n->mac[0] & 1)
                return error_setf(reterr, -EINVAL, "interface slot %u: a multicast MAC address",
                                  n->slot);
        if (n->tap && (!n->tap[0] || strlen(n->tap) >= IFNAMSIZ || strchr(n->tap, '%') ||
                       strncmp(n->tap, "vnet", 4) == 0)) /* libvirt's own, which it renames */
                return error_setf(reterr, -EINVAL, "interface slot %u: no name of a tap", n->slot);
        if (n->n_forwards > 0 && n->tap)
                return error_setf(reterr, -EINVAL, "interface slot %u: a tap forwards no ports",
                                  n->slot);
        if (n->n_forwards > FORWARDS_MAX)
                return error_setf(reterr, -EINVAL, "interface slot %u: at most %u ports", n->slot,
                                  FORWARDS_MAX);
        return 0;
}

static int check_nics(const DomainSpec *s, Error *reterr) {
        bool taken[DOMAIN_SPARE_PORTS_MAX] = {};

        for (size_t i = 0; i < s->n_nics; i++) {
                int r = check_nic(&s->nics[i], s->n_spare_ports, reterr);

                if (r < 0)
                        return r;
                if (taken[s->nics[i].slot])
                        return error_setf(reterr, -EINVAL, "interface slot %u is given twice",
                                          s->nics[i].slot);
                taken[s->nics[i].slot] = true;
        }
        return 0;
}

static int check_spec(const DomainSpec *s, Error *reterr) {
        int r;

        r = check_numbers(s, reterr);
        if (r < 0)
                return r;
        r = check_name(s->name, reterr);
        if (r < 0)
                return r;
        if (!is_uuid(s->uuid))
                return error_setf(reterr, -EINVAL, "domain UUID: 36 characters, lower case");
        if (s->cmdline && strlen(s->cmdline) >= CMDLINE_MAX)
                return error_setf(reterr, -EINVAL, "kernel command line: at most %u characters",
                                  CMDLINE_MAX - 1);
        r = check_path("kernel", s->kernel, PATH_MAX, reterr);
        if (r < 0)
                return r;
        r = check_path("initrd", s->initrd, PATH_MAX, reterr);
        if (r < 0)
                return r;
        r = check_path("link socket", s->link_path, sizeof(((struct sockaddr_un *)0)->sun_path),
                       reterr);
        if (r < 0)
                return r;
        if (s->console_path) {
                r = check_path("console", s->console_path, PATH_MAX, reterr);
                if (r < 0)
                        return r;
        }
        r = check_disks(s, reterr);
        return r < 0 ? r : check_nics(s, reterr);
}

static void pci_address(XmlWriter *w, unsigned bus, unsigned slot, unsigned function,
                        bool multifunction) {
        xml_open(w, "address");
        xml_attr(w, "type", "pci");
        xml_attr(w, "domain", "0x0000");
        xml_attr_hex(w, "bus", bus);
        xml_attr_hex(w, "slot", slot);
        xml_attr_hex(w, "function", function);
        if (multifunction)
                xml_attr(w, "multifunction", "on");
        xml_close(w);
}

static void write_controllers(XmlWriter *w, const DomainSpec *s) {
        xml_open(w, "controller");
        xml_attr(w, "type", "usb");
        xml_attr(w, "model", "none");
        xml_close(w);
        xml_open(w, "controller");
        xml_attr(w, "type", "pci");
        xml_attr(w, "index", "0");
        xml_attr(w, "model", "pcie-root");
        xml_close(w);
        for (unsigned i = 0; i < s->n_spare_ports; i++) {
                xml_open(w, "controller");
                xml_attr(w, "type", "pci");
                xml_attr_u64(w, "index", i + 1);
                xml_attr(w, "model", "pcie-root-port");
                xml_open(w, "target");
                xml_attr_u64(w, "chassis", i + 1);
                xml_attr_hex(w, "port", PORTS_SLOT << 3 | i);
                xml_close(w);
                pci_address(w, 0, PORTS_SLOT, i, i == 0);
                xml_close(w);
        }
        xml_open(w, "controller");
        xml_attr(w, "type", "virtio-serial");
        xml_attr(w, "index", "0");
        pci_address(w, 0, LINK_SLOT, 0, false);
        xml_close(w);
        for (unsigned i = 0; i < s->n_scsi_controllers; i++) {
                xml_open(w, "controller");
                xml_attr(w, "type", "scsi");
                xml_attr_u64(w, "index", i);
                xml_attr(w, "model", "virtio-scsi");
                pci_address(w, 0, SCSI_SLOT + i, 0, false);
                xml_close(w);
        }
}

/* A file that both hosts see must not sit in a page cache of either: cache=none, which is also what
 * libvirt asks for. It is not <shareable/>: one QEMU has it at a time, by its lock. detect_zeroes
 * keeps what is copied by a migration sparse. */
static void write_disk(XmlWriter *w, const DiskSpec *d) {
        char target[DISK_TARGET_SIZE], alias[DISK_ALIAS_SIZE];

        disk_target(d->slot, target);
        disk_alias(d->slot, alias);
        xml_open(w, "disk");
        xml_attr(w, "type", d->block ? "block" : "file");
        xml_attr(w, "device", "disk");
        xml_open(w, "driver");
        xml_attr(w, "name", "qemu");
        xml_attr(w, "type", d->format);
        if (d->shared && !d->read_only)
                xml_attr(w, "cache", "none");
        if (!d->read_only) {
                xml_attr(w, "discard", "unmap");
                xml_attr(w, "detect_zeroes", "unmap");
        }
        xml_close(w);
        xml_open(w, "source");
        xml_attr(w, d->block ? "dev" : "file", d->path);
        xml_close(w);
        xml_open(w, "target");
        xml_attr(w, "dev", target);
        xml_attr(w, "bus", "scsi");
        xml_close(w);
        if (d->read_only) {
                xml_open(w, "readonly");
                xml_close(w);
        }
        xml_open(w, "alias");
        xml_attr(w, "name", alias);
        xml_close(w);
        xml_open(w, "address");
        xml_attr(w, "type", "drive");
        xml_attr_u64(w, "controller", d->slot / DOMAIN_SCSI_TARGETS);
        xml_attr(w, "bus", "0");
        xml_attr_u64(w, "target", d->slot % DOMAIN_SCSI_TARGETS);
        xml_attr(w, "unit", "0");
        xml_close(w);
        xml_close(w);
}

static void qemu_argument(XmlWriter *w, const char *text) {
        xml_open(w, "qemu:arg");
        xml_attr(w, "value", text);
        xml_close(w);
}

/* libvirt's <interface type='user'> can forward ports only by passt, whose network looks like that
 * of the host that it runs on; QEMU's own (slirp) looks the same on every host, but libvirt has no
 * element for its ports. So an interface with ports is given to QEMU directly: the same device, at
 * the same address, that libvirt would make. QEMU listens before anything else happens, or ends at
 * once: there is no moment at which the pod runs without its ports. */
static void write_forwarding_nic(XmlWriter *w, const NicSpec *n) {
        char netdev[64 + FORWARDS_MAX * FORWARD_SIZE], device[256], alias[DISK_ALIAS_SIZE];
        size_t used;

        nic_alias(n->slot, alias);
        used = (size_t)snprintf(netdev, sizeof(netdev), "user,id=host%s", alias);
        for (size_t i = 0; i < n->n_forwards; i++) {
                const ForwardSpec *f = &n->forwards[i];

                used += (size_t)snprintf(netdev + used, sizeof(netdev) - used,
                                         ",hostfwd=%s:%u.%u.%u.%u:%u-:%u", f->udp ? "udp" : "tcp",
                                         f->address[0], f->address[1], f->address[2], f->address[3],
                                         f->host, f->pod);
                assert(used < sizeof(netdev));
        }
        /* In JSON, as libvirt gives its own devices: QEMU makes the others first, when there is no
         * port to plug this one into yet. */
        (void)snprintf(device, sizeof(device),
                       "{\"driver\":\"virtio-net-pci\",\"netdev\":\"host%s\",\"id\":\"%s\","
                       "\"mac\":\"%02x:%02x:%02x:%02x:%02x:%02x\",\"bus\":\"pci.%u\","
                       "\"addr\":\"0x0\",\"romfile\":\"\"}",
                       alias, alias, n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4],
                       n->mac[5], n->slot + 1);
        qemu_argument(w, "-netdev");
        qemu_argument(w, netdev);
        qemu_argument(w, "-device");
        qemu_argument(w, device);
}

/* QEMU before 9.0 loses pages of an emulated guest when it migrates: it takes the marks off the
 * memory that the guest has written to, 64 pages in one go, and leaves the emulated CPU's TLB as it
 * was, by which the guest goes on writing without a mark. Marks are taken one by one, and the TLB
 * told, where the size is no multiple of 64 pages. libvirt knows MiB only, so the memory that it
 * makes is not used, and takes no room. QEMU's commit 03bfc2188f06; docs/guest.md. */
static void write_odd_memory(XmlWriter *w, const DomainSpec *s) {
        unsigned long long kib = (unsigned long long)s->memory_mib * 1024 + MEMORY_ODD_KIB;
        char size[64], object[128];

        (void)snprintf(size, sizeof(size), "size=%lluk", kib);
        (void)snprintf(object, sizeof(object), "memory-backend-ram,id=pod-ram,size=%lluk", kib);
        qemu_argument(w, "-m");
        qemu_argument(w, size);
        qemu_argument(w, "-object");
        qemu_argument(w, object);
        qemu_argument(w, "-machine");
        qemu_argument(w, "memory-backend=pod-ram");
}

static void write_commandline(XmlWriter *w, const DomainSpec *s) {
        bool any = s->type == DOMAIN_QEMU;

        for (size_t i = 0; i < s->n_nics; i++)
                any = any || s->nics[i].n_forwards > 0;
        if (!any)
                return;
        xml_open(w, "qemu:commandline");
        if (s->type == DOMAIN_QEMU)
                write_odd_memory(w, s);
        for (size_t i = 0; i < s->n_nics; i++)
                if (s->nics[i].n_forwards > 0)
                        write_forwarding_nic(w, &s->nics[i]);
        xml_close(w);
}

/* Without the option ROM: nothing boots from it. libvirt makes the tap in its own namespace; it is
 * moved from there (hostdev/net), which libvirt does not mind, as it only has it by its file. */
static void write_nic(XmlWriter *w, const NicSpec *n) {
        char mac[18], alias[DISK_ALIAS_SIZE];

        (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
                       n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
        nic_alias(n->slot, alias);
        xml_open(w, "interface");
        xml_attr(w, "type", n->tap ? "ethernet" : "user");
        xml_open(w, "mac");
        xml_attr(w, "address", mac);
        xml_close(w);
        if (n->tap) {
                xml_open(w, "target");
                xml_attr(w, "dev", n->tap);
                if (n->tap_is_made)
                        xml_attr(w, "managed", "no");
                xml_close(w);
        }
        xml_open(w, "model");
        xml_attr(w, "type", "virtio");
        xml_close(w);
        xml_open(w, "rom");
        xml_attr(w, "enabled", "no");
        xml_close(w);
        xml_open(w, "alias");
        xml_attr(w, "name", alias);
        xml_close(w);
        pci_address(w, n->slot + 1, 0, 0, false);
        xml_close(w);
}

static void write_link(XmlWriter *w, const DomainSpec *s) {
        xml_open(w, "channel");
        xml_attr(w, "type", "unix");
        xml_open(w, "source");
        xml_attr(w, "mode", "bind");
        xml_attr(w, "path", s->link_path);
        xml_close(w);
        xml_open(w, "target");
        xml_attr(w, "type", "virtio");
        xml_attr(w, "name", DOMAIN_LINK_PORT);
        xml_close(w);
        xml_open(w, "address");
        xml_attr(w, "type", "virtio-serial");
        xml_attr(w, "controller", "0");
        xml_attr(w, "bus", "0");
        xml_attr(w, "port", "1");
        xml_close(w);
        xml_close(w);
}

static void write_console(XmlWriter *w, const DomainSpec *s) {
        if (!s->console_path)
                return;
        xml_open(w, "serial");
        xml_attr(w, "type", "file");
        xml_open(w, "source");
        xml_attr(w, "path", s->console_path);
        xml_attr(w, "append", "on");
        xml_close(w);
        xml_open(w, "target");
        xml_attr(w, "type", "isa-serial");
        xml_attr(w, "port", "0");
        xml_close(w);
        xml_close(w);
}

/* The emulated CPU does byte-wise string moves badly: without erms and fsrm the kernel does not use
 * them. */
static void write_cpu(XmlWriter *w, const DomainSpec *s) {
        static const char *const slow[] = { "erms", "fsrm" };

        xml_open(w, "cpu");
        xml_attr(w, "mode", s->type == DOMAIN_KVM ? "host-passthrough" : "maximum");
        xml_attr(w, "check", "none");
        xml_attr(w, "migratable", "on");
        for (size_t i = 0; s->type == DOMAIN_QEMU && i < ELEMENTSOF(slow); i++) {
                xml_open(w, "feature");
                xml_attr(w, "policy", "disable");
                xml_attr(w, "name", slow[i]);
                xml_close(w);
        }
        xml_close(w);
}

static void write_boot(XmlWriter *w, const DomainSpec *s) {
        const char *cmdline = s->cmdline;

        if (!cmdline)
                cmdline = domain_default_cmdline(s->type, s->vcpus, s->console_path != NULL);
        xml_open(w, "os");
        xml_open(w, "type");
        xml_attr(w, "arch", "x86_64");
        xml_attr(w, "machine", s->machine ?: "q35");
        xml_text(w, "hvm");
        xml_close(w);
        xml_text_element(w, "kernel", s->kernel);
        xml_text_element(w, "initrd", s->initrd);
        xml_text_element(w, "cmdline", cmdline);
        xml_close(w);
}

static void write_features(XmlWriter *w) {
        static const char *const off[] = { "smm", "vmport" };

        xml_open(w, "features");
        xml_open(w, "acpi");
        xml_close(w);
        for (size_t i = 0; i < ELEMENTSOF(off); i++) {
                xml_open(w, off[i]);
                xml_attr(w, "state", "off");
                xml_close(w);
        }
        xml_close(w);
}

static void write_size(XmlWriter *w, const DomainSpec *s) {
        char n[24];

        xml_open(w, "memory");
        xml_attr(w, "unit", "MiB");
        (void)snprintf(n, sizeof(n), "%llu", (unsigned long long)s->memory_mib);
        xml_text(w, n);
        xml_close(w);
        (void)snprintf(n, sizeof(n), "%u", s->vcpus);
        xml_text_element(w, "vcpu", n);
}

/* At every start libvirt reads some 400 properties of the CPU, one by one: 400 ms of 500 here, and
 * as much of every migration, at the destination. The answers are for check='partial' and 'full',
 * which we do not ask for. Without this capability of QEMU's it reads two. */
static void write_quick_start(XmlWriter *w) {
        xml_open(w, "qemu:capabilities");
        xml_open(w, "qemu:del");
        xml_attr(w, "capability", "cpu-unavailable-features");
        xml_close(w);
        xml_close(w);
}

int domain_xml(const DomainSpec *spec, char **ret, Error *reterr) {
        XmlWriter w = {};
        int r;

        r = check_spec(spec, reterr);
        if (r < 0)
                return r;
        xml_open(&w, "domain");
        xml_attr(&w, "type", domain_type_name(spec->type));
        xml_attr(&w, "xmlns:qemu", "http://libvirt.org/schemas/domain/qemu/1.0");
        xml_text_element(&w, "name", spec->name);
        xml_text_element(&w, "uuid", spec->uuid);
        write_size(&w, spec);
        write_boot(&w, spec);
        write_features(&w);
        write_cpu(&w, spec);
        xml_text_element(&w, "on_poweroff", "destroy");
        xml_text_element(&w, "on_reboot", "destroy");
        xml_text_element(&w, "on_crash", "destroy");
        xml_open(&w, "devices");
        write_controllers(&w, spec);
        for (size_t i = 0; i < spec->n_disks; i++)
                write_disk(&w, &spec->disks[i]);
        for (size_t i = 0; i < spec->n_nics; i++)
                if (spec->nics[i].n_forwards == 0)
                        write_nic(&w, &spec->nics[i]);
        write_link(&w, spec);
        write_console(&w, spec);
        xml_open(&w, "memballoon");
        xml_attr(&w, "model", "none");
        xml_close(&w);
        xml_close(&w);
        write_commandline(&w, spec);
        write_quick_start(&w);
        xml_close(&w);
        return xml_finish(&w, ret, reterr);
}

int disk_xml(const DiskSpec *disk, char **ret, Error *reterr) {
        XmlWriter w = {};
        int r;

        r = check_disk(disk, DOMAIN_SCSI_MAX, reterr);
        if (r < 0)
                return r;
        write_disk(&w, disk);
        return xml_finish(&w, ret, reterr);
}

int nic_xml(const NicSpec *nic, char **ret, Error *reterr) {
        XmlWriter w = {};
        int r;

        r = check_nic(nic, DOMAIN_SPARE_PORTS_MAX, reterr);
        if (r < 0)
                return r;
        write_nic(&w, nic);
        return xml_finish(&w, ret, reterr);
}
