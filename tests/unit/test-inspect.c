/* SPDX-License-Identifier: Apache-2.0 */
/* rows: F18: what a user's disk is, by its content; images that a guest may have written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>

#include <cmocka.h>

#include "hostdev/disk/inspect.h"
#include "lib/cleanup.h"

/* Made by a shell in a directory of its own; "in" is where backing files may be. */
typedef struct Row {
        const char *name, *script;
        const char *file, *format; /* as given */
        bool writable, backing;    /* backing: "in" is allowed */
        int r;
        const char *text; /* in the error, or the format that is found */
} Row;

#define RAW   "truncate -s 1M disk"
#define QCOW2 "qemu-img create -q -f qcow2 disk.qcow2 3M"

/* clang-format off */
static const Row rows[] = {
        { "raw",                 RAW, "disk", "", true, false, 0, "raw" },
        { "qcow2",               QCOW2, "disk.qcow2", "", true, false, 0, "qcow2" },
        { "qcow2 under any name", QCOW2 "; mv disk.qcow2 disk", "disk", "", true, false, 0, "qcow2" },
        { "not there",           "true", "disk", "", false, false, -ENOENT, "disk" },
        { "raw named qcow2",     RAW "; mv disk d.qcow2", "d.qcow2", "", false, false, -EINVAL, "its name says qcow2, its content is raw" },
        { "qcow2 named raw",     QCOW2 "; mv disk.qcow2 d.raw", "d.raw", "", false, false, -EINVAL, "its name says raw, its content is qcow2" },
        { "raw by order",        QCOW2 "; mv disk.qcow2 d.raw; truncate -s 1M d.raw", "d.raw", "raw", false, false, 0, "raw" },
        { "not what was said",   RAW, "disk", "qcow2", false, false, -EINVAL, "it is raw, not qcow2" },
        { "half copied",         RAW "; touch disk.incomplete", "disk", "", false, false, -EBUSY, "not complete" },
        { "vmdk",                "qemu-img create -q -f vmdk disk 1M", "disk", "", false, false, -EINVAL, "vmdk" },
        { "vdi",                 "qemu-img create -q -f vdi disk 1M", "disk", "", false, false, -EINVAL, "vdi" },
        { "vhdx",                "qemu-img create -q -f vhdx disk 8M", "disk", "", false, false, -EINVAL, "vhdx" },
        { "vpc",                 "qemu-img create -q -f vpc disk 8M", "disk", "", false, false, -EINVAL, "vpc" },
        { "cut off",             QCOW2 "; truncate -s 60 disk.qcow2", "disk.qcow2", "", false, false, -EINVAL, "cut off" },
        { "no version",          QCOW2 "; printf '\\377' | dd of=disk.qcow2 bs=1 seek=7 conv=notrunc status=none", "disk.qcow2", "", false, false, -EINVAL, "version" },
        { "data elsewhere",      "qemu-img create -q -f qcow2 -o data_file=/etc/hostname,data_file_raw=on disk 1M || qemu-img create -q -f qcow2 -o data_file=d disk 1M", "disk", "", false, false, -EINVAL, "another file" },
        { "backing, none allowed", "truncate -s 1M in/b; qemu-img create -q -f qcow2 -F raw -b in/b disk", "disk", "", false, false, -EINVAL, "backing_dir is not set" },
        { "backing inside",      "truncate -s 1M in/b; qemu-img create -q -f qcow2 -F raw -b in/b disk", "disk", "", true, true, 0, "qcow2" },
        { "backing outside",     "qemu-img create -q -f qcow2 -F raw -b /etc/passwd disk 1M", "disk", "", false, true, -EINVAL, "/etc/passwd is not below" },
        { "backing through a link", "ln -s /etc/passwd in/b; qemu-img create -q -f qcow2 -F raw -b in/b disk 1M", "disk", "", false, true, -EINVAL, "/etc/passwd is not below" },
        { "backing by ..",       "truncate -s 1M b; qemu-img create -q -f qcow2 -F raw -b in/../b disk 1M", "disk", "", false, true, -EINVAL, "is not below" },
        { "backing by protocol", "qemu-img create -q -u -f qcow2 -F raw -b nbd://h/x disk 1M", "disk", "", false, true, -EINVAL, "is no file" },
        { "backing by json",     "qemu-img create -q -u -f qcow2 -F raw -b 'json:{\"driver\":\"file\"}' disk 1M", "disk", "", false, true, -EINVAL, "backing" },
        { "second backing outside", "qemu-img create -q -f qcow2 -F raw -b /etc/passwd in/b 1M; qemu-img create -q -f qcow2 -F qcow2 -b in/b disk", "disk", "", false, true, -EINVAL, "/etc/passwd is not below" },
        { "backing of another format", "qemu-img create -q -f qcow2 in/b 1M; qemu-img create -q -u -f qcow2 -F raw -b in/b disk 1M", "disk", "", false, true, -EINVAL, "which is qcow2" },
        { "a loop of images",    "qemu-img create -q -f qcow2 in/a 1M; qemu-img create -q -f qcow2 -F qcow2 -b a in/b; qemu-img rebase -u -F qcow2 -b b -f qcow2 in/a; mv in/b disk; ln -s ../disk in/b; qemu-img rebase -u -F qcow2 -b in/a -f qcow2 disk; rm in/b; cp disk in/b; qemu-img rebase -u -F qcow2 -b a -f qcow2 in/b", "disk", "", false, true, -EINVAL, "behind one another" },
};
/* clang-format on */

