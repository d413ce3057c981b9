/* SPDX-License-Identifier: Apache-2.0 */
#include "hostdev/libvirt/domain-look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

typedef struct Span {
        const char *from, *to;
} Span;

/* The next element "<name ...>" at or after `at`, to its end tag or "/>"; from NULL: none. */
static Span next_element(const char *at, const char *to, const char *name) {
        char open[40], close[40];
        size_t n = strlen(name);

        (void)snprintf(open, sizeof(open), "<%s", name);
        (void)snprintf(close, sizeof(close), "</%s>", name);
        while ((at = memmem(at, (size_t)(to - at), open, n + 1))) {
                const char *after = at + n + 1, *bracket, *end;

                if (after < to && (*after == ' ' || *after == '>' || *after == '/')) {
                        bracket = memchr(after, '>', (size_t)(to - after));
                        if (!bracket)
                                break;
                        if (bracket[-1] == '/')
                                return (Span){ at, bracket + 1 };
                        end = memmem(bracket, (size_t)(to - bracket), close, strlen(close));
                        return (Span){ at, end ? end + strlen(close) : to };
                }
                at = after;
        }
        return (Span){};
}

/* The value of an attribute in the first tag of this name within the span. */
static void attribute(Span in, const char *tag, const char *name, char *ret, size_t size) {
        Span e = in.from ? next_element(in.from, in.to, tag) : in;
        const char *bracket, *at, *end;
        char key[40];

        ret[0] = '\0';
        if (!e.from || !(bracket = memchr(e.from, '>', (size_t)(e.to - e.from))))
                return;
        (void)snprintf(key, sizeof(key), " %s='", name);
        at = memmem(e.from, (size_t)(bracket - e.from), key, strlen(key));
        if (!at)
                return;
        at += strlen(key);
        end = memchr(at, '\'', (size_t)(bracket - at));
        if (end && (size_t)(end - at) < size)
                (void)snprintf(ret, size, "%.*s", (int)(end - at), at);
}

static Span all_of(const char *xml) {
        return (Span){ xml, xml + strlen(xml) };
}

void domain_look_targets(const char *xml, DomainLookVisitor visit, void *userdata) {
        Span all = all_of(xml), disk;
        char name[DOMAIN_LOOK_SIZE];

        for (const char *at = xml; (disk = next_element(at, all.to, "disk")).from; at = disk.to) {
                attribute(disk, "target", "dev", name, sizeof(name));
                if (name[0])
                        visit(userdata, name);
        }
}

void domain_look_cache(const char *xml, const char *target, char ret[static DOMAIN_LOOK_SIZE]) {
        Span all = all_of(xml), disk;
        char name[DOMAIN_LOOK_SIZE];

        ret[0] = '\0';
        for (const char *at = xml; (disk = next_element(at, all.to, "disk")).from; at = disk.to) {
                attribute(disk, "target", "dev", name, sizeof(name));
                if (strcmp(name, target) != 0)
                        continue;
                attribute(disk, "driver", "cache", ret, DOMAIN_LOOK_SIZE);
                return;
        }
}

/* In place: XML's five names for characters. */
static void unescape(char *text) {
        static const struct {
                const char *name;
                char c;
        } names[] = { { "&amp;", '&' },
                      { "&lt;", '<' },
                      { "&gt;", '>' },
                      { "&apos;", '\'' },
                      { "&quot;", '"' } };
        char *to = text;

        while (*text) {
                char c = *text;
                size_t n = 1;

                for (size_t i = 0; c == '&' && i < ELEMENTSOF(names); i++)
                        if (strncmp(text, names[i].name, strlen(names[i].name)) == 0) {
                                n = strlen(names[i].name);
                                *to = names[i].c;
                                break;
                        }
                if (n == 1)
                        *to = c;
                to++;
                text += n;
        }
        *to = '\0';
}

void domain_look_disk(const char *xml, const char *target, DomainLookDisk *ret) {
        Span all = all_of(xml), disk;
        char text[DOMAIN_LOOK_SIZE];

        *ret = (DomainLookDisk){};
        for (const char *at = xml; (disk = next_element(at, all.to, "disk")).from; at = disk.to) {
                attribute(disk, "target", "dev", text, sizeof(text));
                if (strcmp(text, target) != 0)
                        continue;
                attribute(disk, "source", "file", ret->source, sizeof(ret->source));
                if (!ret->source[0])
                        attribute(disk, "source", "dev", ret->source, sizeof(ret->source));
                unescape(ret->source);
                ret->copying = next_element(disk.from, disk.to, "mirror").from;
                attribute(disk, "mirror", "ready", text, sizeof(text));
                ret->ready = strcmp(text, "yes") == 0;
                ret->ending = strcmp(text, "pivot") == 0 || strcmp(text, "abort") == 0;
                return;
        }
}

/* An element, and what one of its attributes says; NULL: that it is there is enough. */
static const struct {
        const char *element, *tag, *name, *value, *device;
} looks[] = {
        { "hostdev", "hostdev", "type", "pci", "hostdev-pci" },
        { "hostdev", "hostdev", "type", "usb", "hostdev-usb" },
        { "hostdev", "hostdev", "type", "scsi", "hostdev-scsi" },
        { "hostdev", "hostdev", "type", "mdev", "hostdev-mdev" },
        { "interface", "interface", "type", "hostdev", "interface-hostdev" },
        { "interface", "interface", "type", "vdpa", "interface-vdpa" },
        { "interface", "interface", "type", "vhostuser", "vhost-user" },
        { "disk", "disk", "type", "vhostuser", "vhost-user" },
        { "disk", "reservations", "managed", "yes", "reservations" },
        { "disk", "reservations", "managed", "no", "reservations" },
        { "memory", "memory", "model", "nvdimm", "nvdimm" },
        { "memory", "memory", "model", "virtio-pmem", "nvdimm" },
        { "filesystem", NULL, NULL, NULL, "filesystem" },
        { "tpm", NULL, NULL, NULL, "tpm" },
        { "shmem", NULL, NULL, NULL, "shmem" },
        { "launchSecurity", NULL, NULL, NULL, "launch-security" },
        { "redirdev", NULL, NULL, NULL, "redirdev" },
};

void domain_look_devices(const char *xml, DomainLookVisitor visit, void *userdata) {
        Span all = all_of(xml), e;
        char value[DOMAIN_LOOK_SIZE];

        for (size_t i = 0; i < ELEMENTSOF(looks); i++)
                for (const char *at = xml; (e = next_element(at, all.to, looks[i].element)).from;
                     at = e.to) {
                        if (looks[i].tag)
                                attribute(e, looks[i].tag, looks[i].name, value, sizeof(value));
                        if (looks[i].tag && strcmp(value, looks[i].value) != 0)
                                continue;
                        visit(userdata, looks[i].device);
                        break;
                }
}

uint64_t domain_look_huge_page_kib(const char *xml) {
        Span all = all_of(xml), e = next_element(xml, all.to, "hugepages");
        char size[DOMAIN_LOOK_SIZE], unit[DOMAIN_LOOK_SIZE];
        uint64_t n;

        if (!e.from)
                return 0;
        attribute(e, "page", "size", size, sizeof(size));
        attribute(e, "page", "unit", unit, sizeof(unit));
        n = strtoull(size, NULL, 10);
        if (strcmp(unit, "M") == 0 || strcmp(unit, "MiB") == 0)
                n *= 1024;
        else if (strcmp(unit, "G") == 0 || strcmp(unit, "GiB") == 0)
                n *= 1024ULL * 1024;
        return n > 0 ? n : 2048; /* the default of x86_64 */
}
