/* SPDX-License-Identifier: Apache-2.0 */
/* The domain as libvirt is told it: golden, the same machine on another host, hostile strings.
 * Neither screen nor console listens anywhere, so that none is to be found again after a move.
 *
 * rows: F24 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hostdev/libvirt/domain-xml.h"
#include "hostdev/libvirt/xml-writer.h"

static const DiskSpec disks[] = {
        { .slot = 0, .path = "/l/a.erofs", .format = "raw", .read_only = true },
        { .slot = 65, .path = "/s/b.raw", .format = "raw" },
        { .slot = 70, .path = "/v/c.qcow2", .format = "qcow2", .shared = true },
};

static const DomainSpec good = {
        .type = DOMAIN_QEMU,
        .name = "podferry-web",
        .uuid = "11111111-2222-4333-8444-555555555555",
        .machine = "pc-q35-7.2",
        .memory_mib = 256,
        .vcpus = 1,
        .kernel = "/g/vmlinux",
        .initrd = "/g/initrd",
        .link_path = "/run/podferry/web/link.sock",
        .console_path = "/run/podferry/web/console.log",
        .n_scsi_controllers = 2,
        .n_spare_ports = 2,
        .disks = disks,
        .n_disks = ELEMENTSOF(disks),
};

/* A change of the golden document changes what the guest sees, and breaks migration from and to
 * hosts that have the old one. PODFERRY_GOLDEN=write writes it anew. */
static void test_golden(void **state) {
        const char *mode = getenv("PODFERRY_GOLDEN");
        _cleanup_free_ char *xml = NULL;
        char golden[16384] = {};
        FILE *f;

        assert_int_equal(domain_xml(&good, &xml, NULL), 0);
        if (mode && strcmp(mode, "write") == 0) {
                f = fopen(GOLDEN_DIR "/domain.xml", "we");
                assert_non_null(f);
                assert_true(fputs(xml, f) >= 0);
                assert_int_equal(fclose(f), 0);
        }
        f = fopen(GOLDEN_DIR "/domain.xml", "re");
        assert_non_null(f);
        assert_true(fread(golden, 1, sizeof(golden) - 1, f) > 0);
        assert_int_equal(fclose(f), 0);
        assert_string_equal(xml, golden);
        assert_null(strstr(xml, "<graphics"));
        assert_null(strstr(xml, "listen"));
}

static char *replace(const char *text, const char *from, const char *to) {
        const char *at = strstr(text, from);
        char *ret = NULL;

        if (!at)
                return strdup(text);
        if (asprintf(&ret, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) < 0)
                return NULL;
        return ret;
}

/* Other paths change paths and nothing else. */
static void test_same_machine_elsewhere(void **state) {
        _cleanup_free_ char *here = NULL, *there = NULL;
        DiskSpec other[ELEMENTSOF(disks)];
        DomainSpec spec = good;

        memcpy(other, disks, sizeof(disks));
        other[0].path = "/x/A";
        other[1].path = "/x/B";
        spec.disks = other;
        spec.kernel = "/x/k";
        spec.link_path = "/x/l";
        assert_int_equal(domain_xml(&good, &here, NULL), 0);
        assert_int_equal(domain_xml(&spec, &there, NULL), 0);
        for (size_t i = 0; i < 4; i++) {
                const char *const from[] = { "/l/a.erofs", "/s/b.raw", "/g/vmlinux",
                                             "/run/podferry/web/link.sock" };
                const char *const to[] = { "/x/A", "/x/B", "/x/k", "/x/l" };
                char *next = replace(here, from[i], to[i]);

                assert_non_null(next);
                free(here);
                here = next;
        }
        assert_string_equal(here, there);
}

typedef struct Hostile {
        const char *path, *expect; /* NULL: refused */
} Hostile;