typedef struct Place {
        char dir[64], path[160], in[96];
} Place;

static void shell(const char *dir, const char *script) {
        char text[1024];

        (void)snprintf(text, sizeof(text), "cd %s && { %s; } >/dev/null 2>&1", dir, script);
        (void)!system(text);
}

static void place(Place *p, const char *script, const char *file) {
        (void)strcpy(p->dir, "/tmp/podferry-inspect-XXXXXX");
        assert_non_null(mkdtemp(p->dir));
        (void)snprintf(p->path, sizeof(p->path), "%s/%s", p->dir, file);
        (void)snprintf(p->in, sizeof(p->in), "%s/in", p->dir);
        shell(p->dir, "mkdir in");
        shell(p->dir, script);
}

static void leave(const Place *p) {
        char text[128];

        (void)snprintf(text, sizeof(text), "rm -rf %s", p->dir);
        assert_int_equal(system(text), 0);
}

static void test_row(void **state) {
        const Row *row = *state;
        DiskInfo info = {};
        Error e = ERROR_INIT;
        DiskWants w = { .format = row->format, .writable = row->writable };
        Place p;
        int r;

        place(&p, row->script, row->file);
        w.backing_dir = row->backing ? p.in : "";
        r = disk_inspect(p.path, &w, &info, &e);
        leave(&p);
        if (r != row->r)
                fail_msg("%d, not %d: %s", r, row->r, e.text);
        if (r == 0)
                assert_string_equal(info.format, row->text);
        else if (!strstr(e.text, row->text))
                fail_msg("no \"%s\" in: %s", row->text, e.text);
}

/* Whoever has the image holds bytes of it, as QEMU does. */
static void test_lock(void **state) {
        static const struct {
                off_t byte;
                bool writable, held;
                int r;
        } cells[] = {
                { 101, true, false, -EBUSY },  { 101, false, false, -EBUSY }, /* it is written */
                { 201, true, false, -EBUSY },  { 201, false, false, 0 }, /* nobody else may write */
                { 200, false, false, -EBUSY },                           /* nobody else may read */
                { 100, true, false, 0 }, /* somebody reads, and does not mind */
                { 101, true, true, 0 },  /* it is this pod */
        };
        Place p;

        place(&p, RAW, "disk");
        for (size_t i = 0; i < ELEMENTSOF(cells); i++) {
                struct flock l = { .l_type = F_RDLCK, .l_start = cells[i].byte, .l_len = 1 };
                DiskWants w = { .format = "",
                                .backing_dir = "",
                                .writable = cells[i].writable,
                                .held = cells[i].held };
                int fd = open(p.path, O_RDWR | O_CLOEXEC);
                DiskInfo info;
                Error e = ERROR_INIT;

                assert_true(fd >= 0);
                assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
                assert_int_equal(disk_inspect(p.path, &w, &info, &e), cells[i].r);
                if (cells[i].r < 0)
                        assert_non_null(strstr(e.text, "another machine"));
                assert_int_equal(close(fd), 0);
        }
        leave(&p);
}

int main(void) {
        struct CMUnitTest tests[ELEMENTSOF(rows) + 1] = {};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                tests[i] = (struct CMUnitTest){ .name = rows[i].name,
                                                .test_func = test_row,
                                                .initial_state = (void *)(uintptr_t)&rows[i] };
        tests[ELEMENTSOF(rows)] = (struct CMUnitTest)cmocka_unit_test(test_lock);
        return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