static void test_hostile_strings(void **state) {
        static const Hostile rows[] = {
                { "/a'/><evil/>\"&", "file=\"/a&apos;/&gt;&lt;evil/&gt;&quot;&amp;\"" },
                { "/]]>", "file=\"/]]&gt;\"" },
                { "/a&amp;b", "file=\"/a&amp;amp;b\"" },
                { "/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                  "file=\"/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
                { "/a b", "file=\"/a b\"" },
                { "/a\nb", NULL },
                { "/a\x01", NULL },
                { "/a\x7f", NULL },
                { "/\xff", NULL },
                { "/\xc3", NULL },                 /* cut off */
                { "/\xc0\xaf", NULL },             /* overlong */
                { "/\xed\xa0\x80", NULL },         /* surrogate */
                { "/\xef\xbf\xbe", NULL },         /* U+FFFE */
                { "/\xf4\x90\x80\x80", NULL },     /* above U+10FFFF */
                { "/\xf8\x88\x80\x80\x80", NULL }, /* five bytes */
                { "relative", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *xml = NULL;
                DiskSpec d = { .slot = 1, .path = rows[i].path, .format = "raw" };
                int r = disk_xml(&d, &xml, NULL);

                assert_int_equal(r, rows[i].expect ? 0 : -EINVAL);
                if (rows[i].expect)
                        assert_non_null(strstr(xml, rows[i].expect));
        }
}

static void refused(const DomainSpec *spec, const char *names) {
        Error e = ERROR_INIT;
        char *xml = NULL;

        assert_int_equal(domain_xml(spec, &xml, &e), -EINVAL);
        assert_null(xml);
        if (!strstr(e.text, names))
                fail_msg("'%s' does not name '%s'", e.text, names);
}

#define REFUSED(names, ...)                                                                        \
        do {                                                                                       \
                DomainSpec s = good;                                                               \
                __VA_ARGS__;                                                                       \
                refused(&s, names);                                                                \
        } while (0)

static void test_nics(void **state) {
        static const NicSpec nics[] = { { 1, { 2, 0, 0, 0, 0, 1 }, "pf0n1" },
                                        { 0, { 2, 0, 0, 0, 0, 2 }, NULL } };
        static const NicSpec bad[][2] = {
                { { 2, { 2 }, "t" } }, /* no such port */
                { { 0, { 3 }, "t" } }, /* a group's address */
                { { 0, { 2 }, "" } },  /* names of taps */
                { { 0, { 2 }, "sixteen-letters-" } },
                { { 0, { 2 }, "vnet7" } },
                { { 0, { 2 }, "a%d" } },
                { { 1, { 2 }, "t" }, { 1, { 4 }, "u" } }, /* one slot twice */
        };
        _cleanup_free_ char *xml = NULL, *alone = NULL, *there = NULL;
        const NicSpec made = { 1, { 2 }, "pf0n1", .tap_is_made = true };
        DomainSpec s = good;

        s.nics = nics;
        s.n_nics = 2;
        assert_int_equal(domain_xml(&s, &xml, NULL), 0);
        assert_int_equal(nic_xml(&nics[0], &alone, NULL), 0);
        assert_string_equal(alone, "<interface type=\"ethernet\">\n"
                                   "  <mac address=\"02:00:00:00:00:01\"/>\n"
                                   "  <target dev=\"pf0n1\"/>\n"
                                   "  <model type=\"virtio\"/>\n"
                                   "  <rom enabled=\"no\"/>\n"
                                   "  <alias name=\"ua-nic-1\"/>\n"
                                   "  <address type=\"pci\" domain=\"0x0000\" bus=\"0x02\" "
                                   "slot=\"0x00\" function=\"0x00\"/>\n"
                                   "</interface>\n");
        assert_non_null(strstr(xml, "<interface type=\"user\">"));
        assert_non_null(strstr(xml, "<target dev=\"pf0n1\"/>"));
        assert_int_equal(nic_xml(&made, &there, NULL), 0);
        assert_non_null(strstr(there, "<target dev=\"pf0n1\" managed=\"no\"/>"));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                s.nics = bad[i];
                s.n_nics = bad[i][1].mac[0] ? 2 : 1;
                refused(&s, "interface slot");
        }
}

/* A port makes it QEMU's device, and libvirt's no more. */
static void test_forwards(void **state) {
        static const ForwardSpec forwards[65] = { { { 127, 0, 0, 1 }, 8080, 80, false },
                                                  { {}, 53, 5353, true } };
        NicSpec nic = { 1, { 2, 0, 0, 0, 0, 1 }, NULL, forwards, 2 };
        _cleanup_free_ char *xml = NULL;
        DomainSpec s = good;

        s.nics = &nic;
        s.n_nics = 1;
        assert_int_equal(domain_xml(&s, &xml, NULL), 0);
        assert_null(strstr(xml, "<interface"));
        assert_non_null(strstr(xml, "<qemu:arg value=\"user,id=hostua-nic-1,"
                                    "hostfwd=tcp:127.0.0.1:8080-:80,"
                                    "hostfwd=udp:0.0.0.0:53-:5353\"/>"));
        assert_non_null(strstr(xml, "&quot;mac&quot;:&quot;02:00:00:00:00:01&quot;,"
                                    "&quot;bus&quot;:&quot;pci.2&quot;"));
        nic.tap = "t";
        refused(&s, "interface slot");
        nic.tap = NULL;
        nic.n_forwards = ELEMENTSOF(forwards);
        refused(&s, "interface slot");
}

/* QEMU marks what an emulated guest writes to rightly only in memory that is no multiple of 256
 * KiB. */
static void test_odd_memory(void **state) {
        static const uint64_t sizes[] = { 64, 256, 257, 4096 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ char *xml = NULL, *kvm = NULL;
                unsigned long long kib = 0, same = 0;
                DomainSpec s = good;
                const char *at;

                s.type = DOMAIN_QEMU;
                s.memory_mib = sizes[i];
                assert_int_equal(domain_xml(&s, &xml, NULL), 0);
                at = strstr(xml, "value=\"size=");
                assert_non_null(at);
                assert_int_equal(sscanf(at, "value=\"size=%lluk\"", &kib), 1);
                at = strstr(xml, "memory-backend-ram,id=pod-ram,size=");
                assert_non_null(at);
                assert_int_equal(sscanf(at, "memory-backend-ram,id=pod-ram,size=%lluk", &same), 1);
                assert_int_equal(kib, same);
                assert_true(kib > sizes[i] * 1024 && kib < sizes[i] * 1024 + 256);
                s.type = DOMAIN_KVM;
                assert_int_equal(domain_xml(&s, &kvm, NULL), 0);
                assert_null(strstr(kvm, "pod-ram"));
        }
}

static void test_refusals(void **state) {
        static const DiskSpec twice[] = { { .slot = 3, .path = "/a", .format = "raw" },
                                          { .slot = 3, .path = "/b", .format = "raw" } };
        static const DiskSpec far[] = { { .slot = 128, .path = "/a", .format = "raw" } };
        static const DiskSpec odd[] = { { .slot = 0, .path = "/a", .format = "vmdk" } };
        char long_path[200], long_cmdline[4000];

        memset(long_path, 'a', sizeof(long_path));
        long_path[0] = '/';
        long_path[sizeof(long_path) - 1] = '\0';
        memset(long_cmdline, 'a', sizeof(long_cmdline));
        long_cmdline[sizeof(long_cmdline) - 1] = '\0';
        REFUSED("name", s.name = "a/b");
        REFUSED("name", s.name = "");
        REFUSED("name", s.name = NULL);
        REFUSED("name", s.name = ".a");
        REFUSED("name", s.name = long_path + 1);
        REFUSED("name", s.name = "a\nb");
        REFUSED("UUID", s.uuid = "11111111-2222-4333-8444-55555555555");
        REFUSED("UUID", s.uuid = "11111111-2222-4333-8444-55555555555G");
        REFUSED("UUID", s.uuid = "11111111-2222-4333-8444-5555555555555");
        REFUSED("UUID", s.uuid = "");
        REFUSED("UUID", s.uuid = NULL);
        REFUSED("type", s.type = _DOMAIN_TYPE_MAX);
        REFUSED("memory", s.memory_mib = 0);
        REFUSED("memory", s.memory_mib = UINT64_MAX);
        REFUSED("vcpus", s.vcpus = 0);
        REFUSED("vcpus", s.vcpus = UINT32_MAX);
        REFUSED("controllers", s.n_scsi_controllers = 0);
        REFUSED("controllers", s.n_scsi_controllers = 5);
        REFUSED("ports", s.n_spare_ports = 9);
        REFUSED("kernel", s.kernel = "vmlinux");
        REFUSED("initrd", s.initrd = NULL);
        REFUSED("link socket", s.link_path = long_path);
        REFUSED("console", s.console_path = "console");
        REFUSED("command line", s.cmdline = long_cmdline);
        REFUSED("cmdline", s.cmdline = "a\x1b");
        REFUSED("twice", (s.disks = twice, s.n_disks = 2));
        REFUSED("slot 128", (s.disks = far, s.n_disks = 1));
        REFUSED("format", (s.disks = odd, s.n_disks = 1));
}

static void test_names_of_slots(void **state) {
        static const struct {
                uint32_t slot;
                const char *target, *alias;
        } rows[] = { { 0, "sda", "ua-disk-0" },    { 25, "sdz", "ua-disk-25" },
                     { 26, "sdaa", "ua-disk-26" }, { 51, "sdaz", "ua-disk-51" },
                     { 52, "sdba", "ua-disk-52" }, { 255, "sdiv", "ua-disk-255" } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char target[DISK_TARGET_SIZE], alias[DISK_ALIAS_SIZE];

                disk_target(rows[i].slot, target);
                disk_alias(rows[i].slot, alias);
                assert_string_equal(target, rows[i].target);
                assert_string_equal(alias, rows[i].alias);
        }
}

static void test_types(void **state) {
        assert_int_equal(domain_type_from_name("kvm"), DOMAIN_KVM);
        assert_int_equal(domain_type_from_name("qemu"), DOMAIN_QEMU);
        assert_int_equal(domain_type_from_name("xen"), -EINVAL);
        assert_non_null(strstr(domain_default_cmdline(DOMAIN_QEMU, 1, false), "nolapic_timer"));
        assert_null(strstr(domain_default_cmdline(DOMAIN_QEMU, 2, false), "nolapic_timer"));
        assert_null(strstr(domain_default_cmdline(DOMAIN_KVM, 1, true), "nolapic_timer"));
        assert_non_null(strstr(domain_default_cmdline(DOMAIN_QEMU, 1, true), "no_timer_check"));
        assert_non_null(strstr(domain_default_cmdline(DOMAIN_QEMU, 2, false), "no_timer_check"));
        assert_null(strstr(domain_default_cmdline(DOMAIN_KVM, 2, true), "no_timer_check"));
        assert_non_null(strstr(domain_default_cmdline(DOMAIN_KVM, 1, true), "console=ttyS0"));
        assert_null(strstr(domain_default_cmdline(DOMAIN_KVM, 1, false), "console"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),
                cmocka_unit_test(test_same_machine_elsewhere),
                cmocka_unit_test(test_hostile_strings),
                cmocka_unit_test(test_nics),
                cmocka_unit_test(test_forwards),
                cmocka_unit_test(test_odd_memory),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_names_of_slots),
                cmocka_unit_test(test_types),
        };

        return cmocka_run_group_tests_name("domain-xml", tests, NULL, NULL);
}
